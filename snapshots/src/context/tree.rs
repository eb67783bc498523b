//! A local source as a [`Tree`]: exactly what is sent, with the digests that are known already.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use super::read::Found;
use crate::beneath::Root;
use crate::checksum::{Profile, header_bytes, walk_order};
use crate::tree::{Kind, Meta, Tree};

/// The entries of a hashed local source. Their descriptions are those of the listing; bytes are
/// read from the directory, and may have changed since (the fingerprint tells).
pub struct SourceTree {
    root: Root,
    profile: Profile,
    /// In listing order.
    entries: Arc<[Found]>,
    /// For each entry, the position after the last one below it.
    ends: Vec<usize>,
}

impl SourceTree {
    pub(super) fn new(root: Root, profile: Profile, entries: Arc<[Found]>) -> Self {
        let mut ends = vec![entries.len(); entries.len()];
        let mut open: Vec<usize> = Vec::new();
        for (at, entry) in entries.iter().enumerate() {
            while let Some(top) = open.last()
                && !is_below(&entry.path, &entries[*top].path)
            {
                ends[*top] = at;
                open.pop();
            }
            open.push(at);
        }
        Self {
            root,
            profile,
            entries,
            ends,
        }
    }

    /// The entries in the order of the listing: path, description, and of regular files the digest
    /// of header and bytes.
    pub fn entries(&self) -> impl Iterator<Item = (&str, &Meta, Option<crate::Digest>)> {
        let entries = self.entries.iter();
        entries.map(|entry| (&*entry.path, &entry.meta, entry.digest.map(Into::into)))
    }

    /// Position of an entry; `None` for the root.
    fn find(&self, path: &Path) -> io::Result<Option<usize>> {
        let path = path.as_os_str().as_bytes();
        if path.is_empty() {
            return Ok(None);
        }
        let found = self
            .entries
            .binary_search_by(|entry| walk_order(entry.path.as_bytes(), path));
        match found {
            Ok(at) => Ok(Some(at)),
            Err(_) => Err(io::ErrorKind::NotFound.into()),
        }
    }
}

impl Tree for SourceTree {
    fn stat(&self, path: &Path) -> io::Result<Meta> {
        Ok(match self.find(path)? {
            Some(at) => self.entries[at].meta.clone(),
            None => super::root_meta(),
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let (mut child, end) = match self.find(dir)? {
            None => (0, self.entries.len()),
            Some(at) if self.entries[at].meta.is_dir() => (at + 1, self.ends[at]),
            Some(_) => return Err(io::ErrorKind::NotADirectory.into()),
        };
        let mut names = Vec::new();
        while child < end {
            names.push(super::read::name(&self.entries[child].path).into());
            child = self.ends[child];
        }
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send + '_>> {
        let regular = |at: usize| matches!(self.entries[at].meta.kind, Kind::File { .. });
        let no_file = || io::Error::new(io::ErrorKind::InvalidInput, "not a regular file");
        let at = self
            .find(path)?
            .filter(|at| regular(*at))
            .ok_or_else(no_file)?;
        let file = File::from(self.root.open_file(&self.entries[at].path)?);
        match file.metadata()?.is_file() {
            true => Ok(Box::new(file)),
            false => Err(no_file()),
        }
    }

    fn link_group(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        Ok(self.find(path)?.and_then(|at| self.entries[at].group()))
    }

    fn known_digest(&self, path: &Path, header: &[u8]) -> Option<[u8; 32]> {
        let entry = &self.entries[self.find(path).ok()??];
        let digest = entry.digest?;
        (header_bytes(&entry.meta, &self.profile) == header).then_some(digest.0)
    }
}

fn is_below(path: &str, dir: &str) -> bool {
    path.strip_prefix(dir)
        .is_some_and(|rest| rest.starts_with('/'))
}
