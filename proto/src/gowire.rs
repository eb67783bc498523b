//! Protobuf bytes exactly as the Go runtime writes them with deterministic marshalling.
//!
//! BuildKit's vertex digests are hashes of such bytes. Protobuf leaves the order of fields open,
//! and the two runtimes differ in two places:
//!
//! 1. prost writes all fields by number. Go writes members of a oneof after all other fields
//!    (first those of the first declared oneof, and so on), and only then by number. An `Op` with
//!    a platform (field 10) therefore has its body (fields 2 to 8) last.
//! 2. prost omits a map key or a map value that has its default. Go writes both always.
//!
//! Everything else agrees: ascending numbers, default scalars left out, repeated numbers packed,
//! negative numbers in ten bytes, map entries in order of their keys (our maps are `BTreeMap`).
//! There are no floating point fields, so negative zero does not arise.
//!
//! [`encode`] lets prost write the message and then rewrites those bytes, guided by the compiled
//! descriptors. A message type below which neither difference can occur is copied as a whole,
//! which is most of them: encoding an `Op` costs about twice what prost alone costs.

mod shape;

use prost::{
    Message, Name,
    encoding::{
        WireType, decode_key, decode_varint, encode_key, encode_varint, encoded_len_varint,
    },
};

use self::shape::{FieldKind, MessageShape, Shapes};

/// Encodes a message of this crate as the Go runtime does.
///
/// # Panics
///
/// For a message type that was not compiled from this crate's `.proto` files.
#[must_use]
pub fn encode<M: Message + Name>(message: &M) -> Vec<u8> {
    let shapes = Shapes::get();
    let name = M::full_name();
    let shape = shapes
        .named(&name)
        .expect("the message is compiled from this crate's .proto files");
    let plain = message.encode_to_vec();
    if shape.agrees {
        return plain;
    }
    let mut out = Vec::with_capacity(plain.len() + 16);
    rewrite(shapes, shape, &plain, &mut out).expect("prost wrote these bytes");
    out
}

/// Copies `bytes`, a message of the given shape, to `out` in Go's order. `None` if malformed.
///
/// Recursion follows the nesting of messages, which prost's own encoder has just followed too.
fn rewrite(shapes: &Shapes, shape: &MessageShape, bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let mut fields = split(bytes)?;
    fields.sort_by_key(|field| shape.rank(field.number));
    for field in fields {
        let kind = shape.field(field.number).map(|known| known.kind);
        match kind {
            Some(FieldKind::Message(index)) if !shapes.at(index).agrees => {
                let mut nested = Vec::with_capacity(field.payload.len() + 16);
                rewrite(shapes, shapes.at(index), field.payload, &mut nested)?;
                write_delimited(field.number, &nested, out);
            }
            Some(FieldKind::Map(index)) => {
                let mut entry = Vec::with_capacity(field.payload.len() + 4);
                rewrite_entry(shapes, shapes.at(index), field.payload, &mut entry)?;
                write_delimited(field.number, &entry, out);
            }
            _ => out.extend_from_slice(field.whole),
        }
    }
    Some(())
}

/// Copies a map entry so that both key and value are present.
fn rewrite_entry(
    shapes: &Shapes,
    shape: &MessageShape,
    bytes: &[u8],
    out: &mut Vec<u8>,
) -> Option<()> {
    let fields = split(bytes)?;
    for number in [1, 2] {
        let known = shape.field(number)?;
        let present = fields.iter().find(|field| field.number == number);
        match (known.kind, present) {
            (FieldKind::Message(index), Some(field)) if !shapes.at(index).agrees => {
                let mut nested = Vec::with_capacity(field.payload.len() + 16);
                rewrite(shapes, shapes.at(index), field.payload, &mut nested)?;
                write_delimited(number, &nested, out);
            }
            (_, Some(field)) => out.extend_from_slice(field.whole),
            (FieldKind::Varint, None) => {
                encode_key(number, WireType::Varint, out);
                out.push(0);
            }
            (_, None) => write_delimited(number, &[], out),
        }
    }
    Some(())
}

fn write_delimited(number: u32, payload: &[u8], out: &mut Vec<u8>) {
    out.reserve(payload.len() + encoded_len_varint(payload.len() as u64) + 5);
    encode_key(number, WireType::LengthDelimited, out);
    encode_varint(payload.len() as u64, out);
    out.extend_from_slice(payload);
}

/// One field as it stands in the bytes of a message.
struct Field<'a> {
    number: u32,
    /// Key and value.
    whole: &'a [u8],
    /// Value of a length-delimited field, without its length; else empty.
    payload: &'a [u8],
}

/// Cuts a message into its fields. `None` if malformed.
fn split(bytes: &[u8]) -> Option<Vec<Field<'_>>> {
    let mut fields = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let start = rest;
        let (number, wire_type) = decode_key(&mut rest).ok()?;
        let payload = match wire_type {
            WireType::Varint => {
                decode_varint(&mut rest).ok()?;
                &[][..]
            }
            WireType::LengthDelimited => {
                let length = usize::try_from(decode_varint(&mut rest).ok()?).ok()?;
                let (payload, after) = rest.split_at_checked(length)?;
                rest = after;
                payload
            }
            WireType::ThirtyTwoBit => {
                rest = rest.get(4..)?;
                &[][..]
            }
            WireType::SixtyFourBit => {
                rest = rest.get(8..)?;
                &[][..]
            }
            WireType::StartGroup | WireType::EndGroup => return None,
        };
        let whole = &start[..start.len() - rest.len()];
        fields.push(Field {
            number,
            whole,
            payload,
        });
    }
    Some(fields)
}

#[cfg(test)]
mod tests;
