//! Numbers in header fields: octal text, or big-endian binary for what does not fit.

/// Where the numbers of a header stand, as byte ranges of its block.
pub(super) mod at {
    use std::ops::Range;

    pub(in crate::tar) const MODE: Range<usize> = 100..108;
    pub(in crate::tar) const UID: Range<usize> = 108..116;
    pub(in crate::tar) const GID: Range<usize> = 116..124;
    pub(in crate::tar) const SIZE: Range<usize> = 124..136;
    pub(in crate::tar) const MTIME: Range<usize> = 136..148;
    pub(in crate::tar) const CHECKSUM: Range<usize> = 148..156;
    pub(in crate::tar) const MAJOR: Range<usize> = 329..337;
    pub(in crate::tar) const MINOR: Range<usize> = 337..345;
}

/// Reads a field. A blank one is 0: writers leave out what they do not use.
/// With the top bit of the first byte set the rest is two's complement (GNU).
pub(super) fn number(field: &[u8]) -> Result<i64, String> {
    if field.first().is_some_and(|byte| byte & 0x80 != 0) {
        return binary(field);
    }
    let text = field
        .iter()
        .position(|byte| *byte == 0)
        .map_or(field, |end| &field[..end])
        .trim_ascii();
    if text.is_empty() {
        return Ok(0);
    }
    std::str::from_utf8(text)
        .ok()
        .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
        .and_then(|text| i64::from_str_radix(text, 8).ok())
        .ok_or_else(|| format!("`{}` is not an octal number", text.escape_ascii()))
}

fn binary(field: &[u8]) -> Result<i64, String> {
    let negative = field[0] & 0x40 != 0;
    // The marker bit is no part of the number: it repeats the sign.
    let first = if negative { field[0] } else { field[0] & 0x7f };
    let mut value = i128::from(first.cast_signed());
    for byte in &field[1..] {
        value = value << 8 | i128::from(*byte);
    }
    i64::try_from(value).map_err(|_| "a binary number is out of range".to_owned())
}

#[cfg(test)]
mod tests {
    use super::number;

    #[test]
    fn octal_binary_and_blank() {
        assert_eq!(number(b"0000644\0"), Ok(0o644));
        assert_eq!(number(b"  644 \0x"), Ok(0o644));
        assert_eq!(number(b"77777777"), Ok(0o77_777_777));
        assert_eq!(number(b"\0\0\0\0"), Ok(0));
        assert_eq!(number(b"    "), Ok(0));
        assert_eq!(number(b"\x80\0\0\0\0\0\x01\0"), Ok(256));
        assert_eq!(number(&[0xff; 12]), Ok(-1));
        assert_eq!(number(b"\xff\xff\xff\xff\xff\xff\xff\xfe"), Ok(-2));
        for bad in [
            &b"8"[..],
            b"-1",
            b"0x1",
            b"12 34",
            b"\xff\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
        ] {
            assert!(number(bad).is_err(), "{bad:?}");
        }
    }
}
