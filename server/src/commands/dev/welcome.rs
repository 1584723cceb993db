//! What `dev` prints when the service is ready: lines to paste, for the CLI, for grpcurl and for Rust.
//! Leaves what the commands mean to the README's tour.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use super::database::Database;
use super::directory::Directory;
use super::redis::Redis;
use crate::commands::healthcheck::reachable;
use crate::config::Config;

/// What the text tells of.
pub(super) struct Scene {
    address: String,
    admin: String,
    database: String,
    cache: String,
    env: PathBuf,
    cli: Result<PathBuf, PathBuf>,
    products: Option<usize>,
    plaintext: bool,
}

impl Scene {
    pub(super) fn new(
        config: &Config,
        directory: &Directory,
        database: &Database,
        redis: &Redis,
        products: Option<usize>,
    ) -> Self {
        Self {
            address: reachable(config.listening.listen).to_string(),
            admin: reachable(config.listening.admin_listen).to_string(),
            database: database.name(),
            cache: redis.told(),
            env: directory.env(),
            cli: cli(),
            products,
            plaintext: config.tls.tls_certificate.is_none(),
        }
    }

    pub(super) fn text(&self) -> String {
        let Self { address, admin, database, cache, env, .. } = self;
        let products =
            self.products.map_or("no sample catalogue".to_owned(), |count| format!("{count} sample products in acme"));
        let (grpcurl, env) = (if self.plaintext { "grpcurl -plaintext" } else { "grpcurl" }, placed(env));
        let (cli, build) = match &self.cli {
            Ok(path) => (placed(path), String::new()),
            Err(path) => (
                placed(path),
                "  cargo build -p stead-cli                                  # it is not built yet\n".to_owned(),
            ),
        };
        let mut text = String::new();
        let _ = write!(
            text,
            "
Stead serves gRPC on {address}; metrics and health are on http://{admin}.
It runs on {database}, with the tenants acme and globex and {products}.
{cache} Ctrl-C stops everything.

In another terminal, in this directory:

  set -a; . {env}; set +a
  export STEAD_KEY=$STEAD_KEY_ACME

The command line:

{build}  {cli} products list --page-size 5
  {cli} products get vim
  {cli} products create --sku my-first --display-name 'My first product' --price '12.50 EUR'
  {cli} audit list --page-size 3
  STEAD_KEY=$STEAD_KEY_GLOBEX {cli} products list           # another tenant sees none of it
  STEAD_KEY=$STEAD_KEY_PLATFORM {cli} tenants list          # the platform sees both

grpcurl (brew install grpcurl, or go install github.com/fullstorydev/grpcurl/cmd/grpcurl@latest):

  {grpcurl} {address} list
  {grpcurl} -H \"authorization: Bearer $STEAD_KEY\" -d '{{\"page_size\": 3}}' {address} stead.v1.ProductService/ListProducts
  {grpcurl} -H \"authorization: Bearer $STEAD_KEY\" -d '{{\"sku\": \"vim\"}}' {address} stead.v1.ProductService/LookupProduct

Rust (client/examples/quickstart.rs):

  cargo run -p stead-client --example quickstart
"
        );
        text
    }
}

/// Where the command line is, or where it will be once it is built.
fn cli() -> Result<PathBuf, PathBuf> {
    let Ok(program) = std::env::current_exe() else { return Ok("stead".into()) };
    let cli = program.with_file_name("stead");
    let shown = near(&cli);
    if cli.exists() { Ok(shown) } else { Err(shown) }
}

/// The path as it is shortest to type from here.
fn near(path: &Path) -> PathBuf {
    let here = std::env::current_dir().unwrap_or_default();
    path.strip_prefix(&here).map_or_else(|_| path.to_owned(), Path::to_owned)
}

/// The path for the shell, which looks for a name without a slash in PATH.
fn placed(path: &Path) -> String {
    if path.components().count() == 1 { quoted(&Path::new(".").join(path)) } else { quoted(path) }
}

/// The path as one word of a shell.
fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    if text.chars().all(|c| c.is_alphanumeric() || "/._-+".contains(c)) {
        text
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_to_paste_name_what_was_asked_for() {
        let scene = Scene {
            address: "127.0.0.1:6000".to_owned(),
            admin: "127.0.0.1:6001".to_owned(),
            database: "PostgreSQL 17.2".to_owned(),
            cache: "It caches in its memory alone: why.".to_owned(),
            env: "/tmp/my data/dev.env".into(),
            cli: Ok("target/debug/stead".into()),
            products: Some(2000),
            plaintext: true,
        };
        let text = scene.text();
        for line in [
            "  set -a; . '/tmp/my data/dev.env'; set +a",
            "  target/debug/stead products list --page-size 5",
            "  grpcurl -plaintext 127.0.0.1:6000 list",
            "with the tenants acme and globex and 2000 sample products in acme.",
            "It caches in its memory alone: why. Ctrl-C stops everything.",
        ] {
            assert!(text.contains(line), "{line}\n{text}");
        }
        assert!(!text.contains("cargo build"));
        let unbuilt = Scene { cli: Err("target/debug/stead".into()), products: None, ..scene }.text();
        assert!(unbuilt.contains("  cargo build -p stead-cli") && unbuilt.contains("no sample catalogue"), "{unbuilt}");
    }
}
