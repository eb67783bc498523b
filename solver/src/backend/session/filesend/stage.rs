//! A directory export's staging directory, and moving its content into place.
//!
//! The staging directory is a hidden sibling of the target, so that moving is a `rename` within one file system; when
//! the target is a mount point or its parent cannot be written, it is a hidden directory inside the target instead.
//! Until [`Stage::commit`] the target is untouched; a stage that is dropped before removes itself.
//!
//! # Commit
//! A target that does not exist yet is the renamed staging directory. Into an existing one, entries are moved one by
//! one: a directory that exists on both sides is entered, anything else is replaced by `rename`. In mirror mode, entries
//! that the export does not have are removed. Modes and times of directories come last, since moving changes them and
//! a read-only directory could not be moved into.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{CStr, CString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use rustix::fs::{AtFlags, CWD, Dir, FileType, Mode, RenameFlags, Timestamps};
use rustix::io::Errno;

use super::DirectoryMode;
use super::receive::set_xattrs;
use crate::backend::session::error::PathError;
use crate::backend::session::{gomode, new_id};
use snapshots::beneath::Root;

/// A directory of the export and the attributes it gets in the end.
#[derive(Debug)]
pub(crate) struct Directory {
    /// Path relative to the export.
    pub(crate) path: String,
    /// Go mode bits.
    pub(crate) mode: u32,
    /// Access and modification time.
    pub(crate) modified: Timestamps,
    /// Extended attributes.
    pub(crate) xattrs: BTreeMap<String, Bytes>,
}

/// A staging directory; removed on drop.
#[derive(Debug)]
pub(crate) struct Stage {
    target: PathBuf,
    staged: PathBuf,
    root: Root,
    /// Permissions a new directory has under the user's umask; given to a target that did not exist.
    permissions: Mode,
}

impl Stage {
    /// Creates the staging directory for `target`, whose missing parents are created.
    pub(crate) fn new(target: &Path) -> Result<Self, PathError> {
        let target = resolve(target)?;
        let exists = match std::fs::metadata(&target) {
            Ok(found) if found.is_dir() => true,
            Ok(_) => {
                return Err(PathError::new(
                    "export to",
                    &target,
                    io::Error::from(io::ErrorKind::NotADirectory),
                ));
            }
            Err(e) if e.kind() == io::ErrorKind::NotFound => false,
            Err(e) => return Err(PathError::new("stat", &target, e)),
        };
        let name = format!(".export-{}", new_id());
        let parent = target.parent().unwrap_or(Path::new("/"));
        let beside = (!exists || same_device(parent, &target)).then(|| parent.join(&name));
        let inside = exists.then(|| target.join(&name));
        let mut error = None;
        for staged in [beside, inside].into_iter().flatten() {
            match create(&staged) {
                Ok((root, permissions)) => {
                    return Ok(Self {
                        target,
                        staged,
                        root,
                        permissions,
                    });
                }
                Err(e) => error = Some(e),
            }
        }
        Err(error.unwrap_or_else(|| PathError::new("export to", &target, Errno::NOTDIR)))
    }

    /// Everything is created below this.
    pub(crate) fn root(&self) -> &Root {
        &self.root
    }

    /// The final path of an entry, for error messages.
    pub(crate) fn show(&self, relative: &str) -> PathBuf {
        self.target.join(relative)
    }

    /// Moves the content into place.
    pub(crate) fn commit(
        self,
        directories: &[Directory],
        mode: DirectoryMode,
    ) -> Result<(), PathError> {
        if !self.target.exists() {
            self.attributes(&self.root, directories)?;
            rustix::fs::fchmod(self.root.fd(), self.permissions)
                .map_err(|e| PathError::new("set the mode of", &self.target, e))?;
            match rustix::fs::renameat_with(
                CWD,
                &self.staged,
                CWD,
                &self.target,
                RenameFlags::NOREPLACE,
            ) {
                Ok(()) => return Ok(()),
                // Another export of the same build came first, or the file system lacks this kind of rename.
                Err(Errno::EXIST | Errno::NOTEMPTY) => {}
                Err(Errno::INVAL | Errno::NOSYS) => {
                    return rustix::fs::rename(&self.staged, &self.target)
                        .map_err(|e| PathError::new("rename to", &self.target, e));
                }
                Err(e) => return Err(PathError::new("rename to", &self.target, e)),
            }
        }
        let target = Root::open(&self.target)?;
        self.merge(&target, mode)?;
        self.attributes(&target, directories)
    }

    /// Moves entries into an existing target.
    fn merge(&self, target: &Root, mode: DirectoryMode) -> Result<(), PathError> {
        let mut todo = vec![String::new()];
        while let Some(path) = todo.pop() {
            let at = |operation, e: Errno| PathError::new(operation, self.show(&path), e);
            let from = self
                .root
                .open_dir(&path)
                .map_err(|e| at("open the staged copy of", e))?;
            let to = target
                .open_dir(&path)
                .map_err(|e| at("open directory", e))?;
            let names = names(&from).map_err(|e| at("read the staged copy of", e))?;
            if mode == DirectoryMode::Mirror {
                for name in self::names(&to).map_err(|e| at("read directory", e))? {
                    let ours = path.is_empty()
                        && self
                            .staged
                            .file_name()
                            .is_some_and(|n| n.as_bytes() == name.to_bytes());
                    if !ours && !names.contains(&name) {
                        self.remove(&to, &path, &name)?;
                    }
                }
            }
            for name in names {
                if self.place(&from, &to, &path, &name)? {
                    // Names came from packets, which are UTF-8.
                    let name = name.to_string_lossy();
                    todo.push(if path.is_empty() {
                        name.into_owned()
                    } else {
                        format!("{path}/{name}")
                    });
                }
            }
        }
        Ok(())
    }

    /// Moves one entry; true if it is a directory on both sides, whose content is still to be moved.
    fn place(
        &self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &str,
        name: &CStr,
    ) -> Result<bool, PathError> {
        let at = |operation, e: Errno| {
            PathError::new(operation, self.show(path).join(&*name.to_string_lossy()), e)
        };
        let new = kind(from, name).map_err(|e| at("stat the staged copy of", e))?;
        let old = kind(to, name).map_err(|e| at("stat", e))?;
        let is_dir = |kind| kind == Some(FileType::Directory);
        if is_dir(new) && is_dir(old) {
            return Ok(true);
        }
        // A file replaces a file atomically; between a file and a directory there is no such rename.
        if old.is_some() && (is_dir(new) || is_dir(old)) {
            self.remove(to, path, name)?;
        }
        match rustix::fs::renameat(from, name, to, name) {
            Ok(()) => Ok(false),
            // Another platform of the same export has created the directory in between.
            Err(Errno::EXIST | Errno::NOTEMPTY) if is_dir(new) => Ok(true),
            Err(e) => Err(at("replace", e)),
        }
    }

    /// Removes an entry of the target, with everything below it.
    fn remove(&self, directory: &OwnedFd, path: &str, name: &CStr) -> Result<(), PathError> {
        let full = self
            .show(path)
            .join(std::ffi::OsStr::from_bytes(name.to_bytes()));
        let result = match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
            Err(Errno::ISDIR | Errno::PERM) => std::fs::remove_dir_all(&full),
            result => result.map_err(io::Error::from),
        };
        match result {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(PathError::new("remove", full, e)),
            _ => Ok(()),
        }
    }

    /// Sets modes, attributes and times of directories, inner ones first.
    fn attributes(&self, root: &Root, directories: &[Directory]) -> Result<(), PathError> {
        for directory in directories.iter().rev() {
            let at = |e| PathError::new("set mode and time of", self.show(&directory.path), e);
            let opened = root.open_dir(&directory.path).map_err(at)?;
            set_xattrs(&opened, &directory.xattrs);
            rustix::fs::fchmod(
                &opened,
                Mode::from_raw_mode(gomode::permissions(directory.mode)),
            )
            .map_err(at)?;
            rustix::fs::futimens(&opened, &directory.modified).map_err(at)?;
        }
        Ok(())
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.staged) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.staged.display(), %error, "staging directory of an export not removed");
            }
            _ => {}
        }
    }
}

/// The target without links, so that its parent is where its content will be. Missing parents are created.
fn resolve(target: &Path) -> Result<PathBuf, PathError> {
    match std::fs::canonicalize(target) {
        Ok(path) => return Ok(path),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(PathError::new("resolve", target, e)),
    }
    let Some(name) = target.file_name() else {
        return Err(PathError::new(
            "export to",
            target,
            io::Error::from(io::ErrorKind::InvalidInput),
        ));
    };
    let parent = match target.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(|e| PathError::new("create directory", parent, e))?;
    let parent = std::fs::canonicalize(parent).map_err(|e| PathError::new("resolve", parent, e))?;
    Ok(parent.join(name))
}

/// Creates a staging directory that only we can enter; also says which permissions the umask would have given it.
fn create(path: &Path) -> Result<(Root, Mode), PathError> {
    let failed = |e| PathError::new("create directory", path, e);
    rustix::fs::mkdirat(CWD, path, Mode::RWXU | Mode::RWXG | Mode::RWXO).map_err(failed)?;
    let root = Root::open(path)?;
    let permissions =
        Mode::from_raw_mode(rustix::fs::fstat(root.fd()).map_err(failed)?.st_mode & 0o777);
    rustix::fs::fchmod(root.fd(), Mode::RWXU).map_err(failed)?;
    Ok((root, permissions))
}

fn same_device(a: &Path, b: &Path) -> bool {
    let device = |path: &Path| rustix::fs::stat(path).map(|s| s.st_dev);
    matches!((device(a), device(b)), (Ok(a), Ok(b)) if a == b)
}

fn kind(directory: &OwnedFd, name: &CStr) -> Result<Option<FileType>, Errno> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e),
    }
}

fn names(directory: &OwnedFd) -> Result<BTreeSet<CString>, Errno> {
    let mut names = BTreeSet::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        if entry.file_name() != c"." && entry.file_name() != c".." {
            names.insert(entry.file_name().to_owned());
        }
    }
    Ok(names)
}
