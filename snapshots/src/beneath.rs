//! Opening files below a directory without ever leaving it.
//!
//! What is sent to a daemon, and what a daemon writes, must stay inside one directory, also when a symbolic link
//! points elsewhere or a directory is swapped for a link meanwhile. [`Root`] keeps that directory open; everything
//! else is opened relative to it with `openat2`, which makes the kernel refuse links and `..` on the whole path. Where
//! `openat2` is not available (old kernels, some sandboxes), each component is opened on its own with `O_NOFOLLOW`.
//!
//! A refused link shows as `ELOOP` (or `ENOTDIR`); callers treat that as "is not there (any more)".

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Flags of every open: nothing leaks into child processes, no terminal becomes ours, a pipe does not block.
const ALWAYS: OFlags = OFlags::CLOEXEC
    .union(OFlags::NOFOLLOW)
    .union(OFlags::NOCTTY)
    .union(OFlags::NONBLOCK);

/// Flags that open a directory for reading.
const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY);

/// A failed operation on a local path: says what was done, where, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct PathError {
    /// The operation, as a verb: `open`, `write`, `rename` ...
    pub operation: &'static str,
    /// The path as the user would name it.
    pub path: PathBuf,
    /// The operating system's answer.
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// Ties an operating system error to the operation and the path it happened on.
    pub fn new(
        operation: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self {
            operation,
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }
}

/// An open directory that bounds everything opened through it.
#[derive(Debug)]
pub struct Root {
    directory: OwnedFd,
    path: PathBuf,
}

impl Root {
    /// Opens `path`, following links in it: the user named it, so the user may name it through a link.
    ///
    /// # Errors
    /// When it does not exist, is no directory or cannot be read.
    pub fn open(path: &Path) -> Result<Self, PathError> {
        let directory = rustix::fs::openat(CWD, path, DIRECTORY | OFlags::CLOEXEC, Mode::empty())
            .map_err(|e| PathError::new("open directory", path, e))?;
        Ok(Self {
            directory,
            path: path.to_owned(),
        })
    }

    /// The directory itself.
    pub fn fd(&self) -> &OwnedFd {
        &self.directory
    }

    /// The path it was opened by.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The path of an entry for an error message.
    pub fn show(&self, relative: &str) -> PathBuf {
        self.path.join(relative)
    }

    /// Opens the directory at `relative` (`/`-separated; empty is the root itself).
    ///
    /// # Errors
    /// The system's; [`is_gone`] tells those of an entry that is not what it was.
    pub fn open_dir(&self, relative: &str) -> Result<OwnedFd, Errno> {
        self.open_at(if relative.is_empty() { "." } else { relative }, DIRECTORY)
    }

    /// Opens the file at `relative` for reading. The caller checks what kind of file it got.
    ///
    /// # Errors
    /// The system's; [`is_gone`] tells those of an entry that is not what it was.
    pub fn open_file(&self, relative: &str) -> Result<OwnedFd, Errno> {
        self.open_at(relative, OFlags::RDONLY)
    }

    /// Opens the existing file at `relative` for writing.
    ///
    /// # Errors
    /// The system's; [`is_gone`] tells those of an entry that is not what it was.
    pub fn open_for_writing(&self, relative: &str) -> Result<OwnedFd, Errno> {
        self.open_at(relative, OFlags::WRONLY)
    }

    fn open_at(&self, relative: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let resolve =
            ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        match rustix::fs::openat2(
            &self.directory,
            relative,
            flags | ALWAYS,
            Mode::empty(),
            resolve,
        ) {
            // EPERM is what container sandboxes answer for system calls they do not know.
            Err(Errno::NOSYS | Errno::PERM) => self.open_by_component(relative, flags),
            result => result,
        }
    }

    /// The slow way: one open per component, none of which follows a link.
    fn open_by_component(&self, relative: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
        let (parent, name) = relative.rsplit_once('/').unwrap_or(("", relative));
        let mut at: Option<OwnedFd> = None;
        for component in parent.split('/').filter(|c| !c.is_empty()).chain([name]) {
            if component == ".." {
                return Err(Errno::XDEV);
            }
            // The last component is opened below; it may have the same text as an inner one.
            let directory = at.as_ref().unwrap_or(&self.directory);
            if std::ptr::eq(component, name) {
                return rustix::fs::openat(directory, component, flags | ALWAYS, Mode::empty());
            }
            at = Some(rustix::fs::openat(
                directory.as_fd(),
                component,
                DIRECTORY | ALWAYS,
                Mode::empty(),
            )?);
        }
        Err(Errno::NOENT)
    }
}

/// True for the errors that mean "the entry is gone, or is no longer what the listing said".
pub fn is_gone(error: Errno) -> bool {
    matches!(
        error,
        Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NXIO | Errno::XDEV
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;
    use std::os::unix::fs::symlink;

    type Opener = fn(&Root, &str, OFlags) -> Result<OwnedFd, Errno>;

    /// Both ways of opening must refuse the same paths.
    const OPENERS: [Opener; 2] = [Root::open_at, Root::open_by_component];

    fn tree() -> (tempfile::TempDir, Root) {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir_all(outer.path().join("root/dir/dir")).unwrap();
        fs::write(outer.path().join("secret"), "s").unwrap();
        fs::write(outer.path().join("root/dir/dir/file"), "f").unwrap();
        symlink("../secret", outer.path().join("root/file-link")).unwrap();
        symlink("..", outer.path().join("root/dir-link")).unwrap();
        symlink("dir", outer.path().join("root/inner-link")).unwrap();
        let root = Root::open(&outer.path().join("root")).unwrap();
        (outer, root)
    }

    #[test]
    fn inner_paths_open() {
        let (_outer, root) = tree();
        for open in OPENERS {
            open(&root, "dir/dir/file", OFlags::RDONLY).unwrap();
            open(&root, "dir/dir", DIRECTORY).unwrap();
            open(&root, ".", DIRECTORY).unwrap();
        }
    }

    #[test]
    fn nothing_leads_outside() {
        let (_outer, root) = tree();
        for open in OPENERS {
            for path in [
                "../secret",
                "file-link",
                "dir-link/secret",
                "dir/../../secret",
                "inner-link/dir/file",
            ] {
                let error = open(&root, path, OFlags::RDONLY).unwrap_err();
                assert!(is_gone(error), "{path}: {error}");
            }
        }
    }

    #[test]
    fn a_missing_root_is_located() {
        let error = Root::open(Path::new("/nonexistent/context")).unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("open directory /nonexistent/context: "),
            "{error}"
        );
    }
}
