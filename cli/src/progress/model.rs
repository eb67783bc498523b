//! What both human forms know of the build: the vertices seen so far, whose they are, and how far.
//!
//! A vertex is labelled by the call whose result it carries, because that is what the user wrote; a
//! vertex that a call needs besides (a source, a helper) keeps the name it has on the daemon.

use std::collections::{BTreeMap, HashMap, VecDeque};

use dagop::event::{Event, Transfer, UnixMillis, VertexUpdate};
use dagop::ledger::{Outcome, VertexEvidence, VertexKind, of_vertex};

use crate::diagnostic::printable;

/// Lines kept of what each vertex wrote, to show while it runs and when it fails.
pub(super) const LOG_LINES_MAX: usize = 20;

/// Calls whose text is kept in case they are lowered later. A server runs for days.
const CALLS_KEPT_MAX: usize = 16 << 10;

/// Vertices kept; the oldest are forgotten.
pub(super) const VERTICES_KEPT_MAX: usize = 16 << 10;

/// Transfers shown per vertex.
const TRANSFERS_MAX: usize = 256;

/// The build so far.
#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) started_ms: Option<UnixMillis>,
    /// Calls that have started.
    pub(super) calls: u64,
    /// Calls that have not ended, by number.
    pub(super) running_calls: HashMap<u64, Call>,
    /// Text of calls that may yet be lowered, at most [`CALLS_KEPT_MAX`].
    displays: BTreeMap<u64, String>,
    vertices: HashMap<String, Vertex>,
    /// Raw digests in the order in which vertices were first seen to start or end, at most
    /// [`VERTICES_KEPT_MAX`].
    order: VecDeque<String>,
    /// Vertices that were ever given a number.
    numbered: usize,
}

/// A call under way.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) display: String,
    pub(super) started_ms: UnixMillis,
}

/// A vertex.
#[derive(Debug)]
pub(super) struct Vertex {
    /// Its place in the order of appearance, from 1; 0 before it has one.
    pub(super) number: usize,
    name: String,
    kind: VertexKind,
    /// The call whose result it carries, and how many more calls share it.
    owner: Option<(String, usize)>,
    pub(super) started_ms: Option<UnixMillis>,
    pub(super) completed_ms: Option<UnixMillis>,
    pub(super) error: Option<String>,
    evidence: VertexEvidence,
    pub(super) transfers: Vec<Transfer>,
    pub(super) log: VecDeque<String>,
}

impl Vertex {
    fn new(name: &str) -> Self {
        Self {
            number: 0,
            name: printable(name),
            kind: VertexKind::from_name(name),
            owner: None,
            started_ms: None,
            completed_ms: None,
            error: None,
            evidence: VertexEvidence::default(),
            transfers: Vec::new(),
            log: VecDeque::new(),
        }
    }

    /// What the user sees it as.
    pub(super) fn label(&self) -> String {
        match &self.owner {
            None => self.name.clone(),
            Some((call, 0)) => call.clone(),
            Some((call, 1)) => format!("{call} (and 1 more call)"),
            Some((call, more)) => format!("{call} (and {more} more calls)"),
        }
    }

    /// What became of it, once it has ended.
    pub(super) fn outcome(&self) -> Option<Outcome> {
        let ended = self.evidence.completed || self.evidence.cached || self.evidence.failed;
        ended.then(|| of_vertex(self.kind, self.evidence))
    }

    pub(super) fn is_running(&self) -> bool {
        self.started_ms.is_some() && self.outcome().is_none()
    }

    /// Milliseconds from its start to its end, or to `now`.
    pub(super) fn elapsed(&self, now: UnixMillis) -> u64 {
        let end = self.completed_ms.unwrap_or(now);
        end.saturating_sub(self.started_ms.unwrap_or(end))
    }
}

impl Model {
    /// Takes an event into account; the vertex it concerns, if it is now one to be shown.
    pub(super) fn apply(&mut self, event: &Event) -> Option<&Vertex> {
        match event {
            Event::BuildStarted(started) => {
                self.started_ms.get_or_insert(started.at_ms);
            }
            Event::CallStarted(call) => {
                self.calls += 1;
                let display = printable(&call.display);
                self.displays.insert(call.call, display.clone());
                if self.displays.len() > CALLS_KEPT_MAX {
                    self.displays.pop_first();
                }
                let running = Call {
                    display,
                    started_ms: call.at_ms,
                };
                self.running_calls.insert(call.call, running);
            }
            Event::CallFinished(call) => {
                self.running_calls.remove(&call.call);
            }
            Event::Lowered(lowered) => {
                for planned in &lowered.vertices {
                    self.vertex(&planned.raw, &planned.name).kind = planned.kind;
                }
                let last = lowered.vertices.last()?;
                let display = self.displays.remove(&lowered.call)?;
                let vertex = self.vertices.get_mut(&last.raw)?;
                match &mut vertex.owner {
                    Some((_, more)) => *more += 1,
                    None => vertex.owner = Some((display, 0)),
                }
            }
            Event::Vertex(update) => return self.update(update),
            Event::Transfer(transfer) => return self.transfer(transfer),
            Event::Log(line) => {
                let vertex = self.vertex(&line.vertex, "");
                if vertex.log.len() == LOG_LINES_MAX {
                    vertex.log.pop_front();
                }
                vertex.log.push_back(printable(&line.text));
                return self.numbered(&line.vertex);
            }
            Event::Warning(_) | Event::BuildFinished(_) => {}
        }
        None
    }

    /// The vertices to be shown, in order.
    pub(super) fn vertices(&self) -> impl DoubleEndedIterator<Item = &Vertex> {
        self.order.iter().filter_map(|raw| self.vertices.get(raw))
    }

    fn update(&mut self, update: &VertexUpdate) -> Option<&Vertex> {
        let vertex = self.vertex(&update.digest, &update.name);
        vertex.started_ms = [vertex.started_ms, update.started_ms]
            .into_iter()
            .flatten()
            .min();
        vertex.completed_ms = update.completed_ms;
        vertex.error = update.error.as_deref().map(printable);
        vertex.evidence = VertexEvidence {
            started: vertex.started_ms.is_some(),
            completed: update.completed_ms.is_some(),
            cached: update.cached,
            not_needed: update.not_needed,
            failed: update.error.is_some(),
            cancelled: update
                .error
                .as_deref()
                .is_some_and(|e| e.contains("context canceled")),
        };
        let shown = vertex.started_ms.is_some() || vertex.outcome().is_some();
        if shown {
            self.numbered(&update.digest)
        } else {
            None
        }
    }

    fn transfer(&mut self, transfer: &Transfer) -> Option<&Vertex> {
        let vertex = self.vertex(&transfer.vertex, "");
        match vertex
            .transfers
            .iter()
            .position(|known| known.id == transfer.id)
        {
            Some(known) => vertex.transfers[known] = transfer.clone(),
            None if vertex.transfers.len() < TRANSFERS_MAX => {
                vertex.transfers.push(transfer.clone());
            }
            None => {}
        }
        self.numbered(&transfer.vertex)
    }

    fn vertex(&mut self, raw: &str, name: &str) -> &mut Vertex {
        if !self.vertices.contains_key(raw) {
            self.vertices.insert(raw.to_owned(), Vertex::new(name));
        }
        self.vertices
            .get_mut(raw)
            .expect("it was inserted when it was missing")
    }

    /// Gives a vertex its number when it has none.
    fn numbered(&mut self, raw: &str) -> Option<&Vertex> {
        let vertex = self.vertices.get_mut(raw)?;
        if vertex.number == 0 {
            self.numbered += 1;
            vertex.number = self.numbered;
            self.order.push_back(raw.to_owned());
            if self.order.len() > VERTICES_KEPT_MAX {
                let oldest = self.order.pop_front()?;
                self.vertices.remove(&oldest);
            }
        }
        self.vertices.get(raw)
    }
}
