//! Messages of a contract as bytes, drawn from its descriptors: valid, at a bound, or as a hostile caller would make them.
//! Leaves what a field may well hold to a [`Book`], and sending to the tests.
//!
//! Everything is written as raw wire bytes, because most of what is worth trying no library would encode: texts that are no
//! UTF-8, fields twice or of another wire type, groups, lengths beyond the end. How odd a message is, is drawn first: many
//! have one odd field and nothing else wrong, so that they pass what is checked before it.

mod book;
mod hostile;
mod wire;

use std::collections::BTreeMap;

use prost_reflect::{Cardinality, DescriptorPool, FieldDescriptor, MessageDescriptor, Value};

pub use book::Book;
pub use wire::{bytes_field, mutated, varint_field};

/// A small generator: a seed tells the whole case, on every machine and in every version.
#[derive(Debug, Clone)]
pub struct Dice(u64);

impl Dice {
    /// Dice that always roll the same for a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A number below `sides`.
    pub fn roll(&mut self, sides: usize) -> usize {
        (self.number() % sides.max(1) as u64) as usize
    }

    /// True so many times in a hundred.
    pub fn chance(&mut self, percent: usize) -> bool {
        self.roll(100) < percent
    }

    /// One of them.
    pub fn pick<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.roll(of.len())]
    }

    /// Any number (SplitMix64).
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

/// What a field is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    Text,
    /// A number or a flag, as a varint.
    Number,
    Flag,
    /// One of these numbers.
    Choice(Vec<i32>),
    Double,
    /// The message of this place among the shapes.
    Message(usize),
}

/// A field of a message.
#[derive(Debug, Clone)]
pub struct Field {
    /// Without its package, such as `Product.sku`.
    pub name: String,
    pub number: u32,
    pub kind: Kind,
    pub is_list: bool,
    /// Fields with the same number here exclude each other.
    pub oneof: Option<usize>,
    /// How often it is there in a message that is not odd, in percent.
    presence: usize,
    /// The longest text in characters, the most entries.
    pub bound: usize,
    /// The kind of word that it holds.
    word: &'static str,
}

/// A message.
#[derive(Debug, Clone)]
pub struct Shape {
    /// Without its package, such as `Product`.
    pub name: String,
    pub fields: Vec<Field>,
    oneofs: usize,
}

/// Every message that the inputs of a contract can hold.
#[derive(Debug, Clone)]
pub struct Shapes(Vec<Shape>);

/// What was drawn.
#[derive(Debug, Clone)]
pub struct Drawn {
    pub bytes: Vec<u8>,
    /// How many choices were odd; none: every field is as the book says.
    pub oddities: usize,
}

/// A contract, from its encoded descriptors.
#[derive(Debug, Clone)]
pub struct Contract {
    pub shapes: Shapes,
    /// Every method by its path: the place of its request among the shapes, and what it answers with.
    pub methods: BTreeMap<String, (usize, MessageDescriptor)>,
}

impl Contract {
    /// The services of a package.
    pub fn read(descriptors: &[u8], package: &str) -> Self {
        let pool = DescriptorPool::decode(descriptors).unwrap_or_else(|fault| panic!("no descriptors: {fault}"));
        let services: Vec<_> = pool.services().filter(|service| service.package_name() == package).collect();
        let methods: Vec<_> = services.iter().flat_map(|service| service.methods()).collect();
        let mut inputs: Vec<_> = methods.iter().map(|method| method.input()).collect();
        let mut shapes = vec![];
        while shapes.len() < inputs.len() {
            let message = inputs[shapes.len()].clone();
            let fields = message.fields().map(|field| read(&pool, &field, &mut inputs)).collect();
            shapes.push(Shape { name: short(message.full_name()), fields, oneofs: message.oneofs().len() });
        }
        let shapes = Shapes(shapes);
        let place = |method: &prost_reflect::MethodDescriptor| {
            let path = format!("/{}/{}", method.parent_service().full_name(), method.name());
            (path, (shapes.place(method.input().name()), method.output()))
        };
        let methods = methods.iter().map(place).collect();
        Self { shapes, methods }
    }
}

impl Shapes {
    /// The place of a message, by its name without package.
    pub fn place(&self, name: &str) -> usize {
        self.0.iter().position(|shape| shape.name == name).unwrap_or_else(|| panic!("no message {name}"))
    }

    /// The message of a place.
    pub fn shape(&self, place: usize) -> &Shape {
        &self.0[place]
    }

    /// A message of this place.
    pub fn draw(&self, place: usize, book: &Book, dice: &mut Dice) -> Drawn {
        let odd = [0, 0, 15, 60, 60, 200, 200, 700][dice.roll(8)];
        // What does not decode shows nothing of what is behind the codec: most messages do.
        let torn = dice.chance(30);
        let mut pen = Pen { shapes: self, book, dice, odd, torn, oddities: 0 };
        let mut bytes = pen.message(place, "", 0);
        let mut oddities = pen.oddities;
        if odd > 0 && torn && dice.chance(30) {
            oddities += 1;
            bytes = mutated(bytes, dice);
        }
        Drawn { bytes, oddities }
    }

    /// A message of this place in which nothing is odd.
    pub fn valid(&self, place: usize, book: &Book, dice: &mut Dice) -> Vec<u8> {
        Pen { shapes: self, book, dice, odd: 0, torn: false, oddities: 0 }.message(place, "", 0)
    }
}

fn short(name: &str) -> String {
    name.trim_start_matches("stead.v1.")
        .trim_start_matches("google.protobuf.")
        .trim_start_matches("google.type.")
        .into()
}

fn read(pool: &DescriptorPool, field: &FieldDescriptor, messages: &mut Vec<MessageDescriptor>) -> Field {
    use prost_reflect::Kind as Said;
    let kind = match field.kind() {
        Said::String | Said::Bytes => Kind::Text,
        Said::Bool => Kind::Flag,
        Said::Double | Said::Fixed64 | Said::Sfixed64 => Kind::Double,
        Said::Enum(choices) => Kind::Choice(choices.values().map(|value| value.number()).collect()),
        Said::Message(message) => {
            Kind::Message(messages.iter().position(|known| *known == message).unwrap_or_else(|| {
                messages.push(message);
                messages.len() - 1
            }))
        }
        _ => Kind::Number,
    };
    let behaviours = pool.get_extension_by_name("google.api.field_behavior").map(|extension| {
        let said = field.options().get_extension(&extension).into_owned();
        said.as_list().unwrap_or_default().iter().filter_map(Value::as_enum_number).collect::<Vec<_>>()
    });
    // REQUIRED and IDENTIFIER, OUTPUT_ONLY, and whatever is no field of ours.
    let presence = match behaviours.unwrap_or_default() {
        said if said.contains(&2) || said.contains(&8) => 100,
        said if said.contains(&3) => 3,
        said if said.is_empty() => 100,
        _ => 40,
    };
    let name = format!("{}.{}", short(field.parent_message().full_name()), field.name());
    let presence = Book::presence(&name).unwrap_or(presence);
    let oneof = field
        .containing_oneof()
        .and_then(|oneof| field.parent_message().oneofs().position(|known| known.full_name() == oneof.full_name()));
    let is_list = field.cardinality() == Cardinality::Repeated;
    let (bound, word) = (Book::bound(&name), book::kind(&name));
    Field { name, number: field.number(), kind, is_list, oneof, presence, bound, word }
}

/// Writes one message.
struct Pen<'a> {
    shapes: &'a Shapes,
    book: &'a Book,
    dice: &'a mut Dice,
    /// So many fields in a thousand are odd.
    odd: usize,
    /// Whether some may be no field at all.
    torn: bool,
    oddities: usize,
}

/// Free values go no deeper than this by themselves.
const DEPTH: usize = 12;

impl Pen<'_> {
    /// `outer` is the field that holds the message.
    fn message(&mut self, place: usize, outer: &str, depth: usize) -> Vec<u8> {
        let (shapes, mut message) = (self.shapes, vec![]);
        let shape = &shapes.0[place];
        let chosen: Vec<_> = (0..shape.oneofs).map(|oneof| self.choose(shape, oneof, depth)).collect();
        for field in &shape.fields {
            let is_chosen = field.oneof.is_none_or(|oneof| chosen[oneof] == field.number);
            if self.is_odd() {
                self.oddity(&mut message, field, outer, depth);
            } else if is_chosen && (field.oneof.is_some() || self.dice.chance(Book::presence_in(field, outer))) {
                self.field(&mut message, field, outer, depth);
            }
        }
        if self.is_odd() {
            hostile::unknown(&mut message, self.torn, self.dice);
        }
        message
    }

    fn choose(&mut self, shape: &Shape, oneof: usize, depth: usize) -> u32 {
        let of = shape.fields.iter().filter(|field| field.oneof == Some(oneof));
        let plain = |field: &&Field| depth < DEPTH / 2 || !matches!(field.kind, Kind::Message(_));
        let numbers: Vec<_> = of.filter(plain).map(|field| field.number).collect();
        if numbers.is_empty() { 0 } else { *self.dice.pick(&numbers) }
    }

    fn is_odd(&mut self) -> bool {
        let odd = self.odd > 0 && self.dice.roll(1000) < self.odd;
        self.oddities += usize::from(odd);
        odd
    }

    /// As the book says.
    fn field(&mut self, message: &mut Vec<u8>, field: &Field, outer: &str, depth: usize) {
        let count = if field.is_list { self.book.count(field, depth, self.dice) } else { 1 };
        for at in 0..count {
            self.value(message, field, (outer, at), depth);
        }
    }

    fn value(&mut self, message: &mut Vec<u8>, field: &Field, (outer, at): (&str, usize), depth: usize) {
        match &field.kind {
            Kind::Text => bytes_field(message, field.number, self.book.text(field, outer, at, self.dice).as_bytes()),
            Kind::Number => varint_field(message, field.number, self.book.number(field, self.dice) as u64),
            Kind::Flag => varint_field(message, field.number, u64::from(self.book.flag(field, self.dice))),
            Kind::Choice(choices) => {
                varint_field(message, field.number, self.book.choice(field, choices, at, self.dice) as u64);
            }
            Kind::Double => wire::double_field(message, field.number, *self.dice.pick(&[0.0, 1.0, -2.5, 1e6, 0.1])),
            Kind::Message(_) if depth > DEPTH => {}
            Kind::Message(place) => {
                let inner = self.message(*place, &field.name, depth + 1);
                bytes_field(message, field.number, &inner);
            }
        }
    }

    /// As no caller should send it.
    fn oddity(&mut self, message: &mut Vec<u8>, field: &Field, outer: &str, depth: usize) {
        let is_message = matches!(field.kind, Kind::Message(_));
        match self.dice.roll(if self.torn { 14 } else { 9 }) {
            0 => {}
            1 => hostile::empty(message, field),
            2 | 3 => self.at_bound(message, field, outer, depth),
            4 => {
                self.field(message, field, outer, depth);
                self.field(message, field, outer, depth);
            }
            5..=8 if !is_message => hostile::value(message, field, self.book, self.dice),
            5 => {
                if let Kind::Message(place) = &field.kind {
                    hostile::deep(message, field, self.shapes.shape(*place), self.torn, self.dice);
                }
            }
            6..=8 => self.field(message, field, outer, depth),
            9 | 10 => hostile::wrong_wire(message, field, self.dice),
            11 => hostile::torn(message, field, self.dice),
            12 => hostile::packed(message, field, self.dice),
            _ => hostile::not_utf8(message, field, self.dice),
        }
    }

    /// At its bound, or one beyond.
    fn at_bound(&mut self, message: &mut Vec<u8>, field: &Field, outer: &str, depth: usize) {
        let bound = field.bound;
        if !field.is_list {
            return hostile::sized(message, field, bound, self.book, self.dice);
        }
        let count = (bound + self.dice.roll(3)).saturating_sub(1);
        if bound <= 64 {
            return (0..count).for_each(|at| self.value(message, field, (outer, at), depth));
        }
        // The same entry again and again: a thousand different ones would take their time.
        let mut entry = vec![];
        self.value(&mut entry, field, (outer, 0), depth);
        if entry.len() * count < 1 << 19 {
            (0..count).for_each(|_| message.extend_from_slice(&entry));
        }
    }
}
