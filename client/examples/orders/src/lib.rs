//! A shop that takes orders out of stock: a program on top of `stead-client`, as small as it can be.
//! It leaves retries, deadlines and idempotency to the SDK, and how all that is tested without a service to `tests/orders.rs`.

use stead_client::{Client, Error, ErrorKind, Product};
use uuid::Uuid;

/// What somebody wants to have. It is kept until it is placed or refused, so that it can be placed again with the same keys.
#[derive(Clone, Debug)]
pub struct Order {
    lines: Vec<Line>,
}

#[derive(Clone, Debug)]
struct Line {
    sku: String,
    count: u32,
    /// Takes it out of stock once, however often the order is placed.
    taken: Uuid,
    /// Gives it back once.
    given_back: Uuid,
}

/// Why an order was not placed.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// There is no such product.
    #[error("there is no {sku}")]
    Unknown {
        /// Which one.
        sku: String,
    },
    /// Too few are left. What had been taken for the order is given back, and the order is over.
    #[error("only {available} of {sku} are left")]
    SoldOut {
        /// Of which product.
        sku: String,
        /// How many.
        available: String,
    },
    /// Nobody knows yet: place the same order again, and nothing is taken twice.
    #[error("not now: {0}")]
    Later(#[source] Error),
    /// Something that another try would not mend.
    #[error("{0}")]
    Failed(#[source] Error),
}

/// Where orders are placed.
#[derive(Clone, Debug)]
pub struct Shop {
    client: Client,
}

impl Order {
    /// So many of each sku.
    pub fn new<S: Into<String>>(lines: impl IntoIterator<Item = (S, u32)>) -> Self {
        let line =
            |(sku, count): (S, u32)| Line { sku: sku.into(), count, taken: Uuid::new_v4(), given_back: Uuid::new_v4() };
        Self { lines: lines.into_iter().map(line).collect() }
    }
}

impl Shop {
    /// A shop whose stock this client may change.
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    /// Takes everything that an order names out of stock, or nothing.
    pub async fn place(&self, order: &Order) -> Result<Vec<Product>, Refusal> {
        let mut taken = Vec::new();
        for line in &order.lines {
            match self.take(line).await {
                Ok(product) => taken.push(product),
                Err(refusal @ (Refusal::SoldOut { .. } | Refusal::Unknown { .. })) => {
                    self.give_back(order, &taken).await?;
                    return Err(refusal);
                }
                Err(refusal) => return Err(refusal),
            }
        }
        Ok(taken)
    }

    async fn take(&self, line: &Line) -> Result<Product, Refusal> {
        let refused = |error| refusal(&line.sku, error);
        let product = self.client.products().lookup(&line.sku).read_mask(["sku"]).send().await.map_err(refused)?;
        let taking = self.client.products().adjust_quantity(product.id, -i64::from(line.count));
        taking.request_id(line.taken).send().await.map_err(refused)
    }

    async fn give_back(&self, order: &Order, taken: &[Product]) -> Result<(), Refusal> {
        for (line, product) in order.lines.iter().zip(taken) {
            let giving = self.client.products().adjust_quantity(product.id, line.count.into());
            giving.request_id(line.given_back).send().await.map_err(|error| refusal(&line.sku, error))?;
        }
        Ok(())
    }
}

fn refusal(sku: &str, error: Error) -> Refusal {
    let sku = sku.to_owned();
    match error.kind() {
        ErrorKind::NotFound => Refusal::Unknown { sku },
        ErrorKind::FailedPrecondition if error.reason() == Some("QUANTITY_INSUFFICIENT") => {
            let available = error.metadata().get("available").cloned().unwrap_or_default();
            Refusal::SoldOut { sku, available }
        }
        ErrorKind::Unavailable | ErrorKind::RateLimited { .. } | ErrorKind::DeadlineExceeded { .. } => {
            Refusal::Later(error)
        }
        _ => Refusal::Failed(error),
    }
}
