//! Storage keys that outlive the process: a small trait, and its SQLite table.
//!
//! ```sql
//! calls(call_key TEXT PRIMARY KEY, storage_key TEXT NOT NULL, expiration INTEGER NOT NULL)
//! ```
//! `expiration` is in seconds since the epoch. A process killed at any point leaves either the old
//! row or the new one; what happens to a file that cannot be used is in `cache/database.rs`.

use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::database::{Database, RowError, signed};

/// How long a writer waits for another process's write.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// Expired rows deleted in one transaction.
const COLLECT_BATCH: usize = 1000;

/// Expired rows are deleted at opening and then at every this many writes.
const COLLECT_EVERY: u32 = 256;

/// One row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The storage key in force.
    pub storage_key: String,
    /// Second since the epoch from which on it is not.
    pub expires: u64,
}

/// A table of storage keys. Methods may block.
pub trait Rows: Send + Sync {
    /// The row of a call key, expired or not.
    ///
    /// # Errors
    /// When the table cannot be read.
    fn get(&self, call_key: &str) -> Result<Option<Row>, RowError>;

    /// Writes a row over the one whose storage key is `previous`, or where there is none. A row with
    /// another storage key stays: somebody was faster. `now` allows expired rows to be collected.
    ///
    /// # Errors
    /// When the table cannot be written.
    fn put(
        &self,
        call_key: &str,
        row: &Row,
        previous: Option<&str>,
        now: u64,
    ) -> Result<(), RowError>;
}

/// The table in a SQLite file.
pub struct SqliteRows {
    database: Database,
    writes: AtomicU32,
}

impl SqliteRows {
    /// Opens or creates the file; a broken one is replaced once.
    ///
    /// # Errors
    /// When no usable file can be made at `path`, or when it belongs to a newer version.
    pub fn open(path: &Path) -> Result<Self, RowError> {
        let database = Database::open(path, BUSY_TIMEOUT)?;
        // Old rows in the way of nobody: another process may hold the file now.
        if let Err(error) = database.with(|connection| collect(connection, super::system_seconds()))
        {
            tracing::debug!(%error, "expired rows stay");
        }
        Ok(Self {
            database,
            writes: AtomicU32::new(0),
        })
    }

    /// Number of rows.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(super) fn count(&self) -> i64 {
        let count = |connection: &mut Connection| {
            connection.query_row("SELECT count(*) FROM calls", [], |row| row.get(0))
        };
        self.database.with(count).expect("reads")
    }
}

/// Storage keys in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct LeaseStats {
    /// In force.
    pub valid: u64,
    /// Expired, to be deleted some time.
    pub expired: u64,
}

/// Counts the storage keys in the file at `path`; nothing where there is no file.
///
/// # Errors
/// When the file cannot be read.
pub fn lease_stats(path: &Path) -> Result<LeaseStats, RowError> {
    if !path.exists() {
        return Ok(LeaseStats::default());
    }
    let now = signed(super::system_seconds());
    Database::open(path, BUSY_TIMEOUT)?.with(|connection| {
        let count = |condition: &str| {
            let query = format!("SELECT count(*) FROM calls WHERE expiration {condition} ?1");
            let count: i64 = connection.query_row(&query, [now], |row| row.get(0))?;
            Ok::<_, rusqlite::Error>(u64::try_from(count).unwrap_or(0))
        };
        Ok(LeaseStats {
            valid: count(">")?,
            expired: count("<=")?,
        })
    })
}

impl Rows for SqliteRows {
    fn get(&self, call_key: &str) -> Result<Option<Row>, RowError> {
        self.database.with(|connection| {
            connection
                .prepare_cached("SELECT storage_key, expiration FROM calls WHERE call_key = ?1")?
                .query_row([call_key], |row| {
                    let expires: i64 = row.get(1)?;
                    Ok(Row {
                        storage_key: row.get(0)?,
                        expires: u64::try_from(expires).unwrap_or(0),
                    })
                })
                .optional()
        })
    }

    fn put(
        &self,
        call_key: &str,
        row: &Row,
        previous: Option<&str>,
        now: u64,
    ) -> Result<(), RowError> {
        self.database.with(|connection| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(
                "INSERT INTO calls (call_key, storage_key, expiration) VALUES (?1, ?2, ?3)
                 ON CONFLICT (call_key) DO UPDATE
                 SET storage_key = excluded.storage_key, expiration = excluded.expiration
                 WHERE calls.storage_key = ?4",
                params![call_key, row.storage_key, signed(row.expires), previous],
            )?;
            transaction.commit()?;
            let writes = self.writes.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
            if writes.is_multiple_of(COLLECT_EVERY) {
                collect(connection, now)?;
            }
            Ok(())
        })
    }
}

/// Deletes expired rows in batches, so that no other process waits long.
fn collect(connection: &mut Connection, now: u64) -> rusqlite::Result<()> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let deleted = transaction.execute(
            "DELETE FROM calls WHERE call_key IN
             (SELECT call_key FROM calls WHERE expiration < ?1 LIMIT ?2)",
            params![signed(now), signed(COLLECT_BATCH as u64)],
        )?;
        transaction.commit()?;
        if deleted < COLLECT_BATCH {
            return Ok(());
        }
    }
}
