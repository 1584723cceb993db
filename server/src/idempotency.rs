//! Request ids (AIP-155): the write's own statement keeps its answer, and a retry finds it instead of writing again.
//! It leaves the statement to the stores; what they keep is their row as JSON, read back by the row's own type.

use prost::Message;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use tonic::{Response, metadata::MetadataValue};
use uuid::Uuid;

use crate::{
    cache::{Cache, Group, Touched},
    db::{Pool, TenantConnection},
    error::Error,
    principal::{Call, TenantId},
    rules::Violations,
    seal::Seal,
};

/// What a write's statement needs beyond the write.
#[derive(Debug)]
pub struct Write {
    /// For the journal's triggers.
    pub facts: String,
    /// Who writes.
    pub subject: String,
    /// The method, as the key keeps it.
    pub method: &'static str,
    /// The idempotency key, if the caller sent one and the write is to last.
    pub request_id: Option<Uuid>,
    /// The mark of the request under the service's key.
    pub mark: Vec<u8>,
    /// Whether to undo the write after every check.
    pub validate_only: bool,
    request: Vec<u8>,
}

/// An answer to a write.
#[derive(Debug)]
pub struct Outcome<T> {
    /// The answer.
    pub value: T,
    /// Whether it is the kept answer of an earlier call.
    pub replayed: bool,
}

impl<T> Outcome<T> {
    /// The answer on the wire; a replay says so in `stead-idempotent-replay`.
    pub fn answer<M>(self, encode: impl FnOnce(T) -> M) -> Response<M> {
        let mut response = Response::new(encode(self.value));
        if self.replayed {
            response.metadata_mut().insert("stead-idempotent-replay", MetadataValue::from_static("true"));
        }
        response
    }
}

impl Write {
    /// Prepares a write; `request` is the message less its input-only secrets.
    pub fn new(
        call: &Call,
        seal: &Seal,
        request: &impl Message,
        request_id: &str,
        validate_only: bool,
        violations: &mut Violations,
    ) -> Write {
        let request_id = violations.request_id(request_id);
        let request = request.encode_to_vec();
        Write {
            facts: call.journal_facts(request_id),
            subject: call.principal.subject.to_string(),
            method: call.method_name(),
            request_id: request_id.filter(|_| !validate_only),
            mark: seal.mark(&request),
            validate_only,
            request,
        }
    }

    /// A connection to write on, in what `begin` begins: until the write is over nothing that it touches is kept in the cache.
    pub async fn connect(
        &self,
        pool: &Pool,
        tenant: TenantId,
        cache: &Cache,
        (group, touched): (Group, Touched),
    ) -> Result<TenantConnection, Error> {
        let mut db = if self.validate_only {
            pool.tenant(tenant).await?
        } else {
            let (connected, writing) = tokio::join!(pool.tenant(tenant), cache.writing(group, touched));
            let mut db = connected?;
            db.carry(writing);
            db
        };
        self.begin(&mut db).await?;
        Ok(db)
    }

    /// Opens the transaction that `validate_only` undoes; any other write is one statement and needs none.
    pub async fn begin(&self, db: &mut TenantConnection) -> Result<(), Error> {
        if self.validate_only {
            db.begin().await?;
        }
        Ok(())
    }

    /// Begins anew after an attempt that failed and may be made again.
    pub async fn again(&self, db: &mut TenantConnection) -> Result<(), Error> {
        if self.validate_only {
            db.undo().await?;
        }
        self.begin(db).await
    }

    /// The end of `begin`: deferred checks, then nothing is left.
    pub async fn end(&self, db: &mut TenantConnection) -> Result<(), Error> {
        if self.validate_only {
            db.check_and_undo().await?;
        }
        Ok(())
    }
}

/// Tells a write from its own retry: its row if it wrote, the kept answer if it was done before, none if there is no row
/// to write.
///
/// A retry meets its first attempt as a unique violation (of the key, or of what the first attempt inserted), as zero rows
/// (of an etag that the first attempt outdated) or as a bound that it would break now, so the key is read in each case.
pub async fn settle<T: DeserializeOwned>(
    db: &mut TenantConnection,
    seal: &Seal,
    write: &Write,
    attempt: Result<Option<T>, sqlx::Error>,
) -> Result<Option<Outcome<T>>, Error> {
    let nothing = match attempt {
        Ok(Some(value)) => return Ok(Some(Outcome { value, replayed: false })),
        Ok(None) => Ok(None),
        Err(error) if breaks_a_rule(&error) => Err(error),
        Err(error) => return Err(error.into()),
    };
    if let Some(request_id) = write.request_id
        && let Some((mark, answer)) = find(db, write, request_id).await?
    {
        if !seal.marks(&mark, &write.request) {
            return Err(reused());
        }
        let value = serde_json::from_value(answer).map_err(Error::internal)?;
        return Ok(Some(Outcome { value, replayed: true }));
    }
    Ok(nothing?)
}

/// Whether the statement was well and what it met in the database forbade it: classes 22 and 23 of SQLSTATE.
fn breaks_a_rule(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|error| error.code());
    code.is_some_and(|code| code.starts_with("22") || code.starts_with("23"))
}

/// Keeps the answer to a write that found nothing to do, as a write's own statement keeps it: what a retry meets later
/// may have changed.
pub async fn keep(db: &mut TenantConnection, write: &Write, answer: &impl Serialize) -> Result<(), Error> {
    let Some(request_id) = write.request_id else { return Ok(()) };
    let tenant = db.tenant();
    let answer = serde_json::to_value(answer).map_err(Error::internal)?;
    let kept = sqlx::query!(
        "insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response, create_time)
         values ($1, $2, $3, $4, $5, $6, stead.now())
         on conflict do nothing",
        tenant.0,
        write.subject,
        write.method,
        request_id,
        write.mark,
        answer,
    );
    kept.execute(db).await?;
    Ok(())
}

fn reused() -> Error {
    let mut violations = Violations::default();
    violations.add_with_reason(
        "REQUEST_ID_REUSED",
        "request_id",
        "belongs to another request of the last 24 hours: make a new one for each logical call",
    );
    Error::Invalid(violations)
}

async fn find(
    db: &mut TenantConnection,
    write: &Write,
    request_id: Uuid,
) -> Result<Option<(Vec<u8>, Value)>, sqlx::Error> {
    let tenant = db.tenant();
    let row = sqlx::query!(
        "select request_hash, response from stead.request_ids
         where tenant_id = $1 and subject = $2 and method = $3 and request_id = $4",
        tenant.0,
        write.subject,
        write.method,
        request_id,
    )
    .fetch_optional(db)
    .await?;
    Ok(row.map(|row| (row.request_hash, row.response)))
}
