//! The engine's end: one schema, one result cache, one observer, any number of sessions.

use std::fmt;
use std::sync::Arc;

use crate::{Cache, Object, ObjectData, Observer, Schema, Session, SessionOptions};

/// Serves sessions. Cheap to clone; clones are the same server.
#[derive(Clone)]
pub struct Server(Arc<Inner>);

struct Inner {
    schema: Schema,
    cache: Cache,
    observer: Arc<dyn Observer>,
    root: Object,
}

/// The data of the query root: nothing but its type.
struct Root(Arc<str>);

impl ObjectData for Root {
    fn type_name(&self) -> &str {
        &self.0
    }
}

impl Server {
    /// A server of this schema over this cache.
    pub fn new(schema: Schema, cache: Cache, observer: Arc<dyn Observer>) -> Self {
        let root = Object::root(Arc::new(Root(Arc::clone(schema.query()))));
        Self(Arc::new(Inner {
            schema,
            cache,
            observer,
            root,
        }))
    }

    /// Opens a session; it ends with [`Session::release`] or with its last reference.
    pub fn session(&self, options: SessionOptions) -> Arc<Session> {
        Session::open(self.clone(), options)
    }

    /// The schema.
    pub fn schema(&self) -> &Schema {
        &self.0.schema
    }

    /// The result cache.
    pub fn cache(&self) -> &Cache {
        &self.0.cache
    }

    pub(crate) fn observer(&self) -> &dyn Observer {
        self.0.observer.as_ref()
    }

    pub(crate) fn root(&self) -> Object {
        self.0.root.clone()
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server")
            .field("schema", &self.0.schema)
            .field("cache", &self.0.cache)
            .finish_non_exhaustive()
    }
}
