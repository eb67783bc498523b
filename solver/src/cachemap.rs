//! Cache maps: what each operation contributes to BuildKit's cache keys.
//!
//! The daemon never keys its cache by vertex digests. For each vertex it computes a *cache map*: a
//! digest of the operation itself, and for each input a *selector* (which part of the input is
//! used) and possibly a wish to be keyed by the *content* of the input rather than by how the
//! input came to be. A cache record is then the digest of the cache map and the output
//! ([`record`]), linked per input and selector to the records of the inputs.
//!
//! | operation | preimage of the digest |
//! |---|---|
//! | exec | JSON of the operation without what does not change the result: addresses of extra hosts, proxies, ids of caches, selectors; and the platform. A lone plain root mount is left out. |
//! | file | JSON of the list of actions, each JSON in base64; of a copy's source only the last part; indexes only where they are not the usual chain |
//! | merge, diff, build, passthrough | JSON of the operation |
//! | source | a text made from what the source resolves to |
//!
//! The JSON is that of Go's `encoding/json` over Go's generated types: declared order, zero fields
//! left out, but an empty message kept.
//!
//! All operations but sources follow from themselves. A source follows only where it is pinned: an
//! image or a blob by digest, a file by checksum, a repository by commit. [`of`] says [`Unknown`]
//! and never guesses.
//!
//! Formulas changed between releases; a [`Profile`] is a range of releases with the same ones.

mod content;
mod exec;
mod file;
mod graph;
mod json;
mod operation;
mod profile;
mod source;

use proto::pb;

pub(crate) use self::file::has_wildcards;
pub use self::{
    content::ContentSelector,
    operation::operation,
    profile::{Choice, Profile},
    source::{Resolved, chain},
};
use crate::{
    Digest,
    llb::{Platform, Vertex},
};

/// What the daemon finds out when it runs, for an operation that does not say it itself.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The platform of the worker, for an operation that leaves it open.
    pub platform: Option<Platform>,
    /// What a source resolves to.
    pub resolved: Option<Resolved>,
}

/// What an operation contributes to the cache keys of its outputs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CacheMap {
    /// Digest of the operation.
    pub digest: Digest,
    /// By input.
    pub inputs: Vec<InputMap>,
}

/// How an operation depends on one input.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InputMap {
    /// Which part of the input is used; `None` is an empty selector.
    pub selector: Option<Digest>,
    /// What to hash of the input's content for an additional key; `None` for no such key. An empty
    /// list is the whole tree.
    pub content: Option<Vec<ContentSelector>>,
}

/// Why a cache map does not follow from the operation alone.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Unknown {
    /// The source is a name that stands for different things at different times.
    #[error("{0} is resolved when the build runs")]
    Resolved(&'static str),
    /// A local directory: each session has its own key, and consumers are keyed by content.
    #[error("a local directory is keyed by its content")]
    Content,
    /// The operation leaves the platform to the worker.
    #[error("the worker chooses the platform")]
    Platform,
    /// An operation or attribute of a later release than this code knows.
    #[error("{0} is not known")]
    Unsupported(String),
    /// The daemon refuses the operation.
    #[error("the daemon refuses the operation: {0}")]
    Invalid(String),
}

/// The cache map of a vertex under a daemon of these releases. Of an image this is the first of
/// two; the second is the chain id of its layers.
///
/// # Errors
///
/// If it does not follow from the operation.
pub fn of(vertex: &Vertex, profile: Profile) -> Result<CacheMap, Unknown> {
    with_facts(vertex, profile, &Facts::default())
}

/// The cache map of a vertex, with what is known about the worker and about what its source
/// resolves to.
///
/// # Errors
///
/// If it follows neither from the operation nor from the facts.
pub fn with_facts(vertex: &Vertex, profile: Profile, facts: &Facts) -> Result<CacheMap, Unknown> {
    let op = vertex.op();
    match &op.op {
        Some(pb::op::Op::Exec(exec)) => exec::map(exec, op, profile, facts),
        Some(pb::op::Op::File(file)) => file::map(file, op, profile),
        Some(pb::op::Op::Source(source)) => source::map(source, op, profile, facts),
        Some(pb::op::Op::Merge(merge)) => graph::merge(merge, profile),
        Some(pb::op::Op::Diff(diff)) => graph::diff(diff, profile),
        Some(pb::op::Op::Build(build)) => graph::build(build, op, profile),
        Some(pb::op::Op::Passthrough(passthrough)) => graph::passthrough(passthrough, op, profile),
        None => Err(Unknown::Invalid("it is the terminal vertex".to_owned())),
    }
}

/// What the digest of a cache map is the hash of, for people: the text that is hashed, then the text
/// behind a digest in it. Contents of files are replaced by their sizes, the actions of a file
/// operation are written out.
///
/// # Errors
///
/// As [`with_facts`].
pub fn preimages(vertex: &Vertex, profile: Profile, facts: &Facts) -> Result<Vec<String>, Unknown> {
    let op = vertex.op();
    let json = match &op.op {
        Some(pb::op::Op::Exec(exec)) => exec::json(exec, op, profile, facts)?,
        Some(pb::op::Op::File(file)) => file::readable(file, op, profile)?,
        Some(pb::op::Op::Merge(merge)) => graph::merge_json(merge, profile),
        Some(pb::op::Op::Diff(diff)) => graph::diff_json(diff, profile),
        Some(pb::op::Op::Build(build)) => graph::build_json(build, profile),
        Some(pb::op::Op::Passthrough(passthrough)) => graph::passthrough_json(passthrough),
        Some(pb::op::Op::Source(source)) => {
            return source::preimages(source::key(source, op, profile, facts)?, profile);
        }
        None => return Err(Unknown::Invalid("it is the terminal vertex".to_owned())),
    };
    Ok(vec![json.text(profile)?])
}

/// The digest of the cache map under the newest known daemon, where it follows from the operation.
#[must_use]
pub fn digest(vertex: &Vertex) -> Option<Digest> {
    of(vertex, Profile::NEWEST).ok().map(|map| map.digest)
}

/// Digest of the cache record of one output of a vertex with this cache map.
#[must_use]
pub fn record(cache_map: &Digest, output: i64) -> Digest {
    Digest::sha256(format!("{cache_map}@{output}").as_bytes())
}

#[cfg(test)]
mod tests;
