//! Listings: what a local source held, file by file, so that a later build can say which file
//! changed when the old tree is long gone.
//!
//! A listing is filed under the digest of its tree, so an unchanged directory costs one look-up.
//! Its entries, in order of path, are cut into chunks at paths that their own hash chooses; a chunk
//! is stored once, whatever listings it is part of. A changed file therefore adds one chunk of
//! about [`CHUNK_ENTRIES`] entries, also to a directory of a million files.
//!
//! `chunk` has the form of one, `trees` reads listings back.

mod chunk;
mod trees;

use std::collections::{BTreeSet, HashSet};

use rusqlite::{Connection, params};
use serde::{Deserialize, Serialize};

use super::column::{self, integer};

pub(super) use chunk::DATA_MAX as CHUNK_DATA_MAX;
pub use trees::Change;
pub(super) use trees::Trees;

/// Entries in a chunk, on average.
const CHUNK_ENTRIES: usize = 128;

/// Most entries in a chunk: names can be chosen so that none of them ends a chunk.
const CHUNK_ENTRIES_MAX: usize = 8 * CHUNK_ENTRIES;

/// Most entries of a stored listing; of larger trees only the digest is kept.
const LISTING_ENTRIES_MAX: usize = 2_000_000;

/// Bytes of a chunk's name.
const NAME_BYTES: usize = 32;

/// Most bytes of all names of a listing's chunks.
pub(super) const NAMES_BYTES_MAX: usize = LISTING_ENTRIES_MAX * NAME_BYTES;

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
        chunk::append(&mut lines, entry);
        if ends {
            let digest = *blake3::hash(&lines).as_bytes();
            chunks.extend_from_slice(&digest);
            let data = chunk::pack(&lines)?;
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

/// Copies the chunks of all listings from the database `source` that is attached.
pub(super) fn copy_chunks(connection: &Connection) -> rusqlite::Result<()> {
    let lists: Vec<Vec<u8>> = connection
        .prepare("SELECT chunks FROM main.listings")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let names: BTreeSet<&[u8]> = lists
        .iter()
        .flat_map(|list| list.chunks(NAME_BYTES))
        .collect();
    let sql = "INSERT OR IGNORE INTO main.chunks SELECT * FROM source.chunks WHERE digest = ?1";
    let mut copy = connection.prepare(sql)?;
    for name in names {
        copy.execute([name])?;
    }
    Ok(())
}

/// Replaces texts in paths and targets of links. Chunks keep their names, by which equal ones are
/// told.
pub(super) fn rewrite_texts(
    connection: &Connection,
    rewrite: &dyn Fn(&str) -> String,
) -> rusqlite::Result<()> {
    let names: Vec<Vec<u8>> = connection
        .prepare("SELECT digest FROM chunks")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut find = connection.prepare("SELECT data FROM chunks WHERE digest = ?1")?;
    let mut update = connection.prepare("UPDATE chunks SET data = ?2 WHERE digest = ?1")?;
    for name in names {
        let data: Vec<u8> = find.query_row([&name], |row| row.get(0))?;
        let entries = chunk::entries(&chunk::unpack(&data)?)?;
        let (mut lines, mut differs) = (Vec::new(), false);
        for mut entry in entries {
            for text in [&mut entry.path, &mut entry.link] {
                let clean = rewrite(text);
                differs |= clean != *text;
                *text = clean;
            }
            chunk::append(&mut lines, entry);
        }
        if differs {
            update.execute(params![name, chunk::pack(&lines)?])?;
        }
    }
    Ok(())
}
