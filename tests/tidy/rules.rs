//! The rules of the house that a reading of the sources can check.
//! Leaves which sources are read, and what is allowed all the same, to `tidy`.

use super::{fences, surface};

/// A source file, by its path in the repository.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) path: String,
    pub(crate) text: String,
}

/// A rule's name, and what it has to say of the sources: one sentence for each fault, led by the file's path.
pub(crate) type Rule = (&'static str, fn(&[Source]) -> Vec<String>);

/// Every rule.
pub(crate) const RULES: &[Rule] = &[
    ("domains_stand_alone", domains_stand_alone),
    ("the_platform_knows_no_domain", the_platform_knows_no_domain),
    ("client_and_server_never_meet", client_and_server_never_meet),
    ("sql_stands_in_stores", sql_stands_in_stores),
    ("statuses_are_made_in_one_place", statuses_are_made_in_one_place),
    ("the_contract_stays_at_the_edge", the_contract_stays_at_the_edge),
    ("sql_is_asserted_safe_in_db_alone", sql_is_asserted_safe_in_db_alone),
    ("ids_count_nothing", ids_count_nothing),
    ("connections_are_in_a_tenants_context", fences::connections_are_in_a_tenants_context),
    ("the_platforms_connections_are_for_few", fences::the_platforms_connections_are_for_few),
    ("tenants_come_from_credentials", fences::tenants_come_from_credentials),
    ("opens_with_its_purpose", opens_with_its_purpose),
    ("nothing_is_left_to_do", nothing_is_left_to_do),
    ("names_say_what_things_are", names_say_what_things_are),
    ("domains_have_one_shape", domains_have_one_shape),
    ("no_test_is_passed_over", no_test_is_passed_over),
    ("everything_is_named_when_exported", surface::everything_is_named_when_exported),
    ("models_can_grow", surface::models_can_grow),
    ("beginnings_have_an_example", surface::beginnings_have_an_example),
    ("files_stay_short", files_stay_short),
];

/// A file longer than this is two.
pub(crate) const LONGEST: usize = 430;

/// Folders of `server/src` that are parts of the platform rather than domains.
const PLATFORM_FOLDERS: &[&str] = &[
    "cache/",
    "commands/",
    "config/",
    "db/",
    "error/",
    "filter/",
    "limits/",
    "listener/",
    "listing/",
    "page/",
    "redis/",
    "rules/",
    "schema/",
    "stack/",
    "telemetry/",
    "upkeep/",
];
/// The composition root, which knows everybody.
const ROOT: &[&str] = &["lib.rs", "main.rs", "stack.rs", "stack/", "commands.rs", "commands/"];
/// Which domain may know which other.
const KNOWS: &[(&str, &str)] = &[("search", "products"), ("auth", "users")];
/// Where SQL may stand, beside stores and `.sql` files: `listing` builds lists by any order and filter, `dev` makes its own.
const SQL_PLACES: &[&str] = &[
    "commands/dev/",
    "db.rs",
    "db/",
    "idempotency.rs",
    "journal.rs",
    "listing.rs",
    "schema.rs",
    "upkeep.rs",
    "upkeep/",
];
/// Where a `Status` may be named beside services: where it is made, the layers, and the streams, whose items may be one.
const STATUS_PLACES: &[&str] = &["error/status.rs", "export.rs", "products/import.rs", "stack.rs", "stack/"];
/// Where the platform may name the contract's types: the words that all lists share, and the programs.
const CONTRACT_PLACES: &[&str] = &["commands/", "listing.rs"];
/// The edges of a domain that has more RPCs than one `service.rs` can hold: like it they decode, decide, act and encode.
const EDGES: &[&str] = &[
    "audit/export.rs",
    "auth/sessions/model.rs",
    "auth/sessions/service.rs",
    "products/batch.rs",
    "products/export.rs",
    "products/history.rs",
    "products/import.rs",
    "products/stock.rs",
    "tenants/limits.rs",
    "tenants/limits/model.rs",
    "users/lookup.rs",
];
/// What else a domain has beyond the shape, because it does what no other does.
const PARTS: &[&str] = &[
    "auth/aside.rs",
    "auth/buckets.rs",
    "auth/issuers.rs",
    "auth/keys.rs",
    "auth/sessions/login.rs",
    "auth/sessions/mod.rs",
    "auth/sessions/store.rs",
    "auth/throttle.rs",
    "auth/token.rs",
    "auth/verify.rs",
    "products/batch/store.rs",
    "search/highlight.rs",
    "search/query.rs",
    "users/password.rs",
];

/// The domain that a file of the server belongs to.
pub(crate) fn domain(path: &str) -> Option<&str> {
    let (folder, _) = path.strip_prefix("server/src/")?.split_once('/')?;
    (!within(&format!("{folder}/"), PLATFORM_FOLDERS)).then_some(folder)
}

/// A file of the server's platform, by its path below `server/src`.
fn platform(path: &str) -> Option<&str> {
    path.strip_prefix("server/src/").filter(|_| domain(path).is_none())
}

pub(super) fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

pub(super) fn within(place: &str, places: &[&str]) -> bool {
    places.iter().any(|allowed| place == *allowed || allowed.ends_with('/') && place.starts_with(allowed))
}

/// The code of a source: without comments, and without the tests at its end.
pub(super) fn code(source: &Source) -> String {
    let before_tests = source.text.split("#[cfg(test)]\nmod tests {").next().unwrap_or_default();
    let lines = before_tests.lines().map(|line| {
        let comment = line.match_indices("//").map(|(at, _)| at).find(|at| !line[..*at].ends_with(':'));
        comment.map_or(line, |at| &line[..at])
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether the code names a module of the crate, in a path or inside a group of imports.
fn names_module(code: &str, module: &str) -> bool {
    let is_word = |text: &str, at: usize| {
        let around = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
        !around(text[..at].chars().next_back()) && !around(text[at + module.len()..].chars().next())
    };
    let direct = code.match_indices(module).any(|(at, _)| {
        is_word(code, at) && (code[..at].ends_with("crate::") || code[..at].ends_with("super::super::"))
    });
    direct
        || code.split("use ").skip(1).any(|import| {
            let import = import.split(';').next().unwrap_or_default();
            let grouped = import.starts_with("crate::{") || import.starts_with("super::{");
            let first_level = |at: usize| import[..at].matches('{').count() - import[..at].matches('}').count() == 1;
            grouped
                && import.match_indices(module).any(|(at, _)| {
                    let leads = import[..at].trim_end().ends_with(['{', ',']);
                    is_word(import, at) && leads && first_level(at)
                })
        })
}

/// Every domain that any source belongs to, and those that are to come.
fn domains(sources: &[Source]) -> Vec<String> {
    let mut domains: Vec<_> = sources.iter().filter_map(|source| domain(&source.path)).map(str::to_owned).collect();
    domains.extend(["tenants", "users", "auth", "products", "search", "audit"].map(str::to_owned));
    domains.sort();
    domains.dedup();
    domains
}

fn domains_stand_alone(sources: &[Source]) -> Vec<String> {
    let mut faults = vec![];
    for source in sources.iter().filter(|source| !is_test(&source.path)) {
        let Some(own) = domain(&source.path) else { continue };
        let code = code(source);
        for other in domains(sources).iter().filter(|other| *other != own && !KNOWS.contains(&(own, other.as_str()))) {
            if names_module(&code, other) {
                faults.push(format!(
                    "{}: imports the domain `{other}`: domains stand alone; move what both need into the platform",
                    source.path
                ));
            }
        }
    }
    faults
}

fn the_platform_knows_no_domain(sources: &[Source]) -> Vec<String> {
    let mut faults = vec![];
    for source in sources.iter().filter(|source| !is_test(&source.path)) {
        if platform(&source.path).is_none_or(|place| within(place, ROOT)) {
            continue;
        }
        let code = code(source);
        for domain in domains(sources) {
            // Beside the domains, `super` is the crate.
            if names_module(&code, &domain) || code.contains(&format!("super::{domain}::")) {
                faults.push(format!(
                    "{}: imports the domain `{domain}`: the platform knows no domain; hand in what it needs",
                    source.path
                ));
            }
        }
    }
    faults
}

fn client_and_server_never_meet(sources: &[Source]) -> Vec<String> {
    let forbidden = |path: &str| match path.split('/').next() {
        Some("client" | "tests" | "proto") => Some("stead_server"),
        Some("server") => Some("stead_client"),
        _ => None,
    };
    let meets = |source: &&Source| forbidden(&source.path).is_some_and(|other| names(&code(source), other));
    let sentence = |source: &Source| {
        let other = forbidden(&source.path).unwrap_or_default();
        format!("{}: names {other}: client and server meet in the contract alone", source.path)
    };
    sources.iter().filter(|source| !source.path.contains("tidy")).filter(meets).map(sentence).collect()
}

/// Whether the code uses a name as a word.
pub(super) fn names(code: &str, name: &str) -> bool {
    let around = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    code.match_indices(name)
        .any(|(at, _)| !around(code[..at].chars().next_back()) && !around(code[at + name.len()..].chars().next()))
}

fn holds_sql(source: &Source) -> bool {
    let code = code(source);
    let macros = ["sqlx::query", "query_as!", "query_file", "query_scalar", "sqlx::raw_sql", "QueryBuilder::new"];
    let texts = ["from stead.", "insert into ", "update stead.", "delete from ", "set_config("];
    macros.iter().chain(&texts).any(|sign| code.contains(sign))
}

fn sql_stands_in_stores(sources: &[Source]) -> Vec<String> {
    let is_store = |path: &str| path.ends_with("/store.rs") && domain(path).is_some();
    let outside = |source: &&Source| !is_test(&source.path) && !is_store(&source.path);
    let sentence = |source: &Source| format!("{}: holds SQL: move it into the domain's store.rs", source.path);
    elsewhere(sources, SQL_PLACES).filter(outside).filter(|source| holds_sql(source)).map(sentence).collect()
}

/// The sources of the server but for those in these places.
fn elsewhere<'a>(sources: &'a [Source], places: &[&str]) -> impl Iterator<Item = &'a Source> {
    let outside =
        |source: &&Source| source.path.strip_prefix("server/src/").is_some_and(|place| !within(place, places));
    sources.iter().filter(outside)
}

fn statuses_are_made_in_one_place(sources: &[Source]) -> Vec<String> {
    let mut faults = vec![];
    for source in sources.iter().filter(|source| source.path.starts_with("server/src/") && !is_test(&source.path)) {
        let place = source.path.trim_start_matches("server/src/");
        if place == "error/status.rs" {
            continue;
        }
        let code = code(source);
        let makes = code.match_indices("Status::").any(|(at, _)| {
            let word = !code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
            word && !code[at..].starts_with("Status::from") && !code[..at].ends_with("tonic_health::")
        });
        let edge = within(place, STATUS_PLACES) || source.path.ends_with("/service.rs");
        if makes {
            faults.push(format!(
                "{}: makes a `Status`: return an `Error`, and let error say what it becomes",
                source.path
            ));
        } else if !edge && names(&code, "Status") {
            faults.push(format!("{}: names `Status`: only error and the edges do; return an `Error`", source.path));
        }
    }
    faults
}

fn names_contract(source: &Source) -> bool {
    let code = code(source);
    names(&code, "v1") && (code.contains("v1::") || code.contains("stead_api::v1") || code.contains("stead_api::{"))
}

fn the_contract_stays_at_the_edge(sources: &[Source]) -> Vec<String> {
    let is_edge = |path: &str| {
        let shaped = ["/service.rs", "/model.rs", "/cache.rs"].iter().any(|file| path.ends_with(file));
        domain(path).is_some() && shaped
    };
    let outside = |source: &&Source| !is_test(&source.path) && !is_edge(&source.path);
    let sentence = |source: &Source| {
        format!("{}: names the contract's types: convert in the domain's service.rs or model.rs", source.path)
    };
    let places = [CONTRACT_PLACES, EDGES].concat();
    elsewhere(sources, &places).filter(outside).filter(|source| names_contract(source)).map(sentence).collect()
}

fn sql_is_asserted_safe_in_db_alone(sources: &[Source]) -> Vec<String> {
    let place = |path: &str| path.starts_with("server/src/") && path != "server/src/db.rs" && !is_test(path);
    let uses = |source: &&Source| place(&source.path) && names(&code(source), "AssertSqlSafe");
    let sentence = |source: &Source| {
        format!("{}: uses `AssertSqlSafe`: bind the value, or do it in db.rs with a parsed UUID", source.path)
    };
    sources.iter().filter(uses).map(sentence).collect()
}

fn ids_count_nothing(sources: &[Source]) -> Vec<String> {
    let place = |path: &str| path.starts_with("server/src/") && !is_test(path);
    let uses = |source: &&Source| place(&source.path) && names(&code(source), "now_v7");
    let sentence = |source: &Source| {
        format!("{}: makes ids that count on within a millisecond, whoever they are for: use `ids::fresh`", source.path)
    };
    sources.iter().filter(uses).map(sentence).collect()
}

fn opens_with_its_purpose(sources: &[Source]) -> Vec<String> {
    let mut faults = vec![];
    for source in sources {
        let purpose: Vec<_> = source.text.lines().take_while(|line| line.starts_with("//!")).collect();
        // A program's root says what the program is; its library says the rest.
        let root = source.path.ends_with("/main.rs") || source.path.ends_with("build.rs") || is_test(&source.path);
        let words = purpose.iter().map(|line| line.trim_start_matches("//!")).collect::<String>();
        let sentences = words.split(['.', ':', ';']).filter(|sentence| sentence.split_whitespace().count() > 1).count();
        if purpose.is_empty() {
            faults.push(format!(
                "{}: does not open with `//!`: say what it is for and what it leaves to others",
                source.path
            ));
        } else if !root && sentences < 2 {
            faults
                .push(format!("{}: opens with one sentence of its purpose: add what it leaves to others", source.path));
        }
    }
    faults
}

fn nothing_is_left_to_do(sources: &[Source]) -> Vec<String> {
    let signs = ["TO\u{44}O", "FIX\u{4d}E", "to\u{64}o!(", "unimplement\u{65}d!("];
    let mut faults = vec![];
    for source in sources {
        for (line, text) in source.text.lines().enumerate() {
            if signs.iter().any(|sign| text.contains(sign)) {
                faults.push(format!("{}:{}: leaves something to do: do it, or leave it out", source.path, line + 1));
            }
        }
    }
    faults
}

fn names_say_what_things_are(sources: &[Source]) -> Vec<String> {
    let empty = ["util", "utils", "common", "helper", "helpers", "manager", "handler", "handlers", "misc", "types"];
    let name = |path: &str| {
        let parts = path.split('/').map(|part| part.trim_end_matches(".rs"));
        parts.into_iter().find(|part| empty.contains(part)).map(str::to_owned)
    };
    let sentence = |source: &Source| {
        let part = name(&source.path)?;
        Some(format!("{}: `{part}` is no name: say what the things in it are", source.path))
    };
    sources.iter().filter_map(sentence).collect()
}

fn domains_have_one_shape(sources: &[Source]) -> Vec<String> {
    let shape = ["mod.rs", "service.rs", "model.rs", "store.rs", "cache.rs", "tests.rs"];
    let mut faults = vec![];
    for source in sources {
        let Some(domain) = domain(&source.path).filter(|_| source.path.starts_with("server/src/")) else { continue };
        let file = source.path.trim_start_matches("server/src/").trim_start_matches(domain).trim_start_matches('/');
        let own = |path: &str| within(&format!("{domain}/{path}"), EDGES) || within(&format!("{domain}/{path}"), PARTS);
        let tests_its_own = file.strip_suffix("/tests.rs").is_some_and(|edge| own(&format!("{edge}.rs")));
        if !shape.contains(&file) && !file.starts_with("tests/") && !own(file) && !tests_its_own {
            faults.push(format!(
                "{}: is no file of a domain: put it into one of {}, or name it in tidy with what makes this domain special",
                source.path,
                shape.join(", ")
            ));
        }
        if !sources.iter().any(|other| other.path == format!("server/src/{domain}/mod.rs")) {
            faults.push(format!(
                "{}: the domain has no `mod.rs`: say there what `{domain}` are and what never happens",
                source.path
            ));
        }
    }
    faults
}

fn no_test_is_passed_over(sources: &[Source]) -> Vec<String> {
    let sign = concat!("#[ig", "nore");
    let passes = |source: &&Source| source.text.lines().any(|line| line.trim_start().starts_with(sign));
    let sentence = |source: &Source| format!("{}: passes a test over: make it run, or remove it", source.path);
    sources.iter().filter(passes).map(sentence).collect()
}

fn files_stay_short(sources: &[Source]) -> Vec<String> {
    let lines = |source: &Source| source.text.lines().count();
    let sentence = |source: &Source| {
        format!("{}: has {} lines, more than {LONGEST}: make two files of it", source.path, lines(source))
    };
    sources.iter().filter(|source| lines(source) > LONGEST).map(sentence).collect()
}

/// The places in the lists above that nothing needs to be in any more.
pub(crate) fn idle_places(sources: &[Source]) -> Vec<String> {
    type Needs = fn(&Source) -> bool;
    let names_status: Needs = |source| names(&code(source), "Status");
    let lists: [(&str, &[&str], Needs); 9] = [
        ("PLATFORM_FOLDERS", PLATFORM_FOLDERS, |_| true),
        ("SQL_PLACES", SQL_PLACES, holds_sql),
        ("STATUS_PLACES", STATUS_PLACES, names_status),
        ("CONTRACT_PLACES", CONTRACT_PLACES, names_contract),
        ("EDGES", EDGES, names_contract),
        ("PARTS", PARTS, |_| true),
        ("CONNECTION_PLACES", fences::CONNECTION_PLACES, fences::holds_connection),
        ("PLATFORM_PLACES", fences::PLATFORM_PLACES, fences::asks_the_platform),
        ("TENANT_PLACES", fences::TENANT_PLACES, fences::makes_tenant),
    ];
    let mut faults = vec![];
    for (list, places, needs) in lists {
        let idle = |place: &&&str| {
            let here =
                |source: &&Source| source.path.strip_prefix("server/src/").is_some_and(|path| within(path, &[**place]));
            !sources.iter().filter(here).any(needs)
        };
        faults.extend(places.iter().filter(idle).map(|place| format!("{place}: needs no line in {list}: remove it")));
    }
    faults
}
