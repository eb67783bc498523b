//! What a resolver knows about its call, and how it calls other fields.
//!
//! A [`Cx`] is cheap to clone. Calls made through it are children of the running call: the cache
//! knows who waits for whom and refuses a call that would wait for itself, and when nobody waits
//! for the running call any more, its children are left as well.

use std::any::Any;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio_util::sync::CancellationToken;

use crate::cache::version::Notes;
use crate::call::{self, Caller};
use crate::{
    Digest, Error, Id, ImplicitInput, Literal, Object, ObjectData, ResponsePath, Session, Value,
};

/// Identity of one call.
#[derive(Clone, Debug)]
pub struct CallInfo {
    /// The call's ID.
    pub id: Id,
    /// Digest under which the result is looked up: the ID's recipe digest.
    pub call_key: Digest,
    /// Digest to hand to caches below. The call key, except for calls with a time to live, where it
    /// changes when the time has passed, for calls that are never cached, where it is random, and
    /// for calls on what such a call returned, where it changes with that one.
    pub storage_key: Digest,
    /// Where in the answer; empty for calls made by resolvers.
    pub path: ResponsePath,
    /// Whether another field's resolver made the call, not the query.
    pub nested: bool,
}

impl CallInfo {
    /// The implicit inputs that scope the call, ascending by name.
    pub fn scope(&self) -> &[ImplicitInput] {
        self.id.implicit_inputs()
    }
}

/// The context of a running resolver.
#[derive(Clone)]
pub struct Cx {
    call: Arc<CallInfo>,
    caller: Caller,
    persist: Arc<AtomicBool>,
    notes: Arc<Mutex<Notes>>,
}

impl Cx {
    pub(crate) fn new(
        call: Arc<CallInfo>,
        caller: Caller,
        persist: Arc<AtomicBool>,
        notes: Arc<Mutex<Notes>>,
    ) -> Self {
        Self {
            call,
            caller,
            persist,
            notes,
        }
    }

    fn notes(&self) -> MutexGuard<'_, Notes> {
        self.notes.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The running call.
    pub fn call(&self) -> &CallInfo {
        &self.call
    }

    /// The session that asked.
    pub fn session(&self) -> &Arc<Session> {
        &self.caller.session
    }

    /// The session's extension.
    ///
    /// # Errors
    /// Internal error when the session was opened with another type.
    pub fn extension<T: Any + Send + Sync>(&self) -> Result<Arc<T>, Error> {
        self.caller.session.extension()
    }

    /// Cancelled when nobody waits for this call any more. The resolver's future is dropped then;
    /// the token is for work that outlives it.
    pub fn cancellation(&self) -> &CancellationToken {
        &self.caller.cancel
    }

    /// Keeps the result of a call with a time to live out of the table that outlives the process:
    /// it depends on something that a later process will not have.
    pub fn do_not_persist(&self) {
        self.persist.store(false, Ordering::Relaxed);
    }

    /// The result of this call: `data`, named by the call's ID.
    pub fn object(&self, data: impl ObjectData) -> Object {
        Object::new(self.call.id.clone(), Arc::new(data))
    }

    /// The result of this call: a list of objects, each named as an element of the call.
    ///
    /// # Errors
    /// Internal error when the field's type is not a list.
    pub fn objects<T: ObjectData>(
        &self,
        data: impl IntoIterator<Item = T>,
    ) -> Result<Value, Error> {
        let mut elements = Vec::new();
        for (data, nth) in data.into_iter().zip(1..) {
            let id = self
                .call
                .id
                .select_nth(nth)
                .map_err(|error| Error::internal(error.to_string()))?;
            elements.push(Value::Object(Object::new(id, Arc::new(data))));
        }
        Ok(Value::list(elements))
    }

    /// The result of this call: the very data of `other`, named by this call's ID. What is computed
    /// on either is then computed once. For calls that change nothing, and for several ways to say
    /// one thing.
    pub fn same_as(&self, other: &Object) -> Object {
        self.notes().equal.extend(call::name(other));
        other.renamed(self.call.id.clone())
    }

    /// Says after the fact what `object` is; see
    /// [`Cache::learn_content`](crate::Cache::learn_content).
    pub fn learn_content(&self, object: &Object, content: &Digest) {
        self.caller.session.cache().learn_content(object, content);
    }

    /// The query root, the receiver of calls such as `container`.
    pub fn root(&self) -> Object {
        self.caller.session.root()
    }

    /// Calls `field` on `receiver` as a query would: arguments are coerced and completed, the
    /// field's policy is applied, the cache is asked.
    ///
    /// # Errors
    /// Unknown field or argument, or the call's own failure.
    pub async fn select<'a>(
        &self,
        receiver: &Object,
        field: &str,
        args: impl IntoIterator<Item = (&'a str, Literal)>,
    ) -> Result<Value, Error> {
        let args = args
            .into_iter()
            .map(|(name, value)| (Arc::from(name), value))
            .collect();
        let answer = call::select(&self.nested(), receiver, field, args).await?;
        self.notes().used(answer.version.as_ref());
        Ok(answer.value)
    }

    /// The object that `id` names: found in the cache, or made by replaying the calls of the ID
    /// that are not there. The scope recorded in the ID is kept.
    ///
    /// # Errors
    /// An ID that the schema does not know, that is scoped to somebody else and no longer cached,
    /// or that names no object; or a failing call.
    pub async fn load(&self, id: &Id) -> Result<Object, Error> {
        let object = call::load_object(&self.nested(), id).await?;
        self.notes().loaded(id, &object);
        Ok(object)
    }

    /// The data of the object that `id` names.
    ///
    /// # Errors
    /// As [`Cx::load`], or when the object holds another type.
    pub async fn load_data<T: ObjectData>(&self, id: &Id) -> Result<Arc<T>, Error> {
        self.load(id).await?.data()
    }

    fn nested(&self) -> Caller {
        self.caller.clone()
    }
}

impl fmt::Debug for Cx {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cx")
            .field("call", &self.call.id)
            .finish_non_exhaustive()
    }
}
