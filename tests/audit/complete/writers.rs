//! Writers who do everything that can be done to a tenant's things, by chance, some to the same things at once: writes that
//! succeed, are refused, rehearsed, repeated, change nothing, or are given up on the way.
//! Leaves what must come of it to `ledger`.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use serde_json::json;
use stead_client::{
    ApiKeyId, Client, Error, ErrorKind, NewApiKey, NewProduct, NewTenant, NewUser, ProductId, ProductPatch, Role,
    SessionId, TenantId, TenantPatch, UserId, UserPatch,
};
use tokio::{task::JoinSet, time::timeout};
use uuid::Uuid;

use crate::{
    fixture::{Dice, Server, Size, Tenant},
    products,
};

const TENANTS: usize = 2;
const WRITERS: usize = 3;
/// Older things are left alone, so that the writers go on meeting each other.
const KNOWN: usize = 300;
const PASSWORD: &str = "correct horse battery";

/// What was done.
#[derive(Debug, Default)]
pub(super) struct Done {
    /// Writes that were asked for, each row of a batch or an import as one.
    pub(super) asked: u64,
    pub(super) refused: u64,
    pub(super) given_up: u64,
}

/// Ids that the writers of a tenant have heard of.
#[derive(Debug)]
struct Known<T>(Mutex<Vec<T>>);

impl<T> Default for Known<T> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

impl<T: Copy> Known<T> {
    fn add(&self, id: T, dice: &mut Dice) {
        let mut ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if ids.len() < KNOWN { ids.push(id) } else { ids[dice.roll(KNOWN as u64) as usize] = id }
    }

    fn any(&self, dice: &mut Dice) -> Option<T> {
        let ids = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        (!ids.is_empty()).then(|| ids[dice.roll(ids.len() as u64) as usize])
    }
}

#[derive(Debug, Default)]
struct Things {
    products: Known<ProductId>,
    users: Known<UserId>,
    keys: Known<ApiKeyId>,
    sessions: Known<SessionId>,
    tenants: Known<TenantId>,
}

struct Writer {
    tenant: Tenant,
    things: Arc<Things>,
    asked: Arc<AtomicU64>,
    dice: Dice,
    done: Done,
    size: Size,
}

/// Has everybody write until there was enough.
pub(super) async fn write(server: &Server, size: Size) -> Done {
    let (asked, mut writers, platform) = (Arc::<AtomicU64>::default(), JoinSet::new(), server.platform());
    for place in 0..TENANTS {
        let (tenant, things) = (server.tenant().await, Arc::<Things>::default());
        let user = NewUser::new("ada@example.com").role(Role::Editor).password(PASSWORD);
        tenant.client.users().create(user).send().await.expect("a user who can sign in");
        for number in 0..WRITERS {
            let mut writer = Writer {
                tenant: tenant.clone(),
                things: Arc::clone(&things),
                asked: Arc::clone(&asked),
                dice: Dice::of(&format!("writer {place} {number}")),
                done: Done::default(),
                size,
            };
            let platform = platform.clone();
            writers.spawn(async move {
                while writer.size.lasts(writer.asked.load(Ordering::Relaxed)) {
                    writer.step(&platform).await;
                }
                writer.done
            });
        }
    }
    let mut sum = Done { asked: 0, ..Done::default() };
    while let Some(done) = writers.join_next().await {
        let done = done.expect("no panic");
        sum.refused += done.refused;
        sum.given_up += done.given_up;
    }
    sum.asked = asked.load(Ordering::Relaxed);
    sum
}

impl Writer {
    /// One write, of which some are given up.
    async fn step(&mut self, platform: &Client) {
        let patience = (self.dice.roll(8) == 0).then(|| Duration::from_micros(self.dice.roll(6_000)));
        let write = async {
            match self.dice.roll(100) {
                0..50 => self.write_a_product().await,
                50..62 => self.write_a_batch().await,
                62..72 => self.import().await,
                72..88 => self.write_a_user().await,
                88..93 => self.write_a_key().await,
                93..97 => self.write_a_session().await,
                _ => self.write_a_tenant(platform).await,
            }
        };
        let outcome = match patience {
            Some(patience) => timeout(patience, write).await,
            None => Ok(write.await),
        };
        match outcome {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                let is_a_fault = matches!(error.kind(), ErrorKind::Internal | ErrorKind::Unavailable);
                assert!(!is_a_fault, "{error}: {error:?}");
                self.done.refused += 1;
            }
            Err(_) => self.done.given_up += 1,
        }
    }

    fn asks(&self, writes: u64) {
        self.asked.fetch_add(writes, Ordering::Relaxed);
    }

    /// A sku that nobody else has, or, now and then, one of a few that many want.
    fn sku(&mut self) -> String {
        if self.dice.roll(5) == 0 { format!("wanted-{}", self.dice.roll(20)) } else { Uuid::new_v4().to_string() }
    }

    fn new_product(&mut self) -> NewProduct {
        let sku = self.sku();
        match self.dice.roll(8) {
            0 => products::new(""),
            1..4 => products::full(&sku).quantity(self.dice.roll(1000) as i64),
            _ => products::new(&sku).quantity(self.dice.roll(3) as i64),
        }
    }

    /// Some fields, of which some may have the value already.
    fn patch(&mut self) -> ProductPatch {
        let mut patch = ProductPatch::new();
        for _ in 0..=self.dice.roll(3) {
            let value = self.dice.roll(4);
            patch = match self.dice.roll(9) {
                0 => patch.quantity(value as i64),
                1 => patch.display_name(format!("Name {value}")),
                2 => patch.description(format!("Words {value}")),
                3 => patch.category(["", "a", "a/b", "games/board"][value as usize]),
                4 => patch.tags((0..value).map(|tag| format!("tag-{tag}"))),
                5 => patch.price((value > 0).then(|| format!("{value}.50 EUR").parse().expect("an amount"))),
                6 => patch.cost((value > 0).then(|| format!("{value} JPY").parse().expect("an amount"))),
                7 => patch.attribute("colour", json!({"hue": value})),
                _ => patch.sku(format!("wanted-{value}")),
            };
        }
        patch
    }

    async fn write_a_product(&mut self) -> Result<(), Error> {
        let products = self.tenant.client.products();
        self.asks(1);
        let (roll, Some(id)) = (self.dice.roll(24), self.things.products.any(&mut self.dice)) else {
            return self.create_a_product().await;
        };
        let request_id = Uuid::new_v4();
        match roll {
            0..8 => return self.create_a_product().await,
            8..11 => products.update(id, self.patch()).send().await?,
            11 => products.update(id, self.patch()).validate_only().send().await?,
            12 => products.update(id, self.patch()).etag("\"1\"").send().await?,
            13 => {
                let (patch, mut answer) = (self.patch(), None);
                for _ in 0..3 {
                    answer = Some(products.update(id, patch.clone()).request_id(request_id).send().await?);
                }
                answer.expect("an answer")
            }
            14 => {
                let twice = || products.adjust_quantity(id, 1).request_id(request_id).send();
                let (first, second) = tokio::join!(twice(), twice());
                first.and(second)?
            }
            15 | 16 => products.adjust_quantity(id, self.dice.roll(7) as i64 - 3).send().await?,
            17 => products.adjust_quantity(id, 1).validate_only().send().await?,
            18 | 19 => products.delete(id).send().await?,
            20 => products.delete(id).validate_only().send().await?,
            21 => products.undelete(id).send().await?,
            22 => products.rollback(id, 1).send().await?,
            // Read, and written as it is.
            _ => {
                let product = products.get(id).send().await?;
                products.update(id, ProductPatch::replace(product.into())).send().await?
            }
        };
        Ok(())
    }

    async fn create_a_product(&mut self) -> Result<(), Error> {
        let create = self.tenant.client.products().create(self.new_product());
        if self.dice.roll(8) == 0 {
            return create.validate_only().send().await.map(drop);
        }
        let product = create.send().await?;
        self.things.products.add(product.id, &mut self.dice);
        Ok(())
    }

    async fn write_a_batch(&mut self) -> Result<(), Error> {
        let products = self.tenant.client.products();
        let rows = if self.size.is_soak() { 10 + self.dice.roll(90) } else { 1 + self.dice.roll(8) };
        self.asks(rows);
        let mut ids: Vec<_> = (0..rows).filter_map(|_| self.things.products.any(&mut self.dice)).collect();
        ids.sort_unstable();
        ids.dedup();
        match self.dice.roll(5) {
            0 | 1 => {
                let new: Vec<_> = (0..rows).map(|_| products::new(&self.sku())).collect();
                for product in products.batch_create(new).send().await? {
                    self.things.products.add(product.id, &mut self.dice);
                }
            }
            2 => {
                let new: Vec<_> = (0..rows).map(|_| products::new(&Uuid::new_v4().to_string())).collect();
                products.batch_create(new).validate_only().send().await?;
            }
            3 => {
                // Skus are taken from one another otherwise.
                let changes: Vec<_> = ids
                    .into_iter()
                    .map(|id| (id, ProductPatch::new().quantity(self.dice.roll(9) as i64), None))
                    .collect();
                products.batch_update(changes).send().await?;
            }
            _ => {
                ids.truncate(2);
                products.batch_delete(ids).send().await?;
            }
        }
        Ok(())
    }

    async fn import(&mut self) -> Result<(), Error> {
        let rows = if self.size.is_soak() { 500 } else { 20 };
        self.asks(rows);
        let new: Vec<_> = (0..rows).map(|_| self.new_product()).collect();
        let mut import = self.tenant.client.products().import(Uuid::new_v4()).open().await?;
        import.send_chunk(1, new).await?;
        import.finish().await?;
        Ok(())
    }

    async fn write_a_user(&mut self) -> Result<(), Error> {
        let users = self.tenant.client.users();
        self.asks(1);
        let Some(id) = self.things.users.any(&mut self.dice).filter(|_| self.dice.roll(4) > 0) else {
            let new = NewUser::new(format!("{}@example.com", self.sku())).display_name("Somebody");
            let new = if self.dice.roll(3) == 0 { new.username(self.sku()).role(Role::Viewer) } else { new };
            let user = users.create(new).send().await?;
            self.things.users.add(user.id, &mut self.dice);
            return Ok(());
        };
        let value = self.dice.roll(3);
        match self.dice.roll(12) {
            0..4 => {
                let patch = UserPatch::new().display_name(format!("Name {value}")).profile_entry("size", value);
                users.update(id, patch).send().await?
            }
            4 => users.update(id, UserPatch::new().email(format!("wanted-{value}@example.com"))).send().await?,
            5 => users.update(id, UserPatch::new().roles([Role::Editor])).validate_only().send().await?,
            6 => users.update(id, UserPatch::new().username(format!("wanted-{value}"))).send().await?,
            7 => users.delete(id).send().await?,
            8 => users.undelete(id).send().await?,
            // Hashing takes longer than everything else together.
            9 if self.dice.roll(6) == 0 => users.set_password(id, PASSWORD).send().await?,
            _ => users.remove_password(id).send().await?,
        };
        Ok(())
    }

    async fn write_a_key(&mut self) -> Result<(), Error> {
        let auth = self.tenant.client.auth();
        self.asks(1);
        match self.things.keys.any(&mut self.dice).filter(|_| self.dice.roll(2) == 0) {
            Some(key) => auth.revoke_key(key).send().await.map(drop),
            None => {
                let made =
                    auth.create_key(NewApiKey::new("services/written").permissions(["products.read"])).send().await?;
                self.things.keys.add(made.key.id, &mut self.dice);
                Ok(())
            }
        }
    }

    async fn write_a_session(&mut self) -> Result<(), Error> {
        let auth = self.tenant.client.auth();
        self.asks(1);
        match (self.things.sessions.any(&mut self.dice), self.dice.roll(6)) {
            (None, 0..3) | (_, 0) => {
                let sign_in = auth.create_session(&self.tenant.slug, "ada@example.com", PASSWORD);
                let made = sign_in.send().await?;
                stead_harness::plant(crate::fixture::secret_of(made.token.expose()));
                self.things.sessions.add(made.session.id, &mut self.dice);
                Ok(())
            }
            (Some(session), 1..5) => auth.extend_session(session).send().await.map(drop),
            (Some(session), _) => auth.revoke_session(session).send().await.map(drop),
            (None, _) => Ok(()),
        }
    }

    async fn write_a_tenant(&mut self, platform: &Client) -> Result<(), Error> {
        let tenants = platform.tenants();
        self.asks(1);
        let Some(id) = self.things.tenants.any(&mut self.dice).filter(|_| self.dice.roll(4) > 0) else {
            let new = NewTenant::new(format!("made-{}", Uuid::new_v4().simple()), "A tenant that was made");
            let tenant = tenants.create(new).send().await?;
            self.things.tenants.add(tenant.id, &mut self.dice);
            return Ok(());
        };
        match self.dice.roll(6) {
            0 | 1 => {
                tenants.update(id, TenantPatch::new().plan(["pro", "gold"][self.dice.roll(2) as usize])).send().await?
            }
            2 => tenants.suspend(id).send().await?,
            3 => tenants.resume(id).send().await?,
            4 => tenants.delete(id).send().await?,
            _ => tenants.undelete(id).send().await?,
        };
        Ok(())
    }
}
