//! Lists, page by page, in the order of creation.
//! It leaves what is listed to `rows`.

use prost_types::FieldMask;
use stead_api::v1;
use tonic::Status;
use uuid::Uuid;

use super::{
    core::Principal,
    mask::ReadMask,
    refusal::{self, invalid},
    resource::Resource,
    rows::{Row, State, hash},
};

const PAGE: usize = 50;
const LARGEST_PAGE: usize = 1000;

/// What a list asks for.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) page_size: i32,
    pub(super) page_token: String,
    pub(super) order_by: String,
    pub(super) filter: String,
    pub(super) show_deleted: bool,
    pub(super) read_mask: Option<FieldMask>,
    pub(super) count_mode: i32,
}

/// A page: what is on it, the token of the next, how many there are and what that number is.
pub(super) type Listed<R> = (Vec<R>, String, i64, i32);

impl State {
    pub(super) fn list<R: Resource>(
        &mut self,
        tenant: Uuid,
        principal: &Principal,
        asked: &Asked,
    ) -> Result<Listed<R>, Status> {
        for (field, what) in [(&asked.filter, "filters"), (&asked.order_by, "orders of its own")] {
            if !field.is_empty() {
                return Err(refusal::lacks(what));
            }
        }
        if asked.page_size < 0 {
            let rule = "is negative: send 0 for the default of 50, or 1 to 1,000";
            return Err(invalid("page_size", rule, "FIELD_RULE_BROKEN"));
        }
        let mask = ReadMask::read::<R>(asked.read_mask.as_ref())?;
        let seal =
            |place: usize, deleted_too: bool| hash((R::COLLECTION, tenant, &principal.subject, deleted_too, place));
        let start = start(&asked.page_token, asked.show_deleted, seal)?;
        let size = if asked.page_size == 0 { PAGE } else { (asked.page_size as usize).min(LARGEST_PAGE) };
        let rows = R::rows(self);
        let is_listed = |row: &Row<R>| row.tenant == tenant && (row.is_live || asked.show_deleted);
        let mut found = rows.list.iter().enumerate().skip(start).filter(|(_, row)| is_listed(row));
        let page = found.by_ref().take(size).map(|(_, row)| mask.applied(row.message.clone())).collect();
        let next = found
            .next()
            .map(|(place, _)| format!("{place:x}.{:x}", seal(place, asked.show_deleted)))
            .unwrap_or_default();
        let (none, counted) = (v1::CountMode::None as i32, v1::TotalSizeKind::Exact.into());
        let (total, kind) = match asked.count_mode > none {
            true => (rows.list.iter().filter(|row| is_listed(row)).count() as i64, counted),
            false => (0, 0),
        };
        Ok((page, next, total, kind))
    }
}

/// Where a page begins, by the token of the one before.
fn start(token: &str, deleted_too: bool, seal: impl Fn(usize, bool) -> u64) -> Result<usize, Status> {
    if token.is_empty() {
        return Ok(0);
    }
    let parts = token
        .split_once('.')
        .map(|(place, sealed)| (usize::from_str_radix(place, 16), u64::from_str_radix(sealed, 16)));
    match parts {
        Some((Ok(place), Ok(sealed))) if sealed == seal(place, deleted_too) => Ok(place),
        Some((Ok(place), Ok(sealed))) if sealed == seal(place, !deleted_too) => {
            let rule =
                "belongs to a list with another order or other filters: repeat those, or start at the first page";
            Err(invalid("page_token", rule, "PAGE_TOKEN_MISMATCH"))
        }
        _ => {
            let rule = "is not a token that this service gave you in the last 24 hours: start at the first page";
            Err(invalid("page_token", rule, "PAGE_TOKEN_INVALID"))
        }
    }
}
