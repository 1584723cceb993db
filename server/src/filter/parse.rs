//! The filter language (a subset of AIP-160) read into a tree, with the place of everything in it.
//! It leaves what the fields are, and which comparison fits which, to `typing`.
//!
//! Each byte is looked at a bounded number of times, and only parentheses nest, to a bound: nothing here can overflow.

/// The longest filter, in bytes.
const MAX_BYTES: usize = 2048;
const MAX_TERMS: usize = 32;
const MAX_DEPTH: usize = 8;

/// A broken rule and the byte of the filter where it breaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fault {
    pub(super) offset: usize,
    pub(super) rule: String,
}

/// A filter as it was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Node<'a> {
    And(Vec<Node<'a>>),
    Or(Vec<Node<'a>>),
    Not(Box<Node<'a>>),
    Comparison(Comparison<'a>),
}

/// One comparison of a field with a value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Comparison<'a> {
    pub(super) offset: usize,
    pub(super) field: &'a str,
    pub(super) operator: Operator,
    pub(super) value: Literal,
}

/// A value as it was written, escapes resolved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) offset: usize,
    pub(super) text: String,
    /// Whether a `*` followed the text.
    pub(super) starred: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Operator {
    Equal,
    Unequal,
    Less,
    AtMost,
    Greater,
    AtLeast,
    Has,
}

impl Operator {
    pub(super) fn text(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::Unequal => "!=",
            Operator::Less => "<",
            Operator::AtMost => "<=",
            Operator::Greater => ">",
            Operator::AtLeast => ">=",
            Operator::Has => ":",
        }
    }
}

/// Longer ones first, so that `<=` is not read as `<`.
const OPERATORS: [Operator; 7] = [
    Operator::AtMost,
    Operator::AtLeast,
    Operator::Unequal,
    Operator::Less,
    Operator::Greater,
    Operator::Equal,
    Operator::Has,
];

/// Reads a filter; none for one that says nothing.
pub(super) fn parse(text: &str) -> Result<Option<Node<'_>>, Fault> {
    if text.len() > MAX_BYTES {
        let rule = format!("it goes on beyond {MAX_BYTES} bytes: shorten it, or ask for less at once");
        return Err(Fault { offset: MAX_BYTES, rule });
    }
    let mut parser = Parser { text, at: 0, terms: 0 };
    parser.skip_space();
    if parser.rest().is_empty() {
        return Ok(None);
    }
    let node = parser.conjunction(0)?;
    match parser.rest() {
        "" => Ok(Some(node)),
        _ => parser.fail("a `)` closes nothing: take it out"),
    }
}

struct Parser<'a> {
    text: &'a str,
    at: usize,
    terms: usize,
}

impl<'a> Parser<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn fail<T>(&self, rule: impl Into<String>) -> Result<T, Fault> {
        Err(Fault { offset: self.at, rule: rule.into() })
    }

    fn skip_space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_ascii_start().len();
    }

    /// Passes over a word that joins terms.
    fn keyword(&mut self, word: &str) -> bool {
        self.skip_space();
        let Some(after) = self.rest().strip_prefix(word) else { return false };
        let ends = !after.bytes().next().is_some_and(in_word);
        if ends {
            self.at += word.len();
        }
        ends
    }

    /// `AND` and mere space join alike, and more loosely than `OR`.
    fn conjunction(&mut self, depth: usize) -> Result<Node<'a>, Fault> {
        let mut parts = vec![self.disjunction(depth)?];
        loop {
            let joined = self.keyword("AND");
            if !joined && (self.rest().is_empty() || self.rest().starts_with(')')) {
                break;
            }
            parts.push(self.disjunction(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Node::And(parts) })
    }

    fn disjunction(&mut self, depth: usize) -> Result<Node<'a>, Fault> {
        let mut parts = vec![self.term(depth)?];
        while self.keyword("OR") {
            parts.push(self.term(depth)?);
        }
        Ok(if parts.len() == 1 { parts.swap_remove(0) } else { Node::Or(parts) })
    }

    fn term(&mut self, depth: usize) -> Result<Node<'a>, Fault> {
        let mut negated = self.keyword("NOT");
        if !negated && self.rest().starts_with('-') {
            self.at += 1;
            negated = true;
        }
        self.skip_space();
        let node = if self.rest().starts_with('(') { self.group(depth)? } else { self.comparison()? };
        Ok(if negated { Node::Not(Box::new(node)) } else { node })
    }

    fn group(&mut self, depth: usize) -> Result<Node<'a>, Fault> {
        if depth == MAX_DEPTH {
            return self.fail(format!("parentheses nest deeper than {MAX_DEPTH}: write it flatter"));
        }
        let opened = self.at;
        self.at += 1;
        let node = self.conjunction(depth + 1)?;
        if !self.rest().starts_with(')') {
            return self.fail(format!("the `(` at offset {opened} is not closed: write `)` here"));
        }
        self.at += 1;
        Ok(node)
    }

    fn comparison(&mut self) -> Result<Node<'a>, Fault> {
        let offset = self.at;
        let field = self.word()?;
        if self.terms == MAX_TERMS {
            let rule =
                format!("here begins comparison {}, and there may be {MAX_TERMS}: ask for less at once", MAX_TERMS + 1);
            return Err(Fault { offset, rule });
        }
        self.terms += 1;
        self.skip_space();
        let operator = OPERATORS.into_iter().find(|operator| self.rest().starts_with(operator.text()));
        let Some(operator) = operator else {
            return Err(Fault { offset, rule: alone(field, self.rest().starts_with('(')) });
        };
        self.at += operator.text().len();
        self.skip_space();
        let value = self.literal()?;
        Ok(Node::Comparison(Comparison { offset, field, operator, value }))
    }

    /// A field's name.
    fn word(&mut self) -> Result<&'a str, Fault> {
        let rest = self.rest();
        let length = rest.bytes().position(|byte| !in_word(byte)).unwrap_or(rest.len());
        match (&rest[..length], rest.chars().next()) {
            ("", None) => self.fail("it ends where a comparison such as `field = \"value\"` should stand"),
            ("", Some('"' | '\'')) => {
                self.fail("a text alone is not searched for: write which field it is compared with")
            }
            ("", Some(letter)) => self.fail(format!("`{letter}` stands where a comparison should begin")),
            ("AND" | "OR" | "NOT", _) => self.fail(format!("`{}` has nothing to join here", &rest[..length])),
            (word, _) => {
                self.at += length;
                Ok(word)
            }
        }
    }

    fn literal(&mut self) -> Result<Literal, Fault> {
        let offset = self.at;
        let quote = self.rest().chars().next().filter(|letter| matches!(letter, '"' | '\''));
        self.at += usize::from(quote.is_some());
        let (mut text, mut starred) = (String::new(), None);
        loop {
            let at = self.at;
            let next = self.rest().chars().next();
            match (next, quote) {
                (Some(letter), Some(quote)) if letter == quote => {
                    self.at += 1;
                    break;
                }
                (None, Some(_)) => return Err(Fault { offset, rule: "this quote is not closed".into() }),
                (None, None) => break,
                (Some(letter), None) if letter.is_ascii_whitespace() || matches!(letter, '(' | ')') => break,
                (Some('"' | '\'' | '=' | '<' | '>' | '!' | ','), None) => {
                    return self.fail("this sign stands in a value without quotes: put the value in quotes");
                }
                _ => {}
            }
            if let Some(star) = starred {
                let rule = "a `*` stands for any end of a text, so only at its end: write `\\*` for the sign itself";
                return Err(Fault { offset: star, rule: rule.into() });
            }
            match next {
                Some('\0') => return self.fail("a NUL character cannot be stored, so nothing holds one: take it out"),
                Some('*') => starred = Some(at),
                Some('\\') => {
                    self.at += 1;
                    match self.rest().chars().next() {
                        Some(sign @ ('"' | '\'' | '\\' | '*')) => text.push(sign),
                        _ => return self.fail("a backslash stands before `\"`, `'`, `*` or another backslash only"),
                    }
                }
                Some(letter) => text.push(letter),
                None => {}
            }
            self.at += self.rest().chars().next().map_or(0, char::len_utf8);
        }
        if quote.is_none() && self.at == offset {
            return self.fail("a value is missing here; the empty text is written `\"\"`");
        }
        Ok(Literal { offset, text, starred: starred.is_some() })
    }
}

fn in_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.')
}

/// Why a word that is compared with nothing is refused.
fn alone(word: &str, is_function: bool) -> String {
    match word.to_ascii_uppercase().as_str() {
        _ if is_function => format!("`{word}` is called like a function, and there are none"),
        upper @ ("AND" | "OR" | "NOT") => format!("`{word}` joins nothing: write `{upper}`"),
        _ => format!("`{word}` is compared with nothing: write `{word} = \"value\"`, or `{word}:*` for any value"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The tree in prefix form.
    fn shape(node: &Node<'_>) -> String {
        let all = |nodes: &[Node<'_>]| nodes.iter().map(shape).collect::<Vec<_>>().join(" ");
        match node {
            Node::And(nodes) => format!("(and {})", all(nodes)),
            Node::Or(nodes) => format!("(or {})", all(nodes)),
            Node::Not(node) => format!("(not {})", shape(node)),
            Node::Comparison(comparison) => {
                let star = if comparison.value.starred { "*" } else { "" };
                format!("{}{}{}{star}", comparison.field, comparison.operator.text(), comparison.value.text)
            }
        }
    }

    fn read(text: &str) -> String {
        match parse(text) {
            Ok(node) => node.as_ref().map(shape).unwrap_or_default(),
            Err(fault) => format!("{}: {}", fault.offset, fault.rule),
        }
    }

    #[test]
    fn or_binds_tighter_than_and_and_space_joins_like_and() {
        for (text, tree) in [
            ("", ""),
            ("  ", ""),
            ("a = 1", "a=1"),
            ("a=1 AND b!=2 OR c<3", "(and a=1 (or b!=2 c<3))"),
            ("a=1 OR b=2 AND c=3", "(and (or a=1 b=2) c=3)"),
            ("a=1 b=2 OR c=3", "(and a=1 (or b=2 c=3))"),
            ("(a=1 AND b=2) OR c=3", "(or (and a=1 b=2) c=3)"),
            ("NOT a=1 -b=2 AND NOT(c=3)", "(and (not a=1) (not b=2) (not c=3))"),
            ("a >= -5 b<=2024-01-01T00:00:00Z", "(and a>=-5 b<=2024-01-01T00:00:00Z)"),
            ("ANDROID = 1 AND NOTE=2 OR ORB:3", "(and ANDROID=1 (or NOTE=2 ORB:3))"),
            (r#"a = "x \"y\" \\ \*" AND b:'it*' c:*"#, r#"(and a=x "y" \ * b:it* c:*)"#),
        ] {
            assert_eq!(read(text), tree, "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_place() {
        for (text, offset) in [
            ("a", 0),
            ("a=", 2),
            ("a=1 AND", 7),
            ("a=1 AND AND b=2", 8),
            ("OR a=1", 0),
            ("a=1 and b=2", 4),
            ("a=1)", 3),
            ("(a=1", 4),
            ("()", 1),
            ("a = \"x", 4),
            ("a = \"x\\n\"", 7),
            ("a = x*y", 5),
            ("a == 1", 3),
            ("\"loose\"", 0),
            ("f(1)", 0),
            ("NOT NOT a=1", 4),
            ("--a=1", 1),
            ("a=\"\0\"", 3),
            ("ä=1", 0),
        ] {
            let told = read(text);
            assert!(told.starts_with(&format!("{offset}: ")), "{text}: {told}");
        }
    }

    #[test]
    fn length_terms_and_depth_are_bounded_and_each_bound_is_reachable() {
        let terms = |count: usize| vec!["a=1"; count].join(" ");
        let nested = |depth: usize| format!("{}a=1{}", "(".repeat(depth), ")".repeat(depth));
        let long = |bytes: usize| format!("a={}", "x".repeat(bytes - 2));
        assert!(
            parse(&terms(MAX_TERMS)).is_ok() && parse(&nested(MAX_DEPTH)).is_ok() && parse(&long(MAX_BYTES)).is_ok()
        );
        assert_eq!(parse(&terms(MAX_TERMS + 1)).unwrap_err().offset, 4 * MAX_TERMS);
        assert_eq!(parse(&nested(MAX_DEPTH + 1)).unwrap_err().offset, MAX_DEPTH);
        assert_eq!(parse(&long(MAX_BYTES + 1)).unwrap_err().offset, MAX_BYTES);
    }
}
