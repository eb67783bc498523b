//! The versioned rules that turn a call into its digest.
//!
//! A [`DigestScheme`] decides two things: which bytes stand for a call (the *preimage*) and which
//! hash is taken over them. Preimages are visible on purpose. Two keys that should be equal are
//! compared by comparing preimages, and a test pins the preimage, not only the hash.
//!
//! | scheme | text | used for | rules |
//! |---|---|---|---|
//! | [`Blake3`] | `blake3:` + 64 hex | every call this engine makes | `digest/blake3.rs` |
//! | [`Xxh3`] version 1 | `xxh3:` + 16 hex | genuine Dagger IDs up to v0.19.x | `digest/xxh3.rs` |
//! | [`Xxh3`] version 2 | `xxh3:` + 16 hex | genuine Dagger IDs with separate content digests | `digest/xxh3.rs` |
//!
//! A changed rule is a new scheme, never an edit of an old one: digests outlive the program that
//! made them.
//!
//! Common to all: a call's own digest depends on its receiver only through the receiver's digest,
//! so one more call on a long chain costs one hash over a few hundred bytes. Sensitive arguments
//! enter no preimage. An ID inside an argument stands for its digest, never for its text.

use std::fmt;

pub use super::blake3::Blake3;
pub use super::xxh3::Xxh3;
use crate::digest::Digest;
use crate::id::{Call, Id};

/// Names one version of the rules; each [`Id`] records the one it was built under.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scheme {
    /// Our own, see [`Blake3`].
    Blake3,
    /// Dagger's, with the empty receiver hashed and one digest per call.
    Xxh3V1,
    /// Dagger's, with content digests beside recipe digests.
    Xxh3V2,
}

impl Scheme {
    /// All schemes, in the order in which a reader tries them.
    pub const ALL: [Self; 3] = [Self::Blake3, Self::Xxh3V1, Self::Xxh3V2];

    /// The rules themselves.
    #[must_use]
    pub fn rules(self) -> &'static dyn DigestScheme {
        match self {
            Self::Blake3 => &Blake3,
            Self::Xxh3V1 => &Xxh3::V1,
            Self::Xxh3V2 => &Xxh3::V2,
        }
    }

    /// A stable name for reports.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Blake3 => "blake3-v1",
            Self::Xxh3V1 => "xxh3-v1",
            Self::Xxh3V2 => "xxh3-v2",
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One version of the rules by which calls and keys get their digests.
pub trait DigestScheme: Send + Sync {
    /// Which version this is.
    fn scheme(&self) -> Scheme;

    /// Appends the bytes that stand for `call` on `receiver` to `out`.
    fn call_preimage(&self, receiver: Option<&Id>, call: &Call, out: &mut Vec<u8>);

    /// Appends the bytes that stand for a list of byte strings to `out`. `domain` says what they
    /// are, so that equal lists in different roles get different digests where the scheme supports
    /// it ([`Xxh3`] does not).
    fn parts_preimage(&self, domain: &str, parts: &[&[u8]], out: &mut Vec<u8>);

    /// Hashes a finished preimage.
    fn finish(&self, preimage: &[u8]) -> Digest;

    /// Whether a call may carry a digest that was assigned instead of computed. Such a digest
    /// cannot be verified.
    fn custom_digests(&self) -> bool;

    /// The digest assigned to element `nth` (from 1) of `list`, where it is not simply computed
    /// from the call.
    fn element(&self, list: &Id, nth: i64) -> Option<Digest>;

    /// The digest of `call` on `receiver`.
    fn call(&self, receiver: Option<&Id>, call: &Call) -> Digest {
        let mut preimage = Vec::with_capacity(512);
        self.call_preimage(receiver, call, &mut preimage);
        self.finish(&preimage)
    }

    /// The digest of a list of byte strings in the role `domain`: storage keys, salts, cache volume
    /// names and the like. Lists that differ in any element or in length have different preimages.
    fn parts(&self, domain: &str, parts: &[&[u8]]) -> Digest {
        let mut preimage = Vec::with_capacity(256);
        self.parts_preimage(domain, parts, &mut preimage);
        self.finish(&preimage)
    }

    /// [`Self::parts`] over text.
    fn strings(&self, domain: &str, strings: &[&str]) -> Digest {
        let parts: Vec<&[u8]> = strings.iter().map(|text| text.as_bytes()).collect();
        self.parts(domain, &parts)
    }
}
