//! Calls and values of IDs, as text and as JSON.
//!
//! Other objects are named by the number of the call that makes them: `#3` in text. In JSON, whose
//! own objects are too few kinds, an object always has one member that says what it is:
//! `{"call": 3}`, `{"enum": "SHARED"}`, `{"object": {…}}`.

use std::collections::HashMap;
use std::fmt::Write as _;

use dagop::id::Id;
use dagop::report::text;
use dagop::{Digest, Literal};
use serde_json::{Value, json};

/// Characters of a digest's value that tables show; all of `xxh3`.
const DIGEST_CHARS: usize = 16;

/// The longest text of one call in a table; JSON has all of it.
const CALL_CHARS_MAX: usize = 1000;

/// Numbers of calls, from 1.
#[derive(Debug, Default)]
pub(super) struct Numbers(HashMap<Digest, usize>);

impl Numbers {
    pub(super) fn new<'a>(calls: impl IntoIterator<Item = &'a Id>) -> Self {
        let numbered = calls.into_iter().zip(1..);
        Self(
            numbered
                .map(|(id, number)| (id.digest().clone(), number))
                .collect(),
        )
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// 0 for a call that is not among them.
    pub(super) fn of(&self, id: &Id) -> usize {
        self.0.get(id.digest()).copied().unwrap_or(0)
    }
}

/// `blake3:c8ad2ff32700a1b2`: algorithm and beginning.
pub(super) fn digest(digest: &Digest) -> String {
    let value: String = digest.encoded().chars().take(DIGEST_CHARS).collect();
    match digest.algorithm() {
        Some(algorithm) => format!("{algorithm}:{value}"),
        None => value,
    }
}

/// The last call: `field(name: value, …)`, behind `.` when it continues the call numbered
/// `previous`, behind `#n.` when it continues another one; then what else it says, in brackets.
pub(super) fn call(id: &Id, previous: usize, numbers: &Numbers) -> String {
    let mut out = match id.receiver().map(|receiver| numbers.of(receiver)) {
        None => String::new(),
        Some(receiver) if receiver == previous => ".".to_owned(),
        Some(receiver) => format!("#{receiver}."),
    };
    out.push_str(id.field());
    let mut separator = "(";
    for argument in id.call().public_args() {
        _ = write!(out, "{separator}{}: ", argument.name());
        literal(argument.value(), numbers, &mut out);
        separator = ", ";
    }
    if separator == ", " {
        out.push(')');
    }
    notes(id, numbers, &mut out);
    text::one_line(&out, CALL_CHARS_MAX)
}

fn notes(id: &Id, numbers: &Numbers, out: &mut String) {
    if id.nth() != 0 {
        _ = write!(out, " [element {}]", id.nth());
    }
    if !id.view().is_empty() {
        _ = write!(out, " [view {}]", id.view());
    }
    if let Some(module) = id.module() {
        let pin = match module.pin() {
            "" => String::new(),
            pin => format!("@{pin}"),
        };
        let made = numbers.of(module.id());
        _ = write!(
            out,
            " [module {} {}{pin} by #{made}]",
            module.name(),
            module.source()
        );
    }
    for input in id.implicit_inputs() {
        _ = write!(out, " [{} {}]", input.name(), input.value());
    }
    if let Some(content) = id.content_digest() {
        _ = write!(out, " [content {}]", digest(content));
    }
}

/// Recursion is bounded by the depth of literals.
pub(super) fn literal(value: &Literal, numbers: &Numbers, out: &mut String) {
    // Writing to a String cannot fail.
    match value {
        Literal::Null => out.push_str("null"),
        Literal::Bool(value) => _ = write!(out, "{value}"),
        Literal::Int(value) => _ = write!(out, "{value}"),
        Literal::Float(value) => _ = write!(out, "{value:?}"),
        Literal::String(text) => _ = write!(out, "{text:?}"),
        Literal::Enum(name) => out.push_str(name),
        Literal::Id(id) => _ = write!(out, "#{}", numbers.of(id)),
        Literal::List(values) => {
            out.push('[');
            for (at, value) in values.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                literal(value, numbers, out);
            }
            out.push(']');
        }
        Literal::Object(fields) => {
            out.push('{');
            for (at, (name, value)) in fields.iter().enumerate() {
                out.push_str(if at == 0 { "" } else { ", " });
                _ = write!(out, "{name}: ");
                literal(value, numbers, out);
            }
            out.push('}');
        }
    }
}

pub(super) fn literal_json(value: &Literal, numbers: &Numbers) -> Value {
    match value {
        Literal::Null => Value::Null,
        Literal::Bool(value) => json!(value),
        Literal::Int(value) => json!(value),
        Literal::Float(value) => json!(value),
        Literal::String(text) => json!(&**text),
        Literal::Enum(name) => json!({"enum": &**name}),
        Literal::Id(id) => json!({"call": numbers.of(id)}),
        Literal::List(values) => values
            .iter()
            .map(|value| literal_json(value, numbers))
            .collect(),
        Literal::Object(fields) => {
            let fields = fields.iter();
            let fields: serde_json::Map<_, _> = fields
                .map(|(name, value)| (name.to_string(), literal_json(value, numbers)))
                .collect();
            json!({"object": fields})
        }
    }
}

/// Everything the last call says.
pub(super) fn call_json(id: &Id, numbers: &Numbers) -> Value {
    let args = id.call().public_args().map(|argument| {
        json!({"name": argument.name(), "value": literal_json(argument.value(), numbers)})
    });
    let scopes = id.implicit_inputs().iter();
    let scopes = scopes.map(|input| json!({"name": input.name(), "value": input.value()}));
    json!({
        "call": numbers.of(id),
        "digest": id.digest().as_str(),
        "receiver": id.receiver().map(|receiver| numbers.of(receiver)),
        "field": id.field(),
        "args": args.collect::<Vec<_>>(),
        "type": id.ty().to_string(),
        "nth": id.nth(),
        "view": id.view(),
        "module": id.module().map(|module| json!({
            "call": numbers.of(module.id()),
            "name": module.name(),
            "source": module.source(),
            "pin": module.pin(),
        })),
        "scopes": scopes.collect::<Vec<_>>(),
        "customDigest": id.has_custom_digest(),
        "contentDigest": id.content_digest().map(Digest::as_str),
    })
}
