//! Reading the ledger: the builds there are, and the rows of one.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row};

use super::row::{BuildRow, BuildState, CallRow, VertexRow};
use super::{DagOpKind, Error, Outcome, VertexKind, schema};

/// Ids named when a prefix is ambiguous.
const CANDIDATES_MAX: u32 = 5;

/// A connection that only reads. Needs no daemon and disturbs no build.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
}

impl Reader {
    /// Opens the ledger at `path`. [`Error::Empty`] when nothing was ever recorded.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let connection = schema::open_read_only(path)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
        })
    }

    /// The newest builds, newest first, at most `count`.
    pub fn builds(&self, count: usize) -> Result<Vec<BuildRow>, Error> {
        let sql = "SELECT * FROM builds ORDER BY started_ms DESC, id LIMIT ?1";
        self.rows(sql, [i64::try_from(count).unwrap_or(i64::MAX)], build_row)
    }

    /// The build called `name`: an id, the beginning of one, or `last` for the newest.
    pub fn find(&self, name: &str) -> Result<BuildRow, Error> {
        if name == "last" {
            let newest = self.builds(1)?.pop();
            return newest.ok_or_else(|| Error::Empty(self.path.clone()));
        }
        // An id is hexadecimal, so anything else, wildcards included, begins none.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::NotFound(name.to_owned()));
        }
        let sql =
            "SELECT * FROM builds WHERE id LIKE ?1 || '%' ORDER BY started_ms DESC, id LIMIT ?2";
        let mut found = self.rows(sql, (name, CANDIDATES_MAX), build_row)?;
        match found.len() {
            0 => Err(Error::NotFound(name.to_owned())),
            1 => Ok(found.remove(0)),
            _ => Err(Error::Ambiguous {
                prefix: name.to_owned(),
                candidates: found.into_iter().map(|build| build.id).collect(),
            }),
        }
    }

    /// The calls of a build, in order of start.
    pub fn calls(&self, build: &str) -> Result<Vec<CallRow>, Error> {
        let sql = "SELECT calls.*, vertices.canonical, vertices.predicted_cache_map
            FROM calls LEFT JOIN vertices
            ON vertices.build = calls.build AND vertices.raw = calls.vertex
            WHERE calls.build = ?1 ORDER BY call";
        self.rows(sql, [build], call_row)
    }

    /// The vertices of a build, in order of start; those that never started last.
    pub fn vertices(&self, build: &str) -> Result<Vec<VertexRow>, Error> {
        let sql = "SELECT * FROM vertices WHERE build = ?1 ORDER BY started_ms NULLS LAST, raw";
        self.rows(sql, [build], vertex_row)
    }

    fn rows<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: fn(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, Error> {
        let run = || {
            let mut statement = self.connection.prepare_cached(sql)?;
            statement
                .query_map(parameters, read)?
                .collect::<rusqlite::Result<_>>()
        };
        run().map_err(schema::sqlite_error(&self.path))
    }
}

fn build_row(row: &Row<'_>) -> rusqlite::Result<BuildRow> {
    Ok(BuildRow {
        id: row.get("id")?,
        state: word(row, "state", BuildState::parse)?,
        started_ms: unsigned(row, "started_ms")?,
        finished_ms: optional(row, "finished_ms")?,
        daemon: row.get("daemon")?,
        daemon_version: row.get("daemon_version")?,
        daemon_ref: row.get("daemon_ref")?,
        rows_dropped: unsigned(row, "rows_dropped")?,
    })
}

fn call_row(row: &Row<'_>) -> rusqlite::Result<CallRow> {
    let call_key: String = row.get("call_key")?;
    let storage_key: Option<String> = row.get("storage_key")?;
    Ok(CallRow {
        call: unsigned(row, "call")?,
        parent: optional(row, "parent")?,
        path: row.get("path")?,
        display: row.get("display")?,
        storage_key: storage_key.unwrap_or_else(|| call_key.clone()),
        call_key,
        scopes: list(row, "scopes")?,
        kind: word(row, "kind", DagOpKind::parse)?,
        vertex: row.get("vertex")?,
        canonical: row.get("canonical")?,
        predicted_cache_map: row.get("predicted_cache_map")?,
        other_vertices: list(row, "other_vertices")?,
        outcome: word(row, "outcome", Outcome::parse)?,
        bytes: unsigned(row, "bytes")?,
        started_ms: unsigned(row, "started_ms")?,
        finished_ms: optional(row, "finished_ms")?,
        error_class: row.get("error_class")?,
    })
}

fn vertex_row(row: &Row<'_>) -> rusqlite::Result<VertexRow> {
    Ok(VertexRow {
        raw: row.get("raw")?,
        canonical: row.get("canonical")?,
        name: row.get("name")?,
        kind: word(row, "kind", VertexKind::parse)?,
        predicted_cache_map: row.get("predicted_cache_map")?,
        outcome: word(row, "outcome", Outcome::parse)?,
        bytes: unsigned(row, "bytes")?,
        started_ms: optional(row, "started_ms")?,
        completed_ms: optional(row, "completed_ms")?,
    })
}

/// A column of a closed set of words; any other word is an error that names the column.
fn word<T>(row: &Row<'_>, column: &str, parse: fn(&str) -> Option<T>) -> rusqlite::Result<T> {
    let text: String = row.get(column)?;
    parse(&text).ok_or_else(|| unreadable(column, format!("unknown word `{text}`").into()))
}

fn list<T: serde::de::DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<Vec<T>> {
    let Some(text) = row.get::<_, Option<String>>(column)? else {
        return Ok(Vec::new());
    };
    serde_json::from_str(&text).map_err(|error| unreadable(column, error.into()))
}

fn unsigned(row: &Row<'_>, column: &str) -> rusqlite::Result<u64> {
    Ok(optional(row, column)?.unwrap_or(0))
}

fn optional(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<u64>> {
    let value: Option<i64> = row.get(column)?;
    Ok(value.map(|value| u64::try_from(value).unwrap_or(0)))
}

fn unreadable(column: &str, why: Box<dyn std::error::Error + Send + Sync>) -> rusqlite::Error {
    let why = format!("column {column}: {why}");
    rusqlite::Error::FromSqlConversionFailure(0, rusqlite::types::Type::Text, why.into())
}
