//! The bytes of a stored value, and back.
//!
//! ```text
//! value = 0                    null
//!         1 byte               bool
//!         2 i64                int
//!         3 u64                float, IEEE 754 bits
//!         4 u64 bytes          string: length, UTF-8
//!         5 u64 bytes          enum member
//!         6 u64 value…         list: count
//! ```
//! Integers are little-endian. Objects and IDs are not values in this sense: they stand for
//! something that lives in a session. Decoding accepts exactly what encoding makes.

use std::sync::Arc;

use crate::Value;

/// Lists in lists at most; the API has none deeper than one.
const DEPTH_MAX: u32 = 8;

/// The value's bytes; nothing when it is no plain value or would take more than `most` bytes.
pub(super) fn encode(value: &Value, most: usize) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    write(value, most, DEPTH_MAX, &mut out)?;
    (out.len() <= most).then_some(out)
}

fn write(value: &Value, most: usize, depth: u32, out: &mut Vec<u8>) -> Option<()> {
    let text = |tag, text: &str, out: &mut Vec<u8>| {
        out.push(tag);
        out.extend((text.len() as u64).to_le_bytes());
        out.extend_from_slice(text.as_bytes());
    };
    match value {
        Value::Null => out.push(0),
        Value::Bool(value) => out.extend([1, u8::from(*value)]),
        Value::Int(value) => {
            out.push(2);
            out.extend(value.to_le_bytes());
        }
        Value::Float(value) => {
            out.push(3);
            out.extend(value.to_bits().to_le_bytes());
        }
        Value::String(value) => text(4, value, out),
        Value::Enum(value) => text(5, value, out),
        Value::List(values) => {
            out.push(6);
            out.extend((values.len() as u64).to_le_bytes());
            let depth = depth.checked_sub(1)?;
            for value in values.iter() {
                write(value, most, depth, out)?;
                if out.len() > most {
                    return None;
                }
            }
        }
        Value::Object(_) | Value::Id(_) => return None,
    }
    Some(())
}

/// The value of bytes that [`encode`] made; nothing for any others.
pub(super) fn decode(bytes: &[u8]) -> Option<Value> {
    let mut rest = bytes;
    let value = read(&mut rest, DEPTH_MAX)?;
    rest.is_empty().then_some(value)
}

fn read(rest: &mut &[u8], depth: u32) -> Option<Value> {
    let [tag] = fixed(rest)?;
    Some(match tag {
        0 => Value::Null,
        1 => match fixed(rest)? {
            [0] => Value::Bool(false),
            [1] => Value::Bool(true),
            _ => return None,
        },
        2 => Value::Int(i64::from_le_bytes(fixed(rest)?)),
        3 => Value::Float(f64::from_bits(u64::from_le_bytes(fixed(rest)?))),
        4 => Value::String(text(rest)?),
        5 => Value::Enum(text(rest)?),
        6 => {
            let count = usize::try_from(u64::from_le_bytes(fixed(rest)?)).ok()?;
            let depth = depth.checked_sub(1)?;
            // Every value takes a byte: a count that cannot be true reserves nothing.
            let mut values = Vec::with_capacity(count.min(rest.len()));
            for _ in 0..count {
                values.push(read(rest, depth)?);
            }
            Value::List(values.into())
        }
        _ => return None,
    })
}

fn fixed<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk()?;
    *rest = tail;
    Some(*head)
}

fn text(rest: &mut &[u8]) -> Option<Arc<str>> {
    let length = usize::try_from(u64::from_le_bytes(fixed(rest)?)).ok()?;
    let (head, tail) = rest.split_at_checked(length)?;
    *rest = tail;
    std::str::from_utf8(head).ok().map(Into::into)
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn values() -> impl Strategy<Value = Value> {
        let scalar = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            ".{0,20}".prop_map(Value::from),
            "[A-Z]{1,8}".prop_map(|name| Value::Enum(name.into())),
        ];
        scalar.prop_recursive(3, 20, 4, |inner| {
            prop::collection::vec(inner, 0..4).prop_map(Value::list)
        })
    }

    proptest! {
        #[test]
        fn decoding_undoes_encoding(value in values()) {
            let bytes = encode(&value, usize::MAX).expect("a plain value");
            // Floats compare by their bits: NaN is a value like any other here.
            let back = encode(&decode(&bytes).expect("decodes"), usize::MAX);
            prop_assert_eq!(back, Some(bytes));
        }

        #[test]
        fn other_bytes_are_refused_or_mean_themselves(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            if let Some(value) = decode(&bytes) {
                prop_assert_eq!(encode(&value, usize::MAX), Some(bytes));
            }
        }
    }

    #[test]
    fn a_value_that_is_too_large_or_no_plain_value_is_not_encoded() {
        let text = Value::from("x".repeat(100));
        assert!(encode(&text, 109).is_some());
        assert!(encode(&text, 108).is_none());
        assert!(encode(&Value::list(vec![text.clone(), text]), 150).is_none());
        let mut nested = Value::Null;
        for _ in 0..=DEPTH_MAX {
            nested = Value::list([nested]);
        }
        assert!(encode(&nested, 10_000).is_none());
    }

    #[test]
    fn a_count_that_cannot_be_true_is_refused_at_once() {
        let mut bytes = vec![6];
        bytes.extend(u64::MAX.to_le_bytes());
        assert!(decode(&bytes).is_none());
    }
}
