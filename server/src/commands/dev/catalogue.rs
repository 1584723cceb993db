//! The sample catalogue of `dev`: 2,000 real items for the tenant acme, imported once.
//! Leaves the import to `products`, which takes these rows as it takes a client's.

use std::time::Duration;

use anyhow::{Context as _, bail};
use serde::Deserialize;
use stead_api::v1;
use tokio::time::Instant;
use uuid::Uuid;

use crate::auth::Verifier;
use crate::db::Database as Pools;
use crate::principal::{Call, Facts, Reading};
use crate::{products, rules};

const ROWS: &str = include_str!("../../../sample/catalog.ndjson");
/// Always the same, so that a second start finds the import done and one that was cut short is resumed.
const IMPORT: Uuid = Uuid::from_u128(0x5354_4541_4420_4341_a441_4c4f_4755_4501);
const BOUND: Duration = Duration::from_secs(120);

/// Imports what is not imported yet, with the powers of this key; the answer is the number of rows.
pub(super) async fn import(pools: &Pools, key: &str) -> anyhow::Result<usize> {
    let rows = ROWS
        .lines()
        .enumerate()
        .map(|(index, line)| product(line).with_context(|| format!("line {} of the sample catalogue", index + 1)));
    let rows: Vec<v1::Product> = rows.collect::<anyhow::Result<_>>()?;
    let count = rows.len();
    let method =
        stead_api::method("/stead.v1.ProductService/ImportProducts").context("the contract has no ImportProducts")?;
    let principal = Verifier::new(pools.clone()).principal(key, None, None).await?;
    let call = Call {
        principal,
        method,
        deadline: Instant::now() + BOUND,
        facts: Facts::default(),
        reading: Reading::default(),
    };
    let progress =
        products::import_rows(pools, &call, IMPORT, rows).await.context("the sample catalogue cannot be imported")?;
    if progress.failed > 0 {
        bail!("{} rows of the sample catalogue were refused", progress.failed);
    }
    Ok(count)
}

/// One line of the sample.
#[derive(Deserialize)]
struct Row {
    sku: String,
    display_name: String,
    description: String,
    category: String,
    tags: Vec<String>,
    price: Price,
    quantity: i64,
    attributes: serde_json::Value,
}

#[derive(Deserialize)]
struct Price {
    currency_code: String,
    minor_units: i64,
}

fn product(line: &str) -> anyhow::Result<v1::Product> {
    let Row { sku, display_name, description, category, tags, price, quantity, attributes } =
        serde_json::from_str(line)?;
    let price = rules::Money { currency: price.currency_code, minor: price.minor_units };
    Ok(v1::Product {
        sku,
        display_name,
        description,
        category,
        tags,
        price: Some(price.into()),
        quantity,
        attributes: Some(rules::to_struct(attributes)),
        ..v1::Product::default()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_of_the_sample_can_be_read() {
        let rows: Vec<v1::Product> = ROWS.lines().map(|line| product(line).unwrap()).collect();
        assert_eq!(rows.len(), 2000);
        assert!(rows.iter().all(|row| row.price.is_some() && row.attributes.is_some()));
    }
}
