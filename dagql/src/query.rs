//! A checked document: selections in flat tables, every name resolved, every mistake located.
//!
//! apollo-compiler parses the text (`query/parse.rs`). Checking is our own (`query/lower.rs`), for
//! two reasons. Its validator refuses documents deeper than 128 fields, while an SDK that chains a
//! thousand calls sends a document a thousand fields deep; and it refuses quoted enum members and
//! other spellings that real clients send (`coerce.rs`). The rules are GraphQL's own, minus the type
//! of literal values, which coercion decides.
//!
//! The syntax tree is as deep as the text and is walked and dropped where it was parsed, on a stack
//! that is large enough. What leaves is this module's [`Document`], whose tables have no depth.
//!
//! Introspection (`__schema`, `__type`) is cut out into small documents of its own, which apollo
//! validates and answers (`query/introspect.rs`).

use std::sync::Arc;

use crate::TypeRef;
use crate::schema::FieldDef;

pub(crate) mod introspect;
mod lines;
mod lower;
mod names;
mod parse;
pub(crate) mod suggest;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
mod usage;
pub(crate) mod variables;

pub(crate) use lines::{At, Lines};
pub use names::operation_names;
pub(crate) use parse::parse;
pub use parse::{DOCUMENT_BYTES_MAX, QUERY_DEPTH_MAX};

/// Operations and fragments of one document.
pub const DEFINITIONS_MAX: usize = 1024;

/// Introspection fields of one document; an answer can be half a megabyte.
pub const INTROSPECTIONS_MAX: usize = 16;

/// Index of a selection set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SetId(pub(crate) usize);

/// Index of a field selection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FieldId(pub(crate) usize);

/// Index of a fragment definition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct FragmentId(pub(crate) usize);

/// A document without depth.
#[derive(Default)]
pub(crate) struct Document {
    pub(crate) operations: Vec<Operation>,
    pub(crate) fragments: Vec<Fragment>,
    pub(crate) sets: Vec<Vec<Selection>>,
    pub(crate) fields: Vec<FieldSelection>,
    pub(crate) lines: Lines,
}

/// One query operation.
pub(crate) struct Operation {
    pub(crate) name: Option<Arc<str>>,
    pub(crate) variables: Vec<VariableDef>,
    pub(crate) set: SetId,
}

/// One named fragment.
pub(crate) struct Fragment {
    pub(crate) name: Arc<str>,
    pub(crate) on: Arc<str>,
    pub(crate) location: At,
    pub(crate) set: SetId,
}

/// A declared variable.
pub(crate) struct VariableDef {
    pub(crate) name: Arc<str>,
    pub(crate) ty: TypeRef,
    pub(crate) default: Option<Input>,
    pub(crate) location: At,
}

/// One entry of a selection set.
pub(crate) enum Selection {
    Field(FieldId),
    Spread {
        fragment: FragmentId,
        conditions: Vec<Condition>,
    },
    Inline {
        on: Option<Arc<str>>,
        set: SetId,
        conditions: Vec<Condition>,
    },
}

/// `@skip` or `@include`.
pub(crate) struct Condition {
    /// The value of the argument for which the selection is kept.
    pub(crate) keep: bool,
    pub(crate) value: Input,
    pub(crate) location: At,
}

/// A selected field.
pub(crate) struct FieldSelection {
    /// Alias or name.
    pub(crate) key: Arc<str>,
    pub(crate) name: Arc<str>,
    pub(crate) location: At,
    pub(crate) args: Vec<GivenArg>,
    pub(crate) conditions: Vec<Condition>,
    /// Arguments of `@cache`.
    pub(crate) cache: Option<Vec<GivenArg>>,
    /// Variable name of `@export`.
    pub(crate) export: Option<Arc<str>>,
    pub(crate) target: Target,
    pub(crate) set: Option<SetId>,
}

/// What a selected field is.
pub(crate) enum Target {
    /// A field of the schema, on this declared parent type.
    Field {
        parent: Arc<str>,
        def: Arc<FieldDef>,
    },
    /// `__typename`.
    TypeName,
    /// `__schema` or `__type`: a document of its own.
    Introspection(Arc<introspect::Introspection>),
}

/// One argument as written.
pub(crate) struct GivenArg {
    pub(crate) name: Arc<str>,
    pub(crate) value: Input,
    pub(crate) location: At,
}

/// A value as written.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Input {
    Null,
    Bool(bool),
    Int(i64),
    Float(f64),
    String(Arc<str>),
    Enum(Arc<str>),
    Variable(Arc<str>),
    List(Vec<Self>),
    Object(Vec<(Arc<str>, Self)>),
}
