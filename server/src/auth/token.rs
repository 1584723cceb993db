//! The text of a key or a session: whose it is, its secret, and a checksum that catches a typo before anything is looked up.
//! It leaves whether the secret is the right one to `verify`.

use std::fmt;

use data_encoding::BASE32_NOPAD;
use sha2::{Digest, Sha256};
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{ids, principal::TenantId};

const NAME_BYTES: usize = 32;
const SECRET_BYTES: usize = 32;
const CHECKED_BYTES: usize = NAME_BYTES + SECRET_BYTES;
const BYTES: usize = CHECKED_BYTES + 4;

/// What a token stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An API key.
    Key,
    /// A session.
    Session,
}

impl Kind {
    const ALL: [Kind; 2] = [Kind::Key, Kind::Session];

    /// How a token begins; it lets secret scanners find one that went astray.
    fn prefix(self) -> &'static str {
        match self {
            Kind::Key => "stead_key_",
            Kind::Session => "stead_session_",
        }
    }
}

/// A credential as its holder has it: `stead_<kind>_<tenant><id>_<secret><checksum>`, in lower-case base32.
#[derive(Clone)]
pub struct Token {
    /// What it stands for.
    pub kind: Kind,
    /// The tenant that it claims.
    pub tenant: TenantId,
    /// The id of the key or session in that tenant.
    pub id: Uuid,
    secret: Zeroizing<[u8; SECRET_BYTES]>,
}

impl Token {
    /// A new credential of the tenant.
    pub fn generate(kind: Kind, tenant: TenantId) -> Token {
        let mut secret = Zeroizing::new([0u8; SECRET_BYTES]);
        rand::fill(&mut secret[..]);
        Token { kind, tenant, id: ids::fresh(), secret }
    }

    /// Reads a credential; one form alone is taken, so that each has one text.
    pub fn parse(text: &str) -> Option<Token> {
        let (kind, body) = Kind::ALL.into_iter().find_map(|kind| Some((kind, text.strip_prefix(kind.prefix())?)))?;
        if body.len() > 2 * BYTES || body.bytes().any(|byte| byte.is_ascii_uppercase()) {
            return None;
        }
        let body = Zeroizing::new(body.to_ascii_uppercase());
        let (name, secret) = body.split_once('_')?;
        let mut bytes = Zeroizing::new([0u8; BYTES]);
        decode(name, &mut bytes[..NAME_BYTES])?;
        decode(secret, &mut bytes[NAME_BYTES..])?;
        if bytes[CHECKED_BYTES..] != checksum(kind, &bytes[..CHECKED_BYTES]) {
            return None;
        }
        let mut token = Token {
            kind,
            tenant: TenantId(Uuid::from_slice(&bytes[..16]).ok()?),
            id: Uuid::from_slice(&bytes[16..NAME_BYTES]).ok()?,
            secret: Zeroizing::new([0u8; SECRET_BYTES]),
        };
        token.secret.copy_from_slice(&bytes[NAME_BYTES..CHECKED_BYTES]);
        Some(token)
    }

    /// The whole text, secret included: to show once to whoever had it made.
    pub fn reveal(&self) -> Zeroizing<String> {
        let mut bytes = Zeroizing::new([0u8; BYTES]);
        bytes[..16].copy_from_slice(self.tenant.0.as_bytes());
        bytes[16..NAME_BYTES].copy_from_slice(self.id.as_bytes());
        bytes[NAME_BYTES..CHECKED_BYTES].copy_from_slice(&self.secret[..]);
        let checksum = checksum(self.kind, &bytes[..CHECKED_BYTES]);
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum);
        // Long enough from the start: a text that grows leaves copies of the secret behind.
        let prefix = self.kind.prefix();
        let mut text = Zeroizing::new(String::with_capacity(prefix.len() + 2 * BYTES));
        text.push_str(prefix);
        BASE32_NOPAD.encode_append(&bytes[..NAME_BYTES], &mut text);
        text.push('_');
        BASE32_NOPAD.encode_append(&bytes[NAME_BYTES..], &mut text);
        text.make_ascii_lowercase();
        text
    }

    /// What the database keeps. Without salt or stretching, because 256 random bits cannot be guessed.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(&self.secret[..]).into()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Token")
            .field("kind", &self.kind)
            .field("tenant", &self.tenant)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

fn decode(text: &str, bytes: &mut [u8]) -> Option<()> {
    if BASE32_NOPAD.decode_len(text.len()) != Ok(bytes.len()) {
        return None;
    }
    BASE32_NOPAD.decode_mut(text.as_bytes(), bytes).ok().map(drop)
}

/// Of the prefix too, so that one kind does not read as the other.
fn checksum(kind: Kind, bytes: &[u8]) -> [u8; 4] {
    let mut crc = crc32fast::Hasher::new();
    crc.update(kind.prefix().as_bytes());
    crc.update(bytes);
    crc.finalize().to_be_bytes()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn tokens() -> impl Strategy<Value = Token> {
        let kind = prop::sample::select(&Kind::ALL[..]);
        let parts = (kind, any::<u128>(), any::<u128>(), any::<[u8; SECRET_BYTES]>());
        parts.prop_map(|(kind, tenant, id, secret)| Token {
            kind,
            tenant: TenantId(Uuid::from_u128(tenant)),
            id: Uuid::from_u128(id),
            secret: Zeroizing::new(secret),
        })
    }

    proptest! {
        #[test]
        fn a_token_reads_back_as_it_was_shown(token in tokens()) {
            let text = token.reveal();
            let read = Token::parse(&text).unwrap();
            prop_assert_eq!((read.kind, read.tenant, read.id), (token.kind, token.tenant, token.id));
            prop_assert_eq!(&read.secret, &token.secret);
            prop_assert_eq!(read.reveal(), text);
        }

        #[test]
        fn a_changed_character_is_refused(
            token in tokens(), at in any::<prop::sample::Index>(), with in any::<char>()
        ) {
            let text = token.reveal();
            let mut changed: Vec<char> = text.chars().collect();
            let at = at.index(changed.len());
            prop_assume!(changed[at] != with);
            changed[at] = with;
            prop_assert!(Token::parse(&changed.into_iter().collect::<String>()).is_none());
        }

        #[test]
        fn a_piece_is_refused(token in tokens(), at in any::<prop::sample::Index>()) {
            let text = token.reveal();
            let at = at.index(text.len());
            prop_assert!(Token::parse(&text[..at]).is_none());
            prop_assert!(at == 0 || Token::parse(&text[at..]).is_none());
        }

        #[test]
        fn no_text_is_too_strange(text in "\\PC*", kind in prop::option::of(prop::sample::select(&Kind::ALL[..]))) {
            let text = kind.map_or(text.clone(), |kind| format!("{}{text}", kind.prefix()));
            prop_assert!(Token::parse(&text).is_none());
        }

        #[test]
        fn one_kind_does_not_read_as_the_other(token in tokens()) {
            let [key, session] = Kind::ALL.map(Kind::prefix);
            let text = token.reveal();
            let other = match token.kind {
                Kind::Key => text.replacen(key, session, 1),
                Kind::Session => text.replacen(session, key, 1),
            };
            prop_assert!(Token::parse(&other).is_none());
        }
    }

    #[test]
    fn every_character_of_the_alphabet_in_every_place_is_refused_or_the_same() {
        let token = Token::generate(Kind::Key, TenantId::PLATFORM);
        let text = token.reveal();
        for at in 0..text.len() {
            for with in
                "abcdefghijklmnopqrstuvwxyz234567_ABC0189= ".chars().filter(|with| !text[at..].starts_with(*with))
            {
                let changed = format!("{}{with}{}", &text[..at], &text[at + 1..]);
                assert!(Token::parse(&changed).is_none(), "place {at}, {with}");
            }
        }
    }

    #[test]
    fn the_form_is_fixed_and_debug_keeps_the_secret() {
        let token = Token {
            kind: Kind::Key,
            tenant: TenantId::PLATFORM,
            id: Uuid::from_u128(0x0193_d9a6_5c3e_7e4b_9a4f_1f2e_3d4c_5b6a),
            secret: Zeroizing::new([7; SECRET_BYTES]),
        };
        let text = token.reveal();
        assert_eq!(text.len(), 121);
        assert_eq!(
            *text,
            "stead_key_aaaaaaaaabyabaaaaaaaaaaaaaazhwnglq7h4s42j4ps4pkmlnva\
             _a4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dqobyha4dzcgdzgu"
        );
        let secret = text.rsplit('_').next().unwrap();
        assert!(!format!("{token:?}").contains(&secret[..8]));
        assert!(!format!("{token:?}").contains("7, 7"));
    }
}
