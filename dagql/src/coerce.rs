//! From what a client writes to literals of the schema's types.
//!
//! Clients of this API are lenient writers, so this is a lenient reader:
//!
//! | type | accepts |
//! |---|---|
//! | Int | integer; integral float; numeric string |
//! | Float | any number; numeric string |
//! | Boolean | boolean; `"true"`, `"false"` |
//! | String | string |
//! | enum | member, bare or quoted; an alias becomes its member |
//! | `<T>ID`, `ID` | encoded ID of a `T`, or of anything, verified; or an ID. A genuine Dagger ID is made one of ours, or refused where its digests cannot be recomputed |
//! | other scalars | string, normalised by the scalar |
//! | list | list; a single value counts as a list of one |
//! | input object | object; missing fields take their defaults |
//!
//! The result is what enters call IDs, so every spelling of a value must come out as one literal.

use std::sync::Arc;

use indexmap::IndexMap;

use crate::id::{Call, canonical_arguments};
use crate::query::suggest::suggestion;
use crate::schema::{ArgDef, FieldDef, InputDef, QUERY, ScalarDef, ScalarKind, TypeDef};
use crate::{Error, Id, LITERAL_DEPTH_MAX, Literal, Schema, TypeRef, wire};

type Types = IndexMap<Arc<str>, TypeDef>;

/// Named values, in any order.
type Named = Vec<(Arc<str>, Literal)>;

/// Coerces the arguments of a new call.
///
/// # Errors
/// Unknown, missing or unusable arguments.
pub(crate) fn literals(schema: &Schema, field: &FieldDef, given: Named) -> Result<Named, Error> {
    let mut coerced = Vec::with_capacity(given.len());
    for (name, value) in given {
        let Some((_, arg)) = field.arg(&name) else {
            return Err(unknown_argument(field, &name));
        };
        // A type that excludes null has no other meaning for null than the default.
        if value.is_null() && arg.default.is_some() && arg.ty.is_non_null() {
            continue;
        }
        let value = argument(schema, arg, value)?;
        coerced.push((Arc::clone(&arg.name), value));
    }
    require(field, &coerced, |arg| arg.is_required())?;
    Ok(coerced)
}

/// Checks the arguments that an ID recorded. Absent ones stay absent (null), except where the type
/// excludes null; sensitive ones are never recorded.
///
/// # Errors
/// Unknown, missing or unusable arguments.
pub(crate) fn recorded(schema: &Schema, field: &FieldDef, given: Named) -> Result<Named, Error> {
    let mut ordered = Vec::with_capacity(field.args.len());
    let mut given: IndexMap<Arc<str>, Literal> = given.into_iter().collect();
    for arg in &field.args {
        match given.shift_remove(&arg.name) {
            Some(value) => ordered.push((Arc::clone(&arg.name), argument(schema, arg, value)?)),
            None if arg.ty.is_non_null() => {
                let default = arg
                    .default
                    .clone()
                    .map(|value| (Arc::clone(&arg.name), value));
                ordered.extend(default);
            }
            None => {}
        }
    }
    if let Some(name) = given.keys().next() {
        return Err(unknown_argument(field, name));
    }
    require(field, &ordered, |arg| arg.is_required() && !arg.sensitive)?;
    Ok(ordered)
}

fn argument(schema: &Schema, arg: &ArgDef, value: Literal) -> Result<Literal, Error> {
    literal(schema.types(), &arg.ty, value)
        .map_err(|error| error.context(format_args!("argument {}", arg.name)))
}

fn require(
    field: &FieldDef,
    given: &Named,
    required: impl Fn(&ArgDef) -> bool,
) -> Result<(), Error> {
    let missing = field
        .args
        .iter()
        .find(|arg| required(arg) && !given.iter().any(|(name, _)| *name == arg.name));
    match missing {
        None => Ok(()),
        Some(arg) => Err(Error::input(format!(
            "missing required argument {} of type {}",
            arg.name, arg.ty
        ))),
    }
}

fn unknown_argument(field: &FieldDef, name: &str) -> Error {
    let known = field.args.iter().map(|arg| arg.name.as_ref());
    Error::input(format!(
        "field {} has no argument {name}{}",
        field.name,
        suggestion(name, known)
    ))
}

/// Coerces one value.
///
/// # Errors
/// Says what was expected and what came; never shows a string's text, which may be a secret.
pub(crate) fn literal(types: &Types, ty: &TypeRef, value: Literal) -> Result<Literal, Error> {
    value
        .check()
        .map_err(|error| Error::input(error.to_string()))?;
    value_at(types, ty, value, 0)
}

fn value_at(types: &Types, ty: &TypeRef, value: Literal, depth: usize) -> Result<Literal, Error> {
    if depth > LITERAL_DEPTH_MAX {
        return Err(Error::input(format!(
            "a value may nest at most {LITERAL_DEPTH_MAX} lists and objects"
        )));
    }
    if value.is_null() {
        return match ty.is_non_null() {
            true => Err(Error::input(format!("expected {ty}, got null"))),
            false => Ok(Literal::Null),
        };
    }
    if let Some(element) = ty.element() {
        let items = match value {
            Literal::List(items) => items,
            single => vec![single],
        };
        let items = items.into_iter().enumerate().map(|(at, item)| {
            value_at(types, element, item, depth + 1)
                .map_err(|error| error.context(format_args!("[{at}]")))
        });
        return Ok(Literal::List(items.collect::<Result<_, _>>()?));
    }
    match types.get(ty.name()) {
        Some(TypeDef::Scalar(def)) => scalar(types, def, value),
        Some(TypeDef::Enum(def)) => match &value {
            Literal::Enum(name) | Literal::String(name) => match def.canonical(name) {
                Some(member) => Ok(Literal::Enum(member)),
                None => {
                    let members = def.members.iter().map(|member| member.name.as_ref());
                    Err(Error::input(format!(
                        "{name} is not a member of enum {}{}",
                        def.name,
                        suggestion(name, members)
                    )))
                }
            },
            other => Err(mismatch(ty.name(), other)),
        },
        Some(TypeDef::Input(def)) => match value {
            Literal::Object(fields) => input(types, def, fields, depth),
            other => Err(mismatch(ty.name(), &other)),
        },
        _ => Err(Error::internal(format!("{ty} is not an input type"))),
    }
}

fn input(types: &Types, def: &InputDef, given: Named, depth: usize) -> Result<Literal, Error> {
    for (name, _) in &given {
        if !def.fields.iter().any(|field| field.name == *name) {
            let known = def.fields.iter().map(|field| field.name.as_ref());
            return Err(Error::input(format!(
                "input {} has no field {name}{}",
                def.name,
                suggestion(name, known)
            )));
        }
    }
    let mut fields = Vec::with_capacity(def.fields.len());
    for field in &def.fields {
        let found = given.iter().find(|(name, _)| *name == field.name);
        let value = match (found, &field.default) {
            (Some((_, Literal::Null)), Some(default)) if field.ty.is_non_null() => default.clone(),
            (Some((_, value)), _) => value_at(types, &field.ty, value.clone(), depth + 1)
                .map_err(|error| error.context(&field.name))?,
            (None, Some(default)) => default.clone(),
            (None, None) if field.ty.is_non_null() => {
                return Err(Error::input(format!(
                    "input {} needs the field {} of type {}",
                    def.name, field.name, field.ty
                )));
            }
            (None, None) => continue,
        };
        if !value.is_null() {
            fields.push((Arc::clone(&field.name), value));
        }
    }
    Ok(Literal::Object(fields))
}

/// Integers up to here are exact in a float.
const EXACT_FLOAT: f64 = 9_007_199_254_740_992.0;

fn scalar(types: &Types, def: &ScalarDef, value: Literal) -> Result<Literal, Error> {
    let converted = match (&def.kind, &value) {
        (ScalarKind::Int, Literal::Int(_))
        | (ScalarKind::Float, Literal::Float(_))
        | (ScalarKind::Boolean, Literal::Bool(_))
        | (ScalarKind::String, Literal::String(_)) => Some(value.clone()),
        (ScalarKind::Int, Literal::Float(float)) => integral(*float),
        (ScalarKind::Int, Literal::String(text)) => text.trim().parse().ok().map(Literal::Int),
        (ScalarKind::Float, Literal::Int(int)) => exact_float(*int),
        (ScalarKind::Float, Literal::String(text)) => text
            .trim()
            .parse()
            .ok()
            .filter(|float: &f64| float.is_finite())
            .map(Literal::Float),
        (ScalarKind::Boolean, Literal::String(text)) => match text.as_ref() {
            "true" => Some(Literal::Bool(true)),
            "false" => Some(Literal::Bool(false)),
            _ => None,
        },
        (ScalarKind::Id(of), Literal::String(text)) => return decode(types, of.as_deref(), text),
        (ScalarKind::Id(of), Literal::Id(id)) => {
            return checked_id(types, of.as_deref(), id.clone());
        }
        (ScalarKind::Custom(None), Literal::String(_)) => Some(value.clone()),
        (ScalarKind::Custom(Some(coerce)), Literal::String(text)) => {
            return match coerce(text) {
                Ok(normal) => Ok(Literal::from(normal)),
                Err(reason) => Err(Error::input(format!("not a {}: {reason}", def.name))),
            };
        }
        _ => None,
    };
    converted.ok_or_else(|| mismatch(&def.name, &value))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the value is integral and small enough to be exact"
)]
fn integral(float: f64) -> Option<Literal> {
    (float.fract() == 0.0 && float.abs() <= EXACT_FLOAT).then_some(Literal::Int(float as i64))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a GraphQL Float is a double: the nearest one is meant"
)]
fn exact_float(int: i64) -> Option<Literal> {
    Some(Literal::Float(int as f64))
}

/// Decodes and verifies an encoded ID.
fn decode(types: &Types, of: Option<&str>, text: &str) -> Result<Literal, Error> {
    if text.is_empty() {
        return Err(Error::input("cannot decode empty string as ID"));
    }
    let decoded = wire::decode(text)
        .map_err(|error| Error::input(format!("cannot decode the ID: {error}")))?;
    checked_id(types, of, decoded.id)
}

fn checked_id(types: &Types, of: Option<&str>, id: Id) -> Result<Literal, Error> {
    if let Some(of) = of
        && id.ty().name() != of
    {
        return Err(Error::input(format!(
            "expected the ID of a {of}, got the ID of a {}",
            id.ty().name()
        )));
    }
    // A genuine Dagger ID enters under our own rules, or one object would have two names.
    let adopted = id.adopt(|receiver, call| canonical(types, receiver, call));
    Ok(Literal::Id(adopted.map_err(|error| {
        Error::input(format!("an ID of Dagger's: {error}"))
    })?))
}

/// A call of a genuine Dagger ID as a query would make it: arguments coerced and defaults written
/// out, the view left out where it means nothing.
fn canonical(types: &Types, receiver: Option<&Id>, call: Call) -> Result<Call, Error> {
    let ty = receiver.map_or(QUERY, |receiver| receiver.ty().name());
    let fields = types.get(ty).and_then(TypeDef::as_composite);
    let Some(field) = fields.and_then(|def| def.fields.get(call.field())) else {
        return Err(Error::input(format!(
            "type {ty} has no field {}",
            call.field()
        )));
    };
    let mut given = Named::with_capacity(call.args().len());
    for argument in call.args() {
        let Some((_, arg)) = field.arg(argument.name()) else {
            return Err(unknown_argument(field, argument.name()));
        };
        let value = literal(types, &arg.ty, argument.value().clone());
        let value = value.map_err(|error| error.context(format_args!("argument {}", arg.name)))?;
        given.push((Arc::clone(&arg.name), value));
    }
    require(field, &given, |arg| arg.is_required() && !arg.sensitive)?;
    let args = canonical_arguments(&field.specs(), given)
        .map_err(|error| Error::input(error.to_string()))?;
    let call = call.with_args(args);
    Ok(match field.records_view {
        true => call,
        false => call.with_view(""),
    })
}

fn mismatch(expected: &str, got: &Literal) -> Error {
    Error::input(format!("expected {expected}, got {}", got.kind()))
}
