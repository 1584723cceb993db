//! What is said to Redis as one step, and what it says when it refuses.
//! It leaves sending and hearing it to `redis`.

use ::redis::{Cmd, Value};

/// What Redis says when it cannot be written to or will not talk to us.
const REFUSALS: [&str; 12] = [
    "READONLY",
    "OOM",
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
    "LOADING",
    "MASTERDOWN",
    "CLUSTERDOWN",
    "MISCONF",
    "BUSY",
    "NOREPLICAS",
    "MOVED",
];

/// A script that Redis runs as one step.
#[derive(Debug)]
pub struct Script {
    source: &'static str,
    hash: String,
}

impl Script {
    /// A script of this text.
    pub fn new(source: &'static str) -> Script {
        Script { source, hash: ::redis::Script::new(source).get_hash().to_owned() }
    }

    pub(super) fn command(&self, name: &str, keys: &[String], arguments: &[&[u8]]) -> Cmd {
        let mut command = ::redis::cmd(name);
        command.arg(if name == "EVAL" { self.source } else { &self.hash }).arg(keys.len()).arg(keys);
        arguments.iter().for_each(|argument| _ = command.arg(*argument));
        command
    }
}

/// What keeps Redis from being asked.
#[derive(Debug, thiserror::Error)]
pub(super) enum Trouble {
    #[error("it answers too late")]
    Late,
    #[error("its connection ended")]
    Gone,
    #[error("it refuses what is written: {0}")]
    Refused(String),
}

pub(super) fn code(answer: &Value) -> Option<&str> {
    match answer {
        Value::ServerError(error) => Some(error.code()),
        _ => None,
    }
}

pub(super) fn is_refusal(answer: &Value) -> bool {
    code(answer).is_some_and(|code| REFUSALS.contains(&code))
}
