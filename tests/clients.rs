//! The clients of other languages, generated from the contract: each runs tests of its own against the service.
//! Leaves the SDK for Rust to all other files, and each language's packages to `.ci/prepare`.

use std::{fs, path::PathBuf};

use stead_harness::Program;

use crate::fixture::{repository, tenant};

/// The Python that `.ci/prepare python` made, with the packages of today.
fn python() -> PathBuf {
    let test = std::env::current_exe().expect("this test");
    let made = test.ancestors().nth(3).expect("the target directory").join("client-python");
    let (python, packages) = (made.join("bin/python"), fs::read(made.join("requirements.txt")).ok());
    let wanted = fs::read(repository().join("client/python/requirements.txt")).expect("client/python/requirements.txt");
    assert!(
        python.is_file() && packages.as_deref() == Some(&wanted),
        "{} is missing or older than client/python/requirements.txt: run `.ci/prepare python` first, as `make test` does",
        made.display()
    );
    python
}

#[tokio::test]
async fn a_python_client_generated_from_the_contract_works() {
    let (python, sources) = (python(), repository().join("client/python"));
    let generated = tempfile::tempdir().expect("a folder");
    let program = || Program::at(&python).env("PYTHONDONTWRITEBYTECODE", "1");
    let output = program().arg(sources.join("generate.py")).arg(generated.path()).run().await;
    assert_eq!(output.code, Some(0), "{}{}", output.stdout, output.stderr);

    let tenant = tenant().await;
    let tests = program()
        .args(["-m", "unittest", "discover", "--verbose", "--start-directory"])
        .arg(&sources)
        .env("PYTHONPATH", generated.path())
        .env("STEAD_ENDPOINT", &tenant.endpoint)
        .env("STEAD_KEY", tenant.key.expose());
    let output = tests.run().await;
    let said = output.stderr.trim_end();
    assert_eq!(output.code, Some(0), "{}{said}", output.stdout);
    let files = fs::read_dir(&sources).expect("client/python").map(|entry| entry.expect("a file").path());
    let texts =
        files.filter(|file| file.extension().is_some_and(|extension| extension == "py")).map(fs::read_to_string);
    let written: usize = texts.map(|text| text.expect("a source").matches("\n    def test_").count()).sum();
    assert!(written > 20 && said.contains(&format!("Ran {written} tests")) && said.ends_with("OK"), "{said}");
}
