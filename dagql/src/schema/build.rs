//! From registered types to a checked [`Schema`].

use std::sync::Arc;

use apollo_compiler::validation::DiagnosticList;
use indexmap::IndexMap;

use super::types::Coercion;
use super::{
    Arg, ArgDef, EnumType, Field, FieldDef, InputDef, InputType, InterfaceType, ObjectDef,
    ObjectType, Role, ScalarDef, ScalarKind, ScalarType, Schema, SchemaError, SchemaInner, TypeDef,
    check, sdl,
};
use crate::digest::scheme::Scheme;
use crate::{CachePolicy, TypeRef};

/// Name of the query root.
const QUERY: &str = "Query";

/// Scalars that GraphQL defines.
const BUILT_IN: [(&str, ScalarKind); 5] = [
    ("Int", ScalarKind::Int),
    ("Float", ScalarKind::Float),
    ("Boolean", ScalarKind::Boolean),
    ("String", ScalarKind::String),
    ("ID", ScalarKind::Id(None)),
];

/// Collects types; see the module's manual of `schema.rs` for what building adds and checks.
pub struct SchemaBuilder {
    objects: Vec<ObjectType>,
    extensions: Vec<(String, Field)>,
    interfaces: Vec<InterfaceType>,
    enums: Vec<EnumType>,
    inputs: Vec<InputType>,
    scalars: Vec<ScalarType>,
}

impl SchemaBuilder {
    pub(super) fn new() -> Self {
        Self {
            objects: vec![
                ObjectType::new(QUERY)
                    .doc("The root of all queries.")
                    .without_id(),
            ],
            extensions: Vec::new(),
            interfaces: Vec::new(),
            enums: vec![cache_scope()],
            inputs: Vec::new(),
            scalars: Vec::new(),
        }
    }

    /// Adds a field of the query root.
    pub fn query(&mut self, field: Field) -> &mut Self {
        self.extend(QUERY, field)
    }

    /// Adds an object type.
    pub fn object(&mut self, ty: ObjectType) -> &mut Self {
        self.objects.push(ty);
        self
    }

    /// Adds a field to an object type that is registered elsewhere, before or after.
    pub fn extend(&mut self, ty: &str, field: Field) -> &mut Self {
        self.extensions.push((ty.to_owned(), field));
        self
    }

    /// Adds an interface.
    pub fn interface(&mut self, ty: InterfaceType) -> &mut Self {
        self.interfaces.push(ty);
        self
    }

    /// Adds an enum type.
    pub fn enumeration(&mut self, ty: EnumType) -> &mut Self {
        self.enums.push(ty);
        self
    }

    /// Adds an input object type.
    pub fn input(&mut self, ty: InputType) -> &mut Self {
        self.inputs.push(ty);
        self
    }

    /// Adds a custom scalar.
    pub fn scalar(&mut self, ty: ScalarType) -> &mut Self {
        self.scalars.push(ty);
        self
    }

    /// Checks everything and makes the schema.
    ///
    /// # Errors
    /// The first mistake found; see [`SchemaError`].
    pub fn build(mut self) -> Result<Schema, SchemaError> {
        self.merge_extensions()?;
        self.add_ids();
        let mut types = self.into_types()?;
        check::check_references(&types)?;
        check::coerce_defaults(&mut types)?;
        let text = sdl::render(&types);
        let apollo = apollo_compiler::Schema::parse_and_validate(&text, "schema.graphql")
            .map_err(|invalid| SchemaError::Invalid(first_line(&invalid.errors)))?;
        let implementers = apollo.implementers_map();
        Ok(Schema(Arc::new(SchemaInner {
            query: QUERY.into(),
            digest: Scheme::Blake3.rules().strings("schema", &[&text]),
            sdl: text,
            types,
            apollo,
            implementers,
        })))
    }

    fn merge_extensions(&mut self) -> Result<(), SchemaError> {
        for (ty, field) in std::mem::take(&mut self.extensions) {
            let Some(object) = self
                .objects
                .iter_mut()
                .find(|object| object.name.as_ref() == ty)
            else {
                return Err(SchemaError::UnknownType {
                    ty,
                    field: field.name.to_string(),
                });
            };
            object.fields.push(field);
        }
        Ok(())
    }

    /// Gives each object with an ID its scalar, its `id` and its loader.
    fn add_ids(&mut self) {
        let mut loaders = Vec::new();
        for object in self.objects.iter_mut().filter(|object| object.has_id) {
            let (name, scalar) = (&object.name, format!("{}ID", object.name));
            object.fields.insert(
                0,
                Field::new("id", &format!("{scalar}!"))
                    .doc(&format!("A unique identifier for this {name}.")),
            );
            loaders.push(
                Field::new(&format!("load{name}FromID"), &format!("{name}!"))
                    .doc(&format!("Load a {name} from its ID."))
                    .cache(CachePolicy::Never)
                    .arg(Arg::new("id", &format!("{scalar}!"))),
            );
            self.scalars.push(ScalarType::new(&scalar).doc(&format!(
                "The `{scalar}` scalar type represents an identifier for an object of type {name}."
            )));
        }
        if let Some(query) = self
            .objects
            .iter_mut()
            .find(|object| object.name.as_ref() == QUERY)
        {
            query.fields.extend(loaders);
        }
    }

    fn into_types(self) -> Result<IndexMap<Arc<str>, TypeDef>, SchemaError> {
        let mut types = IndexMap::new();
        let mut add = |name: &Arc<str>, def: TypeDef| match types.insert(Arc::clone(name), def) {
            None => Ok(()),
            Some(_) => Err(SchemaError::Duplicate(format!("type {name}"))),
        };
        for (name, kind) in BUILT_IN {
            let def = ScalarDef {
                name: name.into(),
                doc: String::new(),
                kind,
            };
            add(&name.into(), TypeDef::Scalar(def))?;
        }
        let identified: Vec<Arc<str>> = self
            .objects
            .iter()
            .filter(|object| object.has_id)
            .map(|object| Arc::clone(&object.name))
            .collect();
        for object in self.objects {
            let name = Arc::clone(&object.name);
            add(&name, TypeDef::Object(object_def(object)?))?;
        }
        for interface in self.interfaces {
            let name = Arc::clone(&interface.name);
            add(&name, TypeDef::Interface(interface_def(interface)?))?;
        }
        for ty in self.enums {
            add(&Arc::clone(&ty.name), TypeDef::Enum(ty))?;
        }
        for ty in self.inputs {
            add(&Arc::clone(&ty.name), TypeDef::Input(input_def(ty)?))?;
        }
        for ty in self.scalars {
            let of = identified
                .iter()
                .find(|name| ty.name.strip_suffix("ID") == Some(name));
            add(&Arc::clone(&ty.name), TypeDef::Scalar(scalar_def(ty, of)))?;
        }
        Ok(types)
    }
}

/// The enum of the `@cache` directive's `scope`.
fn cache_scope() -> EnumType {
    EnumType::new("CacheScope")
        .doc("Who shares the result of a call that carries the directive `@cache`.")
        .member("CLIENT", "The calls of one client.")
        .member("SESSION", "The calls of one session.")
        .member("CALL", "Nobody: the call runs whenever it is made.")
}

fn scalar_def(ty: ScalarType, of: Option<&Arc<str>>) -> ScalarDef {
    let coerce: Option<Coercion> = ty.coerce;
    ScalarDef {
        name: ty.name,
        doc: ty.doc,
        kind: match of {
            Some(object) => ScalarKind::Id(Some(Arc::clone(object))),
            None => ScalarKind::Custom(coerce),
        },
    }
}

fn object_def(object: ObjectType) -> Result<ObjectDef, SchemaError> {
    let mut fields = IndexMap::new();
    for mut field in object.fields {
        let loader = field.name.starts_with("load") && field.name.ends_with("FromID");
        let role = match field.resolver.take() {
            Some(resolver) => Role::Call(resolver),
            None if object.has_id && field.name.as_ref() == "id" => Role::ReceiverId,
            None if object.name.as_ref() == QUERY && loader => Role::Loader,
            None => {
                let owner = format!("{}.{}", object.name, field.name);
                return Err(SchemaError::NoResolver(owner));
            }
        };
        let def = field_def(&object.name, field, role)?;
        let name = Arc::clone(&def.name);
        if fields.insert(Arc::clone(&name), Arc::new(def)).is_some() {
            return Err(SchemaError::Duplicate(format!(
                "field {}.{name}",
                object.name
            )));
        }
    }
    Ok(ObjectDef {
        name: object.name,
        doc: object.doc,
        fields,
        implements: object.implements,
    })
}

fn interface_def(interface: InterfaceType) -> Result<ObjectDef, SchemaError> {
    let mut fields = IndexMap::new();
    for field in interface.fields {
        let def = field_def(&interface.name, field, Role::Interface)?;
        let name = Arc::clone(&def.name);
        if fields.insert(Arc::clone(&name), Arc::new(def)).is_some() {
            return Err(SchemaError::Duplicate(format!(
                "field {}.{name}",
                interface.name
            )));
        }
    }
    Ok(ObjectDef {
        name: interface.name,
        doc: interface.doc,
        fields,
        implements: Vec::new(),
    })
}

fn field_def(owner: &str, field: Field, role: Role) -> Result<FieldDef, SchemaError> {
    let name = field.name;
    let args = arg_defs(&format!("{owner}.{name}"), field.args)?;
    Ok(FieldDef {
        ty: owned(field.ty, owner)?,
        args,
        policy: field.policy,
        internal: field.internal,
        persist: field.persist,
        volatile: field.volatile,
        role,
        doc: field.doc,
        deprecated: field.deprecated,
        name,
    })
}

fn input_def(ty: InputType) -> Result<InputDef, SchemaError> {
    Ok(InputDef {
        fields: arg_defs(&ty.name, ty.fields)?,
        name: ty.name,
        doc: ty.doc,
    })
}

fn arg_defs(owner: &str, args: Vec<Arg>) -> Result<Vec<ArgDef>, SchemaError> {
    let mut defs: Vec<ArgDef> = Vec::with_capacity(args.len());
    for arg in args {
        if defs.iter().any(|known| known.name == arg.name) {
            return Err(SchemaError::Duplicate(format!("{owner}({})", arg.name)));
        }
        defs.push(ArgDef {
            ty: owned(arg.ty, owner)?,
            name: arg.name,
            default: arg.default,
            sensitive: arg.sensitive,
            internal: arg.internal,
            doc: arg.doc,
            deprecated: arg.deprecated,
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

fn first_line(errors: &DiagnosticList) -> String {
    errors.iter().next().map_or_else(String::new, |error| {
        let at = error
            .line_column_range()
            .map(|range| format!(" at {}:{} of the SDL", range.start.line, range.start.column));
        format!("{}{}", error.error, at.unwrap_or_default())
    })
}
