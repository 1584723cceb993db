//! Etags (AIP-154): a quoted token that only this revision of this resource has.
//! It leaves comparing revisions to the write's own statement, and looks at what it met only when it wrote nothing: a
//! retry of a write that was done answers as the first time, whatever is demanded of etags by then.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::{error::Error, principal::Principal};

/// The etag of a revision.
pub fn of(id: Uuid, revision: i64) -> String {
    let mut token = revision.to_be_bytes().to_vec();
    token.extend(&digest(id, revision)[..10]);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(token))
}

/// What no resource has: the etag is not this resource's.
const FOREIGN: i64 = -1;
/// What no resource has: an etag is required and none was sent.
const REQUIRED: i64 = -2;

/// The rule of a tenant that demands etags.
pub const DEMAND: &str = "is required in this tenant: read the resource and send its etag";

/// The revision that a write expects, none if any will do; one that no resource has when the etag is another's or is
/// missing where one is required.
pub fn expected(principal: &Principal, id: Uuid, etag: &str) -> Option<i64> {
    if etag.is_empty() {
        principal.require_etag.then_some(REQUIRED)
    } else {
        Some(revision(id, etag).unwrap_or(FOREIGN))
    }
}

/// Whether a write that expects this demands an etag which was not sent.
pub fn is_demanded(expected: Option<i64>) -> bool {
    expected == Some(REQUIRED)
}

/// Why a write that expects this of a resource at `revision` wrote nothing; none if that did not stand in its way.
pub fn refusal(expected: Option<i64>, field: &str, id: Uuid, revision: i64) -> Option<Error> {
    match expected {
        Some(REQUIRED) => Some(Error::invalid(field, DEMAND)),
        Some(expected) if expected != revision => Some(Error::Stale { current_etag: of(id, revision) }),
        _ => None,
    }
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
