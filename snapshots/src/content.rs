//! Blobs by digest.
//!
//! [`ContentProvider`] is the narrow door through which other crates see blobs: the solver serves
//! it to the daemon over the session, so that the daemon can pull an `oci-layout://` source or
//! push a cache export. It is object safe and synchronous: callers in async code read chunks on
//! a blocking thread.
//!
//! [`ContentStore`] (`content/store.rs`) is the provider used everywhere: an OCI image layout
//! directory. `content/ingest.rs` writes one blob: temporary file, hash while writing, verify,
//! fsync, rename. A blob that is visible is complete and correct.
//! [`Memory`] keeps a handful of blobs in memory (a manifest made on the fly, tests).

mod ingest;
mod memory;
mod store;

use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use thiserror::Error;

pub use ingest::Ingest;
pub use memory::Memory;
pub use store::{ContentStore, REF_NAME};

use crate::digest::{Digest, DigestError};

/// Largest blob that is read whole into memory: a manifest, an index, an image config (bytes).
/// Registries refuse manifests over 4 MiB; configs with long histories need some more.
pub const DOCUMENT_SIZE_MAX: u64 = 16 * 1024 * 1024;

/// Largest blob a writer accepts unless told otherwise (bytes): 256 GiB.
pub const BLOB_SIZE_MAX: u64 = 256 * 1024 * 1024 * 1024;

/// Most blobs [`ContentProvider::list`] returns.
pub const LIST_MAX: usize = 1_000_000;

/// What can go wrong with blobs.
#[derive(Debug, Error)]
pub enum ContentError {
    /// The blob is not there.
    #[error("blob {0} not found")]
    NotFound(Digest),
    /// The name is not a digest.
    #[error(transparent)]
    Digest(#[from] DigestError),
    /// The bytes are not those that the digest names.
    #[error("blob has digest {actual}, expected {expected}")]
    DigestMismatch {
        /// What was asked for.
        expected: Digest,
        /// What the bytes hash to.
        actual: Digest,
    },
    /// More or fewer bytes than announced.
    #[error("blob {name} has {actual} bytes, expected {expected}")]
    SizeMismatch {
        /// Digest of the blob, or what is known of it.
        name: String,
        /// Bytes announced.
        expected: u64,
        /// Bytes seen.
        actual: u64,
    },
    /// Over a limit.
    #[error("blob {name} is larger than the limit of {limit} bytes")]
    TooLarge {
        /// Digest of the blob, or what is known of it.
        name: String,
        /// The limit in bytes.
        limit: u64,
    },
    /// More than [`LIST_MAX`] blobs.
    #[error("the store holds more than {LIST_MAX} blobs")]
    TooMany,
    /// The provider cannot be written.
    #[error("the content store is read-only")]
    ReadOnly,
    /// The directory is not an OCI layout, or one of a version that is not understood.
    #[error("{path}: {reason}")]
    Layout {
        /// The file or folder at fault.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// The operating system refused.
    #[error("{path}: {source}")]
    Io {
        /// What was being read or written.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// Another provider's failure (a remote store).
    #[error("content service: {0}")]
    Service(String),
}

impl ContentError {
    /// Wraps an I/O error with the path it happened at.
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> Self {
        let path = path.into();
        move |source| Self::Io { path, source }
    }

    /// True when the blob is simply absent.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound(_))
    }
}

/// What is known of a stored blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlobInfo {
    /// Its name.
    pub digest: Digest,
    /// Its length in bytes.
    pub size: u64,
    /// When it was stored.
    pub modified: SystemTime,
}

/// Random access to an open blob; stays valid when the blob is removed meanwhile.
pub trait ReadAt: Send + Sync {
    /// Length in bytes.
    fn size(&self) -> u64;

    /// Fills `buf` from `offset`; fewer bytes only at the end of the blob, 0 at or after it.
    ///
    /// # Errors
    /// Whatever the medium reports.
    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize>;
}

/// A blob being written. Dropping it discards everything.
pub trait BlobWriter: io::Write + Send {
    /// Bytes written so far.
    fn offset(&self) -> u64;

    /// Forgets everything written so far.
    ///
    /// # Errors
    /// [`ContentError::Io`].
    fn restart(&mut self) -> Result<(), ContentError>;

    /// Verifies and publishes the blob. Committing a blob that exists already is fine.
    ///
    /// # Errors
    /// [`ContentError::SizeMismatch`], [`ContentError::DigestMismatch`], [`ContentError::Io`];
    /// nothing is stored then.
    fn commit(self: Box<Self>, expected: &Expected) -> Result<BlobInfo, ContentError>;
}

/// What the writer of a blob knows in advance; every stated fact is verified.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Expected {
    /// The digest the bytes must have; also selects the algorithm (SHA-256 otherwise).
    pub digest: Option<Digest>,
    /// The exact size in bytes.
    pub size: Option<u64>,
}

impl Expected {
    /// Nothing is known: the digest is computed.
    pub const ANY: Self = Self {
        digest: None,
        size: None,
    };

    /// Digest and size are known, as from a descriptor.
    pub fn exactly(digest: Digest, size: u64) -> Self {
        Self {
            digest: Some(digest),
            size: Some(size),
        }
    }
}

/// A set of blobs that can be read, and perhaps written.
pub trait ContentProvider: Send + Sync {
    /// Size and age of a blob.
    ///
    /// # Errors
    /// [`ContentError::NotFound`] and I/O errors.
    fn info(&self, digest: &Digest) -> Result<BlobInfo, ContentError>;

    /// Opens a blob.
    ///
    /// # Errors
    /// [`ContentError::NotFound`] and I/O errors.
    fn reader_at(&self, digest: &Digest) -> Result<Box<dyn ReadAt>, ContentError>;

    /// All blobs, ordered by digest.
    ///
    /// # Errors
    /// [`ContentError::TooMany`] and I/O errors.
    fn list(&self) -> Result<Vec<BlobInfo>, ContentError>;

    /// Starts a blob; `expected` may state what is already known (it is checked at commit).
    ///
    /// # Errors
    /// [`ContentError::ReadOnly`] unless the provider can be written.
    fn writer(&self, expected: &Expected) -> Result<Box<dyn BlobWriter>, ContentError> {
        let _ = expected;
        Err(ContentError::ReadOnly)
    }
}

/// Sequential reading of an open blob.
pub struct BlobReader {
    blob: Box<dyn ReadAt>,
    offset: u64,
}

impl BlobReader {
    /// Starts at the first byte.
    pub fn new(blob: Box<dyn ReadAt>) -> Self {
        Self { blob, offset: 0 }
    }
}

impl io::Read for BlobReader {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let count = self.blob.read_at(buf, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Opens a blob for sequential reading.
///
/// # Errors
/// As [`ContentProvider::reader_at`].
pub fn open(provider: &dyn ContentProvider, digest: &Digest) -> Result<BlobReader, ContentError> {
    provider.reader_at(digest).map(BlobReader::new)
}

/// Reads a small blob whole and verifies its digest.
///
/// # Errors
/// [`ContentError::TooLarge`] over `limit`, [`ContentError::DigestMismatch`] when the stored bytes
/// are damaged, and the errors of the provider.
pub fn read_all(
    provider: &dyn ContentProvider,
    digest: &Digest,
    limit: u64,
) -> Result<Vec<u8>, ContentError> {
    let blob = provider.reader_at(digest)?;
    let size = blob.size();
    if size > limit {
        return Err(ContentError::TooLarge {
            name: digest.to_string(),
            limit,
        });
    }
    let mut data = Vec::new();
    io::Read::read_to_end(
        &mut io::Read::take(BlobReader::new(blob), limit + 1),
        &mut data,
    )
    .map_err(ContentError::io(digest.as_str()))?;
    if data.len() as u64 != size {
        return Err(ContentError::SizeMismatch {
            name: digest.to_string(),
            expected: size,
            actual: data.len() as u64,
        });
    }
    let mut hasher = crate::digest::Hasher::new(digest.algorithm());
    hasher.update(&data);
    let actual = hasher.finish();
    if actual != *digest {
        return Err(ContentError::DigestMismatch {
            expected: digest.clone(),
            actual,
        });
    }
    Ok(data)
}

/// Stores bytes that are in memory.
///
/// # Errors
/// As [`BlobWriter::commit`].
pub fn put(
    provider: &dyn ContentProvider,
    data: &[u8],
    expected: &Expected,
) -> Result<BlobInfo, ContentError> {
    let mut writer = provider.writer(expected)?;
    io::Write::write_all(&mut writer, data).map_err(ContentError::io("blob"))?;
    writer.commit(expected)
}

#[cfg(test)]
mod tests;
