//! Rules of fields as the service words them: of products, and the little that is cheap to know of users and tenants.
//! It leaves which rows they are checked of to `resource`.

use stead_api::{google::r#type::Money, v1};

use super::refusal::Violations;
use crate::currency;

/// Beyond ±2^53 the service counts nothing.
pub(super) const EXACT_INTEGER: i64 = 1 << 53;

pub(super) fn product(product: &v1::Product, violations: &mut Violations) {
    if !(0..=EXACT_INTEGER).contains(&product.quantity) {
        violations.add("product.quantity", "is negative or beyond 2^53: send 0 to 9007199254740992");
    }
    amount("product.price", product.price.as_ref(), violations);
    amount("product.cost", product.cost.as_ref(), violations);
    tags(&product.tags, violations);
    category(&product.category, violations);
}

pub(super) fn user(user: &v1::User, violations: &mut Violations) {
    let strange = |letter: char| letter.is_whitespace() || letter.is_control();
    let sides: Vec<_> = user.email.split('@').collect();
    if !user.email.is_empty() && (sides.len() != 2 || sides.contains(&"") || user.email.contains(strange)) {
        violations.add("user.email", "is not an address: one `@` with something on either side, and no space");
    }
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if user.username.chars().count() > 64 || !user.username.chars().all(fits) {
        violations.add("user.username", "is not of 1 to 64 letters, digits, `.`, `_` and `-`");
    }
}

pub(super) fn tenant(tenant: &v1::Tenant, violations: &mut Violations) {
    let slug = &tenant.slug;
    let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    if !slug.is_empty() && (!slug.bytes().all(inner) || slug.starts_with('-') || slug.ends_with('-')) {
        violations.add("tenant.slug", "is not a DNS label: 1 to 63 of a-z, 0-9 and `-`, with no `-` at either end");
    }
}

fn amount(path: &str, amount: Option<&Money>, violations: &mut Violations) {
    let Some(money) = amount else { return };
    let Some(exponent) = currency::exponent(&money.currency_code) else {
        let rule = "is not a currency of ISO 4217 that has amounts, such as EUR";
        return violations.add(format!("{path}.currency_code"), rule);
    };
    if money.units < 0 || !(0..=999_999_999).contains(&money.nanos) {
        violations.add(path, "is negative, or its nanos are not 0 to 999,999,999: send 0 or more");
    } else if money.nanos % 10_i32.pow(9_u32.saturating_sub(exponent)) != 0 {
        let rule = format!("is finer than the minor unit: {} has {exponent} decimals: round it", money.currency_code);
        violations.add(format!("{path}.nanos"), rule);
    }
}

fn tags(tags: &[String], violations: &mut Violations) {
    if tags.len() > 50 {
        return violations.add("product.tags", format!("has {} entries, more than 50: send fewer", tags.len()));
    }
    for (at, tag) in tags.iter().enumerate() {
        let path = format!("product.tags[{at}]");
        match tag.chars().count() {
            0 => violations.add(path, "is required"),
            65.. => violations.add(path, "has more than 64 characters: shorten it"),
            _ if tags[..at].contains(tag) => violations.add(path, "stands there twice: send each tag once"),
            _ => {}
        }
    }
}

fn category(category: &str, violations: &mut Violations) {
    let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let slug = |slug: &str| {
        slug.bytes().next().is_some_and(plain) && slug.bytes().all(|byte| plain(byte) || matches!(byte, b'_' | b'-'))
    };
    if category.len() > 200 {
        violations.add("product.category", "has more than 200 characters: shorten it");
    } else if !category.is_empty() && !category.split('/').all(slug) {
        let rule =
            "is not a path of slugs such as `games/board`: a-z, 0-9, `_` and `-`, each starting with a letter or digit";
        violations.add("product.category", rule);
    }
}
