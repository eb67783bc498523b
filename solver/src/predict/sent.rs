//! A local directory as the daemon holds it after the transfer: what the patterns of the source
//! let through, as the session would list it, read from disk on demand.

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsString,
    fs::File,
    io::{self, Read},
    path::{Path, PathBuf},
};

use proto::pb;
use snapshots::{
    beneath::Root,
    context::{self, Attributes, ContextError},
    tree::{Kind, Meta, Tree},
};

/// A listed directory.
pub(super) struct SentTree {
    root: Root,
    entries: BTreeMap<PathBuf, Meta>,
    names: BTreeMap<PathBuf, BTreeSet<OsString>>,
}

impl SentTree {
    /// Lists what a local source sends of a directory.
    pub(super) fn list(root: &Path, source: &pb::SourceOp) -> Result<Self, ContextError> {
        let source = context::Source {
            include: patterns(source, "local.includepattern"),
            exclude: patterns(source, "local.excludepatterns"),
            follow: patterns(source, "local.followpaths"),
            ..context::Source::new(root)
        };
        let (root, filter) = source.open()?;
        let mut entries = BTreeMap::from([(PathBuf::new(), Meta::new(Kind::Dir, 0o755))]);
        let mut names: BTreeMap<PathBuf, BTreeSet<OsString>> = BTreeMap::new();
        let mut emit = |entry: context::Entry| {
            let path = PathBuf::from(entry.path);
            if let (Some(parent), Some(name)) = (path.parent(), path.file_name()) {
                let siblings = names.entry(parent.to_owned()).or_default();
                siblings.insert(name.to_owned());
            }
            entries.insert(path, entry.meta);
            true
        };
        context::walk(&root, &filter, source.ownership, Attributes::All, &mut emit)?;
        Ok(Self {
            root,
            entries,
            names,
        })
    }

    fn meta(&self, path: &Path) -> io::Result<&Meta> {
        self.entries
            .get(path)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

/// A list of patterns; the daemon refuses one that is malformed, and so is any build with it.
fn patterns(source: &pb::SourceOp, attribute: &str) -> Vec<String> {
    let text = source.attrs.get(attribute);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

impl Tree for SentTree {
    fn stat(&self, path: &Path) -> io::Result<Meta> {
        self.meta(path).cloned()
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        if !self.meta(dir)?.is_dir() {
            return Err(io::ErrorKind::NotADirectory.into());
        }
        Ok(self.names.get(dir).into_iter().flatten().cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send + '_>> {
        let path = path
            .to_str()
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidFilename))?;
        let file = self.root.open_file(path)?;
        Ok(Box::new(File::from(file)))
    }
}
