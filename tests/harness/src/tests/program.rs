//! Programs: what they say is kept, what they are given is exact, and none outlives its test.

use std::net::{Ipv4Addr, TcpListener};

use super::SOON;
use crate::{Program, free_port};

fn shell(script: &str) -> Program {
    Program::at("/bin/sh").args(["-c", script])
}

#[tokio::test]
async fn output_code_and_input_are_exact() {
    let output = shell("cat; printf err >&2; exit 3").stdin("in\nput").run().await;
    assert_eq!((output.code, output.stdout.as_str(), output.stderr.as_str()), (Some(3), "in\nput", "err"));
    let output = shell("cat; pwd; echo \"$GIVEN\"").env("GIVEN", "a b").current_dir("/usr").run().await;
    assert_eq!(output.stdout, "/usr\na b\n");
}

#[tokio::test]
async fn arguments_arrive_as_they_are() {
    let program = Program::at("/bin/sh").args(["-c", "printf '%s|' \"$@\"", "sh", "--", "a b", "", "é'\"$x"]);
    assert_eq!(program.run().await.stdout, "--|a b||é'\"$x|");
}

#[tokio::test]
async fn what_configures_stead_is_not_handed_down() {
    let inherited = format!("PATH={}", std::env::var("PATH").unwrap());
    let output = shell("env").env("STEAD_ENDPOINT", "given").run().await;
    assert!(output.stdout.contains(&inherited));
    assert!(output.stdout.contains("STEAD_ENDPOINT=given"));
    assert_eq!(output.stdout.lines().filter(|line| line.starts_with("STEAD_") || line.starts_with("PG")).count(), 1);
}

#[tokio::test]
async fn a_line_is_found_on_either_stream_and_in_the_past() {
    let running = shell("echo one; echo two >&2; exec sleep 60").start();
    assert_eq!(running.line("tw", SOON).await, "two");
    assert_eq!(running.line("on", SOON).await, "one");
    running.terminate();
    assert_eq!(running.wait(SOON).await.code, None);
}

#[tokio::test]
#[should_panic(expected = "sh did not say \"never\"")]
async fn a_line_that_cannot_come_any_more_is_not_waited_for() {
    shell("echo something else").start().line("never", SOON).await;
}

#[tokio::test]
async fn a_dropped_program_is_killed() {
    let running = shell("echo up; exec sleep 60").start();
    running.line("up", SOON).await;
    let process = format!("/proc/{}/cmdline", running.pid());
    drop(running);
    let gone = async {
        // A zombie's command line is empty.
        while std::fs::read(&process).is_ok_and(|line| !line.is_empty()) {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(SOON, gone).await.unwrap();
}

#[test]
fn a_program_that_was_not_built_is_named_with_the_command_that_builds_it() {
    let panic = std::panic::catch_unwind(|| Program::named("stead-nothing")).unwrap_err();
    let sentence = panic.downcast_ref::<String>().unwrap();
    assert!(
        sentence
            .ends_with("/stead-nothing is missing: run `cargo build --workspace --bins` first, as `make test` does"),
        "{sentence}"
    );
}

#[tokio::test]
async fn a_free_port_can_be_listened_on_and_is_noticed() {
    let port = free_port();
    let _listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
    shell("exec sleep 60").start().port((Ipv4Addr::LOCALHOST, port).into(), SOON).await;
}
