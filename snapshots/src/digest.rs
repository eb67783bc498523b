//! The name of a blob: `algorithm:hex`, and the hasher that computes it.
//!
//! Only the algorithms registered by the OCI image specification that anyone uses are accepted.
//! A [`Digest`] is always well formed, so its parts can be used as file names without escaping.

use std::fmt;
use std::io;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256, Sha512};
use thiserror::Error;

/// A hash function that may name a blob.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, 64 hexadecimal digits; what every known implementation writes.
    Sha256,
    /// SHA-512, 128 hexadecimal digits; accepted on input.
    Sha512,
}

impl Algorithm {
    /// The registered name, also the name of the folder below `blobs/`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    /// Number of hexadecimal digits in a digest of this algorithm.
    pub fn hex_len(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }

    /// Every algorithm a store looks for.
    pub const ALL: [Self; 2] = [Self::Sha256, Self::Sha512];
}

/// Why a text is not a digest.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum DigestError {
    /// No colon between algorithm and hexadecimal digits.
    #[error("digest `{0}` has no `algorithm:` prefix")]
    NoAlgorithm(String),
    /// The algorithm is none of [`Algorithm::ALL`].
    #[error("digest `{0}` uses an unsupported algorithm (sha256 and sha512 are known)")]
    UnknownAlgorithm(String),
    /// Wrong length, upper case or foreign characters after the colon.
    #[error("digest `{text}` must have {expected} lower-case hexadecimal digits after the colon")]
    BadHex {
        /// The offending text, shortened.
        text: String,
        /// Digits the algorithm needs.
        expected: usize,
    },
}

/// A validated `algorithm:hex` digest. Ordered as its text.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Box<str>);

impl Digest {
    /// Parses and validates; never normalises, so two equal blobs have one spelling.
    ///
    /// # Errors
    /// [`DigestError`] naming the text (shortened when it is long).
    pub fn parse(text: &str) -> Result<Self, DigestError> {
        let Some((name, hex)) = text.split_once(':') else {
            return Err(DigestError::NoAlgorithm(shorten(text)));
        };
        let Some(algorithm) = Algorithm::ALL.into_iter().find(|a| a.name() == name) else {
            return Err(DigestError::UnknownAlgorithm(shorten(text)));
        };
        let digits = hex
            .bytes()
            .all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b));
        if hex.len() != algorithm.hex_len() || !digits {
            return Err(DigestError::BadHex {
                text: shorten(text),
                expected: algorithm.hex_len(),
            });
        }
        Ok(Self(text.into()))
    }

    /// The SHA-256 digest of `data`.
    pub fn sha256(data: impl AsRef<[u8]>) -> Self {
        let mut hasher = Hasher::default();
        hasher.update(data.as_ref());
        hasher.finish()
    }

    /// The digest with these 32 bytes.
    pub fn from_sha256(bytes: &[u8; 32]) -> Self {
        Self(format!("sha256:{}", hex::encode(bytes)).into())
    }

    /// The hash function.
    pub fn algorithm(&self) -> Algorithm {
        if self.0.starts_with("sha512") {
            Algorithm::Sha512
        } else {
            Algorithm::Sha256
        }
    }

    /// The hexadecimal digits after the colon.
    pub fn hex(&self) -> &str {
        &self.0[self.algorithm().name().len() + 1..]
    }

    /// The whole text, `algorithm:hex`.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Longest part of a bad digest that an error repeats.
const QUOTED_MAX: usize = 150;

fn shorten(text: &str) -> String {
    match text.char_indices().nth(QUOTED_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
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

impl TryFrom<String> for Digest {
    type Error = DigestError;
    fn try_from(text: String) -> Result<Self, DigestError> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0.into()
    }
}

impl AsRef<str> for Digest {
    fn as_ref(&self) -> &str {
        &self.0
    }
}

/// Incremental hashing; also an [`io::Write`] so that it can sit in a chain of writers.
#[derive(Clone)]
pub struct Hasher(State);

#[derive(Clone)]
enum State {
    Sha256(Sha256),
    Sha512(Sha512),
}

impl Default for Hasher {
    fn default() -> Self {
        Self::new(Algorithm::Sha256)
    }
}

impl Hasher {
    /// A hasher that has seen no bytes.
    pub fn new(algorithm: Algorithm) -> Self {
        Self(match algorithm {
            Algorithm::Sha256 => State::Sha256(Sha256::new()),
            Algorithm::Sha512 => State::Sha512(Sha512::new()),
        })
    }

    /// Appends bytes to the preimage.
    pub fn update(&mut self, data: &[u8]) {
        match &mut self.0 {
            State::Sha256(hasher) => hasher.update(data),
            State::Sha512(hasher) => hasher.update(data),
        }
    }

    /// The digest of all bytes seen.
    pub fn finish(self) -> Digest {
        let (algorithm, hex) = match self.0 {
            State::Sha256(hasher) => (Algorithm::Sha256, hex::encode(hasher.finalize())),
            State::Sha512(hasher) => (Algorithm::Sha512, hex::encode(hasher.finalize())),
        };
        Digest(format!("{}:{hex}", algorithm.name()).into())
    }
}

impl io::Write for Hasher {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.update(data);
        Ok(data.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EMPTY: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_keeps_its_text_and_parts() {
        let digest = Digest::sha256(b"");
        assert_eq!(digest.as_str(), EMPTY);
        assert_eq!(digest.algorithm(), Algorithm::Sha256);
        assert_eq!(format!("sha256:{}", digest.hex()), EMPTY);
        let long = Hasher::new(Algorithm::Sha512).finish();
        assert_eq!(long.hex().len(), 128);
        assert_eq!(Digest::parse(long.as_str()), Ok(long));
    }

    #[test]
    fn texts_that_could_escape_a_folder_are_refused() {
        let bad = [
            "",
            "sha256",
            "sha256:",
            "sha256:../../etc/passwd",
            "md5:d41d8cd98f00b204e9800998ecf8427e",
            "sha256:E3B0C44298FC1C149AFBF4C8996FB92427AE41E4649B934CA495991B7852B855",
            &EMPTY[..70],
            &format!("{EMPTY}0"),
            &format!(" {EMPTY}"),
        ];
        for text in bad {
            assert!(Digest::parse(text).is_err(), "{text} was accepted");
        }
        let huge = "a".repeat(1 << 20);
        assert!(Digest::parse(&huge).unwrap_err().to_string().len() < 300);
    }

    #[test]
    fn json_is_the_text_and_is_validated() {
        let json = format!("\"{EMPTY}\"");
        let digest: Digest = serde_json::from_str(&json).unwrap();
        assert_eq!(serde_json::to_string(&digest).unwrap(), json);
        assert!(serde_json::from_str::<Digest>("\"sha256:zz\"").is_err());
    }
}
