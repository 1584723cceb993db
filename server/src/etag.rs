//! Etags (AIP-154): a quoted token that only this revision of this resource has.
//! It leaves comparing revisions to the write's own statement.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{principal::Principal, rules::Violations};

/// The etag of a revision.
pub fn of(id: Uuid, revision: i64) -> String {
    let mut token = revision.to_be_bytes().to_vec();
    token.extend(&digest(id, revision)[..10]);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(token))
}

/// The revision that a write expects: none without an etag, and one that no resource has when the etag is not this
/// resource's, so that the write answers as it does for any other outdated etag.
pub fn expected(principal: &Principal, id: Uuid, etag: &str, violations: &mut Violations) -> Option<i64> {
    if etag.is_empty() && principal.require_etag {
        violations.add("etag", "is required in this tenant: read the resource and send its etag");
    }
    (!etag.is_empty()).then(|| revision(id, etag).unwrap_or(-1))
}

fn revision(id: Uuid, etag: &str) -> Option<i64> {
    let token = URL_SAFE_NO_PAD.decode(etag.strip_prefix('"')?.strip_suffix('"')?).ok()?;
    let revision = i64::from_be_bytes(token.get(..8)?.try_into().ok()?);
    (token[8..] == digest(id, revision)[..10]).then_some(revision)
}

fn digest(id: Uuid, revision: i64) -> [u8; 32] {
    Sha256::new().chain_update(id.as_bytes()).chain_update(revision.to_be_bytes()).finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_etag_reads_back_for_its_own_resource_only() {
        let (id, other) = (Uuid::now_v7(), Uuid::now_v7());
        assert_eq!(revision(id, &of(id, 7)), Some(7));
        assert_eq!(revision(other, &of(id, 7)), None);
        for forged in ["", "\"\"", "7", "\"7\"", "*", "W/\"x\""] {
            assert_eq!(revision(id, forged), None, "{forged}");
        }
    }
}
