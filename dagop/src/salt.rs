//! The salt: an engine key carried into BuildKit's cache key.
//!
//! A stock daemon hashes only what LLB says, so the storage key of a scoped or
//! TTL call has to be said in LLB, in a field that changes nothing else:
//!
//! - An exec gets an *optional secret mount* whose id is [`Salt::secret_id`].
//!   The id is hashed. The session answers "not found", and an optional secret
//!   that is not found is not mounted: no file, no directory, no variable.
//! - A file op gets a first action that removes [`Salt::path`], a name nobody
//!   has, with "not found" allowed.
//!
//! Same storage key, same BuildKit key: the step hits again. Another storage
//! key (another session, an expired TTL row), another BuildKit key.

/// Prefix of the secret id; the session answers "not found" for all of them.
pub const SECRET_PREFIX: &str = "dagop.mix/";

/// Prefix of the path that a salted file op removes.
pub const FILE_PREFIX: &str = "/.dagop.mix-";

/// Where the secret would be mounted if there were one.
pub const MOUNT: &str = "/.dagop/mix";

/// An engine storage key on its way into LLB.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Salt(String);

impl Salt {
    /// The salt of a storage key.
    pub fn new(storage_key: &str) -> Self {
        Self(storage_key.to_owned())
    }

    /// The storage key.
    pub(crate) fn key(&self) -> &str {
        &self.0
    }

    /// Secret id for an exec.
    pub fn secret_id(&self) -> String {
        format!("{SECRET_PREFIX}{}", self.0)
    }

    /// Path for a file op: named by a digest,
    /// so that it removes nothing whatever the key contains.
    pub fn path(&self) -> String {
        format!("{FILE_PREFIX}{}", self.digest())
    }

    /// Whether `text`, which followed one of the prefixes, is this salt.
    pub fn is(&self, text: &str) -> bool {
        text == self.0 || text == self.digest()
    }

    fn digest(&self) -> String {
        blake3::hash(self.0.as_bytes()).to_hex().to_string()
    }
}
