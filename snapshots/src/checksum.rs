//! The content hash of a tree, as BuildKit computes it for its cache keys.
//!
//! When a vertex reads files (`COPY` of a path, a read-only mount), BuildKit keys it by the
//! *content* of those files. Whoever knows the files can therefore predict the key.
//!
//! # Records
//! Every path has a record. A regular file, link, device or pipe has one digest. A directory has
//! two: that of its *header* (mode, owner ...) and that of everything below it.
//! * header: the old "tarsum v1" text, without name and times (`checksum/header.rs`).
//! * file: sha256(header ‖ data). Link, device, pipe: sha256(header).
//! * directory: sha256 over `\0` ‖ header digest, then for each child in byte order
//!   `\0` ‖ name ‖ child digest. Digests enter as text, `sha256:…`. Links are never followed here.
//!
//! # Two questions
//! * [`Checksums::plain`]: the record of one path. Links in the path are followed, and the last
//!   component too if asked to.
//! * [`Checksums::filtered`]: wildcards, include and exclude patterns; the digest of the list of
//!   matches (`checksum/select.rs`).
//!
//! # Two origins
//! The daemon sees a local directory entry by entry as the client sends it
//! ([`Origin::Transfer`]): the root was never announced, so its header digest is that of the
//! empty text. Any other snapshot is scanned ([`Origin::Scan`]): the root has a real header, but
//! device numbers read as 0 (a test on the mode bits is wrong there, and is part of the format now).
//! [`Rules`] selects what changed between releases.
//!
//! # Cost
//! The tree is listed once, without reading files. Files are read when a question needs their
//! digest, in parallel, each at most once. Everything is iterative: nesting costs no stack.
//!
//! Not reproduced: names that start with the byte 0xFF (never valid UTF-8) are hashed twice by
//! the daemon; here once.

mod header;
mod select;

use std::collections::HashMap;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use thiserror::Error;

pub use select::Selection;

use crate::digest::{Digest, Hasher};
use crate::patterns::{PatternError, clean};
use crate::tree::{Kind, Meta, Tree, TreeError, walk};

/// Most links followed while a path is resolved.
const LINKS_MAX: usize = 255;

/// Most threads that read files.
const THREADS_MAX: usize = 8;

/// What can go wrong.
#[derive(Debug, Error)]
pub enum ChecksumError {
    /// The path does not exist in the tree.
    #[error("\"{0}\": not found")]
    NotFound(String),
    /// Over 255 links.
    #[error("\"{0}\": too many links")]
    TooManyLinks(String),
    /// The wildcard in the path is malformed.
    #[error("bad wildcard \"{path}\": {reason}")]
    Wildcard {
        /// The path asked about.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// An include or exclude pattern is malformed.
    #[error(transparent)]
    Pattern(#[from] PatternError),
    /// A file has another size than when the tree was listed.
    #[error("/{} changed while it was read", .0.display())]
    Changed(PathBuf),
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

/// How the daemon came to know the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin {
    /// Sent by a client as a local source.
    Transfer,
    /// Any other snapshot: image, git, http, result of an exec or a file operation.
    Scan,
}

/// What depends on the release of BuildKit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rules {
    /// From v0.26 on the list digest uses the path of each match relative to the asked-for path;
    /// before, only its base name.
    pub relative_list: bool,
    /// Before v0.25 links below a match were followed too, when links are followed.
    pub follow_nested: bool,
    /// Before v0.13 a scan recorded device numbers.
    pub scan_devices: bool,
}

impl Rules {
    /// The rules of the reference release, v0.32, and of anything newer until it is known better.
    pub const LATEST: Self = Self {
        relative_list: true,
        follow_nested: false,
        scan_devices: false,
    };

    /// The rules of BuildKit v0.`minor`.
    pub fn of_minor(minor: u32) -> Self {
        Self {
            relative_list: minor >= 26,
            follow_nested: minor < 25,
            scan_devices: minor < 13,
        }
    }
}

/// Everything a content hash depends on besides the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Profile {
    /// How the daemon got the tree.
    pub origin: Origin,
    /// Release of the daemon.
    pub rules: Rules,
    /// Owner and group to assume for every entry; clients send local directories as 0:0.
    pub owner: Option<(u32, u32)>,
}

impl Profile {
    /// A local directory as build clients send it: everything owned by root.
    pub const LOCAL: Self = Self {
        origin: Origin::Transfer,
        rules: Rules::LATEST,
        owner: Some((0, 0)),
    };

    /// A snapshot in the daemon.
    pub const SNAPSHOT: Self = Self {
        origin: Origin::Scan,
        rules: Rules::LATEST,
        owner: None,
    };
}

/// The records of one tree. May be asked from several threads.
pub struct Checksums<'t> {
    /// Where files are read; `None` when all of them have been.
    tree: Option<&'t dyn Tree>,
    profile: Profile,
    /// In walk order, so that a directory and everything below it are neighbours.
    records: Vec<Record>,
    /// Position of a path in `records`.
    index: HashMap<Vec<u8>, usize>,
}

/// One entry of the tree.
struct Record {
    /// Relative path for the tree.
    file: PathBuf,
    /// `""` for the root, `/a/b` for others.
    path: Vec<u8>,
    meta: Meta,
    /// Position after the last entry below this one.
    end: usize,
    /// Digest of a file, link, device, or of a whole directory.
    digest: OnceLock<Digest>,
    /// Digest of a directory's header.
    header: OnceLock<Digest>,
}

impl<'t> Checksums<'t> {
    /// Lists the tree; no file is read yet.
    ///
    /// # Errors
    /// [`ChecksumError::Tree`].
    pub fn new(tree: &'t dyn Tree, profile: Profile) -> Result<Self, ChecksumError> {
        let entries = walk(tree, Path::new(""))?
            .into_iter()
            .map(|(file, meta)| (file, meta, None));
        Ok(Self::assemble(Some(tree), entries, profile))
    }

    /// Records of entries whose digests are known, in walk order, the root left out (it has mode
    /// 0755 and is owned by root).
    pub(crate) fn from_digests(
        entries: impl IntoIterator<Item = (PathBuf, Meta, Option<Digest>)>,
        profile: Profile,
    ) -> Checksums<'static> {
        let root = (PathBuf::new(), Meta::new(Kind::Dir, 0o755), None);
        Checksums::assemble(None, [root].into_iter().chain(entries), profile)
    }

    fn assemble(
        tree: Option<&'t dyn Tree>,
        entries: impl IntoIterator<Item = (PathBuf, Meta, Option<Digest>)>,
        profile: Profile,
    ) -> Self {
        let mut records: Vec<Record> = Vec::new();
        // Directories whose end is not known yet.
        let mut open: Vec<usize> = Vec::new();
        for (file, mut meta, digest) in entries {
            if let Some((uid, gid)) = profile.owner {
                (meta.uid, meta.gid) = (uid, gid);
            }
            while open
                .last()
                .is_some_and(|top| !file.starts_with(&records[*top].file))
            {
                close(&mut records, &mut open);
            }
            open.push(records.len());
            records.push(Record {
                path: match file.as_os_str().as_bytes() {
                    b"" => Vec::new(),
                    path => [b"/", path].concat(),
                },
                file,
                meta,
                end: 0,
                digest: digest.map_or_else(OnceLock::new, OnceLock::from),
                header: OnceLock::new(),
            });
        }
        while !open.is_empty() {
            close(&mut records, &mut open);
        }
        let index = records
            .iter()
            .enumerate()
            .map(|(at, record)| (record.path.clone(), at))
            .collect();
        Self {
            tree,
            profile,
            records,
            index,
        }
    }

    /// The digest of the file or directory at `path`. `follow` also resolves a link in the last
    /// component; links before it are always resolved, within the tree.
    ///
    /// # Errors
    /// [`ChecksumError::NotFound`], [`ChecksumError::TooManyLinks`], and errors of reading files.
    pub fn plain(&self, path: &str, follow: bool) -> Result<Digest, ChecksumError> {
        let key = key_path(path);
        let at = self
            .resolve(key.as_bytes(), follow)?
            .ok_or_else(|| ChecksumError::NotFound(absolute(&key)))?;
        self.digest_of(at)
    }

    /// Position of the entry that a path leads to, `None` when there is none.
    /// A `..` is applied after the links before it, and never leaves the root.
    fn resolve(&self, path: &[u8], follow: bool) -> Result<Option<usize>, ChecksumError> {
        let mut current: Vec<u8> = Vec::new();
        let mut links = 0;
        // Components still to apply, next one last.
        let mut rest: Vec<Vec<u8>> = components(path);
        while let Some(part) = rest.pop() {
            if part == b".." {
                let parent = current.iter().rposition(|b| *b == b'/').unwrap_or(0);
                current.truncate(parent);
                continue;
            }
            let before = current.len();
            current.push(b'/');
            current.extend_from_slice(&part);
            let record = self.index.get(&current).map(|at| &self.records[*at]);
            let Some(Record { meta, .. }) = record else {
                continue;
            };
            let Kind::Symlink { target } = &meta.kind else {
                continue;
            };
            if rest.is_empty() && !follow {
                break;
            }
            links += 1;
            if links > LINKS_MAX {
                let path = String::from_utf8_lossy(path).into_owned();
                return Err(ChecksumError::TooManyLinks(path));
            }
            let target = target.as_os_str().as_bytes();
            current.truncate(if target.starts_with(b"/") { 0 } else { before });
            rest.extend(components(target));
        }
        Ok(self.index.get(&current).copied())
    }

    /// The digest of a record; reads the files below it first, in parallel.
    fn digest_of(&self, at: usize) -> Result<Digest, ChecksumError> {
        let range = at..self.records[at].end;
        let leaves: Vec<usize> = range
            .clone()
            .filter(|at| !self.records[*at].meta.is_dir())
            .collect();
        self.read_all(&leaves)?;
        // Children come after their directory, so going backwards finds them finished.
        for at in range.rev() {
            let record = &self.records[at];
            if record.meta.is_dir() {
                record.digest.get_or_init(|| self.directory(at));
            }
        }
        Ok(self.known(at).clone())
    }

    /// A digest that [`Checksums::read_all`] or [`Checksums::digest_of`] has computed.
    fn known(&self, at: usize) -> &Digest {
        self.records[at]
            .digest
            .get()
            .expect("the callers compute it first")
    }

    fn directory(&self, at: usize) -> Digest {
        let record = &self.records[at];
        let mut hasher = Hasher::default();
        hasher.update(b"\0");
        hasher.update(self.header_of(at).as_str().as_bytes());
        let mut child = at + 1;
        while child < record.end {
            let name = self.records[child].path.get(record.path.len() + 1..);
            hasher.update(b"\0");
            hasher.update(name.unwrap_or_default());
            hasher.update(self.known(child).as_str().as_bytes());
            child = self.records[child].end;
        }
        hasher.finish()
    }

    /// The header digest of a directory.
    fn header_of(&self, at: usize) -> &Digest {
        self.records[at].header.get_or_init(|| {
            if at == 0 && self.profile.origin == Origin::Transfer {
                return Digest::sha256(b"");
            }
            let mut hasher = Hasher::default();
            hasher.update(&header::bytes(&self.records[at].meta, &self.profile));
            hasher.finish()
        })
    }

    /// Computes the digests of entries that are no directories.
    fn read_all(&self, leaves: &[usize]) -> Result<(), ChecksumError> {
        let missing: Vec<usize> = leaves
            .iter()
            .copied()
            .filter(|at| self.records[*at].digest.get().is_none())
            .collect();
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .clamp(1, THREADS_MAX)
            // A thread costs about as much as reading a few small files.
            .min(missing.len().div_ceil(8));
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            let mut buffer = vec![0; 64 * 1024];
            while let Some(at) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.leaf(*at, &mut buffer) {
                    Ok(digest) => {
                        self.records[*at].digest.get_or_init(|| digest);
                    }
                    Err(error) => {
                        // Let the other threads run out of work.
                        next.store(missing.len(), Ordering::Relaxed);
                        failure
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                        return;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn leaf(&self, at: usize, buffer: &mut [u8]) -> Result<Digest, ChecksumError> {
        let record = &self.records[at];
        let mut hasher = leaf_hasher(&record.meta, &self.profile);
        let mut left = record.meta.size();
        if left == 0 {
            return Ok(hasher.finish());
        }
        let fail = |e| TreeError {
            path: record.file.clone(),
            source: e,
        };
        let tree = self.tree.expect("without a tree every digest is known");
        let mut data = tree.open(&record.file).map_err(fail)?;
        loop {
            let count = match data.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(fail(e).into()),
            };
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| ChecksumError::Changed(record.file.clone()))?;
            hasher.update(&buffer[..count]);
        }
        if left > 0 {
            return Err(ChecksumError::Changed(record.file.clone()));
        }
        Ok(hasher.finish())
    }
}

/// A hasher that has seen the header of an entry; a regular file's data follows.
pub(crate) fn leaf_hasher(meta: &Meta, profile: &Profile) -> Hasher {
    let mut hasher = Hasher::default();
    hasher.update(&header::bytes(meta, profile));
    hasher
}

/// The digest of one file or directory, without keeping anything.
///
/// # Errors
/// As [`Checksums::new`] and [`Checksums::plain`].
pub fn plain(tree: &dyn Tree, profile: Profile, path: &str) -> Result<Digest, ChecksumError> {
    Checksums::new(tree, profile)?.plain(path, false)
}

/// Everything below the innermost open directory has been seen.
fn close(records: &mut [Record], open: &mut Vec<usize>) {
    let end = records.len();
    if let Some(at) = open.pop() {
        records[at].end = end;
    }
}

/// Components of a path, last first; `.` and empty ones dropped.
fn components(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|b| *b == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .rev()
        .map(<[u8]>::to_vec)
        .collect()
}

/// The clean absolute form of a path, `""` for the root.
fn key_path(path: &str) -> String {
    match clean(&format!("/{path}")).as_str() {
        "/" => String::new(),
        path => path.to_owned(),
    }
}

fn absolute(key: &str) -> String {
    if key.is_empty() { "/" } else { key }.to_owned()
}

#[cfg(test)]
mod reference;
#[cfg(test)]
mod tests;
