//! Plans and quotas: what a tenant may keep is kept to exactly, however many write at once; what it uses is told as exactly; and
//! another plan, or a limit of its own, holds on every server soon after.
//! Leaves how fast a tenant may call to `limits`, and what an entry of the audit log tells of a change to `audit`.

mod control;
mod walk;

use std::time::Instant;

use sqlx::{PgConnection, Row};
use stead_client::{Client, Error, ErrorKind, LimitSource, LimitsPatch, NewUser, ProductPatch, TenantPatch};
use stead_harness::Database;
use tokio::task::JoinSet;
use tonic::Code;
use tonic_types::StatusExt;
use uuid::Uuid;

use crate::{
    fixture::{Refused, SOON, Server, Size, Tenant, figure, shared, tenant},
    products,
};

/// A tenant with limits of its own, whose client has not called before.
async fn limited(patch: LimitsPatch) -> Tenant {
    let (server, tenant) = (shared().await, tenant().await);
    server.platform().tenants().update_limits(tenant.id, patch).send().await.expect("limits of its own");
    tenant
}

/// A client that nobody has called by, so that nothing is remembered of its tenant.
async fn fresh(tenant: &Tenant) -> Client {
    tenant.client_as("services/fresh", crate::fixture::TENANT_PERMISSIONS).await
}

/// What is refused for good: with the quota and its value, and without a time to come back.
#[track_caller]
fn is_exhausted(error: &Error, quota: &str, limit: u64) {
    assert_eq!(error.kind(), &ErrorKind::QuotaExhausted, "{error:?}");
    assert_eq!(error.attempts(), 1, "{error:?}");
    let status = error.status().expect("an answer");
    assert_eq!(status.code(), Code::ResourceExhausted);
    let details = status.get_error_details();
    let info = details.error_info().expect("a reason");
    let told = ["quota", "limit"].map(|key| info.metadata.get(key).map(String::as_str).unwrap_or_default());
    assert_eq!((info.reason.as_str(), told), ("QUOTA_EXHAUSTED", [quota, &limit.to_string()]), "{error:?}");
    let failure = details.quota_failure().expect("which quota");
    assert_eq!(failure.violations.len(), 1);
    assert_eq!(failure.violations[0].description, format!("{limit} {quota}"));
    assert!(failure.violations[0].subject.starts_with("tenants/"), "{failure:?}");
    assert!(details.retry_info().is_none(), "{error:?}");
    assert_eq!(status.metadata().get("grpc-retry-pushback-ms").expect("a pushback"), "-1");
}

/// What a tenant stores by the rows themselves: products, users, bytes.
async fn counted(truth: &mut PgConnection, tenant: &Tenant) -> [u64; 3] {
    let query = "select
        (select count(*) from stead.products where tenant_id = $1 and delete_time is null),
        (select count(*) from stead.users where tenant_id = $1 and delete_time is null),
        (select coalesce(sum(octet_length(sku || display_name || description || category || array_to_string(tags, ','))
            + octet_length(attributes::text)), 0)
          from stead.products where tenant_id = $1 and delete_time is null)
        + (select coalesce(sum(octet_length(concat(email, username, display_name)) + octet_length(profile::text)), 0)
          from stead.users where tenant_id = $1 and delete_time is null)";
    let row = sqlx::query(query).bind(tenant.id.uuid()).fetch_one(truth).await.expect("a count");
    [0, 1, 2].map(|column| row.get::<i64, _>(column) as u64)
}

async fn used(tenant: &Tenant) -> [u64; 3] {
    let usage = tenant.client.tenants().usage(None).await.expect("its usage");
    assert_eq!(usage.rows.used, usage.products + usage.users);
    [usage.products, usage.users, usage.bytes.used]
}

#[tokio::test]
async fn the_last_ten_rows_are_given_ten_times_however_many_ask() {
    let tenant = limited(LimitsPatch::new().rows(13)).await;
    for number in 0..3 {
        tenant.client.products().create(products::new(&format!("first-{number}"))).send().await.expect("room");
    }
    let mut creators = JoinSet::new();
    for number in 0..50 {
        let client = tenant.client.clone();
        creators.spawn(async move {
            // Some of them users, who count as much.
            match number % 5 {
                0 => client.users().create(NewUser::new(format!("u{number}@example.com"))).send().await.map(drop),
                _ => client.products().create(products::new(&format!("p-{number}"))).send().await.map(drop),
            }
        });
    }
    let outcomes = creators.join_all().await;
    let refused: Vec<_> = outcomes.iter().filter_map(|outcome| outcome.as_ref().err()).collect();
    figure("the_last_ten_rows", &[("calls", 50), ("refused", refused.len() as u64)]);
    assert_eq!(refused.len(), 40);
    refused.into_iter().for_each(|error| is_exhausted(error, "rows", 13));
    let [products, users, bytes] = used(&tenant).await;
    assert_eq!(products + users, 13);
    assert_eq!([products, users, bytes], counted(&mut shared().await.truth().await, &tenant).await);
}

#[tokio::test]
async fn what_is_full_takes_nothing_more_and_gives_everything() {
    let tenant = limited(LimitsPatch::new().rows(2)).await;
    let store = tenant.client.products();
    let [first, second] =
        [store.create(products::new("a")).send().await, store.create(products::new("b")).send().await]
            .map(|created| created.expect("room"));
    let full = |error: Error| is_exhausted(&error, "rows", 2);
    full(store.create(products::new("c")).send().await.expect_err("no room"));
    full(store.create(products::new("c")).validate_only().send().await.expect_err("no room to try it"));
    full(store.batch_create([products::new("c")]).send().await.map(drop).expect_err("no room"));
    full(tenant.client.users().create(NewUser::new("a@example.com")).send().await.expect_err("no room"));
    // Reading, changing and deleting go on, and a deletion makes room at once.
    let grown = store.update(first.id, ProductPatch::new().display_name("A much longer name")).send().await;
    assert_eq!(grown.expect("no more rows").revision, 2);
    store.delete(second.id).send().await.expect("deleted");
    let third = store.create(products::new("c")).send().await.expect("room again");
    full(store.undelete(second.id).send().await.expect_err("no room for its return"));
    store.delete(third.id).send().await.expect("deleted");
    store.undelete(second.id).send().await.expect("room for it");
    assert_eq!(store.list().items().collect().await.expect("a list").len(), 2);
    assert_eq!(used(&tenant).await[..2], [2, 0]);
}

#[tokio::test]
async fn a_retry_of_what_filled_the_quota_is_answered_as_before() {
    let tenant = limited(LimitsPatch::new().rows(1)).await;
    let create = || tenant.client.products().create(products::new("a"));
    let id = Uuid::new_v4();
    let first = create().request_id(id).answer().await.expect("room");
    let again = create().request_id(id).answer().await.expect("the same answer");
    assert_eq!((first.value, first.meta.replayed(), again.meta.replayed()), (again.value, false, true));
    let other = tenant.client.products().create(products::new("b")).send().await;
    is_exhausted(&other.expect_err("another"), "rows", 1);
}

#[tokio::test]
async fn a_batch_or_a_chunk_that_passes_the_quota_is_refused_whole() {
    let tenant = limited(LimitsPatch::new().rows(10)).await;
    let store = tenant.client.products();
    let some = |count: u64| (0..count).map(|number| products::new(&format!("b-{number}"))).collect::<Vec<_>>();
    is_exhausted(&store.batch_create(some(11)).send().await.map(drop).expect_err("eleven"), "rows", 10);
    assert_eq!(used(&tenant).await, [0, 0, 0]);
    let mut import = store.import(Uuid::new_v4()).open().await.expect("an import");
    import.send_chunk(1, some(8)).await.expect("eight");
    let more: Vec<_> = (8..11).map(|number| products::new(&format!("b-{number}"))).collect();
    let refused = async {
        import.send_chunk(9, more).await?;
        import.finish().await
    };
    is_exhausted(&refused.await.expect_err("three more"), "rows", 10);
    assert_eq!(used(&tenant).await[0], 8);
    store.batch_create((8..10).map(|number| products::new(&format!("b-{number}")))).send().await.expect("two");
    assert_eq!(used(&tenant).await[0], 10);
}

#[tokio::test]
async fn bytes_are_counted_to_the_last_one() {
    let tenant = limited(LimitsPatch::new().bytes(1000)).await;
    let store = tenant.client.products();
    let product = store.create(products::new("abc")).send().await.expect("room");
    let [_, _, bytes] = used(&tenant).await;
    assert_eq!([1, 0, bytes], counted(&mut shared().await.truth().await, &tenant).await);
    let describe = |length: usize| store.update(product.id, ProductPatch::new().description("ß".repeat(length / 2)));
    let room = (1000 - bytes) as usize;
    let odd = room % 2;
    is_exhausted(&describe(room - odd + 2).send().await.expect_err("one letter too many"), "bytes", 1000);
    describe(room - odd).send().await.expect("as much as there is");
    assert_eq!(used(&tenant).await[2] as usize, 1000 - odd);
    is_exhausted(&store.create(products::new("d")).send().await.expect_err("full"), "bytes", 1000);
    store.adjust_quantity(product.id, 5).send().await.expect("no more bytes");
    describe(0).send().await.expect("fewer");
    assert_eq!(used(&tenant).await[2], bytes);
}

#[tokio::test]
async fn a_limit_of_ones_own_stands_over_the_plan_until_it_is_given_back() {
    let (server, tenant) = (shared().await, tenant().await);
    let (platform, own) = (server.platform().tenants(), tenant.client.tenants());
    let plain = own.limits(None).await.expect("its limits");
    assert_eq!((plain.id, plain.plan.as_str()), (tenant.id, "standard"));
    let all = |limits: &stead_client::TenantLimits| {
        [limits.rate_per_second, limits.burst, limits.calls_in_flight, limits.rows, limits.bytes]
    };
    assert!(all(&plain).iter().all(|limit| limit.source == LimitSource::Plan && limit.value.is_some()));
    let patch = || LimitsPatch::new().rows(7).burst(60_000);
    let tried = platform.update_limits(tenant.id, patch()).validate_only().send().await.expect("tried");
    assert_eq!((tried.rows.value, own.limits(None).await.expect("as before")), (Some(7), plain.clone()));
    let answer = platform.update_limits(tenant.id, patch()).etag(&plain.etag).send().await.expect("changed");
    assert_eq!((answer.rows.value, answer.rows.source), (Some(7), LimitSource::Tenant));
    assert_eq!((answer.bytes, answer.calls_in_flight), (plain.bytes, plain.calls_in_flight));
    assert_eq!(own.limits(None).await.expect("its limits"), answer);
    assert_eq!(platform.get(tenant.id).send().await.expect("the tenant").etag, answer.etag);
    let stale = platform.update_limits(tenant.id, patch().rows(8)).etag(&plain.etag).send().await.expect_err("stale");
    assert_eq!(stale.kind(), &ErrorKind::Stale { current_etag: Some(answer.etag.clone()) });
    let same = platform.update_limits(tenant.id, patch()).send().await.expect("as it was");
    assert_eq!(same.etag, answer.etag);
    let back = platform.update_limits(tenant.id, LimitsPatch::new().rows(None)).send().await.expect("given back");
    assert_eq!((back.rows, back.burst.value), (plain.rows, Some(60_000)));
    let none = platform.update_limits(tenant.id, LimitsPatch::replace()).send().await.expect("all given back");
    assert_eq!(all(&none), all(&plain));
    platform.update(tenant.id, TenantPatch::new().plan("unlimited")).send().await.expect("another plan");
    let unlimited = own.limits(None).await.expect("its limits");
    assert_eq!((unlimited.plan.as_str(), unlimited.rows.value, unlimited.bytes.value), ("unlimited", None, None));
    let refused = tenant.client.tenants().update_limits(tenant.id, patch()).send().await.refusal();
    assert!(refused.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{refused:?}");
    let odd = LimitsPatch::new().rate_per_second(0).burst(10_000_001).rows(1_000_000_000_001);
    let refused = platform.update_limits(tenant.id, odd).send().await.refusal();
    refused.breaks(&["limits.rate_per_second.value", "limits.burst.value", "limits.rows.value"]);
}

#[tokio::test]
async fn another_limit_or_plan_holds_on_every_server_soon() {
    let plans = tempfile::NamedTempFile::new().expect("a file");
    let plan = |rows: u64| {
        format!("rate_per_second = 10000\nburst = 50000\ncalls_in_flight = 500\nrows = {rows}\nbytes = \"unlimited\"\n")
    };
    std::fs::write(plans.path(), format!("[plans.standard]\n{}[plans.none]\n{}", plan(1000), plan(0)))
        .expect("written");
    let settings = [("STEAD_PLANS", plans.path().to_str().expect("a path"))];
    let server = Server::with(Database::fresh().await, &settings).await;
    let second = server.second(&settings).await;
    let tenant = server.tenant().await;
    let clients = [tenant.client.clone(), second.client(&tenant.key)];
    let create =
        |client: &Client| client.products().create(products::new(&Uuid::new_v4().to_string())).validate_only().send();
    let platform = server.platform().tenants();
    let mut slowest = 0;
    for limited in [true, false, true, false] {
        // What was read last is as fresh as can be.
        for client in &clients {
            assert_eq!(create(client).await.is_ok(), limited);
        }
        let since = Instant::now();
        if limited {
            platform.update(tenant.id, TenantPatch::new().plan("none")).send().await.expect("another plan");
        } else {
            platform.update(tenant.id, TenantPatch::new().plan("gold")).send().await.expect("a plan of no list");
        }
        for client in &clients {
            while create(client).await.is_ok() == limited {
                assert!(since.elapsed() < SOON, "the plan does not hold");
            }
        }
        slowest = slowest.max(since.elapsed().as_millis() as u64);
    }
    figure("another_limit_or_plan_holds", &[("calls", 4), ("milliseconds", slowest)]);
    if Size::of(1, 1).is_soak() {
        assert!(slowest <= 1000, "a plan held after {slowest} ms");
    }
}

#[tokio::test]
async fn the_server_tells_what_it_sees_of_calls_and_units() {
    let tenant = limited(LimitsPatch::new().rate_per_second(1).burst(500)).await;
    let usage = fresh(&tenant).await.tenants().usage(None).await.expect("its usage");
    assert_eq!((usage.calls_in_flight.used, usage.burst.value), (0, Some(500)));
    assert!((400..500).contains(&usage.units_left), "{usage:?}");
    let seen = shared().await.platform().tenants().usage(tenant.id).await.expect("as the platform sees it");
    assert!((400..500).contains(&seen.units_left), "{seen:?}");
    let stranger = crate::fixture::tenant().await;
    let refused = stranger.client.tenants().usage(tenant.id).await.refusal();
    assert!(refused.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{refused:?}");
}

#[tokio::test]
async fn dropping_what_is_kept_of_a_tenant_is_for_its_owners_and_in_its_log() {
    let (server, tenant) = (shared().await, tenant().await);
    let product = tenant.client.products().create(products::new("kept")).send().await.expect("a product");
    tenant.client.tenants().invalidate_cache(None).await.expect("its own");
    server.platform().tenants().invalidate_cache(tenant.id).await.expect("by the platform");
    assert_eq!(tenant.client.products().get(product.id).send().await.expect("read anew"), product);
    let entries = tenant.client.audit().list().filter("method = \"TenantService/InvalidateCache\"").items();
    let entries = entries.collect().await.expect("the log");
    let told: Vec<_> = entries.iter().map(|entry| (entry.actor.as_str(), entry.resource.as_str())).collect();
    let name = tenant.id.to_string();
    assert_eq!(told, [("operators/cli", name.as_str()), ("services/test", name.as_str())]);
    let editor = tenant.client_with(&["products.read", "products.write"]).await;
    let refused = editor.tenants().invalidate_cache(None).await.refusal();
    assert!(refused.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{refused:?}");
    let other = crate::fixture::tenant().await;
    let refused = other.client.tenants().invalidate_cache(tenant.id).await.refusal();
    assert!(refused.is(Code::PermissionDenied, "PERMISSION_MISSING"), "{refused:?}");
}
