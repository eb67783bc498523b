//! What a cache export holds: records of BuildKit's cache and the layers of their results.
//!
//! The document (`application/vnd.buildkit.cacheconfig.v0`) is JSON: a list of layers, each a blob
//! on top of a parent, and a list of records, each a digest with links to other records by input.
//! It travels in three containers: as the config of an image manifest, in a registry or a local
//! directory; as an entry of an index; or, records only, in the config of an image, whose layers
//! the records then name by position (inline). A daemon's debug endpoint lists its own store in a
//! form of its own ([`parse_store`]). [`read`](self::parse) takes the document itself;
//! getting hold of it is the caller's business ([`locate`] says where it is).
//!
//! A record's digest says what was done and not with what: all merges of two inputs have the same.
//! Which record it is, is its place in the graph of links. [`Config::canonical`] makes that one
//! digest, by which records of any two caches can be compared. Positions in the document, and the
//! daemon's own ids, mean nothing outside of it.
//!
//! # Bad documents
//! A document may come from a registry that anybody can write to. Sizes are bounded, positions are
//! checked, loops of links or parents and unknown selectors are errors, and every error names the
//! place in the document. Nothing recurses.

mod canonical;
mod locate;
mod matching;
mod read;
mod store;

#[cfg(test)]
mod tests;

pub use locate::{Blob, Place, diff_ids, image_layers, image_platform, inline_records, locate};
pub use matching::{Matches, known_matches, matches};
pub use read::{parse, parse_inline};
pub use store::{STORE_BYTES_MAX, parse_store};

use crate::Digest;

/// Media type of the document.
pub const MEDIA_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";

/// Key of the inline cache in an image config.
pub const INLINE_KEY: &str = "moby.buildkit.cache.v0";

/// Largest document, in bytes. The daemon itself reads 1 MiB of one blob at a time; the largest
/// known builds have some 20,000 records of 200 bytes.
pub const DOCUMENT_BYTES_MAX: usize = 64 << 20;

/// Most records, and most layers, of one document.
pub const ITEMS_MAX: usize = 1_000_000;

/// Most links of one document.
const LINKS_MAX: usize = 4 * ITEMS_MAX;

/// A cache, as its document says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Config {
    /// Blobs; a parent has a smaller position than its child.
    pub layers: Vec<Layer>,
    /// Records, in the order of the document.
    pub records: Vec<Record>,
}

/// A blob on top of another one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the blob, as it is stored.
    pub blob: Digest,
    /// Position of the layer below.
    pub parent: Option<usize>,
    /// Digest of the uncompressed layer, where the document or its container says it.
    pub diff_id: Option<Digest>,
    /// Bytes of the blob, likewise.
    pub size: Option<u64>,
    /// Media type of the blob, likewise.
    pub media_type: Option<String>,
}

/// A cache record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Digest of cache map and output, or of content.
    pub digest: Digest,
    /// Links by input: alternatives, any of which leads here.
    pub inputs: Vec<Vec<Link>>,
    /// Top layers of its results; none for a record whose result is not in the cache.
    pub results: Vec<usize>,
}

/// A link to the record of an input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Link {
    /// Position of the record.
    pub record: usize,
    /// Which part of it is used; `None` is an empty selector.
    pub selector: Option<Digest>,
}

/// What is wrong with a document.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
pub enum Error {
    /// It is too large.
    #[error("it has {bytes} bytes, more than {max}")]
    TooLarge {
        /// Its size.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// It is not JSON of this shape.
    #[error("it is no cache config: {0}")]
    Shape(String),
    /// Something in it is wrong.
    #[error("{place}: {reason}")]
    At {
        /// For example `records[3].inputs[0][1].link`.
        place: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    fn at(place: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::At {
            place: place.into(),
            reason: reason.into(),
        }
    }
}

impl Config {
    /// The layers of a result, lowest first.
    #[must_use]
    pub fn chain(&self, top: usize) -> Vec<usize> {
        let mut chain: Vec<usize> =
            std::iter::successors(Some(top), |&layer| self.layers[layer].parent).collect();
        chain.reverse();
        chain
    }

    /// For each record, a digest of the record and of all that it is linked to: equal for equal
    /// records of any two caches.
    ///
    /// It is sha256 of lines: the record's digest, then per link `<input> <selector> <digest>`
    /// with the canonical digest of the linked record, those of one input in order and without
    /// repetition; a missing selector is empty.
    #[must_use]
    pub fn canonical(&self) -> Vec<Digest> {
        canonical::digests(&self.records)
    }
}
