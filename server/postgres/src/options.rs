//! How a cluster is run: durable for people, throwaway for tests.
//! Leaves where it lies to `place` and what listens to `cluster`.

use std::time::Duration;

/// Settings of one cluster; none of them can open a TCP port.
#[derive(Debug, Clone)]
pub struct Options {
    pub(crate) throwaway: bool,
    pub(crate) settings: Vec<(String, String)>,
    pub(crate) start_within: Duration,
    pub(crate) stop_within: Duration,
}

impl Options {
    /// Keeps what was committed through any crash.
    pub fn durable() -> Self {
        Self {
            throwaway: false,
            settings: Vec::new(),
            start_within: Duration::from_secs(30),
            stop_within: Duration::from_secs(20),
        }
    }

    /// Trades durability for speed; when the owner ends without [`stop`](crate::Cluster::stop), the data is deleted.
    pub fn throwaway() -> Self {
        let fast = Self { throwaway: true, stop_within: Duration::from_secs(5), ..Self::durable() };
        fast.set("fsync", "off").set("synchronous_commit", "off").set("full_page_writes", "off")
    }

    /// Keeps the data when the owner ends, as fast as it may be otherwise.
    #[must_use]
    pub fn kept(mut self) -> Self {
        self.throwaway = false;
        self
    }

    /// Gives a setting of `postgresql.conf` a value; the last one given wins.
    #[must_use]
    pub fn set(mut self, name: &str, value: &str) -> Self {
        self.settings.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Whether this cluster is to outlast a crash of the machine.
    pub(crate) fn syncs(&self) -> bool {
        let fsync = self.settings.iter().rev().find(|(name, _)| name == "fsync");
        fsync.is_none_or(|(_, value)| value != "off")
    }

    /// Bounds the wait for the first connection (30 s unless told otherwise).
    #[must_use]
    pub fn start_within(mut self, bound: Duration) -> Self {
        self.start_within = bound;
        self
    }

    /// Bounds the wait for an orderly shutdown (20 s, throwaway 5 s) before connections are cut.
    #[must_use]
    pub fn stop_within(mut self, bound: Duration) -> Self {
        self.stop_within = bound;
        self
    }
}
