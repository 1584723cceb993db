//! `stead login --keep`: a session's token goes into the context, for the context's endpoint alone, and is not printed.
//! Leaves contexts themselves to `contexts`, and sessions to their domain.

use std::{fs, os::unix::fs::PermissionsExt};

use stead_harness::Program;

use super::{done, path, scratch};
use crate::fixture::tenant;

#[tokio::test]
async fn a_login_may_keep_its_token_in_the_context_of_its_endpoint() {
    let (tenant, dir) = (tenant().await, scratch());
    let (config, password) = (path(&dir, "config.toml"), path(&dir, "password"));
    fs::write(&password, "correct horse battery staple\n").expect("a password");
    let ada = ["users", "create", "--email", "ada@example.com", "--role", "editor", "--password-file", &password];
    done(&tenant, &ada).await;
    let stead =
        |args: &[&str]| Program::named("stead").args(args.iter().copied()).env("STEAD_CLI_CONFIG", &config).run();
    let login = ["login", &tenant.slug, "ada@example.com", "--password-file", &password, "--keep"];
    let nowhere = stead(&[&login[..], &["--endpoint", &tenant.endpoint]].concat()).await;
    assert!(nowhere.code == Some(2) && nowhere.stderr.contains("needs a context"), "{nowhere:?}");
    let set = ["context", "set", "live", "--endpoint", &tenant.endpoint, "--tenant", "another"];
    assert_eq!(stead(&set).await.code, Some(0));
    let elsewhere = stead(&[&login[..], &["--endpoint", "http://127.0.0.1:1"]].concat()).await;
    assert!(elsewhere.code == Some(2) && elsewhere.stderr.contains(&tenant.endpoint), "{elsewhere:?}");
    let kept = stead(&login).await;
    assert_eq!((kept.code, kept.stdout.as_str()), (Some(0), ""), "{kept:?}");
    assert_eq!(fs::metadata(&config).expect("the file").permissions().mode() & 0o777, 0o600);
    let me = stead(&["whoami"]).await;
    assert!(me.code == Some(0) && me.stdout.contains("session"), "{me:?}");
    let out = stead(&["logout"]).await;
    assert!(out.code == Some(0) && out.stdout.contains("revoke_time"), "{out:?}");
}
