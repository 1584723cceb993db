//! The start gate: a server does not serve from a database whose fences do not stand, and `doctor` says why.
//! Leaves the fences themselves to `isolation`.

use sqlx::AssertSqlSafe;
use stead_harness::{Database, Output, Program, Role, free_port};

use crate::fixture::{SECRET_KEY, SOON, Server, create_key};

async fn doctor(database: &Database, role: Role) -> Output {
    Program::named("stead-server").arg("doctor").env("STEAD_DATABASE_URL", database.url(role)).run().await
}

async fn serve(url: &str) -> Output {
    let program = Program::named("stead-server")
        .arg("serve")
        .env("STEAD_LISTEN", format!("127.0.0.1:{}", free_port()))
        .env("STEAD_ADMIN_LISTEN", format!("127.0.0.1:{}", free_port()))
        .env("STEAD_DATABASE_URL", url)
        .env("STEAD_SECRET_KEYS", SECRET_KEY);
    program.start().wait(SOON).await
}

async fn alter(database: &Database, statement: &str) {
    let mut truth = database.connect(Role::Superuser).await;
    let done = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).execute(&mut truth).await;
    done.unwrap_or_else(|error| panic!("{statement}: {error}"));
}

#[tokio::test]
async fn a_sound_database_passes_and_what_was_looked_at_is_told() {
    let output = doctor(&Database::fresh().await, Role::App).await;
    assert_eq!(output.code, Some(0), "{output:?}");
    assert!(output.stdout.contains("A server may serve from this database."), "{}", output.stdout);
    assert!(!output.stdout.contains("WRONG"), "{}", output.stdout);
}

#[tokio::test]
async fn how_far_the_journal_reaches_and_what_of_it_is_due_or_out_of_place_is_told() {
    let database = Database::fresh().await;
    let told = async |settings: &[(&str, &str)]| {
        let program = Program::named("stead-server").arg("doctor").env("STEAD_DATABASE_URL", database.url(Role::App));
        let output = settings.iter().fold(program, |program, (name, value)| program.env(name, value)).run().await;
        assert!(output.code == Some(0) && !output.stdout.contains("WRONG"), "{output:?}");
        output.stdout
    };
    let month = |ago: i32| {
        format!("to_char((now() at time zone 'utc') - make_interval(months => {ago}), '\"journal_\"YYYY_MM')")
    };
    let reaches =
        |stdout: &str| stdout.lines().find(|line| line.contains("the journal goes back to")).map(str::to_owned);
    let fresh = told(&[]).await;
    let line = reaches(&fresh).expect("how far it reaches");
    assert!(line.ends_with("it is kept for ever: STEAD_JOURNAL_RETENTION_MONTHS is not set"), "{line}");
    assert!(!fresh.lines().any(|line| line.starts_with("note   journal_")), "{fresh}");

    database.lend_clock().await;
    let change = |ago: i32, statement: &str| format!("execute format($f${statement}$f$, {});", month(ago));
    let changes = [
        change(6, "alter table stead.journal detach partition stead.%1$I"),
        change(8, "alter table stead.journal detach partition stead.%1$I"),
        change(7, "alter table stead.journal detach partition stead.%1$I; truncate stead.%1$I"),
        change(9, "truncate stead.%1$I"),
    ];
    let past = format!(
        "select set_config('stead.clock', (now() - interval '9 months')::text, false); select stead.maintain_journal(24);
         insert into stead.journal (id, tenant_id, create_time, resource_type, action, actor)
           select gen_random_uuid(), stead.platform_tenant(), now() - make_interval(months => m), 'products', 'access', 'x'
           from generate_series(1, 9) m;
         do $$ begin {} end $$",
        changes.join("\n")
    );
    alter(&database, &past).await;
    let kept = told(&[("STEAD_JOURNAL_RETENTION_MONTHS", "6")]).await;
    let line = reaches(&kept).expect("how far it reaches");
    assert!(line.ends_with("it is kept for 6 months before this one"), "{line}");
    let mut truth = database.connect(Role::Superuser).await;
    for (ago, says) in [
        (9, "is past the retention and empty: a server with platform powers drops it"),
        (8, "is detached from the journal, and nobody is shown the entries in it"),
        (7, "is past the retention, empty and detached: a server with platform powers drops it"),
        (6, "is detached from the journal, and nobody is shown the entries in it"),
    ] {
        let name = format!("select {}", month(ago));
        let name: String = sqlx::query_scalar(AssertSqlSafe(name)).fetch_one(&mut truth).await.expect("a name");
        let line = kept.lines().find(|line| line.starts_with(&format!("note   {name}")));
        assert!(line.is_some_and(|line| line.contains(says)), "{name} should be told {says:?}: {kept}");
    }
    assert_eq!(kept.lines().filter(|line| line.starts_with("note   journal_")).count(), 4, "{kept}");
    let kept = told(&[("STEAD_JOURNAL_RETENTION_MONTHS", "4")]).await;
    assert_eq!(kept.matches("is past the retention: a server").count(), 1, "the fifth month back: {kept}");
}

#[tokio::test]
async fn any_other_role_is_refused_by_name() {
    let database = Database::fresh().await;
    for (role, says) in [
        (Role::Superuser, "superuser"),
        (Role::Platform, "connected as stead_platform"),
        (Role::Backup, "connected as stead_backup"),
        (Role::Owner, "connected as"),
    ] {
        let output = doctor(&database, role).await;
        assert_eq!(output.code, Some(1), "{role:?}: {output:?}");
        assert!(output.stdout.contains("WRONG") && output.stdout.contains(says), "{role:?}: {}", output.stdout);
        let served = serve(&database.url(role)).await;
        assert_eq!(served.code, Some(1), "{role:?}: {served:?}");
        assert!(served.stderr.contains(says), "{role:?}: {}", served.stderr);
    }
}

/// A breach, and what must be said of it.
const BREACHES: &[(&str, &str)] = &[
    ("alter table stead.products no force row level security", "stead.products has row security that does not bind its owner"),
    ("alter table stead.users disable row level security", "stead.users has row security switched off"),
    ("create policy hole on stead.products for select to public using (true)", "policy hole on stead.products is for PUBLIC"),
    ("create policy hole on stead.products for select to stead_app using (true)", "policy hole on stead.products is unknown"),
    ("drop policy tenant on stead.products", "stead.products has no policy tenant"),
    ("alter policy tenant on stead.api_keys using (true)", "policy tenant on stead.api_keys is unknown or changed"),
    ("alter table stead.products disable trigger journal", "journal on stead.products is disabled"),
    ("drop trigger journal on stead.users", "stead.users has no journal trigger"),
    ("drop trigger journal_by_hand on stead.sessions", "stead.sessions has no trigger journal_by_hand"),
    ("drop trigger journal_emptied on stead.products", "stead.products has no trigger journal_emptied"),
    ("drop trigger journal_emptied on stead.journal", "stead.journal has no trigger journal_emptied"),
    ("grant delete on stead.products to stead_app", "stead.products may be deleted from by stead_app"),
    ("grant update (tenant_id) on stead.products to stead_app", "stead.products.tenant_id may be changed by stead_app"),
    ("grant insert on stead.journal to stead_app", "stead.journal may be written by stead_app"),
    ("grant select on sequence stead.journal_sequence to stead_app", "stead.journal_sequence may be read or moved on by stead_app"),
    ("grant select on stead.products to public", "stead.products is granted to PUBLIC"),
    ("grant execute on function stead_journal.products() to public", "may be executed by PUBLIC"),
    ("alter function stead_journal.products() owner to stead_owner", "function stead_journal.products() belongs to stead_owner"),
    ("create policy platform_see on stead.products for select to stead_platform using (true)", "policy platform_see on stead.products is unknown or changed"),
    ("alter policy purge_see on stead.users using (true)", "policy purge_see on stead.users is unknown or changed"),
    ("alter policy purge_see on stead.journal using (true)", "policy purge_see on stead.journal is unknown or changed"),
    (
        "alter policy purge on stead.journal using (create_time < (select stead.audit_kept_since()))",
        "policy purge on stead.journal is unknown or changed",
    ),
    ("drop trigger entries_removed on stead.journal", "stead.journal does not record what is removed from it"),
    ("alter table stead.journal disable trigger entries_removed", "entries_removed on stead.journal is disabled"),
    ("grant execute on function stead.retire_journal(integer) to stead_app", "stead_app, which could shorten the journal"),
    (
        "create or replace function stead.current_tenant() returns uuid language sql stable parallel safe
         return '01890000-0000-7000-8000-000000000001'::uuid",
        "stead.current_tenant() does not say which tenant",
    ),
    ("create unique index everywhere on stead.products (sku, tenant_id)", "index everywhere on stead.products does not begin with the tenant"),
    (
        "create unique index ids on stead.users (id);
         alter table stead.sessions add constraint astray foreign key (user_id) references stead.users (id)",
        "foreign key astray on stead.sessions does not begin with the tenant",
    ),
    (
        "set role stead_search;
         create function stead_search.peek() returns setof uuid language sql stable security definer
         begin atomic select p.id from stead.products p; end",
        "function stead_search.peek() runs with the rights of stead_search and is unknown",
    ),
    ("alter function stead_journal.journal_access(text, text, uuid) reset search_path", "on whatever its caller's search path names"),
    ("create table stead.stray (tenant_id uuid)", "stead.stray"),
    ("create view stead.peek as select id from stead.products", "stead.peek"),
    ("alter table stead.products add column secret_price bigint", "stead.products.secret_price is unknown to the journal"),
    (
        "do $$ declare month text := 'stead.journal_' || to_char((now() at time zone 'utc') + interval '1 month', 'YYYY_MM');
         begin execute 'drop table ' || month; end $$",
        "the journal has no partition",
    ),
    ("update stead._sqlx_migrations set checksum = '\\x00' where version = 3", "CHANGED"),
    ("delete from stead._sqlx_migrations where version = 9", "older than this server"),
    (
        "create or replace function stead.min_server() returns bigint language sql stable return 9999",
        "needs a server that knows migration 9999",
    ),
];

#[tokio::test]
async fn each_breach_is_found_and_named() {
    let mut missed = vec![];
    for (breach, says) in BREACHES {
        let database = Database::fresh().await;
        alter(&database, breach).await;
        let output = doctor(&database, Role::App).await;
        if output.code != Some(1) || !output.stdout.lines().any(|line| line.starts_with("WRONG") && line.contains(says))
        {
            missed.push(format!("{breach}\n  should be told {says:?}: {}", output.stdout));
        }
    }
    assert!(missed.is_empty(), "{} of {} breaches:\n{}", missed.len(), BREACHES.len(), missed.join("\n"));
}

/// The same of roles, which belong to a whole cluster.
const ROLE_BREACHES: &[(&str, &str, &str)] = &[
    ("alter role stead_app createrole", "alter role stead_app nocreaterole", "role stead_app may create roles"),
    (
        "grant stead_search to stead_app",
        "revoke stead_search from stead_app",
        "role stead_app is a member of stead_search",
    ),
    ("alter role stead_app bypassrls", "alter role stead_app nobypassrls", "role stead_app has BYPASSRLS"),
    (
        "alter role stead_platform bypassrls",
        "alter role stead_platform nobypassrls",
        "role stead_platform is a superuser or has BYPASSRLS",
    ),
    (
        "alter role stead_journal superuser",
        "alter role stead_journal nosuperuser",
        "role stead_journal is a superuser or has BYPASSRLS",
    ),
    (
        "grant stead_owner to stead_platform",
        "revoke stead_owner from stead_platform",
        "role stead_platform is a member of stead_owner",
    ),
];

#[tokio::test]
async fn a_role_that_could_go_past_the_fences_is_named() {
    let database = Database::alone().await;
    for (breach, mend, says) in ROLE_BREACHES {
        alter(&database, breach).await;
        let output = doctor(&database, Role::App).await;
        let told = output.stdout.lines().any(|line| line.starts_with("WRONG") && line.contains(says));
        assert!(output.code == Some(1) && told, "{breach} should be told {says:?}: {}", output.stdout);
        alter(&database, mend).await;
    }
    let output = doctor(&database, Role::App).await;
    assert_eq!(output.code, Some(0), "{}", output.stdout);
}

#[tokio::test]
async fn no_server_serves_behind_a_breach() {
    for (breach, says) in BREACHES.iter().step_by(7) {
        let database = Database::fresh().await;
        alter(&database, breach).await;
        let output = serve(&database.url(Role::App)).await;
        assert_eq!(output.code, Some(1), "{breach}: {output:?}");
        assert!(output.stderr.contains(says), "{breach}: {}", output.stderr);
    }
}

#[tokio::test]
async fn a_database_without_a_schema_is_told_how_to_get_one() {
    let database = Database::empty().await;
    for output in [doctor(&database, Role::App).await, serve(&database.url(Role::App)).await] {
        assert_eq!(output.code, Some(1));
        let said = format!("{}{}", output.stdout, output.stderr);
        assert!(said.contains("migrate up"), "{said}");
    }
}

#[tokio::test]
async fn settings_are_refused_all_at_once_before_a_port_is_bound() {
    let file = tempfile::NamedTempFile::with_suffix(".toml").expect("a file");
    std::fs::write(file.path(), "no_such_setting = 1\nshutdown_grace = \"soon\"\n").expect("written");
    let program = Program::named("stead-server")
        .arg("serve")
        .arg("--config")
        .arg(file.path())
        .env("STEAD_LISTEN", "0.0.0.0:50051")
        .env("STEAD_DATABASE_POOL_SIZE", "many")
        .env("STEAD_SECRET_KEYS", "id:tooshort");
    let output = program.run().await;
    assert_eq!(output.code, Some(2), "{output:?}");
    for part in ["listen", "plaintext", "pool_size", "secret_keys", "database_url", "no_such_setting", "shutdown_grace"]
    {
        assert!(output.stderr.to_lowercase().contains(part), "nothing of {part}: {}", output.stderr);
    }
    assert!(!output.stderr.contains("tooshort"), "no secret in an error: {}", output.stderr);
}

#[tokio::test]
async fn a_port_in_use_and_an_absent_database_are_one_sentence_each() {
    let database = Database::fresh().await;
    create_key(&database, &["--platform"]).await;
    let taken = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = taken.local_addr().expect("an address");
    let free = format!("127.0.0.1:{}", free_port()).parse().expect("an address");
    let output = Server::program(&database, address, free, &[]).start().wait(SOON).await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains(&address.to_string()) && output.stderr.contains("port"), "{}", output.stderr);
    let nowhere = serve("postgres://stead_app@localhost/stead?host=/nonexistent").await;
    assert_eq!(nowhere.code, Some(1));
    assert!(!nowhere.stderr.contains("panicked") && !nowhere.stderr.is_empty(), "{}", nowhere.stderr);
}
