//! Looking users up and reading many at once.
//! It leaves lists to its parent.

use prost_types::FieldMask;
use stead_api::{
    servers::user_service_server::UserService,
    v1::{self, lookup_user_request::Key},
};
use tonic::{Code, Status};
use tonic_types::StatusExt;
use uuid::Uuid;

use super::{World, inner, reason, row};

impl World {
    async fn lookup(&self, key: Option<Key>) -> Result<v1::User, Status> {
        self.lookup_masked(key, &[]).await
    }

    async fn lookup_masked(&self, key: Option<Key>, paths: &[&str]) -> Result<v1::User, Status> {
        let request = v1::LookupUserRequest { key, read_mask: mask(paths) };
        inner(self.service.lookup_user(self.call("LookupUser").carrying(request)).await)
    }

    async fn batch(&self, names: &[&str], allow_missing: bool, paths: &[&str]) -> Result<Vec<v1::User>, Status> {
        let names = names.iter().map(|name| (*name).to_owned()).collect();
        let request = v1::BatchGetUsersRequest { names, read_mask: mask(paths), allow_missing };
        let answer = self.service.batch_get_users(self.call("BatchGetUsers").carrying(request)).await;
        inner(answer).map(|answer| answer.users)
    }
}

fn mask(paths: &[&str]) -> Option<FieldMask> {
    (!paths.is_empty()).then(|| FieldMask { paths: paths.iter().map(|path| (*path).to_owned()).collect() })
}

fn email(text: &str) -> Option<Key> {
    Some(Key::Email(text.into()))
}

fn username(text: &str) -> Option<Key> {
    Some(Key::Username(text.into()))
}

/// The fields that a refusal names.
fn fields(status: &Status) -> Vec<String> {
    let request = status.get_details_bad_request().expect("a refusal that names fields");
    request.field_violations.into_iter().map(|violation| violation.field).collect()
}

#[tokio::test]
async fn a_user_is_found_by_email_or_username_however_it_is_written() {
    let world = World::new().await;
    let user = world.create(v1::User { username: "Zoë".into(), ..row("Zoë@example.de") }).await.unwrap();
    for key in [email("zoë@EXAMPLE.de"), email("ZOE\u{308}@example.DE"), username("ZOË"), username("zoe\u{308}")] {
        assert_eq!(world.lookup(key.clone()).await.unwrap(), user, "{key:?}");
    }
    let shown = world.lookup_masked(username("zoë"), &["displayName", "email"]).await.unwrap();
    assert_eq!(shown, v1::User { email: user.email.clone(), ..v1::User::default() });

    for (key, field) in [
        (None, "key"),
        (email(""), "email"),
        (email("zoë"), "email"),
        (username(""), "username"),
        (username("z oë"), "username"),
    ] {
        let refused = world.lookup(key).await.unwrap_err();
        assert_eq!((refused.code(), fields(&refused)), (Code::InvalidArgument, vec![field.to_owned()]));
    }
    assert_eq!(world.lookup(email("zoe@example.de")).await.unwrap_err().code(), Code::NotFound);
    world.delete(&user.name, "").await.unwrap();
    assert_eq!(world.lookup(username("zoë")).await.unwrap_err().code(), Code::NotFound);
    let foreign = World { tenant: world.another_tenant().await, ..world };
    foreign.create(row("b@example.de")).await.unwrap();
    assert_eq!(foreign.lookup(email("zoë@example.de")).await.unwrap_err().code(), Code::NotFound);
}

#[tokio::test]
async fn a_batch_keeps_the_order_asked_for_and_names_all_that_are_missing() {
    let world = World::new().await;
    let (first, second) = (world.create(row("a@x.de")).await.unwrap(), world.create(row("b@x.de")).await.unwrap());
    let deleted = world.create(row("c@x.de")).await.unwrap().name;
    world.delete(&deleted, "").await.unwrap();
    let (a, b, made_up) = (first.name.as_str(), second.name.as_str(), format!("users/{}", Uuid::now_v7()));

    let read = world.batch(&[b, a, b], false, &[]).await.unwrap();
    assert_eq!(read, [second.clone(), first.clone(), second.clone()]);
    let read = world.batch(&[b, a], false, &["name"]).await.unwrap();
    assert_eq!(
        read.iter().map(|user| (user.name.as_str(), user.email.as_str())).collect::<Vec<_>>(),
        [(b, ""), (a, "")]
    );

    let names = [&*made_up, a, &*deleted];
    let refused = world.batch(&names, false, &[]).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::NotFound, "RESOURCE_NOT_FOUND"));
    assert_eq!(fields(&refused), ["names[0]", "names[2]"]);
    assert_eq!(world.batch(&names, true, &[]).await.unwrap(), std::slice::from_ref(&first));
    assert_eq!(world.batch(&[&made_up], true, &[]).await.unwrap(), []);

    let refused = world.batch(&[a, "users/x", "products/x"], true, &["nothing"]).await.unwrap_err();
    assert_eq!(fields(&refused), ["names[1]", "names[2]", "read_mask"]);
    assert_eq!(world.batch(&vec![a; 1000], false, &[]).await.unwrap().len(), 1000);
    for names in [vec![], vec![a; 1001]] {
        assert_eq!(fields(&world.batch(&names, true, &[]).await.unwrap_err()), ["names"]);
    }
    let foreign = World { tenant: world.another_tenant().await, ..world };
    assert_eq!(foreign.batch(&[a, b], true, &[]).await.unwrap(), []);
}

#[tokio::test]
async fn a_batch_beyond_three_mebibytes_says_how_many_fit() {
    let world = World::new().await;
    world
        .run(
            "insert into stead.users (tenant_id, id, email, email_key, profile)
             select $1, gen_random_uuid(), n || '@x', n || '@x', jsonb_build_object('t', repeat('x', 32000))
             from generate_series(1, 120) n",
        )
        .await;
    let listed = world.text("select string_agg('users/' || id, ' ') from stead.users where tenant_id = $1").await;
    let names: Vec<_> = listed.split(' ').collect();
    let refused = world.batch(&names, false, &[]).await.unwrap_err();
    assert_eq!((refused.code(), reason(&refused).as_str()), (Code::ResourceExhausted, "RESULT_TOO_LARGE"));
    let fit: usize = refused.get_details_error_info().unwrap().metadata["fit"].parse().unwrap();
    assert!((90..100).contains(&fit), "{fit}");
    assert_eq!(world.batch(&names[..fit], false, &[]).await.unwrap().len(), fit);
    assert_eq!(reason(&world.batch(&names[..=fit], false, &[]).await.unwrap_err()), "RESULT_TOO_LARGE");
    assert_eq!(world.batch(&names, false, &["name", "profile.other"]).await.unwrap().len(), 120);
}
