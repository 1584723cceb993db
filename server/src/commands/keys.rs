//! `keys`: makes, lists and revokes API keys from the command line, as the owner of the database.
//! Leaves what a key is and how it is kept to `auth`.

use anyhow::bail;
use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use clap::{Args, Subcommand};

use crate::auth::ApiKey;
use crate::auth::keys::{self, Holder, NewKey};
use crate::config::{Flags, OwnerDatabase};
use crate::schema;

/// Make, list and revoke API keys without a key, as the owner of the database
///
/// The first key of an installation is made here; later ones may be made over gRPC as well. A key's secret is shown once and
/// kept only as a hash.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  export STEAD_OWNER_DATABASE_URL=postgres://my_deployer:PASSWORD@db.internal/stead
  stead-server keys create --platform                                  an operator's key: makes tenants, acts in any of them
  stead-server keys create --tenant acme                               everything inside the tenant acme
  stead-server keys create --tenant acme --subject services/shop --permissions products.read --expires 90d
  stead-server keys list --tenant acme
  stead-server keys revoke --tenant acme apiKeys/019a3c1e-…

`stead-server permissions` lists what --permissions may name.")]
pub(super) struct Keys {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Make a key; its secret alone goes to standard output, what is said about it to standard error
    Create(Create),
    /// List keys, in the order in which they were made
    List(List),
    /// Revoke a key for good; every server heeds it within a second
    Revoke(Revoke),
}

#[derive(Debug, Args)]
#[group(required = true, multiple = false)]
struct Whose {
    /// Keys of the platform's operators
    #[arg(long)]
    platform: bool,
    /// Keys of the tenant with this slug
    #[arg(long, value_name = "SLUG")]
    tenant: Option<String>,
}

#[derive(Debug, Args)]
struct Create {
    #[command(flatten)]
    whose: Whose,
    /// Whom the key acts as: services/NAME or users/UUID. Keys of one subject may replace one another [default: services/cli]
    #[arg(long, value_name = "SUBJECT", default_value = "services/cli", hide_default_value = true)]
    subject: String,
    /// What people call the key
    #[arg(long, value_name = "TEXT", default_value = "")]
    display_name: String,
    /// What the key may do: names parted by commas, or all
    #[arg(long, value_name = "NAME,…", default_value = "all", value_delimiter = ',')]
    permissions: Vec<String>,
    /// When the key stops working: 12h, 90d or 2y from now, or a time such as 2027-01-31T00:00:00Z. Absent: never
    #[arg(long, value_name = "WHEN", value_parser = expiry)]
    expires: Option<DateTime<Utc>>,
    #[command(flatten)]
    settings: Flags<OwnerDatabase>,
}

#[derive(Debug, Args)]
struct List {
    #[command(flatten)]
    whose: Whose,
    #[command(flatten)]
    settings: Flags<OwnerDatabase>,
}

#[derive(Debug, Args)]
struct Revoke {
    #[command(flatten)]
    whose: Whose,
    /// Which key: apiKeys/UUID, as `keys list` shows it
    #[arg(value_name = "KEY")]
    key: String,
    #[command(flatten)]
    settings: Flags<OwnerDatabase>,
}

impl Whose {
    fn holder(&self) -> Holder<'_> {
        self.tenant.as_deref().map_or(Holder::Platform, Holder::Tenant)
    }
}

impl Keys {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        match self.action {
            Action::Create(create) => create.run().await,
            Action::List(list) => list.run().await,
            Action::Revoke(revoke) => revoke.run().await,
        }
    }
}

impl Create {
    async fn run(self) -> anyhow::Result<()> {
        let holder = self.whose.holder();
        let permissions = match self.permissions.as_slice() {
            [all] if all == "all" => holder.permissions().names().map(str::to_owned).collect(),
            named if named.iter().any(|name| name == "all") => {
                bail!("--permissions takes either all or names, not both")
            }
            named => named.iter().map(|name| name.trim().to_owned()).collect(),
        };
        let key =
            NewKey { subject: self.subject, display_name: self.display_name, permissions, expire_time: self.expires };
        let mut owner = schema::connect(self.settings.resolve()?.owner_database_url.expose()).await?;
        let (key, token) = keys::create(&mut owner, holder, key).await?;
        schema::close(owner).await;
        super::complain(format_args!("made {}; its secret is shown this once:", line(&key)));
        super::say(token.reveal().as_str());
        Ok(())
    }
}

impl List {
    async fn run(self) -> anyhow::Result<()> {
        let mut owner = schema::connect(self.settings.resolve()?.owner_database_url.expose()).await?;
        let keys = keys::list(&mut owner, self.whose.holder()).await?;
        schema::close(owner).await;
        if keys.is_empty() {
            super::complain("there is no key yet: make one with `stead-server keys create`");
        }
        keys.iter().for_each(|key| super::say(line(key)));
        Ok(())
    }
}

impl Revoke {
    async fn run(self) -> anyhow::Result<()> {
        let mut owner = schema::connect(self.settings.resolve()?.owner_database_url.expose()).await?;
        let key = keys::revoke(&mut owner, self.whose.holder(), &self.key).await?;
        schema::close(owner).await;
        super::say(line(&key));
        Ok(())
    }
}

/// One key on one line.
fn line(key: &ApiKey) -> String {
    let time = |time: DateTime<Utc>| time.to_rfc3339_opts(SecondsFormat::Secs, true);
    let state = match (key.revoke_time, key.expire_time) {
        (Some(revoked), _) => format!("revoked {}", time(revoked)),
        (None, Some(expires)) if expires <= Utc::now() => format!("expired {}", time(expires)),
        (None, Some(expires)) => format!("until {}", time(expires)),
        (None, None) => "without end".to_owned(),
    };
    let name = if key.display_name.is_empty() { String::new() } else { format!("  {:?}", key.display_name) };
    format!("apiKeys/{}  {}  {state}{name}  {}", key.id, key.subject, key.permissions.join(","))
}

/// Reads a span from now, or a time.
fn expiry(text: &str) -> Result<DateTime<Utc>, String> {
    let rule = "write 12h, 90d or 2y, or a time such as 2027-01-31T00:00:00Z";
    if let Ok(time) = DateTime::parse_from_rfc3339(text) {
        return Ok(time.to_utc());
    }
    let (number, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let number: i64 = number.parse::<u32>().map_err(|_| rule.to_owned())?.into();
    let span = match unit {
        "h" => TimeDelta::try_hours(number),
        "d" => TimeDelta::try_days(number),
        "y" => TimeDelta::try_days(number * 365),
        _ => None,
    };
    span.and_then(|span| Utc::now().checked_add_signed(span)).ok_or_else(|| rule.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_a_span_or_a_time() {
        assert_eq!(expiry("2027-01-31T00:00:00Z").unwrap().to_rfc3339(), "2027-01-31T00:00:00+00:00");
        let days = (expiry("90d").unwrap() - Utc::now()).num_hours();
        assert!((90 * 24 - 1..=90 * 24).contains(&days), "{days}");
        for wrong in ["", "d", "90", "90w", "-1d", "soon", "4294967295y", "9€"] {
            assert!(expiry(wrong).is_err(), "{wrong}");
        }
    }
}
