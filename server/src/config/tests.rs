//! What a configuration accepts, what it refuses and in which words, and that the env file lists every setting.
//! Leaves the programs' behaviour at start to the promises.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use super::*;

const KEY: &str = "a:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const URL: &str = "postgres://stead_app:hunter2@db/stead";

fn sources(environment: &[(&str, &str)]) -> Sources {
    let environment = environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Sources { environment, ..Sources::default() }
}

/// The environment of a server that starts, with changes.
fn with(changes: &[(&str, &str)]) -> Sources {
    let mut sources = sources(&[("STEAD_DATABASE_URL", URL), ("STEAD_SECRET_KEYS", KEY)]);
    sources.environment.extend(changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    sources
}

/// The only fault of a configuration.
fn fault(changes: &[(&str, &str)]) -> String {
    let faults = with(changes).resolve::<Config>().unwrap_err();
    assert_eq!(faults.iter().count(), 1, "{faults}");
    faults.to_string()
}

fn file(dir: &Path, name: &str, text: &str) -> PathBuf {
    let path = dir.join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// A directory of its own for one test.
fn directory(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("stead-config-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&path).unwrap();
    path
}

#[test]
fn the_least_that_a_server_needs_are_a_database_and_a_key() {
    let config = with(&[]).resolve::<Config>().unwrap();
    assert_eq!(config.listening.listen.to_string(), "127.0.0.1:50051");
    assert_eq!(config.listening.admin_listen.to_string(), "127.0.0.1:9464");
    assert_eq!(config.database.database_acquire_timeout, Duration::from_millis(500));
    assert_eq!(
        (config.calls.default_deadline, config.calls.maximum_deadline),
        (Duration::from_secs(10), Duration::from_secs(60))
    );
    assert!((4..=64).contains(&config.database.database_pool_size.get()));
    assert!(!config.calls.reflection && !config.calls.open_health && config.database.platform_database_url.is_none());
}

#[test]
fn flags_beat_environment_beats_file_beats_default() {
    let dir = directory("precedence");
    let path = file(
        &dir,
        "stead.toml",
        "listen = '127.0.0.1:1'\nadmin_listen = '127.0.0.1:2'\ndefault_deadline = '3s'\nreflection = true\n",
    );
    let mut sources = with(&[
        ("STEAD_LISTEN", "127.0.0.1:11"),
        ("STEAD_ADMIN_LISTEN", "127.0.0.1:12"),
        ("STEAD_CONFIG", path.to_str().unwrap()),
    ]);
    sources.flags.insert("listen", "127.0.0.1:21".to_owned());
    let config = sources.resolve::<Config>().unwrap();
    assert_eq!((config.listening.listen.port(), config.listening.admin_listen.port()), (21, 12));
    assert_eq!(config.calls.default_deadline, Duration::from_secs(3));
    assert!(config.calls.reflection);

    let origins: BTreeMap<_, _> = sources
        .found(&Config::settings())
        .into_iter()
        .map(|(s, found)| (s.key, found.map(|f| f.origin.to_string())))
        .collect();
    assert_eq!(origins["listen"].as_deref(), Some("flag --listen"));
    assert_eq!(origins["admin_listen"].as_deref(), Some("environment STEAD_ADMIN_LISTEN"));
    assert_eq!(origins["reflection"].as_deref(), Some(format!("reflection in {}", path.display()).as_str()));
    assert_eq!(origins["maximum_deadline"].as_deref(), Some("default"));
    assert_eq!(origins["otlp_endpoint"], None);
}

#[test]
fn the_flag_names_another_file_than_the_environment() {
    let dir = directory("two-files");
    let (one, two) = (file(&dir, "one.toml", "log = 'warn'"), file(&dir, "two.toml", "log = 'debug'"));
    let mut sources = with(&[("STEAD_CONFIG", one.to_str().unwrap())]);
    sources.file = Some(two);
    assert_eq!(sources.resolve::<Config>().unwrap().telemetry.log.directives(), "debug");
}

#[test]
fn secrets_come_from_files_too_without_the_end_of_the_line() {
    let dir = directory("secrets");
    let path = file(&dir, "url", &format!("{URL}\n"));
    let by_variable = sources(&[("STEAD_DATABASE_URL_FILE", path.to_str().unwrap()), ("STEAD_SECRET_KEYS", KEY)]);
    assert_eq!(by_variable.resolve::<Config>().unwrap().database.database_url.expose(), URL);

    let toml = file(&dir, "stead.toml", &format!("database_url_file = '{}'\nsecret_keys = '{KEY}'", path.display()));
    let by_key = sources(&[("STEAD_CONFIG", toml.to_str().unwrap())]);
    assert_eq!(by_key.resolve::<Config>().unwrap().database.database_url.expose(), URL);

    let mut by_flag = sources(&[("STEAD_SECRET_KEYS", KEY)]);
    by_flag.flags.insert("database_url", path.to_str().unwrap().to_owned());
    assert_eq!(by_flag.resolve::<Config>().unwrap().database.database_url.expose(), URL);

    assert_eq!(
        fault(&[("STEAD_DATABASE_URL_FILE", "/x")]),
        "STEAD_DATABASE_URL and STEAD_DATABASE_URL_FILE are both set: keep one of them"
    );
    assert_eq!(
        fault(&[("STEAD_DATABASE_URL", ""), ("STEAD_DATABASE_URL_FILE", "/nowhere/url")]),
        "/nowhere/url, named by environment STEAD_DATABASE_URL_FILE, cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn an_empty_variable_counts_as_unset() {
    assert!(with(&[("STEAD_OTLP_ENDPOINT", ""), ("STEAD_LISTEN", "")]).resolve::<Config>().is_ok());
    assert!(
        fault(&[("STEAD_SECRET_KEYS", "")])
            .starts_with("STEAD_SECRET_KEYS (or STEAD_SECRET_KEYS_FILE) is missing: write id:base64")
    );
    assert!(
        fault(&[("STEAD_DATABASE_URL", "")])
            .starts_with("STEAD_DATABASE_URL (or STEAD_DATABASE_URL_FILE) is missing: write a URL such as")
    );
}

#[test]
fn each_wrong_value_is_refused_with_its_rule() {
    let cases: &[(&str, &str, &str)] = &[
        (
            "STEAD_LISTEN",
            "localhost",
            "listen is \"localhost\" (environment STEAD_LISTEN): write an IP address and a port",
        ),
        ("STEAD_ADMIN_LISTEN", "127.0.0.1:50051", "listen and admin_listen are both 127.0.0.1:50051"),
        ("STEAD_LISTEN", "0.0.0.0:50051", "listen is 0.0.0.0:50051, beyond loopback, and nothing encrypts"),
        ("STEAD_PLAINTEXT", "yes", "plaintext is \"yes\" (environment STEAD_PLAINTEXT): write true or false"),
        ("STEAD_DATABASE_URL", "mysql://x", "database_url (environment STEAD_DATABASE_URL): write a URL such as"),
        (
            "STEAD_DATABASE_POOL_SIZE",
            "0",
            "database_pool_size is \"0\" (environment STEAD_DATABASE_POOL_SIZE): write a number from 1 to 1000",
        ),
        ("STEAD_DATABASE_POOL_SIZE", "1001", "database_pool_size is \"1001\""),
        ("STEAD_DATABASE_ACQUIRE_TIMEOUT", "0", "database_acquire_timeout is 0ns: it must lie between 1ms and 60s"),
        ("STEAD_DATABASE_ACQUIRE_TIMEOUT", "61s", "database_acquire_timeout is 61s"),
        ("STEAD_REDIS_URL", "cache:6379", "redis_url (environment STEAD_REDIS_URL): write a URL such as redis://"),
        ("STEAD_REDIS_URL", "http://cache:6379", "redis_url (environment STEAD_REDIS_URL): write a URL such as"),
        ("STEAD_REDIS_URL", "redis://cache/first", "redis_url (environment STEAD_REDIS_URL): write a URL such as"),
        (
            "STEAD_REDIS_URL",
            "rediss://cache/#insecure",
            "redis_url (environment STEAD_REDIS_URL): write the URL without what follows its #",
        ),
        ("STEAD_CACHE_MEMORY", "64", "cache_memory is \"64\" (environment STEAD_CACHE_MEMORY): write a whole number"),
        ("STEAD_CACHE_LIFETIME", "999ms", "cache_lifetime is 999ms: it must lie between 1s and 3600s"),
        ("STEAD_CACHE_LIFETIME", "2h", "cache_lifetime is 7200s"),
        (
            "STEAD_DEFAULT_DEADLINE",
            "10",
            "default_deadline is \"10\" (environment STEAD_DEFAULT_DEADLINE): write a whole number with its unit",
        ),
        ("STEAD_DEFAULT_DEADLINE", "61s", "default_deadline is 61s and maximum_deadline 60s"),
        ("STEAD_MAXIMUM_DEADLINE", "2h", "maximum_deadline is 7200s: it must lie between 1ms and 3600s"),
        ("STEAD_SHUTDOWN_GRACE", "-1s", "shutdown_grace is \"-1s\""),
        ("STEAD_DRAIN_WAIT", "6m", "drain_wait is 360s: it must lie between 0ns and 300s"),
        (
            "STEAD_OTLP_ENDPOINT",
            "https://c:4318",
            "otlp_endpoint is \"https://c:4318\" (environment STEAD_OTLP_ENDPOINT): https is not spoken here",
        ),
        ("STEAD_OTLP_ENDPOINT", "collector:4318", "otlp_endpoint is \"collector:4318\""),
        (
            "STEAD_TRACE_SAMPLING",
            "1.1",
            "trace_sampling is \"1.1\" (environment STEAD_TRACE_SAMPLING): write a number from 0 to 1",
        ),
        ("STEAD_TRACE_SAMPLING", "NaN", "trace_sampling is \"NaN\""),
        ("STEAD_LOG_FORMAT", "xml", "log_format is \"xml\" (environment STEAD_LOG_FORMAT): write text or json"),
        ("STEAD_LOG", "verbose", "log is \"verbose\" (environment STEAD_LOG): write a level"),
        ("STEAD_LOG", "a=b=c", "log is \"a=b=c\""),
        ("STEAD_CONFIG", "/nowhere.toml", "/nowhere.toml, the configuration file, cannot be read"),
    ];
    for (variable, value, expected) in cases {
        let said = fault(&[(variable, value)]);
        assert!(said.starts_with(expected), "{variable}={value}: {said}");
    }
}

#[test]
fn secret_keys_are_refused_without_showing_them() {
    let short = "b:AAAA";
    for (value, expected) in [
        ("nocolon", "secret_keys (environment STEAD_SECRET_KEYS): key 1 has no colon"),
        (short, "secret_keys (environment STEAD_SECRET_KEYS): key 1 (b) has 3 bytes and needs 32"),
        ("b:*", "secret_keys (environment STEAD_SECRET_KEYS): key 1 (b) is not base64"),
        (":AAAA", "secret_keys (environment STEAD_SECRET_KEYS): the id of key 1 must be"),
        (&format!("{KEY},{KEY}"), "secret_keys (environment STEAD_SECRET_KEYS): two keys have the id a"),
    ] {
        let said = fault(&[("STEAD_SECRET_KEYS", value)]);
        assert!(said.starts_with(expected), "{said}");
        assert!(!said.contains("AAAA"), "{said}");
    }
    let said = fault(&[("STEAD_DATABASE_URL", "mysql://stead:hunter2@db/stead")]);
    assert!(!said.contains("hunter2"), "{said}");
}

#[test]
fn a_redis_is_named_by_host_with_or_without_tls_or_by_socket_and_its_password_is_never_shown() {
    let of = |url: &str| with(&[("STEAD_REDIS_URL", url)]).resolve::<Caching>().unwrap().redis_url.unwrap();
    for url in [
        "redis://cache",
        "redis://:hunter2@cache:6380/3",
        "rediss://stead:hunter2@cache:6380",
        "unix:///run/redis.sock",
        "redis+unix:///run/redis.sock?pass=hunter2&db=1",
    ] {
        assert_eq!(of(url).expose(), url);
        assert!(!format!("{:?}", of(url)).contains("hunter2"));
    }
    for wrong in ["redis:///3?pass=hunter2", "redis://:hunter2@cache/x", "redis://:hunter#2@cache"] {
        let said = fault(&[("STEAD_REDIS_URL", wrong)]);
        assert!(said.starts_with("redis_url") && !said.contains("hunter"), "{said}");
    }
    let dir = directory("redis");
    let path = file(&dir, "url", "redis://:hunter2@cache\n");
    let by_file = with(&[("STEAD_REDIS_URL_FILE", path.to_str().unwrap())]).resolve::<Caching>().unwrap();
    assert_eq!(by_file.redis_url.unwrap().expose(), "redis://:hunter2@cache");

    let none = with(&[("STEAD_CACHE_MEMORY", "0")]).resolve::<Caching>().unwrap();
    assert_eq!((none.cache_memory.get(), none.cache_lifetime, none.redis_url), (0, Duration::from_secs(60), None));
}

#[test]
fn the_first_key_seals_and_all_open() {
    let config = with(&[("STEAD_SECRET_KEYS", &format!("new:{}, {KEY}", &KEY[2..]))]).resolve::<Config>().unwrap();
    let keys = &config.secrets.secret_keys;
    assert_eq!(keys.sealing().id, "new");
    assert_eq!(keys.iter().map(|key| key.id.as_str()).collect::<Vec<_>>(), ["new", "a"]);
    assert_eq!(keys.sealing().to_text().as_str(), format!("new:{}", &KEY[2..]));
}

#[test]
fn beyond_loopback_it_takes_encryption_or_an_explicit_word() {
    let dir = directory("tls");
    let (certificate, key) = (file(&dir, "tls.crt", "x"), file(&dir, "tls.key", "x"));
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let open = ("STEAD_LISTEN", "[::]:50051");
    assert!(with(&[open, ("STEAD_PLAINTEXT", "true")]).resolve::<Config>().is_ok());
    assert!(with(&[open, ("STEAD_TLS_CERTIFICATE", certificate), ("STEAD_TLS_KEY", key)]).resolve::<Config>().is_ok());
    assert_eq!(
        fault(&[("STEAD_TLS_CERTIFICATE", certificate)]),
        "tls_certificate is set and tls_key is not: set both or neither"
    );
    assert_eq!(fault(&[("STEAD_TLS_KEY", key)]), "tls_key is set and tls_certificate is not: set both or neither");
    let both = [("STEAD_TLS_CERTIFICATE", certificate), ("STEAD_TLS_KEY", key), ("STEAD_PLAINTEXT", "true")];
    assert_eq!(fault(&both), "plaintext and tls_certificate exclude each other: drop one of them");
    let missing = fault(&[("STEAD_TLS_CERTIFICATE", "/nowhere.crt"), ("STEAD_TLS_KEY", key)]);
    assert_eq!(
        missing,
        "tls_certificate is /nowhere.crt, which cannot be read: No such file or directory (os error 2)"
    );
}

#[test]
fn unknown_keys_of_the_file_are_refused_with_the_nearest_known_one() {
    let dir = directory("unknown");
    let said = |text: &str| {
        let path = file(&dir, "stead.toml", text);
        with(&[("STEAD_CONFIG", path.to_str().unwrap())])
            .resolve::<Config>()
            .unwrap_err()
            .to_string()
            .replace(path.to_str().unwrap(), "FILE")
    };
    assert_eq!(said("listn = '127.0.0.1:1'"), "FILE: there is no setting listn; did you mean listen?");
    assert_eq!(said("database_uri = 'x'"), "FILE: there is no setting database_uri; did you mean database_url?");
    assert_eq!(
        said("colour = 'red'"),
        "FILE: there is no setting colour; `stead-server config print` lists all of them"
    );
    assert_eq!(said("log = ['info']"), "FILE: log must be text, a number or true or false, not a array");
    assert!(said("log = \n").starts_with("FILE, line 1, is not TOML: "), "{}", said("log = \n"));
    assert!(
        with(&[(
            "STEAD_CONFIG",
            file(&dir, "owner.toml", "owner_database_url = 'postgres://o@db/stead'").to_str().unwrap()
        )])
        .resolve::<Config>()
        .is_ok()
    );
}

#[test]
fn a_mistyped_variable_is_noticed_and_a_foreign_one_is_not() {
    let strays = with(&[
        ("STEAD_LISTN", "x"),
        ("STEAD_KEY", "x"),
        ("STEAD_ENDPOINT", "x"),
        ("STEAD_SERVICE_HOST", "x"),
        ("STEAD_LOG", "info"),
    ])
    .strays();
    assert_eq!(strays, ["STEAD_LISTN is no setting; did you mean STEAD_LISTEN?"]);
}

#[test]
fn every_fault_is_told_at_once() {
    let dir = directory("all");
    let path = file(&dir, "stead.toml", "listn = 1\nreflection = 'maybe'\n");
    let sources = sources(&[
        ("STEAD_CONFIG", path.to_str().unwrap()),
        ("STEAD_LISTEN", "here"),
        ("STEAD_TLS_KEY", "/nowhere.key"),
        ("STEAD_DATABASE_URL", "db"),
        ("STEAD_DEFAULT_DEADLINE", "soon"),
        ("STEAD_LOG_FORMAT", "xml"),
    ]);
    let faults = sources.resolve::<Config>().unwrap_err();
    let of = [
        "listn",
        "listen is",
        "tls_key is set",
        "tls_key is /nowhere.key",
        "database_url",
        "STEAD_SECRET_KEYS",
        "default_deadline",
        "reflection",
        "log_format",
    ];
    assert_eq!(faults.iter().count(), of.len(), "{faults}");
    for word in of {
        assert!(faults.iter().any(|fault| fault.contains(word)), "{word}: {faults}");
    }
    assert!(faults.to_string().starts_with("the configuration has 9 faults:\n  - "));
}

#[test]
fn the_journal_is_kept_for_three_months_at_least_and_for_ever_unless_somebody_says_otherwise() {
    let kept = |months: &str| with(&[("STEAD_JOURNAL_RETENTION_MONTHS", months)]).resolve::<Retention>();
    assert_eq!(with(&[]).resolve::<Retention>().unwrap().months(), None);
    assert_eq!((kept("3").unwrap().months(), kept("1200").unwrap().months()), (Some(3), Some(1200)));
    for months in ["2", "1", "1201"] {
        let said = kept(months).unwrap_err().to_string();
        let rule = format!("journal_retention_months is {months}: keep 3 to 1200 months, or leave it out to keep all");
        assert_eq!(said, rule);
    }
    for months in ["0", "-1", "13.5", "ever"] {
        assert!(kept(months).unwrap_err().to_string().contains("write a whole number from 1"), "{months}");
    }
}

#[test]
fn a_command_reads_no_more_than_it_needs() {
    let sources =
        sources(&[("STEAD_OWNER_DATABASE_URL", "postgres://deployer@db/stead"), ("STEAD_LISTEN", "nonsense")]);
    assert_eq!(sources.resolve::<OwnerDatabase>().unwrap().owner_database_url.expose(), "postgres://deployer@db/stead");
}

#[test]
fn debug_output_shows_no_secret() {
    let shown = format!("{:?}", with(&[]).resolve::<Config>().unwrap());
    assert!(!shown.contains("hunter2") && !shown.contains("AAAA"), "{shown}");
}

#[test]
fn variable_flag_and_key_of_a_setting_have_one_name() {
    for setting in all_settings() {
        assert_eq!(setting.variable, format!("STEAD_{}", setting.key.to_uppercase()));
        assert!(setting.help().ends_with('.'), "{}: {}", setting.key, setting.help());
    }
}

#[test]
fn the_env_file_lists_every_setting_with_its_default() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/stead.env");
    let text =
        std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("deploy/stead.env cannot be read: {fault}"));
    let entries = text
        .lines()
        .filter_map(|line| line.trim_start_matches(['#', ' ']).split_once('='))
        .filter(|(name, _)| name.starts_with("STEAD_"));
    let entries: BTreeMap<&str, &str> = entries.collect();

    let mut known: BTreeSet<String> = BTreeSet::from([FILE_VARIABLE.to_owned()]);
    for setting in all_settings() {
        let value = entries.get(setting.variable);
        assert!(value.is_some(), "deploy/stead.env must list {} (a line `#{0}=` will do)", setting.variable);
        if let (Some(default), Some(value)) = (setting.default, value) {
            assert_eq!(*value, default, "deploy/stead.env must show {} with its default", setting.variable);
        }
        known.insert(setting.variable.to_owned());
        known.extend(setting.secret.then(|| setting.file_variable()));
    }
    for name in entries.keys() {
        assert!(known.contains(*name), "deploy/stead.env lists {name}, which is no setting");
    }
}
