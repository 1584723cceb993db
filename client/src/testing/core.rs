//! The heart of the fake: who calls, what is allowed, which writes were done before, and what every answer carries.
//! It leaves rows to `rows`, and methods to `services`.

use std::{
    collections::{BTreeSet, HashMap, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Request, Response, header::AUTHORIZATION};
use http_body_util::{BodyExt, Full};
use prost::Message;
use tokio::time::{Instant, sleep};
use tonic::{Status, body::Body};
use uuid::Uuid;

use super::{
    calls::Call,
    faults::{Fault, Faults},
    limit::{Bucket, Limit},
    refusal::{self, invalid},
    rows::{Kept, State, hash},
    services,
};
use crate::{
    builder::TENANT,
    transport::{Proof, TransportError},
};

/// So many calls and answers to writes are kept; older ones are forgotten.
const KEPT: usize = 10_000;
/// What there is inside of tenants alone.
const INSIDE: [&str; 2] = ["products.", "users."];

/// Who calls.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Principal {
    /// The nil one is the platform's own.
    pub(super) tenant: Uuid,
    pub(super) subject: String,
    pub(super) permissions: BTreeSet<String>,
    pub(super) is_operator: bool,
    pub(super) key: Uuid,
}

impl Principal {
    pub(super) fn may(&self, permission: &str) -> bool {
        permission.is_empty() || self.permissions.contains(permission)
    }

    pub(super) fn needs(&self, permission: &str) -> Result<(), Status> {
        if self.may(permission) { Ok(()) } else { Err(refusal::forbidden(permission)) }
    }
}

/// What all clients of a fake share.
#[derive(Debug)]
pub(super) struct Core {
    pub(super) state: Mutex<State>,
    wire: Mutex<Wire>,
    began: Instant,
}

#[derive(Debug, Default)]
struct Wire {
    callers: HashMap<String, Principal>,
    calls: VecDeque<Call>,
    faults: Vec<Faults>,
    limit: Option<Limit>,
    buckets: HashMap<Uuid, Bucket>,
    answered: u64,
}

impl Core {
    pub(super) fn new(state: State) -> Self {
        Self { state: Mutex::new(state), wire: Mutex::default(), began: Instant::now() }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wire(&self) -> MutexGuard<'_, Wire> {
        self.wire.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The secret of a caller.
    pub(super) fn admit(&self, mut principal: Principal) -> String {
        let key = self.state().draw_id();
        let mut wire = self.wire();
        let is_same = |known: &Principal| *known == Principal { key: known.key, ..principal.clone() };
        if let Some((secret, _)) = wire.callers.iter().find(|(_, known)| is_same(known)) {
            return secret.clone();
        }
        principal.key = key;
        let secret = format!("stead_key_fake{}", wire.callers.len() + 1);
        wire.callers.insert(secret.clone(), principal);
        secret
    }

    pub(super) fn inject(&self, faults: Faults) {
        self.wire().faults.push(faults);
    }

    pub(super) fn heal(&self) {
        self.wire().faults.clear();
    }

    pub(super) fn faults_left(&self) -> u64 {
        self.wire().faults.iter().map(Faults::left).sum()
    }

    pub(super) fn limit(&self, limit: Option<Limit>) {
        let mut wire = self.wire();
        (wire.limit, wire.buckets) = (limit, HashMap::new());
    }

    pub(super) fn calls(&self) -> Vec<Call> {
        self.wire().calls.iter().cloned().collect()
    }

    pub(super) fn forget_calls(&self) {
        self.wire().calls.clear();
    }

    /// One attempt, from its arrival to its answer.
    pub(super) async fn serve(self: Arc<Self>, request: Request<Body>) -> Result<Response<Body>, TransportError> {
        let (request, frame) = buffered(request).await;
        let path = request.uri().path().to_owned();
        let fault = self.arrived(&path, request.headers(), &frame);
        if let Some(answer) = fault.as_ref().and_then(Fault::refuses) {
            return answer.map(|answer| self.signed(answer));
        }
        match fault {
            Some(Fault::Hang) => std::future::pending::<()>().await,
            Some(Fault::Slow(late)) => sleep(late).await,
            _ => {}
        }
        let answer = self.answer(request, &path).await;
        match fault {
            Some(Fault::AnswerLost) => Err(TransportError::made(Proof::Broken, "the connection broke")),
            _ => Ok(self.signed(answer)),
        }
    }

    /// Notes an attempt, and says what is to become of it.
    fn arrived(&self, path: &str, headers: &HeaderMap, frame: &[u8]) -> Option<Fault> {
        let at = self.began.elapsed();
        let mut wire = self.wire();
        let fault = wire.faults.iter_mut().find_map(|faults| faults.next(path)).flatten();
        wire.faults.retain(|faults| !faults.is_over());
        if wire.calls.len() >= KEPT {
            wire.calls.pop_front();
        }
        wire.calls.push_back(Call::read(path, headers, frame, at, fault.clone()));
        fault
    }

    async fn answer(self: &Arc<Self>, mut request: Request<Body>, path: &str) -> Response<Body> {
        let Some(method) = stead_api::method(path) else { return refusal::unknown_method().into_http() };
        if method.anonymous {
            return refusal::lacks("sign-ins").into_http();
        }
        let principal = match self.principal(request.headers(), method) {
            Ok(principal) => principal,
            Err(refused) => return refused.into_http(),
        };
        let mut told = HeaderMap::new();
        if let Err(refused) = self.charge(&principal, method.cost, &mut told) {
            let mut answer = refused.into_http();
            answer.headers_mut().extend(told);
            return answer;
        }
        request.extensions_mut().insert(principal);
        let mut answer = services::route(self, request, path).await;
        answer.headers_mut().extend(told);
        answer
    }

    fn principal(&self, headers: &HeaderMap, method: &stead_api::Method) -> Result<Principal, Status> {
        let Some(credential) = headers.get(AUTHORIZATION) else {
            return Err(refusal::unauthenticated("no credential was sent: send `authorization: Bearer KEY`"));
        };
        let secret = credential.to_str().ok().and_then(|value| value.strip_prefix("Bearer ")).unwrap_or_default();
        let known = self.wire().callers.get(secret).cloned();
        let words = "the credential is not valid: it is mistyped, unknown, revoked or expired: send the whole key as it was \
                     shown, or have another made";
        let mut principal = known.ok_or_else(|| refusal::unauthenticated(words))?;
        if let Some(tenant) = headers.get(TENANT) {
            if !principal.is_operator {
                return Err(refusal::names_a_tenant());
            }
            let name = tenant.to_str().ok().and_then(|name| name.strip_prefix("tenants/"));
            let rule = "is not one name of the form `tenants/{uuid}`";
            principal.tenant = name
                .and_then(|id| Uuid::try_parse(id).ok())
                .ok_or_else(|| invalid("metadata.stead-tenant", rule, "FIELD_RULE_BROKEN"))?;
        }
        let stands: Option<stead_api::v1::Tenant> = self.state().find(Uuid::nil(), principal.tenant, false);
        match (principal.tenant.is_nil(), stands) {
            (false, None) if principal.is_operator => {
                let name = format!("tenants/{}", principal.tenant);
                return Err(refusal::not_found("tenant", &name));
            }
            (false, None) => return Err(refusal::unauthenticated(words)),
            _ => {}
        }
        principal.needs(method.permission)?;
        if principal.tenant.is_nil() && INSIDE.iter().any(|kind| method.permission.starts_with(kind)) {
            let rule = "is missing: an operator names the tenant to act in";
            return Err(invalid("metadata.stead-tenant", rule, "FIELD_RULE_BROKEN"));
        }
        Ok(principal)
    }

    fn charge(&self, principal: &Principal, cost: u32, told: &mut HeaderMap) -> Result<(), Status> {
        let mut wire = self.wire();
        let Some(limit) = wire.limit.filter(|_| !principal.is_operator) else { return Ok(()) };
        let bucket = wire.buckets.entry(principal.tenant).or_insert_with(|| Bucket::full(limit));
        let charged = bucket.take(cost);
        bucket.tell(told);
        charged.map_err(|after| refusal::rate_limited((limit.rate, limit.burst), after))
    }

    /// What every answer carries.
    fn signed(&self, mut answer: Response<Body>) -> Response<Body> {
        let mut wire = self.wire();
        wire.answered += 1;
        if let Ok(trace) = HeaderValue::try_from(format!("{:032x}", wire.answered)) {
            answer.headers_mut().insert("stead-trace-id", trace);
        }
        answer
    }

    /// Makes a write once for each request id.
    pub(super) fn write<Q: Message, A: Message + Default>(
        &self,
        principal: &Principal,
        method: &'static str,
        (request, request_id): (&Q, &str),
        keeps: bool,
        act: impl FnOnce(&mut State) -> Result<A, Status>,
    ) -> Result<tonic::Response<A>, Status> {
        let id = match request_id {
            "" => None,
            text => {
                let rule = "is not a UUID of version 4: make a random one for each logical call";
                let id = Uuid::try_parse(text).ok().filter(|id| id.get_version_num() == 4);
                Some(id.ok_or_else(|| invalid("request_id", rule, "FIELD_RULE_BROKEN"))?)
            }
        };
        let key = id.filter(|_| keeps).map(|id| (principal.tenant, principal.subject.clone(), method, id));
        let mark = hash(request.encode_to_vec());
        let mut state = self.state();
        if let Some(kept) = key.as_ref().and_then(|key| state.answers.get(key)) {
            if kept.mark != mark {
                let rule = "belongs to another request of the last 24 hours: make a new one for each logical call";
                return Err(invalid("request_id", rule, "REQUEST_ID_REUSED"));
            }
            let answer = A::decode(kept.answer.as_slice()).map_err(|fault| Status::internal(fault.to_string()))?;
            let mut answer = tonic::Response::new(answer);
            let replay = tonic::metadata::MetadataValue::from_static("true");
            answer.metadata_mut().insert("stead-idempotent-replay", replay);
            return Ok(answer);
        }
        let answer = act(&mut state)?;
        if let Some(key) = key {
            if state.keys.len() >= KEPT
                && let Some(oldest) = state.keys.pop_front()
            {
                state.answers.remove(&oldest);
            }
            state.keys.push_back(key.clone());
            state.answers.insert(key, Kept { mark, answer: answer.encode_to_vec() });
        }
        Ok(tonic::Response::new(answer))
    }
}

/// Reads a request whole, so that it can be looked at before it is served; a stream is left as it is.
async fn buffered(request: Request<Body>) -> (Request<Body>, Bytes) {
    if stead_api::method(request.uri().path()).is_none_or(|method| method.streaming) {
        return (request, Bytes::new());
    }
    let (head, body) = request.into_parts();
    let frame = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    (Request::from_parts(head, Body::new(Full::new(frame.clone()))), frame)
}
