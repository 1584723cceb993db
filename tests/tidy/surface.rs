//! The rules that keep what the SDK shows open to growth and easy to begin with.
//! Leaves that everything public has its words to the compiler, and that examples work to their own tests.

use super::rules::Source;

/// A public type of the SDK: its name, the lines above it, its body, and its methods if they follow in the same file.
struct Type<'a> {
    name: &'a str,
    above: &'a str,
    body: &'a str,
    methods: &'a str,
}

fn types(source: &Source) -> Vec<Type<'_>> {
    let (text, mut types, mut start) = (source.text.as_str(), vec![], 0);
    for line in text.split_inclusive('\n') {
        let (at, said) = (start, line.trim_start());
        start += line.len();
        let Some(named) = said.strip_prefix("pub struct ").or_else(|| said.strip_prefix("pub enum ")) else { continue };
        let name = named.split(|c: char| !c.is_alphanumeric() && c != '_' && c != '$').next().unwrap_or_default();
        let indent = &line[..line.len() - said.len()];
        let block = |from: usize| {
            let whole = &text[from..];
            whole.find(&format!("\n{indent}}}")).map_or(whole, |end| &whole[..end])
        };
        let body = if line.trim_end().ends_with('{') { block(at) } else { line };
        let above = text[..at].rfind("\n\n").map_or(&text[..at], |blank| &text[blank..at]);
        let methods = [format!("\nimpl {name} {{"), format!("\nimpl<T> {name}<T> {{")];
        let methods = methods.iter().find_map(|head| text.find(head)).map_or("", |at| block(at + 1));
        types.push(Type { name, above, body, methods });
    }
    types
}

fn told(sources: &[Source], is_faulty: fn(&Type<'_>) -> bool, rule: &str) -> Vec<String> {
    let is_shown = |source: &&Source| source.path.starts_with("client/src/") && !source.path.contains("/tests");
    let told = |source: &Source| {
        let faulty = types(source).into_iter().filter(is_faulty);
        faulty.map(|found| format!("{}: `{}` {rule}", source.path, found.name)).collect::<Vec<_>>()
    };
    sources.iter().filter(is_shown).flat_map(told).collect()
}

/// A field or a variant more must not break a program that builds one or matches on it.
pub(super) fn models_can_grow(sources: &[Source]) -> Vec<String> {
    let is_closed = |found: &Type<'_>| {
        let is_enum = found.body.trim_start().starts_with("pub enum ");
        let has_open_fields = found.body.lines().skip(1).any(|line| line.trim_start().starts_with("pub "));
        (is_enum || has_open_fields || found.body.contains("(pub ")) && !found.above.contains("#[non_exhaustive]")
    };
    told(sources, is_closed, "can't grow without breaking programs: make it #[non_exhaustive]")
}

/// What a program makes itself, and what a client opens a domain with.
pub(super) fn beginnings_have_an_example(sources: &[Source]) -> Vec<String> {
    let is_bare = |found: &Type<'_>| {
        let begins = found.methods.lines().any(|line| {
            let said = line.trim_start();
            let is_made = said.starts_with("pub fn ") && !said.contains("self") && said.contains(")");
            is_made || said.starts_with("pub(crate) fn new(client: Client) ")
        });
        begins && !found.above.contains("/// ```") && !found.methods.contains("/// ```")
    };
    told(sources, is_bare, "has no example, and programs begin with it: add one that compiles")
}

pub(super) fn everything_is_named_when_exported(sources: &[Source]) -> Vec<String> {
    let exports = |line: &str| line.trim_start().starts_with("pub use ") && line.trim_end().ends_with("::*;");
    let sentence = |source: &Source| format!("{}: exports everything of a module: name what is exported", source.path);
    sources.iter().filter(|source| source.text.lines().any(exports)).map(sentence).collect()
}
