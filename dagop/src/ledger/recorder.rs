//! Records one build: events go in, batches of rows go to the writer thread.
//!
//! `fold` makes rows of events. Rows changed since they were last sent go out together, at most once
//! per [`FLUSH_INTERVAL`] while the build runs, the rest at its end.
//!
//! What recording costs a build is logged when it ends, as `debug` of the target
//! [`super::COST`]: for how long the build's own threads were held up here, and the time that the
//! writer thread was at work beside it.

mod fold;

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use tokio::sync::{mpsc, oneshot};

use super::facts::Facts;
use super::operations::Redaction;
use super::row::BuildRow;
use super::writer::{Message, Written};
use super::{COST, FLUSH_INTERVAL, Limits};
use crate::event::{self, Event};
use crate::report::Report;
use fold::State;

/// Records one build. Shared by reference among everything that sees events.
#[derive(Debug)]
pub struct Recorder {
    id: String,
    queue: mpsc::Sender<Message>,
    state: Mutex<State>,
    /// Microseconds for which callers were held up.
    held_us: AtomicU64,
}

impl Recorder {
    pub(super) fn new(limits: Limits, queue: mpsc::Sender<Message>) -> Self {
        let build = BuildRow {
            id: random_id(),
            started_ms: event::now(),
            ..BuildRow::default()
        };
        let state = State::new(limits, build);
        Self {
            id: state.build.id.clone(),
            queue,
            state: Mutex::new(state),
            held_us: AtomicU64::new(0),
        }
    }

    /// The build's id.
    pub fn build(&self) -> &str {
        &self.id
    }

    /// Takes an event into account. Never blocks and never fails.
    pub fn observe(&self, event: &Event) {
        let begun = Instant::now();
        let mut state = self.state();
        state.observe(event);
        self.flush(&mut state);
        self.held(begun);
    }

    /// Takes what is known of the cache into account. Never blocks and never fails.
    pub fn add(&self, facts: Facts) {
        let begun = Instant::now();
        let mut state = self.state();
        state.add(facts);
        self.flush(&mut state);
        self.held(begun);
    }

    fn held(&self, since: Instant) {
        let micros = u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX);
        self.held_us.fetch_add(micros, Ordering::Relaxed);
    }

    /// Sets what cleans texts before they are stored.
    pub fn redact_with(&self, redact: Redaction) {
        self.state().redact_with(redact);
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
        let begun = Instant::now();
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
                notices: vec![
                    "this build is not recorded: the ledger's thread has stopped".to_owned(),
                ],
                ..Written::default()
            },
        };
        self.held(begun);
        tracing::debug!(
            target: COST,
            held_us = self.held_us.load(Ordering::Relaxed),
            beside_us = written.beside_us,
            "recorded"
        );
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
