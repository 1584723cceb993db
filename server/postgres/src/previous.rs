//! Deals with what an earlier run left: a PostgreSQL that is still shutting down, or a pid file of one that crashed.
//! Leaves everything that PostgreSQL judges rightly by itself to PostgreSQL.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::kill;
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::place::{Place, remove_file};
use crate::probe::{Answer, PORT, probe};

/// An orphan's watcher signals it within milliseconds; one that still serves after this was started by somebody else.
const SERVING: Duration = Duration::from_secs(3);
const STOPPING: Duration = Duration::from_secs(30);

/// Waits until no PostgreSQL runs on this data, and clears a pid file that would mislead the next one.
pub(crate) async fn wait_out(place: &Place) -> Result<(), Error> {
    let started = Instant::now();
    while let Some(previous) = Previous::read(&place.data) {
        let answer = probe(&previous.socket_dir).await;
        if answer == Answer::Silent && !previous.is_postgres_of(&place.data) {
            return clear(place, &previous);
        }
        let bound = if answer == Answer::Ready { SERVING } else { STOPPING };
        if started.elapsed() > bound {
            return Err(Error::AlreadyRunning { data_dir: place.data.clone(), pid: previous.pid });
        }
        sleep(Duration::from_millis(50)).await;
    }
    Ok(())
}

/// A dead number is left for PostgreSQL to judge, which also looks for orphaned backends; one that now belongs
/// to another program would make it refuse for ever.
fn clear(place: &Place, previous: &Previous) -> Result<(), Error> {
    if !previous.is_alive() {
        return Ok(());
    }
    remove_file(&place.data.join("postmaster.pid"))?;
    for name in [format!(".s.PGSQL.{PORT}"), format!(".s.PGSQL.{PORT}.lock")] {
        remove_file(&place.socket_dir().join(name))?;
    }
    Ok(())
}

/// What `postmaster.pid` says.
struct Previous {
    pid: u32,
    socket_dir: PathBuf,
}

impl Previous {
    fn read(data: &Path) -> Option<Self> {
        let text = fs::read_to_string(data.join("postmaster.pid")).ok()?;
        let lines: Vec<&str> = text.lines().collect();
        let pid = lines.first()?.trim().parse().ok()?;
        Some(Self { pid, socket_dir: PathBuf::from(lines.get(4).copied().unwrap_or_default().trim_end()) })
    }

    fn is_alive(&self) -> bool {
        i32::try_from(self.pid).is_ok_and(|pid| kill(Pid::from_raw(pid), None) != Err(Errno::ESRCH))
    }

    /// Judges by the command line, because the number alone may belong to anything after a reboot or in a new container.
    fn is_postgres_of(&self, data: &Path) -> bool {
        let line = fs::read(format!("/proc/{}/cmdline", self.pid)).or_else(|_| {
            let ps = Command::new("ps").args(["-ww", "-o", "args=", "-p", &self.pid.to_string()]).output();
            ps.map(|output| output.stdout)
        });
        let line = String::from_utf8_lossy(&line.unwrap_or_default()).into_owned();
        line.contains("postgres") && line.contains(&*data.to_string_lossy())
    }
}
