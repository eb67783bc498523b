//! Genuine bytes with changes: whatever is still accepted is an honest ID, and nothing panics or
//! takes more than its share of memory.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use proptest::prelude::*;

use super::{bytes, goldens};
use crate::digest::scheme::Scheme;
use crate::id::tests::golden;
use crate::id::{ImplicitInput, Scope};
use crate::wire::{Limits, decode, decode_bytes, encode_bytes, inspect};

/// IDs that cover every message and every kind of literal, under all three schemes.
fn corpus() -> Vec<Vec<u8>> {
    let genuine = goldens()
        .into_values()
        .map(|(_, _, text)| STANDARD.decode(text).unwrap());
    let mut corpus: Vec<Vec<u8>> = genuine.collect();
    for scheme in Scheme::ALL {
        corpus.extend([
            bytes(&golden::all(scheme)),
            bytes(&golden::foo(scheme)),
            bytes(&golden::with_mounted_directory(scheme)),
            bytes(&golden::variables(scheme).select_nth(2).unwrap()),
        ]);
    }
    let scoped = ImplicitInput::scoped(Scope::Client, "c");
    corpus.push(bytes(&golden::from(Scheme::Blake3).with_implicit(scoped)));
    corpus.sort();
    corpus
}

/// One change of some bytes.
#[derive(Debug, Clone)]
enum Edit {
    Set(prop::sample::Index, u8),
    Flip(prop::sample::Index, u8),
    Insert(prop::sample::Index, Vec<u8>),
    Remove(prop::sample::Index, usize),
    /// Repeats a stretch: fields, calls and arguments given twice.
    Repeat(prop::sample::Index, usize),
    Truncate(prop::sample::Index),
    /// Puts in the beginning of another ID's bytes.
    Splice(prop::sample::Index, prop::sample::Index, usize),
}

fn edit() -> impl Strategy<Value = Edit> {
    use prop::sample::Index;
    let at = any::<Index>;
    // What tags, lengths and varints are made of.
    let telling = prop::sample::select(vec![0x00, 0x01, 0x08, 0x0a, 0x12, 0x4a, 0x7f, 0x80, 0xff]);
    prop_oneof![
        (at(), telling).prop_map(|(at, byte)| Edit::Set(at, byte)),
        (at(), 1_u8..=255).prop_map(|(at, mask)| Edit::Flip(at, mask)),
        (at(), prop::collection::vec(any::<u8>(), 1..12))
            .prop_map(|(at, new)| Edit::Insert(at, new)),
        (at(), 1_usize..40).prop_map(|(at, count)| Edit::Remove(at, count)),
        (at(), 1_usize..160).prop_map(|(at, count)| Edit::Repeat(at, count)),
        at().prop_map(Edit::Truncate),
        (at(), at(), 1_usize..200).prop_map(|(at, from, count)| Edit::Splice(at, from, count)),
    ]
}

fn apply(edit: &Edit, bytes: &mut Vec<u8>, corpus: &[Vec<u8>]) {
    if bytes.is_empty() {
        return;
    }
    let length = bytes.len();
    match edit {
        Edit::Set(at, byte) => bytes[at.index(length)] = *byte,
        Edit::Flip(at, mask) => bytes[at.index(length)] ^= mask,
        Edit::Insert(at, new) => {
            let at = at.index(length);
            bytes.splice(at..at, new.iter().copied());
        }
        Edit::Remove(at, count) => {
            let at = at.index(length);
            bytes.drain(at..length.min(at + count));
        }
        Edit::Repeat(at, count) => {
            let at = at.index(length);
            let again = bytes[at..length.min(at + count)].to_vec();
            bytes.splice(at..at, again);
        }
        Edit::Truncate(at) => bytes.truncate(at.index(length)),
        Edit::Splice(at, from, count) => {
            let other = from.get(corpus);
            let at = at.index(length);
            bytes.splice(at..at, other[..other.len().min(*count)].iter().copied());
        }
    }
}

/// What must hold for any bytes.
fn check(input: &[u8]) -> Result<(), TestCaseError> {
    let limits = Limits::default();
    let text = STANDARD.encode(input);
    let Ok(decoded) = decode_bytes(input, &limits) else {
        prop_assert!(decode(&text).is_err());
        // Looking does not believe, but it does not fall over either.
        _ = inspect(&text);
        return Ok(());
    };
    // Accepted bytes may hold unknown fields or another order; what is written is canonical.
    let again = encode_bytes(&decoded.id, &limits).expect("what was read can be written");
    let reread = decode_bytes(&again, &limits).expect("what was written can be read");
    prop_assert_eq!(reread.id.digest(), decoded.id.digest());
    prop_assert_eq!(reread.scheme, decoded.scheme);
    prop_assert_eq!(reread.claims, decoded.claims);
    prop_assert_eq!(encode_bytes(&reread.id, &limits).unwrap(), again);
    let looked = inspect(&text).expect("what is believed can be looked at");
    prop_assert_eq!(looked.calls.last().map(|call| &call.id), Some(&decoded.id));
    Ok(())
}

#[test]
fn every_genuine_id_stays_what_it_is() {
    for input in corpus() {
        check(&input).unwrap();
        let decoded = decode_bytes(&input, &Limits::default()).unwrap();
        assert_eq!(bytes(&decoded.id), input);
    }
}

#[test]
fn every_cut_and_every_changed_byte_is_survived() {
    for input in corpus() {
        for at in 0..input.len() {
            check(&input[..at]).unwrap();
            for byte in [0x00, 0xff, input[at] ^ 1, input[at] ^ 0x80] {
                let mut changed = input.clone();
                changed[at] = byte;
                check(&changed).unwrap();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn mutated_ids_are_refused_or_canonical(
        base in any::<prop::sample::Index>(),
        edits in prop::collection::vec(edit(), 1..5),
    ) {
        let corpus = corpus();
        let mut input = base.get(&corpus).clone();
        edits.iter().for_each(|edit| apply(edit, &mut input, &corpus));
        check(&input)?;
    }
}
