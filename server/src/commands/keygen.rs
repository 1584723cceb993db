//! `keygen`: a new secret key for `STEAD_SECRET_KEYS`.
//! Leaves what keys seal to `seal`.

use chrono::Utc;
use clap::Args;
use rand::TryRng as _;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

use crate::config::SecretKey;

/// Print a new key for STEAD_SECRET_KEYS
///
/// The key seals page tokens and recognises repeated requests. Every server of one installation needs the same keys.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  stead-server keygen > /run/secrets/stead-keys
  (umask 077; stead-server keygen > stead-keys)

To replace a key without failing a call:
  1. give every server `old,new`      each can open what the new one seals
  2. give every server `new,old`      the new one seals
  3. a day later, give every server `new`")]
pub(super) struct Keygen {
    /// What names the key; by default the date and a few random letters
    #[arg(long, value_name = "ID")]
    id: Option<String>,
}

impl Keygen {
    pub(super) fn run(self) -> anyhow::Result<()> {
        let key = new_key(self.id)?;
        let text = key.to_text();
        <crate::config::SecretKeys as crate::config::Value>::parse(&text).map_err(anyhow::Error::msg)?;
        super::say(text.as_str());
        Ok(())
    }
}

/// Makes a key from the system's randomness.
pub(super) fn new_key(id: Option<String>) -> anyhow::Result<SecretKey> {
    let mut key = Zeroizing::new([0; 32]);
    SysRng.try_fill_bytes(key.as_mut_slice())?;
    let id = match id {
        Some(id) => id,
        None => {
            let mut suffix = [0; 5];
            SysRng.try_fill_bytes(&mut suffix)?;
            let suffix: String = data_encoding::BASE32_NOPAD.encode(&suffix).to_lowercase().chars().take(6).collect();
            format!("{}-{suffix}", Utc::now().format("%Y%m%d"))
        }
    };
    Ok(SecretKey { id, key })
}
