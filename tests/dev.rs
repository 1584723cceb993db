//! `stead-server dev`: everything on one machine, with nothing to install but PostgreSQL, and nothing left running.
//! Leaves how the private PostgreSQL and Redis are made to `stead-postgres` and `stead-redis`.

use std::{collections::BTreeMap, fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use stead_client::{ApiKey, Client, NewProduct};
use stead_harness::{Program, Redis, Running, free_port};
use tempfile::TempDir;

use crate::fixture::grpcurl;

/// The first start makes a cluster and imports the catalogue.
const FIRST: Duration = Duration::from_secs(120);

pub(crate) struct Dev {
    dir: TempDir,
    pub(crate) listen: String,
    admin: String,
}

impl Dev {
    pub(crate) fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("stead-dev-").tempdir_in("/tmp").expect("a directory");
        // The cluster's own user must be able to reach it.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        Self { dir, listen: format!("127.0.0.1:{}", free_port()), admin: format!("127.0.0.1:{}", free_port()) }
    }

    fn program(&self) -> Program {
        let program =
            Program::named("stead-server").arg("dev").args(["--listen", &self.listen, "--admin-listen", &self.admin]);
        program.arg("--data-dir").arg(self.data_dir()).current_dir(self.dir.path())
    }

    /// The working directory.
    pub(crate) fn path(&self) -> &Path {
        self.dir.path()
    }

    fn data_dir(&self) -> std::path::PathBuf {
        self.path().join(".stead")
    }

    /// The first start makes a cluster; this one waits until the lines to paste are printed.
    pub(crate) async fn start(&self, args: &[&str]) -> Running {
        let running = self.program().args(args).start();
        running.line("Stead serves gRPC on", FIRST).await;
        running.line("Rust (", FIRST).await;
        running
    }

    pub(crate) fn environment(&self) -> BTreeMap<String, String> {
        let text = fs::read_to_string(self.data_dir().join("dev.env")).expect("dev.env");
        let variable = |line: &str| {
            let (name, value) = line.split_once('=')?;
            Some((name.to_owned(), value.trim_matches('\'').to_owned()))
        };
        text.lines().filter_map(variable).collect()
    }

    fn client(&self, whose: &str) -> Client {
        let environment = self.environment();
        let key = ApiKey::new(&environment[&format!("STEAD_KEY_{whose}")]);
        Client::builder(&environment["STEAD_ENDPOINT"]).credentials(key).build().expect("a client")
    }
}

pub(crate) async fn stop(running: Running) {
    running.interrupt();
    let output = running.wait(Duration::from_secs(30)).await;
    assert_eq!(output.code, Some(0), "{output:?}");
}

async fn count(client: &Client) -> usize {
    client.products().list().page_size(500).items().collect().await.expect("a list").len()
}

/// Whether any process works in a directory.
fn is_in_use(data_dir: &Path) -> bool {
    let wanted = data_dir.canonicalize().unwrap_or_else(|_| data_dir.to_owned());
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    processes.filter_map(|process| fs::read_link(process.path().join("cwd")).ok()).any(|cwd| cwd.starts_with(&wanted))
}

/// The private Redis of a running `dev`, its child.
fn redis_of(owner: u32) -> std::path::PathBuf {
    let child = |process: &Path| {
        let stat = fs::read_to_string(process.join("stat")).ok()?;
        let (name, rest) = stat.split_once('(')?.1.rsplit_once(") ")?;
        let parent: u32 = rest.split(' ').nth(1)?.parse().ok()?;
        (parent == owner && (name.starts_with("redis") || name.starts_with("valkey"))).then(|| process.join("exe"))
    };
    let processes = fs::read_dir("/proc").expect("/proc").filter_map(Result::ok);
    processes.filter_map(|process| child(&process.path())).next().expect("a private Redis")
}

#[tokio::test]
async fn a_first_start_serves_two_tenants_a_catalogue_and_lines_to_paste() {
    let dev = Dev::new();
    let running = dev.start(&[]).await;
    let (said, _) = running.said();
    for part in [&*dev.listen, &*dev.admin, "acme", "globex", "dev.env", "products list", "grpcurl", "cargo run"] {
        assert!(said.contains(part), "nothing of {part}: {said}");
    }
    assert!(said.lines().any(|line| line.starts_with("It caches in its memory and in a ")), "{said}");
    let redis = redis_of(running.pid());
    let mode = fs::metadata(dev.data_dir().join("dev.env")).expect("dev.env").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let (acme, globex, platform) = (dev.client("ACME"), dev.client("GLOBEX"), dev.client("PLATFORM"));
    assert_eq!((count(&acme).await, count(&globex).await), (2_000, 0));
    let tenants = platform.tenants().list().items().collect().await.expect("tenants");
    assert_eq!(tenants.iter().map(|tenant| tenant.slug.as_str()).collect::<Vec<_>>(), ["acme", "globex"]);
    let pasted = pasted(&said);
    assert!(pasted.len() >= 6, "{pasted:?}");
    for line in pasted {
        let script = format!(
            "set -e; set -a; . '{}'; set +a; export STEAD_KEY=$STEAD_KEY_ACME; {line}",
            dev.data_dir().join("dev.env").display()
        );
        let output = Program::at("/bin/sh").args(["-c", &script]).current_dir(dev.dir.path()).run().await;
        assert_eq!(output.code, Some(0), "{line}: {}", output.stderr);
        assert!(!output.stdout.trim().is_empty() || line.contains("GLOBEX"), "{line} prints nothing");
    }

    let curls: Vec<_> = said.lines().map(str::trim).filter(|line| line.starts_with("grpcurl -")).collect();
    let answers = grpcurl::paste(&curls.join("\n"), &[("STEAD_KEY", &dev.environment()["STEAD_KEY_ACME"])]).await;
    assert_eq!(answers.len(), curls.len());
    assert!(answers.len() >= 3 && answers.iter().all(|answer| !answer.is_empty()), "{answers:?}");
    let health = crate::fixture::raw(&acme.without_credentials(), "/grpc.health.v1.Health/Check", vec![]).await;
    assert_eq!(health.expect("health needs no key here").into_inner(), [0x08, 0x01]);

    globex.products().create(NewProduct::new("mine", "Mine")).send().await.expect("created");
    let keys = dev.environment();
    stop(running).await;
    assert!(!is_in_use(&dev.data_dir()), "PostgreSQL was left running");
    assert!(!redis.exists(), "Redis was left running");

    let again = dev.start(&[]).await;
    assert_eq!((count(&dev.client("ACME")).await, count(&dev.client("GLOBEX")).await), (2_001, 1), "data is kept");
    assert_eq!(dev.environment(), keys, "keys are kept");
    stop(again).await;

    let fresh = dev.start(&["--reset", "--no-seed"]).await;
    assert_eq!((count(&dev.client("ACME")).await, count(&dev.client("GLOBEX")).await), (0, 0));
    stop(fresh).await;
}

/// The lines of the greeting that the command line can run.
fn pasted(said: &str) -> Vec<String> {
    let program =
        |line: &str| line.contains("stead products") || line.contains("stead audit") || line.contains("stead tenants");
    let lines = said.lines().map(str::trim).filter(|line| program(line) && !line.starts_with("cargo"));
    lines.map(str::to_owned).collect()
}

#[tokio::test]
async fn a_kill_leaves_neither_postgresql_nor_redis_behind_and_the_next_start_works() {
    let dev = Dev::new();
    let running = dev.start(&["--no-seed"]).await;
    dev.client("ACME").products().create(NewProduct::new("durable", "Durable")).send().await.expect("created");
    let redis = redis_of(running.pid());
    running.kill();
    running.wait(Duration::from_secs(30)).await;
    let gone = async {
        while is_in_use(&dev.data_dir()) || redis.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.expect("both end with their owner");
    let again = dev.start(&["--no-seed"]).await;
    dev.client("ACME").products().lookup("durable").send().await.expect("what was acknowledged is there");
    stop(again).await;
}

#[tokio::test]
async fn a_redis_that_does_not_start_is_done_without_and_one_that_a_setting_names_is_used() {
    let dev = Dev::new();
    let bin = dev.path().join("bin");
    fs::create_dir(&bin).expect("a directory");
    let script =
        "#!/bin/sh\n[ \"$1\" = --version ] && echo 'Redis server v=7.9.9' && exit\necho 'out of order'\nexit 1\n";
    fs::write(bin.join("redis-server"), script).expect("a program");
    fs::set_permissions(bin.join("redis-server"), fs::Permissions::from_mode(0o755)).expect("permissions");
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").expect("a PATH"));
    let running = dev.program().arg("--no-seed").env("PATH", path).start();
    let line = running.line("It caches in its memory", FIRST).await;
    assert!(line.contains("memory alone: ") && line.contains("redis-server did not start: out of order."), "{line}");
    assert_eq!(count(&dev.client("ACME")).await, 0);
    stop(running).await;

    let own = Redis::start().await;
    let running = dev.program().arg("--no-seed").env("STEAD_REDIS_URL", own.url()).start();
    assert!(running.line("It caches in its memory", FIRST).await.contains("your Redis"));
    stop(running).await;
    assert_eq!(own.ask::<String>(&["PING"]).await, "PONG", "what is the user's is left running");
}

#[tokio::test]
async fn what_is_in_the_way_is_one_sentence_that_says_what_to_do() {
    let dev = Dev::new();
    let taken = tokio::net::TcpListener::bind(&*dev.listen).await.expect("the port");
    let output = dev.program().run().await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains(&dev.listen) && output.stderr.contains("--listen"), "{}", output.stderr);
    assert!(!dev.data_dir().join("postgres").exists(), "nothing was made before the port was found taken");
    drop(taken);
    fs::write(dev.path().join("file"), "x").expect("a file");
    let file = Program::named("stead-server").args([
        "dev",
        "--listen",
        &dev.listen,
        "--admin-listen",
        &dev.admin,
        "--data-dir",
    ]);
    let output = file.arg(dev.path().join("file")).run().await;
    assert_eq!(output.code, Some(1));
    assert!(output.stderr.contains("--data-dir"), "{}", output.stderr);
    let nowhere = dev.program().args(["--pg-bin", "/nonexistent"]).env("PATH", "/nonexistent").run().await;
    assert_eq!(nowhere.code, Some(1));
    assert!(nowhere.stderr.contains("PostgreSQL") && nowhere.stderr.lines().count() <= 6, "{}", nowhere.stderr);
    for output in [output, nowhere] {
        assert!(!output.stderr.contains("panicked"), "{}", output.stderr);
    }
}
