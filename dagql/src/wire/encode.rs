//! Writing an ID: every distinct call once, sorted by digest.

use prost::Message as _;

use super::call::distinct;
use super::message::{
    Argument as ArgumentMessage, Call, Dag, Entry, ImplicitInput, List, Literal as Wire, Module,
    Object, Type, Value,
};
use super::table::quote;
use super::{IMPLICIT_INPUTS_MAX, Limits, WireError};
use crate::digest::scheme::Scheme;
use crate::id::{ARGS_MAX, Argument, Id};
use crate::literal::{Literal, LiteralError};
use crate::typeref::{TYPE_DEPTH_MAX, TypeRef, is_name};

/// The bytes of the whole graph.
pub(super) fn dag(id: &Id, limits: &Limits) -> Result<Vec<u8>, WireError> {
    let mut calls = id.public_post_order();
    if calls.len() > limits.calls {
        return Err(WireError::Limit {
            what: "calls",
            limit: limits.calls,
        });
    }
    calls.sort_unstable_by_key(|call| call.digest());
    let mut bytes = Dag {
        root_digest: id.digest().to_string(),
        calls_by_digest: Vec::new(),
    }
    .encode_to_vec();
    let mut literals = 0;
    for part in calls {
        if part.scheme() != id.scheme() {
            return Err(WireError::Mixed(id.scheme(), part.scheme()));
        }
        literals += check(part)?;
        if literals > limits.literals {
            return Err(WireError::Limit {
                what: "values",
                limit: limits.literals,
            });
        }
        let entry = Entry {
            key: part.digest().to_string(),
            value: Some(message(part)),
        };
        // Concatenated messages merge, so one entry at a time gives the same bytes as all of them
        // together.
        let one = Dag {
            root_digest: String::new(),
            calls_by_digest: vec![entry],
        };
        one.encode(&mut bytes).expect("a Vec grows as needed");
        // Base64 writes four characters for three bytes.
        if bytes.len().div_ceil(3).saturating_mul(4) > limits.text_bytes {
            return Err(WireError::Limit {
                what: "bytes",
                limit: limits.text_bytes,
            });
        }
    }
    Ok(bytes)
}

/// The bytes of the last call alone.
pub(super) fn call(id: &Id) -> Result<Vec<u8>, WireError> {
    check(id)?;
    Ok(message(id).encode_to_vec())
}

/// Refuses what the reader would refuse; returns the number of values in the arguments.
fn check(id: &Id) -> Result<usize, WireError> {
    name("field", id.field())?;
    name("type", id.ty().name())?;
    if id.ty().levels().count() > TYPE_DEPTH_MAX + 1 {
        return Err(WireError::TypeDepth);
    }
    if id.args().len() > ARGS_MAX {
        return Err(WireError::Limit {
            what: "arguments in one call",
            limit: ARGS_MAX,
        });
    }
    if id.implicit_inputs().len() > IMPLICIT_INPUTS_MAX {
        return Err(WireError::Limit {
            what: "implicit inputs in one call",
            limit: IMPLICIT_INPUTS_MAX,
        });
    }
    if id
        .implicit_inputs()
        .iter()
        .any(|input| input.name().is_empty())
    {
        return Err(WireError::Malformed(
            "an implicit input without a name".to_owned(),
        ));
    }
    let names: Vec<&str> = id.call().public_args().map(Argument::name).collect();
    distinct(names.iter().copied())?;
    let mut literals = 0;
    for argument in id.call().public_args() {
        name("argument", argument.name())?;
        literals += argument.value().check().map_err(|error| match error {
            LiteralError::Depth => WireError::LiteralDepth,
            other => WireError::Malformed(format!("argument `{}`: {other}", argument.name())),
        })?;
        field_names(argument.value())?;
    }
    Ok(literals)
}

fn name(role: &str, name: &str) -> Result<(), WireError> {
    if is_name(name) {
        Ok(())
    } else {
        Err(WireError::Malformed(format!(
            "{role} `{}` is not a name",
            quote(name.as_bytes())
        )))
    }
}

/// Recursion is bounded, because the value has been checked.
fn field_names(value: &Literal) -> Result<(), WireError> {
    match value {
        Literal::List(values) => values.iter().try_for_each(field_names),
        Literal::Object(fields) => {
            let names: Vec<&str> = fields.iter().map(|(name, _)| &**name).collect();
            distinct(names.iter().copied())?;
            fields.iter().try_for_each(|(field, value)| {
                name("input field", field)?;
                field_names(value)
            })
        }
        _ => Ok(()),
    }
}

fn message(id: &Id) -> Call {
    // Only the rules that know a digest or an input write it.
    let content = id
        .content_digest()
        .filter(|_| id.scheme() == Scheme::Xxh3V2);
    let implicit = if id.scheme() == Scheme::Blake3 {
        id.implicit_inputs()
    } else {
        &[]
    };
    Call {
        receiver_digest: id
            .receiver()
            .map_or_else(String::new, |receiver| receiver.digest().to_string()),
        ty: Some(type_message(id.ty())),
        field: id.field().to_owned(),
        args: id
            .call()
            .public_args()
            .map(|argument| argument_message(argument.name(), argument.value()))
            .collect(),
        nth: id.nth(),
        module: id.module().map(|module| Module {
            call_digest: module.id().digest().to_string(),
            name: module.name().to_owned(),
            source: module.source().to_owned(),
            pin: module.pin().to_owned(),
        }),
        digest: id.digest().to_string(),
        view: id.view().to_owned(),
        is_custom_digest: id.has_custom_digest(),
        content_digest: content.map_or_else(String::new, ToString::to_string),
        implicit_inputs: implicit
            .iter()
            .map(|input| ImplicitInput {
                name: input.name().to_owned(),
                value: input.value().to_owned(),
            })
            .collect(),
    }
}

fn argument_message(name: &str, value: &Literal) -> ArgumentMessage {
    ArgumentMessage {
        name: name.to_owned(),
        value: Some(literal_message(value)),
    }
}

fn literal_message(value: &Literal) -> Wire {
    let value = match value {
        Literal::Null => Value::Null(true),
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Float(value) => Value::Float(*value),
        Literal::String(text) => Value::String(text.to_string()),
        Literal::Enum(name) => Value::Enum(name.to_string()),
        Literal::List(values) => Value::List(List {
            values: values.iter().map(literal_message).collect(),
        }),
        Literal::Object(fields) => Value::Object(Object {
            values: fields
                .iter()
                .map(|(name, value)| argument_message(name, value))
                .collect(),
        }),
        Literal::Id(id) => Value::CallDigest(id.digest().to_string()),
    };
    Wire { value: Some(value) }
}

fn type_message(ty: &TypeRef) -> Type {
    Type {
        named_type: if ty.element().is_some() {
            String::new()
        } else {
            ty.name().to_owned()
        },
        elem: ty.element().map(|element| Box::new(type_message(element))),
        non_null: ty.is_non_null(),
    }
}
