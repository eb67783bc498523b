//! Folds the events of one build into the ledger's rows.
//!
//! All rows of the build stay in memory until its end, because evaluation is lazy: a call may get
//! its vertices, and its vertices their outcome, long after the call itself ended. The limits on
//! calls and vertices bound that memory. Rows changed since they were last sent are marked.
//!
//! Texts pass the session's redaction here, before anything is made of them.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Instant;

use crate::event::{
    BuildEnd, CallEnd, CallFinished, CallStarted, Event, Lowered, Transfer, VertexUpdate,
};
use crate::ledger::facts::{Facts, Held};
use crate::ledger::operations::Redaction;
use crate::ledger::row::{BuildRow, BuildState, CallRow, VertexRow, clip};
use crate::ledger::write::{Batch, Step};
use crate::ledger::{DagOpKind, Limits, Outcome, VertexEvidence, VertexKind, of_call, of_vertex};
use crate::report::Report;

/// Distinct transfers counted per vertex; an image has at most 127 layers.
const TRANSFERS_PER_VERTEX_MAX: usize = 1024;

/// Vertices named in a call's row.
const VERTICES_PER_CALL_MAX: usize = 64;

pub(super) struct State {
    limits: Limits,
    pub(super) build: BuildRow,
    calls: BTreeMap<u64, Call>,
    vertices: HashMap<String, Vertex>,
    facts: Held,
    redact: Option<Redaction>,
    changed: Changed,
    pub(super) flushed: Instant,
    /// The build's begin is on its way to the file.
    pub(super) begun: bool,
    /// The begin was reported.
    started: bool,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State")
            .field("build", &self.build.id)
            .finish_non_exhaustive()
    }
}

/// What differs from what was last sent.
#[derive(Debug, Default)]
struct Changed {
    calls: Vec<u64>,
    vertices: Vec<String>,
}

#[derive(Debug)]
struct Call {
    row: CallRow,
    end: Option<CallEnd>,
    /// Raw digests of its vertices, its result's last.
    vertices: Vec<String>,
    changed: bool,
}

#[derive(Debug)]
struct Vertex {
    row: VertexRow,
    /// What it asks for, until the file has it.
    operation: Option<Arc<solver::llb::Vertex>>,
    evidence: VertexEvidence,
    /// Bytes so far of each transfer.
    transfers: HashMap<String, u64>,
    changed: bool,
}

impl State {
    pub(super) fn new(limits: Limits, build: BuildRow) -> Self {
        Self {
            limits,
            build,
            calls: BTreeMap::new(),
            vertices: HashMap::new(),
            facts: Held::default(),
            redact: None,
            changed: Changed::default(),
            flushed: Instant::now(),
            begun: false,
            started: false,
        }
    }

    pub(super) fn redact_with(&mut self, redact: Redaction) {
        self.redact = Some(redact);
    }

    /// A text as it is stored: without secrets, and not too long.
    fn clean(&self, text: &str) -> String {
        let text = match &self.redact {
            Some(redact) => redact(text),
            None => Cow::Borrowed(text),
        };
        clip(&text).into_owned()
    }

    pub(super) fn add(&mut self, facts: Facts) {
        self.facts.add(facts, self.limits.vertices_per_build_max);
    }

    pub(super) fn observe(&mut self, event: &Event) {
        match event {
            Event::BuildStarted(started) => {
                self.build.daemon = clip(&started.daemon).into_owned();
                self.build.daemon_version = clip(&started.daemon_version).into_owned();
                self.build.daemon_ref = started.daemon_ref.as_deref().map(|r| clip(r).into_owned());
                // It may come again with the daemon's name for the build; it began the first time.
                if !std::mem::replace(&mut self.started, true) {
                    self.build.started_ms = started.at_ms;
                }
            }
            Event::CallStarted(started) => self.call_started(started),
            Event::Lowered(lowered) => self.lowered(lowered),
            Event::CallFinished(finished) => self.call_finished(finished),
            Event::Vertex(update) => self.vertex(update),
            Event::Transfer(transfer) => self.transfer(transfer),
            Event::Log(_) | Event::Warning(_) => {}
            Event::BuildFinished(finished) => {
                self.build.finished_ms = Some(finished.at_ms);
                self.build.state = match finished.end {
                    BuildEnd::Succeeded => BuildState::Succeeded,
                    BuildEnd::Failed => BuildState::Failed,
                    BuildEnd::Cancelled => BuildState::Cancelled,
                };
            }
        }
    }

    fn call_started(&mut self, started: &CallStarted) {
        if self.calls.len() >= self.limits.calls_per_build_max {
            self.build.rows_dropped += 1;
            return;
        }
        let row = CallRow {
            call: started.call,
            parent: started.parent,
            path: self.clean(&started.path),
            display: self.clean(&started.display),
            call_key: clip(&started.call_key).into_owned(),
            scopes: started.scopes.clone(),
            storage_key: clip(&started.storage_key).into_owned(),
            kind: DagOpKind::None,
            vertex: None,
            canonical: None,
            predicted_cache_map: None,
            other_vertices: Vec::new(),
            outcome: Outcome::Unknown,
            bytes: 0,
            started_ms: started.at_ms,
            finished_ms: None,
            error_class: None,
        };
        self.calls.insert(
            started.call,
            Call {
                row,
                end: None,
                vertices: Vec::new(),
                changed: true,
            },
        );
        self.changed.calls.push(started.call);
    }

    fn lowered(&mut self, lowered: &Lowered) {
        for planned in &lowered.vertices {
            let name = self.clean(&planned.name);
            if let Some(vertex) = self.vertex_entry(&planned.raw, &name) {
                vertex.row.name = name;
                vertex.row.canonical = Some(clip(&planned.canonical).into_owned());
                vertex.row.kind = planned.kind;
                vertex
                    .row
                    .predicted_cache_map
                    .clone_from(&planned.predicted_cache_map);
                vertex.operation = planned.operation.as_ref().map(|o| Arc::clone(&o.0));
                if let Some(operation) = &vertex.operation {
                    vertex.row.ignore_cache = operation.metadata().ignore_cache;
                }
            }
        }
        let Some(call) = self.calls.get_mut(&lowered.call) else {
            return;
        };
        call.row.kind = lowered.kind;
        let kept = |raw: &String| self.vertices.contains_key(raw);
        for planned in lowered.vertices.iter().filter(|planned| kept(&planned.raw)) {
            call.vertices.retain(|raw| *raw != planned.raw);
            if call.vertices.len() < VERTICES_PER_CALL_MAX {
                call.vertices.push(planned.raw.clone());
            }
        }
        if let Some(last) = lowered.vertices.last().filter(|last| kept(&last.raw)) {
            call.row.vertex = Some(last.raw.clone());
            call.row.canonical = Some(last.canonical.clone());
            call.row
                .predicted_cache_map
                .clone_from(&last.predicted_cache_map);
        }
        let others = call
            .vertices
            .iter()
            .filter(|raw| Some(*raw) != call.row.vertex.as_ref());
        call.row.other_vertices = others.cloned().collect();
        mark(&mut call.changed, &mut self.changed.calls, || lowered.call);
    }

    fn call_finished(&mut self, finished: &CallFinished) {
        let Some(call) = self.calls.get_mut(&finished.call) else {
            return;
        };
        call.end = Some(finished.end);
        call.row.finished_ms = Some(finished.at_ms);
        call.row.error_class = finished.error.as_ref().map(|e| clip(&e.class).into_owned());
        mark(&mut call.changed, &mut self.changed.calls, || finished.call);
    }

    fn vertex(&mut self, update: &VertexUpdate) {
        let Some(vertex) = self.vertex_entry(&update.digest, &update.name) else {
            return;
        };
        // A vertex may start and complete more than once (a source: resolve, then pull): the
        // earliest start and the last state count.
        let row = &mut vertex.row;
        row.started_ms = [row.started_ms, update.started_ms]
            .into_iter()
            .flatten()
            .min();
        row.completed_ms = update.completed_ms;
        let failed = update.error.is_some();
        vertex.evidence = VertexEvidence {
            started: row.started_ms.is_some(),
            completed: update.completed_ms.is_some(),
            cached: update.cached,
            not_needed: update.not_needed,
            failed,
            cancelled: update
                .error
                .as_deref()
                .is_some_and(|e| e.contains("context canceled")),
        };
    }

    fn transfer(&mut self, transfer: &Transfer) {
        let Some(vertex) = self.vertex_entry(&transfer.vertex, "") else {
            return;
        };
        if !vertex.transfers.contains_key(&transfer.id) {
            if vertex.transfers.len() >= TRANSFERS_PER_VERTEX_MAX {
                return;
            }
            vertex.transfers.insert(transfer.id.clone(), 0);
        }
        let Some(bytes) = vertex.transfers.get_mut(&transfer.id) else {
            return;
        };
        vertex.row.bytes += transfer.current.saturating_sub(*bytes);
        *bytes = transfer.current.max(*bytes);
    }

    /// The vertex with this digest, made when it is new; marked as changed. None beyond the limit.
    fn vertex_entry(&mut self, raw: &str, name: &str) -> Option<&mut Vertex> {
        if !self.vertices.contains_key(raw) {
            if self.vertices.len() >= self.limits.vertices_per_build_max {
                self.build.rows_dropped += 1;
                return None;
            }
            let row = VertexRow {
                number: self.vertices.len() as u64,
                raw: clip(raw).into_owned(),
                canonical: None,
                name: self.clean(name),
                kind: VertexKind::from_name(name),
                predicted_cache_map: None,
                outcome: Outcome::Unknown,
                bytes: 0,
                started_ms: None,
                completed_ms: None,
                ignore_cache: false,
            };
            let evidence = VertexEvidence::default();
            let vertex = Vertex {
                row,
                operation: None,
                evidence,
                transfers: HashMap::new(),
                changed: false,
            };
            self.vertices.insert(raw.to_owned(), vertex);
        }
        let vertex = self.vertices.get_mut(raw)?;
        mark(&mut vertex.changed, &mut self.changed.vertices, || {
            raw.to_owned()
        });
        Some(vertex)
    }

    /// The changed rows, with outcomes as far as they are known; at the end (`over`), all outcomes.
    pub(super) fn take_batch(&mut self, over: bool) -> Batch {
        if over {
            self.settle();
        }
        let changed = std::mem::take(&mut self.changed);
        let mut batch = Batch {
            build: self.build.clone(),
            redact: self.redact.clone(),
            ..Batch::default()
        };
        for raw in changed.vertices {
            let Some(vertex) = self.vertices.get_mut(&raw) else {
                continue;
            };
            vertex.changed = false;
            if over || vertex.evidence.completed {
                vertex.row.outcome = of_vertex(vertex.row.kind, vertex.evidence);
            }
            batch.vertices.push(Step {
                row: vertex.row.clone(),
                operation: vertex.operation.take(),
            });
        }
        // In the order of their table, so that the rows are appended and not spread over it.
        batch.vertices.sort_unstable_by_key(|step| step.row.number);
        for number in changed.calls {
            let Some(call) = self.calls.get_mut(&number) else {
                continue;
            };
            call.changed = false;
            if !over && call.vertices.is_empty() {
                call.row.outcome = of_call(call.end, []);
            }
            batch.calls.push(call.row.clone());
        }
        self.facts.take(&mut batch);
        let numbers = batch.named().filter_map(|raw| {
            let vertex = self.vertices.get(raw)?;
            Some((raw.clone(), vertex.row.number))
        });
        batch.numbers = numbers.collect();
        batch
    }

    /// Gives every call its final outcome and bytes, and marks the rows this changes.
    fn settle(&mut self) {
        for (raw, vertex) in &mut self.vertices {
            let outcome = of_vertex(vertex.row.kind, vertex.evidence);
            if outcome != vertex.row.outcome {
                vertex.row.outcome = outcome;
                mark(&mut vertex.changed, &mut self.changed.vertices, || {
                    raw.clone()
                });
            }
        }
        for (number, call) in &mut self.calls {
            let vertices = call
                .vertices
                .iter()
                .filter_map(|raw| self.vertices.get(raw));
            let outcome = of_call(call.end, vertices.clone().map(|vertex| vertex.row.outcome));
            let bytes = vertices.map(|vertex| vertex.row.bytes).sum();
            if (outcome, bytes) != (call.row.outcome, call.row.bytes) {
                (call.row.outcome, call.row.bytes) = (outcome, bytes);
                mark(&mut call.changed, &mut self.changed.calls, || *number);
            }
        }
    }

    pub(super) fn put_back(&mut self, batch: Batch) {
        for row in &batch.calls {
            if let Some(call) = self.calls.get_mut(&row.call) {
                mark(&mut call.changed, &mut self.changed.calls, || row.call);
            }
        }
        for step in &batch.vertices {
            if let Some(vertex) = self.vertices.get_mut(&step.row.raw) {
                vertex.operation.clone_from(&step.operation);
                mark(&mut vertex.changed, &mut self.changed.vertices, || {
                    step.row.raw.clone()
                });
            }
        }
        self.facts.put_back(batch);
    }

    pub(super) fn report(self, notices: Vec<String>) -> Report {
        let calls = self.calls.into_values().map(|call| call.row).collect();
        let mut vertices: Vec<VertexRow> = self.vertices.into_values().map(|v| v.row).collect();
        vertices.sort_by(VertexRow::by_start);
        let evidence = self.facts.evidence();
        Report::new(self.build, calls, vertices, evidence, notices)
    }
}

/// Notes an entry as changed, once.
fn mark<K>(flag: &mut bool, list: &mut Vec<K>, key: impl FnOnce() -> K) {
    if !std::mem::replace(flag, true) {
        list.push(key());
    }
}
