//! Field rules at their bounds: counts of broken rules, amounts, free facts.
//! It leaves which field obeys which rule to the domains.

use prost_types::{Struct, Value, value::Kind};

use super::{
    facts::{STRUCT_BYTES, STRUCT_DEPTH},
    *,
};

fn money(currency: &str, units: i64, nanos: i32) -> (Money, Violations) {
    let mut violations = Violations::default();
    let proto = ProtoMoney { currency_code: currency.into(), units, nanos };
    (violations.money("price", &proto), violations)
}

#[test]
fn rules_broken_beyond_those_kept_are_counted() {
    let mut violations = Violations::default();
    for entry in 0..3 {
        let mut broken = Violations::default();
        (0..KEPT).for_each(|_| broken.add("sku", "is required"));
        violations.absorb(&format!("requests[{entry}]."), broken);
    }
    assert_eq!((violations.len(), violations.iter().count()), (3 * KEPT, KEPT));
    assert_eq!(violations.to_string(), "300 rules are broken, the first: requests[0].sku is required");
}

#[test]
fn an_unknown_path_is_told_what_there_is_to_choose_from_once() {
    let mut violations = Violations::default();
    let mask = prost_types::FieldMask { paths: ["colour", "attributes.", "price.units"].map(str::to_owned).into() };
    assert!(violations.mask(mask, &["sku", "attributes"], &[], "attributes", |_| true).is_empty());
    let rules: Vec<_> = violations.iter().map(|violation| violation.rule.as_str()).collect();
    assert_eq!(
        rules,
        [
            "has the path `colour`, which no field has: use sku, attributes, `attributes.KEY` or `*`",
            "has the path `attributes.`, which no field has",
            "has the path `price.units`, which no field has",
        ]
    );
}

#[test]
fn an_id_that_has_to_be_brought_is_not_made_up() {
    let told = |id: &str, needs: bool| {
        let mut violations = Violations::default();
        if needs {
            violations.id("import_id", id)
        } else {
            violations.new_id("product_id", id)
        };
        violations.to_string()
    };
    assert_eq!(told("", true), "import_id is required: make a UUID");
    assert!(told("x", true).ends_with("1f2e3d4c5b6a") && told("x", false).ends_with(": send one, or nothing"));
    assert_eq!(told("", false), "no rule is broken");
}

#[test]
fn amounts_keep_to_the_minor_unit_of_their_currency() {
    for (currency, units, nanos, minor) in
        [("EUR", 12, 340_000_000, 1_234), ("JPY", 500, 0, 500), ("KWD", 1, 5_000_000, 1_005)]
    {
        let (read, violations) = money(currency, units, nanos);
        assert!(violations.is_empty(), "{currency}: {violations}");
        assert_eq!(read.minor, minor);
        assert_eq!(ProtoMoney::from(read), ProtoMoney { currency_code: currency.into(), units, nanos });
    }
    for (currency, units, nanos) in [
        ("EUR", 0, 1_000_000),
        ("JPY", 0, 500_000_000),
        ("EUR", -1, 0),
        ("eur", 1, 0),
        ("XXX", 1, 0),
        ("EUR", i64::MAX, 0),
    ] {
        assert_eq!(money(currency, units, nanos).1.len(), 1, "{currency} {units} {nanos}");
    }
}

#[test]
fn free_facts_are_bounded_in_depth_size_and_numbers() {
    let nested = |levels: usize| {
        let leaf = Value { kind: Some(Kind::BoolValue(true)) };
        let wrap = |inner| Value { kind: Some(Kind::StructValue(Struct { fields: [("a".into(), inner)].into() })) };
        Struct { fields: [("a".into(), (1..levels).fold(leaf, |inner, _| wrap(inner)))].into() }
    };
    let number = |number| Struct { fields: [("n".into(), Value { kind: Some(Kind::NumberValue(number)) })].into() };
    let broken = |facts| {
        let mut violations = Violations::default();
        violations.object("attributes", Some(facts));
        violations.len()
    };
    assert_eq!(broken(nested(STRUCT_DEPTH)), 0);
    assert_eq!(broken(nested(STRUCT_DEPTH + 1)), 1);
    assert_eq!(broken(number(EXACT_INTEGER as f64)), 0);
    assert_eq!(broken(number((EXACT_INTEGER + 2) as f64)), 1);
    assert_eq!(broken(number(f64::NAN)), 1);
    let text = |length: usize| Struct {
        fields: [("t".into(), Value { kind: Some(Kind::StringValue("x".repeat(length))) })].into(),
    };
    assert_eq!(broken(text(STRUCT_BYTES - r#"{"t": ""}"#.len())), 0);
    assert_eq!(broken(text(STRUCT_BYTES - r#"{"t": ""}"#.len() + 1)), 1);
}

#[test]
fn a_fault_among_free_facts_is_told_by_its_path_and_little_of_a_long_one() {
    let of = |kind| Value { kind: Some(kind) };
    let list = of(Kind::ListValue(prost_types::ListValue {
        values: vec![of(Kind::BoolValue(true)), of(Kind::NumberValue(f64::NAN)), of(Kind::StringValue("\0".into()))],
    }));
    let within = |key: &str, inner| Struct { fields: [(key.to_owned(), inner)].into() };
    let told = |key: &str| {
        let mut violations = Violations::default();
        violations.object("attributes", Some(within("size", of(Kind::StructValue(within(key, list.clone()))))));
        violations.iter().map(|broken| broken.field.clone()).collect::<Vec<_>>()
    };
    assert_eq!(told("eu"), ["attributes.size.eu[1]", "attributes.size.eu[2]"]);
    let short = "ß".repeat(100);
    let shortened = [1, 2].map(|at| format!("attributes.size.{short}[{at}]"));
    assert_eq!(told(&"ß".repeat(10_000)), shortened);
}

#[test]
fn a_mask_names_each_path_once_however_often_it_was_sent() {
    let read = |paths: &[&str]| {
        let paths = paths.iter().map(|path| (*path).to_owned()).collect();
        let mut violations = Violations::default();
        let all = |path: &&str| *path != "cost";
        let mask = prost_types::FieldMask { paths };
        let paths = violations.mask(mask, &["sku", "cost", "attributes"], &["name"], "attributes", all);
        (paths.join(" "), violations)
    };
    for (sent, expected) in [
        (&["*", "sku", "*", "name"][..], "sku attributes"),
        (&["cost", "*", "attributes.a", "attributes.a"], "cost sku attributes attributes.a"),
    ] {
        let (paths, violations) = read(sent);
        assert!(violations.is_empty(), "{violations}");
        assert_eq!(paths, expected);
    }
    let (paths, violations) = read(&["colour", &"x".repeat(10_000)]);
    assert_eq!((paths.as_str(), violations.len()), ("", 2));
    assert!(violations.iter().all(|broken| broken.rule.len() < 300), "{violations}");
}
