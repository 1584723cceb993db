//! The query language: what somebody typed as words and phrases that must or must not occur, in alternatives.
//! It leaves what a word matches to the database's search functions.
//!
//! White space parts the words; `"…"` is a phrase, a leading `-` excludes, the bare word `or` parts alternatives, and whatever
//! has no letter or digit counts as a space. Any text is read or refused with a sentence: there is no syntax to get wrong.

use std::borrow::Cow;

use crate::rules::Violations;

const CHARACTERS: usize = 1_000;
const TERMS: usize = 32;
/// What opens and closes a phrase; telephones put the curved ones for the straight one.
const QUOTES: [char; 4] = ['"', '“', '”', '„'];

/// A word or a phrase.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) text: String,
    pub(super) phrase: bool,
    pub(super) excluded: bool,
    /// Which of the alternatives it belongs to, from 0.
    pub(super) branch: i32,
}

/// What was typed, in the order of the typing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Query {
    pub(super) terms: Vec<Term>,
}

impl Query {
    /// Reads `query`; what is returned beside a violation is of no use.
    pub(super) fn read(text: &str, violations: &mut Violations) -> Query {
        let before = violations.len();
        violations.text("query", text, 1, CHARACTERS);
        if violations.len() == before && text.contains(|letter: char| letter.is_control() && !letter.is_whitespace()) {
            violations.add("query", "holds a control character, which no text has: take it out");
        }
        if violations.len() > before {
            return Query::default();
        }
        let query = Query::parse(text);
        if let Some(rule) = query.fault() {
            violations.add("query", rule);
        }
        query
    }

    fn parse(text: &str) -> Query {
        let (mut terms, mut rest, mut branch) = (vec![], text.trim_start(), 0);
        while !rest.is_empty() {
            let (mut term, behind) = next(rest);
            rest = behind.trim_start();
            if term.is_or() {
                // An alternative without any word is none.
                branch = terms.last().map_or(0, |last: &Term| last.branch + 1);
            } else if term.text.contains(char::is_alphanumeric) {
                term.branch = branch;
                terms.push(term);
            }
        }
        Query { terms }
    }

    /// What keeps the query from being asked.
    fn fault(&self) -> Option<Cow<'static, str>> {
        let Some(last) = self.terms.last() else {
            let rule = "holds no word to search for: send at least one letter or digit, and quote `\"or\"` if that is the word";
            return Some(rule.into());
        };
        if self.terms.len() > TERMS {
            let count = self.terms.len();
            return Some(format!("has {count} words and phrases, more than {TERMS}: leave some out").into());
        }
        let demands = |branch| self.terms.iter().any(|term| term.branch == branch && !term.excluded);
        (!(0..=last.branch).all(demands)).then_some(match last.branch {
            0 => "says only what must not occur: add a word without `-` before it".into(),
            _ => {
                "has an alternative beside `or` that says only what must not occur: add a word without `-` to it".into()
            }
        })
    }

    /// The same query with other texts.
    pub(super) fn with(&self, texts: Vec<String>) -> Query {
        let terms = self.terms.iter().zip(texts).map(|(term, text)| Term { text, ..term.clone() });
        Query { terms: terms.collect() }
    }

    /// The query as somebody would type it.
    pub(super) fn typed(&self) -> String {
        let (mut typed, mut branch) = (String::new(), 0);
        for term in &self.terms {
            if !typed.is_empty() {
                typed.push_str(if term.branch == branch { " " } else { " or " });
            }
            branch = term.branch;
            typed.push_str(if term.excluded { "-" } else { "" });
            let quote = if term.phrase || term.is_or() { "\"" } else { "" };
            typed.extend([quote, term.text.as_str(), quote]);
        }
        typed
    }
}

impl Term {
    fn is_or(&self) -> bool {
        !self.phrase && !self.excluded && self.text.eq_ignore_ascii_case("or")
    }
}

/// The first term of a text that does not begin with white space, and what is left.
fn next(text: &str) -> (Term, &str) {
    let (excluded, text) = text.strip_prefix('-').map_or((false, text), |rest| (true, rest));
    let term = |text: &str, phrase| Term { text: text.to_owned(), phrase, excluded, branch: 0 };
    if let Some((phrase, rest)) = text.strip_prefix(QUOTES).and_then(|rest| rest.split_once(QUOTES)) {
        return (term(phrase.trim(), true), rest);
    }
    // A quotation mark that nothing closes is a sign like others, and so is one behind a word: `27" monitor`.
    let text = text.trim_start_matches(|sign| sign == '-' || QUOTES.contains(&sign));
    let (word, rest) = text.split_at(text.find(char::is_whitespace).unwrap_or(text.len()));
    (term(word, false), rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn read(text: &str) -> Result<Query, String> {
        let mut violations = Violations::default();
        let query = Query::read(text, &mut violations);
        if violations.is_empty() { Ok(query) } else { Err(violations.to_string()) }
    }

    /// Terms as text: `-` for what is excluded, quotes around a phrase, a bar between alternatives.
    fn shape(text: &str) -> String {
        let mut shape = String::new();
        let mut branch = 0;
        for term in read(text).unwrap().terms {
            shape += if term.branch > branch { "| " } else { "" };
            branch = term.branch;
            shape += if term.excluded { "-" } else { "" };
            shape += &if term.phrase { format!("«{}» ", term.text) } else { format!("{} ", term.text) };
        }
        shape.trim_end().to_owned()
    }

    #[test]
    fn words_phrases_exclusions_and_alternatives_are_told_apart() {
        let cases = [
            ("board games", "board games"),
            ("  board\t\n games ", "board games"),
            ("\"board games\" catan", "«board games» catan"),
            ("“board games” „catan”", "«board games» «catan»"),
            ("catan -junior -\"travel edition\"", "catan -junior -«travel edition»"),
            ("catan or risk OR \"ticket to ride\"", "catan | risk | «ticket to ride»"),
            ("\"or\" -or", "«or» -or"),
            ("or catan or or risk or", "catan | risk"),
            ("& catan | (!)", "catan"),
            ("Monopoly - Junior", "Monopoly Junior"),
            ("wi-fi O'Brien 3.5mm", "wi-fi O'Brien 3.5mm"),
            ("\"catan\"junior", "«catan» junior"),
            ("27\" monitor or 32\" screen", "27\" monitor | 32\" screen"),
            ("\"board games", "board games"),
            ("catan -\"junior", "catan -junior"),
            ("\"-catan --junior", "catan -junior"),
            ("\"\" \"&\" catan", "catan"),
            ("игра 玩具", "игра 玩具"),
        ];
        for (typed, means) in cases {
            assert_eq!(shape(typed), means, "{typed:?}");
        }
    }

    #[test]
    fn what_cannot_be_searched_for_is_refused_with_what_to_do() {
        let many = vec!["a"; TERMS + 1].join(" ");
        let long = "a".repeat(CHARACTERS + 1);
        let cases = [
            ("", "query is required"),
            (" \t ", "query holds no word to search for"),
            ("&|!() -- \"\"", "query holds no word to search for"),
            ("or OR or", "query holds no word to search for"),
            ("\u{200b}\u{200f}\u{202e}", "query holds no word to search for"),
            ("-catan", "query says only what must not occur"),
            ("catan or -risk", "query has an alternative beside `or` that says only"),
            (&many, "query has 33 words and phrases, more than 32"),
            (&long, "query has more than 1000 characters"),
            ("a\0b", "query holds a NUL character"),
            ("a\u{7}b", "query holds a control character"),
            ("a\u{9b}b", "query holds a control character"),
        ];
        for (typed, says) in cases {
            let refused = read(typed).expect_err(typed);
            assert!(refused.starts_with(says), "{typed:?}: {refused}");
        }
        assert_eq!(read(&vec!["a"; TERMS].join(" ")).unwrap().terms.len(), TERMS);
        assert_eq!(read(&"ä".repeat(CHARACTERS)).unwrap().terms.len(), 1);
    }

    #[test]
    fn other_words_stand_where_the_first_ones_stood() {
        let query = read("\"bord games\" -junoir or ctaan").unwrap();
        assert_eq!(query.typed(), "\"bord games\" -junoir or ctaan");
        let corrected = query.with(["board games", "junior", "or"].map(str::to_owned).into());
        assert_eq!(corrected.typed(), "\"board games\" -junior or \"or\"");
    }

    proptest! {
        /// Any text is read into bounded terms, each with something to look for, or refused with words.
        #[test]
        fn any_text_is_read_or_refused(text in any_text()) {
            match read(&text) {
                Err(refused) => prop_assert!(refused.starts_with("query ") && refused.len() < 200, "{}", refused),
                Ok(query) => {
                    prop_assert!((1..=TERMS).contains(&query.terms.len()));
                    let last = query.terms.last().map_or(0, |term| term.branch);
                    for branch in 0..=last {
                        prop_assert!(query.terms.iter().any(|term| term.branch == branch && !term.excluded));
                    }
                    prop_assert!(query.terms.is_sorted_by_key(|term| term.branch));
                    for Term { text, .. } in &query.terms {
                        prop_assert!(text.contains(char::is_alphanumeric) && !text.contains('\0'));
                        prop_assert!(text.chars().count() <= CHARACTERS);
                    }
                }
            }
        }

        /// What is typed of a query reads as that query.
        #[test]
        fn a_query_survives_being_typed(text in any_text()) {
            if let Ok(query) = read(&text) {
                prop_assert_eq!(&Query::parse(&query.typed()), &query, "{}", query.typed());
            }
        }
    }

    /// Texts of the signs that mean something, of words, and of anything.
    fn any_text() -> impl Strategy<Value = String> {
        let sign = prop_oneof![
            Just("\"".to_owned()),
            Just("“".into()),
            Just("-".into()),
            Just(" ".into()),
            Just("or".into()),
            Just(" or ".into()),
            Just("OR".into()),
            Just("&|!()".into()),
            Just("\u{200b}".into()),
            Just("\u{202e}".into()),
            "[a-z]{1,3}",
            "[α-ω]{1,2}",
            any::<char>().prop_map(String::from),
        ];
        prop_oneof![proptest::collection::vec(sign, 0..40).prop_map(|parts| parts.concat()), any::<String>()]
    }
}
