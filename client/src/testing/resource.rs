//! What the fake knows of products, users and tenants: their fields, and which of them are required, unique or the service's.
//! It leaves keeping them to `rows`.

use prost::Message;
use prost_types::{Struct, Timestamp};
use stead_api::v1;
use tonic::Status;

use super::{
    refusal::Violations,
    rows::{Rows, State},
    rules,
};

/// A kind of thing that the fake keeps.
pub(super) trait Resource: Message + Default + Clone + PartialEq {
    const KIND: &'static str;
    const COLLECTION: &'static str;
    /// What a client may set.
    const SETTABLE: &'static [&'static str];
    /// What the service alone sets.
    const OUTPUT: &'static [&'static str];
    /// What must be there, and the greatest number of characters.
    const REQUIRED: &'static [(&'static str, usize)];
    /// What no two live ones of a tenant share.
    const UNIQUE: &'static [&'static str];
    /// The field whose keys a mask may name.
    const FACTS: &'static str;

    fn rows(state: &mut State) -> &mut Rows<Self>;
    fn name(&mut self) -> &mut String;
    fn etag(&mut self) -> &mut String;
    fn facts(&mut self) -> &mut Option<Struct>;
    /// Takes one field over.
    fn take(&mut self, from: &Self, field: &str);
    fn is_set(&self, field: &str) -> bool;
    /// The text of a field that is required or unique, as it is compared.
    fn text(&self, field: &str) -> String;
    /// Create, update, delete and purge time.
    fn times(&mut self) -> [&mut Option<Timestamp>; 4];
    /// What a new one has that its creator left out.
    fn complete(&mut self) {}
    /// Who wrote which revision.
    fn sign(&mut self, _revision: i64, _subject: &str) {}
    /// Rules beside the required fields.
    fn check(&self, _violations: &mut Violations) {}
    /// Leaves out what the caller may not see.
    fn veil(&mut self, _allowed: impl Fn(&str) -> bool) {}
}

macro_rules! resource {
    ($message:ty, $kind:literal, $rows:ident {
        settable: [$($settable:ident),+], facts: $facts:ident, output: [$($output:ident),+],
        required: [$(($required:ident, $longest:literal)),+], unique: [$($unique:ident),+],
        $($more:item)*
    }) => {
        impl Resource for $message {
            const KIND: &'static str = $kind;
            const COLLECTION: &'static str = stringify!($rows);
            const SETTABLE: &'static [&'static str] = &[$(stringify!($settable),)+ stringify!($facts)];
            const OUTPUT: &'static [&'static str] = &[$(stringify!($output)),+];
            const REQUIRED: &'static [(&'static str, usize)] = &[$((stringify!($required), $longest)),+];
            const UNIQUE: &'static [&'static str] = &[$(stringify!($unique)),+];
            const FACTS: &'static str = stringify!($facts);

            fn rows(state: &mut State) -> &mut Rows<Self> {
                &mut state.$rows
            }

            fn name(&mut self) -> &mut String {
                &mut self.name
            }

            fn etag(&mut self) -> &mut String {
                &mut self.etag
            }

            fn facts(&mut self) -> &mut Option<Struct> {
                &mut self.$facts
            }

            fn take(&mut self, from: &Self, field: &str) {
                match field {
                    $(stringify!($settable) => self.$settable = from.$settable.clone(),)+
                    $(stringify!($output) => self.$output = from.$output.clone(),)+
                    stringify!($facts) => self.$facts = from.$facts.clone(),
                    _ => {}
                }
            }

            fn is_set(&self, field: &str) -> bool {
                let empty = Self::default();
                match field {
                    $(stringify!($settable) => self.$settable != empty.$settable,)+
                    stringify!($facts) => self.$facts.is_some(),
                    _ => false,
                }
            }

            fn text(&self, field: &str) -> String {
                match field {
                    $(stringify!($required) => self.$required.clone(),)+
                    #[allow(unreachable_patterns)]
                    $(stringify!($unique) => self.$unique.clone(),)+
                    _ => String::new(),
                }
            }

            fn times(&mut self) -> [&mut Option<Timestamp>; 4] {
                [&mut self.create_time, &mut self.update_time, &mut self.delete_time, &mut self.purge_time]
            }

            $($more)*
        }
    };
}

resource!(v1::Product, "product", products {
    settable: [sku, display_name, description, price, cost, quantity, tags, category, language_code],
    facts: attributes,
    output: [name, revision, etag, creator, updater, create_time, update_time, delete_time, purge_time],
    required: [(sku, 100), (display_name, 200)],
    unique: [sku],

    fn complete(&mut self) {
        self.attributes.get_or_insert_default();
        if self.language_code.is_empty() {
            self.language_code = "en".to_owned();
        }
    }

    fn sign(&mut self, revision: i64, subject: &str) {
        self.revision = revision;
        self.updater = subject.to_owned();
        if revision == 1 {
            self.creator = subject.to_owned();
        }
    }

    fn check(&self, violations: &mut Violations) {
        rules::product(self, violations);
    }

    fn veil(&mut self, allowed: impl Fn(&str) -> bool) {
        if !allowed("products.cost.read") {
            self.cost = None;
        }
    }
});

resource!(v1::User, "user", users {
    settable: [email, username, display_name, roles, state],
    facts: profile,
    output: [name, last_login_time, etag, create_time, update_time, delete_time, purge_time],
    required: [(email, 254)],
    unique: [email, username],

    fn complete(&mut self) {
        self.profile.get_or_insert_default();
        if self.state == 0 {
            self.state = v1::user::State::Active.into();
        }
    }

    fn check(&self, violations: &mut Violations) {
        rules::user(self, violations);
    }
});

resource!(v1::Tenant, "tenant", tenants {
    settable: [display_name, slug, plan, require_etag, audit_retention_days],
    facts: settings,
    output: [name, state, etag, create_time, update_time, delete_time, purge_time],
    required: [(slug, 63), (display_name, 200)],
    unique: [slug],

    fn complete(&mut self) {
        self.settings.get_or_insert_default();
        if self.plan.is_empty() {
            self.plan = "standard".to_owned();
        }
        if self.state == 0 {
            self.state = v1::tenant::State::Active.into();
        }
    }

    fn check(&self, violations: &mut Violations) {
        rules::tenant(self, violations);
    }
});

/// Checks what is cheap to check of one that is to be written.
pub(super) fn check<R: Resource>(message: &R) -> Result<(), Status> {
    let mut violations = Violations::default();
    for (field, longest) in R::REQUIRED {
        let (text, path) = (message.text(field), format!("{}.{field}", R::KIND));
        match text.chars().count() {
            0 => violations.add(path, "is required"),
            long if long > *longest => {
                violations.add(path, format!("has more than {longest} characters: shorten it"));
            }
            _ => {}
        }
    }
    message.check(&mut violations);
    violations.into_result()
}
