//! A real directory as a [`Tree`].

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use super::{Kind, MODE_MASK, Meta, Time, Tree, Xattrs};

/// A directory on disk. Owners and times are reported as they are on disk.
#[derive(Debug, Clone)]
pub struct DirTree {
    root: PathBuf,
}

impl DirTree {
    /// The tree below `root`. If `root` is a symbolic link to a directory it is followed, once, here.
    ///
    /// # Errors
    /// When `root` does not exist or is no directory.
    pub fn new(root: impl AsRef<Path>) -> io::Result<Self> {
        let root = root.as_ref().canonicalize()?;
        if root.is_dir() {
            Ok(Self { root })
        } else {
            Err(io::ErrorKind::NotADirectory.into())
        }
    }

    /// The directory, absolute.
    pub fn root(&self) -> &Path {
        &self.root
    }

    fn full(&self, path: &Path) -> PathBuf {
        // Joining an empty path would add a slash, which would follow a link.
        if path.as_os_str().is_empty() {
            self.root.clone()
        } else {
            self.root.join(path)
        }
    }
}

/// Describes an entry of the file system without following it.
pub(crate) fn describe(full: &Path) -> io::Result<Meta> {
    let stat = std::fs::symlink_metadata(full)?;
    let kind = stat.file_type();
    let device = || {
        (
            rustix::fs::major(stat.rdev()),
            rustix::fs::minor(stat.rdev()),
        )
    };
    let kind = if kind.is_file() {
        Kind::File { size: stat.len() }
    } else if kind.is_dir() {
        Kind::Dir
    } else if kind.is_symlink() {
        let target = std::fs::read_link(full)?;
        Kind::Symlink { target }
    } else if kind.is_char_device() {
        let (major, minor) = device();
        Kind::Char { major, minor }
    } else if kind.is_block_device() {
        let (major, minor) = device();
        Kind::Block { major, minor }
    } else if kind.is_fifo() {
        Kind::Fifo
    } else {
        Kind::Socket
    };
    Ok(Meta {
        kind,
        mode: stat.mode() & MODE_MASK,
        uid: stat.uid(),
        gid: stat.gid(),
        mtime: Time {
            secs: stat.mtime(),
            nanos: u32::try_from(stat.mtime_nsec()).unwrap_or(0),
        },
        xattrs: xattrs(full)?,
    })
}

fn xattrs(full: &Path) -> io::Result<Xattrs> {
    let names = match xattr::list(full) {
        Ok(names) => names,
        // A file system without attributes has none.
        Err(e) if e.kind() == io::ErrorKind::Unsupported => return Ok(Xattrs::new()),
        Err(e) => return Err(e),
    };
    let mut found = Xattrs::new();
    for name in names {
        // An attribute that is listed but not readable (trusted.*) is as good as absent.
        if let Ok(Some(value)) = xattr::get(full, &name) {
            found.insert(name.as_bytes().to_vec(), value);
        }
    }
    Ok(found)
}

impl Tree for DirTree {
    fn stat(&self, path: &Path) -> io::Result<Meta> {
        describe(&self.full(path))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<OsString>> {
        let mut names = std::fs::read_dir(self.full(dir))?
            .map(|entry| entry.map(|entry| entry.file_name()))
            .collect::<io::Result<Vec<_>>>()?;
        names.sort_unstable();
        Ok(names)
    }

    fn open(&self, path: &Path) -> io::Result<Box<dyn Read + Send + '_>> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
        let file = File::from(rustix::fs::open(self.full(path), flags, Mode::empty())?);
        if file.metadata()?.is_file() {
            Ok(Box::new(file))
        } else {
            Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "not a regular file",
            ))
        }
    }

    fn link_group(&self, path: &Path) -> io::Result<Option<(u64, u64)>> {
        let stat = std::fs::symlink_metadata(self.full(path))?;
        Ok((stat.nlink() > 1 && !stat.is_dir()).then(|| (stat.dev(), stat.ino())))
    }
}
