//! The ledger's file: making, opening, migrating, and moving aside what cannot be read.
//!
//! The schema's version is SQLite's `user_version`; [`MIGRATIONS`]`[n]` leads from version n to
//! n + 1, all needed steps in one transaction; `migrations` holds the tables. Opening for writing is serialised among processes by
//! a lock on a file beside the database, so that two of them never migrate, or move aside, at once.

use std::fs::{File, OpenOptions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};

use super::{BUSY_TIMEOUT, Error, migrations::MIGRATIONS};

/// `dago` in ASCII: marks a SQLite file as ours.
pub(super) const APPLICATION_ID: i32 = 0x6461_676f;

/// Pages in the write-ahead log before a commit checkpoints by itself. A checkpoint waits for the
/// disk, so it is kept away from the end of a build; see [`super::writer`]. 1,024 pages are 16 MiB.
const WAL_PAGES_MAX: u32 = 1024;

/// Length of the write-ahead log that is not yet worth a checkpoint, in bytes, and to which it is cut
/// after one. The next process reads all of it.
pub(super) const WAL_BYTES_KEPT: i64 = 2 << 20;

/// Larger than SQLite's own choice: a row has some 500 bytes, and every page of a commit is two
/// system calls.
pub(super) const PAGE_BYTES: u32 = 16 << 10;

/// How closely to look at a file before using it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Look {
    /// At its header and schema: as good as free.
    Quick,
    /// At every page: for a file that has just proved to be damaged, unless another process has
    /// replaced it since.
    Thorough,
}

/// Opens the ledger for writing; makes or migrates it when needed. The second value says what was
/// moved aside, if something was.
pub(super) fn open(path: &Path, look: Look) -> Result<(Connection, Option<String>), Error> {
    if let Some(directory) = path.parent() {
        let made = std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(directory);
        made.map_err(io_error(directory))?;
    }
    let _lock = lock(path)?;
    let notice = match connect(path, look) {
        Ok(connection) => return Ok((connection, None)),
        Err(error) if is_corrupt(&error) => format!(
            "the ledger was damaged ({error}) and has been moved to {}; a new one was begun",
            set_aside(path)?.display()
        ),
        Err(error) => return Err(error),
    };
    Ok((connect(path, Look::Quick)?, Some(notice)))
}

/// Opens the ledger for reading only.
pub(super) fn open_read_only(path: &Path) -> Result<Connection, Error> {
    if !path.try_exists().map_err(io_error(path))? {
        return Err(Error::Empty(path.to_owned()));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(sqlite_error(path))?;
    connection
        .busy_timeout(BUSY_TIMEOUT)
        .map_err(sqlite_error(path))?;
    match version(&connection, path)? {
        0 => Err(Error::Empty(path.to_owned())),
        found if found as usize == MIGRATIONS.len() => Ok(connection),
        found => Err(Error::Older {
            path: path.to_owned(),
            found,
        }),
    }
}

/// SQLite cannot make sense of the file, as opposed to not getting at it.
pub(super) fn is_corrupt(error: &Error) -> bool {
    let code = match error {
        Error::Sqlite { source, .. } => source.sqlite_error_code(),
        _ => None,
    };
    matches!(
        code,
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt)
    )
}

pub(super) fn sqlite_error(path: &Path) -> impl Fn(rusqlite::Error) -> Error + '_ {
    move |source| Error::Sqlite {
        path: path.to_owned(),
        source,
    }
}

fn io_error(path: &Path) -> impl Fn(std::io::Error) -> Error + '_ {
    move |source| Error::Io {
        path: path.to_owned(),
        source,
    }
}

/// Waits, at most as long as for SQLite's own locks, until no other process opens this ledger.
fn lock(path: &Path) -> Result<File, Error> {
    let beside = path.with_added_extension("lock");
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600);
    let file = options.open(&beside).map_err(io_error(&beside))?;
    let deadline = Instant::now() + BUSY_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < deadline => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            Err(error) => return Err(io_error(&beside)(error.into())),
        }
    }
}

fn connect(path: &Path, look: Look) -> Result<Connection, Error> {
    // SQLite gives its side files the permissions of the database, so this settles all three.
    let made = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(path);
    drop(made.map_err(io_error(path))?);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut connection = Connection::open_with_flags(path, flags).map_err(sqlite_error(path))?;
    let found = version(&connection, path)?;
    prepare(&mut connection, found).map_err(sqlite_error(path))?;
    if look == Look::Thorough {
        check_pages(&connection).map_err(sqlite_error(path))?;
    }
    Ok(connection)
}

fn check_pages(connection: &Connection) -> rusqlite::Result<()> {
    let verdict =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?;
    if verdict == "ok" {
        return Ok(());
    }
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    Err(rusqlite::Error::SqliteFailure(code, Some(verdict)))
}

/// The file's schema version, 0 when it is new.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<u32, Error> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i32>(0));
    let application = pragma("application_id").map_err(sqlite_error(path))?;
    let found = pragma("user_version")
        .map_err(sqlite_error(path))?
        .cast_unsigned();
    let tables = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| {
            row.get::<_, i64>(0)
        })
        .map_err(sqlite_error(path))?;
    if application != APPLICATION_ID && tables > 0 {
        return Err(Error::Foreign {
            path: path.to_owned(),
            found: application,
        });
    }
    let known = u32::try_from(MIGRATIONS.len()).expect("a handful of migrations");
    if found > known {
        return Err(Error::Newer {
            path: path.to_owned(),
            found,
            known,
        });
    }
    Ok(found)
}

fn prepare(connection: &mut Connection, found: u32) -> rusqlite::Result<()> {
    connection.busy_timeout(BUSY_TIMEOUT)?;
    if found == 0 {
        // Both are only heeded while the file has no tables.
        connection.pragma_update(None, "page_size", PAGE_BYTES)?;
        connection.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    connection.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    connection.pragma_update(None, "synchronous", "NORMAL")?;
    connection.pragma_update(None, "foreign_keys", true)?;
    connection.pragma_update(None, "wal_autocheckpoint", WAL_PAGES_MAX)?;
    connection.pragma_update_and_check(None, "journal_size_limit", WAL_BYTES_KEPT, |_| Ok(()))?;
    // Nor does the end of a process wait for the disk.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    migrate(connection, found, MIGRATIONS)
}

/// Makes the tables in an empty database.
pub(super) fn create(connection: &mut Connection) -> rusqlite::Result<()> {
    migrate(connection, 0, MIGRATIONS)
}

/// Brings a database of version `found` to the last of `migrations`.
fn migrate(connection: &mut Connection, found: u32, migrations: &[&str]) -> rusqlite::Result<()> {
    let steps = migrations.get(found as usize..).unwrap_or_default();
    if steps.is_empty() {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for step in steps {
        transaction.execute_batch(step)?;
    }
    transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
    transaction.pragma_update(None, "user_version", migrations.len() as i64)?;
    transaction.commit()
}

/// The write-ahead log of the database at `path`.
pub(super) fn wal_of(path: &Path) -> PathBuf {
    beside(path, "-wal")
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Renames the database and its side files; one earlier damaged ledger is replaced.
fn set_aside(path: &Path) -> Result<PathBuf, Error> {
    let aside = path.with_added_extension("damaged");
    std::fs::rename(path, &aside).map_err(io_error(path))?;
    for suffix in ["-wal", "-shm"] {
        match std::fs::rename(beside(path, suffix), beside(&aside, suffix)) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(io_error(path)(error));
            }
            _ => {}
        }
    }
    Ok(aside)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn migrations_run_once_each_in_order() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = [
            "CREATE TABLE t (a)",
            "ALTER TABLE t ADD COLUMN b",
            "INSERT INTO t VALUES (1, 2)",
        ];
        migrate(&mut connection, 0, &steps[..1]).unwrap();
        migrate(&mut connection, 1, &steps).unwrap();
        migrate(&mut connection, 3, &steps).unwrap();
        let rows = connection.query_row("SELECT count(b) FROM t", [], |row| row.get::<_, i64>(0));
        assert_eq!(rows.unwrap(), 1);
    }

    #[test]
    fn a_failing_migration_changes_nothing() {
        let mut connection = Connection::open_in_memory().unwrap();
        let steps = ["CREATE TABLE t (a)", "nonsense"];
        assert!(migrate(&mut connection, 0, &steps).is_err());
        let count = "SELECT count(*) FROM sqlite_schema";
        assert_eq!(
            connection
                .query_row(count, [], |row| row.get::<_, i64>(0))
                .unwrap(),
            0
        );
    }

    #[test]
    fn a_newer_or_foreign_file_is_left_alone() {
        let directory = tempfile::tempdir().unwrap();
        let newer = directory.path().join("newer.db");
        drop(open(&newer, Look::Quick).unwrap());
        Connection::open(&newer)
            .unwrap()
            .pragma_update(None, "user_version", 99)
            .unwrap();
        assert!(matches!(
            open(&newer, Look::Quick),
            Err(Error::Newer { found: 99, .. })
        ));

        let foreign = directory.path().join("foreign.db");
        Connection::open(&foreign)
            .unwrap()
            .execute_batch("CREATE TABLE mine (a)")
            .unwrap();
        assert!(matches!(
            open(&foreign, Look::Quick),
            Err(Error::Foreign { found: 0, .. })
        ));
        assert!(matches!(
            open_read_only(&foreign),
            Err(Error::Foreign { .. })
        ));
    }
}
