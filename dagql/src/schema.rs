//! The schema at run time: types, fields, arguments, and how each field is cached.
//!
//! A program fills a [`SchemaBuilder`] (types may refer to types added later), then calls
//! [`SchemaBuilder::build`], which
//! 1. adds what every object with an ID has: the scalar `<T>ID`, the field `id`, and
//!    `Query.load<T>FromID`;
//! 2. checks that every name is defined once, every reference resolves to a type usable there,
//!    every default value fits, and every object field has a resolver;
//! 3. renders the SDL and has apollo-compiler validate it as a whole (interfaces, recursion of
//!    input objects, reserved names), which also gives the schema that introspection answers from.
//!
//! The result is an immutable [`Schema`]. Rendering lives in `schema/sdl.rs`, adding and
//! collecting in `schema/build.rs`, the checks in `schema/check.rs`.

use std::fmt;
use std::sync::Arc;

use apollo_compiler::validation::Valid;
use indexmap::IndexMap;

use crate::{Digest, TypeRef};

mod build;
mod check;
mod field;
pub(crate) mod sdl;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
mod types;

pub use build::SchemaBuilder;
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
    pub(crate) doc: String,
    pub(crate) deprecated: Option<String>,
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
    pub(crate) role: Role,
    pub(crate) doc: String,
    pub(crate) deprecated: Option<String>,
}

impl FieldDef {
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
    pub(crate) doc: String,
    pub(crate) fields: IndexMap<Arc<str>, Arc<FieldDef>>,
    pub(crate) implements: Vec<Arc<str>>,
}

/// Fields of an input object type.
pub(crate) struct InputDef {
    pub(crate) name: Arc<str>,
    pub(crate) doc: String,
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
    pub(crate) doc: String,
    pub(crate) kind: ScalarKind,
}

/// Objects of each interface, as apollo-compiler lists them.
pub(crate) type Implementers = apollo_compiler::collections::HashMap<
    apollo_compiler::Name,
    apollo_compiler::schema::Implementers,
>;

/// An immutable, checked schema. Cheap to clone.
#[derive(Clone)]
pub struct Schema(Arc<SchemaInner>);

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

    /// The schema in GraphQL's schema definition language; the same types in the same order give
    /// the same text.
    pub fn sdl(&self) -> &str {
        &self.0.sdl
    }

    /// Digest of the SDL: what the policy `PerSchema` puts into a call.
    pub fn digest(&self) -> &Digest {
        &self.0.digest
    }

    /// Name of the query root.
    pub(crate) fn query(&self) -> &Arc<str> {
        &self.0.query
    }

    /// All types by name.
    pub(crate) fn types(&self) -> &IndexMap<Arc<str>, TypeDef> {
        &self.0.types
    }

    /// The same schema as apollo-compiler holds it, and its interfaces' objects.
    pub(crate) fn apollo(&self) -> (&Valid<apollo_compiler::Schema>, &Implementers) {
        (&self.0.apollo, &self.0.implementers)
    }

    /// The type of this name.
    pub(crate) fn get(&self, name: &str) -> Option<&TypeDef> {
        self.0.types.get(name)
    }

    /// The object or interface of this name.
    pub(crate) fn composite(&self, name: &str) -> Option<&ObjectDef> {
        self.get(name)?.as_composite()
    }

    /// The field `field` of the object or interface `ty`.
    pub(crate) fn field(&self, ty: &str, field: &str) -> Option<&Arc<FieldDef>> {
        self.composite(ty)?.fields.get(field)
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
        self.0.types.values().any(|ty| match ty {
            TypeDef::Object(def) => self.is_subtype(&def.name, a) && self.is_subtype(&def.name, b),
            _ => false,
        })
    }
}

impl fmt::Debug for Schema {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schema({} types, {})", self.0.types.len(), self.0.digest)
    }
}
