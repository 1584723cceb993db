//! The configuration as TOML: what may stand in it, and what is said of what may not.
//! It leaves what it means to `settings`.
//!
//! Faults quote no value: one may be a key.

use std::{
    env, fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use clap::ValueEnum;
use toml::{Table, Value};

use super::{Config, Context, Secret, context_name};
use crate::{
    cli::Format,
    failure::{Exit, Failure},
    values,
};

pub(super) fn read(path: PathBuf) -> Result<Config, Failure> {
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(fault) if fault.kind() == io::ErrorKind::NotFound => return Ok(Config { path, ..Config::default() }),
        Err(fault) => return Err(Failure::usage(format!("cannot read {}: {fault}", path.display()))),
    };
    let config = parse(&text, &path).map_err(|fault| Failure::usage(format!("{}: {fault}", path.display())))?;
    if config.contexts.values().any(|context| matches!(context.credential, Some(Secret::Key(_)))) {
        refuse_readers(&path)?;
    }
    Ok(config)
}

/// A key is a secret, and so is the file that holds it.
#[cfg(unix)]
fn refuse_readers(path: &Path) -> Result<(), Failure> {
    use std::os::unix::fs::PermissionsExt;
    let cannot = |fault| Failure::usage(format!("cannot read {}: {fault}", path.display()));
    let mode = fs::metadata(path).map_err(cannot)?.permissions().mode() & 0o777;
    if mode & 0o077 == 0 {
        return Ok(());
    }
    Err(Failure::usage(format!(
        "{path}: holds a key and others on this machine may read it (its mode is {mode:04o}, and has to be 0600): \
         run `chmod 600 {path}`, or keep the key elsewhere by key_file or key_command",
        path = path.display()
    )))
}

#[cfg(not(unix))]
fn refuse_readers(_: &Path) -> Result<(), Failure> {
    Ok(())
}

fn parse(text: &str, path: &Path) -> Result<Config, String> {
    let table: Table = text.parse().map_err(|fault: toml::de::Error| {
        let line = fault.span().map_or(0, |span| text[..span.start.min(text.len())].matches('\n').count() + 1);
        format!(
            "line {line} is not TOML: write settings as name = \"value\", and [contexts.NAME] above those of a context"
        )
    })?;
    let mut config = Config { path: path.to_owned(), ..Config::default() };
    for (name, value) in table {
        match (name.as_str(), value) {
            ("context", value) => config.current = Some(string("context", value)?),
            ("contexts", Value::Table(contexts)) => {
                for (name, value) in contexts {
                    let place = format!("contexts.{name}");
                    let Value::Table(fields) = value else {
                        return Err(format!("{place}: has to be a table: write [{place}] above its settings"));
                    };
                    context_name(&name).map_err(|rule| format!("{place}: {rule}"))?;
                    config.contexts.insert(name, context(&place, fields, path)?);
                }
            }
            ("contexts", _) => return Err("contexts: has to be tables: write [contexts.NAME]".to_owned()),
            (name, _) => return Err(format!("{name}: is no setting: here stand `context` and [contexts.NAME]")),
        }
    }
    Ok(config)
}

fn context(place: &str, fields: Table, path: &Path) -> Result<Context, String> {
    let mut context = Context::default();
    for (name, value) in fields {
        let field = format!("{place}.{name}");
        let text = string(&field, value)?;
        let at = |rule: String| format!("{field}: {rule}");
        let mut secret = None;
        match name.as_str() {
            "endpoint" => context.endpoint = Some(text),
            "tenant" => context.tenant = Some(text),
            "ca_certificate" => context.ca_certificate = Some(located(&text, path)),
            "deadline" => {
                values::duration(&text).map_err(at)?;
                context.deadline = Some(text);
            }
            "output" => {
                let format = Format::from_str(&text, false);
                context.output = Some(format.map_err(|_| at("has to be \"table\" or \"json\"".to_owned()))?);
            }
            "key" => secret = Some(Secret::Key(text)),
            "key_file" => secret = Some(Secret::File(located(&text, path))),
            "key_command" => secret = Some(Secret::Command(text)),
            _ => {
                let known = "endpoint, tenant, ca_certificate, deadline, output, key, key_file and key_command";
                return Err(at(format!("is no setting of a context: those are {known}")));
            }
        }
        if secret.is_some() && context.credential.is_some() {
            return Err(format!("{place}: key, key_file and key_command exclude each other: keep one"));
        }
        context.credential = context.credential.or(secret);
    }
    Ok(context)
}

fn string(field: &str, value: Value) -> Result<String, String> {
    match value {
        Value::String(text) if !text.trim().is_empty() => Ok(text),
        Value::String(_) => Err(format!("{field}: is empty: remove it, or give it a value")),
        _ => Err(format!("{field}: has to be a text in quotes")),
    }
}

/// A path as it stands in the file: from the home, or beside the file itself.
fn located(text: &str, path: &Path) -> PathBuf {
    if let (Some(rest), Some(home)) = (text.strip_prefix("~/"), env::var_os("HOME")) {
        return PathBuf::from(home).join(rest);
    }
    path.parent().map_or_else(|| PathBuf::from(text), |folder| folder.join(text))
}

pub(super) fn write(config: &Config) -> Result<(), Failure> {
    // A link stays a link.
    let path = fs::canonicalize(&config.path).unwrap_or_else(|_| config.path.clone());
    let cannot = |fault: io::Error| Failure::io(format!("cannot write {}", path.display()), &fault);
    let text = toml::to_string(&table(config)).map_err(|fault| Failure::new(Exit::Other, fault))?;
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(cannot)?;
    }
    let fresh = path.with_added_extension(format!("{}.new", std::process::id()));
    let mut options = fs::OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let written =
        options.open(&fresh).and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
    written.and_then(|()| fs::rename(&fresh, &path)).map_err(cannot)
}

fn table(config: &Config) -> Table {
    let mut table = Table::new();
    table.extend(config.current.clone().map(|name| ("context".to_owned(), Value::String(name))));
    let contexts = config.contexts.iter().map(|(name, context)| {
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| path.display().to_string());
        let output = context.output.as_ref().and_then(ValueEnum::to_possible_value);
        let secret = context.credential.as_ref().map(|secret| match secret {
            Secret::Key(key) => key.clone(),
            Secret::File(path) => path.display().to_string(),
            Secret::Command(command) => command.clone(),
        });
        let fields = [
            ("endpoint", context.endpoint.clone()),
            ("tenant", context.tenant.clone()),
            ("ca_certificate", path(&context.ca_certificate)),
            ("deadline", context.deadline.clone()),
            ("output", output.map(|output| output.get_name().to_owned())),
            (context.credential.as_ref().map_or("key", Secret::field), secret),
        ];
        let fields = fields.into_iter().filter_map(|(name, text)| Some((name.to_owned(), Value::String(text?))));
        (name.clone(), Value::Table(fields.collect()))
    });
    table.insert("contexts".to_owned(), Value::Table(contexts.collect()));
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<Config, String> {
        parse(text, Path::new("/etc/stead/config.toml"))
    }

    #[test]
    fn what_is_written_is_read_back() {
        let text = "context = \"a\"\n[contexts.a]\nendpoint = \"https://x\"\ntenant = \"acme\"\ndeadline = \"30s\"\n\
                    output = \"json\"\nca_certificate = \"ca.pem\"\nkey_command = \"pass stead\"\n[contexts.b]\nkey = \"k\"\n";
        let config = parsed(text).unwrap();
        let a = &config.contexts["a"];
        assert_eq!(a.ca_certificate.as_deref(), Some(Path::new("/etc/stead/ca.pem")));
        assert_eq!((a.output, &a.credential), (Some(Format::Json), &Some(Secret::Command("pass stead".to_owned()))));
        let again = parsed(&toml::to_string(&table(&config)).unwrap()).unwrap();
        assert_eq!((again.current, again.contexts), (config.current, config.contexts));
    }

    #[test]
    fn a_fault_names_the_field_and_the_rule_and_never_a_value() {
        for (text, place, rule) in [
            ("contexts = \"stead_key_x\"", "contexts:", "has to be tables"),
            ("key = \"stead_key_x\"", "key:", "is no setting"),
            ("context = 5", "context:", "a text in quotes"),
            ("[contexts.a]\nkee = \"stead_key_x\"", "contexts.a.kee:", "is no setting of a context"),
            ("[contexts]\na = \"stead_key_x\"", "contexts.a:", "has to be a table"),
            ("[contexts.a]\nkey = 5", "contexts.a.key:", "a text in quotes"),
            ("[contexts.a]\nkey = \" \"", "contexts.a.key:", "is empty"),
            ("[contexts.a]\nkey = \"stead_key_x\"\nkey_file = \"b\"", "contexts.a:", "exclude each other"),
            ("[contexts.a]\ndeadline = \"soon\"", "contexts.a.deadline:", "is not a duration"),
            ("[contexts.a]\noutput = \"xml\"", "contexts.a.output:", "\"table\" or \"json\""),
            ("[contexts.\"a b\"]\n", "contexts.a b:", "letters, digits"),
            ("[contexts.a]\n\nkey = stead_key_x", "line 3", "is not TOML"),
        ] {
            let fault = parsed(text).unwrap_err();
            assert!(
                fault.starts_with(place) && fault.contains(rule) && !fault.contains("stead_key_x"),
                "{text}: {fault}"
            );
        }
    }
}
