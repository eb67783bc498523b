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
//! # A quirk that is part of the format
//! Names that start with the byte 0xFF (never valid UTF-8) enter the digests of two directories:
//! the one they are in, and the one around that (`Checksums::after`).

mod header;
mod read;
mod records;
mod select;
mod sum;

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

pub(crate) use header::{bytes as header_bytes, is_hashed, summer};
use records::{Node, Record, find};
pub(crate) use records::{Records, compare as walk_order};
pub use select::Selection;
pub(crate) use sum::{SUM_LEN, Sum, Summer};

use crate::digest::Digest;
use crate::patterns::{PatternError, clean};
use crate::tree::{Kind, Tree, TreeError, walk};

/// Most links followed while a path is resolved.
const LINKS_MAX: usize = 255;

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
    /// From v0.26 on a selection can require paths.
    pub required_paths: bool,
}

impl Rules {
    /// The rules of the reference release, v0.32, and of anything newer until it is known better.
    pub const LATEST: Self = Self {
        relative_list: true,
        follow_nested: false,
        scan_devices: false,
        required_paths: true,
    };

    /// The rules of BuildKit v0.`minor`.
    pub fn of_minor(minor: u32) -> Self {
        Self {
            relative_list: minor >= 26,
            follow_nested: minor < 25,
            scan_devices: minor < 13,
            required_paths: minor >= 26,
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
    records: Box<[Record]>,
}

impl<'t> Checksums<'t> {
    /// Lists the tree; no file is read yet.
    ///
    /// # Errors
    /// [`ChecksumError::Tree`].
    pub fn new(tree: &'t dyn Tree, profile: Profile) -> Result<Self, ChecksumError> {
        let mut records = Records::default();
        for (file, mut meta) in walk(tree, Path::new(""))? {
            if let Some((uid, gid)) = profile.owner {
                (meta.uid, meta.gid) = (uid, gid);
            }
            let known = match meta.kind {
                Kind::File { .. } => tree.known_digest(&file, &header_bytes(&meta, &profile)),
                _ => None,
            };
            records.push(record_path(&file), meta, known.map(Sum), &profile);
        }
        Ok(Self {
            tree: Some(tree),
            profile,
            records: records.finish(),
        })
    }

    /// Of records of which none has to be read.
    pub(crate) fn from_records(records: Records, profile: Profile) -> Checksums<'static> {
        Checksums {
            tree: None,
            profile,
            records: records.finish(),
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
        self.digest_of(at).map(Digest::from)
    }

    /// What a vertex adds to its key for an input of which it reads `selectors`: the digest over the
    /// digests of each, joined by NUL. Without selectors, that of the whole tree.
    ///
    /// The paths are made absolute and clean, as the daemon does, so a trailing slash does not matter.
    ///
    /// # Errors
    /// As of each selector.
    pub fn content<'s>(
        &self,
        selectors: impl IntoIterator<Item = (&'s str, &'s Selection)>,
    ) -> Result<Digest, ChecksumError> {
        let mut digests = Vec::new();
        for (path, selection) in selectors {
            digests.push(self.filtered(&clean(&format!("/{path}")), selection)?);
        }
        if digests.is_empty() {
            digests.push(self.plain("/", false)?);
        }
        let texts: Vec<&str> = digests.iter().map(Digest::as_str).collect();
        Ok(Digest::sha256(texts.join("\0")))
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
            let record = find(&self.records, &current).map(|at| &self.records[at]);
            let Some(Node::Link { target }) = record.map(|record| &record.node) else {
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
            current.truncate(if target.starts_with(b"/") { 0 } else { before });
            rest.extend(components(target));
        }
        Ok(find(&self.records, &current))
    }

    /// The digest of a record; reads the files below it first, in parallel.
    fn digest_of(&self, at: usize) -> Result<Sum, ChecksumError> {
        if let Some(known) = self.records[at].digest.get() {
            return Ok(*known);
        }
        let range = at..self.records[at].end;
        self.read_all(range.clone())?;
        // Children come after their directory, so going backwards finds them finished.
        for at in range.rev().filter(|at| self.records[*at].is_dir()) {
            self.records[at].digest.get_or_init(|| self.directory(at));
        }
        Ok(*self.known(at))
    }

    /// A digest that [`Checksums::read_all`] or [`Checksums::digest_of`] has computed.
    fn known(&self, at: usize) -> &Sum {
        self.records[at]
            .digest
            .get()
            .expect("the callers compute it first")
    }

    fn directory(&self, at: usize) -> Sum {
        let record = &self.records[at];
        let mut summer = Summer::default();
        summer.update(b"\0");
        summer.update_digest(self.header_of(at));
        let mut child = at + 1;
        while child < record.end {
            for part in self.records[child].path[record.path.len() + 1..].split(|b| *b == b'/') {
                summer.update(b"\0");
                summer.update(part);
            }
            summer.update_digest(self.known(child));
            child = self.after(child);
        }
        summer.finish()
    }

    /// The position that the daemon visits after an entry of a directory: the first one past
    /// everything below it, but it takes 0xFF for greater than any name, so entries right below a
    /// directory whose names start with that byte are visited once more, as entries of the outer one.
    fn after(&self, at: usize) -> usize {
        let Record { path, end, .. } = &self.records[at];
        let first_byte = |at: usize| self.records[at].path[path.len() + 1];
        // The last entry is below the greatest name.
        if *end == at + 1 || first_byte(*end - 1) != 0xFF {
            return *end;
        }
        at + 1 + self.records[at + 1..*end].partition_point(|r| r.path[path.len() + 1] != 0xFF)
    }

    /// The header digest of a directory.
    fn header_of(&self, at: usize) -> &Sum {
        match &self.records[at].node {
            Node::Dir { header } => header,
            _ => self.known(at),
        }
    }
}

/// The digest of one file or directory, without keeping anything.
///
/// # Errors
/// As [`Checksums::new`] and [`Checksums::plain`].
pub fn plain(tree: &dyn Tree, profile: Profile, path: &str) -> Result<Digest, ChecksumError> {
    Checksums::new(tree, profile)?.plain(path, false)
}

/// The path of a record: relative in a tree, absolute here; the root is empty.
pub(crate) fn record_path(path: &Path) -> Box<[u8]> {
    match path.as_os_str().as_bytes() {
        b"" => Box::default(),
        path => [b"/", path].concat().into(),
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
