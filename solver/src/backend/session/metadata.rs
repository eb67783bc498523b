//! Reads the gRPC metadata the daemon attaches to session calls.
//!
//! gRPC header values are ASCII. When any value of a key holds another character, the daemon sends all values of that
//! key in the encoding of HTML forms (`+` is a space, `%XX` a byte) and adds `<key>-encoded: 1`. A value that is sent
//! plain is taken literally, including `%` and `+`.

use tonic::Status;
use tonic::metadata::MetadataMap;

/// Most values one key may carry: a context with more ignore rules than this is refused instead of being compiled.
const VALUES_MAX: usize = 100_000;

/// What Go's `strconv.ParseBool` reads as true.
pub(crate) fn is_true(text: &str) -> bool {
    matches!(text, "1" | "t" | "T" | "true" | "TRUE" | "True")
}

/// All values of `key`, decoded. An absent key is an empty list.
pub(crate) fn values(metadata: &MetadataMap, key: &str) -> Result<Vec<String>, Status> {
    let encoded = metadata
        .get(format!("{key}-encoded"))
        .and_then(|flag| flag.to_str().ok())
        .is_some_and(is_true);
    let mut out = Vec::new();
    for value in metadata.get_all(key) {
        if out.len() == VALUES_MAX {
            return Err(Status::resource_exhausted(format!(
                "{key}: more than {VALUES_MAX} values"
            )));
        }
        let text = std::str::from_utf8(value.as_bytes())
            .map_err(|_| Status::invalid_argument(format!("{key}: value is not UTF-8")))?;
        out.push(if encoded {
            decode(text).map_err(|e| Status::invalid_argument(format!("{key}: {e}")))?
        } else {
            text.to_owned()
        });
    }
    Ok(out)
}

/// The first value of `key`, decoded.
pub(crate) fn first(metadata: &MetadataMap, key: &str) -> Result<Option<String>, Status> {
    Ok(values(metadata, key)?.into_iter().next())
}

/// Reverses the form encoding: `+` to space, `%XX` to the byte. The result must be UTF-8.
fn decode(text: &str) -> Result<String, String> {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digit = |offset: usize| {
                    bytes
                        .get(at + offset)
                        .and_then(|b| char::from(*b).to_digit(16))
                };
                let (Some(high), Some(low)) = (digit(1), digit(2)) else {
                    return Err(format!(
                        "{text:?} has an incomplete percent escape at byte {at}"
                    ));
                };
                // Two hexadecimal digits are below 256.
                out.push((high * 16 + low) as u8);
                at += 2;
            }
            other => out.push(other),
        }
        at += 1;
    }
    String::from_utf8(out).map_err(|_| format!("{text:?} does not decode to UTF-8"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The daemon's encoder: unreserved characters stay, space becomes `+`, every other byte `%XX`.
    fn encode(text: &str) -> String {
        text.bytes()
            .map(|b| match b {
                b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                    char::from(b).to_string()
                }
                b' ' => "+".to_owned(),
                other => format!("%{other:02X}"),
            })
            .collect()
    }

    fn map(key: &'static str, values: &[&str], encoded: bool) -> MetadataMap {
        let mut metadata = MetadataMap::new();
        for value in values {
            metadata.append(key, value.parse().unwrap());
        }
        if encoded {
            metadata.insert("include-patterns-encoded", "1".parse().unwrap());
        }
        metadata
    }

    #[test]
    fn a_plain_value_keeps_its_percent_signs() {
        let metadata = map("include-patterns", &["50%25+x", "b"], false);
        assert_eq!(
            values(&metadata, "include-patterns").unwrap(),
            ["50%25+x", "b"]
        );
        assert!(values(&metadata, "exclude-patterns").unwrap().is_empty());
    }

    #[test]
    fn an_encoded_key_is_decoded_in_all_its_values() {
        let metadata = map("include-patterns", &["%C3%A4+b", "plain"], true);
        assert_eq!(
            values(&metadata, "include-patterns").unwrap(),
            ["ä b", "plain"]
        );
    }

    #[test]
    fn a_broken_escape_is_refused_with_its_key() {
        let metadata = map("include-patterns", &["a%4"], true);
        let status = values(&metadata, "include-patterns").unwrap_err();
        assert_eq!(status.code(), tonic::Code::InvalidArgument);
        assert!(
            status.message().starts_with("include-patterns: "),
            "{}",
            status.message()
        );
    }

    proptest! {
        #[test]
        fn decoding_inverts_the_daemons_encoding(text in "\\PC{0,40}") {
            prop_assert_eq!(decode(&encode(&text)).unwrap(), text);
        }
    }
}
