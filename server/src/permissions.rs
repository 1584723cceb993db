//! The one table of permissions: their names, who may hold them, and what a role brings.
//! It leaves the permission of each method to the contract's options.

use std::fmt;

use serde::Serialize;

/// One permission.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Permission {
    /// The name, as method options and API keys spell it.
    pub name: &'static str,
    /// What it allows, in one line.
    pub allows: &'static str,
    /// Whether only principals of the platform may hold it.
    pub platform: bool,
}

const fn tenant(name: &'static str, allows: &'static str) -> Permission {
    Permission { name, allows, platform: false }
}

const fn platform(name: &'static str, allows: &'static str) -> Permission {
    Permission { name, allows, platform: true }
}

/// Every permission, in alphabetical order.
pub const TABLE: &[Permission] = &[
    tenant("audit.personal.read", "see personal values in audit entries"),
    tenant("audit.read", "read the tenant's audit log"),
    tenant("keys.read", "list API keys"),
    tenant("keys.write", "make and revoke API keys"),
    tenant("products.cost.read", "see and set what the tenant pays for a product"),
    tenant("products.read", "read products"),
    tenant("products.write", "create, change, delete and import products"),
    platform("tenants.read", "read any tenant"),
    platform("tenants.write", "create, change and delete tenants"),
    tenant("users.read", "read users"),
    tenant("users.write", "create, change and delete users"),
];

/// A set of permissions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u64);

impl Permissions {
    /// Everything that a principal of a tenant may hold.
    pub fn tenant() -> Permissions {
        TABLE.iter().filter(|permission| !permission.platform).map(|permission| permission.name).collect()
    }

    /// Everything.
    pub fn platform() -> Permissions {
        TABLE.iter().map(|permission| permission.name).collect()
    }

    /// Whether the set holds the permission; the empty name asks for nothing.
    pub fn allow(self, name: &str) -> bool {
        name.is_empty() || bit(name).is_some_and(|bit| self.0 & bit != 0)
    }

    /// Whether every permission of the other set is in this one.
    pub fn cover(self, other: Permissions) -> bool {
        other.0 & !self.0 == 0
    }

    /// What both sets hold.
    pub fn and(self, other: Permissions) -> Permissions {
        Permissions(self.0 & other.0)
    }

    /// The names, in alphabetical order.
    pub fn names(self) -> impl Iterator<Item = &'static str> {
        TABLE.iter().map(|permission| permission.name).filter(move |name| self.allow(name))
    }
}

/// Names that the table lacks are passed over: a key may hold one that an older server does not know.
impl<'a> FromIterator<&'a str> for Permissions {
    fn from_iter<I: IntoIterator<Item = &'a str>>(names: I) -> Permissions {
        Permissions(names.into_iter().filter_map(bit).fold(0, |set, bit| set | bit))
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.names()).finish()
    }
}

/// Whether the table has the name.
pub fn exists(name: &str) -> bool {
    bit(name).is_some()
}

fn bit(name: &str) -> Option<u64> {
    TABLE.iter().position(|permission| permission.name == name).map(|place| 1 << place)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_asks_for_a_permission_of_the_table() {
        for method in stead_api::METHODS {
            assert!(
                method.permission.is_empty() || exists(method.permission),
                "{} asks for `{}`, which permissions.rs does not list: add it there",
                method.path,
                method.permission
            );
        }
    }

    #[test]
    fn a_tenant_holds_no_platform_permission() {
        assert!(!Permissions::tenant().allow("tenants.write"));
        assert!(Permissions::platform().cover(Permissions::tenant()));
        assert!(!Permissions::tenant().cover(Permissions::platform()));
    }
}
