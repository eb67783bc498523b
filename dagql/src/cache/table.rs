//! The claim table and the entry table: single flight, ownership, lookup. Pure state under one lock.
//!
//! # State
//! - *flights*: computations under way. A flight has waiters; each waits for one message.
//! - *claims*: (call key, session) -> flight. Two sessions never join one flight, because a
//!   resolver uses the session (its files, secrets, connection) of the caller that started it.
//! - *entries*: finished results. An entry lives while at least one open session owns it.
//! - *index*: (kind, digest) -> entries, oldest first. Many rows may lead to one entry: the call
//!   key, the digest of the result's own ID, the digest of its content. A row owns nothing: it is
//!   an equivalence, and it goes when its entry goes.
//! - *sessions*: open sessions and the entries each owns. Owning is per session and not per
//!   call, so ten thousand hits cost one row.
//!
//! # Rules
//! 1. [`Table::claim`]: a valid entry for the key is adopted by the session (hit); else a flight
//!    for the claim is joined; else a new flight begins and the caller must run it.
//! 2. A flight waits for the flights that its resolver claims. A claim that would close a cycle of
//!    waits is refused: the calls would wait for each other forever.
//! 3. When the last waiter leaves, the flight's claim goes at once (a later caller starts afresh
//!    and never joins a dying flight) and its task is told to stop. A value that still arrives is
//!    dropped.
//! 4. [`Table::complete`]: errors go to all waiters and are never stored. Of two sessions that
//!    computed one key, the first to finish wins, and the other's value is dropped in favour of the
//!    stored one, so that equal IDs stay one object.
//! 5. A session that was released owns nothing and gets nothing: a flight of its own that finishes
//!    later reports that the session was closed.
//! 6. An entry past its expiry is not found by its call key, but stays for whoever owns it.
//!    Rows are removed by entry, never by key alone, so an old entry cannot take a newer one along.
//!
//! Values are dropped after the lock is released: their `Drop` may be slow or come back here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use futures::channel::oneshot;
use tokio_util::sync::CancellationToken;

use crate::sync::{Mutex, lock};
use crate::{Digest, Error, error::Kind};

/// Number of a flight; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct FlightId(u64);

/// Number of an entry; never reused, so the smallest is the oldest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct EntryId(u64);

/// Number of an open session; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionKey(u64);

/// What a digest in the index is a digest of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum IndexKind {
    /// The call that was asked for.
    Call,
    /// The ID of the object that came out.
    Result,
    /// The content of the object that came out.
    Content,
}

/// What a waiter is sent: the value, and whether this flight's own value was stored.
type Message<V> = Result<V, Error>;

struct Flight<V> {
    claim: (Digest, SessionKey),
    waiters: HashMap<u64, oneshot::Sender<Message<V>>>,
    /// Flights whose results this one's resolver awaits, with the number of waits.
    waits_for: HashMap<FlightId, usize>,
    stop: CancellationToken,
}

struct Entry<V> {
    value: V,
    owners: usize,
    /// Second since the epoch at which the call key stops finding it.
    expires: Option<u64>,
    rows: Vec<(IndexKind, Digest)>,
}

struct State<V> {
    next: u64,
    flights: HashMap<FlightId, Flight<V>>,
    claims: HashMap<(Digest, SessionKey), FlightId>,
    entries: HashMap<EntryId, Entry<V>>,
    index: BTreeSet<((IndexKind, Digest), EntryId)>,
    sessions: HashMap<SessionKey, HashSet<EntryId>>,
}

/// See the module's manual.
pub(crate) struct Table<V>(Mutex<State<V>>);

/// A claim's answer.
pub(crate) enum Claim<V: Clone> {
    /// A stored result.
    Hit(V),
    /// Somebody computes it already.
    Join(Waiter<V>),
    /// The caller must run the ticket; its result comes through the waiter.
    Run(Ticket<V>, Waiter<V>),
    /// Waiting would never end.
    Cycle,
    /// The session is released.
    Closed,
}

/// A finished computation.
pub(crate) struct Completion<V> {
    pub(crate) value: V,
    pub(crate) expires: Option<u64>,
    /// Rows besides the call key.
    pub(crate) rows: Vec<(IndexKind, Digest)>,
}

/// Sizes, for tests and for reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct CacheStats {
    /// Results held.
    pub entries: usize,
    /// Ways to find them.
    pub rows: usize,
    /// Computations under way.
    pub in_flight: usize,
    /// Open sessions.
    pub sessions: usize,
}

impl<V: Clone> Table<V> {
    pub(crate) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State {
            next: 0,
            flights: HashMap::new(),
            claims: HashMap::new(),
            entries: HashMap::new(),
            index: BTreeSet::new(),
            sessions: HashMap::new(),
        })))
    }

    /// Opens a session.
    pub(crate) fn open_session(&self) -> SessionKey {
        let mut state = lock(&self.0);
        let session = SessionKey(state.number());
        state.sessions.insert(session, HashSet::new());
        session
    }

    /// Rule 5: forgets the session and what only it owned. A second release does nothing.
    pub(crate) fn release_session(&self, session: SessionKey) {
        let mut state = lock(&self.0);
        let owned = state.sessions.remove(&session).unwrap_or_default();
        let freed: Vec<V> = owned
            .into_iter()
            .filter_map(|entry| state.disown(entry))
            .collect();
        drop(state);
        drop(freed);
    }

    /// Rules 1 and 2. `parent` is the flight whose resolver asks, `now` is in seconds.
    pub(crate) fn claim(
        self: &Arc<Self>,
        key: &Digest,
        session: SessionKey,
        parent: Option<FlightId>,
        now: u64,
    ) -> Claim<V> {
        let mut state = lock(&self.0);
        if !state.sessions.contains_key(&session) {
            return Claim::Closed;
        }
        if let Some(entry) = state.lookup(key, now) {
            return match state.adopt(entry, session) {
                Some(value) => Claim::Hit(value),
                None => Claim::Closed,
            };
        }
        let claim = (key.clone(), session);
        if let Some(&flight) = state.claims.get(&claim) {
            if parent.is_some_and(|parent| state.waits(flight, parent)) {
                return Claim::Cycle;
            }
            return Claim::Join(self.join(&mut state, flight, parent));
        }
        let flight = FlightId(state.number());
        let stop = CancellationToken::new();
        state.claims.insert(claim.clone(), flight);
        state.flights.insert(
            flight,
            Flight {
                claim,
                waiters: HashMap::new(),
                waits_for: HashMap::new(),
                stop: stop.clone(),
            },
        );
        let waiter = self.join(&mut state, flight, parent);
        let ticket = Ticket {
            table: Arc::clone(self),
            flight,
            stop,
            finished: false,
        };
        Claim::Run(ticket, waiter)
    }

    fn join(
        self: &Arc<Self>,
        state: &mut State<V>,
        flight: FlightId,
        parent: Option<FlightId>,
    ) -> Waiter<V> {
        let number = state.number();
        let (sender, receiver) = oneshot::channel();
        if let Some(running) = state.flights.get_mut(&flight) {
            running.waiters.insert(number, sender);
        }
        if let Some(parent) = parent.and_then(|parent| state.flights.get_mut(&parent)) {
            *parent.waits_for.entry(flight).or_default() += 1;
        }
        Waiter {
            table: Arc::clone(self),
            flight,
            parent,
            number,
            receiver,
        }
    }

    /// The first valid entry under `digest`, adopted by the session.
    pub(crate) fn find(
        &self,
        kind: IndexKind,
        digest: &Digest,
        session: SessionKey,
        now: u64,
    ) -> Option<V> {
        let mut state = lock(&self.0);
        let entry = match kind {
            IndexKind::Call => state.lookup(digest, now)?,
            kind => state.first(kind, digest)?,
        };
        state.adopt(entry, session)
    }

    /// Rules 3, 4 and 5.
    fn complete(&self, flight: FlightId, outcome: Result<Completion<V>, Error>, now: u64) {
        let mut state = lock(&self.0);
        // A flight that everybody left is gone already; its value is dropped below.
        let Some(running) = state.flights.remove(&flight) else {
            drop(state);
            drop(outcome);
            return;
        };
        state.unclaim(&running.claim, flight);
        let (message, loser) = match outcome {
            Ok(completion) => state.store(&running.claim, completion, now),
            Err(error) => (Err(error), None),
        };
        drop(state);
        for sender in running.waiters.into_values() {
            // The waiter may leave at this moment; then nobody needs the message.
            let _ = sender.send(message.clone());
        }
        drop((message, loser));
    }

    fn leave(&self, flight: FlightId, waiter: u64, parent: Option<FlightId>) {
        let mut state = lock(&self.0);
        state.forget_wait(parent, flight);
        let Some(running) = state.flights.get_mut(&flight) else {
            return;
        };
        running.waiters.remove(&waiter);
        if !running.waiters.is_empty() {
            return;
        }
        if let Some(abandoned) = state.flights.remove(&flight) {
            state.unclaim(&abandoned.claim, flight);
            drop(state);
            abandoned.stop.cancel();
        }
    }

    /// Current sizes.
    pub(crate) fn stats(&self) -> CacheStats {
        let state = lock(&self.0);
        CacheStats {
            entries: state.entries.len(),
            rows: state.index.len(),
            in_flight: state.flights.len(),
            sessions: state.sessions.len(),
        }
    }
}

impl<V: Clone> State<V> {
    fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    fn first(&self, kind: IndexKind, digest: &Digest) -> Option<EntryId> {
        let key = (kind, digest.clone());
        let (found, entry) = self.index.range((key.clone(), EntryId(0))..).next()?;
        (*found == key).then_some(*entry)
    }

    /// An entry whose call or whose result has this digest. An expired call row is removed.
    fn lookup(&mut self, key: &Digest, now: u64) -> Option<EntryId> {
        while let Some(entry) = self.first(IndexKind::Call, key) {
            match self.entries.get(&entry).map(|entry| entry.expires) {
                Some(Some(expires)) if expires <= now => {
                    self.index.remove(&((IndexKind::Call, key.clone()), entry));
                }
                _ => return Some(entry),
            }
        }
        self.first(IndexKind::Result, key)
    }

    /// Makes the session an owner; none if it is released.
    fn adopt(&mut self, entry: EntryId, session: SessionKey) -> Option<V> {
        let owned = self.sessions.get_mut(&session)?;
        let held = self.entries.get_mut(&entry)?;
        if owned.insert(entry) {
            held.owners += 1;
        }
        Some(held.value.clone())
    }

    /// Takes one owner away; returns the value when that was the last.
    fn disown(&mut self, entry: EntryId) -> Option<V> {
        let held = self.entries.get_mut(&entry)?;
        held.owners -= 1;
        if held.owners > 0 {
            return None;
        }
        let freed = self.entries.remove(&entry)?;
        for row in freed.rows {
            self.index.remove(&(row, entry));
        }
        Some(freed.value)
    }

    /// Stores a finished value for its session, or finds that another session stored it before.
    /// Returns what the waiters get, and a value to drop outside the lock.
    fn store(
        &mut self,
        claim: &(Digest, SessionKey),
        completion: Completion<V>,
        now: u64,
    ) -> (Message<V>, Option<V>) {
        let (key, session) = claim;
        if !self.sessions.contains_key(session) {
            let closed = Error::new(Kind::Cancelled, "the session was closed during execution");
            return (Err(closed), Some(completion.value));
        }
        if let Some(winner) = self
            .lookup(key, now)
            .and_then(|entry| self.adopt(entry, *session))
        {
            return (Ok(winner), Some(completion.value));
        }
        let entry = EntryId(self.number());
        let mut rows = completion.rows;
        rows.push((IndexKind::Call, key.clone()));
        self.index
            .extend(rows.iter().cloned().map(|row| (row, entry)));
        self.entries.insert(
            entry,
            Entry {
                value: completion.value.clone(),
                owners: 0,
                expires: completion.expires,
                rows,
            },
        );
        let _ = self.adopt(entry, *session);
        (Ok(completion.value), None)
    }

    /// Removes a claim if it still belongs to this flight.
    fn unclaim(&mut self, claim: &(Digest, SessionKey), flight: FlightId) {
        if self.claims.get(claim) == Some(&flight) {
            self.claims.remove(claim);
        }
    }

    /// Whether `from` waits for `to`, directly or through others, or is it.
    fn waits(&self, from: FlightId, to: FlightId) -> bool {
        let mut seen = HashSet::from([from]);
        let mut pending = vec![from];
        while let Some(flight) = pending.pop() {
            if flight == to {
                return true;
            }
            if let Some(running) = self.flights.get(&flight) {
                pending.extend(running.waits_for.keys().filter(|next| seen.insert(**next)));
            }
        }
        false
    }

    fn forget_wait(&mut self, parent: Option<FlightId>, flight: FlightId) {
        let Some(parent) = parent.and_then(|parent| self.flights.get_mut(&parent)) else {
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
    table: Arc<Table<V>>,
    flight: FlightId,
    stop: CancellationToken,
    finished: bool,
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
    table: Arc<Table<V>>,
    flight: FlightId,
    parent: Option<FlightId>,
    number: u64,
    receiver: oneshot::Receiver<Message<V>>,
}

impl<V: Clone> Waiter<V> {
    /// Waits for the flight's end.
    pub(crate) async fn wait(mut self) -> Result<V, Error> {
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
