//! `stead products`: list, get, create, update, delete, undelete, adjust, history, import, export.
//! It leaves import, export and history to their own files.

mod fields;
mod history;
mod shown;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use stead_client::{Client, NewProduct, Product, ProductId};

use self::fields::{Clearable, Fields};
use crate::{
    cli::{Choice, Window},
    deleted,
    export::{self, ExportArgs},
    failure::Failure,
    import::{self, ImportArgs},
    session::Session,
    verbose::told,
    watch::Watch,
    writing::{Writing, if_there, nothing_to_delete, written},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stead products list --filter 'category = \"games\" AND quantity < 5' --count
  stead products get chess-42
  stead products get chess-42 --watch
  stead products get chess-42 --strong --verbose
  stead products create --sku chess-42 --display-name \"Chess set\" --price \"24.90 EUR\"
  stead products adjust chess-42 -2
  stead products history chess-42
  stead products rollback chess-42 3
  stead products delete chess-42 pawn-1 rook-1
  stead products undelete chess-42
  stead products export all.ndjson";

const FILTERS: &str = "\
A filter compares fields (sku, display_name, price, price.currency_code, category, state, create_time, quantity, tags, \
cost, cost.currency_code, revision, creator, updater, update_time, delete_time) with values by =, !=, <, <=, >, >=, or by : \
for has; a * at the end of a text stands for any end. AND, OR and NOT join comparisons; OR binds tighter than AND, so write \
parentheses. A price or a cost needs its currency beside it.

Examples:
  stead products list --filter 'sku = \"chess*\"' --order-by sku
  stead products list --filter 'category = \"games\" AND (tags:\"wood\" OR tags:\"new\")'
  stead products list --filter 'price.currency_code = \"EUR\" AND price < 19.90' --count
  stead products list --filter 'state = DELETED' --show-deleted
  stead products list --filter 'quantity < 5' --watch=10s
  stead products list --filter 'NOT tags:\"new\" AND quantity < 5' --all -o json";

#[derive(Debug, Subcommand)]
pub(crate) enum ProductsCommand {
    /// Print products, in creation order unless --order-by says otherwise (create_time, sku, display_name, price)
    #[command(after_help = FILTERS)]
    List {
        #[command(flatten)]
        window: Window,
        #[command(flatten)]
        choice: Choice,
        #[command(flatten)]
        watch: Watch,
    },
    /// Print one product
    Get {
        /// products/UUID, or the sku
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        /// Print it even if it is deleted (by name only)
        #[arg(long)]
        show_deleted: bool,
        #[command(flatten)]
        watch: Watch,
    },
    /// Create a product
    Create {
        /// The tenant's own code for it, unique among live products
        #[arg(long)]
        sku: String,
        /// What people call it
        #[arg(long)]
        display_name: String,
        #[command(flatten)]
        fields: Fields,
        /// The id to give it, a UUID
        #[arg(long, value_name = "UUID")]
        id: Option<ProductId>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Change the fields that are named
    Update {
        /// products/UUID, or the sku
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        /// Another sku
        #[arg(long)]
        sku: Option<String>,
        /// Another display name
        #[arg(long)]
        display_name: Option<String>,
        #[command(flatten)]
        fields: Fields,
        /// Empty a field
        #[arg(long, value_enum, value_name = "FIELD")]
        clear: Vec<Clearable>,
        /// Change this revision only
        #[arg(long)]
        etag: Option<String>,
        /// Create it under this id where there is none (by products/UUID only)
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        writing: Writing,
    },
    /// Mark products as deleted, all that are named or none; their skus may be used again
    Delete {
        /// products/UUID, or the sku; up to 1000 of them
        #[arg(value_name = "NAME_OR_SKU", required = true)]
        products: Vec<String>,
        /// Delete this revision only (of one product)
        #[arg(long)]
        etag: Option<String>,
        /// Be content where there is none (of one product)
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        writing: Writing,
    },
    /// Bring a deleted product back
    Undelete {
        /// products/UUID, or the sku that it had
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        /// Bring back this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Add to the quantity, or take from it: never below zero, however many do so at once
    Adjust {
        /// products/UUID, or the sku
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        /// How many come in (5, +5) or go out (-2)
        #[arg(value_name = "±N", allow_negative_numbers = true)]
        delta: i64,
        #[command(flatten)]
        writing: Writing,
    },
    /// Print what each revision changed, newest first
    History {
        /// products/UUID, or the sku of a live product
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        #[command(flatten)]
        window: Window,
    },
    /// Print a product as it was at a revision
    ShowRevision {
        /// products/UUID, or the sku of a live product
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        /// The revision, as `history` numbers it
        revision: i64,
    },
    /// Write a new revision with the values of an old one; the quantity stays as it is
    Rollback {
        /// products/UUID, or the sku
        #[arg(value_name = "NAME_OR_SKU")]
        product: String,
        /// The revision, as `history` numbers it
        revision: i64,
        /// Roll back from this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Create and update many products by sku, from one JSON object a line
    Import(ImportArgs),
    /// Write every product as of one moment, as one JSON object a line, in the order of their ids
    Export(ExportArgs),
}

pub(crate) async fn run(session: &mut Session, command: ProductsCommand) -> Result<(), Failure> {
    let (client, products) = (session.client.clone(), session.client.products());
    let product = match command {
        ProductsCommand::List { window, choice, watch } => {
            let list = choice.of(products.list());
            return watch.over(session, async |session| session.output.list(list.clone(), &window).await).await;
        }
        ProductsCommand::Import(args) => return import::run(session, args).await,
        ProductsCommand::Export(args) => return export::run(session, args).await,
        ProductsCommand::History { product, window } => {
            return history::run(session, find(&client, &product).await?, &window).await;
        }
        ProductsCommand::Get { product, show_deleted, watch } => {
            let id = name(&product)?;
            let print = async |session: &mut Session| {
                let answer = match id {
                    Some(id) => products.get(id).show_deleted(show_deleted).answer().await?,
                    None => products.lookup(&*product).answer().await?,
                };
                session.output.one(&told(answer))
            };
            return watch.over(session, print).await;
        }
        ProductsCommand::Create { sku, display_name, fields, id, writing } => {
            let request = products.create(fields.create(NewProduct::new(sku, display_name)));
            let request = if let Some(id) = id { request.id(id) } else { request };
            written!(request, writing)
        }
        ProductsCommand::Update { product, sku, display_name, fields, clear, etag, allow_missing, writing } => {
            let patch = fields.patch(sku, display_name, &clear);
            if patch.is_empty() {
                return Err(Failure::usage("nothing to change: name a field, such as --price \"12.50 EUR\""));
            }
            let id = match (name(&product)?, allow_missing) {
                (Some(id), _) => id,
                (None, false) => writing.on(find(&client, &product).await)?,
                (None, true) => {
                    return Err(Failure::usage("--allow-missing takes the id to give it: name products/UUID"));
                }
            };
            let request = products.update(id, patch);
            let request = if allow_missing { request.allow_missing() } else { request };
            written!(request, writing, on: id, etag: etag)
        }
        ProductsCommand::Delete { products: named, etag, allow_missing, writing } => match named.as_slice() {
            [product] if allow_missing => {
                let gone = match if_there(find(&client, product).await)? {
                    Some(id) => written!(products.delete(id).allow_missing(), writing, on: id, etag: etag),
                    None => None,
                };
                match gone {
                    Some(gone) => gone,
                    None => return nothing_to_delete(product),
                }
            }
            [product] => {
                let id = writing.on(find(&client, product).await)?;
                written!(products.delete(id), writing, on: id, etag: etag)
            }
            _ if allow_missing => {
                return Err(Failure::usage("--allow-missing is one product's: delete that one alone"));
            }
            _ => return delete_together(session, &named, etag, writing).await,
        },
        ProductsCommand::Undelete { product, etag, writing } => {
            let id = match name(&product)? {
                Some(id) => id,
                None => writing.on(deleted::only(products.list(), ("sku", &product), life).await)?.id,
            };
            written!(products.undelete(id), writing, on: id, etag: etag)
        }
        ProductsCommand::Adjust { product, delta, writing } => {
            let id = writing.on(find(&client, &product).await)?;
            written!(products.adjust_quantity(id, delta), writing, on: id)
        }
        ProductsCommand::ShowRevision { product, revision } => {
            told(products.revision(find(&client, &product).await?, revision).answer().await?)
        }
        ProductsCommand::Rollback { product, revision, etag, writing } => {
            let id = writing.on(find(&client, &product).await)?;
            written!(products.rollback(id, revision), writing, on: id, etag: etag)
        }
    };
    session.output.one(&product)
}

/// All of them or none, in one request.
async fn delete_together(
    session: &mut Session,
    named: &[String],
    etag: Option<String>,
    writing: Writing,
) -> Result<(), Failure> {
    if etag.is_some() {
        return Err(Failure::usage("--etag is one product's: delete that one alone"));
    }
    let mut ids = Vec::with_capacity(named.len());
    for product in named {
        ids.push(writing.on(find(&session.client, product).await)?);
    }
    let names = ids.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    let gone = written!(session.client.products().batch_delete(ids), writing, on: names);
    session.output.several(&gone)
}

fn life(product: &Product) -> (String, Option<DateTime<Utc>>) {
    (product.id.to_string(), product.delete_time)
}

/// A text that begins like a name must be one; any other is a sku.
fn name(text: &str) -> Result<Option<ProductId>, Failure> {
    if text.starts_with("products/") { text.parse().map(Some).map_err(Failure::usage) } else { Ok(None) }
}

async fn find(client: &Client, text: &str) -> Result<ProductId, Failure> {
    match name(text)? {
        Some(id) => Ok(id),
        None => Ok(client.products().lookup(text).read_mask(["name"]).send().await?.id),
    }
}
