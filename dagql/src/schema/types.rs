//! The kinds of named types a schema is built from: objects, interfaces, enums, input objects, scalars.

use std::sync::Arc;

use super::description::{Description, documented};
use super::{Arg, Field};

documented!(ObjectType, InterfaceType, EnumType, InputType, ScalarType);

/// An object type: named data with fields.
///
/// Unless [`ObjectType::without_id`] says otherwise it gets a scalar `<Name>ID`, a field `id`, the
/// interface `Node` and a root field `load<Name>FromID`.
#[derive(Clone, Debug)]
pub struct ObjectType {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
    pub(crate) fields: Vec<Field>,
    pub(crate) implements: Vec<Arc<str>>,
    pub(crate) has_id: bool,
}

impl ObjectType {
    /// An object type without fields yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            description: Description::default(),
            fields: Vec::new(),
            implements: Vec::new(),
            has_id: true,
        }
    }

    /// Adds a field. A field of the same name replaces the earlier one.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }

    /// Declares that the type has every field of the interface `name`.
    #[must_use]
    pub fn implements(mut self, name: &str) -> Self {
        self.implements.push(name.into());
        self
    }

    /// Leaves out the ID scalar, the `id` field and the loader: for the query root and for plain
    /// records that are never passed around.
    #[must_use]
    pub fn without_id(mut self) -> Self {
        self.has_id = false;
        self
    }
}

/// An interface: fields that several object types share. Only objects are ever returned.
#[derive(Clone, Debug)]
pub struct InterfaceType {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
    pub(crate) fields: Vec<Field>,
}

impl InterfaceType {
    /// An interface without fields yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            description: Description::default(),
            fields: Vec::new(),
        }
    }

    /// Adds a field; it needs no resolver, the object's own one runs.
    #[must_use]
    pub fn field(mut self, field: Field) -> Self {
        self.fields.push(field);
        self
    }
}

/// One member of an enum.
#[derive(Clone, Debug)]
pub(crate) struct EnumMember {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
    /// The member this one is another name of.
    pub(crate) alias_of: Option<Arc<str>>,
}

/// An enum type.
#[derive(Clone, Debug)]
pub struct EnumType {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
    pub(crate) members: Vec<EnumMember>,
}

impl EnumType {
    /// An enum without members yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            description: Description::default(),
            members: Vec::new(),
        }
    }

    /// Adds a member.
    #[must_use]
    pub fn member(mut self, name: &str, doc: &str) -> Self {
        self.members.push(EnumMember {
            name: name.into(),
            description: Description {
                doc: doc.to_owned(),
                ..Description::default()
            },
            alias_of: None,
        });
        self
    }

    /// Adds another name of the member `of`: accepted from clients and replaced by `of`, so that
    /// both spellings are one call.
    #[must_use]
    pub fn alias(mut self, name: &str, of: &str) -> Self {
        self.members.push(EnumMember {
            name: name.into(),
            description: Description::default(),
            alias_of: Some(of.into()),
        });
        self
    }

    /// Marks the member added last as deprecated.
    #[must_use]
    pub fn deprecated(mut self, reason: &str) -> Self {
        if let Some(member) = self.members.last_mut() {
            member.description.deprecated = Some(reason.to_owned());
        }
        self
    }

    /// Marks the member added last as experimental.
    #[must_use]
    pub fn experimental(mut self, reason: &str) -> Self {
        if let Some(member) = self.members.last_mut() {
            member.description.experimental = Some(reason.to_owned());
        }
        self
    }

    /// The canonical name of the member `name`, or none if there is no such member.
    pub(crate) fn canonical(&self, name: &str) -> Option<Arc<str>> {
        let member = self
            .members
            .iter()
            .find(|member| member.name.as_ref() == name)?;
        Some(Arc::clone(member.alias_of.as_ref().unwrap_or(&member.name)))
    }
}

/// An input object type: a record that clients send.
#[derive(Clone)]
pub struct InputType {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
    pub(crate) fields: Vec<Arg>,
}

impl InputType {
    /// An input object without fields yet.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            description: Description::default(),
            fields: Vec::new(),
        }
    }

    /// Adds a field.
    #[must_use]
    pub fn field(mut self, field: Arg) -> Self {
        self.fields.push(field);
        self
    }
}

/// Checks and normalises the text of a custom scalar.
pub(crate) type Coercion = Arc<dyn Fn(&str) -> Result<String, String> + Send + Sync>;

/// A custom scalar. It travels as a string.
#[derive(Clone)]
pub struct ScalarType {
    pub(crate) name: Arc<str>,
    pub(crate) description: Description,
    pub(crate) coerce: Option<Coercion>,
}

impl ScalarType {
    /// A scalar that accepts any string.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            description: Description::default(),
            coerce: None,
        }
    }

    /// Normalises input before it enters an ID, or refuses it with a reason. Must be idempotent.
    #[must_use]
    pub fn coerce(
        mut self,
        coerce: impl Fn(&str) -> Result<String, String> + Send + Sync + 'static,
    ) -> Self {
        self.coerce = Some(Arc::new(coerce));
        self
    }
}
