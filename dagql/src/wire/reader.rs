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
    fn field(&mut self) -> Result<(u64, Field<'a>), WireError> {
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
    fn varint(&mut self) -> Result<u64, WireError> {
        // Most field keys and lengths are a single byte.
        match *self.rest {
            [byte @ ..0x80, ref rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(byte))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
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
    fn take(&mut self, count: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self
            .rest
            .split_at_checked(count)
            .ok_or_else(|| malformed("the bytes end too early".to_owned()))?;
        self.rest = rest;
        Ok(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Field<'a>), WireError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    pub(super) fn bytes(self) -> Result<&'a [u8], WireError> {
        match self {
            Self::Bytes(bytes) => Ok(bytes),
            other => Err(malformed(format!("expected bytes, found {other:?}"))),
        }
    }

    pub(super) fn text(self) -> Result<&'a str, WireError> {
        std::str::from_utf8(self.bytes()?)
            .map_err(|error| malformed(format!("text that is not UTF-8: {error}")))
    }

    pub(super) fn varint(self) -> Result<u64, WireError> {
        match self {
            Self::Varint(value) => Ok(value),
            other => Err(malformed(format!("expected a number, found {other:?}"))),
        }
    }

    pub(super) fn boolean(self) -> Result<bool, WireError> {
        match self.varint()? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(malformed(format!("expected a boolean, found {other}"))),
        }
    }

    pub(super) fn double(self) -> Result<f64, WireError> {
        match self {
            Self::Fixed64(bits) => Ok(f64::from_bits(bits)),
            other => Err(malformed(format!("expected a double, found {other:?}"))),
        }
    }
}

/// Fills the slot of a singular field.
pub(super) fn once<T>(slot: &mut Option<T>, value: T) -> Result<(), WireError> {
    match slot.replace(value) {
        None => Ok(()),
        Some(_) => Err(malformed("a field is given twice".to_owned())),
    }
}

pub(super) fn malformed(what: String) -> WireError {
    WireError::Malformed(what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(bytes: &[u8]) -> Result<Vec<(u64, Field<'_>)>, String> {
        Fields::new(bytes)
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())
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
            "the ID is malformed: a number of more than 64 bits"
        );
    }

    #[test]
    fn lengths_beyond_the_input_are_errors() {
        let early = "the ID is malformed: the bytes end too early";
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
            "the ID is malformed: wire type 3"
        );
        assert_eq!(
            read(&[0x00, 0x00]).unwrap_err(),
            "the ID is malformed: field number 0"
        );
    }
}
