//! What is remembered between calls, and in which Redis servers share it.
//! Leaves connecting to `redis`, and what is kept and for whom to `cache`.

use std::time::Duration;

use redis::IntoConnectionInfo as _;

use super::setting::settings;
use super::{ByteCount, Reader, Secret, Value, within};

settings! {
    /// What the service remembers of its answers, and where servers share it.
    Caching {
        /// A Redis or Valkey that servers share what they remember and count through; losing it costs speed and nothing else. Absent: each server remembers by itself.
        redis_url: Option<RedisUrl> = "STEAD_REDIS_URL";
        /// What answers that this server remembers may take of its memory; 0 remembers none here.
        cache_memory: ByteCount = "STEAD_CACHE_MEMORY", default "64MiB";
        /// How long an answer is remembered at most, less up to a fifth by chance; a change ends it at once.
        cache_lifetime: Duration = "STEAD_CACHE_LIFETIME", default "60s";
    }
}

impl Caching {
    fn check(&self, reader: &mut Reader<'_>) {
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        within(reader, "cache_lifetime", self.cache_lifetime, second, hour);
    }
}

/// Where a Redis is and how to log in there.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct RedisUrl(Secret);

impl RedisUrl {
    /// The URL, password included.
    pub fn expose(&self) -> &str {
        self.0.expose()
    }
}

impl Value for RedisUrl {
    const SHAPE: &'static str = "URL";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        // A fragment is how the driver is told to believe any certificate.
        if text.contains('#') {
            return Err("write the URL without what follows its #: certificates are always checked (a # in the password is %23)".into());
        }
        if text.into_connection_info().is_err() {
            return Err("write a URL such as redis://:PASSWORD@cache.internal:6379/0, rediss:// with TLS, or redis+unix:///run/redis/redis.sock?pass=PASSWORD (percent-encode what is special in the password)".into());
        }
        Ok(Self(Secret::new(text)))
    }
}
