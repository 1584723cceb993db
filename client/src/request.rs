//! What the builders of writes have in common.
//! It leaves each request's own fields to its domain.

/// Setters of a write, for a builder with the fields `wire` and `request_id`.
macro_rules! write_options {
    () => {
        /// The idempotency key, a UUID4. Drawn afresh unless set; set it to send the same write again after a crash.
        pub fn request_id(mut self, request_id: uuid::Uuid) -> Self {
            self.request_id = Some(request_id);
            self
        }

        /// Runs every check of the write, then undoes it.
        pub fn validate_only(mut self) -> Self {
            self.wire.validate_only = true;
            self
        }
    };
}

pub(crate) use write_options;

/// The fields that a patch changes, in the order in which they were named.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Mask(Vec<String>);

impl Mask {
    /// Every field that a client may set.
    pub(crate) fn all() -> Self {
        Self(vec!["*".to_owned()])
    }

    /// A patch that replaces everything stays one.
    pub(crate) fn name(&mut self, path: impl Into<String>) {
        let path = path.into();
        if !self.0.contains(&path) && self.0.first().is_none_or(|first| first != "*") {
            self.0.push(path);
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn into_wire(self) -> prost_types::FieldMask {
        prost_types::FieldMask { paths: self.0 }
    }
}
