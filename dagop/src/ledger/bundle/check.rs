//! Opening a bundle that somebody else wrote.
//!
//! A bundle is data from outside, so it is believed nothing:
//! 1. It is a SQLite file of at most [`BUNDLE_BYTES_MAX`] bytes with our application id, and its
//!    format and schema are the ones this version writes.
//! 2. Its schema is, text by text, what a bundle of ours has: no view, trigger or table that runs
//!    something else when it is read.
//! 3. Its pages are sound (SQLite's own check), and no value is larger than what this version
//!    writes: what a compressed value expands to is bounded where it is expanded, and nothing can
//!    be referred to so often that all of it together is large ([`SHARED_BYTES_MAX`]).
//!
//! The file is opened as immutable: nothing is written beside it, and it may be on a read-only disk.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};

use super::{BUILDS_MAX, FORMAT, TABLE};
use crate::ledger::{Error, Limits, listing, migrations, operations, schema};

/// Largest file that is taken for a bundle: as large as a ledger may be.
const BUNDLE_BYTES_MAX: u64 = 256 << 20;

/// What the rows of one build may refer to, all of it together and in bytes: JSON of operations,
/// and texts of calls. Shared rows can be referred to often.
const SHARED_BYTES_MAX: u64 = 256 << 20;

/// Longest value of a column that holds a text, a short list or a digest. Most are stored clipped
/// to 512 bytes; the scopes of a call are not.
const VALUE_BYTES_MAX: usize = 4 << 20;

/// Columns whose values may be larger, and how large.
const LARGE: [(&str, &str, usize); 3] = [
    ("packs", "data", operations::PACK_DATA_MAX),
    ("chunks", "data", listing::CHUNK_DATA_MAX),
    ("listings", "chunks", listing::NAMES_BYTES_MAX),
];

/// Opens a bundle for reading; the second value is the id of its build.
pub(crate) fn open(path: &Path) -> Result<(Connection, String), Error> {
    let io = |source| Error::Io {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(io)?.len();
    let unsound = |what: String| Error::Unsound {
        path: path.to_owned(),
        what,
    };
    if size > BUNDLE_BYTES_MAX {
        let what = format!("it has {size} bytes, more than the {BUNDLE_BYTES_MAX} allowed");
        return Err(unsound(what));
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let uri = super::uri(path, "immutable=1");
    let sqlite = |source| Error::Sqlite {
        path: path.to_owned(),
        source,
    };
    let connection = Connection::open_with_flags(uri, flags).map_err(sqlite)?;
    harden(&connection).map_err(sqlite)?;
    // Says what another program's, or a newer version's, file is.
    let version = schema::version(&connection, path)?;
    if version == 0 {
        return Err(unsound("there is nothing in it".to_owned()));
    }
    if !has_format(&connection).map_err(sqlite)? {
        return Err(Error::NotABundle(path.to_owned()));
    }
    let format = "SELECT max(format) FROM bundle";
    let found: Option<u32> = connection
        .query_row(format, [], |row| row.get(0))
        .map_err(sqlite)?;
    let found = found.unwrap_or_default();
    let known = u32::try_from(migrations::MIGRATIONS.len()).unwrap_or(u32::MAX);
    if found != FORMAT || version != known {
        return Err(Error::BundleFormat {
            path: path.to_owned(),
            found: (found, version),
            known: (FORMAT, known),
        });
    }
    match inspect(&connection).map_err(sqlite)? {
        Ok(build) => Ok((connection, build)),
        Err(what) => Err(unsound(what)),
    }
}

/// Settings for a file of which nothing is known, see SQLite's advice on untrusted databases.
fn harden(connection: &Connection) -> rusqlite::Result<()> {
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
    connection.pragma_update(None, "cell_size_check", true)
}

fn has_format(connection: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT 1 FROM sqlite_schema WHERE type = 'table' AND name = 'bundle' AND sql = ?1";
    connection.prepare(sql)?.exists([TABLE])
}

/// Looks at everything; the id of the build, or what is wrong.
fn inspect(connection: &Connection) -> rusqlite::Result<Result<String, String>> {
    let expected = {
        let mut empty = Connection::open_in_memory()?;
        schema::create(&mut empty)?;
        empty.execute_batch(TABLE)?;
        definitions(&empty)?
    };
    if definitions(connection)? != expected {
        return Ok(Err("its tables are not those of a bundle".to_owned()));
    }
    let verdict =
        connection.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0))?;
    if verdict != "ok" {
        return Ok(Err(verdict));
    }
    for (table, column) in columns(connection)? {
        let large = LARGE.iter().find(|(t, c, _)| (*t, *c) == (&table, &column));
        let most = large.map_or(VALUE_BYTES_MAX, |(_, _, most)| *most);
        let sql = format!("SELECT coalesce(max(octet_length({column})), 0) FROM {table}");
        let longest: i64 = connection.query_row(&sql, [], |row| row.get(0))?;
        if longest.unsigned_abs() > most as u64 {
            let what = format!("{table}.{column} has {longest} bytes, {most} at most are written");
            return Ok(Err(what));
        }
    }
    if let Some(what) = too_many(connection)? {
        return Ok(Err(what));
    }
    let sql = "SELECT b.id FROM bundle JOIN builds b ON b.number = bundle.build";
    let ids: Vec<String> = connection
        .prepare(sql)?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    Ok(match <[String; 1]>::try_from(ids) {
        Ok([id]) => Ok(id),
        Err(_) => Err("it does not say which build it is of".to_owned()),
    })
}

/// Tables, indexes and views with the statements that made them.
fn definitions(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let sql = "SELECT name, coalesce(sql, '') FROM sqlite_schema ORDER BY type, name";
    connection
        .prepare(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// The columns of our tables.
fn columns(connection: &Connection) -> rusqlite::Result<Vec<(String, String)>> {
    let sql = "SELECT s.name, c.name FROM sqlite_schema s JOIN pragma_table_info(s.name) c
        WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'";
    connection
        .prepare(sql)?
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?
        .collect()
}

/// Which limit on numbers of rows does not hold.
fn too_many(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let limits = Limits::default();
    let counts = [
        ("builds", "SELECT count(*) FROM builds", BUILDS_MAX as u64),
        (
            "calls in a build",
            "SELECT coalesce(max(n), 0) FROM (SELECT count(*) n FROM calls GROUP BY build)",
            limits.calls_per_build_max as u64,
        ),
        (
            "vertices in a build",
            "SELECT coalesce(max(n), 0) FROM (SELECT count(*) n FROM vertices GROUP BY build)",
            limits.vertices_per_build_max as u64,
        ),
        (
            "bytes of operations in a build",
            "SELECT coalesce(max(n), 0) FROM (SELECT
                sum(coalesce(o.length, 0) + octet_length(o.name)) n FROM vertices v
                JOIN operations o ON v.planned AND o.digest = coalesce(v.canonical, v.raw)
                GROUP BY v.build)",
            SHARED_BYTES_MAX,
        ),
        (
            "bytes of calls in a build",
            "SELECT coalesce(max(n), 0) FROM (SELECT sum(octet_length(r.display)
                + octet_length(r.path) + coalesce(octet_length(r.scopes), 0)) n FROM calls c
                JOIN requests r ON r.call_key = c.call_key GROUP BY c.build)",
            SHARED_BYTES_MAX,
        ),
    ];
    for (what, sql, most) in counts {
        let count: i64 = connection.query_row(sql, [], |row| row.get(0))?;
        if u64::try_from(count).map_or(true, |count| count > most) {
            return Ok(Some(format!("{count} {what}, {most} at most are written")));
        }
    }
    Ok(None)
}
