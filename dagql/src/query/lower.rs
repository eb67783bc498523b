//! Checking a syntax tree against the schema while flattening it into tables.
//!
//! Selection sets are visited with a work list, each once, together with the type they select from.
//! What needs a view of the whole document (variables, fragment cycles, unused definitions) is
//! recorded on the way and checked by `query/usage.rs`.

use std::collections::HashMap;
use std::sync::Arc;

use apollo_compiler::ast;
use apollo_compiler::parser::SourceSpan;
use apollo_compiler::{Name, Node};

use super::introspect::{Introspection, is_introspection_type};
use super::parse::ERRORS_MAX;
use super::suggest::suggestion;
use super::usage::{self, Usage};
use super::{
    At, DEFINITIONS_MAX, Document, FieldId, FieldSelection, Fragment, FragmentId, GivenArg,
    INTROSPECTIONS_MAX, Lines, Operation, Selection, SetId, Target, VariableDef,
};
use crate::schema::{FieldDef, Role, TypeDef};
use crate::{CachePolicy, Error, Schema, TypeRef};

mod directive;
mod value;

/// Flattens and checks `ast`.
///
/// # Errors
/// Every mistake found, up to a limit, in document order.
pub(super) fn lower(
    schema: &Schema,
    ast: &ast::Document,
    lines: Lines,
) -> Result<Document, Vec<Error>> {
    let mut lowering = Lowering {
        schema,
        ast,
        out: Document {
            lines,
            ..Document::default()
        },
        errors: Vec::new(),
        fragments: HashMap::new(),
        pending: Vec::new(),
        usage: Usage::default(),
        introspections: 0,
    };
    lowering.document();
    let Lowering {
        mut errors, out, ..
    } = lowering;
    if errors.is_empty() {
        return Ok(out);
    }
    errors.sort_by_key(|error| error.locations().first().copied());
    errors.truncate(ERRORS_MAX);
    Err(errors)
}

struct Lowering<'a> {
    schema: &'a Schema,
    ast: &'a ast::Document,
    out: Document,
    errors: Vec<Error>,
    fragments: HashMap<&'a str, FragmentId>,
    /// Selection sets still to visit: where they go, and the type they select from.
    pending: Vec<(&'a [ast::Selection], Arc<str>, SetId)>,
    /// What the definition under work uses.
    usage: Usage,
    introspections: usize,
}

impl<'a> Lowering<'a> {
    fn span(&self, location: Option<SourceSpan>) -> At {
        start(&self.out.lines, location)
    }

    fn name_at(&self, name: &Name) -> At {
        self.span(name.location())
    }

    fn error(&mut self, at: At, message: impl Into<String>) {
        if self.errors.len() < ERRORS_MAX {
            let location = self.out.lines.locate(at);
            self.errors.push(Error::validation(message, Some(location)));
        }
    }

    fn document(&mut self) {
        let ast = self.ast;
        if ast.definitions.len() > DEFINITIONS_MAX {
            let message = format!("a document may have at most {DEFINITIONS_MAX} definitions");
            return self.error(At::default(), message);
        }
        for definition in &ast.definitions {
            if let ast::Definition::FragmentDefinition(fragment) = definition {
                self.declare_fragment(fragment);
            }
        }
        let mut operations = Vec::new();
        let mut fragments = vec![Usage::default(); self.out.fragments.len()];
        for definition in &ast.definitions {
            match definition {
                ast::Definition::OperationDefinition(operation) => {
                    self.operation(operation);
                    operations.push(std::mem::take(&mut self.usage));
                }
                ast::Definition::FragmentDefinition(fragment) => {
                    if let Some(&id) = self.fragments.get(fragment.name.as_str()) {
                        self.fragment(id, fragment);
                        fragments[id.0] = std::mem::take(&mut self.usage);
                    }
                }
                other => self.error(
                    self.span(other.location()),
                    "type definitions are not allowed in a query document",
                ),
            }
        }
        if operations.is_empty() {
            self.error(At::default(), "the document has no operation");
        }
        if self.errors.is_empty() {
            self.errors = usage::check(self.ast, &self.out, &operations, &fragments);
        }
    }

    fn declare_fragment(&mut self, fragment: &'a Node<ast::FragmentDefinition>) {
        let at = self.name_at(&fragment.name);
        if is_introspection_type(&fragment.type_condition) {
            return;
        }
        let on = self.composite(&fragment.type_condition);
        let Some(on) = on else {
            return;
        };
        let id = FragmentId(self.out.fragments.len());
        if self.fragments.insert(fragment.name.as_str(), id).is_some() {
            return self.error(at, format!("fragment {} is defined twice", fragment.name));
        }
        let set = self.new_set();
        self.out.fragments.push(Fragment {
            name: fragment.name.as_str().into(),
            on,
            location: at,
            set,
        });
    }

    /// The object or interface type of a type condition.
    fn composite(&mut self, name: &Name) -> Option<Arc<str>> {
        match self.schema.composite(name) {
            Some(def) => Some(Arc::clone(&def.name)),
            None => {
                let schema = self.schema;
                let types = schema.types().values().filter_map(TypeDef::as_composite);
                let hint = suggestion(name, types.map(|def| def.name.as_ref()));
                self.error(
                    self.name_at(name),
                    format!("there is no object type {name}{hint}"),
                );
                None
            }
        }
    }

    fn operation(&mut self, operation: &'a Node<ast::OperationDefinition>) {
        let at = self.span(operation.location());
        if !operation.operation_type.is_query() {
            let kind = operation.operation_type.name();
            return self.error(
                at,
                format!("{kind} operations are not supported, only queries"),
            );
        }
        let name: Option<Arc<str>> = operation.name.as_ref().map(|name| name.as_str().into());
        let others = &self.out.operations;
        if others
            .iter()
            .any(|other| other.name.is_none() || name.is_none())
        {
            let message = "an operation without a name must be the only one of its document";
            self.error(at, message);
        } else if let Some(name) = &name
            && others.iter().any(|other| other.name.as_ref() == Some(name))
        {
            let message = format!(
                "operation {name} is not unique: every operation of a document needs its own name"
            );
            self.error(at, message);
        }
        self.no_directives(&operation.directives, "operations");
        let variables = operation.variables.iter();
        let variables = variables
            .filter_map(|variable| self.variable(variable))
            .collect();
        let set = self.new_set();
        let root = Arc::clone(self.schema.query());
        self.pending.push((&operation.selection_set, root, set));
        self.drain();
        self.out.operations.push(Operation {
            name,
            variables,
            set,
        });
    }

    fn fragment(&mut self, id: FragmentId, fragment: &'a Node<ast::FragmentDefinition>) {
        self.no_directives(&fragment.directives, "fragment definitions");
        let (on, set) = {
            let known = &self.out.fragments[id.0];
            (Arc::clone(&known.on), known.set)
        };
        self.pending.push((&fragment.selection_set, on, set));
        self.drain();
    }

    fn variable(&mut self, variable: &'a Node<ast::VariableDefinition>) -> Option<VariableDef> {
        let (name, at) = (&variable.name, self.span(variable.location()));
        self.no_directives(&variable.directives, "variables");
        let ty = match TypeRef::parse(&variable.ty.to_string()) {
            Ok(ty) => ty,
            Err(error) => {
                self.error(at, format!("variable ${name}: {error}"));
                return None;
            }
        };
        match self.schema.get(ty.name()) {
            Some(TypeDef::Scalar(_) | TypeDef::Enum(_) | TypeDef::Input(_)) => {}
            Some(_) => self.error(at, format!("variable ${name}: {ty} is not an input type")),
            None => {
                let hint = suggestion(ty.name(), self.schema.types().keys().map(AsRef::as_ref));
                self.error(
                    at,
                    format!("variable ${name}: there is no type {}{hint}", ty.name()),
                );
            }
        }
        let default = match &variable.default_value {
            Some(value) => Some(self.value(value, 0)?),
            None => None,
        };
        Some(VariableDef {
            name: name.as_str().into(),
            ty,
            default,
            location: at,
        })
    }

    fn new_set(&mut self) -> SetId {
        self.out.sets.push(Vec::new());
        SetId(self.out.sets.len() - 1)
    }

    fn drain(&mut self) {
        while let Some((selections, parent, set)) = self.pending.pop() {
            if self.errors.len() >= ERRORS_MAX {
                self.pending.clear();
                return;
            }
            let lowered = selections.iter();
            let lowered = lowered
                .filter_map(|selection| self.selection(selection, &parent))
                .collect();
            self.out.sets[set.0] = lowered;
        }
    }

    fn selection(&mut self, selection: &'a ast::Selection, parent: &Arc<str>) -> Option<Selection> {
        match selection {
            ast::Selection::Field(field) => self.field(field, parent).map(Selection::Field),
            ast::Selection::FragmentSpread(spread) => self.spread(spread, parent),
            ast::Selection::InlineFragment(inline) => self.inline(inline, parent),
        }
    }

    fn spread(&mut self, spread: &'a Node<ast::FragmentSpread>, parent: &str) -> Option<Selection> {
        let (name, at) = (&spread.fragment_name, self.span(spread.location()));
        let Some(&fragment) = self.fragments.get(name.as_str()) else {
            let hint = suggestion(name, self.fragments.keys().copied());
            self.error(at, format!("there is no fragment {name}{hint}"));
            return None;
        };
        let on = Arc::clone(&self.out.fragments[fragment.0].on);
        if !self.schema.may_overlap(parent, &on) {
            let message = format!("fragment {name} on {on} can never apply to {parent}");
            self.error(at, message);
        }
        self.usage.spreads.push((fragment, at));
        let directives = self.directives(&spread.directives, false);
        Some(Selection::Spread {
            fragment,
            conditions: directives.conditions,
        })
    }

    fn inline(
        &mut self,
        inline: &'a Node<ast::InlineFragment>,
        parent: &Arc<str>,
    ) -> Option<Selection> {
        let on = match &inline.type_condition {
            Some(condition) => Some(self.composite(condition)?),
            None => None,
        };
        if let Some(on) = &on
            && !self.schema.may_overlap(parent, on)
        {
            let message = format!("a fragment on {on} can never apply to {parent}");
            self.error(self.span(inline.location()), message);
        }
        let directives = self.directives(&inline.directives, false);
        let set = self.new_set();
        let ty = Arc::clone(on.as_ref().unwrap_or(parent));
        self.pending.push((&inline.selection_set, ty, set));
        Some(Selection::Inline {
            on,
            set,
            conditions: directives.conditions,
        })
    }

    fn field(&mut self, field: &'a Node<ast::Field>, parent: &Arc<str>) -> Option<FieldId> {
        let at = self.name_at(&field.name);
        let target = self.target(field, parent)?;
        let directives = self.directives(&field.directives, true);
        let mut args = Vec::new();
        let mut set = None;
        match &target {
            Target::Introspection(_) => {}
            Target::TypeName => {
                if !field.selection_set.is_empty() || !field.arguments.is_empty() {
                    self.error(at, "__typename has neither arguments nor fields");
                }
            }
            Target::Field { parent, def } => {
                let owner = format!("{parent}.{}", def.name);
                args = self.arguments(&owner, def, field);
                set = self.sub_selection(&owner, def, field);
            }
        }
        if directives.cache.is_some() && !is_cached(&target) {
            let message = format!("{} is never cached: @cache has no effect on it", field.name);
            self.error(at, message);
        }
        if directives.export.is_some() && !field.selection_set.is_empty() {
            let message = format!(
                "@export needs a field without fields of its own, {} has some",
                field.name
            );
            self.error(at, message);
        }
        let name: Arc<str> = field.name.as_str().into();
        let key = field.alias.as_ref();
        self.out.fields.push(FieldSelection {
            key: key.map_or_else(|| Arc::clone(&name), |alias| alias.as_str().into()),
            name,
            location: at,
            args,
            conditions: directives.conditions,
            cache: directives.cache,
            export: directives.export,
            target,
            set,
        });
        Some(FieldId(self.out.fields.len() - 1))
    }

    fn target(&mut self, field: &'a Node<ast::Field>, parent: &Arc<str>) -> Option<Target> {
        let (name, at) = (&field.name, self.name_at(&field.name));
        match name.as_str() {
            "__typename" => return Some(Target::TypeName),
            "__schema" | "__type" if parent == self.schema.query() => {
                self.introspections += 1;
                if self.introspections > INTROSPECTIONS_MAX {
                    let message = format!("more than {INTROSPECTIONS_MAX} introspection fields");
                    self.error(at, message);
                    return None;
                }
                let introspection =
                    Introspection::cut_out(self.schema, self.ast, &self.out.lines, field);
                return match introspection {
                    Ok(introspection) => {
                        self.usage.introspection.extend(introspection.uses());
                        Some(Target::Introspection(Arc::new(introspection)))
                    }
                    Err(errors) => {
                        for (offset, message) in errors {
                            self.error(offset.unwrap_or(at), message);
                        }
                        None
                    }
                };
            }
            _ => {}
        }
        let def = self.schema.composite(parent)?;
        match def
            .fields
            .get(name.as_str())
            .filter(|field| !field.internal)
        {
            Some(found) => Some(Target::Field {
                parent: Arc::clone(&def.name),
                def: Arc::clone(found),
            }),
            None => {
                let known = def.fields.values().filter(|field| !field.internal);
                let hint = suggestion(name, known.map(|field| field.name.as_ref()));
                self.error(at, format!("type {parent} has no field {name}{hint}"));
                None
            }
        }
    }

    fn sub_selection(
        &mut self,
        owner: &str,
        def: &FieldDef,
        field: &'a Node<ast::Field>,
    ) -> Option<SetId> {
        let at = self.name_at(&field.name);
        let ty = def.ty.name();
        let composite = self.schema.composite(ty).map(|def| Arc::clone(&def.name));
        match (composite, field.selection_set.is_empty()) {
            (Some(_), true) => {
                let message = format!(
                    "{owner} returns {}: select at least one of its fields, for example {{ id }}",
                    def.ty
                );
                self.error(at, message);
                None
            }
            (None, false) => {
                self.error(
                    at,
                    format!("{owner} returns {}, which has no fields", def.ty),
                );
                None
            }
            (None, true) => None,
            (Some(ty), false) => {
                let set = self.new_set();
                self.pending.push((&field.selection_set, ty, set));
                Some(set)
            }
        }
    }

    fn arguments(
        &mut self,
        owner: &str,
        def: &FieldDef,
        field: &'a Node<ast::Field>,
    ) -> Vec<GivenArg> {
        let mut args: Vec<GivenArg> = Vec::with_capacity(field.arguments.len());
        let mut given = std::collections::HashSet::new();
        for argument in &field.arguments {
            let at = self.name_at(&argument.name);
            let known = def.arg(&argument.name).filter(|(_, arg)| !arg.internal);
            let Some((_, arg)) = known else {
                let names = def.args.iter().filter(|arg| !arg.internal);
                let hint = suggestion(&argument.name, names.map(|arg| arg.name.as_ref()));
                self.error(
                    at,
                    format!("{owner} has no argument {}{hint}", argument.name),
                );
                continue;
            };
            if !given.insert(argument.name.as_str()) {
                self.error(
                    at,
                    format!("argument {} of {owner} is given twice", arg.name),
                );
                continue;
            }
            if let Some(value) = self.value(&argument.value, 0) {
                self.usage.argument(self.schema, arg, &value, at);
                args.push(GivenArg {
                    name: Arc::clone(&arg.name),
                    value,
                    location: at,
                });
            }
        }
        for arg in def.args.iter().filter(|arg| arg.is_required()) {
            if !given.contains(arg.name.as_ref()) {
                let message = format!("{owner} needs the argument {} of type {}", arg.name, arg.ty);
                self.error(self.name_at(&field.name), message);
            }
        }
        args
    }
}

/// Whether a field's results are stored, so that `@cache` can say for whom.
fn is_cached(target: &Target) -> bool {
    match target {
        Target::Field { def, .. } => {
            matches!(def.role, Role::Call(_) | Role::Interface)
                && !matches!(def.policy, CachePolicy::Never)
        }
        Target::TypeName | Target::Introspection(_) => false,
    }
}

/// Where a node starts in the original text. Parsed nodes always have a location.
pub(super) fn start(lines: &Lines, location: Option<SourceSpan>) -> At {
    location.map_or(At::default(), |span| lines.original(span.offset()))
}
