//! Bundles: what they answer is what the ledger answers, secrets are not in them, and a file from
//! somewhere else is refused or read, and nothing worse.

use rusqlite::Connection;
use serde_json::Value;

use super::facts::{Tree, pipeline};
use super::*;
use crate::explain;

/// Digest of the first vertex of a build.
fn first_vertex(events: &[Event]) -> String {
    let mut digests = events.iter().filter_map(|event| match event {
        Event::Lowered(lowered) => Some(lowered.vertices[0].raw.clone()),
        _ => None,
    });
    digests.next().unwrap()
}

fn no_more(_: &str) -> bool {
    false
}

/// Everything in a file as a reader of raw bytes finds it, and with all that is compressed expanded.
fn contents(path: &Path) -> Vec<u8> {
    let mut bytes = fs::read(path).unwrap();
    let database = Connection::open(path).unwrap();
    for sql in ["SELECT data FROM packs", "SELECT data FROM chunks"] {
        let mut statement = database.prepare(sql).unwrap();
        let data = statement.query_map([], |row| row.get::<_, Vec<u8>>(0));
        for data in data.unwrap() {
            bytes.extend(zstd::bulk::decompress(&data.unwrap(), 16 << 20).unwrap());
        }
    }
    bytes
}

#[tokio::test]
async fn a_bundle_is_a_ledger_without_secrets() {
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
    bundle::write(&path, &report.build.id, &[], &target, &|name| {
        name == "COLOUR"
    })
    .unwrap();
    let bytes = contents(&target);
    for needle in [CANARY, "canary-", "blue-green", "hush"] {
        let found = bytes.windows(needle.len()).any(|w| w == needle.as_bytes());
        assert!(!found, "{needle}");
    }
    let reader = Reader::open_bundle(&target).unwrap();
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
    let again = bundle::write(&path, &report.build.id, &[], &target, &|_| false);
    assert!(matches!(again, Err(Error::Io { .. })));
}

/// Why every step of a build became what it is, the differences from another build, and its keys.
fn answers(ledger: &Reader, build: &str, others: &[String]) -> Vec<Value> {
    let json = |value: &dyn erased::Json| value.json();
    let mut answers = vec![
        json(&explain::why(ledger, build, "*", None).unwrap()),
        json(&explain::reasons(ledger, build, None).unwrap()),
        json(&Report::read(ledger, build).unwrap()),
    ];
    for other in others {
        answers.push(json(&explain::compare(ledger, other, build).unwrap()));
        answers.push(json(
            &explain::why(ledger, build, "*", Some(other)).unwrap(),
        ));
        let pair = [other.clone(), build.to_owned()];
        answers.push(json(&explain::waste(ledger, &pair).unwrap()));
    }
    answers
}

mod erased {
    /// Anything that can be written as JSON.
    pub(super) trait Json {
        fn json(&self) -> serde_json::Value;
    }

    impl<T: serde::Serialize> Json for T {
        fn json(&self) -> serde_json::Value {
            serde_json::to_value(self).unwrap()
        }
    }
}

/// Builds of pipelines that grow, change and come back, on two daemons, with and without results.
fn history() -> Vec<Vec<Event>> {
    let mut seed = 7_u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (seed >> 33) % below
    };
    let builds = (0..24).map(|_| {
        let (count, changed, kind) = (4 + next(4), next(4), next(6));
        let (daemon, cut) = (next(3), next(9));
        let mut events = pipeline(count, changed);
        for event in &mut events {
            match event {
                Event::BuildStarted(started) if daemon == 0 => {
                    started.daemon = "tcp://other".into();
                }
                // Some steps were cached, some were never needed.
                Event::Vertex(vertex) => {
                    vertex.cached = kind < 3;
                    vertex.not_needed = kind == 0;
                }
                _ => {}
            }
        }
        if kind == 5 {
            // Another pipeline altogether.
            events = vec![
                started(50),
                call(1, "alone"),
                lowered(1, VertexKind::Exec),
                ended(),
            ];
        }
        if cut == 0 {
            events.retain(|event| !matches!(event, Event::Vertex(_)));
        }
        events
    });
    builds.collect()
}

#[tokio::test]
async fn a_bundle_answers_as_the_ledger_does() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = Ledger::start(path.clone());
    let mut ids = Vec::new();
    for (number, events) in history().iter().enumerate() {
        let recorder = ledger.record();
        events.iter().for_each(|event| recorder.observe(event));
        let count = 300;
        let odd = u32::try_from(number / 5).unwrap();
        let tree: std::sync::Arc<dyn Listing> = std::sync::Arc::new(Tree { count, odd });
        recorder.add(Facts {
            trees: vec![(first_vertex(events), tree)],
            ..Facts::default()
        });
        ids.push(recorder.finish().await.build.id);
    }
    let reader = Reader::open(&path).unwrap();
    let (mut compared, mut most) = (0, 0);
    for (number, id) in ids.iter().enumerate() {
        let against = explain::compared_with(&reader, id).unwrap();
        let target = directory.path().join(format!("{number}.db"));
        bundle::write(&path, id, &against, &target, &no_more).unwrap();
        let bundled = Reader::open_bundle(&target).unwrap();
        assert_eq!(
            answers(&bundled, "last", &against),
            answers(&reader, id, &against),
            "build {number}"
        );
        assert_eq!(bundled.builds(100).unwrap().len(), 1 + against.len());
        compared += against.len();
        most = most.max(against.len());
    }
    assert!(
        compared >= 20 && most >= 2,
        "{compared} builds, {most} at most"
    );
}

#[tokio::test]
async fn only_the_builds_that_were_asked_for_are_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = Ledger::start(path.clone());
    let mut ids = Vec::new();
    for changed in 0..3 {
        ids.push(record(&ledger, &pipeline(5, changed)).await.build.id);
    }
    let target = directory.path().join("bundle.db");
    // The later build is no reason to take it for the one that was asked for.
    bundle::write(&path, &ids[1], &ids[2..], &target, &no_more).unwrap();
    let bundled = Reader::open_bundle(&target).unwrap();
    assert_eq!(bundled.find("last").unwrap().id, ids[1]);
    assert!(matches!(bundled.find(&ids[0]), Err(Error::NotFound(_))));
    let many: Vec<String> = vec![ids[0].clone(); 1000];
    let again = bundle::write(&path, &ids[1], &many, &target, &no_more);
    assert!(
        matches!(again, Err(Error::Io { .. })),
        "one build, however often: {again:?}"
    );
}

/// A tree whose only file, and the link that it is, have this in their names.
struct One(&'static str);

impl Listing for One {
    fn digest(&self) -> String {
        format!("sha256:{}", blake3::hash(self.0.as_bytes()))
    }
    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + '_> {
        Box::new(std::iter::once(Entry {
            path: format!("of/{}", self.0),
            mode: 0o100_644,
            uid: 0,
            gid: 0,
            size: 1,
            digest: String::new(),
            link: format!("to/{}", self.0),
        }))
    }
}

/// Two builds whose vertices have equal numbers, names with secrets, and a tree with a secret path.
#[tokio::test]
async fn each_row_is_redacted_as_itself() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let ledger = Ledger::start(path.clone());
    let mut ids = Vec::new();
    for secret in ["first-canary", "second-canary"] {
        let recorder = ledger.record();
        let update = |number: u64, name: String| {
            Event::Vertex(VertexUpdate {
                digest: raw(number),
                name,
                started_ms: Some(1),
                completed_ms: Some(2),
                cached: false,
                not_needed: false,
                error: None,
            })
        };
        recorder.observe(&started(50));
        recorder.observe(&update(1, format!("login --password={secret}")));
        recorder.observe(&update(2, format!("use {secret} of {}", ids.len())));
        recorder.add(Facts {
            sources: vec![SourceRow {
                kind: VertexKind::Http,
                asked: format!("https://host/x?access_token={secret}"),
                resolved: format!("https://me:{secret}@host/y"),
            }],
            trees: vec![(raw(1), std::sync::Arc::new(One(secret)))],
            ..Facts::default()
        });
        ids.push(recorder.finish().await.build.id);
    }
    let target = directory.path().join("bundle.db");
    bundle::write(&path, &ids[1], &ids[..1], &target, &no_more).unwrap();
    let bytes = contents(&target);
    assert!(!bytes.windows(6).any(|window| window == b"canary"));
    let bundled = Reader::open_bundle(&target).unwrap();
    let names = |id: &str| -> Vec<String> {
        let vertices = bundled.vertices(id).unwrap();
        vertices.into_iter().map(|vertex| vertex.name).collect()
    };
    let (one, two) = (names(&ids[0]), names(&ids[1]));
    assert!(
        one[1].starts_with("use redacted:") && one[1].ends_with(" of 0"),
        "{one:?}"
    );
    assert!(
        two[1].starts_with("use redacted:") && two[1].ends_with(" of 1"),
        "{two:?}"
    );
    let tree = &bundled.trees(&ids[0]).unwrap()[0].listing;
    let entry = &bundled.listing(tree).unwrap().unwrap()[0];
    assert!(entry.path.starts_with("of/redacted:") && entry.link.starts_with("to/redacted:"));
}

/// A bundle of two builds, with a tree.
async fn sample(directory: &Path) -> std::path::PathBuf {
    let path = directory.join("ledger.db");
    let ledger = Ledger::start(path.clone());
    let mut ids = Vec::new();
    for changed in [0, 2] {
        let recorder = ledger.record();
        let events = pipeline(12, changed);
        events.iter().for_each(|event| recorder.observe(event));
        let tree = Tree {
            count: 400,
            odd: u32::try_from(changed).unwrap(),
        };
        recorder.add(Facts {
            trees: vec![(first_vertex(&events), std::sync::Arc::new(tree))],
            ..Facts::default()
        });
        ids.push(recorder.finish().await.build.id);
    }
    let target = directory.join("bundle.db");
    bundle::write(&path, &ids[1], &ids[..1], &target, &no_more).unwrap();
    target
}

/// Reads all that a bundle has, and explains it.
fn read_all(path: &Path) -> Result<(), explain::Error> {
    let ledger = Reader::open_bundle(path)?;
    for build in ledger.builds(100)? {
        let report = Report::read(&ledger, &build.id)?;
        drop((report.key_table(), report.details()));
        ledger.operations(&build.id)?;
        for tree in ledger.trees(&build.id)? {
            ledger.listing(&tree.listing)?;
        }
        explain::why(&ledger, &build.id, "*", None)?;
        explain::compare(&ledger, "last", &build.id)?;
    }
    Ok(())
}

#[tokio::test]
async fn a_damaged_bundle_is_refused_by_name_or_read() {
    let directory = tempfile::tempdir().unwrap();
    let whole = fs::read(sample(directory.path()).await).unwrap();
    let path = directory.path().join("damaged.db");
    let (mut refused, mut read) = (0, 0);
    let mut check = |bytes: &[u8]| {
        fs::write(&path, bytes).unwrap();
        match read_all(&path) {
            Ok(()) => read += 1,
            Err(explain::Error::NoStep { .. }) => refused += 1,
            Err(error) => {
                refused += 1;
                let error = error.to_string();
                let named = error.contains("damaged.db") || error.contains("no recorded build");
                assert!(named, "{error}");
            }
        }
    };
    for cut in (0..whole.len()).step_by(whole.len() / 41) {
        check(&whole[..cut]);
    }
    // The header byte by byte, then a sample: what was one bit is another.
    let places = (0..100).chain((100..whole.len()).step_by(whole.len() / 83));
    for place in places {
        let mut bytes = whole.clone();
        bytes[place] ^= 1 << (place % 8);
        check(&bytes);
    }
    check(&[]);
    check(b"SQLite format 3");
    check(&b"hello, this is no database\n".repeat(100));
    assert!(refused > 41 && read > 0, "{refused} refused, {read} read");
    // Nothing is left beside it.
    let names = fs::read_dir(directory.path()).unwrap();
    let names = names.map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let beside: Vec<String> = names
        .filter(|name| name.starts_with("damaged.db-"))
        .collect();
    assert_eq!(beside, [""; 0]);
}

/// Statements that make a bundle a forged one (`?1` is what expands to a gibibyte), and what is said
/// of it.
const FORGERIES: [(&str, &str); 16] = [
    (
        "UPDATE chunks SET data = ?1",
        "Destination buffer is too small",
    ),
    (
        "UPDATE packs SET data = ?1",
        "Destination buffer is too small",
    ),
    (
        "UPDATE listings SET chunks = CAST(chunks || chunks AS BLOB)",
        "the same chunk twice",
    ),
    // Endless when it is read.
    (
        "DROP TABLE sources;
        CREATE VIEW sources AS WITH RECURSIVE n (build) AS (SELECT 1 UNION ALL SELECT build FROM n)
            SELECT build, 1 number, 'image' kind, '' asked, '' resolved FROM n",
        "its tables are not those of a bundle",
    ),
    (
        "INSERT INTO builds (id, state, started_ms, daemon, daemon_version, rows_dropped)
        WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 100)
        SELECT 'x' || i, 'failed', 0, '', '', 0 FROM n",
        "102 builds, 64 at most are written",
    ),
    // Twelve of them are more than a build may refer to.
    (
        "UPDATE operations SET length = 262144000",
        "bytes of operations in a build",
    ),
    (
        "UPDATE bundle SET format = 9",
        "is a bundle of format 9.3, this dagop reads 2.3",
    ),
    ("DROP TABLE bundle", "is a ledger and not a bundle"),
    ("DELETE FROM bundle", "is a bundle of format 0.3"),
    ("UPDATE bundle SET build = 77", "does not say which build"),
    ("PRAGMA user_version = 99", "schema version 99"),
    ("PRAGMA application_id = 5", "is not a dagop ledger"),
    (
        "UPDATE vertices SET outcome = 'splendid'",
        "unknown word \"splendid\"",
    ),
    ("UPDATE operations SET at = 999999", "outside of its pack"),
    (
        "UPDATE requests SET display = zeroblob(5000000)",
        "requests.display has 5000000 bytes",
    ),
    (
        "CREATE TRIGGER t AFTER INSERT ON calls BEGIN DELETE FROM calls; END",
        "tables are not",
    ),
];

#[tokio::test]
async fn a_forged_bundle_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let whole = sample(directory.path()).await;
    let path = directory.path().join("forged.db");
    let bomb = zstd::bulk::compress(&vec![b'\n'; 1 << 30], 1).unwrap();
    let forge = |sql: &str, data: &[u8]| {
        fs::copy(&whole, &path).unwrap();
        let database = Connection::open(&path).unwrap();
        for statement in sql.split(";\n").filter(|part| !part.trim().is_empty()) {
            let mut statement = database.prepare(statement).unwrap();
            if statement.parameter_count() == 1 {
                statement.execute([data]).unwrap();
            } else {
                drop(statement.query([]).unwrap().next());
            }
        }
        drop(database);
        match read_all(&path) {
            Ok(()) => panic!("{sql} went unnoticed"),
            Err(error) => error.to_string(),
        }
    };
    for (sql, expected) in FORGERIES {
        let error = forge(sql, &bomb[..]);
        assert!(
            error.contains("forged.db") && error.contains(expected),
            "{sql}: {error}"
        );
    }
    // A copy of the ledger, with what is still in its log.
    let ledger = Connection::open(directory.path().join("ledger.db")).unwrap();
    let copy = directory.path().join("copy.db");
    let into = "VACUUM INTO ?1";
    ledger.execute(into, [copy.to_str().unwrap()]).unwrap();
    let error = Reader::open_bundle(&copy).unwrap_err().to_string();
    assert!(error.contains("is a ledger and not a bundle"), "{error}");
}
