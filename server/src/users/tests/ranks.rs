//! Who may manage whom: nobody gives a role above their own or writes who has one, also when it is given meanwhile.
//! It leaves which role brings which permission to the one table, and sessions to `auth`.

use sqlx::AssertSqlSafe;
use stead_api::{servers::user_service_server::UserService, v1};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{Login, World, inner, owner, reason, row};
use crate::permissions::{Permissions, Role};

impl World {
    /// The same tenant as a user with this role sees it.
    fn of_user(self, role: Role) -> World {
        World { role: Some(role), permissions: role.permissions().and(Permissions::tenant()), ..self }
    }

    async fn attempts(&self, user: &v1::User) -> [Result<v1::User, Status>; 5] {
        let renamed = v1::User { display_name: "x".into(), etag: String::new(), ..user.clone() };
        let disabled = v1::User { state: v1::user::State::Disabled.into(), ..renamed.clone() };
        let password = v1::SetUserPasswordRequest {
            name: user.name.clone(),
            password: "correct horse".into(),
            ..Default::default()
        };
        let undelete = v1::UndeleteUserRequest { name: user.name.clone(), ..Default::default() };
        [
            self.update(renamed, &["display_name"], "").await,
            self.update(disabled, &["state"], "").await,
            inner(self.service.set_user_password(self.call("SetUserPassword").carrying(password)).await),
            self.delete(&user.name, "").await,
            inner(self.service.undelete_user(self.call("UndeleteUser").carrying(undelete)).await),
        ]
    }
}

fn with(role: v1::Role, email: &str) -> v1::User {
    v1::User { roles: vec![role.into()], ..row(email) }
}

/// Refused for want of what it takes to manage owners.
fn is_above(status: &Status) -> bool {
    let needs = status.get_details_error_info().and_then(|info| info.metadata.get("permission").cloned());
    status.code() == Code::PermissionDenied && needs.as_deref() == Some("users.owners.write")
}

fn broken(status: &Status) -> Vec<String> {
    let broken = status.get_details_bad_request().map(|bad| bad.field_violations).unwrap_or_default();
    broken.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn an_admin_manages_everybody_but_owners() {
    let world = World::new().await;
    let (boss, _) = (world.create(owner("boss@x")).await.unwrap(), world.create(owner("second@x")).await.unwrap());
    let colleague = world.create(with(v1::Role::Admin, "colleague@x")).await.unwrap();
    let gone = world.create(owner("gone@x")).await.unwrap();
    let gone = world.delete(&gone.name, "").await.unwrap();
    let entries = world.users_and_entries().await;

    let world = world.of_user(Role::Admin);
    for answer in &world.attempts(&boss).await[..4] {
        assert!(is_above(answer.as_ref().unwrap_err()), "{answer:?}");
    }
    assert!(is_above(world.attempts(&gone).await[4].as_ref().unwrap_err()), "nor are they brought back");
    let promoted = v1::User { roles: vec![v1::Role::Owner.into()], etag: String::new(), ..colleague.clone() };
    let demoted = v1::User { roles: vec![v1::Role::Viewer.into()], etag: String::new(), ..boss.clone() };
    let given = world.update(promoted, &["roles"], "").await.unwrap_err();
    assert_eq!((reason(&given).as_str(), broken(&given)), ("FIELD_RULE_BROKEN", vec!["user.roles[0]".to_owned()]));
    assert_eq!(broken(&world.create(owner("new@x")).await.unwrap_err()), ["user.roles[0]"]);
    assert!(is_above(&world.update(demoted, &["roles"], "").await.unwrap_err()));
    assert_eq!(world.get(&boss.name, false).await.unwrap(), boss);
    assert_eq!(world.users_and_entries().await, entries, "nothing was written");

    assert!(world.attempts(&colleague).await.iter().all(Result::is_ok), "an admin manages admins");
    world.create(with(v1::Role::Admin, "third@x")).await.unwrap();
    world.create(with(v1::Role::Editor, "fourth@x")).await.unwrap();
}

#[tokio::test]
async fn the_last_owner_is_no_word_for_who_may_not_manage_owners() {
    let world = World::new().await;
    let boss = world.create(owner("boss@x")).await.unwrap();
    assert_eq!(reason(&world.delete(&boss.name, "").await.unwrap_err()), "LAST_OWNER");
    let world = world.of_user(Role::Admin);
    assert!(is_above(&world.delete(&boss.name, "").await.unwrap_err()));
    let world = world.of_user(Role::Owner);
    assert_eq!(reason(&world.delete(&boss.name, "").await.unwrap_err()), "LAST_OWNER");
}

#[tokio::test]
async fn owners_take_a_permission_of_their_own_also_of_services_and_of_owners_keys() {
    let world = World::new().await;
    let boss = world.create(owner("boss@x")).await.unwrap();
    let second = world.create(owner("second@x")).await.unwrap();
    let less = Permissions::tenant().names().filter(|name| *name != "users.owners.write").collect();
    let world = World { permissions: less, ..world };
    assert!(is_above(world.attempts(&boss).await[0].as_ref().unwrap_err()), "a service");
    let world = World { role: Some(Role::Owner), ..world };
    assert!(is_above(world.attempts(&boss).await[0].as_ref().unwrap_err()), "an owner's key");
    assert_eq!(broken(&world.create(owner("new@x")).await.unwrap_err()), ["user.roles[0]"]);
    world.create(with(v1::Role::Admin, "admin@x")).await.unwrap();
    let world = world.of_user(Role::Owner);
    assert!(world.attempts(&second).await.iter().all(Result::is_ok), "an owner");
}

#[tokio::test]
async fn who_writes_users_raises_nobody_above_what_they_hold_themselves() {
    let mut world = World::new().await;
    let mut people = vec![world.create(row("none@x")).await.unwrap()];
    let roles = [v1::Role::Viewer, v1::Role::Editor, v1::Role::Admin];
    for role in roles {
        people.push(world.create(with(role, &format!("{}@x", role.as_str_name()))).await.unwrap());
    }
    let entries = world.users_and_entries().await;
    world.permissions = ["products.read", "users.read", "users.write"].into_iter().collect();
    for role in [Some(Role::Owner), None] {
        world.role = role;
        for (person, lacked) in people[2..].iter().zip(["products.cost.read", "audit.personal.read"]) {
            let mut person = person.clone();
            person.etag.clear();
            for answer in &world.attempts(&person).await[..4] {
                let refused = answer.as_ref().unwrap_err();
                let info = refused.get_details_error_info().unwrap();
                assert_eq!((refused.code(), info.metadata["permission"].as_str()), (Code::PermissionDenied, lacked));
            }
            let given = v1::User { roles: person.roles.clone(), etag: String::new(), ..people[0].clone() };
            assert_eq!(broken(&world.update(given.clone(), &["roles"], "").await.unwrap_err()), ["user.roles[0]"]);
            let new = v1::User { email: "new@x".into(), username: String::new(), ..given };
            assert_eq!(broken(&world.create(new.clone()).await.unwrap_err()), ["user.roles[0]"]);
            let user = Some(v1::User { name: format!("users/{}", Uuid::now_v7()), ..new });
            // Which the mask keeps out of a change, and not out of a new user.
            let update_mask = Some(prost_types::FieldMask { paths: vec!["display_name".into()] });
            let upsert = v1::UpdateUserRequest { user, update_mask, allow_missing: true, ..Default::default() };
            let call = world.call("UpdateUser").carrying(upsert);
            let refused = inner(world.service.update_user(call).await).unwrap_err();
            assert_eq!(broken(&refused), ["user.roles[0]"]);
        }
    }
    assert_eq!(world.users_and_entries().await, entries, "nothing was written");
    for person in &people[..2] {
        let answers = world.attempts(person).await;
        assert!(answers.iter().all(Result::is_ok), "who may no more than the caller: {answers:?}");
    }
    world.create(with(v1::Role::Viewer, "second@x")).await.expect("a role that brings no more");
}

#[tokio::test]
async fn who_is_made_an_owner_while_an_admin_writes_is_not_written() {
    let world = World::new().await;
    world.create(owner("boss@x")).await.unwrap();
    let ann = world.create(row("ann@x")).await.unwrap();
    let world = world.of_user(Role::Admin);
    let id = ann.name.trim_start_matches("users/");
    for attempt in 0..4 {
        let mut owner = world.database.connect(Login::Superuser).await;
        let promote = format!("begin; update stead.users set roles = '{{owner}}' where id = '{id}'");
        sqlx::raw_sql(AssertSqlSafe(promote)).execute(&mut owner).await.unwrap();
        let promoted = async {
            world.somebody_waits_for_a_lock().await;
            sqlx::raw_sql("commit").execute(&mut owner).await.unwrap();
        };
        let renamed = v1::User { display_name: "x".into(), etag: String::new(), ..ann.clone() };
        let disabled = v1::User { state: v1::user::State::Disabled.into(), ..renamed.clone() };
        let password = v1::SetUserPasswordRequest {
            name: ann.name.clone(),
            password: "correct horse".into(),
            ..Default::default()
        };
        let write = async {
            match attempt {
                0 => world.update(renamed, &["display_name"], "").await,
                1 => world.update(disabled, &["state"], "").await,
                2 => inner(world.service.set_user_password(world.call("SetUserPassword").carrying(password)).await),
                _ => world.delete(&ann.name, "").await,
            }
        };
        let (answer, ()) = tokio::join!(write, promoted);
        assert!(is_above(&answer.unwrap_err()), "attempt {attempt}");
        world.run("update stead.users set roles = '{}' where tenant_id = $1 and email = 'ann@x'").await;
    }
    let after = world.get(&ann.name, false).await.unwrap();
    assert_eq!((after.display_name, after.state, after.delete_time), (ann.display_name, ann.state, None));
    let hash = world.text("select max(password_hash) from stead.user_credentials where tenant_id = $1").await;
    assert_eq!(hash, "");
}
