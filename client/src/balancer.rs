//! Which connection a call takes: of two drawn by chance the one with fewer calls in flight (power of two choices), among
//! those that are open and sound.
//! It leaves keeping connections open to `line`, judging endpoints to `health`, and repeats to `retry`.

mod body;
mod health;
mod line;

use std::{
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response};
use tokio::{sync::watch, time::Instant};
use tonic::body::Body;

use self::{
    body::{Answering, drop_broken_details},
    health::{Health, Standing},
    line::{Flight, Line, Shared, Stage},
};
use crate::{
    connect::{Address, Connector, Requests, Target},
    jitter::Jitter,
    transport::TransportError,
};

/// So many calls in flight on a connection, and another is opened beside it.
const BUSY: usize = 32;
/// Names are looked up again after so long, and at once when nothing can be reached.
const RESOLVE_AGAIN: Duration = Duration::from_secs(30);
const RESOLVE_SOONER: Duration = Duration::from_secs(1);

/// Every endpoint of a client; clones share them.
#[derive(Clone)]
pub(crate) struct Balancer(Arc<Inner>);

struct Inner {
    targets: Vec<Target>,
    shared: Arc<Shared>,
    jitter: Jitter,
    /// How many connections there may be to one endpoint.
    lines: usize,
    endpoints: RwLock<Arc<[Arc<Endpoint>]>>,
    resolving: AtomicBool,
    resolved: Mutex<Resolved>,
}

#[derive(Default)]
struct Resolved {
    at: Option<Instant>,
    fault: Option<Arc<str>>,
}

/// One address of the service, with its connections.
pub(crate) struct Endpoint {
    name: Arc<str>,
    target: Target,
    address: Address,
    lines: Box<[Line]>,
    health: Mutex<Health>,
    /// Whether it is to be used no more.
    retired: watch::Sender<bool>,
}

impl Endpoint {
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    fn health(&self) -> MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Where a call went so far, and with which credential. It travels among the extensions of each attempt's request.
#[derive(Clone, Default)]
pub(crate) struct Trail(Arc<Mutex<Travelled>>);

#[derive(Default)]
struct Travelled {
    /// In order; none where there is no network.
    endpoints: Vec<Option<Arc<Endpoint>>>,
    credential: Option<HeaderValue>,
}

impl Trail {
    fn lock(&self) -> MutexGuard<'_, Travelled> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often the call went out.
    pub(crate) fn len(&self) -> usize {
        self.lock().endpoints.len()
    }

    pub(crate) fn last(&self) -> Option<Arc<Endpoint>> {
        self.lock().endpoints.last().cloned().flatten()
    }

    /// The call goes out, to an endpoint if it has one.
    pub(crate) fn went(&self, endpoint: Option<Arc<Endpoint>>) {
        self.lock().endpoints.push(endpoint);
    }

    pub(crate) fn carries(&self, credential: HeaderValue) {
        self.lock().credential = Some(credential);
    }

    pub(crate) fn credential(&self) -> Option<HeaderValue> {
        self.lock().credential.clone()
    }

    fn has(&self, endpoint: &Arc<Endpoint>) -> bool {
        self.lock().endpoints.iter().flatten().any(|tried| Arc::ptr_eq(tried, endpoint))
    }
}

impl fmt::Debug for Trail {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Trail").finish_non_exhaustive()
    }
}

/// What there is for a call.
enum Pick {
    Open(Flight, Requests),
    /// Nothing yet, but a connection is being opened.
    Soon,
    Nowhere(String),
}

/// The better the lower: what a call has not tried yet, what it has, what is set aside.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Fresh,
    Tried,
    Aside,
}

impl Balancer {
    pub(crate) fn new(targets: Vec<Target>, connector: Connector, jitter: Jitter) -> Self {
        let inner = Inner {
            lines: std::thread::available_parallelism().map_or(1, usize::from),
            shared: Arc::new(Shared::new(connector, jitter.clone())),
            endpoints: RwLock::new(Arc::new([])),
            resolving: AtomicBool::new(false),
            resolved: Mutex::default(),
            targets,
            jitter,
        };
        if inner.targets.iter().all(|target| !target.is_resolved()) {
            let known = inner.targets.iter().filter_map(|target| Some((target.clone(), target.known()?))).collect();
            inner.adopt(known);
        }
        Self(Arc::new(inner))
    }

    /// Sends a request where it is answered soonest.
    pub(crate) async fn call(
        &self,
        mut request: Request<Body>,
        trail: &Trail,
    ) -> Result<Response<Body>, TransportError> {
        let (flight, mut requests) = self.place(trail).await?;
        self.0.shared.connector.address(&flight.endpoint().target, &mut request);
        trail.went(Some(Arc::clone(flight.endpoint())));
        match requests.send_request(request).await {
            Ok(mut answer) => {
                drop_broken_details(answer.headers_mut());
                Ok(answer.map(|body| Body::new(Answering::new(body, flight))))
            }
            Err(fault) => Err(TransportError::from_hyper(flight.endpoint().name(), fault)),
        }
    }

    /// Waits for as long as a connection is being opened and none is open.
    async fn place(&self, trail: &Trail) -> Result<(Flight, Requests), TransportError> {
        let mut changes = self.0.shared.changes();
        loop {
            changes.mark_unchanged();
            self.0.refresh();
            match self.0.pick(trail) {
                Pick::Open(flight, requests) => return Ok((flight, requests)),
                Pick::Nowhere(words) => return Err(TransportError::nowhere(words)),
                Pick::Soon => drop(changes.changed().await),
            }
        }
    }

    /// What became of a call at an endpoint: whether it answered at all.
    pub(crate) fn judge(&self, endpoint: &Arc<Endpoint>, answered: bool) {
        if answered {
            return endpoint.health().answered();
        }
        let endpoints = self.0.endpoints();
        let now = Instant::now();
        let aside = |other: &&Arc<Endpoint>| !Arc::ptr_eq(other, endpoint) && other.health().is_aside(now);
        // Never more than half: what is left has to carry everything.
        let may = (endpoints.iter().filter(aside).count() + 1) * 2 <= endpoints.len();
        endpoint.health().failed(now, may);
    }
}

impl Inner {
    fn endpoints(&self) -> Arc<[Arc<Endpoint>]> {
        Arc::clone(&self.endpoints.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn resolved(&self) -> MutexGuard<'_, Resolved> {
        self.resolved.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pick(self: &Arc<Self>, trail: &Trail) -> Pick {
        self.shared.asked();
        let endpoints = self.endpoints();
        if endpoints.is_empty() {
            return match &self.resolved().fault {
                Some(fault) if !self.resolving.load(Relaxed) => Pick::Nowhere(fault.to_string()),
                _ => Pick::Soon,
            };
        }
        let (now, mut soon, mut down) = (Instant::now(), false, None);
        let mut open = Vec::with_capacity(endpoints.len());
        for endpoint in endpoints.iter() {
            let rank = match endpoint.health().standing(now) {
                Standing::Aside => Rank::Aside,
                _ if trail.has(endpoint) => Rank::Tried,
                Standing::Sound | Standing::ToProbe => Rank::Fresh,
            };
            for (at, line) in endpoint.lines.iter().enumerate() {
                match line.stage() {
                    Stage::Open => open.push((rank, line.in_flight(), endpoint, at)),
                    // The first connection to each endpoint is opened with the first call, others when there is more to do.
                    Stage::Idle if at == 0 => {
                        line::keep(&self.shared, endpoint, at);
                        soon = true;
                    }
                    Stage::Opening => soon = true,
                    Stage::Idle => {}
                    Stage::Down(why) => down = down.or(Some((endpoint, why))),
                }
            }
        }
        let best = open.iter().map(|(rank, ..)| *rank).min();
        open.retain(|(rank, ..)| Some(*rank) == best);
        let Some((_, load, endpoint, at)) = self.of_two(&open) else {
            let Some((endpoint, why)) = down.filter(|_| !soon) else { return Pick::Soon };
            let lines = endpoints.iter().flat_map(|endpoint| &endpoint.lines);
            // Each of them is asked to hurry.
            return match lines.filter(|line| line.knock()).count() {
                0 => Pick::Nowhere(format!("cannot connect to {}: {why}", endpoint.name)),
                _ => Pick::Soon,
            };
        };
        if load >= BUSY
            && let Some(idle) = endpoint.lines.iter().position(|line| matches!(line.stage(), Stage::Idle))
        {
            line::keep(&self.shared, endpoint, idle);
        }
        let is_probe = endpoint.health().probe(now);
        match endpoint.lines[at].take() {
            Some(requests) => Pick::Open(Flight::new(Arc::clone(endpoint), at, is_probe), requests),
            // It closed just now; its keeper is about to say so.
            None => Pick::Soon,
        }
    }

    /// Of two by chance the one with fewer calls in flight.
    fn of_two<T: Copy>(&self, open: &[(Rank, usize, T, usize)]) -> Option<(Rank, usize, T, usize)> {
        let one = self.jitter.below(open.len());
        let other = match open.len() {
            0 => return None,
            1 => one,
            several => (one + 1 + self.jitter.below(several - 1)) % several,
        };
        Some(if open[other].1 < open[one].1 { open[other] } else { open[one] })
    }

    /// Looks names up where that is due, beside the calls; what is known serves meanwhile, and stays when nobody can tell.
    fn refresh(self: &Arc<Self>) {
        if self.targets.iter().all(|target| !target.is_resolved()) || self.resolving.load(Relaxed) {
            return;
        }
        let reached = self.endpoints().iter().any(|endpoint| endpoint.lines.iter().any(Line::is_open));
        let after = if reached { RESOLVE_AGAIN } else { RESOLVE_SOONER };
        if self.resolved().at.is_some_and(|at| at.elapsed() < after) || self.resolving.swap(true, Relaxed) {
            return;
        }
        let resolving = Resolving(Arc::downgrade(self));
        let (targets, shared) = (self.targets.clone(), Arc::clone(&self.shared));
        tokio::spawn(async move {
            let (mut found, mut fault) = (Vec::new(), None);
            for target in targets {
                match target.addresses().await {
                    Ok(addresses) => found.extend(addresses.into_iter().map(|address| (target.clone(), address))),
                    Err(error) => fault = Some(Arc::from(format!("cannot look up {target}: {error}"))),
                }
            }
            if let Some(inner) = resolving.0.upgrade() {
                if fault.is_none() || inner.endpoints().is_empty() {
                    inner.adopt(found);
                }
                *inner.resolved() = Resolved { at: Some(Instant::now()), fault };
            }
            drop(resolving);
            shared.tell();
        });
    }

    /// Goes over to these addresses; those that stay keep their connections and what is known of them.
    fn adopt(&self, found: Vec<(Target, Address)>) {
        let mut endpoints = self.endpoints.write().unwrap_or_else(PoisonError::into_inner);
        let is = |endpoint: &Endpoint, name: &str| *endpoint.name == *name;
        let mut next: Vec<Arc<Endpoint>> = Vec::with_capacity(found.len());
        for (target, address) in found {
            let name = target.shown(&address);
            if next.iter().any(|endpoint| is(endpoint, &name)) {
                continue;
            }
            let kept = endpoints.iter().find(|endpoint| is(endpoint, &name)).cloned();
            next.push(kept.unwrap_or_else(|| {
                Arc::new(Endpoint {
                    name: name.into(),
                    target,
                    address,
                    lines: (0..self.lines).map(|_| Line::default()).collect(),
                    health: Mutex::default(),
                    retired: watch::Sender::new(false),
                })
            }));
        }
        for left in endpoints.iter().filter(|old| !next.iter().any(|endpoint| Arc::ptr_eq(endpoint, old))) {
            left.retired.send_replace(true);
        }
        *endpoints = next.into();
    }
}

/// Says that a look-up is over, however it ends.
struct Resolving(Weak<Inner>);

impl Drop for Resolving {
    fn drop(&mut self) {
        if let Some(inner) = self.0.upgrade() {
            inner.resolving.store(false, Relaxed);
        }
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        for endpoint in self.endpoints().iter() {
            endpoint.retired.send_replace(true);
        }
    }
}

impl fmt::Debug for Balancer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.endpoints().iter().map(|endpoint| &endpoint.name)).finish()
    }
}
