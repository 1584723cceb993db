//! `stead tenants`: list, get, create, update, delete.
//! It leaves who may do so to the service.

use clap::Subcommand;
use serde_json::{Map, Value};
use stead_client::{Client, NewTenant, Tenant, TenantId, TenantPatch};

use crate::{
    cli::{Order, Window, Writing},
    failure::Failure,
    output::{Column, Shown, maybe_time, time},
    session::Session,
    values,
};

#[derive(Debug, Subcommand)]
pub(crate) enum TenantsCommand {
    /// Print tenants, in creation order unless --order-by says otherwise (create_time, slug)
    List {
        #[command(flatten)]
        window: Window,
        #[command(flatten)]
        order: Order,
    },
    /// Print one tenant
    Get {
        /// tenants/UUID, the slug, or `tenants/current` for your own
        #[arg(value_name = "NAME_OR_SLUG", default_value = "tenants/current")]
        tenant: String,
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
        /// Change this revision only
        #[arg(long)]
        etag: Option<String>,
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
        #[command(flatten)]
        writing: Writing,
    },
}

pub(crate) async fn run(session: &mut Session, command: TenantsCommand) -> Result<(), Failure> {
    let tenants = session.client.tenants();
    let tenant = match command {
        TenantsCommand::List { window, order } => {
            let list = tenants.list().show_deleted(order.show_deleted).order_by(order.order_by.unwrap_or_default());
            return session.output.list(list, &window).await;
        }
        TenantsCommand::Get { tenant } => match name(&tenant)? {
            Name::Current => tenants.current().send().await?,
            Name::Id(id) => tenants.get(id).send().await?,
            Name::Slug => tenants.lookup(tenant).send().await?,
        },
        TenantsCommand::Create { slug, display_name, plan, settings, require_etag, writing } => {
            let tenant = NewTenant::new(slug, display_name)
                .plan(plan.unwrap_or_default())
                .settings(settings.unwrap_or_default())
                .require_etag(require_etag);
            let mut request = tenants.create(tenant);
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            if writing.validate_only { request.validate_only() } else { request }.send().await?
        }
        TenantsCommand::Update { tenant, slug, display_name, plan, settings, require_etag, etag, writing } => {
            let patch = patch(slug, display_name, plan, settings, require_etag);
            if patch.is_empty() {
                return Err(Failure::usage("nothing to change: name a field, such as --display-name \"Acme Ltd\""));
            }
            let mut request = tenants.update(find(&session.client, &tenant).await?, patch);
            if let Some(etag) = etag {
                request = request.etag(etag);
            }
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            if writing.validate_only { request.validate_only() } else { request }.send().await?
        }
        TenantsCommand::Delete { tenant, etag, writing } => {
            let mut request = tenants.delete(find(&session.client, &tenant).await?);
            if let Some(etag) = etag {
                request = request.etag(etag);
            }
            if let Some(request_id) = writing.request_id {
                request = request.request_id(request_id);
            }
            if writing.validate_only { request.validate_only() } else { request }.send().await?
        }
    };
    session.output.one(&tenant)
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

async fn find(client: &Client, text: &str) -> Result<TenantId, Failure> {
    match name(text)? {
        Name::Id(id) => Ok(id),
        Name::Current => Ok(client.tenants().current().send().await?.id),
        Name::Slug => Ok(client.tenants().lookup(text).send().await?.id),
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
            ("etag", self.etag.clone()),
            ("create_time", time(self.create_time)),
            ("update_time", time(self.update_time)),
            ("delete_time", maybe_time(self.delete_time)),
            ("purge_time", maybe_time(self.purge_time)),
        ]
    }
}
