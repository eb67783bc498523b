//! Canonical arguments: every spelling of a call is one call.

use std::sync::Arc;

use proptest::prelude::*;

use super::literal;
use crate::id::{ArgSpec, canonical_arguments};
use crate::literal::Literal;

fn specs(defaults: &[(Arc<str>, Option<Literal>)]) -> Vec<ArgSpec<'_>> {
    defaults
        .iter()
        .map(|(name, default)| ArgSpec {
            name,
            default: default.as_ref(),
            sensitive: &**name == "secret",
        })
        .collect()
}

#[test]
fn three_sdks_spell_one_call() {
    let schema: [(Arc<str>, Option<Literal>); 4] = [
        ("args".into(), None),
        ("stdin".into(), Some(Literal::string(""))),
        ("expect".into(), Some(Literal::enumeration("SUCCESS"))),
        ("noInit".into(), None),
    ];
    let args = || ("args".into(), Literal::from(vec!["true"]));
    let stdin = || ("stdin".into(), Literal::string(""));
    let expect = || ("expect".into(), Literal::enumeration("SUCCESS"));
    let null = || ("noInit".into(), Literal::Null);
    let go = canonical_arguments(&specs(&schema), vec![expect(), args()]).unwrap();
    let python = canonical_arguments(&specs(&schema), vec![args()]).unwrap();
    let typescript =
        canonical_arguments(&specs(&schema), vec![args(), stdin(), expect(), null()]).unwrap();
    assert_eq!(go, python);
    assert_eq!(python, typescript);
    assert_eq!(
        format!("{go:?}"),
        r#"[args: ["true"], stdin: "", expect: SUCCESS]"#
    );
    // An explicit null is not the default.
    let none = canonical_arguments(
        &specs(&schema),
        vec![args(), ("expect".into(), Literal::Null)],
    )
    .unwrap();
    assert_eq!(format!("{none:?}"), r#"[args: ["true"], stdin: ""]"#);
}

#[test]
fn bad_arguments_are_named() {
    let schema: [(Arc<str>, Option<Literal>); 2] = [("a".into(), None), ("secret".into(), None)];
    let error = |given: Vec<(Arc<str>, Literal)>| {
        canonical_arguments(&specs(&schema), given)
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(vec![("b".into(), Literal::Null)]),
        "unknown argument `b`"
    );
    assert_eq!(
        error(vec![
            ("a".into(), 1_i64.into()),
            ("a".into(), Literal::Null)
        ]),
        "argument `a` is given twice"
    );
    assert_eq!(
        error(vec![("a".into(), f64::NAN.into())]),
        "argument `a`: a number must be finite"
    );
    let deep = (0..40).fold(Literal::Null, |inner, _| Literal::List(vec![inner]));
    assert_eq!(
        error(vec![("a".into(), deep)]),
        "argument `a`: a value may nest at most 32 lists and objects"
    );
    let many = vec![("a".into(), Literal::Null); 1025];
    assert_eq!(
        error(many),
        "1025 arguments are given, at most 1024 are allowed"
    );
    let secret = canonical_arguments(&specs(&schema), vec![("secret".into(), "x".into())]).unwrap();
    assert!(secret[0].is_sensitive());
}

proptest! {
    #[test]
    fn canonical_arguments_forget_the_spelling(
        schema in prop::collection::vec(
            (prop::option::of(literal()), prop::option::of(literal()), any::<bool>()),
            1..8,
        ),
        order in any::<prop::sample::Index>(),
    ) {
        let schema: Vec<_> = schema
            .into_iter()
            .enumerate()
            .map(|(at, (default, given, spell))| {
                (Arc::<str>::from(format!("a{at}")), default, given, spell)
            })
            .collect();
        let defaults: Vec<_> = schema
            .iter()
            .map(|(name, default, ..)| (name.clone(), default.clone()))
            .collect();
        let short: Vec<_> = schema
            .iter()
            .filter_map(|(name, _, given, _)| Some((name.clone(), given.clone()?)))
            .collect();
        // The long spelling writes some defaults and nulls out and is rotated.
        let mut long: Vec<_> = schema
            .iter()
            .filter_map(|(name, default, given, spell)| {
                let spelled = || spell.then(|| default.clone().unwrap_or(Literal::Null));
                Some((name.clone(), given.clone().or_else(spelled)?))
            })
            .collect();
        if !long.is_empty() {
            let by = order.index(long.len());
            long.rotate_left(by);
        }
        let canonical = canonical_arguments(&specs(&defaults), short).unwrap();
        prop_assert_eq!(&canonical, &canonical_arguments(&specs(&defaults), long).unwrap());
        // Done once or twice is the same, where absence already means null.
        let without: Vec<_> = defaults.iter().map(|(name, _)| (name.clone(), None)).collect();
        let again = canonical
            .iter()
            .map(|argument| (argument.name().into(), argument.value().clone()))
            .collect();
        prop_assert_eq!(canonical, canonical_arguments(&specs(&without), again).unwrap());
    }
}
