//! A daemon that builds graphs and shows the cache it has for them.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use futures::StreamExt as _;
use integration::daemon::Daemon;

use serde_json::Value;
use snapshots::{
    content::{ContentProvider, DOCUMENT_SIZE_MAX, Memory, read_all},
    tree::{ArchiveTree, Kind, Meta, Tree},
};
use solver::{
    backend::{
        Address, Build, BuildResult, Client, ConnectOptions, Error, GatewaySolve, Session,
        SessionConfig,
        control::{CacheBackend, Exporter, PruneOptions, SolveInput, SolveOptions, SolveRequest},
        session::{ContentStores, FileSendTargets, LocalDir, LocalDirs, Target},
    },
    llb::{Constraints, Definition, Output},
    predict::Files,
};

/// Name of the cache that is exported.
const CACHE: &str = "predicted";

/// A private daemon with one session.
pub(crate) struct Lab {
    client: Client,
    session: Session,
    locals: Arc<LocalDirs>,
    stores: Arc<ContentStores>,
    targets: Arc<FileSendTargets>,
    /// Last: the session ends before the daemon does.
    _daemon: Daemon,
}

impl Lab {
    /// Starts a daemon of the programs in a folder.
    pub(crate) async fn start(tools: &Path) -> anyhow::Result<Self> {
        let daemon = Daemon::start_from(tools)?;
        let address: Address = daemon.address().parse()?;
        let client = Client::connect(&address, &ConnectOptions::default()).await?;
        let locals = Arc::new(LocalDirs::new());
        let stores = Arc::new(ContentStores::new());
        let targets = Arc::new(FileSendTargets::new());
        let config = SessionConfig {
            local_dirs: locals.clone(),
            content: stores.clone(),
            targets: targets.clone(),
            ..SessionConfig::default()
        };
        let session = Session::start(&client, config).await?;
        Ok(Self {
            client,
            session,
            locals,
            stores,
            targets,
            _daemon: daemon,
        })
    }

    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// The release the daemon says it is.
    pub(crate) async fn version(&self) -> anyhow::Result<String> {
        Ok(self.client.info().await?.version)
    }

    pub(crate) fn offer_directory(&self, name: &str, root: &Path) {
        self.locals.insert(name, LocalDir::new(root));
    }

    pub(crate) fn offer_layout(&self, name: &str, store: Arc<dyn ContentProvider>) {
        self.stores.insert(format!("oci:{name}"), store);
    }

    /// Builds a graph and returns the cacheconfig document of all its steps; `None` if it is empty.
    pub(crate) async fn cache_of(&self, definition: &Definition) -> Result<Option<Value>, Error> {
        let store = Memory::new();
        self.stores
            .insert(format!("local:{CACHE}"), Arc::new(store.clone()));
        let options = SolveOptions {
            session: self.session.id().to_owned(),
            cache_exports: vec![CacheBackend {
                kind: "local".to_owned(),
                attrs: attributes(&[
                    ("dest", CACHE),
                    ("mode", "max"),
                    ("compression", "uncompressed"),
                ]),
            }],
            internal: true,
            ..SolveOptions::default()
        };
        let input = SolveInput::Definition(definition.to_pb());
        let response = self.client.solve(SolveRequest::new(input, options)).await?;
        Ok(response
            .get("cache.manifest")
            .map(|descriptor| config(&store, descriptor)))
    }

    /// The files of an output, as the daemon has them.
    pub(crate) async fn files(&self, output: &Output) -> Result<Files, Error> {
        let folder = tempfile::tempdir().map_err(|error| Error::Protocol(error.to_string()))?;
        let path = folder.path().join("files.tar");
        self.targets.set(0, Target::File(path.clone()));
        let options = SolveOptions {
            session: self.session.id().to_owned(),
            exporters: vec![Exporter {
                kind: "tar".to_owned(),
                attrs: BTreeMap::new(),
            }],
            internal: true,
            ..SolveOptions::default()
        };
        let build = Build::start(&self.client, options).await?;
        let definition = Definition::marshal(Some(output), &Constraints::default());
        let mut solve = GatewaySolve::definition(definition.to_pb());
        solve.evaluate = true;
        let result = build.solve(solve).await?;
        let mut root = Meta::new(Kind::Dir, 0o755);
        let reference = result
            .reference()
            .filter(|reference| !reference.id().is_empty());
        if reference.is_none() {
            return Ok(Files::nothing());
        }
        if let Some(reference) = reference {
            let stat = build.stat_file(reference, "/").await?;
            (root.mode, root.uid, root.gid) = (stat.permissions, stat.uid, stat.gid);
        }
        build
            .finish(BuildResult::single(result.reference().cloned()))
            .await?;
        let file = std::fs::File::open(&path).unwrap();
        let tree: Arc<dyn Tree + Send + Sync> = Arc::new(ArchiveTree::open(file, root).unwrap());
        Ok(Files::snapshot(tree))
    }

    /// Forgets everything, so that the next graph meets a daemon that never built anything.
    pub(crate) async fn prune(&self) -> Result<(), Error> {
        let options = PruneOptions {
            all: true,
            ..PruneOptions::default()
        };
        let mut gone = Box::pin(self.client.prune(options).await?);
        while let Some(record) = gone.next().await {
            record?;
        }
        Ok(())
    }
}

fn attributes(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs
        .iter()
        .map(|&(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

/// The cacheconfig document behind the descriptor of a cache manifest or index.
fn config(store: &Memory, descriptor: &str) -> Value {
    let descriptor: Value = serde_json::from_str(descriptor).unwrap();
    let read = |digest: &Value| -> Value {
        let digest = snapshots::Digest::parse(digest.as_str().unwrap()).unwrap();
        serde_json::from_slice(&read_all(store, &digest, DOCUMENT_SIZE_MAX).unwrap()).unwrap()
    };
    let manifest = read(&descriptor["digest"]);
    let entries = manifest["manifests"].as_array().into_iter().flatten();
    let config = entries
        .chain([&manifest["config"]])
        .find(|entry| entry["mediaType"] == "application/vnd.buildkit.cacheconfig.v0")
        .unwrap();
    read(&config["digest"])
}
