//! What a field returns: plain values, objects, and lists of either.
//!
//! An [`Object`] is an immutable piece of engine data together with the [`Id`] that names the call
//! which made it. The root of a query is the one object without an ID.
//! What the data is, only its owner knows: dagql keeps an `Arc<dyn ObjectData>` and hands it back
//! to the resolvers of the object's fields, which get their own type through [`Object::data`].

use std::any::Any;
use std::fmt;
use std::sync::Arc;

use crate::cache::Version;
use crate::{Digest, Error, Id, Sighting};

/// Estimated bytes of an object's data that says nothing about itself.
pub const OBJECT_WEIGHT: usize = 256;

/// Engine data behind an object type of the schema.
///
/// Data is immutable once it is in an [`Object`]: results are shared by sessions and by threads.
/// Its `Drop` runs when the cache has given the result up (see
/// [`Cache::with_budget`](crate::Cache::with_budget)) and nobody holds it any more.
pub trait ObjectData: Any + Send + Sync {
    /// Name of the schema's object type.
    fn type_name(&self) -> &str;

    /// Digest of what the object *is*, if known: two objects of one type with equal content digests
    /// can stand for each other. It is an index for lookups, never part of an ID.
    fn content_digest(&self) -> Option<Digest> {
        None
    }

    /// Whether the data is of use only in the session that made it: it refers to files, secrets or
    /// connections that are gone with the session. Such a result is never handed to another
    /// session, and is dropped when its own ends.
    fn session_bound(&self) -> bool {
        false
    }

    /// Estimated bytes that are freed with the data, for the cache's budget.
    fn weight(&self) -> usize {
        OBJECT_WEIGHT
    }
}

/// An object: the ID that rebuilds it, and its data.
#[derive(Clone)]
pub struct Object {
    id: Option<Id>,
    data: Arc<dyn ObjectData>,
    sighting: Option<Arc<dyn Sighting>>,
    /// Which of the results of its ID it is, where the ID does not say.
    version: Option<Arc<Version>>,
}

impl Object {
    /// Names `data` with the ID of the call that made it.
    pub fn new(id: Id, data: Arc<dyn ObjectData>) -> Self {
        Self {
            id: Some(id),
            data,
            sighting: None,
            version: None,
        }
    }

    /// The same object with what was seen of it: it is made from something that can change, and
    /// this is what that was. Objects made from this one do not inherit it.
    #[must_use]
    pub fn with_sighting(mut self, sighting: Arc<dyn Sighting>) -> Self {
        self.sighting = Some(sighting);
        self
    }

    /// What was seen of it, for an object that is made from something that can change.
    pub fn sighting(&self) -> Option<&Arc<dyn Sighting>> {
        self.sighting.as_ref()
    }

    /// The root of queries; its fields are calls without a receiver.
    pub(crate) fn root(data: Arc<dyn ObjectData>) -> Self {
        Self {
            id: None,
            data,
            sighting: None,
            version: None,
        }
    }

    /// The same data under another name.
    pub(crate) fn renamed(&self, id: Id) -> Self {
        Self::new(id, Arc::clone(&self.data))
    }

    pub(crate) fn version(&self) -> Option<&Arc<Version>> {
        self.version.as_ref()
    }

    pub(crate) fn is_bound(&self) -> bool {
        self.data.session_bound()
    }

    pub(crate) fn weight(&self) -> usize {
        self.data.weight()
    }

    /// The ID, or none for the query root.
    pub fn id(&self) -> Option<&Id> {
        self.id.as_ref()
    }

    /// The ID of an object that has one.
    ///
    /// # Errors
    /// Internal error for the query root.
    pub fn require_id(&self) -> Result<&Id, Error> {
        self.id.as_ref().ok_or_else(|| {
            Error::internal(format!("the root object {} has no ID", self.type_name()))
        })
    }

    /// Name of the object type.
    pub fn type_name(&self) -> &str {
        self.data.type_name()
    }

    /// Digest of the content, if its data knows one.
    pub fn content_digest(&self) -> Option<Digest> {
        self.data.content_digest()
    }

    /// The data as its own type.
    ///
    /// # Errors
    /// Internal error when the object holds another type.
    pub fn data<T: ObjectData>(&self) -> Result<Arc<T>, Error> {
        let any: Arc<dyn Any + Send + Sync> = Arc::<dyn ObjectData>::clone(&self.data);
        any.downcast::<T>().map_err(|_| {
            Error::internal(format!(
                "an object of type {} does not hold {}",
                self.type_name(),
                std::any::type_name::<T>()
            ))
        })
    }
}

impl fmt::Debug for Object {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object")
            .field("type", &self.type_name())
            .field("digest", &self.id.as_ref().map(Id::digest))
            .finish()
    }
}

/// The value of a field.
#[derive(Clone, Debug)]
pub enum Value {
    /// GraphQL null: no value.
    Null,
    /// Boolean.
    Bool(bool),
    /// Int, wider than GraphQL's 32 bits as Dagger's are.
    Int(i64),
    /// Float; NaN and infinities are refused when the answer is written.
    Float(f64),
    /// String, or any custom scalar that travels as a string.
    String(Arc<str>),
    /// Name of an enum member.
    Enum(Arc<str>),
    /// A list, in order.
    List(Arc<[Self]>),
    /// An object.
    Object(Object),
    /// An ID as a value (fields `id` and `sync`).
    Id(Id),
}

impl Value {
    /// Builds a list from anything that yields values.
    pub fn list<V: Into<Self>>(values: impl IntoIterator<Item = V>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }

    /// The object, if this is one.
    pub fn as_object(&self) -> Option<&Object> {
        match self {
            Self::Object(object) => Some(object),
            _ => None,
        }
    }

    /// Whether this can be the result of any call with an equal result: objects bear the name of
    /// `call`, or of the element of it that they are, and there is no ID.
    pub(crate) fn is_portable(&self, call: &Id) -> bool {
        match self {
            Self::Object(object) => object.id() == Some(call),
            Self::Id(_) => false,
            Self::List(items) => items.iter().zip(1..).all(|(item, nth)| match item {
                Self::Object(object) => object
                    .id()
                    .is_some_and(|id| id.nth() == nth && id.receiver() == Some(call)),
                Self::List(_) | Self::Id(_) => false,
                _ => true,
            }),
            _ => true,
        }
    }

    /// A value that [is portable](Self::is_portable) as the result of `call`. None where the call
    /// does not return a list and the value is one.
    pub(crate) fn renamed(&self, call: &Id) -> Option<Self> {
        let items = match self {
            Self::Object(object) => return Some(Self::Object(object.renamed(call.clone()))),
            Self::List(items) => items,
            other => return Some(other.clone()),
        };
        let renamed = items.iter().zip(1..).map(|(item, nth)| match item {
            Self::Object(object) => {
                let id = call.select_nth(nth).ok()?;
                Some(Self::Object(object.renamed(id)))
            }
            other => Some(other.clone()),
        });
        Some(Self::List(renamed.collect::<Option<_>>()?))
    }

    /// The value with a version on every object that is named by `call` or is an element of it.
    pub(crate) fn versioned(self, call: &Id, version: &Arc<Version>) -> Self {
        let set = |object: &Object| Object {
            version: Some(Arc::clone(version)),
            ..object.clone()
        };
        match self {
            Self::Object(object) if object.id() == Some(call) => Self::Object(set(&object)),
            Self::List(items) => {
                let items = items.iter().map(|item| match item {
                    Self::Object(object)
                        if object.id().and_then(Id::receiver) == Some(call)
                            && object.id().is_some_and(Id::is_element) =>
                    {
                        Self::Object(set(object))
                    }
                    other => other.clone(),
                });
                Self::List(items.collect())
            }
            other => other,
        }
    }

    /// Whether any object in it is bound to its session.
    pub(crate) fn is_bound(&self) -> bool {
        match self {
            Self::Object(object) => object.is_bound(),
            Self::List(items) => items.iter().any(Self::is_bound),
            _ => false,
        }
    }

    /// The text of a string, scalar or enum member.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::String(text) | Self::Enum(text) => Some(text),
            _ => None,
        }
    }

    /// The object this value must be.
    ///
    /// # Errors
    /// Internal error for any other value.
    pub fn into_object(self) -> Result<Object, Error> {
        match self {
            Self::Object(object) => Ok(object),
            other => Err(Error::internal(format!(
                "expected an object, the call returned {}",
                other.describe()
            ))),
        }
    }

    /// Names the variant for messages; never shows the value.
    pub(crate) fn describe(&self) -> String {
        match self {
            Self::Null => "null".to_owned(),
            Self::Bool(_) => "a Boolean".to_owned(),
            Self::Int(_) => "an Int".to_owned(),
            Self::Float(_) => "a Float".to_owned(),
            Self::String(_) => "a String".to_owned(),
            Self::Enum(_) => "an enum member".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Object(object) => format!("an object of type {}", object.type_name()),
            Self::Id(_) => "an ID".to_owned(),
        }
    }
}

impl From<bool> for Value {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Value {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<i32> for Value {
    fn from(value: i32) -> Self {
        Self::Int(value.into())
    }
}

impl From<f64> for Value {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Value {
    fn from(value: &str) -> Self {
        Self::String(value.into())
    }
}

impl From<String> for Value {
    fn from(value: String) -> Self {
        Self::String(value.into())
    }
}

impl From<Arc<str>> for Value {
    fn from(value: Arc<str>) -> Self {
        Self::String(value)
    }
}

impl From<Object> for Value {
    fn from(value: Object) -> Self {
        Self::Object(value)
    }
}

impl From<Id> for Value {
    fn from(value: Id) -> Self {
        Self::Id(value)
    }
}

impl From<()> for Value {
    fn from((): ()) -> Self {
        Self::Null
    }
}

impl<V: Into<Self>> From<Option<V>> for Value {
    fn from(value: Option<V>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

impl<V: Into<Self>> From<Vec<V>> for Value {
    fn from(values: Vec<V>) -> Self {
        Self::list(values)
    }
}
