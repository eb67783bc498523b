//! One batch of a build's rows into the file, in one transaction.

use std::collections::HashMap;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};

use super::column::{integer, json, pack};
use super::listing::{self, Listing};
use super::operations::{Packer, Redaction};
use super::row::{BuildRow, CallRow, ContentRow, ImportRow, ImportedRow, LayerRow};
use super::row::{RecordRow, SourceRow, VertexRow};

/// An update of what can change. `REPLACE` would do the same at twice the price: with a foreign key
/// SQLite keeps a journal of every single such statement.
const UPSERT_CALL: &str = "INSERT INTO calls VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14)
    ON CONFLICT (build, call) DO UPDATE SET kind = ?7, vertex = ?8, other_vertices = ?9,
    outcome = ?10, bytes = ?11, finished_ms = ?13, error_class = ?14";

/// Likewise.
const UPSERT_VERTEX: &str = "INSERT INTO vertices VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13)
    ON CONFLICT (build, number) DO UPDATE SET canonical = ?4, planned = ?5, name = ?6, kind = ?7,
    cache_map = ?8, outcome = ?9, bytes = ?10, started_ms = ?11, completed_ms = ?12,
    ignore_cache = ?13";

/// Rows of one build, to be inserted or replaced. Rows name vertices by raw digest; the file names
/// them by the numbers in `numbers`.
#[derive(Default)]
pub(super) struct Batch {
    pub(super) build: BuildRow,
    pub(super) calls: Vec<CallRow>,
    pub(super) vertices: Vec<Step>,
    /// Numbers of the vertices that any row here names.
    pub(super) numbers: HashMap<String, u64>,
    /// With their numbers in the build.
    pub(super) records: Vec<(u64, RecordRow)>,
    pub(super) layers: Vec<LayerRow>,
    pub(super) contents: Vec<ContentRow>,
    /// With their numbers in the build.
    pub(super) sources: Vec<(u64, SourceRow)>,
    /// By raw digest of the local source.
    pub(super) trees: Vec<(String, Arc<dyn Listing>)>,
    pub(super) imports: Vec<ImportRow>,
    pub(super) imported: Vec<ImportedRow>,
    pub(super) redact: Option<Redaction>,
}

impl std::fmt::Debug for Batch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batch")
            .field("build", &self.build.id)
            .field("calls", &self.calls.len())
            .field("vertices", &self.vertices.len())
            .finish_non_exhaustive()
    }
}

impl Batch {
    /// Raw digests of the vertices that its rows name.
    pub(super) fn named(&self) -> impl Iterator<Item = &String> {
        let calls = self.calls.iter();
        calls
            .flat_map(|call| call.vertex.iter().chain(&call.other_vertices))
            .chain(self.records.iter().map(|(_, record)| &record.vertex))
            .chain(self.contents.iter().map(|content| &content.vertex))
            .chain(self.trees.iter().map(|(vertex, _)| vertex))
            .chain(self.imported.iter().map(|imported| &imported.vertex))
    }
}

/// A vertex's row and, for one of ours, what it asks for.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) row: VertexRow,
    pub(super) operation: Option<Arc<solver::llb::Vertex>>,
}

/// Writes a batch; returns the build's number.
pub(super) fn write_batch(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<u64> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let build = write_build(&transaction, &batch.build)?;
    write_calls(&transaction, build, batch)?;
    write_vertices(&transaction, build, batch)?;
    write_evidence(&transaction, build, batch)?;
    write_imports(&transaction, build, batch)?;
    for (raw, tree) in &batch.trees {
        let Some(vertex) = batch.numbers.get(raw) else {
            continue;
        };
        let listing = listing::store(&transaction, &**tree)?;
        transaction
            .prepare_cached("INSERT OR REPLACE INTO trees VALUES (?1, ?2, ?3)")?
            .execute(params![build, integer(*vertex), listing])?;
    }
    transaction.commit()?;
    Ok(build.unsigned_abs())
}

/// Updates or inserts: replacing would delete the build's calls with it, and an insert that turns
/// into an update would use a number up.
fn write_build(connection: &Connection, build: &BuildRow) -> rusqlite::Result<i64> {
    let values = params![
        build.id,
        build.state.as_str(),
        integer(build.started_ms),
        build.finished_ms.map(integer),
        build.daemon,
        build.daemon_version,
        build.daemon_ref,
        integer(build.rows_dropped),
    ];
    let known = connection
        .prepare_cached(
            "UPDATE builds SET state = ?2, started_ms = ?3, finished_ms = ?4, daemon = ?5,
             daemon_version = ?6, daemon_ref = ?7, rows_dropped = ?8 WHERE id = ?1
             RETURNING number",
        )?
        .query_row(values, |row| row.get(0))
        .optional()?;
    if let Some(number) = known {
        return Ok(number);
    }
    connection
        .prepare_cached(
            "INSERT INTO builds (id, state, started_ms, finished_ms, daemon, daemon_version,
             daemon_ref, rows_dropped) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) RETURNING number",
        )?
        .query_row(values, |row| row.get(0))
}

fn write_calls(connection: &Connection, build: i64, batch: &Batch) -> rusqlite::Result<()> {
    let mut find = connection.prepare_cached("SELECT path FROM requests WHERE call_key = ?1")?;
    let mut add = connection.prepare_cached("INSERT INTO requests VALUES (?1, ?2, ?3, ?4)")?;
    let mut upsert = connection.prepare_cached(UPSERT_CALL)?;
    let number = |raw: &String| batch.numbers.get(raw).copied().map(integer);
    for call in &batch.calls {
        let key = pack(&call.call_key);
        let path: Option<String> = find.query_row([&key], |row| row.get(0)).optional()?;
        if path.is_none() {
            add.execute(params![key, call.display, call.path, json(&call.scopes)])?;
        }
        let others: Vec<i64> = call.other_vertices.iter().filter_map(number).collect();
        upsert.execute(params![
            build,
            integer(call.call),
            call.parent.map(integer),
            key,
            path.is_some_and(|known| known != call.path)
                .then_some(&call.path),
            (call.storage_key != call.call_key).then(|| pack(&call.storage_key)),
            call.kind.as_str(),
            call.vertex.as_ref().and_then(number),
            json(&others),
            call.outcome.as_str(),
            integer(call.bytes),
            integer(call.started_ms),
            call.finished_ms.map(integer),
            call.error_class,
        ])?;
    }
    Ok(())
}

fn write_vertices(connection: &Connection, build: i64, batch: &Batch) -> rusqlite::Result<()> {
    let mut upsert = connection.prepare_cached(UPSERT_VERTEX)?;
    let mut packer = Packer::new(connection, batch.redact.as_ref());
    for Step { row, operation } in &batch.vertices {
        let raw = pack(&row.raw);
        let canonical = row.canonical.as_deref().map(pack);
        let cache_map = row.predicted_cache_map.as_deref();
        let (mut name, mut map) = (Some(&row.name), cache_map.map(pack));
        if let Some(canonical) = &canonical {
            let operation = operation.as_deref();
            let known = packer.add(canonical.clone(), &row.name, cache_map, operation)?;
            name = name.filter(|name| **name != known.name);
            // What the operation says is absent; that there is none, although it has one, is empty.
            map = match map {
                map if map == known.cache_map => None,
                None => Some(Vec::new()),
                map => map,
            };
        }
        upsert.execute(params![
            build,
            integer(row.number),
            raw,
            canonical.as_ref().filter(|canonical| **canonical != raw),
            canonical.is_some(),
            name,
            row.kind.as_str(),
            map,
            row.outcome.as_str(),
            integer(row.bytes),
            row.started_ms.map(integer),
            row.completed_ms.map(integer),
            row.ignore_cache,
        ])?;
    }
    packer.flush()
}

fn write_evidence(connection: &Connection, build: i64, batch: &Batch) -> rusqlite::Result<()> {
    let number = |raw: &String| batch.numbers.get(raw).copied().map(integer);
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO layers VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for layer in &batch.layers {
        insert.execute(params![
            build,
            integer(layer.number),
            layer.parent.map(integer),
            pack(&layer.blob),
            layer.diff_id.as_deref().map(pack),
            layer.chain_id.as_deref().map(pack),
            layer.size.map(integer),
            layer.media_type,
        ])?;
    }
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO records VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)")?;
    for (own, record) in &batch.records {
        let Some(vertex) = number(&record.vertex) else {
            continue;
        };
        insert.execute(params![
            build,
            integer(*own),
            vertex,
            integer(record.output),
            record.evidence.as_str(),
            pack(&record.digest),
            record.canonical.as_deref().map(pack),
            record.layer.map(integer),
        ])?;
    }
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO contents VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for content in &batch.contents {
        let Some(vertex) = number(&content.vertex) else {
            continue;
        };
        insert.execute(params![
            build,
            vertex,
            integer(content.input),
            pack(&content.record),
            content.evidence.as_str(),
        ])?;
    }
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO sources VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for (own, source) in &batch.sources {
        let kind = source.kind.as_str();
        insert.execute(params![
            build,
            integer(*own),
            kind,
            source.asked,
            source.resolved
        ])?;
    }
    Ok(())
}

fn write_imports(connection: &Connection, build: i64, batch: &Batch) -> rusqlite::Result<()> {
    let mut insert =
        connection.prepare_cached("INSERT OR REPLACE INTO imports VALUES (?1, ?2, ?3, ?4, ?5)")?;
    for import in &batch.imports {
        insert.execute(params![
            build,
            integer(import.number),
            import.kind,
            import.name,
            import.state.as_str(),
        ])?;
    }
    let mut insert = connection
        .prepare_cached("INSERT OR REPLACE INTO imported VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?;
    for imported in &batch.imported {
        let Some(vertex) = batch.numbers.get(&imported.vertex) else {
            continue;
        };
        insert.execute(params![
            build,
            integer(imported.import),
            integer(*vertex),
            integer(imported.output),
            imported.state.as_str(),
            imported.blob.as_deref().map(pack),
        ])?;
    }
    Ok(())
}
