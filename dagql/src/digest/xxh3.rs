//! Dagger's rules, both versions: 64-bit xxh3 with seed 0 over fields that end in a zero byte.
//!
//! These exist to read, verify and show genuine Dagger IDs bit for bit. New calls are never keyed
//! by them.
//!
//! Notation: `S(x)` = the bytes of x, then 00. `B(b)` = the byte b, then 00. `D` = 00. Integers are
//! big-endian, then 00.
//!
//! ```text
//! call     = receiver, in version 1: S(digest, or "" when there is none)
//!            receiver, in version 2: S(digest), or nothing when there is none
//!            D
//!            per level of the type from the outermost: S(name or "") B(2 if non-null else 1) D
//!            D
//!            S(field) D
//!            per argument that is not sensitive: S(name) literal D
//!            D
//!            nth:i64 D
//!            module, if any: S(digest of its call) S(name) S(ref) S(pin)
//!            D
//!            S(view) D
//! literal  = B('0') S(digest) D             ID
//!            B('1') B(1) D                  null
//!            B('2') B(1 if true else 2) D   bool
//!            B('3') S(name) D               enum
//!            B('4') i64 D                   int
//!            B('5') bits D                  float
//!            B('6') S(text) D               string
//!            B('7') literal… D              list
//!            B('8') (S(name) literal D)… D  object
//! parts    = S(part)…
//! element  = digest of the list as text, then nth as 8 bytes little-endian
//! ```
//!
//! Version 1 is the seed's commit 996e343d1e. Version 2 is the state after 8993b56668: for the
//! receiver and for IDs in arguments it prefers the *content* digest where one is known, so equal
//! content made by different recipes gives equal children. Implicit inputs do not exist in either
//! and are ignored.

use super::Digest;
use super::scheme::{DigestScheme, Scheme};
use crate::id::{Argument, Call, Id};
use crate::literal::Literal;

/// Dagger's rules in one of their two versions. The preimages are written down at the top of
/// `digest/xxh3.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Xxh3 {
    content_aware: bool,
}

const BASE32_HEX: &[u8; 32] = b"0123456789abcdefghijklmnopqrstuv";

impl Xxh3 {
    /// The seed's rules.
    pub const V1: Self = Self {
        content_aware: false,
    };
    /// The rules after content digests were split off.
    pub const V2: Self = Self {
        content_aware: true,
    };

    /// The digest of a call that is `original` plus internal arguments added afterwards, as
    /// Dagger's DagOps name the inner call that does the work.
    #[must_use]
    pub fn rewritten(self, original: &Digest, added: &[Argument]) -> Digest {
        let mut preimage = Vec::new();
        string(&mut preimage, original.as_str());
        for argument in added {
            string(&mut preimage, argument.name());
            self.literal(&mut preimage, argument.value());
            preimage.push(0);
        }
        self.finish(&preimage)
    }

    /// The DNS label Dagger derives from bytes: 13 characters of lower-case base32hex. For a
    /// service these are the bytes under the hex of its digest, for a session's domain the text of
    /// the session ID.
    #[must_use]
    pub fn host_label(self, bytes: &[u8]) -> String {
        let sum = xxhash_rust::xxh3::xxh3_64(bytes);
        // 64 bits are twelve groups of five and one of four, padded on the right.
        let groups = (0..13_u32).map(|group| {
            if group < 12 {
                sum >> (59 - 5 * group)
            } else {
                sum << 1
            }
        });
        groups
            .map(|bits| char::from(BASE32_HEX[(bits & 31) as usize]))
            .collect()
    }

    /// The digest that stands for `id` inside another call.
    fn reference(self, id: &Id) -> &str {
        let content = if self.content_aware {
            id.content_digest()
        } else {
            None
        };
        content.unwrap_or_else(|| id.digest()).as_str()
    }

    /// Recursion is bounded by [`crate::literal::LITERAL_DEPTH_MAX`].
    fn literal(self, out: &mut Vec<u8>, value: &Literal) {
        match value {
            Literal::Id(id) => {
                byte(out, b'0');
                string(out, self.reference(id));
            }
            Literal::Null => {
                byte(out, b'1');
                byte(out, 1);
            }
            Literal::Bool(value) => {
                byte(out, b'2');
                byte(out, if *value { 1 } else { 2 });
            }
            Literal::Enum(name) => {
                byte(out, b'3');
                string(out, name);
            }
            Literal::Int(value) => {
                byte(out, b'4');
                word(out, value.to_be_bytes());
            }
            Literal::Float(value) => {
                byte(out, b'5');
                word(out, value.to_bits().to_be_bytes());
            }
            Literal::String(text) => {
                byte(out, b'6');
                string(out, text);
            }
            Literal::List(values) => {
                byte(out, b'7');
                values.iter().for_each(|value| self.literal(out, value));
            }
            Literal::Object(fields) => {
                byte(out, b'8');
                for (name, value) in fields {
                    string(out, name);
                    self.literal(out, value);
                    out.push(0);
                }
            }
        }
        out.push(0);
    }
}

impl DigestScheme for Xxh3 {
    fn scheme(&self) -> Scheme {
        if self.content_aware {
            Scheme::Xxh3V2
        } else {
            Scheme::Xxh3V1
        }
    }

    fn call_preimage(&self, receiver: Option<&Id>, call: &Call, out: &mut Vec<u8>) {
        match receiver {
            Some(receiver) => string(out, self.reference(receiver)),
            None if self.content_aware => {}
            None => string(out, ""),
        }
        out.push(0);
        for level in call.ty().levels() {
            string(
                out,
                if level.element().is_some() {
                    ""
                } else {
                    level.name()
                },
            );
            byte(out, if level.is_non_null() { 2 } else { 1 });
            out.push(0);
        }
        out.push(0);
        string(out, call.field());
        out.push(0);
        for argument in call.public_args() {
            string(out, argument.name());
            self.literal(out, argument.value());
            out.push(0);
        }
        out.push(0);
        word(out, call.nth().to_be_bytes());
        out.push(0);
        if let Some(module) = call.module() {
            string(out, module.id().digest().as_str());
            string(out, module.name());
            string(out, module.source());
            string(out, module.pin());
        }
        out.push(0);
        string(out, call.view());
        out.push(0);
    }

    fn parts_preimage(&self, _domain: &str, parts: &[&[u8]], out: &mut Vec<u8>) {
        for part in parts {
            out.extend_from_slice(part);
            out.push(0);
        }
    }

    fn finish(&self, preimage: &[u8]) -> Digest {
        Digest::rendered(&format!(
            "xxh3:{:016x}",
            xxhash_rust::xxh3::xxh3_64(preimage)
        ))
    }

    fn custom_digests(&self) -> bool {
        true
    }

    fn element(&self, list: &Id, nth: i64) -> Option<Digest> {
        let mut preimage = list.digest().as_str().as_bytes().to_vec();
        preimage.extend(nth.to_le_bytes());
        Some(self.finish(&preimage))
    }
}

fn string(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(text.as_bytes());
    out.push(0);
}

fn byte(out: &mut Vec<u8>, value: u8) {
    out.extend([value, 0]);
}

fn word(out: &mut Vec<u8>, value: [u8; 8]) {
    out.extend(value);
    out.push(0);
}
