//! The rules of the house that a reading of the sources can check.
//! Leaves which sources are read, and what is allowed all the same, to `tidy`.

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
    ("opens_with_its_purpose", opens_with_its_purpose),
    ("nothing_is_left_to_do", nothing_is_left_to_do),
    ("names_say_what_things_are", names_say_what_things_are),
    ("domains_have_one_shape", domains_have_one_shape),
    ("no_test_is_passed_over", no_test_is_passed_over),
    ("everything_is_named_when_exported", everything_is_named_when_exported),
    ("files_stay_short", files_stay_short),
];

/// A file longer than this is two.
pub(crate) const LONGEST: usize = 430;

/// Folders of `server/src` that are parts of the platform rather than domains.
const PLATFORM_FOLDERS: &[&str] = &["commands", "config", "db", "schema", "stack", "telemetry"];
/// The composition root, which knows everybody.
const ROOT: &[&str] = &["lib.rs", "main.rs", "stack.rs", "stack/", "commands.rs", "commands/"];
/// Which domain may know which other.
const KNOWS: &[(&str, &str)] = &[("search", "products"), ("auth", "users")];
/// Where SQL may stand, beside stores and `.sql` files.
const SQL_PLACES: &[&str] = &["db.rs", "journal.rs", "idempotency.rs", "schema.rs", "upkeep.rs"];
/// Where a `Status` may be named: the table itself, and the edges that hand one on.
const STATUS_PLACES: &[&str] = &["error.rs", "stack.rs", "stack/", "listener.rs"];

/// The domain that a file of the server belongs to.
pub(crate) fn domain(path: &str) -> Option<&str> {
    let (folder, _) = path.strip_prefix("server/src/")?.split_once('/')?;
    (!PLATFORM_FOLDERS.contains(&folder)).then_some(folder)
}

/// A file of the server's platform, by its path below `server/src`.
fn platform(path: &str) -> Option<&str> {
    path.strip_prefix("server/src/").filter(|_| domain(path).is_none())
}

fn is_test(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/tests/")
}

fn within(place: &str, places: &[&str]) -> bool {
    places.iter().any(|allowed| place == *allowed || allowed.ends_with('/') && place.starts_with(allowed))
}

/// The code of a source: without comments, and without the tests at its end.
fn code(source: &Source) -> String {
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
fn names(code: &str, name: &str) -> bool {
    let around = |letter: Option<char>| letter.is_some_and(|letter| letter.is_alphanumeric() || letter == '_');
    code.match_indices(name)
        .any(|(at, _)| !around(code[..at].chars().next_back()) && !around(code[at + name.len()..].chars().next()))
}

fn sql_stands_in_stores(sources: &[Source]) -> Vec<String> {
    let mut faults = vec![];
    for source in sources.iter().filter(|source| source.path.starts_with("server/src/") && !is_test(&source.path)) {
        let place = source.path.trim_start_matches("server/src/");
        let is_store = source.path.ends_with("/store.rs") && domain(&source.path).is_some();
        // `dev` prepares the private PostgreSQL that it owns, as a superuser.
        if is_store || within(place, SQL_PLACES) || place.starts_with("commands/dev") {
            continue;
        }
        let code = code(source);
        let macros = ["sqlx::query", "query_as!", "query_file", "query_scalar", "sqlx::raw_sql", "QueryBuilder::new"];
        let texts = ["from stead.", "insert into ", "update stead.", "delete from ", "set_config("];
        if macros.iter().chain(&texts).any(|sign| code.contains(sign)) {
            faults.push(format!("{}: holds SQL: move it into the domain's store.rs", source.path));
        }
    }
    faults
}

fn statuses_are_made_in_one_place(sources: &[Source]) -> Vec<String> {
    let mut faults = vec![];
    for source in sources.iter().filter(|source| source.path.starts_with("server/src/") && !is_test(&source.path)) {
        let place = source.path.trim_start_matches("server/src/");
        if place == "error.rs" {
            continue;
        }
        let code = code(source);
        let makes = code.match_indices("Status::").any(|(at, _)| {
            let word = !code[..at].ends_with(|letter: char| letter.is_alphanumeric() || letter == '_');
            word && !code[at..].starts_with("Status::from") && !code[..at].ends_with("tonic_health::")
        });
        let edge = within(place, STATUS_PLACES)
            || ["/service.rs", "/import.rs"].iter().any(|file| source.path.ends_with(file));
        if makes {
            faults.push(format!(
                "{}: makes a `Status`: return an `Error`, and let error.rs say what it becomes",
                source.path
            ));
        } else if !edge && names(&code, "Status") {
            faults.push(format!("{}: names `Status`: only error.rs and the edges do; return an `Error`", source.path));
        }
    }
    faults
}

fn the_contract_stays_at_the_edge(sources: &[Source]) -> Vec<String> {
    let edges = ["service.rs", "model.rs", "import.rs"];
    // The platform's own words of the contract: rules and codecs of shared messages.
    let platform = ["lib.rs", "rules.rs", "error.rs", "stack/", "commands/"];
    let names_types = |source: &&Source| {
        let code = code(source);
        names(&code, "v1") && (code.contains("v1::") || code.contains("stead_api::v1") || code.contains("stead_api::{"))
    };
    let outside = |source: &&Source| {
        let Some(place) = source.path.strip_prefix("server/src/") else { return false };
        let file = place.rsplit('/').next().unwrap_or_default();
        let is_edge = within(place, &platform) || domain(&source.path).is_some() && edges.contains(&file);
        !is_edge && !is_test(&source.path)
    };
    let sentence = |source: &Source| {
        format!("{}: names the contract's types: convert in the domain's service.rs or model.rs", source.path)
    };
    sources.iter().filter(outside).filter(names_types).map(sentence).collect()
}

fn sql_is_asserted_safe_in_db_alone(sources: &[Source]) -> Vec<String> {
    let place = |path: &str| path.starts_with("server/src/") && path != "server/src/db.rs" && !is_test(path);
    let uses = |source: &&Source| place(&source.path) && names(&code(source), "AssertSqlSafe");
    let sentence = |source: &Source| {
        format!("{}: uses `AssertSqlSafe`: bind the value, or do it in db.rs with a parsed UUID", source.path)
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
    // What a domain has beyond the shape, because it does what no other does.
    let own = [
        ("products", "import.rs"),
        ("auth", "keys.rs"),
        ("auth", "token.rs"),
        ("auth", "verify.rs"),
        ("users", "password.rs"),
    ];
    let mut faults = vec![];
    for source in sources {
        let Some(domain) = domain(&source.path).filter(|_| source.path.starts_with("server/src/")) else { continue };
        let file = source.path.trim_start_matches("server/src/").trim_start_matches(domain).trim_start_matches('/');
        if !shape.contains(&file) && !file.starts_with("tests/") && !own.contains(&(domain, file)) {
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

fn everything_is_named_when_exported(sources: &[Source]) -> Vec<String> {
    let exports = |line: &str| line.trim_start().starts_with("pub use ") && line.trim_end().ends_with("::*;");
    let sentence = |source: &Source| format!("{}: exports everything of a module: name what is exported", source.path);
    sources.iter().filter(|source| source.text.lines().any(exports)).map(sentence).collect()
}

fn files_stay_short(sources: &[Source]) -> Vec<String> {
    let lines = |source: &Source| source.text.lines().count();
    let sentence = |source: &Source| {
        format!("{}: has {} lines, more than {LONGEST}: make two files of it", source.path, lines(source))
    };
    sources.iter().filter(|source| lines(source) > LONGEST).map(sentence).collect()
}
