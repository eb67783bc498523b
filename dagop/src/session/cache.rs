//! Caches outside of the daemon: read before a build, written after it, and joined with it.
//!
//! *Imports* accompany every solve (`imports.rs`).
//!
//! *Exports* are builds of their own, one per cache, when all requests are answered: the daemon
//! answers with one manifest per build, and each cache has its own. What is exported is what the
//! requests evaluated, as a result of several parts of which none needs another. The work is not
//! done again: the session's main build still holds it. An *inline* cache is part of an image, so
//! it is written with each image (`export.rs`).
//!
//! What was written is read back and joined with the graph, and so is what was imported: that is
//! how the ledger knows which step made which layer, and which step a cache had.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use snapshots::content::ContentStore;
use snapshots::image;
use solver::backend::gateway::Refs;
use solver::backend::session::{FileSendTargets, RegistryAuth};
use solver::backend::{
    Build, BuildOptions, BuildResult, CacheBackend, ExporterResponse, GatewaySolve, Ref,
};
use solver::llb::{Constraints, Definition, Output, Vertex};
use solver::predict::{Files, InputError, Inputs, Prediction, Source};
use solver::{Digest, llb, registry};

use super::BuildSession;
use crate::error::Error;
use crate::join::{self, Writer};
use crate::ledger::Evidence;
use crate::platform::Platform;
use crate::remote::{self, Remote, TAG};

/// How long reading a cache back may take. It delays the end of a build, and no build needs it.
const READ_TIME_MAX: Duration = Duration::from_secs(30);

/// Kind of a cache that is part of an image.
const INLINE: &str = "inline";

impl BuildSession {
    /// The caches that are part of images.
    pub(super) fn inline_exports(&self) -> Vec<CacheBackend> {
        let exports = self.options.cache_exports.iter();
        exports.filter(|e| e.kind == INLINE).cloned().collect()
    }

    /// Writes the caches that the user asked for and joins them with the graph.
    ///
    /// # Errors
    /// The daemon's reason for the first cache that could not be written.
    pub(crate) async fn export_caches(&self) -> Result<(), Error> {
        let outputs = results(&self.evaluated());
        if outputs.is_empty() {
            return Ok(());
        }
        let exports = self.options.cache_exports.iter();
        for export in exports.filter(|export| export.kind != INLINE) {
            let written = self.export_cache(export, &outputs).await;
            let written =
                written.map_err(|e| e.context(format!("export cache to {}", export.kind)))?;
            if let Some(manifest) = written.filter(|_| is_readable(export)) {
                self.read_back(export, manifest, &outputs).await;
            }
        }
        Ok(())
    }

    /// Joins a cache that was written. It is where it belongs; if it cannot be read from here, the
    /// ledger knows less about it.
    async fn read_back(&self, export: &CacheBackend, manifest: Digest, outputs: &[Output]) {
        let opened = self.remote(export);
        let read = async {
            let remote = opened.await?.at(Some(manifest));
            self.join_remote(&remote, outputs).await
        };
        self.note_unread(&export.kind, within(read).await);
    }

    /// Joins the daemon's own store, where an address of its debug endpoint is given.
    async fn note_store(&self, prediction: &Prediction) {
        let Some(debug) = self.options.debug.as_ref().filter(|_| !self.is_plan()) else {
            return;
        };
        match debug.cache_store().await {
            Ok(store) => {
                let found = join::found(prediction, &store, Evidence::Daemon, Writer::Anybody);
                self.options.journal.facts(found);
            }
            Err(reason) => {
                let message = format!("the daemon's cache store is not in the ledger: {reason}");
                self.options.journal.warn(&message);
            }
        }
    }

    /// A daemon in another network may reach registries that are not known here, which is nobody's
    /// mistake. Everything else is said.
    pub(super) fn note_unread(&self, kind: &str, read: Result<(), remote::Error>) {
        match read {
            Ok(()) => {}
            Err(remote::Error::Registry(error @ registry::Error::Unreachable { .. })) => {
                tracing::debug!(%error, "the cache is not joined");
            }
            Err(reason) => {
                let message = format!("the {kind} cache is not in the ledger: {reason}");
                self.options.journal.warn(&message);
            }
        }
    }

    async fn remote(&self, cache: &CacheBackend) -> Result<Remote, remote::Error> {
        let auth = Arc::<RegistryAuth>::clone(&self.providers.auth);
        Remote::open(cache, auth, &self.options.workdir).await
    }

    /// Notes what each cache behind a name has of a graph.
    async fn join_remote(&self, remote: &Remote, outputs: &[Output]) -> Result<(), remote::Error> {
        let held = remote.read().await?;
        let Some(prediction) = self.predict(outputs) else {
            return Ok(());
        };
        for (config, evidence) in held.into_iter().filter_map(|held| held.cache) {
            let found = join::found(&prediction, &config, evidence, Writer::ThisBuild);
            self.options.journal.facts(found);
        }
        Ok(())
    }

    async fn export_cache(
        &self,
        export: &CacheBackend,
        outputs: &[Output],
    ) -> Result<Option<Digest>, Error> {
        let mut export = export.clone();
        let mut store = None;
        let tag = export.attrs.remove("tag").unwrap_or_else(|| TAG.to_owned());
        if export.kind == "local" {
            let missing = || Error::input("there is no dest=DIRECTORY");
            let path = export.attrs.get("dest").ok_or_else(missing)?;
            let path = self.options.workdir.join(path);
            let opened = ContentStore::open(&path).map_err(|e| Error::input(e.to_string()))?;
            let dest = path.to_string_lossy().into_owned();
            let id = format!("local:{dest}");
            self.providers.content.insert(id, Arc::new(opened.clone()));
            export.attrs.insert("dest".to_owned(), dest);
            store = Some(opened);
        }
        let session = self.export_session(FileSendTargets::new()).await?;
        let options = BuildOptions {
            session: session.id().to_owned(),
            cache_exports: vec![export.clone()],
            entitlements: self.options.allow.clone(),
            ..BuildOptions::default()
        };
        let build = Build::start(self.options.daemon.client().await?, options).await;
        let build = build.map_err(|e| self.explain(e))?;
        self.follow(&build);
        let mut refs = BTreeMap::new();
        for (number, output) in outputs.iter().enumerate() {
            let definition = Definition::marshal(Some(output), &Constraints::default());
            let solve = self.with_imports(GatewaySolve::definition(definition.to_pb()));
            let solved = build.solve(solve).await.map_err(|e| self.explain(e))?;
            refs.insert(number.to_string(), solved.reference().cloned());
        }
        let response = build.finish(parts(refs)).await;
        let response = response.map_err(|e| self.explain(e))?;
        session.close().await;
        match store {
            Some(store) => list_local(&store, &tag, &response).map_err(Error::input),
            None => Ok(pushed(&response)),
        }
    }

    /// Everything that was solved so far, in a fixed order.
    pub(super) fn evaluated(&self) -> Vec<Output> {
        let refs = self.refs.lock();
        let refs = refs.unwrap_or_else(std::sync::PoisonError::into_inner);
        let mut outputs: Vec<Output> = refs.keys().cloned().collect();
        outputs.sort_by(|a, b| (a.digest(), a.index()).cmp(&(b.digest(), b.index())));
        outputs
    }

    /// Notes what is known of the cache for everything that was evaluated: what the prediction
    /// says, and, unless the build was cancelled, what the caches that were read have.
    pub(crate) async fn note_cache(&self, is_cancelled: bool) {
        let begun = std::time::Instant::now();
        let evaluated = self.evaluated();
        let prediction = self.predict(&evaluated);
        if let Some(prediction) = &prediction {
            self.options.journal.facts(join::predicted(prediction));
        }
        // What the prediction compared with the disk is not compared again.
        self.note_listings(&evaluated);
        let predicted_us = u64::try_from(begun.elapsed().as_micros()).unwrap_or(u64::MAX);
        tracing::debug!(target: crate::ledger::COST, predicted_us, "predicted");
        if is_cancelled || evaluated.is_empty() {
            return;
        }
        self.note_imports(prediction.as_ref()).await;
        if let Some(prediction) = &prediction {
            self.note_store(prediction).await;
        }
    }

    /// Predicts the keys of a graph; nothing where that would be a guess.
    fn predict(&self, outputs: &[Output]) -> Option<Prediction> {
        let profile = self.options.daemon.formulas().proven()?;
        let prediction = join::predict(outputs, self, profile);
        // Our own graph is sound; if it were not, the build would have failed before.
        prediction
            .inspect_err(
                |error| tracing::debug!(%error, "the keys of the graph cannot be predicted"),
            )
            .ok()
    }

    /// Notes what the manifest of an exported image says of the steps that made its roots: `roots`
    /// by platform.
    pub(super) async fn join_image(
        &self,
        roots: &[(Platform, Option<Output>)],
        response: &ExporterResponse,
    ) {
        let digest = response.get("containerimage.digest");
        let Some(Ok(digest)) = digest.map(|text| Digest::parse(text)) else {
            return;
        };
        let read = async {
            let client = self.options.daemon.client().await;
            let client = client.map_err(|e| remote::Error::Daemon(e.to_string()))?;
            Remote::daemon(client, digest).read().await
        };
        let images = match within(read).await {
            Ok(images) => images,
            Err(reason) => {
                // The image is where it belongs; the ledger knows less about it.
                tracing::debug!(%reason, "the exported image cannot be read back");
                return;
            }
        };
        for image in images {
            let of_platform = |(platform, _): &&(Platform, _)| {
                roots.len() == 1 || image.platform.as_deref() == Some(&platform.to_string())
            };
            let Some((_, Some(root))) = roots.iter().find(of_platform) else {
                continue;
            };
            let Some(prediction) = self.predict(std::slice::from_ref(root)) else {
                continue;
            };
            if let Some((cache, evidence)) = &image.cache {
                let found = join::found(&prediction, cache, *evidence, Writer::ThisBuild);
                self.options.journal.facts(found);
            }
            let layers = join::image(root, &prediction, image.layers);
            self.options.journal.facts(layers);
        }
    }
}

/// Whether a cache can be read without the daemon.
pub(super) fn is_readable(cache: &CacheBackend) -> bool {
    matches!(cache.kind.as_str(), "local" | "registry")
}

/// What is read within [`READ_TIME_MAX`].
pub(super) async fn within<T>(
    read: impl Future<Output = Result<T, remote::Error>>,
) -> Result<T, remote::Error> {
    let read = tokio::time::timeout(READ_TIME_MAX, read).await;
    read.unwrap_or_else(|_| {
        let seconds = READ_TIME_MAX.as_secs();
        Err(remote::Error::Name(format!(
            "it was not read within {seconds} seconds"
        )))
    })
}

/// What the session knows of the world, for predictions.
impl Inputs for BuildSession {
    fn platform(&self) -> Option<llb::Platform> {
        Some(self.options.platform.to_llb())
    }

    fn source(&self, source: &Vertex) -> Result<Option<Source>, InputError> {
        let Some(op) = source.source() else {
            return Ok(None);
        };
        let images = self.images.lock();
        let images = images.unwrap_or_else(std::sync::PoisonError::into_inner);
        let layers = images.get(&op.identifier);
        Ok(layers.map(|layers| Source {
            layers: Some(layers.clone()),
            ..Source::default()
        }))
    }

    fn files(&self, output: &Output) -> Result<Option<Files>, InputError> {
        let trees = &self.providers.local_trees;
        Ok(trees.files(output.vertex(), self.is_plan()))
    }
}

/// A result of several parts. The daemon knows parts as platforms only, and looks at no more of
/// them than that each is named.
fn parts(mut refs: BTreeMap<String, Option<Ref>>) -> BuildResult {
    let mut result = BuildResult::single(None);
    if refs.len() == 1 {
        result.refs = Refs::Single(refs.pop_first().and_then(|(_, reference)| reference));
        return result;
    }
    let platform = serde_json::json!({"architecture": "unknown", "os": "unknown"});
    let platforms: Vec<_> = refs
        .keys()
        .map(|id| serde_json::json!({"ID": id, "Platform": platform}))
        .collect();
    let platforms = serde_json::json!({ "Platforms": platforms }).to_string();
    result
        .metadata
        .insert("refs.platforms".to_owned(), platforms.into());
    result.refs = Refs::Platforms(refs);
    result
}

/// Those outputs that none of the others needs.
fn results(outputs: &[Output]) -> Vec<Output> {
    let mut needed: HashSet<&Digest> = HashSet::new();
    let mut stack: Vec<&Output> = outputs.iter().flat_map(|o| o.vertex().inputs()).collect();
    while let Some(output) = stack.pop() {
        if needed.insert(output.digest()) {
            stack.extend(output.vertex().inputs());
        }
    }
    let mut seen: HashMap<&Digest, ()> = HashMap::new();
    let is_result = |output: &&Output| !needed.contains(output.digest());
    // Of one vertex one output is enough: its record and inputs are the same for all.
    outputs
        .iter()
        .filter(is_result)
        .filter(|output| seen.insert(output.digest(), ()).is_none())
        .cloned()
        .collect()
}

/// Digest of the manifest of a new local cache, which is listed in its directory's index. None when
/// there was nothing to export.
fn list_local(
    store: &ContentStore,
    tag: &str,
    response: &ExporterResponse,
) -> Result<Option<Digest>, String> {
    let Some(manifest) = response.get("cache.manifest") else {
        return Ok(None);
    };
    let fail = |e: &dyn std::fmt::Display| format!("the daemon's cache manifest: {e}");
    let descriptor = image::named_descriptor(manifest.as_bytes(), tag).map_err(|e| fail(&e))?;
    let digest = Digest::parse(descriptor.digest().as_ref()).map_err(|e| fail(&e))?;
    store.tag(descriptor).map_err(|e| e.to_string())?;
    Ok(Some(digest))
}

/// Digest of the manifest of a cache that was pushed. None when there was nothing to export.
fn pushed(response: &ExporterResponse) -> Option<Digest> {
    let manifest: serde_json::Value = serde_json::from_str(response.get("cache.manifest")?).ok()?;
    Digest::parse(manifest["digest"].as_str()?).ok()
}
