//! `stead tenants`: list, get, create, update, delete, undelete, suspend, resume; limits, usage, invalidate-cache.
//! It leaves what limits look like to `limits`, and who may do so to the service.

mod limits;

use chrono::{DateTime, Utc};
use clap::Subcommand;
use serde_json::{Map, Value};
use stead_client::{Client, NewTenant, Tenant, TenantId, TenantPatch};

use self::limits::LimitsCommand;
use crate::{
    cli::{Choice, Window},
    deleted,
    failure::Failure,
    output::{Column, Shown, maybe_time, note, time},
    session::Session,
    values,
    verbose::told,
    watch::Watch,
    writing::{Writing, if_there, nothing_to_delete, written},
};

pub(crate) const EXAMPLES: &str = "\
Examples:
  stead tenants list --filter 'state = SUSPENDED OR plan = \"trial\"' --order-by slug
  stead tenants get acme
  stead tenants create --slug acme --display-name \"Acme Ltd\"
  stead tenants suspend acme --reason \"unpaid since May\"
  stead tenants resume acme
  stead tenants limits set acme --rows 5000000 --burst plan
  stead tenants usage
  stead tenants usage --watch
  stead tenants delete acme
  stead tenants undelete acme
  stead --tenant acme products list";

const FILTERS: &str = "\
A filter compares fields (slug, plan, state, create_time, display_name, require_etag, update_time, delete_time) with \
values by =, !=, <, <=, >, >=, or by : for has; a * at the end of a text stands for any end. AND, OR and NOT join \
comparisons; OR binds tighter than AND, so write parentheses.

Examples:
  stead tenants list --filter 'plan = \"trial\" AND state = ACTIVE' --count
  stead tenants list --filter 'state = DELETED' --show-deleted";

#[derive(Debug, Subcommand)]
pub(crate) enum TenantsCommand {
    /// Print tenants, in creation order unless --order-by says otherwise (create_time, slug)
    #[command(after_help = FILTERS)]
    List {
        #[command(flatten)]
        window: Window,
        #[command(flatten)]
        choice: Choice,
    },
    /// Print one tenant
    Get {
        /// tenants/UUID, the slug, or `tenants/current` for your own
        #[arg(value_name = "NAME_OR_SLUG", default_value = "tenants/current")]
        tenant: String,
        /// Print it even if it is deleted (by tenants/UUID only)
        #[arg(long)]
        show_deleted: bool,
    },
    /// Create a tenant
    Create {
        /// Its short name at login and in tools
        #[arg(long)]
        slug: String,
        /// What people call it
        #[arg(long)]
        display_name: String,
        /// The plan that sets limits and quotas
        #[arg(long)]
        plan: Option<String>,
        /// Free settings, a JSON object
        #[arg(long, value_name = "JSON", value_parser = values::object)]
        settings: Option<Map<String, Value>>,
        /// Whether updates and deletes in it must carry an etag
        #[arg(long)]
        require_etag: bool,
        /// How many days its audit entries are kept (30 to 3650; without it, as long as the platform keeps them)
        #[arg(long, value_name = "DAYS")]
        audit_retention_days: Option<u32>,
        /// The id to give it, a UUID
        #[arg(long, value_name = "UUID")]
        id: Option<TenantId>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Change the fields that are named
    Update {
        /// tenants/UUID, or the slug
        #[arg(value_name = "NAME_OR_SLUG")]
        tenant: String,
        /// Another slug
        #[arg(long)]
        slug: Option<String>,
        /// Another display name
        #[arg(long)]
        display_name: Option<String>,
        /// Another plan
        #[arg(long)]
        plan: Option<String>,
        /// Other free settings, a JSON object
        #[arg(long, value_name = "JSON", value_parser = values::object)]
        settings: Option<Map<String, Value>>,
        /// Whether updates and deletes in it must carry an etag
        #[arg(long, value_name = "true|false")]
        require_etag: Option<bool>,
        /// How many days its audit entries are kept (30 to 3650; 0: as long as the platform keeps them)
        #[arg(long, value_name = "DAYS")]
        audit_retention_days: Option<u32>,
        /// Change this revision only
        #[arg(long)]
        etag: Option<String>,
        /// Create it under this id where there is none (by tenants/UUID only)
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        writing: Writing,
    },
    /// Mark a tenant as deleted: its keys stop working, its rows are kept until the purge
    Delete {
        /// tenants/UUID, or the slug
        #[arg(value_name = "NAME_OR_SLUG")]
        tenant: String,
        /// Delete this revision only
        #[arg(long)]
        etag: Option<String>,
        /// Be content where there is none
        #[arg(long)]
        allow_missing: bool,
        #[command(flatten)]
        writing: Writing,
    },
    /// Bring a deleted tenant back with everything that was its own
    Undelete {
        /// tenants/UUID, or the slug that it had
        #[arg(value_name = "NAME_OR_SLUG")]
        tenant: String,
        /// Bring back this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Refuse a tenant's callers from now on, within a second on every server
    Suspend {
        /// tenants/UUID, or the slug
        #[arg(value_name = "NAME_OR_SLUG")]
        tenant: String,
        /// Suspend this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// Serve a suspended tenant's callers again, within a second on every server
    Resume {
        /// tenants/UUID, or the slug
        #[arg(value_name = "NAME_OR_SLUG")]
        tenant: String,
        /// Resume this revision only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
    /// What a tenant may use, and whether its plan says so
    #[command(subcommand)]
    Limits(LimitsCommand),
    /// Print what a tenant uses beside what it may use
    Usage {
        /// tenants/UUID, the slug, or `tenants/current` for your own
        #[arg(value_name = "NAME_OR_SLUG", default_value = "tenants/current")]
        tenant: String,
        #[command(flatten)]
        watch: Watch,
    },
    /// Drop what every server keeps of a tenant's answers, so that the next reads come from the database
    InvalidateCache {
        /// tenants/UUID, the slug, or `tenants/current` for your own
        #[arg(value_name = "NAME_OR_SLUG", default_value = "tenants/current")]
        tenant: String,
    },
}

pub(crate) async fn run(session: &mut Session, command: TenantsCommand) -> Result<(), Failure> {
    let (client, tenants) = (&session.client, session.client.tenants());
    let tenant = match command {
        TenantsCommand::List { window, choice } => {
            return session.output.list(choice.of(tenants.list()), &window).await;
        }
        TenantsCommand::Get { tenant, show_deleted } => match name(&tenant)? {
            Name::Current => told(tenants.current().answer().await?),
            Name::Id(id) => told(tenants.get(id).show_deleted(show_deleted).answer().await?),
            Name::Slug => told(tenants.lookup(tenant).answer().await?),
        },
        TenantsCommand::Create {
            slug,
            display_name,
            plan,
            settings,
            require_etag,
            audit_retention_days,
            id,
            writing,
        } => {
            let tenant = NewTenant::new(slug, display_name)
                .plan(plan.unwrap_or_default())
                .settings(settings.unwrap_or_default())
                .require_etag(require_etag)
                .audit_retention_days(audit_retention_days.filter(|days| *days > 0));
            let request = tenants.create(tenant);
            let request = if let Some(id) = id { request.id(id) } else { request };
            written!(request, writing)
        }
        TenantsCommand::Update {
            tenant,
            slug,
            display_name,
            plan,
            settings,
            require_etag,
            audit_retention_days,
            etag,
            allow_missing,
            writing,
        } => {
            let patch = patch(slug, display_name, plan, settings, require_etag);
            let patch = match audit_retention_days {
                Some(days) => patch.audit_retention_days(Some(days).filter(|days| *days > 0)),
                None => patch,
            };
            if patch.is_empty() {
                return Err(Failure::usage("nothing to change: name a field, such as --display-name \"Acme Ltd\""));
            }
            let id = match (name(&tenant)?, allow_missing) {
                (Name::Id(id), _) => id,
                (_, false) => writing.on(find(client, &tenant).await)?,
                (_, true) => return Err(Failure::usage("--allow-missing takes the id to give it: name tenants/UUID")),
            };
            let request = tenants.update(id, patch);
            let request = if allow_missing { request.allow_missing() } else { request };
            written!(request, writing, on: id, etag: etag)
        }
        TenantsCommand::Delete { tenant, etag, allow_missing: false, writing } => {
            let id = writing.on(find(client, &tenant).await)?;
            written!(tenants.delete(id), writing, on: id, etag: etag)
        }
        TenantsCommand::Delete { tenant, etag, writing, .. } => {
            let gone = match if_there(find(client, &tenant).await)? {
                Some(id) => written!(tenants.delete(id).allow_missing(), writing, on: id, etag: etag),
                None => None,
            };
            match gone {
                Some(gone) => gone,
                None => return nothing_to_delete(&tenant),
            }
        }
        TenantsCommand::Undelete { tenant, etag, writing } => {
            let id = match name(&tenant)? {
                Name::Id(id) => id,
                Name::Current => return Err(Failure::usage("your own tenant is not deleted, or you could not ask")),
                Name::Slug => writing.on(deleted::only(tenants.list(), ("slug", &tenant), life).await)?.id,
            };
            written!(tenants.undelete(id), writing, on: id, etag: etag)
        }
        TenantsCommand::Suspend { tenant, etag, writing } => {
            let id = writing.on(find(client, &tenant).await)?;
            written!(tenants.suspend(id), writing, on: id, etag: etag)
        }
        TenantsCommand::Resume { tenant, etag, writing } => {
            let id = writing.on(find(client, &tenant).await)?;
            written!(tenants.resume(id), writing, on: id, etag: etag)
        }
        TenantsCommand::Limits(command) => return limits::run(session, command).await,
        TenantsCommand::Usage { tenant, watch } => {
            let id = own_or(client, &tenant).await?;
            let print = async |session: &mut Session| session.output.one(&tenants.usage(id).await?);
            return watch.over(session, print).await;
        }
        TenantsCommand::InvalidateCache { tenant } => {
            tenants.invalidate_cache(own_or(client, &tenant).await?).await?;
            note("nothing of it is kept any more: the next reads come from the database");
            return Ok(());
        }
    };
    session.output.one(&tenant)
}

fn life(tenant: &Tenant) -> (String, Option<DateTime<Utc>>) {
    (tenant.id.to_string(), tenant.delete_time)
}

enum Name {
    Current,
    Id(TenantId),
    Slug,
}

fn name(text: &str) -> Result<Name, Failure> {
    match text {
        "tenants/current" => Ok(Name::Current),
        _ if text.starts_with("tenants/") => text.parse().map(Name::Id).map_err(Failure::usage),
        _ => Ok(Name::Slug),
    }
}

/// None for the caller's own tenant.
async fn own_or(client: &Client, text: &str) -> Result<Option<TenantId>, Failure> {
    match name(text)? {
        Name::Current => Ok(None),
        Name::Id(id) => Ok(Some(id)),
        Name::Slug => find(client, text).await.map(Some),
    }
}

async fn find(client: &Client, text: &str) -> Result<TenantId, Failure> {
    match name(text)? {
        Name::Id(id) => Ok(id),
        Name::Current => Ok(client.tenants().current().read_mask(["name"]).send().await?.id),
        Name::Slug => Ok(client.tenants().lookup(text).read_mask(["name"]).send().await?.id),
    }
}

fn patch(
    slug: Option<String>,
    display_name: Option<String>,
    plan: Option<String>,
    settings: Option<Map<String, Value>>,
    require_etag: Option<bool>,
) -> TenantPatch {
    let mut patch = TenantPatch::new();
    if let Some(slug) = slug {
        patch = patch.slug(slug);
    }
    if let Some(display_name) = display_name {
        patch = patch.display_name(display_name);
    }
    if let Some(plan) = plan {
        patch = patch.plan(plan);
    }
    if let Some(settings) = settings {
        patch = patch.settings(settings);
    }
    if let Some(require_etag) = require_etag {
        patch = patch.require_etag(require_etag);
    }
    patch
}

impl Shown for Tenant {
    const MANY: &'static str = "tenants";
    const COLUMNS: &'static [Column] = &[
        Column::whole("ID"),
        Column::whole("SLUG"),
        Column::shared("NAME"),
        Column::shared("PLAN"),
        Column::whole("STATE"),
    ];

    fn cells(&self) -> Vec<String> {
        let state = if self.delete_time.is_some() { "deleted".to_owned() } else { self.state.to_string() };
        vec![self.id.uuid().to_string(), self.slug.clone(), self.display_name.clone(), self.plan.clone(), state]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let settings = || serde_json::to_string_pretty(&self.settings).unwrap_or_default();
        vec![
            ("name", self.id.to_string()),
            ("slug", self.slug.clone()),
            ("display_name", self.display_name.clone()),
            ("plan", self.plan.clone()),
            ("state", self.state.to_string()),
            ("settings", if self.settings.is_empty() { String::new() } else { settings() }),
            ("require_etag", self.require_etag.to_string()),
            ("audit_retention_days", self.audit_retention_days.map_or_else(String::new, |days| days.to_string())),
            ("etag", self.etag.clone()),
            ("create_time", time(self.create_time)),
            ("update_time", time(self.update_time)),
            ("delete_time", maybe_time(self.delete_time)),
            ("purge_time", maybe_time(self.purge_time)),
        ]
    }
}
