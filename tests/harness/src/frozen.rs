//! A PostgreSQL that stands still, as one does whose disk hangs or whose machine is paused: it answers nothing and closes nothing.
//! Leaves which PostgreSQL that is to `database`.

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use crate::shared::OrSay;

/// Every process of a PostgreSQL, stopped; dropping it lets them go on.
#[derive(Debug)]
pub struct Frozen {
    processes: BTreeSet<u32>,
}

impl Frozen {
    /// Stops the postmaster first, so that it makes no more of them.
    pub(crate) fn from(postmaster: u32) -> Self {
        let processes = BTreeSet::from([postmaster]);
        signal("-STOP", &processes).or_say("PostgreSQL could not be frozen");
        // From here on, whatever happens, they are let go.
        let mut frozen = Self { processes };
        loop {
            let found: BTreeSet<_> = children_of(postmaster).difference(&frozen.processes).copied().collect();
            if found.is_empty() {
                return frozen;
            }
            // One may have ended by itself meanwhile.
            let _ = signal("-STOP", &found);
            frozen.processes.extend(found);
        }
    }
}

impl Drop for Frozen {
    fn drop(&mut self) {
        let _ = signal("-CONT", &self.processes);
    }
}

fn signal(signal: &str, processes: &BTreeSet<u32>) -> Result<(), String> {
    // The shell has one of its own where the program is missing.
    let ids = processes.iter().map(u32::to_string);
    let status = Command::new("sh").args(["-c", "kill \"$@\"", "sh", signal]).args(ids).status();
    match status {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(format!("kill {signal}: {status}")),
        Err(fault) => Err(format!("kill {signal}: {fault}")),
    }
}

fn children_of(parent: u32) -> BTreeSet<u32> {
    let processes = fs::read_dir("/proc").or_say("no list of processes");
    let ids = processes.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    ids.filter(|id| parent_of(*id) == Some(parent)).collect()
}

/// The fourth field of a process's status; the second, its name, may hold anything but ends with the last parenthesis.
fn parent_of(process: u32) -> Option<u32> {
    let status = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    status.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}
