//! The arguments a resolver gets: complete, coerced, and read by name.
//!
//! Every argument of the field is present: omitted ones hold their default, or null. Getters come in
//! two forms, `x` for a value that must be there and `x_opt` for one that may be null. Asking for a
//! name or a type that the schema does not give is a mistake of the resolver and an internal error.

use std::fmt;
use std::sync::Arc;

use crate::{Error, Id, Literal};

/// Argument values of one call, or the fields of one input object.
#[derive(Clone, Default)]
pub struct Args {
    values: Arc<[(Arc<str>, Literal)]>,
}

impl Args {
    /// Wraps values that are already coerced.
    pub(crate) fn new(values: Vec<(Arc<str>, Literal)>) -> Self {
        Self {
            values: values.into(),
        }
    }

    /// The value of `name`; null counts as absent.
    pub fn get(&self, name: &str) -> Option<&Literal> {
        self.values
            .iter()
            .find(|(candidate, _)| candidate.as_ref() == name)
            .map(|(_, value)| value)
            .filter(|value| !value.is_null())
    }

    /// All values in the schema's order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Literal)> {
        self.values
            .iter()
            .map(|(name, value)| (name.as_ref(), value))
    }

    fn opt<'a, T>(
        &'a self,
        name: &str,
        wanted: &str,
        read: impl FnOnce(&'a Literal) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        let Some(value) = self.get(name) else {
            return Ok(None);
        };
        match read(value) {
            Some(found) => Ok(Some(found)),
            None => Err(Error::internal(format!(
                "argument {name} is {}, the resolver reads {wanted}",
                value.kind()
            ))),
        }
    }

    /// A text that may be absent: a string, a custom scalar or an enum member.
    ///
    /// # Errors
    /// Internal error when the argument is not text.
    pub fn str_opt(&self, name: &str) -> Result<Option<&str>, Error> {
        self.opt(name, "text", |value| match value {
            Literal::String(text) | Literal::Enum(text) => Some(text.as_ref()),
            _ => None,
        })
    }

    /// A text: a string, a custom scalar or an enum member.
    ///
    /// # Errors
    /// When it is missing (a sensitive argument of a replayed call) or not text.
    pub fn str(&self, name: &str) -> Result<&str, Error> {
        self.str_opt(name)?.ok_or_else(|| missing(name))
    }

    /// A list of texts; absent counts as empty.
    ///
    /// # Errors
    /// Internal error when the argument is not a list of texts.
    pub fn strings(&self, name: &str) -> Result<Vec<String>, Error> {
        let texts = self.opt(name, "a list of texts", |value| match value {
            Literal::List(items) => items
                .iter()
                .map(|item| match item {
                    Literal::String(text) | Literal::Enum(text) => Some(text.to_string()),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        })?;
        Ok(texts.unwrap_or_default())
    }

    /// A Boolean; absent counts as false.
    ///
    /// # Errors
    /// Internal error when the argument is not a Boolean.
    pub fn bool(&self, name: &str) -> Result<bool, Error> {
        Ok(self.bool_opt(name)?.unwrap_or(false))
    }

    /// A Boolean that may be absent.
    ///
    /// # Errors
    /// Internal error when the argument is not a Boolean.
    pub fn bool_opt(&self, name: &str) -> Result<Option<bool>, Error> {
        self.opt(name, "a Boolean", |value| match value {
            Literal::Bool(value) => Some(*value),
            _ => None,
        })
    }

    /// An integer.
    ///
    /// # Errors
    /// When it is missing or not an integer.
    pub fn int(&self, name: &str) -> Result<i64, Error> {
        self.int_opt(name)?.ok_or_else(|| missing(name))
    }

    /// An integer that may be absent.
    ///
    /// # Errors
    /// Internal error when the argument is not an integer.
    pub fn int_opt(&self, name: &str) -> Result<Option<i64>, Error> {
        self.opt(name, "an integer", |value| match value {
            Literal::Int(value) => Some(*value),
            _ => None,
        })
    }

    /// A number that may be absent.
    ///
    /// # Errors
    /// Internal error when the argument is not a float.
    pub fn float_opt(&self, name: &str) -> Result<Option<f64>, Error> {
        self.opt(name, "a float", |value| match value {
            Literal::Float(value) => Some(*value),
            _ => None,
        })
    }

    /// An ID; pass it to [`crate::Cx::load`].
    ///
    /// # Errors
    /// When it is missing or not an ID.
    pub fn id(&self, name: &str) -> Result<&Id, Error> {
        self.id_opt(name)?.ok_or_else(|| missing(name))
    }

    /// An ID that may be absent.
    ///
    /// # Errors
    /// Internal error when the argument is not an ID.
    pub fn id_opt(&self, name: &str) -> Result<Option<&Id>, Error> {
        self.opt(name, "an ID", |value| match value {
            Literal::Id(id) => Some(id),
            _ => None,
        })
    }

    /// A list of IDs; absent counts as empty.
    ///
    /// # Errors
    /// Internal error when the argument is not a list of IDs.
    pub fn ids(&self, name: &str) -> Result<Vec<Id>, Error> {
        let ids = self.opt(name, "a list of IDs", |value| match value {
            Literal::List(items) => items
                .iter()
                .map(|item| match item {
                    Literal::Id(id) => Some(id.clone()),
                    _ => None,
                })
                .collect::<Option<Vec<_>>>(),
            _ => None,
        })?;
        Ok(ids.unwrap_or_default())
    }

    /// An input object that may be absent.
    ///
    /// # Errors
    /// Internal error when the argument is not an input object.
    pub fn input_opt(&self, name: &str) -> Result<Option<Self>, Error> {
        self.opt(name, "an input object", as_input)
    }

    /// A list of input objects; absent counts as empty.
    ///
    /// # Errors
    /// Internal error when the argument is not a list of input objects.
    pub fn inputs(&self, name: &str) -> Result<Vec<Self>, Error> {
        let inputs = self.opt(name, "a list of input objects", |value| match value {
            Literal::List(items) => items.iter().map(as_input).collect::<Option<Vec<_>>>(),
            _ => None,
        })?;
        Ok(inputs.unwrap_or_default())
    }
}

/// Names and kinds only: a value may be a secret.
impl fmt::Debug for Args {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map()
            .entries(self.iter().map(|(name, value)| (name, value.kind())))
            .finish()
    }
}

fn as_input(value: &Literal) -> Option<Args> {
    match value {
        Literal::Object(fields) => Some(Args::new(fields.clone())),
        _ => None,
    }
}

fn missing(name: &str) -> Error {
    Error::input(format!(
        "argument {name} has no value here: an ID does not carry sensitive arguments, so this call cannot be replayed from one"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> Args {
        Args::new(vec![
            ("path".into(), Literal::from("/a")),
            (
                "names".into(),
                Literal::List(vec!["x".into(), Literal::enumeration("Y")]),
            ),
            ("gone".into(), Literal::Null),
            (
                "ports".into(),
                Literal::List(vec![Literal::Object(vec![(
                    "backend".into(),
                    Literal::Int(80),
                )])]),
            ),
        ])
    }

    #[test]
    fn null_is_absent_and_lists_default_to_empty() {
        let args = args();
        assert_eq!(args.str("path").expect("given"), "/a");
        assert_eq!(args.str_opt("gone").expect("nullable"), None);
        assert_eq!(args.strings("names").expect("texts"), ["x", "Y"]);
        assert!(args.strings("gone").expect("nullable").is_empty());
        let ports = args.inputs("ports").expect("inputs");
        assert_eq!(ports[0].int("backend").expect("given"), 80);
    }

    #[test]
    fn a_wrong_getter_is_the_resolvers_mistake() {
        let error = args().int("path").expect_err("a string");
        assert_eq!(
            error.message(),
            "argument path is a string, the resolver reads an integer"
        );
        let error = args().str("gone").expect_err("absent");
        assert!(error.message().starts_with("argument gone has no value"));
    }
}
