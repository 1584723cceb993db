//! Cases of users: how they are told apart, found, changed and deleted.
//! Leaves what their roles allow to the server's own tests.

use stead_client::{ErrorKind, NewUser, Role, UserPatch, UserState};

use super::{Ground, Outcome, refused};

fn ada() -> NewUser {
    NewUser::new("Ada@Example.com").username("Ada").role(Role::Editor)
}

pub(super) async fn a_user_is_found_by_address_and_name_in_any_case(Ground { client, other, .. }: Ground) -> Outcome {
    let made = client.users().create(ada()).send().await?;
    assert_eq!(
        (made.email.as_str(), made.state, &made.roles[..]),
        ("Ada@Example.com", UserState::Active, &[Role::Editor][..])
    );
    assert_eq!(client.users().get(made.id).send().await?, made);
    assert_eq!(client.users().lookup_by_email("aDA@example.COM").send().await?, made);
    assert_eq!(client.users().lookup_by_username("aDA").send().await?, made);
    let error = refused(other.users().lookup_by_email("ada@example.com").send().await)?;
    assert_eq!(error.kind(), &ErrorKind::NotFound);
    Ok(())
}

pub(super) async fn an_address_is_one_live_users_alone(Ground { client, .. }: Ground) -> Outcome {
    let users = client.users();
    let made = users.create(ada()).send().await?;
    let error = refused(users.create(NewUser::new("ADA@example.com")).send().await)?;
    assert_eq!((error.kind(), error.metadata()["field"].as_str()), (&ErrorKind::AlreadyExists, "email"));
    let error = refused(users.create(NewUser::new("b@example.com").username("ADA")).send().await)?;
    assert_eq!((error.kind(), error.metadata()["field"].as_str()), (&ErrorKind::AlreadyExists, "username"));
    let error = refused(users.create(NewUser::new("nobody")).send().await)?;
    assert_eq!(error.violations()[0].field, "user.email");
    users.delete(made.id).send().await?;
    users.create(NewUser::new("ada@example.com")).send().await?;
    Ok(())
}

pub(super) async fn a_user_is_changed_deleted_and_brought_back(Ground { client, .. }: Ground) -> Outcome {
    let users = client.users();
    let made = users.create(ada()).send().await?;
    let patch = UserPatch::new().display_name("Ada").state(UserState::Disabled);
    let changed = users.update(made.id, patch).etag(&made.etag).send().await?;
    assert_eq!(
        (changed.display_name.as_str(), changed.state, &changed.email),
        ("Ada", UserState::Disabled, &made.email)
    );
    let error = refused(users.update(made.id, UserPatch::new().display_name("B")).etag(&made.etag).send().await)?;
    assert_eq!(error.kind(), &ErrorKind::Stale { current_etag: Some(changed.etag.clone()) });
    assert!(users.delete(made.id).send().await?.delete_time.is_some());
    assert_eq!(users.list().items().collect().await?, []);
    let back = users.undelete(made.id).send().await?;
    assert_eq!(users.list().items().collect().await?, [back]);
    Ok(())
}

pub(super) async fn a_user_signs_in_by_password(Ground { client, stranger, .. }: Ground) -> Outcome {
    let tenant = client.tenants().current().send().await?;
    client.users().create(ada().password("correct horse battery")).send().await?;
    let signed_in =
        stranger.auth().create_session(tenant.slug, "ada@example.com", "correct horse battery").send().await?;
    let session = stranger.with_credentials(signed_in.token)?;
    assert!(session.auth().whoami().await?.subject.starts_with("users/"));
    Ok(())
}
