//! Lists a tree in fsutil's order, one `stat` per listed entry: what a client sends of a local directory.
//!
//! # Order
//! Names of one directory in byte order, and a directory immediately before its content: paths compared component by
//! component. The daemon refuses a listing in another order.
//!
//! # How it runs
//! Iteratively, on one blocking thread. Each directory on the way from the root to the current entry is a [`Frame`]:
//! the sorted names that are still to do, and the open directory they are looked up in. Names cost one `getdents` per
//! few hundred entries; only entries that pass the filter are looked at further. At most [`OPEN_DIRS_MAX`] directories
//! are open at a time, those further up are opened again when the walk returns to them, so depth costs no descriptors.
//!
//! # What is listed
//! The link text of symbolic links, device numbers, and all extended attributes. The second and further names of
//! an inode are hard links to the first name *that was listed*. A socket becomes an empty regular file, as with every
//! other client. Directories that are not listed themselves are announced when something below them is.
//!
//! # Changes meanwhile
//! An entry that disappears, or a directory that turns into something else, is left out. An unreadable directory is an
//! error, unless the patterns exclude the directory itself.

use std::borrow::Cow;
use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::ffi::{CStr, CString};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir};
use rustix::io::Errno;

use super::filter::{Filter, Matches};
use super::identity::Identity;
use super::{ContextError, Ownership, xattrs};
use crate::beneath::{PathError, Root, is_gone};
use crate::tree::{Kind, MODE_MASK, Meta, Xattrs};

/// Directories of the current path that stay open.
const OPEN_DIRS_MAX: usize = 32;

/// Longest path that is sent, in bytes: the longest one a system call takes.
const PATH_MAX: usize = 4096;

/// What reading extended attributes is called in errors.
pub(super) const READ_XATTRS: &str = "read extended attributes of";

/// Buffer for directory entries, in bytes.
const DIR_BUFFER: usize = 64 * 1024;

/// One entry of a listing.
#[derive(Debug)]
pub struct Entry {
    /// Path relative to the root, `/`-separated.
    pub path: String,
    /// What the receiver is told; the owner is the mapped one.
    pub meta: Meta,
    /// For the second and further names of an inode: the first listed path.
    pub hard_link: Option<String>,
    /// What the system said.
    pub identity: Identity,
    /// The inode has further names, listed or not.
    pub(super) several: bool,
    /// The directory the entry is in, while [`Meta::xattrs`] has not been read ([`Attributes::OfDirectories`]).
    pub(super) parent: Option<Arc<OwnedFd>>,
}

/// Whose extended attributes a walk reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attributes {
    /// Those of every entry.
    All,
    /// Only those of directories; the receiver of the entries reads others as it needs them.
    OfDirectories,
}

/// Gets each entry; returns false to stop the walk.
pub type Emit<'a> = dyn FnMut(Entry) -> bool + 'a;

/// One directory on the way to the current entry.
struct Frame {
    /// Path of the directory with a trailing `/`; empty for the root.
    prefix: String,
    /// Names still to do, last one first.
    names: Vec<(CString, FileType)>,
    /// `None` after it was closed to save descriptors.
    directory: Option<Arc<OwnedFd>>,
    /// What the patterns said about the directory.
    matches: Matches,
    /// The directory's own entry as long as it has not been listed.
    unannounced: Option<Entry>,
}

/// An entry that is listed, entered, or both.
struct Found {
    entry: Entry,
    listed: bool,
    /// The entry itself, if it is a directory to be entered.
    below: Option<Arc<OwnedFd>>,
    matches: Matches,
}

struct Walk<'a> {
    root: &'a Root,
    filter: &'a Filter,
    ownership: Ownership,
    frames: Vec<Frame>,
    /// First listed path of every inode with several names, by device and inode number.
    links: HashMap<(u64, u64), String>,
    buffer: Vec<u8>,
    attributes: Attributes,
    xattrs: xattrs::Reader,
}

/// Walks the tree below `root` and gives every listed entry to `emit`.
///
/// # Errors
/// [`ContextError`] naming the entry; [`ContextError::Stopped`] when `emit` said so.
pub fn walk(
    root: &Root,
    filter: &Filter,
    ownership: Ownership,
    attributes: Attributes,
    emit: &mut Emit<'_>,
) -> Result<(), ContextError> {
    let mut walk = Walk {
        root,
        filter,
        ownership,
        frames: Vec::new(),
        links: HashMap::new(),
        buffer: Vec::with_capacity(DIR_BUFFER),
        attributes,
        xattrs: xattrs::Reader::new(root),
    };
    let top = root
        .open_dir("")
        .map_err(|e| PathError::new("open directory", root.show(""), e))?;
    walk.enter(String::new(), Arc::new(top), Matches::default(), None)?;
    while let Some(frame) = walk.frames.last_mut() {
        let Some((name, kind)) = frame.names.pop() else {
            walk.frames.pop();
            continue;
        };
        walk.entry(&name, kind, emit)?;
    }
    Ok(())
}

impl Walk<'_> {
    /// Reads the names of an open directory and makes it the current one.
    fn enter(
        &mut self,
        prefix: String,
        directory: Arc<OwnedFd>,
        matches: Matches,
        unannounced: Option<Entry>,
    ) -> Result<(), ContextError> {
        let mut names = Vec::new();
        let mut entries = RawDir::new(&directory, self.buffer.spare_capacity_mut());
        while let Some(entry) = entries.next() {
            match entry {
                Ok(entry) => {
                    let name = entry.file_name();
                    if name != c"." && name != c".." {
                        names.push((name.to_owned(), entry.file_type()));
                    }
                }
                Err(Errno::NOENT) => break,
                Err(e) => {
                    return Err(PathError::new("read directory", self.root.show(&prefix), e).into());
                }
            }
        }
        names.sort_unstable_by(|(a, _), (b, _)| b.as_bytes().cmp(a.as_bytes()));
        self.frames.push(Frame {
            prefix,
            names,
            directory: Some(directory),
            matches,
            unannounced,
        });
        if let Some(far) = self.frames.len().checked_sub(OPEN_DIRS_MAX + 1) {
            self.frames[far].directory = None;
        }
        Ok(())
    }

    /// Takes the current directory out of its frame, opening it again if it was closed; `None` if it is gone.
    fn take_directory(&mut self) -> Result<Option<Arc<OwnedFd>>, PathError> {
        let Some(frame) = self.frames.last_mut() else {
            return Ok(None);
        };
        if let Some(directory) = frame.directory.take() {
            return Ok(Some(directory));
        }
        match self.root.open_dir(frame.prefix.trim_end_matches('/')) {
            Ok(directory) => Ok(Some(Arc::new(directory))),
            Err(e) if is_gone(e) => Ok(None),
            Err(e) => Err(PathError::new(
                "open directory",
                self.root.show(&frame.prefix),
                e,
            )),
        }
    }

    /// Handles one entry of the current directory: lists it, and makes it the current directory if it is to be entered.
    fn entry(
        &mut self,
        name: &CStr,
        kind: FileType,
        emit: &mut Emit<'_>,
    ) -> Result<(), ContextError> {
        let Some(directory) = self.take_directory()? else {
            self.frames.pop();
            return Ok(());
        };
        let found = self.examine(&directory, name, kind);
        if let Some(frame) = self.frames.last_mut() {
            frame.directory = Some(directory);
        }
        let Some(Found {
            entry,
            listed,
            below,
            matches,
        }) = found?
        else {
            return Ok(());
        };
        let below = below.map(|directory| (format!("{}/", entry.path), directory));
        let mut unannounced = Some(entry);
        if listed {
            self.announce(emit)?;
            if !unannounced.take().is_none_or(&mut *emit) {
                return Err(ContextError::Stopped);
            }
        }
        match below {
            Some((prefix, directory)) => self.enter(prefix, directory, matches, unannounced),
            None => Ok(()),
        }
    }

    /// Looks at one name as far as the filter asks for it; `None` if it is to be passed over, or gone.
    fn examine(
        &mut self,
        directory: &Arc<OwnedFd>,
        name: &CStr,
        kind: FileType,
    ) -> Result<Option<Found>, ContextError> {
        let Some(frame) = self.frames.last() else {
            return Ok(None);
        };
        let text = name.to_string_lossy();
        let mut path = String::with_capacity(frame.prefix.len() + text.len());
        path.push_str(&frame.prefix);
        path.push_str(&text);
        // Some file systems do not tell the type of an entry in the directory.
        let mut known = None;
        let mut is_dir = kind == FileType::Directory;
        if kind == FileType::Unknown {
            let Some(stat) = self.stat(directory, name, &path)? else {
                return Ok(None);
            };
            is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
            known = Some(stat);
        }
        let verdict = self.filter.judge(&path, is_dir, &frame.matches);
        if !verdict.listed && !verdict.entered {
            return Ok(None);
        }
        if known.is_none() {
            known = self.stat(directory, name, &path)?;
        }
        let Some(stat) = known else { return Ok(None) };
        if matches!(text, Cow::Owned(_)) {
            return Err(ContextError::NotUtf8(path));
        }
        if path.len() > PATH_MAX {
            return Err(ContextError::TooLong(path));
        }
        let is_dir = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let Some(mut entry) = self.describe(directory, name, path, &stat)? else {
            return Ok(None);
        };
        let below = match is_dir && verdict.entered {
            true => self.open_below(directory, name, &entry, verdict.listed)?,
            false => None,
        };
        if verdict.listed {
            self.link(&mut entry, &stat);
        }
        Ok(Some(Found {
            entry,
            listed: verdict.listed,
            below,
            matches: verdict.matches,
        }))
    }

    fn stat(
        &self,
        directory: &OwnedFd,
        name: &CStr,
        path: &str,
    ) -> Result<Option<rustix::fs::Stat>, PathError> {
        match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(e) if is_gone(e) => Ok(None),
            Err(e) => Err(PathError::new("stat", self.root.show(path), e)),
        }
    }

    /// Opens a directory to be entered; `None` if it is gone, or unreadable while it is not listed itself.
    fn open_below(
        &self,
        directory: &OwnedFd,
        name: &CStr,
        entry: &Entry,
        listed: bool,
    ) -> Result<Option<Arc<OwnedFd>>, PathError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(opened) => Ok(Some(Arc::new(opened))),
            Err(e) if is_gone(e) => Ok(None),
            Err(Errno::ACCESS | Errno::PERM) if !listed => Ok(None),
            Err(e) => Err(PathError::new(
                "open directory",
                self.root.show(&entry.path),
                e,
            )),
        }
    }

    /// Lists the directories above the current entry that have not been listed yet.
    fn announce(&mut self, emit: &mut Emit<'_>) -> Result<(), ContextError> {
        // Unlisted directories are always the innermost ones.
        let listed = self
            .frames
            .iter()
            .rposition(|f| f.unannounced.is_none())
            .map_or(0, |at| at + 1);
        for frame in &mut self.frames[listed..] {
            if let Some(entry) = frame.unannounced.take()
                && !emit(entry)
            {
                return Err(ContextError::Stopped);
            }
        }
        Ok(())
    }

    /// The description of an entry; `None` if it disappeared meanwhile.
    fn describe(
        &mut self,
        directory: &Arc<OwnedFd>,
        name: &CStr,
        path: String,
        found: &rustix::fs::Stat,
    ) -> Result<Option<Entry>, ContextError> {
        let failed =
            |operation, path: &str, e: Errno| PathError::new(operation, self.root.show(path), e);
        let identity = Identity::of(found);
        let kind = match FileType::from_raw_mode(found.st_mode) {
            FileType::Directory => Kind::Dir,
            FileType::Symlink => match rustix::fs::readlinkat(directory, name, Vec::new()) {
                Ok(target) => match target.into_string() {
                    Ok(target) => Kind::Symlink {
                        target: PathBuf::from(target),
                    },
                    Err(_) => return Err(ContextError::NotUtf8(path)),
                },
                Err(e) if is_gone(e) || e == Errno::INVAL => return Ok(None),
                Err(e) => return Err(failed("read link", &path, e).into()),
            },
            FileType::CharacterDevice => {
                let (major, minor) = device(found.st_rdev);
                Kind::Char { major, minor }
            }
            FileType::BlockDevice => {
                let (major, minor) = device(found.st_rdev);
                Kind::Block { major, minor }
            }
            FileType::Fifo => Kind::Fifo,
            FileType::Socket => Kind::Socket,
            FileType::RegularFile | FileType::Unknown => Kind::File {
                size: identity.size,
            },
        };
        let (uid, gid) = match self.ownership {
            Ownership::Root => (0, 0),
            Ownership::Keep => (found.st_uid, found.st_gid),
            Ownership::Fixed { uid, gid } => (uid, gid),
        };
        let is_directory = kind == Kind::Dir;
        let now = self.attributes == Attributes::All || is_directory;
        let xattrs = match now.then(|| self.xattrs.read(directory, name)) {
            Some(Ok(xattrs)) => xattrs,
            None => Xattrs::new(),
            Some(Err(e)) if is_gone(e) => Xattrs::new(),
            Some(Err(e)) => return Err(failed(READ_XATTRS, &path, e).into()),
        };
        Ok(Some(Entry {
            path,
            meta: Meta {
                kind,
                mode: found.st_mode & MODE_MASK,
                uid,
                gid,
                mtime: identity.mtime,
                xattrs,
            },
            hard_link: None,
            identity,
            several: found.st_nlink > 1 && !is_directory,
            parent: (!now).then(|| Arc::clone(directory)),
        }))
    }

    /// Turns the second and later names of an inode into hard links.
    fn link(&mut self, entry: &mut Entry, found: &rustix::fs::Stat) {
        let kind = FileType::from_raw_mode(found.st_mode);
        if found.st_nlink < 2 || matches!(kind, FileType::Directory | FileType::Symlink) {
            return;
        }
        match self.links.entry((found.st_dev, found.st_ino)) {
            Slot::Occupied(first) => entry.hard_link = Some(first.get().clone()),
            Slot::Vacant(vacant) => {
                vacant.insert(entry.path.clone());
            }
        }
    }
}

/// Major and minor number as fsutil computes them: the 12 and 20 bits that Linux uses for most devices.
fn device(rdev: u64) -> (u32, u32) {
    (
        ((rdev >> 8) & 0xfff) as u32,
        ((rdev & 0xff) | ((rdev >> 12) & 0xf_ff00)) as u32,
    )
}
