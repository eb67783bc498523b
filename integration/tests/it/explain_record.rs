//! Records builds in a ledger without a daemon: the events, operations and facts that a build
//! sends, for a graph that is given. Outcomes are made up; keys, contents and listings are not.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use dagop::{
    event::{self, Event, PlannedVertex},
    ledger::{self, DagOpKind, Facts, HashedTree, Ledger, Reader, VertexKind},
};
use proto::pb;
use snapshots::context;
use solver::{
    cachemap::{self, Profile},
    llb::{self, Definition, Vertex},
    predict::{Content, Known, predict},
};
use tempfile::TempDir;

/// A daemon that a build claims to have run on.
#[derive(Clone, Debug)]
pub(crate) struct Daemon {
    pub(crate) address: &'static str,
    pub(crate) version: &'static str,
}

/// The usual one.
pub(crate) const DAEMON: Daemon = Daemon {
    address: "unix:///run/one.sock",
    version: "v0.32.2",
};

/// What became of the steps of a build, and when.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fate {
    pub(crate) cached: bool,
    pub(crate) not_needed: bool,
    pub(crate) started: u64,
    pub(crate) completed: u64,
}

/// Ran, one after the other.
pub(crate) const RAN: Fate = Fate {
    cached: false,
    not_needed: false,
    started: 1000,
    completed: 2000,
};

/// A ledger of its own.
pub(crate) struct Book {
    folder: TempDir,
    ledger: Ledger,
    runtime: tokio::runtime::Runtime,
}

impl Book {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            ledger: Ledger::start(ledger::path_in(folder.path())),
            folder,
            runtime: tokio::runtime::Builder::new_current_thread()
                .build()
                .unwrap(),
        }
    }

    pub(crate) fn reader(&self) -> Reader {
        Reader::open(&ledger::path_in(self.folder.path())).unwrap()
    }

    /// Records a build of a graph; its id.
    pub(crate) fn record(
        &self,
        definition: &Definition,
        locals: &BTreeMap<String, PathBuf>,
        daemon: &Daemon,
        fate: Fate,
    ) -> String {
        let recorder = self.ledger.record();
        recorder.observe(&Event::BuildStarted(event::BuildStarted {
            build: recorder.build().to_owned(),
            daemon: daemon.address.to_owned(),
            daemon_version: daemon.version.to_owned(),
            daemon_ref: None,
            at_ms: fate.started,
        }));
        recorder.observe(&Event::CallStarted(event::CallStarted {
            call: 1,
            parent: None,
            path: "pipeline".to_owned(),
            display: "pipeline".to_owned(),
            call_key: "blake3:01".to_owned(),
            scopes: Vec::new(),
            storage_key: "blake3:01".to_owned(),
            at_ms: fate.started,
        }));
        let vertices = vertices(definition);
        recorder.observe(&Event::Lowered(event::Lowered {
            call: 1,
            kind: DagOpKind::Fs,
            vertices: vertices.iter().map(planned).collect(),
        }));
        for vertex in &vertices {
            recorder.observe(&Event::Vertex(event::VertexUpdate {
                digest: vertex.digest().to_string(),
                name: vertex.name(),
                started_ms: Some(fate.started),
                completed_ms: Some(fate.completed),
                cached: fate.cached,
                not_needed: fate.not_needed,
                error: None,
            }));
        }
        recorder.add(facts(definition, &vertices, locals));
        recorder.observe(&Event::BuildFinished(event::BuildFinished {
            end: event::BuildEnd::Succeeded,
            at_ms: fate.completed,
        }));
        let report = self.runtime.block_on(recorder.finish());
        assert_eq!(report.notices, Vec::<String>::new());
        report.build.id
    }
}

fn vertices(definition: &Definition) -> Vec<Arc<Vertex>> {
    let output = definition.output().unwrap().unwrap();
    llb::vertices(&output)
}

fn planned(vertex: &Arc<Vertex>) -> PlannedVertex {
    PlannedVertex {
        raw: vertex.digest().to_string(),
        canonical: vertex.canonical().to_string(),
        name: vertex.name(),
        kind: kind(vertex),
        predicted_cache_map: cachemap::digest(vertex).map(|digest| digest.to_string()),
        operation: Some(event::Operation(Arc::clone(vertex))),
    }
}

fn kind(vertex: &Vertex) -> VertexKind {
    match &vertex.op().op {
        Some(pb::op::Op::Exec(_)) => VertexKind::Exec,
        Some(pb::op::Op::File(_)) => VertexKind::File,
        Some(pb::op::Op::Merge(_)) => VertexKind::Merge,
        Some(pb::op::Op::Diff(_)) => VertexKind::Diff,
        Some(pb::op::Op::Source(source)) => VertexKind::from_name(&source.identifier),
        _ => VertexKind::Other,
    }
}

/// What a session finds out: content keys of the steps, and the listings of local directories.
fn facts(
    definition: &Definition,
    vertices: &[Arc<Vertex>],
    locals: &BTreeMap<String, PathBuf>,
) -> Facts {
    let known = Known {
        locals: locals.clone(),
        ..Known::default()
    };
    let prediction = predict(definition, &known, Profile::NEWEST).unwrap();
    let mut facts = Facts::default();
    for vertex in &prediction.vertices {
        for (input, keys) in (0..).zip(&vertex.inputs) {
            if let Content::Known(digest) = &keys.content {
                facts.contents.push(ledger::ContentRow {
                    vertex: vertex.digest.to_string(),
                    input,
                    record: cachemap::record(digest, -1).to_string(),
                    evidence: ledger::Evidence::Predicted,
                });
            }
        }
    }
    for vertex in vertices {
        let name = vertex
            .source()
            .and_then(|s| s.identifier.strip_prefix("local://"));
        if let Some(root) = name.and_then(|name| locals.get(name)) {
            let tree: Arc<dyn ledger::Listing> = Arc::new(listing(root));
            facts.trees.push((vertex.digest().to_string(), tree));
        }
    }
    facts
}

fn listing(root: &Path) -> HashedTree {
    let source = context::Source::new(root);
    let context = context::hash(&source, &context::Options::default()).unwrap();
    HashedTree::of(context).unwrap()
}
