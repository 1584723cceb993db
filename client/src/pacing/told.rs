//! What the service tells of its limits: `ratelimit-policy` and `ratelimit` as the IETF's draft writes them
//! (draft-ietf-httpapi-ratelimit-headers).
//! It leaves what follows from it to the pacer.

use std::time::Duration;

use http::HeaderMap;

pub(super) const POLICY: &str = "ratelimit-policy";
pub(super) const REST: &str = "ratelimit";
/// Policies and characters beyond these are not read.
const POLICIES: usize = 8;
const CHARACTERS: usize = 1024;
/// A window beyond this is a mistake.
const LONGEST: Duration = Duration::from_secs(24 * 3600);

/// One limit of the caller, as the service told of it with an answer.
///
/// ```no_run
/// # fn example(client: &stead_client::Client) {
/// for quota in client.quota() {
///     println!("{}: {} of {} units are left", quota.policy, quota.remaining, quota.quota);
/// }
/// # }
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Whose it is: `tenant`, or `platform` for its operators.
    pub policy: String,
    /// How many units may be spent at once; a call costs one or more.
    pub quota: u64,
    /// How long an empty quota takes to be whole again, in whole seconds.
    pub window: Duration,
    /// How many units were left.
    pub remaining: u64,
    /// How long until it is whole again, in whole seconds.
    pub reset: Duration,
}

/// The limits that an answer tells of; those that cannot be read are left out.
pub(crate) fn quotas(headers: &HeaderMap) -> Vec<Quota> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok()).filter(|text| text.len() <= CHARACTERS);
    let (Some(policies), Some(rests)) = (text(POLICY), text(REST)) else { return Vec::new() };
    let rests: Vec<_> = items(rests).collect();
    items(policies)
        .filter_map(|policy| {
            let rest = rests.iter().find(|rest| rest.name == policy.name)?;
            let window = Duration::from_secs(policy.number("w")?);
            let reset = Duration::from_secs(rest.number("t").unwrap_or_default());
            let (quota, remaining) = (policy.number("q")?, rest.number("r")?);
            let is_sound = quota > 0 && !window.is_zero() && window <= LONGEST;
            is_sound.then(|| Quota { policy: policy.name.to_owned(), quota, window, remaining, reset })
        })
        .collect()
}

/// `"name";key=number;key=number`
struct Item<'a> {
    name: &'a str,
    parameters: &'a str,
}

impl Item<'_> {
    fn number(&self, key: &str) -> Option<u64> {
        let pairs = self.parameters.split(';').filter_map(|pair| pair.trim().split_once('='));
        pairs.filter(|(name, _)| *name == key).find_map(|(_, number)| number.parse().ok())
    }
}

fn items(text: &str) -> impl Iterator<Item = Item<'_>> {
    text.split(',').take(POLICIES).filter_map(|item| {
        let (name, parameters) = item.trim().strip_prefix('"')?.split_once('"')?;
        Some(Item { name, parameters })
    })
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn read(policy: &str, rest: &str) -> Vec<(String, u64, u64, u64, u64)> {
        let header = |text: &str| HeaderValue::from_str(text).unwrap();
        let headers = HeaderMap::from_iter([
            (http::HeaderName::from_static(POLICY), header(policy)),
            (http::HeaderName::from_static(REST), header(rest)),
        ]);
        let numbers =
            |quota: Quota| (quota.policy, quota.quota, quota.window.as_secs(), quota.remaining, quota.reset.as_secs());
        quotas(&headers).into_iter().map(numbers).collect()
    }

    #[test]
    fn limits_are_read_as_the_draft_writes_them() {
        assert_eq!(read(r#""tenant";q=100;w=4"#, r#""tenant";r=40;t=3"#), [("tenant".to_owned(), 100, 4, 40, 3)]);
        let two = read(r#""a";w=1;q=5, "b" ; q=7 ; w=2"#, r#""b";r=1,"a";r=0;t=1"#);
        assert_eq!(two, [("a".to_owned(), 5, 1, 0, 1), ("b".to_owned(), 7, 2, 1, 0)]);
    }

    #[test]
    fn what_cannot_be_read_is_left_out() {
        let rest = r#""tenant";r=40;t=3"#;
        let long = format!(r#""tenant";q=100;w=4;x={}"#, "x".repeat(2000));
        for policy in ["", "tenant;q=1;w=1", r#""tenant""#, r#""tenant";q=0;w=1"#, r#""tenant";q=1;w=0"#, &long] {
            assert_eq!(read(policy, rest), [], "{policy}");
        }
        assert_eq!(read(r#""tenant";q=100;w=99999999"#, rest), []);
        assert_eq!(read(r#""tenant";q=100;w=4"#, r#""tenant";r=-1"#), []);
        assert_eq!(read(r#""tenant";q=100;w=4"#, r#""other";r=1"#), []);
    }
}
