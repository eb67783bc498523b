//! Stored results: who owns them, which may be used by whom, and which go first.
//!
//! # An entry
//! has an exact key, and a *home*: the name of what came out, in whose class it is a member. For
//! most results the two are one name. They differ where a key does not say which result it is
//! (`cache/version.rs`); then the result is also stored under the plain ID for the session that made
//! it, so that it can be loaded without its receivers.
//!
//! # Life
//! - *owned*: at least one open session used it. Owning is per session and not per call, so ten
//!   thousand hits cost one row.
//! - *idle*: nobody owns it. It stays, so that the next session finds it, until the budget needs the
//!   room; the one that was used longest ago goes first.
//! - gone: evicted; or it expired, which does not ask for owners, because nobody can find it any
//!   more and whoever holds the value keeps it; or its last owner left and it is *volatile*, because
//!   it was true for that time only; or it is *private* and its session ended.
//!
//! Values that go are collected in `garbage` and dropped by the caller after the lock: their `Drop`
//! may be slow or come back here.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use slab::Slab;

use super::budget;
use super::classes::{ClassIx, Classes, EntryIx, NONE, NameIx};
use super::sweep::sweep;
use super::table::Input;
use super::{Key, SessionKey, Version};

/// Results that went since the last sweep below which none is worth its time.
const SWEEP_MIN: usize = 256;

pub(super) struct Entry<V> {
    pub(super) value: V,
    pub(super) version: Option<Arc<Version>>,
    /// Its age: numbers ascend and are never reused.
    number: u64,
    /// When it was last used, in the same numbers.
    used: u64,
    pub(super) expires: Option<u64>,
    pub(super) private: Option<SessionKey>,
    exact: NameIx,
    pub(super) home: NameIx,
    aliases: Box<[NameIx]>,
    weight: usize,
    owners: u32,
    pub(super) volatile: bool,
    /// Whether the value may be handed out under the ID of another call.
    portable: bool,
}

/// What is stored.
pub(super) struct NewEntry<V> {
    pub(super) value: V,
    pub(super) version: Option<Arc<Version>>,
    pub(super) expires: Option<u64>,
    pub(super) private: Option<SessionKey>,
    pub(super) volatile: bool,
    pub(super) portable: bool,
    pub(super) weight: usize,
    /// A second exact key.
    pub(super) also: Option<Key>,
}

/// Events since the table was made.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Events {
    pub(super) evicted: u64,
    pub(super) expired: u64,
}

#[derive(Default)]
struct Owner {
    entries: HashSet<EntryIx>,
    /// Whether anything was ever stored under a private key of this session.
    private: bool,
}

pub(super) struct Entries<V> {
    pub(super) all: Slab<Entry<V>>,
    pub(super) classes: Classes,
    sessions: HashMap<SessionKey, Owner>,
    /// Entries that nobody owns, the one used longest ago first.
    idle: BTreeSet<(u64, EntryIx)>,
    expiring: BTreeSet<(u64, EntryIx)>,
    next: u64,
    /// Sum of the entries' weights.
    weights: usize,
    pub(super) budget: usize,
    gone: usize,
    pub(super) events: Events,
    pub(super) garbage: Vec<V>,
}

impl<V> Entry<V> {
    /// The names that this entry holds.
    pub(super) fn names(&self) -> impl Iterator<Item = NameIx> + '_ {
        [self.exact, self.home]
            .into_iter()
            .chain(self.aliases.iter().copied())
    }

    pub(super) fn rename(&mut self, moved: &[NameIx]) {
        self.exact = moved[self.exact as usize];
        self.home = moved[self.home as usize];
        for alias in &mut self.aliases {
            *alias = moved[*alias as usize];
        }
    }

    fn allows(&self, session: SessionKey) -> bool {
        self.private.is_none_or(|owner| owner == session)
    }
}

impl<V: Clone> Entries<V> {
    pub(super) fn new(budget: usize) -> Self {
        Self {
            all: Slab::new(),
            classes: Classes::default(),
            sessions: HashMap::new(),
            idle: BTreeSet::new(),
            expiring: BTreeSet::new(),
            next: 0,
            weights: 0,
            budget,
            gone: 0,
            events: Events::default(),
            garbage: Vec::new(),
        }
    }

    /// A number that no other thing in this table has.
    pub(super) fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    pub(super) fn open_session(&mut self) -> SessionKey {
        let session = SessionKey::numbered(self.number());
        self.sessions.insert(session, Owner::default());
        session
    }

    pub(super) fn is_open(&self, session: SessionKey) -> bool {
        self.sessions.contains_key(&session)
    }

    pub(super) fn sessions(&self) -> usize {
        self.sessions.len()
    }

    pub(super) fn idle(&self) -> usize {
        self.idle.len()
    }

    /// Estimated bytes of everything here.
    pub(super) fn bytes(&self) -> usize {
        self.weights + budget::graph(&self.classes)
    }

    /// Forgets the session: what only it owned becomes idle or goes.
    pub(super) fn close_session(&mut self, session: SessionKey) {
        let Some(owner) = self.sessions.remove(&session) else {
            return;
        };
        for entry in owner.entries {
            let held = &mut self.all[entry as usize];
            held.owners -= 1;
            if held.private.is_some() || (held.owners == 0 && held.volatile) {
                self.remove(entry);
            } else if held.owners == 0 {
                self.idle.insert((held.used, entry));
            }
        }
        self.make_room();
    }

    /// The entry under an exact key that the session may use: its own, or else everybody's.
    pub(super) fn exact(&self, key: &Key, session: SessionKey) -> Option<EntryIx> {
        let private = self.sessions.get(&session).filter(|owner| owner.private);
        let private = private.map(|_| key.private(session));
        private.iter().chain([key]).find_map(|key| {
            let name = self.classes.name(key)?;
            let entry = self.classes.names[name as usize].entry;
            let found = self.all.get(entry as usize)?;
            found.allows(session).then_some(entry)
        })
    }

    /// The oldest entry of a class that the session may use under another ID.
    pub(super) fn portable(&self, class: ClassIx, session: SessionKey) -> Option<EntryIx> {
        let members = &self.classes.classes[class as usize].members;
        members.iter().map(|(_, entry)| entry).find(|entry| {
            let found = &self.all[*entry as usize];
            found.portable && found.allows(session)
        })
    }

    /// Says that something is about to be stored under a private key of the session.
    pub(super) fn has_private(&mut self, session: SessionKey) {
        if let Some(owner) = self.sessions.get_mut(&session) {
            owner.private = true;
        }
    }

    /// Makes the session an owner.
    pub(super) fn adopt(&mut self, entry: EntryIx, session: SessionKey) -> &Entry<V> {
        let now = self.number();
        let held = &mut self.all[entry as usize];
        if held.owners == 0 {
            self.idle.remove(&(held.used, entry));
        }
        held.used = now;
        if let Some(owner) = self.sessions.get_mut(&session)
            && owner.entries.insert(entry)
        {
            held.owners += 1;
        }
        held
    }

    /// Stores a result under `exact`, where nothing is, as a member of the class of `home`, and
    /// holds the names of what it is equal to.
    pub(super) fn insert(
        &mut self,
        exact: Key,
        home: Key,
        equal: &[Key],
        new: NewEntry<V>,
    ) -> EntryIx {
        let number = self.number();
        let exact = self.classes.intern_pointer(exact);
        let home = self.classes.intern(home);
        let aliases = equal.iter().map(|key| self.classes.intern(*key));
        let mut aliases: Vec<NameIx> = aliases.collect();
        let entry = u32::try_from(self.all.vacant_key()).expect("fewer than 2^32 results");
        if let Some(also) = new.also {
            let name = self.classes.intern_pointer(also);
            if self.classes.names[name as usize].entry == NONE {
                self.classes.names[name as usize].entry = entry;
                aliases.push(name);
            }
        }
        self.weights += new.weight;
        if let Some(expires) = new.expires {
            self.expiring.insert((expires, entry));
        }
        self.all.insert(Entry {
            value: new.value,
            version: new.version,
            number,
            used: number,
            expires: new.expires,
            private: new.private,
            exact,
            home,
            aliases: aliases.into(),
            weight: new.weight,
            owners: 0,
            volatile: new.volatile,
            portable: new.portable,
        });
        self.idle.insert((number, entry));
        self.classes.names[exact as usize].entry = entry;
        let class = self.class_of_entry(entry);
        self.classes.classes[class as usize]
            .members
            .insert(number, entry);
        entry
    }

    /// Removes an entry from everywhere.
    fn remove(&mut self, entry: EntryIx) {
        let Some(held) = self.all.try_remove(entry as usize) else {
            return;
        };
        if held.owners == 0 {
            self.idle.remove(&(held.used, entry));
        }
        // Only what expires has owners here, and sessions are few.
        let mut owners = held.owners;
        for owner in self.sessions.values_mut() {
            if owners == 0 {
                break;
            }
            owners -= u32::from(owner.entries.remove(&entry));
        }
        if let Some(expires) = held.expires {
            self.expiring.remove(&(expires, entry));
        }
        for name in held.names() {
            let name = &mut self.classes.names[name as usize];
            if name.entry == entry {
                name.entry = NONE;
            }
        }
        let class = self.classes.class_of(held.home);
        let class = class.expect("a home is interned with a class");
        self.classes.classes[class as usize]
            .members
            .remove(held.number, entry);
        self.weights -= held.weight;
        self.gone += 1;
        self.garbage.push(held.value);
        if self.all.is_empty() {
            self.sweep();
        }
    }

    pub(super) fn sweep(&mut self) {
        sweep(&mut self.classes, &mut self.all);
        self.gone = 0;
    }

    /// Removes what has expired.
    pub(super) fn expire(&mut self, now: u64) {
        while let Some(&(expires, entry)) = self.expiring.first()
            && expires <= now
        {
            self.remove(entry);
            self.events.expired += 1;
        }
        self.sweep_if_worth();
    }

    /// Evicts idle entries until everything fits the budget, or nothing is idle.
    pub(super) fn make_room(&mut self) {
        self.sweep_if_worth();
        while self.bytes() > self.budget {
            let Some(&(_, entry)) = self.idle.first() else {
                break;
            };
            self.remove(entry);
            self.events.evicted += 1;
            self.sweep_if_worth();
        }
    }

    /// Sweeps when so many entries have gone that the time is paid for.
    fn sweep_if_worth(&mut self) {
        if self.gone >= SWEEP_MIN.max(self.all.len() / 2) {
            self.sweep();
        }
    }
}

impl<V: Clone> Entries<V> {
    /// The class that an entry is a member of.
    pub(super) fn class_of_entry(&mut self, entry: EntryIx) -> ClassIx {
        let class = self.classes.class_of(self.all[entry as usize].home);
        class.expect("a home is interned with a class")
    }

    /// The class of an input, if it is known: by the first of its keys that is, or by its content.
    /// A key under which a result is stored stands for that result, whichever it is now.
    pub(super) fn class_of_input(&mut self, input: &Input, session: SessionKey) -> Option<ClassIx> {
        for key in &input.keys {
            let Some(name) = self.classes.name(key) else {
                continue;
            };
            let entry = self.classes.names[name as usize].entry;
            let stored = self.all.get(entry as usize);
            if stored.is_some_and(|entry| entry.allows(session)) {
                return Some(self.class_of_entry(entry));
            }
            if let Some(class) = self.classes.class_of(name) {
                return Some(class);
            }
        }
        self.classes.class_of_key(&input.content?)
    }

    /// The class of an input, made if it is not known.
    pub(super) fn make_class_of_input(&mut self, input: &Input, session: SessionKey) -> ClassIx {
        let class = match (self.class_of_input(input, session), input.keys.last()) {
            (Some(class), _) => class,
            (None, Some(key)) => self.classes.make_class_of_key(*key),
            (None, None) => self.classes.new_class(),
        };
        if let Some(content) = input.content {
            self.classes.set_content(class, content);
        }
        self.classes.find(class)
    }
}
