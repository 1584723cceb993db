//! The issuers whose JWTs are taken as credentials: one TOML file and the key files that it names, read with every fault at once.
//! Leaves a key's text to `keys`, and what a token must hold to `auth`.

mod keys;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use sha2::{Digest as _, Sha256};
use toml::{Table, Value as Toml};

use super::Value as _;
use crate::permissions::{self, Permissions};
use crate::principal::TenantId;
use crate::rules::hyphenated;

const MAXIMUM_LIFETIME: Duration = Duration::from_secs(24 * 3600);
const NAME: usize = 200;
/// Claims that have a meaning of their own.
const REGISTERED: &[&str] = &["iss", "sub", "aud", "exp", "nbf", "iat", "jti"];

/// Who may vouch for callers, and how far it is trusted.
#[derive(Clone)]
pub struct Issuer {
    /// The claim `iss` of its tokens.
    pub name: Arc<str>,
    /// What the claim `aud` of its tokens must hold.
    pub audience: String,
    /// The tenants that it may vouch for; none for all of them.
    pub tenants: Option<Vec<TenantId>>,
    /// What its tokens may bring at most.
    pub allow: Permissions,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that names the permissions.
    pub permissions_claim: String,
    /// How long a token may hold at most.
    pub maximum_lifetime: Duration,
    /// What it signs with; no two have the same id.
    pub keys: Vec<Key>,
}

/// One public key of an issuer.
#[derive(Clone)]
pub struct Key {
    /// What a token's header says to mean this key; none for tokens that say nothing.
    pub kid: Option<String>,
    /// The one algorithm that it is used with.
    pub algorithm: Algorithm,
    /// The key itself.
    pub public: DecodingKey,
}

/// Every issuer, as the files had it.
#[derive(Clone, Debug, Default)]
pub struct Trusted {
    /// The issuers; no two have the same name.
    pub issuers: Vec<Issuer>,
    /// Differs when anything in the files does.
    pub digest: [u8; 32],
}

impl Trusted {
    /// Reads the file and the key files that it names, or says everything that is wrong with them.
    pub fn read(path: &Path) -> Result<Trusted, Vec<String>> {
        let mut reading = Reading { path, place: String::new(), read: Sha256::new(), faults: vec![] };
        let issuers = reading.all();
        match reading.faults.is_empty() {
            true => Ok(Trusted { issuers, digest: reading.read.finalize().into() }),
            false => Err(reading.faults),
        }
    }
}

impl fmt::Display for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let keys: Vec<_> = self.keys.iter().map(ToString::to_string).collect();
        let tenants = match &self.tenants {
            Some(tenants) => tenants.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            None => "every tenant".to_owned(),
        };
        let allow: Vec<_> = self.allow.names().collect();
        write!(f, "{} for audience {}: keys {}; ", self.name, self.audience, keys.join(", "))?;
        write!(f, "{tenants}; at most {}", allow.join(", "))
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.kid.as_deref().unwrap_or("without id"), self.algorithm)
    }
}

impl fmt::Debug for Issuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Issuer({self})")
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({self})")
    }
}

/// The files as they are read, and what is wrong with them.
struct Reading<'p> {
    path: &'p Path,
    /// The issuer that is being read.
    place: String,
    read: Sha256,
    faults: Vec<String>,
}

impl Reading<'_> {
    fn fault(&mut self, sentence: impl fmt::Display) {
        self.faults.push(format!("{}{}: {sentence}", self.path.display(), self.place));
    }

    fn all(&mut self) -> Vec<Issuer> {
        let Some(text) = self.file(self.path.to_owned()) else { return vec![] };
        let table = std::str::from_utf8(&text).map_err(|_| "it is not UTF-8".to_owned());
        let table = table.and_then(|text| text.parse::<Table>().map_err(|fault| fault.message().to_owned()));
        let mut table = match table {
            Ok(table) => table,
            Err(fault) => {
                self.fault(format_args!("is not TOML: {fault}"));
                return vec![];
            }
        };
        let entries = match table.remove("issuers") {
            Some(Toml::Array(entries)) if !entries.is_empty() => entries,
            _ => {
                self.fault("lists no issuer: write each as a table [[issuers]]");
                return vec![];
            }
        };
        self.left_over(&table);
        let mut issuers: Vec<Issuer> = vec![];
        for (index, entry) in entries.into_iter().enumerate() {
            self.place = format!(", issuer {}", index + 1);
            let Toml::Table(entry) = entry else {
                self.fault("is no table: write each issuer as a table [[issuers]]");
                continue;
            };
            let Some(issuer) = self.issuer(entry) else { continue };
            if issuers.iter().any(|known| known.name == issuer.name) {
                self.fault(format_args!("`issuer` is {}, as of another entry: write one entry for each", issuer.name));
            }
            issuers.push(issuer);
        }
        self.place.clear();
        issuers
    }

    fn issuer(&mut self, mut entry: Table) -> Option<Issuer> {
        let name = self.name(&mut entry, "issuer", None);
        let audience = self.name(&mut entry, "audience", None);
        let tenant_claim = self.claim(&mut entry, "tenant_claim", "tenant");
        let permissions_claim = self.claim(&mut entry, "permissions_claim", "permissions");
        let tenants = self.tenants(&mut entry);
        let allow = self.allow(&mut entry);
        let maximum_lifetime = self.maximum_lifetime(&mut entry);
        let keys = self.keys(&mut entry);
        self.left_over(&entry);
        Some(Issuer {
            name: name?.into(),
            audience: audience?,
            tenants: tenants?,
            allow: allow?,
            tenant_claim: tenant_claim?,
            permissions_claim: permissions_claim?,
            maximum_lifetime: maximum_lifetime?,
            keys,
        })
    }

    fn name(&mut self, entry: &mut Table, key: &str, default: Option<&str>) -> Option<String> {
        match entry.remove(key) {
            Some(Toml::String(text)) if !text.is_empty() && text.chars().count() <= NAME => return Some(text),
            None if default.is_some() => return default.map(str::to_owned),
            None => self.fault(format_args!("`{key}` is missing: write text of 1 to {NAME} characters")),
            Some(_) => self.fault(format_args!("`{key}` is no text of 1 to {NAME} characters")),
        }
        None
    }

    fn claim(&mut self, entry: &mut Table, key: &str, default: &str) -> Option<String> {
        let name = self.name(entry, key, Some(default))?;
        if REGISTERED.contains(&name.as_str()) {
            self.fault(format_args!("`{key}` is {name}, which means something else: name a claim of your own"));
            return None;
        }
        Some(name)
    }

    /// A list of text, from which each entry is read.
    fn list<T>(&mut self, entry: &mut Table, key: &str, read: impl Fn(&str) -> Result<T, String>) -> Option<Vec<T>> {
        let entries = match entry.remove(key) {
            Some(Toml::Array(entries)) if !entries.is_empty() => entries,
            _ => {
                self.fault(format_args!("`{key}` is no list of at least one entry"));
                return None;
            }
        };
        let mut list = vec![];
        for entry in &entries {
            match entry.as_str().ok_or("is no text".to_owned()).and_then(&read) {
                Ok(value) => list.push(value),
                Err(rule) => self.fault(format_args!("`{key}` holds {entry}, which {rule}")),
            }
        }
        (list.len() == entries.len()).then_some(list)
    }

    /// The tenants that are served; `"*"` alone for all, so that none is trusted with all of them by an omission.
    fn tenants(&mut self, entry: &mut Table) -> Option<Option<Vec<TenantId>>> {
        let all =
            |value: &Toml| value.as_array().is_some_and(|list| matches!(&list[..], [one] if one.as_str() == Some("*")));
        if entry.get("tenants").is_some_and(all) {
            entry.remove("tenants");
            return Some(None);
        }
        let read = |text: &str| {
            let tenant = text.strip_prefix("tenants/").and_then(hyphenated).map(TenantId);
            let tenant = tenant.filter(|tenant| *tenant != TenantId::PLATFORM);
            tenant.ok_or("names no tenant: write tenants/{uuid}, or [\"*\"] alone for every tenant".to_owned())
        };
        self.list(entry, "tenants", read).map(Some)
    }

    fn allow(&mut self, entry: &mut Table) -> Option<Permissions> {
        let read = |name: &str| match (permissions::exists(name), Permissions::tenant().allow(name)) {
            (_, true) => Ok(name.to_owned()),
            (true, false) => Err("is for the platform's keys alone: leave it out".to_owned()),
            (false, _) => Err("is no permission: `stead-server permissions` lists them".to_owned()),
        };
        let names = self.list(entry, "allow", read)?;
        Some(names.iter().map(String::as_str).collect())
    }

    fn maximum_lifetime(&mut self, entry: &mut Table) -> Option<Duration> {
        let read = match entry.remove("maximum_lifetime") {
            None => return Some(MAXIMUM_LIFETIME),
            Some(value) => value.as_str().and_then(|text| Duration::parse(text).ok()),
        };
        let read = read.filter(|lifetime| (Duration::from_secs(1)..=MAXIMUM_LIFETIME).contains(lifetime));
        if read.is_none() {
            self.fault("`maximum_lifetime` is no duration from 1s to 24h, such as \"1h\"");
        }
        read
    }

    /// The keys of the JWKS file and those listed one by one; no two with the same id, so that a token means one at most.
    fn keys(&mut self, entry: &mut Table) -> Vec<Key> {
        let fallback = self.algorithm(entry.remove("algorithm"), false);
        let mut keys = vec![];
        match entry.remove("jwks") {
            Some(Toml::String(file)) => keys.extend(self.jwks(&file, fallback)),
            Some(_) => self.fault("`jwks` is no name of a file"),
            None => {}
        }
        match entry.remove("keys") {
            Some(Toml::Array(listed)) => keys.extend(listed.into_iter().filter_map(|key| self.key(key))),
            Some(_) => self.fault("`keys` is no list of tables: write [[issuers.keys]]"),
            None if keys.is_empty() => self.fault("has no key: name a `jwks` file, or write [[issuers.keys]]"),
            None => {}
        }
        for (index, key) in keys.iter().enumerate() {
            if keys[..index].iter().any(|known| known.kid == key.kid) {
                self.fault(format_args!("two keys are {key}: ids must differ, or a token could mean either"));
            }
        }
        keys
    }

    fn key(&mut self, key: Toml) -> Option<Key> {
        let Toml::Table(mut key) = key else {
            self.fault("a key is no table: write [[issuers.keys]]");
            return None;
        };
        let kid = match key.contains_key("kid") {
            true => Some(self.name(&mut key, "kid", None)?),
            false => None,
        };
        let algorithm = self.algorithm(key.remove("algorithm"), true);
        let file = self.name(&mut key, "pem", None);
        self.left_over(&key);
        let (algorithm, file) = (algorithm?, file?);
        let text = self.file(self.beside(&file))?;
        match keys::of_pem(&text, algorithm) {
            Ok(public) => Some(Key { kid, algorithm, public }),
            Err(rule) => {
                self.fault(format_args!("{file} {rule}"));
                None
            }
        }
    }

    fn algorithm(&mut self, named: Option<Toml>, required: bool) -> Option<Algorithm> {
        if named.is_none() && !required {
            return None;
        }
        match keys::algorithm(named.as_ref().and_then(Toml::as_str).unwrap_or_default()) {
            Ok(algorithm) => Some(algorithm),
            Err(rule) => {
                self.fault(format_args!("`algorithm` {rule}"));
                None
            }
        }
    }

    fn jwks(&mut self, file: &str, fallback: Option<Algorithm>) -> Vec<Key> {
        let Some(text) = self.file(self.beside(file)) else { return vec![] };
        let (keys, rules) = keys::of_jwks(&text, fallback);
        rules.into_iter().for_each(|rule| self.fault(format_args!("{file} {rule}")));
        keys
    }

    fn beside(&self, file: &str) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(file)
    }

    fn file(&mut self, path: PathBuf) -> Option<Vec<u8>> {
        match std::fs::read(&path) {
            Ok(text) => {
                // Framed by its length, so that no text passes for the end of another.
                self.read.update((text.len() as u64).to_be_bytes());
                self.read.update(&text);
                Some(text)
            }
            Err(fault) => {
                self.fault(format_args!("{} cannot be read: {fault}", path.display()));
                None
            }
        }
    }

    fn left_over(&mut self, table: &Table) {
        for key in table.keys() {
            self.fault(format_args!("there is no `{key}`: deploy/issuers.toml shows what there is"));
        }
    }
}

#[cfg(test)]
mod tests;
