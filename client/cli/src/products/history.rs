//! `stead products history`: each revision of a product, and what it changed.
//! It leaves one revision whole to `show-revision`.

use stead_client::{Product, ProductId};

use crate::{
    audit::short,
    cli::Window,
    failure::Failure,
    output::{Column, note, remark, time},
    session::Session,
};

const COLUMNS: &[Column] =
    &[Column::whole("REVISION").right(), Column::whole("TIME"), Column::shared("BY"), Column::shared("CHANGED")];

pub(crate) async fn run(session: &mut Session, id: ProductId, window: &Window) -> Result<(), Failure> {
    let (limit, page_size) = window.sizes();
    // One more than is printed: what a revision changed shows beside the one before it.
    let mut revisions = session.client.products().revisions(id).page_size(page_size.saturating_add(1)).items();
    let (mut rows, mut printed, mut cut) = (Vec::new(), 0, None);
    let mut newer: Option<Product> = revisions.next().await?;
    while let Some(product) = newer {
        if printed == limit {
            cut = Some(limit);
            break;
        }
        let older = revisions.next().await?;
        if session.output.is_json() {
            session.output.json(&product)?;
        } else {
            rows.push(cells(&product, older.as_ref()));
        }
        printed += 1;
        newer = older;
    }
    if !session.output.is_json() {
        session.output.table(COLUMNS, rows)?;
    }
    session.output.flush()?;
    if let Some(words) = remark(cut, None) {
        note(&words);
    }
    Ok(())
}

fn cells(product: &Product, older: Option<&Product>) -> Vec<String> {
    let changed = match older {
        Some(older) => changed(older, product).join(", "),
        None if product.revision == 1 => "created".to_owned(),
        None => String::new(),
    };
    vec![product.revision.to_string(), time(product.update_time), short(&product.updater), changed]
}

/// What differs between two revisions.
fn changed(older: &Product, newer: &Product) -> Vec<&'static str> {
    let fields = [
        ("deleted", older.delete_time.is_none() && newer.delete_time.is_some()),
        ("undeleted", older.delete_time.is_some() && newer.delete_time.is_none()),
        ("sku", older.sku != newer.sku),
        ("display_name", older.display_name != newer.display_name),
        ("price", older.price != newer.price),
        ("cost", older.cost != newer.cost),
        ("quantity", older.quantity != newer.quantity),
        ("category", older.category != newer.category),
        ("tags", older.tags != newer.tags),
        ("attributes", older.attributes != newer.attributes),
        ("description", older.description != newer.description),
        ("language_code", older.language_code != newer.language_code),
    ];
    fields.into_iter().filter(|(_, differs)| *differs).map(|(field, _)| field).collect()
}
