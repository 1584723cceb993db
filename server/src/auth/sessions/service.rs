//! The gRPC edge of sessions, in the order of the contract: decode, decide, act, encode.
//! It leaves signing in to `login`, SQL to the store and whose sessions are in whose reach to the model.

use stead_api::v1;
use tonic::Response;
use uuid::Uuid;

use super::{
    model::{self, Login, NEWEST_FIRST, ORDERS, Reach, Session},
    store::{self, Seen},
};
use crate::{
    auth::Service,
    db::TenantConnection,
    error::Error,
    filter,
    idempotency::{self, Write},
    page::{Asked, Page},
    principal::{AnonymousCall, Call},
    rules::Violations,
};

impl Service {
    pub(in crate::auth) async fn open_session(
        &self,
        call: AnonymousCall,
        request: v1::CreateSessionRequest,
    ) -> Result<Response<v1::CreateSessionResponse>, Error> {
        let mut violations = Violations::default();
        let login = Login::read(request, &mut violations);
        violations.into_result()?;
        let (session, token) = self.log_in(&call, login).await?;
        let token = token.reveal().to_string();
        Ok(Response::new(v1::CreateSessionResponse { session: Some(session.into()), token }))
    }

    pub(in crate::auth) async fn extend_one(
        &self,
        call: Call,
        request: v1::ExtendSessionRequest,
    ) -> Result<Response<v1::Session>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = model::named(&request.name, &call.principal, &mut violations);
        violations.into_result()?;

        let reach = Reach::of(&call.principal);
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        write.begin(&mut db).await?;
        let written = store::extend(&mut db, &write, id, &reach, &self.limits).await;
        let settled = idempotency::settle::<Session>(&mut db, &self.seal, &write, written).await?;
        let Some(outcome) = settled else {
            let over = seen(&mut db, &write, id, &reach).await?.over;
            return Err(if over { session_ended() } else { Error::Conflict });
        };
        write.end(&mut db).await?;
        reach.check_replay(outcome.value.user_id)?;
        Ok(outcome.answer(Into::into))
    }

    pub(in crate::auth) async fn revoke_one(
        &self,
        call: Call,
        request: v1::RevokeSessionRequest,
    ) -> Result<Response<v1::Session>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = model::named(&request.name, &call.principal, &mut violations);
        violations.into_result()?;

        let reach = Reach::of(&call.principal);
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        write.begin(&mut db).await?;
        let written = store::revoke(&mut db, &write, id, &reach).await;
        if let Some(outcome) = idempotency::settle::<Session>(&mut db, &self.seal, &write, written).await? {
            write.end(&mut db).await?;
            reach.check_replay(outcome.value.user_id)?;
            return Ok(outcome.answer(Into::into));
        }
        match seen(&mut db, &write, id, &reach).await?.session {
            session if session.revoke_time.is_some() => Ok(Response::new(session.into())),
            _ => Err(Error::Conflict),
        }
    }

    pub(in crate::auth) async fn revoke_all(
        &self,
        call: Call,
        request: v1::RevokeUserSessionsRequest,
    ) -> Result<Response<v1::RevokeUserSessionsResponse>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let user = model::user(&request.user, &call.principal, &mut violations);
        violations.into_result()?;

        let reach = Reach::of(&call.principal);
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        write.begin(&mut db).await?;
        let written = store::revoke_all(&mut db, &write, user, &reach).await;
        if let Some(outcome) = idempotency::settle::<model::Revoked>(&mut db, &self.seal, &write, written).await? {
            write.end(&mut db).await?;
            reach.check_replay(user)?;
            let encode =
                |revoked: model::Revoked| v1::RevokeUserSessionsResponse { revoked_count: revoked.revoked_count };
            return Ok(outcome.answer(encode));
        }
        let roles = store::find_roles(&mut db, user).await?;
        write.end(&mut db).await?;
        reach.check(roles.as_deref().map(|roles| (user, roles)))?;
        Err(match roles {
            Some(_) => Error::Conflict,
            None => Error::NotFound { kind: "user", name: format!("users/{user}") },
        })
    }

    pub(in crate::auth) async fn list_some(
        &self,
        call: Call,
        request: v1::ListSessionsRequest,
    ) -> Result<Response<v1::ListSessionsResponse>, Error> {
        let mut violations = Violations::default();
        let user = match request.user.as_str() {
            "users/-" => None,
            name => Some(model::user(name, &call.principal, &mut violations)),
        };
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by: NEWEST_FIRST,
            shape: filter::shape(&request.user, false),
        };
        let page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let own = user.is_some() && user == call.principal.user();
        if !own && !call.principal.permissions.allow("sessions.read") {
            return Err(Error::Forbidden("sessions.read"));
        }
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let found = store::list(&mut db, user, &page).await?;
        drop(db);
        let (sessions, next_page_token) =
            page.answer(asked.method, found, &call.principal, &self.seal, Session::place, v1::Session::from);
        Ok(Response::new(v1::ListSessionsResponse { sessions, next_page_token }))
    }
}

/// The session that a write found nothing to do on, if the caller may hear of it.
async fn seen(db: &mut TenantConnection, write: &Write, id: Uuid, reach: &Reach) -> Result<Seen, Error> {
    let found = store::find(db, id).await?;
    write.end(db).await?;
    reach.check(found.as_ref().map(|seen| (seen.session.user_id, &*seen.roles)))?;
    found.ok_or_else(|| Error::NotFound { kind: "session", name: format!("sessions/{id}") })
}

fn session_ended() -> Error {
    Error::Precondition {
        reason: "SESSION_ENDED",
        words: "the session is over and cannot be extended: sign in again".into(),
    }
}
