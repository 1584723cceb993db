//! What holds for one command: the command line before the environment, that before the context, that before the defaults.
//! It leaves the words to `cli`, and reading contexts to `config`.

use std::{fmt, path::PathBuf, time::Duration};

use crate::{
    cli::{Connection, Format},
    config::{Config, Context, Secret},
    failure::Failure,
    values,
};

pub(crate) const ENDPOINT: &str = "http://127.0.0.1:50051";
const DEADLINE: Duration = Duration::from_secs(10);

/// Everything that a command is told about its calls.
#[derive(Debug)]
pub(crate) struct Settings {
    pub(crate) context: Option<String>,
    pub(crate) endpoint: Set<String>,
    pub(crate) tenant: Option<Set<String>>,
    pub(crate) ca_certificate: Option<PathBuf>,
    pub(crate) credential: Option<Set<Secret>>,
    /// Whether the context has a credential that is not for this endpoint.
    pub(crate) is_withheld: bool,
    pub(crate) deadline: Duration,
    pub(crate) output: Format,
    pub(crate) reason: Option<String>,
    pub(crate) is_strong: bool,
}

/// A value, and who gave it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Set<T> {
    pub(crate) value: T,
    pub(crate) by: By,
}

/// Who gave a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum By {
    Words,
    Context,
    Default,
}

impl fmt::Display for By {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Words => "by the command line or the environment",
            Self::Context => "by the context",
            Self::Default => "by default",
        })
    }
}

impl Settings {
    /// What the words mean, with the configuration behind them.
    pub(crate) fn of(connection: Connection, config: &Config) -> Result<Self, Failure> {
        let named = given(connection.context);
        let name = named.or_else(|| config.current.clone());
        let context = match &name {
            Some(name) => config.get(name)?.clone(),
            None => Context::default(),
        };
        let of_context = context.endpoint.clone();
        let endpoint = either(given(connection.endpoint), context.endpoint)
            .unwrap_or_else(|| Set { value: ENDPOINT.to_owned(), by: By::Default });
        // A context's credential is for its own endpoint, be it the default one: nobody else gets to see it.
        let is_elsewhere = of_context.as_deref().unwrap_or(ENDPOINT) != endpoint.value;
        let is_withheld = is_elsewhere && context.credential.is_some();
        let kept = if is_elsewhere { None } else { context.credential };
        let deadline = match (connection.deadline, context.deadline) {
            (Some(deadline), _) => deadline,
            (None, Some(text)) => values::duration(&text).map_err(Failure::usage)?,
            (None, None) => DEADLINE,
        };
        Ok(Self {
            context: name,
            endpoint,
            tenant: either(given(connection.acting_in), context.tenant),
            ca_certificate: connection.ca_certificate.or(context.ca_certificate),
            credential: either(given(connection.credential).map(Secret::Key), kept),
            is_withheld,
            deadline,
            output: connection.output.or(context.output).unwrap_or(Format::Table),
            reason: connection.reason,
            is_strong: connection.strong,
        })
    }
}

/// An empty variable is as good as none.
fn given(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.trim().is_empty())
}

fn either<T>(words: Option<T>, context: Option<T>) -> Option<Set<T>> {
    let words = words.map(|value| Set { value, by: By::Words });
    words.or_else(|| context.map(|value| Set { value, by: By::Context }))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::Cli;

    fn config() -> Config {
        let mut config = Config::default();
        config.current = Some("a".to_owned());
        let a = Context {
            endpoint: Some("http://a".to_owned()),
            tenant: Some("acme".to_owned()),
            deadline: Some("30s".to_owned()),
            output: Some(Format::Json),
            credential: Some(Secret::Key("k".to_owned())),
            ca_certificate: Some("/ca".into()),
        };
        let k = Context { credential: Some(Secret::Key("k".to_owned())), ..Context::default() };
        let contexts = [("a", a), ("b", Context::default()), ("k", k)];
        config.contexts = contexts.map(|(name, context)| (name.to_owned(), context)).into();
        config
    }

    fn settings(words: &[&str]) -> Result<Settings, Failure> {
        let words = [&["stead"], words, &["whoami"]].concat();
        Settings::of(Cli::parse_from(words).connection, &config())
    }

    #[test]
    fn words_come_before_the_context_and_that_before_the_defaults() {
        let a = settings(&[]).unwrap();
        assert_eq!(
            (a.context.as_deref(), a.endpoint.by, a.endpoint.value.as_str()),
            (Some("a"), By::Context, "http://a")
        );
        assert_eq!(
            (a.deadline, a.output, a.tenant.unwrap().value.as_str()),
            (Duration::from_secs(30), Format::Json, "acme")
        );
        let told = settings(&["--deadline", "1s", "-o", "table", "--tenant", "globex", "--key", "x"]).unwrap();
        assert_eq!((told.deadline, told.output), (Duration::from_secs(1), Format::Table));
        assert_eq!(told.tenant.unwrap(), Set { value: "globex".to_owned(), by: By::Words });
        assert_eq!(told.credential.unwrap().by, By::Words);
        let b = settings(&["--context", "b"]).unwrap();
        assert_eq!((b.endpoint.value.as_str(), b.endpoint.by, b.deadline), (ENDPOINT, By::Default, DEADLINE));
        assert!(b.tenant.is_none() && b.credential.is_none() && b.output == Format::Table);
        assert!(settings(&["--context", "c"]).is_err());
    }

    #[test]
    fn the_credential_of_a_context_is_for_its_own_endpoint_only() {
        let elsewhere = settings(&["--endpoint", "http://b"]).unwrap();
        assert!(elsewhere.credential.is_none() && elsewhere.is_withheld);
        let named = ["--context", "k", "--endpoint", ENDPOINT];
        for same in [&["--endpoint", "http://a"][..], &named[..2], &named] {
            let same = settings(same).unwrap();
            assert!(same.credential.is_some() && !same.is_withheld, "{same:?}");
        }
        let unnamed = settings(&["--context", "k", "--endpoint", "http://b"]).unwrap();
        assert!(unnamed.credential.is_none() && unnamed.is_withheld);
        let own = settings(&["--endpoint", "http://b", "--key", "x"]).unwrap();
        assert_eq!(own.credential.unwrap().by, By::Words);
    }
}
