//! The private Redis itself: who may enter, whose it is, what it tells when it cannot start, and that nothing of it stays.
//! Leaves the leash to `stead-postgres`, and freezing and faults to the harness.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

use nix::unistd::Uid;

use crate::{Error, Options, Server, find};

/// Long enough for a loaded machine.
const SOON: Duration = Duration::from_secs(20);

async fn started(options: Options) -> Server {
    Server::start(&find().unwrap(), options).await.unwrap()
}

/// What it answers to these lines on its socket.
fn ask(redis: &Server, lines: &str) -> String {
    let mut stream = UnixStream::connect(redis.socket()).unwrap();
    stream.write_all(format!("{lines}\r\nQUIT\r\n").as_bytes()).unwrap();
    let mut said = String::new();
    stream.read_to_string(&mut said).unwrap();
    said.strip_suffix("+OK\r\n").unwrap_or(&said).to_owned()
}

fn authenticated(redis: &Server, line: &str) -> String {
    let said = ask(redis, &format!("AUTH {}\r\n{line}", redis.password()));
    said.strip_prefix("+OK\r\n").unwrap_or(&said).trim().to_owned()
}

async fn gone(path: &Path) {
    let waiting = async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(SOON, waiting).await.unwrap();
}

#[tokio::test]
async fn it_lets_in_whoever_knows_the_password_which_nobody_else_can_read() {
    let redis = started(Options::default()).await;
    assert!(ask(&redis, "PING").starts_with("-NOAUTH"), "{}", ask(&redis, "PING"));
    assert_eq!(authenticated(&redis, "PING"), "+PONG");
    assert!(redis.address().is_none() && redis.url().starts_with("redis+unix:///tmp/stead-redis-"));

    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(redis.dir()), mode(&redis.dir().join("redis.conf"))), (0o700, 0o600));
    let command = fs::read(format!("/proc/{}/cmdline", redis.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&command).contains(redis.password()));
    let runs_as = fs::metadata(format!("/proc/{}", redis.pid())).unwrap().uid();
    assert_eq!(runs_as, fs::metadata(redis.dir()).unwrap().uid());
    assert!(runs_as != 0 || !Uid::effective().is_root(), "root runs it as somebody else");
    let other = started(Options::default()).await;
    assert_ne!((redis.password(), redis.dir()), (other.password(), other.dir()));
}

#[tokio::test]
async fn it_forgets_what_was_used_longest_ago_and_keeps_nothing_on_disk() {
    let redis = started(Options::default()).await;
    assert_eq!(authenticated(&redis, "CONFIG GET maxmemory-policy").lines().last(), Some("allkeys-lru"));
    assert_eq!(authenticated(&redis, "CONFIG GET maxmemory").lines().last(), Some("67108864"));
    assert_eq!(authenticated(&redis, "CONFIG GET appendonly").lines().last(), Some("no"));
    assert_eq!(authenticated(&redis, "CONFIG GET save"), "*2\r\n$4\r\nsave\r\n$0");
    let small = started(Options::default().set("maxmemory", "3mb")).await;
    assert_eq!(authenticated(&small, "CONFIG GET maxmemory").lines().last(), Some("3145728"), "what was chosen wins");
}

#[tokio::test]
async fn nothing_of_it_stays_stopped_dropped_or_never_started() {
    let stopped = started(Options::default()).await;
    let dir = stopped.dir().to_owned();
    stopped.stop().await.unwrap();
    assert!(!dir.exists());

    let dropped = started(Options::default()).await;
    let (dir, process) = (dropped.dir().to_owned(), format!("/proc/{}/exe", dropped.pid()));
    drop(dropped);
    gone(&dir).await;
    gone(Path::new(&process)).await;

    let root = tempfile::tempdir_in("/tmp").unwrap();
    fs::set_permissions(root.path(), fs::Permissions::from_mode(0o755)).unwrap();
    let kept = started(Options::default().kept_in(&root.path().join("kept"))).await;
    let dir = kept.dir().to_owned();
    kept.stop().await.unwrap();
    assert!(dir.join("redis.conf").exists(), "but where it was asked to stay");
}

#[tokio::test]
async fn killed_it_comes_back_empty_with_the_same_password_at_the_same_place() {
    let mut redis = started(Options::default()).await;
    let url = redis.url();
    assert_eq!(authenticated(&redis, "SET key value"), "+OK");
    redis.kill().await.unwrap();
    assert!(UnixStream::connect(redis.socket()).is_err());
    redis.revive().unwrap();
    redis.ready().await.unwrap();
    assert_eq!((redis.url(), authenticated(&redis, "DBSIZE")), (url, ":0".to_owned()));
}

#[tokio::test]
async fn why_it_did_not_start_is_said_in_its_own_words() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let refused = Server::start(&find().unwrap(), Options::default().port(port)).await.unwrap_err();
    let said = refused.to_string();
    assert!(matches!(refused, Error::Start { .. }) && said.contains("did not start"), "{said}");
    let much = format!("much-{}", std::process::id());
    let wrong = Server::start(&find().unwrap(), Options::default().set("maxmemory", &much)).await.unwrap_err();
    assert!(wrong.to_string().contains("did not start"), "{wrong}");
    let left = fs::read_dir("/tmp").unwrap().flatten().map(|entry| entry.path().join("redis.conf"));
    let left: Vec<_> = left.filter(|path| fs::read_to_string(path).is_ok_and(|text| text.contains(&much))).collect();
    assert!(left.is_empty(), "{left:?}");
}
