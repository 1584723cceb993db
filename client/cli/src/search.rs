//! `stead search` and `stead suggest`: products by what people type.
//! It leaves what a query means to the service.

use std::{io::IsTerminal, num::NonZeroUsize};

use clap::{Args, ValueEnum};
use stead_client::{Bucket, Facet, Hit, Money, SearchItems, Suggestion};

use crate::{
    failure::{Failure, plain},
    output::{Column, Shown, note, remark, stress, thousands},
    session::Session,
};

pub(crate) const EXAMPLES: &str = "\
All words must occur; \"quoted words\" stand together, `or` separates alternatives, and - stands before what must not occur. \
With -o json each hit is an object on its line, and each facet one behind them.

Examples:
  stead search wooden chess
  stead search '\"chess set\" or backgammon -plastic' --category games --facet tags
  stead search chess --min-price \"10 EUR\" --max-price \"25 EUR\" --order-by price
  stead search Schachspiel --language de --all -o json";

pub(crate) const SUGGESTING: &str = "\
Examples:
  stead suggest che
  stead suggest 'wooden ch' --limit 5";

/// How many hits are printed, and read with each call at most.
const PAGE: usize = 20;
const LARGE_PAGE: usize = 100;

#[derive(Args, Debug)]
pub(crate) struct SearchArgs {
    /// What to look for
    #[arg(required = true, value_name = "QUERY")]
    words: Vec<String>,
    /// Of this category and those below it only
    #[arg(long)]
    category: Option<String>,
    /// With this label only; may be given several times
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
    /// For so much or more only, such as "10 EUR"
    #[arg(long, value_name = "PRICE")]
    min_price: Option<Money>,
    /// For so much or less only, such as "25 EUR"
    #[arg(long, value_name = "PRICE")]
    max_price: Option<Money>,
    /// Count how many of all that match have which value; may be given several times
    #[arg(long = "facet", value_enum, value_name = "FIELD")]
    facets: Vec<Counted>,
    /// The order: relevance, create_time or price, and `desc` behind the latter two; the best first unless given
    #[arg(long, value_name = "FIELD [desc]")]
    order_by: Option<String>,
    /// The language of the query, such as de; en unless given
    #[arg(long, value_name = "CODE")]
    language: Option<String>,
    /// Do not show where the words occur: bold on a terminal, `highlights` with -o json
    #[arg(long)]
    no_highlight: bool,
    /// How many to print: 20 unless given
    #[arg(long, value_name = "N", conflicts_with = "all")]
    limit: Option<NonZeroUsize>,
    /// Print all of them
    #[arg(long)]
    all: bool,
}

/// What can be counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Counted {
    Category,
    Tags,
    Price,
}

#[derive(Args, Debug)]
pub(crate) struct SuggestArgs {
    /// The beginning of a sku or a name, or whole words and the beginning of one
    #[arg(required = true, value_name = "PREFIX")]
    words: Vec<String>,
    /// How many to print, at most 50: 10 unless given
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=50))]
    limit: Option<u32>,
}

pub(crate) async fn search(session: &mut Session, args: SearchArgs) -> Result<(), Failure> {
    let limit = if args.all { usize::MAX } else { args.limit.map_or(PAGE, NonZeroUsize::get) };
    let mut hits = asked(session, args, limit);
    let (mut rows, mut printed) = (Vec::new(), 0);
    while printed < limit
        && let Some(hit) = hits.next().await?
    {
        if session.output.is_json() {
            session.output.json(&hit)?;
        } else {
            rows.push(cells(&hit));
        }
        printed += 1;
    }
    if let Some(query) = hits.did_you_mean() {
        note(&format!("nothing matches that; did you mean: {}", plain(query)));
    }
    if session.output.is_json() {
        hits.facets().iter().try_for_each(|facet| session.output.json(facet))?;
    } else if rows.is_empty() {
        note(&format!("no {}", Suggestion::MANY));
        return Ok(());
    } else {
        session.output.stressed_table(COLUMNS, rows)?;
        for facet in hits.facets().iter().filter(|facet| !facet.buckets.is_empty()) {
            session.output.line("")?;
            session.output.table(titles(facet), facet.buckets.iter().map(counted).collect())?;
        }
    }
    session.output.flush()?;
    let more = printed == limit && (hits.resume_token().is_some() || hits.next().await?.is_some());
    if let Some(words) = remark(more.then_some(limit), hits.total()) {
        note(&words);
    }
    Ok(())
}

fn asked(session: &Session, args: SearchArgs, limit: usize) -> SearchItems {
    let (is_json, is_terminal) = (session.output.is_json(), std::io::stdout().is_terminal());
    let mut search = session.client.search().products(args.words.join(" "));
    search = search.order_by(args.order_by.unwrap_or_default()).language_code(args.language.unwrap_or_default());
    search = search
        .facets(args.facets.iter().filter_map(ValueEnum::to_possible_value).map(|value| value.get_name().to_owned()));
    search = search.highlight(!args.no_highlight && (is_json || is_terminal));
    search = search.page_size(limit.min(LARGE_PAGE) as u32);
    if !is_json {
        search = search.read_mask(["sku", "display_name", "price"]);
    }
    if let Some(category) = args.category {
        search = search.category(category);
    }
    for tag in args.tags {
        search = search.tag(tag);
    }
    if let Some(price) = args.min_price {
        search = search.minimum_price(price);
    }
    if let Some(price) = args.max_price {
        search = search.maximum_price(price);
    }
    search.items()
}

pub(crate) async fn suggest(session: &mut Session, args: SuggestArgs) -> Result<(), Failure> {
    let asked = session.client.search().suggest(args.words.join(" "));
    let asked = if let Some(limit) = args.limit { asked.limit(limit) } else { asked };
    let suggestions = asked.send().await?;
    if suggestions.is_empty() && !session.output.is_json() {
        note(&format!("no {}", Suggestion::MANY));
        return Ok(());
    }
    session.output.several(&suggestions)
}

const COLUMNS: &[Column] = &[Column::whole("SKU"), Column::shared("NAME"), Column::whole("PRICE").right()];

fn cells(hit: &Hit) -> Vec<String> {
    let product = &hit.product;
    let shown = hit.highlights.iter().find(|highlight| highlight.field == "display_name");
    let name = match shown {
        None => product.display_name.clone(),
        Some(highlight) => {
            let segments = highlight.segments.iter();
            segments.map(|segment| if segment.matched { stress(&segment.text) } else { segment.text.clone() }).collect()
        }
    };
    vec![product.sku.clone(), name, product.price.as_ref().map(ToString::to_string).unwrap_or_default()]
}

/// What stands above a facet's values.
fn titles(facet: &Facet) -> &'static [Column] {
    const CATEGORY: Column = Column::whole("CATEGORY");
    const TAG: Column = Column::whole("TAG");
    const PRICE: Column = Column::whole("PRICE");
    const VALUE: Column = Column::whole("VALUE");
    const COUNT: Column = Column::whole("COUNT").right();
    const AT_LEAST: Column = Column::whole("AT LEAST").right();
    match (facet.field.as_str(), facet.exact) {
        ("category", true) => &[CATEGORY, COUNT],
        ("category", false) => &[CATEGORY, AT_LEAST],
        ("tags", true) => &[TAG, COUNT],
        ("tags", false) => &[TAG, AT_LEAST],
        ("price", true) => &[PRICE, COUNT],
        ("price", false) => &[PRICE, AT_LEAST],
        (_, true) => &[VALUE, COUNT],
        (_, false) => &[VALUE, AT_LEAST],
    }
}

fn counted(bucket: &Bucket) -> Vec<String> {
    let value = match (&bucket.minimum_price, &bucket.maximum_price) {
        (Some(least), Some(most)) => format!("{least} to below {most}"),
        (Some(least), None) => format!("{least} and more"),
        (None, Some(most)) => format!("below {most}"),
        (None, None) => bucket.value.clone(),
    };
    vec![value, thousands(bucket.count)]
}

impl Shown for Suggestion {
    const MANY: &'static str = "products";
    const COLUMNS: &'static [Column] = &[Column::whole("SKU"), Column::shared("NAME")];

    fn cells(&self) -> Vec<String> {
        vec![self.sku.clone(), self.display_name.clone()]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("product", self.product.to_string()),
            ("sku", self.sku.clone()),
            ("display_name", self.display_name.clone()),
        ]
    }
}
