//! Extended attributes of directory entries.
//!
//! All attributes that can be read are sent, as by other BuildKit clients, except those that only mean something on the
//! machine they come from.
//!
//! There is no `llistxattrat` (before Linux 6.13), so the path goes through the open directory's entry in `/proc`, which
//! a swapped parent directory cannot redirect. Without `/proc` no attributes are sent. One entry without attributes
//! costs one system call and no allocation.

use std::ffi::{CStr, CString};
use std::os::fd::{AsRawFd, OwnedFd};

use rustix::io::Errno;
use rustix::path::DecInt;

use crate::beneath::Root;
use crate::tree::Xattrs;

/// Linux bounds both a list of attribute names and one attribute value to 64 KiB.
const XATTR_MAX: usize = 64 * 1024;

/// Attributes that are left out.
const SKIPPED_PREFIX: &str = "com.apple.";

/// A reader of attributes and its buffers.
pub(super) struct Reader {
    usable: bool,
    /// `/proc/self/fd/N/name`, rebuilt in place for each entry.
    path: Vec<u8>,
    names: Box<[u8]>,
    value: Box<[u8]>,
}

impl Reader {
    /// A reader for entries below `root`.
    pub(super) fn new(root: &Root) -> Self {
        let buffer = || vec![0; XATTR_MAX].into_boxed_slice();
        Self {
            usable: readable(root),
            path: Vec::new(),
            names: buffer(),
            value: buffer(),
        }
    }

    /// The attributes of `name` in an open directory.
    pub(super) fn read(&mut self, directory: &OwnedFd, name: &CStr) -> Result<Xattrs, Errno> {
        if !self.usable {
            return Ok(Xattrs::new());
        }
        self.path.clear();
        self.path.extend_from_slice(b"/proc/self/fd/");
        self.path
            .extend_from_slice(DecInt::from_fd(directory).as_bytes());
        self.path.push(b'/');
        self.path.extend_from_slice(name.to_bytes());
        let path = self.path.as_slice();
        let length = match rustix::fs::llistxattr(path, &mut *self.names) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(e) => return Err(e),
        };
        let value = &mut *self.value;
        Ok(collect(&self.names[..length], |key| {
            let length = rustix::fs::lgetxattr(path, key, &mut *value).ok()?;
            Some(value[..length].to_vec())
        }))
    }

    /// [`Reader::read`] for a name that may hold anything but a NUL.
    pub(super) fn read_name(&mut self, directory: &OwnedFd, name: &str) -> Result<Xattrs, Errno> {
        let name = CString::new(name).map_err(|_| Errno::NOENT)?;
        self.read(directory, &name)
    }

    /// The attributes of an open file: the same answer for less work.
    pub(super) fn read_open(&mut self, file: &OwnedFd) -> Result<Xattrs, Errno> {
        if !self.usable {
            return Ok(Xattrs::new());
        }
        let length = match rustix::fs::flistxattr(file, &mut *self.names) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(e) => return Err(e),
        };
        let value = &mut *self.value;
        Ok(collect(&self.names[..length], |key| {
            let length = rustix::fs::fgetxattr(file, key, &mut *value).ok()?;
            Some(value[..length].to_vec())
        }))
    }
}

/// Can attributes be read at all? They are reached through `/proc`.
pub fn readable(root: &Root) -> bool {
    rustix::fs::stat(format!("/proc/self/fd/{}/.", root.fd().as_raw_fd())).is_ok()
}

/// Reads the value of each listed attribute that counts. One that is listed but cannot be read needs a privilege we do
/// not have; the others still count.
fn collect(names: &[u8], mut value: impl FnMut(&str) -> Option<Vec<u8>>) -> Xattrs {
    names
        .split(|b| *b == 0)
        .filter_map(|key| std::str::from_utf8(key).ok())
        .filter(|key| !key.is_empty() && !key.starts_with(SKIPPED_PREFIX))
        .filter_map(|key| Some((key.as_bytes().to_vec(), value(key)?)))
        .collect()
}
