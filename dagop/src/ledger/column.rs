//! How digests, lists and numbers are written into columns, and read back.
//!
//! A digest's text has 71 bytes, of which 32 say something. It is stored as one byte for the
//! algorithm and the raw bytes; any other text as a zero byte and the text itself, so that every
//! text comes back as it was. In `sqlite3` the views of the schema show the text again.

use rusqlite::Row;

/// Algorithms by the byte that stands for them.
const ALGORITHMS: [(u8, &str); 3] = [(1, "sha256:"), (2, "blake3:"), (3, "xxh3:")];

/// The byte before a text that is no digest of a known algorithm.
const TEXT: u8 = 0;

/// A digest as it is stored.
pub(super) fn pack(digest: &str) -> Vec<u8> {
    let known = ALGORITHMS
        .iter()
        .find_map(|(tag, name)| Some((*tag, digest.strip_prefix(name)?)));
    if let Some((tag, digits)) = known
        && digits
            .bytes()
            .all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'))
        && let Ok(bytes) = hex::decode(digits)
    {
        return [&[tag], bytes.as_slice()].concat();
    }
    [&[TEXT], digest.as_bytes()].concat()
}

/// The text of a stored digest; nothing for bytes that [`pack`] never writes.
pub(super) fn unpack(stored: &[u8]) -> Option<String> {
    let (tag, bytes) = stored.split_first()?;
    if *tag == TEXT {
        return String::from_utf8(bytes.to_vec()).ok();
    }
    let (_, name) = ALGORITHMS.iter().find(|(known, _)| known == tag)?;
    Some(format!("{name}{}", hex::encode(bytes)))
}

/// SQLite's integers are signed.
pub(super) fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A list as JSON, None for an empty one.
pub(super) fn json<T: serde::Serialize>(list: &[T]) -> Option<String> {
    (!list.is_empty()).then(|| serde_json::to_string(list).expect("strings always serialise"))
}

/// A digest column.
pub(super) fn digest(row: &Row<'_>, column: &str) -> rusqlite::Result<String> {
    optional_digest(row, column)?.ok_or_else(|| broken("no digest"))
}

/// A digest column that may be empty.
pub(super) fn optional_digest(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<String>> {
    let stored: Option<Vec<u8>> = row.get(column)?;
    match stored {
        None => Ok(None),
        Some(stored) => unpack(&stored)
            .map(Some)
            .ok_or_else(|| broken("not a digest")),
    }
}

/// A column that holds one word of a closed set.
pub(super) fn word<T>(
    row: &Row<'_>,
    column: &str,
    parse: fn(&str) -> Option<T>,
) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| broken(&format!("unknown word {text:?} in {column}")))
}

/// An integer column that is never negative.
pub(super) fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    let value: i64 = row.get(column)?;
    Ok(value.unsigned_abs())
}

/// Likewise, possibly empty.
pub(super) fn optional(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    Ok(value.map(i64::unsigned_abs))
}

/// A list column.
pub(super) fn list<T: serde::de::DeserializeOwned>(
    row: &Row<'_>,
    column: &str,
) -> rusqlite::Result<Vec<T>> {
    let text: Option<String> = row.get(column)?;
    match text {
        None => Ok(Vec::new()),
        Some(text) => serde_json::from_str(&text).map_err(|error| broken(&error.to_string())),
    }
}

/// A value that this version never writes.
pub(super) fn broken(what: &str) -> rusqlite::Error {
    let kind = rusqlite::types::Type::Text;
    rusqlite::Error::FromSqlConversionFailure(0, kind, what.to_owned().into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_text_comes_back(text in "(sha256:|blake3:|xxh3:|)[0-9a-fA-Z:]{0,70}") {
            prop_assert_eq!(unpack(&pack(&text)), Some(text));
        }
    }

    #[test]
    fn a_digest_takes_as_many_bytes_as_it_has_and_one() {
        let digest = format!("sha256:{}", "0f".repeat(32));
        assert_eq!(pack(&digest).len(), 33);
        assert_eq!(unpack(&[9, 1]), None);
        assert_eq!(unpack(&[]), None);
    }
}
