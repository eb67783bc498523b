//! Places below a directory, reached through file descriptors so that no entry can leave it.
//!
//! A layer may contain `lib -> usr/lib` and a later one `lib/x.so`, which must land in
//! `usr/lib/x.so`. So links in the *parent* of an entry are followed, but by the kernel and with
//! the target directory as the root (`openat2` with `RESOLVE_IN_ROOT`): an absolute link or any
//! number of `..` stays inside, and there is no moment at which a checked path can change before
//! it is used. The *last* component is never followed: it is created, replaced or removed
//! relative to the descriptor of its parent.

use std::ffi::{OsStr, OsString};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

/// Most dangling links followed while creating missing parents.
const LINKS_MAX: usize = 40;

/// A directory that confines everything below it.
pub(super) struct Root {
    fd: OwnedFd,
    /// The parent used last: entries of an archive come directory by directory.
    cached: Option<(PathBuf, Arc<Parent>)>,
}

/// An open directory below the root.
pub(super) struct Parent {
    pub(super) fd: OwnedFd,
    /// Inode; identifies the directory whatever links led to it.
    pub(super) inode: u64,
}

impl Root {
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            fd: rustix::fs::open(path, flags, Mode::empty())?,
            cached: None,
        })
    }

    /// Must be called when something that may be part of a path was removed.
    pub(super) fn forget(&mut self) {
        self.cached = None;
    }

    /// The directory at `path`, which must exist.
    pub(super) fn existing(&mut self, path: &Path) -> io::Result<Arc<Parent>> {
        self.cached(path, |root| root.resolve(path).map_err(explain))
    }

    /// The directory at `path`; missing directories are created with mode 0755.
    pub(super) fn create(&mut self, path: &Path) -> io::Result<Arc<Parent>> {
        self.cached(path, |root| root.create_all(path))
    }

    fn cached(
        &mut self,
        path: &Path,
        open: impl FnOnce(&Self) -> io::Result<OwnedFd>,
    ) -> io::Result<Arc<Parent>> {
        if let Some((known, parent)) = &self.cached
            && known == path
        {
            return Ok(Arc::clone(parent));
        }
        let fd = open(self)?;
        let inode = rustix::fs::fstat(&fd)?.st_ino;
        let parent = Arc::new(Parent { fd, inode });
        self.cached = Some((path.to_owned(), Arc::clone(&parent)));
        Ok(parent)
    }

    /// Opens a directory, links followed within the root.
    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() {
            Path::new(".")
        } else {
            path
        };
        loop {
            let opened = rustix::fs::openat2(
                &self.fd,
                path,
                OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
                Mode::empty(),
                ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
            );
            match opened {
                // The kernel gives up when something is renamed meanwhile, and asks to retry.
                Err(Errno::AGAIN) => {}
                result => return result,
            }
        }
    }

    fn create_all(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.resolve(path) {
            Err(Errno::NOENT) => {}
            result => return result.map_err(explain),
        }
        let mut wanted = path.to_owned();
        for _ in 0..LINKS_MAX {
            match self.create_or_redirect(&wanted)? {
                Ok(fd) => return Ok(fd),
                Err(redirect) => wanted = redirect,
            }
        }
        Err(Errno::LOOP.into())
    }

    /// Creates what is missing of `path`; when a dangling link is in the way, returns the path it
    /// leads to instead, since that is where the directory has to be made.
    fn create_or_redirect(&self, path: &Path) -> io::Result<Result<OwnedFd, PathBuf>> {
        let mut done = PathBuf::new();
        let mut parent = self.resolve(&done).map_err(explain)?;
        let mut rest = path.components();
        while let Some(component) = rest.next() {
            let before = done.clone();
            done.push(component);
            match self.resolve(&done) {
                Ok(fd) => {
                    parent = fd;
                    continue;
                }
                Err(Errno::NOENT) => {}
                Err(e) => return Err(explain(e)),
            }
            match rustix::fs::mkdirat(&parent, component.as_os_str(), Mode::from(0o755)) {
                Ok(()) => parent = self.resolve(&done).map_err(explain)?,
                Err(Errno::EXIST) => {
                    let target = read_link(&parent, component.as_os_str())?;
                    return Ok(Err(before.join(target).join(rest.as_path())));
                }
                Err(e) => return Err(e.into()),
            }
        }
        Ok(Ok(parent))
    }
}

/// `openat2` is in Linux since 5.6, but some sandboxes hide it.
fn explain(error: Errno) -> io::Error {
    if error == Errno::NOSYS {
        io::Error::new(
            io::ErrorKind::Unsupported,
            "this system has no openat2, which confined extraction needs (Linux 5.6 or newer)",
        )
    } else {
        error.into()
    }
}

fn read_link(parent: &OwnedFd, name: &OsStr) -> io::Result<PathBuf> {
    let target = rustix::fs::readlinkat(parent, name, Vec::new())?;
    // Relative to the root either way: joining an absolute target would replace the path, which
    // is what an absolute link means, and the root is stripped when it is resolved.
    Ok(PathBuf::from(OsString::from_vec(target.into_bytes())))
}

/// Type of an entry, not followed; `None` when there is none.
pub(super) fn file_type(parent: &OwnedFd, name: &OsStr) -> io::Result<Option<FileType>> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(e) => Err(e.into()),
    }
}

/// Opens a directory by its name, not followed.
pub(super) fn open_dir(parent: &OwnedFd, name: &OsStr) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    Ok(rustix::fs::openat(parent, name, flags, Mode::empty())?)
}

/// Names in an open directory, with whether each is itself a directory.
pub(super) fn names(dir: &OwnedFd) -> io::Result<Vec<(OsString, bool)>> {
    let mut found = Vec::new();
    for entry in Dir::read_from(dir)? {
        let entry = entry?;
        let name = OsString::from_vec(entry.file_name().to_bytes().to_vec());
        if name == "." || name == ".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => file_type(dir, &name)?,
            kind => Some(kind),
        };
        found.push((name, kind == Some(FileType::Directory)));
    }
    Ok(found)
}

/// Removes an entry and everything below it; absent is fine. Links are removed, not followed.
pub(super) fn remove(parent: &OwnedFd, name: &OsStr) -> io::Result<()> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        // Linux says ISDIR, POSIX PERM.
        Err(Errno::ISDIR | Errno::PERM) => {}
        Err(e) => return Err(e.into()),
    }
    // Directories still to empty, deepest last. Each is visited twice: once to empty it and
    // queue its subdirectories, once more, when those are gone, to remove it. Opening by path
    // keeps the number of open descriptors at one whatever the depth.
    let mut pending = vec![PathBuf::from(name)];
    while let Some(path) = pending.last().cloned() {
        let dir = open_beneath(parent, &path)?;
        let mut subdirs = Vec::new();
        for (child, is_dir) in names(&dir)? {
            if is_dir {
                subdirs.push(path.join(child));
            } else {
                rustix::fs::unlinkat(&dir, &child, AtFlags::empty())?;
            }
        }
        if subdirs.is_empty() {
            rustix::fs::unlinkat(parent, &path, AtFlags::REMOVEDIR)?;
            pending.pop();
        } else {
            pending.append(&mut subdirs);
        }
    }
    Ok(())
}

/// Opens a directory below `parent` without following any link.
pub(super) fn open_beneath(parent: &OwnedFd, path: &Path) -> io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(parent, path, flags, Mode::empty(), resolve).map_err(explain)
}
