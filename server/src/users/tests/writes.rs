//! Writes that make something of what is missing: bringing back, creating by an update, deleting what is gone.
//! It leaves passwords to its sibling.

use futures_util::future::join_all;
use stead_api::{servers::user_service_server::UserService, v1};
use tonic::{Code, Response, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{World, id, inner, owner, reason, row};

impl World {
    async fn undelete(&self, name: &str) -> Result<v1::User, Status> {
        self.send_undelete(v1::UndeleteUserRequest { name: name.into(), ..Default::default() }).await
    }

    async fn send_undelete(&self, request: v1::UndeleteUserRequest) -> Result<v1::User, Status> {
        inner(self.service.undelete_user(self.call("UndeleteUser").carrying(request)).await)
    }

    async fn upsert(&self, user: v1::User, paths: &[&str], request_id: &str) -> Result<v1::User, Status> {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let request = v1::UpdateUserRequest {
            user: Some(user),
            update_mask: Some(prost_types::FieldMask { paths }),
            request_id: request_id.into(),
            allow_missing: true,
            ..Default::default()
        };
        self.send_update(request).await.map(Response::into_inner)
    }

    async fn send_update(&self, request: v1::UpdateUserRequest) -> Result<Response<v1::User>, Status> {
        self.service.update_user(self.call("UpdateUser").carrying(request)).await
    }

    async fn delete_anyway(&self, name: &str, etag: &str) -> Result<v1::User, Status> {
        let request =
            v1::DeleteUserRequest { name: name.into(), etag: etag.into(), allow_missing: true, ..Default::default() };
        inner(self.service.delete_user(self.call("DeleteUser").carrying(request)).await)
    }

    async fn actions(&self) -> String {
        self.text(
            "select string_agg(action, ' ' order by create_time) from stead.journal
             where tenant_id = $1 and resource_type = 'users'",
        )
        .await
    }
}

fn field(status: &Status) -> (Code, String) {
    let info = status.get_details_error_info();
    (status.code(), info.and_then(|info| info.metadata.get("field").cloned()).unwrap_or_default())
}

fn named(name: &str, email: &str) -> v1::User {
    v1::User { name: name.into(), ..row(email) }
}

fn made_up() -> String {
    format!("users/{}", Uuid::now_v7())
}

#[tokio::test]
async fn a_user_who_is_brought_back_is_as_before_but_for_the_revision() {
    let world = World::new().await;
    let user = world.create(v1::User { username: "ann".into(), ..owner("a@x.de") }).await.unwrap();
    assert_eq!(reason(&world.undelete(&user.name).await.unwrap_err()), "NOT_DELETED");
    assert_eq!(world.undelete(&made_up()).await.unwrap_err().code(), Code::NotFound);
    world.create(owner("b@x.de")).await.unwrap();
    let deleted = world.delete(&user.name, "").await.unwrap();

    let request = v1::UndeleteUserRequest { name: user.name.clone(), etag: user.etag.clone(), ..Default::default() };
    assert_eq!(reason(&world.send_undelete(request.clone()).await.unwrap_err()), "ETAG_MISMATCH");
    let request = v1::UndeleteUserRequest { etag: deleted.etag.clone(), request_id: id(), ..request };
    let only = v1::UndeleteUserRequest { validate_only: true, ..request.clone() };
    assert_eq!(world.send_undelete(only).await.unwrap().delete_time, None);
    assert_eq!(world.get(&user.name, true).await.unwrap(), deleted);

    let back = world.send_undelete(request.clone()).await.unwrap();
    let as_before = v1::User { etag: back.etag.clone(), update_time: back.update_time, ..user.clone() };
    assert_eq!(back, as_before);
    assert!(back.etag != user.etag && back.etag != deleted.etag);
    assert_eq!(world.get(&user.name, false).await.unwrap(), back);
    assert_eq!(world.send_undelete(request).await.unwrap(), back, "a replay, although nothing is deleted by now");
    assert_eq!(world.actions().await, "create create delete undelete");
    assert_eq!(world.live_owners().await, "2");
}

#[tokio::test]
async fn a_user_whose_email_or_username_is_used_again_stays_deleted() {
    let world = World::new().await;
    let user = world.create(v1::User { username: "ann".into(), ..row("a@x.de") }).await.unwrap();
    world.delete(&user.name, "").await.unwrap();
    for (heir, key) in [(row("A@X.de"), "email"), (v1::User { username: "ANN".into(), ..row("b@x.de") }, "username")] {
        let heir = world.create(heir).await.unwrap();
        let request = v1::UndeleteUserRequest { name: user.name.clone(), ..Default::default() };
        for request in [v1::UndeleteUserRequest { validate_only: true, ..request.clone() }, request] {
            let refused = world.send_undelete(request).await.unwrap_err();
            assert_eq!(field(&refused), (Code::AlreadyExists, key.to_owned()));
        }
        world.delete(&heir.name, "").await.unwrap();
    }
    world.undelete(&user.name).await.unwrap();
}

#[tokio::test]
async fn of_twenty_who_bring_one_user_back_at_once_one_does() {
    let world = World::new().await;
    let user = world.create(owner("a@x.de")).await.unwrap();
    world.create(owner("b@x.de")).await.unwrap();
    world.delete(&user.name, "").await.unwrap();
    let answers = join_all((0..20).map(|_| world.undelete(&user.name))).await;
    let refused: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().err()).map(reason).collect();
    assert_eq!(refused, ["NOT_DELETED"; 19]);
    assert_eq!(world.actions().await, "create create delete undelete");
}

#[tokio::test]
async fn an_update_may_create_what_is_missing_under_the_id_of_its_name() {
    let world = World::new().await;
    let name = made_up();
    let user = v1::User { display_name: "Ann".into(), ..named(&name, "a@x.de") };
    let plain = world.update(user.clone(), &["email"], "").await.unwrap_err();
    assert_eq!(plain.code(), Code::NotFound);
    let nameless = v1::User { email: String::new(), ..user.clone() };
    assert_eq!(world.upsert(nameless, &["display_name"], "").await.unwrap_err().code(), Code::InvalidArgument);
    let only = v1::UpdateUserRequest {
        user: Some(user.clone()),
        allow_missing: true,
        validate_only: true,
        ..Default::default()
    };
    assert_eq!(inner(world.send_update(only.clone()).await).unwrap().name, name);
    assert_eq!(world.users_and_entries().await, "0 0");

    let request_id = id();
    let request = v1::UpdateUserRequest { request_id: request_id.clone(), validate_only: false, ..only };
    let created = inner(world.send_update(request.clone()).await).unwrap();
    assert_eq!((&*created.name, &*created.display_name), (&*name, "Ann"));
    let renamed = v1::User { display_name: "Bea".into(), email: String::new(), ..user.clone() };
    let renamed = world.upsert(renamed, &["display_name"], "").await.unwrap();
    assert_eq!((&*renamed.email, &*renamed.display_name), ("a@x.de", "Bea"), "what is there is changed by mask");
    let replay = world.send_update(request.clone()).await.unwrap();
    assert!(replay.metadata().get("stead-idempotent-replay").is_some());
    assert_eq!(replay.into_inner(), created);
    let other = v1::UpdateUserRequest { allow_missing: false, ..request };
    assert_eq!(reason(&world.send_update(other).await.unwrap_err()), "REQUEST_ID_REUSED");

    let taken = world.upsert(named(&made_up(), "A@x.de"), &["*"], "").await.unwrap_err();
    assert_eq!(field(&taken), (Code::AlreadyExists, "email".into()));
    let expected = v1::User { etag: renamed.etag.clone(), ..named(&made_up(), "b@x.de") };
    assert_eq!(world.upsert(expected, &["*"], "").await.unwrap_err().code(), Code::NotFound, "an etag is of a user");
    world.delete(&name, "").await.unwrap();
    let deleted = world.upsert(user, &["*"], "").await.unwrap_err();
    assert_eq!(deleted.code(), Code::NotFound, "what is deleted is brought back or stays so");
    assert_eq!(world.actions().await, "create update delete");
}

#[tokio::test]
async fn an_update_that_ends_an_ownership_may_create_too() {
    let world = World::new().await;
    let user = v1::User { roles: vec![v1::Role::Viewer.into()], ..named(&made_up(), "a@x.de") };
    let only = v1::UpdateUserRequest {
        user: Some(user.clone()),
        allow_missing: true,
        validate_only: true,
        ..Default::default()
    };
    assert_eq!(inner(world.send_update(only).await).unwrap().roles, user.roles);
    assert_eq!(world.users_and_entries().await, "0 0");
    let created = world.upsert(user.clone(), &["*"], "").await.unwrap();
    assert_eq!((created.name, created.roles), (user.name, user.roles));
}

#[tokio::test]
async fn of_twenty_updates_that_may_create_one_user_one_creates_and_all_are_answered() {
    let world = World::new().await;
    let name = made_up();
    let user = |at: usize| v1::User { display_name: format!("Ann {at}"), ..named(&name, "a@x.de") };
    let writes = (0..20).map(|at| {
        let world = &world;
        async move { world.upsert(user(at), &["display_name"], "").await }
    });
    for (at, answer) in join_all(writes).await.into_iter().enumerate() {
        assert_eq!(answer.unwrap().display_name, format!("Ann {at}"));
    }
    assert_eq!(world.users_and_entries().await, "1 20");
    let revisions =
        "select count(distinct revision)::text || ' ' || max(revision) from stead.journal where tenant_id = $1";
    assert_eq!(world.text(revisions).await, "20 20");
}

#[tokio::test]
async fn deleting_what_is_gone_may_be_no_fault() {
    let world = World::new().await;
    let gone = made_up();
    let nothing = v1::User { name: gone.clone(), ..v1::User::default() };
    assert_eq!(world.delete_anyway(&gone, "").await.unwrap(), nothing);
    let user = world.create(row("a@x.de")).await.unwrap();
    assert_eq!(world.delete_anyway(&user.name, "\"AAAAAAAAAAE\"").await.unwrap_err().code(), Code::Aborted);
    let deleted = world.delete_anyway(&user.name, &user.etag).await.unwrap();
    assert!(deleted.delete_time.is_some());
    assert_eq!(world.delete_anyway(&user.name, "").await.unwrap(), deleted);
    assert_eq!(world.delete(&user.name, "").await.unwrap_err().code(), Code::NotFound);
    let last = world.create(owner("b@x.de")).await.unwrap();
    assert_eq!(reason(&world.delete_anyway(&last.name, "").await.unwrap_err()), "LAST_OWNER");
    assert_eq!(world.actions().await, "create delete create");
}

#[tokio::test]
async fn a_change_that_waited_for_another_still_comes_about() {
    let world = World::new().await;
    let user = world.create(v1::User { display_name: "Ann".into(), ..row("a@x.de") }).await.unwrap();
    let user = v1::User { etag: String::new(), ..user };
    let mut other = world.database.connect(stead_harness::Role::Superuser).await;
    let between = "begin; update stead.users set display_name = 'Bea', revision = revision + 1";
    sqlx::raw_sql(between).execute(&mut other).await.unwrap();
    let (answer, ()) = tokio::join!(world.update(user, &["display_name"], ""), async {
        world.somebody_waits_for_a_lock().await;
        sqlx::raw_sql("commit").execute(&mut other).await.unwrap();
    });
    assert_eq!(answer.unwrap().display_name, "Ann", "what the caller asked for, not what the other left");
    assert_eq!(world.text("select display_name from stead.users where tenant_id = $1").await, "Ann");
}
