//! The gRPC edge of users, in the order of the contract: decode, decide, act, encode.
//! It leaves SQL to the store and field rules to the model.

use std::sync::Arc;

use stead_api::{servers::user_service_server::UserService, v1};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use super::{
    cache,
    model::{FIELDS, NewUser, ORDERS, User, UserPatch},
    password::{self, Hasher},
    store::{self, TABLE},
};
use crate::{
    cache::{Cache, Touched},
    db::{Database, TenantConnection},
    error::Error,
    etag,
    filter::{self, Filter},
    idempotency::{self, Write},
    listing::{self, List},
    mask::ReadMask,
    page::{Asked, Page},
    permissions::Role,
    principal::{Call, Principal},
    rules::Violations,
    seal::Seal,
};

/// How often an update that may create looks again.
const ATTEMPTS: usize = 4;

/// Users over gRPC.
#[derive(Clone, Debug)]
pub struct Service {
    pub(super) db: Database,
    seal: Arc<Seal>,
    pub(super) cache: Cache,
    hasher: Hasher,
}

impl Service {
    /// A service on the database.
    pub fn new(db: Database, seal: Arc<Seal>, cache: Cache, hasher: Hasher) -> Service {
        Service { db, seal, cache, hasher }
    }

    /// A connection to write these users on.
    async fn connect(&self, call: &Call, write: &Write, ids: [Uuid; 1]) -> Result<TenantConnection, Error> {
        let touched = (cache::group(call.principal.tenant), Touched::of(ids));
        write.connect(&self.db.app, call.principal.tenant, &self.cache, touched).await
    }

    async fn create(&self, call: Call, mut request: v1::CreateUserRequest) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let password = password::read(std::mem::take(&mut request.password), &mut violations);
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.new_id("user_id", &request.user_id);
        let new = NewUser::read(request.user.unwrap_or_default(), call.principal.authority(), &mut violations);
        violations.into_result()?;
        let hash = match password {
            Some(password) if !write.validate_only => Some(self.hasher.hash(password, call.deadline).await?),
            _ => None,
        };

        let mut db = self.connect(&call, &write, [id]).await?;
        self.insert(&mut db, &write, id, &new, hash.as_deref()).await
    }

    async fn get(&self, call: Call, request: v1::GetUserRequest) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let id = violations.name("name", "users", &request.name);
        let mask = ReadMask::read(request.read_mask, &mut violations);
        violations.into_result()?;
        if request.show_deleted {
            let mut db = self.db.app.tenant(call.principal.tenant).await?;
            let user = store::find(&mut db, id, true).await?.ok_or_else(|| missing(id))?;
            return Ok(Response::new(mask.applied(user.into())));
        }
        let user = cache::one(self, &call, id).await?.ok_or_else(|| missing(id))?;
        Ok(Response::new(mask.applied(user)))
    }

    async fn list(&self, call: Call, request: v1::ListUsersRequest) -> Result<Response<v1::ListUsersResponse>, Error> {
        let listed = match request.page_token.is_empty() && !request.show_deleted {
            true => cache::first_page(self, &call, &request).await?,
            false => self.page(&call, &request).await?,
        };
        Ok(Response::new(listed))
    }

    /// A page as it stands in PostgreSQL.
    pub(super) async fn page(
        &self,
        call: &Call,
        request: &v1::ListUsersRequest,
    ) -> Result<v1::ListUsersResponse, Error> {
        let mut violations = Violations::default();
        let filter = Filter::read(&request.filter, FIELDS, &call.principal.permissions, &mut violations);
        let mask = ReadMask::read(request.read_mask.clone(), &mut violations);
        let count = listing::count_mode(request.count_mode, &mut violations);
        let asked = Asked {
            method: call.method.path,
            size: request.page_size,
            token: &request.page_token,
            order_by: &request.order_by,
            shape: filter::shape(&request.filter, request.show_deleted),
        };
        let page = Page::read(asked, ORDERS, &call.principal, &self.seal, &mut violations);
        violations.into_result()?;
        let mut db = self.db.app.tenant(call.principal.tenant).await?;
        let list = List { table: &TABLE, page: &page, filter: &filter, show_deleted: request.show_deleted };
        let found = list.rows(&mut db).await?;
        let total = list.total(count, &mut db).await?;
        drop(db);
        let (users, next_page_token) =
            page.answer(asked.method, found, &call.principal, &self.seal, User::place, |user| {
                mask.applied(user.into())
            });
        let (total_size, total_size_kind) = (total.size, total.kind);
        Ok(v1::ListUsersResponse { users, next_page_token, total_size, total_size_kind })
    }

    async fn update(&self, call: Call, request: v1::UpdateUserRequest) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let user = request.user.unwrap_or_default();
        let id = violations.name("user.name", "users", &user.name);
        let target = Target::of(&call.principal, id, (&user.etag, "user.etag"));
        // An etag is of a user that was there. The rules of a whole user bind only if it turns out that one is created.
        let mut faults = Violations::default();
        if id.is_nil() || id.is_max() {
            faults.add("user.name", "names no user that could be created: use a UUID of your own making");
        }
        let authority = call.principal.authority();
        let creates = request.allow_missing && user.etag.is_empty();
        let new = creates.then(|| NewUser::read(user.clone(), authority, &mut faults));
        let patch = UserPatch::read(user, request.update_mask, authority, &mut violations);
        violations.into_result()?;

        let mut db = self.connect(&call, &write, [id]).await?;
        let Some(new) = new else { return self.change(&mut db, &write, target, &patch).await };
        // Somebody else may create or delete it between two looks.
        for _ in 0..ATTEMPTS {
            let changed = self.change(&mut db, &write, target, &patch).await;
            let (Err(Error::NotFound { .. }) | Err(Error::Conflict)) = &changed else {
                return changed;
            };
            write.again(&mut db).await?;
            match store::find(&mut db, id, true).await? {
                Some(user) if user.delete_time.is_some() => return changed,
                Some(_) => continue,
                None => std::mem::take(&mut faults).into_result()?,
            }
            let created = self.insert(&mut db, &write, id, &new, None).await;
            let Err(Error::AlreadyExists { field: "user_id", .. }) = created else { return created };
            write.again(&mut db).await?;
        }
        Err(Error::Conflict)
    }

    async fn delete(&self, call: Call, request: v1::DeleteUserRequest) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "users", &request.name);
        let target = Target::of(&call.principal, id, (&request.etag, "etag"));
        violations.into_result()?;

        let mut db = self.connect(&call, &write, [id]).await?;
        let deleted = self.watched(&mut db, &write, target, None).await;
        let (Err(Error::NotFound { .. }), true) = (&deleted, request.allow_missing) else { return deleted };
        let gone = store::find(&mut db, id, true).await?;
        if gone.as_ref().is_some_and(|user| user.delete_time.is_none()) {
            return Err(Error::Conflict);
        }
        idempotency::keep(&mut db, &write, &gone).await?;
        Ok(Response::new(answer(id, gone)))
    }

    async fn undelete(&self, call: Call, request: v1::UndeleteUserRequest) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "users", &request.name);
        let target = Target::of(&call.principal, id, (&request.etag, "etag"));
        violations.into_result()?;

        let mut db = self.connect(&call, &write, [id]).await?;
        let written = store::undelete(&mut db, &write, id, target.revision, &target.above()).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            let found = store::find(&mut db, id, true).await?;
            write.end(&mut db).await?;
            return Err(match found {
                None => missing(id),
                Some(user) if user.delete_time.is_none() => not_deleted(),
                Some(user) => target.unfit(&user),
            });
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::User::from))
    }

    async fn set_password(
        &self,
        call: Call,
        mut request: v1::SetUserPasswordRequest,
    ) -> Result<Response<v1::User>, Error> {
        let mut violations = Violations::default();
        let password = password::read(std::mem::take(&mut request.password), &mut violations);
        if password.is_some() {
            // That there is one is no secret, and tells setting from removing.
            request.password = "set".into();
        }
        let write =
            Write::new(&call, &self.seal, &request, &request.request_id, request.validate_only, &mut violations);
        let id = violations.name("name", "users", &request.name);
        violations.into_result()?;
        let hash = match password {
            Some(password) if !write.validate_only => Some(self.hasher.hash(password, call.deadline).await?),
            _ => None,
        };

        let mut db = self.connect(&call, &write, [id]).await?;
        let target = Target { id, revision: None, field: "etag", caller: &call.principal };
        let written = store::set_password(&mut db, &write, id, hash.as_deref(), &target.above()).await;
        let Some(outcome) = idempotency::settle(&mut db, &self.seal, &write, written).await? else {
            return Err(self.refusal(&mut db, &write, target).await?);
        };
        write.end(&mut db).await?;
        Ok(outcome.answer(v1::User::from))
    }

    /// Writes a user that is not there yet, in what `begin` began.
    async fn insert(
        &self,
        db: &mut TenantConnection,
        write: &Write,
        id: Uuid,
        new: &NewUser,
        password_hash: Option<&str>,
    ) -> Result<Response<v1::User>, Error> {
        let written = store::insert(db, write, id, new, password_hash).await;
        let outcome = idempotency::settle(db, &self.seal, write, written).await?;
        let outcome = outcome.ok_or_else(|| Error::internal("an insert wrote nothing"))?;
        write.end(db).await?;
        Ok(outcome.answer(v1::User::from))
    }

    /// Changes a user that is there, in what `begin` began.
    async fn change(
        &self,
        db: &mut TenantConnection,
        write: &Write,
        target: Target<'_>,
        patch: &UserPatch,
    ) -> Result<Response<v1::User>, Error> {
        if patch.ends_ownership() {
            return self.watched(db, write, target, Some(patch)).await;
        }
        let written = store::update(db, write, target.id, target.revision, patch, &target.above()).await;
        let Some(outcome) = idempotency::settle(db, &self.seal, write, written).await? else {
            return Err(self.refusal(db, write, target).await?);
        };
        write.end(db).await?;
        Ok(outcome.answer(v1::User::from))
    }

    /// Updates (with a patch) or deletes (without) somebody who may be the last active owner.
    ///
    /// Everybody who may take an owner away holds the locks of all owners while looking and writing, so that no two of
    /// them can each leave the other as the last. A replay is told before the refusal: it writes nothing.
    async fn watched(
        &self,
        db: &mut TenantConnection,
        write: &Write,
        target: Target<'_>,
        patch: Option<&UserPatch>,
    ) -> Result<Response<v1::User>, Error> {
        let (Target { id, revision, .. }, above) = (target, target.above());
        if !write.validate_only {
            db.begin().await?;
        }
        let last_owner = store::lock_owners(db, id).await? == [id];
        store::set_mark(db).await?;
        let written = match patch {
            _ if last_owner => Ok(None),
            Some(patch) => store::update(db, write, id, revision, patch, &above).await,
            None => store::delete(db, write, id, revision, &above).await,
        };
        if written.is_err() {
            store::return_to_mark(db).await?;
        }
        let written = written.map(|user| user.map(Some));
        let answer = match idempotency::settle(db, &self.seal, write, written).await? {
            Some(outcome) => Ok(outcome.answer(|user| answer(id, user))),
            None if last_owner && above.is_empty() => Err(last_owner_stays()),
            None => Err(self.refusal(db, write, target).await?),
        };
        if write.validate_only {
            write.end(db).await?;
        } else {
            db.commit().await?;
        }
        answer
    }

    /// Why a write found no row to write.
    async fn refusal(&self, db: &mut TenantConnection, write: &Write, target: Target<'_>) -> Result<Error, Error> {
        let found = store::find(db, target.id, false).await?;
        write.end(db).await?;
        Ok(match found {
            None => missing(target.id),
            Some(user) => target.unfit(&user),
        })
    }
}

/// Who is to be written, at which revision, and by whom.
#[derive(Clone, Copy)]
struct Target<'a> {
    id: Uuid,
    revision: Option<i64>,
    /// Where the request says the revision.
    field: &'static str,
    caller: &'a Principal,
}

impl Target<'_> {
    fn of<'a>(caller: &'a Principal, id: Uuid, (etag, field): (&str, &'static str)) -> Target<'a> {
        Target { id, revision: etag::expected(caller, id, etag), field, caller }
    }

    /// The roles that nobody may have whom the caller writes. The write itself looks at them, in the row that it locked.
    fn above(&self) -> Vec<String> {
        Role::above(self.caller.authority())
    }

    /// The refusal of a write whose user is there, but was not as it should be when the write looked.
    fn unfit(&self, user: &User) -> Error {
        match self.caller.may_write(&user.roles) {
            Ok(()) => etag::refusal(self.revision, self.field, user.id, user.revision).unwrap_or(Error::Conflict),
            Err(above) => above,
        }
    }
}

/// The user, or of one that never was its name alone.
fn answer(id: Uuid, user: Option<User>) -> v1::User {
    user.map_or_else(|| v1::User { name: format!("users/{id}"), ..v1::User::default() }, v1::User::from)
}

fn missing(id: Uuid) -> Error {
    Error::NotFound { kind: "user", name: format!("users/{id}") }
}

fn not_deleted() -> Error {
    Error::Precondition {
        reason: "NOT_DELETED",
        words: "the user is not deleted: there is nothing to bring back".into(),
    }
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

    async fn undelete_user(&self, request: Request<v1::UndeleteUserRequest>) -> Answer<v1::User> {
        Ok(self.undelete(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn lookup_user(&self, request: Request<v1::LookupUserRequest>) -> Answer<v1::User> {
        Ok(self.lookup(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn batch_get_users(&self, request: Request<v1::BatchGetUsersRequest>) -> Answer<v1::BatchGetUsersResponse> {
        Ok(self.batch_get(Call::of(&request)?, request.into_inner()).await?)
    }

    async fn set_user_password(&self, request: Request<v1::SetUserPasswordRequest>) -> Answer<v1::User> {
        Ok(self.set_password(Call::of(&request)?, request.into_inner()).await?)
    }
}
