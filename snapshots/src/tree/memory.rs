//! A tree made of values.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, Read};
use std::path::{Component, Path, PathBuf};

use super::{Kind, Meta, Tree};

/// A tree in memory; starts as an empty root directory of mode 0755.
///
/// The builder methods take any spelling of a path, create missing parents (mode 0755, owned by
/// root) and replace what was there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemTree {
    // Directories first by construction: a parent's path sorts before its children's.
    entries: BTreeMap<PathBuf, (Meta, Vec<u8>)>,
}

impl Default for MemTree {
    fn default() -> Self {
        Self::new()
    }
}

impl MemTree {
    /// An empty root directory, mode 0755.
    pub fn new() -> Self {
        let root = (Meta::new(Kind::Dir, 0o755), Vec::new());
        Self {
            entries: BTreeMap::from([(PathBuf::new(), root)]),
        }
    }

    /// Adds a directory, or changes the mode of one.
    #[must_use]
    pub fn dir(self, path: impl AsRef<Path>, mode: u32) -> Self {
        self.entry(path, Meta::new(Kind::Dir, mode), Vec::new())
    }

    /// Adds a regular file owned by root.
    #[must_use]
    pub fn file(self, path: impl AsRef<Path>, mode: u32, data: impl Into<Vec<u8>>) -> Self {
        let data = data.into();
        let size = data.len() as u64;
        self.entry(path, Meta::new(Kind::File { size }, mode), data)
    }

    /// Adds a symbolic link.
    #[must_use]
    pub fn symlink(self, path: impl AsRef<Path>, target: impl Into<PathBuf>) -> Self {
        let target = target.into();
        self.entry(path, Meta::new(Kind::Symlink { target }, 0o777), Vec::new())
    }

    /// Adds any entry. For a regular file the size in `meta` is set to the length of `data`.
    #[must_use]
    pub fn entry(mut self, path: impl AsRef<Path>, mut meta: Meta, data: Vec<u8>) -> Self {
        let path = normal(path.as_ref());
        if let Kind::File { size } = &mut meta.kind {
            *size = data.len() as u64;
        }
        for parent in path.ancestors().skip(1) {
            let exists = self.entries.get(parent).is_some_and(|(m, _)| m.is_dir());
            if !exists {
                let dir = (Meta::new(Kind::Dir, 0o755), Vec::new());
                self.entries.insert(parent.to_owned(), dir);
            }
        }
        if !meta.is_dir() {
            self.remove_below(&path);
        }
        self.entries.insert(path, (meta, data));
        self
    }

    /// Removes an entry and everything below it; the root is only emptied.
    #[must_use]
    pub fn without(mut self, path: impl AsRef<Path>) -> Self {
        let path = normal(path.as_ref());
        self.remove_below(&path);
        if !path.as_os_str().is_empty() {
            self.entries.remove(&path);
        }
        self
    }

    fn remove_below(&mut self, path: &Path) {
        self.entries
            .retain(|other, _| other == path || !other.starts_with(path));
    }

    /// Number of entries, the root included.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True when there is only the root.
    pub fn is_empty(&self) -> bool {
        self.entries.len() == 1
    }

    fn find(&self, path: &Path) -> io::Result<&(Meta, Vec<u8>)> {
        self.entries
            .get(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// The path without root, `.` and empty components, `..` resolved by name.
fn normal(path: &Path) -> PathBuf {
    let mut out = PathBuf::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => out.push(name),
            Component::ParentDir => {
                out.pop();
            }
            _ => {}
        }
    }
    out
}

impl Tree for MemTree {
    fn stat(&self, path: &Path) -> io::Result<Meta> {
        self.find(path).map(|(meta, _)| meta.clone())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        if !self.find(dir)?.0.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        // Below `dir` the map is contiguous, and names come out in byte order.
        Ok(self
            .entries
            .range(dir.to_owned()..)
            .skip(1)
            .take_while(|(path, _)| path.starts_with(dir))
            .filter(|(path, _)| path.parent() == Some(dir))
            .filter_map(|(path, _)| path.file_name().map(OsString::from))
            .collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send + '_>> {
        match self.find(path)? {
            (meta, data) if matches!(meta.kind, Kind::File { .. }) => Ok(Box::new(data.as_slice())),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )),
        }
    }
}
