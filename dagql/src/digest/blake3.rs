//! Our own rules, version 1: blake3 with 256 bits over a preimage that can be parsed back.
//!
//! Dagger's 64-bit keys can be forged or collide, and its preimage relies on a delimiter byte that
//! strings may contain. Here every string is preceded by its length and every list by its count, so
//! no two different calls have the same preimage.
//!
//! Notation: `str` = u64 little-endian byte length, then the bytes. `count` = u64 little-endian.
//! `opt x` = byte 0, or byte 1 then x. Integers are little-endian.
//!
//! ```text
//! call     = str "dagop.call.v1"
//!            opt receiver:str(digest)
//!            type: count(levels), per level from the outermost: str(name or "") byte(non-null)
//!            field:str
//!            count, per argument that is not sensitive: name:str literal
//!            count, per implicit input, ascending by name: name:str value:str
//!            opt module: str(digest of its call) name:str ref:str pin:str
//!            nth:i64
//!            view:str
//! literal  = 0                     null
//!            1 byte                bool
//!            2 i64                 int
//!            3 u64                 float, IEEE 754 bits
//!            4 str                 string
//!            5 str                 enum
//!            6 count literal…      list
//!            7 count (str literal)… object
//!            8 str(digest)         ID
//! parts    = str "dagop.parts.v1" str(domain) count str…
//! term     = str "dagop.term.v1", then as a call, where each `str(digest)` of another call is
//!            replaced by u64(its position among them, from 0)
//! ```
//!
//! Arguments are hashed in the order they have, which is the schema's order after
//! [`crate::id::canonical_arguments`]. Content digests never enter: this is the digest of what was
//! asked.

use super::Digest;
use super::scheme::{DigestScheme, Scheme};
use crate::id::{Call, Id};
use crate::literal::Literal;

/// Our own rules, version 1. The preimage is written down at the top of `digest/blake3.rs`.
#[derive(Debug, Clone, Copy)]
pub struct Blake3;

/// Names the call preimage; a changed rule needs a new name.
const CALL_DOMAIN: &str = "dagop.call.v1";
/// Names the preimage of lists of byte strings.
const PARTS_DOMAIN: &str = "dagop.parts.v1";
/// Names the preimage of a call without the calls it refers to.
const TERM_DOMAIN: &str = "dagop.term.v1";

impl DigestScheme for Blake3 {
    fn scheme(&self) -> Scheme {
        Scheme::Blake3
    }

    fn call_preimage(&self, receiver: Option<&Id>, call: &Call, out: &mut Vec<u8>) {
        string(out, CALL_DOMAIN);
        shape(out, receiver, call, &mut |out, id| {
            string(out, id.digest().as_str());
        });
    }

    fn parts_preimage(&self, domain: &str, parts: &[&[u8]], out: &mut Vec<u8>) {
        string(out, PARTS_DOMAIN);
        string(out, domain);
        count(out, parts.len());
        for part in parts {
            count(out, part.len());
            out.extend_from_slice(part);
        }
    }

    fn finish(&self, preimage: &[u8]) -> Digest {
        let hash = ::blake3::hash(preimage);
        let mut text = [0; 7 + 64];
        text[..7].copy_from_slice(b"blake3:");
        hex::encode_to_slice(hash.as_bytes(), &mut text[7..]).expect("two digits per byte");
        Digest::rendered(std::str::from_utf8(&text).expect("a prefix and hex digits are ASCII"))
    }

    fn custom_digests(&self) -> bool {
        false
    }

    fn element(&self, _list: &Id, _nth: i64) -> Option<Digest> {
        None
    }
}

impl Blake3 {
    /// Appends the bytes that stand for the last call of `id` alone to `out`, and returns the calls
    /// it refers to in the order of their positions: receiver, arguments, module.
    pub(crate) fn term_preimage<'a>(&self, id: &'a Id, out: &mut Vec<u8>) -> Vec<&'a Id> {
        let mut inputs = Vec::new();
        string(out, TERM_DOMAIN);
        shape(out, id.receiver(), id.call(), &mut |out, input| {
            count(out, inputs.len());
            inputs.push(input);
        });
        inputs
    }
}

/// Everything after the domain; `reference` writes what stands for another call.
fn shape<'a>(
    out: &mut Vec<u8>,
    receiver: Option<&'a Id>,
    call: &'a Call,
    reference: &mut impl FnMut(&mut Vec<u8>, &'a Id),
) {
    out.push(u8::from(receiver.is_some()));
    if let Some(receiver) = receiver {
        reference(out, receiver);
    }
    count(out, call.ty().levels().count());
    for level in call.ty().levels() {
        let element = level.element().is_some();
        string(out, if element { "" } else { level.name() });
        out.push(u8::from(level.is_non_null()));
    }
    string(out, call.field());
    count(out, call.public_args().count());
    for argument in call.public_args() {
        string(out, argument.name());
        literal(out, argument.value(), reference);
    }
    count(out, call.implicit_inputs().len());
    for input in call.implicit_inputs() {
        string(out, input.name());
        string(out, input.value());
    }
    out.push(u8::from(call.module().is_some()));
    if let Some(module) = call.module() {
        reference(out, module.id());
        string(out, module.name());
        string(out, module.source());
        string(out, module.pin());
    }
    out.extend(call.nth().to_le_bytes());
    string(out, call.view());
}

fn count(out: &mut Vec<u8>, count: usize) {
    out.extend((count as u64).to_le_bytes());
}

fn string(out: &mut Vec<u8>, text: &str) {
    count(out, text.len());
    out.extend_from_slice(text.as_bytes());
}

/// Recursion is bounded by [`crate::literal::LITERAL_DEPTH_MAX`].
fn literal<'a>(
    out: &mut Vec<u8>,
    value: &'a Literal,
    reference: &mut impl FnMut(&mut Vec<u8>, &'a Id),
) {
    match value {
        Literal::Null => out.push(0),
        Literal::Bool(value) => out.extend([1, u8::from(*value)]),
        Literal::Int(value) => {
            out.push(2);
            out.extend(value.to_le_bytes());
        }
        Literal::Float(value) => {
            out.push(3);
            out.extend(value.to_bits().to_le_bytes());
        }
        Literal::String(text) => {
            out.push(4);
            string(out, text);
        }
        Literal::Enum(name) => {
            out.push(5);
            string(out, name);
        }
        Literal::List(values) => {
            out.push(6);
            count(out, values.len());
            for value in values {
                literal(out, value, reference);
            }
        }
        Literal::Object(fields) => {
            out.push(7);
            count(out, fields.len());
            for (name, value) in fields {
                string(out, name);
                literal(out, value, reference);
            }
        }
        Literal::Id(id) => {
            out.push(8);
            reference(out, id);
        }
    }
}
