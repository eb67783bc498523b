//! One call: from a receiver, a field and arguments to a value.
//!
//! Two ways lead here.
//! - *Select*: a query or a resolver names field and arguments. They are coerced and made
//!   canonical, the field's policy adds its implicit inputs, and the result is the call's ID.
//! - *Load*: an ID is given. Its chain is walked from the leaf towards the root until a result is
//!   found in the cache, and the calls after it are replayed in order. Policies are not asked
//!   again: what the ID records is what it means. A call scoped to another client or session is
//!   therefore found if it is still cached, and refused otherwise, because running it here would
//!   give another object under the same name.
//!
//! Both end in [`run`]: ask the cache, and be a hit, join a running call, or start one. A resolver
//! runs on its own task, so that it outlives an impatient first caller as long as a second one
//! waits, and so that a chain of resolvers that wait for each other takes no stack. A panic is
//! caught there and fails that call alone.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use crate::cache::{self, Claim, Completion, FlightId, IndexKind, Lease, Ticket};
use crate::id::{ArgSpec, Argument, Call, canonical_arguments};
use crate::policy::{self, CacheDirective, CachePolicy};
use crate::schema::{FieldDef, Resolver, Role};
use crate::{
    Args, CallInfo, Cx, Error, Finished, Id, Kind, Literal, Object, Outcome, ResponsePath, Scope,
    Session, Value, coerce,
};

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
) -> Result<Value, Error> {
    let schema = caller.session.schema();
    let def = schema
        .field(receiver.type_name(), field)
        .ok_or_else(|| unknown_field(receiver.type_name(), field))?;
    let given = coerce::literals(schema, def, given)
        .map_err(|error| error.context(format_args!("{}.{field}", receiver.type_name())))?;
    let def = Arc::clone(def);
    select_coerced(caller, receiver, def, given, None).await
}

/// Calls a field with coerced arguments.
pub(crate) async fn select_coerced(
    caller: &Caller,
    receiver: &Object,
    field: Arc<FieldDef>,
    given: Vec<(Arc<str>, Literal)>,
    directive: Option<&CacheDirective>,
) -> Result<Value, Error> {
    match &field.role {
        Role::ReceiverId => Ok(Value::Id(receiver.require_id()?.clone())),
        Role::Loader => {
            let args = Args::new(given);
            let object = load_object(caller, args.id("id")?).await?;
            check_loaded(&object, &field)?;
            Ok(Value::Object(object))
        }
        Role::Call(resolver) => {
            let resolver = Arc::clone(resolver);
            let prepared = prepare(&caller.session, receiver, field, resolver, given, directive)?;
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
    directive: Option<&CacheDirective>,
) -> Result<Prepared, Error> {
    let specs: Vec<ArgSpec<'_>> = field
        .args
        .iter()
        .map(|arg| ArgSpec {
            name: &arg.name,
            default: arg.default.as_ref(),
            sensitive: arg.sensitive,
        })
        .collect();
    let canonical = canonical_arguments(&specs, given)
        .map_err(|error| Error::input(error.to_string()).context(&field.name))?;
    let args = complete(&field, &canonical);
    let implicit = policy::implicit_inputs(session, &field, receiver, &args, directive)
        .map_err(|error| error.context(&field.name))?;
    let mut call = Call::new(Arc::clone(&field.name), field.ty.clone()).with_args(canonical);
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
        let key = (IndexKind::Call, cursor.digest());
        if let Some(found) = cache.table.find(key.0, key.1, session.key(), cache.now()) {
            break found;
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
            run(caller, replayed(session, receiver, next)?).await?
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
    let schema = session.schema();
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
    let given = coerce::recorded(schema, field, given).map_err(at)?;
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

fn check_loaded(object: &Object, field: &FieldDef) -> Result<(), Error> {
    if object.type_name() == field.ty.name() {
        return Ok(());
    }
    Err(Error::input(format!(
        "{} expects an ID of type {}, this one names an object of type {}",
        field.name,
        field.ty.name(),
        object.type_name()
    )))
}

fn unknown_field(ty: &str, field: &str) -> Error {
    Error::input(format!("type {ty} has no field {field}"))
}

/// Runs a prepared call through the cache, announcing it to the observer.
pub(crate) async fn run(caller: &Caller, prepared: Prepared) -> Result<Value, Error> {
    if caller.depth > CALL_NESTING_MAX {
        return Err(Error::internal(format!(
            "resolvers call each other more than {CALL_NESTING_MAX} levels deep, last {}",
            prepared.id.name()
        )));
    }
    let never = matches!(prepared.field.policy, CachePolicy::Never);
    let (info, lease) = describe(caller, &prepared.id, never).await?;
    let mut announced = Announced::start(caller, Arc::clone(&info));
    let job = Job {
        prepared,
        info,
        lease,
    };
    let (outcome, result) = if never {
        (Outcome::Executed, uncached(caller, job).await)
    } else {
        cached(caller, job).await
    };
    announced.finish(outcome, &result);
    result
}

/// Digests of the call, and its lease if it has a time to live.
async fn describe(
    caller: &Caller,
    id: &Id,
    never: bool,
) -> Result<(Arc<CallInfo>, Option<Lease>), Error> {
    let call_key = id.digest().clone();
    let session = &caller.session;
    let ttl = policy::recorded_ttl(id.implicit_inputs())?;
    let lease = match ttl {
        Some(ttl) if !never => Some(
            session
                .cache()
                .lease(&call_key, session.session_id(), ttl)
                .await,
        ),
        _ => None,
    };
    let storage_key = match &lease {
        Some(lease) => lease.storage_key.clone(),
        None if never => crate::Digest::parse(&policy::random_text()?)
            .map_err(|error| Error::internal(error.to_string()))?,
        None => call_key.clone(),
    };
    let info = CallInfo {
        id: id.clone(),
        call_key,
        storage_key,
        path: caller.path.clone(),
        nested: caller.depth > 0,
    };
    Ok((Arc::new(info), lease))
}

/// Everything a resolver's task needs.
struct Job {
    prepared: Prepared,
    info: Arc<CallInfo>,
    lease: Option<Lease>,
}

async fn cached(caller: &Caller, job: Job) -> (Outcome, Result<Value, Error>) {
    let (session, key) = (&caller.session, &job.info.call_key);
    let cache = session.cache();
    match cache
        .table
        .claim(key, session.key(), caller.parent, cache.now())
    {
        Claim::Hit(value) => (Outcome::Hit, Ok(value)),
        Claim::Join(waiter) => (Outcome::Joined, waiter.wait().await),
        Claim::Run(ticket, waiter) => {
            start(caller, job, ticket);
            (Outcome::Executed, waiter.wait().await)
        }
        Claim::Cycle => {
            let error = Error::internal(format!("{} waits for itself", job.info.id.name()));
            (Outcome::Failed, Err(error))
        }
        Claim::Closed => (Outcome::Failed, Err(cache::closed())),
    }
}

/// Runs a resolver that shares nothing. It still gets its own task, see the module's manual.
async fn uncached(caller: &Caller, job: Job) -> Result<Value, Error> {
    let stop = caller.cancel.child_token();
    let _cancel = stop.clone().drop_guard();
    let persist = Arc::new(AtomicBool::new(false));
    let running = resolve(caller.resolver(None, stop), job, persist);
    AbortOnDropHandle::new(tokio::spawn(running))
        .await
        .unwrap_or_else(|_| Err(Error::cancelled()))
}

/// Starts the task of a flight.
fn start(caller: &Caller, job: Job, ticket: Ticket<Value>) {
    let stop = ticket.stop().clone();
    let inner = caller.resolver(Some(ticket.flight()), stop.clone());
    let cache = caller.session.cache().clone();
    let persist = Arc::new(AtomicBool::new(true));
    let span = tracing::debug_span!("call", field = %job.info.id.name());
    let task = async move {
        let (info, lease) = (Arc::clone(&job.info), job.lease.clone());
        let work = resolve(inner, job, Arc::clone(&persist));
        let result = tokio::select! {
            biased;
            () = stop.cancelled() => Err(Error::cancelled()),
            result = work => result,
        };
        if let (Ok(_), Some(lease), true) = (&result, &lease, persist.load(Ordering::Relaxed)) {
            cache.keep(&info.call_key, lease).await;
        }
        let outcome = result.map(|value| Completion {
            rows: cache::result_rows(&info.call_key, &value),
            expires: lease.map(|lease| lease.expires),
            value,
        });
        ticket.complete(outcome, cache.now());
    };
    tokio::spawn(task.instrument(span));
}

/// The resolver itself, with panics turned into errors.
async fn resolve(caller: Caller, job: Job, persist: Arc<AtomicBool>) -> Result<Value, Error> {
    let name = job.info.id.name();
    let cx = Cx::new(job.info, caller, persist);
    let Prepared {
        receiver,
        field,
        resolver,
        args,
        ..
    } = job.prepared;
    let work = async { resolver(cx, receiver, args).await };
    let value = AssertUnwindSafe(work)
        .catch_unwind()
        .await
        .unwrap_or_else(|panic| {
            let text = panic
                .downcast_ref::<&str>()
                .map(|text| (*text).to_owned())
                .or_else(|| panic.downcast_ref::<String>().cloned())
                .unwrap_or_default();
            Err(Error::internal(format!(
                "the resolver of {name} panicked: {text}"
            )))
        })?;
    if matches!(value, Value::Null) && field.ty.is_non_null() {
        return Err(Error::new(
            Kind::Internal,
            format!("{name} returned null, its type is {}", field.ty),
        ));
    }
    Ok(value)
}

/// Tells the observer about the end of a call even if its caller is dropped before.
struct Announced {
    session: Arc<Session>,
    info: Arc<CallInfo>,
    started: Instant,
    finished: bool,
}

impl Announced {
    fn start(caller: &Caller, info: Arc<CallInfo>) -> Self {
        let session = Arc::clone(&caller.session);
        session.observer().call_started(&info);
        Self {
            session,
            info,
            started: Instant::now(),
            finished: false,
        }
    }

    fn finish(&mut self, outcome: Outcome, result: &Result<Value, Error>) {
        self.finished = true;
        let result_id = match result {
            Ok(Value::Object(object)) => object.id().filter(|id| **id != self.info.id),
            _ => None,
        };
        let finished = Finished {
            outcome: if result.is_ok() {
                outcome
            } else {
                Outcome::Failed
            },
            duration: self.started.elapsed(),
            result_id,
            error: result.as_ref().err(),
        };
        self.session.observer().call_finished(&self.info, &finished);
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if !self.finished {
            self.finish(Outcome::Failed, &Err(Error::cancelled()));
        }
    }
}
