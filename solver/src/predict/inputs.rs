//! What a prediction is made from besides the graph.

use std::{
    ffi::OsString,
    fmt,
    io::{self, Read},
    path::Path,
    sync::Arc,
};

use snapshots::{
    checksum::{self, Checksums, Origin, Rules},
    tree::{MemTree, Meta, Tree},
};

use crate::{
    Digest,
    cachemap::Resolved,
    llb::{Output, Platform, Vertex},
};

/// A tree whose bytes are at hand.
#[derive(Clone)]
pub struct Files {
    /// The files.
    pub tree: Arc<dyn Tree + Send + Sync>,
    /// How the daemon gets to know them.
    pub origin: Origin,
    /// Owner and group of every entry, where they are not those of the tree.
    pub owner: Option<(u32, u32)>,
    /// Hashes them without the tree, where only that is possible.
    pub hashes: Option<Hashes>,
    /// There is no snapshot at all, as for scratch.
    pub is_nothing: bool,
}

/// Makes the records of a tree under some rules.
pub type Hashes = Arc<dyn Fn(Rules) -> Result<Checksums<'static>, InputError> + Send + Sync>;

impl Files {
    /// What a client sends of a local directory: everything belongs to root.
    #[must_use]
    pub fn sent(tree: Arc<dyn Tree + Send + Sync>) -> Self {
        Self {
            tree,
            origin: Origin::Transfer,
            owner: Some((0, 0)),
            hashes: None,
            is_nothing: false,
        }
    }

    /// A snapshot of the daemon: an image, a checkout, the result of an operation.
    #[must_use]
    pub fn snapshot(tree: Arc<dyn Tree + Send + Sync>) -> Self {
        Self {
            tree,
            origin: Origin::Scan,
            owner: None,
            hashes: None,
            is_nothing: false,
        }
    }

    /// A snapshot that can be hashed and not be looked at: file operations over it have an unknown
    /// result.
    #[must_use]
    pub fn hashed(hashes: Hashes) -> Self {
        Self {
            hashes: Some(hashes),
            ..Self::snapshot(Arc::new(Unlisted))
        }
    }

    /// The result of an operation that has no snapshot: the difference of a tree to itself.
    #[must_use]
    pub fn nothing() -> Self {
        Self {
            is_nothing: true,
            ..Self::snapshot(Arc::new(MemTree::new()))
        }
    }

    pub(super) fn is_transferred(&self) -> bool {
        self.origin == Origin::Transfer
    }

    pub(super) fn profile(&self, rules: Rules) -> checksum::Profile {
        checksum::Profile {
            origin: self.origin,
            rules,
            owner: self.owner,
        }
    }
}

impl fmt::Debug for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Files")
            .field("origin", &self.origin)
            .field("owner", &self.owner)
            .finish_non_exhaustive()
    }
}

/// A tree of which only hashes are at hand.
struct Unlisted;

impl Tree for Unlisted {
    fn stat(&self, _: &Path) -> io::Result<Meta> {
        Err(io::Error::other("only its hashes are at hand"))
    }

    fn list(&self, _: &Path) -> io::Result<Vec<OsString>> {
        Err(io::Error::other("only its hashes are at hand"))
    }

    fn open(&self, _: &Path) -> io::Result<Box<dyn Read + Send + '_>> {
        Err(io::Error::other("only its hashes are at hand"))
    }
}

/// What a source turned out to be.
#[derive(Debug, Clone, Default)]
pub struct Source {
    /// What an unpinned name stands for.
    pub resolved: Option<Resolved>,
    /// Of an image: digests of its uncompressed layers, lowest first, as its config lists them.
    pub layers: Option<Vec<Digest>>,
}

/// Something that was to be read and could not be.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub struct InputError(pub String);

/// What is known of the world outside the graph. Everything may be unknown; an answer must be
/// right.
pub trait Inputs {
    /// The platform of the worker, for operations that leave it open.
    fn platform(&self) -> Option<Platform> {
        None
    }

    /// What a source resolves to; `None` if that is not known.
    ///
    /// # Errors
    ///
    /// If it is known where to look and that cannot be read.
    fn source(&self, source: &Vertex) -> Result<Option<Source>, InputError> {
        let _ = source;
        Ok(None)
    }

    /// The files of an output, of a source or of an operation that has run; `None` if they are not
    /// at hand. Asked only where a key depends on them.
    ///
    /// # Errors
    ///
    /// If they are there and cannot be read.
    fn files(&self, output: &Output) -> Result<Option<Files>, InputError> {
        let _ = output;
        Ok(None)
    }
}

/// Nothing but the graph.
#[derive(Debug, Clone, Copy, Default)]
pub struct Nothing;

impl Inputs for Nothing {}
