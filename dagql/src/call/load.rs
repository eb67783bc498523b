//! Loading: from an ID to the value it names.
//!
//! The chain is walked from the leaf towards the root until a result is found in the cache; a cached
//! leaf needs none of its receivers. Then the calls after it are replayed in order. IDs come from
//! outside, so everything they say is checked against the schema.

use std::sync::Arc;

use super::{Caller, Prepared, complete, run, unknown_field};
use crate::cache::Key;
use crate::id::Argument;
use crate::schema::{FieldDef, Role};
use crate::{Error, Id, Literal, Object, Schema, Scope, Session, Value, View, coerce};

/// The object that `id` names.
pub(crate) async fn load_object(caller: &Caller, id: &Id) -> Result<Object, Error> {
    match load(caller, id).await? {
        Value::Object(object) => Ok(object),
        Value::Null => Err(Error::input(format!(
            "{} is null, there is no object",
            id.name()
        ))),
        other => Err(Error::input(format!(
            "{} is {}, not an object",
            id.name(),
            other.describe()
        ))),
    }
}

/// The value that `id` names.
pub(crate) async fn load(caller: &Caller, id: &Id) -> Result<Value, Error> {
    let session = &caller.session;
    let (cache, schema) = (session.cache(), session.schema());
    let mut replay: Vec<&Id> = Vec::new();
    let mut cursor = id;
    let mut value = loop {
        let key = Key::of(cursor.digest());
        if let Some(found) = cache.table.hit(&key, session.key(), cache.now()) {
            session.portables().note(&found.value);
            break found.value;
        }
        let Some(receiver) = cursor.receiver() else {
            let def = schema.field(schema.query(), cursor.field());
            if let (Some(Role::Loader), Some(argument)) =
                (def.map(|def| &def.role), cursor.arg("id"))
                && let Literal::Id(loaded) = argument.value()
            {
                cursor = loaded;
                continue;
            }
            replay.push(cursor);
            break Value::Object(session.root());
        };
        replay.push(cursor);
        cursor = receiver;
    };
    while let Some(next) = replay.pop() {
        value = if next.is_element() {
            element(&value, next)?
        } else {
            let receiver = receiver_of(value, next)?;
            run(caller, replayed(session, receiver, next)?).await?.value
        };
    }
    Ok(value)
}

fn receiver_of(value: Value, call: &Id) -> Result<Object, Error> {
    match value {
        Value::Object(object) => Ok(object),
        other => Err(Error::input(format!(
            "the ID calls {} on {}",
            call.field(),
            other.describe()
        ))),
    }
}

/// One element of a list value.
fn element(list: &Value, id: &Id) -> Result<Value, Error> {
    let Value::List(items) = list else {
        return Err(Error::input(format!("{} is not a list", id.name())));
    };
    let index = usize::try_from(id.nth() - 1).ok();
    match index.and_then(|index| items.get(index)) {
        Some(item) => Ok(item.clone()),
        None => Err(Error::input(format!(
            "the ID wants element {} of {}, which has {}",
            id.nth(),
            id.name(),
            items.len()
        ))),
    }
}

/// Makes the last call of an ID ready to run again.
fn replayed(session: &Session, receiver: Object, id: &Id) -> Result<Prepared, Error> {
    let schema = session.schema().in_view(View::of(id.view()));
    let ty = receiver.type_name();
    let field = schema
        .field(ty, id.field())
        .ok_or_else(|| unknown_field(ty, id.field()).context("the ID cannot be loaded"))?;
    let at = |error: Error| error.context(format_args!("the ID's call {ty}.{}", field.name));
    let Role::Call(resolver) = &field.role else {
        return Err(at(Error::input("it is not a call that can be replayed")));
    };
    if id.ty().name() != field.ty.name() || id.nth() != 0 {
        return Err(at(Error::input(format!(
            "it claims to return {}, the schema says {}",
            id.ty(),
            field.ty
        ))));
    }
    check_scope(session, id).map_err(at)?;
    let given = id
        .args()
        .iter()
        .map(|argument| (Arc::from(argument.name()), argument.value().clone()))
        .collect();
    let given = coerce::recorded(&schema, field, given).map_err(at)?;
    let recorded: Vec<Argument> = given
        .into_iter()
        .map(|(name, value)| Argument::new(name, value))
        .collect();
    let args = complete(field, &recorded);
    Ok(Prepared {
        id: id.clone(),
        receiver,
        field: Arc::clone(field),
        resolver: Arc::clone(resolver),
        args,
    })
}

/// A call scoped to somebody else must not run here under its old name.
fn check_scope(session: &Session, id: &Id) -> Result<(), Error> {
    for input in id.implicit_inputs() {
        let own = match input.scope() {
            Some(Scope::Client) => session.client_id(),
            Some(Scope::Session) => session.session_id(),
            Some(Scope::Schema) => session.schema().digest().as_str(),
            _ => continue,
        };
        if input.value() != own {
            return Err(Error::input(format!(
                "its result belongs to another {}, is no longer cached, and cannot be computed here",
                input.name()
            )));
        }
    }
    Ok(())
}

pub(super) fn check_loaded(
    schema: &Schema,
    object: &Object,
    field: &FieldDef,
) -> Result<(), Error> {
    if schema.is_subtype(object.type_name(), field.ty.name()) {
        return Ok(());
    }
    Err(Error::input(format!(
        "{} expects an ID of type {}, this one names an object of type {}",
        field.name,
        field.ty.name(),
        object.type_name()
    )))
}
