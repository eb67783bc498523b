//! Computations under way: who waits for which, and who runs it.
//!
//! A *claim* is (key, session) -> flight. Two sessions never join one flight, because a resolver uses
//! the session (its files, secrets, connection) of the caller that started it.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::channel::oneshot;
use tokio_util::sync::CancellationToken;

use super::table::{Completion, Held, Table};
use super::{Key, SessionKey};
use crate::Error;

/// Number of a flight; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FlightId(u64);

/// What a waiter is sent.
pub(super) type Message<V> = Result<Held<V>, Error>;

pub(super) struct Flight<V> {
    pub(super) claim: (Key, SessionKey),
    pub(super) waiters: HashMap<u64, oneshot::Sender<Message<V>>>,
    /// Flights whose results this one's resolver awaits, with the number of waits.
    waits_for: HashMap<FlightId, usize>,
    pub(super) stop: CancellationToken,
}

pub(super) struct Flights<V> {
    running: HashMap<FlightId, Flight<V>>,
    claims: HashMap<(Key, SessionKey), FlightId>,
}

impl<V> Default for Flights<V> {
    fn default() -> Self {
        Self {
            running: HashMap::new(),
            claims: HashMap::new(),
        }
    }
}

impl<V> Flights<V> {
    pub(super) fn len(&self) -> usize {
        self.running.len()
    }

    /// The flight of a claim.
    pub(super) fn claimed(&self, claim: &(Key, SessionKey)) -> Option<FlightId> {
        self.claims.get(claim).copied()
    }

    /// Begins a flight; `number` is its own.
    pub(super) fn begin(
        &mut self,
        number: u64,
        claim: (Key, SessionKey),
    ) -> (FlightId, CancellationToken) {
        let (flight, stop) = (FlightId(number), CancellationToken::new());
        self.claims.insert(claim, flight);
        self.running.insert(
            flight,
            Flight {
                claim,
                waiters: HashMap::new(),
                waits_for: HashMap::new(),
                stop: stop.clone(),
            },
        );
        (flight, stop)
    }

    /// Adds a waiter; `number` is its own.
    pub(super) fn join(
        &mut self,
        number: u64,
        flight: FlightId,
        parent: Option<FlightId>,
    ) -> oneshot::Receiver<Message<V>> {
        let (sender, receiver) = oneshot::channel();
        if let Some(running) = self.running.get_mut(&flight) {
            running.waiters.insert(number, sender);
        }
        if let Some(parent) = parent.and_then(|parent| self.running.get_mut(&parent)) {
            *parent.waits_for.entry(flight).or_default() += 1;
        }
        receiver
    }

    /// Takes a flight out. None if everybody left it before.
    pub(super) fn end(&mut self, flight: FlightId) -> Option<Flight<V>> {
        let ended = self.running.remove(&flight)?;
        if self.claims.get(&ended.claim) == Some(&flight) {
            self.claims.remove(&ended.claim);
        }
        Some(ended)
    }

    /// Removes a waiter. The flight comes back when it was the last.
    pub(super) fn leave(
        &mut self,
        flight: FlightId,
        waiter: u64,
        parent: Option<FlightId>,
    ) -> Option<Flight<V>> {
        self.forget_wait(parent, flight);
        let running = self.running.get_mut(&flight)?;
        running.waiters.remove(&waiter);
        if running.waiters.is_empty() {
            return self.end(flight);
        }
        None
    }

    /// Whether `from` waits for `to`, directly or through others, or is it.
    pub(super) fn waits(&self, from: FlightId, to: FlightId) -> bool {
        let mut seen = HashSet::from([from]);
        let mut pending = vec![from];
        while let Some(flight) = pending.pop() {
            if flight == to {
                return true;
            }
            if let Some(running) = self.running.get(&flight) {
                pending.extend(running.waits_for.keys().filter(|next| seen.insert(**next)));
            }
        }
        false
    }

    fn forget_wait(&mut self, parent: Option<FlightId>, flight: FlightId) {
        let Some(parent) = parent.and_then(|parent| self.running.get_mut(&parent)) else {
            return;
        };
        if let Some(count) = parent.waits_for.get_mut(&flight) {
            *count -= 1;
            if *count == 0 {
                parent.waits_for.remove(&flight);
            }
        }
    }
}

/// The duty to finish a flight. Dropped unfinished (its task was aborted), it fails the waiters.
pub(crate) struct Ticket<V: Clone> {
    pub(super) table: Arc<Table<V>>,
    pub(super) flight: FlightId,
    pub(super) stop: CancellationToken,
    pub(super) finished: bool,
}

impl<V: Clone> Ticket<V> {
    /// The flight, to be the parent of claims that its resolver makes.
    pub(crate) fn flight(&self) -> FlightId {
        self.flight
    }

    /// Cancelled when nobody waits any more.
    pub(crate) fn stop(&self) -> &CancellationToken {
        &self.stop
    }

    /// Ends the flight.
    pub(crate) fn complete(mut self, outcome: Result<Completion<V>, Error>, now: u64) {
        self.finished = true;
        self.table.complete(self.flight, outcome, now);
    }
}

impl<V: Clone> Drop for Ticket<V> {
    fn drop(&mut self) {
        if !self.finished {
            self.table.complete(self.flight, Err(Error::cancelled()), 0);
        }
    }
}

/// One caller's wait. Dropping it is leaving.
pub(crate) struct Waiter<V: Clone> {
    pub(super) table: Arc<Table<V>>,
    pub(super) flight: FlightId,
    pub(super) parent: Option<FlightId>,
    pub(super) number: u64,
    pub(super) receiver: oneshot::Receiver<Message<V>>,
}

impl<V: Clone> Waiter<V> {
    /// Waits for the flight's end.
    pub(crate) async fn wait(mut self) -> Message<V> {
        match (&mut self.receiver).await {
            Ok(message) => message,
            // The sender lives in the flight until it is sent; a lost one means the table is gone.
            Err(oneshot::Canceled) => Err(Error::cancelled()),
        }
    }
}

impl<V: Clone> Drop for Waiter<V> {
    fn drop(&mut self) {
        self.table.leave(self.flight, self.number, self.parent);
    }
}
