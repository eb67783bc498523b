//! What was in a directory of the host, and whether the daemon got just that.
//!
//! A call that reads local files is recalled, and kept for later runs, under
//! the content of those files. They are hashed here as they would be sent, when
//! somebody wants to know. The daemon fetches them at another moment, so a
//! value is kept only if nothing can have changed in between:
//!
//! ```text
//!   hash ──────────── transfer ──────────── value ──── check, then keep
//!   └─ no transfer before   └─ complete, no file left out ──┘
//!                              that changed since it was sent
//! ```
//! 1. No transfer of the directory began in this session before it was hashed,
//!    and those that began have ended and were complete.
//! 2. The daemon holds what we have. It asks only for files whose size or time
//!    is new to it, so a file that was changed under the same size and time is
//!    not asked for; [`crate::copies`] knows when each file was sent.
//! 3. After the value is there, the directory is compared with what was hashed.
//!
//! The comparison is repeated only after another transfer.
//!
//! # Not for the cache in memory
//! What is seen here names values on disk and nothing else; the engine's cache is not taught it
//! ([`dagql::Cache::learn_content`]). That cache believes what it learns for as long as it holds
//! the object, while a check speaks of what was read until now: the session may fetch the directory
//! again and find other files. Little would be won, too. What is made from a directory of the host
//! is bound to its session unless it is a plain value, and another session finds that on disk.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};

use dagql::{Digest, Sighting, scheme::Scheme};
use snapshots::context::{self, Fingerprint, Options, Source, SourceTree};
use solver::backend::session::{LocalDir, LocalDirProvider, LocalDirs, Transfer};
use solver::llb::{Vertex, source};

use crate::copies::Copies;

/// The directories a session offers, and what became of their transfers.
pub(crate) struct LocalTrees {
    copies: Arc<Copies>,
    pub(super) hashing: Options,
    offered: LocalDirs,
    transfers: Mutex<HashMap<String, Transfers>>,
    /// Those of which somebody may want to know the content.
    pub(super) watched: Mutex<Vec<Weak<HostTree>>>,
}

/// Transfers of one directory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Transfers {
    begun: u64,
    ended: u64,
    /// Incomplete, or of what the daemon may have otherwise.
    untrusted: u64,
}

impl Transfers {
    fn are_over(self) -> bool {
        self.ended == self.begun
    }
}

impl LocalTrees {
    /// Nothing offered yet. What files were hashed to is remembered in the folder `stat_cache`.
    pub(crate) fn new(copies: Arc<Copies>, stat_cache: PathBuf) -> Self {
        Self {
            copies,
            hashing: Options {
                cache: Some(stat_cache),
                ..Options::default()
            },
            offered: LocalDirs::new(),
            transfers: Mutex::default(),
            watched: Mutex::default(),
        }
    }

    /// Offers a directory; its path is its name.
    pub(crate) fn offer(&self, name: &str, dir: LocalDir) {
        self.offered.insert(name, dir);
    }

    fn transfers(&self, name: &str) -> Transfers {
        self.lock().get(name).copied().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Transfers>> {
        self.transfers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

impl LocalDirProvider for LocalTrees {
    fn local_dir(&self, name: &str) -> Option<LocalDir> {
        let dir = self.offered.get(name)?;
        self.lock().entry(name.to_owned()).or_default().begun += 1;
        Some(dir)
    }

    fn transferred(&self, name: &str, transfer: &Transfer) {
        let trusted = transfer.complete && self.copies.absorb(name, transfer);
        let mut transfers = self.lock();
        let known = transfers.entry(name.to_owned()).or_default();
        known.ended += 1;
        known.untrusted += u64::from(!trusted);
    }
}

/// See the module.
pub(crate) struct HostTree {
    trees: Arc<LocalTrees>,
    /// Under which the directory is offered.
    name: String,
    source: Source,
    /// What else the object is made of.
    parts: Vec<String>,
    seen: OnceLock<Option<Seen>>,
    /// The transfers that had begun when the directory was last found unchanged.
    proven: Mutex<Option<u64>>,
}

struct Seen {
    digest: Digest,
    /// Digest of the files alone.
    root: snapshots::Digest,
    files: Arc<SourceTree>,
    fingerprint: Fingerprint,
    /// Transfers that had begun before.
    begun: u64,
}

impl HostTree {
    /// A local source that `trees` offers as `name`; `parts` tell apart objects
    /// that are made differently from the same files.
    pub(crate) fn new(
        trees: Arc<LocalTrees>,
        name: String,
        source: Source,
        parts: Vec<String>,
    ) -> Self {
        Self {
            trees,
            name,
            source,
            parts,
            seen: OnceLock::new(),
            proven: Mutex::new(None),
        }
    }

    /// Whether somebody has looked.
    pub(super) fn is_seen(&self) -> bool {
        self.seen.get().is_some()
    }

    /// What the daemon was sent: its digest, and the files as they were seen.
    pub(super) fn sent(&self) -> Option<(snapshots::Digest, Arc<SourceTree>)> {
        let seen = self.seen.get()?.as_ref()?;
        self.holds()
            .then(|| (seen.root.clone(), Arc::clone(&seen.files)))
    }

    /// What the daemon was sent, if it also is what is there now: only then its bytes can be read.
    pub(super) fn sent_and_still_there(&self) -> Option<Arc<SourceTree>> {
        let (seen, transfers) = self.provable()?;
        self.compare(seen, transfers)
            .then(|| Arc::clone(&seen.files))
    }

    /// What is there when this is first asked.
    pub(super) fn now(&self) -> Option<Arc<SourceTree>> {
        let seen = self.seen.get_or_init(|| self.look());
        seen.as_ref().map(|seen| Arc::clone(&seen.files))
    }

    /// What was seen, unless a transfer has already made it worthless.
    fn provable(&self) -> Option<(&Seen, Transfers)> {
        let seen = self.seen.get()?.as_ref()?;
        let transfers = self.trees.transfers(&self.name);
        (seen.begun == 0 && transfers.untrusted == 0).then_some((seen, transfers))
    }

    /// Whether the directory is what was seen. If all `transfers` had ended before, that is a proof
    /// that lasts until the next one.
    fn compare(&self, seen: &Seen, transfers: Transfers) -> bool {
        let unchanged = seen.fingerprint.unchanged().unwrap_or(false);
        if unchanged && transfers.are_over() {
            *self.proven() = Some(transfers.begun);
        }
        unchanged
    }

    fn proven(&self) -> MutexGuard<'_, Option<u64>> {
        self.proven.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A name beside that of the directory, and where it is.
    pub(super) fn beside(&self, what: &str) -> (String, PathBuf) {
        (format!("{}#{what}", self.name), self.source.root.clone())
    }

    /// Whether a local source sends just this.
    pub(super) fn is_of(&self, vertex: &Vertex) -> bool {
        let Some(op) = vertex.source() else {
            return false;
        };
        op.identifier.strip_prefix("local://") == Some(self.name.as_str())
            && self.source.include == source::patterns(op, "local.includepattern")
            && self.source.exclude == source::patterns(op, "local.excludepatterns")
    }

    fn look(&self) -> Option<Seen> {
        let begun = self.trees.transfers(&self.name).begun;
        let hashed = context::hash(&self.source, &self.trees.hashing);
        let hashed = hashed.and_then(|context| Ok((context.root_digest()?, context)));
        let (root, context) = match hashed {
            Ok(hashed) => hashed,
            Err(error) => {
                // The transfer will say the same to the user.
                tracing::debug!(name = self.name, %error, "a directory cannot be hashed");
                return None;
            }
        };
        let mut parts = vec![root.as_str()];
        parts.extend(self.parts.iter().map(String::as_str));
        Some(Seen {
            digest: Scheme::Blake3.rules().strings("local files", &parts),
            files: Arc::new(context.tree),
            fingerprint: context.fingerprint,
            root,
            begun,
        })
    }
}

impl Sighting for HostTree {
    fn digest(&self) -> Option<Digest> {
        let seen = self.seen.get_or_init(|| self.look());
        seen.as_ref().map(|seen| seen.digest.clone())
    }

    fn holds(&self) -> bool {
        let Some((seen, transfers)) = self.provable() else {
            return false;
        };
        let proven = transfers.are_over() && *self.proven() == Some(transfers.begun);
        proven || self.compare(seen, transfers)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use super::*;

    struct Case {
        folder: tempfile::TempDir,
        trees: Arc<LocalTrees>,
        name: String,
    }

    impl Case {
        fn new() -> Self {
            let folder = tempfile::tempdir().expect("creates");
            std::fs::create_dir(folder.path().join("src")).expect("creates");
            std::fs::write(folder.path().join("src/a"), "one").expect("writes");
            let trees = Arc::new(LocalTrees::new(
                Arc::new(Copies::open(folder.path(), "w")),
                folder.path().join("stat"),
            ));
            let name = folder.path().join("src").display().to_string();
            trees.offer(&name, LocalDir::new(&name));
            Self {
                folder,
                trees,
                name,
            }
        }

        fn tree(&self) -> HostTree {
            let source = Source::new(self.folder.path().join("src"));
            HostTree::new(
                Arc::clone(&self.trees),
                self.name.clone(),
                source,
                Vec::new(),
            )
        }

        fn change(&self) {
            std::fs::write(self.folder.path().join("src/a"), "two").expect("writes");
        }

        fn begin(&self) {
            self.trees.local_dir(&self.name).expect("offered");
        }

        fn end(&self, complete: bool) {
            let transfer = Transfer {
                started: SystemTime::now(),
                complete,
                entries: Vec::new(),
            };
            self.trees.transferred(&self.name, &transfer);
        }

        fn transfer(&self) {
            self.begin();
            self.end(true);
        }
    }

    #[test]
    fn what_stays_the_same_until_it_was_sent_holds() {
        let case = Case::new();
        let tree = case.tree();
        assert!(!tree.holds(), "nobody has looked");
        let seen = tree.digest().expect("hashes");
        assert!(tree.holds());
        case.transfer();
        assert!(tree.holds());
        // Nothing is sent any more: later changes are of another time.
        case.change();
        assert!(tree.holds());
        assert_eq!(tree.digest(), Some(seen.clone()), "what was seen then");
        assert_ne!(case.tree().digest(), Some(seen));
    }

    #[test]
    fn a_change_before_the_end_of_the_transfer_is_found() {
        let before = Case::new();
        let tree = before.tree();
        tree.digest().expect("hashes");
        before.change();
        before.transfer();
        assert!(!tree.holds());

        let during = Case::new();
        let tree = during.tree();
        tree.digest().expect("hashes");
        during.begin();
        assert!(tree.holds(), "a value that needs none of it");
        during.change();
        during.end(true);
        assert!(!tree.holds());
    }

    #[test]
    fn another_transfer_is_another_proof() {
        let case = Case::new();
        let tree = case.tree();
        tree.digest().expect("hashes");
        case.transfer();
        assert!(tree.holds());
        case.change();
        case.transfer();
        assert!(!tree.holds());
    }

    #[test]
    fn what_was_sent_before_anybody_looked_proves_nothing() {
        let case = Case::new();
        let tree = case.tree();
        case.transfer();
        tree.digest().expect("hashes");
        assert!(!tree.holds());
    }

    #[test]
    fn a_transfer_that_broke_off_proves_nothing() {
        let case = Case::new();
        let tree = case.tree();
        tree.digest().expect("hashes");
        case.begin();
        case.end(false);
        assert!(!tree.holds());
    }

    #[test]
    fn a_directory_that_cannot_be_hashed_has_no_digest() {
        let case = Case::new();
        let source = Source::new("/does/not/exist");
        let trees = Arc::clone(&case.trees);
        let tree = HostTree::new(trees, case.name.clone(), source, Vec::new());
        assert_eq!(tree.digest(), None);
        assert!(!tree.holds());
    }
}
