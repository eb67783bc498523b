//! What the tests of several modules share: random trees, comparison of trees, faulty streams.

use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use proptest::prelude::*;

use crate::tree::{Kind, MemTree, Meta, Time, Tree, walk};

/// A small random tree: nested names that collide often, all kinds that need no privileges.
pub(crate) fn any_tree() -> impl Strategy<Value = MemTree> {
    proptest::collection::vec((any_path(), any_node()), 0..12).prop_map(|nodes| {
        nodes
            .into_iter()
            .fold(MemTree::new(), |tree, (path, (meta, data))| {
                tree.entry(path, meta, data)
            })
    })
}

/// Two trees that have much in common.
pub(crate) fn two_trees() -> impl Strategy<Value = (MemTree, MemTree)> {
    let edits = proptest::collection::vec((any_path(), proptest::option::of(any_node())), 0..6);
    (any_tree(), edits).prop_map(|(lower, edits)| {
        let upper = edits
            .into_iter()
            .fold(lower.clone(), |tree, (path, node)| match node {
                Some((meta, data)) => tree.entry(path, meta, data),
                None => tree.without(path),
            });
        (lower, upper)
    })
}

fn any_path() -> impl Strategy<Value = PathBuf> {
    let name = prop_oneof![
        6 => "[ab]",
        1 => "a[-.]b",
        1 => "\u{e9}x",
        1 => "n{60}",
    ];
    proptest::collection::vec(name, 1..5).prop_map(|names| names.iter().collect())
}

fn any_node() -> impl Strategy<Value = (Meta, Vec<u8>)> {
    let kind = prop_oneof![
        4 => proptest::collection::vec(any::<u8>(), 0..1500).prop_map(|data| {
            let size = data.len() as u64;
            (Kind::File { size }, data)
        }),
        3 => Just((Kind::Dir, Vec::new())),
        2 => "(/|\\.\\./)?[ab]{1,120}".prop_map(|target| {
            let target = PathBuf::from(target);
            (Kind::Symlink { target }, Vec::new())
        }),
        1 => Just((Kind::Fifo, Vec::new())),
    ];
    (kind, 0u32..0o10000, 0i64..5_000_000_000).prop_map(|((kind, data), mode, secs)| {
        // Linux gives every symbolic link the mode 0777.
        let link = matches!(kind, Kind::Symlink { .. });
        let mut meta = Meta::new(kind, if link { 0o777 } else { mode });
        meta.mtime = Time::from_secs(secs);
        (meta, data)
    })
}

/// A tree as a list of lines, times left out for directories (creating entries changes them).
pub(crate) fn lines(tree: &dyn Tree) -> Vec<String> {
    let found = walk(tree, Path::new("")).unwrap();
    found
        .into_iter()
        .map(|(path, mut meta)| {
            let mut data = Vec::new();
            if matches!(meta.kind, Kind::File { .. }) {
                tree.open(&path).unwrap().read_to_end(&mut data).unwrap();
            }
            if path.as_os_str().is_empty() {
                meta.mtime = Time::default();
            }
            format!("{path:?} {meta:?} {}", crate::Digest::sha256(data))
        })
        .collect()
}

/// A writer that is full after some bytes, as a full disk is.
pub(crate) struct Full(pub(crate) usize);

impl Write for Full {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = data.len().min(self.0);
        if count == 0 && !data.is_empty() {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0 -= count;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Are we root? Ownership and setuid bits can be compared only then.
pub(crate) fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}
