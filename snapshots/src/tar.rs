//! Tar archives: a strict reader, a deterministic writer, and a confined extraction.
//!
//! * [`Reader`] (`tar/read.rs`) understands ustar, PAX and GNU long names. It never trusts a
//!   header: every size is bounded, paths are normalised, `..` and NUL are refused.
//! * [`Writer`] (`tar/write.rs`) writes the same bytes for the same entries: ustar where that can
//!   express the entry, a PAX header where it cannot.
//! * [`extract()`] (`tar/extract.rs`) creates entries below a directory and nowhere else.
//!
//! In a layer a file named `.wh.NAME` deletes NAME from the layers below, and `.wh..wh..opq`
//! deletes everything in its directory; [`Whiteout`] is that convention.

mod extract;
mod field;
mod place;
mod policy;
mod read;
mod records;
mod write;

use std::ffi::OsStr;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;

use thiserror::Error;

pub use extract::{Extracted, extract};
pub use policy::{Devices, Limits, Owner, Policy, Whiteouts, XattrPolicy};
pub use read::Reader;
pub(crate) use read::normalise;
pub use write::Writer;

use crate::tree::Meta;

/// Size of a header and unit of all padding, in bytes.
pub(crate) const BLOCK: usize = 512;

/// Longest path or link target, in bytes: the kernel's PATH_MAX less its NUL.
pub const PATH_LEN_MAX: usize = 4095;

/// Largest PAX or GNU extension of one entry, in bytes. Extended attributes live there, and the
/// kernel allows 64 KiB for each.
pub const EXTENSION_SIZE_MAX: u64 = 1024 * 1024;

/// What can be wrong with an archive, or with writing or extracting one.
#[derive(Debug, Error)]
pub enum TarError {
    /// The archive ends within an entry.
    #[error("archive is truncated: {0}")]
    Truncated(String),
    /// A header does not follow the format.
    #[error("bad tar header at byte {offset}: {reason}")]
    Header {
        /// Where the header starts in the archive.
        offset: u64,
        /// What is wrong.
        reason: String,
    },
    /// A path that would leave the directory, or that no file system can hold.
    #[error("entry `{path}` is refused: {reason}")]
    Entry {
        /// The path as written, shortened.
        path: String,
        /// Why.
        reason: String,
    },
    /// Over a limit of the policy.
    #[error("archive exceeds the limit of {limit} {what}")]
    Limit {
        /// The unit: "entries", "bytes" ...
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The stream the archive comes from or goes to failed.
    #[error("archive: {0}")]
    Stream(#[from] io::Error),
    /// The file system refused an entry.
    #[error("cannot {action} `{path}`: {source}", path = path.display())]
    Io {
        /// "create", "link", "remove" ...
        action: &'static str,
        /// Path in the archive.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
}

/// One entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Normalised relative path; empty for the root directory itself.
    pub path: PathBuf,
    /// `Some` for a hard link: the normalised path of the other name. `meta` then describes
    /// what the header says, with a file kind of size 0.
    pub hard_link: Option<PathBuf>,
    /// Kind, mode, owner, time, attributes.
    pub meta: Meta,
}

/// The meaning of a file name in a layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whiteout<'a> {
    /// `.wh.NAME`: NAME is deleted.
    Delete(&'a OsStr),
    /// `.wh..wh..opq`: whatever lower layers have in this directory is deleted.
    Opaque,
    /// Another `.wh..wh.` name, bookkeeping of old union file systems without a meaning here.
    Reserved,
}

/// Prefix of the name of a whiteout.
pub const WHITEOUT_PREFIX: &str = ".wh.";

/// Name of the opaque marker.
pub const WHITEOUT_OPAQUE: &str = ".wh..wh..opq";

impl<'a> Whiteout<'a> {
    /// Reads a file name; `None` for an ordinary one.
    pub fn parse(name: &'a OsStr) -> Option<Self> {
        if name == WHITEOUT_OPAQUE {
            return Some(Self::Opaque);
        }
        let rest = name.as_bytes().strip_prefix(WHITEOUT_PREFIX.as_bytes())?;
        if rest.starts_with(WHITEOUT_PREFIX.as_bytes()) {
            Some(Self::Reserved)
        } else {
            Some(Self::Delete(OsStr::from_bytes(rest)))
        }
    }
}

/// A path for an error text: lossy, bounded.
fn quote(path: &[u8]) -> String {
    let text = String::from_utf8_lossy(path);
    match text.char_indices().nth(200) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.into_owned(),
    }
}

#[cfg(test)]
mod tests;
