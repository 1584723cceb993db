//! A user's values: what a client may send, checked whole, and what it gets.
//! It leaves the rules' wording to `rules`, passwords to `password` and rows to the store.

use chrono::{DateTime, Duration, Utc};
use serde_json::{Map, Value};
use stead_api::v1::{self, lookup_user_request::Key};
use unicode_normalization::UnicodeNormalization;
use uuid::Uuid;

use crate::{
    etag,
    filter::{Choice, DELETED, Field, Index, Kind, exact},
    page::{KeyKind, KeyValue, OrderKey},
    permissions,
    rules::{Violations, to_struct, to_timestamp},
};

/// A deleted user is kept this long.
const PURGE_AFTER: Duration = Duration::days(30);
const OWNER: &str = "owner";
const ACTIVE: &str = "active";
const DISABLED: &str = "disabled";

const ROLES: [(v1::Role, &str); 4] =
    [(v1::Role::Owner, OWNER), (v1::Role::Admin, "admin"), (v1::Role::Editor, "editor"), (v1::Role::Viewer, "viewer")];

/// What lists may be ordered by; the first is the default.
pub(super) const ORDERS: &[OrderKey] = &[
    OrderKey { field: "create_time", column: "create_time", kind: KeyKind::Time },
    OrderKey { field: "email", column: "email_key", kind: KeyKind::Text },
];

/// What lists may be filtered by; addresses and usernames whatever their case.
pub(super) const FIELDS: &[Field] = &[
    Field::new("email", "email_key", Kind::Text(key_of)).led_by(&["email_key"]),
    Field::new("username", "username_key", Kind::Text(key_of)).led_by(&["username_key"]),
    Field::new("role", "roles", Kind::Choice { choices: FILTER_ROLES, many: true }),
    Field::new("state", "state", Kind::Choice { choices: FILTER_STATES, many: false }),
    Field::new("create_time", "create_time", Kind::Time).led_by(&["create_time"]),
    Field::new("display_name", "display_name collate \"C\"", Kind::Text(exact)),
    Field::new("update_time", "update_time", Kind::Time),
    Field::new("last_login_time", "last_login_time", Kind::Time),
    Field::new("delete_time", "delete_time", Kind::Time),
];

const BY_TIME: Option<Index> = Some(&["create_time"]);

/// Word for word the conditions of the indexes, so that PostgreSQL knows them again.
const FILTER_ROLES: &[Choice] = &[
    Choice { name: "OWNER", condition: "'owner' = any (roles)", index: BY_TIME },
    Choice { name: "ADMIN", condition: "'admin' = any (roles)", index: BY_TIME },
    Choice { name: "EDITOR", condition: "'editor' = any (roles)", index: BY_TIME },
    Choice { name: "VIEWER", condition: "'viewer' = any (roles)", index: BY_TIME },
];

const FILTER_STATES: &[Choice] = &[
    Choice { name: "ACTIVE", condition: "state = 'active' and delete_time is null", index: BY_TIME },
    Choice { name: "DISABLED", condition: "state = 'disabled' and delete_time is null", index: BY_TIME },
    Choice { name: "DELETED", condition: DELETED, index: BY_TIME },
];

fn key_of(text: &str) -> String {
    Unique::of(text).key
}

crate::masked!(v1::User {
    name, email, username, display_name, roles, state, last_login_time, etag, create_time, update_time, delete_time,
    purge_time,
} facts profile);

/// A user as the database holds it.
#[derive(Debug, Clone, serde::Deserialize, serde::Serialize, sqlx::FromRow)]
pub(super) struct User {
    pub(super) id: Uuid,
    pub(super) email: String,
    pub(super) email_key: String,
    pub(super) username: Option<String>,
    pub(super) display_name: String,
    pub(super) roles: Vec<String>,
    pub(super) profile: Value,
    pub(super) state: String,
    pub(super) last_login_time: Option<DateTime<Utc>>,
    pub(super) revision: i64,
    pub(super) create_time: DateTime<Utc>,
    pub(super) update_time: DateTime<Utc>,
    pub(super) delete_time: Option<DateTime<Utc>>,
}

impl User {
    /// The value and id that place the user in an ordered list.
    pub(super) fn place(&self, key: OrderKey) -> (KeyValue, Uuid) {
        let value = match key.field {
            "email" => KeyValue::Text(self.email_key.clone()),
            _ => self.create_time.into(),
        };
        (value, self.id)
    }
}

impl From<User> for v1::User {
    fn from(user: User) -> v1::User {
        let role = |name: &String| ROLES.iter().find(|(_, known)| known == name).map(|(role, _)| i32::from(*role));
        let state = match user.state.as_str() {
            ACTIVE => v1::user::State::Active,
            DISABLED => v1::user::State::Disabled,
            _ => v1::user::State::Unspecified,
        };
        v1::User {
            name: format!("users/{}", user.id),
            etag: etag::of(user.id, user.revision),
            email: user.email,
            username: user.username.unwrap_or_default(),
            display_name: user.display_name,
            roles: user.roles.iter().filter_map(role).collect(),
            profile: Some(to_struct(user.profile)),
            state: state.into(),
            last_login_time: user.last_login_time.map(to_timestamp),
            create_time: Some(to_timestamp(user.create_time)),
            update_time: Some(to_timestamp(user.update_time)),
            delete_time: user.delete_time.map(to_timestamp),
            purge_time: user.delete_time.map(|time| to_timestamp(time + PURGE_AFTER)),
        }
    }
}

/// A text that is unique whatever its case, and the form that makes it so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unique {
    pub(super) text: String,
    pub(super) key: String,
}

impl Unique {
    fn of(text: &str) -> Unique {
        let text: String = text.nfc().collect();
        let key = text.to_lowercase().nfc().collect();
        Unique { text, key }
    }
}

/// What one live user alone has.
#[derive(Debug)]
pub(super) enum Handle {
    Email(Unique),
    Username(Unique),
}

impl Handle {
    /// Reads what a look-up goes by; none when the request breaks a rule.
    pub(super) fn read(key: Option<&Key>, violations: &mut Violations) -> Option<Handle> {
        match key {
            None => violations.add("key", "is required: send an email or a username"),
            Some(Key::Email(text)) => return Some(Handle::Email(email("email", text, violations))),
            Some(Key::Username(text)) if text.is_empty() => violations.add("username", "is required"),
            Some(Key::Username(text)) => return username("username", text, violations).map(Handle::Username),
        }
        None
    }

    /// As it was sent, in NFC.
    pub(super) fn text(&self) -> &str {
        match self {
            Handle::Email(unique) | Handle::Username(unique) => &unique.text,
        }
    }
}

/// Every field of a user that a client may set, checked.
#[derive(Debug, Clone)]
pub(super) struct NewUser {
    pub(super) email: Unique,
    pub(super) username: Option<Unique>,
    pub(super) display_name: String,
    pub(super) roles: Vec<String>,
    pub(super) profile: Value,
    pub(super) state: &'static str,
}

impl NewUser {
    /// Reads a whole user; `authority` is the highest role that the caller may give.
    pub(super) fn read(user: v1::User, authority: Option<permissions::Role>, violations: &mut Violations) -> NewUser {
        violations.text("user.display_name", &user.display_name, 0, 200);
        NewUser {
            email: email("user.email", &user.email, violations),
            username: username("user.username", &user.username, violations),
            roles: roles(&user.roles, authority, violations),
            profile: Value::Object(violations.object("user.profile", user.profile)),
            state: state(user.state, violations),
            display_name: user.display_name,
        }
    }
}

/// A change by mask: what is `None` stays. The outer option of the username is the mask's, the inner one the value's.
#[derive(Debug, Default)]
pub(super) struct UserPatch {
    pub(super) email: Option<Unique>,
    pub(super) username: Option<Option<Unique>>,
    pub(super) display_name: Option<String>,
    pub(super) roles: Option<Vec<String>>,
    /// Replaces the whole profile.
    pub(super) profile: Option<Value>,
    /// Sets some of its keys.
    pub(super) profile_set: Map<String, Value>,
    /// Removes some of them.
    pub(super) profile_removed: Vec<String>,
    pub(super) state: Option<&'static str>,
}

const SETTABLE: &[&str] = &["email", "username", "display_name", "roles", "profile", "state"];
const OUTPUT_ONLY: &[&str] =
    &["name", "last_login_time", "etag", "create_time", "update_time", "delete_time", "purge_time"];

impl UserPatch {
    /// Reads the masked fields of a user; `authority` is the highest role that the caller may give.
    pub(super) fn read(
        user: v1::User,
        mask: Option<prost_types::FieldMask>,
        authority: Option<permissions::Role>,
        violations: &mut Violations,
    ) -> UserPatch {
        let paths = match mask.filter(|mask| !mask.paths.is_empty()) {
            None => populated(&user),
            // Whoever is disabled stays so when everything else is replaced.
            Some(mask) => {
                let all = |path: &&str| *path != "state" || user.state != 0;
                violations.mask(mask, SETTABLE, OUTPUT_ONLY, "profile", all)
            }
        };
        let mut patch = UserPatch::default();
        let mut sent = None;
        for path in paths {
            match path.as_str() {
                "email" => patch.email = Some(email("user.email", &user.email, violations)),
                "username" => patch.username = Some(username("user.username", &user.username, violations)),
                "display_name" => {
                    violations.text("user.display_name", &user.display_name, 0, 200);
                    patch.display_name = Some(user.display_name.clone());
                }
                "roles" => patch.roles = Some(roles(&user.roles, authority, violations)),
                "state" if user.state == 0 => {
                    violations.add("user.state", "is not set: send STATE_ACTIVE or STATE_DISABLED");
                }
                "state" => patch.state = Some(state(user.state, violations)),
                path => {
                    let facts = sent.get_or_insert_with(|| violations.object("user.profile", user.profile.clone()));
                    match path.strip_prefix("profile.") {
                        None => patch.profile = Some(Value::Object(facts.clone())),
                        Some(key) => match facts.get(key) {
                            Some(value) => drop(patch.profile_set.insert(key.to_owned(), value.clone())),
                            None => patch.profile_removed.push(key.to_owned()),
                        },
                    }
                }
            }
        }
        patch
    }

    /// Whether an active owner would be none afterwards.
    pub(super) fn ends_ownership(&self) -> bool {
        let ends_role = self.roles.as_ref().is_some_and(|roles| !roles.iter().any(|role| role == OWNER));
        ends_role || self.state.is_some_and(|state| state != ACTIVE)
    }
}

/// An absent mask means the fields that are populated (AIP-134).
fn populated(user: &v1::User) -> Vec<String> {
    let fields = [
        ("email", !user.email.is_empty()),
        ("username", !user.username.is_empty()),
        ("display_name", !user.display_name.is_empty()),
        ("roles", !user.roles.is_empty()),
        ("profile", user.profile.is_some()),
        ("state", user.state != 0),
    ];
    fields.into_iter().filter(|(_, there)| *there).map(|(field, _)| field.to_owned()).collect()
}

fn email(field: &str, email: &str, violations: &mut Violations) -> Unique {
    // Composing takes time and memory by the length, and shortens a text, but not to a quarter.
    if email.len() > 4 * 254 {
        violations.add(field, format!("has {} bytes, not 3 to 254: send another", email.len()));
        return Unique::of("");
    }
    let email = Unique::of(email);
    let strange = |letter: char| letter.is_whitespace() || letter.is_control();
    let sides: Vec<_> = email.text.split('@').collect();
    if email.text.is_empty() {
        violations.add(field, "is required");
    } else if !(3..=254).contains(&email.text.len()) {
        violations.add(field, format!("has {} bytes, not 3 to 254: send another", email.text.len()));
    } else if sides.len() != 2 || sides.contains(&"") || email.text.contains(strange) {
        violations.add(field, "is not an address: one `@` with something on either side, and no space");
    }
    email
}

/// The address of somebody who signs in, as users are told apart by it.
pub(crate) fn email_key(field: &str, text: &str, violations: &mut Violations) -> String {
    email(field, text, violations).key
}

/// The empty name means that there is none.
fn username(field: &str, username: &str, violations: &mut Violations) -> Option<Unique> {
    if username.is_empty() {
        return None;
    }
    // Of a letter's 4 bytes composing leaves a quarter at least.
    let overlong = username.len() > 64 * 4 * 4;
    let username = Unique::of(if overlong { "" } else { username });
    let fits = |letter: char| letter.is_alphanumeric() || matches!(letter, '.' | '_' | '-');
    if overlong || username.text.chars().count() > 64 || !username.text.chars().all(fits) {
        violations.add(field, "is not of 1 to 64 letters, digits, `.`, `_` and `-`");
    }
    Some(username)
}

fn roles(sent: &[i32], authority: Option<permissions::Role>, violations: &mut Violations) -> Vec<String> {
    if sent.len() > ROLES.len() {
        violations
            .add("user.roles", format!("has {} entries, more than there are roles: send each role once", sent.len()));
        return vec![];
    }
    let mut roles: Vec<String> = vec![];
    for (at, role) in sent.iter().enumerate() {
        let known = ROLES.iter().find(|(known, _)| i32::from(*known) == *role);
        match known {
            None => violations.add(
                format!("user.roles[{at}]"),
                "is not a role: send ROLE_OWNER, ROLE_ADMIN, ROLE_EDITOR or ROLE_VIEWER",
            ),
            Some((_, name)) if roles.iter().any(|role| role == name) => {
                violations.add(format!("user.roles[{at}]"), "stands there twice: send each role once");
            }
            Some((_, name)) if permissions::Role::highest(&[name]) > authority => violations.add(
                format!("user.roles[{at}]"),
                "is not yours to give, because it brings a permission that your own credential lacks: leave it out, or ask \
                 somebody who holds it",
            ),
            Some((_, name)) => roles.push((*name).to_owned()),
        }
    }
    roles
}

fn state(state: i32, violations: &mut Violations) -> &'static str {
    match v1::user::State::try_from(state) {
        Ok(v1::user::State::Unspecified | v1::user::State::Active) => ACTIVE,
        Ok(v1::user::State::Disabled) => DISABLED,
        Err(_) => {
            violations.add("user.state", "is not a state: send STATE_ACTIVE or STATE_DISABLED");
            ACTIVE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn broken(rule: impl FnOnce(&mut Violations)) -> usize {
        let mut violations = Violations::default();
        rule(&mut violations);
        violations.len()
    }

    #[test]
    fn an_email_is_an_address_of_3_to_254_bytes() {
        let long = |bytes: usize| format!("a@{}", "x".repeat(bytes - 2));
        for address in ["a@b", "Jürgen@exämple.de", &long(254)] {
            assert_eq!(broken(|violations| drop(email("email", address, violations))), 0, "{address}");
        }
        for address in ["", "a@", "@b", "ab", "a@b@c", "a b@c", "a@b\0", "a@b\n", "a\u{a0}@b", &long(255)] {
            assert_eq!(broken(|violations| drop(email("email", address, violations))), 1, "{address:?}");
        }
    }

    #[test]
    fn one_address_has_one_key_however_it_is_written() {
        let decomposed = Unique::of("JU\u{308}RGEN@EXAMPLE.DE");
        assert_eq!(decomposed.text, "JÜRGEN@EXAMPLE.DE");
        assert_eq!(decomposed.key, Unique::of("jürgen@example.de").key);
    }

    #[test]
    fn usernames_are_letters_digits_and_three_signs() {
        let fits = |name: &str| broken(|violations| drop(username("username", name, violations))) == 0;
        assert!(fits("") && fits("a") && fits("Zoë_9.x-y") && fits(&"x".repeat(64)));
        assert!(!fits("a b") && !fits("a@b") && !fits("a/b") && !fits("a\0") && !fits(&"x".repeat(65)));
    }

    #[test]
    fn roles_are_known_and_stand_once() {
        let faults = |sent: &[i32]| broken(|violations| drop(roles(sent, Some(permissions::Role::Owner), violations)));
        assert_eq!(faults(&[1, 2, 3, 4]), 0);
        assert_eq!(faults(&[0]), 1);
        assert_eq!(faults(&[5]), 1);
        assert_eq!(faults(&[1, 1]), 1);
        assert_eq!(faults(&[1, 2, 3, 4, 1]), 1);
    }

    #[test]
    fn nobody_gives_a_role_above_their_own() {
        let faults = |authority| broken(|violations| drop(roles(&[1, 2, 3, 4], authority, violations)));
        let above = [None].into_iter().chain(permissions::Role::ALL.map(Some)).map(faults);
        assert_eq!(above.collect::<Vec<_>>(), [4, 3, 2, 1, 0]);
    }

    #[test]
    fn who_signs_in_is_known_by_the_same_key() {
        let key = |text: &str| broken(|violations| drop(email_key("email", text, violations)));
        assert_eq!((key("Ada@Example.com"), key("ada"), key(&format!("a@{}", "x".repeat(1 << 20)))), (0, 1, 1));
        let mut violations = Violations::default();
        assert_eq!(email_key("email", "Ada@Example.com", &mut violations), "ada@example.com");
    }
}
