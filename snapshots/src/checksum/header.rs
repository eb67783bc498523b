//! The header bytes of an entry: the text of "tarsum v1" without name and modification time.
//!
//! `name` `mode` `uid` `gid` `size` `typeflag` `linkname` `uname` `gname` `devmajor` `devminor`,
//! each key followed by its value in decimal or as text, without separators; then the extended
//! attributes by name, name and value. Names of users are always empty.

use std::io::Write;
use std::os::unix::ffi::OsStrExt;

use super::sum::{Sum, Summer};
use super::{Origin, Profile};
use crate::tree::{Kind, Meta};

/// A hasher that has seen the header of an entry; a regular file's data follows.
pub(crate) fn summer(meta: &Meta, profile: &Profile) -> Summer {
    let mut summer = Summer::default();
    summer.update(&bytes(meta, profile));
    summer
}

/// The digest of the root's header.
pub(super) fn root(meta: &Meta, profile: &Profile) -> Sum {
    match profile.origin {
        // Never announced, so nothing was hashed.
        Origin::Transfer => Summer::default().finish(),
        Origin::Scan => summer(meta, profile).finish(),
    }
}

/// The header bytes of an entry.
pub(crate) fn bytes(meta: &Meta, profile: &Profile) -> Vec<u8> {
    let devices = profile.origin == Origin::Transfer || profile.rules.scan_devices;
    let (typeflag, device) = match &meta.kind {
        // A socket loses its type and is an empty regular file.
        Kind::File { .. } | Kind::Socket => ('0', (0, 0)),
        Kind::Symlink { .. } => ('2', (0, 0)),
        Kind::Char { major, minor } => ('3', (*major, *minor)),
        Kind::Block { major, minor } => ('4', (*major, *minor)),
        Kind::Dir => ('5', (0, 0)),
        Kind::Fifo => ('6', (0, 0)),
    };
    let (major, minor) = if devices { device } else { (0, 0) };
    let (mode, link) = match &meta.kind {
        Kind::Symlink { target } => (meta.mode | 0o777, target.as_os_str().as_bytes()),
        _ => (meta.mode, &b""[..]),
    };
    let (uid, gid, size) = (meta.uid, meta.gid, meta.size());
    let mut out = Vec::with_capacity(128);
    // Writing to a vector cannot fail.
    let _ = write!(
        out,
        "namemode{mode}uid{uid}gid{gid}size{size}typeflag{typeflag}linkname"
    );
    out.extend_from_slice(link);
    let _ = write!(out, "unamegnamedevmajor{major}devminor{minor}");
    for (name, value) in &meta.xattrs {
        if is_hashed(name) {
            out.extend_from_slice(name);
            out.extend_from_slice(value);
        }
    }
    out
}

/// Security labels and ACLs belong to the machine, capabilities to the file.
pub(crate) fn is_hashed(xattr: &[u8]) -> bool {
    xattr == b"security.capability"
        || !(xattr.starts_with(b"security.") || xattr.starts_with(b"system."))
}
