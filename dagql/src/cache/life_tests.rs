//! How long results stay: budget, sessions, expiry, and what was made from what.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Cache;
use super::blobs::{Bench, server};
use crate::testing::{data, session};
use crate::{Server, Session};

fn start(cache: Cache) -> (Arc<Bench>, Server, Arc<Session>) {
    let bench = Arc::new(Bench::default());
    let server = server(&bench, cache);
    let session = session(&server, "a");
    (bench, server, session)
}

fn clocked() -> (Cache, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = Arc::clone(&now);
    let cache = Cache::in_memory().with_clock(move || clock.load(Ordering::Relaxed));
    (cache, now)
}

#[tokio::test]
async fn the_next_session_finds_what_the_last_one_left() {
    let (bench, server, a) = start(Cache::in_memory());
    let query = r#"{ blob { grow(by: "x") { size } } }"#;
    data(&a, query).await;
    drop(a);
    let stats = server.cache().stats();
    assert_eq!((stats.entries, stats.owned, stats.retained), (3, 0, 3));
    data(&session(&server, "b"), query).await;
    assert_eq!(
        (bench.runs("blob"), bench.runs("grow"), bench.runs("size")),
        (1, 1, 1)
    );
}

#[tokio::test]
async fn above_the_budget_the_least_recently_used_goes_first() {
    let (bench, server, a) = start(Cache::in_memory());
    for name in 0..8 {
        data(&a, &format!(r#"{{ blob(name: "{name}") {{ id }} }}"#)).await;
    }
    data(&a, r#"{ blob(name: "0") { id } }"#).await;
    assert_eq!(
        server.cache().stats().entries,
        8,
        "owned results are over no budget"
    );
    drop(a);
    let full = server.cache().stats().bytes;
    let cache = server.cache().clone().with_budget(full / 2);
    let stats = cache.stats();
    assert!(stats.bytes <= full / 2, "{stats:?}");
    assert_eq!(stats.evicted as usize, 8 - stats.entries);
    assert_eq!(bench.live(), stats.entries);
    let b = session(&server, "b");
    data(&b, r#"{ blob(name: "0") { id } }"#).await;
    assert_eq!(bench.runs("blob"), 8, "it was used last");
    data(&b, r#"{ blob(name: "1") { id } }"#).await;
    assert_eq!(bench.runs("blob"), 9, "it was used first");
    drop(b);
    assert!(cache.with_budget(0).stats().is_empty());
    assert_eq!(bench.live(), 0);
}

#[tokio::test]
async fn what_is_bound_goes_with_its_session_and_nothing_below_it_is_stale() {
    let (bench, server, a) = start(Cache::in_memory());
    let query = r#"{ clientBlob(bound: true) { grow(by: "x") { size } } }"#;
    data(&a, query).await;
    assert_eq!(bench.live(), 2);
    drop(a);
    assert_eq!(bench.live(), 0, "the data is bound");
    data(&session(&server, "a"), query).await;
    // Who knows whether the data is still the same.
    let runs = |what| bench.runs(what);
    assert_eq!((runs("clientBlob"), runs("grow"), runs("size")), (2, 2, 2));
}

#[tokio::test]
async fn what_was_made_from_an_argument_that_is_bound_goes_with_it() {
    let (bench, server, a) = start(Cache::in_memory());
    let other = r#"{ blob(name: "o", bound: true) { id } }"#;
    let id = data(&a, other).await["blob"]["id"].clone();
    let query = format!(r#"{{ blob {{ weigh(other: {id}) }} }}"#);
    data(&a, &query).await;
    data(&a, &query).await;
    assert_eq!(bench.runs("weigh"), 1);
    let b = session(&server, "b");
    data(&b, &query).await;
    assert_eq!(bench.runs("weigh"), 2, "it is not the other session's");
    drop((a, b));
    let stats = server.cache().stats();
    assert_eq!((stats.entries, bench.live()), (1, 1), "the receiver stays");
}

#[tokio::test]
async fn a_client_asks_again_in_its_next_session() {
    let (bench, server, a) = start(Cache::in_memory());
    let query = "{ clientBlob { size } }";
    let same = session(&server, "a");
    data(&a, query).await;
    data(&same, query).await;
    assert_eq!(
        (bench.runs("clientBlob"), bench.runs("size")),
        (1, 1),
        "one client"
    );
    drop((a, same));
    data(&session(&server, "a"), query).await;
    assert_eq!((bench.runs("clientBlob"), bench.runs("size")), (2, 2));
}

#[tokio::test]
async fn nothing_below_an_expired_result_is_stale() {
    let (cache, now) = clocked();
    let (bench, server, a) = start(cache);
    let query = r#"{ ttlBlob { size grow(by: "x") { size } } }"#;
    let id = data(&a, r#"{ ttlBlob { id } }"#).await["ttlBlob"]["id"].clone();
    let weigh = format!(r#"{{ blob {{ weigh(other: {id}) }} }}"#);
    for _ in 0..2 {
        data(&a, query).await;
        data(&a, &weigh).await;
    }
    assert_eq!((bench.runs("ttlBlob"), bench.runs("size")), (1, 2));
    assert_eq!((bench.runs("grow"), bench.runs("weigh")), (1, 1));
    now.fetch_add(60, Ordering::Relaxed);
    let stats = server.cache().stats();
    assert_eq!(
        (stats.entries, stats.expired),
        (1, 5),
        "nobody can find them"
    );
    assert_eq!(bench.live(), 1);
    data(&a, query).await;
    data(&a, &weigh).await;
    assert_eq!((bench.runs("ttlBlob"), bench.runs("size")), (2, 4));
    assert_eq!((bench.runs("grow"), bench.runs("weigh")), (2, 2));
}

#[tokio::test]
async fn an_object_that_expired_in_the_hands_of_a_session_stays_what_it_is() {
    let (cache, now) = clocked();
    let (bench, server, a) = start(cache);
    let cancel = tokio_util::sync::CancellationToken::new;
    let old = a
        .select(&a.root(), "ttlBlob", vec![], cancel())
        .await
        .and_then(crate::Value::into_object)
        .expect("an object");
    now.fetch_add(60, Ordering::Relaxed);
    data(&a, "{ ttlBlob { size } }").await;
    assert_eq!(bench.live(), 2, "the old one is held");
    for _ in 0..2 {
        a.select(&old, "size", vec![], cancel())
            .await
            .expect("it is still of use");
    }
    assert_eq!(bench.runs("size"), 3, "nothing new is kept of it");
    drop((old, a));
    assert_eq!(bench.live(), 1);
    now.fetch_add(60, Ordering::Relaxed);
    assert!(server.cache().stats().is_empty());
    assert_eq!(bench.live(), 0);
}

#[tokio::test]
async fn what_is_made_from_a_call_that_is_never_cached_is_made_again() {
    let (bench, _server, a) = start(Cache::in_memory());
    for _ in 0..2 {
        data(&a, "{ neverBlob { size } }").await;
    }
    assert_eq!((bench.runs("neverBlob"), bench.runs("size")), (2, 2));
}

#[tokio::test]
async fn calls_that_are_never_cached_do_not_join() {
    let (bench, server, a) = start(Cache::in_memory());
    let both = "{ one: neverBlob { id } two: neverBlob { id } }";
    data(&a, both).await;
    assert_eq!(bench.runs("neverBlob"), 2);
    assert_eq!(bench.live(), 0, "nobody holds them");
    assert_eq!(server.cache().stats().entries, 0);
}

#[tokio::test]
async fn a_second_name_goes_with_its_result() {
    let lab = Arc::new(crate::testing::Lab::default());
    let server = crate::testing::server(&lab);
    let session = session(&server, "s");
    // `upper` gives what another call named: one object, two entries and no name besides.
    data(&session, r#"{ text(value: "a") { upper { value } } }"#).await;
    let stats = server.cache().stats();
    assert_eq!((stats.entries, lab.live()), (4, 2));
    drop(session);
    assert_eq!(lab.live(), 0);
    assert!(server.cache().stats().is_empty());
}
