//! Calls with a time to live, under a clock that the test moves, and the table that outlives them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Cache, LeaseStats, Row, Rows, SqliteRows};
use crate::testing::{Lab, data, run, server_with, session};
use crate::{Digest, Error};

fn digest(text: &str) -> Digest {
    Digest::parse(text).expect("well formed")
}

/// A cache whose clock the test moves.
fn clocked(rows: Arc<dyn Rows>) -> (Cache, Arc<AtomicU64>) {
    let now = Arc::new(AtomicU64::new(1_000_000));
    let clock = Arc::clone(&now);
    let cache = Cache::in_memory()
        .with_budget(0)
        .with_rows(rows)
        .with_clock(move || clock.load(Ordering::Relaxed));
    (cache, now)
}

fn rows() -> (Arc<SqliteRows>, tempfile::TempDir) {
    let dir = tempfile::tempdir().expect("creates");
    let rows = SqliteRows::open(&dir.path().join("calls.db")).expect("opens");
    (Arc::new(rows), dir)
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
    // The first text and its `value` are gone, whoever owned them: nobody can find them.
    let stats = server.cache().stats();
    assert_eq!((stats.entries, stats.owned, stats.expired), (2, 2, 2));
    drop((a, b));
    assert!(server.cache().stats().is_empty());
}

#[tokio::test]
async fn the_storage_key_outlives_the_process_until_it_expires() {
    let (rows, _dir) = rows();
    let key = digest("blake3:call");
    let ttl = Duration::from_secs(60);
    let (first, now) = clocked(Arc::<SqliteRows>::clone(&rows));
    let lease = first.lease(&key, "one", ttl).await;
    assert_eq!(
        first.lease(&key, "one", ttl).await,
        lease,
        "nothing is written before success"
    );
    first.keep(&key, &lease).await;
    let (second, later) = clocked(rows);
    later.store(now.load(Ordering::Relaxed) + 59, Ordering::Relaxed);
    let reused = second.lease(&key, "two", ttl).await;
    assert_eq!(reused.storage_key, lease.storage_key);
    assert_eq!(
        reused.expires, lease.expires,
        "reuse does not lengthen the life"
    );
    later.fetch_add(1, Ordering::Relaxed);
    let rotated = second.lease(&key, "two", ttl).await;
    assert_ne!(rotated.storage_key, lease.storage_key);
}

/// What a plan looks at must not begin the time to live of what a run makes later.
#[tokio::test]
async fn a_read_only_cache_knows_the_rows_and_begins_none() {
    let (rows, _dir) = rows();
    let lab = Arc::new(Lab::default());
    let (cache, _) = clocked(Arc::<SqliteRows>::clone(&rows));
    let aside = server_with(&lab, cache.read_only());
    data(&session(&aside, "plan"), "{ ttlText { value } }").await;
    assert_eq!(rows.count(), 0);
    let server = server_with(&lab, cache);
    let run = session(&server, "run");
    data(&run, "{ ttlText { value } }").await;
    assert_eq!((rows.count(), lab.runs("ttlText")), (1, 2));
    let key = digest("blake3:call");
    let ttl = Duration::from_secs(60);
    let writer = server.cache();
    writer
        .keep(&key, &writer.lease(&key, "run", ttl).await)
        .await;
    let reader = writer.read_only();
    assert_eq!(
        reader.lease(&key, "plan", ttl).await,
        writer.lease(&key, "run", ttl).await
    );
}

#[test]
fn storage_keys_on_disk_are_counted() {
    let dir = tempfile::tempdir().expect("creates");
    let path = dir.path().join("calls.db");
    assert_eq!(
        super::lease_stats(&path).expect("nothing"),
        LeaseStats::default()
    );
    assert!(!path.exists(), "counting makes no file");
    let rows = SqliteRows::open(&path).expect("opens");
    for (key, expires) in [("a", 1), ("b", u64::MAX), ("c", u64::MAX)] {
        let storage_key = "blake3:s".to_owned();
        let row = Row {
            storage_key,
            expires,
        };
        rows.put(key, &row, None, 0).expect("writes");
    }
    let stats = super::lease_stats(&path).expect("reads");
    assert_eq!((stats.valid, stats.expired), (2, 1));
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
    assert_eq!(
        cache.lease(&key, "three", ttl).await.storage_key,
        one.storage_key
    );
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
                    if fails {
                        Err(Error::input("no"))
                    } else {
                        Ok("yes")
                    }
                }),
        );
    }
    builder.query(
        crate::Field::new("kept", "String!")
            .cache(crate::CachePolicy::Ttl(Duration::from_secs(60)))
            .resolve(|cx, _, _| async move { Ok(cx.call().storage_key.to_string()) }),
    );
    let (cache, _) = clocked(Arc::<SqliteRows>::clone(&rows));
    let server = crate::Server::new(
        builder.build().expect("valid"),
        cache,
        Arc::new(crate::Unobserved),
    );
    let session = session(&server, "s");
    run(&session, "{ private failing }").await;
    assert_eq!(rows.count(), 0);
    let answer = data(&session, "{ kept }").await;
    assert_eq!(rows.count(), 1);
    assert!(
        answer["kept"]
            .as_str()
            .is_some_and(|key| key.starts_with("blake3:"))
    );
}

#[test]
fn a_broken_or_lost_file_is_a_slower_run() {
    let dir = tempfile::tempdir().expect("creates");
    let path = dir.path().join("calls.db");
    std::fs::write(
        &path,
        b"this is not a database, it only looks long enough to be one",
    )
    .expect("writes");
    let rows = SqliteRows::open(&path).expect("replaces it");
    let row = Row {
        storage_key: "blake3:a".to_owned(),
        expires: u64::MAX,
    };
    rows.put("k", &row, None, 0).expect("writes");
    drop(rows);
    let rows = SqliteRows::open(&path).expect("opens it again");
    let found = rows.get("k").expect("reads");
    assert_eq!(
        found.map(|row| row.storage_key).as_deref(),
        Some("blake3:a")
    );
    // A table of another shape is replaced as well.
    let connection = rusqlite::Connection::open(&path).expect("opens");
    connection
        .execute_batch("DROP TABLE calls; CREATE TABLE calls (other TEXT)")
        .expect("changes");
    drop((rows, connection));
    let rows = SqliteRows::open(&path).expect("replaces it");
    assert_eq!(rows.get("k").expect("reads"), None);
    assert!(SqliteRows::open(&dir.path().join("no/such/dir.db")).is_err());
}
