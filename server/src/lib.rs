//! The Stead service: typed, tenant-safe data access on PostgreSQL over gRPC.
//! It leaves the contract to `stead-api`, and starting a process to `main` and the commands.
//!
//! A call travels: [`listener`] → [`stack`] (trace, shed, deadline, authenticate, limits, authorize) → a domain's `service` →
//! what the [`cache`] keeps, or its `store`, one statement on a connection of [`db`] that is in the tenant's context → back.
//! Errors are [`error::Error`] until the edge.

pub mod cache;
pub mod config;
pub mod db;
pub mod error;
pub mod etag;
pub mod export;
pub mod filter;
pub mod idempotency;
pub mod ids;
pub mod journal;
pub mod limits;
pub mod listing;
pub mod mask;
pub mod page;
pub mod permissions;
pub mod plans;
pub mod principal;
pub mod redis;
pub mod rules;
pub mod schema;
pub mod seal;
pub mod telemetry;
pub mod upkeep;

pub mod audit;
pub mod auth;
pub mod products;
pub mod search;
pub mod tenants;
pub mod users;

pub mod admin;
pub mod commands;
pub mod listener;
pub mod stack;

use std::{pin::pin, sync::Arc, time::Duration};

use anyhow::Context;
use sqlx::postgres::PgConnectOptions;
use stead_api::servers::{
    audit_service_server::AuditServiceServer, auth_service_server::AuthServiceServer,
    product_service_server::ProductServiceServer, search_service_server::SearchServiceServer,
    tenant_service_server::TenantServiceServer, user_service_server::UserServiceServer,
};
use tokio::{
    net::TcpListener,
    sync::{Semaphore, watch},
};
use tonic::service::Routes;

use crate::{
    admin::Readiness,
    auth::{Issuers, Verifier},
    cache::Cache,
    config::{Config, MESSAGE_BYTES},
    db::{Database, Pool},
    limits::Limiter,
    listener::{Certificate, Listener},
    plans::Plans,
    redis::Redis,
    seal::Seal,
    stack::Stack,
};

/// How often a running service asks whether PostgreSQL answers.
const PROBE: Duration = Duration::from_secs(2);
/// How long a stopping service waits until PostgreSQL has stopped what the last calls left.
const REST: Duration = Duration::from_secs(1);

/// Runs the service until `stop`, then drains it within the configured bound.
///
/// Both ports are bound and the start gate is passed before the first call is taken; each failure is one sentence.
pub async fn serve(config: &Config, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let gate = bind(config.listening.listen).await?;
    let side = bind(config.listening.admin_listen).await?;
    let certificate = match (&config.tls.tls_certificate, &config.tls.tls_key) {
        (Some(certificate), Some(key)) => Some(Certificate::read(certificate, key)?),
        _ => None,
    };
    let issuers = Issuers::open(config.issuance.issuers.clone())
        .map_err(|faults| anyhow::anyhow!("the issuers have changed since they were checked: {}", faults.join("; ")))?;
    let plans = Plans::open(config.tenancy.plans.as_deref())
        .map_err(|faults| anyhow::anyhow!("the plans have changed since they were checked: {}", faults.join("; ")))?;
    let db = database(config)?;
    let mut stop = pin!(stop);
    tokio::select! {
        () = &mut stop => return Ok(()),
        passed = pass_gate(config) => passed?,
    }

    let (readiness, ready) = watch::channel(Readiness::NotReady("starting".into()));
    let (halt, halted) = watch::channel(());
    let admin = tokio::spawn(admin::serve(side, ready, closed(halted.clone())));
    let upkeep = tokio::spawn(upkeep::run(db.clone(), config.retention.months(), closed(halted.clone())));
    let seal = Arc::new(Seal::new(&config.secrets.secret_keys));
    let (cache, redis) = cache(config, &db, &seal).await?;
    let following = redis.clone().map(|redis| tokio::spawn(redis.run(closed(halted.clone()))));
    let keeping = tokio::spawn(cache.clone().run(closed(halted.clone())));
    let limiter = Limiter::new(redis);
    let (health, services) = services(config, &db, &seal, &cache, (&plans, &limiter));
    let services = stack::around(services, stack(config, &db, issuers.clone(), plans, limiter));
    let issuers = tokio::spawn(issuers.follow(closed(halted.clone())));
    tracing::info!(grpc = %config.listening.listen, http = %config.listening.admin_listen, "serving");
    let probe = tokio::spawn(probe(db.clone(), readiness.clone(), health.clone()));

    let stopping = async {
        stop.await;
        probe.abort();
        readiness.send_replace(Readiness::NotReady("stopping".into()));
        health.set_service_status("", tonic_health::ServingStatus::NotServing).await;
        // Load balancers need this long to notice; until then calls are taken as before.
        tokio::time::sleep(config.calls.drain_wait).await;
    };
    let (limits, grace) = (config.connections.clone(), config.calls.shutdown_grace);
    Listener { socket: gate, certificate, limits, grace }.serve(services, stopping).await;
    upkeep.abort();
    issuers.abort();
    db.rest(REST).await;
    // What was written last is told to the other servers while the ways to them are open.
    cache.rest(REST).await;
    drop(halt);
    _ = keeping.await;
    if let Some(following) = following {
        _ = following.await;
    }
    admin.await.context("the side port ended badly")?;
    Ok(())
}

/// The cache, and the way to Redis if there is one; both are idle until they run.
async fn cache(config: &Config, db: &Database, seal: &Arc<Seal>) -> anyhow::Result<(Cache, Option<Redis>)> {
    let settings = &config.caching;
    let (database, epoch) = db.app.cache_epoch(false).await?;
    let namespace = format!("{database:x}");
    let redis = settings.redis_url.as_ref().map(|url| Redis::new(url, &namespace)).transpose()?;
    let (memory, life) = (settings.cache_memory.get(), settings.cache_lifetime);
    let cache = Cache::new(memory, life, redis.clone(), Arc::clone(seal), db.app.clone(), epoch);
    Ok((cache, redis))
}

/// Refuses to serve on a database where the fences do not stand.
async fn pass_gate(config: &Config) -> anyhow::Result<()> {
    let mut connection = schema::connect(config.database.database_url.expose()).await?;
    let faults = schema::gate(&mut connection).await?;
    schema::close(connection).await;
    match faults.is_empty() {
        true => Ok(()),
        false => anyhow::bail!("the database is not safe to serve from:\n- {}", faults.join("\n- ")),
    }
}

async fn bind(address: std::net::SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address)
        .await
        .with_context(|| format!("cannot listen on {address}: stop what holds the port, or choose another"))
}

async fn closed(mut halted: watch::Receiver<()>) {
    while halted.changed().await.is_ok() {}
}

fn database(config: &Config) -> anyhow::Result<Database> {
    let settings = &config.database;
    let pool = |role: &'static str, url: &config::DatabaseUrl, size: usize| -> anyhow::Result<Pool> {
        let options: PgConnectOptions =
            url.expose().parse().map_err(|_| anyhow::anyhow!("the database URL of {role} is not a PostgreSQL URL"))?;
        let pool = Pool::new(role, options.application_name("stead"), size, settings.database_acquire_timeout);
        let watched = pool.clone();
        telemetry::watch_pool(role, move || {
            let (idle, used) = watched.counts();
            telemetry::PoolState { used: used as u64, idle: idle as u64, max: size as u64 }
        });
        Ok(pool)
    };
    let size = settings.database_pool_size.get() as usize;
    let app = pool("stead_app", &settings.database_url, size)?;
    let platform = settings.platform_database_url.as_ref().map(|url| pool("stead_platform", url, 4)).transpose()?;
    Ok(Database { app, platform })
}

fn stack(config: &Config, db: &Database, issuers: Issuers, plans: Plans, limiter: Limiter) -> Stack {
    Stack {
        verifier: Verifier::trusting(db.clone(), issuers, plans),
        db: db.clone(),
        limiter,
        places: Arc::new(Semaphore::new(config.calls.calls_in_flight.get())),
        default_deadline: config.calls.default_deadline,
        maximum_deadline: config.calls.maximum_deadline,
        open_health: config.calls.open_health,
    }
}

/// The one list of services.
fn services(
    config: &Config,
    db: &Database,
    seal: &Arc<Seal>,
    cache: &Cache,
    (plans, limiter): (&Plans, &Limiter),
) -> (tonic_health::server::HealthReporter, axum::Router) {
    // One for all who hash, or they would together take more cores than there are.
    let hasher = users::Hasher::new();
    macro_rules! bounded {
        ($server:ident, $domain:ident $(, $more:expr)*) => {
            $server::new($domain::Service::new(db.clone(), Arc::clone(seal) $(, $more)*))
                .max_decoding_message_size(MESSAGE_BYTES)
                .max_encoding_message_size(MESSAGE_BYTES)
        };
    }
    let (health, health_service) = tonic_health::server::health_reporter();
    let mut routes = Routes::new(health_service)
        .add_service(bounded!(TenantServiceServer, tenants, cache.clone(), plans.clone(), limiter.clone()))
        .add_service(bounded!(UserServiceServer, users, cache.clone(), hasher.clone()))
        .add_service(bounded!(AuthServiceServer, auth, cache.clone(), hasher, config.sessions.clone()))
        .add_service(bounded!(ProductServiceServer, products, cache.clone()))
        .add_service(bounded!(SearchServiceServer, search))
        .add_service(bounded!(AuditServiceServer, audit));
    if config.calls.reflection {
        let builder = || {
            tonic_reflection::server::Builder::configure()
                .register_encoded_file_descriptor_set(stead_api::FILE_DESCRIPTOR_SET)
                .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
        };
        // The set is made by the build, so neither can fail; a service without reflection still serves.
        if let (Ok(v1), Ok(v1alpha)) = (builder().build_v1(), builder().build_v1alpha()) {
            routes = routes.add_service(v1).add_service(v1alpha);
        }
    }
    (health, routes.into_axum_router())
}

/// Tells load balancers the truth about PostgreSQL.
async fn probe(db: Database, readiness: watch::Sender<Readiness>, health: tonic_health::server::HealthReporter) {
    loop {
        let (state, status) = match db.app.answers().await {
            Ok(()) => (Readiness::Ready, tonic_health::ServingStatus::Serving),
            Err(_) => {
                (Readiness::NotReady("PostgreSQL does not answer".into()), tonic_health::ServingStatus::NotServing)
            }
        };
        readiness.send_replace(state);
        health.set_service_status("", status).await;
        tokio::time::sleep(PROBE).await;
    }
}

#[cfg(test)]
mod tests;
