//! API keys from the command line: made, listed and revoked by whoever deploys, before any key exists to call with.
//! It leaves reading the command line and printing to the commands.

use chrono::Utc;
use sqlx::{Connection, PgConnection, PgTransaction};

pub use super::model::NewKey;
use super::{
    model::{self, ApiKey},
    store::{self, Author},
    token::{Kind, Token},
};
use crate::{error::Error, permissions::Permissions, principal::TenantId, rules::Violations};

/// Whose keys.
#[derive(Clone, Copy, Debug)]
pub enum Holder<'a> {
    /// The platform's operators'.
    Platform,
    /// Those of the live tenant with this slug.
    Tenant(&'a str),
}

impl Holder<'_> {
    /// Everything that such a key may hold.
    pub fn permissions(self) -> Permissions {
        match self {
            Holder::Platform => Permissions::platform(),
            Holder::Tenant(_) => Permissions::tenant(),
        }
    }
}

/// Makes a key; the login must be able to take the role `stead_owner`.
pub async fn create(
    connection: &mut PgConnection,
    holder: Holder<'_>,
    mut new: NewKey,
) -> Result<(ApiKey, Token), Error> {
    let (mut db, tenant) = open(connection, holder).await?;
    let mut violations = Violations::default();
    let user = new.check("", tenant, model::bound(tenant), Utc::now(), &mut violations);
    if let Some(user) = user
        && store::find_roles(&mut *db, tenant, user).await?.is_none()
    {
        violations.add("subject", "is not a live user of the tenant: name another, or a service");
    }
    violations.into_result()?;

    let token = Token::generate(Kind::Key, tenant);
    let creator = creator(&mut db).await?;
    let written = store::insert(&mut *db, author(&facts(&creator, "keys create"), &creator), &token, &new).await?;
    let key = written.ok_or_else(|| Error::internal("an insert wrote nothing"))?;
    db.commit().await?;
    Ok((key, token))
}

/// Every key, revoked ones included, in creation order.
pub async fn list(connection: &mut PgConnection, holder: Holder<'_>) -> Result<Vec<ApiKey>, Error> {
    let (mut db, tenant) = open(connection, holder).await?;
    let keys = store::list_all(&mut db, tenant).await?;
    db.commit().await?;
    Ok(keys)
}

/// Revokes the key `{uuid}` or `apiKeys/{uuid}`; one that is revoked already stays as it is.
pub async fn revoke(connection: &mut PgConnection, holder: Holder<'_>, id: &str) -> Result<ApiKey, Error> {
    let mut violations = Violations::default();
    let name = if id.contains('/') { id.to_owned() } else { format!("apiKeys/{id}") };
    let id = violations.name("id", "apiKeys", &name);
    violations.into_result()?;
    let (mut db, tenant) = open(connection, holder).await?;
    let creator = creator(&mut db).await?;
    let revoked = store::revoke(&mut *db, author(&facts(&creator, "keys revoke"), &creator), tenant, id, &[]).await?;
    let key = match revoked {
        Some(key) => Some(key),
        None => store::find(&mut *db, tenant, id).await?,
    };
    let key = key.ok_or(Error::NotFound { kind: "API key", name })?;
    db.commit().await?;
    Ok(key)
}

/// A transaction as the owner, inside the holder's tenant.
async fn open<'c>(
    connection: &'c mut PgConnection,
    holder: Holder<'_>,
) -> Result<(PgTransaction<'c>, TenantId), Error> {
    let mut db = connection.begin().await?;
    store::become_owner(&mut db).await?;
    let tenant = match holder {
        Holder::Platform => TenantId::PLATFORM,
        Holder::Tenant(slug) => {
            let found = store::find_tenant(&mut db, slug).await?;
            found.ok_or_else(|| Error::NotFound { kind: "tenant", name: slug.to_owned() })?
        }
    };
    store::enter(&mut db, tenant).await?;
    Ok((db, tenant))
}

async fn creator(db: &mut PgConnection) -> Result<String, Error> {
    Ok(format!("roles/{}", store::session_user(db).await?))
}

fn facts(creator: &str, command: &str) -> String {
    serde_json::json!({ "actor": creator, "method": command }).to_string()
}

/// Nobody retries a command under the id of its first attempt, so none is kept.
fn author<'a>(facts: &'a str, creator: &'a str) -> Author<'a> {
    Author { facts, subject: creator, method: "", request_id: None, mark: &[] }
}
