//! What the READMEs tell people to paste works as pasted, in order, against the service that `stead-server dev` makes.
//! Leaves what `dev` itself prints to `dev`.

use std::{fs, os::unix::fs::symlink, path::Path};

use stead_harness::Program;

use crate::{
    dev::{Dev, stop},
    fixture::{grpcurl, repository},
};

/// The fenced blocks of a language.
fn blocks(page: &str, language: &str) -> Vec<String> {
    let text = fs::read_to_string(repository().join(page)).unwrap_or_else(|fault| panic!("{page}: {fault}"));
    let opening = format!("```{language}");
    let (mut blocks, mut open) = (vec![], None::<String>);
    for line in text.lines() {
        match &mut open {
            None if line == opening => open = Some(String::new()),
            None => {}
            Some(block) if line == "```" => {
                blocks.push(std::mem::take(block));
                open = None;
            }
            Some(block) => *block += &format!("{line}\n"),
        }
    }
    assert!(!blocks.is_empty(), "{page} has no {language} block");
    blocks
}

/// The folder of the programs, where the READMEs expect it: `target/debug` below the working directory.
fn programs(dev: &Dev) {
    let test = std::env::current_exe().expect("this test");
    let built = test.ancestors().nth(2).expect("the programs' folder");
    fs::create_dir_all(dev.path().join("target")).expect("a folder");
    symlink(built, dev.path().join("target/debug")).expect("a link");
}

#[tokio::test]
async fn the_tour_works_as_pasted() {
    let dev = Dev::new();
    let running = dev.start(&[]).await;
    programs(&dev);

    let shell = blocks("README.md", "sh").join("\n");
    let cargo = "cargo run -q -p stead-client --example quickstart";
    assert!(shell.contains(cargo), "the tour ends with the example");
    let example = Path::new("target/debug/examples/quickstart");
    let built = dev.path().join(example);
    assert!(built.exists(), "{} is missing: run `cargo build --workspace --examples` first", built.display());
    let script = format!("set -e\n{}", shell.replace(cargo, &example.to_string_lossy()));
    let output = Program::at("/bin/sh").args(["-c", &script]).current_dir(dev.path()).run().await;
    assert_eq!(output.code, Some(0), "{}\n{}", output.stdout, output.stderr);
    assert!(output.stdout.contains("unchanged") && output.stdout.contains("board-42"), "{}", output.stdout);
    assert!(!output.stderr.to_lowercase().contains("error"), "{}", output.stderr);

    let environment = dev.environment();
    let (key, platform) = (environment["STEAD_KEY_ACME"].as_str(), environment["STEAD_KEY_PLATFORM"].as_str());
    let variables = [("STEAD_KEY", key), ("KEY", key), ("PLATFORM", platform)];
    for (page, least) in [("README.md", 4), ("proto/README.md", 20)] {
        let script = blocks(page, "grpcurl").join("\n").replace("127.0.0.1:50051", &dev.listen);
        let answers = grpcurl::paste(&script, &variables).await;
        assert!(answers.len() >= least, "{page}: {} commands", answers.len());
        assert!(answers.iter().all(|answer| !answer.is_empty()), "{page}: {answers:?}");
    }
    stop(running).await;
}

#[test]
fn every_method_has_a_recipe_or_a_word_why_not() {
    let page = fs::read_to_string(repository().join("proto/README.md")).expect("proto/README.md");
    for method in stead_api::METHODS {
        let name = method.path.rsplit('/').next().expect("a name");
        let told = page.contains(method.path.trim_start_matches('/')) || page.contains(&format!("`{name}`"));
        assert!(told, "{name} has no recipe in proto/README.md: add a line that can be pasted");
    }
}

#[test]
fn the_promises_name_tests_that_exist() {
    let page = fs::read_to_string(repository().join("README.md")).expect("README.md");
    let mut named: Vec<&str> =
        page.split('`').filter(|word| word.starts_with("tests/") || word.starts_with("server/src/")).collect();
    named.retain(|path| !path.contains(['*', '…', ' ']) && !path.contains("/x"));
    assert!(named.len() > 5, "{named:?}");
    let missing: Vec<_> = named.into_iter().filter(|path| !repository().join(path).exists()).collect();
    assert!(missing.is_empty(), "README.md names what is not there: {missing:?}");
}
