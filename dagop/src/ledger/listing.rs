//! Listings: what a local source held, file by file, so that a later build can say which file
//! changed when the old tree is long gone.
//!
//! A listing is filed under the digest of its tree, so an unchanged directory costs one look-up.
//! Its entries, in order of path, are cut into chunks at paths that their own hash chooses; a chunk
//! is stored once, whatever listings it is part of. A changed file therefore adds one chunk of
//! about [`CHUNK_ENTRIES`] entries, also to a directory of a million files.
//!
//! A chunk is lines of JSON, one array per entry, compressed: `["a/b",33188,0,0,5,"sha256:…",""]`.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _, params};
use serde::{Deserialize, Serialize};

use super::column::{self, integer};

/// Entries in a chunk, on average.
const CHUNK_ENTRIES: usize = 128;

/// Most entries in a chunk: names can be chosen so that none of them ends a chunk.
const CHUNK_ENTRIES_MAX: usize = 8 * CHUNK_ENTRIES;

/// Most entries of a stored listing; of larger trees only the digest is kept.
const LISTING_ENTRIES_MAX: usize = 2_000_000;

/// Largest expanded chunk, in bytes; paths and link targets have up to 4 KiB each.
const CHUNK_BYTES_MAX: usize = CHUNK_ENTRIES_MAX * (9 << 10);

/// Bytes of a chunk's name.
const NAME_BYTES: usize = 32;

/// One file, directory or link of a tree.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    /// Path in the tree, without a slash in front.
    pub path: String,
    /// Type and permissions, as `st_mode` has them.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Bytes of a regular file, else 0.
    pub size: u64,
    /// Digest of a regular file as the cache's content keys have it, else empty.
    pub digest: String,
    /// Target of a symbolic link, else empty.
    pub link: String,
}

/// An entry as a line of a chunk.
type Line = (String, u32, u32, u32, u64, String, String);

/// A tree that can be listed.
pub trait Listing: Send + Sync {
    /// Digest of the tree: equal for trees with equal entries.
    fn digest(&self) -> String;

    /// Its entries in order of path; asked for only when the ledger does not have the tree.
    fn entries(&self) -> Box<dyn Iterator<Item = Entry> + '_>;
}

impl std::fmt::Debug for dyn Listing {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Listing").field(&self.digest()).finish()
    }
}

/// Stores a listing unless it is there.
pub(super) fn store(connection: &Connection, listing: &dyn Listing) -> rusqlite::Result<Vec<u8>> {
    let name = column::pack(&listing.digest());
    let known = connection
        .prepare_cached("SELECT 1 FROM listings WHERE digest = ?1")?
        .exists([&name])?;
    if known {
        return Ok(name);
    }
    let mut insert =
        connection.prepare_cached("INSERT OR IGNORE INTO chunks (digest, data) VALUES (?1, ?2)")?;
    let (mut chunks, mut count, mut bytes) = (Vec::new(), 0, 0);
    let (mut lines, mut held) = (Vec::new(), 0);
    let mut entries = listing.entries().peekable();
    while let Some(entry) = entries.next() {
        count += 1;
        if count > LISTING_ENTRIES_MAX {
            return Ok(name);
        }
        held += 1;
        let ends = held >= CHUNK_ENTRIES_MAX || ends_chunk(&entry.path) || entries.peek().is_none();
        let line: Line = (
            entry.path,
            entry.mode,
            entry.uid,
            entry.gid,
            entry.size,
            entry.digest,
            entry.link,
        );
        serde_json::to_writer(&mut lines, &line).expect("texts and numbers always serialise");
        lines.push(b'\n');
        if ends {
            let digest = *blake3::hash(&lines).as_bytes();
            chunks.extend_from_slice(&digest);
            let data = zstd::bulk::compress(&lines, 1)
                .map_err(|error| column::broken(&error.to_string()))?;
            let size = data.len();
            bytes += insert.execute(params![digest, data])? * size;
            lines.clear();
            held = 0;
        }
    }
    connection
        .prepare_cached("INSERT OR IGNORE INTO listings VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![
            name,
            chunks,
            integer(count as u64),
            integer(bytes as u64)
        ])?;
    Ok(name)
}

/// A path ends its chunk with a chance of one in [`CHUNK_ENTRIES`], the same in every tree.
fn ends_chunk(path: &str) -> bool {
    let hash = blake3::hash(path.as_bytes());
    let bytes = hash.as_bytes();
    usize::from(u16::from_le_bytes([bytes[0], bytes[1]])) % CHUNK_ENTRIES == 0
}

/// Reads listings back.
#[derive(Debug)]
pub(super) struct Trees<'a> {
    connection: &'a Connection,
}

/// How a path differs between two trees: before and after, one of them absent if it was added or
/// removed.
pub type Change = (Option<Entry>, Option<Entry>);

impl<'a> Trees<'a> {
    pub(super) fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// The entries of the tree with this digest, in order of path; none if it is not stored.
    pub(super) fn entries(&self, digest: &str) -> rusqlite::Result<Option<Vec<Entry>>> {
        let Some(chunks) = self.chunks(digest)? else {
            return Ok(None);
        };
        let mut entries = Vec::new();
        for chunk in chunks.chunks(NAME_BYTES) {
            entries.extend(self.chunk(chunk)?);
        }
        Ok(Some(entries))
    }

    /// The paths that differ between two trees, in order; none unless both are stored, the later
    /// one in `ledger`. Reads only the chunks that the trees do not share.
    pub(super) fn changes(
        &self,
        before: &str,
        (ledger, after): (&Trees<'_>, &str),
    ) -> rusqlite::Result<Option<Vec<Change>>> {
        let (Some(old), Some(new)) = (self.chunks(before)?, ledger.chunks(after)?) else {
            return Ok(None);
        };
        let mut paths: BTreeMap<String, Change> = BTreeMap::new();
        for name in without(&old, &new) {
            for entry in self.chunk(name)? {
                let path = entry.path.clone();
                paths.entry(path).or_default().0 = Some(entry);
            }
        }
        for name in without(&new, &old) {
            for entry in ledger.chunk(name)? {
                let path = entry.path.clone();
                paths.entry(path).or_default().1 = Some(entry);
            }
        }
        let changes = paths.into_values().filter(|(old, new)| old != new);
        Ok(Some(changes.collect()))
    }

    fn chunks(&self, digest: &str) -> rusqlite::Result<Option<Vec<u8>>> {
        self.connection
            .prepare_cached("SELECT chunks FROM listings WHERE digest = ?1")?
            .query_row([column::pack(digest)], |row| row.get(0))
            .optional()
    }

    fn chunk(&self, name: &[u8]) -> rusqlite::Result<Vec<Entry>> {
        let data: Vec<u8> = self
            .connection
            .prepare_cached("SELECT data FROM chunks WHERE digest = ?1")?
            .query_row([name], |row| row.get(0))?;
        let broken = |error: &dyn std::fmt::Display| column::broken(&error.to_string());
        let lines = zstd::bulk::decompress(&data, CHUNK_BYTES_MAX).map_err(|e| broken(&e))?;
        let lines = lines.split(|byte| *byte == b'\n').filter(|l| !l.is_empty());
        lines
            .map(|line| {
                let line: Line = serde_json::from_slice(line).map_err(|e| broken(&e))?;
                let (path, mode, uid, gid, size, digest, link) = line;
                Ok(Entry {
                    path,
                    mode,
                    uid,
                    gid,
                    size,
                    digest,
                    link,
                })
            })
            .collect()
    }
}

/// The chunks of one listing that another does not have.
fn without<'a>(list: &'a [u8], other: &[u8]) -> Vec<&'a [u8]> {
    let other: HashSet<&[u8]> = other.chunks(NAME_BYTES).collect();
    let names = list.chunks(NAME_BYTES);
    names.filter(|name| !other.contains(name)).collect()
}

/// Removes listings that no build refers to, and the oldest ones beyond `bytes_max`; then the
/// chunks that are in none.
pub(super) fn sweep(connection: &Connection, bytes_max: u64) -> rusqlite::Result<()> {
    let mut removed = connection.execute(
        "DELETE FROM listings WHERE digest NOT IN (SELECT listing FROM trees)",
        [],
    )?;
    let total = "SELECT coalesce(sum(bytes), 0) FROM listings";
    while connection.query_row(total, [], |row| row.get::<_, i64>(0))? > integer(bytes_max) {
        let gone = connection.execute(
            "DELETE FROM listings WHERE digest = (SELECT listing FROM trees
                WHERE listing IN (SELECT digest FROM listings)
                GROUP BY listing ORDER BY max(build), listing LIMIT 1)",
            [],
        )?;
        if gone == 0 {
            break;
        }
        removed += gone;
    }
    if removed == 0 {
        return Ok(());
    }
    let mut used = HashSet::new();
    let mut lists = connection.prepare("SELECT chunks FROM listings")?;
    let mut rows = lists.query([])?;
    while let Some(row) = rows.next()? {
        let list: Vec<u8> = row.get(0)?;
        used.extend(list.chunks(NAME_BYTES).map(<[u8]>::to_vec));
    }
    let mut names = connection.prepare("SELECT digest FROM chunks")?;
    let unused: Vec<Vec<u8>> = names
        .query_map([], |row| row.get(0))?
        .filter(|name| name.as_ref().is_ok_and(|name| !used.contains(name)))
        .collect::<rusqlite::Result<_>>()?;
    let mut delete = connection.prepare("DELETE FROM chunks WHERE digest = ?1")?;
    for name in unused {
        delete.execute([name])?;
    }
    Ok(())
}
