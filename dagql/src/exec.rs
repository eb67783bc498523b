//! Executing an operation: from a checked plan to an answer.
//!
//! The executor keeps the answer as a tree of open and closed places, and a queue of steps. A step
//! is one call for one place. When it returns
//! - a plain value closes the place;
//! - an object closes it with one open place per selected field, and queues their steps;
//! - a list closes it with one open place per element, which is handled in the same way.
//!
//! So siblings and list elements run in parallel, calls along a path one after the other, and no
//! future contains another one: a query 20,000 calls deep takes no more stack than a flat one.
//! At most [`STEPS_MAX`] steps run at a time.
//!
//! # Where each promise is tested
//! | promise | test |
//! |---|---|
//! | aliases | `exec::tests::a_chain_with_aliases_and_typename` |
//! | null | `exec::tests::null_is_allowed_where_the_type_says_so` |
//! | siblings in parallel | `exec::tests::siblings_run_in_parallel` |
//! | path of a list element's error, all errors | `exec::tests::every_failure_is_reported_in_document_order_and_there_is_no_data` |
//! | extensions of errors | `exec::tests::a_resolvers_extensions_reach_the_client` |
//! | duplicate keys merged, `@skip`, inline fragments, one of several operations | `exec::tests::{fields_with_one_key_are_one_call_with_merged_selections, fragments_variables_and_conditions}` |
//! | a panic fails its call only | `exec::tests::a_panic_fails_its_own_call_only` |
//! | a view's own definitions, the last one wins | `schema::view_tests::each_version_sees_its_own_definition_and_the_last_installed_wins` |
//! | viewed and other calls in IDs | `schema::view_tests::{a_view_is_recorded_only_where_the_call_needs_it, a_call_is_loaded_in_the_view_it_records}` |
//! | internal arguments | `query::tests::unknown_names_are_located_and_suggested` |
//! | an ID of another type | `schema::view_tests::a_loader_refuses_the_id_of_another_type` |
//! | list elements are replayed | `exec::tests::list_elements_have_ids_of_their_own` |
//! | loading keeps the scope | `cache::load_tests::an_id_of_another_client_is_a_hit_while_cached_and_refused_afterwards` |
//! | a result under its own ID | `cache::tests::a_result_is_found_by_the_id_it_came_with` |
//! | genuine Dagger IDs | `query::tests::a_genuine_dagger_id_names_the_same_object_as_ours` |
//!
//! # Failure
//! A failed step closes nothing; the others run to their end, because their work is cached and the
//! next attempt will need it. Then all errors are reported, in document order, and no data.

use std::sync::Arc;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use indexmap::IndexMap;
use serde_json::value::RawValue;

use crate::call::{self, Asked, Caller};
use crate::query::{self, Document, FieldId, SetId, Target};
use crate::schema::{FieldDef, Role};
use crate::{
    Error, Location, Object, PathSegment, Request, Response, ResponsePath, Schema, Session,
    TypeRef, Value,
};

mod answer;
mod known;
mod plan;
#[cfg(all(test, not(feature = "shuttle")))]
mod shape_tests;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;

pub use answer::{ANSWER_BYTES_MAX, ANSWER_NODES_MAX};
use answer::{Answer, NodeId};
pub(crate) use known::Known;
use known::Read;
use plan::Plan;
pub use plan::SELECTIONS_MAX;

/// Calls of one request that run at a time.
pub const STEPS_MAX: usize = 128;

/// Errors reported for one request.
const ERRORS_MAX: usize = 100;

/// Answers a request.
pub(crate) async fn execute(caller: Caller, request: Request) -> Response {
    let read = match read(&caller.session, &request.query).await {
        Ok(read) => read,
        Err(errors) => return Response::failed(errors),
    };
    match planned(caller.session.schema(), &read, &request) {
        Ok(plan) => {
            let variables = request.variables.unwrap_or_default();
            Execution::new(caller, plan, variables).run().await
        }
        Err(error) => Response::failed(vec![error]),
    }
}

/// The document of a text: one that the session sent before, or a new one.
async fn read(session: &Session, text: &str) -> Result<Arc<Read>, Vec<Error>> {
    let key = Known::key(text);
    if let Some(known) = key.and_then(|key| session.known().get(&key)) {
        return Ok(known);
    }
    let read = Read::new(query::parse(session.schema(), text).await?);
    if let Some(key) = key {
        session.known().keep(key, Arc::clone(&read));
    }
    Ok(read)
}

/// The plan of the operation that a request chooses.
fn planned(schema: &Schema, read: &Read, request: &Request) -> Result<Arc<Plan>, Error> {
    let document = &read.document;
    let index = choose(document, request.operation_name())?;
    if let Some(plan) = read.plans[index].get() {
        return Ok(Arc::clone(plan));
    }
    let operation = &document.operations[index];
    let given = request.variables.as_ref();
    let values = query::variables::values(schema, document, operation, given)?;
    let plan = Arc::new(plan::plan(schema, Arc::clone(document), operation, values)?);
    if operation.variables.is_empty() {
        // Somebody else may have been faster, with the same plan.
        let _ = read.plans[index].set(Arc::clone(&plan));
    }
    Ok(plan)
}

/// The index of the operation to run.
fn choose(document: &Document, name: Option<&str>) -> Result<usize, Error> {
    let operations = &document.operations;
    let index = match name {
        None if operations.len() == 1 => Some(0),
        None => None,
        Some(name) => operations
            .iter()
            .position(|operation| operation.name.as_deref() == Some(name)),
    };
    if let Some(index) = index {
        return Ok(index);
    }
    let names: Vec<&str> = operations
        .iter()
        .filter_map(|operation| operation.name.as_deref())
        .collect();
    let names = names.join(", ");
    Err(Error::validation(
        match name {
            None => format!("the document has several operations, choose one of {names}"),
            Some(name) => format!("the document has no operation {name}, only {names}"),
        },
        None,
    ))
}

/// One call to make for one place of the answer.
struct Step {
    node: NodeId,
    field: FieldId,
    def: Arc<FieldDef>,
    /// The selection sets of all fields merged into this one.
    sets: Arc<[SetId]>,
    receiver: Object,
    path: ResponsePath,
}

/// A value and the place it belongs to.
struct Placed {
    node: NodeId,
    field: FieldId,
    ty: TypeRef,
    sets: Arc<[SetId]>,
    value: Value,
    path: ResponsePath,
}

struct Execution {
    caller: Caller,
    plan: Arc<Plan>,
    raw_variables: serde_json::Map<String, serde_json::Value>,
    answer: Answer,
    root: NodeId,
    queue: std::collections::VecDeque<Step>,
    errors: Vec<Error>,
    exports: Vec<(Arc<str>, NodeId)>,
}

impl Execution {
    fn new(
        caller: Caller,
        plan: Arc<Plan>,
        raw_variables: serde_json::Map<String, serde_json::Value>,
    ) -> Self {
        let (answer, root) = Answer::new();
        Self {
            caller,
            plan,
            raw_variables,
            answer,
            root,
            queue: std::collections::VecDeque::new(),
            errors: Vec::new(),
            exports: Vec::new(),
        }
    }

    async fn run(mut self) -> Response {
        let root = self.caller.session.root();
        let sets: Arc<[SetId]> = [self.plan.root].into();
        let path = ResponsePath::default();
        if let Err(error) = self.object(self.root, &root, &sets, &path) {
            self.errors.push(error);
        }
        let mut running = FuturesUnordered::new();
        loop {
            while running.len() < STEPS_MAX
                && let Some(step) = self.queue.pop_front()
            {
                running.push(perform(self.caller.clone(), Arc::clone(&self.plan), step));
            }
            match running.next().await {
                None => break,
                Some((placed, location)) => {
                    let done = placed.and_then(|placed| self.place(placed));
                    if let Err((error, path)) = done {
                        self.fail(error, &path, location);
                    }
                }
            }
        }
        self.respond()
    }

    fn fail(&mut self, error: Error, path: &ResponsePath, location: Location) {
        if self.errors.len() < ERRORS_MAX {
            let error = error.located(path.segments(), Some(location));
            self.errors.push(error);
        }
    }

    fn respond(mut self) -> Response {
        let mut exports = IndexMap::new();
        for (name, node) in &self.exports {
            let text = self.answer.render(*node);
            match serde_json::from_str(&text) {
                Ok(value) => exports.insert(name.to_string(), value),
                // Of a list, an item that failed is missing.
                Err(_) if !self.errors.is_empty() => continue,
                Err(error) => return Response::failed(vec![Error::internal(error.to_string())]),
            };
        }
        if !self.errors.is_empty() {
            self.errors
                .sort_by_key(|error| error.locations().first().copied());
            return Response {
                exports,
                ..Response::failed(self.errors)
            };
        }
        match RawValue::from_string(self.answer.render(self.root)) {
            Ok(data) => Response {
                errors: Vec::new(),
                data: Some(data),
                exports,
            },
            Err(error) => Response::failed(vec![Error::internal(error.to_string())]),
        }
    }

    /// Closes a place with a value of any shape.
    fn place(&mut self, placed: Placed) -> Result<(), (Error, ResponsePath)> {
        let field = self.plan.field(placed.field);
        if let Some(name) = &field.export {
            self.exports.push((Arc::clone(name), placed.node));
        }
        let mut pending = vec![placed];
        while let Some(next) = pending.pop() {
            let path = next.path.clone();
            self.place_one(next, &mut pending)
                .map_err(|error| (error, path))?;
        }
        Ok(())
    }

    fn place_one(&mut self, placed: Placed, pending: &mut Vec<Placed>) -> Result<(), Error> {
        let Placed {
            node,
            field,
            ty,
            sets,
            value,
            path,
        } = placed;
        match (&value, ty.element()) {
            (Value::Null, _) if ty.is_non_null() => Err(answer::unexpected(&ty, &value)),
            (Value::Null, _) => self.answer.text(node, "null".to_owned()),
            (Value::List(items), Some(element)) => {
                let children = self.answer.list(node, items.len())?;
                for (index, (item, child)) in items.iter().zip(children).enumerate().rev() {
                    pending.push(Placed {
                        node: child,
                        field,
                        ty: element.clone(),
                        sets: Arc::clone(&sets),
                        value: item.clone(),
                        path: path.child(PathSegment::Index(index)),
                    });
                }
                Ok(())
            }
            (_, Some(_)) | (Value::List(_), None) => Err(answer::unexpected(&ty, &value)),
            (Value::Object(object), None) if !sets.is_empty() => {
                if !self.plan.schema.is_subtype(object.type_name(), ty.name()) {
                    return Err(answer::unexpected(&ty, &value));
                }
                self.object(node, object, &sets, &path)
            }
            (_, None) if !sets.is_empty() => Err(answer::unexpected(&ty, &value)),
            (_, None) => {
                let text = answer::leaf(&ty, &value)?;
                self.answer.text(node, text)
            }
        }
    }

    /// Closes a place with an object and queues the calls of its selected fields.
    fn object(
        &mut self,
        node: NodeId,
        object: &Object,
        sets: &Arc<[SetId]>,
        path: &ResponsePath,
    ) -> Result<(), Error> {
        let plan = Arc::clone(&self.plan);
        let groups = plan.collect(object.type_name(), sets)?;
        let children = self.answer.object(node, groups.keys().cloned())?;
        for ((key, group), child) in groups.into_iter().zip(children) {
            let first = plan.field(group[0]);
            match &first.target {
                Target::TypeName => {
                    let text = serde_json::Value::from(object.type_name()).to_string();
                    self.answer.text(child, text)?;
                }
                Target::Introspection(introspection) => {
                    let text = introspection.answer(&plan.schema, &self.raw_variables)?;
                    self.answer.text(child, text)?;
                }
                Target::Field { .. } => {
                    let def = plan.schema.field(object.type_name(), &first.name);
                    let def = def.ok_or_else(|| {
                        Error::internal(format!(
                            "type {} lacks the field {} of its interface",
                            object.type_name(),
                            first.name
                        ))
                    })?;
                    let merged = group.iter().filter_map(|field| plan.field(*field).set);
                    self.queue.push_back(Step {
                        node: child,
                        field: group[0],
                        def: Arc::clone(def),
                        sets: merged.collect(),
                        receiver: object.clone(),
                        path: path.child(PathSegment::Key(key)),
                    });
                }
            }
        }
        Ok(())
    }
}

type Performed = (Result<Placed, (Error, ResponsePath)>, Location);

/// Makes the call of one step.
async fn perform(caller: Caller, plan: Arc<Plan>, step: Step) -> Performed {
    let Step {
        node,
        field,
        def,
        sets,
        receiver,
        path,
    } = step;
    let location = plan.document.lines.locate(plan.field(field).location);
    let caller = Caller {
        path: path.clone(),
        ..caller
    };
    let value = match plan.arguments(field, &def) {
        Ok(given) => {
            let directive = match def.role {
                Role::Call(_) => plan.directive(field),
                _ => None,
            };
            call::select_coerced(
                &caller,
                &receiver,
                Arc::clone(&def),
                given.to_vec(),
                Asked {
                    view: plan.schema.view(),
                    directive,
                },
            )
            .await
        }
        Err(error) => Err(error),
    };
    let placed = match value {
        Ok(value) => Ok(Placed {
            node,
            field,
            ty: def.ty.clone(),
            sets,
            value,
            path,
        }),
        Err(error) => Err((error, path)),
    };
    (placed, location)
}
