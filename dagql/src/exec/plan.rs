//! The last checks of an operation, once its variables are known, before anything runs.
//!
//! The selections are walked as they will be executed: fields with one response key and one parent
//! type are one field, and their selection sets are one set. On the way
//! - fields that share a key must be the same call (GraphQL's rule of merging);
//! - arguments are coerced, so that a malformed one is reported before the first call is made;
//! - the selections are counted, because fragments that spread fragments twice can unfold to more
//!   fields than any machine can hold.
//!
//! The walk has its own stack and visits each merged set once.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use indexmap::IndexMap;

use crate::policy::{CacheDirective, SCOPE_KEY_BYTES_MAX, parse_ttl};
use crate::query::variables::{Variables, fill};
use crate::query::{
    Condition, Document, FieldId, FieldSelection, FragmentId, GivenArg, Operation, Selection,
    SetId, Target,
};
use crate::schema::FieldDef;
use crate::{Error, Kind, Literal, Schema, Scope, coerce};

/// Fields that one operation may select after its fragments are unfolded.
pub const SELECTIONS_MAX: usize = 1_000_000;

/// Coerced arguments by name.
pub(crate) type Arguments = Arc<[(Arc<str>, Literal)]>;

/// An operation that is ready to execute.
pub(crate) struct Plan {
    pub(crate) schema: Schema,
    pub(crate) document: Arc<Document>,
    pub(crate) root: SetId,
    pub(crate) variables: Variables,
    arguments: HashMap<FieldId, Arguments>,
    directives: HashMap<FieldId, CacheDirective>,
}

/// Fields of one response key that are executed as one.
pub(crate) type Group = Vec<FieldId>;

/// Checks everything that can be checked without executing.
///
/// # Errors
/// A conflict, a malformed argument or condition, or too many selections; located.
pub(crate) fn plan(
    schema: &Schema,
    document: Arc<Document>,
    operation: &Operation,
    variables: Variables,
) -> Result<Plan, Error> {
    let mut plan = Plan {
        schema: schema.clone(),
        document,
        root: operation.set,
        variables,
        arguments: HashMap::new(),
        directives: HashMap::new(),
    };
    let mut exports: HashSet<Arc<str>> = HashSet::new();
    let mut budget = SELECTIONS_MAX;
    let mut pending: Vec<(Arc<str>, Vec<SetId>)> =
        vec![(Arc::clone(schema.query()), vec![plan.root])];
    while let Some((ty, sets)) = pending.pop() {
        let mut below = Vec::new();
        for group in plan.collect_static(&ty, &sets, &mut budget)? {
            for field in &group {
                plan.prepare_field(*field)?;
            }
            plan.check_same(&group)?;
            let first = plan.field(group[0]);
            if let Some(name) = &first.export
                && !exports.insert(Arc::clone(name))
            {
                return Err(plan.invalid(first, format!("@export name {name} is used twice")));
            }
            let sets: Vec<SetId> = group
                .iter()
                .filter_map(|field| plan.field(*field).set)
                .collect();
            if let (Target::Field { def, .. }, false) = (&first.target, sets.is_empty()) {
                below.push((Arc::clone(def.ty.named_type()), sets));
            }
        }
        // The stack is popped from its end: document order.
        pending.extend(below.into_iter().rev());
    }
    Ok(plan)
}

impl Plan {
    pub(crate) fn field(&self, id: FieldId) -> &FieldSelection {
        &self.document.fields[id.0]
    }

    /// The coerced arguments of a field for the definition that its object's type has. It differs
    /// from the checked one only where the query selects from an interface.
    pub(crate) fn arguments(&self, id: FieldId, def: &Arc<FieldDef>) -> Result<Arguments, Error> {
        let field = self.field(id);
        match (&field.target, self.arguments.get(&id)) {
            (Target::Field { def: checked, .. }, Some(known)) if Arc::ptr_eq(checked, def) => {
                Ok(Arc::clone(known))
            }
            _ => self.coerce(field, def),
        }
    }

    /// The field's `@cache` directive.
    pub(crate) fn directive(&self, id: FieldId) -> Option<&CacheDirective> {
        self.directives.get(&id)
    }

    /// The fields that apply to an object of type `concrete`, grouped by response key, in the order
    /// in which the keys first appear.
    ///
    /// # Errors
    /// Fields that share a key and are not the same call.
    pub(crate) fn collect(
        &self,
        concrete: &str,
        sets: &[SetId],
    ) -> Result<IndexMap<Arc<str>, Group>, Error> {
        let mut groups: IndexMap<Arc<str>, Group> = IndexMap::new();
        let mut budget = SELECTIONS_MAX;
        let applies = |on: &str| self.schema.is_subtype(concrete, on);
        self.visit(sets, &applies, &mut budget, &mut |id| {
            let key = Arc::clone(&self.field(id).key);
            groups.entry(key).or_default().push(id);
        })?;
        for group in groups.values() {
            self.check_same(group)?;
        }
        Ok(groups)
    }

    /// The groups of fields below a set of the declared type `ty`: one per key and parent type,
    /// because fields of different object types never meet.
    fn collect_static(
        &self,
        ty: &str,
        sets: &[SetId],
        budget: &mut usize,
    ) -> Result<Vec<Group>, Error> {
        let mut groups: IndexMap<(Arc<str>, Arc<str>), Group> = IndexMap::new();
        let applies = |on: &str| self.schema.may_overlap(ty, on);
        self.visit(sets, &applies, budget, &mut |id| {
            let field = self.field(id);
            let parent = match &field.target {
                Target::Field { parent, .. } => Arc::clone(parent),
                Target::TypeName | Target::Introspection(_) => "".into(),
            };
            let key = (Arc::clone(&field.key), parent);
            groups.entry(key).or_default().push(id);
        })?;
        Ok(groups.into_values().collect())
    }

    /// Calls `found` for each field of the sets, fragments unfolded, each fragment once.
    fn visit(
        &self,
        sets: &[SetId],
        applies: &dyn Fn(&str) -> bool,
        budget: &mut usize,
        found: &mut dyn FnMut(FieldId),
    ) -> Result<(), Error> {
        let mut spread: HashSet<FragmentId> = HashSet::new();
        let mut stack: Vec<(SetId, usize)> = sets.iter().rev().map(|set| (*set, 0)).collect();
        while let Some((set, next)) = stack.pop() {
            let Some(selection) = self.document.sets[set.0].get(next) else {
                continue;
            };
            stack.push((set, next + 1));
            *budget = budget.checked_sub(1).ok_or_else(too_many)?;
            match selection {
                Selection::Field(id) => {
                    if self.keeps(&self.field(*id).conditions)? {
                        found(*id);
                    }
                }
                Selection::Spread {
                    fragment,
                    conditions,
                } => {
                    let target = &self.document.fragments[fragment.0];
                    if self.keeps(conditions)? && applies(&target.on) && spread.insert(*fragment) {
                        stack.push((target.set, 0));
                    }
                }
                Selection::Inline {
                    on,
                    set,
                    conditions,
                } => {
                    if self.keeps(conditions)? && on.as_deref().is_none_or(applies) {
                        stack.push((*set, 0));
                    }
                }
            }
        }
        Ok(())
    }

    fn keeps(&self, conditions: &[Condition]) -> Result<bool, Error> {
        for condition in conditions {
            let value = fill(&condition.value, &self.variables);
            let Some(Literal::Bool(value)) = value else {
                let at = self.document.lines.locate(condition.location);
                let message = "the condition of @skip or @include must be true or false";
                return Err(Error::validation(message, Some(at)));
            };
            if value != condition.keep {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn prepare_field(&mut self, id: FieldId) -> Result<(), Error> {
        if self.arguments.contains_key(&id) {
            return Ok(());
        }
        let field = self.field(id);
        let Target::Field { def, .. } = &field.target else {
            return Ok(());
        };
        let arguments = self.coerce(field, def)?;
        let directive = match &field.cache {
            Some(args) => Some(self.cache_directive(field, args)?),
            None => None,
        };
        self.arguments.insert(id, arguments);
        if let Some(directive) = directive {
            self.directives.insert(id, directive);
        }
        Ok(())
    }

    fn coerce(&self, field: &FieldSelection, def: &FieldDef) -> Result<Arguments, Error> {
        let given = field.args.iter();
        let given = given
            .filter_map(|arg| Some((Arc::clone(&arg.name), fill(&arg.value, &self.variables)?)));
        coerce::literals(&self.schema, def, given.collect())
            .map(Into::into)
            .map_err(|error| {
                let location = match field.args.as_slice() {
                    [only] => only.location,
                    _ => field.location,
                };
                error
                    .context(&field.name)
                    .at(Some(self.document.lines.locate(location)))
            })
    }

    fn cache_directive(
        &self,
        field: &FieldSelection,
        args: &[GivenArg],
    ) -> Result<CacheDirective, Error> {
        let mut directive = CacheDirective::default();
        for arg in args {
            let refuse = |reason: &str| {
                let at = self.document.lines.locate(arg.location);
                Error::validation(format!("@cache({}): {reason}", arg.name), Some(at))
            };
            let text = match fill(&arg.value, &self.variables) {
                None | Some(Literal::Null) => continue,
                Some(Literal::String(text) | Literal::Enum(text)) => text,
                Some(_) => return Err(refuse("expected text")),
            };
            match arg.name.as_ref() {
                "scope" => {
                    directive.scope = Some(match text.as_ref() {
                        "CLIENT" => Scope::Client,
                        "SESSION" => Scope::Session,
                        "CALL" => Scope::Call,
                        _ => return Err(refuse("expected CLIENT, SESSION or CALL")),
                    });
                }
                "ttl" => {
                    directive.ttl = Some(parse_ttl(&text).map_err(|reason| refuse(&reason))?);
                }
                _ if text.len() > SCOPE_KEY_BYTES_MAX => {
                    return Err(refuse(&format!("at most {SCOPE_KEY_BYTES_MAX} bytes")));
                }
                _ => directive.key = Some(text),
            }
        }
        if directive == CacheDirective::default() {
            return Err(self.invalid(field, "@cache needs scope, ttl or key"));
        }
        Ok(directive)
    }

    /// Fields of one group must be one call.
    fn check_same(&self, group: &Group) -> Result<(), Error> {
        let Some((first, rest)) = group.split_first() else {
            return Ok(());
        };
        let one = self.field(*first);
        for other in rest {
            let two = self.field(*other);
            let reason = if one.name != two.name {
                format!("{} and {}", one.name, two.name)
            } else if self.arguments_differ(*first, *other) {
                format!("{} with different arguments", one.name)
            } else if self.directive(*first) != self.directive(*other) {
                format!("{} with different @cache directives", one.name)
            } else {
                continue;
            };
            let message = format!(
                "the answer can have one field {}, the query asks for {reason}: use an alias",
                one.key
            );
            return Err(self
                .invalid(two, message)
                .at(Some(self.document.lines.locate(one.location))));
        }
        Ok(())
    }

    /// Compares what is called, not how it is spelt: order and defaults do not matter.
    fn arguments_differ(&self, one: FieldId, other: FieldId) -> bool {
        if one == other {
            return false;
        }
        let (Some(a), Some(b)) = (self.arguments.get(&one), self.arguments.get(&other)) else {
            return false;
        };
        let def = match &self.field(one).target {
            Target::Field { def, .. } => def,
            Target::TypeName | Target::Introspection(_) => return false,
        };
        let value = |given: &Arguments, arg: &crate::schema::ArgDef| {
            let found = given.iter().find(|(name, _)| *name == arg.name);
            let value = found
                .map(|(_, value)| value.clone())
                .or_else(|| arg.default.clone());
            value.unwrap_or(Literal::Null)
        };
        def.args.iter().any(|arg| value(a, arg) != value(b, arg))
    }

    fn invalid(&self, field: &FieldSelection, message: impl Into<String>) -> Error {
        let at = self.document.lines.locate(field.location);
        Error::validation(message, Some(at))
    }
}

fn too_many() -> Error {
    Error::new(
        Kind::Validation,
        format!(
            "the query selects more than {SELECTIONS_MAX} fields once its fragments are unfolded"
        ),
    )
}
