//! Public keys from PEM and JWKS files, each for one algorithm and strong enough for it.
//! Leaves which file belongs to which issuer to its parent.

use jsonwebtoken::{Algorithm, AlgorithmFamily, DecodingKey, DecodingKeyKind, jwk::Jwk};
use serde_json::Value;

use super::Key;

const ALGORITHMS: &str = "write one of RS256, RS384, RS512, PS256, PS384, PS512, ES256, ES384, EdDSA";
/// 2048 bits, which is the least that signatures are verified with.
const MODULUS: usize = 256;

/// An algorithm by its name: one whose verifying key cannot sign.
pub(super) fn algorithm(name: &str) -> Result<Algorithm, String> {
    match name.parse::<Algorithm>() {
        Ok(algorithm) if algorithm.family() != AlgorithmFamily::Hmac => Ok(algorithm),
        Ok(_) => Err(format!("is {name}, by which whoever verifies could sign as well: {ALGORITHMS}")),
        Err(_) => Err(format!("is {name:?}: {ALGORITHMS}")),
    }
}

/// The public key of a PEM file.
pub(super) fn of_pem(text: &[u8], algorithm: Algorithm) -> Result<DecodingKey, String> {
    let holds = |words: &str| text.windows(words.len()).any(|window| window == words.as_bytes());
    if holds("PRIVATE KEY-----") {
        return Err("holds a private key: give the server the public one alone".to_owned());
    }
    // Of certificates the library would take the first bit string it meets, whatever that is.
    if !holds("-----BEGIN PUBLIC KEY-----") && !holds("-----BEGIN RSA PUBLIC KEY-----") {
        return Err("holds no PEM `PUBLIC KEY`".to_owned());
    }
    let key = match algorithm.family() {
        AlgorithmFamily::Rsa => DecodingKey::from_rsa_pem(text),
        AlgorithmFamily::Ec => DecodingKey::from_ec_pem(text),
        _ => DecodingKey::from_ed_pem(text),
    };
    fitting(key.ok(), algorithm)
}

/// The keys of a JWKS file that verify signatures, and what is wrong with others. A key without `alg` has the one that its
/// kind leaves no choice of, or the fallback.
pub(super) fn of_jwks(text: &[u8], fallback: Option<Algorithm>) -> (Vec<Key>, Vec<String>) {
    let set = serde_json::from_slice::<Value>(text).ok();
    let Some(entries) = set.as_ref().and_then(|set| set.get("keys")?.as_array()) else {
        return (vec![], vec!["is no JWKS: it must hold {\"keys\": […]}".to_owned()]);
    };
    let (mut keys, mut rules) = (vec![], vec![]);
    for (index, entry) in entries.iter().enumerate() {
        match of_jwk(entry, fallback) {
            Ok(key) => keys.extend(key),
            Err(rule) => rules.push(format!("key {} {rule}", index + 1)),
        }
    }
    if keys.is_empty() && rules.is_empty() {
        rules.push("holds no key that verifies signatures".to_owned());
    }
    (keys, rules)
}

/// None for a key that is for something else, or of a kind or an algorithm that is not known here: sets may hold such (RFC 7517).
fn of_jwk(entry: &Value, fallback: Option<Algorithm>) -> Result<Option<Key>, String> {
    let text = |member: &str| entry.get(member).and_then(Value::as_str);
    let kind = text("kty").unwrap_or_default();
    if kind == "oct" || text("alg").is_some_and(|name| name.starts_with("HS")) {
        return Err("is symmetric: whoever verifies by it could sign as well; leave it out".to_owned());
    }
    if entry.get("d").is_some() {
        return Err("is a private key: give the server the public one alone".to_owned());
    }
    if text("use").is_some_and(|purpose| purpose != "sig") || !["RSA", "EC", "OKP"].contains(&kind) {
        return Ok(None);
    }
    let algorithm = match (text("alg"), text("crv")) {
        (Some(name), _) => match self::algorithm(name) {
            Ok(algorithm) => algorithm,
            Err(_) => return Ok(None),
        },
        (None, Some("P-256")) => Algorithm::ES256,
        (None, Some("P-384")) => Algorithm::ES384,
        (None, Some("Ed25519")) => Algorithm::EdDSA,
        (None, Some(_)) => return Ok(None),
        (None, None) => fallback
            .filter(|algorithm| algorithm.family() == AlgorithmFamily::Rsa)
            .ok_or("says no `alg`: write the issuer's `algorithm`, such as \"RS256\"")?,
    };
    let read: Option<Jwk> = serde_json::from_value(entry.clone()).ok();
    let public = read.and_then(|jwk| DecodingKey::from_jwk(&jwk).ok());
    let kid = text("kid").map(str::to_owned);
    Ok(Some(Key { kid, algorithm, public: fitting(public, algorithm)? }))
}

/// A key whose kind and size are those of the algorithm. The library would find out with the first token, and refuse it.
fn fitting(key: Option<DecodingKey>, algorithm: Algorithm) -> Result<DecodingKey, String> {
    let unfit = || format!("is no public key for {algorithm:?}");
    let key = key.filter(|key| key.family() == algorithm.family()).ok_or_else(unfit)?;
    let fits = match (algorithm, key.kind()) {
        // An uncompressed point, and a modulus within its DER, which takes some bytes more.
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) => point.len() == 65,
        (Algorithm::ES384, DecodingKeyKind::SecretOrDer(point)) => point.len() == 97,
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) => point.len() == 32,
        (_, DecodingKeyKind::SecretOrDer(der)) => der.len() >= MODULUS + 8,
        (_, DecodingKeyKind::RsaModulusExponent { n, .. }) => {
            n.iter().skip_while(|byte| **byte == 0).count() >= MODULUS
        }
    };
    if fits { Ok(key) } else { Err(format!("{}, or a weak one: RSA takes 2048 bits", unfit())) }
}
