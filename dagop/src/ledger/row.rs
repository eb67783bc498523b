//! The ledger's rows, as they are stored and as reports show them.

use std::borrow::Cow;
use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::{DagOpKind, Outcome, TEXT_BYTES_MAX, VertexKind, outcome::words};
use crate::event::{ScopeInput, UnixMillis};

words! {
    /// Where a build stands.
    #[derive(Default)]
    BuildState {
        /// It has begun and not ended. A build whose process was killed stays so.
        #[default]
        Unfinished = "unfinished",
        /// Every request was answered without an error.
        Succeeded = "succeeded",
        /// At least one request had an error.
        Failed = "failed",
        /// The user stopped it.
        Cancelled = "cancelled",
    }
}

words! {
    /// Where a statement about the cache comes from.
    Evidence {
        /// Computed from the operation and what is known of its inputs.
        Predicted = "predicted",
        /// A cache that was exported to, or imported from, a directory.
        Local = "local",
        /// A cache in a registry.
        Registry = "registry",
        /// The cache that an image carries in its config.
        Inline = "inline",
        /// The manifest of an image that was pushed or written: its layers end with those of the
        /// step that made its root.
        Image = "image",
        /// The daemon's own store, through its debug endpoint.
        Daemon = "daemon",
    }
}

words! {
    /// Whether a cache that a build was told to read could be read by us too.
    ImportState {
        /// It could; what it has is known.
        Read = "read",
        /// Nothing is there under its name.
        Absent = "absent",
        /// It could not; what it has is not known.
        Unread = "unread",
    }
}

words! {
    /// What a cache has of one output of a vertex.
    Imported {
        /// No record of its key.
        NoRecord = "no record",
        /// A record that has no layers with it.
        NoResult = "no result",
        /// A record, but a blob of its layers is not there.
        NoBlob = "no blob",
        /// A record and all blobs.
        Whole = "whole",
        /// There is a record of such an operation, and it is not known whether of the same inputs.
        Unclear = "unclear",
    }
}

impl Imported {
    /// How near it comes to a result that can be used; the greater the nearer.
    pub(crate) fn rank(self) -> u8 {
        match self {
            Self::NoRecord => 0,
            Self::Unclear => 1,
            Self::NoResult => 2,
            Self::NoBlob => 3,
            Self::Whole => 4,
        }
    }
}

/// One build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRow {
    /// Its number in this ledger, from 1; absent until it is written.
    pub number: Option<u64>,
    /// Our id: 16 hexadecimal digits.
    pub id: String,
    /// Where it stands.
    pub state: BuildState,
    /// When it began.
    pub started_ms: UnixMillis,
    /// When it ended.
    pub finished_ms: Option<UnixMillis>,
    /// Address of the daemon.
    pub daemon: String,
    /// Version of the daemon.
    pub daemon_version: String,
    /// The daemon's name for the build.
    pub daemon_ref: Option<String>,
    /// Calls and vertices beyond the limits, which have no row.
    pub rows_dropped: u64,
}

/// One call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CallRow {
    /// Its number in the build.
    pub call: u64,
    /// The number of the call whose result it is made on.
    pub parent: Option<u64>,
    /// Response keys from the root, joined by dots.
    pub path: String,
    /// The call as text, sensitive arguments hidden.
    pub display: String,
    /// Digest of the call.
    pub call_key: String,
    /// The implicit inputs within that key.
    pub scopes: Vec<ScopeInput>,
    /// What the result cache filed it under.
    pub storage_key: String,
    /// What it is to the daemon.
    pub kind: DagOpKind,
    /// Raw digest of the vertex that carries its result.
    pub vertex: Option<String>,
    /// The canonical digest of that vertex.
    pub canonical: Option<String>,
    /// The cache map digest predicted for it.
    pub predicted_cache_map: Option<String>,
    /// Raw digests of its other vertices.
    pub other_vertices: Vec<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Bytes its vertices moved.
    pub bytes: u64,
    /// When the engine took it up.
    pub started_ms: UnixMillis,
    /// When the engine had its value.
    pub finished_ms: Option<UnixMillis>,
    /// The kind of its failure.
    pub error_class: Option<String>,
}

/// One vertex.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VertexRow {
    /// Its number in the build, from 0, in the order in which they became known.
    pub number: u64,
    /// Raw digest.
    pub raw: String,
    /// Canonical digest; absent for a vertex we did not make.
    pub canonical: Option<String>,
    /// Name.
    pub name: String,
    /// Kind of op.
    pub kind: VertexKind,
    /// The cache map digest predicted for it.
    pub predicted_cache_map: Option<String>,
    /// What became of it.
    pub outcome: Outcome,
    /// Bytes it moved.
    pub bytes: u64,
    /// When it began.
    pub started_ms: Option<UnixMillis>,
    /// When it ended.
    pub completed_ms: Option<UnixMillis>,
    /// Its definition says that it is to run whatever the cache has.
    #[serde(default)]
    pub ignore_cache: bool,
}

impl CallRow {
    /// This call and those that it is made on, up to the root. `by_number` has the build's calls.
    pub(crate) fn and_above<'a, 'm>(
        &'a self,
        by_number: &'m HashMap<u64, &'a Self>,
    ) -> impl Iterator<Item = &'a Self> + use<'a, 'm> {
        std::iter::successors(Some(self), |call| {
            // A parent has a smaller number, so that this ends.
            let parent = call.parent.filter(|&parent| parent < call.call)?;
            by_number.get(&parent).copied()
        })
    }
}

impl VertexRow {
    /// Order of start; those that never started last.
    pub fn by_start(a: &Self, b: &Self) -> std::cmp::Ordering {
        let key = |row: &Self| (row.started_ms.is_none(), row.started_ms);
        key(a).cmp(&key(b)).then_with(|| a.raw.cmp(&b.raw))
    }
}

/// A cache record of one output of a vertex: where its result is filed in a BuildKit cache.
///
/// `digest` is what the daemon calls the record, sha256 of `<cache map digest>@<output>`. It says
/// nothing of the inputs; `canonical` is the digest of the record with all its links, the same for
/// equal records of any two daemons or caches.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct RecordRow {
    /// Raw digest of the vertex.
    pub vertex: String,
    /// Which of its outputs.
    pub output: u64,
    /// Where it was seen.
    pub evidence: Evidence,
    /// Digest of the record.
    pub digest: String,
    /// Digest of the record and everything it is linked to, where all of that is known.
    pub canonical: Option<String>,
    /// Number of the layer on top of its result; the layers below are that one's parents.
    pub layer: Option<u64>,
}

/// A vertex that has a record, in the newest build that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recorded {
    /// Id of the build.
    pub build: String,
    /// Canonical digest.
    pub canonical: String,
    /// Name.
    pub name: String,
    /// Kind of op.
    pub kind: VertexKind,
}

/// One layer of a result.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRow {
    /// Its number in the build, from 0. Its parent has a smaller one.
    pub number: u64,
    /// The layer below.
    pub parent: Option<u64>,
    /// Digest of the compressed blob.
    pub blob: String,
    /// Digest of the uncompressed layer.
    pub diff_id: Option<String>,
    /// Digest of this and all layers below: the name of the snapshot.
    pub chain_id: Option<String>,
    /// Bytes of the blob.
    pub size: Option<u64>,
    /// Media type of the blob.
    pub media_type: Option<String>,
}

/// The content of one input of a vertex, as the vertex is keyed by it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ContentRow {
    /// Raw digest of the vertex.
    pub vertex: String,
    /// Which input.
    pub input: u64,
    /// Digest of the content record, sha256 of `<content digest>@-1`.
    pub record: String,
    /// Where it was seen.
    pub evidence: Evidence,
}

/// What a name stood for when the build asked.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct SourceRow {
    /// Kind of source.
    pub kind: VertexKind,
    /// The name: an image reference, a URL, a repository and its ref.
    pub asked: String,
    /// The digest, checksum or commit it stood for.
    pub resolved: String,
}

/// Which tree a local source gave.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct TreeRow {
    /// Raw digest of the source vertex.
    pub vertex: String,
    /// Digest of the tree; [`super::Reader::listing`] has its files.
    pub listing: String,
}

/// A cache outside of the daemon that a build was told to read.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImportRow {
    /// Its place among those of the build, from 0.
    pub number: u64,
    /// `local`, `registry` ...
    pub kind: String,
    /// Which one: the directory, the reference. No other attribute is kept, as some are secret.
    pub name: String,
    /// Whether we could read it.
    pub state: ImportState,
}

/// What such a cache has of one output of a vertex.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ImportedRow {
    /// Number of the import.
    pub import: u64,
    /// Raw digest of the vertex.
    pub vertex: String,
    /// Which of its outputs.
    pub output: u64,
    /// What there is.
    pub state: Imported,
    /// The blob that is missing.
    pub blob: Option<String>,
}

/// What is known of the cache for one build.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CacheRows {
    /// Records of vertices.
    pub records: Vec<RecordRow>,
    /// Their layers, parents first; a layer's number is its place.
    pub layers: Vec<LayerRow>,
    /// Content of inputs.
    pub contents: Vec<ContentRow>,
    /// What names stood for.
    pub sources: Vec<SourceRow>,
    /// Trees of local sources.
    pub trees: Vec<TreeRow>,
    /// Caches that the build was told to read.
    #[serde(default)]
    pub imports: Vec<ImportRow>,
    /// What they have of its vertices.
    #[serde(default)]
    pub imported: Vec<ImportedRow>,
}

/// An operation, shared by all vertices that ask for the same thing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperationRow {
    /// Canonical digest.
    pub digest: String,
    /// Name of the first vertex that asked for it.
    pub name: String,
    /// Its inputs.
    pub inputs: Vec<InputRow>,
    /// The operation field by field, see [`solver::cachemap::operation`]. Null when it was larger
    /// than [`super::OPERATION_BYTES_MAX`], or recorded by a version that kept none.
    pub fields: serde_json::Value,
}

/// One input of an operation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct InputRow {
    /// Canonical digest of the vertex below.
    pub vertex: String,
    /// Which of its outputs.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub output: u64,
    /// Which part of the input is used: a digest, as cache records name it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<String>,
    /// The paths whose content is an additional key; empty for the whole tree, absent if there is
    /// no such key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<Vec<String>>,
}

fn is_zero(number: &u64) -> bool {
    *number == 0
}

/// `text` with its middle left out when it is longer than [`TEXT_BYTES_MAX`].
pub(super) fn clip(text: &str) -> Cow<'_, str> {
    if text.len() <= TEXT_BYTES_MAX {
        return Cow::Borrowed(text);
    }
    const MARK: &str = "…";
    let half = (TEXT_BYTES_MAX - MARK.len()) / 2;
    let head = (0..=half)
        .rev()
        .find(|&at| text.is_char_boundary(at))
        .unwrap_or(0);
    let tail = (text.len() - half..=text.len()).find(|&at| text.is_char_boundary(at));
    let tail = tail.unwrap_or(text.len());
    Cow::Owned(format!("{}{MARK}{}", &text[..head], &text[tail..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_text_loses_its_middle_between_characters() {
        assert_eq!(clip("short"), "short");
        let long = format!("a{}z", "€".repeat(TEXT_BYTES_MAX));
        let clipped = clip(&long);
        assert!(clipped.len() <= TEXT_BYTES_MAX);
        assert!(clipped.starts_with("a€") && clipped.ends_with("€z") && clipped.contains('…'));
    }
}
