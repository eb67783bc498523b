//! A local directory as a build sends it to a daemon, and the content hash it will have there.
//!
//! ```text
//! follow   paths to keep, through links -> more include patterns
//! filter   what the patterns list, and which directories are worth entering
//! walk     the tree in protocol order, one stat(2) per entry  ----> the session's file transfer
//!   |  entries                                                       (the same walk, so what is
//! read     hashes files on all cores while the walk goes on           hashed is what is sent)
//!   |      cache: digests of files that were not touched since the last time
//! Context  the records of the tree, to be asked for digests; and a Fingerprint
//! ```
//! * What is hashed is what the daemon would hold: patterns applied, owners mapped, sockets as empty
//!   files, every name of an inode with the same content. The root has no header of its own
//!   ([`Origin::Transfer`]).
//! * [`Fingerprint::unchanged`] asks the disk again, so that a caller can prove that nothing was
//!   touched between hashing and sending.
//!
//! What a change of an existing directory's mode does to a daemon that already holds an older copy
//! is not modelled: such a daemon keeps the old header, a fresh one hashes the new one.

mod cache;
mod filter;
mod fingerprint;
mod follow;
mod identity;
mod read;
#[cfg(test)]
mod tests;
mod tree;
mod walk;
mod xattrs;

use std::path::PathBuf;
use std::sync::Arc;

use thiserror::Error;

use cache::Cache;
pub use filter::Filter;
pub use fingerprint::Fingerprint;
pub use follow::extend as follow_paths;
pub use identity::Identity;
use identity::Moment;
use read::Found;
pub use tree::SourceTree;
pub use walk::{Attributes, Emit, Entry, walk};
pub use xattrs::readable as xattrs_readable;

use crate::beneath::{PathError, Root};
use crate::checksum::{ChecksumError, Checksums, Origin, Profile, Records, Rules};
use crate::digest::Digest;
use crate::patterns::PatternError;
use crate::tree::{Kind, Meta};

/// Why a directory cannot be listed or hashed.
#[derive(Debug, Error)]
pub enum ContextError {
    /// Something could not be read.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A name or link that a protobuf string cannot hold.
    #[error(
        "{0:?}: the name or link target is not UTF-8, which the transfer protocol requires; exclude it"
    )]
    NotUtf8(String),
    /// Nested deeper than any system call can name.
    #[error("{0:?}: the path is longer than 4096 bytes")]
    TooLong(String),
    /// Follow paths lead to more paths than this.
    #[error("follow paths lead to more than {0} paths")]
    TooManyFollowed(usize),
    /// More than this many entries.
    #[error("the directory has more than {0} entries")]
    TooManyEntries(usize),
    /// An include or exclude pattern is malformed.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A file was written to again and again while it was read.
    #[error("{} changes while it is read", .0.display())]
    Changing(PathBuf),
    /// The tree cannot be hashed.
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    /// The receiver of the entries wants no more.
    #[error("the transfer was cancelled")]
    Stopped,
}

/// Who owns the files in the daemon's copy of a local directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub enum Ownership {
    /// Everything belongs to user 0 and group 0, so that the result does not depend on who runs the build. This is
    /// what other BuildKit clients do.
    #[default]
    Root,
    /// As on disk.
    Keep,
    /// A fixed user and group ID.
    Fixed {
        /// User ID.
        uid: u32,
        /// Group ID.
        gid: u32,
    },
}

/// A local source: the directory, and what of it is sent.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Source {
    /// The directory. Links in this path are followed; nothing outside of it is ever read.
    pub root: PathBuf,
    /// Patterns of what is sent; everything when empty.
    pub include: Vec<String>,
    /// Patterns of what is not.
    pub exclude: Vec<String>,
    /// Paths that are sent together with what their links lead to.
    pub follow: Vec<String>,
    /// Owner of the entries.
    pub ownership: Ownership,
}

impl Source {
    /// All of a directory, owned by root.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            ..Self::default()
        }
    }

    /// Opens the directory and compiles the patterns.
    ///
    /// # Errors
    /// A directory that cannot be read, a malformed pattern.
    pub fn open(&self) -> Result<(Root, Filter), ContextError> {
        let root = Root::open(&self.root)?;
        let include = follow_paths(&root, self.include.clone(), &self.follow)?;
        let filter = Filter::new(&include, &self.exclude)?;
        Ok((root, filter))
    }
}

/// How to hash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The rules of the daemon's release.
    pub rules: Rules,
    /// The folder of stat caches, created when needed; without one every file is read.
    pub cache: Option<PathBuf>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            rules: Rules::LATEST,
            cache: None,
        }
    }
}

/// What hashing had to do.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Work {
    /// Entries of the context, the root not counted.
    pub entries: usize,
    /// Files that were read.
    pub read: usize,
    /// Bytes that were read.
    pub bytes: u64,
}

/// A hashed local source.
pub struct Context {
    /// The records; ask them what a vertex asks its input.
    pub sums: Checksums<'static>,
    /// The same as a tree, for those who compute further trees from it.
    pub tree: SourceTree,
    /// The state of the directory when it was hashed.
    pub fingerprint: Fingerprint,
    /// What it took.
    pub work: Work,
    /// Why the stat cache could not be written; the next run is slower then, nothing else.
    pub cache_failure: Option<PathError>,
}

impl Context {
    /// The digest of everything.
    ///
    /// # Errors
    /// None in practice: everything has been read.
    pub fn root_digest(&self) -> Result<Digest, ContextError> {
        Ok(self.sums.plain("/", false)?)
    }
}

/// Hashes a local source as the daemon will hold it after the transfer.
///
/// # Errors
/// [`ContextError`], naming the pattern or the entry.
pub fn hash(source: &Source, options: &Options) -> Result<Context, ContextError> {
    let (root, filter) = source.open()?;
    let started = Moment::now(root.fd());
    let profile = Profile {
        origin: Origin::Transfer,
        rules: options.rules,
        owner: None,
    };
    let mut cache = options
        .cache
        .as_ref()
        .map(|folder| Cache::load(folder, &root, source.ownership, started));
    let (found, work) = read::all(&root, &filter, source.ownership, profile, cache.as_mut())?;
    let saved = cache.map_or(Ok(()), |cache| cache.save(&found));
    let mut records = Records::default();
    records.push(Box::default(), root_meta(), None, &profile);
    for file in &found {
        let path = ["/", &file.path].concat().into_bytes().into();
        records.push(path, file.meta.clone(), file.digest, &profile);
    }
    let found: Arc<[Found]> = found.into();
    let fingerprint = Fingerprint::new(source.clone(), profile, started, Arc::clone(&found));
    Ok(Context {
        sums: Checksums::from_records(records, profile),
        tree: SourceTree::new(root, profile, found),
        fingerprint,
        work,
        cache_failure: saved.err(),
    })
}

/// Lists a local source as the daemon will hold it, for those who need the bytes of few files: they
/// are read when they are asked for.
///
/// # Errors
/// [`ContextError`], naming the pattern or the entry.
pub fn list(source: &Source) -> Result<SourceTree, ContextError> {
    let (root, filter) = source.open()?;
    let found = read::nothing(&root, &filter, source.ownership)?;
    let profile = Profile {
        owner: None,
        ..Profile::LOCAL
    };
    Ok(SourceTree::new(root, profile, found.into()))
}

/// The root is never sent; what it looks like does not matter.
fn root_meta() -> Meta {
    Meta::new(Kind::Dir, 0o755)
}
