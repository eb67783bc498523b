//! From registered types to a checked [`Schema`].

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use apollo_compiler::validation::DiagnosticList;
use indexmap::IndexMap;

use super::description::Description;
use super::family::{Family, Filters};
use super::{
    Arg, EnumType, Field, InputType, InterfaceType, ObjectType, Role, ScalarDef, ScalarKind,
    ScalarType, Schema, SchemaError, SchemaInner, TypeDef, check, define, sdl,
};
use crate::digest::scheme::Scheme;
use crate::{CachePolicy, View, Visible};

/// Name of the query root.
pub(crate) const QUERY: &str = "Query";

/// Name of the interface of all objects with an ID.
const NODE: &str = "Node";

/// Scalars that GraphQL defines.
const BUILT_IN: [(&str, ScalarKind); 5] = [
    ("Int", ScalarKind::Int),
    ("Float", ScalarKind::Float),
    ("Boolean", ScalarKind::Boolean),
    ("String", ScalarKind::String),
    ("ID", ScalarKind::Id(None)),
];

/// Collects types; see the module's manual of `schema.rs` for what building adds and checks.
#[derive(Clone)]
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

    /// Checks everything and makes the schema, in every view that differs from the others.
    ///
    /// # Errors
    /// The first mistake found; see [`SchemaError`].
    pub fn build(mut self) -> Result<Schema, SchemaError> {
        self.merge_extensions()?;
        self.add_ids();
        let filters = self.filters()?;
        let newest = Arc::new(self.clone().in_view(View::NEWEST)?);
        let mut classes = HashMap::from([(filters.class(View::NEWEST), Arc::clone(&newest))]);
        for view in filters.representatives() {
            if let Entry::Vacant(class) = classes.entry(filters.class(view)) {
                class.insert(Arc::new(self.clone().in_view(view)?));
            }
        }
        let family = Family {
            filters,
            newest,
            classes,
        };
        Ok(Schema::newest_of(Arc::new(family)))
    }

    /// The schema that one view shows.
    fn in_view(self, view: View) -> Result<SchemaInner, SchemaError> {
        let mut types = self.into_types(view)?;
        check::check_references(&types)?;
        check::coerce_defaults(&mut types)?;
        let text = sdl::render(&types);
        let apollo = apollo_compiler::Schema::parse_and_validate(&text, "schema.graphql")
            .map_err(|invalid| SchemaError::Invalid(first_line(&invalid.errors)))?;
        let implementers = apollo.implementers_map();
        Ok(SchemaInner {
            query: QUERY.into(),
            digest: Scheme::Blake3.rules().strings("schema", &[&text]),
            sdl: text,
            types,
            apollo,
            implementers,
        })
    }

    /// Every filter in use.
    fn filters(&self) -> Result<Filters, SchemaError> {
        let objects = self.objects.iter();
        let objects = objects.map(|ty| (&ty.name, ty.fields.iter()));
        let interfaces = self.interfaces.iter();
        let interfaces = interfaces.map(|ty| (&ty.name, ty.fields.iter()));
        let mut filters = Filters::default();
        let mut add = |owner: String, visible: Option<Visible>| {
            let added = visible.map_or(Ok(()), |visible| filters.add(visible));
            added.map_err(|reason| SchemaError::Type { owner, reason })
        };
        for (ty, fields) in objects.chain(interfaces) {
            for field in fields {
                add(format!("{ty}.{}", field.name), field.visible)?;
                for arg in &field.args {
                    add(format!("{ty}.{}({})", field.name, arg.name), arg.visible)?;
                }
            }
        }
        for ty in &self.inputs {
            for field in &ty.fields {
                add(format!("{}.{}", ty.name, field.name), field.visible)?;
            }
        }
        Ok(filters)
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

    /// Gives each object with an ID its scalar, its `id`, the interface `Node` and its loader.
    fn add_ids(&mut self) {
        let mut loaders = Vec::new();
        let id = |doc: &str| Field::new("id", "ID!").doc(doc);
        for object in self.objects.iter_mut().filter(|object| object.has_id) {
            let (name, scalar) = (&object.name, format!("{}ID", object.name));
            let own = id(&format!("A unique identifier for this {name}."));
            object.fields.insert(0, own.role(Role::ReceiverId));
            object.implements.insert(0, NODE.into());
            loaders.push(
                Field::new(&format!("load{name}FromID"), &format!("{name}!"))
                    .doc(&format!("Load a {name} from its ID."))
                    .cache(CachePolicy::Never)
                    .arg(Arg::new("id", &format!("{scalar}!")))
                    .role(Role::Loader),
            );
            self.scalars.push(ScalarType::new(&scalar).doc(&format!(
                "The `{scalar}` scalar type represents an identifier for an object of type {name}."
            )));
        }
        if loaders.is_empty() {
            return;
        }
        let node = InterfaceType::new(NODE).doc("An object that its ID names.");
        let node = node.field(id("A unique identifier for this object."));
        self.interfaces.push(node);
        loaders.push(
            Field::new("node", &format!("{NODE}!"))
                .doc("Load any object from its ID.")
                .cache(CachePolicy::Never)
                .arg(Arg::new("id", "ID!"))
                .role(Role::Loader),
        );
        // The root is the first object of every builder.
        self.objects[0].fields.extend(loaders);
    }

    fn into_types(self, view: View) -> Result<IndexMap<Arc<str>, TypeDef>, SchemaError> {
        let mut types = IndexMap::new();
        let mut add = |name: &Arc<str>, def: TypeDef| match types.insert(Arc::clone(name), def) {
            None => Ok(()),
            Some(_) => Err(SchemaError::Duplicate(format!("type {name}"))),
        };
        for (name, kind) in BUILT_IN {
            let def = ScalarDef {
                name: name.into(),
                description: Description::default(),
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
            add(&name, TypeDef::Object(define::object(object, view)?))?;
        }
        for interface in self.interfaces {
            let name = Arc::clone(&interface.name);
            let def = define::interface(interface, view)?;
            add(&name, TypeDef::Interface(def))?;
        }
        for ty in self.enums {
            add(&Arc::clone(&ty.name), TypeDef::Enum(ty))?;
        }
        for ty in self.inputs {
            add(
                &Arc::clone(&ty.name),
                TypeDef::Input(define::input(ty, view)?),
            )?;
        }
        for ty in self.scalars {
            let of = identified
                .iter()
                .find(|name| ty.name.strip_suffix("ID") == Some(name));
            add(
                &Arc::clone(&ty.name),
                TypeDef::Scalar(define::scalar(ty, of)),
            )?;
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

fn first_line(errors: &DiagnosticList) -> String {
    errors.iter().next().map_or_else(String::new, |error| {
        let at = error
            .line_column_range()
            .map(|range| format!(" at {}:{} of the SDL", range.start.line, range.start.column));
        format!("{}{}", error.error, at.unwrap_or_default())
    })
}
