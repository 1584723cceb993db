//! Where the words of a query occur in a text: marks that PostgreSQL set in the folded text, carried over to the text itself.
//! It leaves finding the words to PostgreSQL, which alone knows how they are bent.
//!
//! The index knows texts without case and accents, so the marks are set in such a text as well: each group of characters of
//! the original is folded by itself to know how many characters of the folded text stand for it. A text with a word of 2 KiB
//! or more, which PostgreSQL leaves out of what it marks, has no marks.

use unicode_normalization::{UnicodeNormalization as _, char::canonical_combining_class};

/// What stands before and behind a match in a marked text; taken out of the text before it is marked.
const START: char = '\u{e000}';
const STOP: char = '\u{e001}';
/// So many characters of a description are looked at.
const LOOKED_AT: usize = 20_000;
/// A text of so many characters is shown whole.
const WHOLE: usize = 300;
/// So many characters around a match are shown of a longer one,
const AROUND: usize = 60;
/// in at most so many parts.
const PARTS: usize = 3;
/// What stands for what is left out.
const GAP: &str = " … ";

/// A piece of a text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Segment {
    pub(super) text: String,
    pub(super) matched: bool,
}

/// The pieces of a text in which words were marked; none, if none were. Each of `marked` is the beginning of the text, folded.
pub(super) fn whole(text: &str, marked: &[Option<String>]) -> Vec<Segment> {
    let letters = letters(text, marked);
    if letters.iter().any(|(_, matched)| *matched) { segments(&letters) } else { vec![] }
}

/// The same for what may be long: the parts around the matches.
pub(super) fn parts(text: &str, marked: &Option<String>) -> Vec<Segment> {
    let letters = letters(text, std::slice::from_ref(marked));
    let is_cut = text.chars().nth(LOOKED_AT).is_some();
    if letters.len() <= WHOLE && !is_cut {
        return if letters.iter().any(|(_, matched)| *matched) { segments(&letters) } else { vec![] };
    }
    let (mut shown, mut end) = (vec![], 0);
    let gap = || Segment { text: GAP.into(), matched: false };
    for (from, to) in windows(&letters) {
        shown.extend((from > end).then(gap));
        shown.extend(segments(&letters[from..to]));
        end = to;
    }
    shown.extend((end > 0 && (end < letters.len() || is_cut)).then(gap));
    shown
}

/// The characters of a text, each with whether a mark goes over it.
fn letters(text: &str, marked: &[Option<String>]) -> Vec<(char, bool)> {
    let text: String = text.chars().filter(|letter| !matches!(*letter, START | STOP)).take(LOOKED_AT).collect();
    let groups = groups(&text);
    let mut folded = vec![false; groups.iter().map(|(_, length)| length).sum()];
    for marked in marked.iter().flatten() {
        let marks = marks(marked);
        // Were the text folded otherwise than here, the marks would stand in wrong places.
        if marks.len() == folded.len() {
            folded.iter_mut().zip(marks).for_each(|(folded, mark)| *folded |= mark);
        }
    }
    let (mut letters, mut at, mut matched) = (Vec::with_capacity(text.len()), 0, false);
    for (group, length) in groups {
        if length > 0 {
            matched = folded[at..at + length].contains(&true);
        }
        at += length;
        letters.extend(group.chars().map(|letter| (letter, matched)));
    }
    letters
}

/// The marks of each character of a marked text.
fn marks(marked: &str) -> Vec<bool> {
    let mut inside = false;
    let mark = |letter| match letter {
        START | STOP => {
            inside = letter == START;
            None
        }
        _ => Some(inside),
    };
    marked.chars().filter_map(mark).collect()
}

/// A text in groups that are folded each by itself, with how many characters each is folded to.
fn groups(text: &str) -> Vec<(&str, usize)> {
    if text.is_ascii() {
        return text.split_inclusive(|_: char| true).map(|letter| (letter, 1)).collect();
    }
    let mut groups = vec![];
    for word in text.split_inclusive(char::is_whitespace) {
        let before = groups.len();
        let (mut rest, mut length) = (word, 0);
        while let Some(first) = rest.chars().next() {
            let marks = &rest[first.len_utf8()..];
            let end = marks.find(|letter| canonical_combining_class(letter) == 0).unwrap_or(marks.len());
            let (group, behind) = rest.split_at(first.len_utf8() + end);
            groups.push((group, folded_length(group)));
            length += folded_length(group);
            rest = behind;
        }
        // Letters of some scripts grow together.
        let together = folded_length(word);
        if together != length {
            groups.truncate(before);
            groups.push((word, together));
        }
    }
    groups
}

/// How many characters `stead_search.fold` makes of a text.
fn folded_length(text: &str) -> usize {
    let mut latin = false;
    let bare = text.nfkd().filter(|letter| {
        let is_mark = ('\u{300}'..='\u{36f}').contains(letter);
        latin = letter.is_ascii_alphabetic() || latin && is_mark;
        !(latin && is_mark)
    });
    let bare = bare.filter(|letter| !matches!(letter, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{2060}' | '\u{feff}'));
    bare.nfc().count()
}

fn segments(letters: &[(char, bool)]) -> Vec<Segment> {
    let alike = letters.chunk_by(|a, b| a.1 == b.1);
    alike.map(|run| Segment { text: run.iter().map(|(letter, _)| letter).collect(), matched: run[0].1 }).collect()
}

/// Which parts of a long text are shown: those with the most matches, in the order of the text.
fn windows(letters: &[(char, bool)]) -> Vec<(usize, usize)> {
    let starts = (0..letters.len()).filter(|at| letters[*at].1 && (*at == 0 || !letters[at - 1].1));
    let mut windows: Vec<(usize, usize, usize)> = vec![];
    for start in starts {
        let length = letters[start..].iter().take_while(|(_, matched)| *matched).count();
        let (from, to) = (start.saturating_sub(AROUND), (start + length + AROUND).min(letters.len()));
        match windows.last_mut().filter(|(before, end, _)| from <= *end && to - *before <= WHOLE) {
            Some((_, end, matches)) => (*end, *matches) = (to, *matches + 1),
            None => windows.push((from.max(windows.last().map_or(0, |last| last.1)), to, 1)),
        }
    }
    windows.sort_by_key(|(from, _, matches)| (std::cmp::Reverse(*matches), *from));
    windows.truncate(PARTS);
    windows.sort();
    let is_space = |at: usize| letters[at].0.is_whitespace();
    let at_words = windows.into_iter().map(|(from, to, _)| {
        // A part begins and ends between words, where there is a space to cut at.
        let first = (from..to).take(AROUND).take_while(|at| !letters[*at].1).find(|at| *at > 0 && is_space(*at));
        let last = (from..to).rev().take(AROUND).take_while(|at| !letters[*at].1).find(|at| is_space(*at));
        let from = if from == 0 { 0 } else { first.map_or(from, |at| at + 1) };
        (from, if to == letters.len() { to } else { last.unwrap_or(to) })
    });
    at_words.collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Marks as PostgreSQL sets them, written with brackets.
    fn marked(text: &str) -> Option<String> {
        Some(text.replace('[', &START.to_string()).replace(']', &STOP.to_string()))
    }

    fn drawn(segments: Vec<Segment>) -> String {
        segments.into_iter().map(|Segment { text, matched }| if matched { format!("[{text}]") } else { text }).collect()
    }

    #[test]
    fn marks_in_the_folded_text_stand_over_the_text_itself() {
        let cases = [
            ("Board Game", "board [game]", "Board [Game]"),
            ("Café au Lait", "[cafe] au lait", "[Café] au Lait"),
            ("Cafe\u{301} crème", "[cafe] [creme]", "[Cafe\u{301}] [crème]"),
            ("ﬁne Straße №5", "[fine] straße [no5]", "[ﬁne] Straße [№5]"),
            ("Игра Й", "[игра] [й]", "[Игра] [Й]"),
            ("한국어 \u{1112}\u{1161}\u{11ab}", "[한국어] [한]", "[한국어] [\u{1112}\u{1161}\u{11ab}]"),
            ("<b>Game</b> & co", "<b>[game]</b> & co", "<b>[Game]</b> & co"),
            ("Game", "game", ""),
            ("Ga\u{ad}me \u{200b}x", "[game] x", "[Ga\u{ad}me] \u{200b}x"),
            ("Game", "another [text]", ""),
        ];
        for (text, mark, drawing) in cases {
            assert_eq!(drawn(whole(text, &[marked(mark)])), drawing, "{text:?}");
        }
        let both = [marked("[the] board games"), None, marked("the board [games]")];
        assert_eq!(drawn(whole("The Board Games", &both)), "[The] Board [Games]");
    }

    #[test]
    fn of_a_long_text_the_parts_around_the_matches_are_shown() {
        let filler = "lorem ipsum dolor sit amet ".repeat(40);
        let text = format!("{filler}the first word {filler}and a second word with a word {filler}");
        let mark = marked(&text.replace("word", "[word]"));
        let shown = drawn(parts(&text, &mark));
        assert!(shown.starts_with(" … ") && shown.ends_with(" … "), "{shown}");
        assert!(
            shown.contains("the first [word] lorem") && shown.contains("a second [word] with a [word] lorem"),
            "{shown}"
        );
        assert_eq!((shown.matches(" … ").count(), shown.len() < 450), (3, true), "{shown}");
        assert_eq!(drawn(parts("a word", &marked("a [word]"))), "a [word]");
        assert_eq!(drawn(parts(&text, &None)), "");
        let late = format!("{}word", "x ".repeat(LOOKED_AT));
        let first = marked(&format!("[x]{}", " x".repeat(LOOKED_AT / 2 - 1) + " "));
        assert!(drawn(parts(&late, &first)).ends_with(" … "));
    }

    proptest! {
        /// Whatever is marked, and however the text is folded, the pieces are the text.
        #[test]
        fn the_pieces_of_a_text_are_the_text(text in any::<String>(), at in 0..20usize, length in 1..20usize) {
            let bare: String = text.chars().filter(|letter| !matches!(*letter, START | STOP)).collect();
            let folded: usize = groups(&bare).iter().map(|(_, length)| length).sum();
            let mark = (0..folded).map(|place| {
                let sign = if place == at { Some(START) } else if place == at + length { Some(STOP) } else { None };
                sign.into_iter().chain(['x']).collect::<String>()
            });
            let mark = Some(mark.collect::<String>());
            let pieces = whole(&text, std::slice::from_ref(&mark));
            prop_assert_eq!(folded_length(&bare), folded);
            prop_assert_eq!(pieces.is_empty(), at >= folded);
            if !pieces.is_empty() {
                prop_assert_eq!(pieces.into_iter().map(|piece| piece.text).collect::<String>(), bare);
            }
        }
    }
}
