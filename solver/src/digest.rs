//! Digests: what vertices, cache records and blobs are named by.

use std::{
    fmt,
    hash::{Hash, Hasher},
    str::FromStr,
    sync::Arc,
};

use sha2::{Digest as _, Sha256};

/// A digest as text, `algorithm:hex`. Cheap to clone; ordered by its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digest(Arc<str>);

/// A text that is no digest.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[error("invalid digest {text:?}: {reason}")]
pub struct ParseDigestError {
    text: String,
    reason: &'static str,
}

/// Longest text accepted as a digest: sha512 and its name take 135 bytes.
const DIGEST_LENGTH_MAX: usize = 160;

/// Digits of a digest that its place in a map depends on: 64 bits.
const HASHED_DIGITS: usize = 16;

/// Length of `sha256:`.
const SHA256_PREFIX: usize = 7;

/// A sha256 digest whose digits are to be written.
const SHA256_TEXT: &[u8; SHA256_PREFIX + 64] =
    b"sha256:0000000000000000000000000000000000000000000000000000000000000000";

impl Digest {
    /// The sha256 digest of some bytes.
    #[must_use]
    pub fn sha256(bytes: &[u8]) -> Self {
        let mut text = *SHA256_TEXT;
        hex::encode_to_slice(Sha256::digest(bytes), &mut text[SHA256_PREFIX..])
            .expect("64 digits for 32 bytes");
        Self(std::str::from_utf8(&text).expect("it is ASCII").into())
    }

    /// A text that old releases of BuildKit use in the place of a digest.
    pub(crate) fn verbatim(text: &str) -> Self {
        Self(text.into())
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the colon.
    #[must_use]
    pub fn algorithm(&self) -> &str {
        self.0
            .split_once(':')
            .map_or("", |(algorithm, _)| algorithm)
    }

    /// The part after the colon.
    #[must_use]
    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(_, hex)| hex)
    }

    /// Parses `algorithm:hex`. The algorithm is lower-case letters and digits, possibly joined by
    /// `+._-`; the hex part is lower case, and 64, 96 or 128 digits long for sha256, sha384, sha512.
    ///
    /// # Errors
    ///
    /// For any other text.
    pub fn parse(text: &str) -> Result<Self, ParseDigestError> {
        let fail = |reason| {
            let text = text.chars().take(DIGEST_LENGTH_MAX).collect();
            Err(ParseDigestError { text, reason })
        };
        if text.len() > DIGEST_LENGTH_MAX {
            return fail("too long");
        }
        let Some((algorithm, hex)) = text.split_once(':') else {
            return fail("expected algorithm:hex");
        };
        let is_algorithm = algorithm.split(['+', '.', '_', '-']).all(|part| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit())
        });
        if !is_algorithm {
            return fail("the algorithm is not lower-case letters and digits");
        }
        if hex.is_empty() || !hex.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return fail("expected lower-case hexadecimal digits after the colon");
        }
        let expected = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ => hex.len(),
        };
        if hex.len() != expected {
            return fail("wrong number of hexadecimal digits for this algorithm");
        }
        Ok(Self(text.into()))
    }
}

/// The last digits are as random as all of them, and maps by digest are asked often.
impl Hash for Digest {
    fn hash<H: Hasher>(&self, state: &mut H) {
        let text = self.0.as_bytes();
        state.write(&text[text.len().saturating_sub(HASHED_DIGITS)..]);
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sha256_of_nothing() {
        let digest = Digest::sha256(b"");
        assert_eq!(
            digest.hex(),
            "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(digest.algorithm(), "sha256");
        assert_eq!(Digest::parse(digest.as_str()), Ok(digest));
    }

    #[test]
    fn refuses_what_is_no_digest() {
        let short = "sha256:abc";
        let upper = format!("sha256:{}", "A".repeat(64));
        let long = format!("x:{}", "a".repeat(DIGEST_LENGTH_MAX));
        for text in [
            "",
            ":",
            "sha256",
            "sha256:",
            "SHA256:00",
            "a..b:00",
            "md5:zz",
            short,
        ] {
            assert!(Digest::parse(text).is_err(), "{text}");
        }
        assert!(Digest::parse(&upper).is_err());
        assert!(Digest::parse(&long).is_err());
        assert!(Digest::parse("md5:00").is_ok());
    }
}
