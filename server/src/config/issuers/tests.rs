//! What a file of issuers may say, what it may not and in which words, and which keys are taken.
//! Leaves tokens to `auth`.

use std::path::PathBuf;

use serde_json::json;

use super::*;

// The DER of public keys whose private halves were thrown away.
const P256: &str = "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEdiBTC8yGYMXCqk+CnlYQZ/3LSm2lJOY8bIRj69jL5cRkZcqk\
    wPtmGV9KjlpnIU0C6iVdf2RgcpA4F6rf+8DUcQ==";
const P384: &str = "MHYwEAYHKoZIzj0CAQYFK4EEACIDYgAEL++ghxNuWFlLxtcJmm3QOQqEpmKqp/kBN8YQ08aCR/KOkGKu3Slq\
    kVugGpeG8LBPXl/VYA9W4IbiYx1NlUyR0Bglb0QnQy27hFCTdxk1RRGh8HgYTposusWOqTdxG2i5";
const ED25519: &str = "MCowBQYDK2VwAyEAVebbv3EANiGz/RwBKj+FkrfOXcSiS18MhoebzE2GoYA=";
const RSA: &str = "MIIBIjANBgkqhkiG9w0BAQEFAAOCAQ8AMIIBCgKCAQEA9VNHtHcrSyd/nePbGPfNzEFW6ayhuEgqm8Yf+tXB\
    jDvtX9KsCMlmMwj16zvP5f2MgbQvmwQLTSuqv2Jd0OgKZG6xjmd5LX3oH+idCPDB+dntzK42Q0CxXX3rLNRS\
    tuUmtPCLKpwCpEZ2fYneIHS/SmM6uUcDkMZLVoS249DhRXlkCF3G18JSgOvbyru+ojrm4fbmv3KOGMdX8zpi\
    xPC9WXs9vSY9TfusbA7VXmG/z3h9LXrA4+a41hK3HDQzRBXW4HMDQ6Nv0gtT0L6uAzrGOZLNOvrbCidWMngd\
    Q6KHXrN2fvhBii4pL27FlIy3VNop7LuxsMPz8uiOqn9adgu/hwIDAQAB";
const WEAK: &str = "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQC99aX0V8YIDU7MAy8t8Vft1Km5Xe5SaDIRxIAtD66s6avE\
    deOAQ8u74p2qR3YC0ykPNBRoWQnz6YoFg7vNM/he/zYTtYMUU5QZtfeCe1BX604DmXIiQqdkQisCDm8W14jd\
    XdCm6ylg+JGlka/CPmd10yzPaoMibduroaG3/Kin6wIDAQAB";
/// Of the RSA keys.
const MODULUS: &str = "9VNHtHcrSyd_nePbGPfNzEFW6ayhuEgqm8Yf-tXBjDvtX9KsCMlmMwj16zvP5f2MgbQvmwQLTSuqv2Jd0OgK\
    ZG6xjmd5LX3oH-idCPDB-dntzK42Q0CxXX3rLNRStuUmtPCLKpwCpEZ2fYneIHS_SmM6uUcDkMZLVoS249Dh\
    RXlkCF3G18JSgOvbyru-ojrm4fbmv3KOGMdX8zpixPC9WXs9vSY9TfusbA7VXmG_z3h9LXrA4-a41hK3HDQz\
    RBXW4HMDQ6Nv0gtT0L6uAzrGOZLNOvrbCidWMngdQ6KHXrN2fvhBii4pL27FlIy3VNop7LuxsMPz8uiOqn9a\
    dgu_hw";
const WEAK_MODULUS: &str = "vfWl9FfGCA1OzAMvLfFX7dSpuV3uUmgyEcSALQ-urOmrxHXjgEPLu-Kdqkd2AtMpDzQUaFkJ8-mKBYO7zTP4\
    Xv82E7WDFFOUGbX3gntQV-tOA5lyIkKnZEIrAg5vFteI3V3QpuspYPiRpZGvwj5nddMsz2qDIm3bq6Ght_yo\
    p-s";

const ACME: &str = "tenants/0193d9a6-5c3e-7e4b-9a4f-1f2e3d4c5b6a";
const KEY: &str = "keys = [{ algorithm = 'ES256', pem = 'p256.pem' }]";

fn pem(der: &str) -> String {
    format!("-----BEGIN PUBLIC KEY-----\n{der}\n-----END PUBLIC KEY-----\n")
}

/// A directory of one test's own, with key files in it.
struct Files(PathBuf);

impl Files {
    fn new(name: &str) -> Files {
        let path = std::env::temp_dir().join(format!("stead-issuers-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        let files = Files(path);
        for (name, der) in [("p256", P256), ("p384", P384), ("ed", ED25519), ("rsa", RSA), ("weak", WEAK)] {
            files.put(&format!("{name}.pem"), &pem(der));
        }
        files
    }

    fn put(&self, name: &str, text: &str) -> PathBuf {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path
    }

    fn read(&self, text: &str) -> Result<Trusted, Vec<String>> {
        Trusted::read(&self.put("issuers.toml", text))
    }

    /// What is wrong with a text, less where it stands.
    fn faults(&self, text: &str) -> Vec<String> {
        let faults = self.read(text).expect_err(text);
        let folder = format!("{}/", self.0.display());
        faults.into_iter().map(|fault| fault.replace(&folder, "")).collect()
    }

    fn jwks(&self, keys: serde_json::Value, more: &str) -> Result<Vec<Key>, Vec<String>> {
        self.put("set.json", &json!({ "keys": keys }).to_string());
        let issuers = self.read(&entry(&format!("jwks = 'set.json'\n{more}")))?.issuers;
        Ok(issuers.into_iter().next().unwrap().keys)
    }
}

fn entry(keys: &str) -> String {
    format!("[[issuers]]\nissuer = 'one'\naudience = 'stead'\ntenants = ['*']\nallow = ['products.read']\n{keys}\n")
}

#[test]
fn an_entry_says_how_far_its_issuer_is_trusted() {
    let files = Files::new("entry");
    let issuer = files.read(&entry(KEY)).unwrap().issuers.remove(0);
    assert_eq!((&*issuer.name, issuer.audience.as_str(), issuer.tenants), ("one", "stead", None));
    assert_eq!((issuer.tenant_claim.as_str(), issuer.permissions_claim.as_str()), ("tenant", "permissions"));
    assert_eq!((issuer.maximum_lifetime, issuer.keys.len()), (Duration::from_secs(24 * 3600), 1));
    assert_eq!(issuer.allow.names().collect::<Vec<_>>(), ["products.read"]);

    let text = entry(KEY).replace("['*']", &format!("['{ACME}']"))
        + "maximum_lifetime = '5m'\ntenant_claim = 'https://stead/tenant'\npermissions_claim = 'scope'";
    let issuer = files.read(&text).unwrap().issuers.remove(0);
    assert_eq!(issuer.tenants.unwrap().iter().map(ToString::to_string).collect::<Vec<_>>(), [ACME]);
    assert_eq!((issuer.tenant_claim.as_str(), issuer.permissions_claim.as_str()), ("https://stead/tenant", "scope"));
    assert_eq!(issuer.maximum_lifetime, Duration::from_secs(300));
}

#[test]
fn every_fault_is_told_at_once_and_by_its_place() {
    let files = Files::new("faults");
    let text = format!(
        "colour = 1\n[[issuers]]\nissuer = ''\naudience = 1\ntenants = []\nallow = ['tenants.write', 'fly', 1]\n\
         maximum_lifetime = '25h'\ntenant_claim = 'sub'\nkeys = [{{ algorithm = 'HS256', pem = 'p256.pem' }}, 1]\n\
         shape = 'round'\n{}{}",
        entry(KEY),
        entry("").replace("['*']", "['tenants/00000000-0000-7000-8000-000000000000', 'acme', '*']"),
    );
    let faults = files.faults(&text);
    let wanted = [
        ": there is no `colour`",
        ", issuer 1: `issuer` is no text",
        ", issuer 1: `audience` is no text",
        ", issuer 1: `tenant_claim` is sub, which means something else",
        ", issuer 1: `tenants` is no list",
        ", issuer 1: `allow` holds \"tenants.write\", which is for the platform's keys alone",
        ", issuer 1: `allow` holds \"fly\", which is no permission",
        ", issuer 1: `allow` holds 1, which is no text",
        ", issuer 1: `maximum_lifetime` is no duration",
        ", issuer 1: `algorithm` is HS256, by which whoever verifies could sign as well",
        ", issuer 1: a key is no table",
        ", issuer 1: there is no `shape`",
        ", issuer 3: `tenants` holds \"tenants/00000000-0000-7000-8000-000000000000\", which names no tenant",
        ", issuer 3: `tenants` holds \"acme\"",
        ", issuer 3: `tenants` holds \"*\"",
        ", issuer 3: has no key",
    ];
    assert_eq!(faults.len(), wanted.len(), "{faults:#?}");
    for (fault, wanted) in faults.iter().zip(wanted) {
        assert!(fault.starts_with(&format!("issuers.toml{wanted}")), "{wanted}: {fault}");
    }
}

#[test]
fn a_file_without_issuers_and_two_entries_of_one_are_refused() {
    let files = Files::new("none");
    for text in ["", "issuers = []", "issuers = 1"] {
        assert_eq!(files.faults(text), ["issuers.toml: lists no issuer: write each as a table [[issuers]]"]);
    }
    assert!(files.faults("= 1")[0].starts_with("issuers.toml: is not TOML: "));
    let twice = files.faults(&format!("{}{}", entry(KEY), entry(KEY)));
    assert_eq!(twice, ["issuers.toml, issuer 2: `issuer` is one, as of another entry: write one entry for each"]);
    let keys = "keys = [{ kid = 'a', algorithm = 'ES256', pem = 'p256.pem' }, { kid = 'a', algorithm = 'EdDSA', pem = 'ed.pem' }]";
    assert!(files.faults(&entry(keys))[0].contains("two keys are a (EdDSA): ids must differ"));
}

#[test]
fn a_key_fits_its_algorithm_and_is_public() {
    let files = Files::new("pem");
    files.put("private.pem", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n");
    files.put("certificate.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    files.put("garbage.pem", &pem("AAAA"));
    let key =
        |algorithm: &str, file: &str| entry(&format!("keys = [{{ algorithm = '{algorithm}', pem = '{file}.pem' }}]"));
    let fitting = [("ES256", "p256"), ("ES384", "p384"), ("EdDSA", "ed"), ("RS256", "rsa"), ("PS512", "rsa")];
    for (algorithm, file) in fitting {
        assert_eq!(files.read(&key(algorithm, file)).unwrap().issuers[0].keys.len(), 1, "{algorithm}");
        for (_, other) in fitting.iter().filter(|(_, other)| *other != file) {
            assert!(files.faults(&key(algorithm, other))[0].contains("is no public key for"), "{algorithm}, {other}");
        }
    }
    for (file, words) in [
        ("weak", "a weak one"),
        ("private", "holds a private key"),
        ("certificate", "holds no PEM `PUBLIC KEY`"),
        ("garbage", "is no public key"),
        ("missing", "cannot be read"),
    ] {
        assert!(files.faults(&key("RS256", file))[0].contains(words), "{file}");
    }
    for name in ["none", "HS256", "HS384", "HS512", "ES512", "rs256", ""] {
        assert!(files.faults(&key(name, "rsa"))[0].contains("write one of RS256"), "{name}");
    }
}

#[test]
fn a_set_gives_its_keys_for_signatures_each_with_one_algorithm() {
    let files = Files::new("jwks");
    let rsa = json!({ "kty": "RSA", "kid": "r", "n": MODULUS, "e": "AQAB" });
    let ec = json!({ "kty": "EC", "kid": "e", "crv": "P-256", "x": "diBTC8yGYMXCqk-CnlYQZ_3LSm2lJOY8bIRj69jL5cQ", "y": "ZGXKpMD7ZhlfSo5aZyFNAuolXX9kYHKQOBeq3_vA1HE" });
    let ed = json!({ "kty": "OKP", "kid": "d", "crv": "Ed25519", "x": "Vebbv3EANiGz_RwBKj-FkrfOXcSiS18MhoebzE2GoYA", "use": "sig" });
    let with = |key: &serde_json::Value, member: &str, value: &str| {
        let mut key = key.clone();
        key[member] = value.into();
        key
    };
    let others = [with(&rsa, "use", "enc"), json!({ "kty": "AKP" }), with(&ed, "crv", "X25519")];
    let all = json!([with(&rsa, "alg", "PS256"), ec, ed, others[0], others[1], others[2]]);
    let keys = files.jwks(all, "").unwrap();
    let shown: Vec<_> = keys.iter().map(ToString::to_string).collect();
    assert_eq!(shown, ["r (PS256)", "e (ES256)", "d (EdDSA)"]);

    let fallen_back = files.jwks(json!([rsa]), "algorithm = 'RS384'").unwrap();
    assert_eq!(fallen_back[0].algorithm, Algorithm::RS384);
    for (key, words) in [
        (rsa.clone(), "says no `alg`"),
        (with(&rsa, "alg", "HS256"), "is symmetric"),
        (json!({ "kty": "oct", "k": "AAAA" }), "is symmetric"),
        (with(&ec, "d", "AAAA"), "is a private key"),
        (with(&ec, "alg", "ES384"), "is no public key for ES384"),
        (with(&ec, "alg", "RS256"), "is no public key for RS256"),
        (with(&ec, "x", "AAAA"), "is no public key for ES256"),
        (with(&with(&rsa, "n", WEAK_MODULUS), "alg", "RS256"), "a weak one"),
        (with(&rsa, "alg", "none"), "holds no key that verifies signatures"),
        (with(&rsa, "alg", "RSA-OAEP"), "holds no key that verifies signatures"),
        (json!({ "kty": "AKP" }), "holds no key that verifies signatures"),
    ] {
        let faults = files.jwks(json!([key]), "").expect_err(words);
        assert!(faults.iter().any(|fault| fault.contains(words)), "{words}: {faults:?}");
    }
    for text in ["", "{}", "[]", "{\"keys\": 1}"] {
        files.put("set.json", text);
        assert!(files.faults(&entry("jwks = 'set.json'"))[0].contains("is no JWKS"), "{text}");
    }
}

#[test]
fn the_digest_differs_when_a_key_file_does() {
    let files = Files::new("digest");
    let before = files.read(&entry(KEY)).unwrap().digest;
    assert_eq!(files.read(&entry(KEY)).unwrap().digest, before);
    files.put("p256.pem", &format!("{}\n", pem(P256)));
    assert_ne!(files.read(&entry(KEY)).unwrap().digest, before);
}

#[test]
fn the_example_is_in_order() {
    let files = Files::new("example");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/issuers.toml");
    let text = std::fs::read_to_string(path).expect("deploy/issuers.toml");
    files.put("login.jwks.json", &json!({ "keys": [{ "kty": "RSA", "n": MODULUS, "e": "AQAB" }] }).to_string());
    files.put("ci-2026-11.pem", &pem(P256));
    let shown: Vec<_> = files.read(&text).unwrap().issuers.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            format!(
                "https://login.example.com/ for audience stead: keys without id (RS256); {ACME}; \
                 at most products.cost.read, products.read, products.write"
            ),
            "ci for audience stead: keys 2026-11 (ES256); every tenant; at most products.read".to_owned(),
        ]
    );
}
