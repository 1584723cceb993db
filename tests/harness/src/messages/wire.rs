//! The wire format of protobuf, as much of it as writing takes, and bytes that were torn on their way.
//! Leaves what is written to its callers.

use super::Dice;

/// A varint.
pub(super) fn varint(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// A field's number and wire type.
pub(super) fn key(bytes: &mut Vec<u8>, number: u32, wire: u64) {
    varint(bytes, u64::from(number) << 3 | wire);
}

/// A field of a number.
pub fn varint_field(bytes: &mut Vec<u8>, number: u32, value: u64) {
    key(bytes, number, 0);
    varint(bytes, value);
}

/// A field of a text, of bytes or of a message.
pub fn bytes_field(bytes: &mut Vec<u8>, number: u32, content: &[u8]) {
    key(bytes, number, 2);
    varint(bytes, content.len() as u64);
    bytes.extend_from_slice(content);
}

pub(super) fn double_field(bytes: &mut Vec<u8>, number: u32, value: f64) {
    key(bytes, number, 1);
    bytes.extend_from_slice(&value.to_le_bytes());
}

/// The same bytes with a few of them changed, cut out, doubled or put elsewhere.
pub fn mutated(mut bytes: Vec<u8>, dice: &mut Dice) -> Vec<u8> {
    for _ in 0..=dice.roll(4) {
        if bytes.is_empty() {
            bytes.push(dice.number() as u8);
            continue;
        }
        let (at, to) = (dice.roll(bytes.len()), dice.roll(bytes.len()));
        let (from, until) = (at.min(to), at.max(to).min(at.min(to) + 64));
        match dice.roll(8) {
            0 => bytes[at] ^= 1 << dice.roll(8),
            1 => bytes[at] = *dice.pick(&[0, 1, 0x7f, 0x80, 0xff, 0x0b, 0x0c]),
            2 => bytes.truncate(at),
            3 => drop(bytes.drain(from..until)),
            4 => {
                let part = bytes[from..until].to_vec();
                bytes.splice(to..to, part);
            }
            5 => bytes.insert(at, dice.number() as u8),
            6 => bytes.extend((0..dice.roll(9)).map(|_| dice.number() as u8)),
            _ => bytes[from..until].reverse(),
        }
    }
    bytes
}
