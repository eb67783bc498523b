//! Results that an ID alone does not determine.
//!
//! Most IDs mean one thing for ever. The ID of a call with a time to live means another thing after
//! each expiry; a call that is cached per client or session means what it meant when it ran; a
//! directory of the host can be read by one session only; a call that is never cached means
//! something new each time. An object that came out of such a call, or was made from one, carries a
//! [`Version`]: which of the results of its ID it is. The keys of calls on it are made under that
//! version, so they change when the result does, and nothing that was computed below an old result
//! is found below a new one.
//!
//! # What a call used besides its receiver
//! A resolver may load objects named by arguments and call other fields. Their versions are not in
//! the call's key. They are noted as they are handed out ([`Notes`]), and restrict the result
//! instead: it expires with the first of them, it is not kept when its sessions end where one of
//! them would not be, and only the session may use it where one of them belongs to it. What a
//! resolver gets from its own receiver is in the key already and restricts nothing.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Key, SessionKey};
use crate::digest::scheme::Scheme;
use crate::{Digest, Id, Object};

/// See the module's manual.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Version {
    /// Tells the results of one ID apart, in this process.
    pub(crate) key: Key,
    /// The same for caches below, where the difference concerns them: it changes when a time to live
    /// has passed, and with each run of a call that is never cached.
    pub(crate) storage: Option<Digest>,
    /// Second at which a result that this one rests on expires.
    pub(crate) expires: Option<u64>,
    /// The session that alone can use something that this rests on.
    pub(crate) private: Option<SessionKey>,
    /// Whether something that this rests on goes when no session owns it.
    pub(crate) volatile: bool,
    /// The receiver's version, if this rests on nothing else.
    within: Option<Key>,
}

/// What the table on disk, or a random number, says about a call whose key does not name one result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Period {
    /// For caches below.
    pub(crate) storage_key: Digest,
    /// Second at which the result expires.
    pub(crate) expires: Option<u64>,
}

/// A call and what its result rests on.
#[derive(Debug)]
pub(crate) struct Origin<'a> {
    /// The digest of the call's ID.
    pub(crate) call: &'a Digest,
    /// The call's key, under its receiver's version.
    pub(crate) key: Key,
    /// The receiver's version.
    pub(crate) receiver: Option<&'a Version>,
    /// Of the call itself, if it has a time to live or is never cached.
    pub(crate) period: Option<&'a Period>,
    /// Versions of what the resolver used besides.
    pub(crate) used: &'a [Arc<Version>],
    /// The session, if the data is bound to it.
    pub(crate) bound: Option<SessionKey>,
    /// A number of its own for each result, if the call is scoped to a client, session or call.
    pub(crate) generation: Option<u64>,
}

impl Origin<'_> {
    /// The version of the result; none if its ID says all.
    pub(crate) fn version(&self) -> Option<Version> {
        let (receiver, period) = (self.receiver, self.period);
        let mut keys: Vec<Key> = self.used.iter().map(|used| used.key).collect();
        keys.extend(period.map(|period| Key::of(&period.storage_key)));
        // What a private receiver gives is private by its key already.
        let inherited = receiver.is_some_and(|receiver| receiver.private == self.bound);
        if let Some(session) = self.bound.filter(|_| !inherited) {
            keys.push(self.key.private(session));
        }
        keys.extend(self.generation.map(|number| self.key.generation(number)));
        keys.sort_unstable();
        keys.dedup();
        if keys.is_empty() && receiver.is_none() {
            return None;
        }
        let rests_on = || {
            let used = self.used.iter().map(Arc::as_ref);
            receiver.into_iter().chain(used)
        };
        let storage = match period {
            Some(period) => Some(period.storage_key.clone()),
            None => below(
                self.call,
                rests_on().filter_map(|version| version.storage.as_ref()),
            ),
        };
        Some(Version {
            key: match keys.as_slice() {
                [] => self.key,
                keys => self.key.under(keys),
            },
            storage,
            expires: self.expires(),
            private: self
                .bound
                .or_else(|| rests_on().find_map(|version| version.private)),
            volatile: self.generation.is_some() || rests_on().any(|version| version.volatile),
            within: receiver
                .filter(|_| keys.is_empty())
                .map(|receiver| receiver.key),
        })
    }

    /// Second at which the result expires.
    pub(crate) fn expires(&self) -> Option<u64> {
        let used = self.used.iter().filter_map(|used| used.expires);
        used.chain(self.receiver.and_then(|receiver| receiver.expires))
            .chain(self.period.and_then(|period| period.expires))
            .min()
    }

    /// Whether only its session may use the result.
    pub(crate) fn is_private(&self) -> bool {
        self.bound.is_some() || self.used.iter().any(|used| used.private.is_some())
    }

    /// Whether the result goes when no session owns it.
    pub(crate) fn is_volatile(&self) -> bool {
        self.is_private() || self.generation.is_some() || self.used.iter().any(|used| used.volatile)
    }
}

/// The storage key of a call below others whose storage keys change; none if there are none.
pub(crate) fn below<'a>(
    call: &Digest,
    storage_keys: impl Iterator<Item = &'a Digest>,
) -> Option<Digest> {
    let mut keys: Vec<&str> = storage_keys.map(Digest::as_str).collect();
    keys.sort_unstable();
    keys.dedup();
    if keys.is_empty() {
        return None;
    }
    keys.insert(0, call.as_str());
    Some(Scheme::Blake3.rules().strings("storage key below", &keys))
}

/// The key of what `id` names in one version.
pub(crate) fn handle(id: &Id, version: Option<&Version>) -> Key {
    let key = Key::of(id.digest());
    version.map_or(key, |version| key.under(&[version.key]))
}

/// What a running resolver was handed.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    /// Keys of versions, and whether the call's key covers them.
    seen: HashMap<Key, bool>,
    /// Versions that it does not cover.
    pub(crate) used: Vec<Arc<Version>>,
    /// Objects that were loaded by their IDs, in which version.
    pub(crate) loaded: HashMap<Digest, Arc<Version>>,
    /// Names of results that the resolver said are equal to its own.
    pub(crate) equal: Vec<Key>,
}

impl Notes {
    /// Notes of a call on an object of this version.
    pub(crate) fn on(receiver: Option<&Version>) -> Self {
        Self {
            seen: receiver.iter().map(|version| (version.key, true)).collect(),
            ..Self::default()
        }
    }

    /// Something of this version was handed out.
    pub(crate) fn used(&mut self, version: Option<&Arc<Version>>) {
        let Some(version) = version else { return };
        if self.seen.contains_key(&version.key) {
            return;
        }
        let within = version.within.and_then(|key| self.seen.get(&key));
        let covered = within.copied().unwrap_or(false);
        self.seen.insert(version.key, covered);
        if !covered {
            self.used.push(Arc::clone(version));
        }
    }

    /// The object that `id` names was handed out.
    pub(crate) fn loaded(&mut self, id: &Id, object: &Object) {
        self.used(object.version());
        if let Some(version) = object.version() {
            self.loaded.insert(id.digest().clone(), Arc::clone(version));
        }
    }
}
