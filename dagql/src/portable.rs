//! Portable keys: names of calls that mean the same in every session and every process.
//!
//! A recipe digest names an object by how it was made. Where an input is made from the outside (a
//! directory of the host), the recipe says who looked, not what was there, so the same recipe has
//! another result tomorrow. The portable key of a call is its recipe with every input whose content
//! is known replaced by that content:
//! ```text
//! key(call) = H("content", type, content digest)         if the content is known
//!           | H("call", self digest, storage key, key(input)…)
//! ```
//! `self digest` and inputs are those of [`Id::term`]; `storage key` is that of a call with a time
//! to live, else empty. Two calls have one portable key exactly if they are the same call after
//! that replacement.
//!
//! # Calls without one
//! Whoever is not the same call everywhere has no key, and neither has anything made from it:
//! * a call scoped to a client, a session or an execution, or by an input that this module does not
//!   know, unless its content is known;
//! * a call with a time to live whose storage key this session has not seen;
//! * a call with a sensitive argument, or whose digest was assigned;
//! * a field marked [`Field::volatile`](crate::Field::volatile), or never cached.
//!
//! # What it relies on
//! Content that was seen from outside may have changed since. A key therefore carries the
//! [`Sighting`]s it was made with: looking something up by what was there at that time is always
//! right, but an answer may be filed under it only if each of them still [holds](Sighting::holds).
//! Nobody looks before a key is wanted: a call whose field keeps nothing costs nothing here.
//!
//! Keys are remembered per session, so a call on a long chain costs one hash. No walk recurses.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use crate::cache::Lease;
use crate::digest::scheme::Scheme;
use crate::{CachePolicy, Digest, Id, Schema, Scope, Value};

/// Calls a session remembers keys of; then it forgets all and begins again.
const REMEMBERED_MAX: usize = 200_000;

/// What an object is made of, for one that is made from something that can change.
pub trait Sighting: Send + Sync {
    /// Digest of what was seen when this was first asked; nothing where it cannot be told. Objects
    /// of one type with equal digests can stand for each other. May block.
    fn digest(&self) -> Option<Digest>;

    /// Whether everything that was read of the object until now is what the digest stands for.
    /// May block.
    fn holds(&self) -> bool;
}

type Sightings = Arc<[Arc<dyn Sighting>]>;

/// A call's portable key and what it depends on.
#[derive(Clone)]
pub(crate) struct Portable {
    pub(crate) key: Digest,
    /// Second since the epoch from which on the key means nothing.
    pub(crate) expires: Option<u64>,
    sightings: Sightings,
}

impl Portable {
    /// Whether all that was seen still holds. May block.
    pub(crate) fn holds(&self) -> bool {
        self.sightings.iter().all(|sighting| sighting.holds())
    }
}

/// An object whose sighting has not been asked for its digest.
#[derive(Clone)]
struct Unseen {
    ty: String,
    sighting: Arc<dyn Sighting>,
}

/// The portable keys that a session knows.
#[derive(Default)]
pub(crate) struct Portables(Mutex<Known>);

#[derive(Default)]
struct Known {
    /// By recipe digest; none for a call without a portable key.
    keys: HashMap<Digest, Option<Portable>>,
    /// Objects whose content can be found out, and nobody has wanted to know yet.
    unseen: HashMap<Digest, Unseen>,
    leases: HashMap<Digest, Lease>,
}

impl Portables {
    /// Takes in what is known of a value that a call returned.
    pub(crate) fn note(&self, value: &Value) {
        let Value::Object(object) = value else { return };
        let Some(digest) = object.id().map(Id::digest) else {
            return;
        };
        if let Some(sighting) = object.sighting() {
            let mut known = self.known();
            if !known.keys.contains_key(digest) {
                let (ty, sighting) = (object.type_name().to_owned(), Arc::clone(sighting));
                known.unseen.insert(digest.clone(), Unseen { ty, sighting });
            }
        } else if let Some(content) = object.content_digest() {
            let portable = of_content(object.type_name(), &content, None);
            self.known().keys.insert(digest.clone(), Some(portable));
        }
    }

    /// Takes in the storage key of a call with a time to live.
    pub(crate) fn note_lease(&self, id: &Id, lease: &Lease) {
        let mut known = self.known();
        let before = known.leases.insert(id.digest().clone(), lease.clone());
        // Keys that were made with another storage key are not this call's any more.
        if before.is_some_and(|before| before.storage_key != lease.storage_key) {
            known.forget();
        }
    }

    /// The portable key of a call. May block: what it is made from is looked at where it was not.
    pub(crate) fn of(&self, schema: &Schema, id: &Id) -> Option<Portable> {
        let unseen = self.known().unseen_below(id);
        // Without the lock: looking may take long.
        for (digest, Unseen { ty, sighting }) in unseen {
            let content = sighting.digest();
            let key = content.map(|content| of_content(&ty, &content, Some(sighting)));
            let mut known = self.known();
            known.unseen.remove(&digest);
            known.keys.insert(digest, key);
        }
        let mut known = self.known();
        if known.keys.len() > REMEMBERED_MAX {
            known.forget();
        }
        let mut pending = vec![id];
        while let Some(&next) = pending.last() {
            if known.keys.contains_key(next.digest()) {
                pending.pop();
                continue;
            }
            let from = pending.len();
            let key = known.derive(schema, next, &mut pending);
            if pending.len() == from {
                known.keys.insert(next.digest().clone(), key);
                pending.pop();
            }
        }
        known.keys.get(id.digest()).cloned().flatten()
    }

    fn known(&self) -> std::sync::MutexGuard<'_, Known> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Forgets all keys. Objects whose content was known are not asked again: what is made from
    /// them has no key from now on.
    fn forget(&mut self) {
        self.keys.clear();
        self.unseen.clear();
    }

    /// The objects that a call is made from and that nobody has looked at.
    fn unseen_below(&self, id: &Id) -> Vec<(Digest, Unseen)> {
        let mut found = Vec::new();
        if self.unseen.is_empty() {
            return found;
        }
        let mut visited = HashSet::new();
        let mut pending = vec![id];
        while let Some(id) = pending.pop() {
            if self.keys.contains_key(id.digest()) || !visited.insert(id.digest()) {
                continue;
            }
            match self.unseen.get(id.digest()) {
                Some(object) => found.push((id.digest().clone(), object.clone())),
                None => pending.extend(id.inputs()),
            }
        }
        found
    }

    /// The key of a call whose inputs' keys are known; the inputs for which that is not so are
    /// added to `pending`, and the call has to be asked about again.
    fn derive<'a>(
        &self,
        schema: &Schema,
        id: &'a Id,
        pending: &mut Vec<&'a Id>,
    ) -> Option<Portable> {
        let lease = self.repeatable(schema, id)?;
        let term = id.term()?;
        let mut missing = false;
        let mut inputs = Vec::with_capacity(term.inputs.len());
        for input in term.inputs {
            match self.keys.get(input.digest()) {
                Some(known) => inputs.push(known.as_ref()),
                None => {
                    missing = true;
                    pending.push(input);
                }
            }
        }
        if missing {
            return None;
        }
        let inputs: Vec<&Portable> = inputs.into_iter().collect::<Option<_>>()?;
        let storage_key = lease.map_or("", |lease| lease.storage_key.as_str());
        let mut parts = vec![term.digest.as_str(), storage_key];
        parts.extend(inputs.iter().map(|input| input.key.as_str()));
        let expiries = inputs.iter().filter_map(|input| input.expires);
        Some(Portable {
            key: Scheme::Blake3.rules().strings("portable call", &parts),
            expires: expiries.chain(lease.map(|lease| lease.expires)).min(),
            sightings: union(&inputs),
        })
    }

    /// Whether the call is the same call everywhere; with the lease of one with a time to live.
    fn repeatable(&self, schema: &Schema, id: &Id) -> Option<Option<&Lease>> {
        let receiver = id.receiver().map_or(&**schema.query(), |id| id.ty().name());
        let field = schema.field_of_call(receiver, id)?;
        if field.volatile || matches!(field.policy, CachePolicy::Never) {
            return None;
        }
        let mut lease = None;
        for input in id.implicit_inputs() {
            match input.scope()? {
                Scope::Schema | Scope::Key => {}
                Scope::Ttl => lease = Some(self.leases.get(id.digest())?),
                Scope::Client | Scope::Session | Scope::Call => return None,
            }
        }
        Some(lease)
    }
}

/// The key of an object of this type and content.
fn of_content(ty: &str, content: &Digest, sighting: Option<Arc<dyn Sighting>>) -> Portable {
    let parts = [ty, content.as_str()];
    Portable {
        key: Scheme::Blake3.rules().strings("portable content", &parts),
        expires: None,
        sightings: sighting.into_iter().collect(),
    }
}

/// What several keys rely on, each once. Nearly always it is what one of them does.
fn union(inputs: &[&Portable]) -> Sightings {
    let mut all: Option<Sightings> = None;
    for input in inputs.iter().filter(|input| !input.sightings.is_empty()) {
        all = Some(match all {
            None => Arc::clone(&input.sightings),
            Some(all) if Arc::ptr_eq(&all, &input.sightings) => all,
            Some(all) => {
                let known = |new: &Arc<dyn Sighting>| all.iter().any(|old| Arc::ptr_eq(old, new));
                let new: Vec<_> = input
                    .sightings
                    .iter()
                    .filter(|new| !known(new))
                    .cloned()
                    .collect();
                match new.is_empty() {
                    true => all,
                    false => all.iter().cloned().chain(new).collect(),
                }
            }
        });
    }
    all.unwrap_or_default()
}

#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
