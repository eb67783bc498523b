//! Extraction below a directory.
//!
//! Entries are created in the order of the archive. An entry replaces whatever has its name,
//! except that a directory keeps an existing directory. Mode, times and attributes of
//! directories are set at the end, deepest first, since creating entries changes the times of
//! their parent and a read-only parent would stop an ordinary user.
//!
//! Whiteouts delete what was there *before* this archive: deleting is harmless for names this
//! archive has written itself, so those are remembered (by the inode of their directory and
//! their name) and spared by an opaque marker, wherever in the directory it comes.
//!
//! After an error the directory holds part of the archive; callers extract into a fresh
//! directory and rename it, or throw it away.

use std::collections::{BTreeMap, HashSet};
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid};
use rustix::io::Errno;

use super::place::{self, Parent, Root};
use super::{Devices, Entry, Owner, Policy, Reader, TarError, Whiteout, Whiteouts, XattrPolicy};
use crate::tree::{Kind, Meta, Time, Xattrs};

/// What an extraction did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Extracted {
    /// Entries read, whiteouts included.
    pub entries: u64,
    /// Bytes of file data written.
    pub bytes: u64,
}

/// Extracts every entry of the archive below `root`, which must exist.
///
/// # Errors
/// [`TarError`] naming the entry; entries before it have been created.
pub fn extract<R: Read>(
    reader: &mut Reader<R>,
    root: &Path,
    policy: &Policy,
) -> Result<Extracted, TarError> {
    let mut extraction = Extraction {
        root: Root::open(root).map_err(failed("open", root))?,
        policy,
        dirs: BTreeMap::new(),
        written: HashSet::new(),
        done: Extracted::default(),
        buffer: vec![0; 128 * 1024],
    };
    while let Some(entry) = reader.next_entry()? {
        extraction.count(&entry)?;
        extraction.entry(&entry, reader)?;
    }
    extraction.finish_dirs()?;
    Ok(extraction.done)
}

struct Extraction<'p> {
    root: Root,
    policy: &'p Policy,
    /// Directories of the archive with what they shall look like in the end.
    dirs: BTreeMap<PathBuf, Meta>,
    /// Names written by this archive: inode of the directory, name.
    written: HashSet<(u64, OsString)>,
    done: Extracted,
    buffer: Vec<u8>,
}

fn failed<'a>(action: &'static str, path: &'a Path) -> impl Fn(io::Error) -> TarError + 'a {
    move |source| TarError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

fn refuse(path: &Path, reason: &str) -> TarError {
    TarError::Entry {
        path: super::quote(path.as_os_str().as_bytes()),
        reason: reason.to_owned(),
    }
}

impl Extraction<'_> {
    /// Enforces the limits before anything is created.
    fn count(&mut self, entry: &Entry) -> Result<(), TarError> {
        let limits = self.policy.limits;
        self.done.entries += 1;
        self.done.bytes = self.done.bytes.saturating_add(entry.meta.size());
        let over = |what, limit| Err(TarError::Limit { what, limit });
        if self.done.entries > limits.entries {
            return over("entries", limits.entries);
        }
        if self.done.bytes > limits.bytes {
            return over("bytes", limits.bytes);
        }
        Ok(())
    }

    fn entry<R: Read>(&mut self, entry: &Entry, reader: &mut Reader<R>) -> Result<(), TarError> {
        let path = &entry.path;
        let Some(name) = path.file_name() else {
            if !entry.meta.is_dir() {
                return Err(refuse(path, "the root must be a directory"));
            }
            self.dirs.insert(PathBuf::new(), entry.meta.clone());
            return Ok(());
        };
        let dir = path.parent().unwrap_or(Path::new(""));
        if let Some(whiteout) = Whiteout::parse(name) {
            match self.policy.whiteouts {
                Whiteouts::Apply => return self.whiteout(dir, &whiteout, path),
                Whiteouts::Refuse => return Err(refuse(path, "whiteouts are not allowed here")),
                Whiteouts::Literal => {}
            }
        }
        let device = matches!(entry.meta.kind, Kind::Char { .. } | Kind::Block { .. });
        match self.policy.devices {
            Devices::Skip if device => return Ok(()),
            Devices::Refuse if device => return Err(refuse(path, "devices are not allowed here")),
            _ => {}
        }
        let parent = self
            .root
            .create(dir)
            .map_err(failed("create the parent of", path))?;
        self.make_room(&parent, name, entry)?;
        if self.policy.whiteouts == Whiteouts::Apply {
            self.written.insert((parent.inode, name.to_owned()));
        }
        if let Some(target) = &entry.hard_link {
            return self.hard_link(&parent, name, path, target);
        }
        match &entry.meta.kind {
            Kind::Dir => {
                self.dirs.insert(path.clone(), entry.meta.clone());
                Ok(())
            }
            Kind::File { .. } => self.file(&parent, name, entry, reader),
            _ => self.special(&parent, name, entry),
        }
    }

    /// Removes what has the name of the entry, and creates the directory if it is one.
    fn make_room(&mut self, parent: &Parent, name: &OsStr, entry: &Entry) -> Result<(), TarError> {
        let path = &entry.path;
        let existing = place::file_type(&parent.fd, name).map_err(failed("inspect", path))?;
        let is_dir = entry.meta.is_dir() && entry.hard_link.is_none();
        match existing {
            Some(FileType::Directory) if is_dir => return Ok(()),
            Some(_) => {
                // A link to its own name would delete the only copy.
                if entry.hard_link.as_deref() == Some(path) {
                    return Err(refuse(path, "a hard link to itself"));
                }
                place::remove(&parent.fd, name).map_err(failed("replace", path))?;
                self.root.forget();
                self.dirs.retain(|dir, _| !dir.starts_with(path));
            }
            None => {}
        }
        if is_dir {
            rustix::fs::mkdirat(&parent.fd, name, Mode::from(0o700))
                .map_err(|e| failed("create", path)(e.into()))?;
        }
        Ok(())
    }

    fn whiteout(&mut self, dir: &Path, kind: &Whiteout<'_>, path: &Path) -> Result<(), TarError> {
        if let Whiteout::Delete(name) = kind
            && matches!(name.as_bytes(), b"" | b"." | b"..")
        {
            return Err(refuse(path, "a whiteout of nothing"));
        }
        let parent = match self.root.existing(dir) {
            Ok(parent) => parent,
            // Nothing there, nothing to delete.
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(());
            }
            Err(e) => return Err(failed("open the parent of", path)(e)),
        };
        let result = match kind {
            Whiteout::Reserved => return Ok(()),
            Whiteout::Delete(name) => {
                if self.written.contains(&(parent.inode, (*name).to_owned())) {
                    return Ok(());
                }
                place::remove(&parent.fd, name)
            }
            Whiteout::Opaque => self.clear(&parent),
        };
        self.root.forget();
        result.map_err(failed("apply the whiteout", path))
    }

    /// Removes everything below a directory that this archive has not written.
    fn clear(&self, dir: &Parent) -> io::Result<()> {
        // By path, so that one descriptor is open at a time however many directories there are.
        let mut pending = vec![PathBuf::from(".")];
        while let Some(path) = pending.pop() {
            let fd = place::open_beneath(&dir.fd, &path)?;
            let inode = rustix::fs::fstat(&fd)?.st_ino;
            for (name, is_dir) in place::names(&fd)? {
                if !self.written.contains(&(inode, name.clone())) {
                    place::remove(&fd, &name)?;
                } else if is_dir {
                    pending.push(path.join(name));
                }
            }
        }
        Ok(())
    }

    fn hard_link(
        &mut self,
        parent: &Parent,
        name: &OsStr,
        path: &Path,
        target: &Path,
    ) -> Result<(), TarError> {
        let Some(target_name) = target.file_name() else {
            return Err(refuse(path, "a hard link to the root"));
        };
        let missing = |e| failed("find the target of the hard link", path)(e);
        let target_dir = target.parent().unwrap_or(Path::new(""));
        let from = self.root.existing(target_dir).map_err(missing)?;
        match place::file_type(&from.fd, target_name).map_err(missing)? {
            None => return Err(missing(io::ErrorKind::NotFound.into())),
            Some(FileType::Directory) => return Err(refuse(path, "a hard link to a directory")),
            Some(_) => {}
        }
        rustix::fs::linkat(&from.fd, target_name, &parent.fd, name, AtFlags::empty())
            .map_err(|e| failed("link", path)(e.into()))
    }

    fn file<R: Read>(
        &mut self,
        parent: &Parent,
        name: &OsStr,
        entry: &Entry,
        reader: &mut Reader<R>,
    ) -> Result<(), TarError> {
        let path = &entry.path;
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&parent.fd, name, flags, Mode::from(0o600))
            .map_err(|e| failed("create", path)(e.into()))?;
        let mut file = File::from(fd);
        loop {
            let count = reader.read(&mut self.buffer).map_err(|e| {
                if e.kind() == io::ErrorKind::UnexpectedEof {
                    TarError::Truncated(format!("in the data of `{}`: {e}", path.display()))
                } else {
                    TarError::Stream(e)
                }
            })?;
            if count == 0 {
                break;
            }
            file.write_all(&self.buffer[..count])
                .map_err(failed("write", path))?;
        }
        self.decorate(&OwnedFd::from(file), &entry.meta)
            .map_err(failed("set the metadata of", path))
    }

    /// Symbolic links, devices and pipes: everything that is set without opening the entry.
    fn special(&mut self, parent: &Parent, name: &OsStr, entry: &Entry) -> Result<(), TarError> {
        let path = &entry.path;
        let meta = &entry.meta;
        let node = |kind, device| {
            rustix::fs::mknodat(&parent.fd, name, kind, Mode::from(meta.mode), device)
        };
        let created = match &meta.kind {
            Kind::Symlink { target } => rustix::fs::symlinkat(target, &parent.fd, name),
            Kind::Char { major, minor } => node(
                FileType::CharacterDevice,
                rustix::fs::makedev(*major, *minor),
            ),
            Kind::Block { major, minor } => {
                node(FileType::BlockDevice, rustix::fs::makedev(*major, *minor))
            }
            Kind::Fifo => node(FileType::Fifo, 0),
            Kind::Socket | Kind::File { .. } | Kind::Dir => Err(Errno::INVAL),
        };
        created.map_err(|e| failed("create", path)(e.into()))?;
        self.decorate_by_name(&parent.fd, name, meta)
            .map_err(failed("set the metadata of", path))
    }

    fn owner(&self, meta: &Meta) -> Option<(Uid, Gid)> {
        let (uid, gid) = match self.policy.owner {
            Owner::Current => return None,
            Owner::Preserve => (meta.uid, meta.gid),
            Owner::Fixed { uid, gid } => (uid, gid),
        };
        Some((Uid::from_raw(uid), Gid::from_raw(gid)))
    }

    /// Owner first, since changing it clears setuid bits and capabilities; time last.
    fn decorate(&self, fd: &OwnedFd, meta: &Meta) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner(meta) {
            rustix::fs::fchown(fd, Some(uid), Some(gid))?;
        }
        rustix::fs::fchmod(fd, Mode::from(meta.mode))?;
        self.set_xattrs(&meta.xattrs, |name, value| {
            rustix::fs::fsetxattr(fd, name, value, rustix::fs::XattrFlags::empty())
        })?;
        rustix::fs::futimens(fd, &timestamps(meta.mtime))?;
        Ok(())
    }

    fn decorate_by_name(&self, parent: &OwnedFd, name: &OsStr, meta: &Meta) -> io::Result<()> {
        if let Some((uid, gid)) = self.owner(meta) {
            let nofollow = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(parent, name, Some(uid), Some(gid), nofollow)?;
        }
        // The umask may have taken bits; links have no mode of their own.
        if !matches!(meta.kind, Kind::Symlink { .. }) {
            rustix::fs::chmodat(parent, name, Mode::from(meta.mode), AtFlags::empty())?;
        }
        // There is no `setxattrat` yet; the descriptor's directory in /proc is the same place.
        let path = PathBuf::from(format!("/proc/self/fd/{}", parent.as_raw_fd())).join(name);
        self.set_xattrs(&meta.xattrs, |name, value| {
            rustix::fs::lsetxattr(&path, name, value, rustix::fs::XattrFlags::empty())
        })?;
        let times = timestamps(meta.mtime);
        rustix::fs::utimensat(parent, name, &times, AtFlags::SYMLINK_NOFOLLOW)?;
        Ok(())
    }

    fn set_xattrs(
        &self,
        xattrs: &Xattrs,
        set: impl Fn(&[u8], &[u8]) -> Result<(), Errno>,
    ) -> io::Result<()> {
        if self.policy.xattrs == XattrPolicy::Skip {
            return Ok(());
        }
        for (name, value) in xattrs {
            match set(name, value) {
                Ok(()) => {}
                Err(Errno::NOTSUP | Errno::PERM | Errno::ACCESS)
                    if self.policy.xattrs == XattrPolicy::BestEffort => {}
                Err(e) => {
                    let text = format!("attribute {}: {e}", String::from_utf8_lossy(name));
                    return Err(io::Error::new(io::Error::from(e).kind(), text));
                }
            }
        }
        Ok(())
    }

    /// Deepest first.
    fn finish_dirs(&mut self) -> Result<(), TarError> {
        for (path, meta) in std::mem::take(&mut self.dirs).into_iter().rev() {
            let fail = failed("set the metadata of", &path);
            // A later entry of the archive may have removed or replaced it.
            if let Some(fd) = self.created_dir(&path).map_err(&fail)? {
                self.decorate(&fd, &meta).map_err(&fail)?;
            }
        }
        Ok(())
    }

    fn created_dir(&mut self, path: &Path) -> io::Result<Option<OwnedFd>> {
        let opened = match path.file_name() {
            None => self
                .root
                .existing(path)
                .and_then(|root| Ok(rustix::io::dup(&root.fd)?)),
            Some(name) => self
                .root
                .existing(path.parent().unwrap_or(Path::new("")))
                .and_then(|parent| place::open_dir(&parent.fd, name)),
        };
        match opened {
            Ok(fd) => Ok(Some(fd)),
            Err(e) => match Errno::from_io_error(&e) {
                Some(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
                _ => Err(e),
            },
        }
    }
}

fn timestamps(time: Time) -> Timestamps {
    let spec = Timespec {
        tv_sec: time.secs,
        tv_nsec: time.nanos.into(),
    };
    Timestamps {
        last_access: spec,
        last_modification: spec,
    }
}
