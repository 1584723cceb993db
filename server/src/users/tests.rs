//! The edges of the users' SQL, on real PostgreSQL.
//! It leaves what a caller sees over the wire to the promises.

mod lists;
mod passwords;
mod ranks;
mod reads;
mod writes;

use std::{sync::Arc, time::Duration};

use futures_util::future::join_all;
use sqlx::Row;
use stead_api::{servers::user_service_server::UserService, v1};
use stead_harness::Role as Login;
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{Hasher, Service};
use crate::{
    cache::Cache,
    config::{SecretKeys, Value},
    db::{Database, Pool},
    permissions::{Permissions, Role},
    principal::{Call, TenantId},
    seal::Seal,
};

struct World {
    database: stead_harness::Database,
    service: Service,
    tenant: TenantId,
    /// The user who calls, by the highest role; none for a service that may do everything.
    role: Option<Role>,
    permissions: Permissions,
}

impl World {
    async fn new() -> World {
        let database = stead_harness::Database::fresh().await;
        let options = database.url(Login::App).parse().unwrap();
        let app = Pool::new("stead_app", options, 8, Duration::from_secs(10));
        let seal = Seal::new(&SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
        let cache = Cache::for_tests(&app);
        let service = Service::new(Database { app, platform: None }, Arc::new(seal), cache, Hasher::new());
        let (tenant, permissions) = (TenantId::PLATFORM, Permissions::tenant());
        let mut world = World { database, service, tenant, role: None, permissions };
        world.tenant = world.another_tenant().await;
        world
    }

    async fn another_tenant(&self) -> TenantId {
        let tenant = TenantId(Uuid::now_v7());
        let mut admin = self.database.connect(Login::Superuser).await;
        sqlx::query("insert into stead.tenants (id, slug, display_name) values ($1, $2, 'A tenant')")
            .bind(tenant.0)
            .bind(format!("t{}", tenant.0.simple()))
            .execute(&mut admin)
            .await
            .unwrap();
        tenant
    }

    fn call(&self, method: &str) -> Call {
        let mut call = Call::for_tests(self.tenant, self.permissions, &format!("UserService/{method}"));
        if let Some(role) = self.role {
            call.principal.subject = format!("users/{}", Uuid::nil()).into();
            call.principal.role = Some(role);
        }
        call
    }

    async fn send_create(&self, request: v1::CreateUserRequest) -> Result<v1::User, Status> {
        inner(self.service.create_user(self.call("CreateUser").carrying(request)).await)
    }

    async fn create(&self, user: v1::User) -> Result<v1::User, Status> {
        self.send_create(v1::CreateUserRequest { user: Some(user), ..Default::default() }).await
    }

    async fn get(&self, name: &str, show_deleted: bool) -> Result<v1::User, Status> {
        let request = v1::GetUserRequest { name: name.into(), show_deleted, ..Default::default() };
        inner(self.service.get_user(self.call("GetUser").carrying(request)).await)
    }

    async fn update(&self, user: v1::User, paths: &[&str], request_id: &str) -> Result<v1::User, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let update_mask = Some(prost_types::FieldMask { paths });
        let request_id = request_id.into();
        let request = v1::UpdateUserRequest { user: Some(user), update_mask, request_id, ..Default::default() };
        inner(self.service.update_user(self.call("UpdateUser").carrying(request)).await)
    }

    async fn delete(&self, name: &str, request_id: &str) -> Result<v1::User, Status> {
        let request = v1::DeleteUserRequest { name: name.into(), request_id: request_id.into(), ..Default::default() };
        inner(self.service.delete_user(self.call("DeleteUser").carrying(request)).await)
    }

    async fn list(&self, request: v1::ListUsersRequest) -> v1::ListUsersResponse {
        inner(self.service.list_users(self.call("ListUsers").carrying(request)).await).unwrap()
    }

    async fn text(&self, sql: &'static str) -> String {
        let mut admin = self.database.connect(Login::Superuser).await;
        let row = sqlx::query(sql).bind(self.tenant.0).fetch_one(&mut admin).await.unwrap();
        row.get::<Option<String>, _>(0).unwrap_or_default()
    }

    async fn run(&self, sql: &'static str) {
        let mut admin = self.database.connect(Login::Superuser).await;
        sqlx::query(sql).bind(self.tenant.0).execute(&mut admin).await.unwrap();
    }

    async fn somebody_waits_for_a_lock(&self) {
        let waiting =
            "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let mut admin = self.database.connect(Login::Superuser).await;
        while sqlx::query(waiting).fetch_one(&mut admin).await.unwrap().get::<i64, _>(0) == 0 {}
    }

    async fn live_owners(&self) -> String {
        self.text(
            "select count(*)::text from stead.users
                   where tenant_id = $1 and 'owner' = any (roles) and state = 'active' and delete_time is null",
        )
        .await
    }

    async fn users_and_entries(&self) -> String {
        self.text(
            "select (select count(*) from stead.users where tenant_id = $1) || ' '
                     || (select count(*) from stead.journal where tenant_id = $1 and resource_type = 'users')",
        )
        .await
    }
}

fn inner<T>(answer: Result<Response<T>, Status>) -> Result<T, Status> {
    answer.map(Response::into_inner)
}

fn row(email: &str) -> v1::User {
    v1::User { email: email.into(), ..v1::User::default() }
}

fn owner(email: &str) -> v1::User {
    v1::User { roles: vec![v1::Role::Owner.into()], ..row(email) }
}

fn id() -> String {
    Uuid::new_v4().to_string()
}

fn reason(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

#[tokio::test]
async fn emails_and_usernames_are_unique_whatever_their_case_until_the_user_is_deleted() {
    let world = World::new().await;
    let user = v1::User { username: "Jürgen".into(), ..row("JU\u{308}RGEN@example.de") };
    let first = world.create(user).await.unwrap();
    assert_eq!((first.email.as_str(), first.state()), ("JÜRGEN@example.de", v1::user::State::Active));
    assert_eq!(world.create(row("jürgen@EXAMPLE.de")).await.unwrap_err().code(), Code::AlreadyExists);
    let namesake = v1::User { username: "jürgen".into(), ..row("other@example.de") };
    assert_eq!(world.create(namesake.clone()).await.unwrap_err().code(), Code::AlreadyExists);
    let deleted = world.delete(&first.name, "").await.unwrap();
    assert_eq!(deleted.purge_time.unwrap().seconds - deleted.delete_time.unwrap().seconds, 30 * 24 * 3600);
    world.create(row("jürgen@example.de")).await.unwrap();
    world.create(namesake).await.unwrap();
    assert_eq!(world.get(&first.name, false).await.unwrap_err().code(), Code::NotFound);
    assert_eq!(world.get(&first.name, true).await.unwrap(), deleted);
}

#[tokio::test]
async fn a_retry_finds_the_first_answer_and_writes_nothing() {
    let world = World::new().await;
    let request = v1::CreateUserRequest {
        user: Some(row("a@example.com")),
        password: "correct horse".into(),
        request_id: id(),
        ..Default::default()
    };
    let first = world.send_create(request.clone()).await.unwrap();
    let changed = v1::User { display_name: "later".into(), ..first.clone() };
    world.update(changed, &["display_name"], "").await.unwrap();
    assert_eq!(world.send_create(request.clone()).await.unwrap(), first);
    let other = v1::CreateUserRequest { user: Some(row("b@example.com")), ..request };
    assert_eq!(reason(&world.send_create(other).await.unwrap_err()), "REQUEST_ID_REUSED");
    assert_eq!(world.users_and_entries().await, "1 3", "created, given a password, renamed");
}

#[tokio::test]
async fn a_password_is_kept_as_a_hash_and_nowhere_else() {
    let world = World::new().await;
    let password = "correct horse battery";
    let request = v1::CreateUserRequest {
        user: Some(row("a@example.com")),
        password: password.into(),
        request_id: id(),
        ..Default::default()
    };
    let user = world.send_create(request).await.unwrap();
    let hash = world.text("select password_hash from stead.user_credentials where tenant_id = $1").await;
    assert!(hash.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{hash}");
    let kept = world
        .text(
            "select string_agg(j::text, '') || (select string_agg(r::text, '') from stead.request_ids r)
               || (select string_agg(u::text, '') from stead.users u) from stead.journal j where tenant_id = $1",
        )
        .await;
    let answer = format!("{user:?}");
    for place in [kept, answer] {
        assert!(!place.is_empty() && !place.contains(password) && !place.contains("argon2"), "{place}");
    }
}

#[tokio::test]
async fn validate_only_runs_every_check_and_leaves_nothing() {
    let world = World::new().await;
    let request = v1::CreateUserRequest {
        user: Some(row("a@example.com")),
        password: "correct horse".into(),
        request_id: id(),
        validate_only: true,
        ..Default::default()
    };
    world.send_create(request.clone()).await.unwrap();
    assert_eq!(world.users_and_entries().await, "0 0");
    assert_eq!(world.text("select count(*)::text from stead.request_ids where tenant_id = $1").await, "0");
    let user = world.create(row("a@example.com")).await.unwrap();
    assert_eq!(world.send_create(request).await.unwrap_err().code(), Code::AlreadyExists);
    let request = v1::DeleteUserRequest { name: user.name.clone(), validate_only: true, ..Default::default() };
    let would_be = inner(world.service.delete_user(world.call("DeleteUser").carrying(request)).await).unwrap();
    assert!(would_be.delete_time.is_some());
    assert_eq!(world.get(&user.name, false).await.unwrap(), user);
    assert_eq!(world.users_and_entries().await, "1 1");
}

#[tokio::test]
async fn a_write_checks_the_etag_and_a_change_of_nothing_keeps_it() {
    let world = World::new().await;
    let user = world.create(row("a@example.com")).await.unwrap();
    assert_eq!(world.update(user.clone(), &["*"], "").await.unwrap(), user);
    let named = v1::User { username: "Ann".into(), ..user.clone() };
    let named = world.update(named, &["username"], "").await.unwrap();
    let stale = world.update(user.clone(), &["email"], "").await.unwrap_err();
    assert_eq!((stale.code(), reason(&stale).as_str()), (Code::Aborted, "ETAG_MISMATCH"));
    let nameless = v1::User { username: String::new(), ..named };
    let request_id = id();
    let first = world.update(nameless.clone(), &["username"], &request_id).await.unwrap();
    assert_eq!(first.username, "");
    let again = world.update(nameless, &["username"], &request_id).await.unwrap();
    assert_eq!(again, first, "a replay, although the etag is outdated by now");
    assert_eq!(world.users_and_entries().await, "1 3");
}

#[tokio::test]
async fn a_profile_changes_key_by_key() {
    let world = World::new().await;
    let profile = |pairs: &[(&str, &str)]| {
        let text = |text: &str| prost_types::Value { kind: Some(prost_types::value::Kind::StringValue(text.into())) };
        Some(prost_types::Struct {
            fields: pairs.iter().map(|(key, value)| ((*key).to_owned(), text(value))).collect(),
        })
    };
    let user = v1::User { profile: profile(&[("city", "Kiel"), ("tongue", "de")]), ..row("a@example.com") };
    let user = world.create(user).await.unwrap();
    let change = v1::User { profile: profile(&[("city", "Bonn")]), ..user };
    let user = world.update(change, &["profile.city", "profile.tongue"], "").await.unwrap();
    assert_eq!(user.profile, profile(&[("city", "Bonn")]));
}

#[tokio::test]
async fn the_last_active_owner_stays_whatever_is_tried() {
    let world = World::new().await;
    let last = world.create(owner("a@example.com")).await.unwrap();
    let retired = v1::User { state: v1::user::State::Disabled.into(), ..owner("b@example.com") };
    world.create(retired).await.unwrap();
    let last = v1::User { etag: String::new(), ..last };
    let demoted = v1::User { roles: vec![v1::Role::Admin.into()], ..last.clone() };
    let disabled = v1::User { state: v1::user::State::Disabled.into(), ..last.clone() };
    for refused in [
        world.update(demoted.clone(), &["roles"], "").await,
        world.update(disabled, &["state"], "").await,
        world.delete(&last.name, "").await,
    ] {
        let refused = refused.unwrap_err();
        assert_eq!((refused.code(), reason(&refused).as_str()), (Code::FailedPrecondition, "LAST_OWNER"));
    }
    let both = v1::User { roles: vec![v1::Role::Admin.into(), v1::Role::Owner.into()], ..last.clone() };
    world.update(both, &["roles"], "").await.unwrap();
    let second = world.create(owner("c@example.com")).await.unwrap();

    let request_id = id();
    let first_answer = world.update(demoted.clone(), &["roles"], &request_id).await.unwrap();
    world.update(last.clone(), &["roles"], "").await.unwrap();
    world.delete(&second.name, "").await.unwrap();
    assert_eq!(world.live_owners().await, "1");
    let replay = world.update(demoted, &["roles"], &request_id).await.unwrap();
    assert_eq!(replay, first_answer, "a replay writes nothing, so nothing forbids it");
    assert_eq!(world.live_owners().await, "1");
}

#[tokio::test]
async fn of_twenty_owners_who_are_deleted_at_once_one_stays() {
    let world = World::new().await;
    let owners = join_all((0..20).map(|at| world.create(owner(&format!("owner{at}@example.com"))))).await;
    let names: Vec<_> = owners.into_iter().map(|owner| owner.unwrap().name).collect();
    let answers = join_all(names.iter().map(|name| world.delete(name, ""))).await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).map(reason).collect();
    assert_eq!(refused, ["LAST_OWNER"]);
    assert_eq!(world.live_owners().await, "1");
}

#[tokio::test]
async fn owners_who_demote_and_disable_each_other_at_once_leave_one() {
    let world = World::new().await;
    let owners = join_all((0..10).map(|at| world.create(owner(&format!("owner{at}@example.com"))))).await;
    let writes = owners.into_iter().enumerate().map(|(at, owner)| {
        let user = v1::User { etag: String::new(), ..owner.unwrap() };
        let demoted = v1::User { roles: vec![], ..user.clone() };
        let disabled = v1::User { state: v1::user::State::Disabled.into(), ..user };
        let (user, path) = if at % 2 == 0 { (demoted, "roles") } else { (disabled, "state") };
        let world = &world;
        async move { world.update(user, &[path], "").await }
    });
    let refused = join_all(writes).await.into_iter().filter(Result::is_err).count();
    assert_eq!((refused, world.live_owners().await.as_str()), (1, "1"));
}

#[tokio::test]
async fn twins_of_a_change_that_ends_an_ownership_write_once() {
    let world = World::new().await;
    let user = world.create(row("a@example.com")).await.unwrap();
    let change = v1::User { roles: vec![v1::Role::Viewer.into()], ..user };
    let request_id = id();
    let answers = join_all((0..8).map(|_| world.update(change.clone(), &["roles"], &request_id))).await;
    let first = answers[0].as_ref().unwrap();
    assert!(answers.iter().all(|answer| answer.as_ref().ok() == Some(first)), "{answers:?}");
    assert_eq!(world.users_and_entries().await, "1 2");
    world.create(row("b@example.com")).await.unwrap();
    let taken = v1::User { email: "B@example.com".into(), etag: String::new(), ..change };
    let taken = world.update(taken, &["email", "roles"], &id()).await.unwrap_err();
    assert_eq!(taken.code(), Code::AlreadyExists);
}

#[tokio::test]
async fn a_user_of_another_tenant_is_as_absent_as_one_that_never_was() {
    let world = World::new().await;
    let user = world.create(owner("a@example.com")).await.unwrap();
    let foreign = World { tenant: world.another_tenant().await, ..world };
    let made_up = format!("users/{}", Uuid::now_v7());
    let refusals = async |name: &str| {
        let change = v1::User { name: name.into(), ..row("b@example.com") };
        let refused = [
            foreign.get(name, true).await,
            foreign.update(change.clone(), &["email"], "").await,
            foreign.update(change, &["roles"], "").await,
            foreign.delete(name, "").await,
        ];
        let bytes = |status: Status| String::from_utf8_lossy(status.details()).replace(name, "NAME");
        refused
            .map(|answer| answer.unwrap_err())
            .map(|status| (status.code(), status.message().replace(name, "NAME"), bytes(status)))
    };
    assert_eq!(refusals(&user.name).await, refusals(&made_up).await);
    assert_eq!(foreign.list(v1::ListUsersRequest { show_deleted: true, ..Default::default() }).await.users, []);
    foreign.create(row("a@example.com")).await.unwrap();
}

#[tokio::test]
async fn pages_cover_every_user_once_in_either_direction() {
    let world = World::new().await;
    for email in ["c@x", "A@x", "e@x", "B@x", "d@x"] {
        world.create(row(email)).await.unwrap();
    }
    for (order_by, expected) in [("email", "ABcde"), ("email desc", "edcBA"), ("", "cAeBd")] {
        let (mut seen, mut page_token) = (String::new(), String::new());
        loop {
            let request =
                v1::ListUsersRequest { page_size: 2, page_token, order_by: order_by.into(), ..Default::default() };
            let page = world.list(request).await;
            seen.extend(page.users.iter().map(|user| user.email.trim_end_matches("@x")));
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        assert_eq!(seen, expected, "ordered by `{order_by}`");
    }
}
