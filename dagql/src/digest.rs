//! The name of a call, a content or a key: [`Digest`], and the rules that make one.
//!
//! A digest is text. Usually it is `algorithm:hex`, for example `blake3:6e1a…` or
//! `xxh3:6142b3636448fd5f`; genuine Dagger IDs also carry `sha256:…`, `argon2:…` and, for calls
//! that are scoped to one execution, random text without any colon. Nothing here assumes more than
//! that the text is short and printable.
//!
//! How bytes become a digest is decided in exactly one place, a [`scheme::DigestScheme`]. No other
//! module of the project may hash identity-bearing data by hand: it calls
//! [`scheme::DigestScheme::strings`] or a sibling, so that every preimage is written down,
//! versioned and tested.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

pub mod scheme;

mod blake3;
mod xxh3;

/// The longest accepted digest text in bytes; sha512 in hex with its prefix is 135.
pub const DIGEST_BYTES_MAX: usize = 256;

/// An immutable digest text, cheap to clone and ordered bytewise.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest(Arc<str>);

/// Why a text is not a [`Digest`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum DigestError {
    /// The text is empty.
    #[error("a digest may not be empty")]
    Empty,
    /// The text is longer than [`DIGEST_BYTES_MAX`].
    #[error("a digest of {0} bytes is longer than {DIGEST_BYTES_MAX}")]
    TooLong(usize),
    /// The text holds a byte outside printable ASCII.
    #[error("a digest may only hold printable ASCII, found byte {byte:#04x} at offset {offset}")]
    Byte {
        /// The offending byte.
        byte: u8,
        /// Its offset in the text.
        offset: usize,
    },
    /// There is a colon, but no algorithm before it or nothing after it.
    #[error("digest `{0}` has an empty algorithm or value")]
    EmptyPart(String),
}

impl Digest {
    /// Checks `text` and wraps it.
    ///
    /// # Errors
    /// See [`DigestError`].
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        if text.is_empty() {
            return Err(DigestError::Empty);
        }
        if text.len() > DIGEST_BYTES_MAX {
            return Err(DigestError::TooLong(text.len()));
        }
        if let Some((offset, byte)) = text
            .bytes()
            .enumerate()
            .find(|(_, byte)| !byte.is_ascii_graphic())
        {
            return Err(DigestError::Byte { byte, offset });
        }
        match text.split_once(':') {
            Some(("", _) | (_, "")) => Err(DigestError::EmptyPart(text.to_owned())),
            _ => Ok(Self(text.into())),
        }
    }

    /// Wraps text that a scheme has just rendered and that is therefore well formed.
    pub(crate) fn rendered(text: &str) -> Self {
        debug_assert!(
            Self::parse(text).is_ok(),
            "a scheme rendered the malformed digest {text:?}"
        );
        Self(text.into())
    }

    /// The whole text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the colon; `None` for the colon-less keys of calls that are scoped to one
    /// execution.
    #[must_use]
    pub fn algorithm(&self) -> Option<&str> {
        self.0.split_once(':').map(|(algorithm, _)| algorithm)
    }

    /// The part after the colon, or the whole text when there is none. Usually lower-case hex.
    #[must_use]
    pub fn encoded(&self) -> &str {
        self.0.split_once(':').map_or(&*self.0, |(_, value)| value)
    }

    /// The first twelve characters of [`Self::encoded`], for people.
    #[must_use]
    pub fn short(&self) -> &str {
        let encoded = self.encoded();
        &encoded[..encoded.len().min(12)]
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

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        Self::parse(text)
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

impl PartialEq<str> for Digest {
    fn eq(&self, other: &str) -> bool {
        &*self.0 == other
    }
}

impl PartialEq<&str> for Digest {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_the_first_colon() {
        let digest: Digest = "xxh3:6142b3636448fd5f".parse().unwrap();
        assert_eq!(
            (digest.algorithm(), digest.encoded()),
            (Some("xxh3"), "6142b3636448fd5f")
        );
        assert_eq!(digest.short(), "6142b3636448");
    }

    #[test]
    fn a_key_without_a_colon_is_a_digest_without_an_algorithm() {
        let digest: Digest = "3w5e11264sgsf2kf1pf4ul3d1".parse().unwrap();
        assert_eq!(
            (digest.algorithm(), digest.encoded()),
            (None, "3w5e11264sgsf2kf1pf4ul3d1")
        );
    }

    #[test]
    fn rejects_what_no_honest_encoder_writes() {
        assert_eq!(Digest::parse(""), Err(DigestError::Empty));
        assert_eq!(
            Digest::parse(&"a".repeat(257)),
            Err(DigestError::TooLong(257))
        );
        assert_eq!(
            Digest::parse("sha256:\0"),
            Err(DigestError::Byte { byte: 0, offset: 7 })
        );
        assert_eq!(
            Digest::parse("a é"),
            Err(DigestError::Byte {
                byte: b' ',
                offset: 1
            })
        );
        assert_eq!(
            Digest::parse(":ab"),
            Err(DigestError::EmptyPart(":ab".into()))
        );
        assert_eq!(
            Digest::parse("sha256:"),
            Err(DigestError::EmptyPart("sha256:".into()))
        );
    }
}
