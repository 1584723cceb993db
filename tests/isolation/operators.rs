//! Operators: inside a tenant by naming it and never otherwise, and every call that they make there is in its journal.
//! Leaves what an entry says to `audit`, and which tenants cannot be named to the promises above.

use std::collections::BTreeMap;

use sqlx::Row;
use stead_api::METHODS;
use tonic::Code;

use super::{
    asks_alike, learned,
    probes::{Probe, probes},
    rows,
    things::{Things, furnished},
};
use crate::fixture::{figure, platform, shared, streamed, tenant};

#[tokio::test]
async fn each_call_of_an_operator_inside_a_tenant_is_in_its_journal() {
    let (acme, things) = furnished().await;
    let (server, invented) = (shared().await, Things::invented(&things));
    let mut truth = server.truth().await;
    let mut recorded = async || {
        let entries = sqlx::query(
            "select method, count(*) from stead.journal
             where tenant_id = $1 and action = 'access' and actor = 'operators/cli' and db_role = 'stead_app'
             group by method",
        );
        let entries = entries.bind(acme.id.uuid()).fetch_all(&mut truth).await.expect("the journal");
        let entries = entries.iter().map(|row| (row.get::<String, _>(0), row.get::<i64, _>(1)));
        entries.collect::<BTreeMap<_, _>>()
    };
    let before = recorded().await;
    let mut calls = BTreeMap::new();
    for method in METHODS.iter().filter(|method| !method.anonymous) {
        let name = method.path.trim_start_matches("/stead.v1.");
        let own = probes().into_iter().filter(|probe| probe.method == name);
        // Of a tenant that never was: a deleted one could not be acted in any more.
        let asked = if name.starts_with("TenantService/") { &invented } else { &things };
        let own = own.map(|Probe { thing, message, .. }| message(asked, &thing(asked)));
        // What is answered, what is refused, and what says nothing: a look all the same.
        for message in own.chain([vec![]]) {
            let answer = streamed(&acme.operator, name, vec![message]).await;
            let code = answer.err().map(|status| status.code());
            assert!(!matches!(code, Some(Code::Unavailable | Code::DeadlineExceeded)), "{name} was not reached");
            *calls.entry(name.to_owned()).or_insert(0_i64) += 1;
        }
    }
    let mut after = recorded().await;
    for (method, count) in before {
        *after.get_mut(&method).expect("entries stay") -= count;
    }
    after.retain(|_, count| *count > 0);
    let differ: Vec<_> = calls.iter().filter(|(method, count)| after.get(*method) != Some(*count)).collect();
    assert!(differ.is_empty() && after.len() == calls.len(), "calls {differ:?}, entries {after:?}");
    let calls = calls.values().sum::<i64>() as u64;
    figure("each_call_of_an_operator", &[("calls", calls), ("entries", calls), ("failures", 0)]);
}

#[tokio::test]
async fn an_operator_who_names_no_tenant_sees_of_tenants_that_they_are_there_and_no_more() {
    let (acme, theirs) = furnished().await;
    let (_, ours) = furnished().await;
    let before = rows(shared().await, theirs.tenant).await;
    let platform = platform().await;
    // What is made outside of any tenant is the platform's own.
    let makes = |probe: &Probe| ["Create", "Import"].iter().any(|verb| probe.method.contains(verb));
    let outside = probes().into_iter().filter(|probe| !probe.method.starts_with("TenantService/") && !makes(probe));
    asks_alike(&platform, outside.collect(), &theirs, &ours).await;
    for list in ["AuthService/ListApiKeys", "AuditService/ListAuditEntries"] {
        let shown = learned(&platform, list, vec![], "?").await;
        assert_eq!(shown.code, Code::Ok, "{list}: {shown:?}");
        assert!(!shown.holds(&theirs.secrets()), "{list} shows something of a tenant: {shown:?}");
    }
    let inside = METHODS.iter().filter(|method| {
        !method.anonymous && ["ProductService", "UserService"].iter().any(|service| method.path.contains(service))
    });
    for method in inside {
        let refused = streamed(&platform, method.path.trim_start_matches("/stead.v1."), vec![vec![]]).await;
        let refused = refused.expect_err("there are no products and users of the platform");
        assert_eq!(refused.code(), Code::InvalidArgument, "{}: {refused:?}", method.path);
        assert!(refused.message().contains("stead-tenant"), "{}: {refused:?}", method.path);
    }
    // That a tenant is there is the platform's to know, and not the tenant's to hear of.
    let shown = platform.tenants().get(acme.id).send().await.expect("a tenant");
    assert_eq!(shown.slug, acme.slug);
    assert_eq!(rows(shared().await, theirs.tenant).await, before);
}

#[tokio::test]
async fn what_an_operator_may_not_do_leaves_no_entry_of_having_been_done() {
    let acme = tenant().await;
    let server = shared().await;
    let narrow = crate::fixture::create_key(
        &server.database,
        &["--platform", "--subject", "services/narrow", "--permissions", "tenants.read"],
    );
    let narrow = server.client(&narrow.await).with_tenant(acme.id);
    let before = server.count("journal", acme.id).await;
    let refused = learned(&narrow, "ProductService/ListProducts", vec![], "?").await;
    assert_eq!(refused.code, Code::PermissionDenied);
    assert_eq!(server.count("journal", acme.id).await, before);
}
