//! The cache's SQLite file: opening it, its tables, and what happens when it is not as expected.
//!
//! ```sql
//! calls(call_key, storage_key, expiration)                     -- cache/rows.rs
//! call_values(key, value, sum, bytes, created, used, expires)  -- cache/values.rs
//! ```
//! All times are seconds since the epoch. Anyone can look with `sqlite3`; `PRAGMA user_version` is
//! the version of the tables. Only the owner may read the file: it holds what steps printed.
//!
//! # What a crash costs
//! The file is in WAL mode with `synchronous = NORMAL`. A killed process leaves each transaction
//! whole or absent, and everything that was committed stays. A power cut may take the transactions
//! since the last checkpoint; it does not tear one.
//!
//! # A file that cannot be used
//! The file is never needed for a correct answer, so every failure makes a slower run:
//! * *broken* (not a database, damaged pages, tables of another shape): replaced by an empty one,
//!   once, under a lock on its folder, and only if it is still the file that was found broken. A
//!   process that has the old file open goes on with that one until its next access, which notices
//!   that the path leads to another file.
//! * *newer* than this program: left alone and not used.
//! * *locked, unreadable, read-only, full disk*: the access fails, the file stays.

use std::fs::{File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rusqlite::{Connection, ErrorCode};

/// Version of the tables, kept in `PRAGMA user_version`. 0 is a file from before it was kept, whose
/// one table has the shape of today.
const VERSION: i64 = 1;

/// How long opening waits for another process that is opening or replacing the file.
const LOCK_TIMEOUT: Duration = Duration::from_secs(2);

/// Pause between two attempts to get that lock.
const LOCK_POLL: Duration = Duration::from_millis(2);

const TABLES: &str = "
    CREATE TABLE IF NOT EXISTS calls (
        call_key TEXT NOT NULL PRIMARY KEY,
        storage_key TEXT NOT NULL,
        expiration INTEGER NOT NULL
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX IF NOT EXISTS calls_exp_idx ON calls (expiration);
    CREATE TABLE IF NOT EXISTS call_values (
        key TEXT NOT NULL UNIQUE,
        value BLOB NOT NULL,
        sum BLOB NOT NULL,
        bytes INTEGER NOT NULL,
        created INTEGER NOT NULL,
        used INTEGER NOT NULL,
        expires INTEGER
    ) STRICT;
    CREATE INDEX IF NOT EXISTS call_values_used_idx ON call_values (used, bytes);";

/// Statements that compile only if the tables have the columns this program uses.
const SHAPE: [&str; 2] = [
    "SELECT call_key, storage_key, expiration FROM calls",
    "SELECT key, value, sum, bytes, created, used, expires FROM call_values",
];

/// Why the file cannot be used.
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
    /// The file belongs to a newer version of this program and is left alone.
    #[error("{} was made by a newer version (tables {found}, this version knows {VERSION})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: i64,
    },
    /// The file can be neither made nor removed.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// One connection to the file. Methods block.
pub(super) struct Database {
    path: PathBuf,
    busy: Duration,
    open: Mutex<Option<Opened>>,
}

struct Opened {
    connection: Connection,
    file: FileId,
}

/// Device and inode: what a path leads to.
type FileId = (u64, u64);

/// Why opening failed, before it is decided what to do about it.
enum Refused {
    Sqlite(rusqlite::Error),
    /// The tables have another shape.
    Shape,
    Final(RowError),
}

impl Database {
    /// Opens or creates the file. `busy` bounds how long an access waits for other processes.
    pub(super) fn open(path: &Path, busy: Duration) -> Result<Self, RowError> {
        let database = Self {
            path: path.to_owned(),
            busy,
            open: Mutex::new(None),
        };
        database.with(|_| Ok(()))?;
        Ok(database)
    }

    /// Runs `access` on the connection, which is opened first where it is not. A file that turns
    /// out to be damaged fails this access and is replaced at the next one.
    pub(super) fn with<T>(
        &self,
        access: impl FnOnce(&mut Connection) -> rusqlite::Result<T>,
    ) -> Result<T, RowError> {
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        // Another process, or the user, may have put another file in its place.
        if open
            .as_ref()
            .is_some_and(|open| file_id(&self.path) != Some(open.file))
        {
            *open = None;
        }
        let opened = match &mut *open {
            Some(opened) => opened,
            none => none.insert(self.connect()?),
        };
        let file = opened.file;
        let result = access(&mut opened.connection);
        if result.as_ref().is_err_and(is_broken) {
            *open = None;
            // This access fails either way; if replacing fails, the next one says so again.
            if let Err(error) = self.replace(file) {
                tracing::debug!(%error, "a damaged file stays in place");
            }
        }
        result.map_err(|source| self.failed(source))
    }

    fn connect(&self) -> Result<Opened, RowError> {
        let _lock = lock_folder(&self.path);
        let refused = match self.try_connect() {
            Ok(opened) => return Ok(opened),
            Err(refused) => refused,
        };
        match &refused {
            Refused::Sqlite(error) if !is_broken(error) => {}
            Refused::Final(_) => {}
            Refused::Sqlite(_) | Refused::Shape => {
                tracing::warn!(path = %self.path.display(), "replacing a broken file");
                remove(&self.path)?;
                return self.try_connect().map_err(|refused| self.given_up(refused));
            }
        }
        Err(self.given_up(refused))
    }

    fn try_connect(&self) -> Result<Opened, Refused> {
        let io = |source| {
            Refused::Final(RowError::File {
                path: self.path.clone(),
                source,
            })
        };
        private(&self.path).map_err(io)?;
        let file = file_id(&self.path).ok_or_else(|| io(io::ErrorKind::NotFound.into()))?;
        let connection = Connection::open(&self.path)?;
        connection.busy_timeout(self.busy)?;
        connection.pragma_update(None, "journal_mode", "WAL")?;
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        let found: i64 = connection.query_row("PRAGMA user_version", [], |row| row.get(0))?;
        if found > VERSION {
            let path = self.path.clone();
            return Err(Refused::Final(RowError::Newer { path, found }));
        }
        if found < VERSION {
            connection.execute_batch(TABLES).map_err(shape_or)?;
            connection.pragma_update(None, "user_version", VERSION)?;
        }
        for statement in SHAPE {
            connection.prepare(statement).map_err(shape_or)?;
        }
        Ok(Opened { connection, file })
    }

    /// Removes the file, unless it is another one by now.
    fn replace(&self, broken: FileId) -> Result<(), RowError> {
        let _lock = lock_folder(&self.path);
        if file_id(&self.path) == Some(broken) {
            tracing::warn!(path = %self.path.display(), "replacing a damaged file");
            remove(&self.path)?;
        }
        Ok(())
    }

    fn given_up(&self, refused: Refused) -> RowError {
        match refused {
            Refused::Final(error) => error,
            Refused::Sqlite(source) => self.failed(source),
            Refused::Shape => self.failed(rusqlite::Error::InvalidQuery),
        }
    }

    fn failed(&self, source: rusqlite::Error) -> RowError {
        RowError::Database {
            path: self.path.clone(),
            source,
        }
    }
}

impl From<rusqlite::Error> for Refused {
    fn from(error: rusqlite::Error) -> Self {
        Self::Sqlite(error)
    }
}

/// A statement that does not fit the tables.
fn shape_or(error: rusqlite::Error) -> Refused {
    match error {
        rusqlite::Error::SqlInputError { .. } => Refused::Shape,
        error if error.sqlite_error_code() == Some(ErrorCode::Unknown) => Refused::Shape,
        error => Refused::Sqlite(error),
    }
}

/// SQLite's integers are signed.
pub(super) fn signed(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

fn is_broken(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

fn file_id(path: &Path) -> Option<FileId> {
    let found = std::fs::metadata(path).ok()?;
    Some((found.dev(), found.ino()))
}

/// Makes the file for its owner alone if it is not there. SQLite gives the files beside it the same
/// permissions. An existing file is not opened: closing it would drop the locks that SQLite holds
/// on it elsewhere in this process.
fn private(path: &Path) -> io::Result<()> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true).mode(0o600);
    match options.open(path) {
        Ok(_) => Ok(()),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let found = std::fs::metadata(path)?;
            if found.is_file() && found.mode() & 0o077 != 0 {
                // Somebody else's file may still be readable for us.
                let _ = std::fs::set_permissions(path, Permissions::from_mode(0o600));
            }
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// Keeps other processes from opening or replacing the file at the same time. Without the lock
/// (a file system that has none) all goes on: SQLite's own locks keep the content whole.
fn lock_folder(path: &Path) -> Option<File> {
    let folder = File::open(path.parent()?).ok()?;
    let deadline = Instant::now() + LOCK_TIMEOUT;
    loop {
        match folder.try_lock() {
            Ok(()) => return Some(folder),
            Err(std::fs::TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(LOCK_POLL);
            }
            Err(_) => return None,
        }
    }
}

fn remove(path: &Path) -> Result<(), RowError> {
    for suffix in ["", "-wal", "-shm"] {
        let mut file = path.as_os_str().to_owned();
        file.push(suffix);
        match std::fs::remove_file(&file) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                let path = file.into();
                return Err(RowError::File { path, source });
            }
        }
    }
    Ok(())
}
