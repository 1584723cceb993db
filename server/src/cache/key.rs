//! What answers are kept under, what writes touch, and an answer as it is kept.
//! It leaves keeping them to the tiers.

use bytes::Bytes;
use prost::Message;
use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::principal::{Call, TenantId};

/// A write that touches more resources than this touches all of their kind.
const MOST: usize = 100;

/// The shapes in which one resource is shown to callers of different permissions.
pub(super) const SHAPES: u8 = 2;

/// What kinds of resources are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// Products.
    Products,
    /// Users.
    Users,
    /// Tenants, all of them as the platform's.
    Tenants,
}

impl Kind {
    const ALL: [Kind; 3] = [Kind::Products, Kind::Users, Kind::Tenants];

    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Products => "products",
            Kind::Users => "users",
            Kind::Tenants => "tenants",
        }
    }

    pub(super) fn named(name: &str) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.name() == name)
    }
}

/// A tenant's resources of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Group {
    /// Whose.
    pub tenant: TenantId,
    /// Which.
    pub kind: Kind,
}

/// What one answer is kept under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Key {
    pub(super) group: Group,
    pub(super) shape: u8,
    pub(super) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum What {
    /// The resource of this id.
    One(Uuid),
    /// An answer that any write of the group may change: the digest of all that it depends on.
    Page([u8; 16]),
}

impl Key {
    /// One resource, in the shape, below 2, that the caller may see.
    pub fn one(group: Group, shape: u8, id: Uuid) -> Key {
        debug_assert!(shape < SHAPES, "there are so many shapes");
        Key { group, shape, what: What::One(id) }
    }

    /// What a call that asks for more than one resource by its id, or otherwise, is answered: it depends on the method, the
    /// caller's subject and permissions, and every byte of the request.
    pub fn page(group: Group, call: &Call, request: &impl Message) -> Key {
        let mut digest = Sha256::new();
        let permissions = call.principal.permissions.digest();
        for part in [call.method.path.as_bytes(), call.principal.subject.as_bytes(), &permissions] {
            digest.update((part.len() as u64).to_be_bytes());
            digest.update(part);
        }
        digest.update(request.encode_to_vec());
        let mut short = [0; 16];
        short.copy_from_slice(&digest.finalize()[..16]);
        Key { group, shape: 0, what: What::Page(short) }
    }
}

/// What a write touches.
#[derive(Clone, Debug)]
pub enum Touched {
    /// Resources by their ids.
    These(Vec<Uuid>),
    /// Any of the kind.
    Everything,
}

impl Touched {
    /// These resources; very many are taken for all.
    pub fn of(ids: impl IntoIterator<Item = Uuid>) -> Touched {
        let ids: Vec<Uuid> = ids.into_iter().collect();
        if ids.len() > MOST { Touched::Everything } else { Touched::These(ids) }
    }
}

/// An answer as PostgreSQL gave it.
#[derive(Clone, Debug)]
pub struct Fresh {
    /// The message, encoded; none when there is nothing.
    pub answer: Option<Bytes>,
    /// Its revision; 0 where it has none.
    pub revision: i64,
}

impl Fresh {
    /// A resource with its revision, or that there is none.
    pub fn one<M: Message>(found: Option<(i64, M)>) -> Fresh {
        let (revision, message) = found.map_or((0, None), |(revision, message)| (revision, Some(message)));
        Fresh { answer: message.map(|message| message.encode_to_vec().into()), revision }
    }

    /// An answer without a revision.
    pub fn page(message: &impl Message) -> Fresh {
        Fresh { answer: Some(message.encode_to_vec().into()), revision: 0 }
    }
}
