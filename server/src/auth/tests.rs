//! Credentials on a real PostgreSQL: the world that the tests share.
//! It leaves the whole path of a call to the promises.

mod keys;
mod limits;
mod logins;
mod looks;
mod roles;
mod service;
mod sessions;
mod verify;

use std::{sync::Arc, time::Duration};

use sqlx::{AssertSqlSafe, PgConnection};
use stead_api::v1;
use stead_harness::{Database as Fresh, Role};
use tonic::{Code, Request, Status};
use tonic_types::StatusExt;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::{
    ApiKey, Service, Token, Verifier,
    keys::{Holder, NewKey},
};
use crate::{
    cache::Cache,
    config::{SecretKey, SecretKeys, Sessions, Value},
    db::{Database, Pool},
    error::Error,
    principal::{Call, Facts, Principal, Reading, TenantId},
    seal::Seal,
    users::Hasher,
};

struct World {
    fresh: Fresh,
    db: Database,
    owner: PgConnection,
    verifier: Verifier,
    service: Service,
    acme: TenantId,
    globex: TenantId,
}

impl World {
    async fn new() -> World {
        let fresh = Fresh::fresh().await;
        let options = fresh.url(Role::App).parse().unwrap();
        // One connection: each tenant's call takes over the one before it left.
        let app = Pool::new("stead_app", options, 1, Duration::from_secs(5));
        let db = Database { app, platform: None };
        let secret = SecretKey { id: "a".into(), key: Zeroizing::new([1; 32]) };
        let seal = Arc::new(Seal::new(&SecretKeys::parse(&secret.to_text()).unwrap()));
        let owner = fresh.connect(Role::Owner).await;
        let cache = Cache::for_tests(&db.app);
        let service = Service::new(db.clone(), seal, cache, Hasher::new(), limits());
        let verifier = Verifier::new(db.clone());
        let (acme, globex) = (TenantId(Uuid::now_v7()), TenantId(Uuid::now_v7()));
        let world = World { fresh, db, owner, verifier, service, acme, globex };
        for (tenant, slug) in [(acme, "acme"), (globex, "globex")] {
            world
                .alter(format!(
                    "insert into stead.tenants (id, slug, display_name) values ('{}', '{slug}', 'T')",
                    tenant.0
                ))
                .await;
        }
        world
    }

    /// Does what no service can, as the superuser.
    async fn alter(&self, statement: String) {
        let mut all = self.fresh.connect(Role::Superuser).await;
        sqlx::query(AssertSqlSafe(statement)).execute(&mut all).await.unwrap();
    }

    async fn count(&self, query: &str) -> i64 {
        let mut all = self.fresh.connect(Role::Superuser).await;
        sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(&mut all).await.unwrap()
    }

    /// Waits for what is written beside the calls.
    async fn reached(&self, count: &str, wanted: i64) {
        let mut all = self.fresh.connect(Role::Superuser).await;
        let until = async {
            while sqlx::query_scalar::<_, i64>(AssertSqlSafe(count)).fetch_one(&mut all).await.unwrap() != wanted {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), until)
            .await
            .unwrap_or_else(|_| panic!("never {wanted}: {count}"));
    }

    async fn key(&mut self, holder: Holder<'_>) -> Token {
        self.make(holder, NewKey::of_service("till", holder.permissions())).await.1
    }

    async fn make(&mut self, holder: Holder<'_>, new: NewKey) -> (ApiKey, Token) {
        super::keys::create(&mut self.owner, holder, new).await.unwrap()
    }

    /// Asks without any cache.
    async fn verify(&self, text: &str, asked: Option<TenantId>) -> Result<Principal, Error> {
        Verifier::new(self.db.clone()).principal(text, asked, None).await
    }

    async fn refusal(&self, text: &str, asked: Option<TenantId>) -> Wire {
        wire(self.verify(text, asked).await.unwrap_err().into())
    }

    async fn call<M>(&self, token: &Token, method: &str, message: M) -> Request<M> {
        let principal = self.verify(&token.reveal(), None).await.unwrap();
        as_call(principal, method, message)
    }

    async fn user(&self, tenant: TenantId) -> Uuid {
        let id = Uuid::now_v7();
        let (email, tenant) = (format!("{id}@example.com"), tenant.0);
        let columns = "tenant_id, id, email, email_key";
        let row = format!("'{tenant}', '{id}', '{email}', '{email}'");
        self.alter(format!("insert into stead.users ({columns}) values ({row})")).await;
        id
    }
}

fn limits() -> Sessions {
    let hour = Duration::from_secs(3600);
    Sessions { session_idle: 12 * hour, session_absolute: 30 * 24 * hour }
}

fn as_call<M>(principal: Principal, method: &str, message: M) -> Request<M> {
    let method = stead_api::method(&format!("/stead.v1.{method}")).unwrap();
    let deadline = tokio::time::Instant::now() + Duration::from_secs(10);
    let mut request = Request::new(message);
    request.extensions_mut().insert(Call {
        principal,
        method,
        deadline,
        facts: Facts::default(),
        reading: Reading::default(),
    });
    request
}

/// All that a caller sees of a refusal.
type Wire = (Code, String, Vec<u8>);

fn wire(status: Status) -> Wire {
    (status.code(), status.message().to_owned(), status.details().to_vec())
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().unwrap().reason
}

fn fields(status: &Status) -> Vec<String> {
    let broken = status.get_details_bad_request();
    broken.unwrap().field_violations.into_iter().map(|violation| violation.field).collect()
}

fn new_key(subject: &str, permissions: &[&str]) -> v1::ApiKey {
    v1::ApiKey {
        subject: subject.into(),
        permissions: permissions.iter().map(|name| (*name).into()).collect(),
        ..Default::default()
    }
}
