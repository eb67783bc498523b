//! The ledger from outside: what is told to a recorder comes back from a reader, whatever happens
//! to the file, its other users and their processes.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::event::*;
use crate::report::Report;

/// Names the ledger to the tests below that run as child processes.
const PATH_VARIABLE: &str = "DAGOP_TEST_LEDGER";

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

/// Runs one of the tests below in a process of its own, on this ledger.
fn child(test: &str, ledger: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        &format!("ledger::tests::{test}"),
        "--ignored",
        "--nocapture",
    ]);
    command
        .env(PATH_VARIABLE, ledger)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ledger_of_parent() -> Option<Ledger> {
    Some(Ledger::start(std::env::var_os(PATH_VARIABLE)?.into()))
}

#[tokio::test]
#[ignore = "runs as a child process of several_processes_share_one_file"]
async fn child_records_twenty_builds() {
    let Some(ledger) = ledger_of_parent() else {
        return;
    };
    for age in 1..=20 {
        let calls = (1..=50).map(|number| call(number, "c"));
        let events: Vec<_> = std::iter::once(started(age))
            .chain(calls)
            .chain([ended()])
            .collect();
        assert_eq!(record(&ledger, &events).await.notices, [""; 0]);
    }
}

#[test]
fn several_processes_share_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let children: Vec<_> = (0..4)
        .map(|_| child("child_records_twenty_builds", &path))
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let reader = Reader::open(&path).unwrap();
    let builds = reader.builds(1000).unwrap();
    assert_eq!(builds.len(), 4 * 20);
    assert!(
        builds
            .iter()
            .all(|build| reader.calls(&build.id).unwrap().len() == 50)
    );
}

#[tokio::test]
#[ignore = "runs as a child process of a_killed_writer_leaves_a_readable_file"]
async fn child_records_until_killed() {
    let Some(ledger) = ledger_of_parent() else {
        return;
    };
    for age in 1.. {
        let calls = (1..=200).map(|number| call(number, "c"));
        let events: Vec<_> = std::iter::once(started(age))
            .chain(calls)
            .chain([ended()])
            .collect();
        record(&ledger, &events).await;
    }
}

#[test]
fn a_killed_writer_leaves_a_readable_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut recorded = 0;
    for round in 0..5 {
        let mut victim = child("child_records_until_killed", &path);
        // At least one more build is in, then the blow falls at an arbitrary moment.
        let more = || Reader::open(&path).and_then(|reader| reader.builds(100_000));
        while more().map_or(0, |builds| builds.len()) <= recorded {
            assert!(
                victim.try_wait().unwrap().is_none(),
                "the writer ended by itself"
            );
            std::thread::sleep(std::time::Duration::from_millis(3 + round));
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        let reader = Reader::open(&path).unwrap();
        let builds = reader.builds(100_000).unwrap();
        assert!(builds.len() > recorded);
        recorded = builds.len().min(150);
        for build in builds {
            // A build's end and its calls are one transaction: all of them or none.
            let calls = reader.calls(&build.id).unwrap().len();
            assert_eq!(
                calls,
                if build.state == BuildState::Unfinished {
                    calls
                } else {
                    200
                }
            );
        }
    }
    // And the next process writes on.
    assert!(
        schema::open(&path, schema::Look::Thorough)
            .unwrap()
            .1
            .is_none()
    );
}

/// Some operations as they are lowered, of which the first `changed` differ from the usual ones.
fn pipeline(count: u64, changed: u64) -> Vec<Event> {
    use solver::llb::{Constraints, Output, exec::Exec};
    let mut root: Option<Output> = None;
    let mut events = vec![started(50)];
    for number in 1..=count {
        let word = if number <= changed { "new" } else { "old" };
        let exec = Exec::new(root.clone(), ["/bin/step", word, &number.to_string()])
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .constraints(Constraints::default());
        let output = exec.build().unwrap().root().unwrap().clone();
        let vertex = output.vertex();
        let planned = PlannedVertex {
            raw: vertex.digest().to_string(),
            canonical: vertex.canonical().to_string(),
            name: vertex.name(),
            kind: VertexKind::Exec,
            predicted_cache_map: solver::cachemap::digest(vertex).map(|d| d.to_string()),
            operation: Some(Operation(std::sync::Arc::clone(vertex))),
        };
        let update = VertexUpdate {
            digest: planned.raw.clone(),
            name: planned.name.clone(),
            started_ms: Some(1_700_000_000_000 + number),
            completed_ms: Some(1_700_000_000_500 + number),
            cached: false,
            not_needed: false,
            error: None,
        };
        let display = format!("withExec(args: [\"/bin/step\", \"{word}\", \"{number}\"])");
        events.extend([
            match call(number, &display) {
                Event::CallStarted(call) => Event::CallStarted(CallStarted {
                    scopes: Vec::new(),
                    call_key: format!("blake3:{}", blake3::hash(planned.raw.as_bytes())),
                    storage_key: format!("blake3:{}", blake3::hash(planned.raw.as_bytes())),
                    ..call
                }),
                other => other,
            },
            Event::Lowered(Lowered {
                call: number,
                kind: DagOpKind::Ctr,
                vertices: vec![planned],
            }),
            finished(number, CallEnd::Ran),
            Event::Vertex(update),
        ]);
        root = Some(output);
    }
    events.push(ended());
    events
}

#[tokio::test]
async fn an_operation_is_stored_once_and_read_back_by_field() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = Ledger::start(path.clone());
    let first = record(&ledger, &pipeline(300, 0)).await;
    let second = record(&ledger, &pipeline(300, 0)).await;
    assert_stored(&path, &first);
    assert_stored(&path, &second);
    let reader = Reader::open(&path).unwrap();
    let operations = reader.operations(&second.build.id).unwrap();
    assert_eq!(operations.len(), 300);
    let last = &second.vertices.last().unwrap();
    let below = &second.vertices[298];
    let operation = &operations[last.canonical.as_ref().unwrap()];
    assert_eq!(operation.fields["exec"]["meta"]["args"][2], "300");
    assert_eq!(
        operation.inputs[0].vertex,
        *below.canonical.as_ref().unwrap()
    );
    assert_eq!(
        reader.operation(&operation.digest).unwrap().as_ref(),
        Some(operation)
    );
}

#[tokio::test]
async fn secrets_that_got_into_an_operation_are_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = Ledger::start(path.clone());
    let recorder = ledger.record();
    recorder.redact_with(std::sync::Arc::new(|text: &str| {
        text.replace("old", "***").into()
    }));
    pipeline(2, 0)
        .iter()
        .for_each(|event| recorder.observe(event));
    let build = recorder.finish().await.build.id;
    let operations = Reader::open(&path).unwrap().operations(&build).unwrap();
    for operation in operations.values() {
        assert_eq!(operation.fields["exec"]["meta"]["args"][1], "***");
    }
}

/// A tree of files `0` .. `count`, of which number `odd` is unlike the others.
struct Tree {
    count: u32,
    odd: u32,
}

impl Listing for Tree {
    fn digest(&self) -> String {
        format!(
            "sha256:{:064x}",
            u64::from(self.count) << 32 | u64::from(self.odd)
        )
    }

    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + '_> {
        Box::new((0..self.count).map(|number| Entry {
            path: format!("directory/{number:08}"),
            mode: if number == self.odd {
                0o100_644
            } else {
                0o100_664
            },
            uid: 0,
            gid: 0,
            size: 3,
            digest: format!("sha256:{number:064x}"),
            link: String::new(),
        }))
    }
}

#[tokio::test]
async fn a_tree_can_be_compared_with_one_that_is_long_gone() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = Ledger::start(path.clone());
    let mut trees = Vec::new();
    for odd in [0, 7_000] {
        let recorder = ledger.record();
        recorder.observe(&started(50));
        recorder.observe(&vertex(1, false));
        recorder.add(Facts {
            trees: vec![(raw(1), std::sync::Arc::new(Tree { count: 10_000, odd }))],
            ..Facts::default()
        });
        let report = recorder.finish().await;
        assert_stored(&path, &report);
        trees.push(report.cache.trees[0].listing.clone());
    }
    let reader = Reader::open(&path).unwrap();
    assert_eq!(reader.listing(&trees[0]).unwrap().unwrap().len(), 10_000);
    let changes = reader.tree_changes(&trees[0], &trees[1]).unwrap().unwrap();
    let modes: Vec<_> = changes
        .iter()
        .map(|(old, new)| (old.as_ref().unwrap().mode, new.as_ref().unwrap().mode))
        .collect();
    assert_eq!(modes, [(0o100_644, 0o100_664), (0o100_664, 0o100_644)]);
    assert_eq!(reader.listing("sha256:00").unwrap(), None);
}

#[tokio::test]
async fn records_and_layers_are_kept_once_and_layers_numbered_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = Ledger::start(path.clone());
    let layer = |number: u64, parent, blob: &str| LayerRow {
        number,
        parent,
        blob: blob.into(),
        diff_id: None,
        chain_id: None,
        size: Some(5),
        media_type: None,
    };
    let record = |layer| RecordRow {
        vertex: raw(1),
        output: 0,
        evidence: Evidence::Local,
        digest: "sha256:01".into(),
        canonical: None,
        layer: Some(layer),
    };
    let recorder = ledger.record();
    recorder.observe(&started(50));
    recorder.observe(&vertex(1, false));
    recorder.add(Facts {
        layers: vec![layer(0, None, "sha256:aa")],
        records: vec![record(0)],
        ..Facts::default()
    });
    // Another cache, whose first layer is another one.
    recorder.add(Facts {
        layers: vec![
            layer(0, None, "sha256:bb"),
            layer(1, None, "sha256:aa"),
            layer(2, Some(1), "sha256:bb"),
        ],
        records: vec![record(1), record(2)],
        ..Facts::default()
    });
    let report = recorder.finish().await;
    let layers: Vec<_> = report.cache.records.iter().map(|r| r.layer).collect();
    assert_eq!(layers, [Some(0), Some(2)]);
    assert_eq!(report.cache.layers[2].parent, Some(0));
    assert_stored(&path, &report);
}

/// Bytes of the file once the write-ahead log is in it.
fn bytes_of(path: &Path) -> u64 {
    let (connection, _) = schema::open(path, schema::Look::Quick).unwrap();
    connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    drop(connection);
    fs::metadata(path).unwrap().len()
}

/// A first build pays for every operation and call, a second one for what changed.
#[tokio::test]
async fn a_vertex_takes_less_than_a_kibibyte() {
    for count in [1_000, 10_000] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("ledger.db");
        let ledger = Ledger::start(path.clone());
        record(&ledger, &pipeline(count, 0)).await;
        let first = bytes_of(&path);
        record(&ledger, &pipeline(count, 0)).await;
        let second = bytes_of(&path) - first;
        assert!(first / count <= 1024, "{} bytes per vertex", first / count);
        assert!(second / count <= 256, "{} bytes per vertex", second / count);
    }
}

#[tokio::test]
async fn a_bundle_is_a_ledger_of_one_build_without_its_secrets() {
    const CANARY: &str = "canary-\"5d1c";
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = Ledger::start(path.clone());
    let exec = solver::llb::exec::Exec::new(None, ["/bin/deploy", "https://me:hush@host/x"])
        .env("DEPLOY_TOKEN", CANARY)
        .env("COLOUR", "blue-green")
        .build()
        .unwrap();
    let vertex = exec.vertex();
    let display = format!("withEnvVariable(name: \"DEPLOY_TOKEN\", value: {CANARY:?})");
    let planned = PlannedVertex {
        raw: vertex.digest().to_string(),
        canonical: vertex.canonical().to_string(),
        name: format!("deploy with {CANARY}"),
        kind: VertexKind::Exec,
        predicted_cache_map: None,
        operation: Some(Operation(std::sync::Arc::clone(vertex))),
    };
    let lowered = Lowered {
        call: 1,
        kind: DagOpKind::Ctr,
        vertices: vec![planned],
    };
    let events = [
        started(50),
        call(1, &display),
        Event::Lowered(lowered),
        ended(),
    ];
    let report = record(&ledger, &events).await;
    record(&ledger, &pipeline(3, 0)).await;

    let target = directory.path().join("bundle.db");
    bundle::write(&path, &report.build.id, &target, &|name| name == "COLOUR").unwrap();
    let bytes = fs::read(&target).unwrap();
    for needle in [CANARY, "canary-", "blue-green", "hush"] {
        let found = bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
        assert!(!found, "{needle}");
    }
    let reader = Reader::open(&target).unwrap();
    assert_eq!(reader.builds(10).unwrap().len(), 1);
    let operations = reader.operations(&report.build.id).unwrap();
    let operation = &operations[vertex.canonical().as_str()];
    let text = operation.fields.to_string();
    assert!(
        text.contains("DEPLOY_TOKEN=redacted:") && !text.contains("blue"),
        "{text}"
    );
    let calls = reader.calls(&report.build.id).unwrap();
    assert!(
        calls[0].display.contains("value: \"redacted:"),
        "{}",
        calls[0].display
    );
    // What is there is not written over.
    let again = bundle::write(&path, &report.build.id, &target, &|_| false);
    assert!(matches!(again, Err(Error::Io { .. })));
}
