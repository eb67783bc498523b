//! The ledger's rows, as they are stored and as reports show them.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{DagOpKind, Outcome, TEXT_BYTES_MAX, VertexKind, outcome::words};
use crate::event::{ScopeInput, UnixMillis};

words! {
    /// Where a build stands.
    BuildState {
        /// It has begun and not ended. A build whose process was killed stays so.
        Unfinished = "unfinished",
        /// Every request was answered without an error.
        Succeeded = "succeeded",
        /// At least one request had an error.
        Failed = "failed",
        /// The user stopped it.
        Cancelled = "cancelled",
    }
}

/// One build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BuildRow {
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
