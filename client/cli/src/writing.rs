//! What every write may carry on the command line, and what is said beside its answer.
//! It leaves what is written to the commands.

use std::fmt::Display;

use clap::Args;
use stead_client::{Answer, Error};
use uuid::Uuid;

use crate::{
    failure::{Exit, Failure},
    output::note,
    verbose::told,
};

/// What every write may carry.
#[derive(Args, Clone, Debug)]
pub(crate) struct Writing {
    /// The idempotency key, a UUID4: sent again with it, the write still happens once
    #[arg(long, value_name = "UUID")]
    pub(crate) request_id: Option<Uuid>,
    /// Run every check, then undo it
    #[arg(long)]
    pub(crate) validate_only: bool,
}

impl Writing {
    /// What a write brought, with a word beside it where it is not what it looks like. `name`, if there is one, is what the
    /// words of the command line were found to mean: after the write they may mean something else.
    pub(crate) fn settle<T>(&self, answer: Result<Answer<T>, Error>, name: &[&dyn Display]) -> Result<T, Failure> {
        let answer = answer.map_err(|error| self.failed(&error, name))?;
        self.remark(answer.meta.replayed());
        Ok(told(answer))
    }

    /// Why a write failed. What was only checked never happened, so it is not said that it may have.
    pub(crate) fn failed(&self, error: &Error, name: &[&dyn Display]) -> Failure {
        if self.validate_only { Failure::plainly(error) } else { Failure::of_write(error, name) }
    }

    /// Says what an answer does not show.
    pub(crate) fn remark(&self, replayed: bool) {
        if self.validate_only {
            note("checked only: nothing was written, and an id made for this is not kept");
        } else if replayed {
            note("done before: this is the answer of that time");
        }
    }

    /// The thing that a write is about. A repeat that finds nothing is told what to name instead.
    pub(crate) fn on<T>(&self, found: Result<T, Failure>) -> Result<T, Failure> {
        found.map_err(|failure| match (failure.exit(), self.request_id) {
            (Exit::NotFound, Some(_)) => failure.with_line(
                "  to repeat a write, name the thing itself, such as products/UUID: after it other words may mean nothing",
            ),
            _ => failure,
        })
    }
}

/// None where there is no such thing.
pub(crate) fn if_there<T>(found: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match found {
        Err(failure) if failure.exit() == Exit::NotFound => Ok(None),
        found => found.map(Some),
    }
}

/// Says that there was nothing to delete, which whoever allowed for it wanted.
pub(crate) fn nothing_to_delete(word: &str) -> Result<(), Failure> {
    note(&format!("there is no {word}: nothing to delete"));
    Ok(())
}

/// Sends a request with what the command line says of the write: on what, which revision, how. Gives what it brought.
macro_rules! written {
    ($request:expr, $writing:expr $(, on: $name:expr)? $(, etag: $etag:expr)?) => {{
        let (mut request, writing) = ($request, &$writing);
        $(
            if let Some(etag) = $etag {
                request = request.etag(etag);
            }
        )?
        if let Some(request_id) = writing.request_id {
            request = request.request_id(request_id);
        }
        if writing.validate_only {
            request = request.validate_only();
        }
        writing.settle(request.answer().await, &[$(&$name)?])?
    }};
}

pub(crate) use written;
