//! Caches outside of the daemon that are read.
//!
//! They accompany every solve. A local one is a directory of this machine, which the session serves
//! as a content store; the daemon wants the digest of its manifest, which is looked up in
//! `index.json` here. A cache that cannot be read is a warning and not a failure.
//!
//! Each is also read from here, when the first solve begins: a build often writes to the very cache
//! that it reads, and what counts is what the daemon found there. At the end of the build it is
//! held against the graph, and the ledger says of each step whether the cache had its record, and
//! whether all blobs of the result were there.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};

use snapshots::content::ContentStore;
use solver::Digest;
use solver::backend::session::RegistryAuth;
use solver::backend::{CacheBackend, GatewaySolve};
use solver::predict::Prediction;
use tokio::task::JoinHandle;

use super::BuildSession;
use super::cache::{is_readable, within};
use crate::join::{self, Writer};
use crate::ledger::{Facts, ImportRow, ImportState};
use crate::remote::{self, Held, Remote, TAG, manifest_of};

/// Blobs of one cache that are looked for; of further ones it is not known whether they are there.
const BLOBS_MAX: usize = 512;

/// What came of reading a cache.
type Reading = JoinHandle<Result<(Remote, Vec<Held>), remote::Error>>;

/// The caches of a session, once the first solve has begun.
#[derive(Default)]
pub(super) struct Imports {
    /// As the daemon takes them.
    ready: Vec<CacheBackend>,
    /// By place among what the user asked for; none where the daemon is told of no cache.
    readings: Mutex<Vec<Option<Reading>>>,
}

impl BuildSession {
    /// A solve that reads the session's caches.
    pub(super) fn with_imports(&self, solve: GatewaySolve) -> GatewaySolve {
        let imports = self.imports.get_or_init(|| self.prepare_imports());
        GatewaySolve {
            cache_imports: imports.ready.clone(),
            ..solve
        }
    }

    /// The caches to read, made ready for the daemon. Each that cannot be is a warning.
    fn prepare_imports(&self) -> Imports {
        let (mut ready, mut readings) = (Vec::new(), Vec::new());
        for import in &self.options.cache_imports {
            match self.prepare_import(import) {
                Ok(import) => {
                    readings.push(Some(self.begin_to_read(&import)));
                    ready.push(import);
                }
                Err(reason) => {
                    readings.push(None);
                    let message = format!("the {} cache is not read: {reason}", import.kind);
                    self.options.journal.warn(&message);
                }
            }
        }
        Imports {
            ready,
            readings: Mutex::new(readings),
        }
    }

    fn prepare_import(&self, import: &CacheBackend) -> Result<CacheBackend, String> {
        let mut import = import.clone();
        if import.kind != "local" {
            return Ok(import);
        }
        let source = import.attrs.get("src").ok_or("there is no src=DIRECTORY")?;
        let path = self.options.workdir.join(source);
        let store = ContentStore::open_existing(&path).map_err(|e| e.to_string())?;
        let tag = import.attrs.remove("tag").unwrap_or_else(|| TAG.to_owned());
        let source = path.to_string_lossy().into_owned();
        if !import.attrs.contains_key("digest") {
            let digest = manifest_of(&store, &tag)?;
            import.attrs.insert("digest".to_owned(), digest);
        }
        let id = format!("local:{source}");
        self.providers.content.insert(id, Arc::new(store));
        import.attrs.insert("src".to_owned(), source);
        Ok(import)
    }

    fn begin_to_read(&self, import: &CacheBackend) -> Reading {
        let import = import.clone();
        let auth = Arc::<RegistryAuth>::clone(&self.providers.auth);
        let workdir = self.options.workdir.clone();
        tokio::spawn(within(async move {
            let remote = Remote::open(&import, auth, &workdir).await?;
            let held = remote.read().await?;
            Ok((remote, held))
        }))
    }

    /// Notes what the caches that were read have of this build's graph, where its keys are known.
    pub(super) async fn note_imports(&self, prediction: Option<&Prediction>) {
        let Some(imports) = self.imports.get() else {
            return;
        };
        let readings = std::mem::take(
            &mut *imports
                .readings
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let asked = self.options.cache_imports.iter();
        for ((number, asked), reading) in (0..).zip(asked).zip(readings) {
            let state = self.note_import(number, asked, reading, prediction).await;
            let name = ["ref", "src", "name"]
                .iter()
                .find_map(|attr| asked.attrs.get(*attr));
            self.options.journal.facts(Facts {
                imports: vec![ImportRow {
                    number,
                    kind: asked.kind.clone(),
                    name: name.cloned().unwrap_or_default(),
                    state,
                }],
                ..Facts::default()
            });
        }
    }

    async fn note_import(
        &self,
        number: u64,
        asked: &CacheBackend,
        reading: Option<Reading>,
        prediction: Option<&Prediction>,
    ) -> ImportState {
        let Some(reading) = reading else {
            return ImportState::Absent;
        };
        if !is_readable(asked) {
            return ImportState::Unread;
        }
        let Ok(read) = reading.await else {
            return ImportState::Unread;
        };
        match read {
            Ok((remote, held)) => {
                if let Some(prediction) = prediction {
                    let blobs = within(async { Ok(blobs(&remote, &held).await) }).await;
                    self.join_import(number, &held, &blobs.unwrap_or_default(), prediction);
                }
                ImportState::Read
            }
            // An import that is not there yet is what every first build has.
            Err(remote::Error::Registry(error)) if error.is_not_found() => ImportState::Absent,
            Err(error) => {
                self.note_unread(&asked.kind, Err(error));
                ImportState::Unread
            }
        }
    }

    fn join_import(
        &self,
        number: u64,
        held: &[Held],
        blobs: &HashMap<Digest, bool>,
        prediction: &Prediction,
    ) {
        let caches = held.iter().filter_map(|held| held.cache.as_ref());
        let caches: Vec<_> = caches.collect();
        for (config, evidence) in &caches {
            let found = join::found(prediction, config, *evidence, Writer::Anybody);
            self.options.journal.facts(found);
        }
        let configs = caches.iter().map(|(config, _)| config);
        let imported = join::imported(prediction, configs, number, blobs);
        self.options.journal.facts(imported);
    }
}

/// Whether the blobs of some caches are there, as far as that can be told.
async fn blobs(remote: &Remote, held: &[Held]) -> HashMap<Digest, bool> {
    let caches = held.iter().filter_map(|held| held.cache.as_ref());
    let layers = caches.flat_map(|(config, _)| &config.layers);
    let wanted: HashSet<&Digest> = layers.map(|layer| &layer.blob).collect();
    let mut known = HashMap::new();
    for blob in wanted.into_iter().take(BLOBS_MAX) {
        if let Ok(found) = remote.stat(blob).await {
            known.insert(blob.clone(), found.is_some());
        }
    }
    known
}
