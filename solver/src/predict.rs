//! Prediction: the keys that BuildKit's cache will have for a graph, without a daemon.
//!
//! ```text
//! Definition --graph.rs--> vertices, inputs first
//!     |   cachemap: digest, selectors, wishes for content       Inputs: what the world knows
//!     v                                                              |
//! cache maps --contents.rs--> content digests <--files.rs-- trees <--+
//!     |                            |
//!     +-------> records.rs <-------+      records and links
//!                   |
//!                   v
//!              config.rs                  in the form and order of a cacheconfig document
//! ```
//! [`predict`] answers what a cache export (`mode=max`) shows after the graph was built on a daemon
//! that had never built anything: each record's digest, and by input its links to other records
//! with their selectors. Layers are not part of it, they hold times.
//!
//! # What is not known is said
//! Content hashes need bytes. Where they are not at hand (what a process writes) or an unpinned
//! source was not resolved, the answer has a [`Missing`] that names the vertex and what is lacking,
//! for exactly the records that depend on it; all others are complete.
//!
//! # Merged vertices
//! If two vertices of one build have equal keys the daemon runs one and drops the other
//! ([`Record::merged`]). Which links of the dropped one survive depends on when the daemon notices,
//! so such a record is marked: what it holds may be there, nothing else will.
//!
//! # Cost
//! Linear in vertices, inputs and links, plus one listing of each tree that is hashed and one
//! reading of each file that is. No walk recurses along the graph, and a diamond is walked once.

mod config;
mod contents;
mod files;
mod graph;
mod inputs;
mod known;
mod maps;
mod missing;
mod predictor;
mod records;
mod selftest;
#[cfg(test)]
mod tests;

use self::predictor::Predictor;
pub use self::{
    inputs::{Files, Hashes, InputError, Inputs, Nothing, Source},
    known::Known,
    missing::{Lack, Missing},
    selftest::{Error as SelfTestError, Verdict, self_test},
};
pub use crate::cacheconfig::Link;
use crate::{
    Digest,
    cacheconfig::{self, Config},
    cachemap::{CacheMap, Profile},
    llb::{self, Definition, Kind},
};

/// The keys of a graph.
#[derive(Debug, Clone, Default)]
pub struct Prediction {
    /// The vertices, inputs before those that use them; the terminal is left out.
    pub vertices: Vec<VertexKeys>,
    /// The records, in the order of a cacheconfig document.
    pub records: Vec<Record>,
    /// What was missing.
    pub missing: Vec<Missing>,
}

/// What is known about a vertex.
#[derive(Debug, Clone)]
pub struct VertexKeys {
    /// Raw digest, the name in the daemon's status.
    pub digest: Digest,
    /// Digest without session noise.
    pub canonical: Digest,
    /// Name for people.
    pub name: String,
    /// Kind of operation.
    pub kind: Kind,
    /// Its cache map; `None` if that is among what is missing.
    pub cache_map: Option<CacheMap>,
    /// Of an image, the second digest: that of its layers.
    pub chain: Option<Digest>,
    /// Its inputs.
    pub inputs: Vec<InputKeys>,
    /// Those of its outputs that are used.
    pub outputs: Vec<OutputKeys>,
}

/// What is known about an input.
#[derive(Debug, Clone)]
pub struct InputKeys {
    /// Position of the vertex that makes it.
    pub vertex: usize,
    /// Which output of that.
    pub output: i64,
    /// Its content, where the vertex is keyed by it.
    pub content: Content,
}

/// The content of an input as a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// It is no key.
    Unused,
    /// The digest of what the vertex selects of it.
    Known(Digest),
    /// Position in [`Prediction::missing`].
    Unknown(usize),
}

/// What is known about an output.
#[derive(Debug, Clone)]
pub struct OutputKeys {
    /// Its index.
    pub output: i64,
    /// Positions of its records; empty if it has none, as a local directory.
    pub records: Vec<usize>,
    /// Positions of what is missing for its records.
    pub unknown: Vec<usize>,
}

/// A cache record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// Digest of cache map and output, or of content.
    pub digest: Digest,
    /// Links by input.
    pub inputs: Vec<Vec<Link>>,
    /// Inputs whose links are not all known, with positions in [`Prediction::missing`].
    pub unknown: Vec<(usize, usize)>,
    /// The outputs it stands for: positions of vertices, and indexes. None for content.
    pub outputs: Vec<(usize, i64)>,
    /// The daemon may merge vertices here, and then export only some of the links.
    pub merged: bool,
}

impl Prediction {
    /// The records as a cache has them that holds just these, without results.
    #[must_use]
    pub fn as_cache(&self) -> Config {
        as_cache(&self.records)
    }
}

/// See [`Prediction::as_cache`].
pub(crate) fn as_cache(records: &[Record]) -> Config {
    let records = records.iter().map(|record| cacheconfig::Record {
        digest: record.digest.clone(),
        inputs: record.inputs.clone(),
        results: Vec::new(),
    });
    Config {
        layers: Vec::new(),
        records: records.collect(),
    }
}

/// Predicts the keys of a graph under a daemon of these releases.
///
/// # Errors
///
/// If the definition is malformed; see [`Definition::output`]. What cannot be told of a sound
/// definition is no error, see [`Missing`].
pub fn predict(
    definition: &Definition,
    inputs: &dyn Inputs,
    profile: Profile,
) -> Result<Prediction, llb::Error> {
    let Some(result) = definition.output()? else {
        return Ok(Prediction::default());
    };
    Ok(Predictor::new(&result, inputs, profile).finish())
}
