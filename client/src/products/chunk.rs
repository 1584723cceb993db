//! The chunks of an import: rows gathered up to a chunk's bounds, and kept encoded until they are answered.
//! It leaves sending them to `import`.

use bytes::Bytes;
use prost::Message;
use stead_api::v1;

const ROWS: usize = 500;
/// The service takes 1 MiB; what is left is room for the chunk's own fields.
pub(super) const BYTES: usize = 1024 * 1024 - 64;

/// What a row takes in a chunk: itself, its tag and its length.
pub(super) fn size(row: &v1::Product) -> usize {
    row.encoded_len() + 6
}

/// Rows that wait for their chunk to fill.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    first_row: u64,
    rows: Vec<v1::Product>,
    bytes: usize,
}

/// A chunk that was sent, kept encoded until it is answered.
#[derive(Clone, Debug)]
pub(super) struct Chunk {
    first_row: u64,
    rows: u64,
    pub(super) encoded: Bytes,
}

impl Gathered {
    pub(super) fn takes(&self, row: u64, bytes: usize) -> bool {
        self.rows.is_empty()
            || (self.rows.len() < ROWS && self.bytes + bytes <= BYTES && row == self.first_row + self.rows.len() as u64)
    }

    pub(super) fn add(&mut self, row: u64, wire: v1::Product, bytes: usize) {
        if self.rows.is_empty() {
            self.first_row = row;
        }
        self.rows.push(wire);
        self.bytes += bytes;
    }

    pub(super) fn take(&mut self) -> Option<Chunk> {
        let gathered = std::mem::take(self);
        (!gathered.rows.is_empty()).then(|| Chunk::new(gathered.first_row, gathered.rows))
    }
}

impl Chunk {
    fn new(first_row: u64, rows: Vec<v1::Product>) -> Self {
        let count = rows.len() as u64;
        let chunk = v1::ImportProductsChunk { first_row: i64::try_from(first_row).unwrap_or(i64::MAX), rows };
        let request = v1::ImportProductsRequest { step: Some(v1::import_products_request::Step::Chunk(chunk)) };
        Self { first_row, rows: count, encoded: request.encode_to_vec().into() }
    }

    /// What is left of the chunk from that row on. Chunks are settled whole, so a cut happens only when somebody else works
    /// on the same import.
    pub(super) fn remaining_from(self, next_row: u64) -> Option<Self> {
        if next_row <= self.first_row {
            return Some(self);
        }
        let settled =
            usize::try_from(next_row - self.first_row).ok().filter(|_| next_row < self.first_row + self.rows)?;
        match v1::ImportProductsRequest::decode(self.encoded).ok()?.step? {
            v1::import_products_request::Step::Chunk(chunk) => {
                Some(Self::new(next_row, chunk.rows.into_iter().skip(settled).collect()))
            }
            v1::import_products_request::Step::Start(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(sku: &str) -> v1::Product {
        v1::Product { sku: sku.to_owned(), ..Default::default() }
    }

    #[test]
    fn a_chunk_ends_at_its_bounds_and_at_a_gap() {
        let mut gathered = Gathered::default();
        assert!(gathered.takes(7, BYTES));
        gathered.add(7, row("a"), 10);
        assert!(gathered.takes(8, 10) && !gathered.takes(9, 10) && !gathered.takes(8, BYTES - 9));
        (8..507).for_each(|number| gathered.add(number, row("b"), 10));
        assert!(!gathered.takes(507, 10));
        let chunk = gathered.take().unwrap();
        assert_eq!((chunk.first_row, chunk.rows), (7, 500));
        assert!(gathered.take().is_none());
    }

    #[test]
    fn what_is_settled_is_not_sent_again() {
        let chunk = Chunk::new(10, vec![row("a"), row("b"), row("c")]);
        assert_eq!(chunk.clone().remaining_from(10).unwrap().encoded, chunk.encoded);
        let rest = chunk.clone().remaining_from(12).unwrap();
        assert_eq!((rest.first_row, rest.rows), (12, 1));
        assert_eq!(rest.encoded, Chunk::new(12, vec![row("c")]).encoded);
        assert!(chunk.clone().remaining_from(13).is_none());
        assert!(chunk.remaining_from(99).is_none());
    }

    #[test]
    fn the_largest_chunk_stays_within_what_the_service_takes() {
        let text = "x".repeat(BYTES - 20);
        let wire = v1::Product { description: text, ..Default::default() };
        assert!(size(&wire) <= BYTES);
        let chunk = v1::ImportProductsChunk { first_row: i64::MAX, rows: vec![wire] };
        assert!(chunk.encoded_len() <= 1024 * 1024);
    }
}
