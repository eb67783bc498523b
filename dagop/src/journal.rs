//! The journal of a session: what calls and vertices do, as one stream of
//! [`Event`]s for the ledger and for whoever draws progress.
//!
//! Three sources meet here and are put in order under one lock:
//! 1. dagql, through [`Observer`]: calls start and end;
//! 2. lowering: which vertices a call brings ([`Journal::lowered`]);
//! 3. the daemon's status: what became of the vertices ([`Journal::progress`]).
//!
//! Of the hits on one result only the first is told.
//!
//! The join between 1 and 2 is the call's recipe digest, between 2 and 3 the
//! raw vertex digest. Everything else in the ledger follows from those two.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dagql::{CallInfo, Finished, Observer};
use solver::backend::StatusUpdate;
use solver::backend::status::LogStream;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;

use crate::error::{Error, Kind};
use crate::event::{self, Event, LineSplitter, UnixMillis};
use crate::ledger::{DagOpKind, Facts, Recorder, Redaction};
use crate::lower::Made;
use crate::report::Report;
use crate::session::SecretStore;
use crate::vertex::{DagOp, Work};

#[cfg(test)]
mod tests;

/// Response keys of a call's path that are shown.
const PATH_KEYS: usize = 8;

/// Bytes of a call's text that are shown.
pub(crate) const DISPLAY_BYTES: usize = 400;

/// See the module.
pub struct Journal {
    inner: Mutex<Inner>,
    events: Option<UnboundedSender<Event>>,
    following: Mutex<Vec<JoinHandle<()>>>,
}

struct Inner {
    /// Gone once the build is finished.
    recorder: Option<Recorder>,
    calls: u64,
    /// Calls that run, by digest; the same call may run for several callers.
    open: HashMap<dagql::Digest, Vec<u64>>,
    /// The latest call of a digest: receivers and vertices belong to it.
    latest: HashMap<dagql::Digest, u64>,
    /// Calls whose hit was told; further ones are not.
    hits: HashSet<dagql::Digest>,
    /// Command lines of exec vertices, for errors.
    commands: HashMap<solver::Digest, Vec<String>>,
    /// Makes events of what the daemon says.
    status: event::Statuses,
    /// The vertex that was planned last: the calls of a segment share it, and
    /// its cache map is as long as the segment.
    last_planned: Option<event::PlannedVertex>,
    /// Unfinished lines of output.
    lines: HashMap<(solver::Digest, event::Stream), LineSplitter>,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Journal")
    }
}

impl Inner {
    fn planned(&mut self, vertex: &Arc<solver::llb::Vertex>) -> event::PlannedVertex {
        if let Some(last) = &self.last_planned
            && last.raw == vertex.digest().as_str()
        {
            return last.clone();
        }
        let planned = event::PlannedVertex::new(vertex);
        self.last_planned = Some(planned.clone());
        planned
    }
}

impl Journal {
    /// A journal that feeds a recorder and, if given, a channel.
    pub fn new(recorder: Recorder, events: Option<UnboundedSender<Event>>) -> Self {
        let inner = Inner {
            recorder: Some(recorder),
            calls: 0,
            open: HashMap::new(),
            latest: HashMap::new(),
            hits: HashSet::new(),
            commands: HashMap::new(),
            status: event::Statuses::default(),
            last_planned: None,
            lines: HashMap::new(),
        };
        Self {
            inner: Mutex::new(inner),
            events,
            following: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn send(&self, inner: &Inner, event: Event) {
        if let Some(recorder) = &inner.recorder {
            recorder.observe(&event);
        }
        if let Some(events) = &self.events {
            // A display that has gone away stops nothing.
            let _ = events.send(event);
        }
    }

    /// The build begins; `reference` is the daemon's name for it, once known.
    pub fn begin(&self, daemon: &str, version: &str, reference: Option<&str>) {
        let inner = self.lock();
        let build = inner
            .recorder
            .as_ref()
            .map(|r| r.build().to_owned())
            .unwrap_or_default();
        let started = event::BuildStarted {
            build,
            daemon: daemon.to_owned(),
            daemon_version: version.to_owned(),
            daemon_ref: reference.map(str::to_owned),
            at_ms: event::now(),
        };
        self.send(&inner, Event::BuildStarted(started));
    }

    /// A task that reads a status stream; awaited by [`Self::finish`].
    pub(crate) fn keep(&self, task: JoinHandle<()>) {
        self.following
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .push(task);
    }

    /// Waits until every status stream has ended.
    pub(crate) async fn drain(&self) {
        let tasks = std::mem::take(
            &mut *self
                .following
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        for task in tasks {
            // A task that panicked has nothing more to say.
            let _ = task.await;
        }
    }

    /// The build is over: nothing follows, and the ledger has it all.
    pub async fn finish(&self, end: event::BuildEnd) -> Option<Report> {
        self.drain().await;
        let recorder = {
            let mut inner = self.lock();
            let finished = event::BuildFinished {
                end,
                at_ms: event::now(),
            };
            self.send(&inner, Event::BuildFinished(finished));
            inner.recorder.take()
        };
        match recorder {
            Some(recorder) => Some(recorder.finish().await),
            None => None,
        }
    }

    /// Vertices that lowering made.
    pub(crate) fn lowered(&self, made: &[Made]) {
        let mut inner = self.lock();
        for Made { op, vertices } in made {
            if let (Work::Exec(exec), Some(vertex)) = (&op.work, vertices.last()) {
                let command = crate::init::user_command(&exec.args).to_vec();
                inner.commands.insert(vertex.digest().clone(), command);
            }
            for vertex in vertices {
                inner.status.planned(vertex);
            }
            let Some(&call) = inner.latest.get(&op.call.digest) else {
                continue;
            };
            let vertices = vertices
                .iter()
                .map(|vertex| inner.planned(vertex))
                .collect();
            let lowered = event::Lowered {
                call,
                kind: kind(op),
                vertices,
            };
            self.send(&inner, Event::Lowered(lowered));
        }
    }

    /// What was found out about the cache.
    pub(crate) fn facts(&self, facts: Facts) {
        if let Some(recorder) = &self.lock().recorder {
            recorder.add(facts);
        }
    }

    /// Sets what cleans texts before they are stored.
    pub(crate) fn redact_with(&self, redact: Redaction) {
        if let Some(recorder) = &self.lock().recorder {
            recorder.redact_with(redact);
        }
    }

    /// Something the user should know that stops nothing.
    pub(crate) fn warn(&self, message: &str) {
        let warning = event::Warning {
            vertex: None,
            message: message.to_owned(),
            detail: Vec::new(),
        };
        self.send(&self.lock(), Event::Warning(warning));
    }

    /// The user's command line of an exec vertex.
    pub(crate) fn command(&self, vertex: &solver::Digest) -> Option<Vec<String>> {
        self.lock().commands.get(vertex).cloned()
    }

    /// What the daemon said.
    pub(crate) fn progress(&self, update: &StatusUpdate, secrets: &SecretStore) {
        let mut inner = self.lock();
        for vertex in &update.vertices {
            let redact = |text: &str| secrets.redact(text).into_owned();
            if let Some(update) = inner.status.vertex(vertex, &redact) {
                self.send(&inner, Event::Vertex(update));
            }
        }
        for status in &update.statuses {
            let transfer = event::Transfer {
                vertex: status.vertex.to_string(),
                id: status.id.clone(),
                current: u64::try_from(status.current).unwrap_or(0),
                total: u64::try_from(status.total).unwrap_or(0),
                done: status.completed.is_some(),
                at_ms: status.time.map_or_else(event::now, event::millis),
            };
            self.send(&inner, Event::Transfer(transfer));
        }
        for log in &update.logs {
            let stream = match log.stream {
                LogStream::Stdout => event::Stream::Stdout,
                _ => event::Stream::Stderr,
            };
            let mut texts: Vec<String> = Vec::new();
            let key = (log.vertex.clone(), stream);
            inner
                .lines
                .entry(key)
                .or_default()
                .push(&log.data, |text| texts.push(text));
            let at_ms = log.time.map_or_else(event::now, event::millis);
            for text in texts {
                self.line(&inner, &log.vertex, stream, &secrets.redact(&text), at_ms);
            }
        }
        self.finish_lines(&mut inner, update, secrets);
        for warning in &update.warnings {
            let text = |bytes: &[u8]| secrets.redact(&String::from_utf8_lossy(bytes)).into_owned();
            let warning = event::Warning {
                vertex: Some(warning.vertex.to_string()),
                message: text(&warning.short),
                detail: warning.detail.iter().map(|line| text(line)).collect(),
            };
            self.send(&inner, Event::Warning(warning));
        }
    }

    /// Sends the last lines of steps that ended without a line feed.
    fn finish_lines(&self, inner: &mut Inner, update: &StatusUpdate, secrets: &SecretStore) {
        for vertex in update.vertices.iter().filter(|v| v.completed.is_some()) {
            for stream in [event::Stream::Stdout, event::Stream::Stderr] {
                let splitter = inner.lines.remove(&(vertex.digest.clone(), stream));
                let Some(text) = splitter.and_then(|mut s| s.finish()) else {
                    continue;
                };
                let at_ms = vertex.completed.map_or_else(event::now, event::millis);
                self.line(inner, &vertex.digest, stream, &secrets.redact(&text), at_ms);
            }
        }
    }

    fn line(
        &self,
        inner: &Inner,
        vertex: &solver::Digest,
        stream: event::Stream,
        text: &str,
        at_ms: UnixMillis,
    ) {
        let line = event::LogLine {
            vertex: vertex.to_string(),
            stream,
            text: text.to_owned(),
            at_ms,
        };
        self.send(inner, Event::Log(line));
    }
}

impl Observer for Journal {
    fn call_started(&self, call: &CallInfo) {
        let mut inner = self.lock();
        inner.calls += 1;
        let number = inner.calls;
        let parent = call
            .id
            .receiver()
            .and_then(|r| inner.latest.get(r.digest()).copied());
        inner
            .open
            .entry(call.call_key.clone())
            .or_default()
            .push(number);
        inner.latest.insert(call.call_key.clone(), number);
        let started = event::CallStarted {
            call: number,
            parent,
            path: path(call),
            display: call.id.display_call(DISPLAY_BYTES),
            call_key: call.call_key.to_string(),
            scopes: call
                .scope()
                .iter()
                .map(|input| event::ScopeInput {
                    name: input.name().to_owned(),
                    value: input.value().to_owned(),
                })
                .collect(),
            storage_key: call.storage_key.to_string(),
            at_ms: event::now(),
        };
        self.send(&inner, Event::CallStarted(started));
    }

    fn call_hit(&self, call: &CallInfo, result_id: Option<&dagql::Id>) {
        // A program may ask for one result a million times. The second time says nothing new, and
        // telling it would cost more than the answer.
        if !self.lock().hits.insert(call.call_key.clone()) {
            return;
        }
        self.call_started(call);
        let finished = Finished {
            outcome: dagql::Outcome::Hit,
            duration: Duration::ZERO,
            result_id,
            error: None,
        };
        self.call_finished(call, &finished);
    }

    fn call_finished(&self, call: &CallInfo, finished: &Finished<'_>) {
        let mut inner = self.lock();
        let Some(open) = inner.open.get_mut(&call.call_key) else {
            return;
        };
        // Callers of the same call cannot be told apart; they end in order of start.
        let number = open.remove(0);
        if open.is_empty() {
            inner.open.remove(&call.call_key);
        }
        let error = finished.error.map(Error::from_dagql);
        let cancelled = error.as_ref().is_some_and(|e| e.kind() == Kind::Cancelled);
        let end = match finished.outcome {
            dagql::Outcome::Executed => event::CallEnd::Ran,
            dagql::Outcome::Hit => event::CallEnd::Hit,
            dagql::Outcome::Recalled => event::CallEnd::Recalled,
            dagql::Outcome::Joined => event::CallEnd::Joined,
            dagql::Outcome::Failed if cancelled => event::CallEnd::Cancelled,
            dagql::Outcome::Failed => event::CallEnd::Failed,
        };
        let error = error.map(|e| event::Failure {
            class: class(e.kind()).to_owned(),
            message: e.message().to_owned(),
        });
        let finished = event::CallFinished {
            call: number,
            end,
            error,
            at_ms: event::now(),
        };
        self.send(&inner, Event::CallFinished(finished));
    }
}

/// The stable word for a kind of failure.
fn class(kind: Kind) -> &'static str {
    match kind {
        Kind::Usage => "usage",
        Kind::Input => "input",
        Kind::StepFailed => "step failed",
        Kind::Unreachable => "unreachable",
        Kind::Disconnected => "disconnected",
        Kind::Cancelled => "cancelled",
        Kind::NotRun | Kind::NotPlanned => "not run",
        Kind::Internal => "internal",
    }
}

/// The last response keys, joined by dots.
fn path(call: &CallInfo) -> String {
    let (segments, cut) = call.path.tail(PATH_KEYS);
    let mut text = if cut { "…".to_owned() } else { String::new() };
    for segment in segments {
        match segment {
            dagql::PathSegment::Key(key) => {
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&key);
            }
            dagql::PathSegment::Index(index) => {
                text.push('.');
                text.push_str(&index.to_string());
            }
        }
    }
    text
}

fn kind(op: &DagOp) -> DagOpKind {
    match op.kind {
        crate::vertex::Kind::Fs => DagOpKind::Fs,
        crate::vertex::Kind::Raw => DagOpKind::Raw,
        crate::vertex::Kind::Ctr => DagOpKind::Ctr,
    }
}
