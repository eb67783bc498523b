//! A hashed local directory as a listing.

use std::path::Path;
use std::sync::Arc;

use snapshots::context::{Context, SourceTree};
use snapshots::tree::{Kind, Meta};

use super::listing::{Entry, Listing};

/// Type bits of `st_mode`.
const DIRECTORY: u32 = 0o040_000;
const FILE: u32 = 0o100_000;
const LINK: u32 = 0o120_000;
const CHARACTERS: u32 = 0o020_000;
const BLOCKS: u32 = 0o060_000;
const FIFO: u32 = 0o010_000;
const SOCKET: u32 = 0o140_000;

/// The files of a local source as they are sent.
pub struct HashedTree {
    digest: String,
    tree: Arc<SourceTree>,
}

impl HashedTree {
    /// The listing of a directory that was hashed to `digest`.
    #[must_use]
    pub fn new(digest: String, tree: Arc<SourceTree>) -> Self {
        Self { digest, tree }
    }

    /// The listing of a hashed directory. None if the digest of its root is not known.
    #[must_use]
    pub fn of(context: Context) -> Option<Self> {
        let digest = context.root_digest().ok()?.to_string();
        Some(Self::new(digest, Arc::new(context.tree)))
    }
}

impl Listing for HashedTree {
    fn digest(&self) -> String {
        self.digest.clone()
    }

    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + '_> {
        let entries = self.tree.entries();
        let mut entries: Vec<Entry> = entries
            .map(|(path, meta, sum)| entry(path, meta, sum))
            .collect();
        entries.sort_by(|a, b| a.path.cmp(&b.path));
        Box::new(entries.into_iter())
    }
}

fn entry(path: &str, meta: &Meta, sum: Option<snapshots::Digest>) -> Entry {
    let kind = match meta.kind {
        Kind::Dir => DIRECTORY,
        Kind::File { .. } => FILE,
        Kind::Symlink { .. } => LINK,
        Kind::Char { .. } => CHARACTERS,
        Kind::Block { .. } => BLOCKS,
        Kind::Fifo => FIFO,
        Kind::Socket => SOCKET,
    };
    let link = match &meta.kind {
        Kind::Symlink { target } => target.as_path(),
        _ => Path::new(""),
    };
    Entry {
        path: path.to_owned(),
        mode: kind | meta.mode,
        uid: meta.uid,
        gid: meta.gid,
        size: meta.size(),
        digest: sum.map(|sum| sum.to_string()).unwrap_or_default(),
        link: link.to_string_lossy().into_owned(),
    }
}
