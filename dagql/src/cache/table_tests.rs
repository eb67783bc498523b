//! The rules of the claim table, where an interleaving has to be exact.

use std::sync::Arc;

use futures::FutureExt;

use super::flights::Waiter;
use super::{BUDGET_DEFAULT, Claim, Completion, Key, Table, Ticket};
use crate::{Digest, Error};

fn key(text: &str) -> Key {
    Key::of(&Digest::parse(text).expect("well formed"))
}

fn table() -> Arc<Table<Arc<str>>> {
    Table::new(BUDGET_DEFAULT)
}

fn completion(value: &str) -> Completion<Arc<str>> {
    Completion::of(value.into())
}

fn runs(claim: Claim<Arc<str>>) -> (Ticket<Arc<str>>, Waiter<Arc<str>>) {
    match claim {
        Claim::Run(ticket, waiter) => (ticket, waiter),
        _ => panic!("expected to run"),
    }
}

#[test]
fn the_loser_of_a_double_completion_gets_the_winners_value() {
    let table = table();
    let (a, b) = (table.open_session(), table.open_session());
    let key = key("k");
    let (one, first) = runs(table.claim(&key, a, None, 0));
    let (two, second) = runs(table.claim(&key, b, None, 0));
    let losing: Arc<str> = "second".into();
    let lost = Arc::downgrade(&losing);
    one.complete(Ok(completion("first")), 0);
    two.complete(Ok(Completion::of(losing)), 0);
    assert_eq!(
        first
            .wait()
            .now_or_never()
            .expect("done")
            .expect("stored")
            .value
            .as_ref(),
        "first"
    );
    assert_eq!(
        second
            .wait()
            .now_or_never()
            .expect("done")
            .expect("stored")
            .value
            .as_ref(),
        "first"
    );
    assert!(lost.upgrade().is_none(), "the loser's value is released");
    assert_eq!(table.stats(0).entries, 1);
}

#[test]
fn a_late_success_after_everybody_left_is_dropped() {
    let table = table();
    let session = table.open_session();
    let (ticket, waiter) = runs(table.claim(&key("k"), session, None, 0));
    drop(waiter);
    assert!(ticket.stop().is_cancelled());
    // A new caller does not join the dying flight.
    let (again, _waiter) = runs(table.claim(&key("k"), session, None, 0));
    let value: Arc<str> = "late".into();
    let late = Arc::downgrade(&value);
    ticket.complete(Ok(Completion::of(value)), 0);
    assert!(late.upgrade().is_none());
    assert_eq!((table.stats(0).entries, table.stats(0).in_flight), (0, 1));
    again.complete(Ok(completion("new")), 0);
    assert!(
        matches!(table.claim(&key("k"), session, None, 0), Claim::Hit(held) if &*held.value == "new")
    );
}

#[test]
fn a_failing_call_does_not_evict_a_live_result() {
    let table = table();
    let (a, b) = (table.open_session(), table.open_session());
    let key = key("k");
    let (one, _first) = runs(table.claim(&key, a, None, 0));
    let (two, second) = runs(table.claim(&key, b, None, 0));
    one.complete(Ok(completion("good")), 0);
    two.complete(Err(Error::input("bad")), 0);
    assert!(second.wait().now_or_never().expect("done").is_err());
    assert!(matches!(table.claim(&key, b, None, 0), Claim::Hit(_)));
}

#[test]
fn an_aborted_task_fails_its_waiters() {
    let table = table();
    let session = table.open_session();
    let (ticket, waiter) = runs(table.claim(&key("k"), session, None, 0));
    drop::<Ticket<Arc<str>>>(ticket);
    let error = waiter
        .wait()
        .now_or_never()
        .expect("told")
        .expect_err("aborted");
    assert_eq!(error.kind(), crate::Kind::Cancelled);
    assert_eq!(table.stats(0).in_flight, 0);
}

#[test]
fn releasing_an_old_result_leaves_the_newer_one_of_its_key() {
    let table = table();
    let (a, b) = (table.open_session(), table.open_session());
    let key = key("k");
    let timed = |value: &str, expires| Completion {
        expires: Some(expires),
        ..completion(value)
    };
    let (ticket, _w) = runs(table.claim(&key, a, None, 0));
    ticket.complete(Ok(timed("old", 10)), 0);
    let (ticket, _w) = runs(table.claim(&key, b, None, 10));
    ticket.complete(Ok(timed("new", 20)), 10);
    table.release_session(a);
    assert!(matches!(table.claim(&key, b, None, 11), Claim::Hit(held) if &*held.value == "new"));
}
