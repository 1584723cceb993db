//! The gRPC edge of users, in the order of the contract: decode, decide, act, encode.
//! It leaves SQL to the store and field rules to the model.

use std::sync::Arc;

use stead_api::{servers::user_service_server::UserService, v1};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    model::{NewUser, ORDERS, User, UserPatch},
    password::{self, Hasher},
    store,
};
use crate::{
    db::{Database, TenantConnection},
    error::Error,
    etag,
    idempotency::{self, Write},
    page::{Asked, Page},
    principal::Call,
    rules::Violations,
    seal::Seal,
};

/// Users over gRPC.
#[derive(Clone, Debug)]
pub struct Service {
    db: Database,
    seal: Arc<Seal>,
    hasher: Hasher,
}

impl Service {
    /// A service on the database.
    pub fn new(db: Database, seal: Arc<Seal>) -> Service {
        Service { db, seal, hasher: Hasher::new() }
    }

    async fn create(&self, call: Call, mut request: v1::CreateUserRequest) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let password = password::read(std::mem::take(&mut request.password), &mut violations);
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.new_id("user_id", &request.user_id);
        let new = NewUser::read(request.user.unwrap_or_default(), &mut violations);
        violations.into_result()?;
        let hash = match password {
            Some(password) if !write.validate_only => Some(self.hasher.hash(password, call.deadline).await?),
            _ => None,
        };

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        write.begin(&mut db).await?;
        let written = store::insert(&mut db, &write, id, &new, hash.as_deref()).await;
        let outcome = idempotency::settle(&mut db, &self.seal, &write, written).await?;
        let outcome = outcome.ok_or_else(|| Error::internal("an insert wrote nothing"))?;
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::User::from))
    }

    async fn get(&self, call: Call, request: v1::GetUserRequest) -> Result<Response<v1::User>, Error> {
        let id = name(&request.name)?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let user = store::find(&mut db, id, request.show_deleted).await?.ok_or_else(|| missing(id))?;
        Ok(Response::new(user.into()))
    }

    async fn list(&self, call: Call, request: v1::ListUsersRequest) -> Result<Response<v1::ListUsersResponse>, Error> {
        let mut violations = Violations::default();
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by: &request.order_by,
            shape: request.show_deleted.into(),
        };
        let page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let rows = store::list(&mut db, &page, request.show_deleted).await?;
        drop(db);
        let (users, next_page_token) =
            page.answer(asked.method, rows, &call.principal, &self.seal, User::place, v1::User::from);
        Ok(Response::new(v1::ListUsersResponse { users, next_page_token }))
    }

    async fn update(&self, call: Call, request: v1::UpdateUserRequest) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let user = request.user.unwrap_or_default();
        let id = violations.name("user.name", "users", &user.name);
        let revision = etag::expected(&call.principal, id, &user.etag, &mut violations);
        let patch = UserPatch::read(user, request.update_mask, &mut violations);
        violations.into_result()?;

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        if patch.ends_ownership() {
            return self.watched(&mut db, &write, id, revision, Some(&patch)).await;
        }
        write.begin(&mut db).await?;
        let written = store::update(&mut db, &write, id, revision, &patch).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            return Err(self.refusal(&mut db, id, revision).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::User::from))
    }

    async fn delete(&self, call: Call, request: v1::DeleteUserRequest) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "users", &request.name);
        let revision = etag::expected(&call.principal, id, &request.etag, &mut violations);
        violations.into_result()?;

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        self.watched(&mut db, &write, id, revision, None).await
    }

    /// Updates (with a patch) or deletes (without) somebody who may be the last active owner.
    ///
    /// Everybody who may take an owner away holds the locks of all owners while looking and writing, so that no two of
    /// them can each leave the other as the last. A replay is told before the refusal: it writes nothing.
    async fn watched(
        &self,
        db: &mut TenantConnection,
        write: &Write,
        id: Uuid,
        revision: Option<i64>,
        patch: Option<&UserPatch>,
    ) -> Result<Response<v1::User>, Error> {
        db.begin().await?;
        let last_owner = store::lock_owners(db).await? == [id];
        store::set_mark(db).await?;
        let written = match patch {
            _ if last_owner => Ok(None),
            Some(patch) => store::update(db, write, id, revision, patch).await,
            None => store::delete(db, write, id, revision).await,
        };
        if written.is_err() {
            store::return_to_mark(db).await?;
        }
        let answer = match idempotency::settle(db, &self.seal, write, written).await? {
            Some(outcome) => Ok(outcome.answer(v1::User::from)),
            None if last_owner => Err(last_owner_stays()),
            None => Err(self.refusal(db, id, revision).await?),
        };
        if write.validate_only {
            write.end(db).await?;
        } else {
            db.commit().await?;
        }
        answer
    }

    /// Why a write found no row to write.
    async fn refusal(&self, db: &mut TenantConnection, id: Uuid, revision: Option<i64>) -> Result<Error, Error> {
        Ok(match store::find(db, id, false).await? {
            None => missing(id),
            Some(user) if revision.is_some_and(|revision| revision != user.revision) => {
                Error::Stale { current_etag: etag::of(id, user.revision) }
            }
            Some(_) => Error::unavailable("TENANT_CONTEXT_LOST"),
        })
    }
}

fn name(name: &str) -> Result<Uuid, Error> {
    let mut violations = Violations::default();
    let id = violations.name("name", "users", name);
    violations.into_result().map(|()| id)
}

fn missing(id: Uuid) -> Error {
    Error::NotFound { kind: "user", name: format!("users/{id}") }
}

fn last_owner_stays() -> Error {
    Error::Precondition {
        reason: "LAST_OWNER",
        words: "this is the tenant's last active owner, who stays: make somebody else an owner first".into(),
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl UserService for Service {
    async fn create_user(&self, request: Request<v1::CreateUserRequest>) -> Answer<v1::User> {
        Ok(self.create(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn get_user(&self, request: Request<v1::GetUserRequest>) -> Answer<v1::User> {
        Ok(self.get(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn list_users(&self, request: Request<v1::ListUsersRequest>) -> Answer<v1::ListUsersResponse> {
        Ok(self.list(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn update_user(&self, request: Request<v1::UpdateUserRequest>) -> Answer<v1::User> {
        Ok(self.update(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn delete_user(&self, request: Request<v1::DeleteUserRequest>) -> Answer<v1::User> {
        Ok(self.delete(Call::of(&request)?, request.into_inner()).await?)
    }
}
