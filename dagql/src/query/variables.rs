//! Values of an operation's variables, and their substitution into written values.

use std::collections::HashMap;
use std::sync::Arc;

use super::{Document, Input, Operation};
use crate::{Error, Literal, Schema, coerce};

/// Coerced values by variable name. A variable that was not given and has no default is absent.
pub(crate) type Variables = HashMap<Arc<str>, Literal>;

type Json = serde_json::Map<String, serde_json::Value>;

/// Coerces the request's variables.
///
/// # Errors
/// A missing or unusable variable, located at its declaration.
pub(crate) fn values(
    schema: &Schema,
    document: &Document,
    operation: &Operation,
    given: Option<&Json>,
) -> Result<Variables, Error> {
    let mut values = Variables::new();
    for variable in &operation.variables {
        let at = |error: Error| {
            error
                .context(format_args!("variable ${}", variable.name))
                .at(Some(document.lines.locate(variable.location)))
        };
        let json = given.and_then(|given| given.get(variable.name.as_ref()));
        let literal = match (json, &variable.default) {
            (Some(json), _) => {
                Literal::from_json(json).map_err(|error| at(Error::input(error.to_string())))?
            }
            (None, Some(default)) => substitute(default, &Variables::new()),
            (None, None) if variable.ty.is_non_null() => {
                let message = format!("a value of type {} is required", variable.ty);
                return Err(at(Error::input(message)));
            }
            (None, None) => continue,
        };
        let literal = coerce::literal(schema.types(), &variable.ty, literal).map_err(at)?;
        values.insert(Arc::clone(&variable.name), literal);
    }
    Ok(values)
}

/// A written value with its variables filled in; none if it is itself an absent variable, which
/// counts as an argument that was not given. Inside a list an absent variable is null, and as a
/// field of an object it leaves the field out.
pub(crate) fn fill(value: &Input, variables: &Variables) -> Option<Literal> {
    match value {
        Input::Variable(name) => variables.get(name).cloned(),
        other => Some(substitute(other, variables)),
    }
}

/// Recursion is bounded by the depth of values.
fn substitute(value: &Input, variables: &Variables) -> Literal {
    match value {
        Input::Null => Literal::Null,
        Input::Bool(value) => Literal::Bool(*value),
        Input::Int(value) => Literal::Int(*value),
        Input::Float(value) => Literal::Float(*value),
        Input::String(text) => Literal::String(Arc::clone(text)),
        Input::Enum(name) => Literal::Enum(Arc::clone(name)),
        Input::Variable(name) => variables.get(name).cloned().unwrap_or(Literal::Null),
        Input::List(items) => Literal::List(
            items
                .iter()
                .map(|item| substitute(item, variables))
                .collect(),
        ),
        Input::Object(fields) => Literal::Object(
            fields
                .iter()
                .filter_map(|(name, field)| Some((Arc::clone(name), fill(field, variables)?)))
                .collect(),
        ),
    }
}
