//! `stead audit export`: the log up to now, as one JSON object a line, oldest first.
//! It leaves the shape of an entry to `stead-client`, and an export that goes on to `export`.

use std::path::PathBuf;

use clap::Args;

use super::Question;
use crate::{export::Job, failure::Failure, session::Session};

#[derive(Args, Debug)]
pub(crate) struct ExportArgs {
    /// Where to write; the output unless given. The file appears only when it is complete, and what ended early goes on when
    /// the same command is given again within a day
    file: Option<PathBuf>,
    #[command(flatten)]
    question: Question,
}

pub(crate) async fn run(session: &mut Session, args: ExportArgs) -> Result<(), Failure> {
    let filter = args.question.filter();
    let export = session.client.audit().export().filter(&*filter);
    let job = Job { rows: "audit entries", filter, path: args.file.as_deref(), is_of_a_moment: false };
    job.run(|token| if let Some(token) = token { export.resume(token).items() } else { export.items() }).await
}
