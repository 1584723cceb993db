//! Every request message as a hostile caller would write it: weighed and decoded without a panic, and within its weight.
//! It leaves what the services make of it to theirs.

use std::time::{Duration, Instant};

use stead_harness::messages::{Book, Contract, Dice as Hostile};

use super::*;

/// What a fault takes that says where in a hundred messages it was met.
const FAULT: usize = 16 * 1024;
/// A soak ends about here, whatever it has reached.
const SOAK: Duration = Duration::from_secs(14 * 60);

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{variable} is {text:?}: give a whole number")))
}

struct Fuzz {
    contract: Contract,
    book: Book,
    dice: Hostile,
    /// Of each message.
    calls: u64,
    until: Instant,
    decoded: u64,
    refused: u64,
    messages: u64,
}

fn judge<M: Message + Default + Weighed>(name: &str, fuzz: &mut Fuzz) {
    let (place, before) = (fuzz.contract.shapes.place(name), (fuzz.decoded, fuzz.refused));
    for call in 0..fuzz.calls {
        let bytes = fuzz.contract.shapes.draw(place, &fuzz.book, &mut fuzz.dice).bytes;
        if let Err(wrong) = try_one::<M>(&bytes, fuzz) {
            let hex: String = bytes.iter().take(10_000).map(|byte| format!("{byte:02x}")).collect();
            panic!("{name}: {wrong}: {hex}");
        }
        if call.is_multiple_of(1000) && Instant::now() > fuzz.until {
            break;
        }
    }
    assert!(fuzz.decoded > before.0 && fuzz.refused > before.1, "{name} is not fuzzed");
    fuzz.messages += 1;
}

fn try_one<M: Message + Default + Weighed>(bytes: &[u8], fuzz: &mut Fuzz) -> Result<(), String> {
    let mut scale = Scale { room: usize::MAX, full: || Fault::Heavy };
    let weighed = scale.weigh(bytes, M::SHAPE, 0);
    let weight = usize::MAX - scale.room;
    // What the codec makes of it: light messages are decoded as they are.
    let taken_in = check::<M>(bytes).is_ok();
    let before = HELD.get().0;
    HELD.set((before, before));
    let decoded = M::decode(bytes);
    let taken = HELD.get().1 - before;
    match (&decoded, &weighed) {
        // But for an entry of a map that says that it is something else, which prost decodes.
        (Ok(_), Err(Fault::Malformed(fault))) if !fault.to_string().contains("wire type") => {
            return Err(format!("is decoded, and cannot be weighed: {fault}"));
        }
        (Ok(_), Ok(())) if taken > weight => return Err(format!("{taken} bytes taken, {weight} weighed")),
        (Err(_), Ok(())) if taken > weight + FAULT => return Err(format!("{taken} bytes in vain, {weight} weighed")),
        _ => {}
    }
    if let (Ok(message), true) = (decoded, taken_in) {
        let once = message.encode_to_vec();
        let again = M::decode(&*once).map_err(|fault| format!("is not decoded again: {fault}"))?;
        if again.encode_to_vec() != once {
            return Err("is another one after a second reading".to_owned());
        }
        fuzz.decoded += 1;
    } else {
        fuzz.refused += 1;
    }
    Ok(())
}

#[test]
fn whatever_bytes_come_they_are_weighed_and_decoded_within_their_weight() {
    let (started, seed) = (Instant::now(), number("STEAD_SEED").unwrap_or(1));
    let contract = Contract::read(crate::FILE_DESCRIPTOR_SET, "stead.v1");
    let methods = contract.methods.len() as u64;
    let (book, dice) = (Book::common(), Hostile::new(seed));
    // The services take the rest.
    let calls = number("STEAD_SOAK").map_or(300, |calls| calls * 7 / 10 / methods + 1);
    let until = started + SOAK;
    let fuzz = &mut Fuzz { contract, book, dice, calls, until, decoded: 0, refused: 0, messages: 0 };
    each_request!(judge, fuzz);
    assert_eq!(fuzz.messages, methods, "each method has a request of its own");
    println!(
        "figure fuzz_codec: seed={seed} calls={} methods={methods} decoded={} undecoded={} failures=0 seconds={}",
        fuzz.decoded + fuzz.refused,
        fuzz.decoded,
        fuzz.refused,
        started.elapsed().as_secs()
    );
}
