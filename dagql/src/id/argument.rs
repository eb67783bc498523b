//! Arguments of a call and their canonical form.
//!
//! SDKs spell the same call differently: Go sends arguments in the order of a map, Python leaves
//! defaults out, TypeScript spells them out. [`canonical_arguments`] turns every spelling into one:
//! 1. the schema's order;
//! 2. an argument that was not given takes its default;
//! 3. an argument that is now null is dropped, as is every null field of an input object. In a list
//!    null keeps its place.
//!
//! So in a canonical call *absent* and *null* are the same, and an explicit null overrides a
//! default. Coercion (a string that names an enum value, an integer for a float) and defaults
//! inside input objects come first; they need the types, which the schema has. It can call the same
//! function for the fields of an input object.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use super::Id;
use crate::literal::{Literal, LiteralError};

/// How many arguments a call may have.
pub const ARGS_MAX: usize = 1024;

/// A named argument. A sensitive one lives in memory only: it is neither hashed, nor encoded, nor
/// shown.
#[derive(Clone, PartialEq)]
pub struct Argument {
    name: Arc<str>,
    value: Literal,
    sensitive: bool,
}

/// What the schema says about one argument, as far as its canonical form needs it.
#[derive(Debug, Clone, Copy)]
pub struct ArgSpec<'a> {
    /// The argument's name.
    pub name: &'a Arc<str>,
    /// The coerced default, if there is one.
    pub default: Option<&'a Literal>,
    /// Whether the value must stay in memory.
    pub sensitive: bool,
}

/// Why arguments have no canonical form.
#[derive(Debug, Error)]
pub enum ArgumentError {
    /// The field has no such argument.
    #[error("unknown argument `{0}`")]
    Unknown(Arc<str>),
    /// An argument was given twice.
    #[error("argument `{0}` is given twice")]
    Twice(Arc<str>),
    /// A value nests too deeply or is not a finite number.
    #[error("argument `{name}`: {source}")]
    Value {
        /// The argument's name.
        name: Arc<str>,
        /// What is wrong with the value.
        source: LiteralError,
    },
    /// More than [`ARGS_MAX`] arguments.
    #[error("{0} arguments are given, at most {ARGS_MAX} are allowed")]
    TooMany(usize),
}

impl Argument {
    /// A public argument.
    #[must_use]
    pub fn new(name: impl Into<Arc<str>>, value: impl Into<Literal>) -> Self {
        Self {
            name: name.into(),
            value: value.into(),
            sensitive: false,
        }
    }

    /// An argument that never leaves memory.
    #[must_use]
    pub fn sensitive(name: impl Into<Arc<str>>, value: impl Into<Literal>) -> Self {
        Self {
            sensitive: true,
            ..Self::new(name, value)
        }
    }

    /// The name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The value.
    #[must_use]
    pub fn value(&self) -> &Literal {
        &self.value
    }

    /// Whether the value must stay in memory.
    #[must_use]
    pub fn is_sensitive(&self) -> bool {
        self.sensitive
    }

    pub(super) fn take_ids(&mut self, ids: &mut Vec<Id>) {
        take_ids(&mut self.value, ids);
    }

    pub(super) fn map_ids(&self, replace: &impl Fn(&Id) -> Id) -> Self {
        Self {
            value: self.value.map_ids(replace),
            ..self.clone()
        }
    }
}

impl fmt::Debug for Argument {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.sensitive {
            write!(f, "{}: ***", self.name)
        } else {
            write!(f, "{}: {:?}", self.name, self.value)
        }
    }
}

fn take_ids(value: &mut Literal, ids: &mut Vec<Id>) {
    match value {
        Literal::Id(_) => {
            if let Literal::Id(id) = std::mem::replace(value, Literal::Null) {
                ids.push(id);
            }
        }
        Literal::List(values) => values.iter_mut().for_each(|value| take_ids(value, ids)),
        Literal::Object(fields) => fields
            .iter_mut()
            .for_each(|(_, value)| take_ids(value, ids)),
        _ => {}
    }
}

/// The canonical form of `given`: in the order of `specs`, with defaults where nothing was given,
/// and without nulls, also inside input objects. An explicit null overrides a default. Values are
/// already coerced to their types.
///
/// # Errors
/// An unknown or repeated name, or a value that [`Literal::check`] refuses.
pub fn canonical_arguments(
    specs: &[ArgSpec<'_>],
    given: Vec<(Arc<str>, Literal)>,
) -> Result<Vec<Argument>, ArgumentError> {
    if given.len() > ARGS_MAX {
        return Err(ArgumentError::TooMany(given.len()));
    }
    let mut slots: Vec<Option<Literal>> = vec![None; specs.len()];
    for (name, value) in given {
        let Some(at) = specs.iter().position(|spec| *spec.name == name) else {
            return Err(ArgumentError::Unknown(name));
        };
        if slots[at].replace(value).is_some() {
            return Err(ArgumentError::Twice(name));
        }
    }
    let mut arguments = Vec::new();
    for (spec, slot) in specs.iter().zip(slots) {
        let Some(value) = slot.or_else(|| spec.default.cloned()) else {
            continue;
        };
        value.check().map_err(|source| ArgumentError::Value {
            name: spec.name.clone(),
            source,
        })?;
        let value = without_null_fields(value);
        if !value.is_null() {
            arguments.push(Argument {
                name: spec.name.clone(),
                value,
                sensitive: spec.sensitive,
            });
        }
    }
    Ok(arguments)
}

fn without_null_fields(value: Literal) -> Literal {
    match value {
        Literal::List(values) => {
            Literal::List(values.into_iter().map(without_null_fields).collect())
        }
        Literal::Object(fields) => Literal::Object(
            fields
                .into_iter()
                .filter(|(_, value)| !value.is_null())
                .map(|(name, value)| (name, without_null_fields(value)))
                .collect(),
        ),
        other => other,
    }
}
