//! IDs as text: Dagger's `callpbv1` protobuf in base64, written deterministically and read with
//! suspicion.
//!
//! **Format.** A message `DAG` holds the digest of the root call and a map from digest to `Call`; a
//! call refers to its receiver, its module and the IDs in its arguments by digest. So a call that
//! is reachable on several ways is written once. Map entries are sorted bytewise by key, fields
//! ascend, and the bytes equal those of Dagger's Go engine for the same ID. The text is base64 with
//! the standard alphabet and padding. The messages are in `wire/message.rs`. Our own addition,
//! implicit inputs, is field 100 of `Call`; Dagger skips unknown fields.
//!
//! **What is not written.** Sensitive arguments, because the text leaves the process; and under our
//! own rules content digests, because a reader could not verify them.
//!
//! **What reading proves.** [`decode`] rebuilds every call and computes every digest anew. It fails
//! if one differs from what the text claims, if a call is missing, refers to itself, appears twice
//! or is not needed, and if a [`Limits`] value is exceeded. The digest of an accepted ID under our
//! rules is therefore a fact, not a claim. Under Dagger's rules a call may carry a custom or a
//! content digest, which nobody can verify; [`Decoded::claims`] counts them and [`Id::adopt`]
//! refuses or removes them.
//!
//! **Cost.** Both directions take time and memory linear in the text, and neither recurses along
//! the chain. Reading works on the undecoded bytes: they are scanned once for references, and each
//! call is parsed when those exist, so the peak is the bytes, a few words per reference, and the
//! finished calls.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use thiserror::Error;

use crate::digest::scheme::Scheme;
use crate::digest::{Digest, DigestError};
use crate::id::Id;
use crate::literal::LITERAL_DEPTH_MAX;
use crate::typeref::TYPE_DEPTH_MAX;

mod call;
mod decode;
mod encode;
mod inspect;
mod message;
mod names;
mod reader;
mod table;

#[cfg(test)]
mod tests;

pub use inspect::{Inspected, Inspection, Standing};

/// The longest text accepted by default, in bytes; 100,000 calls are about 50 MiB.
pub const TEXT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// How many calls an ID may have by default.
pub const CALLS_MAX: usize = 250_000;
/// How many values, counting list elements and fields of input objects, an ID may have by default.
pub const LITERALS_MAX: usize = 4 * 1024 * 1024;
/// How many implicit inputs one call may have.
pub const IMPLICIT_INPUTS_MAX: usize = 64;

/// Bounds on what is read or written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of base64 text.
    pub text_bytes: usize,
    /// Distinct calls.
    pub calls: usize,
    /// Argument values with their elements and fields, over all calls.
    pub literals: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            text_bytes: TEXT_BYTES_MAX,
            calls: CALLS_MAX,
            literals: LITERALS_MAX,
        }
    }
}

/// An ID that was read, and what is known about its digests.
#[derive(Debug, Clone)]
pub struct Decoded {
    /// The ID.
    pub id: Id,
    /// The rules under which every computed digest matched. If no call has a computed digest,
    /// [`Scheme::Xxh3V1`].
    pub scheme: Scheme,
    /// How many calls carry a custom or content digest, which nothing proves. Always 0 under our
    /// own rules.
    pub claims: usize,
}

/// Why an ID cannot be written or read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum WireError {
    /// There is no text.
    #[error("the ID is empty")]
    Empty,
    /// The text is not base64.
    #[error("the ID is not valid base64: {0}")]
    Base64(String),
    /// A [`Limits`] value or a constant bound is exceeded.
    #[error("the ID has more than {limit} {what}")]
    Limit {
        /// What is counted.
        what: &'static str,
        /// The bound.
        limit: usize,
    },
    /// The bytes are not the messages they should be.
    #[error("the ID is malformed: {0}")]
    Malformed(String),
    /// A call that others refer to, or the root, is not in the text.
    #[error("the ID refers to the call `{0}`, which it does not contain")]
    Missing(String),
    /// A call is in the text twice.
    #[error("the ID contains the call {0} twice")]
    Duplicate(String),
    /// A call is in the text but nothing refers to it.
    #[error("the ID contains {0} calls that nothing refers to")]
    Unreferenced(usize),
    /// A call refers to itself, directly or not.
    #[error("the ID is cyclic: the call {0} depends on itself")]
    Cycle(String),
    /// A call stands under another digest than it names.
    #[error("the ID files the call {inner} under {key}")]
    Mismatch {
        /// The map's key.
        key: String,
        /// The call's own claim.
        inner: String,
    },
    /// A digest is not the digest of its call under any known rules.
    #[error("the ID claims the digest {claimed} for `{call}`, but it is {computed}")]
    Forged {
        /// The claimed digest.
        claimed: Digest,
        /// The digest that was computed.
        computed: Digest,
        /// The call's name.
        call: String,
    },
    /// A digest is malformed.
    #[error("the ID contains a malformed digest: {0}")]
    Digest(#[from] DigestError),
    /// A call under our own rules carries a digest that nothing can prove.
    #[error("the call {0} claims a custom or content digest, which our own IDs never do")]
    Claim(Digest),
    /// Calls under different digest rules are mixed.
    #[error("the ID mixes calls under the digest rules {0} and {1}; rehash one of them first")]
    Mixed(Scheme, Scheme),
    /// A value nests deeper than [`LITERAL_DEPTH_MAX`].
    #[error("the ID contains a value that nests more than {LITERAL_DEPTH_MAX} lists and objects")]
    LiteralDepth,
    /// A type nests deeper than [`TYPE_DEPTH_MAX`].
    #[error("the ID contains a type that nests more than {TYPE_DEPTH_MAX} lists")]
    TypeDepth,
    /// The ID names an object of another type than the one asked for.
    #[error("the ID names a `{found}`, not a `{expected}`")]
    Type {
        /// The type asked for.
        expected: String,
        /// The ID's type.
        found: String,
    },
}

/// Writes `id` as text under the default limits.
///
/// # Errors
/// [`WireError::Mixed`] if the graph mixes digest rules, [`WireError::Limit`],
/// [`WireError::LiteralDepth`], [`WireError::TypeDepth`] or [`WireError::Malformed`] for what
/// [`decode`] would refuse.
pub fn encode(id: &Id) -> Result<String, WireError> {
    encode_within(id, &Limits::default())
}

/// Writes `id` as text.
///
/// # Errors
/// As [`encode`].
pub fn encode_within(id: &Id, limits: &Limits) -> Result<String, WireError> {
    Ok(base64_simd::STANDARD.encode_to_string(encode_bytes(id, limits)?))
}

/// Writes `id` as the bytes under the base64.
///
/// # Errors
/// As [`encode`].
pub fn encode_bytes(id: &Id, limits: &Limits) -> Result<Vec<u8>, WireError> {
    encode::dag(id, limits)
}

/// Writes the last call of `id` alone, as base64: it names its receiver by digest only. For spans
/// and reports; cannot be decoded as an ID.
///
/// # Errors
/// As [`encode`].
pub fn encode_call(id: &Id) -> Result<String, WireError> {
    Ok(STANDARD.encode(encode::call(id)?))
}

/// Reads and verifies an ID under the default limits.
///
/// # Errors
/// See [`WireError`].
pub fn decode(text: &str) -> Result<Decoded, WireError> {
    decode_within(text, &Limits::default())
}

/// Reads and verifies an ID under the default limits and checks that it names a `ty`.
///
/// # Errors
/// See [`WireError`].
pub fn decode_typed(text: &str, ty: &str) -> Result<Decoded, WireError> {
    let decoded = decode(text)?;
    let found = decoded.id.ty();
    if found.element().is_some() || found.name() != ty {
        return Err(WireError::Type {
            expected: ty.to_owned(),
            found: found.to_string(),
        });
    }
    Ok(decoded)
}

/// Reads and verifies an ID.
///
/// # Errors
/// See [`WireError`].
pub fn decode_within(text: &str, limits: &Limits) -> Result<Decoded, WireError> {
    decode_bytes(&unwrap_text(text, limits)?, limits)
}

/// Reads an ID under the default limits and says of every call what its digest is worth, also
/// where [`decode`] would refuse it for its digests. Only for showing: what it returns is no key.
///
/// # Errors
/// Those of [`decode`] that are not about digests.
pub fn inspect(text: &str) -> Result<Inspection, WireError> {
    let limits = Limits::default();
    inspect::dag(&unwrap_text(text, &limits)?, &limits)
}

/// The bytes under the base64.
fn unwrap_text(text: &str, limits: &Limits) -> Result<Vec<u8>, WireError> {
    if text.len() > limits.text_bytes {
        return Err(WireError::Limit {
            what: "bytes",
            limit: limits.text_bytes,
        });
    }
    let bytes = match base64_simd::STANDARD.decode_to_vec(text) {
        Ok(bytes) => bytes,
        // The fast decoder does not say what is wrong and where; the other one does.
        Err(_) => STANDARD
            .decode(text)
            .map_err(|error| WireError::Base64(error.to_string()))?,
    };
    if bytes.is_empty() {
        return Err(WireError::Empty);
    }
    Ok(bytes)
}

/// Reads and verifies an ID from the bytes under the base64. The caller has bounded their number.
///
/// # Errors
/// See [`WireError`].
pub fn decode_bytes(bytes: &[u8], limits: &Limits) -> Result<Decoded, WireError> {
    if bytes.is_empty() {
        return Err(WireError::Empty);
    }
    decode::dag(bytes, limits)
}
