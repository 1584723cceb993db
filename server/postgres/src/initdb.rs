//! Makes a new cluster in a directory beside its place and renames it at the end, so that a half-made one is never taken for whole.
//! Leaves roles, databases and settings to others.

use std::fs::{self, File};
use std::path::Path;
use std::process::Stdio;

use tokio::io::AsyncReadExt;
use tokio::process::Command;

use crate::leash::{Leash, Signal};
use crate::place::{Place, is_empty, remove_tree};
use crate::{Error, Installation, Options, cluster, find};

/// UTF-8 that sorts by code point, under the names that the systems have for it; the last one exists everywhere.
const LOCALES: [&[&str]; 3] = [&["--locale=C.UTF-8"], &["--locale=C", "--lc-ctype=en_US.UTF-8"], &["--locale=C"]];

/// Leaves a complete cluster of this installation's major version in the place.
pub(crate) async fn ensure(installation: &Installation, place: &Place, options: &Options) -> Result<(), Error> {
    place.clear_partials();
    if let Some(made_by) = recognise(place)? {
        let found = installation.major();
        let data_dir = place.data.clone();
        return if made_by == found.to_string() { Ok(()) } else { Err(Error::OtherMajor { data_dir, made_by, found }) };
    }
    let mut reason = String::new();
    for locale in LOCALES {
        let partial = place.make_partial()?;
        match run(installation, place, options, &partial, locale).await? {
            Ok(()) => return finish(place, &partial),
            Err(fault) => reason = fault,
        }
        remove_tree(&partial)?;
        if !reason.contains("locale") {
            break;
        }
    }
    Err(Error::Initdb { data_dir: place.data.clone(), reason })
}

/// The major version of the cluster in the place, none when it is still empty; other people's files are refused.
pub(crate) fn recognise(place: &Place) -> Result<Option<String>, Error> {
    let made_by = find::made_by(&place.data);
    if made_by.is_none() && place.data.exists() && !is_empty(&place.data) {
        return Err(Error::ForeignDirectory { data_dir: place.data.clone() });
    }
    Ok(made_by)
}

async fn run(
    installation: &Installation,
    place: &Place,
    options: &Options,
    partial: &Path,
    locale: &[&str],
) -> Result<Result<(), String>, Error> {
    let program = installation.program("initdb");
    let failed = |fault: std::io::Error| Error::Program { program: program.clone(), reason: fault.to_string() };
    let mut leash = Leash::new(&program).arg("-D").arg(partial).on_loss(Signal::SIGTERM, 5);
    for arg in ["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-instructions"].iter().chain(locale) {
        leash = leash.arg(arg);
    }
    if !options.syncs() {
        leash = leash.arg("--no-sync");
    }
    if options.throwaway {
        leash = leash.delete_on_loss(partial).delete_on_loss(&place.lock_path);
    }
    let dressed = |command: &mut Command| {
        cluster::surround(command, place);
        command.stdout(Stdio::null()).stderr(Stdio::piped());
    };
    let mut child = leash.with(dressed).spawn().map_err(failed)?;
    let mut text = String::new();
    if let Some(mut stderr) = child.take_stderr() {
        stderr.read_to_string(&mut text).await.map_err(failed)?;
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(Ok(()));
    }
    Ok(Err(complaint(&text).unwrap_or_else(|| format!("it ended with {status}"))))
}

/// The lines in which a program of PostgreSQL says what is wrong, joined to one.
fn complaint(text: &str) -> Option<String> {
    let told = |line: &str| {
        let (_, rest) = line.split_once("error: ").or_else(|| line.split_once("detail: "))?;
        Some(rest.trim_end_matches('.').to_owned())
    };
    let lines: Vec<String> = text.lines().filter_map(told).collect();
    let last = || text.lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned);
    if lines.is_empty() { last() } else { Some(lines.join("; ")) }
}

fn finish(place: &Place, partial: &Path) -> Result<(), Error> {
    fs::rename(partial, &place.data).map_err(Error::directory(&place.data, "created"))?;
    let parent = place.data.parent().unwrap_or(Path::new("/"));
    File::open(parent).and_then(|dir| dir.sync_all()).map_err(Error::directory(parent, "written"))
}
