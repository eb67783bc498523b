//! Running: from a prepared call to its value, through the cache.
//!
//! A hit costs one look into the table. Otherwise a result that is known to be equal is taken under
//! this call's ID; or the caller joins the flight of its key or starts one, and waits. The flight's
//! task owns the resolver's future; it ends with the resolver or, when nobody waits any more, by
//! dropping it.

use std::panic::AssertUnwindSafe;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::FutureExt;
use tokio_util::task::AbortOnDropHandle;
use tracing::Instrument;

use super::filing::Filing;
use super::recall::Recall;
use super::{CALL_NESTING_MAX, Caller, Prepared};
use crate::cache::version::{self, Notes, Period};
use crate::cache::{self, Claim, Held, Lease, Ticket};
use crate::policy::{self, CachePolicy};
use crate::{CallInfo, Cx, Digest, Error, Finished, Id, Kind, Outcome, Session, Value};

/// What a call returned, in which version.
pub(crate) type Answer = Held<Value>;

/// Runs a prepared call through the cache, announcing it to the observer.
pub(crate) async fn run(caller: &Caller, prepared: Prepared) -> Result<Answer, Error> {
    if caller.depth > CALL_NESTING_MAX {
        return Err(Error::internal(format!(
            "resolvers call each other more than {CALL_NESTING_MAX} levels deep, last {}",
            prepared.id.name()
        )));
    }
    let (session, cache) = (&caller.session, caller.session.cache());
    let never = matches!(prepared.field.policy, CachePolicy::Never);
    let held = match never {
        true => None,
        false => cache
            .table
            .hit(&Filing::key(&prepared), session.key(), cache.now()),
    };
    if let Some(held) = held {
        return Ok(hit(caller, &prepared, held));
    }
    let (info, terms) = describe(caller, &prepared, never).await?;
    let mut announced = Announced::start(caller, Arc::clone(&info));
    let job = Job {
        filing: Filing::of(session, &prepared),
        prepared,
        info,
        terms,
    };
    let (outcome, result) = match never {
        true => (Outcome::Executed, uncached(caller, job).await),
        false => cached(caller, job).await,
    };
    if let Ok(answer) = &result {
        session.portables().note(&answer.value);
    }
    announced.end(outcome, result.as_ref().map(|answer| &answer.value));
    result
}

/// A stored result, announced.
fn hit(caller: &Caller, prepared: &Prepared, held: Answer) -> Answer {
    let session = &caller.session;
    let stored = held.version.as_deref().and_then(|version| {
        let storage_key = version.storage.clone()?;
        Some((storage_key, version.expires))
    });
    let storage_key = match stored {
        Some((storage_key, expires)) => {
            if let Some(expires) = expires {
                let lease = Lease::of_row(storage_key.clone(), expires);
                session.portables().note_lease(&prepared.id, &lease);
            }
            storage_key
        }
        None => prepared.id.digest().clone(),
    };
    let info = info(caller, &prepared.id, storage_key);
    session.portables().note(&held.value);
    session
        .observer()
        .call_hit(&info, own_id(&info, &held.value));
    held
}

/// What a call that is not one for ever stands for now.
#[derive(Default)]
struct Terms {
    period: Option<Period>,
    /// The key of its row on disk, and the row.
    lease: Option<(Digest, Lease)>,
}

/// Storage key of the call, and its lease if it has a time to live.
async fn describe(
    caller: &Caller,
    prepared: &Prepared,
    never: bool,
) -> Result<(Arc<CallInfo>, Terms), Error> {
    let (id, session) = (&prepared.id, &caller.session);
    let receiver = prepared.receiver.version();
    let storage = receiver.and_then(|version| version.storage.as_ref());
    let key = version::below(id.digest(), storage.into_iter()).unwrap_or(id.digest().clone());
    if never {
        let storage_key = Digest::parse(&policy::random_text()?)
            .map_err(|error| Error::internal(error.to_string()))?;
        let period = Period {
            storage_key: storage_key.clone(),
            expires: None,
        };
        let terms = Terms {
            period: Some(period),
            lease: None,
        };
        return Ok((info(caller, id, storage_key), terms));
    }
    let Some(ttl) = policy::recorded_ttl(id.implicit_inputs())? else {
        return Ok((info(caller, id, key), Terms::default()));
    };
    let lease = session.cache().lease(&key, session.session_id(), ttl).await;
    session.portables().note_lease(id, &lease);
    let info = info(caller, id, lease.storage_key.clone());
    let period = Period {
        storage_key: lease.storage_key.clone(),
        expires: Some(lease.expires),
    };
    let terms = Terms {
        period: Some(period),
        lease: Some((key, lease)),
    };
    Ok((info, terms))
}

fn info(caller: &Caller, id: &Id, storage_key: Digest) -> Arc<CallInfo> {
    Arc::new(CallInfo {
        id: id.clone(),
        call_key: id.digest().clone(),
        storage_key,
        path: caller.path.clone(),
        nested: caller.depth > 0,
    })
}

/// The ID of a returned object, where it is not the call's.
fn own_id<'a>(info: &CallInfo, value: &'a Value) -> Option<&'a Id> {
    let id = value.as_object()?.id()?;
    (*id != info.id).then_some(id)
}

/// Everything a resolver's task needs.
struct Job {
    prepared: Prepared,
    filing: Filing,
    info: Arc<CallInfo>,
    terms: Terms,
}

async fn cached(caller: &Caller, job: Job) -> (Outcome, Result<Answer, Error>) {
    let session = &caller.session;
    let (cache, key) = (session.cache(), job.filing.key);
    let (table, now) = (&cache.table, cache.now());
    let shape = job.filing.shape.as_ref();
    if let Some(equal) = table.equal(&key, shape, session.key(), now) {
        let filing = Filing::of(session, &job.prepared);
        if let Some(completion) = filing.taught(session, &equal) {
            let taught = table.teach(&key, session.key(), completion, now);
            return (Outcome::Hit, taught);
        }
    }
    match table.claim(&key, session.key(), caller.parent, now) {
        Claim::Hit(held) => (Outcome::Hit, Ok(held)),
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
async fn uncached(caller: &Caller, job: Job) -> Result<Answer, Error> {
    let stop = caller.cancel.child_token();
    let _cancel = stop.clone().drop_guard();
    let work = Work::of(caller.resolver(None, stop), job.prepared, job.info);
    let notes = Arc::clone(&work.notes);
    let value = AbortOnDropHandle::new(tokio::spawn(work.resolve()))
        .await
        .unwrap_or_else(|_| Err(Error::cancelled()))?;
    let period = job.terms.period.as_ref();
    let period =
        period.ok_or_else(|| Error::internal("a call that is never cached has a period"))?;
    let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
    let (value, version) = job.filing.unstored(&caller.session, value, period, &notes);
    Ok(Held { value, version })
}

/// Starts the task of a flight. What is returned says, once the flight has ended, whether its value
/// was recalled.
fn start(caller: &Caller, job: Job, ticket: Ticket<Value>) -> Arc<AtomicBool> {
    let stop = ticket.stop().clone();
    let session = Arc::clone(&caller.session);
    let recalled = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&recalled);
    let span = tracing::debug_span!("call", field = %job.info.id.name());
    let inner = caller.resolver(Some(ticket.flight()), stop.clone());
    let (id, field) = (job.info.id.clone(), Arc::clone(&job.prepared.field));
    let work = Work::of(inner, job.prepared, job.info);
    let (filing, terms) = (job.filing, job.terms);
    let task = async move {
        let (persist, notes) = (Arc::clone(&work.persist), Arc::clone(&work.notes));
        let work = async {
            let recall = Recall::of(&session, &field, &id).await;
            if let Some(recall) = &recall
                && let Some(value) = recall.get().await
            {
                flag.store(true, Ordering::Relaxed);
                return Ok(value);
            }
            let value = work.resolve().await?;
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
        let cache = session.cache();
        if let (Ok(_), Some((key, lease)), true) =
            (&result, &terms.lease, persist.load(Ordering::Relaxed))
        {
            cache.keep(key, lease).await;
        }
        let outcome = result.map(|value| {
            let notes = notes.lock().unwrap_or_else(PoisonError::into_inner);
            filing.completion(&session, value, terms.period.as_ref(), &notes)
        });
        ticket.complete(outcome, cache.now());
    };
    tokio::spawn(task.instrument(span));
    recalled
}

/// A resolver that is ready to run.
struct Work {
    cx: Cx,
    prepared: Prepared,
    persist: Arc<AtomicBool>,
    notes: Arc<Mutex<Notes>>,
}

impl Work {
    fn of(caller: Caller, prepared: Prepared, info: Arc<CallInfo>) -> Self {
        let persist = Arc::new(AtomicBool::new(true));
        let notes = Notes::on(prepared.receiver.version().map(Arc::as_ref));
        let notes = Arc::new(Mutex::new(notes));
        Self {
            cx: Cx::new(info, caller, Arc::clone(&persist), Arc::clone(&notes)),
            prepared,
            persist,
            notes,
        }
    }

    /// Runs it, with panics turned into errors.
    async fn resolve(self) -> Result<Value, Error> {
        resolve(self.cx, self.prepared).await
    }
}

async fn resolve(cx: Cx, prepared: Prepared) -> Result<Value, Error> {
    let name = cx.call().id.name();
    let Prepared {
        receiver,
        field,
        resolver,
        args,
        ..
    } = prepared;
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

    fn end(&mut self, outcome: Outcome, result: Result<&Value, &Error>) {
        self.finished = true;
        let finished = Finished {
            outcome: if result.is_ok() {
                outcome
            } else {
                Outcome::Failed
            },
            duration: self.started.elapsed(),
            result_id: result.ok().and_then(|value| own_id(&self.info, value)),
            error: result.err(),
        };
        self.session.observer().call_finished(&self.info, &finished);
    }
}

impl Drop for Announced {
    fn drop(&mut self) {
        if !self.finished {
            self.end(Outcome::Failed, Err(&Error::cancelled()));
        }
    }
}
