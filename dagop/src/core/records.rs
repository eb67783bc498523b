//! Small record types that fields return in lists: `EnvVariable`, `Label`, `Port`.

use std::sync::Arc;

use dagql::{EnumType, Field, ObjectData, ObjectType};

use super::this;

/// A name and a value: an environment variable or a label.
#[derive(Clone, Debug)]
pub(crate) struct NameValue {
    /// `EnvVariable` or `Label`.
    pub(crate) ty: &'static str,
    /// The name.
    pub(crate) name: Arc<str>,
    /// The value.
    pub(crate) value: Arc<str>,
}

impl ObjectData for NameValue {
    fn type_name(&self) -> &str {
        self.ty
    }
}

/// A port that a container listens on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Port {
    /// Its number.
    pub(crate) port: u16,
    /// `TCP` or `UDP`.
    pub(crate) protocol: &'static str,
    /// What it is for.
    pub(crate) description: Option<String>,
    /// Whether nobody checks that something listens.
    pub(crate) skip_healthcheck: bool,
}

impl ObjectData for Port {
    fn type_name(&self) -> &str {
        "Port"
    }
}

/// The object types.
pub(crate) fn object_types() -> Vec<ObjectType> {
    let pair = |ty: &'static str, doc: &str| {
        ObjectType::new(ty)
            .doc(doc)
            .field(
                Field::new("name", "String!")
                    .doc("The name.")
                    .resolve(async |_, this_, _| Ok(Arc::clone(&this::<NameValue>(&this_)?.name))),
            )
            .field(
                Field::new("value", "String!")
                    .doc("The value.")
                    .resolve(async |_, this_, _| Ok(Arc::clone(&this::<NameValue>(&this_)?.value))),
            )
    };
    vec![
        pair("EnvVariable", "An environment variable."),
        pair("Label", "A label of an image."),
        port_type(),
    ]
}

fn port_type() -> ObjectType {
    ObjectType::new("Port")
        .doc("A port that a container listens on.")
        .field(
            Field::new("port", "Int!")
                .doc("Its number.")
                .resolve(async |_, this_, _| Ok(i64::from(this::<Port>(&this_)?.port))),
        )
        .field(
            Field::new("protocol", "NetworkProtocol!")
                .doc("Its protocol.")
                .resolve(async |_, this_, _| {
                    Ok(dagql::Value::Enum(this::<Port>(&this_)?.protocol.into()))
                }),
        )
        .field(
            Field::new("description", "String")
                .doc("What it is for.")
                .resolve(async |_, this_, _| Ok(this::<Port>(&this_)?.description.clone())),
        )
        .field(
            Field::new("experimentalSkipHealthcheck", "Boolean!")
                .doc("Whether nobody checks that something listens.")
                .resolve(async |_, this_, _| Ok(this::<Port>(&this_)?.skip_healthcheck)),
        )
}

/// The enum `NetworkProtocol`.
pub(crate) fn network_protocol() -> EnumType {
    EnumType::new("NetworkProtocol")
        .doc("Transport protocols.")
        .member("TCP", "TCP.")
        .member("UDP", "UDP.")
}
