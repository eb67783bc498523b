//! Reading the ledger: the builds there are, and the rows of one.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, Row};

use super::column::{digest, list, optional, optional_digest, pack, unsigned, word};
use super::listing::{Change, Entry, Trees};
use super::operations::Unpacker;
use super::row::{
    BuildRow, BuildState, CacheRows, CallRow, ContentRow, Evidence, ImportRow, ImportState,
    Imported, ImportedRow, LayerRow, OperationRow, RecordRow, Recorded, SourceRow, TreeRow,
    VertexRow,
};
use super::{DagOpKind, Error, Outcome, VertexKind, bundle, schema};

/// Ids named when a prefix is ambiguous.
const CANDIDATES_MAX: u32 = 5;

/// Digits of the largest text that may be a build's number rather than the beginning of an id.
const NUMBER_DIGITS_MAX: usize = 6;

/// A connection that only reads. Needs no daemon and disturbs no build.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    connection: Connection,
    /// Id of the build that a bundle is of.
    subject: Option<String>,
}

impl Reader {
    /// Opens the ledger at `path`. [`Error::Empty`] when nothing was ever recorded.
    pub fn open(path: &Path) -> Result<Self, Error> {
        let connection = schema::open_read_only(path)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            subject: None,
        })
    }

    /// Opens a bundle, after a look at all of it (see [`super::bundle`]).
    pub fn open_bundle(path: &Path) -> Result<Self, Error> {
        let (connection, build) = bundle::open(path)?;
        Ok(Self {
            path: path.to_owned(),
            connection,
            subject: Some(build),
        })
    }

    /// The builds that began last, the last one first, at most `count`.
    pub fn builds(&self, count: usize) -> Result<Vec<BuildRow>, Error> {
        let sql = "SELECT * FROM builds ORDER BY number DESC LIMIT ?1";
        self.rows(sql, [i64::try_from(count).unwrap_or(i64::MAX)], build_row)
    }

    /// The build called `name`: `last` for the newest, of a bundle the one it is of; a number, an
    /// id, or the beginning of one. A text of a few digits is a number where there is such a build.
    pub fn find(&self, name: &str) -> Result<BuildRow, Error> {
        let name = match &self.subject {
            Some(id) if name == "last" => id,
            _ => name,
        };
        if name == "last" {
            let newest = self.builds(1)?.pop();
            return newest.ok_or_else(|| Error::Empty(self.path.clone()));
        }
        // An id is hexadecimal, so anything else, wildcards included, begins none.
        if name.is_empty() || !name.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(Error::NotFound(name.to_owned()));
        }
        if let (true, Ok(number)) = (name.len() <= NUMBER_DIGITS_MAX, name.parse::<u32>()) {
            let sql = "SELECT * FROM builds WHERE number = ?1";
            if let Some(build) = self.rows(sql, [number], build_row)?.pop() {
                return Ok(build);
            }
        }
        let sql = "SELECT * FROM builds WHERE id LIKE ?1 || '%' ORDER BY number DESC LIMIT ?2";
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
        let raws = self.raws(build)?;
        let sql = "SELECT c.*, r.display, coalesce(c.path, r.path) AS full_path, r.scopes,
                iif(v.planned, coalesce(v.canonical, v.raw), NULL) AS canonical,
                coalesce(v.cache_map, o.cache_map) AS cache_map
            FROM builds b JOIN calls c ON c.build = b.number
            JOIN requests r ON r.call_key = c.call_key
            LEFT JOIN vertices v ON v.build = c.build AND v.number = c.vertex
            LEFT JOIN operations o ON v.planned AND o.digest = coalesce(v.canonical, v.raw)
            WHERE b.id = ?1 ORDER BY c.call";
        self.rows(sql, [build], |row| call_row(row, &raws))
    }

    /// The vertices of a build, in order of start; those that never started last.
    pub fn vertices(&self, build: &str) -> Result<Vec<VertexRow>, Error> {
        let sql = "SELECT v.*, coalesce(v.name, o.name) AS full_name,
                iif(v.planned, coalesce(v.canonical, v.raw), NULL) AS full_canonical,
                coalesce(v.cache_map, o.cache_map) AS full_cache_map
            FROM builds b JOIN vertices v ON v.build = b.number
            LEFT JOIN operations o ON v.planned AND o.digest = coalesce(v.canonical, v.raw)
            WHERE b.id = ?1";
        let mut vertices = self.rows(sql, [build], vertex_row)?;
        vertices.sort_by(VertexRow::by_start);
        Ok(vertices)
    }

    /// All that is known of the cache for a build.
    pub fn cache(&self, build: &str) -> Result<CacheRows, Error> {
        let raws = self.raws(build)?;
        Ok(CacheRows {
            records: self.records_of(build, &raws)?,
            layers: self.layers(build)?,
            contents: self.contents_of(build, &raws)?,
            sources: self.sources(build)?,
            trees: self.trees_of(build, &raws)?,
            imports: self.imports(build)?,
            imported: self.imported_of(build, &raws)?,
        })
    }

    /// What the cache is known to hold for the vertices of a build.
    pub fn records(&self, build: &str) -> Result<Vec<RecordRow>, Error> {
        self.records_of(build, &self.raws(build)?)
    }

    fn records_of(&self, build: &str, raws: &Raws) -> Result<Vec<RecordRow>, Error> {
        let sql = "SELECT r.* FROM builds b JOIN records r ON r.build = b.number
            WHERE b.id = ?1 ORDER BY r.number";
        self.rows(sql, [build], |row| {
            Ok(RecordRow {
                vertex: raw_of(row, raws)?,
                output: unsigned(row, "output")?,
                evidence: word(row, "evidence", Evidence::parse)?,
                digest: digest(row, "digest")?,
                canonical: optional_digest(row, "canonical")?,
                layer: optional(row, "layer")?,
            })
        })
    }

    /// The layers that the records of a build name, parents first.
    pub fn layers(&self, build: &str) -> Result<Vec<LayerRow>, Error> {
        let sql = "SELECT l.* FROM builds b JOIN layers l ON l.build = b.number
            WHERE b.id = ?1 ORDER BY l.number";
        self.rows(sql, [build], |row| {
            Ok(LayerRow {
                number: unsigned(row, "number")?,
                parent: optional(row, "parent")?,
                blob: digest(row, "blob")?,
                diff_id: optional_digest(row, "diff_id")?,
                chain_id: optional_digest(row, "chain_id")?,
                size: optional(row, "size")?,
                media_type: row.get("media_type")?,
            })
        })
    }

    /// The content of the inputs of a build's vertices, where it is known.
    pub fn contents(&self, build: &str) -> Result<Vec<ContentRow>, Error> {
        self.contents_of(build, &self.raws(build)?)
    }

    fn contents_of(&self, build: &str, raws: &Raws) -> Result<Vec<ContentRow>, Error> {
        let sql = "SELECT c.* FROM builds b JOIN contents c ON c.build = b.number
            WHERE b.id = ?1 ORDER BY c.vertex, c.input, c.evidence";
        self.rows(sql, [build], |row| {
            Ok(ContentRow {
                vertex: raw_of(row, raws)?,
                input: unsigned(row, "input")?,
                record: digest(row, "record")?,
                evidence: word(row, "evidence", Evidence::parse)?,
            })
        })
    }

    /// What names stood for in a build, in the order in which they were asked for.
    pub fn sources(&self, build: &str) -> Result<Vec<SourceRow>, Error> {
        let sql = "SELECT s.* FROM builds b JOIN sources s ON s.build = b.number
            WHERE b.id = ?1 ORDER BY s.number";
        self.rows(sql, [build], |row| {
            Ok(SourceRow {
                kind: word(row, "kind", VertexKind::parse)?,
                asked: row.get("asked")?,
                resolved: row.get("resolved")?,
            })
        })
    }

    /// The trees that the local sources of a build gave.
    pub fn trees(&self, build: &str) -> Result<Vec<TreeRow>, Error> {
        self.trees_of(build, &self.raws(build)?)
    }

    fn trees_of(&self, build: &str, raws: &Raws) -> Result<Vec<TreeRow>, Error> {
        let sql = "SELECT t.* FROM builds b JOIN trees t ON t.build = b.number
            WHERE b.id = ?1 ORDER BY t.vertex";
        self.rows(sql, [build], |row| {
            Ok(TreeRow {
                vertex: raw_of(row, raws)?,
                listing: digest(row, "listing")?,
            })
        })
    }

    /// The caches that a build was told to read, in the order in which it was told.
    pub fn imports(&self, build: &str) -> Result<Vec<ImportRow>, Error> {
        let sql = "SELECT i.* FROM builds b JOIN imports i ON i.build = b.number
            WHERE b.id = ?1 ORDER BY i.number";
        self.rows(sql, [build], |row| {
            Ok(ImportRow {
                number: unsigned(row, "number")?,
                kind: row.get("kind")?,
                name: row.get("name")?,
                state: word(row, "state", ImportState::parse)?,
            })
        })
    }

    /// What those caches have of the build's vertices.
    pub fn imported(&self, build: &str) -> Result<Vec<ImportedRow>, Error> {
        self.imported_of(build, &self.raws(build)?)
    }

    fn imported_of(&self, build: &str, raws: &Raws) -> Result<Vec<ImportedRow>, Error> {
        let sql = "SELECT i.* FROM builds b JOIN imported i ON i.build = b.number
            WHERE b.id = ?1 ORDER BY i.import, i.vertex, i.output";
        self.rows(sql, [build], |row| {
            Ok(ImportedRow {
                import: unsigned(row, "import")?,
                vertex: raw_of(row, raws)?,
                output: unsigned(row, "output")?,
                state: word(row, "state", Imported::parse)?,
                blob: optional_digest(row, "blob")?,
            })
        })
    }

    /// The operations of a build's vertices, by canonical digest.
    pub fn operations(&self, build: &str) -> Result<HashMap<String, OperationRow>, Error> {
        self.operations_but(build, |_| false)
    }

    /// As [`Self::operations`], without those that are `known`: builds share most of them, and to
    /// read one costs more than to find it.
    pub(crate) fn operations_but(
        &self,
        build: &str,
        known: impl Fn(&str) -> bool,
    ) -> Result<HashMap<String, OperationRow>, Error> {
        let mut unpacker = Unpacker::default();
        // In order of their packs, so that each is expanded once.
        let sql = "SELECT DISTINCT o.* FROM builds b JOIN vertices v ON v.build = b.number
            JOIN operations o ON v.planned AND o.digest = coalesce(v.canonical, v.raw)
            WHERE b.id = ?1 ORDER BY o.pack, o.at";
        let rows = self.rows(sql, [build], |row| {
            if known(&digest(row, "digest")?) {
                return Ok(None);
            }
            unpacker.read(&self.connection, row).map(Some)
        })?;
        Ok(rows
            .into_iter()
            .flatten()
            .map(|row| (row.digest.clone(), row))
            .collect())
    }

    /// The operation with this canonical digest, of whatever build.
    pub fn operation(&self, canonical: &str) -> Result<Option<OperationRow>, Error> {
        let sql = "SELECT * FROM operations WHERE digest = ?1";
        let mut unpacker = Unpacker::default();
        let read = |row: &Row<'_>| unpacker.read(&self.connection, row);
        Ok(self.rows(sql, [pack(canonical)], read)?.pop())
    }

    /// The newest vertex of any build that has a cache record of this digest.
    pub fn with_record(&self, record: &str) -> Result<Option<Recorded>, Error> {
        let sql = "SELECT b.id, v.kind, coalesce(v.name, o.name) AS full_name,
                coalesce(v.canonical, v.raw) AS full_canonical
            FROM records r JOIN builds b ON b.number = r.build
            JOIN vertices v ON v.build = r.build AND v.number = r.vertex
            LEFT JOIN operations o ON v.planned AND o.digest = coalesce(v.canonical, v.raw)
            WHERE r.digest = ?1 ORDER BY b.started_ms DESC LIMIT 1";
        let rows = self.rows(sql, [pack(record)], |row| {
            Ok(Recorded {
                build: row.get("id")?,
                canonical: digest(row, "full_canonical")?,
                name: row.get("full_name")?,
                kind: word(row, "kind", VertexKind::parse)?,
            })
        })?;
        Ok(rows.into_iter().next())
    }

    /// The files of a tree, in order of path; none if the ledger does not have (or keep) it.
    pub fn listing(&self, tree: &str) -> Result<Option<Vec<Entry>>, Error> {
        let entries = Trees::new(&self.connection).entries(tree);
        entries.map_err(schema::sqlite_error(&self.path))
    }

    /// How two trees differ, in order of path; none unless this ledger has the earlier one and the
    /// given ledger, which may be the same, the later one. Reads only what they do not share.
    pub fn tree_changes(
        &self,
        before: &str,
        (ledger, after): (&Self, &str),
    ) -> Result<Option<Vec<Change>>, Error> {
        let later = Trees::new(&ledger.connection);
        let changes = Trees::new(&self.connection).changes(before, (&later, after));
        changes.map_err(schema::sqlite_error(&self.path))
    }

    /// Raw digests of a build's vertices by their numbers.
    fn raws(&self, build: &str) -> Result<Raws, Error> {
        let sql = "SELECT v.number, v.raw FROM builds b JOIN vertices v ON v.build = b.number
            WHERE b.id = ?1";
        let rows = self.rows(sql, [build], |row| {
            Ok((unsigned(row, "number")?, digest(row, "raw")?))
        })?;
        Ok(rows.into_iter().collect())
    }

    fn rows<T>(
        &self,
        sql: &str,
        parameters: impl rusqlite::Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
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
        number: Some(unsigned(row, "number")?),
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

/// Raw digests of a build's vertices, by number.
type Raws = HashMap<u64, String>;

fn raw_of(row: &Row<'_>, raws: &Raws) -> rusqlite::Result<String> {
    let number = unsigned(row, "vertex")?;
    Ok(raws.get(&number).cloned().unwrap_or_default())
}

fn call_row(row: &Row<'_>, raws: &Raws) -> rusqlite::Result<CallRow> {
    let call_key = digest(row, "call_key")?;
    let others: Vec<u64> = list(row, "other_vertices")?;
    let vertex = optional(row, "vertex")?;
    Ok(CallRow {
        call: unsigned(row, "call")?,
        parent: optional(row, "parent")?,
        path: row.get("full_path")?,
        display: row.get("display")?,
        storage_key: optional_digest(row, "storage_key")?.unwrap_or_else(|| call_key.clone()),
        call_key,
        scopes: list(row, "scopes")?,
        kind: word(row, "kind", DagOpKind::parse)?,
        vertex: vertex.and_then(|number| raws.get(&number).cloned()),
        canonical: optional_digest(row, "canonical")?,
        predicted_cache_map: cache_map(row, "cache_map")?,
        other_vertices: others
            .iter()
            .filter_map(|number| raws.get(number).cloned())
            .collect(),
        outcome: word(row, "outcome", Outcome::parse)?,
        bytes: unsigned(row, "bytes")?,
        started_ms: unsigned(row, "started_ms")?,
        finished_ms: optional(row, "finished_ms")?,
        error_class: row.get("error_class")?,
    })
}

fn vertex_row(row: &Row<'_>) -> rusqlite::Result<VertexRow> {
    Ok(VertexRow {
        number: unsigned(row, "number")?,
        raw: digest(row, "raw")?,
        canonical: optional_digest(row, "full_canonical")?,
        name: row.get("full_name")?,
        kind: word(row, "kind", VertexKind::parse)?,
        predicted_cache_map: cache_map(row, "full_cache_map")?,
        outcome: word(row, "outcome", Outcome::parse)?,
        bytes: unsigned(row, "bytes")?,
        started_ms: optional(row, "started_ms")?,
        completed_ms: optional(row, "completed_ms")?,
        ignore_cache: row.get("ignore_cache")?,
    })
}

/// A cache map; an empty one says that there is none.
fn cache_map(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<String>> {
    let stored: Option<Vec<u8>> = row.get(column)?;
    match stored {
        Some(bytes) if bytes.is_empty() => Ok(None),
        _ => optional_digest(row, column),
    }
}
