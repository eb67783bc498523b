//! A field of an object type, and its arguments: type, documentation, default, cache policy, resolver.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{Args, CachePolicy, Cx, Error, Literal, Object, TypeRef, Value};

use super::SchemaError;

/// A resolver behind a field, after its types are erased.
pub(crate) type Resolver =
    Arc<dyn Fn(Cx, Object, Args) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync>;

/// An argument of a field, or a field of an input object.
#[derive(Clone)]
pub struct Arg {
    pub(crate) name: Arc<str>,
    pub(crate) ty: Result<TypeRef, SchemaError>,
    pub(crate) doc: String,
    pub(crate) default: Option<Literal>,
    pub(crate) deprecated: Option<String>,
    pub(crate) sensitive: bool,
    pub(crate) internal: bool,
}

impl Arg {
    /// An argument `name` of the GraphQL type `ty`, for example `"[String!]!"`. A malformed type is
    /// reported when the schema is built.
    pub fn new(name: &str, ty: &str) -> Self {
        Self {
            name: name.into(),
            ty: TypeRef::parse(ty).map_err(|error| SchemaError::Type {
                owner: format!("argument {name}"),
                reason: error.to_string(),
            }),
            doc: String::new(),
            default: None,
            deprecated: None,
            sensitive: false,
            internal: false,
        }
    }

    /// Documentation in Markdown.
    #[must_use]
    pub fn doc(mut self, text: &str) -> Self {
        text.clone_into(&mut self.doc);
        self
    }

    /// The value of an omitted (or null) argument. It is part of the call's ID, so that leaving it
    /// out and spelling it out are one call. A `!` type with a default is shown as nullable.
    #[must_use]
    pub fn default(mut self, value: impl Into<Literal>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Marks the argument deprecated.
    #[must_use]
    pub fn deprecated(mut self, reason: &str) -> Self {
        self.deprecated = Some(reason.to_owned());
        self
    }

    /// Keeps the value out of the ID, the key, logs and errors; only the resolver sees it.
    /// A call loaded from an encoded ID has lost it.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Hides the argument from clients: it is set by [`Cx::select`] and by IDs only.
    #[must_use]
    pub fn internal(mut self) -> Self {
        self.internal = true;
        self
    }
}

/// A field: what clients may call on an object.
#[derive(Clone)]
pub struct Field {
    pub(crate) name: Arc<str>,
    pub(crate) ty: Result<TypeRef, SchemaError>,
    pub(crate) doc: String,
    pub(crate) deprecated: Option<String>,
    pub(crate) args: Vec<Arg>,
    pub(crate) policy: CachePolicy,
    pub(crate) internal: bool,
    pub(crate) persist: bool,
    pub(crate) volatile: bool,
    pub(crate) resolver: Option<Resolver>,
}

impl Field {
    /// A field `name` returning the GraphQL type `ty`. A malformed type is reported when the schema
    /// is built.
    pub fn new(name: &str, ty: &str) -> Self {
        Self {
            name: name.into(),
            ty: TypeRef::parse(ty).map_err(|error| SchemaError::Type {
                owner: format!("field {name}"),
                reason: error.to_string(),
            }),
            doc: String::new(),
            deprecated: None,
            args: Vec::new(),
            policy: CachePolicy::Default,
            internal: false,
            persist: false,
            volatile: false,
            resolver: None,
        }
    }

    /// Documentation in Markdown.
    #[must_use]
    pub fn doc(mut self, text: &str) -> Self {
        text.clone_into(&mut self.doc);
        self
    }

    /// Marks the field deprecated.
    #[must_use]
    pub fn deprecated(mut self, reason: &str) -> Self {
        self.deprecated = Some(reason.to_owned());
        self
    }

    /// Adds an argument; the order of arguments is the order in IDs.
    #[must_use]
    pub fn arg(mut self, arg: Arg) -> Self {
        self.args.push(arg);
        self
    }

    /// Says how results are cached and whom they are shared with.
    #[must_use]
    pub fn cache(mut self, policy: CachePolicy) -> Self {
        self.policy = policy;
        self
    }

    /// Hides the field from clients; [`Cx::select`] and IDs reach it.
    #[must_use]
    pub fn internal(mut self) -> Self {
        self.internal = true;
        self
    }

    /// Keeps plain values of the field for later processes, where the cache has a store for them
    /// ([`Cache::with_values`](crate::Cache::with_values)) and the call means the same everywhere.
    /// Only for a field whose value is determined by the content of its inputs, and holds nothing
    /// that must not be on disk.
    #[must_use]
    pub fn persist(mut self) -> Self {
        self.persist = true;
        self
    }

    /// Says that the same call may have another result tomorrow although no scope shows it. Nothing
    /// made from the result is kept for later processes.
    #[must_use]
    pub fn volatile(mut self) -> Self {
        self.volatile = true;
        self
    }

    /// Sets what computes the field. It runs at most once per key at a time, on its own task, and
    /// is dropped when the last caller stops waiting.
    #[must_use]
    pub fn resolve<F, Fut, V>(mut self, resolver: F) -> Self
    where
        F: Fn(Cx, Object, Args) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<V, Error>> + Send + 'static,
        V: Into<Value>,
    {
        self.resolver = Some(Arc::new(move |cx, this, args| {
            let running = resolver(cx, this, args);
            Box::pin(async move { running.await.map(Into::into) })
        }));
        self
    }
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Field")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}
