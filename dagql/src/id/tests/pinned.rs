//! Our digests of a fixed corpus, the same in every process and on every machine.
//!
//! Nothing in a preimage depends on the machine: lengths and counts are 64 bits and numbers
//! little-endian whatever the processor has, floats are their IEEE 754 bits, text is UTF-8, no map
//! is iterated, and no address, time or random number takes part. blake3 is defined over bytes. So
//! the file below is exact; a line that changes means that a rule changed under an old name, and
//! every key that anyone has stored is void.

use std::fmt::Write as _;

use super::golden;
use crate::digest::scheme::{Blake3, DigestScheme, Scheme};
use crate::id::{Call, Id, ImplicitInput, Scope};
use crate::literal::Literal;

fn literals() -> Vec<(&'static str, Literal)> {
    let nested = (0..8).fold(Literal::Null, |inner, _| Literal::List(vec![inner]));
    vec![
        ("null", Literal::Null),
        ("true", true.into()),
        ("false", false.into()),
        ("zero", 0_i64.into()),
        ("minus_one", Literal::Int(-1)),
        ("int_least", i64::MIN.into()),
        ("int_most", i64::MAX.into()),
        ("int_bytes", 0x0102_0304_0506_0708_i64.into()),
        ("float_zero", 0.0.into()),
        ("float_minus_zero", Literal::Float(-0.0)),
        ("float_tenth", 0.1.into()),
        ("float_tiny", f64::from_bits(1).into()),
        ("float_most", f64::MAX.into()),
        ("string_empty", "".into()),
        ("string_ascii", "alpine".into()),
        ("string_unicode", "é 🦀 \u{301}".into()),
        ("string_zero_bytes", "\0a\0".into()),
        ("string_long", "x".repeat(5000).into()),
        ("enum", Literal::enumeration("SHARED")),
        ("list_empty", Literal::List(vec![])),
        (
            "list_mixed",
            Literal::List(vec![1_i64.into(), "1".into(), Literal::Null]),
        ),
        ("list_nested", nested),
        ("object_empty", Literal::Object(vec![])),
        (
            "object",
            Literal::Object(vec![("b".into(), 1_i64.into()), ("a".into(), true.into())]),
        ),
        ("id", golden::directory(Scheme::Blake3).into()),
    ]
}

#[test]
fn digests_are_equal_on_every_machine() {
    let ty = || "T!".parse().unwrap();
    let mut lines = String::new();
    let mut line = |name: &str, id: &Id| _ = writeln!(lines, "{name}\t{}", id.digest());
    for (name, value) in literals() {
        line(name, &Id::root(Call::new("f", ty()).arg("x", value)));
    }
    let base = golden::container(Scheme::Blake3);
    for ty in ["T", "T!", "[T]", "[T!]!", "[[T]!]"] {
        line(ty, &base.append(Call::new("f", ty.parse().unwrap())));
    }
    for scope in Scope::ALL {
        let input = ImplicitInput::scoped(scope, "value");
        line(
            scope.as_str(),
            &base.append(Call::new("f", ty()).implicit(input)),
        );
    }
    line(
        "view",
        &base.append(Call::new("f", ty()).with_view("v0.19.11")),
    );
    line("nth", &base.append(Call::new("f", ty()).with_nth(-2)));
    line(
        "element",
        &golden::variables(Scheme::Blake3).select_nth(1).unwrap(),
    );
    line("module", &golden::foo(Scheme::Blake3));
    line("all", &golden::all(Scheme::Blake3));
    let long = (0..1000_i64).fold(base, |id, at| id.append(Call::new("f", ty()).arg("at", at)));
    line("chain_of_1000", &long);
    let parts = Blake3.strings("domain", &["a", "", "b"]);
    _ = writeln!(lines, "parts\t{parts}");
    expect_test::expect_file!["../../../testdata/call-digests.tsv"].assert_eq(&lines);
}
