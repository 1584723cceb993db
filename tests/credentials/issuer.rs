//! An issuer of JWTs as the tests know one: keys, the files that make a server trust them, and tokens of any shape.
//! Leaves which tokens are taken to the tests.

use std::path::PathBuf;

use chrono::Utc;
use data_encoding::BASE64URL_NOPAD;
use jsonwebtoken::{Algorithm, EncodingKey};
use rcgen::{KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256};
use serde_json::{Value, json};
use stead_client::TenantId;
use tempfile::TempDir;

/// The name of the issuer that may vouch for every tenant.
pub(crate) const NAME: &str = "https://login.test/";
/// One that may vouch for a single tenant.
pub(crate) const NARROW: &str = "https://narrow.test/";
pub(crate) const AUDIENCE: &str = "stead";
/// What tokens of both may bring at most.
pub(crate) const ALLOWED: &[&str] = &["audit.read", "products.read", "products.write", "users.read"];

/// One key with both halves.
pub(crate) struct Signer {
    pub(crate) kid: String,
    pub(crate) algorithm: Algorithm,
    pub(crate) private: EncodingKey,
    pub(crate) public: String,
}

impl Signer {
    pub(crate) fn new(kid: &str, algorithm: Algorithm) -> Self {
        let kind = match algorithm {
            Algorithm::ES256 => &PKCS_ECDSA_P256_SHA256,
            Algorithm::ES384 => &PKCS_ECDSA_P384_SHA384,
            Algorithm::EdDSA => &PKCS_ED25519,
            _ => &PKCS_RSA_SHA256,
        };
        let pair = KeyPair::generate_for(kind).expect("a key");
        let pem = pair.serialize_pem();
        let private = match algorithm {
            Algorithm::ES256 | Algorithm::ES384 => EncodingKey::from_ec_pem(pem.as_bytes()),
            Algorithm::EdDSA => EncodingKey::from_ed_pem(pem.as_bytes()),
            _ => EncodingKey::from_rsa_pem(pem.as_bytes()),
        };
        Self { kid: kid.to_owned(), algorithm, private: private.expect("a key"), public: pair.public_key_pem() }
    }

    pub(crate) fn header(&self) -> Value {
        json!({ "typ": "JWT", "alg": format!("{:?}", self.algorithm), "kid": self.kid })
    }

    /// A token with these claims, as the issuer would sign it.
    pub(crate) fn token(&self, claims: &Value) -> String {
        self.sign(&self.header(), claims)
    }

    /// A token with any header, signed by this key and its algorithm.
    pub(crate) fn sign(&self, header: &Value, claims: &Value) -> String {
        signed(&header.to_string(), &claims.to_string(), &self.private, self.algorithm)
    }
}

/// A token of these texts, signed with this key whatever the header says.
pub(crate) fn signed(header: &str, claims: &str, key: &EncodingKey, algorithm: Algorithm) -> String {
    let message = format!("{}.{}", encoded(header), encoded(claims));
    let signature = jsonwebtoken::crypto::sign(message.as_bytes(), key, algorithm).expect("a signature");
    format!("{message}.{signature}")
}

pub(crate) fn encoded(text: &str) -> String {
    BASE64URL_NOPAD.encode(text.as_bytes())
}

/// The claims of a service that may read products, for the next five minutes.
pub(crate) fn claims(tenant: TenantId) -> Value {
    let now = Utc::now().timestamp();
    json!({
        "iss": NAME, "aud": AUDIENCE, "sub": "till", "iat": now, "nbf": now, "exp": now + 300,
        "tenant": tenant.to_string(), "permissions": ["products.read"],
    })
}

/// The same claims but for these; null takes one away.
pub(crate) fn but(claims: &Value, changes: Value) -> Value {
    let mut claims = claims.clone();
    let all = claims.as_object_mut().expect("an object");
    for (name, value) in changes.as_object().expect("an object") {
        match value {
            Value::Null => drop(all.remove(name)),
            value => drop(all.insert(name.clone(), value.clone())),
        }
    }
    claims
}

/// The files by which a server trusts signers; they go when this is dropped.
pub(crate) struct Files(TempDir);

impl Files {
    pub(crate) fn new() -> Self {
        Self(tempfile::tempdir().expect("a directory"))
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.0.path().join("issuers.toml")
    }

    /// Trusts these signers for every tenant, and the same for one tenant under the narrow issuer's name.
    pub(crate) fn trust(&self, signers: &[&Signer], narrow: TenantId) -> PathBuf {
        let tenants = format!("['{narrow}']");
        let text = [(NAME, "['*']"), (NARROW, &tenants)].map(|(name, tenants)| {
            let head = format!(
                "[[issuers]]\nissuer = '{name}'\naudience = '{AUDIENCE}'\ntenants = {tenants}\nallow = {ALLOWED:?}\n\
                 maximum_lifetime = '1h'\n"
            );
            signers.iter().fold(head, |text, signer| {
                let (kid, algorithm) = (&signer.kid, signer.algorithm);
                let (file, path) = (format!("{kid}.pem"), self.0.path().join(format!("{kid}.pem")));
                std::fs::write(path, &signer.public).expect("a key file");
                format!("{text}[[issuers.keys]]\nkid = '{kid}'\nalgorithm = '{algorithm:?}'\npem = '{file}'\n")
            })
        });
        self.put(&text.concat())
    }

    /// Replaces the file at once, as a rename does.
    pub(crate) fn put(&self, text: &str) -> PathBuf {
        let (new, path) = (self.0.path().join("new"), self.path());
        std::fs::write(&new, text).expect("a file");
        std::fs::rename(new, &path).expect("a file");
        path
    }
}
