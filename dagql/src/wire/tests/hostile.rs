//! IDs that someone made up: forged, cyclic, incomplete, oversized or not IDs at all.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use prost::Message as _;

use super::bytes;
use crate::digest::scheme::Scheme;
use crate::id::tests::golden;
use crate::id::{Call, Id, ImplicitInput, Scope};
use crate::wire::message::{Argument, Call as CallMessage, Dag, List, Literal, Value};
use crate::wire::{Decoded, Limits, WireError, decode, decode_bytes, decode_within, encode_within};

const V1: Scheme = Scheme::Xxh3V1;

fn message(id: &Id) -> Dag {
    Dag::decode(&bytes(id)[..]).unwrap()
}

/// Decodes a graph after `change`.
fn changed(id: &Id, change: impl FnOnce(&mut Dag)) -> Result<Decoded, WireError> {
    let mut dag = message(id);
    change(&mut dag);
    decode_bytes(&dag.encode_to_vec(), &Limits::default())
}

fn call_of<'a>(dag: &'a mut Dag, field: &str) -> &'a mut CallMessage {
    let calls = dag
        .calls_by_digest
        .iter_mut()
        .filter_map(|entry| entry.value.as_mut());
    calls.into_iter().find(|call| call.field == field).unwrap()
}

#[test]
fn forged_calls_are_refused_under_every_rule() {
    let forge: [fn(&mut Dag); 6] = [
        |dag| call_of(dag, "withExec").view = "v0.19.9".to_owned(),
        |dag| call_of(dag, "withExec").nth = 1,
        |dag| call_of(dag, "container").field = "host".to_owned(),
        |dag| call_of(dag, "from").ty.as_mut().unwrap().non_null = false,
        |dag| call_of(dag, "from").args.clear(),
        |dag| {
            let args = &mut call_of(dag, "withExec").args;
            args.push(args[0].clone());
            args[1].name = "more".to_owned();
        },
    ];
    for scheme in [Scheme::Blake3, V1, Scheme::Xxh3V2] {
        for forge in forge {
            let error = changed(&golden::with_exec(scheme), forge).unwrap_err();
            assert!(
                matches!(error, WireError::Forged { .. }),
                "{scheme}: {error}"
            );
        }
    }
    let bare = golden::container(V1).append(Call::new("from", "Container!".parse().unwrap()));
    let error = changed(&golden::from(V1), |dag| call_of(dag, "from").args.clear()).unwrap_err();
    let expected = format!(
        "the ID claims the digest xxh3:52bba1dc072f4b4b for `from`, but it is {}",
        bare.digest()
    );
    assert_eq!(error.to_string(), expected);
}

#[test]
fn our_own_ids_make_no_claims() {
    for claim in [
        (|dag| call_of(dag, "from").is_custom_digest = true) as fn(&mut Dag),
        |dag| call_of(dag, "from").content_digest = golden::empty_sha256().to_string(),
    ] {
        let error = changed(&golden::with_exec(Scheme::Blake3), claim).unwrap_err();
        assert!(matches!(error, WireError::Claim(_)), "{error}");
    }
}

#[test]
fn scope_cannot_be_removed_added_or_reordered() {
    let id = golden::from(Scheme::Blake3)
        .with_implicit(ImplicitInput::scoped(Scope::Client, "c1"))
        .with_implicit(ImplicitInput::scoped(Scope::Session, "s1"));
    let removed = changed(&id, |dag| call_of(dag, "from").implicit_inputs.truncate(1)).unwrap_err();
    assert!(matches!(removed, WireError::Forged { .. }), "{removed}");
    let added = |dag: &mut Dag| {
        let inputs = call_of(dag, "from").implicit_inputs.clone();
        call_of(dag, "container").implicit_inputs = inputs;
    };
    assert!(matches!(changed(&id, added), Err(WireError::Forged { .. })));
    let unsorted = "the ID is malformed: implicit inputs that are not sorted and distinct, at byte";
    let swapped = changed(&id, |dag| call_of(dag, "from").implicit_inputs.reverse());
    assert!(swapped.unwrap_err().to_string().starts_with(unsorted));
    let twice = changed(&id, |dag| {
        let inputs = &mut call_of(dag, "from").implicit_inputs;
        inputs.push(inputs[1].clone());
    });
    assert!(twice.unwrap_err().to_string().starts_with(unsorted));
}

#[test]
fn cycles_are_refused() {
    // A custom digest is not computed, so a forger can close a circle with it.
    let id = golden::with_exec(V1)
        .with_custom_digest("sha256:aa".parse().unwrap())
        .unwrap();
    let own = changed(&id, |dag| {
        call_of(dag, "withExec").receiver_digest = "sha256:aa".to_owned();
    });
    assert_eq!(
        own.unwrap_err().to_string(),
        "the ID is cyclic: the call sha256:aa depends on itself"
    );
    for field in ["from", "container"] {
        let long = changed(&id, |dag| {
            call_of(dag, field).receiver_digest = "sha256:aa".to_owned();
        });
        assert!(matches!(long, Err(WireError::Cycle(_))));
    }
    let argument = changed(&id, |dag| {
        let value = Value::List(List {
            values: vec![Literal {
                value: Some(Value::CallDigest("sha256:aa".into())),
            }],
        });
        let value = Some(Literal { value: Some(value) });
        call_of(dag, "container").args.push(Argument {
            name: "x".into(),
            value,
        });
    });
    assert!(matches!(argument, Err(WireError::Cycle(_))));
}

#[test]
fn incomplete_and_superfluous_graphs_are_refused() {
    let id = golden::from(Scheme::Blake3);
    let container = golden::container(Scheme::Blake3).digest().to_string();
    let remove = |dag: &mut Dag| {
        dag.calls_by_digest
            .retain(|entry| entry.value.as_ref().unwrap().field != "container");
    };
    assert_eq!(
        changed(&id, remove).unwrap_err(),
        WireError::Missing(container.clone())
    );
    let root = changed(&id, |dag| dag.root_digest = "blake3:00".to_owned());
    assert_eq!(
        root.unwrap_err(),
        WireError::Missing("blake3:00".to_owned())
    );
    let none = changed(&id, |dag| dag.root_digest.clear());
    assert_eq!(
        none.unwrap_err().to_string(),
        "the ID is malformed: there is no root digest"
    );
    let twice = changed(&id, |dag| {
        dag.calls_by_digest.push(dag.calls_by_digest[0].clone());
    });
    assert!(matches!(twice, Err(WireError::Duplicate(_))));
    let more = changed(&id, |dag| {
        dag.calls_by_digest
            .extend(message(&golden::directory(Scheme::Blake3)).calls_by_digest);
    });
    assert_eq!(more.unwrap_err(), WireError::Unreferenced(1));
    let filed = changed(&id, |dag| {
        call_of(dag, "from").digest = "blake3:00".to_owned();
    });
    let expected = format!("the ID files the call blake3:00 under {}", id.digest());
    assert_eq!(filed.unwrap_err().to_string(), expected);
    let elsewhere = changed(&id, |dag| {
        let [one, two] = &mut dag.calls_by_digest[..] else {
            panic!("two calls")
        };
        std::mem::swap(&mut one.value, &mut two.value);
    });
    // The root's place now holds `container`, and nothing refers to the other.
    assert_eq!(elsewhere.unwrap_err(), WireError::Unreferenced(1));
    let empty = changed(&id, |dag| dag.calls_by_digest[0].value = None);
    assert_eq!(
        empty.unwrap_err().to_string(),
        "the ID is malformed: an entry without key or call, at byte 75"
    );
}

#[test]
fn text_that_is_no_id() {
    let error = |text: &str| decode(text).unwrap_err().to_string();
    assert_eq!(error(""), "the ID is empty");
    assert!(error("not base64!").starts_with("the ID is not valid base64: "));
    let text = golden::from(Scheme::Blake3).encode().unwrap();
    for cut in 1..text.len() {
        assert!(decode(&text[..cut]).is_err(), "{cut}");
    }
    assert!(decode(&format!("{text}\n")).is_err());
    let url_safe = STANDARD
        .encode([0xfb, 0xff])
        .replace('+', "-")
        .replace('/', "_");
    assert!(error(&url_safe).starts_with("the ID is not valid base64: "));
}

/// Two decoders do the work: neither may take what the other refuses.
#[test]
fn base64_is_read_strictly() {
    let text = golden::from(V1).encode().unwrap();
    assert!(text.ends_with("=="));
    let mut variants: Vec<String> = (0..text.len()).map(|cut| text[..cut].to_owned()).collect();
    for at in text.len() - 40..text.len() {
        for new in ["A", "B", "/", "=", "-", "_", " ", "\n", "\0", "é", "AA"] {
            variants.push(format!("{}{new}{}", &text[..at], &text[at + 1..]));
            variants.push(format!("{}{new}{}", &text[..at], &text[at..]));
        }
    }
    variants.push(format!("{text}="));
    for variant in variants {
        match STANDARD.decode(&variant) {
            Ok(bytes) => assert_eq!(
                base64_simd::STANDARD.decode_to_vec(&variant).ok(),
                Some(bytes),
                "{variant}"
            ),
            Err(_) => {
                assert!(
                    base64_simd::STANDARD.decode_to_vec(&variant).is_err(),
                    "{variant}"
                );
                let refused = decode(&variant);
                let empty = variant.is_empty() && matches!(refused, Err(WireError::Empty));
                assert!(
                    empty || matches!(refused, Err(WireError::Base64(_))),
                    "{variant}"
                );
            }
        }
    }
}

/// A message nested in itself `depth` times under `path`, a sequence of field numbers from the
/// inside out.
fn nested(depth: usize, path: &[u8], core: &[u8]) -> Vec<u8> {
    let mut message = core.to_vec();
    for _ in 0..depth {
        for number in path {
            let mut outer = vec![number << 3 | 2];
            prost::encoding::encode_varint(message.len() as u64, &mut outer);
            outer.extend_from_slice(&message);
            message = outer;
        }
    }
    message
}

/// A graph of one call under `blake3:00` that consists of `fields` and its digest.
pub(super) fn graph(fields: &[u8]) -> Vec<u8> {
    let mut call = fields.to_vec();
    call.extend([9 << 3 | 2, 9]);
    call.extend(b"blake3:00");
    let mut entry = vec![1 << 3 | 2, 9];
    entry.extend(b"blake3:00");
    entry.extend(nested(1, &[2], &call));
    let mut dag = vec![1 << 3 | 2, 9];
    dag.extend(b"blake3:00");
    dag.extend(nested(1, &[2], &entry));
    dag
}

#[test]
fn bombs_are_refused_before_they_take_memory() {
    let limits = Limits {
        text_bytes: 64 << 20,
        calls: 1000,
        literals: 1000,
    };
    let error = |fields: &[u8]| {
        decode_bytes(&graph(fields), &limits)
            .unwrap_err()
            .to_string()
    };
    // A list in a list in a list: literal (2) in an argument, list (8) in a literal, element (1) in
    // a list.
    let lists = nested(1, &[2, 4], &nested(20_000, &[1, 8], &[]));
    assert_eq!(
        error(&lists),
        "the ID contains a value that nests more than 32 lists and objects"
    );
    let objects = nested(1, &[2, 4], &nested(20_000, &[2, 1, 9], &[]));
    assert_eq!(
        error(&objects),
        "the ID contains a value that nests more than 32 lists and objects"
    );
    let types = nested(1, &[2], &nested(20_000, &[2], &[]));
    assert_eq!(
        error(&types),
        "the ID contains a type that nests more than 8 lists"
    );
    // Two bytes each on the wire.
    let arguments = [4 << 3 | 2, 0].repeat(1_000_000);
    assert_eq!(
        error(&arguments),
        "the ID has more than 1024 arguments in one call"
    );
    let inputs = [0xa2, 0x06, 0].repeat(1_000_000);
    assert_eq!(
        error(&inputs),
        "the ID has more than 64 implicit inputs in one call"
    );
    let elements = nested(1, &[8, 2, 4], &[1 << 3 | 2, 0].repeat(1_000_000));
    assert_eq!(error(&elements), "the ID has more than 1000 values");
    let entries = [2 << 3 | 2, 0].repeat(1_000_000);
    assert!(decode_bytes(&entries, &limits).is_err());
    let id = (0..2000).fold(golden::container(Scheme::Blake3), |id, _| {
        id.append(id.call().clone())
    });
    assert_eq!(
        decode_bytes(&bytes(&id), &limits).unwrap_err().to_string(),
        "the ID has more than 1000 calls"
    );
    let long = "A".repeat((64 << 20) + 4);
    assert_eq!(
        decode_within(&long, &limits).unwrap_err().to_string(),
        "the ID has more than 67108864 bytes"
    );
    let small = Limits {
        text_bytes: 200,
        ..limits
    };
    let error = encode_within(&golden::from(Scheme::Blake3), &small)
        .unwrap_err()
        .to_string();
    assert_eq!(error, "the ID has more than 200 bytes");
}

#[test]
fn known_fields_of_the_wrong_kind_are_refused() {
    let error = |fields: &[u8]| {
        decode_bytes(&graph(fields), &Limits::default())
            .unwrap_err()
            .to_string()
    };
    assert_eq!(
        error(&[3 << 3, 1]),
        "the ID is malformed: expected bytes, found Varint(1), at byte 26"
    );
    assert_eq!(
        error(&[7 << 3 | 2, 0]),
        "the ID is malformed: expected a number, found Bytes([]), at byte 26"
    );
    assert_eq!(
        error(&[11 << 3, 2]),
        "the ID is malformed: expected a boolean, found 2, at byte 26"
    );
    assert_eq!(
        error(&[3 << 3 | 2, 1, 0xff]),
        "the ID is malformed: text that is not UTF-8, at byte 28"
    );
    assert_eq!(
        error(&[3 << 3 | 2, 1, b'-']),
        "the ID is malformed: a field without a valid name, at byte 26"
    );
    assert_eq!(
        error(&[3 << 3 | 2, 1, b'f']),
        "the ID is malformed: a call without a type, at byte 26"
    );
    assert_eq!(
        error(&[7 << 3, 1, 7 << 3, 1]),
        "the ID is malformed: a field is given twice, at byte 26"
    );
    let argument = |value: &[u8]| {
        error(&nested(
            1,
            &[4],
            &[&[1 << 3 | 2, 1, b'a'], &nested(1, &[2], value)[..]].concat(),
        ))
    };
    assert_eq!(
        argument(&[]),
        "the ID is malformed: a value of no known kind, at byte 26"
    );
    assert_eq!(
        argument(&[2 << 3, 0]),
        "the ID is malformed: a null that is false, at byte 26"
    );
    assert_eq!(
        argument(&[6 << 3 | 1, 0, 0, 0, 0, 0, 0, 0xf0, 0x7f]),
        "the ID is malformed: a number that is not finite, at byte 26"
    );
    let ty = nested(1, &[2], &[1 << 3 | 2, 1, b'T']);
    let named = [[3 << 3 | 2, 1, b'f'].as_slice(), &ty].concat();
    let twice = [
        [1 << 3 | 2, 1, b'a'].as_slice(),
        &nested(1, &[2], &[3 << 3, 1]),
    ]
    .concat();
    assert_eq!(
        error(&[&named, &nested(1, &[4], &twice).repeat(2)[..]].concat()),
        "the ID is malformed: `a` is given twice, at byte 26"
    );
    let many: Vec<u8> = (0..20_u8)
        .flat_map(|at| {
            let name = [1 << 3 | 2, 1, b'a' + at % 19];
            nested(
                1,
                &[1],
                &[name.as_slice(), &nested(1, &[2], &[3 << 3, 1])].concat(),
            )
        })
        .collect();
    assert_eq!(
        argument(&nested(1, &[9], &many)),
        "the ID is malformed: `a` is given twice, at byte 28"
    );
    assert_eq!(
        argument(&[1 << 3 | 2, 0]),
        "the ID refers to the call ``, which it does not contain"
    );
}
