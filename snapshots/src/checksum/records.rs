//! The records of a tree: one per entry, in walk order, so that a directory and everything below it
//! are neighbours and a path is found by bisection.
//!
//! Walk order compares paths component by component, which is byte order with `/` as the lowest
//! byte: the order in which the daemon keeps its records.

use std::cmp::Ordering;
use std::os::unix::ffi::OsStrExt;
use std::sync::OnceLock;

use super::Profile;
use super::header::summer;
use super::sum::Sum;
use crate::tree::{Kind, Meta};

/// One entry of the tree.
pub(super) struct Record {
    /// `""` for the root, `/a/b` for others.
    pub(super) path: Box<[u8]>,
    pub(super) node: Node,
    /// Position after the last entry below this one.
    pub(super) end: usize,
    /// Digest of a file, link, device, or of a whole directory, once it is known.
    pub(super) digest: OnceLock<Sum>,
}

/// What a query needs to know of an entry.
pub(super) enum Node {
    /// A directory and the digest of its header.
    Dir { header: Sum },
    /// A symbolic link, which a path may lead through.
    Link { target: Box<[u8]> },
    /// A file that may have to be read.
    File(Box<Meta>),
    /// Anything whose digest is known.
    Known,
}

impl Record {
    pub(super) fn is_dir(&self) -> bool {
        matches!(self.node, Node::Dir { .. })
    }
}

/// All entries of a tree, the root first.
#[derive(Default)]
pub(crate) struct Records {
    list: Vec<Record>,
    /// Directories whose end is not known yet, innermost last.
    open: Vec<usize>,
}

impl Records {
    /// Adds the next entry in walk order. `digest` is that of a regular file if it is known.
    pub(crate) fn push(
        &mut self,
        path: Box<[u8]>,
        meta: Meta,
        digest: Option<Sum>,
        profile: &Profile,
    ) {
        let leaf = |known: Option<Sum>| known.unwrap_or_else(|| summer(&meta, profile).finish());
        let (node, digest) = match &meta.kind {
            Kind::Dir => {
                let header = match path.is_empty() {
                    true => super::header::root(&meta, profile),
                    false => summer(&meta, profile).finish(),
                };
                (Node::Dir { header }, None)
            }
            Kind::Symlink { target } => {
                let target = target.as_os_str().as_bytes().into();
                (Node::Link { target }, Some(leaf(digest)))
            }
            Kind::File { .. } if digest.is_none() => (Node::File(Box::new(meta)), None),
            _ => (Node::Known, Some(leaf(digest))),
        };
        while let Some(top) = self.open.last()
            && !is_below(&path, &self.list[*top].path)
        {
            self.close();
        }
        if matches!(node, Node::Dir { .. }) {
            self.open.push(self.list.len());
        }
        let end = self.list.len() + 1;
        self.list.push(Record {
            path,
            node,
            end,
            digest: digest.map_or_else(OnceLock::new, OnceLock::from),
        });
    }

    /// Everything below the innermost open directory has been added.
    fn close(&mut self) {
        let end = self.list.len();
        if let Some(at) = self.open.pop() {
            self.list[at].end = end;
        }
    }

    /// Nothing more will be added.
    pub(super) fn finish(mut self) -> Box<[Record]> {
        while !self.open.is_empty() {
            self.close();
        }
        self.list.into()
    }
}

/// Position of the record of a path.
pub(super) fn find(records: &[Record], path: &[u8]) -> Option<usize> {
    records
        .binary_search_by(|record| compare(&record.path, path))
        .ok()
}

/// Walk order.
pub(crate) fn compare(one: &[u8], other: &[u8]) -> Ordering {
    let common = one.iter().zip(other).position(|(a, b)| a != b);
    match common {
        None => one.len().cmp(&other.len()),
        Some(at) => rank(one[at]).cmp(&rank(other[at])),
    }
}

/// A separator sorts before every byte of a name.
fn rank(byte: u8) -> u8 {
    if byte == b'/' { 0 } else { byte }
}

/// Is `path` strictly below `dir`?
pub(super) fn is_below(path: &[u8], dir: &[u8]) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.starts_with(b"/"))
}
