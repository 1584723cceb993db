//! The rules that keep tenants apart before a statement runs: where connections are made, who may use the platform's, and what
//! a tenant's id may be made of.
//! Leaves what a connection does once it is in a tenant's context to the promises.

use super::rules::{Source, code, is_test, names, within};

/// Where a connection may be had that is in no tenant's context: the pool and the schema; the commands of whoever deploys, who
/// come as the owner.
pub(super) const CONNECTION_PLACES: &[&str] =
    &["auth/keys.rs", "auth/store.rs", "commands/", "config/value.rs", "db.rs", "db/", "lib.rs", "schema.rs"];
/// Who may ask for the platform's connections.
pub(super) const PLATFORM_PLACES: &[&str] = &["db.rs", "tenants/service.rs", "upkeep.rs"];
/// Where a tenant's id is made: of a credential that is being verified, of the tenants that an issuer is configured for, of the
/// header by which an operator names a tenant, of the slug of a sign-in, of a row of `tenants`.
pub(super) const TENANT_PLACES: &[&str] = &[
    "auth/issuers.rs",
    "auth/sessions/store.rs",
    "auth/store.rs",
    "auth/token.rs",
    "cache/shared.rs",
    "config/issuers.rs",
    "principal.rs",
    "stack/authenticate.rs",
    "tenants/model.rs",
    "tenants/service.rs",
    "upkeep.rs",
    "upkeep/",
];

/// The sources of the service itself outside these places.
fn elsewhere<'a>(sources: &'a [Source], places: &[&str]) -> impl Iterator<Item = &'a Source> {
    sources.iter().filter(move |source| {
        let place = source.path.strip_prefix("server/src/");
        place.is_some_and(|place| !is_test(&source.path) && !within(place, places))
    })
}

pub(super) fn holds_connection(source: &Source) -> bool {
    let code = code(source);
    let drivers = [
        "PgConnection",
        "PgConnectOptions",
        "PgPool",
        "PgPoolOptions",
        "PgListener",
        "PgTransaction",
        "PoolConnection",
    ];
    drivers.iter().any(|name| names(&code, name)) || code.contains("schema::connect")
}

pub(super) fn connections_are_in_a_tenants_context(sources: &[Source]) -> Vec<String> {
    let sentence = |source: &Source| {
        format!("{}: has a connection outside a tenant's context: take one of `db`, by `Pool::tenant`", source.path)
    };
    elsewhere(sources, CONNECTION_PLACES).filter(|source| holds_connection(source)).map(sentence).collect()
}

pub(super) fn asks_the_platform(source: &Source) -> bool {
    let code = code(source);
    ["db.platform", "self.platform.as_ref()", "platform()?.tenant"].iter().any(|sign| code.contains(sign))
}

pub(super) fn the_platforms_connections_are_for_few(sources: &[Source]) -> Vec<String> {
    let sentence = |source: &Source| {
        format!("{}: uses the platform's connections: what is inside a tenant is done as stead_app", source.path)
    };
    elsewhere(sources, PLATFORM_PLACES).filter(|source| asks_the_platform(source)).map(sentence).collect()
}

pub(super) fn makes_tenant(source: &Source) -> bool {
    code(source).contains("TenantId(") || code(source).contains("map(TenantId)")
}

pub(super) fn tenants_come_from_credentials(sources: &[Source]) -> Vec<String> {
    let sentence = |source: &Source| {
        format!("{}: makes a tenant's id: take the principal's, which comes from a verified credential", source.path)
    };
    elsewhere(sources, TENANT_PLACES).filter(|source| makes_tenant(source)).map(sentence).collect()
}
