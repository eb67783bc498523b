//! From one registered type to its checked definition in a view.

use std::sync::Arc;

use indexmap::IndexMap;

use super::types::Coercion;
use super::{
    Arg, ArgDef, Field, FieldDef, InputDef, InputType, InterfaceType, ObjectDef, ObjectType, Role,
    ScalarDef, ScalarKind, ScalarType, SchemaError,
};
use crate::{TypeRef, View, Visible};

/// A scalar; `of` is the object type whose IDs it holds.
pub(super) fn scalar(ty: ScalarType, of: Option<&Arc<str>>) -> ScalarDef {
    let coerce: Option<Coercion> = ty.coerce;
    ScalarDef {
        name: ty.name,
        description: ty.description,
        kind: match of {
            Some(object) => ScalarKind::Id(Some(Arc::clone(object))),
            None => ScalarKind::Custom(coerce),
        },
    }
}

/// An object type as `view` shows it.
pub(super) fn object(object: ObjectType, view: View) -> Result<ObjectDef, SchemaError> {
    Ok(ObjectDef {
        fields: fields(&object.name, object.fields, view, None)?,
        name: object.name,
        description: object.description,
        implements: object.implements,
    })
}

/// An interface as `view` shows it.
pub(super) fn interface(interface: InterfaceType, view: View) -> Result<ObjectDef, SchemaError> {
    let role = Some(Role::Interface);
    Ok(ObjectDef {
        fields: fields(&interface.name, interface.fields, view, role)?,
        name: interface.name,
        description: interface.description,
        implements: Vec::new(),
    })
}

/// Of the definitions of each name the last one that `view` shows.
fn fields(
    owner: &str,
    all: Vec<Field>,
    view: View,
    role: Option<Role>,
) -> Result<IndexMap<Arc<str>, Arc<FieldDef>>, SchemaError> {
    let mut names: IndexMap<Arc<str>, Vec<Field>> = IndexMap::new();
    for field in all {
        let definitions = names.entry(Arc::clone(&field.name)).or_default();
        definitions.push(field);
    }
    let mut fields = IndexMap::new();
    for (name, mut definitions) in names {
        check_views(owner, &definitions)?;
        let newest = shown(&definitions, View::NEWEST);
        let Some(index) = shown(&definitions, view) else {
            continue;
        };
        let field = definitions.swap_remove(index);
        let args_differ = field.args.iter().any(|arg| {
            let seen = |view| arg.visible.is_none_or(|visible| visible.in_view(view));
            seen(view) != seen(View::NEWEST)
        });
        let records_view =
            newest != Some(index) || args_differ || field.visible == Some(Visible::All);
        let def = field_def(owner, field, role.clone(), view, records_view)?;
        fields.insert(name, Arc::new(def));
    }
    Ok(fields)
}

/// Index of the definition that a view shows.
fn shown(definitions: &[Field], view: View) -> Option<usize> {
    let seen = |field: &Field| field.visible.is_none_or(|visible| visible.in_view(view));
    definitions.iter().rposition(seen)
}

/// A name has one definition for everyone, or several that all say whom they are for.
fn check_views(owner: &str, definitions: &[Field]) -> Result<(), SchemaError> {
    let everyones = definitions.iter().filter(|field| field.visible.is_none());
    let name = || format!("field {owner}.{}", definitions[0].name);
    match (everyones.count(), definitions.len()) {
        (0, _) | (1, 1) => Ok(()),
        (some, all) if some == all => Err(SchemaError::Duplicate(name())),
        _ => Err(SchemaError::MixedViews(name())),
    }
}

fn field_def(
    owner: &str,
    field: Field,
    role: Option<Role>,
    view: View,
    records_view: bool,
) -> Result<FieldDef, SchemaError> {
    let name = field.name;
    let path = format!("{owner}.{name}");
    let args = arg_defs(&path, field.args, view)?;
    let Some(role) = role.or(field.role) else {
        return Err(SchemaError::NoResolver(path));
    };
    Ok(FieldDef {
        ty: owned(field.ty, owner)?,
        args,
        policy: field.policy,
        internal: field.internal,
        persist: field.persist,
        volatile: field.volatile,
        records_view,
        role,
        description: field.description,
        name,
    })
}

/// An input object type as `view` shows it.
pub(super) fn input(ty: InputType, view: View) -> Result<InputDef, SchemaError> {
    Ok(InputDef {
        fields: arg_defs(&ty.name, ty.fields, view)?,
        name: ty.name,
        description: ty.description,
    })
}

fn arg_defs(owner: &str, args: Vec<Arg>, view: View) -> Result<Vec<ArgDef>, SchemaError> {
    let mut defs: Vec<ArgDef> = Vec::with_capacity(args.len());
    let seen = |arg: &Arg| arg.visible.is_none_or(|visible| visible.in_view(view));
    for arg in args.into_iter().filter(seen) {
        if defs.iter().any(|known| known.name == arg.name) {
            return Err(SchemaError::Duplicate(format!("{owner}({})", arg.name)));
        }
        defs.push(ArgDef {
            ty: owned(arg.ty, owner)?,
            name: arg.name,
            default: arg.default,
            sensitive: arg.sensitive,
            internal: arg.internal,
            description: arg.description,
        });
    }
    Ok(defs)
}

/// Puts the owner's name before a malformed type's error.
fn owned(ty: Result<TypeRef, SchemaError>, owner: &str) -> Result<TypeRef, SchemaError> {
    ty.map_err(|error| match error {
        SchemaError::Type { owner: of, reason } => SchemaError::Type {
            owner: format!("{owner}, {of}"),
            reason,
        },
        other => other,
    })
}
