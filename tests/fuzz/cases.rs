//! The cases: which method is asked by whom, with which messages, in which frames and under which headers.
//! Leaves the messages themselves to `stead_harness::messages`.

use std::fmt::Write as _;

use stead_api::Method;
use stead_harness::messages::{Book, Dice, Shapes, mutated};
use tonic::codegen::http::{HeaderMap, HeaderName, HeaderValue};

use super::exchange::framed;

/// A call to make.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) method: &'static Method,
    pub(super) headers: HeaderMap,
    pub(super) body: Vec<u8>,
    /// Whether the call gives itself so little time that it may run out.
    pub(super) hurried: bool,
    /// Whether anything about it is odd.
    pub(super) odd: bool,
    /// Whether an operator calls, inside the tenant.
    pub(super) by_operator: bool,
}

impl Case {
    /// What to set to make the call again.
    pub(super) fn replay(&self) -> String {
        let mut words = format!("STEAD_FUZZ='{} ", self.method.path);
        for byte in &self.body {
            let _ = write!(words, "{byte:02x}");
        }
        if words.len() > 20_000 {
            words.truncate(20_000);
            words += "…";
        }
        let usual = usual();
        for (name, value) in self.headers.iter().filter(|(name, value)| usual.get(*name) != Some(*value)) {
            let _ = write!(words, " {name}={:?}", String::from_utf8_lossy(value.as_bytes()));
        }
        words + "'"
    }
}

/// The headers of a call with nothing odd about it.
pub(super) fn usual() -> HeaderMap {
    let pairs = [("content-type", "application/grpc"), ("te", "trailers"), ("grpc-timeout", "30S")];
    pairs.into_iter().map(|(name, value)| (HeaderName::from_static(name), HeaderValue::from_static(value))).collect()
}

/// A call of a method by a tenant's own or by an operator; `place` is that of its message among the shapes.
pub(super) fn draw(
    (method, place): (&'static Method, usize),
    tenant: &str,
    (shapes, book): (&Shapes, &Book),
    dice: &mut Dice,
) -> Case {
    let (mut headers, mut hurried, mut oddities) = (usual(), false, 0);
    let mut body = if method.path.ends_with("/ImportProducts") {
        import(place, shapes, book, dice, &mut oddities)
    } else {
        let drawn = shapes.draw(place, book, dice);
        oddities += drawn.oddities;
        framed(&drawn.bytes)
    };
    if dice.chance(4) {
        oddities += 1;
        body = misframed(body, dice);
    }
    let by_operator = !method.permission.starts_with("tenants.") && dice.chance(10);
    if by_operator && let Ok(tenant) = HeaderValue::from_str(tenant) {
        headers.insert("stead-tenant", tenant);
    }
    if dice.chance(10) {
        oddities += 1;
        hurried = odd_header(&mut headers, dice);
    }
    Case { method, headers, body, hurried, odd: oddities > 0, by_operator }
}

/// An import is opened before it goes on with whatever was drawn.
fn import(place: usize, shapes: &Shapes, book: &Book, dice: &mut Dice, oddities: &mut usize) -> Vec<u8> {
    let mut body = vec![];
    if dice.chance(90) {
        let start = shapes.place("ImportProductsStart");
        let mut opening = vec![];
        stead_harness::messages::bytes_field(&mut opening, 1, &shapes.valid(start, book, dice));
        body.extend(framed(&opening));
    }
    for _ in 0..=dice.roll(2) {
        // Mostly a chunk: what else is drawn ends the stream.
        let drawn = if dice.chance(70) {
            let chunk = shapes.draw(shapes.place("ImportProductsChunk"), book, dice);
            let mut message = vec![];
            stead_harness::messages::bytes_field(&mut message, 2, &chunk.bytes);
            *oddities += chunk.oddities;
            message
        } else {
            *oddities += 1;
            shapes.draw(place, book, dice).bytes
        };
        body.extend(framed(&drawn));
    }
    body
}

/// The same messages in frames that are none.
fn misframed(mut body: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    match dice.roll(8) {
        0 => return vec![],
        1 => body[0] = *dice.pick(&[1, 2, 0x7f, 0x80, 0xff]),
        2 => body[1..5].copy_from_slice(&(dice.number() as u32).to_be_bytes()),
        3 => body[4] = body[4].wrapping_add(dice.number() as u8),
        4 => body.truncate(dice.roll(body.len())),
        5 => body.extend([0; 5]),
        6 => body.extend_from_within(..),
        _ => return mutated(body, dice),
    }
    body
}

/// Headers that mean something, with values that mean something else.
const HEADERS: &[(&str, &[&str])] = &[
    (
        "content-type",
        &[
            "application/grpc+proto",
            "application/grpc+json",
            "application/grpc-web",
            "application/json",
            "text/plain",
            "",
        ],
    ),
    ("grpc-encoding", &["gzip", "deflate", "zstd", "identity", "", "x"]),
    ("grpc-accept-encoding", &["gzip", "identity,deflate,gzip", ",,,"]),
    ("grpc-timeout", &["1n", "0S", "1u", "99999999H", "123456789S", "5", "S", "-1S", "1.5S", "", "1S"]),
    ("stead-tenant", &["", "tenants/current", "tenants/00000000-0000-7000-8000-000000000000", "tenants/x", "acme"]),
    ("stead-reason", &["because", "%C3%9F%F0%9D%84%9E", "%ff", "%00", "%", "%zz", "' or 1=1 --", "%e2%80%ae%0a%0d"]),
    ("stead-consistency", &["strong", "weak", ""]),
    (
        "authorization",
        &[
            "",
            "Bearer",
            "Bearer ",
            "Basic YTpi",
            "bearer x",
            "Bearer stead_key_x",
            "Bearer stead_session_",
            "Bearer eyJhbGciOiJub25lIn0.e30.",
        ],
    ),
    ("user-agent", &["", "curl/8", "' or 1=1", "%00"]),
    (
        "traceparent",
        &[
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0-0-0",
            "ff-",
            "00-00000000000000000000000000000000-0000000000000000-00",
        ],
    ),
    ("tracestate", &["a=b", ",,,=", "x"]),
    ("grpc-status", &["0", "13"]),
    ("grpc-status-details-bin", &["%%%", "CAMSBXdvcmRz"]),
    ("stead-trace-id", &["0af7651916cd43dd8448eb211c80319c"]),
    ("x-forwarded-for", &["127.0.0.1", "::1, x"]),
    ("host", &["", "x"]),
];

/// Puts one in; tells whether it leaves the call hardly any time.
fn odd_header(headers: &mut HeaderMap, dice: &mut Dice) -> bool {
    let (name, values) = *dice.pick(HEADERS);
    let name = HeaderName::from_static(name);
    let value = match dice.roll(10) {
        0 => HeaderValue::from_bytes(&[0xff, b'a', 0xc3, 0x28]).ok(),
        1 => HeaderValue::from_bytes("ß𝄞".repeat(1 + dice.roll(100)).as_bytes()).ok(),
        2 => HeaderValue::from_bytes("x".repeat(*dice.pick(&[199, 200, 201, 2000, 6000])).as_bytes()).ok(),
        _ => HeaderValue::from_bytes(dice.pick::<&str>(values).as_bytes()).ok(),
    };
    let Some(value) = value else { return false };
    match dice.roll(6) {
        0 => drop(headers.remove(&name)),
        1 => drop(headers.append(&name, value)),
        _ => drop(headers.insert(&name, value)),
    }
    headers.get_all("grpc-timeout").iter().any(|timeout| timeout != "30S")
}
