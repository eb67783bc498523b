//! Extended attributes of directory entries.
//!
//! All attributes that can be read are sent, as by other BuildKit clients, except those that only mean something on the
//! machine they come from.
//!
//! There is no `llistxattrat` (before Linux 6.13), so the path goes through the open directory's entry in `/proc`, which
//! a swapped parent directory cannot redirect. Without `/proc` no attributes are sent. One entry without attributes
//! costs one system call and no allocation.

use std::collections::BTreeMap;
use std::ffi::CStr;
use std::os::fd::{AsRawFd, OwnedFd};

use bytes::Bytes;
use rustix::io::Errno;
use rustix::path::DecInt;

use crate::backend::session::beneath::Root;

/// Linux bounds both a list of attribute names and one attribute value to 64 KiB.
const XATTR_MAX: usize = 64 * 1024;

/// Attributes that are left out.
const SKIPPED_PREFIX: &str = "com.apple.";

/// A reader of attributes and its buffers.
pub(crate) struct Xattrs {
    usable: bool,
    /// `/proc/self/fd/N/name`, rebuilt in place for each entry.
    path: Vec<u8>,
    names: Box<[u8]>,
    value: Box<[u8]>,
}

impl Xattrs {
    /// Finds out whether attributes can be read.
    pub(crate) fn new(root: &Root) -> Self {
        let usable = rustix::fs::stat(format!("/proc/self/fd/{}/.", root.fd().as_raw_fd())).is_ok();
        if !usable {
            tracing::warn!(
                "/proc is not available: extended attributes of local files are not sent"
            );
        }
        let buffer = || vec![0; XATTR_MAX].into_boxed_slice();
        Self {
            usable,
            path: Vec::new(),
            names: buffer(),
            value: buffer(),
        }
    }

    /// The attributes of `name` in an open directory.
    pub(crate) fn read(
        &mut self,
        directory: &OwnedFd,
        name: &CStr,
    ) -> Result<BTreeMap<String, Bytes>, Errno> {
        let mut xattrs = BTreeMap::new();
        if !self.usable {
            return Ok(xattrs);
        }
        self.path.clear();
        self.path.extend_from_slice(b"/proc/self/fd/");
        self.path
            .extend_from_slice(DecInt::from_fd(directory).as_bytes());
        self.path.push(b'/');
        self.path.extend_from_slice(name.to_bytes());
        let length = match rustix::fs::llistxattr(self.path.as_slice(), &mut *self.names) {
            Ok(length) => length,
            Err(Errno::OPNOTSUPP) => 0,
            Err(e) => return Err(e),
        };
        for key in self.names[..length].split(|b| *b == 0) {
            let Ok(key) = std::str::from_utf8(key) else {
                continue;
            };
            if key.is_empty() || key.starts_with(SKIPPED_PREFIX) {
                continue;
            }
            // A listed attribute that cannot be read needs a privilege we do not have; the others still count.
            if let Ok(length) = rustix::fs::lgetxattr(self.path.as_slice(), key, &mut *self.value) {
                xattrs.insert(
                    key.to_owned(),
                    Bytes::copy_from_slice(&self.value[..length]),
                );
            }
        }
        Ok(xattrs)
    }
}
