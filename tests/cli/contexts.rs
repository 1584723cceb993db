//! Contexts: where commands go, as whom, and what is never told.
//! Leaves what the settings mean to each other to the tests of `stead` itself.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
};

use serde_json::{Value, json};
use stead_harness::{Output, Program};
use tempfile::TempDir;

use super::{path, scratch};
use crate::fixture::{Tenant, tenant};

/// A home with a configuration of its own.
struct Home {
    folder: TempDir,
    file: String,
}

impl Home {
    fn new() -> Self {
        let folder = scratch();
        let file = path(&folder, "stead/config.toml");
        Self { folder, file }
    }

    fn holding(text: &str, mode: u32) -> Self {
        let home = Self::new();
        fs::create_dir(home.folder.path().join("stead")).expect("a folder");
        fs::write(&home.file, text).expect("a configuration");
        fs::set_permissions(&home.file, Permissions::from_mode(mode)).expect("its mode");
        home
    }

    fn stead(&self, args: &[&str]) -> Program {
        Program::named("stead").args(args.iter().copied()).env("XDG_CONFIG_HOME", self.folder.path())
    }

    async fn done(&self, args: &[&str]) -> Output {
        let output = self.stead(args).run().await;
        assert_eq!(output.code, Some(0), "stead {args:?}: {output:?}");
        output
    }

    async fn kept(&self, tenant: &Tenant) {
        let set = ["context", "set", "acme", "--endpoint", &tenant.endpoint, "--keep-key", "-"];
        let output = self.stead(&set).stdin(format!("{}\n", tenant.key.expose())).run().await;
        assert_eq!(output.code, Some(0), "{output:?}");
        assert!(!format!("{output:?}").contains(tenant.key.expose()), "the key is printed: {output:?}");
    }
}

fn object(output: &Output) -> Value {
    serde_json::from_str(output.stdout.trim()).unwrap_or_else(|fault| panic!("{fault}: {output:?}"))
}

#[tokio::test]
async fn a_context_stands_for_the_options_and_gives_way_to_them() {
    let (tenant, home) = (tenant().await, Home::new());
    home.kept(&tenant).await;
    assert_eq!(fs::metadata(&home.file).expect("the file").permissions().mode() & 0o777, 0o600);
    let me = object(&home.done(&["whoami", "-o", "json"]).await);
    assert_eq!(me["tenant"], json!(tenant.id.to_string()));

    let nowhere = "http://127.0.0.1:1";
    home.done(&["context", "set", "nowhere", "--endpoint", nowhere, "--deadline", "500ms", "-o", "json"]).await;
    let in_use = |output: Output| -> Vec<(String, bool)> {
        let lines = output.stdout.lines().map(|line| serde_json::from_str::<Value>(line).expect("an object"));
        lines.map(|line| (line["name"].as_str().unwrap().to_owned(), line["in_use"] == true)).collect()
    };
    let listed = in_use(home.done(&["context", "list", "-o", "json"]).await);
    assert_eq!(listed, [("acme".to_owned(), true), ("nowhere".to_owned(), false)]);
    let key = tenant.key.expose();
    for (args, environment, code) in [
        (&["whoami"][..], &[][..], 0),
        (&["--context", "nowhere", "whoami"], &[], 7),
        (&["whoami"], &[("STEAD_CONTEXT", "nowhere")], 7),
        (&["--context", "acme", "whoami"], &[("STEAD_CONTEXT", "nowhere")], 0),
        (&["--deadline", "500ms", "whoami"], &[("STEAD_ENDPOINT", nowhere)], 7),
        (&["--context", "nowhere", "whoami"], &[("STEAD_ENDPOINT", &tenant.endpoint), ("STEAD_KEY", key)], 0),
        (&["--endpoint", &tenant.endpoint, "whoami"], &[("STEAD_ENDPOINT", nowhere)], 0),
        (&["--context", "nosuch", "whoami"], &[], 2),
        (&["context", "use", "nosuch"], &[], 2),
    ] {
        let program = environment.iter().fold(home.stead(args), |program, (name, value)| program.env(name, value));
        let output = program.run().await;
        assert_eq!(output.code, Some(code), "{args:?} {environment:?}: {output:?}");
    }

    home.done(&["context", "use", "nowhere"]).await;
    assert_eq!(home.stead(&["whoami"]).run().await.code, Some(7));
    let shown = object(&home.done(&["context", "show", "-o", "json"]).await);
    assert_eq!(
        (&shown["name"], &shown["deadline"], &shown["output"]),
        (&json!("nowhere"), &json!("500ms"), &json!("json"))
    );
    home.done(&["context", "remove", "nowhere"]).await;
    assert_eq!(in_use(home.done(&["context", "list", "-o", "json"]).await), [("acme".to_owned(), false)]);
}

#[tokio::test]
async fn a_key_may_be_in_a_file_or_with_a_program_and_is_never_shown() {
    let (tenant, home) = (tenant().await, Home::new());
    let key = tenant.key.expose();
    fs::write(home.folder.path().join("acme.key"), key).expect("a key");
    home.kept(&tenant).await;
    let (file, command) = (path(&home.folder, "acme.key"), format!("cat {}", path(&home.folder, "acme.key")));
    for words in [&["--key-file", &file][..], &["--key-command", &command], &["--key-command", "echo stead_key_wrong"]]
    {
        home.done(&[&["context", "set", "acme"][..], words].concat()).await;
        let code = if words[1].contains("wrong") { Some(6) } else { Some(0) };
        assert_eq!(home.stead(&["whoami"]).run().await.code, code, "{words:?}");
        let written = fs::read_to_string(&home.file).expect("the file");
        assert!(!written.contains(key), "{words:?}: what was kept before is still there: {written}");
    }
    home.kept(&tenant).await;
    for args in [&["context", "show"][..], &["context", "list"], &["context", "show", "-o", "json"], &["doctor"]] {
        let output = home.done(args).await;
        assert!(!format!("{output:?}").contains(key), "{args:?}: {output:?}");
    }
    let typed = home.stead(&["context", "set", "acme", "--key", key]).run().await;
    assert!(typed.code == Some(2) && typed.stderr.contains("--keep-key"), "{typed:?}");
    home.done(&["context", "set", "acme", "--clear", "key"]).await;
    assert_eq!(home.stead(&["whoami"]).run().await.code, Some(6));
}

#[tokio::test]
async fn the_key_of_a_context_is_not_sent_to_another_endpoint() {
    let (tenant, home) = (tenant().await, Home::new());
    home.kept(&tenant).await;
    let port = tenant.endpoint.rsplit(':').next().expect("a port");
    // The same service by another name: had the key been sent, it would have let us in.
    let elsewhere = format!("http://localhost:{port}");
    let output = home.stead(&["--endpoint", &elsewhere, "whoami"]).run().await;
    assert!(output.code == Some(6) && output.stderr.contains("is not sent to this one"), "{output:?}");
    let told = home.stead(&["--endpoint", &elsewhere, "whoami"]).env("STEAD_KEY", tenant.key.expose()).run().await;
    assert_eq!(told.code, Some(0), "{told:?}");
}

#[tokio::test]
async fn a_configuration_that_does_not_hold_is_refused_by_its_name_its_field_and_the_rule() {
    for (text, mode, field, rule) in [
        ("[contexts.a]\nkey = \"stead_key_x\"\n", 0o644, "its mode is 0644", "chmod 600"),
        ("[contexts.a]\nkey = \"stead_key_x\"\n", 0o640, "its mode is 0640", "chmod 600"),
        ("[contexts.a]\nkee = \"stead_key_x\"\n", 0o600, "contexts.a.kee", "is no setting"),
        ("[contexts.a]\nkey = stead_key_x\n", 0o600, "line 2", "is not TOML"),
        ("[contexts.a]\ndeadline = 5\n", 0o600, "contexts.a.deadline", "in quotes"),
        ("context = \"b\"\n[contexts.a]\n", 0o644, "no context `b`", "it has a"),
    ] {
        let home = Home::holding(text, mode);
        let refused = home.stead(&["--deadline", "200ms", "whoami"]).run().await;
        assert_eq!(refused.code, Some(2), "{text}: {refused:?}");
        for part in [home.file.as_str(), field, rule] {
            assert!(refused.stderr.contains(part), "{text}: {part} is not in {}", refused.stderr);
        }
        assert!(!refused.stderr.contains("stead_key_x"), "{}", refused.stderr);
    }
    let open = Home::holding("[contexts.a]\nkey_file = \"a.key\"\n", 0o644);
    assert_eq!(open.done(&["context", "list"]).await.stdout.lines().count(), 2);
}

#[tokio::test]
async fn shells_and_man_learn_the_commands() {
    let home = Home::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = home.done(&["completions", shell]).await.stdout;
        assert!(script.contains("invalidate-cache") && script.contains("concurrency"), "{shell}: {script}");
    }
    let page = home.done(&["man"]).await.stdout;
    assert!(page.contains(".TH stead") && page.contains("STEAD_KEY") && page.contains("Exit codes"), "{page}");
    let folder = path(&home.folder, "man1");
    let told = home.done(&["man", &folder]).await.stderr;
    let pages = fs::read_dir(&folder).expect("the pages").count();
    assert!(pages > 50 && told.starts_with(&format!("{pages} pages")), "{pages}: {told}");
}
