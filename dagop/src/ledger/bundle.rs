//! A build in a file of its own, for another machine, together with the builds that it is compared
//! with: `why`, `diff`, `keys`, `waste` and `explore` say from it what they say from the ledger.
//!
//! # Format
//! A SQLite file with the ledger's tables (`migrations`), cut down to these builds and what they
//! share, and one table more, whose only row says what the file is:
//!
//! | column of `bundle` | value |
//! |---|---|
//! | `format` | [`FORMAT`]; files of another one are refused |
//! | `build` | number of the build that the bundle is of: what `last` stands for |
//! | `dagop` | version that wrote it, for people |
//!
//! Numbers and ids of builds are those of the ledger. Format 1 had one build and no such table.
//! `check` opens a bundle, and believes nothing that it says.
//!
//! # Privacy
//! The rows are copied into a database in memory, redacted there (`redaction` says what), and
//! written out compactly, so that nothing of what was replaced is in the file, not even in unused
//! space. A value is replaced by `redacted:` and a fingerprint, keyed by a number that is made for
//! each file and is not in it: two uses of one value can be seen to be equal, and it cannot be
//! guessed by trial. The digests of steps and calls are those of the real values: whoever guesses a
//! whole step, its secrets included, can confirm the guess.

mod check;
mod redaction;

use std::collections::BTreeSet;
use std::path::Path;

use rusqlite::types::Value as Stored;
use rusqlite::{Connection, OpenFlags, params_from_iter};

use super::column::pack;
use super::operations::{Repacker, Unpacker};
use super::{Error, Reader, listing, schema};

pub use redaction::SECRET_NAMES;

pub(super) use check::open;

use redaction::Redaction;

/// Version of the format, see the module.
pub const FORMAT: u32 = 2;

/// Most builds in one file: the one it is of, and as many as it can be compared with.
pub const BUILDS_MAX: usize = 64;

/// What makes a ledger a bundle.
const TABLE: &str =
    "CREATE TABLE bundle (format INTEGER NOT NULL, build INTEGER NOT NULL, dagop TEXT NOT NULL)";

/// Tables whose rows carry the number of their build.
const OF_BUILD: [&str; 9] = [
    "calls", "vertices", "contents", "layers", "records", "sources", "trees", "imports", "imported",
];

/// Columns of text that may quote anything, with the columns that name their row.
const TEXTS: [(&str, &[&str], &str); 11] = [
    ("requests", &["call_key"], "display"),
    ("requests", &["call_key"], "path"),
    ("requests", &["call_key"], "scopes"),
    ("operations", &["digest"], "name"),
    ("vertices", &["build", "number"], "name"),
    ("calls", &["build", "call"], "path"),
    ("sources", &["build", "number"], "asked"),
    ("sources", &["build", "number"], "resolved"),
    ("imports", &["build", "number"], "name"),
    ("builds", &["number"], "daemon"),
    ("builds", &["number"], "daemon_ref"),
];

/// Writes the build `build` and those it may be compared with to `target`, which must not exist.
/// `is_secret` says of a name whether its value is secret, beside those of [`SECRET_NAMES`].
///
/// # Errors
/// When there is no such build, or the file cannot be written.
pub fn write(
    ledger: &Path,
    build: &str,
    against: &[String],
    target: &Path,
    is_secret: &dyn Fn(&str) -> bool,
) -> Result<(), Error> {
    let reader = Reader::open(ledger)?;
    let number = |name: &str| {
        let number = reader.find(name)?.number.unwrap_or_default();
        Ok::<_, Error>(i64::try_from(number).unwrap_or_default())
    };
    let of = number(build)?;
    let numbers = against.iter().map(|name| number(name));
    let mut numbers: BTreeSet<i64> = numbers.collect::<Result<_, _>>()?;
    numbers.insert(of);
    if numbers.len() > BUILDS_MAX {
        return Err(Error::TooManyBuilds(numbers.len()));
    }
    let sqlite = schema::sqlite_error(ledger);
    let copy = copy(ledger, of, &numbers).map_err(&sqlite)?;
    redact(&copy, is_secret).map_err(&sqlite)?;
    write_out(&copy, target)
}

/// Complete or not at all, and its owner's alone.
fn write_out(copy: &Connection, target: &Path) -> Result<(), Error> {
    let io = |source| Error::Io {
        path: target.to_owned(),
        source,
    };
    let folder = target.parent().filter(|p| !p.as_os_str().is_empty());
    let temporary = tempfile::Builder::new()
        .prefix(".dagop-")
        .tempdir_in(folder.unwrap_or(Path::new(".")))
        .map_err(io)?;
    let path = temporary.path().join("bundle");
    copy.execute("VACUUM INTO ?1", [path.to_string_lossy()])
        .map_err(schema::sqlite_error(target))?;
    let private = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&path, private).map_err(io)?;
    // What is beyond the limits of a reader is said now, and not on the other machine.
    drop(open(&path)?);
    std::fs::hard_link(&path, target).map_err(io)
}

/// SQLite's name for a file, with parameters.
fn uri(path: &Path, parameters: &str) -> String {
    let path = path
        .to_string_lossy()
        .replace('%', "%25")
        .replace('?', "%3f")
        .replace('#', "%23");
    format!("file:{path}?{parameters}")
}

/// The rows of some builds in memory, as they were at one moment.
fn copy(ledger: &Path, of: i64, numbers: &BTreeSet<i64>) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
        | OpenFlags::SQLITE_OPEN_CREATE
        | OpenFlags::SQLITE_OPEN_URI
        | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut copy = Connection::open_with_flags(":memory:", flags)?;
    schema::create(&mut copy)?;
    copy.execute_batch(TABLE)?;
    copy.execute(
        "INSERT INTO bundle VALUES (?1, ?2, ?3)",
        (FORMAT, of, env!("CARGO_PKG_VERSION")),
    )?;
    copy.execute("ATTACH ?1 AS source", [uri(ledger, "mode=ro")])?;
    let transaction = copy.unchecked_transaction()?;
    for number in numbers {
        let sql = "INSERT INTO main.builds SELECT * FROM source.builds WHERE number = ?1";
        copy.execute(sql, [number])?;
        for table in OF_BUILD {
            let sql =
                format!("INSERT INTO main.{table} SELECT * FROM source.{table} WHERE build = ?1");
            copy.execute(&sql, [number])?;
        }
    }
    copy.execute_batch(
        "INSERT INTO main.requests SELECT * FROM source.requests
             WHERE call_key IN (SELECT call_key FROM main.calls);
         INSERT INTO main.operations SELECT * FROM source.operations
             WHERE digest IN (SELECT coalesce(canonical, raw) FROM main.vertices WHERE planned);
         INSERT INTO main.packs SELECT * FROM source.packs
             WHERE id IN (SELECT pack FROM main.operations);
         INSERT INTO main.listings SELECT * FROM source.listings
             WHERE digest IN (SELECT listing FROM main.trees);",
    )?;
    listing::copy_chunks(&copy)?;
    transaction.commit()?;
    copy.execute_batch("DETACH source")?;
    Ok(copy)
}

/// Redacts every text of the copy.
fn redact(copy: &Connection, is_secret: &dyn Fn(&str) -> bool) -> rusqlite::Result<()> {
    let mut unpacker = Unpacker::default();
    let sql = "SELECT * FROM operations ORDER BY pack, at";
    let mut operations = copy
        .prepare(sql)?
        .query_map([], |row| unpacker.read(copy, row))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let mut redaction = Redaction::new(is_secret);
    for operation in &operations {
        redaction.learn_value(&operation.fields);
    }
    let mut texts = Vec::new();
    for (table, keys, column) in TEXTS {
        for (key, text) in column_texts(copy, keys, table, column)? {
            redaction.learn(&text);
            texts.push((table, keys, column, key, text));
        }
    }
    redaction.ready();
    for (table, keys, column, mut key, text) in texts {
        let clean = redaction.text(&text);
        if clean != text {
            let places = (1..).zip(keys).map(|(at, name)| format!("{name} = ?{at}"));
            let places: Vec<String> = places.collect();
            let places = places.join(" AND ");
            let last = keys.len() + 1;
            let sql = format!("UPDATE {table} SET {column} = ?{last} WHERE {places}");
            key.push(clean.into());
            copy.prepare_cached(&sql)?.execute(params_from_iter(key))?;
        }
    }
    // All packs anew, those of the ledger with what other builds share go.
    let newest: Option<i64> = copy.query_row("SELECT max(id) FROM packs", [], |row| row.get(0))?;
    let mut packer = Repacker::new(copy);
    for operation in &mut operations {
        redaction.value(&mut operation.fields);
        let inputs = operation.inputs.iter_mut();
        for path in inputs.filter_map(|input| input.content.as_mut()).flatten() {
            *path = redaction.text(path);
        }
        packer.add(pack(&operation.digest), operation)?;
    }
    packer.flush()?;
    copy.execute("DELETE FROM packs WHERE id <= ?1", [newest])?;
    listing::rewrite_texts(copy, &|text| redaction.text(text))
}

/// The texts of a column, each with what names its row.
fn column_texts(
    copy: &Connection,
    keys: &[&str],
    table: &str,
    column: &str,
) -> rusqlite::Result<Vec<(Vec<Stored>, String)>> {
    let names = keys.join(", ");
    let sql = format!("SELECT {names}, {column} FROM {table} WHERE {column} IS NOT NULL");
    let read = |row: &rusqlite::Row<'_>| {
        let key = (0..keys.len()).map(|at| row.get(at));
        Ok((key.collect::<Result<_, _>>()?, row.get(keys.len())?))
    };
    copy.prepare(&sql)?.query_map([], read)?.collect()
}
