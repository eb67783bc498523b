//! Trees in memory that file operations are applied to.
//!
//! A [`Node`] is immutable and shared: applying an action copies the directories on the way to what
//! it changes, and nothing else. The bytes of a file stay where they are, in the tree they came
//! from, so that a tree of any size costs what its listing costs.
//!
//! The actions do what the daemon does, as far as a content hash can tell: kinds, permission bits,
//! owners, link targets, attributes and bytes. Times and hard links are in no hash and are not kept.
//!
//! | file | |
//! |---|---|
//! | `files/action.rs` | mkdir, mkfile, rm, symlink, and names of owners |
//! | `files/copy.rs` | copy, with patterns |

mod action;
mod copy;

use std::{
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    io::{self, Read},
    os::unix::ffi::{OsStrExt as _, OsStringExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use snapshots::tree::{Kind, Meta, Tree};

pub(super) use self::action::{Operands, apply};
use super::inputs::Files;

/// Most links followed on the way to one path.
const LINKS_MAX: usize = 255;

/// Longest path, in bytes: the longest one a system call takes.
const PATH_MAX: usize = 4096;

/// Most entries of a tree that file operations are applied to.
const ENTRIES_MAX: usize = 2_000_000;

/// Why the result of an operation cannot be told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stop(pub(super) String);

impl Stop {
    fn new(reason: impl Into<String>) -> Self {
        Self(reason.into())
    }
}

/// One entry with everything below it.
#[derive(Clone)]
pub(super) struct Node {
    meta: Meta,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Directory(BTreeMap<OsString, Arc<Node>>),
    /// Bytes of a regular file.
    Bytes(Bytes),
    /// Bytes of a regular file of another tree.
    Elsewhere(Arc<dyn Tree + Send + Sync>, Arc<Path>),
    /// Links, devices, pipes.
    Nothing,
}

impl Node {
    /// An empty directory as a new snapshot has it.
    pub(super) fn scratch() -> Arc<Self> {
        Self::directory(0o755)
    }

    fn directory(mode: u32) -> Arc<Self> {
        Arc::new(Self {
            meta: Meta::new(Kind::Dir, mode),
            body: Body::Directory(BTreeMap::new()),
        })
    }

    /// The tree as a snapshot of the daemon holds it. The listing is read, no file is.
    pub(super) fn read(files: &Files) -> Result<Arc<Self>, Stop> {
        let listed = snapshots::tree::walk(&*files.tree, Path::new(""));
        let listed = listed.map_err(|error| Stop::new(error.to_string()))?;
        if listed.len() > ENTRIES_MAX {
            return Err(Stop::new(format!("it has more than {ENTRIES_MAX} entries")));
        }
        // Backwards, children come before their directory, which collects them.
        let mut waiting: BTreeMap<PathBuf, BTreeMap<OsString, Arc<Self>>> = BTreeMap::new();
        for (path, mut meta) in listed.into_iter().rev() {
            if let Some((uid, gid)) = files.owner {
                (meta.uid, meta.gid) = (uid, gid);
            }
            if path.as_os_str().is_empty() && files.is_transferred() {
                // The root is never sent: the snapshot keeps the one it was made with.
                meta = Meta::new(Kind::Dir, 0o755);
            }
            if meta.kind == Kind::Socket {
                meta.kind = Kind::File { size: 0 };
            }
            let body = match meta.kind {
                Kind::Dir => Body::Directory(waiting.remove(&path).unwrap_or_default()),
                Kind::File { size: 0 } => Body::Bytes(Bytes::new()),
                Kind::File { .. } => {
                    Body::Elsewhere(Arc::clone(&files.tree), Arc::from(path.as_path()))
                }
                _ => Body::Nothing,
            };
            let node = Arc::new(Self { meta, body });
            match (path.parent(), path.file_name()) {
                (Some(parent), Some(name)) => {
                    let siblings = waiting.entry(parent.to_owned()).or_default();
                    siblings.insert(name.to_owned(), node);
                }
                _ => return Ok(node),
            }
        }
        Err(Stop::new("it has no root"))
    }

    fn children(&self) -> Option<&BTreeMap<OsString, Arc<Self>>> {
        match &self.body {
            Body::Directory(children) => Some(children),
            _ => None,
        }
    }

    fn is_directory(&self) -> bool {
        self.children().is_some()
    }

    /// The entry at a path without links; the empty path is the root.
    fn at(self: &Arc<Self>, path: &[OsString]) -> Option<&Arc<Self>> {
        let mut node = self;
        for name in path {
            node = node.children()?.get(name)?;
        }
        Some(node)
    }

    /// The entry at a path, to be changed: what is shared on the way is copied.
    fn at_mut<'n>(self: &'n mut Arc<Self>, path: &[OsString]) -> Option<&'n mut Self> {
        let mut node = Self::unshare(self);
        for name in path {
            let Body::Directory(children) = &mut node.body else {
                return None;
            };
            node = Self::unshare(children.get_mut(name)?);
        }
        Some(node)
    }

    fn unshare(node: &mut Arc<Self>) -> &mut Self {
        Arc::make_mut(node)
    }

    /// Puts an entry into a directory, in place of what has its name.
    fn put(self: &mut Arc<Self>, path: &[OsString], node: Arc<Self>) -> Result<(), Stop> {
        let Some((name, parent)) = path.split_last() else {
            return Err(Stop::new("the root cannot be replaced"));
        };
        match self.at_mut(parent).map(|parent| &mut parent.body) {
            Some(Body::Directory(children)) => {
                children.insert(name.clone(), node);
                Ok(())
            }
            _ => Err(not_found(parent)),
        }
    }

    /// Removes an entry with everything below it.
    fn take(self: &mut Arc<Self>, path: &[OsString]) {
        if let Some((name, parent)) = path.split_last()
            && self.at(path).is_some()
            && let Some(Body::Directory(children)) =
                self.at_mut(parent).map(|parent| &mut parent.body)
        {
            children.remove(name);
        }
    }

    /// Where a path leads when all links on it are followed, also the last one if `follow`.
    /// Parts that do not exist stay as they are. A `..` never leaves the root.
    fn resolve(self: &Arc<Self>, path: &OsStr, follow: bool) -> Result<Vec<OsString>, Stop> {
        if path.len() > PATH_MAX {
            return Err(Stop::new(format!("a path is longer than {PATH_MAX} bytes")));
        }
        let mut done: Vec<OsString> = Vec::new();
        let mut rest: Vec<OsString> = parts(path);
        rest.reverse();
        let mut links = 0;
        while let Some(part) = rest.pop() {
            if part == ".." {
                done.pop();
                continue;
            }
            done.push(part);
            let Some(node) = self.at(&done) else { continue };
            let Kind::Symlink { target } = &node.meta.kind else {
                if !rest.is_empty() && !node.is_directory() {
                    return Err(Stop::new(format!("{} is no directory", show(&done))));
                }
                continue;
            };
            if rest.is_empty() && !follow {
                break;
            }
            links += 1;
            if links > LINKS_MAX {
                return Err(Stop::new(format!("too many links at {}", show(&done))));
            }
            done.pop();
            if target.has_root() {
                done.clear();
            }
            let mut target = parts(target.as_os_str());
            target.reverse();
            rest.append(&mut target);
        }
        Ok(done)
    }

    /// Bytes of a regular file, at most `limit`.
    fn bytes(&self, limit: u64) -> Result<Vec<u8>, Stop> {
        let mut data = Vec::new();
        let fail = |error: io::Error| Stop::new(error.to_string());
        let read = match &self.body {
            Body::Bytes(bytes) => bytes.take(limit + 1).read_to_end(&mut data),
            Body::Elsewhere(tree, path) => tree
                .open(path)
                .map_err(fail)?
                .take(limit + 1)
                .read_to_end(&mut data),
            _ => return Err(Stop::new("it is no regular file")),
        };
        read.map_err(fail)?;
        if data.len() as u64 > limit {
            return Err(Stop::new(format!("it has more than {limit} bytes")));
        }
        Ok(data)
    }

    /// Bytes of the file that a path leads to; `None` if there is none.
    pub(super) fn file(self: &Arc<Self>, path: &str, limit: u64) -> Result<Option<Vec<u8>>, Stop> {
        let path = self.resolve(OsStr::new(path), true)?;
        match self.at(&path) {
            Some(node) if !node.is_directory() => node.bytes(limit).map(Some),
            _ => Ok(None),
        }
    }

    /// This tree with another one laid over it: directories are united and look as in the upper
    /// one, everything else is replaced.
    pub(super) fn over(self: &Arc<Self>, upper: &Arc<Self>) -> Arc<Self> {
        // Nesting is bounded by PATH_MAX.
        match (&self.body, &upper.body) {
            (Body::Directory(below), Body::Directory(above)) => {
                let mut children = below.clone();
                for (name, node) in above {
                    let united = match children.get(name) {
                        Some(lower) => lower.over(node),
                        None => Arc::clone(node),
                    };
                    children.insert(name.clone(), united);
                }
                Arc::new(Self {
                    meta: upper.meta.clone(),
                    body: Body::Directory(children),
                })
            }
            _ => Arc::clone(upper),
        }
    }
}

/// The parts of a path but `.` and empty ones.
fn parts(path: &OsStr) -> Vec<OsString> {
    path.as_bytes()
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .map(|part| OsString::from_vec(part.to_vec()))
        .collect()
}

fn show(path: &[OsString]) -> String {
    let path: PathBuf = path.iter().collect();
    format!("/{}", path.display())
}

fn not_found(path: &[OsString]) -> Stop {
    Stop::new(format!("{} does not exist", show(path)))
}

/// A node as a tree that can be hashed.
pub(super) struct Root(pub(super) Arc<Node>);

impl Root {
    fn find(&self, path: &Path) -> io::Result<&Arc<Node>> {
        let parts: Vec<OsString> = parts(path.as_os_str());
        self.0
            .at(&parts)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }
}

impl Tree for Root {
    fn stat(&self, path: &Path) -> io::Result<Meta> {
        Ok(self.find(path)?.meta.clone())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let node = self.find(dir)?;
        let children = node.children().ok_or(io::ErrorKind::NotADirectory)?;
        Ok(children.keys().cloned().collect())
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send + '_>> {
        match &self.find(path)?.body {
            Body::Bytes(bytes) => Ok(Box::new(bytes.as_ref())),
            Body::Elsewhere(tree, path) => tree.open(path),
            _ => Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            )),
        }
    }
}
