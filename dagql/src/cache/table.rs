//! The results in memory: claims, lookups and completions. Pure state under one lock.
//!
//! The state is in three parts: [`flights`](super::flights), computations under way;
//! [`entries`](super::entries), stored results and who owns them; [`classes`](super::classes), what
//! is equal to what. This file is the only one that locks, and holds the rules that need more than
//! one part.
//!
//! # Rules
//! 1. A valid entry under the exact key is adopted by the session: [`Table::hit`].
//! 2. Without one, an entry that is known to be equal may serve: one in the class of the key, or in
//!    the output of the call's term, if the class of every input is known; of several the oldest:
//!    [`Table::equal`]. It is handed out under the caller's ID and then stored under the caller's
//!    key ([`Table::teach`]), so that the next lookup is exact. A result that bears the ID of another
//!    call, or is an ID, is not handed out like that.
//! 3. Else a flight for the claim is joined, or a new one begins and the caller must run it:
//!    [`Table::claim`]. A flight waits for the flights that its resolver claims. A claim that would
//!    close a cycle of waits is refused: the calls would wait for each other forever.
//! 4. When the last waiter leaves, the flight's claim goes at once (a later caller starts afresh
//!    and never joins a dying flight) and its task is told to stop. A value that still arrives is
//!    dropped.
//! 5. [`Table::complete`]: errors go to all waiters and are never stored. Of two sessions that
//!    computed one key, the first to finish wins, and the other's value is dropped in favour of the
//!    stored one, so that equal IDs stay one object.
//! 6. A session that was released owns nothing and gets nothing: a flight of its own that finishes
//!    later reports that the session was closed.
//! 7. What has expired is removed before anything is looked up. A result that expired while it was
//!    computed goes to its waiters and is not stored.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::classes::{ClassIx, EntryIx};
use super::entries::{Entries, Entry, NewEntry};
use super::flights::{FlightId, Flights, Message, Ticket, Waiter};
use super::stats::CacheStats;
use super::{Key, SessionKey, Version};
use crate::sync::{Mutex, lock};
use crate::{Error, error::Kind};

struct State<V> {
    flights: Flights<V>,
    entries: Entries<V>,
    stats: CacheStats,
}

/// See the module's manual.
pub(crate) struct Table<V> {
    state: Mutex<State<V>>,
    /// Numbers of versions.
    generations: AtomicU64,
}

/// A value and which of the results of its call it is.
#[derive(Debug, Clone)]
pub(crate) struct Held<V> {
    pub(crate) value: V,
    pub(crate) version: Option<Arc<Version>>,
}

/// A stored result that is equal to what is asked for.
pub(crate) struct Equal<V> {
    pub(crate) value: V,
    /// The name of the stored result.
    pub(crate) home: Key,
    pub(crate) expires: Option<u64>,
    /// Whether only this session may use it.
    pub(crate) private: bool,
    pub(crate) volatile: bool,
}

/// A claim's answer.
pub(crate) enum Claim<V: Clone> {
    /// A stored result.
    Hit(Held<V>),
    /// Somebody computes it already.
    Join(Waiter<V>),
    /// The caller must run the ticket; its result comes through the waiter.
    Run(Ticket<V>, Waiter<V>),
    /// Waiting would never end.
    Cycle,
    /// The session is released.
    Closed,
}

/// One input of a term, as far as its caller knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Input {
    /// Keys that may name it, best first; never empty.
    pub(crate) keys: Vec<Key>,
    /// Its content, if that is known.
    pub(crate) content: Option<Key>,
}

/// A call taken apart; see [`crate::Id::term`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Shape {
    pub(crate) digest: Key,
    pub(crate) inputs: Vec<Input>,
}

/// A finished computation.
pub(crate) struct Completion<V> {
    pub(crate) value: V,
    pub(crate) version: Option<Arc<Version>>,
    pub(crate) expires: Option<u64>,
    /// Whether only the session that computed it may use it.
    pub(crate) private: bool,
    /// Whether it goes when no session owns it.
    pub(crate) volatile: bool,
    /// Whether it may be handed out under the ID of another call.
    pub(crate) portable: bool,
    /// Estimated bytes.
    pub(crate) weight: usize,
    /// The name of what came out, if the claimed key is not it.
    pub(crate) home: Option<Key>,
    pub(crate) content: Option<Key>,
    /// Names of results that are equal to this one.
    pub(crate) equal: Vec<Key>,
    /// A second key under which it is found.
    pub(crate) also: Option<Key>,
    /// The call taken apart, if its result depends on its inputs alone.
    pub(crate) shape: Option<Shape>,
}

#[cfg(test)]
impl<V> Completion<V> {
    /// A completion of a value that nothing else is known of.
    pub(crate) fn of(value: V) -> Self {
        Self {
            value,
            version: None,
            expires: None,
            private: false,
            volatile: false,
            portable: true,
            weight: super::budget::ENTRY_BYTES,
            home: None,
            content: None,
            equal: Vec::new(),
            also: None,
            shape: None,
        }
    }
}

impl<V: Clone> Table<V> {
    pub(crate) fn new(budget: usize) -> Arc<Self> {
        Arc::new(Self {
            state: Mutex::new(State {
                flights: Flights::default(),
                entries: Entries::new(budget),
                stats: CacheStats::default(),
            }),
            generations: AtomicU64::new(0),
        })
    }

    /// Runs a critical section, and drops the values that went in it afterwards.
    fn with<T>(&self, section: impl FnOnce(&mut State<V>) -> T) -> T {
        let mut state = lock(&self.state);
        let result = section(&mut state);
        let garbage = std::mem::take(&mut state.entries.garbage);
        drop(state);
        drop(garbage);
        result
    }

    /// A number that no other result has.
    pub(crate) fn generation(&self) -> u64 {
        self.generations.fetch_add(1, Ordering::Relaxed)
    }

    /// Changes the budget, in bytes.
    pub(crate) fn set_budget(&self, budget: usize) {
        self.with(|state| {
            state.entries.budget = budget;
            state.entries.make_room();
        });
    }

    /// Opens a session.
    pub(crate) fn open_session(&self) -> SessionKey {
        self.with(|state| state.entries.open_session())
    }

    /// Rule 6: forgets the session. A second release does nothing.
    pub(crate) fn release_session(&self, session: SessionKey) {
        self.with(|state| state.entries.close_session(session));
    }

    /// Rule 1. `now` is in seconds.
    pub(crate) fn hit(&self, key: &Key, session: SessionKey, now: u64) -> Option<Held<V>> {
        self.with(|state| state.hit(key, session, now))
    }

    /// Rule 2.
    pub(crate) fn equal(
        &self,
        key: &Key,
        shape: Option<&Shape>,
        session: SessionKey,
        now: u64,
    ) -> Option<Equal<V>> {
        self.with(|state| state.equal(key, shape, session, now))
    }

    /// Stores what [`Self::equal`] found under the caller's own key, and returns what is there.
    pub(crate) fn teach(
        &self,
        key: &Key,
        session: SessionKey,
        completion: Completion<V>,
        now: u64,
    ) -> Message<V> {
        self.with(|state| state.store(key, session, completion, now))
    }

    /// Says that what `name` names has this content, which congruence then uses. Nothing happens
    /// when no stored result is known by that name.
    pub(crate) fn learn(&self, name: &Key, content: Key) {
        self.with(|state| {
            let classes = &mut state.entries.classes;
            if let Some(class) = classes.class_of_key(name) {
                classes.set_content(class, content);
            }
        });
    }

    /// Rules 1 and 3. `parent` is the flight whose resolver asks.
    pub(crate) fn claim(
        self: &Arc<Self>,
        key: &Key,
        session: SessionKey,
        parent: Option<FlightId>,
        now: u64,
    ) -> Claim<V> {
        self.with(|state| {
            if !state.entries.is_open(session) {
                return Claim::Closed;
            }
            if let Some(held) = state.hit(key, session, now) {
                return Claim::Hit(held);
            }
            let claim = (*key, session);
            if let Some(flight) = state.flights.claimed(&claim) {
                if parent.is_some_and(|parent| state.flights.waits(flight, parent)) {
                    return Claim::Cycle;
                }
                state.stats.joined += 1;
                return Claim::Join(self.join(state, flight, parent));
            }
            let (flight, stop) = state.flights.begin(state.entries.number(), claim);
            state.stats.executed += 1;
            let ticket = Ticket {
                table: Arc::clone(self),
                flight,
                stop,
                finished: false,
            };
            Claim::Run(ticket, self.join(state, flight, parent))
        })
    }

    fn join(
        self: &Arc<Self>,
        state: &mut State<V>,
        flight: FlightId,
        parent: Option<FlightId>,
    ) -> Waiter<V> {
        let number = state.entries.number();
        Waiter {
            table: Arc::clone(self),
            flight,
            parent,
            number,
            receiver: state.flights.join(number, flight, parent),
        }
    }

    /// Rules 4, 5 and 6.
    pub(super) fn complete(
        &self,
        flight: FlightId,
        outcome: Result<Completion<V>, Error>,
        now: u64,
    ) {
        let mut outcome = Some(outcome);
        let ended = self.with(|state| {
            // When everybody left, the value is dropped with `outcome`, outside the lock.
            let running = state.flights.end(flight)?;
            let (key, session) = running.claim;
            let message = match outcome.take()? {
                Ok(completion) => state.store(&key, session, completion, now),
                Err(error) => Err(error),
            };
            Some((running, message))
        });
        let Some((running, message)) = ended else {
            return;
        };
        for sender in running.waiters.into_values() {
            // The waiter may leave at this moment; then nobody needs the message.
            let _ = sender.send(message.clone());
        }
    }

    pub(super) fn leave(&self, flight: FlightId, waiter: u64, parent: Option<FlightId>) {
        let abandoned = self.with(|state| state.flights.leave(flight, waiter, parent));
        if let Some(abandoned) = abandoned {
            abandoned.stop.cancel();
        }
    }

    /// Current sizes, and counts since the table was made.
    pub(crate) fn stats(&self, now: u64) -> CacheStats {
        self.with(|state| {
            let entries = &mut state.entries;
            entries.expire(now);
            let (classes, idle) = (&entries.classes, entries.idle());
            CacheStats {
                entries: entries.all.len(),
                owned: entries.all.len() - idle,
                retained: idle,
                bytes: entries.bytes(),
                budget: entries.budget,
                classes: classes.distinct,
                terms: classes.by_shape.len(),
                names: classes.names.len(),
                in_flight: state.flights.len(),
                sessions: entries.sessions(),
                evicted: entries.events.evicted,
                expired: entries.events.expired,
                ..state.stats
            }
        })
    }

    /// Forgets at once what leads to no result; for tests that compare sizes.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(super) fn sweep(&self) {
        self.with(|state| state.entries.sweep());
    }
}

impl<V: Clone> State<V> {
    fn hit(&mut self, key: &Key, session: SessionKey, now: u64) -> Option<Held<V>> {
        self.entries.expire(now);
        if !self.entries.is_open(session) {
            return None;
        }
        let entry = self.entries.exact(key, session)?;
        self.stats.hits_exact += 1;
        Some(self.adopt(entry, session))
    }

    fn adopt(&mut self, entry: EntryIx, session: SessionKey) -> Held<V> {
        let held = self.entries.adopt(entry, session);
        Held {
            value: held.value.clone(),
            version: held.version.clone(),
        }
    }

    fn equal(
        &mut self,
        key: &Key,
        shape: Option<&Shape>,
        session: SessionKey,
        now: u64,
    ) -> Option<Equal<V>> {
        self.entries.expire(now);
        let class = self.entries.classes.class_of_key(key);
        if let Some(entry) = class.and_then(|class| self.entries.portable(class, session)) {
            self.stats.hits_class += 1;
            return Some(self.found(entry));
        }
        let shape = shape?;
        let inputs: Option<Vec<ClassIx>> = shape
            .inputs
            .iter()
            .map(|input| self.entries.class_of_input(input, session))
            .collect();
        let output = self.entries.classes.output(&shape.digest, &inputs?)?;
        let entry = self.entries.portable(output, session)?;
        self.stats.hits_term += 1;
        Some(self.found(entry))
    }

    fn found(&self, entry: EntryIx) -> Equal<V> {
        let found: &Entry<V> = &self.entries.all[entry as usize];
        Equal {
            value: found.value.clone(),
            home: self.entries.classes.names[found.home as usize].key,
            expires: found.expires,
            private: found.private.is_some(),
            volatile: found.volatile,
        }
    }

    /// Stores a finished value for its session, or finds that another session stored it before.
    fn store(
        &mut self,
        key: &Key,
        session: SessionKey,
        completion: Completion<V>,
        now: u64,
    ) -> Message<V> {
        let entries = &mut self.entries;
        entries.expire(now);
        if !entries.is_open(session) {
            entries.garbage.push(completion.value);
            let closed = "the session was closed during execution";
            return Err(Error::new(Kind::Cancelled, closed));
        }
        if let Some(winner) = entries.exact(key, session) {
            entries.garbage.push(completion.value);
            return Ok(self.adopt(winner, session));
        }
        if completion.expires.is_some_and(|expires| expires <= now) {
            return Ok(Held {
                value: completion.value,
                version: completion.version,
            });
        }
        let private = completion.private.then_some(session);
        let home = completion.home.unwrap_or(*key);
        if private.is_some() || completion.also.is_some() {
            entries.has_private(session);
        }
        let exact = private.map_or(*key, |session| key.private(session));
        let new = NewEntry {
            value: completion.value,
            version: completion.version,
            expires: completion.expires,
            private,
            volatile: completion.volatile,
            portable: completion.portable,
            weight: completion.weight,
            also: completion.also,
        };
        let entry = entries.insert(exact, home, &completion.equal, new);
        let class = entries.class_of_entry(entry);
        for equal in completion.equal {
            let other = entries.classes.make_class_of_key(equal);
            entries.classes.unite(class, other);
        }
        if let Some(content) = completion.content {
            entries.classes.set_content(class, content);
        }
        if let Some(shape) = completion.shape {
            let inputs: Vec<ClassIx> = shape
                .inputs
                .iter()
                .map(|input| entries.make_class_of_input(input, session))
                .collect();
            entries.classes.add_term(shape.digest, &inputs, class);
        }
        let held = self.adopt(entry, session);
        self.entries.make_room();
        Ok(held)
    }
}
