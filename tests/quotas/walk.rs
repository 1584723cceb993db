//! Writers that do everything that there is to do to products and users, at random and beside each other: what is told of usage
//! is what the rows come to.
//! Leaves what is refused to the promises above.

use std::collections::BTreeMap;

use sqlx::AssertSqlSafe;
use stead_client::{Client, Error, NewProduct, NewUser, Product, ProductId, ProductPatch, UserId};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::{counted, used};
use crate::{
    fixture::{Dice, Size, figure, shared, tenant},
    products,
};

/// Whoever writes at random, and what it has written.
struct Walker {
    dice: Dice,
    client: Client,
    products: BTreeMap<ProductId, String>,
    deleted: Vec<ProductId>,
    users: Vec<UserId>,
    made: u64,
}

impl Walker {
    fn new_product(&mut self) -> NewProduct {
        self.made += 1;
        let number = self.made;
        let words = "größer ".repeat(self.dice.roll(40) as usize);
        products::new(&format!("walk-{number}")).description(words).tags(["rot", "grün"]).category("a/b")
    }

    fn any(&mut self) -> Option<ProductId> {
        let place = self.dice.roll(self.products.len().max(1) as u64) as usize;
        self.products.keys().nth(place).copied()
    }

    fn keep(&mut self, product: Product) {
        self.products.insert(product.id, product.sku);
    }

    async fn step(&mut self) -> Result<(), Error> {
        let store = self.client.products();
        match self.dice.roll(12) {
            0 | 1 => {
                let new = self.new_product();
                let created = store.create(new).send().await?;
                self.keep(created);
            }
            2 => {
                let new: Vec<_> = (0..1 + self.dice.roll(5)).map(|_| self.new_product()).collect();
                let created = store.batch_create(new).send().await?;
                created.into_iter().for_each(|product| self.keep(product));
            }
            3 => {
                // What is only tried, and what is refused.
                let new = self.new_product();
                store.create(new).validate_only().send().await?;
                if let Some(taken) = self.products.values().next() {
                    let twin = products::new(taken);
                    store.create(twin).send().await.expect_err("taken");
                }
            }
            4 | 5 => {
                if let Some(id) = self.any() {
                    let words = "kürzer ".repeat(self.dice.roll(60) as usize);
                    store.update(id, ProductPatch::new().description(words).tags(["x"])).send().await?;
                }
            }
            6 => {
                if let Some(id) = self.any() {
                    store.delete(id).send().await?;
                    self.products.remove(&id);
                    self.deleted.push(id);
                }
            }
            7 => {
                if let Some(id) = self.deleted.pop() {
                    let back = store.undelete(id).send().await?;
                    self.keep(back);
                }
            }
            8 => {
                let mut import = store.import(Uuid::new_v4()).open().await?;
                let known = self.products.values().next().cloned();
                let mut rows: Vec<_> = (0..3).map(|_| self.new_product()).collect();
                rows.extend(known.map(|sku| products::new(&sku).description("imported again")));
                import.send_chunk(1, rows).await?;
                import.finish().await?;
                let all = store.list().items().collect().await?;
                self.products = all.into_iter().map(|product| (product.id, product.sku)).collect();
            }
            9 => {
                self.made += 1;
                let address = format!("ä{}@example.com", self.made);
                self.users.push(self.client.users().create(NewUser::new(address).display_name("Ä")).send().await?.id);
            }
            10 => {
                if let Some(id) = self.users.pop() {
                    self.client.users().delete(id).send().await?;
                }
            }
            _ => {
                if let Some(id) = self.any() {
                    store.adjust_quantity(id, 1).send().await?;
                }
            }
        }
        Ok(())
    }
}

#[tokio::test]
async fn what_is_used_is_what_the_rows_come_to_whatever_was_written() {
    let (server, tenant) = (shared().await, tenant().await);
    let mut truth = server.truth().await;
    let mut walkers = JoinSet::new();
    let size = Size::of(60, 25);
    for lane in 0..4 {
        let client = tenant.client.clone();
        let dice = Dice::of(&format!("what_is_used_{lane}"));
        let mut walker =
            Walker { dice, client, products: BTreeMap::new(), deleted: vec![], users: vec![], made: lane << 32 };
        walkers.spawn(async move {
            let (mut calls, mut refused) = (0, 0);
            while size.lasts(calls) {
                refused += u64::from(walker.step().await.is_err());
                calls += 1;
            }
            (calls, refused)
        });
    }
    let (calls, refused) = walkers.join_all().await.into_iter().fold((0, 0), |(a, b), (c, d)| (a + c, b + d));
    let wanted = counted(&mut truth, &tenant).await;
    assert_eq!(used(&tenant).await, wanted);
    // A purge takes away what counted for nothing, and whoever deletes by hand takes away what counted.
    for (statement, deletes_live) in
        [("delete from stead.products where delete_time is not null", false), ("delete from stead.products", true)]
    {
        let statement = format!("{statement}{} tenant_id = $1", if deletes_live { " where" } else { " and" });
        sqlx::query(AssertSqlSafe(statement)).bind(tenant.id.uuid()).execute(&mut truth).await.expect("gone");
        let left = used(&tenant).await;
        assert_eq!(left, counted(&mut truth, &tenant).await);
        assert_eq!(left == wanted, !deletes_live);
    }
    figure("what_is_used", &[("calls", calls), ("refused", refused), ("failures", 0)]);
    assert!(wanted[0] > 10 && wanted[1] > 0 && refused * 5 < calls, "{wanted:?}, {refused} of {calls}");
}
