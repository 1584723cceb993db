//! A request that brought no answer: what that proves.
//! It leaves answers, good and bad, to `status`.

use std::{error::Error as StdError, fmt, sync::Arc};

use tonic::Status;

/// Why a request brought no answer at all: the error of [`RawChannel`](crate::RawChannel). A generated client makes
/// UNAVAILABLE of it.
#[derive(Debug)]
pub struct TransportError {
    proof: Proof,
    /// tonic looks for one behind an error.
    status: Status,
}

/// What the loss proves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Proof {
    /// There was nowhere to send it.
    Nowhere,
    /// Its connection closed before it went out.
    NotSent,
    /// The peer said that it did not begin with it.
    Refused,
    /// Nothing.
    Broken,
}

impl TransportError {
    pub(crate) fn nowhere(words: String) -> Self {
        Self { proof: Proof::Nowhere, status: Status::unavailable(words) }
    }

    /// A loss that is made for a test.
    #[cfg(feature = "testing")]
    pub(crate) fn made(proof: Proof, words: &str) -> Self {
        Self { proof, status: Status::unavailable(words) }
    }

    pub(crate) fn from_hyper(endpoint: &str, fault: hyper::Error) -> Self {
        let h2 = chain(&fault).find_map(|cause| cause.downcast_ref::<h2::Error>());
        let proof = match h2 {
            _ if fault.is_canceled() => Proof::NotSent,
            Some(h2) if h2.is_remote() && h2.is_reset() && h2.reason() == Some(h2::Reason::REFUSED_STREAM) => {
                Proof::Refused
            }
            // Told only to the streams above the last one that the peer took.
            Some(h2) if h2.is_remote() && h2.is_go_away() => Proof::Refused,
            _ => Proof::Broken,
        };
        let root = chain(&fault).last().map(ToString::to_string).unwrap_or_default();
        let mut status = Status::unavailable(format!("the connection to {endpoint} broke: {root}"));
        status.set_source(Arc::new(fault));
        Self { proof, status }
    }

    pub(crate) fn proof(&self) -> Proof {
        self.proof
    }

    /// The error behind a status that was made of one.
    pub(crate) fn behind(status: &Status) -> Option<&Self> {
        StdError::source(status).and_then(|source| chain(source).find_map(|cause| cause.downcast_ref()))
    }
}

pub(crate) fn chain<'a>(first: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    std::iter::successors(Some(first), |&error| error.source())
}

impl fmt::Display for TransportError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.status.message())
    }
}

impl StdError for TransportError {
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        Some(&self.status)
    }
}
