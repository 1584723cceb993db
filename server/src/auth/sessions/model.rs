//! A session's values, what a sign-in must send, and whose sessions a caller may touch.
//! It leaves passwords and addresses to `users` and rows to the store.

use chrono::{DateTime, Utc};
use serde::Deserialize;
use stead_api::v1;
use uuid::Uuid;
use zeroize::Zeroizing;

use crate::{
    error::Error,
    page::{KeyKind, KeyValue, OrderKey},
    permissions::Role,
    principal::{Credential, Principal},
    rules::{Violations, to_timestamp},
    users,
};

/// The one order of sessions, and its direction.
pub(super) const ORDERS: &[OrderKey] = &[OrderKey { field: "create_time", column: "create_time", kind: KeyKind::Time }];
pub(super) const NEWEST_FIRST: &str = "create_time desc";

/// A session as the database holds it, less the hash of its secret.
#[derive(Clone, Debug, PartialEq, Deserialize, sqlx::FromRow)]
pub(super) struct Session {
    pub(super) id: Uuid,
    pub(super) user_id: Uuid,
    pub(super) peer_address: Option<String>,
    pub(super) user_agent: String,
    pub(super) create_time: DateTime<Utc>,
    pub(super) expire_time: DateTime<Utc>,
    pub(super) absolute_expire_time: DateTime<Utc>,
    pub(super) revoke_time: Option<DateTime<Utc>>,
}

impl Session {
    /// The value and id that place the session in a list.
    pub(super) fn place(&self, _: OrderKey) -> (KeyValue, Uuid) {
        (self.create_time.into(), self.id)
    }
}

impl From<Session> for v1::Session {
    fn from(session: Session) -> v1::Session {
        v1::Session {
            name: format!("sessions/{}", session.id),
            user: format!("users/{}", session.user_id),
            peer_address: session.peer_address.unwrap_or_default(),
            user_agent: session.user_agent,
            create_time: Some(to_timestamp(session.create_time)),
            expire_time: Some(to_timestamp(session.expire_time)),
            absolute_expire_time: Some(to_timestamp(session.absolute_expire_time)),
            revoke_time: session.revoke_time.map(to_timestamp),
        }
    }
}

/// How many sessions were ended at once.
#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Revoked {
    pub(super) revoked_count: i32,
}

/// What somebody signs in with. Without `Debug`, which would tell the password.
pub(super) struct Login {
    pub(super) tenant: String,
    pub(super) email_key: String,
    pub(super) password: Zeroizing<String>,
}

impl Login {
    /// Reads a sign-in. What is no slug, no address or no password breaks a rule, which tells nothing of those there are.
    pub(super) fn read(request: v1::CreateSessionRequest, violations: &mut Violations) -> Login {
        let v1::CreateSessionRequest { tenant, email, password } = request;
        let password = users::read_password(password, violations);
        if password.is_none() {
            violations.add("password", "is required");
        }
        violations.label("tenant", &tenant);
        Login {
            email_key: users::email_key("email", &email, violations),
            password: password.unwrap_or_default(),
            tenant,
        }
    }
}

/// The session that a request names.
pub(super) fn named(name: &str, principal: &Principal, violations: &mut Violations) -> Uuid {
    match (name, &principal.credential) {
        ("sessions/current", Credential::Session(id)) => *id,
        ("sessions/current", Credential::ApiKey(_) | Credential::Token(_)) => {
            violations.add("name", "is the session of the call, which is made with a key or a JWT: name it by its id");
            Uuid::nil()
        }
        _ => violations.name("name", "sessions", name),
    }
}

/// Whose sessions a request is about; without a word the caller's own.
pub(super) fn user(name: &str, principal: &Principal, violations: &mut Violations) -> Uuid {
    match (name, principal.user()) {
        ("", Some(own)) => own,
        ("", None) => {
            violations.add("user", "is required of a service: send `users/{uuid}`");
            Uuid::nil()
        }
        _ => violations.name("user", "users", name),
    }
}

/// Which sessions a caller may touch beside its own: none, or those of users who do not rank above it.
#[derive(Clone, Debug)]
pub(super) struct Reach {
    /// The user that the caller is.
    pub(super) own: Option<Uuid>,
    /// Whether others' sessions are in reach at all.
    pub(super) others: bool,
    /// The roles of users that are out of reach.
    pub(super) above: Vec<String>,
}

impl Reach {
    /// The reach of a write.
    pub(super) fn of(principal: &Principal) -> Reach {
        Reach {
            own: principal.user(),
            others: principal.permissions.allow("sessions.write"),
            above: Role::above(principal.rank()),
        }
    }

    /// Whether a kept answer about this user is still for the caller, who may have come with less than the first time.
    pub(super) fn check_replay(&self, user: Uuid) -> Result<(), Error> {
        self.check(Some((user, &[])))
    }

    /// Whether a user with these roles is in reach. Without the permission for others the refusal tells nothing of them.
    pub(super) fn check(&self, user: Option<(Uuid, &[String])>) -> Result<(), Error> {
        match user {
            Some((user, _)) if Some(user) == self.own => Ok(()),
            _ if !self.others => Err(Error::Forbidden("sessions.write")),
            Some((_, roles)) if roles.iter().any(|role| self.above.contains(role)) => {
                Err(Error::Forbidden("users.owners.write"))
            }
            _ => Ok(()),
        }
    }
}
