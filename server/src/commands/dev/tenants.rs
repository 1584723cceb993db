//! The tenants of `dev` and a key for each, made once; keys that still work are kept.
//! Leaves what a key is to `auth`.

use std::collections::BTreeMap;

use anyhow::Context as _;

use super::database::Database;
use crate::auth::Verifier;
use crate::auth::keys::{self, Holder, NewKey};
use crate::db::Database as Pools;
use crate::{ids, schema};

const TENANTS: [(&str, &str); 2] = [("acme", "Acme Corporation"), ("globex", "Globex Corporation")];

/// The secrets of the keys.
#[derive(Clone)]
pub(super) struct Keys {
    pub(super) acme: String,
    pub(super) globex: String,
    pub(super) platform: String,
}

/// Sees to tenants and keys.
pub(super) async fn prepare(
    database: &Database,
    pools: &Pools,
    remembered: &BTreeMap<String, String>,
) -> anyhow::Result<Keys> {
    make_tenants(database).await?;
    let verifier = Verifier::new(pools.clone());
    let of = async |variable: &str, holder: Holder<'_>| match remembered.get(variable) {
        Some(key) if verifier.principal(key, None, None).await.is_ok() => Ok(key.clone()),
        _ => make_key(database, holder).await,
    };
    Ok(Keys {
        acme: of("STEAD_KEY_ACME", Holder::Tenant("acme")).await?,
        globex: of("STEAD_KEY_GLOBEX", Holder::Tenant("globex")).await?,
        platform: of("STEAD_KEY_PLATFORM", Holder::Platform).await?,
    })
}

async fn make_tenants(database: &Database) -> anyhow::Result<()> {
    let mut platform = schema::connect(&database.url_as("stead_platform")).await?;
    for (slug, display_name) in TENANTS {
        sqlx::query(
            "insert into stead.tenants (id, slug, display_name) select $1, $2, $3
             where not exists (select from stead.tenants where slug = $2 and delete_time is null)",
        )
        .bind(ids::fresh())
        .bind(slug)
        .bind(display_name)
        .execute(&mut platform)
        .await
        .with_context(|| format!("the tenant {slug} cannot be made"))?;
    }
    schema::close(platform).await;
    Ok(())
}

async fn make_key(database: &Database, holder: Holder<'_>) -> anyhow::Result<String> {
    let mut owner = schema::connect(&database.url()).await?;
    let (_, token) = keys::create(&mut owner, holder, NewKey::of_service("dev", holder.permissions())).await?;
    schema::close(owner).await;
    Ok(token.reveal().to_string())
}
