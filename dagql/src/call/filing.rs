//! Filing: under which names a call is looked up and its result is stored.
//!
//! A call's *key* is that of its ID, under the version of the object it is called on, where that has
//! one (`cache/version.rs`). A call whose result depends on its inputs alone also has a *shape*: the
//! term of its ID over names of its inputs. A call that is scoped to a client, a session, one
//! execution or a period has none, because the same call on equal inputs may have another result
//! for somebody else or later; neither has a call whose resolver used something that no input is.

use std::sync::Arc;

use super::Prepared;
use crate::cache::version::{Notes, Origin, Period, handle};
use crate::cache::{self, Completion, Equal, Input, Key, SessionKey, Shape, Version};
use crate::{Id, Object, Scope, Session, Value};

/// A call as the cache knows it.
pub(super) struct Filing {
    id: Id,
    receiver: Object,
    pub(super) key: Key,
    session: SessionKey,
    scoped: bool,
    pub(super) shape: Option<Shape>,
}

impl Filing {
    /// The key alone, which is all that a hit needs.
    pub(super) fn key(prepared: &Prepared) -> Key {
        handle(&prepared.id, version(&prepared.receiver))
    }

    /// Everything a miss needs.
    pub(super) fn of(session: &Session, prepared: &Prepared) -> Self {
        let id = &prepared.id;
        let scoped = |of: &[Scope]| {
            let inputs = id.implicit_inputs().iter();
            inputs
                .filter_map(|input| input.scope())
                .any(|scope| of.contains(&scope))
        };
        let who = [Scope::Client, Scope::Session, Scope::Call];
        let mut filing = Self {
            id: id.clone(),
            receiver: prepared.receiver.clone(),
            key: Self::key(prepared),
            session: session.key(),
            scoped: prepared.field.volatile || scoped(&who),
            shape: None,
        };
        if !filing.scoped && !scoped(&[Scope::Ttl]) {
            filing.shape = filing.term(&Notes::default());
        }
        filing
    }

    fn term(&self, notes: &Notes) -> Option<Shape> {
        let term = self.id.term()?;
        let mut positions = Vec::with_capacity(term.inputs.len());
        let mut inputs = Vec::with_capacity(term.inputs.len());
        for (at, id) in term.inputs.into_iter().enumerate() {
            let receiver = (at == 0 && self.id.receiver().is_some()).then_some(&self.receiver);
            let (input, nth) = self.input(id, receiver, notes);
            inputs.push(input);
            positions.push(nth);
        }
        Some(Shape {
            digest: Key::of(&term.digest).element(&positions),
            inputs,
        })
    }

    /// One input. An element of which nothing more is known is known by its list and its position.
    fn input(&self, id: &Id, object: Option<&Object>, notes: &Notes) -> (Input, i64) {
        let content = object.and_then(content);
        let (id, nth) = match id.receiver() {
            Some(list) if id.is_element() && content.is_none() => (list, id.nth()),
            _ => (id, 0),
        };
        let keys = match object {
            Some(object) => vec![handle(id, version(object))],
            None => {
                let plain = Key::of(id.digest());
                let loaded = notes.loaded.get(id.digest());
                let loaded = loaded.map(|version| handle(id, Some(version)));
                loaded
                    .into_iter()
                    .chain([plain.private(self.session), plain])
                    .collect()
            }
        };
        (Input { keys, content }, nth)
    }

    fn origin<'a>(
        &'a self,
        session: &Session,
        period: Option<&'a Period>,
        used: &'a [Arc<Version>],
        bound: bool,
    ) -> Origin<'a> {
        Origin {
            call: self.id.digest(),
            key: self.key,
            receiver: version(&self.receiver),
            period,
            used,
            bound: bound.then_some(self.session),
            generation: self.scoped.then(|| session.cache().table.generation()),
        }
    }

    /// The value of a call that is not stored, in its own version.
    pub(super) fn unstored(
        &self,
        session: &Session,
        value: Value,
        period: &Period,
        notes: &Notes,
    ) -> (Value, Option<Arc<Version>>) {
        let origin = self.origin(session, Some(period), &notes.used, value.is_bound());
        let version = origin.version().map(Arc::new);
        (self.versioned(value, version.as_ref()), version)
    }

    fn versioned(&self, value: Value, version: Option<&Arc<Version>>) -> Value {
        match version {
            Some(version) => value.versioned(&self.id, version),
            None => value,
        }
    }

    /// What is stored of a resolver's result.
    pub(super) fn completion(
        mut self,
        session: &Session,
        value: Value,
        period: Option<&Period>,
        notes: &Notes,
    ) -> Completion<Value> {
        // What was loaded is known in its version only now.
        let inputs = self.shape.is_some().then(|| self.term(notes)).flatten();
        self.shape = inputs.filter(|shape| {
            let keys = || shape.inputs.iter().flat_map(|input| &input.keys);
            let known: Vec<&Key> = keys().collect();
            notes.used.iter().all(|used| {
                let mut loaded = notes
                    .loaded
                    .iter()
                    .filter(|(_, version)| version.key == used.key);
                loaded.any(|(id, _)| known.contains(&&Key::of(id).under(&[used.key])))
            })
        });
        let mut completion = self.filed(session, value, period, &notes.used, None);
        completion.equal.extend(&notes.equal);
        completion
    }

    /// What is stored of a result that is equal to this call's; none if it cannot be this call's.
    pub(super) fn taught(
        self,
        session: &Session,
        equal: &Equal<Value>,
    ) -> Option<Completion<Value>> {
        let value = equal.value.renamed(&self.id)?;
        let mut completion = self.filed(session, value, None, &[], Some(equal));
        completion.equal.push(equal.home);
        Some(completion)
    }

    fn filed(
        self,
        session: &Session,
        value: Value,
        period: Option<&Period>,
        used: &[Arc<Version>],
        source: Option<&Equal<Value>>,
    ) -> Completion<Value> {
        let origin = self.origin(session, period, used, value.is_bound());
        let version = origin.version().map(Arc::new);
        let expiries = [origin.expires(), source.and_then(|source| source.expires)];
        let private = origin.is_private() || source.is_some_and(|source| source.private);
        let volatile = origin.is_volatile() || source.is_some_and(|source| source.volatile);
        let also = value
            .as_object()
            .and_then(|object| self.second_key(object, version.as_deref(), private));
        Completion {
            weight: cache::ENTRY_BYTES + cache::weight(&value),
            portable: value.is_portable(&self.id),
            home: Some(handle(&self.id, version.as_deref())),
            // What another call named is equal under that name.
            content: value
                .as_object()
                .filter(|object| object.id() == Some(&self.id))
                .and_then(content),
            equal: Vec::new(),
            value: self.versioned(value, version.as_ref()),
            expires: expiries.into_iter().flatten().min(),
            version,
            private,
            volatile,
            also,
            shape: self.shape,
        }
    }
}

impl Filing {
    /// A key besides the call's under which a result is found by those who know its ID alone. An
    /// object that another call named is found under that name. An object whose name does not say
    /// which it is, is found under it by its session, to which it is always the same.
    fn second_key(&self, object: &Object, version: Option<&Version>, private: bool) -> Option<Key> {
        let id = object.id()?;
        let key = Key::of(id.digest());
        if *id == self.id {
            let version = version?;
            return version.expires.is_none().then(|| key.private(self.session));
        }
        object.version().is_none().then(|| match private {
            true => key.private(self.session),
            false => key,
        })
    }
}

fn version(object: &Object) -> Option<&Version> {
    object.version().map(Arc::as_ref)
}

/// The name of an object.
pub(crate) fn name(object: &Object) -> Option<Key> {
    object.id().map(|id| handle(id, version(object)))
}

fn content(object: &Object) -> Option<Key> {
    let content = object.content_digest()?;
    Some(Key::content(object.type_name(), &content))
}
