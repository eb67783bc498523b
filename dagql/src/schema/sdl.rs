//! The schema as text: GraphQL's schema definition language.
//!
//! Types appear in the order of registration, fields and arguments in theirs. Internal fields and
//! arguments are left out. Documentation becomes block strings, whose only escape is `\"""`.

use std::fmt::Write;
use std::sync::Arc;

use indexmap::IndexMap;

use super::description::Description;
use super::{ArgDef, EnumType, InputDef, ObjectDef, TypeDef};
use crate::Literal;

/// The directive of definitions that may change, and those that clients may put on fields of a
/// query.
const DIRECTIVES: &str = r#""""May change or go without notice."""
directive @experimental(
  """Why, or what is missing."""
  reason: String = "Not stabilized"
) on FIELD_DEFINITION | ARGUMENT_DEFINITION | INPUT_FIELD_DEFINITION | ENUM_VALUE

"""Caches the result of this one call for less than everybody, or not for ever."""
directive @cache(
  """Who shares the result; everybody if absent."""
  scope: CacheScope
  """How long the result is valid, for example `90s`, `1h30m` or `7d`."""
  ttl: String
  """Any text: calls with different texts do not share a result."""
  key: String
) on FIELD

"""Gives the value of this leaf field to later operations as a variable."""
directive @export("""The variable's name.""" as: String!) on FIELD
"#;

/// Renders all types.
pub(super) fn render(types: &IndexMap<Arc<str>, TypeDef>) -> String {
    let mut out = String::from(DIRECTIVES);
    for ty in types.values() {
        match ty {
            TypeDef::Object(def) => object(&mut out, "type", def),
            TypeDef::Interface(def) => object(&mut out, "interface", def),
            TypeDef::Enum(def) => enumeration(&mut out, def),
            TypeDef::Input(def) => input(&mut out, def),
            TypeDef::Scalar(def) if is_built_in(&def.name) => {}
            TypeDef::Scalar(def) => {
                out.push('\n');
                doc(&mut out, "", &def.description.doc);
                line(&mut out, format_args!("scalar {}", def.name));
            }
        }
    }
    out
}

fn is_built_in(name: &str) -> bool {
    matches!(name, "Int" | "Float" | "Boolean" | "String" | "ID")
}

fn object(out: &mut String, keyword: &str, def: &ObjectDef) {
    out.push('\n');
    doc(out, "", &def.description.doc);
    let implements = if def.implements.is_empty() {
        String::new()
    } else {
        format!(" implements {}", def.implements.join(" & "))
    };
    line(out, format_args!("{keyword} {}{implements} {{", def.name));
    for field in def.fields.values().filter(|field| !field.internal) {
        doc(out, "  ", &field.description.doc);
        let _ = write!(out, "  {}", field.name);
        let mut shown = field.args.iter().filter(|arg| !arg.internal).peekable();
        if shown.peek().is_some() {
            out.push_str("(\n");
            for arg in shown {
                value(out, "    ", arg);
            }
            out.push_str("  )");
        }
        let _ = write!(out, ": {}", field.ty);
        warnings(out, &field.description);
        out.push('\n');
    }
    out.push_str("}\n");
}

fn enumeration(out: &mut String, def: &EnumType) {
    out.push('\n');
    doc(out, "", &def.description.doc);
    line(out, format_args!("enum {} {{", def.name));
    for member in &def.members {
        doc(out, "  ", &member.description.doc);
        let _ = write!(out, "  {}", member.name);
        warnings(out, &member.description);
        out.push('\n');
    }
    out.push_str("}\n");
}

fn input(out: &mut String, def: &InputDef) {
    out.push('\n');
    doc(out, "", &def.description.doc);
    line(out, format_args!("input {} {{", def.name));
    for field in &def.fields {
        value(out, "  ", field);
    }
    out.push_str("}\n");
}

fn value(out: &mut String, indent: &str, arg: &ArgDef) {
    doc(out, indent, &arg.description.doc);
    let _ = write!(out, "{indent}{}: {}", arg.name, arg.shown_type());
    if let Some(default) = &arg.default {
        out.push_str(" = ");
        literal(out, default);
    }
    warnings(out, &arg.description);
    out.push('\n');
}

fn warnings(out: &mut String, description: &Description) {
    for (directive, reason) in [
        ("deprecated", &description.deprecated),
        ("experimental", &description.experimental),
    ] {
        if let Some(reason) = reason {
            let _ = write!(out, " @{directive}(reason: {})", quoted(reason));
        }
    }
}

fn line(out: &mut String, text: std::fmt::Arguments<'_>) {
    let _ = writeln!(out, "{text}");
}

fn doc(out: &mut String, indent: &str, text: &str) {
    let text = text.trim();
    if text.is_empty() {
        return;
    }
    let text = text.replace("\"\"\"", "\\\"\"\"");
    line(out, format_args!("{indent}\"\"\""));
    for row in text.lines() {
        let _ = if row.is_empty() {
            writeln!(out)
        } else {
            writeln!(out, "{indent}{row}")
        };
    }
    line(out, format_args!("{indent}\"\"\""));
}

/// A GraphQL value. Defaults are coerced, so enum members are bare and IDs do not occur.
fn literal(out: &mut String, value: &Literal) {
    match value {
        Literal::Null | Literal::Id(_) => out.push_str("null"),
        Literal::Bool(value) => {
            let _ = write!(out, "{value}");
        }
        Literal::Int(value) => {
            let _ = write!(out, "{value}");
        }
        Literal::Float(value) => {
            let _ = write!(out, "{value:?}");
        }
        Literal::String(text) => out.push_str(&quoted(text)),
        Literal::Enum(name) => out.push_str(name),
        Literal::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                literal(out, item);
            }
            out.push(']');
        }
        Literal::Object(fields) => {
            out.push('{');
            for (at, (name, field)) in fields.iter().enumerate() {
                let _ = write!(out, "{}{name}: ", if at > 0 { ", " } else { "" });
                literal(out, field);
            }
            out.push('}');
        }
    }
}

/// A GraphQL string literal; JSON's escapes are a subset of GraphQL's.
fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}
