//! The calls that are measured, and what they need beforehand and leave behind.
//! It leaves counting them to `load`.

use stead_client::{Client, Error, NewProduct, ProductId};
use uuid::Uuid;

use super::What;
use crate::failure::{Exit, Failure};

const PAGE: u32 = 50;
/// So many products are read in turn.
const READ: u32 = 1000;
/// So many products are written to at most.
const WRITTEN: u32 = 100;

/// What is called, ready to be.
#[derive(Debug)]
pub(super) struct Work {
    client: Client,
    what: What,
    words: String,
    products: Vec<ProductId>,
}

impl Work {
    pub(super) async fn prepare(client: &Client, what: What, words: String, concurrency: u32) -> Result<Self, Failure> {
        let products = match what {
            What::Get => {
                let page = client.products().list().read_mask(["name"]).page_size(READ).pages().next().await?;
                page.map(|page| page.items.iter().map(|product| product.id).collect()).unwrap_or_default()
            }
            What::Adjust => {
                let run = Uuid::new_v4().simple();
                let new = |number| NewProduct::new(format!("bench-{run}-{number}"), "Made by stead bench");
                let made = client.products().batch_create((0..concurrency.min(WRITTEN)).map(new)).send().await?;
                made.iter().map(|product| product.id).collect()
            }
            What::List | What::Search | What::Whoami => Vec::new(),
        };
        if what == What::Get && products.is_empty() {
            return Err(Failure::new(Exit::NotFound, "the tenant has no products to read: import some first"));
        }
        Ok(Self { client: client.clone(), what, words, products })
    }

    pub(super) async fn call(&self, worker: u32, number: u64) -> Result<(), Error> {
        let products = self.client.products();
        match self.what {
            What::Whoami => self.client.auth().whoami().await.map(drop),
            What::Get => products.get(self.products[number as usize % self.products.len()]).send().await.map(drop),
            What::List => products.list().page_size(PAGE).pages().next().await.map(drop),
            What::Search => self.client.search().products(&*self.words).page_size(PAGE).pages().next().await.map(drop),
            What::Adjust => {
                // Each worker has a product of its own as long as there are enough: rows that many write to wait in turn.
                let product = self.products[worker as usize % self.products.len()];
                products.adjust_quantity(product, 1).send().await.map(drop)
            }
        }
    }

    /// Deletes what was made, and says how many were added in all.
    pub(super) async fn clean_up(&self) -> Result<Option<u64>, Failure> {
        if self.what != What::Adjust {
            return Ok(None);
        }
        let gone = self.client.products().batch_delete(self.products.clone()).send().await.map_err(|error| {
            let named = self.products.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
            Failure::plainly(&error).with_line(format!("  what it made is still there: stead products delete {named}"))
        })?;
        Ok(Some(gone.iter().map(|product| u64::try_from(product.quantity).unwrap_or_default()).sum()))
    }
}
