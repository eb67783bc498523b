//! Progress of a build: typed updates, and the state that they add up to.
//!
//! The daemon streams changes. A vertex is announced (name and inputs), started,
//! and completed with or without an error; it can start and complete more than
//! once (a source is resolved, then pulled), so the last state counts and the
//! earliest start. Statuses are parts of a vertex such as a layer, identified
//! within the vertex. Logs are pieces of output and not lines.
//!
//! [`Progress`] applies updates in order and answers what is known now.

use std::collections::BTreeMap;
use std::time::SystemTime;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use proto::{control, pb};

use super::client::Client;
use super::control::time;
use super::error::Error;
use crate::Digest;

/// Most vertices that [`Progress`] keeps; further ones are not recorded. A graph
/// is bounded by the message size, so only a broken daemon gets here.
pub const VERTICES_MAX: usize = 1 << 20;

/// Most statuses that [`Progress`] keeps for one vertex.
pub const STATUSES_MAX: usize = 1 << 16;

/// Changes since the previous update.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct StatusUpdate {
    /// Vertices whose state changed.
    pub vertices: Vec<VertexState>,
    /// Parts whose progress changed.
    pub statuses: Vec<VertexStatus>,
    /// Output, in order for each vertex and stream.
    pub logs: Vec<VertexLog>,
    /// Warnings.
    pub warnings: Vec<VertexWarning>,
}

/// State of a vertex.
#[derive(Debug, Clone, PartialEq)]
pub struct VertexState {
    /// Digest as the daemon computed it.
    pub digest: Digest,
    /// Digests of its inputs.
    pub inputs: Vec<Digest>,
    /// What it does, in words.
    pub name: String,
    /// Whether the result came from the cache.
    pub cached: bool,
    /// When it started.
    pub started: Option<SystemTime>,
    /// When it completed, successfully or not.
    pub completed: Option<SystemTime>,
    /// Why it failed; empty = it did not.
    pub error: String,
    /// The group it is shown in.
    pub group: Option<pb::ProgressGroup>,
}

/// Progress of a part of a vertex.
#[derive(Debug, Clone, PartialEq)]
pub struct VertexStatus {
    /// The vertex.
    pub vertex: Digest,
    /// Id of the part within the vertex, for example a layer digest.
    pub id: String,
    /// What it does, in words.
    pub name: String,
    /// Done so far, in units of the part (bytes for transfers).
    pub current: i64,
    /// All there is to do; 0 = not known.
    pub total: i64,
    /// When this was measured.
    pub time: Option<SystemTime>,
    /// When it started.
    pub started: Option<SystemTime>,
    /// When it completed.
    pub completed: Option<SystemTime>,
}

/// Where output came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LogStream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Any other number.
    Other(i64),
}

/// A piece of output of a vertex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VertexLog {
    /// The vertex.
    pub vertex: Digest,
    /// When it was written.
    pub time: Option<SystemTime>,
    /// Which stream.
    pub stream: LogStream,
    /// The bytes; may start and end inside a line or a character.
    pub data: Bytes,
}

/// A warning about a vertex.
#[derive(Debug, Clone, PartialEq)]
pub struct VertexWarning {
    /// The vertex.
    pub vertex: Digest,
    /// Severity, 1 and up; lower is more severe.
    pub level: i64,
    /// The warning in one line.
    pub short: Bytes,
    /// More text.
    pub detail: Vec<Bytes>,
    /// Where to read about it.
    pub url: String,
    /// The text it is about.
    pub source: Option<pb::SourceInfo>,
    /// Where in that text.
    pub ranges: Vec<pb::Range>,
}

impl StatusUpdate {
    /// Reads a message.
    ///
    /// # Errors
    /// [`Error::Protocol`] when a digest in it is none.
    pub fn from_wire(wire: control::StatusResponse) -> Result<Self, Error> {
        Ok(Self {
            vertices: wire
                .vertexes
                .into_iter()
                .map(vertex)
                .collect::<Result<_, _>>()?,
            statuses: wire
                .statuses
                .into_iter()
                .map(status)
                .collect::<Result<_, _>>()?,
            logs: wire.logs.into_iter().map(log).collect::<Result<_, _>>()?,
            warnings: wire
                .warnings
                .into_iter()
                .map(warning)
                .collect::<Result<_, _>>()?,
        })
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.vertices.is_empty()
            && self.statuses.is_empty()
            && self.logs.is_empty()
            && self.warnings.is_empty()
    }
}

fn digest(text: &str) -> Result<Digest, Error> {
    text.parse().map_err(|error| {
        Error::Protocol(format!(
            "the daemon sent a status for {text:?}, which is no digest: {error}"
        ))
    })
}

fn vertex(wire: control::Vertex) -> Result<VertexState, Error> {
    Ok(VertexState {
        digest: digest(&wire.digest)?,
        inputs: wire
            .inputs
            .iter()
            .map(|input| digest(input))
            .collect::<Result<_, _>>()?,
        name: wire.name,
        cached: wire.cached,
        started: time(wire.started),
        completed: time(wire.completed),
        error: wire.error,
        group: wire.progress_group,
    })
}

fn status(wire: control::VertexStatus) -> Result<VertexStatus, Error> {
    Ok(VertexStatus {
        vertex: digest(&wire.vertex)?,
        id: wire.id,
        name: wire.name,
        current: wire.current,
        total: wire.total,
        time: time(wire.timestamp),
        started: time(wire.started),
        completed: time(wire.completed),
    })
}

fn log(wire: control::VertexLog) -> Result<VertexLog, Error> {
    let stream = match wire.stream {
        1 => LogStream::Stdout,
        2 => LogStream::Stderr,
        other => LogStream::Other(other),
    };
    Ok(VertexLog {
        vertex: digest(&wire.vertex)?,
        time: time(wire.timestamp),
        stream,
        data: wire.msg,
    })
}

fn warning(wire: control::VertexWarning) -> Result<VertexWarning, Error> {
    Ok(VertexWarning {
        vertex: digest(&wire.vertex)?,
        level: wire.level,
        short: wire.short,
        detail: wire.detail,
        url: wire.url,
        source: wire.info,
        ranges: wire.ranges,
    })
}

impl Client {
    /// Progress of a build from its start, ending when the build's progress ends.
    /// The daemon waits some seconds for a build that has not started yet.
    pub async fn status(
        &self,
        reference: &str,
    ) -> Result<impl Stream<Item = Result<StatusUpdate, Error>> + Send + use<>, Error> {
        let request = control::StatusRequest {
            r#ref: reference.to_owned(),
        };
        let stream = self.long_call(self.control().status(request)).await?;
        Ok(self
            .items(stream)
            .map(|update| update.and_then(StatusUpdate::from_wire)))
    }
}

/// What is known about a build after a number of updates; logs are not kept.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Progress {
    vertices: BTreeMap<Digest, VertexState>,
    statuses: BTreeMap<Digest, BTreeMap<String, VertexStatus>>,
    warnings: Vec<VertexWarning>,
}

impl Progress {
    /// Nothing known yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one update.
    pub fn apply(&mut self, update: &StatusUpdate) {
        for vertex in &update.vertices {
            if let Some(known) = self.vertices.get_mut(&vertex.digest) {
                let earliest = earlier(known.started, vertex.started);
                known.clone_from(vertex);
                known.started = earliest;
            } else if self.vertices.len() < VERTICES_MAX {
                self.vertices.insert(vertex.digest.clone(), vertex.clone());
            }
        }
        for status in &update.statuses {
            if !self.statuses.contains_key(&status.vertex) && self.statuses.len() >= VERTICES_MAX {
                continue;
            }
            let parts = self.statuses.entry(status.vertex.clone()).or_default();
            if parts.len() < STATUSES_MAX || parts.contains_key(&status.id) {
                parts.insert(status.id.clone(), status.clone());
            }
        }
        let room = VERTICES_MAX.saturating_sub(self.warnings.len());
        self.warnings
            .extend(update.warnings.iter().take(room).cloned());
    }

    /// State of one vertex.
    pub fn vertex(&self, digest: &Digest) -> Option<&VertexState> {
        self.vertices.get(digest)
    }

    /// All vertices, by digest.
    pub fn vertices(&self) -> impl Iterator<Item = &VertexState> {
        self.vertices.values()
    }

    /// Parts of one vertex, by id.
    pub fn statuses(&self, digest: &Digest) -> impl Iterator<Item = &VertexStatus> {
        self.statuses
            .get(digest)
            .into_iter()
            .flat_map(BTreeMap::values)
    }

    /// All warnings in order.
    pub fn warnings(&self) -> &[VertexWarning] {
        &self.warnings
    }

    /// An update that leads from nothing to this state.
    pub fn snapshot(&self) -> StatusUpdate {
        StatusUpdate {
            vertices: self.vertices.values().cloned().collect(),
            statuses: self
                .statuses
                .values()
                .flat_map(BTreeMap::values)
                .cloned()
                .collect(),
            logs: Vec::new(),
            warnings: self.warnings.clone(),
        }
    }
}

fn earlier(left: Option<SystemTime>, right: Option<SystemTime>) -> Option<SystemTime> {
    match (left, right) {
        (Some(left), Some(right)) => Some(left.min(right)),
        (left, right) => left.or(right),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn name(letter: char) -> String {
        format!("sha256:{}", letter.to_string().repeat(64))
    }

    fn at(seconds: i64) -> Option<prost_types::Timestamp> {
        Some(prost_types::Timestamp { seconds, nanos: 0 })
    }

    fn moment(seconds: u64) -> Option<SystemTime> {
        Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }

    fn wire(letter: char, started: Option<i64>, completed: Option<i64>) -> control::StatusResponse {
        let vertex = control::Vertex {
            digest: name(letter),
            name: "v".into(),
            started: started.and_then(at),
            completed: completed.and_then(at),
            ..Default::default()
        };
        control::StatusResponse {
            vertexes: vec![vertex],
            ..Default::default()
        }
    }

    #[test]
    fn the_last_state_and_the_earliest_start_count() {
        let mut progress = Progress::new();
        for (started, completed) in [
            (None, None),
            (Some(5), None),
            (Some(5), Some(6)),
            (Some(7), None),
        ] {
            progress.apply(&StatusUpdate::from_wire(wire('a', started, completed)).expect("valid"));
        }
        let state = progress
            .vertex(&name('a').parse().expect("digest"))
            .expect("known");
        assert_eq!(state.started, moment(5));
        assert_eq!(state.completed, None, "it runs again");
    }

    #[test]
    fn statuses_of_a_vertex_are_told_apart_by_id() {
        let status = |id: &str, current| control::VertexStatus {
            id: id.into(),
            vertex: name('b'),
            current,
            ..Default::default()
        };
        let statuses = vec![status("x", 1), status("y", 2), status("x", 3)];
        let update = control::StatusResponse {
            statuses,
            ..Default::default()
        };
        let mut progress = Progress::new();
        progress.apply(&StatusUpdate::from_wire(update).expect("valid"));
        let digest = name('b').parse().expect("digest");
        let seen: Vec<_> = progress
            .statuses(&digest)
            .map(|s| (s.id.as_str(), s.current))
            .collect();
        assert_eq!(seen, [("x", 3), ("y", 2)]);
    }

    #[test]
    fn a_vertex_without_a_digest_is_a_protocol_error() {
        let mut update = wire('a', None, None);
        update.vertexes[0].digest = "nonsense".into();
        let error = StatusUpdate::from_wire(update).expect_err("no digest");
        assert!(error.to_string().contains("\"nonsense\""), "{error}");
    }

    #[test]
    fn logs_keep_their_stream() {
        let log = |stream| control::VertexLog {
            vertex: name('c'),
            stream,
            ..Default::default()
        };
        let logs = vec![log(1), log(2), log(9)];
        let update = StatusUpdate::from_wire(control::StatusResponse {
            logs,
            ..Default::default()
        })
        .expect("valid");
        let streams: Vec<_> = update.logs.iter().map(|log| log.stream).collect();
        assert_eq!(
            streams,
            [LogStream::Stdout, LogStream::Stderr, LogStream::Other(9)]
        );
    }

    proptest! {
        /// A late subscriber who gets the snapshot knows what an early one knows.
        #[test]
        fn a_snapshot_stands_for_all_updates(
            steps in proptest::collection::vec((0..4u8, proptest::option::of(1..9i64), proptest::option::of(1..9i64)), 0..20)
        ) {
            let mut progress = Progress::new();
            for (vertex, started, completed) in steps {
                let letter = char::from(b'a' + vertex);
                progress.apply(&StatusUpdate::from_wire(wire(letter, started, completed)).expect("valid"));
            }
            let mut late = Progress::new();
            late.apply(&progress.snapshot());
            prop_assert_eq!(late, progress);
        }
    }
}
