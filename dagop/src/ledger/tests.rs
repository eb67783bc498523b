//! The ledger from outside: what is told to a recorder comes back from a reader, whatever happens
//! to the file, its other users and their processes.

use std::fs;
use std::path::Path;

use super::*;
use crate::event::*;
use crate::report::Report;

mod bundles;
mod facts;
mod growth;
mod processes;

fn call(call: u64, display: &str) -> Event {
    Event::CallStarted(CallStarted {
        call,
        parent: (call > 1).then(|| call - 1),
        path: "container.withExec".into(),
        display: display.into(),
        call_key: format!("blake3:{call:064x}"),
        scopes: vec![ScopeInput {
            name: "session".into(),
            value: "s1".into(),
        }],
        storage_key: format!("blake3:{:064x}", call + 1000),
        at_ms: 100 + call,
    })
}

fn finished(call: u64, end: CallEnd) -> Event {
    Event::CallFinished(CallFinished {
        call,
        end,
        error: None,
        at_ms: 200 + call,
    })
}

fn lowered(call: u64, kind: VertexKind) -> Event {
    Event::Lowered(Lowered {
        call,
        kind: DagOpKind::Ctr,
        vertices: vec![PlannedVertex {
            raw: raw(call),
            canonical: format!("sha256:c{call}"),
            name: format!("step {call}"),
            kind,
            predicted_cache_map: Some(format!("sha256:p{call}")),
            operation: None,
        }],
    })
}

fn raw(call: u64) -> String {
    format!("sha256:r{call}")
}

fn vertex(call: u64, cached: bool) -> Event {
    Event::Vertex(VertexUpdate {
        digest: raw(call),
        name: format!("step {call}"),
        started_ms: Some(150),
        completed_ms: Some(180),
        cached,
        not_needed: false,
        error: None,
    })
}

fn transfer(call: u64, id: &str, current: u64) -> Event {
    Event::Transfer(Transfer {
        vertex: raw(call),
        id: id.into(),
        current,
        total: 100,
        done: current == 100,
        at_ms: 170,
    })
}

fn started(at_ms: UnixMillis) -> Event {
    Event::BuildStarted(BuildStarted {
        build: String::new(),
        daemon: "unix:///run/buildkit/buildkitd.sock".into(),
        daemon_version: "v0.32.2".into(),
        daemon_ref: Some("ref".into()),
        at_ms,
    })
}

fn ended() -> Event {
    Event::BuildFinished(BuildFinished {
        end: BuildEnd::Succeeded,
        at_ms: 300,
    })
}

/// Records these events as one build.
async fn record(ledger: &Ledger, events: &[Event]) -> Report {
    let recorder = ledger.record();
    events.iter().for_each(|event| recorder.observe(event));
    recorder.finish().await
}

/// Reads a build back and checks that it is what was reported when it ended.
fn assert_stored(path: &Path, report: &Report) {
    let stored = Report::read(&Reader::open(path).unwrap(), &report.build.id).unwrap();
    assert_eq!(
        stored,
        Report {
            notices: Vec::new(),
            ..report.clone()
        }
    );
}

#[tokio::test]
async fn a_build_is_read_back_as_it_was_reported() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/ledger.db");
    let ledger = Ledger::start(path.clone());
    let events = [
        started(50),
        call(1, "container"),
        finished(1, CallEnd::Ran),
        // Again, now that the daemon has the build.
        started(60),
        call(2, "from(address: \"alpine\")"),
        finished(2, CallEnd::Ran),
        call(3, "withExec(args: [\"make\"])"),
        finished(3, CallEnd::Ran),
        call(4, "stdout"),
        // Evaluation is lazy: vertices come after the calls that own them have ended.
        lowered(2, VertexKind::Image),
        lowered(3, VertexKind::Exec),
        transfer(2, "layer", 40),
        transfer(2, "layer", 100),
        transfer(2, "other layer", 7),
        vertex(2, false),
        vertex(3, true),
        finished(4, CallEnd::Hit),
        ended(),
    ];
    let report = record(&ledger, &events).await;
    assert_eq!(report.notices, [""; 0]);
    let outcomes: Vec<_> = report.calls.iter().map(|call| call.outcome).collect();
    assert_eq!(
        outcomes,
        [
            Outcome::Computed,
            Outcome::Resolved,
            Outcome::Cached,
            Outcome::Hit
        ]
    );
    assert_eq!(report.calls[1].bytes, 107);
    assert_eq!(report.calls[2].canonical.as_deref(), Some("sha256:c3"));
    assert_eq!(report.build.state, BuildState::Succeeded);
    assert_eq!(report.build.started_ms, 50);
    assert_stored(&path, &report);
    let mode = std::os::unix::fs::MetadataExt::mode(&fs::metadata(&path).unwrap());
    assert_eq!(mode & 0o077, 0, "the ledger is its owner's alone");
}

#[tokio::test]
async fn calls_that_fold_into_one_vertex_share_its_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::start(directory.path().join("ledger.db"));
    let shared = |call| match lowered(9, VertexKind::File) {
        Event::Lowered(lowered) => Event::Lowered(Lowered { call, ..lowered }),
        _ => unreachable!("lowered() makes nothing else"),
    };
    let mut events = vec![started(50)];
    for number in 1..=3 {
        events.extend([
            call(number, "withNewFile"),
            finished(number, CallEnd::Ran),
            shared(number),
        ]);
    }
    events.extend([vertex(9, false), ended()]);
    let report = record(&ledger, &events).await;
    assert!(
        report
            .calls
            .iter()
            .all(|call| call.outcome == Outcome::Executed)
    );
    assert_eq!(report.summary.vertices_that(Outcome::Executed), 1);
}

#[tokio::test]
async fn rows_beyond_the_limits_are_counted_instead() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let limits = Limits {
        calls_per_build_max: 10,
        vertices_per_build_max: 5,
        ..Limits::default()
    };
    let ledger = Ledger::start_with(path.clone(), limits);
    let mut events = vec![started(50)];
    for number in 1..=12 {
        events.extend([
            call(number, "c"),
            vertex(number, true),
            finished(number, CallEnd::Ran),
        ]);
    }
    let report = record(&ledger, &events).await;
    assert_eq!((report.calls.len(), report.vertices.len()), (10, 5));
    assert_eq!(report.build.rows_dropped, 2 + 7);
    assert_stored(&path, &report);
}

#[tokio::test]
async fn the_oldest_builds_make_room() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let limits = Limits {
        builds_max: 3,
        ..Limits::default()
    };
    let ledger = Ledger::start_with(path.clone(), limits);
    for age in 1..=6 {
        record(&ledger, &[started(age * 1000), call(1, "c"), ended()]).await;
    }
    let reader = Reader::open(&path).unwrap();
    let kept: Vec<_> = reader
        .builds(10)
        .unwrap()
        .iter()
        .map(|build| build.started_ms)
        .collect();
    assert_eq!(kept, [6000, 5000, 4000]);
}

#[tokio::test]
async fn the_file_stays_below_its_limit() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let limits = Limits {
        bytes_max: 1 << 20,
        ..Limits::default()
    };
    let ledger = Ledger::start_with(path.clone(), limits);
    let long = "x".repeat(10_000);
    for age in 1..=12 {
        // Other calls in each build: builds share what is the same.
        let calls = (1..=200).map(|number| call(age * 1000 + number, &long));
        let events: Vec<_> = std::iter::once(started(age * 1000)).chain(calls).collect();
        record(&ledger, &events).await;
    }
    // One more build, so that housekeeping has seen all twelve.
    let report = record(&ledger, &[started(99_000), ended()]).await;
    assert_stored(&path, &report);
    let reader = Reader::open(&path).unwrap();
    let builds = reader.builds(100).unwrap();
    assert!(
        (2..=8).contains(&builds.len()),
        "{} builds fit into 1 MiB",
        builds.len()
    );
    assert!(
        reader
            .calls(&builds[1].id)
            .unwrap()
            .iter()
            .all(|c| c.display.len() <= TEXT_BYTES_MAX)
    );
}

#[tokio::test]
async fn a_damaged_file_is_moved_aside_and_said_so() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    fs::write(
        &path,
        "this is not a database, and has never been one".repeat(50),
    )
    .unwrap();
    assert!(matches!(Reader::open(&path), Err(Error::Sqlite { .. })));

    let ledger = Ledger::start(path.clone());
    let report = record(&ledger, &[started(50), call(1, "c"), ended()]).await;
    assert_eq!(report.notices.len(), 1, "{:?}", report.notices);
    assert!(
        report.notices[0].contains("moved to"),
        "{:?}",
        report.notices
    );
    assert!(fs::read_to_string(directory.path().join("ledger.db.damaged")).is_ok());
    assert_stored(&path, &report);
}

/// The header and schema read well, the pages behind them do not: found out only when writing.
#[tokio::test]
async fn damage_deep_inside_is_survived() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let calls: Vec<_> = (1..=2000).map(|number| call(number, "c")).collect();
    record(&Ledger::start(path.clone()), &calls).await;
    // With the last connection gone the write-ahead log is part of the database.
    let (connection, _) = schema::open(&path, schema::Look::Quick).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(connection);
    let mut bytes = fs::read(&path).unwrap();
    let first_page = schema::PAGE_BYTES as usize;
    bytes[first_page..].fill(0xff);
    fs::write(&path, bytes).unwrap();

    let report = record(
        &Ledger::start(path.clone()),
        &[started(50), call(1, "c"), ended()],
    )
    .await;
    assert!(
        report.notices.iter().any(|n| n.contains("moved to")),
        "{:?}",
        report.notices
    );
    assert_stored(&path, &report);
}

#[tokio::test]
async fn a_ledger_that_cannot_be_made_does_not_stop_the_build() {
    let directory = tempfile::tempdir().unwrap();
    let blocked = directory.path().join("file");
    fs::write(&blocked, "").unwrap();
    let ledger = Ledger::start(blocked.join("ledger.db"));
    let report = record(&ledger, &[started(50), call(1, "c"), ended()]).await;
    assert_eq!(report.calls.len(), 1);
    assert!(
        report.notices[0].starts_with("this build is not recorded: "),
        "{:?}",
        report.notices
    );
}

#[tokio::test]
async fn builds_are_found_by_the_beginning_of_their_id() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    assert!(matches!(Reader::open(&path), Err(Error::Empty(_))));
    let ledger = Ledger::start(path.clone());
    let first = record(&ledger, &[started(1), ended()]).await.build.id;
    let last = record(&ledger, &[started(2), ended()]).await.build.id;
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.find("last").unwrap().id, last);
    assert_eq!(reader.find(&first[..10]).unwrap().id, first);
    assert!(matches!(reader.find(""), Err(Error::NotFound(_))));
    assert!(matches!(reader.find("%"), Err(Error::NotFound(_))));
    // By the pigeonhole principle two of seventeen builds begin with the same digit.
    for age in 3..=17 {
        record(&ledger, &[started(age), ended()]).await;
    }
    let ambiguous = (0..16).any(|digit| {
        matches!(reader.find(&format!("{digit:x}")), Err(Error::Ambiguous { candidates, .. })
            if candidates.len() > 1)
    });
    assert!(ambiguous);
}

#[tokio::test]
async fn builds_are_numbered_one_after_the_other_however_often_they_are_written() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = Ledger::start(path.clone());
    for number in 1..=3 {
        let recorder = ledger.record();
        recorder.observe(&started(number));
        std::thread::sleep(FLUSH_INTERVAL);
        recorder.observe(&call(1, "c"));
        recorder.observe(&ended());
        let build = recorder.finish().await.build.id;
        let found = Reader::open(&path).unwrap().find(&number.to_string());
        assert_eq!(found.unwrap().id, build);
    }
}

#[tokio::test]
async fn what_a_process_or_an_error_says_is_not_stored() {
    const CANARY: &str = "canary-7f3a";
    let directory = tempfile::tempdir().unwrap();
    let ledger = Ledger::start(directory.path().join("ledger.db"));
    let failure = Failure {
        class: "step failed".into(),
        message: format!("exit: {CANARY}"),
    };
    let events = [
        started(50),
        call(1, "withExec(args: [\"login\"])"),
        lowered(1, VertexKind::Exec),
        Event::Log(LogLine {
            vertex: raw(1),
            stream: Stream::Stderr,
            text: CANARY.into(),
            at_ms: 160,
        }),
        Event::Warning(Warning {
            vertex: None,
            message: CANARY.into(),
            detail: vec![CANARY.into()],
        }),
        Event::Vertex(VertexUpdate {
            digest: raw(1),
            name: "step 1".into(),
            started_ms: Some(150),
            completed_ms: Some(170),
            cached: false,
            not_needed: false,
            error: Some(format!("process printed {CANARY}")),
        }),
        Event::CallFinished(CallFinished {
            call: 1,
            end: CallEnd::Failed,
            error: Some(failure),
            at_ms: 180,
        }),
        ended(),
    ];
    let report = record(&ledger, &events).await;
    assert_eq!(report.calls[0].error_class.as_deref(), Some("step failed"));
    assert_eq!(report.vertices[0].outcome, Outcome::Failed);
    assert!(!serde_json::to_string(&report).unwrap().contains(CANARY));
    let mut read = 0;
    for entry in fs::read_dir(directory.path()).unwrap() {
        let bytes = fs::read(entry.unwrap().path()).unwrap();
        read += bytes.len();
        assert!(
            !bytes
                .windows(CANARY.len())
                .any(|window| window == CANARY.as_bytes())
        );
    }
    assert!(read > 4096, "the rows are in one of the files");
}
