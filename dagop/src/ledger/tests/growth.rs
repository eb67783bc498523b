//! A ledger that grows: it stays within its limits, and answers stay as fast as they were.

use std::time::{Duration, Instant};

use super::facts::pipeline;
use super::*;
use crate::explain;

fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let begun = Instant::now();
    let done = work();
    (begun.elapsed(), done)
}

/// Every table has as many rows as builds can hold that are kept, not as builds that ever were.
#[tokio::test]
async fn what_is_shared_goes_with_the_last_build_that_used_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let limits = Limits {
        builds_max: 5,
        ..Limits::default()
    };
    let ledger = Ledger::start_with(path.clone(), limits);
    for build in 0..64 {
        // Ten steps of its own for each build: `changed` counts from the bottom of a chain.
        let mut events = pipeline(10, 0);
        for event in &mut events {
            let renamed = |digest: &str| {
                format!(
                    "blake3:{}",
                    blake3::hash(format!("{build}{digest}").as_bytes())
                )
            };
            match event {
                Event::CallStarted(call) => call.call_key = renamed(&call.call_key),
                Event::Lowered(lowered) => {
                    for vertex in &mut lowered.vertices {
                        vertex.canonical = renamed(&vertex.canonical);
                    }
                }
                _ => {}
            }
        }
        record(&ledger, &events).await;
    }
    let database = rusqlite::Connection::open(&path).unwrap();
    for (table, most) in [
        ("builds", 6),
        ("calls", 60),
        ("vertices", 60),
        // Swept once in sixteen builds.
        ("requests", 220),
        ("operations", 220),
        ("packs", 22),
    ] {
        let count = format!("SELECT count(*) FROM {table}");
        let count: i64 = database.query_row(&count, [], |row| row.get(0)).unwrap();
        assert!((1..=most).contains(&count), "{count} rows in {table}");
    }
}

/// A bench, run by `hack/bench-ledger growth`: prints a table, asserts no time.
#[tokio::test]
#[ignore = "a bench of a minute: hack/bench-ledger growth"]
async fn a_thousand_builds_of_a_hundred_steps() {
    let directory = tempfile::tempdir().unwrap();
    for (name, builds_max) in [
        ("all are kept", 2000),
        ("the default limit", Limits::default().builds_max),
    ] {
        let path = directory.path().join(format!("{builds_max}.db"));
        let limits = Limits {
            builds_max,
            ..Limits::default()
        };
        let ledger = Ledger::start_with(path.clone(), limits);
        println!("{name}:");
        println!(
            "{:>7} {:>10} {:>10} {:>9} {:>9} {:>9} {:>9}",
            "builds", "record_ms", "file_kib", "keys_ms", "why_ms", "why*_ms", "bundle_ms"
        );
        let mut recording = Duration::ZERO;
        for number in 1..=1000_u64 {
            // One step in ten is edited now and then, so that there is something to explain.
            let events = pipeline(100, number / 3 % 10);
            let begun = Instant::now();
            record(&ledger, &events).await;
            recording += begun.elapsed();
            if ![1, 10, 100, 250, 500, 1000].contains(&number) {
                continue;
            }
            let reader = Reader::open(&path).unwrap();
            let id = reader.find("last").unwrap().id;
            let (keys, _) = timed(|| Report::read(&reader, &id).unwrap().key_table());
            let (one, _) = timed(|| explain::why(&reader, &id, "100", None).unwrap());
            let (every, _) = timed(|| explain::why(&reader, &id, "*", None).unwrap());
            let target = directory
                .path()
                .join(format!("{builds_max}-{number}.bundle"));
            let (bundle, _) = timed(|| {
                let against = explain::compared_with(&reader, &id).unwrap();
                bundle::write(&path, &id, &against, &target, &|_| false).unwrap();
            });
            let wal = schema::wal_of(&path);
            let bytes = [&path, &wal].map(|file| fs::metadata(file).map_or(0, |data| data.len()));
            println!(
                "{number:>7} {:>10.2} {:>10} {:>9.1} {:>9.1} {:>9.1} {:>9.1}",
                recording.as_secs_f64() * 1000.0 / number as f64,
                bytes.iter().sum::<u64>() / 1024,
                keys.as_secs_f64() * 1000.0,
                one.as_secs_f64() * 1000.0,
                every.as_secs_f64() * 1000.0,
                bundle.as_secs_f64() * 1000.0,
            );
            let kept = reader.builds(usize::MAX).unwrap().len();
            assert!(kept <= builds_max as usize + 1, "{kept} builds");
        }
    }
}
