//! The rules of the result cache, through the whole engine where it matters and on the table alone
//! where an interleaving has to be exact.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use futures::FutureExt;
use futures::future::join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::table::{Claim, Completion, IndexKind, Table};
use super::*;
use crate::testing::{Lab, data, errors, run, server, server_with, session};
use crate::{Outcome, Request, Scope, Session, TypeRef};

fn digest(text: &str) -> Digest {
    Digest::parse(text).expect("well formed")
}

async fn text_id(session: &Arc<Session>, query: &str) -> crate::Id {
    let answer = data(session, query).await;
    let field = answer.as_object().and_then(|fields| fields.values().next());
    let id = field.and_then(|field| field["id"].as_str()).expect("an ID");
    crate::Id::decode(id).expect("our own ID")
}

/// Runs `query` in a task of its own.
fn spawn(
    session: &Arc<Session>,
    query: &str,
    cancel: &CancellationToken,
) -> tokio::task::JoinHandle<crate::Response> {
    let (session, cancel) = (Arc::clone(session), cancel.clone());
    let request = Request::new(query);
    tokio::spawn(async move { session.execute(request, cancel).await })
}

#[tokio::test]
async fn concurrent_equal_calls_run_once() {
    let lab = Lab::gated();
    let session = session(&server(&lab), "s");
    let cancel = CancellationToken::new();
    let queries: Vec<_> = (0..10).map(|_| spawn(&session, "{ wait }", &cancel)).collect();
    while lab.outcomes("wait").is_empty() && session.cache().stats().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    lab.open_gate();
    for response in join_all(queries).await {
        assert_eq!(response.expect("ends").json().expect("succeeds"), json!({"wait": "w"}));
    }
    assert_eq!(lab.runs("wait w"), 1);
    let outcomes = lab.outcomes("wait");
    let count = |wanted| outcomes.iter().filter(|outcome| **outcome == wanted).count();
    assert_eq!(count(Outcome::Executed), 1);
    assert_eq!(count(Outcome::Joined) + count(Outcome::Hit), 9);
}

#[tokio::test]
async fn sessions_do_not_join_each_others_flights_but_share_results() {
    let lab = Lab::gated();
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    let cancel = CancellationToken::new();
    let queries = [spawn(&a, "{ wait }", &cancel), spawn(&b, "{ wait }", &cancel)];
    while lab.runs("wait w") < 2 {
        tokio::task::yield_now().await;
    }
    lab.open_gate();
    lab.open_gate();
    for query in queries {
        assert!(query.await.expect("ends").errors.is_empty());
    }
    // Of two values one was kept.
    assert_eq!(server.cache().stats().entries, 1);
    assert_eq!(data(&session(&server, "c"), "{ wait }").await["wait"], "w");
    assert_eq!(lab.runs("wait w"), 2);
}

#[tokio::test]
async fn cancelling_one_of_two_leaves_the_other() {
    let lab = Lab::gated();
    let session = session(&server(&lab), "s");
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let (one, two) = (spawn(&session, "{ wait }", &first), spawn(&session, "{ wait }", &second));
    lab.begun.notified().await;
    tokio::task::yield_now().await;
    first.cancel();
    let response = one.await.expect("ends");
    assert_eq!(response.errors[0].kind(), crate::Kind::Cancelled);
    assert_eq!(lab.runs("stopped w"), 0, "the second caller still waits");
    lab.open_gate();
    assert_eq!(two.await.expect("ends").json().expect("succeeds")["wait"], "w");
    assert_eq!((lab.runs("wait w"), lab.runs("done w")), (1, 1));
}

#[tokio::test]
async fn the_last_waiter_to_leave_stops_the_call_and_a_later_one_starts_afresh() {
    let lab = Lab::gated();
    let session = session(&server(&lab), "s");
    let cancel = CancellationToken::new();
    let query = spawn(&session, "{ wait }", &cancel);
    lab.begun.notified().await;
    cancel.cancel();
    query.await.expect("ends");
    while lab.runs("stopped w") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(session.cache().stats().in_flight, 0);
    lab.open_gate();
    assert_eq!(data(&session, "{ wait }").await["wait"], "w");
    assert_eq!((lab.runs("wait w"), lab.runs("done w")), (2, 1));
}

#[tokio::test]
async fn errors_are_not_cached() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    assert_eq!(errors(&session, "{ flaky }").await, ["1:3 first time"]);
    assert_eq!(data(&session, "{ flaky }").await["flaky"], "better");
    assert_eq!(data(&session, "{ flaky }").await["flaky"], "better");
    assert_eq!(lab.runs("flaky"), 2);
    assert_eq!(
        lab.outcomes("flaky"),
        [Outcome::Failed, Outcome::Executed, Outcome::Hit]
    );
}

#[tokio::test]
async fn a_call_that_waits_for_itself_is_an_error() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    assert_eq!(errors(&session, "{ itself }").await, ["1:3 itself waits for itself"]);
    // Two calls that wait for each other: whichever asks last is refused, and both end.
    let found = errors(&session, "{ tick tock }").await;
    assert!(found[0].contains("waits for itself"), "{found:?}");
}

#[tokio::test]
async fn recursion_under_ever_new_keys_ends() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let found = errors(&session, "{ deeper }").await;
    assert!(found[0].contains("levels deep, last deeper"), "{found:?}");
}

#[tokio::test]
async fn releasing_a_session_frees_what_no_other_owns() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    data(&a, r#"{ text(value: "shared") { value } mine: text(value: "mine") { value } }"#).await;
    for _ in 0..100 {
        data(&b, r#"{ text(value: "shared") { value } }"#).await;
    }
    assert_eq!((lab.live(), lab.runs("text")), (2, 2));
    a.release();
    a.release();
    assert_eq!(lab.live(), 1, "what only `a` owned is gone");
    assert_eq!(data(&b, r#"{ text(value: "shared") { value } }"#).await["text"]["value"], "shared");
    assert_eq!(errors(&a, "{ text { value } }").await, ["- the session is closed"]);
    drop(b);
    assert_eq!(lab.live(), 0);
    assert_eq!(server.cache().stats(), CacheStats::default());
}

#[tokio::test]
async fn a_call_that_ends_after_its_session_returns_and_keeps_nothing() {
    let lab = Lab::gated();
    let server = server(&lab);
    let session = session(&server, "s");
    let query = spawn(&session, "{ wait }", &CancellationToken::new());
    lab.begun.notified().await;
    session.release();
    let response = query.await.expect("ends");
    assert_eq!(response.errors[0].message(), "the session is closed");
    assert_eq!(server.cache().stats(), CacheStats::default());
}

#[tokio::test]
async fn a_result_is_found_by_the_id_it_came_with() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    // `upper` returns the object of another call; its own key and that ID lead to one entry each.
    let answer = data(&session, r#"{ text(value: "a") { upper { id value } } direct: text(value: "A") { id } }"#).await;
    assert_eq!(answer["text"]["upper"]["id"], answer["direct"]["id"]);
    assert_eq!(answer["text"]["upper"]["value"], "A");
    assert_eq!(lab.runs("text"), 2);
}

#[tokio::test]
async fn content_is_an_index_and_not_an_owner() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    data(&a, r#"{ text(value: "a") { append(with: "b") { value } } }"#).await;
    let content = Scheme::Blake3.rules().strings("text", &["ab"]);
    let found = server.cache().table.find(IndexKind::Content, &content, b.key(), 0);
    assert_eq!(found.and_then(|value| value.as_object().map(|object| object.type_name().to_owned())).as_deref(), Some("Text"));
    a.release();
    let found = server.cache().table.find(IndexKind::Content, &content, b.key(), 0);
    assert!(found.is_some(), "`b` adopted it by finding it");
    b.release();
    assert_eq!(server.cache().stats(), CacheStats::default());
    let c = session(&server, "c");
    assert!(server.cache().table.find(IndexKind::Content, &content, c.key(), 0).is_none());
}

#[tokio::test]
async fn policies_share_as_they_say() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    for (field, runs) in [
        ("text", 1),
        ("clientText", 2),
        ("sessionText", 2),
        ("callText", 4),
        ("schemaText", 1),
        ("neverText", 4),
        ("requestedText", 2),
        ("requestedText(fresh: true)", 4),
    ] {
        let name = field.split('(').next().expect("a name");
        let before = lab.runs(name);
        for session in [&a, &a, &b, &b] {
            data(session, &format!("{{ {field} {{ value }} }}")).await;
        }
        assert_eq!(lab.runs(name) - before, runs, "{field}");
    }
}

#[tokio::test]
async fn a_directive_scopes_one_call_and_is_recorded() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    for (directive, runs) in [
        ("", 1),
        ("@cache(scope: CLIENT)", 2),
        ("@cache(scope: SESSION)", 2),
        ("@cache(scope: CALL)", 4),
        (r#"@cache(key: "k")"#, 1),
        (r#"@cache(ttl: "1h")"#, 1),
        (r#"@cache(ttl: "1h", key: "k", scope: CLIENT)"#, 2),
    ] {
        let before = lab.runs("append");
        for session in [&a, &a, &b, &b] {
            let query = format!("{{ text {{ append(with: \"b\") {directive} {{ value }} }} }}");
            assert_eq!(data(session, &query).await["text"]["append"]["value"], "xb");
        }
        assert_eq!(lab.runs("append") - before, runs, "{directive}");
    }
    let query = r#"{ text @cache(ttl: "1h30m", key: "k", scope: SESSION) { id } }"#;
    let id = text_id(&a, query).await;
    let recorded: Vec<_> = id.implicit_inputs().iter().map(|input| (input.scope(), input.value().to_owned())).collect();
    assert_eq!(
        recorded,
        [
            (Some(Scope::Key), "k".to_owned()),
            (Some(Scope::Session), "a".to_owned()),
            (Some(Scope::Ttl), "5400".to_owned()),
        ]
    );
    for (directive, expected) in [
        ("@cache", "1:3 @cache needs scope, ttl or key"),
        (r#"@cache(ttl: "soon")"#, "1:15 @cache(ttl): `soon` is not a duration: write for example 90s, 15m, 1h30m or 7d"),
        ("@cache(scope: GLOBAL)", "1:15 @cache(scope): expected CLIENT, SESSION or CALL"),
    ] {
        assert_eq!(errors(&a, &format!("{{ text {directive} {{ value }} }}")).await, [expected]);
    }
}

#[tokio::test]
async fn an_id_of_another_client_is_a_hit_while_cached_and_refused_afterwards() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    let id = data(&a, r#"{ clientText(value: "of a") { id } }"#).await["clientText"]["id"].clone();
    let query = format!("{{ loadTextFromID(id: {id}) {{ value id }} }}");
    let loaded = data(&b, &query).await;
    assert_eq!(loaded["loadTextFromID"]["value"], "of a");
    assert_eq!(loaded["loadTextFromID"]["id"], id, "loading does not rescope");
    drop((a, b));
    let c = session(&server, "c");
    let found = errors(&c, &query).await;
    assert!(found[0].contains("belongs to another client, is no longer cached"), "{found:?}");
    // The client itself may compute it again, in a later session too.
    let again = session(&server, "a");
    assert_eq!(data(&again, &query).await["loadTextFromID"]["value"], "of a");
    assert_eq!(lab.runs("clientText"), 2);
}

#[tokio::test]
async fn a_cached_leaf_is_loaded_without_its_chain() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let a = session(&server, "a");
    let answer = data(&a, r#"{ text(value: "a") { append(with: "b") { id } } }"#).await;
    let id = answer["text"]["append"]["id"].clone();
    let query = format!("{{ loadTextFromID(id: {id}) {{ value }} }}");
    let b = session(&server, "b");
    assert_eq!(data(&b, &query).await["loadTextFromID"]["value"], "ab");
    a.release();
    // `b` adopted the leaf alone; the chain below it is gone.
    assert_eq!(data(&b, &query).await["loadTextFromID"]["value"], "ab");
    assert_eq!((lab.runs("text"), lab.runs("append")), (1, 1));
    b.release();
    assert_eq!(data(&session(&server, "c"), &query).await["loadTextFromID"]["value"], "ab");
    assert_eq!((lab.runs("text"), lab.runs("append")), (2, 2));
}

#[tokio::test]
async fn an_id_of_another_type_or_shape_is_refused() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    for (call, expected) in [
        (crate::Call::new("nope", TypeRef::named("Text").non_null()), "the ID cannot be loaded: type Query has no field nope"),
        (crate::Call::new("number", TypeRef::named("Text").non_null()), "the ID's call Query.number: it claims to return Text!, the schema says Number!"),
        (crate::Call::new("text", TypeRef::named("Text").non_null()).arg("value", 7_i64), "the ID's call Query.text: argument value: expected String, got an integer"),
        (crate::Call::new("text", TypeRef::named("Text").non_null()).arg("vaule", "x"), "the ID's call Query.text: field text has no argument vaule; did you mean value?"),
        (crate::Call::new("loadTextFromID", TypeRef::named("Text").non_null()), "the ID's call Query.loadTextFromID: it is not a call that can be replayed"),
    ] {
        let id = crate::Id::root(call);
        let error = session.load(&id, CancellationToken::new()).await.expect_err("refused");
        assert_eq!(error.message(), expected);
    }
}

#[tokio::test]
async fn sensitive_arguments_stay_out_of_ids_and_messages() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let a = session(&server, "a");
    let answer = data(&a, r#"{ secret(plaintext: "hunter2") { id value } }"#).await;
    assert_eq!(answer["secret"]["value"], "7");
    let id = answer["secret"]["id"].as_str().expect("an ID");
    let decoded = crate::Id::decode(id).expect("our own");
    assert!(decoded.arg("plaintext").is_none());
    let query = format!(r#"{{ loadTextFromID(id: "{id}") {{ value }} }}"#);
    assert_eq!(data(&a, &query).await["loadTextFromID"]["value"], "7");
    a.release();
    let found = errors(&session(&server, "b"), &query).await;
    assert!(found[0].contains("an ID does not carry sensitive arguments"), "{found:?}");
    let response = run(&session(&server, "c"), r#"{ secret(plaintext: ["hunter2"]) { id } }"#).await;
    assert!(!format!("{:?}", response.errors).contains("hunter2"));
}

/// A cache whose clock the test moves.
fn clocked(rows: Arc<dyn Rows>) -> (Cache, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = Arc::clone(&now);
    let cache = Cache::in_memory()
        .with_rows(rows)
        .with_clock(move || clock.load(Ordering::Relaxed));
    (cache, now)
}

fn rows() -> (Arc<SqliteRows>, tempdir::Dir) {
    let dir = tempdir::Dir::new();
    let rows = SqliteRows::open(&dir.path().join("calls.db")).expect("opens");
    (Arc::new(rows), dir)
}

/// A directory that goes away with the test.
mod tempdir {
    use std::path::{Path, PathBuf};

    pub(super) struct Dir(PathBuf);

    impl Dir {
        pub(super) fn new() -> Self {
            let name = crate::policy::random_text().expect("random");
            let path = std::env::temp_dir().join(format!("dagql-{name}"));
            std::fs::create_dir(&path).expect("creates");
            Self(path)
        }

        pub(super) fn path(&self) -> &Path {
            &self.0
        }
    }

    impl Drop for Dir {
        fn drop(&mut self) {
            let _ = std::fs::remove_dir_all(&self.0);
        }
    }
}

#[tokio::test]
async fn a_result_with_a_ttl_is_reused_before_its_expiry_and_rotated_after() {
    let (rows, _dir) = rows();
    let lab = Arc::new(Lab::default());
    let (cache, now) = clocked(rows);
    let server = server_with(&lab, cache);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    for session in [&a, &b, &a] {
        data(session, "{ ttlText { value } }").await;
    }
    assert_eq!(lab.runs("ttlText"), 1);
    now.fetch_add(59, Ordering::Relaxed);
    data(&a, "{ ttlText { value } }").await;
    assert_eq!(lab.runs("ttlText"), 1);
    now.fetch_add(1, Ordering::Relaxed);
    data(&a, "{ ttlText { value } }").await;
    data(&b, "{ ttlText { value } }").await;
    assert_eq!(lab.runs("ttlText"), 2);
    // Both results live while somebody owns them; releasing takes each with its own rows.
    assert_eq!(server.cache().stats().entries, 2 + 1, "two texts, and the value of `value`");
    drop((a, b));
    assert_eq!(server.cache().stats(), CacheStats::default());
}

#[tokio::test]
async fn the_storage_key_outlives_the_process_until_it_expires() {
    let (rows, _dir) = rows();
    let key = digest("blake3:call");
    let ttl = Duration::from_secs(60);
    let (first, now) = clocked(Arc::<SqliteRows>::clone(&rows));
    let lease = first.lease(&key, "one", ttl).await;
    assert_eq!(first.lease(&key, "one", ttl).await, lease, "nothing is written before success");
    first.keep(&key, &lease).await;
    let (second, later) = clocked(rows);
    later.store(now.load(Ordering::Relaxed) + 59, Ordering::Relaxed);
    let reused = second.lease(&key, "two", ttl).await;
    assert_eq!(reused.storage_key, lease.storage_key);
    assert_eq!(reused.expires, lease.expires, "reuse does not lengthen the life");
    later.fetch_add(1, Ordering::Relaxed);
    let rotated = second.lease(&key, "two", ttl).await;
    assert_ne!(rotated.storage_key, lease.storage_key);
}

#[tokio::test]
async fn of_concurrent_writers_the_first_wins() {
    let (rows, _dir) = rows();
    let key = digest("blake3:call");
    let (cache, _) = clocked(rows);
    let ttl = Duration::from_secs(60);
    let one = cache.lease(&key, "one", ttl).await;
    let two = cache.lease(&key, "two", ttl).await;
    assert_ne!(one.storage_key, two.storage_key);
    cache.keep(&key, &one).await;
    cache.keep(&key, &two).await;
    assert_eq!(cache.lease(&key, "three", ttl).await.storage_key, one.storage_key);
}

#[tokio::test]
async fn an_unsafe_or_failed_result_leaves_no_row() {
    let (rows, _dir) = rows();
    let lab = Arc::new(Lab::default());
    let mut builder = crate::testing::builder(&lab);
    for (name, fails) in [("private", false), ("failing", true)] {
        builder.query(
            crate::Field::new(name, "String!")
                .cache(crate::CachePolicy::Ttl(Duration::from_secs(60)))
                .resolve(move |cx, _, _| async move {
                    cx.do_not_persist();
                    if fails { Err(Error::input("no")) } else { Ok("yes") }
                }),
        );
    }
    builder.query(
        crate::Field::new("kept", "String!")
            .cache(crate::CachePolicy::Ttl(Duration::from_secs(60)))
            .resolve(|cx, _, _| async move { Ok(cx.call().storage_key.to_string()) }),
    );
    let (cache, _) = clocked(Arc::<SqliteRows>::clone(&rows));
    let server = crate::Server::new(builder.build().expect("valid"), cache, Arc::new(crate::Unobserved));
    let session = session(&server, "s");
    run(&session, "{ private failing }").await;
    assert_eq!(rows.count(), 0);
    let answer = data(&session, "{ kept }").await;
    assert_eq!(rows.count(), 1);
    assert!(answer["kept"].as_str().is_some_and(|key| key.starts_with("blake3:")));
}

#[test]
fn a_broken_or_lost_file_is_a_slower_run() {
    let dir = tempdir::Dir::new();
    let path = dir.path().join("calls.db");
    std::fs::write(&path, b"this is not a database, it only looks long enough to be one").expect("writes");
    let rows = SqliteRows::open(&path).expect("replaces it");
    let row = Row { storage_key: "blake3:a".to_owned(), expires: u64::MAX };
    rows.put("k", &row, None, 0).expect("writes");
    drop(rows);
    let rows = SqliteRows::open(&path).expect("opens it again");
    let found = rows.get("k").expect("reads");
    assert_eq!(found.map(|row| row.storage_key).as_deref(), Some("blake3:a"));
    // A table of another shape is replaced as well.
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection.execute_batch("DROP TABLE calls; CREATE TABLE calls (other TEXT)").expect("changes");
    drop((rows, connection));
    let rows = SqliteRows::open(&path).expect("replaces it");
    assert_eq!(rows.get("k").expect("reads"), None);
    assert!(SqliteRows::open(&dir.path().join("no/such/dir.db")).is_err());
}

fn completion(value: &str) -> Completion<Arc<str>> {
    Completion {
        value: value.into(),
        expires: None,
        rows: Vec::new(),
    }
}

fn runs(claim: Claim<Arc<str>>) -> (super::table::Ticket<Arc<str>>, super::table::Waiter<Arc<str>>) {
    match claim {
        Claim::Run(ticket, waiter) => (ticket, waiter),
        _ => panic!("expected to run"),
    }
}

#[test]
fn the_loser_of_a_double_completion_gets_the_winners_value() {
    let table = Table::new();
    let (a, b) = (table.open_session(), table.open_session());
    let key = digest("k");
    let (one, first) = runs(table.claim(&key, a, None, 0));
    let (two, second) = runs(table.claim(&key, b, None, 0));
    let losing: Arc<str> = "second".into();
    let lost = Arc::downgrade(&losing);
    one.complete(Ok(completion("first")), 0);
    two.complete(Ok(Completion { value: losing, expires: None, rows: Vec::new() }), 0);
    assert_eq!(first.wait().now_or_never().expect("done").expect("stored").as_ref(), "first");
    assert_eq!(second.wait().now_or_never().expect("done").expect("stored").as_ref(), "first");
    assert!(lost.upgrade().is_none(), "the loser's value is released");
    assert_eq!(table.stats().entries, 1);
}

#[test]
fn a_late_success_after_everybody_left_is_dropped() {
    let table = Table::new();
    let session = table.open_session();
    let (ticket, waiter) = runs(table.claim(&digest("k"), session, None, 0));
    drop(waiter);
    assert!(ticket.stop().is_cancelled());
    // A new caller does not join the dying flight.
    let (again, _waiter) = runs(table.claim(&digest("k"), session, None, 0));
    let value: Arc<str> = "late".into();
    let late = Arc::downgrade(&value);
    ticket.complete(Ok(Completion { value, expires: None, rows: Vec::new() }), 0);
    assert!(late.upgrade().is_none());
    assert_eq!((table.stats().entries, table.stats().in_flight), (0, 1));
    again.complete(Ok(completion("new")), 0);
    assert!(matches!(table.claim(&digest("k"), session, None, 0), Claim::Hit(value) if &*value == "new"));
}

#[test]
fn a_failing_call_does_not_evict_a_live_result() {
    let table = Table::new();
    let (a, b) = (table.open_session(), table.open_session());
    let key = digest("k");
    let (one, _first) = runs(table.claim(&key, a, None, 0));
    let (two, second) = runs(table.claim(&key, b, None, 0));
    one.complete(Ok(completion("good")), 0);
    two.complete(Err(Error::input("bad")), 0);
    assert!(second.wait().now_or_never().expect("done").is_err());
    assert!(matches!(table.claim(&key, b, None, 0), Claim::Hit(_)));
}

#[test]
fn an_aborted_task_fails_its_waiters() {
    let table = Table::new();
    let session = table.open_session();
    let (ticket, waiter) = runs(table.claim(&digest("k"), session, None, 0));
    drop::<super::table::Ticket<Arc<str>>>(ticket);
    let error = waiter.wait().now_or_never().expect("told").expect_err("aborted");
    assert_eq!(error.kind(), crate::Kind::Cancelled);
    assert_eq!(table.stats().in_flight, 0);
}

#[test]
fn releasing_an_old_result_leaves_the_newer_one_of_its_key() {
    let table = Table::new();
    let (a, b) = (table.open_session(), table.open_session());
    let key = digest("k");
    let timed = |value: &str, expires| Completion { expires: Some(expires), ..completion(value) };
    let (ticket, _w) = runs(table.claim(&key, a, None, 0));
    ticket.complete(Ok(timed("old", 10)), 0);
    let (ticket, _w) = runs(table.claim(&key, b, None, 10));
    ticket.complete(Ok(timed("new", 20)), 10);
    table.release_session(a);
    assert!(matches!(table.claim(&key, b, None, 11), Claim::Hit(value) if &*value == "new"));
}

#[test]
fn equal_rows_survive_the_release_of_their_first_entry() {
    let table = Table::new();
    let (a, b) = (table.open_session(), table.open_session());
    let content = |value: &str| Completion {
        rows: vec![(IndexKind::Content, digest("c"))],
        ..completion(value)
    };
    let (ticket, _w) = runs(table.claim(&digest("k1"), a, None, 0));
    ticket.complete(Ok(content("one")), 0);
    let (ticket, _w) = runs(table.claim(&digest("k2"), b, None, 0));
    ticket.complete(Ok(content("two")), 0);
    let find = || table.find(IndexKind::Content, &digest("c"), b, 0);
    table.release_session(a);
    assert_eq!(find().as_deref(), Some("two"));
}
