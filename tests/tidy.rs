//! The sources' ratchet: who imports whom, where SQL, statuses and the contract's types may stand, and how files are made.
//! Leaves what the compiler, clippy and rustfmt check to those.
//!
//! Each rule is a function from sources to sentences, with its own bad example below. An exception is a line in `ALLOWED`;
//! one that is no longer needed fails as well, so that the list can only shrink.

mod fences;
mod rules;
mod surface;

use std::{fs, path::Path};

use self::rules::{RULES, Rule, Source, idle_places};
use crate::fixture::repository;

/// What a rule lets pass: the rule, the file, and why.
const ALLOWED: &[(&str, &str, &str)] = &[
    ("no_test_is_passed_over", "server/postgres/src/tests.rs", "a process that other tests start in order to kill it"),
    (
        "no_test_is_passed_over",
        "tests/harness/src/tests/database.rs",
        "a process that another test starts in order to kill it",
    ),
];

/// Every Rust source of the workspace.
fn sources() -> Vec<Source> {
    let root = repository();
    let mut sources = vec![];
    let mut folders: Vec<_> = ["proto", "server", "client", "tests"].map(|folder| root.join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                let generated =
                    path.file_name().is_some_and(|name| name == "target" || name == ".sqlx" || name == "vendor");
                folders.extend((!generated).then_some(path));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                sources.push(read(&root, &path));
            }
        }
    }
    sources.sort_by(|a, b| a.path.cmp(&b.path));
    sources
}

fn read(root: &Path, path: &Path) -> Source {
    let text = fs::read_to_string(path).expect("a source");
    Source { path: path.strip_prefix(root).expect("inside").to_string_lossy().into_owned(), text }
}

/// What is wrong, less what is allowed, plus what need not be allowed any more.
fn judge(sources: &[Source], rules: &[Rule], allowed: &[(&str, &str, &str)]) -> Vec<String> {
    let mut sentences = vec![];
    for (name, rule) in rules {
        let faults = rule(sources);
        let is_allowed =
            |fault: &str| allowed.iter().any(|(rule, path, _)| rule == name && fault.starts_with(&format!("{path}:")));
        sentences.extend(faults.iter().filter(|fault| !is_allowed(fault)).cloned());
        let stale = allowed.iter().filter(|(rule, path, _)| {
            rule == name && !faults.iter().any(|fault| fault.starts_with(&format!("{path}:")))
        });
        sentences.extend(
            stale.map(|(rule, path, _)| format!("{path}: no longer needs its exception from `{rule}`: remove it")),
        );
    }
    sentences
}

#[test]
fn the_house_is_tidy() {
    let sources = sources();
    assert!(sources.len() > 100, "only {} sources were found", sources.len());
    let sentences = judge(&sources, RULES, ALLOWED);
    assert!(sentences.is_empty(), "{} things to tidy:\n{}", sentences.len(), sentences.join("\n"));
}

#[test]
fn no_rule_keeps_a_place_that_needs_none() {
    assert_eq!(idle_places(&sources()), [""; 0]);
    let idle = idle_places(&[]);
    let says = |place: &str, list: &str| idle.contains(&format!("{place}: needs no line in {list}: remove it"));
    assert!(says("listing.rs", "SQL_PLACES") && says("users/lookup.rs", "EDGES") && says("db/", "PLATFORM_FOLDERS"));
    assert!(says("upkeep.rs", "PLATFORM_PLACES") && says("auth/token.rs", "TENANT_PLACES"));
}

#[test]
fn an_exception_that_is_not_needed_any_more_has_to_go() {
    let fine =
        [Source { path: "server/src/fine.rs".into(), text: "//! A fine file.\n//! It leaves the rest.\n".into() }];
    let allowed = [("opens_with_its_purpose", "server/src/fine.rs", "it used to lack one")];
    let sentences = judge(&fine, RULES, &allowed);
    assert_eq!(
        sentences,
        ["server/src/fine.rs: no longer needs its exception from `opens_with_its_purpose`: remove it"]
    );
}

#[test]
fn an_exception_lets_one_file_pass_one_rule() {
    let bad = [Source { path: "server/src/bad.rs".into(), text: "fn main() {}\n".into() }];
    assert_eq!(judge(&bad, RULES, &[]).len(), 1);
    assert_eq!(judge(&bad, RULES, &[("opens_with_its_purpose", "server/src/bad.rs", "it is new")]), [""; 0]);
    // The fault stands, and the exception is of no use.
    assert_eq!(judge(&bad, RULES, &[("opens_with_its_purpose", "server/src/other.rs", "it is new")]).len(), 2);
}

/// For each rule, sources that break it and what it must say of them.
const BAD_EXAMPLES: &[(&str, &str, &str, &str)] = &[
    (
        "domains_stand_alone",
        "server/src/products/service.rs",
        "use crate::users::model::User;",
        "imports the domain `users`",
    ),
    (
        "domains_stand_alone",
        "server/src/users/mod.rs",
        "use crate::{db::Database, auth::Verifier};",
        "imports the domain `auth`",
    ),
    (
        "domains_stand_alone",
        "server/src/products/store.rs",
        "let key = crate::auth::Token::new();",
        "imports the domain `auth`",
    ),
    (
        "the_platform_knows_no_domain",
        "server/src/db.rs",
        "use crate::products::Product;",
        "imports the domain `products`",
    ),
    ("the_platform_knows_no_domain", "server/src/page.rs", "use super::{users::User};", "imports the domain `users`"),
    ("client_and_server_never_meet", "client/src/call.rs", "use stead_server::db;", "names stead_server"),
    ("client_and_server_never_meet", "server/src/lib.rs", "use stead_client::Client;", "names stead_client"),
    ("client_and_server_never_meet", "tests/products.rs", "use stead_server::db;", "names stead_server"),
    ("sql_stands_in_stores", "server/src/products/service.rs", "sqlx::query!(\"select 1\")", "holds SQL"),
    ("sql_stands_in_stores", "server/src/page.rs", "let text = \"select id from stead.products\";", "holds SQL"),
    ("sql_stands_in_stores", "server/src/products/batch.rs", "let text = \"insert into stead.x\";", "holds SQL"),
    ("sql_stands_in_stores", "server/src/filter.rs", "QueryBuilder::new(\"select \")", "holds SQL"),
    ("statuses_are_made_in_one_place", "server/src/products/batch.rs", "fn f() -> Status {}", "names `Status`"),
    ("statuses_are_made_in_one_place", "server/src/products/export.rs", "Status::internal(\"no\")", "makes a `Status`"),
    (
        "statuses_are_made_in_one_place",
        "server/src/products/model.rs",
        "return Err(Status::not_found(\"no\"));",
        "makes a `Status`",
    ),
    (
        "statuses_are_made_in_one_place",
        "server/src/products/service.rs",
        "Status::internal(\"no\")",
        "makes a `Status`",
    ),
    ("statuses_are_made_in_one_place", "server/src/products/store.rs", "use tonic::{Code, Status};", "names `Status`"),
    (
        "the_contract_stays_at_the_edge",
        "server/src/products/store.rs",
        "use stead_api::v1;",
        "names the contract's types",
    ),
    ("the_contract_stays_at_the_edge", "server/src/users/batch.rs", "use stead_api::v1;", "names the contract's types"),
    ("the_contract_stays_at_the_edge", "server/src/filter.rs", "use stead_api::v1;", "names the contract's types"),
    ("the_contract_stays_at_the_edge", "server/src/db.rs", "fn f(p: v1::Product) {}", "names the contract's types"),
    (
        "sql_is_asserted_safe_in_db_alone",
        "server/src/products/store.rs",
        "sqlx::query(AssertSqlSafe(text))",
        "uses `AssertSqlSafe`",
    ),
    ("ids_count_nothing", "server/src/products/store.rs", "let id = Uuid::now_v7();", "makes ids that count on"),
    (
        "connections_are_in_a_tenants_context",
        "server/src/products/store.rs",
        "async fn find(db: &mut sqlx::PgConnection) {}",
        "has a connection outside",
    ),
    (
        "connections_are_in_a_tenants_context",
        "server/src/auth/verify.rs",
        "let db = schema::connect(url).await?;",
        "has a connection outside",
    ),
    (
        "the_platforms_connections_are_for_few",
        "server/src/users/service.rs",
        "let db = self.db.platform()?.tenant(TenantId::PLATFORM).await?;",
        "uses the platform's connections",
    ),
    (
        "tenants_come_from_credentials",
        "server/src/products/service.rs",
        "let tenant = TenantId(violations.id(\"tenant\", &request.tenant));",
        "makes a tenant's id",
    ),
    ("opens_with_its_purpose", "client/src/call.rs", "use std::fmt;\n", "does not open with `//!`"),
    ("opens_with_its_purpose", "client/src/call.rs", "//! Calls.\nuse std::fmt;\n", "one sentence of its purpose"),
    ("nothing_is_left_to_do", "client/src/call.rs", "// TO\u{44}O: retry", "leaves something to do"),
    ("nothing_is_left_to_do", "client/src/call.rs", "to\u{64}o!()", "leaves something to do"),
    ("names_say_what_things_are", "server/src/utils.rs", "", "is no name"),
    ("names_say_what_things_are", "client/src/common/mod.rs", "", "is no name"),
    ("names_say_what_things_are", "server/src/products/handler.rs", "", "is no name"),
    ("domains_have_one_shape", "server/src/prices/queries.rs", "", "is no file of a domain"),
    ("domains_have_one_shape", "server/src/users/batch.rs", "", "is no file of a domain"),
    ("domains_have_one_shape", "server/src/users/password/tests/more.rs", "", "is no file of a domain"),
    ("domains_have_one_shape", "server/src/prices/service.rs", "", "has no `mod.rs`"),
    ("no_test_is_passed_over", "tests/products.rs", "#[ignore]\nfn f() {}", "passes a test over"),
    ("no_test_is_passed_over", "client/src/call.rs", "#[ignore = \"slow\"]", "passes a test over"),
    ("everything_is_named_when_exported", "client/src/lib.rs", "pub use error::*;", "exports everything"),
    ("models_can_grow", "client/src/users.rs", "/// A.\npub struct A {\n    pub a: u8,\n}\n", "`A` can't grow"),
    ("models_can_grow", "client/src/users.rs", "#[derive(Debug)]\npub enum B {\n    C,\n}\n", "`B` can't grow"),
    ("models_can_grow", "client/src/users.rs", "pub struct C(pub u8);\n", "`C` can't grow"),
    (
        "beginnings_have_an_example",
        "client/src/users.rs",
        "/// A.\npub struct A(u8);\n\nimpl A {\n    pub fn new(a: u8) -> Self {\n",
        "`A` has no example",
    ),
    (
        "beginnings_have_an_example",
        "client/src/users.rs",
        "/// A.\npub struct A {\n    a: u8,\n}\n\nimpl A {\n    pub(crate) fn new(client: Client) -> Self {\n",
        "`A` has no example",
    ),
    ("files_stay_short", "client/src/call.rs", "LONG", "lines"),
];

#[test]
fn each_rule_fails_on_its_own_bad_example() {
    for (name, path, text, says) in BAD_EXAMPLES {
        let text = if *text == "LONG" { "//! x\n".repeat(rules::LONGEST + 1) } else { (*text).to_owned() };
        let source = Source { path: (*path).to_owned(), text };
        let (_, rule) = RULES.iter().find(|(rule, _)| rule == name).unwrap_or_else(|| panic!("no rule {name}"));
        let faults = rule(&[source]);
        let told = faults.iter().any(|fault| fault.starts_with(&format!("{path}:")) && fault.contains(says));
        assert!(told, "{name} does not say {says:?} of {path}: {faults:?}");
    }
    for (rule, _) in RULES {
        assert!(BAD_EXAMPLES.iter().any(|(name, ..)| name == rule), "{rule} has no bad example: add one");
    }
}

#[test]
fn the_rules_do_not_cry_over_what_is_fine() {
    let fine = [
        ("server/src/auth/service.rs", "use crate::users::Users;"),
        ("server/src/lib.rs", "use crate::products;"),
        ("server/src/commands/dev.rs", "use crate::auth::keys;"),
        ("server/src/products/store.rs", "sqlx::query!(\"select id from stead.products where tenant_id = $1\")"),
        ("server/src/products/tests.rs", "use crate::users::NewUser; sqlx::query(\"select 1\")"),
        ("server/src/products/batch.rs", "use stead_api::v1; use crate::{filter::Filter, listing::List};"),
        ("server/src/products/export/tests.rs", "use stead_api::v1;"),
        ("server/src/listing.rs", "use stead_api::v1::CountMode; let query = QueryBuilder::new(\"select \");"),
        ("server/src/products/service.rs", "type Answer<T> = Result<Response<T>, Status>;"),
        ("server/src/db.rs", "// a comment may name crate::products without importing it"),
        ("client/src/call.rs", "const WORDS: &str = \"insert a coin to update\";"),
        (
            "client/src/users.rs",
            "#[non_exhaustive]\n#[derive(Debug)]\npub enum A {\n    B,\n}\n\npub struct C {\n    c: u8,\n}",
        ),
        (
            "client/src/users.rs",
            "/// ```\n/// ```\npub struct A(u8);\n\nimpl A {\n    pub fn new(a: u8) -> Self {\n    }\n}",
        ),
    ];
    for (path, text) in fine {
        let text = format!("//! A file, here for one thing.\n//! It leaves all others to others.\n{text}\n");
        let mut sources = vec![Source { path: path.into(), text }];
        if let Some(domain) = rules::domain(path) {
            let mod_rs = Source {
                path: format!("server/src/{domain}/mod.rs"),
                text: "//! A domain of its own.\n//! It leaves others.\n".into(),
            };
            sources.push(mod_rs);
        }
        assert_eq!(judge(&sources, RULES, &[]), [""; 0], "{path}");
    }
}
