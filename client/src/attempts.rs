//! What became of each attempt of a call, for those who want to know why it took so long or failed.
//! It leaves what follows from an outcome to `retry`.

use std::{sync::Arc, time::Duration};

use tonic::Code;

/// One time that a call was sent, or was about to be.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attempt {
    /// Where it went; empty when there was nowhere to send it.
    pub endpoint: Arc<str>,
    /// What it proved.
    pub outcome: Outcome,
    /// What it was answered with; `None` when no answer came.
    pub code: Option<Code>,
    /// When it began, counted from the beginning of the call: pauses and pacing lie between.
    pub began: Duration,
    /// How long it took.
    pub took: Duration,
}

/// What an attempt proves about its call, judged by evidence rather than by its code alone.
#[non_exhaustive]
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// It was answered well.
    Answered,
    /// Nothing of it reached the service.
    NotSent,
    /// The service refused it before it did anything.
    NotExecuted,
    /// Nobody knows whether it took effect.
    Ambiguous,
    /// It was answered with an error that a repeat would bring again.
    Final,
}
