//! Page tokens: what they hold for, and that nothing else opens, continues or outlives them.
//! It leaves the rows behind a token to the lists of the domains.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use proptest::prelude::*;

use super::*;
use crate::{
    config::{SecretKeys, Value},
    permissions::Permissions,
    principal::{Call, TenantId},
};

const ORDERS: &[OrderKey] = &[
    OrderKey { field: "create_time", column: "create_time", kind: KeyKind::Time },
    OrderKey { field: "sku", column: "sku", kind: KeyKind::Text },
    OrderKey { field: "price", column: "currency", kind: KeyKind::Amount("minor") },
];
const LIST: Asked<'static> = Asked { method: "/a.B/List", size: 0, token: "", order_by: "sku desc", shape: 7 };

fn seal() -> Seal {
    Seal::new(&SecretKeys::parse(&format!("test:{}=", "A".repeat(43))).unwrap())
}

fn principal(tenant: u128, subject: &str) -> Principal {
    let call = Call::for_tests(TenantId(Uuid::from_u128(tenant)), Permissions::tenant(), "ProductService/ListProducts");
    Principal { subject: subject.into(), ..call.principal }
}

/// The page, or the reason and the field of its refusal.
fn read(asked: Asked<'_>, principal: &Principal, seal: &Seal) -> Result<Page, String> {
    let mut violations = Violations::default();
    let page = Page::read(asked, ORDERS, principal, seal, &mut violations);
    match violations.iter().next() {
        None => Ok(page),
        Some(violation) => Err(format!("{} {}", violation.field, violations.reason())),
    }
}

/// The token of a page that ends with this row.
fn token(page: &Page, key: &KeyValue, principal: &Principal, seal: &Seal) -> String {
    let rows = Rows { rows: vec![()], more: true };
    page.answer(LIST.method, rows, principal, seal, |(), _| (key.clone(), Uuid::from_u128(9)), |()| String::new()).1
}

fn sku() -> KeyValue {
    KeyValue::Text("x".into())
}

#[test]
fn a_token_continues_its_own_list_of_its_own_caller_alone() {
    let (seal, ours) = (seal(), principal(1, "services/a"));
    let token = token(&read(LIST, &ours, &seal).unwrap(), &sku(), &ours, &seal);
    let own = Asked { token: &token, ..LIST };
    for same in [own, Asked { size: 3, ..own }, Asked { order_by: "  sku   desc ", ..own }] {
        assert_eq!(read(same, &ours, &seal).unwrap().after, Some((sku(), Uuid::from_u128(9))));
    }
    for other in ["sku", "sku asc", "create_time desc", "price", ""] {
        let refused = read(Asked { order_by: other, ..own }, &ours, &seal).unwrap_err();
        assert_eq!(refused, "page_token PAGE_TOKEN_MISMATCH", "{other}");
    }
    assert_eq!(read(Asked { shape: 8, ..own }, &ours, &seal).unwrap_err(), "page_token PAGE_TOKEN_MISMATCH");
    for (asked, caller) in [
        (own, principal(2, "services/a")),
        (own, principal(1, "services/b")),
        (own, principal(1, "users/a")),
        (Asked { method: "/a.B/ListOthers", ..own }, ours.clone()),
        (Asked { method: "a/a.B/List", ..own }, principal(1, "services/")),
    ] {
        assert_eq!(read(asked, &caller, &seal).unwrap_err(), "page_token PAGE_TOKEN_INVALID");
    }
}

#[test]
fn a_token_with_any_bit_of_it_changed_is_refused() {
    let (seal, ours) = (seal(), principal(1, "services/a"));
    let token = token(&read(LIST, &ours, &seal).unwrap(), &sku(), &ours, &seal);
    let invalid = |forged: &str| {
        let refused = read(Asked { token: forged, ..LIST }, &ours, &seal).unwrap_err();
        assert_eq!(refused, "page_token PAGE_TOKEN_INVALID", "{forged}");
    };
    let (sealed, mut tried) = (URL_SAFE_NO_PAD.decode(&token).unwrap(), 0);
    for (bytes, is_text) in [(sealed, false), (token.clone().into_bytes(), true)] {
        for bit in 0..bytes.len() * 8 {
            let mut forged = bytes.clone();
            forged[bit / 8] ^= 1 << (bit % 8);
            match if is_text { String::from_utf8(forged).ok() } else { Some(URL_SAFE_NO_PAD.encode(forged)) } {
                Some(forged) => invalid(&forged),
                // No text, so no message.
                None => continue,
            }
            tried += 1;
        }
    }
    (0..token.len()).for_each(|end| {
        if end > 0 {
            invalid(&token[..end])
        }
    });
    [format!("{token}A"), format!("{token}="), format!(" {token}"), "A".repeat(100_000)]
        .iter()
        .for_each(|it| invalid(it));
    println!("figure forged_tokens: tried={tried} taken=0");
    assert!(tried > 2000, "{tried}");
}

#[test]
fn a_token_holds_for_a_day() {
    let (seal, ours) = (seal(), principal(1, "services/a"));
    let page = read(LIST, &ours, &seal).unwrap();
    let token = token(&page, &sku(), &ours, &seal);
    let plain = seal.open(&owner(&ours, LIST.method), &token).unwrap();
    let made: Token = serde_json::from_slice(&plain).unwrap();
    let now = Utc::now().timestamp();
    assert!((now + 86_400 - 60..=now + 86_400).contains(&made.expires), "{} at {now}", made.expires);
    for (ago, holds) in [(0, true), (86_400 - 60, true), (86_400 + 1, false), (10 * 86_400, false)] {
        let aged = Token {
            expires: now + 86_400 - ago,
            order: page.order(),
            key: sku(),
            id: made.id,
            shape: made.shape,
            until: None,
        };
        let aged = seal.seal(&owner(&ours, LIST.method), &serde_json::to_vec(&aged).unwrap());
        let read = read(Asked { token: &aged, ..LIST }, &ours, &seal);
        assert_eq!(read.is_ok(), holds, "after {ago} s");
        assert!(holds || read.unwrap_err() == "page_token PAGE_TOKEN_INVALID");
    }
}

#[test]
fn a_bookmark_is_bound_as_a_token_is() {
    let (seal, ours) = (seal(), principal(1, "services/a"));
    let find = |method: &str, shape: &str, token: &str, principal: &Principal| {
        let mut violations = Violations::default();
        let found = find_bookmark::<i64>(method, shape, ("at", token), principal, &seal, &mut violations);
        violations.into_result().map(|()| found).map_err(drop)
    };
    let token = bookmark("list", "x".into(), 5, &ours, &seal);
    assert_eq!(find("list", "x", &token, &ours), Ok(Some(5)));
    assert_eq!(find("list", "x", "", &ours), Ok(None));
    for (method, shape, principal) in
        [("other", "x", ours.clone()), ("list", "y", ours.clone()), ("list", "x", principal(2, "services/a"))]
    {
        assert_eq!(find(method, shape, &token, &principal), Err(()));
    }
    // Neither stands for the other.
    let page = read(LIST, &ours, &seal).unwrap();
    let paged = super::tests::token(&page, &sku(), &ours, &seal);
    assert_eq!(find(LIST.method, "x", &paged, &ours), Err(()));
    assert!(read(Asked { token: &bookmark(LIST.method, "x".into(), 5, &ours, &seal), ..LIST }, &ours, &seal).is_err());
}

proptest! {
    #[test]
    fn a_place_comes_back_as_it_was(text in "\\PC{0,200}", micros in 0..253_402_300_800_000_000_i64, minor in any::<i64>(), currency in "[A-Z]{3}|") {
        let (seal, ours) = (seal(), principal(1, "services/a"));
        for (order_by, key) in [
            ("create_time", KeyValue::Time(micros)),
            ("sku", KeyValue::Text(text)),
            ("price desc", KeyValue::Amount(currency, minor)),
        ] {
            let asked = Asked { order_by, ..LIST };
            let token = token(&read(asked, &ours, &seal).unwrap(), &key, &ours, &seal);
            let page = read(Asked { token: &token, ..asked }, &ours, &seal).unwrap();
            prop_assert_eq!(page.after.as_ref().map(|(key, _)| key), Some(&key));
            let mut query = QueryBuilder::new("");
            page.push_after(&page.key.columns(), &mut query);
            let column = page.key.columns().join(", ");
            let after = if page.descending { format!("({column}, id) < ($1, $2, $3)") } else { format!("({column}, id) > ($1, $2)") };
            prop_assert_eq!(query.sql().as_str().to_owned(), after);
        }
    }

    #[test]
    fn no_token_at_all_is_believed(bytes in prop::collection::vec(any::<u8>(), 0..300), text in "\\PC{1,300}") {
        let (seal, ours) = (seal(), principal(1, "services/a"));
        for forged in [URL_SAFE_NO_PAD.encode([&[4], &b"test"[..], &bytes].concat()), text] {
            let believed = read(Asked { token: &forged, ..LIST }, &ours, &seal).is_ok();
            prop_assert!(!believed);
        }
    }
}
