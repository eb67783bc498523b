//! Reading is the inverse of writing, for random graphs, for long chains and for no other bytes.

use proptest::prelude::*;
use prost::Message as _;

use super::bytes;
use super::hostile::graph;
use crate::digest::scheme::Scheme;
use crate::id::tests::{golden, literal};
use crate::id::{Argument, Call, Id, ImplicitInput, Module};
use crate::literal::Literal;
use crate::wire::message::{Dag, Entry};
use crate::wire::{Limits, decode_bytes, encode_bytes};

const V1: Scheme = Scheme::Xxh3V1;

#[test]
fn a_million_calls() {
    // Without optimisation a million takes most of a minute, which shows nothing that a tenth of it
    // does not.
    const CALLS: usize = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    let limits = Limits {
        text_bytes: 1 << 30,
        calls: CALLS + 1,
        literals: CALLS,
    };
    let call = Call::new("withExec", "Container!".parse().unwrap()).arg("noInit", true);
    let id = (0..CALLS).fold(golden::container(Scheme::Blake3), |id, _| {
        id.append(call.clone())
    });
    let encoded = encode_bytes(&id, &limits).unwrap();
    let digest = id.digest().clone();
    drop(id);
    let decoded = decode_bytes(&encoded, &limits).unwrap();
    assert_eq!(decoded.id.digest(), &digest);
    assert_eq!(decoded.id.depth(), CALLS + 1);
}

/// One step of a random graph: where it refers to, and the call without those references.
#[derive(Debug, Clone)]
struct Step {
    receiver: Option<prop::sample::Index>,
    argument: Option<prop::sample::Index>,
    module: Option<prop::sample::Index>,
    element: bool,
    call: Call,
    content: bool,
}

fn call() -> impl Strategy<Value = Call> {
    let ty = prop::sample::select(vec!["T", "T!", "[T]", "[T!]!", "[[Long_0]!]"]);
    let args = prop::collection::vec(("[a-z]{1,3}", literal(), any::<bool>()), 0..3);
    let inputs = prop::collection::vec(("[a-z]{1,2}", ".{0,5}"), 0..3);
    (
        "[a-z][a-zA-Z]{0,5}",
        ty,
        args,
        inputs,
        -2_i64..3,
        "(v0\\.1)?",
    )
        .prop_map(|(field, ty, args, inputs, nth, view)| {
            let mut call = Call::new(field, ty.parse().unwrap())
                .with_nth(nth)
                .with_view(view);
            for (name, value, sensitive) in args {
                call = call.argument(if sensitive {
                    Argument::sensitive(name, value)
                } else {
                    Argument::new(name, value)
                });
            }
            inputs.into_iter().fold(call, |call, (name, value)| {
                call.implicit(ImplicitInput::new(name, value))
            })
        })
}

prop_compose! {
    fn step()(
        receiver in any::<Option<prop::sample::Index>>(),
        argument in any::<Option<prop::sample::Index>>(),
        module in prop::option::weighted(0.2, any::<prop::sample::Index>()),
        element in any::<bool>(),
        call in call(),
        content in prop::bool::weighted(0.2),
    ) -> Step {
        Step { receiver, argument, module, element, call, content }
    }
}

/// The last ID of a random graph.
fn build(scheme: Scheme, steps: Vec<Step>) -> Id {
    let mut ids = vec![golden::container(scheme)];
    for step in steps {
        let at = |index: &prop::sample::Index| index.get(&ids).clone();
        let mut call = step.call;
        if let Some(argument) = step.argument.as_ref().map(at) {
            call = call.arg(
                "ref",
                Literal::Object(vec![(
                    "x".into(),
                    Literal::List(vec![Literal::Id(argument)]),
                )]),
            );
        }
        if let Some(module) = step.module.as_ref().map(at) {
            call = call.with_module(Module::new(module, "m", "src", ""));
        }
        let mut id = match step.receiver.as_ref().map(at) {
            Some(receiver) => receiver.append(call),
            None => Id::root_under(scheme, call),
        };
        if step.element
            && let Ok(element) = id.select_nth(2)
        {
            id = element;
        }
        if step.content {
            id = id.with_content_digest(Some(golden::empty_sha256()));
        }
        ids.push(id);
    }
    ids.pop().unwrap()
}

fn scheme() -> impl Strategy<Value = Scheme> {
    prop::sample::select(vec![Scheme::Blake3, V1, Scheme::Xxh3V2])
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn decoding_is_the_inverse_of_encoding(
        scheme in scheme(),
        steps in prop::collection::vec(step(), 0..12),
    ) {
        let id = build(scheme, steps);
        let encoded = bytes(&id);
        let decoded = decode_bytes(&encoded, &Limits::default()).unwrap();
        prop_assert_eq!(decoded.scheme, scheme);
        prop_assert_eq!(&decoded.id, &id);
        prop_assert_eq!(decoded.id.to_string(), id.to_string());
        prop_assert_eq!(bytes(&decoded.id), encoded.clone());
        // The generated messages read and write the same bytes.
        let dag = Dag::decode(&encoded[..]).unwrap();
        let ascending = |left: &Entry, right: &Entry| left.key < right.key;
        prop_assert!(dag.calls_by_digest.is_sorted_by(ascending));
        prop_assert_eq!(dag.encode_to_vec(), encoded);
        // What was read can be translated to our rules, and those are stable.
        let ours = decoded.id.rehash(Scheme::Blake3);
        prop_assert_eq!(&ours.rehash(Scheme::Blake3), &ours);
        if scheme == Scheme::Blake3 {
            prop_assert_eq!(ours, id);
        }
    }

    #[test]
    fn a_changed_byte_never_yields_another_id(
        steps in prop::collection::vec(step(), 0..5),
        at in any::<prop::sample::Index>(),
        flip in 1_u8..=255,
    ) {
        let id = build(Scheme::Blake3, steps);
        let mut encoded = bytes(&id);
        let at = at.index(encoded.len());
        encoded[at] ^= flip;
        if let Ok(decoded) = decode_bytes(&encoded, &Limits::default()) {
            prop_assert_eq!(decoded.id, id);
        }
    }

    #[test]
    fn no_bytes_make_it_panic(
        fields in prop::collection::vec(
            (0_u8..16, 0_u8..3, prop::collection::vec(any::<u8>(), 0..8)),
            0..8,
        ),
    ) {
        let call: Vec<u8> = fields
            .into_iter()
            .flat_map(|(number, kind, value)| match kind {
                0 => [vec![number << 3, 1]].concat(),
                1 => [vec![number << 3 | 2, value.len() as u8], value].concat(),
                _ => value,
            })
            .collect();
        // Nobody has found a call whose digest is all zeros.
        prop_assert!(decode_bytes(&graph(&call), &Limits::default()).is_err());
    }
}
