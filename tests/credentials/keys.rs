//! Keys and sessions that do not hold, from credentials that do: cut, changed, put together anew with a right checksum.
//! Leaves sending them to `forged`.

use data_encoding::BASE32_NOPAD;
use uuid::Uuid;

/// A case: what is wrong, and the text that comes after `Bearer `.
pub(super) type Case = (String, String);

/// A key or a session in its parts.
#[derive(Clone)]
pub(super) struct Parts {
    prefix: String,
    tenant: [u8; 16],
    id: [u8; 16],
    secret: [u8; 32],
}

impl Parts {
    pub(super) fn of(text: &str) -> Self {
        let at = text.match_indices('_').nth(1).expect("a prefix").0 + 1;
        let (name, secret) = text[at..].split_once('_').expect("two parts");
        let decoded = |part: &str| BASE32_NOPAD.decode(part.to_uppercase().as_bytes()).expect("base32");
        let (name, secret) = (decoded(name), decoded(secret));
        Self {
            prefix: text[..at].to_owned(),
            tenant: name[..16].try_into().expect("a tenant"),
            id: name[16..].try_into().expect("an id"),
            secret: secret[..32].try_into().expect("a secret"),
        }
    }

    pub(super) fn with_prefix(self, prefix: &str) -> Self {
        Self { prefix: prefix.to_owned(), ..self }
    }

    pub(super) fn with_tenant(self, tenant: Uuid) -> Self {
        Self { tenant: tenant.into_bytes(), ..self }
    }

    pub(super) fn with_id(self, id: Uuid) -> Self {
        Self { id: id.into_bytes(), ..self }
    }

    pub(super) fn with_secret_of(self, other: &Self) -> Self {
        Self { secret: other.secret, ..self }
    }

    /// The secret with one bit turned.
    pub(super) fn with_bit(mut self, bit: usize) -> Self {
        self.secret[bit / 8] ^= 1 << (bit % 8);
        self
    }

    pub(super) fn id(&self) -> Uuid {
        Uuid::from_bytes(self.id)
    }

    /// The text, with the checksum that belongs to it.
    pub(super) fn text(&self) -> String {
        let name = [self.tenant, self.id].concat();
        let mut checksum = crc32fast::Hasher::new();
        checksum.update(self.prefix.as_bytes());
        checksum.update(&name);
        checksum.update(&self.secret);
        let secret = [&self.secret[..], &checksum.finalize().to_be_bytes()].concat();
        let encoded = |bytes: &[u8]| BASE32_NOPAD.encode(bytes).to_lowercase();
        format!("{}{}_{}", self.prefix, encoded(&name), encoded(&secret))
    }
}

/// What becomes of any text by cutting it, by changing one letter at a time, and by writing around it.
pub(super) fn mangled(kind: &str, text: &str, pieces: usize) -> Vec<Case> {
    let mut cases = vec![];
    let mut case = |what: String, text: String| cases.push((format!("{kind} {what}"), text));
    for piece in 0..pieces {
        let at = piece * text.len() / pieces;
        case(format!("cut at {at}"), text[..at].to_owned());
        // Another letter of the same alphabet, so that nothing but the change is wrong.
        let letter = if &text[at..=at] == "a" { 'b' } else { 'a' };
        case(format!("changed at {at}"), format!("{}{letter}{}", &text[..at], &text[at + 1..]));
    }
    let half = text.len() / 2;
    for (what, text) in [
        ("without its last letter", text[..text.len() - 1].to_owned()),
        ("with a letter more", format!("{text}a")),
        ("twice", format!("{text}{text}")),
        ("twice with a comma", format!("{text},{text}")),
        ("twice with a scheme", format!("{text}, Bearer {text}")),
        ("after two spaces", format!(" {text}")),
        ("after a tab", format!("\t{text}")),
        ("before a space", format!("{text} ")),
        ("with a space inside", format!("{} {}", &text[..half], &text[half..])),
        ("in quotes", format!("\"{text}\"")),
        ("in capitals", text.to_uppercase()),
        ("with padding", format!("{text}=")),
        ("with a percent sign", text.replacen('_', "%5F", 1).replacen('.', "%2E", 1)),
        ("as base64", data_encoding::BASE64.encode(text.as_bytes())),
        ("seventy times", text.repeat(70).chars().take(8_000).collect()),
    ] {
        case(what.to_owned(), text);
    }
    cases
}

/// What somebody puts together who knows the form, and a key, a session and another tenant's key of their own.
pub(super) fn put_together(key: &str, session: &str, theirs: &str, tenant: Uuid, platform: Uuid) -> Vec<Case> {
    let (key, session, theirs) = (Parts::of(key), Parts::of(session), Parts::of(theirs));
    assert_eq!(Parts::of(&key.text()).text(), key.text(), "a text is read and written alike");
    let mut cases = vec![
        ("their key's secret under our key's name".to_owned(), key.clone().with_secret_of(&theirs)),
        ("our key under their tenant".into(), key.clone().with_tenant(Uuid::from_bytes(theirs.tenant))),
        ("their key under our tenant".into(), theirs.clone().with_tenant(tenant)),
        ("our key's id under their tenant with their secret".into(), theirs.clone().with_id(key.id())),
        ("our key under the platform".into(), key.clone().with_tenant(platform)),
        ("our key under no tenant".into(), key.clone().with_tenant(Uuid::nil())),
        ("our key under an unknown tenant".into(), key.clone().with_tenant(Uuid::now_v7())),
        ("an unknown key".into(), key.clone().with_id(Uuid::now_v7())),
        ("no key".into(), key.clone().with_id(Uuid::nil())),
        ("the session's id as a key".into(), session.clone().with_prefix("stead_key_")),
        ("the key's id as a session".into(), key.clone().with_prefix("stead_session_")),
        ("the session under the key's id".into(), session.clone().with_id(key.id())),
        ("the session with the key's secret".into(), session.clone().with_secret_of(&key)),
        ("an unknown session".into(), session.clone().with_id(Uuid::now_v7())),
        ("the session under their tenant".into(), session.clone().with_tenant(Uuid::from_bytes(theirs.tenant))),
        ("a kind that is none".into(), key.clone().with_prefix("stead_root_")),
    ];
    cases.extend(
        [0, 1, 7, 8, 100, 128, 200, 255]
            .map(|bit| (format!("bit {bit} of the key's secret"), key.clone().with_bit(bit))),
    );
    cases.extend(
        [0, 9, 77, 255].map(|bit| (format!("bit {bit} of the session's secret"), session.clone().with_bit(bit))),
    );
    cases.into_iter().map(|(what, parts)| (what, parts.text())).collect()
}
