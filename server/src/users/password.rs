//! Hashing passwords and checking them: Argon2id, as many at once as there are cores, behind a queue of bounded length.
//! It leaves keeping the hash to the store, and who may try to `auth`.

use std::{
    fmt,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{Arc, Mutex, PoisonError, mpsc},
    thread::{self, available_parallelism},
};

use argon2::{Algorithm, Argon2, Block, Params, Version, password_hash::phc::PasswordHash};
use base64::{Engine as _, prelude::BASE64_STANDARD_NO_PAD};
use subtle::ConstantTimeEq;
use tokio::{
    sync::{Semaphore, oneshot},
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
pub(crate) fn read(password: String, violations: &mut Violations) -> Option<Zeroizing<String>> {
    let password = Zeroizing::new(password);
    if !password.is_empty() && !(8..=1024).contains(&password.len()) {
        violations.add("password", "has fewer than 8 or more than 1,024 bytes: choose another");
    }
    Some(password).filter(|password| !password.is_empty())
}

/// The cores that hash, and the queue for them; clones share both.
///
/// They are threads of its own, and each keeps the 19 MiB that a hash takes: given back to the heap again and again, by whichever
/// of the runtime's many threads for blocking work, a few sign-ins would come to hundreds.
#[derive(Clone)]
pub struct Hasher {
    cores: Arc<Semaphore>,
    threads: mpsc::Sender<Work>,
    queue: Arc<Semaphore>,
    decoy: Arc<str>,
}

type Work = Box<dyn FnOnce(&mut Memory) + Send>;

/// What a password turned out to be.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Another one.
    Wrong,
    /// The right one.
    Right {
        /// Its hash by today's parameters, if it was kept by weaker ones.
        renewed: Option<String>,
    },
}

impl Hasher {
    /// One hash at a time for each core of the machine.
    pub fn new() -> Hasher {
        Hasher::of(available_parallelism().map_or(1, usize::from), QUEUE)
    }

    fn of(cores: usize, queue: usize) -> Hasher {
        let (places, threads) = (cores + queue, threads(cores));
        let (cores, queue) = (Arc::new(Semaphore::new(cores)), Arc::new(Semaphore::new(places)));
        Hasher { cores, threads, queue, decoy: decoy().into() }
    }

    /// The hash as a PHC string; a call waits for its turn until its deadline.
    pub(super) async fn hash(&self, password: Zeroizing<String>, deadline: Instant) -> Result<String, Error> {
        self.work(deadline, move |memory| hash(&password, memory)).await
    }

    /// Compares a password with the hash that was kept of one. Without a hash it is wrong, and takes as long to be.
    pub(crate) async fn verify(
        &self,
        password: Zeroizing<String>,
        kept: Option<String>,
        deadline: Instant,
    ) -> Result<Verdict, Error> {
        let decoy = Arc::clone(&self.decoy);
        self.work(deadline, move |memory| verify(&password, kept.as_deref(), &decoy, memory)).await
    }

    async fn work<T: Send + 'static>(
        &self,
        deadline: Instant,
        work: impl FnOnce(&mut Memory) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let busy = |_| Error::unavailable("PASSWORD_HASHING_BUSY");
        let place = Arc::clone(&self.queue).try_acquire_owned().map_err(busy)?;
        let core = timeout_at(deadline, Arc::clone(&self.cores).acquire_owned()).await;
        let core = core.map_err(|_| Error::DeadlineExceeded)?.map_err(Error::internal)?;
        let (tell, told) = oneshot::channel();
        let work = move |memory: &mut Memory| {
            // The core stays taken until the work is done, also when the call is gone by then.
            let _held = (place, core);
            // Nobody is there to be told when the call is gone.
            let _gone = tell.send(work(memory));
        };
        self.threads.send(Box::new(work)).map_err(|_| Error::internal("no thread hashes any more"))?;
        told.await.map_err(Error::internal)?
    }
}

/// As many threads as there are cores; they end with the last sender.
fn threads(cores: usize) -> mpsc::Sender<Work> {
    let (sender, works) = mpsc::channel::<Work>();
    let works = Arc::new(Mutex::new(works));
    for _ in 0..cores {
        let works = Arc::clone(&works);
        thread::spawn(move || {
            let mut memory = Memory::default();
            loop {
                let work = works.lock().unwrap_or_else(PoisonError::into_inner).recv();
                let Ok(work) = work else { return };
                // Whoever waits hears of a panic by the sender that it drops; the thread goes on.
                let _panicked = catch_unwind(AssertUnwindSafe(|| work(&mut memory)));
            }
        });
    }
    sender
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher::new()
    }
}

impl fmt::Debug for Hasher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Hasher").field("cores", &self.cores).field("queue", &self.queue).finish_non_exhaustive()
    }
}

/// What a hash is made in.
#[derive(Default)]
struct Memory(Vec<Block>);

impl Memory {
    /// The password by Argon2id, with these parameters.
    fn fill(&mut self, password: &str, salt: &[u8], params: Params, output: &mut [u8]) -> Result<(), Error> {
        let count = params.block_count();
        if self.0.len() < count {
            self.0.resize(count, Block::new());
        }
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let filled = argon2.hash_password_into_with_memory(password.as_bytes(), salt, output, &mut self.0);
        if count > MEMORY_KIB as usize {
            // A newer server's hash takes more, once.
            *self = Memory::default();
        }
        filled.map_err(|error| Error::internal(error.to_string()))
    }
}

fn verify(password: &str, kept: Option<&str>, decoy: &str, memory: &mut Memory) -> Result<Verdict, Error> {
    let parsed = PasswordHash::new(kept.unwrap_or(decoy)).map_err(|error| Error::internal(error.to_string()))?;
    let params = Params::try_from(&parsed).map_err(|error| Error::internal(error.to_string()))?;
    let (Some(salt), Some(expected)) = (&parsed.salt, &parsed.hash) else {
        return Err(Error::internal("a kept hash has no salt or no output"));
    };
    if parsed.algorithm.as_str() != "argon2id" || parsed.version != Some(Version::V0x13.into()) {
        return Err(Error::internal("a kept hash is not of Argon2id, version 19"));
    }
    let mut output = vec![0; expected.as_bytes().len()];
    memory.fill(password, salt, params.clone(), &mut output)?;
    if !bool::from(output.ct_eq(expected.as_bytes())) || kept.is_none() {
        return Ok(Verdict::Wrong);
    }
    let weaker = params.m_cost() < MEMORY_KIB || params.t_cost() < PASSES;
    Ok(Verdict::Right { renewed: if weaker { Some(hash(password, memory)?) } else { None } })
}

/// A hash of nothing that anybody knows, by the parameters of the real ones, so that comparing with it takes as long.
fn decoy() -> String {
    let (mut salt, mut output) = ([0u8; SALT_BYTES], [0u8; 32]);
    rand::fill(&mut salt);
    rand::fill(&mut output);
    phc(&salt, &output)
}

fn hash(password: &str, memory: &mut Memory) -> Result<String, Error> {
    let (mut salt, mut output) = ([0u8; SALT_BYTES], [0u8; 32]);
    rand::fill(&mut salt);
    let params = Params::new(MEMORY_KIB, PASSES, LANES, None).map_err(|error| Error::internal(error.to_string()))?;
    memory.fill(password, &salt, params, &mut output)?;
    Ok(phc(&salt, &output))
}

/// A hash in the form that is kept.
fn phc(salt: &[u8], output: &[u8]) -> String {
    let [salt, output] = [salt, output].map(|bytes| BASE64_STANDARD_NO_PAD.encode(bytes));
    format!("$argon2id$v=19$m={MEMORY_KIB},t={PASSES},p={LANES}${salt}${output}")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use argon2::{PasswordHasher, PasswordVerifier};

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
        let hasher = Hasher::of(0, 1);
        let late = hasher.hash(secret("correct horse"), Instant::now() + Duration::from_millis(20));
        let refused = hasher.hash(secret("correct horse"), soon());
        let (late, refused) = tokio::join!(late, refused);
        assert!(matches!(late, Err(Error::DeadlineExceeded)), "{late:?}");
        assert!(matches!(refused, Err(Error::Unavailable { reason: "PASSWORD_HASHING_BUSY", .. })), "{refused:?}");
    }
    #[tokio::test]
    async fn the_right_password_alone_is_right_and_a_weaker_hash_is_renewed() {
        let hasher = Hasher::new();
        let verify = async |password: &str, kept: &str| {
            hasher.verify(secret(password), Some(kept.to_owned()), soon()).await.unwrap()
        };
        let kept = hasher.hash(secret("correct horse"), soon()).await.unwrap();
        assert_eq!(verify("correct horse", &kept).await, Verdict::Right { renewed: None });
        for wrong in ["correct hors", "correct horse ", "Correct horse", ""] {
            assert_eq!(verify(wrong, &kept).await, Verdict::Wrong, "{wrong:?}");
        }
        for (memory, passes) in [(MEMORY_KIB - 1, PASSES), (MEMORY_KIB, PASSES - 1)] {
            let params = Params::new(memory, passes, LANES, None).unwrap();
            let weak = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
            let weak = weak.hash_password_with_salt(b"correct horse", &[7; SALT_BYTES]).unwrap().to_string();
            assert_eq!(verify("incorrect horse", &weak).await, Verdict::Wrong);
            let Verdict::Right { renewed: Some(renewed) } = verify("correct horse", &weak).await else {
                panic!("{weak} is not renewed");
            };
            assert_eq!(verify("correct horse", &renewed).await, Verdict::Right { renewed: None });
        }
        let params = Params::new(2 * MEMORY_KIB, PASSES, LANES, None).unwrap();
        let strong = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let strong = strong.hash_password_with_salt(b"correct horse", &[7; SALT_BYTES]).unwrap().to_string();
        assert_eq!(verify("correct horse", &strong).await, Verdict::Right { renewed: None }, "a newer server made it");
    }

    #[tokio::test]
    async fn where_there_is_no_hash_the_same_work_finds_every_password_wrong() {
        let hasher = Hasher::new();
        assert_eq!(hasher.verify(secret("correct horse"), None, soon()).await.unwrap(), Verdict::Wrong);
        let (decoy, real) =
            (PasswordHash::new(&hasher.decoy).unwrap(), hash("correct horse", &mut Memory::default()).unwrap());
        let real = PasswordHash::new(&real).unwrap();
        let shape = |hash: &PasswordHash| {
            let output = hash.hash.as_ref().map(|output| output.as_bytes().len());
            (hash.algorithm, hash.version, hash.params.clone(), hash.salt.as_ref().map(|salt| salt.len()), output)
        };
        assert_eq!(shape(&decoy), shape(&real));
        assert_ne!(decoy, real);
        assert!(!format!("{hasher:?}").contains("argon2"));
        let broken = hasher.verify(secret("correct horse"), Some("$argon2id$x".into()), soon()).await;
        assert!(matches!(broken, Err(Error::Internal(_))), "{broken:?}");
    }
}
