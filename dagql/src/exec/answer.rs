//! The answer under construction: a tree in a table, finished in any order, written without recursion.

use std::sync::Arc;

use crate::{Error, Id, TypeRef, Value};

/// Values, objects and list elements that one answer may have.
pub const ANSWER_NODES_MAX: usize = 4_000_000;

/// Bytes of JSON that one answer may have.
pub const ANSWER_BYTES_MAX: usize = 1024 * 1024 * 1024;

/// Index of a place in the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct NodeId(usize);

enum Node {
    /// Not known yet. Stays so only if the request fails.
    Open,
    /// Finished JSON text.
    Text(String),
    Object(Vec<(Arc<str>, NodeId)>),
    List(Vec<NodeId>),
}

/// The tree.
pub(crate) struct Answer {
    nodes: Vec<Node>,
    bytes: usize,
}

impl Answer {
    /// A tree of one open place, its root.
    pub(crate) fn new() -> (Self, NodeId) {
        let answer = Self {
            nodes: vec![Node::Open],
            bytes: 0,
        };
        (answer, NodeId(0))
    }

    fn add(&mut self) -> Result<NodeId, Error> {
        if self.nodes.len() >= ANSWER_NODES_MAX {
            return Err(Error::input(format!(
                "the answer has more than {ANSWER_NODES_MAX} values"
            )));
        }
        self.nodes.push(Node::Open);
        Ok(NodeId(self.nodes.len() - 1))
    }

    /// Closes a place with JSON text.
    pub(crate) fn text(&mut self, node: NodeId, text: String) -> Result<(), Error> {
        self.bytes += text.len();
        if self.bytes > ANSWER_BYTES_MAX {
            return Err(Error::input(format!(
                "the answer is longer than {ANSWER_BYTES_MAX} bytes"
            )));
        }
        self.nodes[node.0] = Node::Text(text);
        Ok(())
    }

    /// Closes a place with an object whose fields are open.
    pub(crate) fn object(
        &mut self,
        node: NodeId,
        keys: impl IntoIterator<Item = Arc<str>>,
    ) -> Result<Vec<NodeId>, Error> {
        let mut fields = Vec::new();
        for key in keys {
            fields.push((key, self.add()?));
        }
        let children = fields.iter().map(|(_, child)| *child).collect();
        self.nodes[node.0] = Node::Object(fields);
        Ok(children)
    }

    /// Closes a place with a list whose elements are open.
    pub(crate) fn list(&mut self, node: NodeId, length: usize) -> Result<Vec<NodeId>, Error> {
        let mut items = Vec::with_capacity(length.min(1024));
        for _ in 0..length {
            items.push(self.add()?);
        }
        self.nodes[node.0] = Node::List(items.clone());
        Ok(items)
    }

    /// The JSON text below a place.
    pub(crate) fn render(&self, node: NodeId) -> String {
        enum Step<'a> {
            Node(NodeId),
            Raw(&'static str),
            Key(&'a str),
        }
        let mut out = String::new();
        let mut steps = vec![Step::Node(node)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Raw(text) => out.push_str(text),
                Step::Key(key) => {
                    // A key is a GraphQL name, which needs no escapes.
                    out.push('"');
                    out.push_str(key);
                    out.push_str("\":");
                }
                Step::Node(node) => match &self.nodes[node.0] {
                    Node::Open => out.push_str("null"),
                    Node::Text(text) => out.push_str(text),
                    Node::Object(fields) => {
                        out.push('{');
                        steps.push(Step::Raw("}"));
                        for (at, (key, child)) in fields.iter().enumerate().rev() {
                            steps.push(Step::Node(*child));
                            steps.push(Step::Key(key));
                            if at > 0 {
                                steps.push(Step::Raw(","));
                            }
                        }
                    }
                    Node::List(items) => {
                        out.push('[');
                        steps.push(Step::Raw("]"));
                        for (at, child) in items.iter().enumerate().rev() {
                            steps.push(Step::Node(*child));
                            if at > 0 {
                                steps.push(Step::Raw(","));
                            }
                        }
                    }
                },
            }
        }
        out
    }
}

/// JSON text of a value without fields, checked against its declared type.
pub(crate) fn leaf(ty: &TypeRef, value: &Value) -> Result<String, Error> {
    let encode = |id: &Id| {
        let text = id.encode();
        let text =
            text.map_err(|error| Error::internal(format!("cannot encode the ID: {error}")))?;
        Ok(serde_json::Value::from(text).to_string())
    };
    match (ty.name(), value) {
        ("Int", Value::Int(int)) => Ok(int.to_string()),
        ("Float", Value::Int(int)) => Ok(int.to_string()),
        ("Float", Value::Float(float)) if float.is_finite() => {
            Ok(serde_json::Value::from(*float).to_string())
        }
        ("Float", Value::Float(_)) => Err(Error::internal("a Float is not a finite number")),
        ("Boolean", Value::Bool(value)) => Ok(value.to_string()),
        ("Int" | "Float" | "Boolean", _) => Err(unexpected(ty, value)),
        (_, Value::String(text) | Value::Enum(text)) => {
            Ok(serde_json::Value::from(text.as_ref()).to_string())
        }
        // A field such as `sync` may return its object where the schema says its ID.
        (_, Value::Object(object)) => encode(object.require_id()?),
        (_, Value::Id(id)) => encode(id),
        _ => Err(unexpected(ty, value)),
    }
}

pub(crate) fn unexpected(ty: &TypeRef, value: &Value) -> Error {
    Error::internal(format!(
        "the resolver returned {}, the schema says {ty}",
        value.describe()
    ))
}
