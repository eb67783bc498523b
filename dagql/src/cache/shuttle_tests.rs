//! The claim table and the life of entries under many interleavings.
//!
//! Run with `cargo test -p dagql --features shuttle --lib shuttle`. Each test is a small program of
//! threads; shuttle runs it with thousands of schedules, random ones and ones that favour few
//! preemptions at bad moments. A schedule that fails is printed and can be replayed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use shuttle::future::block_on;
use shuttle::thread;

use super::{Claim, Completion, Input, Key, SessionKey, Shape, Table};
use crate::{Digest, Error};

const SCHEDULES: usize = 3000;

/// A value that counts the living.
#[derive(Clone)]
struct Value(#[expect(dead_code, reason = "its reference count is what matters")] Arc<()>);

/// Runs `program` under random schedules and under PCT's.
fn explore(program: impl Fn() + Send + Sync + Clone + 'static) {
    shuttle::check_random(program.clone(), SCHEDULES);
    shuttle::check_pct(program, SCHEDULES, 3);
}

fn named(text: &str) -> Key {
    Key::of(&Digest::parse(text).expect("well formed"))
}

fn key() -> Key {
    named("blake3:k")
}

/// Asks for the key as a session does, computing it if asked to; counts computations.
fn call(
    table: &Arc<Table<Value>>,
    session: SessionKey,
    alive: &Arc<()>,
    runs: &Arc<AtomicUsize>,
) -> Result<Value, Error> {
    match table.claim(&key(), session, None, 0) {
        Claim::Hit(held) => Ok(held.value),
        Claim::Join(waiter) => block_on(waiter.wait()).map(|held| held.value),
        Claim::Run(ticket, waiter) => {
            runs.fetch_add(1, Ordering::SeqCst);
            let value = Value(Arc::clone(alive));
            let worker = thread::spawn(move || {
                let completion = Completion {
                    content: Some(named("blake3:c")),
                    ..Completion::of(value)
                };
                ticket.complete(Ok(completion), 0);
            });
            let result = block_on(waiter.wait()).map(|held| held.value);
            worker.join().expect("no panic");
            result
        }
        Claim::Cycle => panic!("no call has a parent here"),
        Claim::Closed => Err(super::closed()),
    }
}

#[test]
fn shuttle_one_session_computes_a_key_once() {
    explore(|| {
        let table = Table::new(0);
        let session = table.open_session();
        let (alive, runs) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..3)
            .map(|_| {
                let (table, alive, runs) = (table.clone(), alive.clone(), runs.clone());
                thread::spawn(move || drop(call(&table, session, &alive, &runs).expect("computed")))
            })
            .collect();
        for caller in callers {
            caller.join().expect("no panic");
        }
        assert_eq!(runs.load(Ordering::SeqCst), 1);
        table.release_session(session);
        assert!(table.stats(0).is_empty());
        assert_eq!(Arc::strong_count(&alive), 1, "every value is dropped");
    });
}

#[test]
fn shuttle_two_sessions_keep_one_value_and_free_it() {
    explore(|| {
        let table = Table::new(0);
        let (alive, runs) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
        let callers: Vec<_> = (0..2)
            .map(|_| {
                let (table, alive, runs) = (table.clone(), alive.clone(), runs.clone());
                let session = table.open_session();
                thread::spawn(move || {
                    drop(call(&table, session, &alive, &runs).expect("computed"));
                    let stats = table.stats(0);
                    assert_eq!(stats.entries, 1, "owned by this session at least");
                    table.release_session(session);
                })
            })
            .collect();
        for caller in callers {
            caller.join().expect("no panic");
        }
        assert!(table.stats(0).is_empty());
        assert_eq!(Arc::strong_count(&alive), 1, "every value is dropped");
    });
}

#[test]
fn shuttle_release_during_a_call_leaves_nothing() {
    explore(|| {
        let table = Table::new(0);
        let session = table.open_session();
        let (alive, runs) = (Arc::new(()), Arc::new(AtomicUsize::new(0)));
        let caller = {
            let (table, alive, runs) = (table.clone(), alive.clone(), runs.clone());
            // Either it is in time, or it is told that the session is closed.
            thread::spawn(move || drop(call(&table, session, &alive, &runs)))
        };
        table.release_session(session);
        caller.join().expect("no panic");
        assert!(table.stats(0).is_empty());
        assert_eq!(Arc::strong_count(&alive), 1, "every value is dropped");
    });
}

#[test]
fn shuttle_leaving_and_completing_race() {
    explore(|| {
        let table = Table::new(0);
        let session = table.open_session();
        let alive = Arc::new(());
        let Claim::Run(ticket, waiter) = table.claim(&key(), session, None, 0) else {
            panic!("nobody else is here");
        };
        let second = table.claim(&key(), session, None, 0);
        let Claim::Join(second) = second else {
            panic!("the first runs");
        };
        let stop = ticket.stop().clone();
        let value = Value(Arc::clone(&alive));
        let worker = thread::spawn(move || {
            ticket.complete(Ok(Completion::of(value)), 0);
        });
        let leaver = thread::spawn(move || drop(waiter));
        // The other one stays, so the call must not be stopped and the value must arrive.
        assert!(block_on(second.wait()).is_ok());
        assert!(!stop.is_cancelled());
        worker.join().expect("no panic");
        leaver.join().expect("no panic");
        assert_eq!(table.stats(0).in_flight, 0);
        assert_eq!(table.stats(0).entries, 1);
        table.release_session(session);
        assert_eq!(Arc::strong_count(&alive), 1);
    });
}

#[test]
fn shuttle_all_leave_while_it_completes() {
    explore(|| {
        let table = Table::new(0);
        let session = table.open_session();
        let alive = Arc::new(());
        let Claim::Run(ticket, waiter) = table.claim(&key(), session, None, 0) else {
            panic!("nobody else is here");
        };
        let value = Value(Arc::clone(&alive));
        let worker = thread::spawn(move || {
            ticket.complete(Ok(Completion::of(value)), 0);
        });
        drop(waiter);
        // A newcomer gets the stored value or a flight of its own, never the dying one.
        match table.claim(&key(), session, None, 0) {
            Claim::Hit(_) => {}
            Claim::Run(ticket, waiter) => {
                ticket.complete(Err(Error::input("again")), 0);
                assert!(block_on(waiter.wait()).is_err());
            }
            _ => panic!("the first flight is over or abandoned"),
        }
        worker.join().expect("no panic");
        assert_eq!(table.stats(0).in_flight, 0);
        table.release_session(session);
        assert!(table.stats(0).is_empty());
        assert_eq!(Arc::strong_count(&alive), 1, "every value is dropped");
    });
}

#[test]
fn shuttle_two_calls_that_want_each_other_never_both_wait() {
    explore(|| {
        let table: Arc<Table<Value>> = Table::new(0);
        let session = table.open_session();
        let keys = ["blake3:a", "blake3:b"].map(named);
        let flights = keys.map(|key| match table.claim(&key, session, None, 0) {
            Claim::Run(ticket, waiter) => (ticket, waiter),
            _ => panic!("nobody else is here"),
        });
        let mut waiters = Vec::new();
        let mut workers = Vec::new();
        for (at, (ticket, waiter)) in flights.into_iter().enumerate() {
            waiters.push(waiter);
            let (table, other) = (table.clone(), keys[1 - at]);
            workers.push(thread::spawn(move || {
                let outcome = match table.claim(&other, session, Some(ticket.flight()), 0) {
                    Claim::Join(waiter) => block_on(waiter.wait()).map(|_| ()),
                    Claim::Cycle => Err(Error::internal("cycle")),
                    Claim::Run(ticket, waiter) => {
                        // The other one has failed already; this is a fresh attempt.
                        ticket.complete(Err(Error::input("fresh")), 0);
                        block_on(waiter.wait()).map(|_| ())
                    }
                    Claim::Hit(_) | Claim::Closed => panic!("nothing succeeds here"),
                };
                let error = outcome.expect_err("a wait for each other");
                ticket.complete(Err(error), 0);
            }));
        }
        for worker in workers {
            worker.join().expect("no panic");
        }
        for waiter in waiters {
            assert!(block_on(waiter.wait()).is_err());
        }
        assert_eq!(table.stats(0).in_flight, 0);
    });
}

/// A result that is found by its content, or by a call on something of that content.
fn known(value: Value, name: &str, receiver: &str) -> (Key, Completion<Value>) {
    let completion = Completion {
        shape: Some(shape(receiver)),
        weight: 1 << 20,
        ..Completion::of(value)
    };
    (named(name), completion)
}

fn shape(receiver: &str) -> Shape {
    Shape {
        digest: named("blake3:grow"),
        inputs: vec![Input {
            keys: vec![named(receiver)],
            content: Some(named("blake3:c")),
        }],
    }
}

/// Takes an equal result under another name, as the engine does.
fn take(table: &Arc<Table<Value>>, session: SessionKey, name: &str, receiver: &str) -> bool {
    let found = table.equal(&named(name), Some(&shape(receiver)), session, 0);
    let Some(equal) = found else { return false };
    let (key, mut completion) = known(equal.value, name, receiver);
    completion.equal.push(equal.home);
    table.teach(&key, session, completion, 0).is_ok()
}

#[test]
fn shuttle_an_equal_result_is_taken_while_its_session_ends() {
    explore(|| {
        // Either nothing stays without a session, or everything does.
        for budget in [0, usize::MAX] {
            let table = Table::new(budget);
            let (a, b) = (table.open_session(), table.open_session());
            let alive = Arc::new(());
            let (key, completion) = known(Value(Arc::clone(&alive)), "blake3:1x", "blake3:1");
            let stored = table.teach(&key, a, completion, 0);
            assert!(stored.is_ok());
            drop(stored);
            let taker = {
                let table = table.clone();
                thread::spawn(move || take(&table, b, "blake3:2x", "blake3:2"))
            };
            table.release_session(a);
            if taker.join().expect("no panic") {
                let held = table.hit(&named("blake3:2x"), b, 0);
                assert!(held.is_some(), "`b` owns what it took");
                // Who keeps results finds it by its old name too.
                let old = table.hit(&named("blake3:1x"), b, 0).is_some();
                assert!(old || budget == 0);
            }
            table.release_session(b);
            table.set_budget(0);
            assert!(table.stats(0).is_empty());
            assert_eq!(Arc::strong_count(&alive), 1, "every value is dropped");
        }
    });
}

#[test]
fn shuttle_a_result_is_evicted_or_adopted_but_never_half() {
    explore(|| {
        let table = Table::new(usize::MAX);
        let (a, b) = (table.open_session(), table.open_session());
        let alive = Arc::new(());
        let (key, completion) = known(Value(Arc::clone(&alive)), "blake3:1x", "blake3:1");
        assert!(table.teach(&key, a, completion, 0).is_ok());
        table.release_session(a);
        let evicting = {
            let table = table.clone();
            thread::spawn(move || table.set_budget(0))
        };
        let adopted = table.hit(&key, b, 0).is_some();
        evicting.join().expect("no panic");
        let stats = table.stats(0);
        assert_eq!(stats.entries, usize::from(adopted));
        assert_eq!(stats.owned, usize::from(adopted));
        assert_eq!(table.hit(&key, b, 0).is_some(), adopted);
        table.release_session(b);
        assert!(table.stats(0).is_empty());
        assert_eq!(Arc::strong_count(&alive), 1, "every value is dropped");
    });
}

#[test]
fn shuttle_what_is_learnt_while_results_are_stored_unites_them() {
    explore(|| {
        let table = Table::new(usize::MAX);
        let session = table.open_session();
        let plain = |name: &str, receiver: &str| {
            let (key, completion) = known(Value(Arc::new(())), name, receiver);
            let mut shape = shape(receiver);
            shape.inputs[0].content = None;
            let shape = Some(shape);
            (
                key,
                Completion {
                    shape,
                    ..completion
                },
            )
        };
        for receiver in ["blake3:1", "blake3:2"] {
            let completion = Completion::of(Value(Arc::new(())));
            let stored = table.teach(&named(receiver), session, completion, 0);
            assert!(stored.is_ok());
        }
        let threads: Vec<_> = [("blake3:1x", "blake3:1"), ("blake3:2x", "blake3:2")]
            .into_iter()
            .map(|(name, receiver)| {
                let table = table.clone();
                thread::spawn(move || {
                    let (key, completion) = plain(name, receiver);
                    assert!(table.teach(&key, session, completion, 0).is_ok());
                    table.learn(&named(receiver), named("blake3:c"));
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no panic");
        }
        // Whatever came first: receivers and results are one class each now.
        let stats = table.stats(0);
        assert_eq!((stats.entries, stats.classes, stats.terms), (4, 2, 1));
        table.release_session(session);
        table.set_budget(0);
        assert!(table.stats(0).is_empty());
    });
}

#[test]
fn shuttle_a_private_result_ends_with_its_session_however_it_is_asked_for() {
    explore(|| {
        let table = Table::new(usize::MAX);
        let (a, b) = (table.open_session(), table.open_session());
        let alive = Arc::new(());
        let (key, completion) = known(Value(Arc::clone(&alive)), "blake3:1x", "blake3:1");
        let completion = Completion {
            private: true,
            volatile: true,
            ..completion
        };
        let storing = {
            let (table, key) = (table.clone(), key);
            thread::spawn(move || drop(table.teach(&key, a, completion, 0)))
        };
        let asking = {
            let table = table.clone();
            thread::spawn(move || {
                assert!(table.hit(&key, b, 0).is_none());
                assert!(!take(&table, b, "blake3:2x", "blake3:2"));
            })
        };
        table.release_session(a);
        storing.join().expect("no panic");
        asking.join().expect("no panic");
        table.release_session(b);
        assert!(table.stats(0).is_empty());
        assert_eq!(Arc::strong_count(&alive), 1, "every value is dropped");
    });
}
