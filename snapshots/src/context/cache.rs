//! The stat cache: digests of files that `stat(2)` says were not touched since they were hashed.
//!
//! One file per directory, owner mapping and user, named by a hash of these. It is read whole, used by
//! a walk in the same order (a merge, no lookups), and replaced by a renamed temporary file, so that two
//! processes can use it at once: the last one to finish wins. It is of mode 0600, since paths tell
//! things, and holds digests and paths, no bytes of files.
//!
//! ```text
//! magic ‖ rows ‖ sha256 of all before
//! row: bytes shared with the path before (u16) ‖ length of the rest (u16) ‖ the rest
//!      ‖ device, inode, size (u64) ‖ mode, uid, gid (u32) ‖ mtime, ctime (i64, u32)
//!      ‖ unused (u8) ‖ digest (32 bytes)                                numbers little-endian
//! ```
//!
//! # When a row is believed
//! All of the [`Identity`] must be equal. A row is only written when its file was settled before it was
//! read ([`Moment::settles`]): a write in the same tick of the clock would not show. And it is only
//! believed while both stamps lie before now, so that a clock that was set back cannot repeat them.
//! A file that is missing, torn, of another version or otherwise not what was written is no cache.
//!
//! # Bounds
//! Rows of files that a run did not list (other patterns) are kept for [`UNUSED_MAX`] rewrites; at most
//! [`ROWS_MAX`] rows in a file and [`FILES_MAX`] files in the folder, the oldest of which are removed.

use std::fs;
use std::io::{self, Write as _};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use super::identity::{Identity, Moment};
use super::read::Found;
use super::{Ownership, xattrs};
use crate::beneath::{PathError, Root};
use crate::checksum::{SUM_LEN, Sum, Summer, is_hashed, walk_order};
use crate::digest::Digest;
use crate::tree::Time;

/// First bytes of a file; the number changes with the format, and with what a digest covers.
const MAGIC: &[u8] = b"dagop stat cache 1\n";

/// How a file's name ends.
const SUFFIX: &str = ".stat";

/// Bytes of a row without its path.
const ROW_FIXED: usize = 2 + 2 + 3 * 8 + 3 * 4 + 2 * 12 + 1 + SUM_LEN;

/// Rewrites that an unused row survives.
const UNUSED_MAX: u8 = 8;

/// Most rows of a file.
const ROWS_MAX: usize = 4_000_000;

/// Largest file that is read, in bytes.
const FILE_SIZE_MAX: u64 = 1 << 30;

/// Most files in the folder.
const FILES_MAX: usize = 256;

/// One file's digest.
struct Row {
    /// Where the path is in `Cache::paths`.
    path: std::ops::Range<usize>,
    identity: Identity,
    unused: u8,
    digest: Sum,
}

/// The rows of one directory, read in walk order.
pub(super) struct Cache {
    file: PathBuf,
    paths: Vec<u8>,
    rows: Vec<Row>,
    /// The first row not yet passed by the walk.
    next: usize,
    moment: Moment,
}

impl Cache {
    /// The cache of `root` in `folder`; empty when there is none that can be used.
    pub(super) fn load(folder: &Path, root: &Root, ownership: Ownership, moment: Moment) -> Self {
        let mut cache = Self {
            file: folder.join(file_name(root, ownership)),
            paths: Vec::new(),
            rows: Vec::new(),
            next: 0,
            moment,
        };
        let small = fs::metadata(&cache.file).is_ok_and(|file| file.len() <= FILE_SIZE_MAX);
        let data = small.then(|| fs::read(&cache.file).ok()).flatten();
        if data.is_none_or(|data| cache.parse(&data).is_none()) {
            cache.paths.clear();
            cache.rows.clear();
        }
        cache
    }

    /// `None` for anything that was not written by [`encode`].
    fn parse(&mut self, data: &[u8]) -> Option<()> {
        let (data, sum) = data.split_at_checked(data.len().checked_sub(SUM_LEN)?)?;
        let mut rest = data.strip_prefix(MAGIC)?;
        let mut summer = Summer::default();
        summer.update(data);
        if summer.finish().0 != sum {
            return None;
        }
        self.rows.reserve(rest.len() / (ROW_FIXED + 16));
        let mut before = 0..0;
        while !rest.is_empty() && self.rows.len() < ROWS_MAX {
            let shared = usize::from(u16::from_le_bytes(take(&mut rest)?));
            let length = usize::from(u16::from_le_bytes(take(&mut rest)?));
            let (tail, after) = rest.split_at_checked(length)?;
            rest = after;
            let start = self.paths.len();
            let shared = before.start..before.start + shared;
            if shared.end > before.end {
                return None;
            }
            self.paths.extend_from_within(shared);
            self.paths.extend_from_slice(tail);
            before = start..self.paths.len();
            self.rows.push(Row {
                path: before.clone(),
                identity: Identity {
                    device: u64::from_le_bytes(take(&mut rest)?),
                    inode: u64::from_le_bytes(take(&mut rest)?),
                    size: u64::from_le_bytes(take(&mut rest)?),
                    mode: u32::from_le_bytes(take(&mut rest)?),
                    uid: u32::from_le_bytes(take(&mut rest)?),
                    gid: u32::from_le_bytes(take(&mut rest)?),
                    mtime: stamp(&mut rest)?,
                    ctime: stamp(&mut rest)?,
                },
                unused: take::<1>(&mut rest)?[0],
                digest: Sum(take(&mut rest)?),
            });
        }
        Some(())
    }

    /// The digest of an entry that was not touched since; to be asked in walk order.
    pub(super) fn lookup(&mut self, path: &str, identity: &Identity) -> Option<Sum> {
        while let Some(row) = self.rows.get_mut(self.next) {
            match walk_order(&self.paths[row.path.clone()], path.as_bytes()) {
                std::cmp::Ordering::Less => self.next += 1,
                std::cmp::Ordering::Greater => return None,
                std::cmp::Ordering::Equal => {
                    row.unused = 0;
                    let same = row.identity == *identity && self.moment.settles(identity);
                    return same.then_some(row.digest);
                }
            }
        }
        None
    }

    /// Replaces the file, if there is anything new to remember.
    pub(super) fn save(&self, found: &[Found]) -> Result<(), PathError> {
        let rows = self.merged(found);
        if rows.len() > ROWS_MAX || !rows.iter().any(|row| row.fresh) {
            return Ok(());
        }
        let failed = |operation, e: io::Error| PathError::new(operation, &self.file, e);
        let folder = self.file.parent().unwrap_or(Path::new("."));
        let mut builder = fs::DirBuilder::new();
        let made = builder.recursive(true).mode(0o700).create(folder);
        made.map_err(|e| failed("create the folder of", e))?;
        let mut file = tempfile::Builder::new()
            .prefix(".stat")
            .tempfile_in(folder)
            .map_err(|e| failed("create", e))?;
        file.write_all(&encode(&rows))
            .map_err(|e| failed("write", e))?;
        file.persist(&self.file)
            .map_err(|e| failed("replace", e.error))?;
        prune(folder);
        Ok(())
    }

    /// What was found and may be believed later, and rows of files that were not listed.
    fn merged<'a>(&'a self, found: &'a [Found]) -> Vec<Kept<'a>> {
        let mut kept = Vec::with_capacity(found.len());
        let mut old = 0;
        for file in found {
            let Some(digest) = file.digest else { continue };
            let path = file.path.as_bytes();
            while self
                .rows
                .get(old)
                .is_some_and(|row| walk_order(self.path(row), path).is_lt())
            {
                kept.extend(self.unlisted(&self.rows[old]));
                old += 1;
            }
            let known = self.rows.get(old).filter(|row| self.path(row) == path);
            old += usize::from(known.is_some());
            if self.may_be_kept(file) {
                kept.push(Kept {
                    path,
                    identity: file.identity,
                    unused: 0,
                    digest,
                    fresh: known.is_none_or(|row| row.identity != file.identity),
                });
            }
        }
        kept.extend(self.rows[old..].iter().filter_map(|row| self.unlisted(row)));
        kept
    }

    /// Attributes are not in a row, so the few files that have some which count are read every time.
    fn may_be_kept(&self, file: &Found) -> bool {
        file.path.len() <= usize::from(u16::MAX)
            && self.moment.settles(&file.identity)
            && !file.meta.xattrs.keys().any(|name| is_hashed(name))
    }

    fn path(&self, row: &Row) -> &[u8] {
        &self.paths[row.path.clone()]
    }

    /// A row that the walk did not come to, unless that was so too often.
    fn unlisted(&self, row: &Row) -> Option<Kept<'_>> {
        (row.unused < UNUSED_MAX).then(|| Kept {
            path: self.path(row),
            identity: row.identity,
            unused: row.unused + 1,
            digest: row.digest,
            fresh: false,
        })
    }
}

/// A row to be written.
struct Kept<'a> {
    path: &'a [u8],
    identity: Identity,
    unused: u8,
    digest: Sum,
    /// Not in the file yet.
    fresh: bool,
}

fn encode(rows: &[Kept<'_>]) -> Vec<u8> {
    let mut out = Vec::with_capacity(MAGIC.len() + rows.len() * (ROW_FIXED + 32) + SUM_LEN);
    out.extend_from_slice(MAGIC);
    let mut before: &[u8] = &[];
    for Kept {
        path,
        identity,
        unused,
        digest,
        ..
    } in rows
    {
        let shared = before.iter().zip(*path).take_while(|(a, b)| a == b).count();
        // Paths are shorter than a u16 counts, see `merged`.
        out.extend_from_slice(&(shared as u16).to_le_bytes());
        out.extend_from_slice(&((path.len() - shared) as u16).to_le_bytes());
        out.extend_from_slice(&path[shared..]);
        for number in [identity.device, identity.inode, identity.size] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [identity.mode, identity.uid, identity.gid] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for time in [identity.mtime, identity.ctime] {
            out.extend_from_slice(&time.secs.to_le_bytes());
            out.extend_from_slice(&time.nanos.to_le_bytes());
        }
        out.push(*unused);
        out.extend_from_slice(&digest.0);
        before = path;
    }
    let mut summer = Summer::default();
    summer.update(&out);
    out.extend_from_slice(&summer.finish().0);
    out
}

fn take<const N: usize>(data: &mut &[u8]) -> Option<[u8; N]> {
    let (head, rest) = data.split_first_chunk()?;
    *data = rest;
    Some(*head)
}

fn stamp(data: &mut &[u8]) -> Option<Time> {
    Some(Time {
        secs: i64::from_le_bytes(take(data)?),
        nanos: u32::from_le_bytes(take(data)?),
    })
}

/// Everything that a digest depends on besides the entry: where the tree is, whose the entries become,
/// and which attributes this process can see.
fn file_name(root: &Root, ownership: Ownership) -> String {
    let path = root.path().canonicalize();
    let path = path.as_deref().unwrap_or(root.path());
    let user = rustix::process::geteuid().as_raw();
    let seen = xattrs::readable(root);
    let rest = format!("\0{ownership:?}\0{user}\0{seen}");
    let key = [path.as_os_str().as_bytes(), rest.as_bytes()];
    format!("{}{SUFFIX}", Digest::sha256(key.concat()).hex())
}

/// Removes the files that were not replaced for longest. Another process may do the same.
fn prune(folder: &Path) {
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    let mut files: Vec<(SystemTime, PathBuf)> = entries
        .flatten()
        .filter(|entry| entry.file_name().as_bytes().ends_with(SUFFIX.as_bytes()))
        .filter_map(|entry| Some((entry.metadata().ok()?.modified().ok()?, entry.path())))
        .collect();
    files.sort();
    let surplus = files.len().saturating_sub(FILES_MAX);
    for (_, path) in files.drain(..surplus) {
        // Gone already, or not ours to remove: either way nothing depends on it.
        let _ = fs::remove_file(path);
    }
}

#[cfg(test)]
mod tests;
