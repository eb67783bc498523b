//! A tree of files as data: what a directory entry is, and a trait to read a whole tree.
//!
//! Layers, archives and content hashes all speak in [`Meta`]. A [`Tree`] is read by path, never
//! through symbolic links; [`DirTree`] is a real directory, [`ArchiveTree`] the content of a tar
//! file, [`MemTree`] one made of values, for tests and for trees that exist only as a plan (a
//! `mkfile` that has not run).
//! [`walk`] lists a tree in the order of every format here: a directory before its content,
//! names by their bytes.

mod archive;
mod dir;
mod memory;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

pub use archive::ArchiveTree;
pub use dir::DirTree;
pub use memory::MemTree;

/// Most entries a walk visits.
pub const ENTRIES_MAX: usize = 10_000_000;

/// Extended attributes by name.
pub type Xattrs = BTreeMap<Vec<u8>, Vec<u8>>;

/// A moment; nanoseconds count up from the second also before 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Time {
    /// Seconds since 1970-01-01 UTC.
    pub secs: i64,
    /// 0 to 999 999 999.
    pub nanos: u32,
}

impl Time {
    /// A whole second.
    pub fn from_secs(secs: i64) -> Self {
        Self { secs, nanos: 0 }
    }
}

/// The kind of an entry, with what only that kind has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// A regular file of `size` bytes.
    File {
        /// Length in bytes.
        size: u64,
    },
    /// A directory.
    Dir,
    /// A symbolic link; the target is kept as it was written.
    Symlink {
        /// Where it points; not checked.
        target: PathBuf,
    },
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket; it cannot be put in a layer.
    Socket,
}

/// Everything about an entry but its name and its bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Meta {
    /// What it is.
    pub kind: Kind,
    /// Permission bits with setuid, setgid and sticky: 0 to 0o7777.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Time of last modification.
    pub mtime: Time,
    /// Extended attributes.
    pub xattrs: Xattrs,
}

impl Meta {
    /// An entry of root's, without times and attributes.
    pub fn new(kind: Kind, mode: u32) -> Self {
        Self {
            kind,
            mode: mode & MODE_MASK,
            uid: 0,
            gid: 0,
            mtime: Time::default(),
            xattrs: Xattrs::new(),
        }
    }

    /// True for directories.
    pub fn is_dir(&self) -> bool {
        self.kind == Kind::Dir
    }

    /// Bytes of data: the size of a regular file, 0 for everything else.
    pub fn size(&self) -> u64 {
        match self.kind {
            Kind::File { size } => size,
            _ => 0,
        }
    }
}

/// Permission bits with setuid, setgid and sticky.
pub const MODE_MASK: u32 = 0o7777;

/// A tree that can be read. Paths are relative, normal components only; the empty path is the root.
pub trait Tree: Sync {
    /// What the entry is; a symbolic link is not followed.
    ///
    /// # Errors
    /// `NotFound`, and whatever the medium reports.
    fn stat(&self, path: &Path) -> io::Result<Meta>;

    /// The names in a directory, ordered by their bytes.
    ///
    /// # Errors
    /// `NotADirectory`, and whatever the medium reports.
    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>>;

    /// The bytes of a regular file.
    ///
    /// # Errors
    /// For anything that is not a regular file, and whatever the medium reports.
    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send + '_>>;

    /// Identity of the inode of an entry that has several names, `None` for any other entry.
    ///
    /// # Errors
    /// As [`Tree::stat`].
    fn link_group(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        let _ = path;
        Ok(None)
    }

    /// The sha256 of `header` and the data of a regular file, if it is known without reading.
    /// See [`checksum`](crate::checksum) for what a header is.
    fn known_digest(&self, path: &Path, header: &[u8]) -> Option<[u8; 32]> {
        let _ = (path, header);
        None
    }
}

/// An I/O error with the path in the tree at which it happened.
#[derive(Debug, thiserror::Error)]
#[error("/{}: {source}", path.display())]
pub struct TreeError {
    /// Relative path in the tree.
    pub path: PathBuf,
    /// The cause.
    pub source: io::Error,
}

impl TreeError {
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self { path, source }
    }
}

/// Lists the entries at and below `start`: a directory before its content, names in byte order.
///
/// # Errors
/// [`TreeError`] at the first entry that cannot be read, or past [`ENTRIES_MAX`] entries.
pub fn walk(tree: &dyn Tree, start: &Path) -> Result<Vec<(PathBuf, Meta)>, TreeError> {
    let mut found = Vec::new();
    // Paths still to visit, last first, so that no depth of nesting can exhaust the call stack.
    let mut pending = vec![start.to_owned()];
    while let Some(path) = pending.pop() {
        let meta = tree.stat(&path).map_err(TreeError::at(&path))?;
        if meta.is_dir() {
            let names = tree.list(&path).map_err(TreeError::at(&path))?;
            pending.extend(names.iter().rev().map(|name| path.join(name)));
        }
        if found.len() + pending.len() > ENTRIES_MAX {
            let many = io::Error::other(format!("more than {ENTRIES_MAX} entries"));
            return Err(TreeError::at(&path)(many));
        }
        found.push((path, meta));
    }
    Ok(found)
}

#[cfg(test)]
mod tests;
