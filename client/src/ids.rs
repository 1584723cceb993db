//! Typed ids: a product's id cannot be passed where a user's is asked for.
//! It leaves whether the thing exists to the service.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use uuid::Uuid;

/// A text that is neither a name such as `products/{uuid}` nor a bare UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not an id: write `{collection}/` and a UUID, or the UUID alone")]
pub struct InvalidId {
    text: String,
    collection: &'static str,
}

fn parse(text: &str, collection: &'static str) -> Result<Uuid, InvalidId> {
    let bare = text.strip_prefix(collection).and_then(|rest| rest.strip_prefix('/')).unwrap_or(text);
    Uuid::try_parse(bare).map_err(|_| InvalidId { text: text.chars().take(120).collect(), collection })
}

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $collection:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// The UUID behind the name.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(uuid: Uuid) -> Self {
                Self(uuid)
            }
        }

        impl From<$name> for Uuid {
            fn from(id: $name) -> Uuid {
                id.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                parse(text, $collection).map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($collection, "/{}"), self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(self, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
            }
        }
    };
}

id! {
    /// `tenants/{uuid}`.
    TenantId, "tenants"
}
id! {
    /// `users/{uuid}`.
    UserId, "users"
}
id! {
    /// `products/{uuid}`.
    ProductId, "products"
}
id! {
    /// `auditEntries/{uuid}`.
    AuditEntryId, "auditEntries"
}
id! {
    /// `apiKeys/{uuid}`.
    ApiKeyId, "apiKeys"
}
id! {
    /// `sessions/{uuid}`.
    SessionId, "sessions"
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "01890a5d-ac96-774b-bcce-b302099a8057";

    #[test]
    fn an_id_is_read_from_its_name_and_from_its_uuid() {
        let name = format!("products/{UUID}");
        let id: ProductId = name.parse().unwrap();
        assert_eq!(UUID.parse::<ProductId>().unwrap(), id);
        assert_eq!(id.to_string(), name);
        assert_eq!(id.uuid().to_string(), UUID);
        assert_eq!(serde_json::to_string(&id).unwrap(), format!("\"{name}\""));
        assert_eq!(serde_json::from_str::<ProductId>(&format!("\"{name}\"")).unwrap(), id);
    }

    #[test]
    fn an_id_of_another_kind_is_refused_with_what_to_write() {
        let fault = format!("users/{UUID}").parse::<ProductId>().unwrap_err().to_string();
        assert!(fault.contains("`products/`"), "{fault}");
        assert!("".parse::<ProductId>().is_err());
        assert!("products/".parse::<ProductId>().is_err());
    }
}
