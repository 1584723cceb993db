//! Lists of users: whom a filter chooses, what a total is, what a mask leaves, and that an index finds them.
//! It leaves writers and bounds to the lists of products, which are read the same way.

use stead_api::v1::{self, CountMode, Role as UserRole, TotalSizeKind, user::State};
use tonic::Code;

use super::*;
use crate::{
    filter::{Filter, exact},
    listing::{
        List,
        tests::{
            blocks,
            language::{Ask, Held, Known},
            plans, scans,
            walks::{Listed, Question, Walked},
        },
    },
    page::{Asked, Page},
    rules::Violations,
    users::{
        model::{FIELDS, ORDERS},
        store::TABLE,
    },
};

const EMAILS: &[&str] = &["a@x", "A1@x", "b", "É2@y", "a1", "zz"];
const NAMES: &[&str] = &["ann", "ANN1", "an", "é", "b", "z"];
const DISPLAYED: &[&str] = &["", "Ann", "ann", "a*\"\\", "É"];
/// A day on which all were made, hour by hour, and what happened to some of them on the next.
const MADE: i64 = 1_767_225_600;
const TIMES: &[i64] = &[MADE, MADE + 3600, MADE + 5 * 3600, MADE + 86_400, MADE + 90_000];

/// Users, as their lists should be understood.
const LISTED: Listed<v1::User> = Listed {
    what: "users",
    fields: &[
        Known { name: "email", ask: Ask::Text(EMAILS, key), held: |user| Held::Text(key(&user.email)) },
        Known { name: "username", ask: Ask::Text(NAMES, key), held: |user| given(&user.username, key) },
        Known {
            name: "display_name",
            ask: Ask::Text(DISPLAYED, exact),
            held: |user| Held::Text(user.display_name.clone()),
        },
        Known {
            name: "role",
            ask: Ask::Words(&["OWNER", "ADMIN", "EDITOR", "VIEWER"], "ROLE_"),
            held: |user| Held::Several(user.roles().map(|role| role.as_str_name()[5..].to_owned()).collect()),
        },
        Known {
            name: "state",
            ask: Ask::Word(&["ACTIVE", "DISABLED", "DELETED"], "STATE_"),
            held: |user| match (&user.delete_time, user.state()) {
                (None, state) => Held::Text(state.as_str_name()[6..].to_owned()),
                _ => Held::Text("DELETED".into()),
            },
        },
        Known { name: "create_time", ask: Ask::Time(TIMES), held: |user| time(user.create_time.as_ref()) },
        Known { name: "update_time", ask: Ask::Time(TIMES), held: |user| time(user.update_time.as_ref()) },
        Known { name: "last_login_time", ask: Ask::Time(TIMES), held: |user| time(user.last_login_time.as_ref()) },
        Known { name: "delete_time", ask: Ask::Time(TIMES), held: |user| time(user.delete_time.as_ref()) },
    ],
    orders: &[
        ("create_time", |user| (String::new(), user.create_time.as_ref().map_or(0, |time| time.seconds))),
        ("email", |user| (key(&user.email), 0)),
    ],
    name: |user| &user.name,
    is_deleted: |user| user.delete_time.is_some(),
};

/// What is drawn is in normal form, so this is what no case tells apart.
fn key(text: &str) -> String {
    text.to_lowercase()
}

fn given(text: &str, form: fn(&str) -> String) -> Held {
    if text.is_empty() { Held::Nothing } else { Held::Text(form(text)) }
}

fn time(time: Option<&prost_types::Timestamp>) -> Held {
    time.map_or(Held::Nothing, |time| Held::Number(time.seconds))
}

impl World {
    /// Every page to the end.
    async fn walk(&self, asked: &Question) -> Walked<v1::User> {
        let mut request = v1::ListUsersRequest {
            page_size: asked.size,
            filter: asked.filter.clone(),
            order_by: asked.order.clone(),
            show_deleted: asked.show_deleted,
            count_mode: (2 + asked.filter.len() % 3) as i32,
            ..Default::default()
        };
        let mut walked = Walked { rows: vec![], refused: None, total: None };
        loop {
            let call = self.call("ListUsers").carrying(request.clone());
            let page =
                inner(self.service.list_users(call).await).unwrap_or_else(|refused| panic!("{asked:?} {refused}"));
            walked.rows.extend(page.users);
            walked.total = Some(page.total_size);
            request.page_token = page.next_page_token;
            if request.page_token.is_empty() {
                return walked;
            }
        }
    }
}

#[tokio::test]
async fn walking_all_pages_is_what_an_evaluation_in_memory_says() {
    let world = World::new().await;
    world
        .run(
            "insert into stead.users (tenant_id, id, email, email_key, username, username_key, display_name, roles, state,
               create_time, update_time, last_login_time, delete_time)
             select $1, gen_random_uuid(), email, lower(email), name, lower(name), (array['', 'Ann', 'ann', 'a*\"\\', 'É'])[1 + n % 5],
               array(select role from unnest(array['owner', 'admin', 'editor', 'viewer']) role where hashtext(role || n) & 3 = 0),
               case when hashint4(n) & 3 = 0 then 'disabled' else 'active' end, made, made,
               case when hashint4(n + 2) & 1 = 0 then made + interval '1 d' end,
               case when hashint4(n + 3) % 5 = 0 then made + interval '25 h' end
             from (select n, (array['a', 'A1', 'b', 'É2', 'zz'])[1 + n % 5] || n || '@x' as email,
                     case when n % 3 > 0 then (array['ann', 'ANN', 'é', 'b'])[1 + n % 4] || n end as name,
                     timestamptz '2026-01-01Z' + (hashint4(n + 1) & 7) * interval '1 h' as made
                   from generate_series(1, 120) n) drawn",
        )
        .await;
    let all =
        world.list(v1::ListUsersRequest { page_size: 1000, show_deleted: true, ..Default::default() }).await.users;
    assert_eq!(all.len(), 120);
    LISTED.compare(150, &all, async |asked, _| world.walk(asked).await).await;
}

impl World {
    async fn emails(&self, filter: &str, show_deleted: bool) -> Vec<String> {
        let request = v1::ListUsersRequest { filter: filter.into(), show_deleted, ..Default::default() };
        self.list(request).await.users.into_iter().map(|user| user.email).collect()
    }
}

fn user(email: &str, username: &str, roles: &[UserRole], state: State) -> v1::User {
    let roles = roles.iter().map(|role| (*role).into()).collect();
    v1::User { email: email.into(), username: username.into(), roles, state: state.into(), ..v1::User::default() }
}

#[tokio::test]
async fn a_filter_chooses_whom_it_says() {
    let world = World::new().await;
    world.create(user("Ann@x", "Ann", &[UserRole::Owner, UserRole::Admin], State::Active)).await.unwrap();
    world.create(user("bob@x", "", &[UserRole::Viewer], State::Active)).await.unwrap();
    world.create(user("JÜRGEN@y", "jürgen", &[], State::Disabled)).await.unwrap();
    let gone = world.create(user("gone@x", "gone", &[UserRole::Admin], State::Active)).await.unwrap();
    world.delete(&gone.name, "").await.unwrap();
    for (filter, expected) in [
        ("email = \"aNN@X\"", &["Ann@x"][..]),
        ("email = \"J*\"", &["JÜRGEN@y"]),
        ("username:\"JÜR*\"", &["JÜRGEN@y"]),
        ("username:*", &["Ann@x", "JÜRGEN@y"]),
        ("NOT username:*", &["bob@x"]),
        ("username != ann", &["JÜRGEN@y"]),
        ("NOT username = ann", &["bob@x", "JÜRGEN@y"]),
        ("role:ADMIN", &["Ann@x"]),
        ("role:\"ROLE_VIEWER\" OR role:OWNER", &["Ann@x", "bob@x"]),
        ("-role:*", &["JÜRGEN@y"]),
        ("state = DISABLED", &["JÜRGEN@y"]),
        ("state = ACTIVE AND -role:OWNER", &["bob@x"]),
        ("state = DELETED", &[]),
        ("last_login_time:*", &[]),
        ("NOT last_login_time > 2020-01-01T00:00:00Z", &["Ann@x", "bob@x", "JÜRGEN@y"]),
    ] {
        assert_eq!(world.emails(filter, false).await, expected, "{filter}");
    }
    assert_eq!(world.emails("state = DELETED", true).await, ["gone@x"]);
    assert_eq!(world.emails("role:ADMIN AND state != DELETED", true).await, ["Ann@x"]);

    let request = v1::ListUsersRequest { filter: "email:\"*@x\"".into(), ..Default::default() };
    let refused = world.service.list_users(world.call("ListUsers").carrying(request)).await.unwrap_err();
    assert_eq!(refused.code(), Code::InvalidArgument);
    let request = v1::ListUsersRequest {
        page_size: 1,
        count_mode: CountMode::Exact.into(),
        read_mask: Some(prost_types::FieldMask { paths: vec!["email".into()] }),
        ..Default::default()
    };
    let page = world.list(request).await;
    assert_eq!((page.total_size, page.total_size_kind()), (3, TotalSizeKind::Exact));
    assert_eq!(page.users, [v1::User { email: "Ann@x".into(), ..v1::User::default() }]);
}

#[tokio::test]
async fn an_index_finds_whom_a_leading_comparison_asks_for() {
    let world = World::new().await;
    world.run("insert into stead.users (tenant_id, id, email, email_key, username, username_key, roles, state, delete_time)
               select $1, gen_random_uuid(), 'e' || n || '@x', 'e' || n || '@x', 'u' || n, 'u' || n,
                 case when n % 5000 = 0 then array['owner'] when n % 1000 = 0 then array['admin', 'editor'] else array['viewer'] end,
                 case when n % 3000 = 1 then 'disabled' else 'active' end, case when n % 3000 = 2 then now() end
               from generate_series(1, 30000) n").await;
    let mut admin = world.database.connect(Login::Superuser).await;
    sqlx::query("vacuum (analyze) stead.users").execute(&mut admin).await.unwrap();
    let principal = world.call("ListUsers").principal;
    let app = Pool::new("stead_app", world.database.url(Login::App).parse().unwrap(), 1, Duration::from_secs(10));
    let seal = Seal::new(&SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap());
    for (filter, order_by) in [
        ("email = \"e77@x\"", "create_time"),
        ("email:\"e77*\"", "email desc"),
        ("username = u77", "email"),
        ("username:\"u777*\"", "create_time"),
        ("role:OWNER", "create_time desc"),
        ("role:ADMIN", "email"),
        ("role:EDITOR", "create_time"),
        ("role:VIEWER", "create_time"),
        ("state = DISABLED", "create_time"),
        ("state = ACTIVE", "create_time desc"),
        ("state = DELETED", "create_time"),
    ] {
        for show_deleted in [false, true] {
            let mut violations = Violations::default();
            let filter = Filter::read(filter, FIELDS, &principal.permissions, &mut violations);
            let asked = Asked { method: "", size: 50, token: "", order_by, shape: 0 };
            let page = Page::read(asked, ORDERS, &principal, &seal, &mut violations);
            assert!(violations.is_empty(), "{violations}");
            let list = List { table: &TABLE, page: &page, filter: &filter, show_deleted };
            let mut db = app.tenant(world.tenant).await.unwrap();
            let plan = &plans(&list, &mut db).await[0];
            assert!(!scans(plan) && blocks(plan) < 300, "{filter:?} {plan:#}");
        }
    }
}
