//! `permissions`: the table of what may be allowed, for people and for scripts.
//! Leaves the table itself to the library's `permissions`.

use clap::{Args, ValueEnum};

use crate::permissions::TABLE;

/// Print the table of permissions and of the roles that bring them
///
/// Beside each permission stands the lowest role that brings it; the higher ones do too: viewer, editor, admin, owner.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stead-server permissions
  stead-server permissions -o json
  stead-server keys create --tenant acme --permissions products.read,products.write")]
pub(super) struct Permissions {
    /// How to print it
    #[arg(short, long, value_enum, default_value_t = Output::Table)]
    output: Output,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Output {
    Table,
    Json,
}

impl Permissions {
    pub(super) fn run(self) -> anyhow::Result<()> {
        match self.output {
            Output::Json => super::say(serde_json::to_string_pretty(TABLE)?),
            Output::Table => {
                let width = TABLE.iter().map(|permission| permission.name.len()).max().unwrap_or(0);
                for permission in TABLE {
                    let platform = if permission.platform { "  (platform keys only)" } else { "" };
                    let role = permission.role.name();
                    super::say(format_args!("{:width$}  {role:6}  {}{platform}", permission.name, permission.allows));
                }
            }
        }
        Ok(())
    }
}
