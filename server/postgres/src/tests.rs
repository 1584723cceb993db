//! Shows on real PostgreSQL that a cluster keeps data, heals after every kind of cut, and leaves nobody behind.
//! Leaves what needs no PostgreSQL to the files that hold it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid, User};
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::time::{Instant, sleep};

use crate::{Cluster, Error, Installation, Options, find, find_for};

const DATA: &str = "STEAD_TEST_DATA";
const LIFE: &str = "STEAD_TEST_LIFE";

/// A directory that the user PostgreSQL runs as can reach.
fn ground() -> TempDir {
    let dir = tempfile::Builder::new().prefix("stead-pg-").tempdir_in("/tmp").unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
    dir
}

fn installation() -> Installation {
    find(None).unwrap()
}

fn quick() -> Options {
    Options::throwaway()
}

/// Fast as a test wants it, and kept when its owner dies.
fn kept() -> Options {
    Options::durable().set("fsync", "off")
}

async fn open(data: &Path) -> Cluster {
    Cluster::open(&installation(), data, kept()).await.unwrap()
}

fn psql(url: &str, sql: &str) -> String {
    let beside = installation().bin().join("psql");
    let program = if beside.exists() { beside } else { PathBuf::from("psql") };
    let output = Command::new(program).args(["-XAtq", "-v", "ON_ERROR_STOP=1", "-c", sql, url]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

fn is_alive(pid: u32) -> bool {
    let zombie = fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "));
    kill(raw(pid), None).is_ok() && !zombie
}

fn raw(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap())
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !holds() {
        assert!(Instant::now() < deadline, "not within 60 s: {what}");
        sleep(Duration::from_millis(20)).await;
    }
}

/// Not a promise of its own: the process that the tests below kill, told by its environment what to open.
#[tokio::test]
#[ignore = "started by other tests as their victim"]
async fn victim() {
    let (Ok(data), Ok(life)) = (std::env::var(DATA), std::env::var(LIFE)) else { return };
    let options = if life == "throwaway" { quick() } else { kept() };
    let cluster = Cluster::open(&installation(), Path::new(&data), options).await.unwrap();
    use std::io::Write;
    writeln!(std::io::stderr(), "\npostmaster {} in {}", cluster.pid(), cluster.data_dir().display()).unwrap();
    std::future::pending::<()>().await;
}

struct Victim {
    child: tokio::process::Child,
    postmaster: u32,
    data: PathBuf,
}

fn victim_process(data: &Path, life: &str) -> tokio::process::Command {
    let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "tests::victim", "--ignored", "--nocapture"]).env(DATA, data).env(LIFE, life);
    command.stdout(Stdio::null()).kill_on_drop(true);
    command
}

async fn start_victim(data: &Path, life: &str) -> Victim {
    let mut child = victim_process(data, life).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    loop {
        let line = lines.next_line().await.unwrap().expect("the victim ended before it had a cluster");
        if let Some((pid, data)) = line.strip_prefix("postmaster ").and_then(|rest| rest.split_once(" in ")) {
            return Victim { child, postmaster: pid.parse().unwrap(), data: data.into() };
        }
    }
}

#[tokio::test]
async fn data_outlives_a_restart_and_nothing_listens_on_tcp() {
    let ground = ground();
    let data = ground.path().join("it's a \"data\" directory é");
    let cluster = open(&data).await;
    assert_eq!(cluster.moved_from(), None);
    assert_eq!(fs::metadata(cluster.socket_dir()).unwrap().mode() & 0o777, 0o700);
    psql(&cluster.url("postgres"), "create table kept (n int); insert into kept values (7)");
    assert_eq!(psql(&cluster.url("postgres"), "show listen_addresses"), "");
    assert_eq!(psql(&cluster.url("postgres"), "show server_encoding"), "UTF8");
    let pid = cluster.pid();
    cluster.stop().await.unwrap();
    assert!(!is_alive(pid));

    let cluster = open(&data).await;
    assert_eq!(psql(&cluster.url("postgres"), "select n from kept"), "7");
    psql(&cluster.url("postgres"), "create role other login");
    assert_eq!(psql(&cluster.url_as("other", "postgres"), "select current_user"), "other");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn as_root_it_runs_as_the_servant_and_in_a_process_group_of_its_own() {
    let ground = ground();
    let cluster = open(&ground.path().join("data")).await;
    let owner = fs::metadata(format!("/proc/{}", cluster.pid())).map(|metadata| metadata.uid());
    if let Ok(owner) = owner {
        let wanted = cluster.user().map_or(Uid::effective(), |name| User::from_name(name).unwrap().unwrap().uid);
        assert_eq!(owner, wanted.as_raw());
    }
    assert_eq!(cluster.user().is_some(), Uid::effective().is_root());
    let group = nix::unistd::getpgid(Some(raw(cluster.pid()))).unwrap();
    assert_eq!(group, raw(cluster.pid()), "Ctrl-C on the terminal would reach it");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn under_a_closed_home_root_finds_shelter_and_says_where() {
    if !Uid::effective().is_root() {
        return;
    }
    let ground = ground();
    fs::set_permissions(ground.path(), fs::Permissions::from_mode(0o700)).unwrap();
    let asked = ground.path().join("deep/.stead/postgres");
    let cluster = open(&asked).await;
    let data = cluster.data_dir().to_owned();
    assert_eq!(cluster.moved_from(), Some(asked.as_path()));
    assert!(data.starts_with("/var/lib") || data.starts_with("/tmp"), "{}", data.display());
    assert_eq!(fs::read_link(&asked).unwrap(), data);
    psql(&cluster.url("postgres"), "create table kept (n int)");
    cluster.stop().await.unwrap();

    let cluster = open(&asked).await;
    assert_eq!(cluster.data_dir(), data);
    assert_eq!(psql(&cluster.url("postgres"), "select count(*) from kept"), "0");
    cluster.stop().await.unwrap();

    fs::remove_dir_all(&data).unwrap();
    let cluster = open(&asked).await;
    assert_eq!(cluster.data_dir(), data, "a link to a shelter that was wiped is used again");
    cluster.stop().await.unwrap();
    Cluster::remove(&asked).await.unwrap();
    assert!(!data.exists() && !asked.is_symlink());
}

#[tokio::test]
async fn a_half_made_cluster_is_made_again() {
    let ground = ground();
    let data = ground.path().join("data");
    let partial = ground.path().join("data.partial-0123");
    fs::create_dir_all(partial.join("base")).unwrap();
    fs::write(partial.join("PG_VERSION"), "15\n").unwrap();
    let cluster = open(&data).await;
    assert!(!partial.exists());
    assert_eq!(psql(&cluster.url("postgres"), "select 1"), "1");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn an_owner_killed_during_initdb_does_no_harm_to_the_next() {
    let ground = ground();
    let data = ground.path().join("data");
    let mut child = victim_process(&data, "kept").stderr(Stdio::null()).spawn().unwrap();
    let half_made = || {
        let entries = fs::read_dir(ground.path()).unwrap().flatten();
        entries.map(|entry| entry.path().join("global")).any(|inside| inside.exists())
    };
    until("initdb is at work", half_made).await;
    assert!(!data.exists());
    child.kill().await.unwrap();
    let cluster = open(&data).await;
    assert_eq!(psql(&cluster.url("postgres"), "select 1"), "1");
    cluster.stop().await.unwrap();
    open(&data).await.stop().await.unwrap();
    let names = fs::read_dir(ground.path()).unwrap().flatten().map(|entry| entry.file_name());
    assert_eq!(names.filter(|name| name.to_string_lossy().contains("partial")).count(), 0);
}

#[tokio::test]
async fn a_path_unfit_for_a_socket_gets_a_short_private_one() {
    let ground = ground();
    let data = ground.path().join("x, ".repeat(30));
    let cluster = open(&data).await;
    let socket_dir = cluster.socket_dir().to_owned();
    assert!(socket_dir.starts_with("/tmp") && socket_dir.as_os_str().len() < 40);
    assert_eq!(fs::metadata(&socket_dir).unwrap().mode() & 0o777, 0o700);
    assert_eq!(psql(&cluster.url("postgres"), "select 1"), "1");
    cluster.stop().await.unwrap();
    assert!(!socket_dir.exists());

    fs::create_dir(&socket_dir).unwrap();
    fs::set_permissions(&socket_dir, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Cluster::open(&installation(), &data, quick()).await.unwrap_err();
    assert!(matches!(error, Error::SocketDirectory { .. }), "{error}");
    fs::remove_dir(&socket_dir).unwrap();
}

#[tokio::test]
async fn killing_the_owner_stops_postgres_and_the_next_start_waits_for_it() {
    let ground = ground();
    let data = ground.path().join("data");
    let mut victim = start_victim(&data, "kept").await;
    let url = format!("postgres:///postgres?host={}&user=postgres", data.display());
    psql(&url, "create table kept as select 1");
    victim.child.kill().await.unwrap();
    let cluster = open(&data).await;
    assert!(!is_alive(victim.postmaster));
    assert_eq!(psql(&cluster.url("postgres"), "select count(*) from kept"), "1");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn killing_the_owner_of_a_throwaway_cluster_deletes_it() {
    let life = tempfile::Builder::new().prefix("stead-pg-").tempdir_in("/tmp").unwrap().keep();
    fs::remove_dir(&life).unwrap();
    let mut victim = start_victim(&life, "throwaway").await;
    assert!(victim.data.join("PG_VERSION").exists());
    victim.child.kill().await.unwrap();
    until("postgres gone", || !is_alive(victim.postmaster)).await;
    until("its data gone", || !life.exists() && !life.with_extension("lock").exists()).await;
}

#[tokio::test]
async fn a_crash_of_postgres_is_noticed_and_recovered_from() {
    let ground = ground();
    let data = ground.path().join("data");
    let mut cluster = open(&data).await;
    psql(&cluster.url("postgres"), "create table kept as select 1");
    kill(raw(cluster.pid()), Signal::SIGKILL).unwrap();
    let error = cluster.exited().await;
    assert!(error.to_string().starts_with("PostgreSQL ended by itself"), "{error}");
    drop(cluster);
    let cluster = open(&data).await;
    assert_eq!(psql(&cluster.url("postgres"), "select count(*) from kept"), "1");
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_pid_file_whose_number_belongs_to_another_program_is_cleared() {
    let ground = ground();
    let data = ground.path().join("data");
    let mut cluster = open(&data).await;
    let pid_file = data.join("postmaster.pid");
    let text = fs::read_to_string(&pid_file).unwrap();
    kill(raw(cluster.pid()), Signal::SIGKILL).unwrap();
    cluster.exited().await;
    let servant = fs::metadata(&data).unwrap();
    drop(cluster);

    let mut sleeper = tokio::process::Command::new("sleep");
    sleeper.arg("60").kill_on_drop(true);
    if Uid::effective().is_root() {
        sleeper.uid(servant.uid()).gid(servant.gid()).current_dir("/");
    }
    let sleeper = sleeper.spawn().unwrap();
    let (_, rest) = text.split_once('\n').unwrap();
    fs::write(&pid_file, format!("{}\n{rest}", sleeper.id().unwrap())).unwrap();
    open(&data).await.stop().await.unwrap();
}

#[tokio::test]
async fn a_second_owner_is_told_who_holds_the_data() {
    let ground = ground();
    let data = ground.path().join("data");
    let cluster = open(&data).await;
    let error = Cluster::open(&installation(), &data, quick()).await.unwrap_err().to_string();
    let wanted = format!(
        "the PostgreSQL data in {} is in use by process {}: stop that process, or choose another data directory",
        data.display(),
        std::process::id()
    );
    assert_eq!(error, wanted);
    assert_eq!(Cluster::remove(&data).await.unwrap_err().to_string(), wanted);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_directory_that_is_no_cluster_of_ours_is_left_alone() {
    let ground = ground();
    let data = ground.path().join("data");
    fs::create_dir(&data).unwrap();
    fs::write(data.join("thesis.tex"), "years of work").unwrap();
    let error = Cluster::open(&installation(), &data, quick()).await.unwrap_err().to_string();
    assert!(
        error.ends_with("holds other files and no PostgreSQL data: choose another data directory, or empty this one"),
        "{error}"
    );
    assert!(Cluster::remove(&data).await.is_err());
    assert!(data.join("thesis.tex").exists());
}

#[tokio::test]
async fn data_of_another_major_version_is_named_with_both_versions() {
    let ground = ground();
    let data = ground.path().join("data");
    open(&data).await.stop().await.unwrap();
    assert_eq!(find_for(None, &data).unwrap().major(), installation().major());
    fs::write(data.join("PG_VERSION"), "14\n").unwrap();
    let error = Cluster::open(&installation(), &data, quick()).await.unwrap_err().to_string();
    let wanted = format!(
        "was made by PostgreSQL 14, and PostgreSQL {} cannot read it: name the programs of version 14 with --pg-bin",
        installation().major()
    );
    assert!(error.contains(&wanted), "{error}");
}

#[tokio::test]
async fn a_setting_that_postgres_refuses_is_told_in_its_words() {
    let ground = ground();
    let refused = Options::throwaway().set("shared_buffers", "many");
    let error = Cluster::open(&installation(), &ground.path().join("data"), refused).await.unwrap_err().to_string();
    assert!(
        error.starts_with(
            "PostgreSQL did not start (invalid value for parameter \"shared_buffers\": \"many\"): its log is"
        ),
        "{error}"
    );
}

#[tokio::test]
async fn a_place_that_cannot_be_written_is_named() {
    let error = Cluster::open(&installation(), Path::new("/proc/stead/data"), quick()).await.unwrap_err().to_string();
    assert!(error.starts_with("/proc/stead cannot be created ("), "{error}");
    assert!(error.ends_with("choose a data directory that this user may write, on a disk with room"), "{error}");
}
