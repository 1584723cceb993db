//! Every setting of the server: flags over environment over one TOML file over defaults, all faults at once, before a port is bound.
//! Leaves what a setting switches to the module that reads it.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

mod caching;
mod flags;
mod issuers;
mod setting;
mod source;
mod value;

#[cfg(test)]
mod tests;

pub use caching::{Caching, RedisUrl};
pub use flags::Flags;
pub use issuers::{Issuer, Key, Trusted};
pub use setting::{Concern, Setting};
pub use source::{FILE_VARIABLE, Faults, Found, Origin, Reader, Sources};
pub use value::{
    ByteCount, DatabaseUrl, Endpoint, LogFilter, LogFormat, PoolSize, Ratio, Secret, SecretKey, SecretKeys, Value,
};

use setting::settings;

use crate::plans::Plans;

/// The largest request that is read, in bytes. Part of the contract, so no setting.
pub const MESSAGE_BYTES: usize = 4 * 1024 * 1024;

settings! {
    /// Where the service listens.
    Listening {
        /// Address and port of gRPC. Beyond loopback it takes a certificate or an explicit --plaintext.
        listen: SocketAddr = "STEAD_LISTEN", default "127.0.0.1:50051";
        /// Address and port of /metrics, /healthz and /readyz over plain HTTP.
        admin_listen: SocketAddr = "STEAD_ADMIN_LISTEN", default "127.0.0.1:9464";
        /// Serves gRPC without encryption beyond loopback, for a proxy or a mesh in front that encrypts.
        plaintext: bool = "STEAD_PLAINTEXT", default "false";
    }
}

settings! {
    /// How gRPC is encrypted; both settings or none.
    Tls {
        /// PEM file with the certificate that gRPC shows, followed by its intermediates.
        tls_certificate: Option<PathBuf> = "STEAD_TLS_CERTIFICATE";
        /// PEM file with the certificate's private key.
        tls_key: Option<PathBuf> = "STEAD_TLS_KEY";
    }
}

settings! {
    /// How many connections there may be, how long they last, and what their peers may make the service hold.
    Connections {
        /// How many connections there may be at most, each of which takes a file descriptor; one more is closed at once.
        connections: NonZeroUsize = "STEAD_CONNECTIONS", default "4096";
        /// How many of them one address may have, or one /64 network of IPv6; loopback is no exception. Raise it where a proxy brings everybody.
        connections_per_peer: NonZeroUsize = "STEAD_CONNECTIONS_PER_PEER", default "512";
        /// How long a peer may take for TLS and the first frames of HTTP/2 together.
        connection_handshake: Duration = "STEAD_CONNECTION_HANDSHAKE", default "5s";
        /// How long a peer may leave a ping unanswered, which is sent after as long without a word, or take nothing of what is written to it.
        connection_keepalive: Duration = "STEAD_CONNECTION_KEEPALIVE", default "20s";
        /// How long a connection without calls is kept; its client opens another one when it has calls again.
        connection_idle: Duration = "STEAD_CONNECTION_IDLE", default "5m";
        /// How long a connection takes new calls, less up to a tenth by chance; then its client opens another one, perhaps to another server.
        connection_age: Duration = "STEAD_CONNECTION_AGE", default "1h";
        /// What requests that are not answered yet and answers that are not taken yet may take in memory together; one peer has half of it.
        message_memory: ByteCount = "STEAD_MESSAGE_MEMORY", default "64MiB";
    }
}

settings! {
    /// Where the data is.
    Database {
        /// The database, as the role stead_app.
        database_url: DatabaseUrl = "STEAD_DATABASE_URL";
        /// The same database, as the role stead_platform. Without it the server has no powers over tenants and does no upkeep.
        platform_database_url: Option<DatabaseUrl> = "STEAD_PLATFORM_DATABASE_URL";
        /// How many connections the service holds at most, and one beside them; auto is two for each core, at least 4 and at
        /// most 64. Platform powers take 5 more.
        database_pool_size: PoolSize = "STEAD_DATABASE_POOL_SIZE", default "auto";
        /// How long a call waits for a connection before it is refused as UNAVAILABLE.
        database_acquire_timeout: Duration = "STEAD_DATABASE_ACQUIRE_TIMEOUT", default "500ms";
    }
}

settings! {
    /// How long the journal is kept.
    Retention {
        /// How many whole months of the journal are kept before the current one, at least 3; older ones are dropped for good,
        /// by servers with platform powers, on which it should be alike. Absent: none is ever dropped.
        journal_retention_months: Option<NonZeroUsize> = "STEAD_JOURNAL_RETENTION_MONTHS";
    }
}

settings! {
    /// Where the schema is changed and keys are made.
    OwnerDatabase {
        /// The database, as a member of the role stead_owner. Only `migrate` and `keys` take it; a server has no need of it.
        owner_database_url: DatabaseUrl = "STEAD_OWNER_DATABASE_URL";
    }
}

settings! {
    /// What seals page tokens and recognises repeated requests.
    Secrets {
        /// Keys as `stead-server keygen` prints them: the first seals, all open. Replace one by putting the new one first and dropping the old one a day later.
        secret_keys: SecretKeys = "STEAD_SECRET_KEYS";
    }
}

settings! {
    /// How long people stay signed in.
    Sessions {
        /// How long a session lasts after the sign-in or its last extension; using it does not extend it.
        session_idle: Duration = "STEAD_SESSION_IDLE", default "12h";
        /// How long a session lasts however often it is extended.
        session_absolute: Duration = "STEAD_SESSION_ABSOLUTE", default "30d";
    }
}

settings! {
    /// Whose JWTs are taken as credentials.
    Issuance {
        /// A TOML file with the issuers whose JWTs are taken, each with its keys; deploy/issuers.toml is an example. It and the key files that it names are read again within 5 s of a change. Absent: no JWT is taken.
        issuers: Option<PathBuf> = "STEAD_ISSUERS";
    }
}

settings! {
    /// What tenants may use.
    Tenancy {
        /// A TOML file with the plans there are and their limits; deploy/plans.toml is an example, and says what is built in. Read at the start alone. Absent: the plans that are built in.
        plans: Option<PathBuf> = "STEAD_PLANS";
    }
}

settings! {
    /// How calls begin and end.
    Calls {
        /// The deadline of a call that brings none.
        default_deadline: Duration = "STEAD_DEFAULT_DEADLINE", default "10s";
        /// The longest deadline that a call may bring; a longer one is cut to it.
        maximum_deadline: Duration = "STEAD_MAXIMUM_DEADLINE", default "60s";
        /// How many calls may be in flight on this server, health checks left out; one more is refused at once as UNAVAILABLE.
        calls_in_flight: NonZeroUsize = "STEAD_CALLS_IN_FLIGHT", default "1024";
        /// Lets clients with a key read the contract by gRPC reflection.
        reflection: bool = "STEAD_REFLECTION", default "false";
        /// Answers gRPC health and reflection without a key.
        open_health: bool = "STEAD_OPEN_HEALTH", default "false";
        /// How long a stopping server says that it is not ready and still takes calls, so that balancers look elsewhere.
        drain_wait: Duration = "STEAD_DRAIN_WAIT", default "2s";
        /// How long a stopping server waits for calls that have begun.
        shutdown_grace: Duration = "STEAD_SHUTDOWN_GRACE", default "18s";
    }
}

settings! {
    /// What the server tells of itself.
    Telemetry {
        /// A collector that takes traces by OTLP over HTTP, such as http://127.0.0.1:4318. Absent: traces go nowhere.
        otlp_endpoint: Option<Endpoint> = "STEAD_OTLP_ENDPOINT";
        /// The share of calls that are traced, from 0 to 1, where the caller has not decided it.
        trace_sampling: Ratio = "STEAD_TRACE_SAMPLING", default "1";
        /// Log lines as text or as JSON.
        log_format: LogFormat = "STEAD_LOG_FORMAT", default "text";
        /// Which log lines are written: a level or directives by module.
        log: LogFilter = "STEAD_LOG", default "info";
    }
}

impl Listening {
    fn check(&self, reader: &mut Reader<'_>) {
        if self.listen == self.admin_listen && self.listen.port() != 0 {
            reader.fault(format!("listen and admin_listen are both {}: gRPC and HTTP need a port each", self.listen));
        }
    }
}

impl Tls {
    fn check(&self, reader: &mut Reader<'_>) {
        match (&self.tls_certificate, &self.tls_key) {
            (Some(_), None) => reader.fault("tls_certificate is set and tls_key is not: set both or neither"),
            (None, Some(_)) => reader.fault("tls_key is set and tls_certificate is not: set both or neither"),
            _ => {}
        }
        for (key, file) in [("tls_certificate", &self.tls_certificate), ("tls_key", &self.tls_key)] {
            if let Some(file) = file
                && let Err(fault) = std::fs::read(file)
            {
                reader.fault(format!("{key} is {}, which cannot be read: {fault}", file.display()));
            }
        }
    }
}

impl Connections {
    fn check(&self, reader: &mut Reader<'_>) {
        let (tenth, day) = (Duration::from_millis(100), Duration::from_secs(24 * 3600));
        within(reader, "connection_handshake", self.connection_handshake, tenth, Duration::from_secs(60));
        within(reader, "connection_keepalive", self.connection_keepalive, tenth, 10 * Duration::from_secs(60));
        within(reader, "connection_idle", self.connection_idle, tenth, day);
        within(reader, "connection_age", self.connection_age, tenth, 30 * day);
        let least = 4 * MESSAGE_BYTES;
        if self.message_memory.get() < least {
            reader.fault(format!("message_memory is {}: it must hold four messages, 16MiB", self.message_memory));
        }
    }
}

impl Database {
    fn check(&self, reader: &mut Reader<'_>) {
        within(
            reader,
            "database_acquire_timeout",
            self.database_acquire_timeout,
            Duration::from_millis(1),
            Duration::from_secs(60),
        );
    }
}

impl Retention {
    fn check(&self, reader: &mut Reader<'_>) {
        if let Some(months) = self.journal_retention_months
            && !(3..=1200).contains(&months.get())
        {
            let rule = "keep 3 to 1200 months, or leave it out to keep all";
            reader.fault(format!("journal_retention_months is {months}: {rule}"));
        }
    }

    /// The months that are kept before the current one, if any is ever dropped.
    pub fn months(&self) -> Option<i32> {
        self.journal_retention_months.and_then(|months| i32::try_from(months.get()).ok())
    }
}

impl OwnerDatabase {
    fn check(&self, _: &mut Reader<'_>) {}
}

impl Secrets {
    fn check(&self, _: &mut Reader<'_>) {}
}

impl Sessions {
    fn check(&self, reader: &mut Reader<'_>) {
        let (second, year) = (Duration::from_secs(1), Duration::from_secs(365 * 24 * 3600));
        within(reader, "session_idle", self.session_idle, second, year);
        within(reader, "session_absolute", self.session_absolute, second, year);
        if self.session_idle > self.session_absolute {
            reader.fault(format!(
                "session_idle is {:?} and session_absolute {:?}: a session cannot outlast its absolute end",
                self.session_idle, self.session_absolute
            ));
        }
    }
}

impl Issuance {
    fn check(&self, reader: &mut Reader<'_>) {
        if let Some(file) = &self.issuers
            && let Err(faults) = Trusted::read(file)
        {
            faults.into_iter().for_each(|fault| reader.fault(format!("issuers: {fault}")));
        }
    }
}

impl Tenancy {
    fn check(&self, reader: &mut Reader<'_>) {
        for fault in Plans::open(self.plans.as_deref()).err().into_iter().flatten() {
            reader.fault(format!("plans: {fault}"));
        }
    }
}

impl Calls {
    fn check(&self, reader: &mut Reader<'_>) {
        let hour = Duration::from_secs(3600);
        within(reader, "default_deadline", self.default_deadline, Duration::from_millis(1), hour);
        within(reader, "maximum_deadline", self.maximum_deadline, Duration::from_millis(1), hour);
        within(reader, "drain_wait", self.drain_wait, Duration::ZERO, Duration::from_secs(300));
        within(reader, "shutdown_grace", self.shutdown_grace, Duration::ZERO, hour);
        if self.default_deadline > self.maximum_deadline {
            reader.fault(format!(
                "default_deadline is {:?} and maximum_deadline {:?}: the default must not exceed the maximum",
                self.default_deadline, self.maximum_deadline
            ));
        }
    }
}

impl Telemetry {
    fn check(&self, _: &mut Reader<'_>) {}
}

fn within(reader: &mut Reader<'_>, key: &str, value: Duration, least: Duration, most: Duration) {
    if value < least || value > most {
        reader.fault(format!("{key} is {value:?}: it must lie between {least:?} and {most:?}"));
    }
}

/// What a server runs by.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listening: Listening,
    /// How it encrypts.
    pub tls: Tls,
    /// Which connections it takes.
    pub connections: Connections,
    /// Where its data is.
    pub database: Database,
    /// What it remembers.
    pub caching: Caching,
    /// How long the journal is kept.
    pub retention: Retention,
    /// What it seals with.
    pub secrets: Secrets,
    /// How long people stay signed in.
    pub sessions: Sessions,
    /// Whose JWTs it takes.
    pub issuance: Issuance,
    /// What tenants may use.
    pub tenancy: Tenancy,
    /// How calls begin and end.
    pub calls: Calls,
    /// What it tells of itself.
    pub telemetry: Telemetry,
}

impl Concern for Config {
    fn settings() -> Vec<&'static Setting> {
        [
            Listening::settings(),
            Tls::settings(),
            Connections::settings(),
            Database::settings(),
            Caching::settings(),
            Retention::settings(),
            Secrets::settings(),
            Sessions::settings(),
            Issuance::settings(),
            Tenancy::settings(),
            Calls::settings(),
            Telemetry::settings(),
        ]
        .concat()
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (listening, tls) = (Listening::read(reader), Tls::read(reader));
        let connections = Connections::read(reader);
        let (database, caching) = (Database::read(reader), Caching::read(reader));
        let retention = Retention::read(reader);
        let secrets = Secrets::read(reader);
        let (sessions, issuance) = (Sessions::read(reader), Issuance::read(reader));
        let tenancy = Tenancy::read(reader);
        let (calls, telemetry) = (Calls::read(reader), Telemetry::read(reader));
        if let (Some(listening), Some(tls)) = (&listening, &tls) {
            check_encryption(reader, listening, tls);
        }
        Some(Self {
            listening: listening?,
            tls: tls?,
            connections: connections?,
            database: database?,
            caching: caching?,
            retention: retention?,
            secrets: secrets?,
            sessions: sessions?,
            issuance: issuance?,
            tenancy: tenancy?,
            calls: calls?,
            telemetry: telemetry?,
        })
    }
}

fn check_encryption(reader: &mut Reader<'_>, listening: &Listening, tls: &Tls) {
    let encrypted = tls.tls_certificate.is_some() || tls.tls_key.is_some();
    if encrypted && listening.plaintext {
        reader.fault("plaintext and tls_certificate exclude each other: drop one of them");
    }
    if !encrypted && !listening.plaintext && !listening.listen.ip().is_loopback() {
        reader.fault(format!(
            "listen is {}, beyond loopback, and nothing encrypts: set tls_certificate and tls_key, or say --plaintext (STEAD_PLAINTEXT=true) if a proxy or a mesh in front does",
            listening.listen
        ));
    }
}

/// Two concerns of one command.
impl<A: Concern, B: Concern> Concern for (A, B) {
    fn settings() -> Vec<&'static Setting> {
        [A::settings(), B::settings()].concat()
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let (a, b) = (A::read(reader), B::read(reader));
        Some((a?, b?))
    }
}

/// Every setting there is, in the order of the reference.
pub fn all_settings() -> Vec<&'static Setting> {
    [Config::settings(), OwnerDatabase::settings()].concat()
}

/// Every key that the TOML file may hold.
fn keys() -> Vec<String> {
    let keys = |setting: &'static Setting| {
        std::iter::once(setting.key.to_owned()).chain(setting.secret.then(|| setting.file_key()))
    };
    all_settings().into_iter().flat_map(keys).collect()
}
