//! Operations on their way into the file: what each step asks for, once for all builds.
//!
//! An operation that the file knows costs one look-up. A new one is described field by field
//! ([`solver::cachemap::operation`]), redacted, and packed with its neighbours: operations of one
//! pipeline are much alike, so that compressed together they take a few dozen bytes each. A pack
//! goes when no operation in it is in use any more (`house`).

use std::borrow::Cow;
use std::collections::HashSet;
use std::sync::Arc;

use rusqlite::{Connection, OptionalExtension as _, params};
use serde_json::Value;
use solver::cachemap::{self, Profile};
use solver::llb::Vertex;

use super::OPERATION_BYTES_MAX;
use super::column::{self, integer, pack};
use super::row::{InputRow, OperationRow};

/// JSON in one pack before it is compressed, in bytes. Reading one operation expands a whole pack.
const PACK_BYTES: usize = 64 << 10;

/// Largest compressed pack, in bytes: what does not compress grows by less than that.
pub(super) const PACK_DATA_MAX: usize = (PACK_BYTES + OPERATION_BYTES_MAX) / 64 * 65;

/// Speed before size: most of a pack is repetition, which any level finds.
const LEVEL: i32 = 1;

/// Replaces what must not be stored in a text; the session's secrets are known to it.
pub type Redaction = Arc<dyn Fn(&str) -> Cow<'_, str> + Send + Sync>;

/// What an operation's row says, as far as a vertex may differ from it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) name: String,
    pub(super) cache_map: Option<Vec<u8>>,
}

/// An operation that is not in the file yet.
struct New {
    digest: Vec<u8>,
    known: Known,
    range: Option<(usize, usize)>,
}

/// Adds operations within one transaction.
pub(super) struct Packer<'a> {
    connection: &'a Connection,
    redact: Option<&'a Redaction>,
    new: Vec<New>,
    seen: HashSet<Vec<u8>>,
    json: Vec<u8>,
}

impl<'a> Packer<'a> {
    pub(super) fn new(connection: &'a Connection, redact: Option<&'a Redaction>) -> Self {
        Self {
            connection,
            redact,
            new: Vec::new(),
            seen: HashSet::new(),
            json: Vec::new(),
        }
    }

    /// What the file says of the operation with this digest, after adding it if need be.
    pub(super) fn add(
        &mut self,
        digest: Vec<u8>,
        name: &str,
        cache_map: Option<&str>,
        vertex: Option<&Vertex>,
    ) -> rusqlite::Result<Known> {
        let sql = "SELECT name, cache_map FROM operations WHERE digest = ?1";
        let mut find = self.connection.prepare_cached(sql)?;
        let found = find.query_row([&digest], |row| {
            Ok(Known {
                name: row.get(0)?,
                cache_map: row.get(1)?,
            })
        });
        if let Some(known) = found.optional()? {
            return Ok(known);
        }
        let known = Known {
            name: name.to_owned(),
            cache_map: cache_map.map(pack),
        };
        if !self.seen.insert(digest.clone()) {
            // Twice in one batch: the first one's row is on its way.
            let first = self.new.iter().find(|new| new.digest == digest);
            return Ok(first.map_or(known, |new| new.known.clone()));
        }
        let range = vertex.and_then(|vertex| self.describe(vertex));
        self.new.push(New {
            digest,
            known: known.clone(),
            range,
        });
        if self.json.len() >= PACK_BYTES {
            self.flush()?;
        }
        Ok(known)
    }

    /// Appends the JSON of an operation to the pack; nothing for one that is too long.
    fn describe(&mut self, vertex: &Vertex) -> Option<(usize, usize)> {
        let mut fields = cachemap::operation(vertex);
        if let Some(redact) = self.redact {
            redact_value(&mut fields, redact);
        }
        let at = self.json.len();
        serde_json::to_writer(&mut self.json, &(inputs(vertex), fields))
            .expect("JSON values always serialise");
        let length = self.json.len() - at;
        if length > OPERATION_BYTES_MAX {
            self.json.truncate(at);
            return None;
        }
        Some((at, length))
    }

    /// Writes what is pending.
    pub(super) fn flush(&mut self) -> rusqlite::Result<()> {
        let pack = write_pack(self.connection, &mut self.json)?;
        let sql = "INSERT OR IGNORE INTO operations VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let mut insert = self.connection.prepare_cached(sql)?;
        for new in self.new.drain(..) {
            insert.execute(params![
                new.digest,
                new.known.name,
                new.known.cache_map,
                new.range.and(pack),
                new.range.map(|(at, _)| integer(at as u64)),
                new.range.map(|(_, length)| integer(length as u64)),
            ])?;
        }
        Ok(())
    }
}

/// Adds fields to operations whose rows are there: for a copy of a ledger.
pub(super) struct Repacker<'a> {
    connection: &'a Connection,
    json: Vec<u8>,
    places: Vec<(Vec<u8>, usize, usize)>,
}

impl<'a> Repacker<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self {
            connection,
            json: Vec::new(),
            places: Vec::new(),
        }
    }

    pub(super) fn add(&mut self, digest: Vec<u8>, row: &OperationRow) -> rusqlite::Result<()> {
        if row.fields.is_null() {
            return Ok(());
        }
        let at = self.json.len();
        serde_json::to_writer(&mut self.json, &(&row.inputs, &row.fields))
            .expect("JSON values always serialise");
        self.places.push((digest, at, self.json.len() - at));
        if self.json.len() >= PACK_BYTES {
            self.flush()?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> rusqlite::Result<()> {
        let pack = write_pack(self.connection, &mut self.json)?;
        let sql = "UPDATE operations SET pack = ?2, at = ?3, length = ?4 WHERE digest = ?1";
        let mut update = self.connection.prepare_cached(sql)?;
        for (digest, at, length) in self.places.drain(..) {
            update.execute(params![
                digest,
                pack,
                integer(at as u64),
                integer(length as u64)
            ])?;
        }
        Ok(())
    }
}

/// Writes a pack, if there is anything in it, and empties it; returns its id.
fn write_pack(connection: &Connection, json: &mut Vec<u8>) -> rusqlite::Result<Option<i64>> {
    if json.is_empty() {
        return Ok(None);
    }
    let data =
        zstd::bulk::compress(json, LEVEL).map_err(|error| column::broken(&error.to_string()))?;
    json.clear();
    let sql = "INSERT INTO packs (data) VALUES (?1)";
    connection.prepare_cached(sql)?.execute([data])?;
    Ok(Some(connection.last_insert_rowid()))
}

/// How a vertex uses its inputs.
fn inputs(vertex: &Vertex) -> Vec<InputRow> {
    let map = cachemap::of(vertex, Profile::NEWEST).ok();
    let inputs = vertex.inputs().iter().enumerate();
    inputs
        .map(|(index, input)| {
            let map = map.as_ref().and_then(|map| map.inputs.get(index));
            let content = map.and_then(|map| map.content.as_ref());
            InputRow {
                vertex: input.vertex().canonical().to_string(),
                output: u64::try_from(input.index()).unwrap_or(0),
                selector: map
                    .and_then(|map| map.selector.as_ref())
                    .map(ToString::to_string),
                content: content.map(|list| list.iter().map(|one| one.path.clone()).collect()),
            }
        })
        .collect()
}

/// Redacts every text in a value. Operations nest a handful of levels deep.
fn redact_value(value: &mut Value, redact: &Redaction) {
    match value {
        Value::String(text) => {
            if let Cow::Owned(clean) = redact(text) {
                *text = clean;
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|item| redact_value(item, redact)),
        Value::Object(map) => map.values_mut().for_each(|item| redact_value(item, redact)),
        _ => {}
    }
}

/// Reads operations back; keeps the pack it read last, as neighbours are asked for together.
#[derive(Debug, Default)]
pub(super) struct Unpacker {
    last: Option<(i64, Vec<u8>)>,
}

impl Unpacker {
    /// The operation of a row of `operations`.
    pub(super) fn read(
        &mut self,
        connection: &Connection,
        row: &rusqlite::Row<'_>,
    ) -> rusqlite::Result<OperationRow> {
        let digest = column::digest(row, "digest")?;
        let name = row.get("name")?;
        let position = |column| {
            let value = column::optional(row, column)?;
            Ok::<_, rusqlite::Error>(value.and_then(|value| usize::try_from(value).ok()))
        };
        let pack: Option<i64> = row.get("pack")?;
        let place = (pack, position("at")?, position("length")?);
        let (inputs, fields) = match place {
            (Some(pack), Some(at), Some(length)) => {
                let json = self
                    .pack(connection, pack)?
                    .get(at..at.saturating_add(length));
                let json =
                    json.ok_or_else(|| column::broken("an operation outside of its pack"))?;
                serde_json::from_slice(json).map_err(|error| column::broken(&error.to_string()))?
            }
            _ => (Vec::new(), Value::Null),
        };
        Ok(OperationRow {
            digest,
            name,
            inputs,
            fields,
        })
    }

    fn pack(&mut self, connection: &Connection, id: i64) -> rusqlite::Result<&[u8]> {
        if self.last.as_ref().is_none_or(|(last, _)| *last != id) {
            let sql = "SELECT data FROM packs WHERE id = ?1";
            let data: Vec<u8> = connection
                .prepare_cached(sql)?
                .query_row([id], |row| row.get(0))?;
            // One operation may exceed the size at which a pack is closed.
            let json = zstd::bulk::decompress(&data, PACK_BYTES + OPERATION_BYTES_MAX)
                .map_err(|error| column::broken(&error.to_string()))?;
            self.last = Some((id, json));
        }
        Ok(self.last.as_ref().map_or(&[], |(_, json)| json))
    }
}
