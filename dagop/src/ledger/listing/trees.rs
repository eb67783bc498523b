//! Reading listings back: all of one, or what differs between two.

use std::collections::{BTreeMap, HashSet};

use rusqlite::{Connection, OptionalExtension as _};

use super::super::column;
use super::{Entry, NAME_BYTES, chunk};

/// What the chunks of one question may expand to, in bytes. A tree of a million files has about a
/// fifth of it.
const EXPANDED_BYTES_MAX: usize = 1 << 30;

/// Reads listings back.
#[derive(Debug)]
pub(in crate::ledger) struct Trees<'a> {
    connection: &'a Connection,
}

/// How a path differs between two trees: before and after, one of them absent if it was added or
/// removed.
pub type Change = (Option<Entry>, Option<Entry>);

impl<'a> Trees<'a> {
    pub(in crate::ledger) fn new(connection: &'a Connection) -> Self {
        Self { connection }
    }

    /// The entries of the tree with this digest, in order of path; none if it is not stored.
    pub(in crate::ledger) fn entries(&self, digest: &str) -> rusqlite::Result<Option<Vec<Entry>>> {
        let Some(chunks) = self.chunks(digest)? else {
            return Ok(None);
        };
        let mut entries = Vec::new();
        let mut budget = EXPANDED_BYTES_MAX;
        for name in without(&chunks, &[])? {
            entries.extend(self.chunk(name, &mut budget)?);
        }
        Ok(Some(entries))
    }

    /// The paths that differ between two trees, in order; none unless both are stored, the later
    /// one in `ledger`. Reads only the chunks that the trees do not share.
    pub(in crate::ledger) fn changes(
        &self,
        before: &str,
        (ledger, after): (&Trees<'_>, &str),
    ) -> rusqlite::Result<Option<Vec<Change>>> {
        let (Some(old), Some(new)) = (self.chunks(before)?, ledger.chunks(after)?) else {
            return Ok(None);
        };
        let mut paths: BTreeMap<String, Change> = BTreeMap::new();
        let mut budget = EXPANDED_BYTES_MAX;
        for name in without(&old, &new)? {
            for entry in self.chunk(name, &mut budget)? {
                let path = entry.path.clone();
                paths.entry(path).or_default().0 = Some(entry);
            }
        }
        for name in without(&new, &old)? {
            for entry in ledger.chunk(name, &mut budget)? {
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

    fn chunk(&self, name: &[u8], budget: &mut usize) -> rusqlite::Result<Vec<Entry>> {
        let data: Vec<u8> = self
            .connection
            .prepare_cached("SELECT data FROM chunks WHERE digest = ?1")?
            .query_row([name], |row| row.get(0))?;
        let lines = chunk::unpack(&data)?;
        *budget = budget.checked_sub(lines.len()).ok_or_else(|| {
            let most = EXPANDED_BYTES_MAX;
            column::broken(&format!("a listing expands to more than {most} bytes"))
        })?;
        chunk::entries(&lines)
    }
}

/// The chunks of one listing that another does not have.
fn without<'a>(list: &'a [u8], other: &[u8]) -> rusqlite::Result<Vec<&'a [u8]>> {
    let other: HashSet<&[u8]> = other.chunks(NAME_BYTES).collect();
    let mut seen = HashSet::new();
    let names = list.chunks(NAME_BYTES);
    // Paths of a tree are distinct, and so are its chunks.
    if !names.clone().all(|name| seen.insert(name)) {
        return Err(column::broken("a listing with the same chunk twice"));
    }
    Ok(names.filter(|name| !other.contains(name)).collect())
}
