//! The files of local directories, for keys that are made of their content.
//!
//! What a daemon keyed a step by is what it was *sent*. So a directory is hashed before the first
//! evaluation can send it, and its files are given to a prediction only if nothing can have changed
//! until then; [`super::sighting`] has the proof. In a plan nothing is sent, and what is there now
//! is what counts.

use std::collections::HashSet;
use std::sync::{Arc, PoisonError, Weak};

use dagql::Sighting as _;
use solver::llb::{Output, Vertex};
use solver::predict::Files;

use super::BuildSession;
use super::sighting::{HostTree, LocalTrees};
use crate::ledger::{Facts, HashedTree};
use crate::lower::Made;

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

    /// Keeps the local sources that were lowered.
    pub(super) fn keep_locals(&self, made: &[Made]) {
        let vertices = made.iter().flat_map(|made| &made.vertices);
        let locals = vertices.filter(|vertex| is_local(vertex)).cloned();
        let mut kept = self.locals.lock().unwrap_or_else(PoisonError::into_inner);
        kept.extend(locals.take(WATCHED_MAX));
    }

    /// Notes file by file what the daemon was sent of the directories that `outputs` need, so that a
    /// later build can say which file changed. Directories that were lowered and that nothing needed,
    /// because a value was recalled, are noted as they were when that was decided.
    pub(super) fn note_listings(&self, outputs: &[Output]) {
        let mut facts = Facts::default();
        let mut seen = HashSet::new();
        let lowered = {
            let kept = self.locals.lock();
            kept.unwrap_or_else(PoisonError::into_inner).clone()
        };
        let evaluated = outputs.iter().map(|output| &**output.vertex());
        let mut stack: Vec<&Vertex> = evaluated.chain(lowered.iter().map(|v| &**v)).collect();
        while let Some(vertex) = stack.pop() {
            if !seen.insert(vertex.digest()) {
                continue;
            }
            stack.extend(vertex.inputs().iter().map(|input| &**input.vertex()));
            let tree = is_local(vertex)
                .then(|| self.providers.local_trees.of(vertex))
                .flatten();
            if let Some((digest, files)) = tree.and_then(|tree| tree.sent()) {
                let listing = HashedTree::new(digest.to_string(), files);
                let vertex = vertex.digest().to_string();
                facts.trees.push((vertex, Arc::new(listing)));
            }
        }
        self.options.journal.facts(facts);
    }
}

fn is_local(vertex: &Vertex) -> bool {
    let source = vertex.source();
    source.is_some_and(|op| op.identifier.starts_with("local://"))
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

    /// The directory that a local source sends.
    pub(super) fn of(&self, vertex: &Vertex) -> Option<Arc<HostTree>> {
        let mut trees = self.watched().into_iter();
        trees.find(|tree| tree.is_of(vertex))
    }

    /// The files of a local source as the daemon has them; `unsent` says that it has none of them
    /// yet, and is to get what is there now.
    pub(super) fn files(&self, vertex: &Vertex, unsent: bool) -> Option<Files> {
        let tree = self.of(vertex)?;
        let files = match unsent {
            true => tree.now(),
            false => tree.sent_and_still_there(),
        };
        Some(Files {
            owner: None,
            ..Files::sent(files?)
        })
    }
}
