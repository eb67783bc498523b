//! References and default values of a schema under construction.

use std::sync::Arc;

use indexmap::IndexMap;

use super::{ArgDef, SchemaError, TypeDef};
use crate::{Literal, TypeRef, coerce};

/// Every type reference must lead to a type usable in its place.
pub(super) fn check_references(types: &IndexMap<Arc<str>, TypeDef>) -> Result<(), SchemaError> {
    let unusable = |owner: String, ty: &TypeRef, reason: &str| SchemaError::Type {
        owner,
        reason: format!("{ty} {reason}"),
    };
    let check_args = |owner: &str, args: &[ArgDef]| {
        for arg in args {
            let owner = || format!("{owner}({})", arg.name);
            match types.get(arg.ty.name()) {
                None => return Err(unusable(owner(), &arg.ty, "is not defined")),
                Some(TypeDef::Object(_) | TypeDef::Interface(_)) => {
                    return Err(unusable(owner(), &arg.ty, "cannot be an argument's type"));
                }
                Some(_) => {}
            }
        }
        Ok(())
    };
    for ty in types.values() {
        match ty {
            TypeDef::Object(def) | TypeDef::Interface(def) => {
                for field in def.fields.values() {
                    let owner = format!("{}.{}", def.name, field.name);
                    match types.get(field.ty.name()) {
                        None => return Err(unusable(owner, &field.ty, "is not defined")),
                        Some(TypeDef::Input(_)) => {
                            return Err(unusable(owner, &field.ty, "cannot be a field's type"));
                        }
                        Some(_) => check_args(&owner, &field.args)?,
                    }
                }
            }
            TypeDef::Input(def) => check_args(&def.name, &def.fields)?,
            TypeDef::Enum(_) | TypeDef::Scalar(_) => {}
        }
    }
    Ok(())
}

/// Turns every default value into a literal of its type.
pub(super) fn coerce_defaults(types: &mut IndexMap<Arc<str>, TypeDef>) -> Result<(), SchemaError> {
    // Two passes, because coercion reads the map that is being changed. An input object's defaults
    // come first: an argument's default of that type takes them in.
    for inputs in [true, false] {
        let mut done = Vec::new();
        for (index, ty) in types.values().enumerate() {
            match ty {
                TypeDef::Input(def) if inputs => {
                    done.push((index, None, defaults_of(types, &def.name, &def.fields)?));
                }
                TypeDef::Object(def) | TypeDef::Interface(def) if !inputs => {
                    for (at, field) in def.fields.values().enumerate() {
                        let owner = format!("{}.{}", def.name, field.name);
                        let defaults = defaults_of(types, &owner, &field.args)?;
                        done.push((index, Some(at), defaults));
                    }
                }
                _ => {}
            }
        }
        for (index, field, defaults) in done {
            store_defaults(&mut types[index], field, defaults);
        }
    }
    Ok(())
}

type Defaults = Vec<Option<Literal>>;

fn defaults_of(
    types: &IndexMap<Arc<str>, TypeDef>,
    owner: &str,
    args: &[ArgDef],
) -> Result<Defaults, SchemaError> {
    args.iter()
        .map(|arg| {
            let Some(default) = &arg.default else {
                return Ok(None);
            };
            match coerce::literal(types, &arg.ty, default.clone()) {
                Ok(literal) => Ok(Some(literal)),
                Err(error) => Err(SchemaError::Default {
                    owner: format!("{owner}({})", arg.name),
                    reason: error.message().to_owned(),
                }),
            }
        })
        .collect()
}

fn store_defaults(ty: &mut TypeDef, field: Option<usize>, defaults: Defaults) {
    let store = |args: &mut [ArgDef], defaults: Defaults| {
        for (arg, default) in args.iter_mut().zip(defaults) {
            arg.default = default;
        }
    };
    match (ty, field) {
        (TypeDef::Input(def), None) => store(&mut def.fields, defaults),
        (TypeDef::Object(def) | TypeDef::Interface(def), Some(at)) => {
            // The definitions are not shared yet: the schema is still being built.
            if let Some(field) = def.fields[at..].values_mut().next().and_then(Arc::get_mut) {
                store(&mut field.args, defaults);
            }
        }
        _ => {}
    }
}
