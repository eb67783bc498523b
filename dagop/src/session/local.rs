//! The files of local directories, for keys that are made of their content.
//!
//! What a daemon keyed a step by is what it was *sent*. So a directory is hashed before the first
//! evaluation can send it, and its files are given to a prediction only if nothing can have changed
//! until then; [`super::sighting`] has the proof. In a plan nothing is sent, and what is there now
//! is what counts.

use std::sync::{Arc, PoisonError, Weak};

use dagql::Sighting as _;
use snapshots::checksum::{Origin, Rules};
use snapshots::context::{self, Options};
use solver::llb::Vertex;
use solver::predict::{Files, InputError};

use super::BuildSession;
use super::sighting::{HostTree, LocalTrees};

/// Directories that are watched; of more than these, content is unknown.
const WATCHED_MAX: usize = 4096;

impl BuildSession {
    /// Hashes the directories that have not been hashed, so that later it can be told what of them
    /// was sent.
    pub(super) async fn look_at_local_trees(&self) {
        let trees: Vec<Arc<HostTree>> = self.providers.local_trees.unseen();
        if trees.is_empty() {
            return;
        }
        let look = tokio::task::spawn_blocking(move || {
            for tree in trees {
                tree.digest();
            }
        });
        // Hashing that panicked has seen nothing, and nothing will be claimed.
        _ = look.await;
    }
}

impl LocalTrees {
    /// Keeps track of a directory as long as somebody holds it.
    pub(super) fn watch(&self, tree: &Arc<HostTree>) {
        let mut watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.retain(|tree| tree.strong_count() > 0);
        if watched.len() < WATCHED_MAX {
            watched.push(Arc::downgrade(tree));
        }
    }

    fn watched(&self) -> Vec<Arc<HostTree>> {
        let watched = self.watched.lock().unwrap_or_else(PoisonError::into_inner);
        watched.iter().filter_map(Weak::upgrade).collect()
    }

    fn unseen(&self) -> Vec<Arc<HostTree>> {
        let watched = self.watched().into_iter();
        watched.filter(|tree| !tree.is_seen()).collect()
    }

    /// The files of a local source as the daemon has them; `unsent` says that it has none of them
    /// yet, and is to get what is there now.
    pub(super) fn files(&self, vertex: &Vertex, rules: Rules, unsent: bool) -> Option<Files> {
        let trees = self.watched();
        let tree = trees.iter().find(|tree| tree.is_of(vertex))?;
        let options = Options {
            rules,
            ..self.hashing.clone()
        };
        let hashed = match context::hash(tree.source(), &options) {
            Ok(hashed) => hashed,
            Err(error) => {
                tracing::debug!(%error, "a directory cannot be hashed");
                return None;
            }
        };
        // Asked after hashing: what was hashed is then what was seen before the transfer.
        if !unsent && !tree.is_what_was_sent() {
            return None;
        }
        let source = tree.source().clone();
        let hashes = move |rules| {
            let options = Options {
                rules,
                ..options.clone()
            };
            let hashed = context::hash(&source, &options);
            hashed
                .map(|context| context.sums)
                .map_err(|error| InputError(error.to_string()))
        };
        Some(Files {
            tree: Arc::new(hashed.tree),
            origin: Origin::Transfer,
            owner: None,
            hashes: Some(Arc::new(hashes)),
            is_nothing: false,
        })
    }
}

/// A list of patterns, as a local source has it.
pub(super) fn patterns(attribute: Option<&String>) -> Vec<String> {
    attribute
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}
