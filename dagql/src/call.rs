//! One call: from a receiver, a field and arguments to a value.
//!
//! Two ways lead here.
//! - *Select*: a query or a resolver names field and arguments. They are coerced and made
//!   canonical, the field's policy adds its implicit inputs, and the result is the call's ID.
//! - *Load* (`call/load.rs`): an ID is given. Policies are not asked again: what the ID records is
//!   what it means. A call scoped to another client or session is therefore found if it is still
//!   cached, and refused otherwise, because running it here would give another object under the
//!   same name.
//!
//! Both end in `call/run.rs`: ask the cache, and be a hit, join a running call, or start one. A
//! resolver runs on its own task, so that it outlives an impatient first caller as long as a second
//! one waits, and so that a chain of resolvers that wait for each other takes no stack. A panic is
//! caught there and fails that call alone.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use crate::cache::FlightId;
use crate::id::{Argument, Call, canonical_arguments};
use crate::policy::{self, CacheDirective};
use crate::schema::{FieldDef, Resolver, Role};
use crate::{Args, Error, Id, Literal, Object, ResponsePath, Session, Value, View, coerce};

mod filing;
mod load;
mod recall;
mod run;

pub(crate) use filing::name;
use load::check_loaded;
pub(crate) use load::load_object;
use run::{Answer, run};

/// How deep resolvers may call each other; a resolver that calls itself under ever new arguments
/// ends here.
pub const CALL_NESTING_MAX: u32 = 20_000;

/// Who makes a call.
#[derive(Clone)]
pub(crate) struct Caller {
    pub(crate) session: Arc<Session>,
    /// The call whose resolver asks.
    pub(crate) parent: Option<FlightId>,
    pub(crate) depth: u32,
    pub(crate) cancel: CancellationToken,
    pub(crate) path: ResponsePath,
}

impl Caller {
    /// A query of `session`.
    pub(crate) fn of_query(session: &Arc<Session>, cancel: CancellationToken) -> Self {
        Self {
            session: Arc::clone(session),
            parent: None,
            depth: 0,
            cancel,
            path: ResponsePath::default(),
        }
    }

    /// A resolver that this caller starts.
    fn resolver(&self, parent: Option<FlightId>, cancel: CancellationToken) -> Self {
        Self {
            session: Arc::clone(&self.session),
            parent: parent.or(self.parent),
            depth: self.depth + 1,
            cancel,
            path: ResponsePath::default(),
        }
    }
}

/// A call that is ready to run.
pub(crate) struct Prepared {
    pub(crate) id: Id,
    pub(crate) receiver: Object,
    pub(crate) field: Arc<FieldDef>,
    pub(crate) resolver: Resolver,
    pub(crate) args: Args,
}

/// Calls a field by name with arguments that are not yet coerced.
pub(crate) async fn select(
    caller: &Caller,
    receiver: &Object,
    field: &str,
    given: Vec<(Arc<str>, Literal)>,
) -> Result<Answer, Error> {
    // Resolvers see the newest definitions, whoever their client is.
    let schema = caller.session.server().schema();
    let def = schema
        .field(receiver.type_name(), field)
        .ok_or_else(|| unknown_field(receiver.type_name(), field))?;
    let given = coerce::literals(schema, def, given)
        .map_err(|error| error.context(format_args!("{}.{field}", receiver.type_name())))?;
    let def = Arc::clone(def);
    answer(caller, receiver, def, given, Asked::default()).await
}

/// What a query says about a call besides field and arguments.
#[derive(Clone, Copy, Default)]
pub(crate) struct Asked<'a> {
    /// The view that the field was found in.
    pub(crate) view: View,
    pub(crate) directive: Option<&'a CacheDirective>,
}

/// Calls a field with coerced arguments.
pub(crate) async fn select_coerced(
    caller: &Caller,
    receiver: &Object,
    field: Arc<FieldDef>,
    given: Vec<(Arc<str>, Literal)>,
    asked: Asked<'_>,
) -> Result<Value, Error> {
    let answer = answer(caller, receiver, field, given, asked).await?;
    Ok(answer.value)
}

async fn answer(
    caller: &Caller,
    receiver: &Object,
    field: Arc<FieldDef>,
    given: Vec<(Arc<str>, Literal)>,
    asked: Asked<'_>,
) -> Result<Answer, Error> {
    match &field.role {
        Role::ReceiverId => Ok(Answer {
            value: Value::Id(receiver.require_id()?.clone()),
            version: None,
        }),
        Role::Loader => {
            let args = Args::new(given);
            let schema = caller.session.schema();
            let object = load_object(caller, args.id("id")?).await?;
            check_loaded(schema, &object, &field)?;
            Ok(Answer {
                version: object.version().cloned(),
                value: Value::Object(object),
            })
        }
        Role::Call(resolver) => {
            let resolver = Arc::clone(resolver);
            let prepared = prepare(&caller.session, receiver, field, resolver, given, asked)?;
            run(caller, prepared).await
        }
        Role::Interface => Err(Error::internal(format!(
            "{} is a field of an interface and cannot be called",
            field.name
        ))),
    }
}

/// Makes the ID of a call.
fn prepare(
    session: &Session,
    receiver: &Object,
    field: Arc<FieldDef>,
    resolver: Resolver,
    given: Vec<(Arc<str>, Literal)>,
    asked: Asked<'_>,
) -> Result<Prepared, Error> {
    let canonical = canonical_arguments(&field.specs(), given)
        .map_err(|error| Error::input(error.to_string()).context(&field.name))?;
    let args = complete(&field, &canonical);
    let implicit = policy::implicit_inputs(session, &field, receiver, &args, asked.directive)
        .map_err(|error| error.context(&field.name))?;
    let mut call = Call::new(Arc::clone(&field.name), field.ty.clone()).with_args(canonical);
    if field.records_view && !asked.view.is_newest() {
        call = call.with_view(asked.view.to_string());
    }
    for input in implicit {
        call = call.implicit(input);
    }
    Ok(Prepared {
        id: Id::on(receiver.id(), call),
        receiver: receiver.clone(),
        field,
        resolver,
        args,
    })
}

/// All arguments of the field, with null where the canonical form has none.
fn complete(field: &FieldDef, canonical: &[Argument]) -> Args {
    let mut given = canonical.iter().peekable();
    let values = field.args.iter().map(|arg| {
        let value = given
            .next_if(|argument| argument.name() == arg.name.as_ref())
            .map_or(Literal::Null, |argument| argument.value().clone());
        (Arc::clone(&arg.name), value)
    });
    Args::new(values.collect())
}

fn unknown_field(ty: &str, field: &str) -> Error {
    Error::input(format!("type {ty} has no field {field}"))
}
