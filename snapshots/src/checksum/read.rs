//! Reads files when a question needs their digest: in parallel, each at most once.

use std::ffi::OsStr;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use super::records::Node;
use super::sum::Sum;
use super::{ChecksumError, Checksums, summer};
use crate::tree::TreeError;

/// Most threads that read files.
const THREADS_MAX: usize = 8;

/// Bytes per read.
const BUFFER: usize = 256 * 1024;

impl Checksums<'_> {
    /// Computes the digests of the entries that are no directories.
    pub(super) fn read_all(
        &self,
        among: impl IntoIterator<Item = usize>,
    ) -> Result<(), ChecksumError> {
        let missing: Vec<usize> = among
            .into_iter()
            .filter(|at| !self.records[*at].is_dir() && self.records[*at].digest.get().is_none())
            .collect();
        if missing.is_empty() {
            return Ok(());
        }
        let threads = std::thread::available_parallelism()
            .map_or(1, usize::from)
            .clamp(1, THREADS_MAX)
            // A thread costs about as much as reading a few small files.
            .min(missing.len().div_ceil(8));
        let next = AtomicUsize::new(0);
        let failure = Mutex::new(None);
        let work = || {
            let mut buffer = vec![0; BUFFER];
            while let Some(at) = missing.get(next.fetch_add(1, Ordering::Relaxed)) {
                match self.leaf(*at, &mut buffer) {
                    Ok(digest) => {
                        self.records[*at].digest.get_or_init(|| digest);
                    }
                    Err(error) => {
                        // Let the other threads run out of work.
                        next.store(missing.len(), Ordering::Relaxed);
                        failure
                            .lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .get_or_insert(error);
                        return;
                    }
                }
            }
        };
        std::thread::scope(|scope| {
            for _ in 1..threads {
                scope.spawn(work);
            }
            work();
        });
        match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    fn leaf(&self, at: usize, buffer: &mut [u8]) -> Result<Sum, ChecksumError> {
        let record = &self.records[at];
        let Node::File(meta) = &record.node else {
            return Ok(*self.known(at));
        };
        let mut summer = summer(meta, &self.profile);
        let mut left = meta.size();
        if left == 0 {
            return Ok(summer.finish());
        }
        let path = || PathBuf::from(OsStr::from_bytes(&record.path[1..]));
        let fail = |source| TreeError {
            path: path(),
            source,
        };
        let tree = self.tree.expect("without a tree every digest is known");
        let mut data = tree.open(&path()).map_err(fail)?;
        loop {
            let count = match data.read(buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(fail(e).into()),
            };
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| ChecksumError::Changed(path()))?;
            summer.update(&buffer[..count]);
        }
        if left > 0 {
            return Err(ChecksumError::Changed(path()));
        }
        Ok(summer.finish())
    }
}
