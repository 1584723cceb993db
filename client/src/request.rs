//! What the builders of requests have in common.
//! It leaves each request's own fields to its domain.

/// Setters of a write, and its short form, for a builder with the fields `wire` and `request_id` and with `answer`.
macro_rules! write_options {
    ($value:ty) => {
        /// The idempotency key, a UUID4. Drawn afresh unless set; set it to send the same write again after a crash.
        pub fn request_id(mut self, request_id: uuid::Uuid) -> Self {
            self.request_id = Some(request_id);
            self
        }

        /// Runs every check of the write, then undoes it. The answer shows what would have been; an id that the service
        /// would have made is not kept.
        pub fn validate_only(mut self) -> Self {
            self.wire.validate_only = true;
            self
        }

        /// Sends the request.
        pub async fn send(self) -> Result<$value, crate::error::Error> {
            self.answer().await.map(|answer| answer.value)
        }
    };
}

pub(crate) use write_options;

/// Both forms of sending a read that is whole, for a builder with the fields `client` and `wire`.
macro_rules! read_sends {
    ($path:literal, $resource:ty, $read:expr) => {
        /// Sends the request, and tells how its answer came about.
        pub async fn answer(self) -> Result<crate::answer::Answer<$resource>, crate::error::Error> {
            self.client.ask($path, &self.wire).await?.read($read)
        }

        /// Sends the request.
        pub async fn send(self) -> Result<$resource, crate::error::Error> {
            self.answer().await.map(|answer| answer.value)
        }
    };
}

pub(crate) use read_sends;

/// The setter of a revision, for a builder whose `wire` has an etag.
macro_rules! etag_option {
    ($writes:literal) => {
        #[doc = concat!($writes, " this revision only; another is refused as [`Stale`](crate::ErrorKind::Stale).")]
        pub fn etag(mut self, etag: impl Into<String>) -> Self {
            self.wire.etag = etag.into();
            self
        }
    };
}

pub(crate) use etag_option;

/// The setter of a read mask, for a builder whose `wire` has one.
macro_rules! read_mask_option {
    () => {
        /// The fields to answer with, such as `sku`, or `attributes.colour` for one free fact; all of them unless set. The
        /// id always comes along. What is left out reads as if it were empty: texts and lists as such, numbers as 0,
        /// times as 1970 or `None`, states as `Other(0)`.
        pub fn read_mask<P: Into<String>>(mut self, fields: impl IntoIterator<Item = P>) -> Self {
            self.wire.read_mask = crate::request::read_mask(fields);
            self
        }
    };
}

pub(crate) use read_mask_option;

/// A builder of a write on one thing whose request is whole but for its options, for a module that imports what it names.
macro_rules! write_by_name {
    ($(#[$doc:meta])* $builder:ident($request:ident), $path:literal, $($writes:literal,)? $resource:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "nothing is sent until `send`"]
        pub struct $builder {
            client: Client,
            wire: v1::$request,
            request_id: Option<Uuid>,
        }

        impl $builder {
            write_options!($resource);
            $(etag_option!($writes);)?

            /// Sends the request, and tells how its answer came about.
            pub async fn answer(mut self) -> Result<Answer<$resource>, Error> {
                let request_id = self.request_id.unwrap_or_else(draw_request_id);
                self.wire.request_id = request_id.to_string();
                self.client.write($path, &self.wire, request_id).await?.read($resource::from_wire)
            }
        }
    };
}

pub(crate) use write_by_name;

/// A builder of a deletion, which may be content to find nothing, for a module that imports what it names.
macro_rules! delete_by_name {
    ($(#[$doc:meta])* $builder:ident($request:ident), $path:literal, $resource:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug)]
        #[must_use = "nothing is sent until `send`"]
        pub struct $builder<T = $resource> {
            client: Client,
            wire: v1::$request,
            request_id: Option<Uuid>,
            read: fn(v1::$resource) -> Result<T, Error>,
        }

        impl $builder {
            pub(crate) fn new(client: Client, name: String) -> Self {
                let wire = v1::$request { name, ..Default::default() };
                Self { client, wire, request_id: None, read: $resource::from_wire }
            }

            /// Is content where there is nothing of that id, and brings `None` then; what is deleted already comes as it is.
            pub fn allow_missing(self) -> $builder<Option<$resource>> {
                let Self { client, mut wire, request_id, .. } = self;
                wire.allow_missing = true;
                // What is not there is answered with its name alone, and everything that is has a time of creation.
                let read = |wire: v1::$resource| {
                    wire.create_time.is_some().then(|| $resource::from_wire(wire)).transpose()
                };
                $builder { client, wire, request_id, read }
            }
        }

        impl<T> $builder<T> {
            write_options!(T);
            etag_option!("Deletes");

            /// Sends the request, and tells how its answer came about.
            pub async fn answer(mut self) -> Result<Answer<T>, Error> {
                let request_id = self.request_id.unwrap_or_else(draw_request_id);
                self.wire.request_id = request_id.to_string();
                self.client.write($path, &self.wire, request_id).await?.read(self.read)
            }
        }
    };
}

pub(crate) use delete_by_name;

/// A read mask that names the id as well, without which an answer is no resource; none for no fields.
pub(crate) fn read_mask<P: Into<String>>(fields: impl IntoIterator<Item = P>) -> Option<prost_types::FieldMask> {
    let mut paths: Vec<String> = fields.into_iter().map(Into::into).collect();
    if paths.is_empty() {
        return None;
    }
    if !paths.iter().any(|path| path == "name" || path == "*") {
        paths.insert(0, "name".to_owned());
    }
    Some(prost_types::FieldMask { paths })
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_read_mask_always_names_the_id() {
        let paths = |fields: &[&str]| read_mask(fields.iter().copied()).map(|mask| mask.paths);
        assert_eq!(paths(&["sku", "price"]).unwrap(), ["name", "sku", "price"]);
        assert_eq!(paths(&["sku", "name"]).unwrap(), ["sku", "name"]);
        assert_eq!(paths(&["*"]).unwrap(), ["*"]);
        assert_eq!(paths(&[]), None);
    }

    #[test]
    fn a_patch_that_replaces_everything_stays_one() {
        let mut mask = Mask::all();
        mask.name("sku");
        assert_eq!(mask.into_wire().paths, ["*"]);
        let mut mask = Mask::default();
        ["sku", "tags", "sku"].into_iter().for_each(|path| mask.name(path));
        assert_eq!(mask.into_wire().paths, ["sku", "tags"]);
    }
}
