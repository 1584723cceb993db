//! What is read: a thousand products of one tenant, on a database and a Redis of their own, and servers on both.
//! Leaves asking for them to `load`.

use std::{
    net::{Ipv4Addr, SocketAddr},
    time::Duration,
};

use prost::Message;
use serde_json::Value;
use sqlx::PgConnection;
use stead_api::v1::Product;
use stead_client::{ApiKey, Client, Money, NewApiKey, NewProduct, NewTenant};
use stead_harness::{Database, Program, Redis, Role, Running, free_port};

const PRODUCTS: usize = 1000;
const BATCH: usize = 100;
const SECRET_KEY: &str = "bench:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=";
const SOON: Duration = Duration::from_secs(30);

pub(crate) struct Ground {
    database: Database,
    pub(crate) redis: Redis,
    /// Reads the products, and nothing else.
    pub(crate) key: ApiKey,
    pub(crate) names: Vec<String>,
    /// How many bytes a product has in the middle.
    pub(crate) bytes: usize,
    /// A product of about so many.
    pub(crate) typical: Product,
    /// Which texts they are made of.
    pub(crate) texts: &'static str,
}

/// A server with everything on.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) address: SocketAddr,
}

/// How much PostgreSQL and Redis have been asked.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Asked {
    pub(crate) transactions: i64,
    pub(crate) commands: i64,
}

impl Ground {
    pub(crate) async fn new() -> Ground {
        let (database, redis) = (Database::fresh().await, Redis::start().await);
        let created = Program::at(program()).args(["keys", "create", "--platform"]);
        let created = created.env("STEAD_OWNER_DATABASE_URL", database.url(Role::Owner)).run().await;
        assert_eq!(created.code, Some(0), "no key: {}", created.stderr);
        let nobody = ApiKey::new(created.stdout.trim());
        let (names, typical) = (vec![], Product::default());
        let mut ground = Ground { database, redis, key: nobody, names, bytes: 0, typical, texts: "" };
        let server = ground.server(&[]).await;
        ground.furnish(&server).await;
        ground
    }

    /// Puts the products there.
    async fn furnish(&mut self, server: &Server) {
        let platform = client(server, &self.key);
        // Limits are reckoned as for everybody, and never met.
        let tenant = platform.tenants().create(NewTenant::new("bench", "Bench").plan("unlimited")).send().await;
        let tenant = tenant.expect("a tenant");
        let inside = platform.with_tenant(tenant.id);
        let key = |permissions: [&'static str; 2]| NewApiKey::new("services/bench").permissions(permissions);
        let writes = inside.auth().create_key(key(["products.read", "products.write"])).send().await;
        let reads = NewApiKey::new("services/bench").permissions(["products.read"]);
        self.key = inside.auth().create_key(reads).send().await.expect("a key").secret;
        let writer = client(server, &writes.expect("a key").secret);

        let (texts, catalogue) = catalogue();
        self.texts = texts;
        let lines: Vec<&str> = catalogue.lines().collect();
        let spread = (lines.len() / PRODUCTS).max(1);
        let products: Vec<NewProduct> =
            (0..PRODUCTS).map(|nth| product(lines[nth * spread % lines.len()], nth)).collect();
        for products in products.chunks(BATCH) {
            let created = writer.products().batch_create(products.to_vec()).send().await.expect("products");
            self.names.extend(created.iter().map(|product| product.id.to_string()));
        }
        self.weigh(server).await;
    }

    /// Finds a product of the middle size.
    async fn weigh(&mut self, server: &Server) {
        let raw = client(server, &self.key).raw();
        let mut client = stead_api::v1::product_service_client::ProductServiceClient::new(raw);
        let mut read = vec![];
        for name in &self.names {
            let request = stead_api::v1::GetProductRequest { name: name.clone(), ..Default::default() };
            read.push(client.get_product(request).await.expect("a product").into_inner());
        }
        read.sort_by_key(Message::encoded_len);
        self.typical = read.swap_remove(read.len() / 2);
        self.bytes = self.typical.encoded_len();
    }

    /// A server on this ground, with settings beside the usual ones.
    pub(crate) async fn server(&self, settings: &[(&str, &str)]) -> Server {
        let local = || SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let address = local();
        let usual = Program::at(program())
            .arg("serve")
            .env("STEAD_LISTEN", address.to_string())
            .env("STEAD_ADMIN_LISTEN", local().to_string())
            .env("STEAD_DATABASE_URL", self.database.url(Role::App))
            .env("STEAD_PLATFORM_DATABASE_URL", self.database.url(Role::Platform))
            .env("STEAD_REDIS_URL", self.redis.url())
            .env("STEAD_SECRET_KEYS", SECRET_KEY)
            .env("STEAD_LOG", "warn");
        let running = settings.iter().fold(usual, |program, (name, value)| program.env(name, value)).start();
        running.port(address, SOON).await;
        Server { running, address }
    }

    /// How much has been asked until now, by any server.
    pub(crate) async fn asked(&self) -> Asked {
        let mut truth: PgConnection = self.database.connect(Role::Superuser).await;
        let transactions =
            "select xact_commit + xact_rollback from pg_stat_database where datname = current_database()";
        let transactions = sqlx::query_scalar(transactions).fetch_one(&mut truth).await.expect("a count");
        let info: String = self.redis.ask(&["INFO", "stats"]).await;
        let commands = info.lines().find_map(|line| line.strip_prefix("total_commands_processed:"));
        Asked { transactions, commands: commands.and_then(|count| count.trim().parse().ok()).expect("a count") }
    }
}

/// The server of the same build.
fn program() -> std::path::PathBuf {
    let own = std::env::current_exe().expect("this program");
    own.ancestors().nth(2).expect("a folder").join("stead-server")
}

fn client(server: &Server, key: &ApiKey) -> Client {
    let builder = Client::builder(format!("http://{}", server.address)).deadline(SOON).user_agent("bench/1.0");
    builder.credentials(key.clone()).build().expect("a client")
}

/// The texts: which set, and one JSON object a line.
fn catalogue() -> (&'static str, String) {
    let Some(path) = std::env::var_os("STEAD_CATALOGUE").map(std::path::PathBuf::from) else {
        return ("sample", include_str!("../server/sample/catalog.ndjson").to_owned());
    };
    let text = if path.extension().is_some_and(|extension| extension == "gz") {
        let output = std::process::Command::new("gzip").arg("-dc").arg(&path).output().expect("gzip");
        String::from_utf8(output.stdout).expect("UTF-8")
    } else {
        std::fs::read_to_string(&path).unwrap_or_else(|fault| panic!("{}: {fault}", path.display()))
    };
    assert!(!text.is_empty(), "STEAD_CATALOGUE is {}, where nothing is", path.display());
    ("catalogue", text)
}

fn product(line: &str, nth: usize) -> NewProduct {
    let line: Value = serde_json::from_str(line).unwrap_or_else(|fault| panic!("{line}: {fault}"));
    let text = |field: &str| line[field].as_str().unwrap_or_default().to_owned();
    let tags = line["tags"].as_array().into_iter().flatten().filter_map(Value::as_str);
    let cents = line["price"]["minor_units"].as_i64().unwrap_or_default();
    let price: Money = format!("{}.{:02} EUR", cents / 100, cents % 100).parse().expect("a price");
    let attributes = line["attributes"].as_object().cloned().unwrap_or_default();
    // The sample has fewer texts than there are products.
    NewProduct::new(format!("{}~{nth}", text("sku")), text("display_name"))
        .description(text("description"))
        .category(text("category"))
        .tags(tags)
        .attributes(attributes)
        .price(price)
}
