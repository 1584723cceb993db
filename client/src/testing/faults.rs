//! Failures on order: which calls fail, how often, and how.
//! It leaves counting what arrived to `calls`, and answering well to `services`.

use std::{collections::VecDeque, time::Duration};

use http::Response;
use tonic::{Code, Status, body::Body};

use super::refusal;
use crate::transport::{Proof, TransportError};

/// One way to fail, as a service, or the way to it, fails.
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// UNAVAILABLE without a word of why, as of a proxy: nobody knows whether the call ran, which it did not.
    Unavailable,
    /// UNAVAILABLE `DRAINING`, which says that the call did not run, and not when to come again.
    NotExecuted,
    /// UNAVAILABLE `SERVER_BUSY`: the call did not run, and should come again after so long.
    Busy {
        /// How long.
        after: Duration,
    },
    /// RESOURCE_EXHAUSTED `RATE_LIMITED`: the call did not run, and should come again after so long.
    RateLimited {
        /// How long.
        after: Duration,
    },
    /// RESOURCE_EXHAUSTED `QUOTA_EXHAUSTED`: the call did not run, and should not come again.
    QuotaExhausted,
    /// The connection closes before the request goes out: it surely did not run.
    NotSent,
    /// There is no connection to be had: it surely did not run.
    Unreachable,
    /// The connection breaks and the call did not run, which its caller cannot know.
    ConnectionLost,
    /// The call runs, and the connection breaks before its answer comes.
    AnswerLost,
    /// The call does not run, and no answer comes.
    Hang,
    /// The call runs and is answered, so much later.
    Slow(Duration),
    /// Refused with this code, and no word of why.
    Status(Code),
}

impl Fault {
    /// What comes of a call that is not to run; `None` when it is.
    pub(super) fn refuses(&self) -> Option<Result<Response<Body>, TransportError>> {
        let lost = |proof, words: &str| Err(TransportError::made(proof, words));
        let refused = |status: Status| Ok(status.into_http());
        Some(match self {
            Self::Unavailable => refused(Status::unavailable("no healthy upstream")),
            Self::NotExecuted => refused(refusal::unavailable("DRAINING", None)),
            Self::Busy { after } => refused(refusal::unavailable("SERVER_BUSY", Some(*after))),
            Self::RateLimited { after } => refused(refusal::rate_limited((1, 1), *after)),
            Self::QuotaExhausted => refused(refusal::quota_exhausted("rows", 0)),
            Self::NotSent => lost(Proof::NotSent, "the connection closed before the request went out"),
            Self::Unreachable => lost(Proof::Nowhere, "cannot connect: connection refused"),
            Self::ConnectionLost => lost(Proof::Broken, "the connection broke"),
            Self::Status(code) => refused(Status::new(*code, "a fault on order")),
            Self::AnswerLost | Self::Hang | Self::Slow(_) => return None,
        })
    }
}

/// Which calls fail, and how: a sequence that is gone through attempt by attempt.
///
/// ```
/// use std::time::Duration;
/// use stead_client::testing::{Fault, Faults};
///
/// // Two attempts find nobody, one passes, and all that follow hang.
/// let plan = Faults::on("GetProduct").times(2).then(Fault::Unreachable).pass().always().then(Fault::Hang);
/// // Whatever the method: one call is told to come again.
/// let any = Faults::any().then(Fault::Busy { after: Duration::from_secs(1) });
/// # drop((plan, any));
/// ```
#[derive(Clone, Debug)]
#[must_use = "nothing fails until `Fake::inject`"]
pub struct Faults {
    method: Option<String>,
    steps: VecDeque<Step>,
    /// How often the next step happens; `None` is for ever.
    times: Option<u32>,
}

#[derive(Clone, Debug)]
struct Step {
    left: Option<u32>,
    /// `None` lets the call pass.
    fault: Option<Fault>,
}

impl Faults {
    /// Of calls of this method, such as `GetProduct`.
    pub fn on(method: impl Into<String>) -> Self {
        Self { method: Some(method.into()), ..Self::any() }
    }

    /// Of calls of any method.
    pub fn any() -> Self {
        Self { method: None, steps: VecDeque::new(), times: Some(1) }
    }

    /// How often what comes next happens; once unless said.
    pub fn times(mut self, times: u32) -> Self {
        self.times = Some(times);
        self
    }

    /// What comes next happens without end.
    pub fn always(mut self) -> Self {
        self.times = None;
        self
    }

    /// The next attempts fail so.
    pub fn then(self, fault: Fault) -> Self {
        self.step(Some(fault))
    }

    /// The next attempts are answered as ever.
    pub fn pass(self) -> Self {
        self.step(None)
    }

    fn step(mut self, fault: Option<Fault>) -> Self {
        let left = self.times.replace(1);
        if left != Some(0) {
            self.steps.push_back(Step { left, fault });
        }
        self
    }

    /// What becomes of an attempt of this path; `None` when there is nothing to say about it.
    pub(super) fn next(&mut self, path: &str) -> Option<Option<Fault>> {
        let is_meant = |method: &String| path.strip_suffix(method.as_str()).is_some_and(|rest| rest.ends_with('/'));
        if !self.method.as_ref().is_none_or(is_meant) {
            return None;
        }
        let step = self.steps.front_mut()?;
        let fault = step.fault.clone();
        if let Some(left) = &mut step.left {
            *left -= 1;
            if *left == 0 {
                self.steps.pop_front();
            }
        }
        Some(fault)
    }

    /// How many failures are still to come, those without end aside.
    pub(super) fn left(&self) -> u64 {
        self.steps.iter().filter(|step| step.fault.is_some()).map(|step| u64::from(step.left.unwrap_or(0))).sum()
    }

    pub(super) fn is_over(&self) -> bool {
        self.steps.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GET: &str = "/stead.v1.ProductService/GetProduct";

    fn all(faults: &mut Faults, path: &str, times: usize) -> Vec<Option<Option<Fault>>> {
        (0..times).map(|_| faults.next(path)).collect()
    }

    #[test]
    fn failures_come_in_their_order_and_end() {
        let mut faults = Faults::on("GetProduct").times(2).then(Fault::Unavailable).pass().then(Fault::Hang);
        assert_eq!((faults.left(), faults.is_over()), (3, false));
        let (twice, once) = (Some(Some(Fault::Unavailable)), Some(Some(Fault::Hang)));
        assert_eq!(all(&mut faults, GET, 5), [twice.clone(), twice, Some(None), once, None]);
        assert!(faults.is_over());
        let mut endless = Faults::any().times(0).then(Fault::Hang).always().then(Fault::NotSent).then(Fault::Hang);
        assert_eq!(all(&mut endless, GET, 100), vec![Some(Some(Fault::NotSent)); 100]);
        assert_eq!((endless.left(), endless.is_over()), (1, false));
    }

    #[test]
    fn a_method_is_meant_by_its_whole_name() {
        for (name, is_meant) in [
            ("GetProduct", true),
            ("ProductService/GetProduct", false),
            ("stead.v1.ProductService/GetProduct", true),
            ("Product", false),
            ("GetProducts", false),
            ("", false),
        ] {
            assert_eq!(Faults::on(name).then(Fault::Hang).next(GET).is_some(), is_meant, "{name}");
        }
    }
}
