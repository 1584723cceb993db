//! `stead tenants limits`: get, set; and how limits and usage look in a table.
//! It leaves finding the tenant to `tenants`, and who may do so to the service.

use std::str::FromStr;

use clap::Subcommand;
use stead_client::{Limit, LimitsPatch, TenantLimits, TenantUsage};

use super::{find, own_or};
use crate::{
    failure::Failure,
    output::{Column, Shown, thousands},
    session::Session,
    writing::{Writing, written},
};

const SET: &str = "\
A limit is a number, or `plan` to give it back to the tenant's plan. It holds within a second on every server.

Examples:
  stead tenants limits set acme --rows 5000000 --bytes 20000000000
  stead tenants limits set acme --rate 500 --burst plan --reason \"case 1742\"";

#[derive(Debug, Subcommand)]
pub(crate) enum LimitsCommand {
    /// Print what a tenant may use
    Get {
        /// tenants/UUID, the slug, or `tenants/current` for your own
        #[arg(value_name = "NAME_OR_SLUG", default_value = "tenants/current")]
        tenant: String,
    },
    /// Give a tenant limits of its own, or give them back to its plan
    #[command(after_help = SET)]
    Set {
        /// tenants/UUID, or the slug
        #[arg(value_name = "NAME_OR_SLUG")]
        tenant: String,
        /// Units that come in a second (1 to 1000000)
        #[arg(long, value_name = "UNITS|plan")]
        rate: Option<Own>,
        /// Units that may be spent at once after a pause (1 to 10000000)
        #[arg(long, value_name = "UNITS|plan")]
        burst: Option<Own>,
        /// Calls that may be in flight at once on one server (1 to 100000)
        #[arg(long, value_name = "CALLS|plan")]
        calls_in_flight: Option<Own>,
        /// Live users and products, together
        #[arg(long, value_name = "ROWS|plan")]
        rows: Option<Own>,
        /// What their texts may come to
        #[arg(long, value_name = "BYTES|plan")]
        bytes: Option<Own>,
        /// Change this revision of the tenant only
        #[arg(long)]
        etag: Option<String>,
        #[command(flatten)]
        writing: Writing,
    },
}

/// A limit of the tenant's own, or none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Own(Option<u64>);

impl FromStr for Own {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "plan" => Ok(Self(None)),
            number => {
                let number = number.parse().map_err(|_| "write a whole number, or `plan` for the plan's".to_owned())?;
                Ok(Self(Some(number)))
            }
        }
    }
}

pub(super) async fn run(session: &mut Session, command: LimitsCommand) -> Result<(), Failure> {
    let (client, tenants) = (&session.client, session.client.tenants());
    let limits = match command {
        LimitsCommand::Get { tenant } => tenants.limits(own_or(client, &tenant).await?).await?,
        LimitsCommand::Set { tenant, rate, burst, calls_in_flight, rows, bytes, etag, writing } => {
            let mut patch = LimitsPatch::new();
            for (own, set) in [
                (rate, LimitsPatch::rate_per_second as fn(LimitsPatch, Option<u64>) -> LimitsPatch),
                (burst, LimitsPatch::burst),
                (calls_in_flight, LimitsPatch::calls_in_flight),
                (rows, LimitsPatch::rows),
                (bytes, LimitsPatch::bytes),
            ] {
                if let Some(Own(value)) = own {
                    patch = set(patch, value);
                }
            }
            if patch.is_empty() {
                return Err(Failure::usage("nothing to set: name a limit, such as --rows 5000000 or --rows plan"));
            }
            let id = writing.on(find(client, &tenant).await)?;
            written!(tenants.update_limits(id, patch), writing, on: id, etag: etag)
        }
    };
    session.output.one(&limits)
}

fn most(limit: Limit) -> String {
    limit.value.map_or_else(|| "unlimited".to_owned(), thousands)
}

fn told(limit: Limit) -> String {
    format!("{} ({})", most(limit), limit.source)
}

impl Shown for TenantLimits {
    const MANY: &'static str = "limits";
    const COLUMNS: &'static [Column] = &[Column::whole("ID"), Column::shared("PLAN"), Column::whole("ROWS").right()];

    fn cells(&self) -> Vec<String> {
        vec![self.id.uuid().to_string(), self.plan.clone(), most(self.rows)]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        vec![
            ("name", self.id.to_string()),
            ("plan", self.plan.clone()),
            ("rate_per_second", told(self.rate_per_second)),
            ("burst", told(self.burst)),
            ("calls_in_flight", told(self.calls_in_flight)),
            ("rows", told(self.rows)),
            ("bytes", told(self.bytes)),
            ("etag", self.etag.clone()),
        ]
    }
}

impl Shown for TenantUsage {
    const MANY: &'static str = "usages";
    const COLUMNS: &'static [Column] = &[Column::whole("ID"), Column::shared("PLAN"), Column::whole("ROWS").right()];

    fn cells(&self) -> Vec<String> {
        vec![self.id.uuid().to_string(), self.plan.clone(), thousands(self.rows.used)]
    }

    fn fields(&self) -> Vec<(&'static str, String)> {
        let of = |used: u64, limit: Limit| format!("{} of {}", thousands(used), told(limit));
        vec![
            ("name", self.id.to_string()),
            ("plan", self.plan.clone()),
            ("products", thousands(self.products)),
            ("users", thousands(self.users)),
            ("rows", of(self.rows.used, self.rows.limit)),
            ("bytes", of(self.bytes.used, self.bytes.limit)),
            ("calls_in_flight", of(self.calls_in_flight.used, self.calls_in_flight.limit)),
            ("units_left", of(self.units_left, self.burst)),
            ("rate_per_second", told(self.rate_per_second)),
        ]
    }
}
