//! Folds the events of one build into the ledger's rows.
//!
//! All rows of the build stay in memory until its end, because evaluation is lazy: a call may get
//! its vertices, and its vertices their outcome, long after the call itself ended. The limits on
//! calls and vertices bound that memory. Rows changed since they were last sent are marked and go
//! out together, at most once per [`FLUSH_INTERVAL`] while the build runs, the rest at its end.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::facts::{Facts, Held};
use super::operations::Redaction;
use super::row::{BuildRow, BuildState, CallRow, VertexRow, clip};
use super::write::{Batch, Step};
use super::writer::{Message, Written};
use super::{
    DagOpKind, FLUSH_INTERVAL, Limits, Outcome, VertexEvidence, VertexKind, of_call, of_vertex,
};
use crate::event::{
    self, BuildEnd, CallEnd, CallFinished, CallStarted, Event, Lowered, Transfer, VertexUpdate,
};
use crate::report::Report;

/// Distinct transfers counted per vertex; an image has at most 127 layers.
const TRANSFERS_PER_VERTEX_MAX: usize = 1024;

/// Vertices named in a call's row.
const VERTICES_PER_CALL_MAX: usize = 64;

/// Records one build. Shared by reference among everything that sees events.
#[derive(Debug)]
pub struct Recorder {
    id: String,
    queue: mpsc::Sender<Message>,
    state: Mutex<State>,
}

struct State {
    limits: Limits,
    build: BuildRow,
    calls: BTreeMap<u64, Call>,
    vertices: HashMap<String, Vertex>,
    facts: Held,
    redact: Option<Redaction>,
    changed: Changed,
    flushed: Instant,
    /// The build's begin is on its way to the file.
    begun: bool,
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

impl Recorder {
    pub(super) fn new(limits: Limits, queue: mpsc::Sender<Message>) -> Self {
        let build = BuildRow {
            id: random_id(),
            started_ms: event::now(),
            ..BuildRow::default()
        };
        let state = State {
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
        };
        Self {
            id: state.build.id.clone(),
            queue,
            state: Mutex::new(state),
        }
    }

    /// The build's id.
    pub fn build(&self) -> &str {
        &self.id
    }

    /// Takes an event into account. Never blocks and never fails.
    pub fn observe(&self, event: &Event) {
        let mut state = self.state();
        state.observe(event);
        self.flush(&mut state);
    }

    /// Takes what is known of the cache into account. Never blocks and never fails.
    pub fn add(&self, facts: Facts) {
        let mut state = self.state();
        let most = state.limits.vertices_per_build_max;
        state.facts.add(facts, most);
        self.flush(&mut state);
    }

    /// Sets what cleans the texts of operations before they are stored.
    pub fn redact_with(&self, redact: Redaction) {
        self.state().redact = Some(redact);
    }

    /// Sends what has changed if it is time to.
    fn flush(&self, state: &mut State) {
        let message = if !state.begun {
            state.begun = true;
            Message::Begin(state.take_batch(false))
        } else if state.flushed.elapsed() >= FLUSH_INTERVAL {
            Message::Rows(state.take_batch(false))
        } else {
            return;
        };
        // A full queue gives the rows back; a closed one means that nothing will ever be written.
        match self.queue.try_send(message) {
            Err(mpsc::error::TrySendError::Full(Message::Begin(batch) | Message::Rows(batch))) => {
                state.put_back(batch);
            }
            _ => state.flushed = Instant::now(),
        }
    }

    /// Ends the record: settles every outcome, waits until the rows are committed, and reports.
    /// What went wrong with the ledger is in the report's notices.
    pub async fn finish(self) -> Report {
        let batch = {
            let mut state = self.state();
            if state.build.finished_ms.is_none() {
                state.build.finished_ms = Some(event::now());
            }
            state.take_batch(true)
        };
        let (reply, written) = oneshot::channel();
        let sent = self.queue.send(Message::Finish(batch, reply)).await.is_ok();
        let written = match (sent, written.await) {
            (true, Ok(written)) => written,
            _ => Written {
                number: None,
                notices: vec![
                    "this build is not recorded: the ledger's thread has stopped".to_owned(),
                ],
            },
        };
        let mut state = self
            .state
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        state.build.number = written.number;
        state.report(written.notices)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere while folding an event leaves counts off by one at worst.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn observe(&mut self, event: &Event) {
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
            path: clip(&started.path).into_owned(),
            display: clip(&started.display).into_owned(),
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
            if let Some(vertex) = self.vertex_entry(&planned.raw, &planned.name) {
                vertex.row.name = clip(&planned.name).into_owned();
                vertex.row.canonical = Some(clip(&planned.canonical).into_owned());
                vertex.row.kind = planned.kind;
                vertex
                    .row
                    .predicted_cache_map
                    .clone_from(&planned.predicted_cache_map);
                vertex.operation = planned.operation.as_ref().map(|o| Arc::clone(&o.0));
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
                name: clip(name).into_owned(),
                kind: VertexKind::from_name(name),
                predicted_cache_map: None,
                outcome: Outcome::Unknown,
                bytes: 0,
                started_ms: None,
                completed_ms: None,
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
    fn take_batch(&mut self, over: bool) -> Batch {
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

    fn put_back(&mut self, batch: Batch) {
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

    fn report(self, notices: Vec<String>) -> Report {
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

/// Sixteen random hexadecimal digits, so that four or five are enough to name a build.
fn random_id() -> String {
    let mut bytes = [0; 8];
    if getrandom::fill(&mut bytes).is_err() {
        // No random source: the moment and the process make ids unique enough for one ledger.
        let seed = event::now().wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ u64::from(std::process::id());
        bytes = seed.to_be_bytes();
    }
    hex::encode(bytes)
}
