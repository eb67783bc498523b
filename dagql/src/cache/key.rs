//! The fixed-size names under which the table in memory knows results.
//!
//! Digests are texts of many kinds and lengths; a [`Key`] is 32 bytes. Keys of different kinds
//! cannot meet: a key is either the 256 bits of one of our own recipe digests, or a BLAKE3 hash
//! under a context string of its own. Keys never leave the process.
//!
//! | key | names |
//! |---|---|
//! | [`Key::of`] | a call, or an object, whose ID says all: equal IDs, equal results |
//! | [`Key::under`] | a call or an object whose ID means another result under each [`Version`](super::Version) |
//! | [`Key::content`] | what an object of one type is |
//! | [`Key::private`] | a result that one session alone may use |
//! | [`Key::element`] | a term on an element, moved to the list it comes from |

use std::fmt;

use super::SessionKey;
use crate::Digest;

/// See the module's manual.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key([u8; 32]);

impl Key {
    /// The key of a digest by itself.
    pub(crate) fn of(digest: &Digest) -> Self {
        let mut key = [0; 32];
        match digest.as_str().strip_prefix("blake3:") {
            Some(text) if text.len() == 64 && lower_hex(text, &mut key) => Self(key),
            _ => Self::derived("dagql 2026-11 other digest", &[digest.as_str().as_bytes()]),
        }
    }

    /// The key of `self` under these versions.
    pub(crate) fn under(self, versions: &[Self]) -> Self {
        let mut parts = vec![self.0.as_slice()];
        parts.extend(versions.iter().map(|version| version.0.as_slice()));
        Self::derived("dagql 2026-11 of a version", &parts)
    }

    /// The key of one of the results that a call had at different times.
    pub(crate) fn generation(self, number: u64) -> Self {
        Self::derived(
            "dagql 2026-11 generation",
            &[&self.0, &number.to_le_bytes()],
        )
    }

    /// The key of everything of type `ty` with this content.
    pub(crate) fn content(ty: &str, content: &Digest) -> Self {
        let parts = [ty.as_bytes(), content.as_str().as_bytes()];
        Self::derived("dagql 2026-11 content", &parts)
    }

    /// The key under which `session` alone finds what is named `self`.
    pub(crate) fn private(self, session: SessionKey) -> Self {
        let number = session.number().to_le_bytes();
        Self::derived("dagql 2026-11 private", &[&self.0, &number])
    }

    /// The self digest of a term on elements, whose inputs are the lists. `at` has an element's
    /// position for each input, 0 where the input is no element.
    pub(crate) fn element(self, at: &[i64]) -> Self {
        if at.iter().all(|nth| *nth == 0) {
            return self;
        }
        let positions: Vec<u8> = at.iter().flat_map(|nth| nth.to_le_bytes()).collect();
        Self::derived("dagql 2026-11 element", &[&self.0, &positions])
    }

    /// 64 of its bits, to be hashed again by a table that has a seed.
    pub(super) fn bits(&self) -> u64 {
        let (bits, _) = self.0.split_at(8);
        u64::from_le_bytes(bits.try_into().expect("eight bytes were split off"))
    }

    fn derived(context: &str, parts: &[&[u8]]) -> Self {
        let mut hasher = ::blake3::Hasher::new_derive_key(context);
        for part in parts {
            hasher.update(&(part.len() as u64).to_le_bytes());
            hasher.update(part);
        }
        Self(*hasher.finalize().as_bytes())
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({})", hex::encode(&self.0[..6]))
    }
}

/// Decodes lower-case hex, the only form our own digests have.
fn lower_hex(text: &str, out: &mut [u8; 32]) -> bool {
    !text.bytes().any(|byte| byte.is_ascii_uppercase()) && hex::decode_to_slice(text, out).is_ok()
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests {
    use super::*;
    use crate::digest::scheme::Scheme;

    #[test]
    fn keys_of_different_kinds_and_parts_differ() {
        let digest = Scheme::Blake3.rules().strings("test", &["a"]);
        let upper = Digest::parse(&format!("blake3:{}", digest.encoded().to_ascii_uppercase()))
            .expect("well formed");
        let key = Key::of(&digest);
        let session = |number| SessionKey::numbered(number);
        let keys = [
            key,
            Key::of(&upper),
            Key::of(&Digest::parse(digest.encoded()).expect("well formed")),
            key.under(&[]),
            key.under(&[key]),
            key.under(&[key, key]),
            key.generation(1),
            key.generation(2),
            key.private(session(1)),
            key.private(session(2)),
            Key::content("T", &digest),
            Key::content("U", &digest),
            key.element(&[1]),
            key.element(&[0, 1]),
            key.element(&[1, 0]),
        ];
        let distinct: std::collections::HashSet<_> = keys.iter().collect();
        assert_eq!(distinct.len(), keys.len());
        assert_eq!(key.element(&[0, 0]), key);
        assert_eq!(
            key.0.as_slice(),
            hex::decode(digest.encoded()).expect("hex")
        );
    }
}
