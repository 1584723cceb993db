//! Setting, changing and removing passwords.
//! It leaves hashing to the unit tests beside it.

use futures_util::future::join_all;
use stead_api::{servers::user_service_server::UserService, v1};
use tonic::{Code, Response, Status};

use super::{World, id, reason, row};

impl World {
    async fn set_password(&self, name: &str, password: &str, request_id: &str) -> Result<Response<v1::User>, Status> {
        let request = v1::SetUserPasswordRequest {
            name: name.into(),
            password: password.into(),
            request_id: request_id.into(),
            ..Default::default()
        };
        self.service.set_user_password(self.call("SetUserPassword").carrying(request)).await
    }

    async fn hash(&self) -> String {
        self.text("select max(password_hash) from stead.user_credentials where tenant_id = $1").await
    }

    /// What the journal tells of passwords: before and after.
    async fn told(&self) -> String {
        self.text(
            "select string_agg(coalesce(old_values ->> 'password', '-') || '>' || coalesce(new_values ->> 'password', '-'),
               ' ' order by create_time)
             from stead.journal where tenant_id = $1 and new_values ? 'password'",
        )
        .await
    }
}

fn is_replay(answer: &Response<v1::User>) -> bool {
    answer.metadata().get("stead-idempotent-replay").is_some()
}

#[tokio::test]
async fn a_password_is_set_changed_and_removed_and_the_journal_tells_no_more_than_that() {
    let world = World::new().await;
    let user = world.create(row("a@x.de")).await.unwrap();
    world.set_password(&user.name, "", "").await.unwrap();
    assert_eq!((world.hash().await, world.told().await), (String::new(), String::new()), "there was none to remove");
    let answer = world.set_password(&user.name, "correct horse", "").await.unwrap().into_inner();
    assert_eq!(answer, user, "the password is no part of the user's revision");
    let first = world.hash().await;
    assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
    world.set_password(&user.name, "battery staple", "").await.unwrap();
    let second = world.hash().await;
    assert!(second.starts_with("$argon2id$") && second != first);
    world.set_password(&user.name, "", "").await.unwrap();
    assert_eq!(world.hash().await, "");
    world.set_password(&user.name, "correct horse", "").await.unwrap();
    assert_eq!(world.told().await, "->set set>changed set>- ->set");
    assert_eq!(world.get(&user.name, false).await.unwrap(), user);
}

#[tokio::test]
async fn a_retry_sets_no_password_again_and_nothing_is_kept_of_it() {
    let world = World::new().await;
    let user = world.create(row("a@x.de")).await.unwrap();
    let request_id = id();
    let twins = join_all((0..4).map(|_| world.set_password(&user.name, "correct horse", &request_id))).await;
    let replays = twins.iter().filter(|answer| is_replay(answer.as_ref().unwrap())).count();
    assert_eq!((replays, world.told().await.as_str()), (3, "->set"));
    let hash = world.hash().await;
    let again = world.set_password(&user.name, "battery staple", &request_id).await.unwrap();
    assert!(is_replay(&again), "the mark is of the request less its password");
    assert_eq!(world.hash().await, hash);
    let removal = world.set_password(&user.name, "", &request_id).await.unwrap_err();
    assert_eq!(reason(&removal), "REQUEST_ID_REUSED", "removing is another request");
    let other = world.create(row("b@x.de")).await.unwrap();
    let other = world.set_password(&other.name, "correct horse", &request_id).await.unwrap_err();
    assert_eq!(reason(&other), "REQUEST_ID_REUSED");

    let kept = world
        .text(
            "select string_agg(j::text, '') || (select string_agg(r::text, '') from stead.request_ids r)
             from stead.journal j where tenant_id = $1",
        )
        .await;
    for secret in ["correct horse", "battery staple", "argon2", &hash] {
        assert!(!kept.contains(secret), "{kept}");
    }
}

#[tokio::test]
async fn a_password_is_refused_before_anything_is_written() {
    let world = World::new().await;
    let user = world.create(row("a@x.de")).await.unwrap();
    for password in ["seven b", &"x".repeat(1025)] {
        let refused = world.set_password(&user.name, password, "").await.unwrap_err();
        assert_eq!(refused.code(), Code::InvalidArgument);
        assert!(!refused.message().contains(password));
    }
    for (name, code) in
        [("users/x", Code::InvalidArgument), ("users/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a", Code::NotFound)]
    {
        assert_eq!(world.set_password(name, "correct horse", "").await.unwrap_err().code(), code);
    }
    let only = v1::SetUserPasswordRequest {
        name: user.name.clone(),
        password: "correct horse".into(),
        request_id: id(),
        validate_only: true,
    };
    let answer = world.service.set_user_password(world.call("SetUserPassword").carrying(only)).await;
    assert_eq!(answer.unwrap().into_inner(), user);
    world.delete(&user.name, "").await.unwrap();
    assert_eq!(world.set_password(&user.name, "correct horse", "").await.unwrap_err().code(), Code::NotFound);
    assert_eq!((world.hash().await, world.told().await), (String::new(), String::new()));
    let foreign = World { tenant: world.another_tenant().await, ..world };
    assert_eq!(foreign.set_password(&user.name, "correct horse", "").await.unwrap_err().code(), Code::NotFound);
}
