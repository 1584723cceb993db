//! A first walk: connect, create, read, change, list, delete.
//! It leaves errors to whoever runs it: each ends the walk with one line.
//!
//! Start a service with `stead-server dev`, then:
//!
//! ```sh
//! set -a; . .stead/dev.env; set +a
//! STEAD_KEY=$STEAD_KEY_ACME cargo run -p stead-client --example quickstart
//! ```
#![allow(clippy::print_stdout)]

use std::{env, process::ExitCode, time::Duration};

use stead_client::{ApiKey, Client, NewProduct, ProductPatch};
use uuid::Uuid;

#[tokio::main]
async fn main() -> ExitCode {
    match walk().await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("{error}");
            ExitCode::FAILURE
        }
    }
}

async fn walk() -> Result<(), Box<dyn std::error::Error>> {
    let endpoint = env::var("STEAD_ENDPOINT").unwrap_or_else(|_| "http://127.0.0.1:50051".to_owned());
    let key = env::var("STEAD_KEY").map_err(|_| "set STEAD_KEY to an API key of your tenant")?;
    let client = Client::builder(endpoint).credentials(ApiKey::new(key)).build()?;
    client.ready(Duration::from_secs(5)).await?;
    let me = client.auth().whoami().await?;
    println!("I am {} of {}", me.subject, me.tenant);

    let sku = format!("quickstart-{}", Uuid::new_v4().simple());
    let chess = NewProduct::new(&sku, "Chess set").price("24.90 EUR".parse()?).category("games/board").tag("wood");
    let product = client.products().create(chess).send().await?;
    println!("created {} at revision {}", product.id, product.revision);

    let patch = ProductPatch::new().quantity(12).attribute("pieces", 32);
    let product = client.products().update(product.id, patch).etag(product.etag).send().await?;
    println!("{} in stock, revision {}", product.quantity, product.revision);

    let mut items = client.products().list().order_by("sku").page_size(5).items();
    for _ in 0..5 {
        let Some(item) = items.next().await? else { break };
        let price = item.price.map(|price| price.to_string()).unwrap_or_default();
        println!("{:<40} {price:>14}  {}", item.sku, item.display_name);
    }

    client.products().delete(product.id).etag(product.etag).send().await?;
    println!("deleted {sku}");
    Ok(())
}
