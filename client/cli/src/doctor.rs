//! `stead doctor`: what is wrong between here and the service, one step after the other, and what to do about it.
//! It leaves names and connections to `network`, and what the service says to `service`.
//!
//! Every step has its own bound, so that the whole ends whatever does not answer.

mod network;
mod service;

use std::{fmt, time::Duration};

use serde::Serialize;

use self::network::Place;
use crate::{
    cli::{Connection, Format},
    config::Config,
    failure::{Exit, Failure, plain},
    output::Output,
    session,
    settings::{By, Settings},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stead doctor
  stead --context live doctor
  stead doctor -o json | jq 'select(.state == \"wrong\")'

Each step is ok, wrong with what to do, or - where an earlier one stands in its way. The exit code is that of the first
wrong one: 2 for the configuration and the endpoint, 6 for the credential, 7 for the network.";

/// How long a step waits for somebody else.
const PATIENCE: Duration = Duration::from_secs(5);

/// How a step went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    Ok,
    Wrong,
    #[serde(rename = "not_checked")]
    Open,
}

/// One step.
#[derive(Debug, Serialize)]
struct Check {
    check: &'static str,
    state: State,
    found: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    advice: Option<String>,
}

/// What went wrong in a step.
#[derive(Debug)]
struct Wrong {
    exit: Exit,
    found: String,
    advice: String,
}

impl Wrong {
    fn new(exit: Exit, found: impl fmt::Display, advice: impl Into<String>) -> Self {
        Self { exit, found: found.to_string(), advice: advice.into() }
    }

    /// A failure, whose own lines say what to do, or else this.
    fn of(failure: &Failure, advice: &str) -> Self {
        let words = failure.words();
        let (found, own) = words.split_once('\n').unwrap_or((&words, advice));
        Self::new(failure.exit(), found.trim_start_matches("error: "), own.trim())
    }
}

/// Prints each step as soon as it is done.
struct Report {
    output: Output,
    exit: Option<Exit>,
}

impl Report {
    /// Tells how a step went, and gives what it found.
    fn step<T>(&mut self, check: &'static str, done: Result<(T, String), Wrong>) -> Result<Option<T>, Failure> {
        let (value, check) = match done {
            Ok((value, found)) => (Some(value), Check { check, state: State::Ok, found, advice: None }),
            Err(Wrong { exit, found, advice }) => {
                self.exit = self.exit.or(Some(exit));
                let advice = Some(advice).filter(|advice| !advice.is_empty());
                (None, Check { check, state: State::Wrong, found, advice })
            }
        };
        self.tell(&check)?;
        Ok(value)
    }

    fn open(&mut self, checks: &[&'static str]) -> Result<(), Failure> {
        for &check in checks {
            let found = "not checked: what is wrong above stands in the way".to_owned();
            self.tell(&Check { check, state: State::Open, found, advice: None })?;
        }
        Ok(())
    }

    fn tell(&mut self, check: &Check) -> Result<(), Failure> {
        if self.output.is_json() {
            self.output.json(check)?;
        } else {
            let mark = match check.state {
                State::Ok => "ok",
                State::Wrong => "WRONG",
                State::Open => "-",
            };
            self.output.line(format_args!("{mark:<6} {:<14} {}", check.check, plain(&check.found)))?;
            if let Some(advice) = &check.advice {
                self.output.line(format_args!("{:<21} do: {}", "", plain(advice)))?;
            }
        }
        self.output.flush()
    }

    fn end(self) -> Result<(), Failure> {
        self.exit.map_or(Ok(()), |exit| Err(Failure::silent(exit)))
    }
}

pub(crate) async fn run(connection: Connection) -> Result<(), Failure> {
    let format = connection.output;
    let mut report = Report { output: Output::new(format.unwrap_or(Format::Table)), exit: None };
    let Some(settings) = report.step("configuration", configured(connection))? else {
        report.open(&["endpoint", "name", "tcp", "grpc"])?;
        report.open(service::CHECKS)?;
        return report.end();
    };
    if format.is_none() {
        report.output = Output::new(settings.output);
    }
    let Some(places) = report.step("endpoint", endpoint(&settings))? else {
        report.open(&["name", "tcp", "grpc"])?;
        report.open(service::CHECKS)?;
        return report.end();
    };
    let Some(addresses) = report.step("name", network::resolve(&places).await)? else {
        report.open(&["tcp", "grpc"])?;
        report.open(service::CHECKS)?;
        return report.end();
    };
    let reached = report.step("tcp", network::connect(&places, addresses).await)?.is_some();
    if !reached {
        report.open(&["grpc"])?;
        report.open(service::CHECKS)?;
        return report.end();
    }
    service::check(&mut report, &settings).await?;
    report.end()
}

fn configured(connection: Connection) -> Result<(Settings, String), Wrong> {
    let wrong = |failure| Wrong::of(&failure, "mend the file, or name another by STEAD_CLI_CONFIG");
    let config = Config::load().map_err(wrong)?;
    let path = config.path().display();
    let file = if config.path().is_file() { format!("{path}") } else { format!("no file {path}, which is fine") };
    let settings = Settings::of(connection, &config).map_err(wrong)?;
    let context = settings.context.as_ref().map_or_else(String::new, |name| format!(", context {name}"));
    Ok((settings, format!("{file}{context}")))
}

fn endpoint(settings: &Settings) -> Result<(Vec<Place>, String), Wrong> {
    let told = session::builder(settings).and_then(session::built);
    let wrong = |words: String| {
        let advice = match settings.endpoint.by {
            By::Context => "set it anew: stead context set NAME --endpoint http://host:port",
            _ => "write --endpoint http://host:port, or https://, dns:/// or unix:",
        };
        Wrong::new(Exit::Usage, words, advice)
    };
    told.map_err(|failure| wrong(failure.words().trim_start_matches("error: ").to_owned()))?;
    let endpoint = &settings.endpoint;
    let places: Option<Vec<_>> = endpoint.value.split(',').map(|text| Place::parse(text.trim())).collect();
    let places = places.ok_or_else(|| wrong(format!("{} is no endpoint", endpoint.value)))?;
    Ok((places, format!("{} ({})", endpoint.value, endpoint.by)))
}
