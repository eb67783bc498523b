//! `__schema` and `__type`: answered by apollo-compiler from the validated schema.
//!
//! Each such field is cut out of the document into one of its own: the field, the fragments it
//! reaches, and the variables these use. apollo validates it with all its rules and limits (128
//! levels, bounded list nesting), which suit introspection.

use std::collections::HashSet;
use std::sync::Arc;

use apollo_compiler::ast;
use apollo_compiler::diagnostic::ToCliReport;
use apollo_compiler::parser::SourceMap;
use apollo_compiler::response::JsonMap;
use apollo_compiler::validation::Valid;
use apollo_compiler::{ExecutableDocument, Node, introspection, request};

use super::usage::IntrospectionUse;
use super::{At, Lines};
use crate::{Error, Schema};

/// How deep an introspection field may nest, with the depth of each of its fragments added up.
/// The standard query comes to about 20. apollo's checks recurse, and run on a worker's stack.
pub(crate) const INTROSPECTION_DEPTH_MAX: usize = 128;

/// One introspection field as a document.
pub(crate) struct Introspection {
    document: Valid<ExecutableDocument>,
    variables: Vec<Arc<str>>,
    fragments: Vec<Arc<str>>,
}

/// Whether a type condition names a type of the introspection schema.
pub(super) fn is_introspection_type(name: &str) -> bool {
    name.starts_with("__")
}

impl Introspection {
    /// Makes a document of `field` alone.
    ///
    /// # Errors
    /// What apollo finds wrong with it, and where.
    pub(super) fn cut_out(
        schema: &Schema,
        whole: &ast::Document,
        lines: &Lines,
        field: &Node<ast::Field>,
    ) -> Result<Self, Vec<(Option<At>, String)>> {
        let Reached {
            fragments,
            variables,
            depth,
        } = reach(whole, field);
        if depth > INTROSPECTION_DEPTH_MAX {
            let message = format!("introspection nests more than {INTROSPECTION_DEPTH_MAX} levels");
            return Err(vec![(None, message)]);
        }
        let declared = whole
            .definitions
            .iter()
            .find_map(|definition| match definition {
                ast::Definition::OperationDefinition(operation)
                    if declares(operation, &variables) =>
                {
                    Some(operation)
                }
                _ => None,
            });
        let operation = ast::OperationDefinition {
            operation_type: ast::OperationType::Query,
            name: None,
            variables: declared
                .into_iter()
                .flat_map(|operation| &operation.variables)
                .filter(|variable| variables.contains(variable.name.as_str()))
                .cloned()
                .collect(),
            directives: ast::DirectiveList::new(),
            selection_set: vec![ast::Selection::Field(without_own_directives(field))],
        };
        let mut definitions = vec![ast::Definition::OperationDefinition(Node::new(operation))];
        definitions.extend(
            whole
                .definitions
                .iter()
                .filter(|definition| {
                    matches!(definition, ast::Definition::FragmentDefinition(fragment)
                if fragments.contains(fragment.name.as_str()))
                })
                .cloned(),
        );
        let document = ast::Document {
            sources: SourceMap::clone(&whole.sources),
            definitions,
        };
        let document = document
            .to_executable_validate(schema.apollo().0)
            .map_err(|invalid| {
                let located = invalid.errors.iter().map(|error| {
                    let span = error.error.location();
                    let at = span.map(|span| lines.original(span.offset()));
                    (at, error.error.to_string())
                });
                located.collect::<Vec<_>>()
            })?;
        Ok(Self {
            document,
            variables: variables.into_iter().map(Into::into).collect(),
            fragments: fragments.into_iter().map(Into::into).collect(),
        })
    }

    /// The names it uses.
    pub(super) fn uses(&self) -> Vec<IntrospectionUse> {
        let variables = self.variables.iter().cloned();
        let fragments = self.fragments.iter().cloned();
        variables
            .map(IntrospectionUse::Variable)
            .chain(fragments.map(IntrospectionUse::Fragment))
            .collect()
    }

    /// The field's value as JSON text.
    ///
    /// # Errors
    /// Unusable variables, or lists nested too deeply.
    pub(crate) fn answer(
        &self,
        schema: &Schema,
        variables: &serde_json::Map<String, serde_json::Value>,
    ) -> Result<String, Error> {
        let (apollo, implementers) = schema.apollo();
        let refuse = |error: request::RequestError| Error::input(error.message().to_string());
        let operation = self.document.operations.get(None).map_err(refuse)?;
        introspection::check_max_depth(&self.document, operation).map_err(refuse)?;
        let given: JsonMap = variables
            .iter()
            .filter(|(name, _)| self.variables.iter().any(|used| **used == ***name))
            .map(|(name, value)| (name.as_str().into(), value.clone().into()))
            .collect();
        let values = request::coerce_variable_values(apollo, operation, &given).map_err(refuse)?;
        let response = introspection::partial_execute(
            apollo,
            implementers,
            &self.document,
            operation,
            &values,
        )
        .map_err(refuse)?;
        if let Some(error) = response.errors.first() {
            return Err(Error::input(error.message.clone()));
        }
        let value = response.data.iter().flat_map(JsonMap::values).next();
        serde_json::to_string(&value).map_err(|error| Error::internal(error.to_string()))
    }
}

/// The directives of the field itself (`@skip`, `@include`) are the outer document's business.
fn without_own_directives(field: &Node<ast::Field>) -> Node<ast::Field> {
    let mut field = field.clone();
    field.make_mut().directives = ast::DirectiveList::new();
    field
}

fn declares(operation: &ast::OperationDefinition, variables: &HashSet<&str>) -> bool {
    variables.iter().all(|name| {
        let mut declared = operation.variables.iter();
        declared.any(|variable| variable.name.as_str() == *name)
    })
}

struct Reached<'a> {
    fragments: HashSet<&'a str>,
    variables: HashSet<&'a str>,
    /// Depth of the field plus the depth of each fragment.
    depth: usize,
}

/// Everything that the field uses, through fragments too.
fn reach<'a>(whole: &'a ast::Document, field: &'a Node<ast::Field>) -> Reached<'a> {
    let mut reached = Reached {
        fragments: HashSet::new(),
        variables: HashSet::new(),
        depth: 0,
    };
    field
        .arguments
        .iter()
        .for_each(|arg| variables_in(&arg.value, &mut reached.variables));
    // Pieces of the text, and the selection sets of the piece under work with their depth in it.
    let mut pieces: Vec<&[ast::Selection]> = vec![&field.selection_set];
    let mut pending: Vec<(&[ast::Selection], usize)> = Vec::new();
    let (mut done, mut deepest) = (0, 0);
    loop {
        let Some((selections, depth)) = pending.pop() else {
            reached.depth += deepest;
            deepest = 0;
            let Some(piece) = pieces.get(done) else {
                break;
            };
            done += 1;
            pending.push((piece, 1));
            continue;
        };
        deepest = deepest.max(depth);
        for selection in selections {
            let directives = match selection {
                ast::Selection::Field(field) => {
                    let args = field.arguments.iter();
                    args.for_each(|arg| variables_in(&arg.value, &mut reached.variables));
                    pending.push((&field.selection_set, depth + 1));
                    &field.directives
                }
                ast::Selection::InlineFragment(inline) => {
                    pending.push((&inline.selection_set, depth + 1));
                    &inline.directives
                }
                ast::Selection::FragmentSpread(spread) => {
                    if reached.fragments.insert(spread.fragment_name.as_str()) {
                        pieces.extend(fragment(whole, &spread.fragment_name));
                    }
                    &spread.directives
                }
            };
            let args = directives
                .0
                .iter()
                .flat_map(|directive| &directive.arguments);
            args.for_each(|arg| variables_in(&arg.value, &mut reached.variables));
        }
    }
    reached
}

fn fragment<'a>(whole: &'a ast::Document, name: &str) -> Option<&'a [ast::Selection]> {
    whole
        .definitions
        .iter()
        .find_map(|definition| match definition {
            ast::Definition::FragmentDefinition(fragment) if fragment.name.as_str() == name => {
                Some(fragment.selection_set.as_slice())
            }
            _ => None,
        })
}

fn variables_in<'a>(value: &'a ast::Value, found: &mut HashSet<&'a str>) {
    let mut pending = vec![value];
    while let Some(value) = pending.pop() {
        match value {
            ast::Value::Variable(name) => {
                found.insert(name.as_str());
            }
            ast::Value::List(items) => pending.extend(items.iter().map(|item| &**item)),
            ast::Value::Object(fields) => pending.extend(fields.iter().map(|(_, field)| &**field)),
            _ => {}
        }
    }
}
