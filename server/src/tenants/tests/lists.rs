//! Lists of tenants: which of them a filter chooses, what a total is and what a mask leaves.
//! It leaves writers and bounds to the lists of products, which are read the same way.

use stead_api::v1::{self, CountMode, TotalSizeKind};

use super::*;
use crate::{
    filter::exact,
    listing::tests::{
        language::{Ask, Held, Known},
        walks::{Listed, Question, Walked},
    },
};

const SLUGS: &[&str] = &["a", "a1", "b", "shop-2", "zz", ""];
const PLANS: &[&str] = &["standard", "large", "l", "none"];
const NAMES: &[&str] = &["A", "a", "Ä"];
/// A day on which all were made, hour by hour, and what happened to some of them on the next.
const MADE: i64 = 1_767_225_600;
const TIMES: &[i64] = &[MADE, MADE + 3600, MADE + 5 * 3600, MADE + 90_000];

/// Tenants, as their lists should be understood.
const LISTED: Listed<v1::Tenant> = Listed {
    what: "tenants",
    fields: &[
        Known { name: "slug", ask: Ask::Text(SLUGS, exact), held: |tenant| Held::Text(tenant.slug.clone()) },
        Known { name: "plan", ask: Ask::Text(PLANS, exact), held: |tenant| Held::Text(tenant.plan.clone()) },
        Known {
            name: "display_name",
            ask: Ask::Text(NAMES, exact),
            held: |tenant| Held::Text(tenant.display_name.clone()),
        },
        Known { name: "require_etag", ask: Ask::Flag, held: |tenant| Held::Flag(tenant.require_etag) },
        Known {
            name: "state",
            ask: Ask::Word(&["ACTIVE", "SUSPENDED", "DELETED"], "STATE_"),
            held: |tenant| match (&tenant.delete_time, tenant.state()) {
                (None, state) => Held::Text(state.as_str_name()[6..].to_owned()),
                _ => Held::Text("DELETED".into()),
            },
        },
        Known { name: "create_time", ask: Ask::Time(TIMES), held: |tenant| time(tenant.create_time.as_ref()) },
        Known { name: "update_time", ask: Ask::Time(TIMES), held: |tenant| time(tenant.update_time.as_ref()) },
        Known { name: "delete_time", ask: Ask::Time(TIMES), held: |tenant| time(tenant.delete_time.as_ref()) },
    ],
    orders: &[
        ("create_time", |tenant| (String::new(), tenant.create_time.as_ref().map_or(0, |time| time.seconds))),
        ("slug", |tenant| (tenant.slug.clone(), 0)),
    ],
    name: |tenant| &tenant.name,
    is_deleted: |tenant| tenant.delete_time.is_some(),
};

fn time(time: Option<&prost_types::Timestamp>) -> Held {
    time.map_or(Held::Nothing, |time| Held::Number(time.seconds))
}

impl World {
    /// Every page to the end.
    async fn walk(&self, asked: &Question) -> Walked<v1::Tenant> {
        let mut request = v1::ListTenantsRequest {
            page_size: asked.size,
            filter: asked.filter.clone(),
            order_by: asked.order.clone(),
            show_deleted: asked.show_deleted,
            count_mode: (2 + asked.filter.len() % 3) as i32,
            ..Default::default()
        };
        let mut walked = Walked { rows: vec![], refused: None, total: None };
        loop {
            let call = self.call("ListTenants").carrying(request.clone());
            let page =
                inner(self.service.list_tenants(call).await).unwrap_or_else(|refused| panic!("{asked:?} {refused}"));
            walked.rows.extend(page.tenants);
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
    let sql = "insert into stead.tenants (id, slug, display_name, plan, state, require_etag, create_time, update_time, delete_time)
               select gen_random_uuid(), (array['a', 'a1-', 'b', 'shop-', 'zz'])[1 + n % 5] || n, (array['A', 'a', 'Ä', 'ab'])[1 + n % 4],
                 (array['standard', 'large', 'l'])[1 + n % 3], case when hashint4(n) & 3 = 0 then 'suspended' else 'active' end,
                 hashint4(n + 1) & 1 = 0, made, made, case when hashint4(n + 3) % 5 = 0 then made + interval '25 h' end
               from (select n, timestamptz '2026-01-01Z' + (hashint4(n + 2) & 7) * interval '1 h' as made from generate_series(1, 100) n) drawn";
    let mut admin = world.database.connect(Role::Superuser).await;
    sqlx::query(sql).execute(&mut admin).await.unwrap();
    let all = v1::ListTenantsRequest { page_size: 1000, show_deleted: true, ..Default::default() };
    let all = world.list(all).await.tenants;
    assert_eq!(all.len(), 100);
    LISTED.compare(150, &all, async |asked, _| world.walk(asked).await).await;
}

#[tokio::test]
async fn a_filter_chooses_what_it_says() {
    let world = World::new().await;
    for (slug, plan) in [("acme", "standard"), ("acme-two", "large"), ("globex", "standard")] {
        let tenant = world.create(slug, "").await.unwrap();
        world.update(v1::Tenant { plan: plan.into(), ..tenant }, &["plan"]).await.unwrap();
    }
    let gone = world.create("gone", "").await.unwrap();
    world.delete(&gone, "").await.unwrap();
    let mut admin = world.database.connect(Role::Superuser).await;
    sqlx::query("update stead.tenants set state = 'suspended' where slug = 'globex'")
        .execute(&mut admin)
        .await
        .unwrap();
    for (filter, show_deleted, expected) in [
        ("slug = acme", false, &["acme"][..]),
        ("slug:\"acme*\"", false, &["acme", "acme-two"]),
        ("plan = standard", false, &["acme", "globex"]),
        ("plan = standard AND state = SUSPENDED", false, &["globex"]),
        ("state = ACTIVE", true, &["acme", "acme-two"]),
        ("state = DELETED", true, &["gone"]),
        ("state = DELETED", false, &[]),
        ("require_etag = true OR slug > b", false, &["globex"]),
        ("NOT slug:\"acme*\" AND slug != platform", true, &["globex", "gone"]),
    ] {
        for order_by in ["slug", "create_time"] {
            let request = v1::ListTenantsRequest {
                filter: filter.into(),
                show_deleted,
                order_by: order_by.into(),
                count_mode: CountMode::Exact.into(),
                ..Default::default()
            };
            let page = world.list(request).await;
            let slugs: Vec<_> = page.tenants.iter().map(|tenant| tenant.slug.as_str()).collect();
            assert_eq!(slugs, expected, "{filter} by {order_by}");
            assert_eq!((page.total_size, page.total_size_kind()), (expected.len() as i64, TotalSizeKind::Exact));
        }
    }
    let request = v1::ListTenantsRequest {
        page_size: 1,
        read_mask: Some(prost_types::FieldMask { paths: vec!["slug".into()] }),
        ..Default::default()
    };
    assert_eq!(world.list(request).await.tenants, [v1::Tenant { slug: "acme".into(), ..v1::Tenant::default() }]);
}
