//! Hashing passwords: Argon2id, as many at once as there are cores, behind a queue of bounded length.
//! It leaves keeping the hash to the store.

use std::{sync::Arc, thread::available_parallelism};

use argon2::{Algorithm, Argon2, Params, PasswordHasher, Version};
use tokio::{
    sync::Semaphore,
    time::{Instant, timeout_at},
};
use zeroize::Zeroizing;

use crate::{error::Error, rules::Violations};

const SALT_BYTES: usize = 16;
/// OWASP's choice: 19 MiB, two passes, one lane.
const MEMORY_KIB: u32 = 19 * 1024;
const PASSES: u32 = 2;
const LANES: u32 = 1;
/// More than this many calls waiting for a core are refused: by the time of their turn nobody would wait for them.
const QUEUE: usize = 64;

/// Checks the bounds of a password; the empty one means that there is none.
pub(super) fn read(password: String, violations: &mut Violations) -> Option<Zeroizing<String>> {
    let password = Zeroizing::new(password);
    if !password.is_empty() && !(8..=1024).contains(&password.len()) {
        violations.add("password", "has fewer than 8 or more than 1,024 bytes: choose another");
    }
    Some(password).filter(|password| !password.is_empty())
}

/// The cores that hash, and the queue for them.
#[derive(Clone, Debug)]
pub(super) struct Hasher {
    cores: Arc<Semaphore>,
    queue: Arc<Semaphore>,
}

impl Hasher {
    pub(super) fn new() -> Hasher {
        let cores = available_parallelism().map_or(1, usize::from);
        Hasher { cores: Arc::new(Semaphore::new(cores)), queue: Arc::new(Semaphore::new(cores + QUEUE)) }
    }

    /// The hash as a PHC string; a call waits for its turn until its deadline.
    pub(super) async fn hash(&self, password: Zeroizing<String>, deadline: Instant) -> Result<String, Error> {
        let busy = |_| Error::unavailable("PASSWORD_HASHING_BUSY");
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(busy)?;
        let core = timeout_at(deadline, Arc::clone(&self.cores).acquire_owned()).await;
        let core = core.map_err(|_| Error::DeadlineExceeded)?.map_err(Error::internal)?;
        let work = move || {
            // The core stays taken until the work is done, also when the call is gone by then.
            let _held = (place, core);
            hash(&password)
        };
        tokio::task::spawn_blocking(work).await.map_err(Error::internal)?
    }
}

fn hash(password: &str) -> Result<String, Error> {
    let mut salt = [0u8; SALT_BYTES];
    rand::fill(&mut salt);
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| Error::internal(error.to_string()))?;
    let hash = Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| Error::internal(error.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use argon2::PasswordVerifier;

    use super::*;

    fn secret(text: &str) -> Zeroizing<String> {
        Zeroizing::new(text.to_owned())
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn passwords_have_8_to_1024_bytes() {
        for (length, faults) in [(0, 0), (1, 1), (7, 1), (8, 0), (1024, 0), (1025, 1)] {
            let mut violations = Violations::default();
            let password = read("x".repeat(length), &mut violations);
            assert_eq!((violations.len(), password.is_some()), (faults, length > 0), "{length} bytes");
        }
    }

    #[tokio::test]
    async fn a_hash_is_salted_and_verifies_its_password_only() {
        let hasher = Hasher::new();
        let first = hasher.hash(secret("correct horse"), soon()).await.unwrap();
        let second = hasher.hash(secret("correct horse"), soon()).await.unwrap();
        assert!(first.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{first}");
        assert_ne!(first, second);
        let verify = |password: &str| Argon2::default().verify_password(password.as_bytes(), first.as_str());
        assert!(verify("correct horse").is_ok());
        assert!(verify("incorrect horse").is_err());
    }

    #[tokio::test]
    async fn a_full_queue_is_refused_and_a_late_turn_never_comes() {
        let hasher = Hasher { cores: Arc::new(Semaphore::new(0)), queue: Arc::new(Semaphore::new(1)) };
        let late = hasher.hash(secret("correct horse"), Instant::now() + Duration::from_millis(20));
        let refused = hasher.hash(secret("correct horse"), soon());
        let (late, refused) = tokio::join!(late, refused);
        assert!(matches!(late, Err(Error::DeadlineExceeded)), "{late:?}");
        assert!(matches!(refused, Err(Error::Unavailable { reason: "PASSWORD_HASHING_BUSY", .. })), "{refused:?}");
    }
}
