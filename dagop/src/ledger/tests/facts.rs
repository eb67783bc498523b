//! The ledger's facts: operations, trees, records and layers, and what they cost.

use super::*;

/// Some operations as they are lowered, of which the first `changed` differ from the usual ones.
pub(super) fn pipeline(count: u64, changed: u64) -> Vec<Event> {
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
pub(super) struct Tree {
    pub(super) count: u32,
    pub(super) odd: u32,
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
    let changes = reader
        .tree_changes(&trees[0], (&reader, &trees[1]))
        .unwrap()
        .unwrap();
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
