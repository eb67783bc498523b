//! Writing one blob into a [`ContentStore`]: temporary file, hash on the way, verify, rename.
//!
//! The temporary file lies in `ingest/` of the store, on the same file system as `blobs/`, so the
//! final rename is atomic. Two writers of the same blob each have a file of their own and the
//! second rename replaces equal bytes by equal bytes. A crash leaves a file in `ingest/` only;
//! [`ContentStore::open`](super::ContentStore::open) removes those that are a day old.

use std::fs::File;
use std::io::{self, Seek, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use tempfile::NamedTempFile;

use super::{BLOB_SIZE_MAX, BlobInfo, BlobWriter, ContentError, Expected};
use crate::digest::{Algorithm, Digest, Hasher};

/// A blob on its way into a store. Dropping it removes the temporary file.
pub struct Ingest {
    file: NamedTempFile,
    blobs: PathBuf,
    hasher: Hasher,
    algorithm: Algorithm,
    written: u64,
    limit: u64,
}

impl Ingest {
    pub(super) fn new(
        ingest: &Path,
        blobs: &Path,
        expected: &Expected,
    ) -> Result<Self, ContentError> {
        let algorithm = algorithm(expected.digest.as_ref());
        let file = tempfile::Builder::new()
            .prefix("blob-")
            .tempfile_in(ingest)
            .map_err(ContentError::io(ingest))?;
        Ok(Self {
            file,
            blobs: blobs.to_owned(),
            hasher: Hasher::new(algorithm),
            algorithm,
            written: 0,
            limit: expected.size.unwrap_or(BLOB_SIZE_MAX).min(BLOB_SIZE_MAX),
        })
    }

    fn verify(&mut self, expected: &Expected) -> Result<Digest, ContentError> {
        if let Some(size) = expected.size.filter(|size| *size != self.written) {
            return Err(ContentError::SizeMismatch {
                name: name(expected),
                expected: size,
                actual: self.written,
            });
        }
        if algorithm(expected.digest.as_ref()) != self.algorithm {
            self.rehash(algorithm(expected.digest.as_ref()))?;
        }
        let actual = self.hasher.clone().finish();
        match &expected.digest {
            Some(digest) if *digest != actual => Err(ContentError::DigestMismatch {
                expected: digest.clone(),
                actual,
            }),
            _ => Ok(actual),
        }
    }

    /// The commit names another algorithm than the start did: read the file again.
    fn rehash(&mut self, algorithm: Algorithm) -> Result<(), ContentError> {
        let path = self.file.path().to_owned();
        self.hasher = Hasher::new(algorithm);
        self.algorithm = algorithm;
        let mut file = self.file.reopen().map_err(ContentError::io(&path))?;
        io::copy(&mut file, &mut self.hasher).map_err(ContentError::io(&path))?;
        Ok(())
    }

    /// Verifies, makes durable and publishes.
    ///
    /// # Errors
    /// As [`BlobWriter::commit`].
    pub fn finish(mut self, expected: &Expected) -> Result<BlobInfo, ContentError> {
        let digest = self.verify(expected)?;
        let folder = self.blobs.join(digest.algorithm().name());
        let target = folder.join(digest.hex());
        std::fs::create_dir_all(&folder).map_err(ContentError::io(&folder))?;
        let at = |e| ContentError::io(&target)(e);
        // Blobs are shared between users of the store and never change.
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        self.file.as_file().set_permissions(readable).map_err(at)?;
        self.file.as_file().sync_all().map_err(at)?;
        self.file.persist(&target).map_err(|e| at(e.error))?;
        // Without this the name, though not the bytes, could be lost with the power.
        File::open(&folder)
            .and_then(|folder| folder.sync_all())
            .map_err(at)?;
        Ok(BlobInfo {
            digest,
            size: self.written,
            modified: SystemTime::now(),
        })
    }
}

fn algorithm(digest: Option<&Digest>) -> Algorithm {
    digest.map_or(Algorithm::Sha256, Digest::algorithm)
}

/// What an error calls the blob.
fn name(expected: &Expected) -> String {
    match &expected.digest {
        Some(digest) => digest.to_string(),
        None => "(digest not yet known)".to_owned(),
    }
}

impl Write for Ingest {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.written + data.len() as u64 > self.limit {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("blob exceeds its size of {} bytes", self.limit),
            ));
        }
        let count = self.file.write(data)?;
        self.hasher.update(&data[..count]);
        self.written += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl BlobWriter for Ingest {
    fn offset(&self) -> u64 {
        self.written
    }

    fn restart(&mut self) -> Result<(), ContentError> {
        let path = self.file.path().to_owned();
        let file = self.file.as_file_mut();
        file.set_len(0)
            .and_then(|()| file.rewind())
            .map_err(ContentError::io(path))?;
        self.hasher = Hasher::new(self.algorithm);
        self.written = 0;
        Ok(())
    }

    fn commit(self: Box<Self>, expected: &Expected) -> Result<BlobInfo, ContentError> {
        self.finish(expected)
    }
}
