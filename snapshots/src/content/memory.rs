//! A provider that holds its blobs in memory.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use super::{BlobInfo, BlobWriter, ContentError, ContentProvider, Expected, ReadAt};
use crate::digest::{Algorithm, Digest, Hasher};

/// Largest blob kept in memory (bytes).
const MEMORY_BLOB_MAX: usize = 256 * 1024 * 1024;

/// Blobs in memory; clones share them.
#[derive(Clone, Default)]
pub struct Memory(Arc<Mutex<Blobs>>);

type Blobs = BTreeMap<Digest, (Arc<[u8]>, SystemTime)>;

impl Memory {
    /// An empty store.
    pub fn new() -> Self {
        Self::default()
    }

    fn blobs(&self) -> MutexGuard<'_, Blobs> {
        // A panic elsewhere cannot leave the map half changed: every change is one insert.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn describe(digest: &Digest, (data, modified): &(Arc<[u8]>, SystemTime)) -> BlobInfo {
    BlobInfo {
        digest: digest.clone(),
        size: data.len() as u64,
        modified: *modified,
    }
}

impl ContentProvider for Memory {
    fn info(&self, digest: &Digest) -> Result<BlobInfo, ContentError> {
        self.blobs()
            .get(digest)
            .map(|blob| describe(digest, blob))
            .ok_or_else(|| ContentError::NotFound(digest.clone()))
    }

    fn reader_at(&self, digest: &Digest) -> Result<Box<dyn ReadAt>, ContentError> {
        match self.blobs().get(digest) {
            Some((data, _)) => Ok(Box::new(Blob(Arc::clone(data)))),
            None => Err(ContentError::NotFound(digest.clone())),
        }
    }

    fn list(&self) -> Result<Vec<BlobInfo>, ContentError> {
        Ok(self
            .blobs()
            .iter()
            .map(|(digest, blob)| describe(digest, blob))
            .collect())
    }

    fn writer(&self, _expected: &Expected) -> Result<Box<dyn BlobWriter>, ContentError> {
        Ok(Box::new(Writer {
            store: self.clone(),
            data: Vec::new(),
        }))
    }
}

struct Blob(Arc<[u8]>);

impl ReadAt for Blob {
    fn size(&self) -> u64 {
        self.0.len() as u64
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let start = usize::try_from(offset).map_or(self.0.len(), |o| o.min(self.0.len()));
        let count = buf.len().min(self.0.len() - start);
        buf[..count].copy_from_slice(&self.0[start..start + count]);
        Ok(count)
    }
}

struct Writer {
    store: Memory,
    data: Vec<u8>,
}

impl Write for Writer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.data.len() + data.len() > MEMORY_BLOB_MAX {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("blob exceeds {MEMORY_BLOB_MAX} bytes"),
            ));
        }
        self.data.extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobWriter for Writer {
    fn offset(&self) -> u64 {
        self.data.len() as u64
    }

    fn restart(&mut self) -> Result<(), ContentError> {
        self.data.clear();
        Ok(())
    }

    fn commit(self: Box<Self>, expected: &Expected) -> Result<BlobInfo, ContentError> {
        let size = self.data.len() as u64;
        let algorithm = expected
            .digest
            .as_ref()
            .map_or(Algorithm::Sha256, Digest::algorithm);
        let mut hasher = Hasher::new(algorithm);
        hasher.update(&self.data);
        let digest = hasher.finish();
        if let Some(expected) = expected.size.filter(|expected| *expected != size) {
            return Err(ContentError::SizeMismatch {
                name: digest.to_string(),
                expected,
                actual: size,
            });
        }
        if let Some(expected) = expected.digest.as_ref().filter(|e| **e != digest) {
            return Err(ContentError::DigestMismatch {
                expected: expected.clone(),
                actual: digest,
            });
        }
        let modified = SystemTime::now();
        self.store
            .blobs()
            .insert(digest.clone(), (self.data.into(), modified));
        Ok(BlobInfo {
            digest,
            size,
            modified,
        })
    }
}
