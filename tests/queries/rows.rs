//! Rows enough for the planner to be in earnest: 20 tenants with 200,000 products and some of
//! everything else, among 5,000 tenants with nothing.
//! Leaves what is planned on them to others.

use sqlx::AssertSqlSafe;
use stead_harness::{Database, Role};

/// The tables that hold tenants' rows.
pub(crate) const TENANTS_ROWS: &[&str] = &[
    "tenants",
    "tenant_usage",
    "users",
    "user_credentials",
    "api_keys",
    "sessions",
    "products",
    "imports",
    "request_ids",
    "journal",
];

/// Fills a database. Triggers are off meanwhile: the journal gets its rows as the others do.
pub(crate) async fn crowd() -> Database {
    let database = Database::fresh().await;
    let mut truth = database.connect(Role::Superuser).await;
    let tenant = "('00000000-0000-7000-8000-' || lpad(t::text, 12, '0'))::uuid";
    let id = "('0193d9a6-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid";
    let at = "timestamptz '2026-01-01' + n * interval '1 minute'";
    let statements = format!(
        "set session_replication_role = replica;
         insert into stead.tenants (id, slug, display_name)
           select {tenant}, 'crowd-' || t, 'Crowd ' || t from generate_series(1, 20) t;
         insert into stead.tenants (id, slug, display_name)
           select gen_random_uuid(), 'empty-' || n, 'Empty' from generate_series(1, 5000) n;
         insert into stead.tenant_usage (tenant_id, shard)
           select id, shard from stead.tenants, generate_series(0, 15) shard on conflict do nothing;
         insert into stead.products (tenant_id, id, sku, display_name, category, price_currency, price_minor, quantity, tags,
             creator, updater, create_time, delete_time)
           select {tenant}, {id}, 'sku-' || n, 'Product ' || n % 1000, 'games/board', 'EUR', n, n % 50, array['a', 'b'],
             'services/x', 'services/x', {at}, case when n % 20 = 0 then now() end
           from generate_series(1, 20) t, generate_series(1, 10000) n;
         insert into stead.users (tenant_id, id, email, email_key, username, username_key, roles, create_time)
           select {tenant}, {id}, n || '@example.com', n || '@example.com', 'user' || n, 'user' || n,
             case when n = 1 then array['owner'] else '{{}}' end, {at}
           from generate_series(1, 20) t, generate_series(1, 1000) n;
         insert into stead.user_credentials (tenant_id, user_id, password_hash)
           select tenant_id, id, '$argon2id$' || repeat('x', 80) from stead.users;
         insert into stead.api_keys (tenant_id, id, subject, secret_hash, creator, create_time)
           select {tenant}, {id}, 'services/x', decode(repeat('00', 32), 'hex'), 'services/x', {at}
           from generate_series(1, 20) t, generate_series(1, 500) n;
         insert into stead.sessions (tenant_id, id, user_id, secret_hash, peer_network, create_time, expire_time,
             absolute_expire_time)
           select {tenant}, {id}, ('0193d9a6-0000-7000-8000-' || lpad((n % 100 + 1)::text, 12, '0'))::uuid,
             decode(repeat('00', 32), 'hex'), '10.0.0.' || n % 10, {at}, {at} + interval '1 year', {at} + interval '1 year'
           from generate_series(1, 20) t, generate_series(1, 2000) n;
         insert into stead.imports (tenant_id, subject, import_id)
           select {tenant}, 'services/x', {id} from generate_series(1, 20) t, generate_series(1, 500) n;
         insert into stead.request_ids (tenant_id, subject, method, request_id, request_hash, response)
           select {tenant}, 'services/x', 'ProductService/CreateProduct', {id}, decode(repeat('00', 32), 'hex'), '{{}}'
           from generate_series(1, 20) t, generate_series(1, 2000) n;
         insert into stead.journal (id, tenant_id, create_time, resource_type, resource_id, action, actor)
           select {id}, {tenant}, date_trunc('month', now() at time zone 'utc') at time zone 'utc'
               + month * interval '1 month' + n * interval '1 minute', 'products', {id}, 'create', 'services/x'
           from generate_series(1, 20) t, generate_series(1, 300) n, generate_series(0, 12) month;
         set session_replication_role = origin;
         analyze"
    );
    sqlx::raw_sql(AssertSqlSafe(statements)).execute(&mut truth).await.expect("a crowd");
    database
}
