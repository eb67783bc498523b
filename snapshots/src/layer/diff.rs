//! What turns one tree into another.
//!
//! Both trees are listed in walk order and merged like sorted lists. An entry is unchanged when
//! its [`Meta`] is equal in all respects; for a file that includes size and modification time,
//! and a time without a fraction of a second (an archive was unpacked, a time was set by hand)
//! is not trusted: then the bytes are compared too.
//!
//! The result is what a layer needs, in the order of an archive:
//! * a deleted directory is one whiteout, whatever it held; a directory replaced by something
//!   else needs none, since the new entry replaces it;
//! * the directories above a change come along, so that the layer can be unpacked alone;
//! * names of one file (hard links) stay together: if one of them is in the layer all of them
//!   are, the first with the data, the others as links to it;
//! * the root is listed only when its mode, owner or attributes changed, a socket never.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::LayerError;
use crate::tar::WHITEOUT_PREFIX;
use crate::tree::{Kind, Meta, Time, Tree, TreeError, walk};

/// One entry of a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// Added or changed, with everything that is not data.
    Put {
        /// Relative path.
        path: PathBuf,
        /// What it is now.
        meta: Meta,
    },
    /// Another name of a file that comes earlier in the layer.
    Link {
        /// Relative path.
        path: PathBuf,
        /// The earlier name.
        target: PathBuf,
        /// What the file is.
        meta: Meta,
    },
    /// Deleted; the path is that of the whiteout, `dir/.wh.name`.
    Delete(PathBuf),
}

impl Change {
    /// The path of the entry in the archive.
    pub fn path(&self) -> &Path {
        match self {
            Self::Put { path, .. } | Self::Link { path, .. } | Self::Delete(path) => path,
        }
    }
}

/// Compares two trees; without a lower tree everything in the upper one is new.
///
/// # Errors
/// [`LayerError::Reserved`] for a name that would read as a whiteout, and errors of the trees.
pub fn diff(lower: Option<&dyn Tree>, upper: &dyn Tree) -> Result<Vec<Change>, LayerError> {
    let new: BTreeMap<PathBuf, Meta> = walk(upper, Path::new(""))?
        .into_iter()
        .filter(|(_, meta)| meta.kind != Kind::Socket)
        .collect();
    if let Some(path) = new.keys().find(|path| reserved(path)) {
        return Err(LayerError::Reserved(path.clone()));
    }
    let old: BTreeMap<PathBuf, Meta> = match lower {
        Some(lower) => walk(lower, Path::new(""))?.into_iter().collect(),
        None => BTreeMap::new(),
    };
    let mut put: BTreeSet<&Path> = BTreeSet::new();
    for (path, meta) in &new {
        let same = match old.get(path) {
            Some(before) => unchanged(lower, before, upper, meta, path)?,
            None => false,
        };
        let is_root = path.as_os_str().is_empty();
        if !(same || is_root && unchanged_root(old.get(path), meta)) {
            put.insert(path);
        }
    }
    let mut deleted = Vec::new();
    let mut gone: Option<&Path> = None;
    for path in old.keys() {
        // Whatever is below something that is gone, or became a file, goes with it.
        if gone.is_some_and(|gone| path.starts_with(gone)) {
            continue;
        }
        match new.get(path) {
            None => {
                gone = Some(path);
                deleted.push(path);
            }
            Some(meta) if !meta.is_dir() => gone = Some(path),
            Some(_) => {}
        }
    }
    let groups = if put.is_empty() {
        HashMap::new()
    } else {
        link_groups(upper, &new, &mut put)?
    };
    Ok(entries(&new, put, &deleted, &groups))
}

/// Puts everything in order and adds parents and whiteouts.
fn entries<'n>(
    new: &'n BTreeMap<PathBuf, Meta>,
    mut put: BTreeSet<&'n Path>,
    deleted: &'n [&'n PathBuf],
    groups: &HashMap<&Path, (u64, u64)>,
) -> Vec<Change> {
    let parents: Vec<&Path> = put
        .iter()
        .copied()
        .chain(deleted.iter().map(|path| path.as_path()))
        .flat_map(|path| path.ancestors().skip(1))
        .filter(|dir| !dir.as_os_str().is_empty())
        .collect();
    put.extend(parents);
    let mut first: HashMap<(u64, u64), &Path> = HashMap::new();
    let mut changes: BTreeMap<PathBuf, Change> = deleted
        .iter()
        .map(|path| whiteout(path))
        .map(|marker| (marker.clone(), Change::Delete(marker)))
        .collect();
    for path in put {
        // A parent of a deleted path that is itself no directory any more is not in `new` as one;
        // then `gone` above kept the deletion out.
        let Some(meta) = new.get(path) else { continue };
        let earlier = groups.get(path).and_then(|group| match first.get(group) {
            Some(target) => Some(*target),
            None => {
                first.insert(*group, path);
                None
            }
        });
        let (path, meta) = (path.to_owned(), meta.clone());
        let change = match earlier {
            Some(target) => Change::Link {
                path: path.clone(),
                target: target.to_owned(),
                meta,
            },
            None => Change::Put {
                path: path.clone(),
                meta,
            },
        };
        changes.insert(path, change);
    }
    changes.into_values().collect()
}

/// Finds the names that share a file, and adds the unchanged ones when one of them changed.
fn link_groups<'n>(
    upper: &dyn Tree,
    new: &'n BTreeMap<PathBuf, Meta>,
    put: &mut BTreeSet<&'n Path>,
) -> Result<HashMap<&'n Path, (u64, u64)>, TreeError> {
    let mut groups = HashMap::new();
    for (path, meta) in new {
        if !meta.is_dir()
            && let Some(group) = upper.link_group(path).map_err(TreeError::at(path))?
        {
            groups.insert(path.as_path(), group);
        }
    }
    let changed: std::collections::HashSet<(u64, u64)> = groups
        .iter()
        .filter(|(path, _)| put.contains(*path))
        .map(|(_, group)| *group)
        .collect();
    put.extend(
        groups
            .iter()
            .filter(|(_, group)| changed.contains(*group))
            .map(|(path, _)| *path),
    );
    Ok(groups)
}

fn reserved(path: &Path) -> bool {
    path.file_name()
        .is_some_and(|name| name.as_bytes().starts_with(WHITEOUT_PREFIX.as_bytes()))
}

fn whiteout(path: &Path) -> PathBuf {
    let mut name = std::ffi::OsString::from(WHITEOUT_PREFIX);
    name.push(path.file_name().unwrap_or_default());
    path.with_file_name(name)
}

fn unchanged_root(before: Option<&Meta>, now: &Meta) -> bool {
    let default = Meta::new(Kind::Dir, 0o755);
    let mut before = before.unwrap_or(&default).clone();
    // Every change in the root changes its time.
    before.mtime = now.mtime;
    before == *now
}

fn unchanged(
    lower: Option<&dyn Tree>,
    before: &Meta,
    upper: &dyn Tree,
    now: &Meta,
    path: &Path,
) -> Result<bool, TreeError> {
    if before != now {
        return Ok(false);
    }
    match (lower, &now.kind, now.mtime) {
        (Some(lower), Kind::File { size: 1.. }, Time { nanos: 0, .. }) => {
            same_data(lower, upper, path).map_err(TreeError::at(path))
        }
        _ => Ok(true),
    }
}

fn same_data(lower: &dyn Tree, upper: &dyn Tree, path: &Path) -> std::io::Result<bool> {
    /// Bytes compared at a time.
    const CHUNK: u64 = 64 * 1024;
    let (mut left, mut right) = (lower.open(path)?, upper.open(path)?);
    loop {
        let (mut a, mut b) = (Vec::new(), Vec::new());
        left.by_ref().take(CHUNK).read_to_end(&mut a)?;
        right.by_ref().take(CHUNK).read_to_end(&mut b)?;
        if a != b {
            return Ok(false);
        }
        if a.is_empty() {
            return Ok(true);
        }
    }
}
