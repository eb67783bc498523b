//! A sha256 as bytes: half the size of its text, of which a tree has as many as it has entries.

use sha2::{Digest as _, Sha256};

use crate::digest::Digest;

/// Bytes of a sha256.
pub(crate) const SUM_LEN: usize = 32;

/// A sha256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sum(pub(crate) [u8; SUM_LEN]);

impl From<Sum> for Digest {
    fn from(sum: Sum) -> Self {
        Self::from_sha256(&sum.0)
    }
}

/// Makes a [`Sum`].
#[derive(Clone, Default)]
pub(crate) struct Summer(Sha256);

impl Summer {
    pub(crate) fn update(&mut self, data: &[u8]) {
        self.0.update(data);
    }

    /// Appends the text of a digest, which is how digests enter other digests.
    pub(crate) fn update_digest(&mut self, sum: &Sum) {
        let mut text = *b"sha256:0000000000000000000000000000000000000000000000000000000000000000";
        // The buffer has the length that encoding needs.
        let _ = hex::encode_to_slice(sum.0, &mut text[b"sha256:".len()..]);
        self.0.update(text);
    }

    pub(crate) fn finish(self) -> Sum {
        Sum(self.0.finalize().into())
    }
}
