//! A tree inside an uncompressed tar archive: an index in memory, data read from the file.
//!
//! Later entries of a path replace earlier ones, as extraction would do it. A hard link is an entry
//! with the meta data and the bytes of what it leads to.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufReader, Read};
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::{ENTRIES_MAX, Meta, Tree};
use crate::tar::{Reader, TarError};

/// The files of an archive, read from it on demand.
pub struct ArchiveTree {
    file: File,
    entries: BTreeMap<PathBuf, Node>,
    /// Names in each directory.
    names: BTreeMap<PathBuf, BTreeSet<OsString>>,
}

struct Node {
    meta: Meta,
    /// Where the data begins.
    offset: u64,
    /// Identity of the inode, for entries with several names.
    group: Option<u64>,
}

impl ArchiveTree {
    /// Indexes an archive; `root` describes the directory that all of it is in, unless the archive
    /// has an entry for that as well.
    ///
    /// # Errors
    /// [`TarError`] for a bad archive, or one with more than [`ENTRIES_MAX`] entries.
    pub fn open(file: File, root: Meta) -> Result<Self, TarError> {
        let mut reader = Reader::new(BufReader::new(file.try_clone().map_err(TarError::Stream)?));
        let root = Node {
            meta: root,
            offset: 0,
            group: None,
        };
        let mut tree = Self {
            file,
            entries: BTreeMap::from([(PathBuf::new(), root)]),
            names: BTreeMap::new(),
        };
        while let Some(entry) = reader.next_entry()? {
            if tree.entries.len() >= ENTRIES_MAX {
                let reason = format!("the archive has more than {ENTRIES_MAX} entries");
                return Err(TarError::Stream(io::Error::other(reason)));
            }
            let node = match &entry.hard_link {
                None => Node {
                    meta: entry.meta,
                    offset: reader.data_offset(),
                    group: None,
                },
                Some(target) => tree.linked(target)?,
            };
            tree.insert(entry.path, node);
        }
        Ok(tree)
    }

    fn linked(&mut self, target: &Path) -> Result<Node, TarError> {
        let groups = self.entries.len() as u64;
        let Some(first) = self.entries.get_mut(target) else {
            let reason = format!(
                "a hard link leads to {}, which is missing",
                target.display()
            );
            return Err(TarError::Stream(io::Error::other(reason)));
        };
        let group = *first.group.get_or_insert(groups);
        Ok(Node {
            meta: first.meta.clone(),
            offset: first.offset,
            group: Some(group),
        })
    }

    fn insert(&mut self, path: PathBuf, node: Node) {
        if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
            self.names
                .entry(parent.to_owned())
                .or_default()
                .insert(name.to_owned());
        }
        self.entries.insert(path, node);
    }

    fn node(&self, path: &Path) -> io::Result<&Node> {
        self.entries
            .get(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Tree for ArchiveTree {
    fn stat(&self, path: &Path) -> io::Result<Meta> {
        Ok(self.node(path)?.meta.clone())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        if !self.node(dir)?.meta.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(self.names.get(dir).into_iter().flatten().cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send + '_>> {
        let node = self.node(path)?;
        Ok(Box::new(Data {
            file: &self.file,
            offset: node.offset,
            left: node.meta.size(),
        }))
    }

    fn link_group(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        Ok(self.node(path)?.group.map(|group| (0, group)))
    }
}

/// The bytes of one entry.
struct Data<'f> {
    file: &'f File,
    offset: u64,
    left: u64,
}

impl Read for Data<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let most = usize::try_from(self.left)
            .unwrap_or(usize::MAX)
            .min(buffer.len());
        let read = self.file.read_at(&mut buffer[..most], self.offset)?;
        if read == 0 && most > 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.offset += read as u64;
        self.left -= read as u64;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;
    use crate::tar::Writer;
    use crate::tree::Kind;

    #[test]
    fn an_archive_is_the_tree_that_was_written() {
        let mut writer = Writer::new(Vec::new());
        let dir = Meta::new(Kind::Dir, 0o755);
        let file = Meta::new(Kind::File { size: 5 }, 0o640);
        writer.append(Path::new("dir"), &dir).expect("written");
        writer
            .append_file(Path::new("dir/file"), &file, &b"hello"[..])
            .expect("written");
        writer
            .append_hard_link(Path::new("dir/again"), Path::new("dir/file"), &file)
            .expect("written");
        let mut archive = tempfile::tempfile().expect("a file");
        archive
            .write_all(&writer.finish().expect("an archive"))
            .expect("written");
        std::io::Seek::rewind(&mut archive).expect("a plain file");

        let tree = ArchiveTree::open(archive, dir.clone()).expect("a good archive");
        assert_eq!(tree.list(Path::new("")).expect("the root"), ["dir"]);
        assert_eq!(
            tree.list(Path::new("dir")).expect("a directory"),
            ["again", "file"]
        );
        assert_eq!(
            tree.stat(Path::new("dir/again")).expect("there").mode,
            0o640
        );
        let mut text = String::new();
        tree.open(Path::new("dir/again"))
            .expect("a file")
            .read_to_string(&mut text)
            .expect("text");
        assert_eq!(text, "hello");
        let group = |path| tree.link_group(Path::new(path)).expect("there");
        assert_eq!(group("dir/file"), group("dir/again"));
        assert!(tree.list(Path::new("dir/file")).is_err());
    }
}
