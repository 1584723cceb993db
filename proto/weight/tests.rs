//! What messages weigh, against what decoding them really takes.

mod fuzz;

use std::{
    alloc::{GlobalAlloc, Layout, System},
    cell::Cell,
};

use prost::{
    Message,
    encoding::{encode_key, encode_varint},
};

use super::*;
use crate::v1;

/// Counts what the thread holds, block by block as a heap rounds them.
struct Counting;

thread_local! {
    static HELD: Cell<(usize, usize)> = const { Cell::new((0, 0)) };
}

fn count(more: usize, less: usize) {
    let _ = HELD.try_with(|held| {
        let now = (held.get().0 + more).saturating_sub(less);
        held.set((now, held.get().1.max(now)));
    });
}

fn block(size: usize) -> usize {
    (size + 8).next_multiple_of(16).max(32)
}

#[expect(unsafe_code, reason = "an allocator can be written in no other way; this one hands everything on")]
// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(block(layout.size()), 0);
        // SAFETY: the caller's promises are the system's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        count(0, block(layout.size()));
        // SAFETY: the caller's promises are the system's.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(block(size), block(layout.size()));
        // SAFETY: the caller's promises are the system's.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

/// What decoding takes at its peak.
fn taken<M: Message + Default>(message: &[u8]) -> usize {
    let before = HELD.get().0;
    HELD.set((before, before));
    let decoded = M::decode(message);
    let peak = HELD.get().1;
    decoded.expect("a message");
    peak - before
}

fn weight<M: Weighed>(message: &[u8]) -> usize {
    let mut scale = Scale { room: usize::MAX, full: || Fault::Heavy };
    scale.weigh(message, M::SHAPE, 0).expect("a message");
    usize::MAX - scale.room
}

/// The same numbers for the same seed (xorshift).
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % sides as u64) as usize
    }

    /// A message of this shape with fields as its table has them, much of it empty.
    fn message(&mut self, shape: usize, depth: usize) -> Vec<u8> {
        let (mut message, mut met) = (vec![], 0_u64);
        if depth == 0 || SHAPES[shape].is_empty() {
            return message;
        }
        for _ in 0..[0, 1, 2, 3, 4, if depth > 7 { 40 } else { 8 }][self.roll(6)] {
            let at = self.roll(SHAPES[shape].len());
            let (tag, part) = SHAPES[shape][at];
            let again = met & 1 << at != 0;
            met |= 1 << at;
            let content = match part {
                Part::Text | Part::One(_) | Part::Facts(_) if again => continue,
                Part::Text | Part::Texts => {
                    (0..[0, 1, 2, 9, 70][self.roll(5)]).map(|_| b'a' + self.roll(26) as u8).collect()
                }
                Part::Numbers => vec![1; self.roll(20)],
                Part::One(inner) | Part::Many(inner, _) | Part::Entry(inner) | Part::Facts(inner) => {
                    self.message(inner, depth - 1)
                }
            };
            field(&mut message, tag, &content);
        }
        message
    }
}

fn field(message: &mut Vec<u8>, tag: u32, content: &[u8]) {
    encode_key(tag, WireType::LengthDelimited, message);
    encode_varint(content.len() as u64, message);
    message.extend_from_slice(content);
}

/// So many times the same field.
fn times(count: usize, tag: u32, content: &[u8]) -> Vec<u8> {
    let mut message = vec![];
    (0..count).for_each(|_| field(&mut message, tag, content));
    message
}

fn within(path: &[u32], content: Vec<u8>) -> Vec<u8> {
    path.iter().rev().fold(content, |content, tag| times(1, *tag, &content))
}

#[test]
fn a_message_takes_no_more_memory_than_it_weighs() {
    fn judge<M: Message + Default + Weighed>(dice: &mut Dice) -> (usize, usize) {
        let mut sums = (0, 0);
        for _ in 0..2000 {
            let message = dice.message(M::SHAPE, 9);
            let (taken, weight) = (taken::<M>(&message), weight::<M>(&message));
            assert!(taken <= weight, "{taken} bytes taken, {weight} weighed: {message:02x?}");
            sums = (sums.0 + taken, sums.1 + weight);
        }
        sums
    }
    let mut dice = Dice(0x5eed);
    let sums = [
        judge::<v1::BatchCreateProductsRequest>(&mut dice),
        judge::<v1::BatchUpdateProductsRequest>(&mut dice),
        judge::<v1::BatchGetProductsRequest>(&mut dice),
        judge::<v1::ImportProductsRequest>(&mut dice),
        judge::<v1::UpdateUserRequest>(&mut dice),
        judge::<v1::CreateTenantRequest>(&mut dice),
        judge::<v1::CreateApiKeyRequest>(&mut dice),
    ];
    println!("seed 0x5eed, N = 2000 each, (taken, weighed): {sums:?}");
}

#[test]
fn what_is_small_on_the_wire_is_weighed_as_what_it_becomes() {
    fn judge<M: Message + Default + Weighed>(message: &[u8]) {
        let (taken, weight) = (taken::<M>(message), weight::<M>(message));
        assert!(taken <= weight && weight <= 4 * taken, "{taken} bytes taken, {weight} weighed");
    }
    let many = 100_000;
    judge::<v1::BatchCreateProductsRequest>(&times(many, 1, &[]));
    judge::<v1::ImportProductsRequest>(&within(&[2], times(many, 2, &[])));
    judge::<v1::BatchGetProductsRequest>(&times(many, 1, &[]));
    judge::<v1::BatchGetUsersRequest>(&times(many, 1, b"x"));
    judge::<v1::CreateProductRequest>(&within(&[1], times(many, 8, &[])));
    let list = [1, 9, 1, 2, 6];
    judge::<v1::CreateProductRequest>(&within(&list, times(60_000, 1, &[])));
    judge::<v1::CreateProductRequest>(&within(&list, times(5_000, 1, &within(&[5, 1], vec![]))));
}

#[test]
fn the_densest_facts_that_keep_every_rule_are_taken() {
    // A list of chains of objects with empty keys, down to the sixteenth level: 32 KiB as JSON.
    let chain = (0..13).fold(within(&[5], vec![]), |inner, _| within(&[5, 1, 2], inner));
    let list = within(&[1, 9, 1, 2, 6], times(32 * 1024 / 82, 1, &chain));
    check::<v1::CreateProductRequest>(&list).expect("facts within the rules");
    let weight = weight::<v1::CreateProductRequest>(&list);
    assert!(weight > FACTS / 2, "{weight}: the bound could be closer");
    println!("the densest facts within the rules weigh {weight} of {FACTS} bytes");
    let list = within(&[1, 9, 1, 2, 6], times(2 * 32 * 1024 / 82, 1, &chain));
    assert!(matches!(check::<v1::CreateProductRequest>(&list), Err(Fault::HeavyFacts)));
}

#[test]
fn a_message_is_refused_as_soon_as_it_is_known_to_be_too_heavy_or_none() {
    let bomb = times(2 * 1024 * 1024, 1, &[]);
    assert!(matches!(check::<v1::BatchCreateProductsRequest>(&bomb), Err(Fault::Heavy)));
    // Prost would read on to the end of everything before it noticed that an inner length is beyond the outer one.
    let mut torn = times(1, 1, &[0x0a, 0xff, 0xff, 0x3f]);
    torn.extend(&bomb);
    assert!(matches!(check::<v1::BatchCreateProductsRequest>(&torn), Err(Fault::Malformed(_))));
    let deep = (0..200).fold(vec![], |inner, _| within(&[1, 2, 5], inner));
    let message = [within(&[1, 9], deep), bomb].concat();
    assert!(matches!(check::<v1::BatchCreateProductsRequest>(&message), Err(Fault::Heavy)));
}

#[test]
fn what_hides_behind_another_wire_type_is_weighed_or_refused() {
    // Prost takes an entry of a map for one whatever its key says; by the key's type all of it would be skipped.
    let entry = within(&[2, 6], times(2 * 1024 * 1024, 1, &[]));
    for wire in [WireType::Varint, WireType::SixtyFourBit, WireType::StartGroup, WireType::ThirtyTwoBit] {
        let mut facts = vec![];
        encode_key(1, wire, &mut facts);
        encode_varint(entry.len() as u64, &mut facts);
        facts.extend_from_slice(&entry);
        let message = within(&[1, 9], facts);
        assert!(check::<v1::CreateProductRequest>(&message).is_err(), "{wire:?}");
    }
}
