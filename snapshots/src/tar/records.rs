//! PAX records: `LENGTH KEY=VALUE\n`, where LENGTH counts itself.

use std::collections::BTreeMap;

/// Records by key; a later record of the same key wins.
pub(super) type Records = BTreeMap<Vec<u8>, Vec<u8>>;

/// Key prefix of extended attributes.
pub(super) const XATTR: &[u8] = b"SCHILY.xattr.";

/// Parses the data of a PAX header; the error is a reason.
pub(super) fn parse(mut data: &[u8], into: &mut Records) -> Result<(), String> {
    while !data.is_empty() {
        let space = data
            .iter()
            .take(20)
            .position(|b| *b == b' ')
            .ok_or("PAX record without a length")?;
        let length: usize = std::str::from_utf8(&data[..space])
            .ok()
            .filter(|text| text.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|text| text.parse().ok())
            .ok_or("PAX record with a bad length")?;
        if length <= space + 1 || length > data.len() || data[length - 1] != b'\n' {
            return Err("PAX record whose length does not fit".to_owned());
        }
        let record = &data[space + 1..length - 1];
        let equals = record
            .iter()
            .position(|b| *b == b'=')
            .filter(|at| *at > 0)
            .ok_or("PAX record without a key")?;
        into.insert(record[..equals].to_vec(), record[equals + 1..].to_vec());
        data = &data[length..];
    }
    Ok(())
}

/// Writes records in the order of their keys.
pub(super) fn encode(records: &Records) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        // Space, equals sign and newline; the digits count too, which may add one digit.
        let body = key.len() + value.len() + 3;
        let mut length = body + decimal_len(body);
        if decimal_len(length) != length - body {
            length = body + decimal_len(length);
        }
        out.extend_from_slice(format!("{length} ").as_bytes());
        out.extend_from_slice(key);
        out.push(b'=');
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

fn decimal_len(number: usize) -> usize {
    number.checked_ilog10().map_or(1, |log| log as usize + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_count_themselves() {
        // 6 + 3 = 9, with its digit 10 bytes, which needs two digits: 11.
        let records = Records::from([(b"a".to_vec(), b"bcdef".to_vec())]);
        assert_eq!(encode(&records), b"11 a=bcdef\n");
        for size in [0, 1, 90, 91, 92, 93, 94, 985, 990, 991, 995, 9985] {
            let records = Records::from([(b"k".to_vec(), vec![b'v'; size])]);
            let mut back = Records::new();
            parse(&encode(&records), &mut back).unwrap();
            assert_eq!(back, records, "{size}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for bad in [
            "x", "5 a=b", "99 a=b\n", "+6 a=b\n", "0 ", "6 =ab\n", "7 abcd\n", "6 a=b\n6",
        ] {
            assert!(parse(bad.as_bytes(), &mut Records::new()).is_err(), "{bad}");
        }
        let huge = format!("{} a=b\n", u128::MAX);
        assert!(parse(huge.as_bytes(), &mut Records::new()).is_err());
    }
}
