//! What the READMEs tell people to paste works as pasted, in order, against the service that `stead-server dev` makes.
//! Leaves what `dev` itself prints to `dev`.

use std::{fs, os::unix::fs::symlink, path::Path};

use stead_harness::Program;

use crate::{
    dev::{Dev, stop},
    fixture::{Refused, grpcurl, platform, repository, tenant},
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
    let mut variables = vec![("STEAD_KEY", key.to_owned()), ("KEY", key.to_owned()), ("PLATFORM", platform.to_owned())];
    for (page, least) in [("README.md", 4), ("proto/README.md", stead_api::METHODS.len())] {
        let mut commands = 0;
        for block in blocks(page, "grpcurl") {
            let known: Vec<_> = variables.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let answers = grpcurl::paste(&block.replace("127.0.0.1:50051", &dev.listen), &known).await;
            assert!(answers.iter().all(|answer| !answer.is_empty()), "{page}: {block}{answers:?}");
            commands += answers.len();
            // What the pages tell to take out of an answer.
            for (variable, path) in [("ENTRY", "/auditEntries/0/name"), ("SPARE", "/apiKey/name"), ("TOKEN", "/token")]
            {
                let found = answers.iter().flatten().find_map(|answer| answer.pointer(path)?.as_str());
                variables.extend(found.map(|name| (variable, name.to_owned())));
            }
        }
        assert!(commands >= least, "{page}: {commands} commands");
    }
    stop(running).await;
}

/// The pages that speak of permissions.
fn pages() -> String {
    let mut text = ["README.md", "proto/README.md", "server/README.md"].map(|page| page.to_owned()).to_vec();
    for entry in fs::read_dir(repository().join("proto/stead/v1")).expect("the contract") {
        let name = entry.expect("an entry").file_name().to_string_lossy().into_owned();
        text.push(format!("proto/stead/v1/{name}"));
    }
    text.iter().map(|page| fs::read_to_string(repository().join(page)).expect("a page")).collect()
}

#[tokio::test]
async fn the_table_of_permissions_is_what_the_program_prints_and_no_page_names_another() {
    let printed = Program::named("stead-server").arg("permissions").run().await.stdout;
    assert_eq!(
        blocks("README.md", "permissions").concat(),
        printed,
        "left is README.md: paste what the program prints"
    );
    let known: Vec<_> = printed.lines().filter_map(|line| line.split_whitespace().next()).collect();
    let pages = pages();
    let named: Vec<_> = pages
        .split(['`', '"'])
        .filter(|word| {
            let looks_like_one = word.ends_with(".read") || word.ends_with(".write");
            looks_like_one && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'.')
        })
        .collect();
    assert!(named.len() > 50, "{named:?}");
    let unknown: Vec<_> = named.into_iter().filter(|name| !known.contains(name)).collect();
    assert!(unknown.is_empty(), "no such permissions: {unknown:?}");
}

#[test]
fn every_method_has_a_recipe() {
    let recipes = blocks("proto/README.md", "grpcurl").join("\n");
    for method in stead_api::METHODS {
        let path = method.path.trim_start_matches('/');
        let told = recipes.lines().any(|line| line.ends_with(path));
        assert!(told, "{path} has no recipe in proto/README.md: add a line that can be pasted");
    }
}

/// What `stead … list --help` says about filters is what the service takes.
#[tokio::test]
async fn the_help_of_each_list_names_the_fields_of_its_filter() {
    let (tenant, platform) = (tenant().await, platform().await);
    let nothing = "nothing = 1";
    for (domain, refused) in [
        ("products", tenant.client.products().list().filter(nothing).items().collect().await.refusal()),
        ("users", tenant.client.users().list().filter(nothing).items().collect().await.refusal()),
        ("tenants", platform.tenants().list().filter(nothing).items().collect().await.refusal()),
    ] {
        let taken = refused.message.split("by: use ").nth(1).unwrap_or_else(|| panic!("{refused:?}"));
        let help = Program::named("stead").args([domain, "list", "--help"]).run().await.stdout;
        let help = help.split_whitespace().collect::<Vec<_>>().join(" ");
        let told = help.split("compares fields (").nth(1).and_then(|rest| rest.split(')').next()).expect("the fields");
        assert_eq!(told, taken, "stead {domain} list --help");
        let sdk = fs::read_to_string(repository().join(format!("client/src/{domain}.rs"))).expect("the SDK");
        let before = sdk.split_once("    pub fn list(").expect("a list").0;
        let doc = before.rsplit_once("/// Lists ").expect("its doc").1;
        let untold: Vec<_> = taken.split(", ").filter(|field| !doc.contains(&format!("`{field}`"))).collect();
        assert!(untold.is_empty(), "the doc of {domain}().list() leaves out {untold:?}");
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
