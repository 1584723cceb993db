//! Users: the people of a tenant, their unique addresses, their roles and their passwords.
//! Leaves pages, request ids and what other tenants see to the promises about those.

use serde_json::json;
use sqlx::Row;
use stead_api::v1;
use stead_client::{ErrorKind, NewUser, Role, User, UserId, UserPatch, UserState};
use tonic::{Code, Response, Status};
use uuid::Uuid;

use crate::fixture::{Refused, Tenant, call, mask, shared, tenant};

async fn create(tenant: &Tenant, new: NewUser) -> User {
    tenant.client.users().create(new).send().await.expect("a user")
}

async fn send(tenant: &Tenant, user: v1::User, password: &str) -> Result<Response<v1::User>, Status> {
    let request = v1::CreateUserRequest { user: Some(user), password: password.into(), ..Default::default() };
    call(&tenant.client, "UserService/CreateUser", &request).await
}

fn address(email: &str) -> v1::User {
    v1::User { email: email.into(), ..Default::default() }
}

#[tokio::test]
async fn a_created_user_reads_back_the_same() {
    let tenant = tenant().await;
    let profile = json!({"phone": "+49 30 1234", "langs": ["de", "en"]}).as_object().expect("an object").clone();
    let new = NewUser::new("Ada.Lovelace@Example.com")
        .username("ada")
        .display_name("Ada Lovelace")
        .roles([Role::Admin, Role::Viewer])
        .profile(profile.clone());
    let user = create(&tenant, new).await;
    assert_eq!(
        (user.email.as_str(), user.username.as_str(), user.display_name.as_str()),
        ("Ada.Lovelace@Example.com", "ada", "Ada Lovelace")
    );
    assert_eq!(
        (user.roles.as_slice(), &user.profile, user.state),
        (&[Role::Admin, Role::Viewer][..], &profile, UserState::Active)
    );
    assert!(user.last_login_time.is_none() && user.delete_time.is_none());
    assert_eq!(tenant.client.users().get(user.id).send().await.expect("read"), user);
    assert_eq!(tenant.client.users().list().items().collect().await.expect("a list"), [user]);
    let bare = create(&tenant, NewUser::new("b@x")).await;
    assert!(bare.username.is_empty() && bare.roles.is_empty() && bare.profile.is_empty());
}

#[tokio::test]
async fn addresses_and_names_are_unique_whatever_their_case_and_form() {
    let tenant = tenant().await;
    let first = create(&tenant, NewUser::new("J\u{fc}rgen@x.org").username("J\u{fc}rgen")).await;
    let users = tenant.client.users();
    for (email, username, field) in [
        ("j\u{fc}rgen@X.ORG", "other", "email"),
        ("Ju\u{308}rgen@x.org", "other", "email"),
        ("other@x.org", "J\u{dc}RGEN", "username"),
        ("other@x.org", "ju\u{308}rgen", "username"),
    ] {
        let taken = users.create(NewUser::new(email).username(username)).send().await.refusal();
        assert!(taken.is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"), "{email} {username}: {taken:?}");
        assert!(taken.metadata.contains(&("field".into(), field.into())), "{taken:?}");
        assert!(!taken.message.contains('@'), "an address in an error: {}", taken.message);
    }
    let other = create(&tenant, NewUser::new("other@x.org")).await;
    let renamed = users.update(other.id, UserPatch::new().email("JÜRGEN@x.org")).send().await.refusal();
    assert!(renamed.is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"));
    users.delete(first.id).send().await.expect("deleted");
    create(&tenant, NewUser::new("jürgen@x.org").username("jürgen")).await;
    // Users without a name do not take the empty one from one another.
    create(&tenant, NewUser::new("c@x.org")).await;
    create(&tenant, NewUser::new("d@x.org")).await;
}

#[tokio::test]
async fn every_bound_of_a_user_is_taken_and_one_more_refused() {
    let tenant = tenant().await;
    let long = |bytes: usize| format!("a@{}", "x".repeat(bytes - 2));
    for (at, email) in [long(254), "a@b".into(), "ü@ä.de".into()].into_iter().enumerate() {
        send(&tenant, v1::User { username: format!("n{at}"), ..address(&email) }, "").await.expect("taken");
    }
    for email in [
        long(255),
        "a@".into(),
        "@b".into(),
        "a".into(),
        "a@b@c".into(),
        "a b@c".into(),
        "a@b\0".into(),
        "a@b\n".into(),
        String::new(),
    ] {
        send(&tenant, address(&email), "").await.refusal().breaks(&["user.email"]);
    }
    send(&tenant, v1::User { username: "ß".repeat(64), ..address("u@x") }, "").await.expect("64 characters");
    for username in ["x".repeat(65), "a b".into(), "a@b".into(), "a/b".into(), "a\0".into()] {
        send(&tenant, v1::User { username, ..address("v@x") }, "").await.refusal().breaks(&["user.username"]);
    }
    send(&tenant, v1::User { display_name: "𝄞".repeat(200), ..address("w@x") }, "").await.expect("200 characters");
    send(&tenant, v1::User { display_name: "𝄞".repeat(201), ..address("y@x") }, "")
        .await
        .refusal()
        .breaks(&["user.display_name"]);
    for roles in [vec![0], vec![5], vec![-1], vec![1, 2, 3, 9]] {
        let at = roles.len() - 1;
        send(&tenant, v1::User { roles, ..address("y@x") }, "").await.refusal().breaks(&[&format!("user.roles[{at}]")]);
    }
    send(&tenant, v1::User { roles: vec![2, 2], ..address("y@x") }, "").await.refusal().breaks(&["user.roles[1]"]);
    send(&tenant, v1::User { state: 7, ..address("y@x") }, "").await.refusal().breaks(&["user.state"]);
    let broken =
        v1::User { username: " ".into(), display_name: "\0".into(), roles: vec![0], state: 9, ..address("no") };
    let refused = send(&tenant, broken, "short").await.refusal();
    refused.breaks(&["user.email", "user.username", "user.display_name", "user.roles[0]", "user.state", "password"]);
}

#[tokio::test]
async fn passwords_have_8_to_1024_bytes_and_leave_no_trace_but_a_hash() {
    let tenant = tenant().await;
    let secret = "correct horse battery ßtaple";
    for (email, password) in [("a@x", "12345678".to_owned()), ("b@x", "ü".repeat(512)), ("c@x", secret.into())] {
        send(&tenant, address(email), &password).await.expect("taken");
    }
    for password in ["1234567".to_owned(), "x".repeat(1025), "ü".repeat(513)] {
        let refusal = send(&tenant, address("d@x"), &password).await.refusal();
        refusal.breaks(&["password"]);
        assert!(!refusal.message.contains(&password));
    }
    let mut truth = shared().await.truth().await;
    let hashes =
        sqlx::query("select password_hash from stead.user_credentials where tenant_id = $1").bind(tenant.id.uuid());
    let hashes: Vec<String> =
        hashes.fetch_all(&mut truth).await.expect("hashes").iter().map(|row| row.get(0)).collect();
    assert!(hashes.len() == 3 && hashes.iter().all(|hash| hash.starts_with("$argon2id$")), "{hashes:?}");
    for table in ["users", "journal", "request_ids", "user_credentials"] {
        let text = format!("select t::text from stead.{table} t where tenant_id = $1");
        let rows =
            sqlx::query(sqlx::AssertSqlSafe(text)).bind(tenant.id.uuid()).fetch_all(&mut truth).await.expect("rows");
        for row in rows {
            let text: String = row.get(0);
            assert!(!text.contains(secret), "stead.{table} holds the password: {text}");
            assert!(
                table == "user_credentials" || !text.contains("$argon2id$"),
                "stead.{table} holds the hash: {text}"
            );
        }
    }
}

#[tokio::test]
async fn users_are_changed_by_mask_and_etag() {
    let tenant = tenant().await;
    let users = tenant.client.users();
    let before = create(&tenant, NewUser::new("a@x").username("a").display_name("A").role(Role::Editor)).await;
    let patch = UserPatch::new().display_name("B").profile_entry("k", 1);
    let after = users.update(before.id, patch).etag(&before.etag).send().await.expect("changed");
    assert_eq!(
        (after.display_name.as_str(), after.username.as_str(), after.roles.as_slice()),
        ("B", "a", &[Role::Editor][..])
    );
    assert_eq!(serde_json::Value::Object(after.profile.clone()), json!({"k": 1}));
    let stale =
        users.update(before.id, UserPatch::new().display_name("C")).etag(&before.etag).send().await.expect_err("stale");
    assert_eq!(stale.kind(), &ErrorKind::Stale { current_etag: Some(after.etag.clone()) });
    assert_eq!(users.update(before.id, UserPatch::new().display_name("B")).send().await.expect("as it was"), after);
    let disabled = users.update(before.id, UserPatch::new().state(UserState::Disabled)).send().await.expect("disabled");
    assert_eq!(disabled.state, UserState::Disabled);
    let replaced = users.update(before.id, UserPatch::replace(NewUser::new("a@y"))).send().await.expect("replaced");
    assert_eq!((replaced.email.as_str(), replaced.username.as_str(), replaced.display_name.as_str()), ("a@y", "", ""));
    assert!(replaced.roles.is_empty() && replaced.profile.is_empty());

    let named = v1::User { name: before.id.to_string(), display_name: "D".into(), ..Default::default() };
    let request = v1::UpdateUserRequest {
        user: Some(named.clone()),
        update_mask: mask(["displayName", "lastLoginTime"]),
        ..Default::default()
    };
    let camel =
        call::<_, v1::User>(&tenant.client, "UserService/UpdateUser", &request).await.expect("changed").into_inner();
    assert_eq!((camel.display_name.as_str(), camel.last_login_time), ("D", None));
    for path in ["nosuch", "password", "profile."] {
        let request =
            v1::UpdateUserRequest { user: Some(named.clone()), update_mask: mask([path]), ..Default::default() };
        call::<_, v1::User>(&tenant.client, "UserService/UpdateUser", &request)
            .await
            .refusal()
            .breaks(&["update_mask"]);
    }
}

#[tokio::test]
async fn a_deleted_user_is_gone_but_for_those_who_ask_for_deleted_ones() {
    let tenant = tenant().await;
    let users = tenant.client.users();
    let user = create(&tenant, NewUser::new("a@x")).await;
    let deleted = users.delete(user.id).etag(&user.etag).send().await.expect("deleted");
    assert!(deleted.delete_time.is_some() && deleted.purge_time.is_some());
    assert!(users.get(user.id).send().await.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    assert!(users.delete(user.id).send().await.refusal().is(Code::NotFound, "RESOURCE_NOT_FOUND"));
    assert_eq!(users.get(user.id).show_deleted(true).send().await.expect("shown"), deleted);
    assert_eq!(users.list().items().collect().await.expect("a list"), []);
    assert_eq!(users.list().show_deleted(true).items().collect().await.expect("a list"), [deleted]);
}

#[tokio::test]
async fn the_last_owner_stays() {
    let tenant = tenant().await;
    let users = tenant.client.users();
    let last = create(&tenant, NewUser::new("owner@x").role(Role::Owner)).await;
    let stays = |refused: Result<User, stead_client::Error>| {
        let refusal = refused.refusal();
        assert!(refusal.is(Code::FailedPrecondition, "LAST_OWNER"), "{refusal:?}");
    };
    stays(users.delete(last.id).send().await);
    stays(users.update(last.id, UserPatch::new().roles([Role::Admin])).send().await);
    stays(users.update(last.id, UserPatch::new().state(UserState::Disabled)).send().await);
    stays(users.update(last.id, UserPatch::replace(NewUser::new("owner@x"))).send().await);
    assert_eq!(users.get(last.id).send().await.expect("as it was"), last);
    users.update(last.id, UserPatch::new().display_name("Still me")).send().await.expect("other changes are fine");
    let second = create(&tenant, NewUser::new("second@x").role(Role::Owner)).await;
    users.delete(last.id).send().await.expect("another owner remains");
    stays(users.delete(second.id).send().await);
}

#[tokio::test]
async fn two_owners_cannot_both_leave_at_once() {
    for _ in 0..5 {
        let tenant = tenant().await;
        let mut owners: Vec<UserId> = vec![];
        for at in 0..4 {
            owners.push(create(&tenant, NewUser::new(format!("o{at}@x")).role(Role::Owner)).await.id);
        }
        let leaving: Vec<_> = owners
            .iter()
            .map(|owner| {
                let (users, owner) = (tenant.client.users(), *owner);
                tokio::spawn(async move { users.delete(owner).send().await.is_ok() })
            })
            .collect();
        let mut left = 0;
        for owner in leaving {
            left += usize::from(owner.await.expect("no panic"));
        }
        assert_eq!(left, 3, "of four owners exactly one stays");
    }
}

#[tokio::test]
async fn a_client_may_bring_the_id_once() {
    let tenant = tenant().await;
    let id = UserId::from(Uuid::new_v4());
    assert_eq!(tenant.client.users().create(NewUser::new("a@x")).id(id).send().await.expect("created").id, id);
    let again = tenant.client.users().create(NewUser::new("b@x")).id(id).send().await;
    assert!(again.refusal().is(Code::AlreadyExists, "RESOURCE_ALREADY_EXISTS"));
}

#[tokio::test]
async fn a_disabled_or_deleted_users_keys_stop_working() {
    let tenant = tenant().await;
    let users = tenant.client.users();
    for ends in ["disabled", "deleted"] {
        let user = create(&tenant, NewUser::new(format!("{ends}@x"))).await;
        let client = tenant.client_as(&user.id.to_string(), &["users.read"]).await;
        assert_eq!(client.auth().whoami().await.expect("works").subject, user.id.to_string());
        match ends {
            "disabled" => {
                users.update(user.id, UserPatch::new().state(UserState::Disabled)).send().await.expect("disabled")
            }
            _ => users.delete(user.id).send().await.expect("deleted"),
        };
        let refused = async {
            while client.auth().whoami().await.is_ok() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(crate::fixture::SOON, refused).await.expect("stops within a second");
        assert_eq!(client.auth().whoami().await.expect_err("refused").kind(), &ErrorKind::Unauthenticated);
    }
}
