//! Storage keys that outlive the process: a small trait, and its SQLite table.
//!
//! ```sql
//! calls(call_key TEXT PRIMARY KEY, storage_key TEXT NOT NULL, expiration INTEGER NOT NULL)
//! ```
//! `expiration` is in seconds since the epoch. Anyone can look with `sqlite3`. The file is in WAL
//! mode: a process killed at any point leaves either the old row or the new one. A file that is not
//! a database, or whose table has another shape, is moved aside by deleting it and starting empty:
//! it only ever held hints.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

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

/// Why a row cannot be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RowError {
    /// The database failed.
    #[error("{}: {source}", path.display())]
    Database {
        /// The file.
        path: PathBuf,
        /// What SQLite says.
        source: rusqlite::Error,
    },
    /// A broken file could not be removed.
    #[error("cannot replace the broken file {}: {source}", path.display())]
    Replace {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
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
    path: PathBuf,
    state: Mutex<(Connection, u32)>,
}

impl SqliteRows {
    /// Opens or creates the file; a broken one is replaced once.
    ///
    /// # Errors
    /// When no usable file can be made at `path`.
    pub fn open(path: &Path) -> Result<Self, RowError> {
        let connection = match connect(path) {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(path = %path.display(), %error, "replacing the table of storage keys");
                remove(path)?;
                connect(path).map_err(|source| database(path, source))?
            }
        };
        Ok(Self {
            path: path.to_owned(),
            state: Mutex::new((connection, 0)),
        })
    }

    /// Number of rows.
    #[cfg(all(test, not(feature = "shuttle")))]
    pub(super) fn count(&self) -> i64 {
        self.with(|connection, _| {
            connection.query_row("SELECT count(*) FROM calls", [], |row| row.get(0))
        })
        .expect("reads")
    }

    fn with<T>(
        &self,
        access: impl FnOnce(&mut Connection, &mut u32) -> rusqlite::Result<T>,
    ) -> Result<T, RowError> {
        let mut state = self
            .state
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let (connection, writes) = &mut *state;
        access(connection, writes).map_err(|source| database(&self.path, source))
    }
}

impl Rows for SqliteRows {
    fn get(&self, call_key: &str) -> Result<Option<Row>, RowError> {
        self.with(|connection, _| {
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
        self.with(|connection, writes| {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            transaction.execute(
                "INSERT INTO calls (call_key, storage_key, expiration) VALUES (?1, ?2, ?3)
                 ON CONFLICT (call_key) DO UPDATE
                 SET storage_key = excluded.storage_key, expiration = excluded.expiration
                 WHERE calls.storage_key = ?4",
                params![call_key, row.storage_key, seconds(row.expires), previous],
            )?;
            transaction.commit()?;
            *writes = writes.wrapping_add(1);
            if writes.is_multiple_of(COLLECT_EVERY) {
                collect(connection, now)?;
            }
            Ok(())
        })
    }
}

fn connect(path: &Path) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open(path)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.execute_batch(
        "CREATE TABLE IF NOT EXISTS calls (
             call_key TEXT NOT NULL PRIMARY KEY,
             storage_key TEXT NOT NULL,
             expiration INTEGER NOT NULL
         ) STRICT, WITHOUT ROWID;
         CREATE INDEX IF NOT EXISTS calls_exp_idx ON calls (expiration);",
    )?;
    // Also proves that the table has the columns this program reads.
    connection.prepare("SELECT call_key, storage_key, expiration FROM calls LIMIT 1")?;
    collect(&mut connection, super::system_seconds())?;
    Ok(connection)
}

/// Deletes expired rows in batches, so that no other process waits long.
fn collect(connection: &mut Connection, now: u64) -> rusqlite::Result<()> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let deleted = transaction.execute(
            "DELETE FROM calls WHERE call_key IN
             (SELECT call_key FROM calls WHERE expiration < ?1 LIMIT ?2)",
            params![seconds(now), seconds(COLLECT_BATCH as u64)],
        )?;
        transaction.commit()?;
        if deleted < COLLECT_BATCH {
            return Ok(());
        }
    }
}

/// SQLite's integers are signed.
fn seconds(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn remove(path: &Path) -> Result<(), RowError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(RowError::Replace {
                    path: file.into(),
                    source,
                });
            }
        }
    }
    Ok(())
}

fn database(path: &Path, source: rusqlite::Error) -> RowError {
    RowError::Database {
        path: path.to_owned(),
        source,
    }
}
