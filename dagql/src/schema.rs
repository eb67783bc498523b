//! The schema at run time: types, fields, arguments, and how each field is cached.
//!
//! A program fills a [`SchemaBuilder`] (types may refer to types added later), then calls
//! [`SchemaBuilder::build`], which
//! 1. adds what every object with an ID has: the scalar `<T>ID`, the field `id`, the interface
//!    `Node`, and `Query.load<T>FromID` beside `Query.node`;
//! 2. checks that every name is defined once, every reference resolves to a type usable there,
//!    every default value fits, and every object field has a resolver;
//! 3. renders the SDL and has apollo-compiler validate it as a whole (interfaces, recursion of
//!    input objects, reserved names), which also gives the schema that introspection answers from.
//!
//! The result is an immutable [`Schema`]. Adding and collecting live in `schema/build.rs`, what
//! becomes of one type in `schema/define.rs`, the checks in `schema/check.rs`, rendering in
//! `schema/sdl.rs`.
//!
//! # Views
//! Fields and arguments may be shown to the clients of some API versions only ([`Visible`]); each
//! set of versions that see the same has its own schema (`schema/family.rs`). A field's name may
//! have several definitions: of those that a view shows, the last one added counts. Calls that
//! resolvers make see the newest. A call records the view in its ID only where it would mean
//! something else without it: where the newest definition is another one, or where the result
//! depends on the view ([`Visible::All`]). So clients of different versions share keys as far as
//! they mean the same. A call that is loaded from an ID is of the field that its recorded view
//! shows.

use std::fmt;
use std::sync::Arc;

use apollo_compiler::validation::Valid;
use indexmap::IndexMap;

use crate::id::ArgSpec;
use crate::{Digest, Id, TypeRef, View};

mod build;
mod check;
mod define;
mod description;
mod family;
mod field;
pub(crate) mod sdl;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
mod types;
#[cfg(all(test, not(feature = "shuttle")))]
mod view_tests;

pub(crate) use build::QUERY;
pub use build::SchemaBuilder;
use description::Description;
use family::Family;
pub(crate) use field::Resolver;
pub use field::{Arg, Field};
pub use types::{EnumType, InputType, InterfaceType, ObjectType, ScalarType};

/// Why a schema cannot be built: a mistake in the program that registered its types.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SchemaError {
    /// A type reference is malformed, unknown, or not usable in its place.
    #[error("{owner}: {reason}")]
    Type {
        /// The field or argument.
        owner: String,
        /// What is wrong.
        reason: String,
    },
    /// A name is defined twice.
    #[error("{0} is defined twice")]
    Duplicate(String),
    /// A name has definitions for everyone and definitions for some views.
    #[error("{0} has definitions for everyone and for some views")]
    MixedViews(String),
    /// A field was added to a type that does not exist.
    #[error("cannot add field {field} to the unknown type {ty}")]
    UnknownType {
        /// The missing type.
        ty: String,
        /// The field.
        field: String,
    },
    /// An object field has no resolver.
    #[error("{0} has no resolver")]
    NoResolver(String),
    /// A default value does not fit its type.
    #[error("{owner}: the default value does not fit: {reason}")]
    Default {
        /// The argument.
        owner: String,
        /// What is wrong.
        reason: String,
    },
    /// apollo-compiler found the schema as a whole invalid.
    #[error("invalid schema: {0}")]
    Invalid(String),
}

/// A checked argument.
#[derive(Clone)]
pub(crate) struct ArgDef {
    pub(crate) name: Arc<str>,
    /// The declared type; with a default, null means the default.
    pub(crate) ty: TypeRef,
    pub(crate) default: Option<crate::Literal>,
    pub(crate) sensitive: bool,
    pub(crate) internal: bool,
    pub(crate) description: Description,
}

impl ArgDef {
    /// True when a client must give a value.
    pub(crate) fn is_required(&self) -> bool {
        self.ty.is_non_null() && self.default.is_none()
    }

    /// The type as clients see it: nullable when there is a default.
    pub(crate) fn shown_type(&self) -> TypeRef {
        if self.default.is_some() {
            self.ty.clone().nullable()
        } else {
            self.ty.clone()
        }
    }
}

/// A checked field.
pub(crate) struct FieldDef {
    pub(crate) name: Arc<str>,
    pub(crate) ty: TypeRef,
    pub(crate) args: Vec<ArgDef>,
    pub(crate) policy: crate::CachePolicy,
    pub(crate) internal: bool,
    pub(crate) persist: bool,
    pub(crate) volatile: bool,
    /// Whether calls from another view than the newest record it: the newest one's definition is
    /// another, or the result depends on the view itself.
    pub(crate) records_view: bool,
    pub(crate) role: Role,
    pub(crate) description: Description,
}

impl FieldDef {
    /// The arguments as call IDs need them.
    pub(crate) fn specs(&self) -> Vec<ArgSpec<'_>> {
        let args = self.args.iter();
        args.map(|arg| ArgSpec {
            name: &arg.name,
            default: arg.default.as_ref(),
            sensitive: arg.sensitive,
        })
        .collect()
    }

    /// The argument of this name, with its position in the schema's order.
    pub(crate) fn arg(&self, name: &str) -> Option<(usize, &ArgDef)> {
        self.args
            .iter()
            .enumerate()
            .find(|(_, arg)| arg.name.as_ref() == name)
    }
}

/// How a field is computed.
#[derive(Clone)]
pub(crate) enum Role {
    /// By a call: it has an ID, a key and a cache entry.
    Call(Resolver),
    /// `id`: the receiver's own ID.
    ReceiverId,
    /// `load<T>FromID`: the object of the ID argument.
    Loader,
    /// A field of an interface: the object's field of the same name runs.
    Interface,
}

/// A checked type.
pub(crate) enum TypeDef {
    Object(ObjectDef),
    Interface(ObjectDef),
    Enum(EnumType),
    Input(InputDef),
    Scalar(ScalarDef),
}

impl TypeDef {
    /// Fields, for types that have a selection set.
    pub(crate) fn as_composite(&self) -> Option<&ObjectDef> {
        match self {
            Self::Object(def) | Self::Interface(def) => Some(def),
            _ => None,
        }
    }
}

/// Fields of an object or interface type.
pub(crate) struct ObjectDef {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
    pub(crate) fields: IndexMap<Arc<str>, Arc<FieldDef>>,
    pub(crate) implements: Vec<Arc<str>>,
}

/// Fields of an input object type.
pub(crate) struct InputDef {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
    pub(crate) fields: Vec<ArgDef>,
}

/// What a scalar's text must be.
pub(crate) enum ScalarKind {
    Int,
    Float,
    Boolean,
    String,
    /// An encoded ID; of this object type, or of any for the scalar `ID`.
    Id(Option<Arc<str>>),
    /// Any string, normalised by the hook.
    Custom(Option<types::Coercion>),
}

/// A scalar type.
pub(crate) struct ScalarDef {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
    pub(crate) kind: ScalarKind,
}

/// Objects of each interface, as apollo-compiler lists them.
pub(crate) type Implementers = apollo_compiler::collections::HashMap<
    apollo_compiler::Name,
    apollo_compiler::schema::Implementers,
>;

/// An immutable, checked schema, in one of its views. Cheap to clone.
#[derive(Clone)]
pub struct Schema {
    inner: Arc<SchemaInner>,
    family: Arc<Family>,
    view: View,
}

/// What one view shows.
struct SchemaInner {
    query: Arc<str>,
    types: IndexMap<Arc<str>, TypeDef>,
    sdl: String,
    digest: Digest,
    apollo: Valid<apollo_compiler::Schema>,
    implementers: Implementers,
}

impl Schema {
    /// Starts a schema whose query root is the type `Query`.
    pub fn builder() -> SchemaBuilder {
        SchemaBuilder::new()
    }

    fn newest_of(family: Arc<Family>) -> Self {
        Self {
            inner: Arc::clone(&family.newest),
            family,
            view: View::NEWEST,
        }
    }

    /// The same schema as the clients of `view` see it.
    #[must_use]
    pub fn in_view(&self, view: View) -> Self {
        Self {
            inner: Arc::clone(self.family.of(view)),
            family: Arc::clone(&self.family),
            view,
        }
    }

    /// The view this schema is shown in.
    pub fn view(&self) -> View {
        self.view
    }

    /// The schema in GraphQL's schema definition language; the same types in the same order give
    /// the same text.
    pub fn sdl(&self) -> &str {
        &self.inner.sdl
    }

    /// Digest of the SDL: what the policy `PerSchema` puts into a call.
    pub fn digest(&self) -> &Digest {
        &self.inner.digest
    }

    /// Name of the query root.
    pub(crate) fn query(&self) -> &Arc<str> {
        &self.inner.query
    }

    /// All types by name.
    pub(crate) fn types(&self) -> &IndexMap<Arc<str>, TypeDef> {
        &self.inner.types
    }

    /// The same schema as apollo-compiler holds it, and its interfaces' objects.
    pub(crate) fn apollo(&self) -> (&Valid<apollo_compiler::Schema>, &Implementers) {
        (&self.inner.apollo, &self.inner.implementers)
    }

    /// The type of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&TypeDef> {
        self.inner.types.get(name)
    }

    /// The object or interface of this name.
    pub(crate) fn composite(&self, name: &str) -> Option<&ObjectDef> {
        self.get(name)?.as_composite()
    }

    /// The field `field` of the object or interface `ty`.
    pub(crate) fn field(&self, ty: &str, field: &str) -> Option<&Arc<FieldDef>> {
        self.composite(ty)?.fields.get(field)
    }

    /// The field that a call on a `receiver` is of: as the view that the call records shows it, or
    /// else the newest one.
    pub(crate) fn field_of_call(&self, receiver: &str, call: &Id) -> Option<Arc<FieldDef>> {
        let types = &self.family.of(View::of(call.view())).types;
        let fields = &types.get(receiver)?.as_composite()?.fields;
        fields.get(call.field()).cloned()
    }

    /// Whether an object of type `concrete` satisfies the type condition `condition`.
    pub(crate) fn is_subtype(&self, concrete: &str, condition: &str) -> bool {
        concrete == condition
            || self.composite(concrete).is_some_and(|def| {
                def.implements
                    .iter()
                    .any(|interface| interface.as_ref() == condition)
            })
    }

    /// Whether some object satisfies both conditions.
    pub(crate) fn may_overlap(&self, a: &str, b: &str) -> bool {
        if self.is_subtype(a, b) || self.is_subtype(b, a) {
            return true;
        }
        self.inner.types.values().any(|ty| match ty {
            TypeDef::Object(def) => self.is_subtype(&def.name, a) && self.is_subtype(&def.name, b),
            _ => false,
        })
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Schema({} types, {})",
            self.inner.types.len(),
            self.inner.digest
        )
    }
}
