//! The gRPC edge of credentials, in the order of the contract: decode, decide, act, encode.
//! It leaves sessions to `sessions`, SQL to the store, field rules to the model and the secret's text to `token`.

use std::sync::Arc;

use chrono::Utc;
use stead_api::{servers::auth_service_server::AuthService, v1};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    aside::Aside,
    model::{self, ApiKey, NewKey, ORDERS},
    store,
    throttle::Throttle,
    token::{Kind, Token},
};
use crate::{
    cache::Cache,
    config::Sessions,
    db::{Database, TenantConnection},
    error::Error,
    filter::Filter,
    idempotency::{self, Outcome, Write},
    listing::List,
    page::{Asked, Page},
    permissions::Role,
    principal::{AnonymousCall, Call, Principal, TenantId},
    rules::Violations,
    seal::Seal,
    users::Hasher,
};

/// Credentials over gRPC.
#[derive(Clone, Debug)]
pub struct Service {
    pub(super) db: Database,
    pub(super) seal: Arc<Seal>,
    pub(super) cache: Cache,
    pub(super) hasher: Hasher,
    pub(super) limits: Sessions,
    pub(super) throttle: Arc<Throttle>,
    pub(super) aside: Aside,
}

impl Service {
    /// A service on the database.
    pub fn new(db: Database, seal: Arc<Seal>, cache: Cache, hasher: Hasher, limits: Sessions) -> Service {
        let aside = Aside::new(db.clone());
        Service { db, seal, cache, hasher, limits, throttle: Arc::new(Throttle::new()), aside }
    }

    async fn create(
        &self,
        call: Call,
        request: v1::CreateApiKeyRequest,
    ) -> Result<Response<v1::CreateApiKeyResponse>, Error> {
        let tenant = call.principal.tenant;
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let mut new = NewKey::read(request.api_key.unwrap_or_default(), &mut violations);
        let user = new.check("api_key.", tenant, call.principal.permissions, Utc::now(), &mut violations);
        if let Some(user) = user {
            match self.roles(tenant, user).await? {
                Some(roles) => call.principal.may_act_as(&roles)?,
                None => {
                    violations.add("api_key.subject", "is not a live user of the tenant: name another, or a service");
                }
            }
        }
        let mut db = self.db.app.tenant(tenant).await?;
        if let Err(broken) = violations.into_result() {
            // What the first attempt was allowed (a time to come, a user who was there) may be refused to its retry.
            let kept = idempotency::settle::<ApiKey>(&mut db, &self.seal, &write, Ok(None)).await?;
            return Err(if kept.is_some() { Error::SecretAlreadyShown } else { broken });
        }

        let token = Token::generate(Kind::Key, tenant);
        write.begin(&mut db).await?;
        let written = store::insert(&mut db, (&write).into(), &token, &new).await;
        let outcome = idempotency::settle::<ApiKey>(&mut db, &self.seal, &write, written).await?;
        let outcome = outcome.ok_or_else(|| Error::internal("an insert wrote nothing"))?;
        if outcome.replayed {
            return Err(Error::SecretAlreadyShown);
        }
        write.end(&mut db).await?;
        let secret = if write.validate_only { String::new() } else { token.reveal().to_string() };
        Ok(outcome.answer(|key| v1::CreateApiKeyResponse { api_key: Some(key.into()), secret }))
    }

    async fn list(
        &self,
        call: Call,
        request: v1::ListApiKeysRequest,
    ) -> Result<Response<v1::ListApiKeysResponse>, Error> {
        let mut violations = Violations::default();
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by: "",
            shape: 0,
        };
        let page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let list = List { table: &store::TABLE, page: &page, filter: &Filter::default(), show_deleted: true };
        let found = list.rows(&mut db).await?;
        drop(db);
        let (api_keys, next_page_token) =
            page.answer(asked.method, found, &call.principal, &self.seal, ApiKey::place, v1::ApiKey::from);
        Ok(Response::new(v1::ListApiKeysResponse { api_keys, next_page_token }))
    }

    async fn revoke(&self, call: Call, request: v1::RevokeApiKeyRequest) -> Result<Response<v1::ApiKey>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "apiKeys", &request.name);
        violations.into_result()?;

        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        write.begin(&mut db).await?;
        let above = Role::above(call.principal.rank());
        let written = store::revoke(&mut db, (&write).into(), call.principal.tenant, id, &above).await;
        let outcome = match idempotency::settle(&mut db, &self.seal, &write, written).await? {
            Some(outcome) => outcome,
            None => Outcome { value: revoked_before(&mut db, &call.principal, id).await?, replayed: false },
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(Into::into))
    }

    /// The roles of a live user.
    async fn roles(&self, tenant: TenantId, user: Uuid) -> Result<Option<Vec<String>>, Error> {
        let mut db = self.db.app.tenant(tenant).await?;
        loop {
            let roles = store::find_roles(&mut db, tenant, user).await?;
            if roles.is_some() || !db.was_stale().await? {
                return Ok(roles);
            }
        }
    }
}

/// The key that a revocation found nothing to do on, or not by this caller.
async fn revoked_before(db: &mut TenantConnection, caller: &Principal, id: Uuid) -> Result<ApiKey, Error> {
    let tenant = db.tenant();
    loop {
        match store::find(&mut *db, tenant, id).await? {
            Some(key) if key.revoke_time.is_some() => return Ok(key),
            Some(key) => {
                caller.may_act_as(&store::find_roles_behind(db, &key).await?)?;
                return Err(Error::unavailable("TENANT_CONTEXT_LOST"));
            }
            None if db.was_stale().await? => {}
            None => return Err(Error::NotFound { kind: "API key", name: format!("apiKeys/{id}") }),
        }
    }
}

type Answer<T> = Result<Response<T>, Status>;

#[tonic::async_trait]
impl AuthService for Service {
    async fn who_am_i(&self, request: Request<v1::WhoAmIRequest>) -> Answer<v1::WhoAmIResponse> {
        Ok(Response::new(model::who_am_i(&Call::of(&request)?.principal)))
    }

    async fn create_api_key(&self, request: Request<v1::CreateApiKeyRequest>) -> Answer<v1::CreateApiKeyResponse> {
        Ok(self.create(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn list_api_keys(&self, request: Request<v1::ListApiKeysRequest>) -> Answer<v1::ListApiKeysResponse> {
        Ok(self.list(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn revoke_api_key(&self, request: Request<v1::RevokeApiKeyRequest>) -> Answer<v1::ApiKey> {
        Ok(self.revoke(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn create_session(&self, request: Request<v1::CreateSessionRequest>) -> Answer<v1::CreateSessionResponse> {
        Ok(self.open_session(AnonymousCall::of(&request)?, request.into_inner()).await?)
    }

    async fn extend_session(&self, request: Request<v1::ExtendSessionRequest>) -> Answer<v1::Session> {
        Ok(self.extend_one(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn revoke_session(&self, request: Request<v1::RevokeSessionRequest>) -> Answer<v1::Session> {
        Ok(self.revoke_one(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn revoke_user_sessions(
        &self,
        request: Request<v1::RevokeUserSessionsRequest>,
    ) -> Answer<v1::RevokeUserSessionsResponse> {
        Ok(self.revoke_all(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn list_sessions(&self, request: Request<v1::ListSessionsRequest>) -> Answer<v1::ListSessionsResponse> {
        Ok(self.list_some(Call::of(&request)?, request.into_inner()).await?)
    }
}
