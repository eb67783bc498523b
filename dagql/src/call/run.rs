//! Running: from a prepared call to its value, through the cache.
//!
//! A hit costs one look into the table. Otherwise the caller joins the flight of its key or starts
//! one, and waits. The flight's task owns the resolver's future; it ends with the resolver or, when
//! nobody waits any more, by dropping it.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use futures::FutureExt;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::recall::Recall;
use super::{CALL_NESTING_MAX, Caller, Prepared};
use crate::cache::{self, Claim, Completion, Lease, Ticket};
use crate::policy::{self, CachePolicy};
use crate::{CallInfo, Cx, Digest, Error, Finished, Id, Kind, Outcome, Session, Value};

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
    if let Ok(value) = &result {
        caller.session.portables().note(value);
    }
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
    if let Some(lease) = &lease {
        session.portables().note_lease(id, lease);
    }
    let storage_key = match &lease {
        Some(lease) => lease.storage_key.clone(),
        None if never => Digest::parse(&policy::random_text()?)
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
            let recalled = start(caller, job, ticket);
            let result = waiter.wait().await;
            let outcome = match recalled.load(Ordering::Relaxed) {
                true => Outcome::Recalled,
                false => Outcome::Executed,
            };
            (outcome, result)
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

/// Starts the task of a flight. What is returned says, once the flight has ended, whether its value
/// was recalled.
fn start(caller: &Caller, job: Job, ticket: Ticket<Value>) -> Arc<AtomicBool> {
    let stop = ticket.stop().clone();
    let inner = caller.resolver(Some(ticket.flight()), stop.clone());
    let cache = caller.session.cache().clone();
    let persist = Arc::new(AtomicBool::new(true));
    let recalled = Arc::new(AtomicBool::new(false));
    let recall = Recall::of(caller, &job.prepared.field, &job.info.id);
    let flag = Arc::clone(&recalled);
    let span = tracing::debug_span!("call", field = %job.info.id.name());
    let task = async move {
        let (info, lease) = (Arc::clone(&job.info), job.lease.clone());
        let work = async {
            if let Some(recall) = &recall
                && let Some(value) = recall.get().await
            {
                flag.store(true, Ordering::Relaxed);
                return Ok(value);
            }
            let value = resolve(inner, job, Arc::clone(&persist)).await?;
            if let (Some(recall), true) = (&recall, persist.load(Ordering::Relaxed)) {
                recall.put(&value).await;
            }
            Ok(value)
        };
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
    recalled
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
