//! Records builds in a ledger without a daemon: the events, operations and facts that a build
//! sends, for a graph that is given. Outcomes are made up; keys, contents and listings are not.
//! `explain_lab.rs` records what a real daemon does in the same way.

use std::{
    collections::{BTreeMap, HashSet},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use dagop::{
    event::{self, Event, PlannedVertex},
    join,
    ledger::{self, DagOpKind, Facts, HashedTree, Ledger, Limits, Reader, Recorder},
};
use snapshots::context;
use solver::{
    cachemap::Profile,
    llb::{self, Definition, Vertex},
    predict::{Known, predict},
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
    /// What was recorded before, and has no local directory below it, is in the cache.
    pub(crate) repeats: bool,
    pub(crate) started: u64,
    pub(crate) completed: u64,
}

/// Ran, one after the other.
pub(crate) const RAN: Fate = Fate {
    cached: false,
    not_needed: false,
    repeats: false,
    started: 1000,
    completed: 2000,
};

/// No build is ever dropped.
const LIMITS: Limits = Limits {
    builds_max: u32::MAX,
    calls_per_build_max: 1 << 16,
    vertices_per_build_max: 1 << 16,
    bytes_max: u64::MAX >> 1,
    listing_bytes_max: u64::MAX >> 1,
};

/// Ran where the daemon cannot have had a record.
pub(crate) const EDITED: Fate = Fate {
    repeats: true,
    started: 5000,
    completed: 6000,
    ..RAN
};

/// A ledger of its own.
pub(crate) struct Book {
    recorded: Mutex<HashSet<String>>,
    folder: TempDir,
    ledger: Ledger,
    runtime: tokio::runtime::Runtime,
}

impl Book {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        Self {
            ledger: Ledger::start_with(ledger::path_in(folder.path()), LIMITS),
            folder,
            recorded: Mutex::default(),
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
        self.record_each(definition, locals, daemon, (fate, &|_| fate))
    }

    /// The same with a fate of its own for each vertex by name; the build's times are those of
    /// `fate`.
    pub(crate) fn record_each(
        &self,
        definition: &Definition,
        locals: &BTreeMap<String, PathBuf>,
        daemon: &Daemon,
        (fate, of): (Fate, &dyn Fn(&str) -> Fate),
    ) -> String {
        let vertices = vertices(definition);
        let recorder = self.begin((daemon.address, daemon.version), &vertices, fate.started);
        for vertex in &vertices {
            let mut recorded = self.recorded.lock().unwrap();
            let known = !recorded.insert(vertex.digest().to_string());
            let own = of(&vertex.name());
            recorder.observe(&Event::Vertex(event::VertexUpdate {
                digest: vertex.digest().to_string(),
                name: vertex.name(),
                started_ms: Some(own.started),
                completed_ms: Some(own.completed),
                cached: own.cached || own.repeats && known,
                not_needed: own.not_needed,
                error: None,
            }));
        }
        recorder.add(facts(definition, &vertices, locals));
        self.runtime
            .block_on(end(recorder, event::BuildEnd::Succeeded, fate.completed))
    }

    /// Begins to record a build of these vertices on a daemon with an address and a version.
    pub(crate) fn begin(
        &self,
        daemon: (&str, &str),
        vertices: &[Arc<Vertex>],
        at_ms: u64,
    ) -> Recorder {
        let recorder = self.ledger.record();
        recorder.observe(&Event::BuildStarted(event::BuildStarted {
            build: recorder.build().to_owned(),
            daemon: daemon.0.to_owned(),
            daemon_version: daemon.1.to_owned(),
            daemon_ref: None,
            at_ms,
        }));
        recorder.observe(&Event::CallStarted(event::CallStarted {
            call: 1,
            parent: None,
            path: "pipeline".to_owned(),
            display: "pipeline".to_owned(),
            call_key: "blake3:01".to_owned(),
            scopes: Vec::new(),
            storage_key: "blake3:01".to_owned(),
            at_ms,
        }));
        recorder.observe(&Event::Lowered(event::Lowered {
            call: 1,
            kind: DagOpKind::Fs,
            vertices: vertices.iter().map(PlannedVertex::new).collect(),
        }));
        recorder
    }
}

/// Ends the record of a build; its id.
pub(crate) async fn end(recorder: Recorder, end: event::BuildEnd, at_ms: u64) -> String {
    recorder.observe(&Event::BuildFinished(event::BuildFinished { end, at_ms }));
    let report = recorder.finish().await;
    assert_eq!(report.notices, Vec::<String>::new());
    report.build.id
}

/// All vertices of a graph.
pub(crate) fn vertices(definition: &Definition) -> Vec<Arc<Vertex>> {
    let output = definition.output().unwrap().unwrap();
    llb::vertices(&output)
}

/// What a session finds out: the predicted keys of the steps, and the listings of local
/// directories.
pub(crate) fn facts(
    definition: &Definition,
    vertices: &[Arc<Vertex>],
    locals: &BTreeMap<String, PathBuf>,
) -> Facts {
    let known = Known {
        locals: locals.clone(),
        ..Known::default()
    };
    let mut facts = join::predicted(&predict(definition, &known, Profile::NEWEST).unwrap());
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
