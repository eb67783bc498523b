//! A build as the page gets it: one list per column instead of one object per row, which is a third
//! of the size and needs no name repeated 5,000 times.
//!
//! Rows refer to each other by position. What a call's row shares with its vertex (canonical digest,
//! cache map) is only with the vertex. Moments are milliseconds since the Unix epoch.

use dagop::event::ScopeInput;
use dagop::explain::Answer;
use dagop::ledger::{
    BuildRow, ContentRow, DagOpKind, LayerRow, Outcome, RecordRow, SourceRow, VertexKind,
};
use dagop::report::{Report, Summary};
use serde::Serialize;

use super::graph::{self, Edges, Operations, Positions};
use super::reason;

/// All of a build.
#[derive(Debug, Serialize)]
pub(super) struct Columns<'a> {
    build: &'a BuildRow,
    summary: &'a Summary,
    notices: &'a [String],
    calls: Calls<'a>,
    vertices: Vertices<'a>,
    /// Layers of results; records name them by position, and each its parent below.
    layers: &'a [LayerRow],
    /// What names stood for: image references, repositories, addresses.
    sources: &'a [SourceRow],
    edges: Edges,
    /// Id of the build that reasons compare with; null if there is none.
    reasons_against: Option<&'a str>,
}

/// Answers for all steps, and the build they compare with.
type Reasons = (Vec<Answer>, Option<BuildRow>);

/// The calls, in order of start.
#[derive(Debug, Default, Serialize)]
struct Calls<'a> {
    number: Vec<u64>,
    path: Vec<&'a str>,
    display: Vec<&'a str>,
    kind: Vec<DagOpKind>,
    outcome: Vec<Outcome>,
    call_key: Vec<&'a str>,
    /// Null where it is the call key.
    storage_key: Vec<Option<&'a str>>,
    scopes: Vec<&'a [ScopeInput]>,
    /// Position of the vertex that carries the result.
    vertex: Vec<Option<u32>>,
    other_vertices: Vec<Vec<u32>>,
    bytes: Vec<u64>,
    started_ms: Vec<u64>,
    finished_ms: Vec<Option<u64>>,
    error: Vec<Option<&'a str>>,
}

/// The vertices, in order of start.
#[derive(Debug, Default, Serialize)]
struct Vertices<'a> {
    raw: Vec<&'a str>,
    canonical: Vec<Option<&'a str>>,
    name: Vec<&'a str>,
    kind: Vec<VertexKind>,
    outcome: Vec<Outcome>,
    cache_map: Vec<Option<&'a str>>,
    bytes: Vec<u64>,
    started_ms: Vec<Option<u64>>,
    completed_ms: Vec<Option<u64>>,
    /// Cache records of its outputs.
    records: Vec<Vec<&'a RecordRow>>,
    /// Content of its inputs, as it is keyed by it.
    contents: Vec<Vec<&'a ContentRow>>,
    /// Digest of the tree that a local source gave.
    tree: Vec<Option<&'a str>>,
    /// Why it ran: root causes. Null where it did not.
    reason: Vec<Option<String>>,
}

impl<'a> Columns<'a> {
    /// `reasons` as [`dagop::explain::reasons`] gives them.
    pub(super) fn of(report: &'a Report, operations: &Operations, reasons: &'a Reasons) -> Self {
        let positions = graph::positions(report);
        let mut calls = Calls::default();
        for call in &report.calls {
            calls.number.push(call.call);
            calls.path.push(&call.path);
            calls.display.push(&call.display);
            calls.kind.push(call.kind);
            calls.outcome.push(call.outcome);
            calls.call_key.push(&call.call_key);
            let storage_key = (call.storage_key != call.call_key).then_some(&*call.storage_key);
            calls.storage_key.push(storage_key);
            calls.scopes.push(&call.scopes);
            calls.vertex.push(graph::vertex_of(call, &positions));
            calls
                .other_vertices
                .push(graph::positions_of(&call.other_vertices, &positions));
            calls.bytes.push(call.bytes);
            calls.started_ms.push(call.started_ms);
            calls.finished_ms.push(call.finished_ms);
            calls.error.push(call.error_class.as_deref());
        }
        let mut vertices = Vertices::default();
        for vertex in &report.vertices {
            vertices.raw.push(&vertex.raw);
            vertices.canonical.push(vertex.canonical.as_deref());
            vertices.name.push(&vertex.name);
            vertices.kind.push(vertex.kind);
            vertices.outcome.push(vertex.outcome);
            vertices
                .cache_map
                .push(vertex.predicted_cache_map.as_deref());
            vertices.bytes.push(vertex.bytes);
            vertices.started_ms.push(vertex.started_ms);
            vertices.completed_ms.push(vertex.completed_ms);
        }
        vertices.add_cache(report, &positions);
        vertices.reason = reason::of_vertices(report, &reasons.0);
        Self {
            build: &report.build,
            summary: &report.summary,
            notices: &report.notices,
            calls,
            vertices,
            layers: &report.cache.layers,
            sources: &report.cache.sources,
            edges: graph::edges(report, &positions, operations),
            reasons_against: reasons.1.as_ref().map(|build| build.id.as_str()),
        }
    }
}

impl<'a> Vertices<'a> {
    fn add_cache(&mut self, report: &'a Report, positions: &Positions<'_>) {
        let at = |raw: &str| positions.get(raw).map(|at| *at as usize);
        self.records = vec![Vec::new(); self.raw.len()];
        self.contents = vec![Vec::new(); self.raw.len()];
        self.tree = vec![None; self.raw.len()];
        for record in &report.cache.records {
            if let Some(at) = at(&record.vertex) {
                self.records[at].push(record);
            }
        }
        for content in &report.cache.contents {
            if let Some(at) = at(&content.vertex) {
                self.contents[at].push(content);
            }
        }
        for tree in &report.cache.trees {
            if let Some(at) = at(&tree.vertex) {
                self.tree[at] = Some(&tree.listing);
            }
        }
    }
}
