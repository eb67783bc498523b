//! What the engine's cache keeps on disk, counted without a daemon and without an engine.

use std::path::{Path, PathBuf};

use dagql::{LeaseStats, ValueStats};

use crate::error::{Error, Kind};

/// The engine's file in a state directory.
pub(crate) fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join("dagql-cache.db")
}

/// Counts of what is on disk.
#[derive(Debug, Clone)]
pub struct Stored {
    /// The file; there may be none yet.
    pub file: PathBuf,
    /// Storage keys of calls with a time to live.
    pub leases: LeaseStats,
    /// Values of pure calls.
    pub values: ValueStats,
}

/// Counts what the cache in this state directory keeps; nothing where there is no file.
///
/// # Errors
/// When the file cannot be read.
pub fn stored(state_dir: &Path) -> Result<Stored, Error> {
    let file = path_in(state_dir);
    let failed = |error: dagql::RowError| Error::new(Kind::Input, error.to_string());
    let leases = dagql::lease_stats(&file).map_err(failed)?;
    let values = dagql::value_stats(&file).map_err(failed)?;
    Ok(Stored {
        file,
        leases,
        values,
    })
}
