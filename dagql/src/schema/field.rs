//! A field of an object type, and its arguments: type, documentation, default, cache policy, resolver.

use std::fmt;
use std::future::Future;
use std::sync::Arc;

use futures::future::BoxFuture;

use crate::{Args, CachePolicy, Cx, Error, Literal, Object, TypeRef, Value, Visible};

use super::description::{Description, described};
use super::{Role, SchemaError};

described!(Arg, Field);

/// A resolver behind a field, after its types are erased.
pub(crate) type Resolver =
    Arc<dyn Fn(Cx, Object, Args) -> BoxFuture<'static, Result<Value, Error>> + Send + Sync>;

/// An argument of a field, or a field of an input object.
#[derive(Clone)]
pub struct Arg {
    pub(crate) name: Arc<str>,
    pub(crate) ty: Result<TypeRef, SchemaError>,
    pub(crate) description: Description,
    pub(crate) visible: Option<Visible>,
    pub(crate) default: Option<Literal>,
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
            description: Description::default(),
            visible: None,
            default: None,
            sensitive: false,
            internal: false,
        }
    }

    /// The value of an omitted (or null) argument. It is part of the call's ID, so that leaving it
    /// out and spelling it out are one call. A `!` type with a default is shown as nullable.
    #[must_use]
    pub fn default(mut self, value: impl Into<Literal>) -> Self {
        self.default = Some(value.into());
        self
    }

    /// Keeps the value out of the ID, the key, logs and errors; only the resolver sees it.
    /// A call loaded from an encoded ID has lost it.
    #[must_use]
    pub fn sensitive(mut self) -> Self {
        self.sensitive = true;
        self
    }

    /// Shows the argument in some views only.
    #[must_use]
    pub fn visible(mut self, visible: Visible) -> Self {
        self.visible = Some(visible);
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
    pub(crate) description: Description,
    pub(crate) visible: Option<Visible>,
    pub(crate) args: Vec<Arg>,
    pub(crate) policy: CachePolicy,
    pub(crate) internal: bool,
    pub(crate) persist: bool,
    pub(crate) volatile: bool,
    pub(crate) role: Option<Role>,
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
            description: Description::default(),
            visible: None,
            args: Vec::new(),
            policy: CachePolicy::Default,
            internal: false,
            persist: false,
            volatile: false,
            role: None,
        }
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

    /// Shows the field in some views only. A name may have several such definitions; of those that
    /// a view shows, the one added last counts.
    #[must_use]
    pub fn visible(mut self, visible: Visible) -> Self {
        self.visible = Some(visible);
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

    /// Sets a role that needs no resolver.
    pub(crate) fn role(mut self, role: Role) -> Self {
        self.role = Some(role);
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
        self.role = Some(Role::Call(Arc::new(move |cx, this, args| {
            let running = resolver(cx, this, args);
            Box::pin(async move { running.await.map(Into::into) })
        })));
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
