//! What the fake keeps, and how it is read and written: one way for products, users and tenants alike.
//! It leaves fields to `resource`, and callers and request ids to `core`.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, TimeDelta, Utc};
use prost_types::{FieldMask, Timestamp};
use stead_api::v1;
use tokio::time::Instant;
use tonic::Status;
use uuid::Uuid;

use super::{
    core::Principal,
    mask::{ReadMask, apply},
    refusal::{self, invalid},
    resource::{Resource, check},
    rules::EXACT_INTEGER,
};

/// More of a kind than this in a fake is a test that went astray.
const MOST: usize = 100_000;
const PURGE: TimeDelta = TimeDelta::days(30);

/// Everything that the fake keeps.
#[derive(Debug)]
pub(super) struct State {
    pub(super) products: Rows<v1::Product>,
    pub(super) users: Rows<v1::User>,
    pub(super) tenants: Rows<v1::Tenant>,
    pub(super) chance: fastrand::Rng,
    /// What time it was at a moment of the runtime's clock.
    pub(super) clock: (DateTime<Utc>, Instant),
    /// The answers to writes, by their keys.
    pub(super) answers: HashMap<Key, Kept>,
    pub(super) keys: VecDeque<Key>,
}

/// Tenant, subject, method and request id.
pub(super) type Key = (Uuid, String, &'static str, Uuid);

/// What a write was, and what it was answered.
#[derive(Clone, Debug)]
pub(super) struct Kept {
    pub(super) mark: u64,
    pub(super) answer: Vec<u8>,
}

/// Those of one kind, in the order of their creation.
#[derive(Debug)]
pub(super) struct Rows<R> {
    pub(super) list: Vec<Row<R>>,
    places: HashMap<(Uuid, Uuid), usize>,
}

impl<R> Default for Rows<R> {
    fn default() -> Self {
        Self { list: Vec::new(), places: HashMap::new() }
    }
}

#[derive(Clone, Debug)]
pub(super) struct Row<R> {
    pub(super) tenant: Uuid,
    id: Uuid,
    revision: i64,
    pub(super) is_live: bool,
    pub(super) message: R,
}

pub(super) fn hash(parts: impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    parts.hash(&mut hasher);
    hasher.finish()
}

fn etag(id: Uuid, revision: i64) -> String {
    let mut token = revision.to_be_bytes().to_vec();
    token.extend(hash((id, revision)).to_be_bytes());
    token.extend(&hash((revision, id)).to_be_bytes()[..2]);
    format!("\"{}\"", URL_SAFE_NO_PAD.encode(token))
}

impl State {
    pub(super) fn now(&self) -> DateTime<Utc> {
        let (then, at) = self.clock;
        then + TimeDelta::from_std(at.elapsed()).unwrap_or_default()
    }

    fn stamp(&self) -> Timestamp {
        let micros = self.now().timestamp_micros();
        Timestamp { seconds: micros.div_euclid(1_000_000), nanos: micros.rem_euclid(1_000_000) as i32 * 1000 }
    }

    pub(super) fn draw_id(&mut self) -> Uuid {
        let millis = u64::try_from(self.now().timestamp_millis()).unwrap_or_default();
        let chance = self.chance.u128(..).to_be_bytes();
        let mut tail = [0; 10];
        tail.copy_from_slice(&chance[..10]);
        uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
    }

    fn place<R: Resource>(&mut self, tenant: Uuid, id: Uuid) -> Option<usize> {
        R::rows(self).places.get(&(tenant, id)).copied()
    }

    /// One by its id.
    pub(super) fn find<R: Resource>(&mut self, tenant: Uuid, id: Uuid, deleted_too: bool) -> Option<R> {
        let place = self.place::<R>(tenant, id)?;
        let row = &R::rows(self).list[place];
        (row.is_live || deleted_too).then(|| row.message.clone())
    }

    /// One by its name.
    pub(super) fn get<R: Resource>(
        &mut self,
        tenant: Uuid,
        name: &str,
        deleted_too: bool,
        mask: Option<&FieldMask>,
    ) -> Result<R, Status> {
        let id = id_of::<R>("name", name)?;
        let mask = ReadMask::read::<R>(mask)?;
        let found = self.find(tenant, id, deleted_too);
        found.map(|message| mask.applied(message)).ok_or_else(|| missing::<R>(id))
    }

    /// A live one by what no other has.
    pub(super) fn lookup<R: Resource>(
        &mut self,
        tenant: Uuid,
        field: &str,
        text: &str,
        mask: Option<&FieldMask>,
    ) -> Result<R, Status> {
        if text.is_empty() {
            return Err(invalid(field, "is required", "FIELD_RULE_BROKEN"));
        }
        let mask = ReadMask::read::<R>(mask)?;
        let found = R::rows(self).holder(tenant, field, text).map(|row| mask.applied(row.message.clone()));
        found.ok_or_else(|| refusal::not_found(R::KIND, text))
    }

    pub(super) fn create<R: Resource>(
        &mut self,
        principal: &Principal,
        tenant: Uuid,
        mut message: R,
        id: &str,
        keeps: bool,
    ) -> Result<R, Status> {
        let id_field = format!("{}_id", R::KIND);
        let id = match id {
            "" => self.draw_id(),
            text => Uuid::try_parse(text)
                .map_err(|_| invalid(&id_field, "is not a UUID: send one, or nothing", "FIELD_RULE_BROKEN"))?,
        };
        message.complete();
        check(&message)?;
        if self.place::<R>(tenant, id).is_some() {
            return Err(refusal::taken(R::KIND, &id_field));
        }
        self.admit(tenant, id, &message)?;
        let mut new = R::default();
        R::SETTABLE.iter().for_each(|field| new.take(&message, field));
        new.complete();
        *new.name() = format!("{}/{id}", R::COLLECTION);
        let mut row = Row { tenant, id, revision: 0, is_live: true, message: new };
        self.revise(&mut row, principal);
        let [created, updated, ..] = row.message.times();
        *created = *updated;
        let (answer, rows) = (row.message.clone(), R::rows(self));
        if rows.list.len() >= MOST {
            return Err(refusal::quota_exhausted("rows", MOST));
        }
        if keeps {
            rows.places.insert((tenant, id), rows.list.len());
            rows.list.push(row);
        }
        Ok(answer)
    }

    pub(super) fn update<R: Resource>(
        &mut self,
        (principal, tenant): (&Principal, Uuid),
        mut change: R,
        mask: Option<&FieldMask>,
        allow_missing: bool,
        keeps: bool,
    ) -> Result<R, Status> {
        let field = format!("{}.name", R::KIND);
        let id = id_of::<R>(&field, &change.name().clone())?;
        let etag = change.etag().clone();
        let mut row = match self.live_row::<R>(tenant, id) {
            Some(row) => row,
            // What is deleted is there, and is not created again.
            None if allow_missing && etag.is_empty() && self.place::<R>(tenant, id).is_none() => {
                return self.create(principal, tenant, change, &id.to_string(), keeps);
            }
            None => return Err(missing::<R>(id)),
        };
        let mut message = row.message.clone();
        apply(&mut message, &mut change, mask)?;
        message.complete();
        check(&message)?;
        self.hold(principal, &row, &format!("{}.etag", R::KIND), &etag)?;
        self.admit(tenant, id, &message)?;
        if message != row.message {
            row.message = message;
            self.revise(&mut row, principal);
        }
        Ok(self.put(row, keeps))
    }

    pub(super) fn delete<R: Resource>(
        &mut self,
        (principal, tenant): (&Principal, Uuid),
        name: &str,
        etag: &str,
        allow_missing: bool,
        keeps: bool,
    ) -> Result<R, Status> {
        let id = id_of::<R>("name", name)?;
        let Some(mut row) = self.live_row::<R>(tenant, id) else {
            if !allow_missing {
                return Err(missing::<R>(id));
            }
            let mut nothing = R::default();
            *nothing.name() = format!("{}/{id}", R::COLLECTION);
            return Ok(self.find(tenant, id, true).unwrap_or(nothing));
        };
        self.hold(principal, &row, "etag", etag)?;
        self.revise(&mut row, principal);
        row.is_live = false;
        let [_, updated, deleted, purged] = row.message.times();
        let purge = updated.map(|time| Timestamp { seconds: time.seconds + PURGE.num_seconds(), ..time });
        (*deleted, *purged) = (*updated, purge);
        Ok(self.put(row, keeps))
    }

    pub(super) fn undelete<R: Resource>(
        &mut self,
        (principal, tenant): (&Principal, Uuid),
        name: &str,
        etag: &str,
        keeps: bool,
    ) -> Result<R, Status> {
        let id = id_of::<R>("name", name)?;
        let place = self.place::<R>(tenant, id).ok_or_else(|| missing::<R>(id))?;
        let mut row = R::rows(self).list[place].clone();
        self.hold(principal, &row, "etag", etag)?;
        if row.is_live {
            return Err(refusal::not_deleted(R::KIND));
        }
        self.admit(tenant, id, &row.message)?;
        self.revise(&mut row, principal);
        row.is_live = true;
        let [_, _, deleted, purged] = row.message.times();
        (*deleted, *purged) = (None, None);
        Ok(self.put(row, keeps))
    }

    pub(super) fn adjust(
        &mut self,
        principal: &Principal,
        name: &str,
        delta: i64,
        keeps: bool,
    ) -> Result<v1::Product, Status> {
        let id = id_of::<v1::Product>("name", name)?;
        if delta == 0 || !(-EXACT_INTEGER..=EXACT_INTEGER).contains(&delta) {
            let rule = "is 0 or beyond ±2^53: send how many come in, or minus how many go out";
            return Err(invalid("delta", rule, "FIELD_RULE_BROKEN"));
        }
        let mut row = self.live_row::<v1::Product>(principal.tenant, id).ok_or_else(|| missing::<v1::Product>(id))?;
        let available = row.message.quantity;
        row.message.quantity = match available + delta {
            ..0 => return Err(refusal::insufficient(available)),
            left @ 0..=EXACT_INTEGER => left,
            _ => return Err(refusal::too_many(available)),
        };
        self.revise(&mut row, principal);
        Ok(self.put(row, keeps))
    }

    fn live_row<R: Resource>(&mut self, tenant: Uuid, id: Uuid) -> Option<Row<R>> {
        let place = self.place::<R>(tenant, id)?;
        R::rows(self).list.get(place).filter(|row| row.is_live).cloned()
    }

    fn put<R: Resource>(&mut self, row: Row<R>, keeps: bool) -> R {
        let answer = row.message.clone();
        if let (true, Some(place)) = (keeps, self.place::<R>(row.tenant, row.id)) {
            R::rows(self).list[place] = row;
        }
        answer
    }

    /// Makes the next revision of it.
    fn revise<R: Resource>(&self, row: &mut Row<R>, principal: &Principal) {
        row.revision += 1;
        row.message.sign(row.revision, &principal.subject);
        *row.message.etag() = etag(row.id, row.revision);
        *row.message.times()[1] = Some(self.stamp());
    }

    /// Refuses what another live one has already.
    fn admit<R: Resource>(&mut self, tenant: Uuid, id: Uuid, message: &R) -> Result<(), Status> {
        for field in R::UNIQUE {
            let text = message.text(field);
            let other = R::rows(self).holder(tenant, field, &text).is_some_and(|row| row.id != id);
            if other && !text.is_empty() {
                return Err(refusal::taken(R::KIND, field));
            }
        }
        Ok(())
    }

    /// Refuses a write that expects another revision, or none where the tenant wants one.
    fn hold<R: Resource>(
        &mut self,
        principal: &Principal,
        row: &Row<R>,
        field: &str,
        expected: &str,
    ) -> Result<(), Status> {
        let current = etag(row.id, row.revision);
        if !expected.is_empty() {
            return if expected == current { Ok(()) } else { Err(refusal::stale(&current)) };
        }
        let tenant: Option<v1::Tenant> = self.find(Uuid::nil(), principal.tenant, false);
        if tenant.is_some_and(|tenant| tenant.require_etag) {
            let rule = "is required in this tenant: read the resource and send its etag";
            return Err(invalid(field, rule, "FIELD_RULE_BROKEN"));
        }
        Ok(())
    }
}

impl<R: Resource> Rows<R> {
    fn holder(&self, tenant: Uuid, field: &str, text: &str) -> Option<&Row<R>> {
        let is_same = |row: &&Row<R>| match R::COLLECTION {
            "users" => row.message.text(field).to_lowercase() == text.to_lowercase(),
            _ => row.message.text(field) == text,
        };
        self.list.iter().filter(|row| row.tenant == tenant && row.is_live).find(is_same)
    }
}

fn missing<R: Resource>(id: Uuid) -> Status {
    refusal::not_found(R::KIND, &format!("{}/{id}", R::COLLECTION))
}

pub(super) fn id_of<R: Resource>(field: &str, name: &str) -> Result<Uuid, Status> {
    let id = name.strip_prefix(R::COLLECTION).and_then(|rest| rest.strip_prefix('/'));
    id.and_then(|id| Uuid::try_parse(id).ok()).ok_or_else(|| {
        let rule = format!("is not a name of the form `{}/{{uuid}}`", R::COLLECTION);
        invalid(field, &rule, "FIELD_RULE_BROKEN")
    })
}
