//! What a message will take in memory, judged from its bytes before anything is decoded: two of them can stand for hundreds.
//! It leaves decoding to prost, and what a caller is told to the codec.

use std::mem::size_of;

use prost::{
    DecodeError,
    encoding::{DecodeContext, WireType, check_wire_type, decode_key, decode_varint, skip_field},
};

/// What a message may weigh: what a service makes of it may weigh as much again.
pub(crate) const MESSAGE: usize = 32 * 1024 * 1024;
/// What the free facts of one resource may weigh: 32 KiB of JSON at depth 16 cannot come to more.
pub(crate) const FACTS: usize = 4 * 1024 * 1024;

/// What a heap block takes beyond its content, at most.
const BLOCK: usize = 32;
/// The first node of a B-tree of facts.
const NODE: usize = 640;
/// An entry of such a tree whose nodes are as empty as they get.
const ENTRY: usize = 160;
/// Prost decodes no deeper.
const DEPTH: usize = 100;

/// The fields of a message that take memory of their own, by number.
type Shape = &'static [(u32, Part)];

/// What a field adds to a message; the number is the place of its message in [`SHAPES`].
#[derive(Clone, Copy, Debug)]
enum Part {
    /// A text or bytes.
    Text,
    /// One of several texts.
    Texts,
    /// One of several numbers, or some of them packed.
    Numbers,
    /// A message that stands within the one that holds it.
    One(usize),
    /// One of several messages, and its size.
    Many(usize, usize),
    /// An entry of a map.
    Entry(usize),
    /// The free facts of a resource.
    Facts(usize),
}

/// A message that a caller sends.
pub trait Weighed {
    /// Its place in the table of shapes.
    #[doc(hidden)]
    const SHAPE: usize;
}

include!(concat!(env!("OUT_DIR"), "/shapes.rs"));

/// Why a message is not decoded.
#[derive(Debug)]
pub(crate) enum Fault {
    /// It is no protobuf.
    Malformed(DecodeError),
    /// All of it would take more than [`MESSAGE`].
    Heavy,
    /// The facts of one resource would take more than [`FACTS`].
    HeavyFacts,
}

impl From<DecodeError> for Fault {
    fn from(fault: DecodeError) -> Fault {
        Fault::Malformed(fault)
    }
}

/// What a message weighs, unless it would take too much memory. What prost would not decode is refused too: it may notice only
/// after it has decoded a great deal of it.
pub(crate) fn check<M: Weighed>(message: &[u8]) -> Result<usize, Fault> {
    let mut scale = Scale { room: MESSAGE, full: || Fault::Heavy };
    scale.weigh(message, M::SHAPE, 0)?;
    Ok(MESSAGE - scale.room)
}

struct Scale {
    /// What may still be put on it.
    room: usize,
    full: fn() -> Fault,
}

impl Scale {
    fn put(&mut self, bytes: usize) -> Result<(), Fault> {
        self.room = self.room.checked_sub(bytes).ok_or_else(self.full)?;
        Ok(())
    }

    fn text(&mut self, length: usize) -> Result<(), Fault> {
        if length == 0 { Ok(()) } else { self.put(length + BLOCK) }
    }

    /// A place in a list, which begins with four and grows by doubling.
    fn place(&mut self, size: usize, is_first: bool) -> Result<(), Fault> {
        self.put(if is_first { 4 * size + BLOCK } else { 2 * size })
    }

    /// Reads tags and lengths with prost's own functions, so that both understand the same bytes alike.
    fn weigh(&mut self, mut message: &[u8], shape: usize, depth: usize) -> Result<(), Fault> {
        let mut met = 0_u64;
        while !message.is_empty() {
            let (tag, wire) = decode_key(&mut message)?;
            let known = SHAPES[shape].iter().position(|(number, _)| *number == tag);
            if let Some(Part::Entry(_)) = known.map(|at| SHAPES[shape][at].1) {
                // Prost reads an entry of a map by its length whatever its wire type says: what is skipped by another type
                // would be decoded all the same.
                check_wire_type(WireType::LengthDelimited, wire)?;
            }
            let mut content = message;
            skip_field(wire, tag, &mut message, DecodeContext::default())?;
            let Some(at) = known else { continue };
            let (is_first, part) = (met & 1 << at == 0, SHAPES[shape][at].1);
            met |= 1 << at;
            if wire != WireType::LengthDelimited {
                if let Part::Numbers = part {
                    self.place(size_of::<u64>(), is_first)?;
                }
                continue;
            }
            let length = decode_varint(&mut content)? as usize;
            self.put_part(part, is_first, &content[..length], depth)?;
        }
        Ok(())
    }

    fn put_part(&mut self, part: Part, is_first: bool, content: &[u8], depth: usize) -> Result<(), Fault> {
        let inner = match part {
            Part::Text => return self.text(content.len()),
            Part::Texts => {
                self.place(size_of::<String>(), is_first)?;
                return self.text(content.len());
            }
            Part::Numbers => {
                self.place(size_of::<u64>(), is_first)?;
                return self.put(content.len().saturating_mul(2 * size_of::<u64>()));
            }
            Part::Facts(inner) => return self.facts(content, inner, depth + 1),
            Part::One(inner) => inner,
            Part::Many(inner, size) => {
                self.place(size, is_first)?;
                inner
            }
            Part::Entry(inner) => {
                self.put(if is_first { NODE } else { ENTRY })?;
                inner
            }
        };
        if depth < DEPTH { self.weigh(content, inner, depth + 1) } else { Ok(()) }
    }

    fn facts(&mut self, content: &[u8], shape: usize, depth: usize) -> Result<(), Fault> {
        if self.room <= FACTS {
            return self.weigh(content, shape, depth);
        }
        let mut scale = Scale { room: FACTS, full: || Fault::HeavyFacts };
        scale.weigh(content, shape, depth)?;
        self.put(FACTS - scale.room)
    }
}

#[cfg(test)]
mod tests;
