//! A chunk of a listing: lines of JSON, one array per entry, compressed:
//! `["a/b",33188,0,0,5,"sha256:…",""]`.

use super::super::column::broken;
use super::{CHUNK_ENTRIES_MAX, Entry};

/// Largest expanded chunk, in bytes; paths and link targets have up to 4 KiB each.
const BYTES_MAX: usize = CHUNK_ENTRIES_MAX * (9 << 10);

/// Largest compressed chunk, in bytes: what does not compress grows by less than that.
pub(crate) const DATA_MAX: usize = BYTES_MAX + BYTES_MAX / 64;

/// Speed before size: paths are much alike, which any level finds.
const LEVEL: i32 = 1;

/// An entry as a line.
type Line = (String, u32, u32, u32, u64, String, String);

/// Appends an entry to the lines of a chunk.
pub(super) fn append(lines: &mut Vec<u8>, entry: Entry) {
    let line: Line = (
        entry.path,
        entry.mode,
        entry.uid,
        entry.gid,
        entry.size,
        entry.digest,
        entry.link,
    );
    serde_json::to_writer(&mut *lines, &line).expect("texts and numbers always serialise");
    lines.push(b'\n');
}

/// Compresses lines.
pub(super) fn pack(lines: &[u8]) -> rusqlite::Result<Vec<u8>> {
    zstd::bulk::compress(lines, LEVEL).map_err(|error| broken(&error.to_string()))
}

/// Expands what [`pack`] made.
pub(super) fn unpack(data: &[u8]) -> rusqlite::Result<Vec<u8>> {
    zstd::bulk::decompress(data, BYTES_MAX).map_err(|error| broken(&error.to_string()))
}

/// The entries of lines.
pub(super) fn entries(lines: &[u8]) -> rusqlite::Result<Vec<Entry>> {
    let lines = lines.split(|byte| *byte == b'\n').filter(|l| !l.is_empty());
    lines
        .map(|line| {
            let line: Line =
                serde_json::from_slice(line).map_err(|error| broken(&error.to_string()))?;
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
