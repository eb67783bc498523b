//! Rules over a whole document: variables, and which fragments are used.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use apollo_compiler::ast;

use super::introspect::is_introspection_type;
use super::lower::start;
use super::parse::ERRORS_MAX;
use super::{At, Document, FragmentId, Input, VariableDef};
use crate::schema::{ArgDef, TypeDef};
use crate::{Error, Schema, TypeRef};

/// What one operation or fragment uses.
#[derive(Debug, Clone, Default)]
pub(super) struct Usage {
    pub(super) variables: Vec<VariableUse>,
    pub(super) spreads: Vec<(FragmentId, At)>,
    /// Variables and fragments of introspection fields, whose types apollo checks.
    pub(super) introspection: Vec<IntrospectionUse>,
}

/// A name used by an introspection field.
#[derive(Debug, Clone)]
pub(super) enum IntrospectionUse {
    Variable(Arc<str>),
    Fragment(Arc<str>),
}

/// A variable in a place of known type.
#[derive(Debug, Clone)]
pub(super) struct VariableUse {
    name: Arc<str>,
    expected: TypeRef,
    /// Whether the place has a default value, which stands in for an absent variable.
    has_default: bool,
    at: At,
}

impl Usage {
    /// Records the variables in an argument's value.
    pub(super) fn argument(&mut self, schema: &Schema, arg: &ArgDef, value: &Input, at: At) {
        self.value(schema, &arg.ty, arg.default.is_some(), value, at);
    }

    /// Records a variable in a place whose type is a constant text of this program.
    pub(super) fn constant_type(&mut self, ty: &str, value: &Input, at: At) {
        if let (Input::Variable(name), Ok(expected)) = (value, TypeRef::parse(ty)) {
            self.variables.push(VariableUse {
                name: Arc::clone(name),
                expected,
                has_default: false,
                at,
            });
        }
    }

    /// Recursion is bounded by the depth of values.
    fn value(&mut self, schema: &Schema, ty: &TypeRef, has_default: bool, value: &Input, at: At) {
        match value {
            Input::Variable(name) => self.variables.push(VariableUse {
                name: Arc::clone(name),
                expected: ty.clone(),
                has_default,
                at,
            }),
            Input::List(items) => {
                let element = ty.element().unwrap_or(ty);
                for item in items {
                    self.value(schema, element, false, item, at);
                }
            }
            Input::Object(fields) => {
                // An unknown field, or an object where none belongs, is coercion's to report; the
                // variables in it still count as used.
                let known = match schema.get(ty.name()) {
                    Some(TypeDef::Input(def)) => def.fields.as_slice(),
                    _ => &[],
                };
                for (name, field) in fields {
                    match known.iter().find(|def| def.name == *name) {
                        Some(def) => self.argument(schema, def, field, at),
                        None => self.value(schema, ty, true, field, at),
                    }
                }
            }
            _ => {}
        }
    }
}

/// Checks everything that needs more than one definition.
pub(super) fn check(
    ast: &ast::Document,
    document: &Document,
    operations: &[Usage],
    fragments: &[Usage],
) -> Vec<Error> {
    let mut errors = Errors {
        document,
        found: Vec::new(),
    };
    if !cycles(fragments, &mut errors) {
        return errors.found;
    }
    let mut used: HashSet<FragmentId> = HashSet::new();
    let mut introspection: HashSet<&str> = HashSet::new();
    for (operation, usage) in document.operations.iter().zip(operations) {
        let reachable = reachable(usage, fragments);
        let all: Vec<&Usage> = std::iter::once(usage)
            .chain(reachable.iter().map(|fragment| &fragments[fragment.0]))
            .collect();
        used.extend(&reachable);
        for usage in &all {
            introspection.extend(usage.introspection.iter().filter_map(|used| match used {
                IntrospectionUse::Fragment(name) => Some(name.as_ref()),
                IntrospectionUse::Variable(_) => None,
            }));
        }
        variables(&operation.variables, &all, &mut errors);
    }
    for (index, fragment) in document.fragments.iter().enumerate() {
        if !used.contains(&FragmentId(index)) {
            errors.push(
                fragment.location,
                format!("fragment {} is not used", fragment.name),
            );
        }
    }
    for definition in &ast.definitions {
        if let ast::Definition::FragmentDefinition(fragment) = definition
            && is_introspection_type(&fragment.type_condition)
            && !introspection.contains(fragment.name.as_str())
        {
            let message = format!("fragment {} is not used", fragment.name);
            errors.push(start(&document.lines, fragment.name.location()), message);
        }
    }
    errors.found
}

struct Errors<'a> {
    document: &'a Document,
    found: Vec<Error>,
}

impl Errors<'_> {
    fn push(&mut self, at: At, message: String) {
        if self.found.len() < ERRORS_MAX {
            let location = self.document.lines.locate(at);
            self.found.push(Error::validation(message, Some(location)));
        }
    }
}

/// Finds fragments that spread themselves; false if there is one.
fn cycles(fragments: &[Usage], errors: &mut Errors<'_>) -> bool {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut marks = vec![Mark::New; fragments.len()];
    for start in 0..fragments.len() {
        // A path through the graph: a fragment and the next of its spreads to follow.
        let mut path = vec![(start, 0)];
        while let Some((fragment, next)) = path.last_mut() {
            if *next == 0 {
                if marks[*fragment] == Mark::Done {
                    path.pop();
                    continue;
                }
                marks[*fragment] = Mark::Open;
            }
            let Some((target, at)) = fragments[*fragment].spreads.get(*next) else {
                marks[*fragment] = Mark::Done;
                path.pop();
                continue;
            };
            *next += 1;
            if marks[target.0] == Mark::Open {
                let name = &errors.document.fragments[target.0].name;
                let message = format!("fragment {name} contains itself");
                errors.push(*at, message);
                return false;
            }
            path.push((target.0, 0));
        }
    }
    true
}

fn reachable(usage: &Usage, fragments: &[Usage]) -> Vec<FragmentId> {
    let mut seen = HashSet::new();
    let mut found = Vec::new();
    let mut pending: Vec<&Usage> = vec![usage];
    while let Some(usage) = pending.pop() {
        for (fragment, _) in &usage.spreads {
            if seen.insert(*fragment) {
                found.push(*fragment);
                pending.push(&fragments[fragment.0]);
            }
        }
    }
    found
}

fn variables(declared: &[VariableDef], usages: &[&Usage], errors: &mut Errors<'_>) {
    let mut by_name: HashMap<&str, &VariableDef> = HashMap::new();
    for variable in declared {
        if by_name.insert(&variable.name, variable).is_some() {
            let message = format!("variable ${} is declared twice", variable.name);
            errors.push(variable.location, message);
        }
    }
    let mut used: HashSet<&str> = HashSet::new();
    for usage in usages.iter().flat_map(|usage| &usage.variables) {
        let Some(variable) = by_name.get(usage.name.as_ref()) else {
            errors.push(
                usage.at,
                format!("variable ${} is not declared", usage.name),
            );
            continue;
        };
        used.insert(&variable.name);
        if !fits(variable, usage) {
            let message = format!(
                "variable ${} of type {} cannot be used where {} is expected",
                variable.name, variable.ty, usage.expected
            );
            errors.push(usage.at, message);
        }
    }
    for usage in usages.iter().flat_map(|usage| &usage.introspection) {
        if let IntrospectionUse::Variable(name) = usage {
            match by_name.get(name.as_ref()) {
                Some(variable) => {
                    used.insert(&variable.name);
                }
                None => errors.push(At::default(), format!("variable ${name} is not declared")),
            }
        }
    }
    for variable in declared {
        if !used.contains(variable.name.as_ref()) {
            errors.push(
                variable.location,
                format!("variable ${} is not used", variable.name),
            );
        }
    }
}

/// GraphQL's rule for variables in a place, widened as coercion is: a string may stand for any
/// scalar or enum, and a single value for a list.
fn fits(variable: &VariableDef, usage: &VariableUse) -> bool {
    let fallback =
        usage.has_default || variable.default.as_ref().is_some_and(|v| *v != Input::Null);
    let mut expected = if fallback {
        usage.expected.clone().nullable()
    } else {
        usage.expected.clone()
    };
    let mut actual = variable.ty.clone();
    loop {
        if expected.is_non_null() && !actual.is_non_null() {
            return false;
        }
        match (expected.element().cloned(), actual.element().cloned()) {
            (Some(inner), Some(element)) => (expected, actual) = (inner, element),
            (Some(inner), None) => expected = inner,
            (None, Some(_)) => return false,
            (None, None) => {
                return expected.name() == actual.name()
                    || matches!(actual.name(), "String" | "ID")
                    || (expected.name() == "ID" && actual.name().ends_with("ID"));
            }
        }
    }
}
