//! Random filters over any resource, as text and as what they mean, in the plainest words.
//! It leaves the resources' fields to the domains' tests, and running the filters to `walks`.

use std::cmp::Ordering;

/// A small generator: a seed tells the whole case, on every machine and in every version.
#[derive(Debug)]
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: usize) -> usize {
        // SplitMix64.
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % sides as u64) as usize
    }

    pub(crate) fn one_of<T: Copy>(&mut self, things: &[T]) -> T {
        things[self.roll(things.len())]
    }
}

/// What a row has in a field.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Held {
    Nothing,
    Text(String),
    Number(i64),
    Flag(bool),
    /// Texts, or words.
    Several(Vec<String>),
    /// A currency and minor units.
    Amount(String, i64),
}

/// What may be asked of a field, with values that are worth asking for.
#[derive(Clone, Copy)]
pub(crate) enum Ask {
    /// Texts, compared in the form that the function gives them.
    Text(&'static [&'static str], fn(&str) -> String),
    /// Integers below so many.
    Number(usize),
    /// Seconds since 1970.
    Time(&'static [i64]),
    Flag,
    /// One of a few words, with the prefix that may stand before it.
    Word(&'static [&'static str], &'static str),
    /// Several of a few words.
    Words(&'static [&'static str], &'static str),
    Texts(&'static [&'static str]),
    /// A currency, an amount in it, the same in minor units.
    Amount(&'static [(&'static str, &'static str, i64)]),
}

/// A field, as it should be understood.
pub(crate) struct Known<T: 'static> {
    pub(crate) name: &'static str,
    pub(crate) ask: Ask,
    pub(crate) held: fn(&T) -> Held,
}

/// A filter: its text, and which rows it means.
pub(crate) struct Meant<T: 'static> {
    pub(crate) text: String,
    binds: Binds,
    terms: usize,
    pub(crate) holds: Box<dyn Fn(&T) -> bool>,
}

/// How tightly a text holds together, so how it may be joined without parentheses.
#[derive(Clone, Copy, PartialEq, PartialOrd)]
enum Binds {
    And,
    Or,
    Term,
    /// A term that no sign of negation may stand before.
    Negated,
}

impl<T> Meant<T> {
    fn term(text: String, holds: impl Fn(&T) -> bool + 'static) -> Meant<T> {
        Meant { text, binds: Binds::Term, terms: 1, holds: Box::new(holds) }
    }

    /// The text for a place where looser ones need parentheses.
    fn at_least(&self, binds: Binds, is_group: bool) -> String {
        if self.binds < binds || is_group { format!("({})", self.text) } else { self.text.clone() }
    }
}

/// A filter as callers write them: a conjunction of a few things.
pub(crate) fn filter<T>(fields: &'static [Known<T>], dice: &mut Dice) -> Meant<T> {
    loop {
        let count = 1 + dice.roll(3);
        let parts = (0..count).map(|_| meant(fields, 2, dice)).collect();
        let filter = and(parts, dice);
        if filter.terms <= 32 && filter.text.len() <= 2048 {
            return filter;
        }
    }
}

fn meant<T>(fields: &'static [Known<T>], depth: usize, dice: &mut Dice) -> Meant<T> {
    match dice.roll(if depth == 0 { 4 } else { 7 }) {
        4 => not(meant(fields, depth - 1, dice), dice),
        5 => {
            let parts = (0..2 + dice.roll(2)).map(|_| meant(fields, depth - 1, dice)).collect();
            and(parts, dice)
        }
        6 => {
            let parts = (0..2 + dice.roll(2)).map(|_| meant(fields, depth - 1, dice)).collect();
            or(parts, dice)
        }
        _ => {
            let field = &fields[dice.roll(fields.len())];
            comparison(field, dice)
        }
    }
}

fn and<T>(mut parts: Vec<Meant<T>>, dice: &mut Dice) -> Meant<T> {
    if parts.len() == 1 {
        return parts.swap_remove(0);
    }
    // A space joins too, and `OR` binds tighter.
    let word = dice.one_of(&[" AND ", " ", " AND\t"]);
    let text: Vec<_> = parts.iter().map(|part| part.at_least(Binds::Or, dice.roll(3) == 0)).collect();
    let terms = parts.iter().map(|part| part.terms).sum();
    let holds: Vec<_> = parts.into_iter().map(|part| part.holds).collect();
    let holds = Box::new(move |row: &T| holds.iter().all(|holds| holds(row)));
    Meant { text: text.join(word), binds: Binds::And, terms, holds }
}

fn or<T>(parts: Vec<Meant<T>>, dice: &mut Dice) -> Meant<T> {
    let text: Vec<_> = parts.iter().map(|part| part.at_least(Binds::Term, dice.roll(3) == 0)).collect();
    let terms = parts.iter().map(|part| part.terms).sum();
    let holds: Vec<_> = parts.into_iter().map(|part| part.holds).collect();
    let holds = Box::new(move |row: &T| holds.iter().any(|holds| holds(row)));
    Meant { text: text.join(" OR "), binds: Binds::Or, terms, holds }
}

fn not<T>(inner: Meant<T>, dice: &mut Dice) -> Meant<T> {
    let is_group = inner.binds != Binds::Term || dice.roll(2) == 0;
    let text = format!("{}{}", dice.one_of(&["NOT ", "-"]), inner.at_least(Binds::Term, is_group));
    let Meant { terms, holds, .. } = inner;
    Meant { text, binds: Binds::Negated, terms, holds: Box::new(move |row| !holds(row)) }
}

type Compares = fn(Ordering) -> bool;
const SIGNS: [(&str, Compares); 7] = [
    ("=", Ordering::is_eq),
    (":", Ordering::is_eq),
    ("!=", Ordering::is_ne),
    ("<", Ordering::is_lt),
    ("<=", Ordering::is_le),
    (">", Ordering::is_gt),
    (">=", Ordering::is_ge),
];

/// A comparison with what is not there is false.
fn comparison<T>(field: &'static Known<T>, dice: &mut Dice) -> Meant<T> {
    let Known { name, ask, held } = field;
    let signs = if matches!(ask, Ask::Flag | Ask::Word(..)) { 3 } else { SIGNS.len() };
    let (sign, compares) = SIGNS[dice.roll(signs)];
    let may_be_present = !matches!(ask, Ask::Flag | Ask::Word(..) | Ask::Amount(_));
    if may_be_present && dice.roll(6) == 0 {
        return Meant::term(format!("{name}:*"), |row| match held(row) {
            Held::Nothing => false,
            Held::Text(text) => !text.is_empty(),
            Held::Several(several) => !several.is_empty(),
            _ => true,
        });
    }
    let (text, holds): (String, Box<dyn Fn(Held) -> bool>) = match *ask {
        Ask::Text(words, form) => {
            let word = dice.one_of(words);
            let meant = form(word);
            if word.is_empty() && sign == ":" {
                // Nothing and its end is anything at all.
                let is_there = move |held| matches!(held, Held::Text(text) if !text.is_empty());
                (format!("{name}:{}", quoted(word, "*", dice)), Box::new(is_there))
            } else if SIGNS[..3].iter().any(|(known, _)| *known == sign) && dice.roll(2) == 0 {
                let begins =
                    move |held| matches!(held, Held::Text(text) if text.starts_with(&*meant) == (sign != "!="));
                (format!("{name} {sign} {}", quoted(word, "*", dice)), Box::new(begins))
            } else {
                let holds = move |held| matches!(held, Held::Text(text) if compares(text.cmp(&meant)));
                (format!("{name}{sign}{}", quoted(word, "", dice)), Box::new(holds))
            }
        }
        Ask::Number(sides) => {
            let number = dice.roll(sides) as i64;
            let holds = move |held| matches!(held, Held::Number(held) if compares(held.cmp(&number)));
            (format!("{name} {sign} {number}"), Box::new(holds))
        }
        Ask::Time(times) => {
            let seconds = dice.one_of(times);
            let time = chrono::DateTime::from_timestamp(seconds, 0).unwrap().to_rfc3339();
            let holds = move |held| matches!(held, Held::Number(held) if compares(held.cmp(&seconds)));
            (format!("{name} {sign} \"{time}\""), Box::new(holds))
        }
        Ask::Flag => {
            let flag = dice.roll(2) == 0;
            (
                format!("{name} {sign} {flag}"),
                Box::new(move |held| matches!(held, Held::Flag(held) if compares(held.cmp(&flag)))),
            )
        }
        Ask::Word(words, prefix) => {
            let word = dice.one_of(words);
            let prefix = if dice.roll(3) == 0 { prefix } else { "" };
            let holds = move |held| matches!(held, Held::Text(held) if compares((*held).cmp(word)));
            (format!("{name}{sign}{prefix}{word}"), Box::new(holds))
        }
        Ask::Words(words, prefix) => {
            let word = dice.one_of(words);
            let prefix = if dice.roll(3) == 0 { prefix } else { "" };
            let holds = move |held| matches!(held, Held::Several(several) if several.iter().any(|held| held == word));
            (format!("{name}:{prefix}{word}"), Box::new(holds))
        }
        Ask::Texts(words) => {
            let (word, is_beginning) = (dice.one_of(words), dice.roll(2) == 0);
            let is = move |held: &String| if is_beginning { held.starts_with(word) } else { held == word };
            let holds = move |held| matches!(held, Held::Several(several) if several.iter().any(is));
            (format!("{name}:{}", quoted(word, if is_beginning { "*" } else { "" }, dice)), Box::new(holds))
        }
        Ask::Amount(amounts) => return amount(field, amounts, dice),
    };
    Meant::term(text, move |row| holds(held(row)))
}

/// A currency, amounts in it, or that there is one at all.
fn amount<T>(
    field: &'static Known<T>,
    amounts: &'static [(&'static str, &'static str, i64)],
    dice: &mut Dice,
) -> Meant<T> {
    let Known { name, held, .. } = field;
    let currency = dice.one_of(amounts).0;
    let is_currency = move |row: &T| matches!(held(row), Held::Amount(held, _) if held == currency);
    let is_there = move |row: &T| held(row) != Held::Nothing;
    match dice.roll(6) {
        0 => return Meant::term(format!("{name}:*"), is_there),
        1 => return Meant::term(format!("{name}.currency_code:*"), is_there),
        2 => return Meant::term(format!("{name}.currency_code = {currency}"), is_currency),
        3 => {
            let text = format!("{name}.currency_code != {currency}");
            return Meant::term(text, move |row| is_there(row) && !is_currency(row));
        }
        _ => {}
    }
    let compared = |dice: &mut Dice| {
        let (sign, compares) = dice.one_of(&SIGNS);
        let known: Vec<_> = amounts.iter().filter(|known| known.0 == currency).collect();
        let (_, amount, minor) = *known[dice.roll(known.len())];
        let holds = move |row: &T| matches!(held(row), Held::Amount(_, held) if compares(held.cmp(&minor)));
        Meant::term(format!("{name} {sign} {amount}"), holds)
    };
    // The currency holds for what lies within as well.
    let amounts = match dice.roll(4) {
        0 => or(vec![compared(dice), compared(dice)], dice),
        1 => not(compared(dice), dice),
        _ => compared(dice),
    };
    let currency = Meant::term(format!("{name}.currency_code = {currency}"), is_currency);
    let both = if dice.roll(2) == 0 { vec![currency, amounts] } else { vec![amounts, currency] };
    let Meant { text, terms, holds, .. } = and(both, dice);
    // By itself, so that no other currency of a conjunction comes between.
    Meant { text: format!("({text})"), binds: Binds::Term, terms, holds }
}

/// A text as it may be written; only what needs no quotes may go without.
fn quoted(text: &str, end: &str, dice: &mut Dice) -> String {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    if is_plain && dice.roll(2) == 0 {
        return format!("{text}{end}");
    }
    let quote = dice.one_of(&['"', '\'']);
    let text: String = text
        .chars()
        .flat_map(|letter| {
            let escaped = letter == quote || matches!(letter, '\\' | '*');
            escaped.then_some('\\').into_iter().chain([letter])
        })
        .collect();
    format!("{quote}{text}{end}{quote}")
}
