//! How a command fails: the exit code for scripts, one clear line for people, a line per broken rule, and what to do.
//! It leaves the meaning of an error to `stead-client`.

use std::{
    fmt,
    io::{self, Write},
    process::ExitCode,
};

use stead_client::{Error, ErrorKind};

use crate::verbose;

/// Why a command ended early.
#[derive(Debug)]
pub(crate) struct Failure {
    exit: Exit,
    lines: Vec<String>,
}

/// The codes that `--help` lists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The reader of our output has seen enough, which is no failure.
    ClosedPipe = 0,
    Other = 1,
    Usage = 2,
    NotFound = 3,
    Invalid = 4,
    Conflict = 5,
    Refused = 6,
    Unavailable = 7,
    Prevented = 8,
    Interrupted = 130,
}

impl Failure {
    pub(crate) fn new(exit: Exit, words: impl fmt::Display) -> Self {
        Self { exit, lines: vec![format!("error: {words}")] }
    }

    pub(crate) fn usage(words: impl fmt::Display) -> Self {
        Self::new(Exit::Usage, words)
    }

    /// Ends with a code, having said everything already.
    pub(crate) fn silent(exit: Exit) -> Self {
        Self { exit, lines: Vec::new() }
    }

    /// Why a write failed, and how to repeat it where nobody knows whether it happened: on this name, for what it was called
    /// before may mean nothing, or something else, once it has happened.
    pub(crate) fn of_write(error: &Error, name: &[&dyn fmt::Display]) -> Self {
        let mut failure = Self::plainly(error);
        if let (true, Some(request_id)) = (error.may_have_executed(), error.request_id()) {
            let on: String = name.iter().map(|name| format!(" on {name}")).collect();
            failure
                .lines
                .push(format!("  it may have happened all the same: repeat it{on} with --request-id {request_id}"));
        }
        failure
    }

    /// Why a call failed.
    pub(crate) fn plainly(error: &Error) -> Self {
        let (exit, advice) = judge(error);
        let message = plain(error.message());
        let reason = error.reason().map(|reason| format!(" ({reason})")).unwrap_or_default();
        let mut failure = Self::new(exit, format!("{message}{reason}"));
        let said = |line: &str| message.contains(line);
        for violation in error.violations() {
            let (field, rule) = (plain(&violation.field), plain(&violation.description));
            let line = format!("{field}: {rule}");
            if !said(&line) && !said(&format!("{field} {rule}")) {
                failure.lines.push(format!("  {line}"));
            }
        }
        if let Some(omitted) = error.metadata().get("omitted") {
            failure.lines.push(format!("  and {omitted} more"));
        }
        failure.lines.extend(advice.map(|advice| format!("  {advice}")));
        if let (ErrorKind::Internal, Some(trace)) = (error.kind(), error.trace_id()) {
            failure.lines.push(format!("  trace {trace}"));
        }
        failure.lines.extend(verbose::lines(error));
        failure
    }

    #[must_use]
    pub(crate) fn with_line(mut self, line: impl fmt::Display) -> Self {
        self.lines.push(line.to_string());
        self
    }

    pub(crate) fn io(what: impl fmt::Display, fault: &io::Error) -> Self {
        if fault.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent(Exit::ClosedPipe);
        }
        Self::new(Exit::Other, format!("{what}: {fault}"))
    }

    pub(crate) fn exit(&self) -> Exit {
        self.exit
    }

    /// Its lines.
    pub(crate) fn words(&self) -> String {
        self.lines.join("\n")
    }

    pub(crate) fn report(self) -> ExitCode {
        let mut stderr = io::stderr().lock();
        for line in &self.lines {
            let _ = writeln!(stderr, "{line}");
        }
        ExitCode::from(self.exit as u8)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Self::of_write(&error, &[])
    }
}

/// The exit code of an error, and what to do where its message does not say it.
fn judge(error: &Error) -> (Exit, Option<String>) {
    let advice = |text: &str| Some(text.to_owned());
    match error.kind() {
        ErrorKind::NotFound => (Exit::NotFound, None),
        ErrorKind::Invalid { .. } | ErrorKind::LocalReject { .. } => (Exit::Invalid, None),
        ErrorKind::ResultTooLarge { fits } => (Exit::Invalid, Some(format!("{fits} would have fit: ask for fewer"))),
        ErrorKind::AlreadyExists | ErrorKind::Conflict => (Exit::Conflict, None),
        ErrorKind::FailedPrecondition | ErrorKind::QuotaExhausted => (Exit::Prevented, None),
        ErrorKind::Stale { current_etag } => {
            let etag = current_etag.as_ref().map(|etag| format!("its etag is now {}", plain(etag)));
            (Exit::Conflict, etag)
        }
        ErrorKind::Unauthenticated => {
            (Exit::Refused, advice("set STEAD_KEY to an API key that holds, or sign in: stead login --help"))
        }
        ErrorKind::Forbidden => (Exit::Refused, None),
        ErrorKind::Unavailable => {
            (Exit::Unavailable, advice("is the service running there? `stead doctor` looks, --endpoint names another"))
        }
        ErrorKind::DeadlineExceeded { .. } => (Exit::Unavailable, advice("--deadline allows more time")),
        ErrorKind::RateLimited { retry_after } => {
            (Exit::Unavailable, Some(format!("try again after {:.1} s", retry_after.as_secs_f64())))
        }
        _ => (Exit::Other, None),
    }
}

/// Text from elsewhere, made safe for a terminal: on one line, without control characters.
pub(crate) fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_pipe_is_a_quiet_end() {
        let failure = Failure::io("cannot write", &io::Error::from(io::ErrorKind::BrokenPipe));
        assert_eq!((failure.exit(), failure.lines.len()), (Exit::ClosedPipe, 0));
        assert_eq!(Failure::io("cannot write", &io::Error::other("full")).exit(), Exit::Other);
    }

    #[test]
    fn text_from_elsewhere_cannot_steer_the_terminal() {
        assert_eq!(plain("a\x1b[31m\nb"), "a [31m b");
    }
}
