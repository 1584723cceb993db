//! The answer to a write: what it brought, and how it came about.
//! It leaves reads to their values: what those say is so now, whoever asked before.

use uuid::Uuid;

use crate::error::Error;

/// What a write was answered with. Every write gives it by `answer`, and its value alone by `send`.
///
/// ```no_run
/// # use stead_client::NewProduct;
/// # async fn example(client: &stead_client::Client, order: uuid::Uuid) -> Result<(), stead_client::Error> {
/// let answer = client.products().create(NewProduct::new("chess-42", "Chess set")).request_id(order).answer().await?;
/// if answer.replayed {
///     println!("{} was made before; it may have changed since", answer.value.id);
/// }
/// # Ok(()) }
/// ```
#[non_exhaustive]
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer<T> {
    /// What the write brought.
    pub value: T,
    /// Whether nothing was written now: a write with this key was done before, and this is what it was answered with then.
    /// After several [`attempts`](Self::attempts) the one that did it may have been this call's own, its answer lost on the
    /// way.
    pub replayed: bool,
    /// How often the call was sent.
    pub attempts: u32,
    /// The idempotency key of the write.
    pub request_id: Uuid,
}

impl<T> Answer<T> {
    /// Turns what the service sent into a value. The write is done even where that cannot be.
    pub(crate) fn read<U>(self, read: impl FnOnce(T) -> Result<U, Error>) -> Result<Answer<U>, Error> {
        let Self { value, replayed, attempts, request_id } = self;
        let value = read(value).map_err(|fault| fault.after(attempts, Some(request_id), true))?;
        Ok(Answer { value, replayed, attempts, request_id })
    }
}
