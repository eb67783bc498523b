//! Protobuf fields, read in place.
//!
//! Reading with generated message types would copy every digest of a call four times and, worse,
//! let two bytes of an empty argument become dozens of bytes of memory before any limit is checked.
//! So the reader yields fields as slices of the input, and whoever asks for them counts.
//!
//! It is stricter than protobuf demands: a known field with the wrong wire type is an error instead
//! of unknown, and callers refuse a second value for a singular field ([`once`]). Honest encoders
//! write neither.

use super::WireError;

/// An error inside the reader: boxed, because the reader's results are made once per field and
/// should be small, and with the address of the byte it was found at, if that is known.
#[derive(Debug)]
pub(super) struct Fail(Box<(WireError, Option<usize>)>);

impl Fail {
    /// The same error, found at the beginning of `message` unless it is known more exactly.
    pub(super) fn within(mut self, message: &[u8]) -> Self {
        self.0.1.get_or_insert(message.as_ptr().addr());
        self
    }

    /// The error for the reader's caller, who gave it `input`: what is malformed says where.
    pub(super) fn located(self, input: &[u8]) -> WireError {
        match *self.0 {
            (WireError::Malformed(what), Some(address)) => {
                let offset = address.wrapping_sub(input.as_ptr().addr());
                WireError::Malformed(format!("{what}, at byte {offset}"))
            }
            (error, _) => error,
        }
    }
}

impl<E: Into<WireError>> From<E> for Fail {
    fn from(error: E) -> Self {
        Self(Box::new((error.into(), None)))
    }
}

/// One field's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1, little-endian.
    Fixed64(u64),
    /// Wire type 2: text, bytes or a message.
    Bytes(&'a [u8]),
    /// Wire type 5; no field of ours has it.
    Fixed32,
}

/// The fields of one message, in the order of the wire.
#[derive(Debug, Clone)]
pub(super) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(super) fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    #[inline]
    fn field(&mut self) -> Result<(u64, Field<'a>), Fail> {
        let key = self.varint()?;
        let field = match key & 7 {
            0 => Field::Varint(self.varint()?),
            1 => {
                let bytes = self.take(8)?;
                Field::Fixed64(u64::from_le_bytes(
                    bytes.try_into().expect("eight bytes were taken"),
                ))
            }
            2 => {
                let length = self.varint()?;
                Field::Bytes(self.take(usize::try_from(length).unwrap_or(usize::MAX))?)
            }
            5 => {
                self.take(4)?;
                Field::Fixed32
            }
            wire_type => return Err(malformed(format!("wire type {wire_type}"))),
        };
        match key >> 3 {
            0 => Err(malformed("field number 0".to_owned())),
            number => Ok((number, field)),
        }
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Fail> {
        // Most field keys and lengths are a single byte.
        match *self.rest {
            [byte @ ..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Fail> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            // The tenth byte holds the one bit that is left of 64.
            if shift == 63 && byte > 1 {
                break;
            }
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(malformed("a number of more than 64 bits".to_owned()))
    }

    #[inline]
    fn take(&mut self, count: usize) -> Result<&'a [u8], Fail> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| malformed("the bytes end too early".to_owned()))?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), Fail>;

    // Reading an ID is this function more than any other; called as a function it would pass its
    // five-word result through memory.
    #[inline(always)]
    fn next(&mut self) -> Option<Self::Item> {
        match *self.rest {
            [] => None,
            // Most fields are bytes with one byte each for the key and the length.
            [key @ 8..0x80, length @ ..0x80, ref rest @ ..]
                if key & 7 == 2 && usize::from(length) <= rest.len() =>
            {
                let (value, rest) = rest.split_at(usize::from(length));
                self.rest = rest;
                Some(Ok((u64::from(key >> 3), Field::Bytes(value))))
            }
            _ => Some(self.any()),
        }
    }
}

impl<'a> Fields<'a> {
    #[inline(never)]
    fn any(&mut self) -> Result<(u64, Field<'a>), Fail> {
        let start = self.rest;
        self.field().map_err(|fail| {
            self.rest = &[];
            fail.within(start)
        })
    }
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], Fail> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(malformed(format!("expected bytes, found {other:?}"))),
        }
    }

    pub(super) fn varint(self) -> Result<u64, Fail> {
        match self {
            Self::Varint(value) => Ok(value),
            other => Err(malformed(format!("expected a number, found {other:?}"))),
        }
    }

    pub(super) fn boolean(self) -> Result<bool, Fail> {
        match self.varint()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(malformed(format!("expected a boolean, found {other}"))),
        }
    }

    pub(super) fn double(self) -> Result<f64, Fail> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(malformed(format!("expected a double, found {other:?}"))),
        }
    }
}

/// Bytes that must be text.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Fail> {
    std::str::from_utf8(bytes).map_err(|error| {
        malformed("text that is not UTF-8".to_owned()).within(&bytes[error.valid_up_to()..])
    })
}

/// Fills the slot of a singular field.
#[inline]
pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), Fail> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed("a field is given twice".to_owned())),
    }
}

pub(super) fn malformed(what: String) -> Fail {
    WireError::Malformed(what).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
        Fields::new(bytes)
            .collect::<Result<_, _>>()
            .map_err(|fail: Fail| fail.located(bytes).to_string())
    }

    #[test]
    fn reads_every_wire_type() {
        let bytes = [
            0x08, 0x96, 0x01, 0x11, 1, 0, 0, 0, 0, 0, 0, 0, 0x1a, 2, b'h', b'i', 0x25, 0, 0, 0, 0,
        ];
        let fields = vec![
            (1, Field::Varint(150)),
            (2, Field::Fixed64(1)),
            (3, Field::Bytes(b"hi")),
            (4, Field::Fixed32),
        ];
        assert_eq!(read(&bytes), Ok(fields));
    }

    #[test]
    fn sixty_four_bits_and_no_more() {
        let mut bytes = vec![0x08];
        bytes.extend([0xff; 9]);
        bytes.push(0x01);
        assert_eq!(read(&bytes), Ok(vec![(1, Field::Varint(u64::MAX))]));
        bytes[10] = 0x02;
        assert_eq!(
            read(&bytes).unwrap_err(),
            "the ID is malformed: a number of more than 64 bits, at byte 0"
        );
    }

    #[test]
    fn lengths_beyond_the_input_are_errors() {
        let early = "the ID is malformed: the bytes end too early, at byte 0";
        assert_eq!(read(&[0x0a, 5, b'x']).unwrap_err(), early);
        assert_eq!(
            read(&[
                0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01
            ])
            .unwrap_err(),
            early
        );
        assert_eq!(read(&[0x08]).unwrap_err(), early);
        assert_eq!(read(&[0x09, 1, 2]).unwrap_err(), early);
    }

    #[test]
    fn groups_and_field_zero_are_errors() {
        assert_eq!(
            read(&[0x0b]).unwrap_err(),
            "the ID is malformed: wire type 3, at byte 0"
        );
        assert_eq!(
            read(&[0x00, 0x00]).unwrap_err(),
            "the ID is malformed: field number 0, at byte 0"
        );
    }
}
