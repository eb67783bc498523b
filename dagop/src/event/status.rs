//! From what is planned and what the daemon says of it to events.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use solver::Digest;
use solver::backend::status::VertexState;
use solver::llb::{Kind, Vertex};

use super::{Operation, PlannedVertex, UnixMillis, VertexUpdate};
use crate::ledger::VertexKind;

/// Reads the daemon's status of one build.
#[derive(Debug, Default)]
pub struct Statuses {
    /// Operations without inputs that are no sources, and when the daemon first started them.
    roots: HashMap<Digest, Option<SystemTime>>,
}

impl Statuses {
    /// Makes a vertex known before the daemon speaks of it.
    pub fn planned(&mut self, vertex: &Vertex) {
        if vertex.inputs().is_empty() && vertex.source().is_none() {
            self.roots.entry(vertex.digest().clone()).or_default();
        }
    }

    /// What a status says of its vertex; none if it is only about the daemon computing a cache key.
    /// Texts pass through `redact`.
    ///
    /// A vertex without inputs is reported as started and completed when its key is asked for, and
    /// a second time when it runs. The first report looks like a run, and it is the only one when
    /// nothing ran; so it is withheld.
    pub fn vertex(
        &mut self,
        vertex: &VertexState,
        redact: &dyn Fn(&str) -> String,
    ) -> Option<VertexUpdate> {
        if self.is_cache_request(vertex) {
            return None;
        }
        let not_needed =
            vertex.cached && vertex.started.is_some() && vertex.started == vertex.completed;
        Some(VertexUpdate {
            digest: vertex.digest.to_string(),
            name: redact(&vertex.name),
            started_ms: vertex.started.map(millis),
            completed_ms: vertex.completed.map(millis),
            cached: vertex.cached,
            not_needed,
            error: (!vertex.error.is_empty()).then(|| redact(&vertex.error)),
        })
    }

    fn is_cache_request(&mut self, vertex: &VertexState) -> bool {
        let Some(first) = self.roots.get_mut(&vertex.digest) else {
            return false;
        };
        match vertex.started {
            Some(started) if !vertex.cached && vertex.error.is_empty() => {
                *first.get_or_insert(started) == started
            }
            _ => false,
        }
    }
}

impl PlannedVertex {
    /// What is known of a vertex before it is built.
    pub fn new(vertex: &Arc<Vertex>) -> Self {
        Self {
            raw: vertex.digest().to_string(),
            canonical: vertex.canonical().to_string(),
            name: vertex.name(),
            kind: kind(vertex),
            predicted_cache_map: solver::cachemap::digest(vertex).map(|d| d.to_string()),
            operation: Some(Operation(Arc::clone(vertex))),
        }
    }
}

fn kind(vertex: &Vertex) -> VertexKind {
    match vertex.kind() {
        Kind::Source => vertex.source().map_or(VertexKind::Source, |s| {
            match s
                .identifier
                .split_once("://")
                .map_or("", |(scheme, _)| scheme)
            {
                "local" => VertexKind::Local,
                "docker-image" => VertexKind::Image,
                "git" => VertexKind::Git,
                "http" | "https" => VertexKind::Http,
                _ => VertexKind::Source,
            }
        }),
        Kind::Exec => VertexKind::Exec,
        Kind::File => VertexKind::File,
        Kind::Merge => VertexKind::Merge,
        Kind::Diff => VertexKind::Diff,
        Kind::Build => VertexKind::Build,
        _ => VertexKind::Other,
    }
}

/// A moment of the daemon's clock. Before 1970 it reads as 0.
pub(crate) fn millis(time: SystemTime) -> UnixMillis {
    let since = time.duration_since(UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
