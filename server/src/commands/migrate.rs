//! `migrate`: brings the schema forward, one step back, or says where it stands.
//! Leaves how to `schema`.

use clap::{Args, Subcommand};

use crate::config::{Flags, OwnerDatabase};
use crate::schema::{self, Step, StepState};

/// Change the database's schema, as its owner
#[derive(Debug, Args)]
#[command(after_help = "\
Before the first time, an administrator prepares the database:
  psql \"$ADMIN_URL\" -f deploy/roles.sql
  psql \"$ADMIN_URL\" -c 'grant stead_owner to my_deployer'

Examples:
  export STEAD_OWNER_DATABASE_URL=postgres://my_deployer:PASSWORD@db.internal/stead
  stead-server migrate status
  stead-server migrate up")]
pub(super) struct Migrate {
    #[command(subcommand)]
    direction: Direction,
}

#[derive(Debug, Subcommand)]
enum Direction {
    /// Run every migration that the database lacks
    ///
    /// Each runs in a transaction of its own. Several runners at once take turns, and a migration that was changed after it
    /// had been applied stops everything.
    Up(Settings),
    /// Take the newest migration back, if nothing is lost by it
    Down(Settings),
    /// List the migrations and where each stands
    #[command(name = "status")]
    Standing(Settings),
}

#[derive(Debug, Args)]
struct Settings {
    #[command(flatten)]
    settings: Flags<OwnerDatabase>,
}

impl Migrate {
    pub(super) async fn run(self) -> anyhow::Result<()> {
        let (Direction::Up(Settings { settings })
        | Direction::Down(Settings { settings })
        | Direction::Standing(Settings { settings })) = &self.direction;
        let database = settings.resolve()?;
        let mut owner = schema::connect_as_owner(database.owner_database_url.expose()).await?;
        match self.direction {
            Direction::Up(_) => match schema::up(&mut owner).await?.as_slice() {
                [] => super::say("nothing to do: the schema is up to date"),
                ran => ran
                    .iter()
                    .for_each(|step| super::say(format_args!("applied {:04} {}", step.version, step.description))),
            },
            Direction::Down(_) => match schema::down(&mut owner).await? {
                None => super::say("nothing to do: no migration has been applied"),
                Some(step) => super::say(format_args!("took back {:04} {}", step.version, step.description)),
            },
            Direction::Standing(_) => print(&schema::steps(&mut owner).await?),
        }
        schema::close(owner).await;
        Ok(())
    }
}

fn print(steps: &[Step]) {
    let width = steps.iter().map(|step| step.description.len()).max().unwrap_or(0);
    for Step { version, description, state, reversible } in steps {
        let back = if *reversible { "  can be taken back" } else { "" };
        super::say(format_args!("{version:04}  {description:width$}  {state}{back}"));
    }
    let pending = steps.iter().filter(|step| step.state == StepState::Pending).count();
    super::say(match pending {
        0 => "the schema is up to date".to_owned(),
        1 => "1 migration is pending: run `stead-server migrate up`".to_owned(),
        pending => format!("{pending} migrations are pending: run `stead-server migrate up`"),
    });
}
