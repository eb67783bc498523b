//! The first difference of two trees.

use std::fmt;
use std::io::{self, Read};
use std::path::Path;

use serde::{Deserialize, Serialize};
use snapshots::tree::{self, Kind, Meta, Tree};

/// Bytes that are compared at a time.
const CHUNK_BYTES: usize = 64 << 10;

/// Where two outputs differ first, and in what.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Difference {
    /// The mount that the output is of; `/` for the root file system.
    pub output: String,
    /// The path in it.
    pub path: String,
    /// In what.
    pub what: What,
}

/// In what two entries differ.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum What {
    /// Only one run made it.
    OnlyOnce,
    /// Kind of entry, or where a link or device leads.
    Kind,
    /// Permission bits.
    Mode {
        /// Of the first run.
        first: u32,
        /// Of the second.
        second: u32,
    },
    /// User or group.
    Owner {
        /// Of the first run.
        first: (u32, u32),
        /// Of the second.
        second: (u32, u32),
    },
    /// Extended attributes.
    Xattrs,
    /// Bytes.
    Content {
        /// Size in the first run.
        first: u64,
        /// In the second.
        second: u64,
    },
    /// Modification time.
    Mtime,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = if self.output == "/" || self.path == "/" {
            self.path.clone()
        } else {
            format!("{} of {}", self.path, self.output)
        };
        match &self.what {
            What::OnlyOnce => write!(f, "{path} is there once only"),
            What::Kind => write!(f, "{path} is another kind of entry, or leads elsewhere"),
            What::Mode { first, second } => {
                write!(f, "{path} has mode {first:04o}, then {second:04o}")
            }
            What::Owner { first, second } => write!(
                f,
                "{path} belongs to {}:{}, then {}:{}",
                first.0, first.1, second.0, second.1
            ),
            What::Xattrs => write!(f, "{path} has other extended attributes"),
            What::Content { first, second } if first == second => {
                write!(f, "{path} has other content ({first} bytes)")
            }
            What::Content { first, second } => {
                write!(f, "{path} has other content ({first} bytes, then {second})")
            }
            What::Mtime => write!(f, "{path} has another modification time"),
        }
    }
}

/// The first path in which two trees differ, in order of paths. `is_ignored` leaves paths out.
///
/// # Errors
/// A tree that cannot be read.
pub(super) fn first_difference(
    first: &dyn Tree,
    second: &dyn Tree,
    mtimes: bool,
    is_ignored: impl Fn(&Path) -> bool,
) -> io::Result<Option<(String, What)>> {
    let list = |of| tree::walk(of, Path::new("")).map_err(io::Error::other);
    let (mut ours, mut theirs) = (list(first)?, list(second)?);
    for list in [&mut ours, &mut theirs] {
        list.retain(|(path, _)| !is_ignored(path));
        list.sort_by(|a, b| a.0.cmp(&b.0));
    }
    let (mut ours, mut theirs) = (ours.iter().peekable(), theirs.iter().peekable());
    loop {
        let (path, what) = match (ours.peek(), theirs.peek()) {
            (None, None) => return Ok(None),
            (Some((path, meta)), Some((other, other_meta))) if path == other => {
                let what = in_entry(first, second, path, (meta, other_meta), mtimes)?;
                ours.next();
                theirs.next();
                match what {
                    None => continue,
                    Some(what) => (path, what),
                }
            }
            (Some((path, _)), Some((other, _))) => (path.min(other), What::OnlyOnce),
            (Some((path, _)), None) | (None, Some((path, _))) => (path, What::OnlyOnce),
        };
        return Ok(Some((format!("/{}", path.display()), what)));
    }
}

fn in_entry(
    first: &dyn Tree,
    second: &dyn Tree,
    path: &Path,
    (meta, other): (&Meta, &Meta),
    mtimes: bool,
) -> io::Result<Option<What>> {
    let content = || What::Content {
        first: meta.size(),
        second: other.size(),
    };
    let what = match (&meta.kind, &other.kind) {
        (Kind::File { .. }, Kind::File { .. }) => {
            let differs = meta.size() != other.size() || !equal(first, second, path)?;
            differs.then(content)
        }
        (kind, other) => (kind != other).then_some(What::Kind),
    };
    let owner = |meta: &Meta| (meta.uid, meta.gid);
    Ok(what
        .or_else(|| {
            (meta.mode != other.mode).then_some(What::Mode {
                first: meta.mode,
                second: other.mode,
            })
        })
        .or_else(|| {
            (owner(meta) != owner(other)).then_some(What::Owner {
                first: owner(meta),
                second: owner(other),
            })
        })
        .or_else(|| (meta.xattrs != other.xattrs).then_some(What::Xattrs))
        .or_else(|| (mtimes && !meta.is_dir() && meta.mtime != other.mtime).then_some(What::Mtime)))
}

/// Whether a file has the same bytes in both; the sizes are equal.
fn equal(first: &dyn Tree, second: &dyn Tree, path: &Path) -> io::Result<bool> {
    let (mut ours, mut theirs) = (first.open(path)?, second.open(path)?);
    let (mut a, mut b) = (Vec::new(), Vec::new());
    loop {
        a.clear();
        b.clear();
        ours.by_ref().take(CHUNK_BYTES as u64).read_to_end(&mut a)?;
        theirs
            .by_ref()
            .take(CHUNK_BYTES as u64)
            .read_to_end(&mut b)?;
        if a != b {
            return Ok(false);
        }
        if a.is_empty() {
            return Ok(true);
        }
    }
}

#[cfg(test)]
mod tests {
    use snapshots::tree::MemTree;

    use super::*;

    fn differ(first: &MemTree, second: &MemTree, mtimes: bool) -> Option<(String, What)> {
        first_difference(first, second, mtimes, |path| path.starts_with("ignored")).expect("reads")
    }

    fn tree(entries: &[(&str, Meta, &[u8])]) -> MemTree {
        entries
            .iter()
            .fold(MemTree::new(), |tree, (path, meta, data)| {
                tree.entry(path, meta.clone(), data.to_vec())
            })
    }

    fn file(size: u64) -> Meta {
        Meta::new(Kind::File { size }, 0o644)
    }

    #[test]
    fn the_first_path_is_named_with_what_differs() {
        let one = tree(&[("a", file(1), b"x"), ("b", file(1), b"x")]);
        assert_eq!(differ(&one, &one, true), None);
        let content = tree(&[("a", file(1), b"x"), ("b", file(1), b"y")]);
        let what = What::Content {
            first: 1,
            second: 1,
        };
        assert_eq!(differ(&one, &content, true), Some(("/b".into(), what)));
        let less = tree(&[("b", file(1), b"y")]);
        assert_eq!(
            differ(&one, &less, true),
            Some(("/a".into(), What::OnlyOnce))
        );
        assert_eq!(
            differ(&less, &one, true),
            Some(("/a".into(), What::OnlyOnce))
        );
        let mode = Meta {
            mode: 0o600,
            ..file(1)
        };
        let mode = tree(&[("a", mode, b"x"), ("b", file(1), b"x")]);
        let what = What::Mode {
            first: 0o644,
            second: 0o600,
        };
        assert_eq!(differ(&one, &mode, true), Some(("/a".into(), what)));
        let link = Kind::Symlink { target: "c".into() };
        let link = tree(&[("a", Meta::new(link, 0o644), b""), ("b", file(1), b"x")]);
        assert_eq!(differ(&one, &link, true), Some(("/a".into(), What::Kind)));
    }

    #[test]
    fn times_count_when_asked_for_and_ignored_paths_never() {
        let later = Meta {
            mtime: snapshots::tree::Time::from_secs(9),
            ..file(1)
        };
        let (one, two) = (tree(&[("a", file(1), b"x")]), tree(&[("a", later, b"x")]));
        assert_eq!(differ(&one, &two, false), None);
        assert_eq!(differ(&one, &two, true), Some(("/a".into(), What::Mtime)));
        let ignored = tree(&[("a", file(1), b"x"), ("ignored", file(1), b"x")]);
        assert_eq!(differ(&one, &ignored, true), None);
    }
}
