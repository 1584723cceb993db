//! The one table of permissions: their names, who may hold them, and which roles bring them; `stead-server permissions`
//! prints it.
//! It leaves the permission of each method to the contract's options, and who has which role to `users`.

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
    /// The lowest role that brings it; every higher one does too.
    pub role: Role,
}

/// What a user may be in a tenant, lowest rank first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Reads products.
    Viewer,
    /// Reads and writes products.
    Editor,
    /// Everything but the tenant's owners.
    Admin,
    /// Everything.
    Owner,
}

const fn tenant(name: &'static str, role: Role, allows: &'static str) -> Permission {
    Permission { name, allows, platform: false, role }
}

const fn platform(name: &'static str, role: Role, allows: &'static str) -> Permission {
    Permission { name, allows, platform: true, role }
}

/// Every permission, in alphabetical order.
pub const TABLE: &[Permission] = &[
    tenant("audit.personal.read", Role::Admin, "see personal values in audit entries, addresses among them"),
    tenant("audit.read", Role::Admin, "read the tenant's audit log"),
    tenant("cache.write", Role::Owner, "drop what servers keep of the tenant's answers"),
    tenant("keys.read", Role::Admin, "list API keys"),
    tenant("keys.write", Role::Admin, "make and revoke API keys"),
    tenant("products.cost.read", Role::Editor, "see and set what the tenant pays for a product"),
    tenant("products.read", Role::Viewer, "read products"),
    tenant("products.write", Role::Editor, "create, change, delete and import products"),
    tenant("sessions.read", Role::Admin, "list other users' sessions"),
    tenant("sessions.write", Role::Admin, "extend and revoke other users' sessions"),
    platform("tenants.read", Role::Admin, "read any tenant"),
    platform("tenants.write", Role::Admin, "create, change and delete tenants"),
    tenant("users.owners.write", Role::Owner, "with users.write, keys.write and sessions.write: owners as well"),
    tenant("users.read", Role::Admin, "read users"),
    tenant("users.write", Role::Admin, "create, change and delete users whose roles bring no more than one holds"),
];

impl Role {
    /// Every role, lowest rank first.
    pub const ALL: [Role; 4] = [Role::Viewer, Role::Editor, Role::Admin, Role::Owner];

    /// The name, as the database and the command line spell it.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Editor => "editor",
            Role::Admin => "admin",
            Role::Owner => "owner",
        }
    }

    /// What the role brings, as far as its tenant's bound allows.
    pub fn permissions(self) -> Permissions {
        TABLE.iter().filter(|permission| permission.role <= self).map(|permission| permission.name).collect()
    }

    /// The highest of some roles; names that are no role are passed over.
    pub fn highest<T: AsRef<str>>(names: &[T]) -> Option<Role> {
        Role::ALL.into_iter().rev().find(|role| names.iter().any(|name| name.as_ref() == role.name()))
    }

    /// The names of the roles that rank above an authority, highest first.
    pub fn above(authority: Option<Role>) -> Vec<String> {
        let above = Role::ALL.into_iter().rev().filter(|role| Some(*role) > authority);
        above.map(|role| role.name().to_owned()).collect()
    }
}

/// A set of permissions.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Permissions(u64);

impl Permissions {
    /// Everything that a principal of a tenant may hold.
    pub fn tenant() -> Permissions {
        TABLE.iter().filter(|permission| !permission.platform).map(|permission| permission.name).collect()
    }

    /// The same bytes for the same permissions, within one version of the service.
    pub fn digest(self) -> [u8; 8] {
        self.0.to_be_bytes()
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
    fn roles_bring_more_the_higher_they_rank() {
        let brought = Role::ALL.map(|role| role.permissions().and(Permissions::tenant()));
        assert!(brought.windows(2).all(|pair| pair[1].cover(pair[0]) && pair[1] != pair[0]));
        let [viewer, editor, admin, owner] = brought;
        assert_eq!(viewer.names().collect::<Vec<_>>(), ["products.read"]);
        assert_eq!(editor.names().collect::<Vec<_>>(), ["products.cost.read", "products.read", "products.write"]);
        assert_eq!(owner, Permissions::tenant());
        let apart: Vec<_> = owner.names().filter(|name| !admin.allow(name)).collect();
        assert_eq!(apart, ["cache.write", "users.owners.write"]);
    }

    #[test]
    fn the_highest_role_counts_and_what_is_above_is_listed() {
        assert_eq!(Role::highest(&["viewer", "admin", "editor"]), Some(Role::Admin));
        assert_eq!(Role::highest(&["king"]), None);
        assert_eq!(Role::above(Some(Role::Owner)), [""; 0]);
        assert_eq!(Role::above(Some(Role::Admin)), ["owner"]);
        assert_eq!(Role::above(None), ["owner", "admin", "editor", "viewer"]);
    }

    #[test]
    fn the_table_is_in_alphabetical_order() {
        assert!(TABLE.windows(2).all(|pair| pair[0].name < pair[1].name));
    }

    #[test]
    fn a_tenant_holds_no_platform_permission() {
        assert!(!Permissions::tenant().allow("tenants.write"));
        assert!(Permissions::platform().cover(Permissions::tenant()));
        assert!(!Permissions::tenant().cover(Permissions::platform()));
    }
}
