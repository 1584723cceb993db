//! Keys, and values that only this service can read and nobody can alter: page tokens, entries of the cache, marks of requests.
//! It leaves what is sealed, and for how long it holds, to its callers.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chacha20poly1305::{
    KeyInit, XChaCha20Poly1305,
    aead::{Aead, Payload},
};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use crate::config::{SecretKey, SecretKeys};

const NONCE: usize = 24;

/// The service's secret keys: the first seals, all open.
pub struct Seal(Vec<Key>);

struct Key {
    id: String,
    pages: XChaCha20Poly1305,
    entries: XChaCha20Poly1305,
    requests: Zeroizing<[u8; 64]>,
}

impl Seal {
    /// Derives what each key is used for.
    pub fn new(keys: &SecretKeys) -> Seal {
        Seal(keys.iter().map(Key::derive).collect())
    }

    /// Seals a page token for whoever the associated data names.
    pub fn seal(&self, bound_to: &[u8], plain: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.close(|key| &key.pages, bound_to, plain))
    }

    /// Opens a page token; nothing comes out unless every bit and the associated data are those of the sealing.
    pub fn open(&self, bound_to: &[u8], token: &str) -> Option<Vec<u8>> {
        self.disclose(|key| &key.pages, bound_to, &URL_SAFE_NO_PAD.decode(token).ok()?)
    }

    /// Seals what is kept outside the service, at the place that the associated data names.
    pub fn seal_entry(&self, bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
        self.close(|key| &key.entries, bound_to, plain)
    }

    /// Opens what was kept outside the service; nothing comes out at another place, or when anybody has touched it.
    pub fn open_entry(&self, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        self.disclose(|key| &key.entries, bound_to, sealed)
    }

    fn close(&self, purpose: fn(&Key) -> &XChaCha20Poly1305, bound_to: &[u8], plain: &[u8]) -> Vec<u8> {
        let key = &self.0[0];
        let mut nonce = [0u8; NONCE];
        rand::fill(&mut nonce);
        let payload = Payload { msg: plain, aad: bound_to };
        let text = purpose(key).encrypt(&nonce.into(), payload).unwrap_or_default();
        [&[key.id.len() as u8], key.id.as_bytes(), &nonce, &text].concat()
    }

    fn disclose(&self, purpose: fn(&Key) -> &XChaCha20Poly1305, bound_to: &[u8], sealed: &[u8]) -> Option<Vec<u8>> {
        let (length, rest) = sealed.split_first()?;
        let (id, rest) = rest.split_at_checked(usize::from(*length))?;
        let (nonce, text) = rest.split_at_checked(NONCE)?;
        let key = self.0.iter().find(|key| key.id.as_bytes() == id)?;
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        purpose(key).decrypt(&nonce.into(), Payload { msg: text, aad: bound_to }).ok()
    }

    /// Marks a request under the first key.
    pub fn mark(&self, request: &[u8]) -> Vec<u8> {
        self.0[0].mark(request)
    }

    /// Whether the mark is this request's, under any key: a rotation does not turn a retry into another request.
    pub fn marks(&self, mark: &[u8], request: &[u8]) -> bool {
        self.0.iter().any(|key| key.mark(request) == mark)
    }
}

impl Key {
    fn derive(secret: &SecretKey) -> Key {
        Key {
            id: secret.id.clone(),
            pages: XChaCha20Poly1305::new((&*derive::<32>(&*secret.key, b"stead page tokens")).into()),
            entries: XChaCha20Poly1305::new((&*derive::<32>(&*secret.key, b"stead cache entries")).into()),
            requests: derive(&*secret.key, b"stead request marks"),
        }
    }

    fn mark(&self, request: &[u8]) -> Vec<u8> {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new((&*self.requests).into());
        mac.update(request);
        mac.finalize().into_bytes().to_vec()
    }
}

/// Each use has a key of its own, so that nothing sealed for one can be replayed at another.
fn derive<const N: usize>(secret: &[u8], purpose: &[u8]) -> Zeroizing<[u8; N]> {
    let mut key = Zeroizing::new([0u8; N]);
    let expanded = Hkdf::<Sha256>::new(None, secret).expand(purpose, key.as_mut());
    debug_assert!(expanded.is_ok(), "a key is within HKDF's bound");
    key
}

impl fmt::Debug for Seal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Value;

    fn key(id: &str, byte: u8) -> String {
        SecretKey { id: id.into(), key: Zeroizing::new([byte; 32]) }.to_text().to_string()
    }

    fn seal(keys: &str) -> Seal {
        Seal::new(&SecretKeys::parse(keys).unwrap())
    }

    #[test]
    fn a_token_opens_for_its_owner_only_and_with_no_bit_flipped() {
        let seal = seal(&key("a", 1));
        let token = seal.seal(b"acme", b"after 42");
        assert_eq!(seal.open(b"acme", &token).unwrap(), b"after 42");
        assert_eq!(seal.open(b"globex", &token), None);
        let bytes = URL_SAFE_NO_PAD.decode(&token).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(seal.open(b"acme", &URL_SAFE_NO_PAD.encode(forged)), None, "bit {bit}");
        }
        assert_eq!(seal.open(b"acme", ""), None);
    }

    #[test]
    fn an_entry_opens_at_its_own_place_only_and_is_no_page_token() {
        let seal = seal(&key("a", 1));
        let entry = seal.seal_entry(b"acme products 1", b"a product");
        assert_eq!(seal.open_entry(b"acme products 1", &entry).unwrap(), b"a product");
        assert_eq!(seal.open_entry(b"globex products 1", &entry), None);
        assert_eq!(seal.open(b"acme products 1", &URL_SAFE_NO_PAD.encode(&entry)), None);
        for length in 0..entry.len() {
            assert_eq!(seal.open_entry(b"acme products 1", &entry[..length]), None, "the first {length} bytes");
        }
    }

    #[test]
    fn a_rotated_key_still_opens_and_marks() {
        let (old, new) = (key("old", 1), key("new", 2));
        let (before, after, never) = (seal(&old), seal(&format!("{new},{old}")), seal(&new));
        let token = before.seal(b"acme", b"x");
        assert_eq!(after.open(b"acme", &token).unwrap(), b"x");
        assert_eq!(never.open(b"acme", &token), None);
        assert!(after.marks(&before.mark(b"request"), b"request"));
        assert!(!after.marks(&before.mark(b"request"), b"another"));
    }
}
