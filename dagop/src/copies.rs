//! When the daemon got each local file: whether its copy can be trusted.
//!
//! The daemon keeps a copy of every local directory it was sent, and at the
//! next transfer asks only for files whose size or time is new to it. A file
//! that was changed under the same size and time is not asked for, and a
//! directory whose mode changed keeps the old one in the daemon's cache keys.
//! Both are how BuildKit works; an answer computed from such a copy is the
//! daemon's answer, but not one to be kept under what *we* have.
//!
//! So for each directory a file records, by digests of paths, when each file
//! was last sent and what each directory was when it was first. A file that was
//! not asked for is what the daemon has if its `ctime`, which only the system
//! sets, lies before that time.
//!
//! # Healing
//! The daemon's copies are named by a text this client chooses, and part of it
//! is the *generation*, kept in a file. After a transfer that cannot be trusted
//! a new generation is begun: the next run sends its directories in full, once,
//! and the daemon then has what we have.
//!
//! Everything here may be lost at any time: without records a copy is not
//! trusted, and nothing worse happens.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use snapshots::tree::Time;
use solver::backend::session::{Transfer, Transferred};

/// Name of the folder in the state directory.
const FOLDER: &str = "copies";

/// First bytes of a record; a changed format needs others.
const MAGIC: &[u8; 16] = b"dagop copies 01\n";

/// Records of one generation at most; then a new one begins.
const RECORDS_MAX: usize = 1000;

/// Largest record that is read, in bytes: four million entries.
const RECORD_BYTES_MAX: u64 = 64 << 20;

/// Longest tick of the clock that stamps files, and then some.
const TICK: Duration = Duration::from_millis(20);

/// The same where stamps have no fraction of a millisecond: file systems that
/// count whole seconds, or two at a time.
const COARSE: Duration = Duration::from_secs(2);

/// See the module.
#[derive(Debug)]
pub(crate) struct Copies {
    folder: PathBuf,
    /// None where nothing can be written.
    generation: Option<String>,
    /// Whose copies these are.
    worker: String,
}

/// What is known of one copy, by digest of the path.
#[derive(Debug, Default, PartialEq, Eq)]
struct Record {
    /// Nanoseconds since 1970 at which the file was sent.
    files: HashMap<u64, u64>,
    /// Digest of mode and attributes.
    directories: HashMap<u64, u64>,
}

impl Copies {
    /// The copies of a daemon's worker.
    pub(crate) fn open(state_dir: &Path, worker: &str) -> Self {
        let folder = state_dir.join(FOLDER);
        let generation = generation(&folder)
            .inspect_err(
                |error| tracing::debug!(%error, "copies of local directories are not trusted"),
            )
            .ok();
        Self {
            folder,
            generation,
            worker: worker.to_owned(),
        }
    }

    /// The name of this client's copies for the daemon.
    pub(crate) fn shared_key(&self, client_id: &str) -> String {
        match &self.generation {
            Some(generation) => format!("{client_id}.{generation}"),
            None => client_id.to_owned(),
        }
    }

    /// Takes in a complete transfer of the directory `name`; whether the daemon
    /// now has what was listed.
    pub(crate) fn absorb(&self, name: &str, transfer: &Transfer) -> bool {
        let Some(generation) = &self.generation else {
            return false;
        };
        let parts = [generation.as_str(), &self.worker, name].join("\0");
        let path = self
            .folder
            .join(blake3::hash(parts.as_bytes()).to_hex().as_str());
        let old = Record::read(&path).unwrap_or_default();
        let (new, trusted) = old.after(transfer);
        if new != old
            && let Err(error) = new.write(&path)
        {
            tracing::debug!(%error, "what was sent is not recorded");
        }
        if !trusted {
            tracing::debug!(
                name,
                "the daemon's copy may be old; a new one is made next time"
            );
            begin_anew(&self.folder);
        }
        trusted
    }
}

impl Record {
    /// The record after a transfer, and whether the copy is what was listed.
    fn after(&self, transfer: &Transfer) -> (Self, bool) {
        let started = transfer.started.duration_since(SystemTime::UNIX_EPOCH);
        let started = started.map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(0));
        let mut new = Self::default();
        let mut trusted = transfer.complete;
        for entry in &transfer.entries {
            match *entry {
                Transferred::Sent { path } => {
                    new.files.insert(path, started);
                }
                Transferred::Kept { path, changed } => match self.files.get(&path) {
                    Some(sent) if is_before(changed, *sent) => {
                        new.files.insert(path, *sent);
                    }
                    _ => trusted = false,
                },
                Transferred::Directory { path, header } => {
                    let known = *self.directories.get(&path).unwrap_or(&header);
                    trusted &= known == header;
                    new.directories.insert(path, known);
                }
            }
        }
        (new, trusted)
    }

    /// None for a file that is not there or not whole.
    fn read(path: &Path) -> Option<Self> {
        if std::fs::metadata(path).ok()?.len() > RECORD_BYTES_MAX {
            return None;
        }
        let bytes = std::fs::read(path).ok()?;
        let (body, sum) = bytes.split_last_chunk::<32>()?;
        if blake3::hash(body).as_bytes() != sum {
            return None;
        }
        let mut numbers = body
            .strip_prefix(MAGIC)?
            .chunks_exact(8)
            .filter_map(|chunk| chunk.try_into().ok().map(u64::from_le_bytes));
        let mut map = || {
            let count = numbers.next()?;
            (0..count)
                .map(|_| Some((numbers.next()?, numbers.next()?)))
                .collect::<Option<_>>()
        };
        let (files, directories) = (map()?, map()?);
        Some(Self { files, directories })
    }

    /// Complete or not at all.
    fn write(&self, path: &Path) -> std::io::Result<()> {
        let mut bytes = MAGIC.to_vec();
        for map in [&self.files, &self.directories] {
            bytes.extend((map.len() as u64).to_le_bytes());
            for (key, value) in map {
                bytes.extend(key.to_le_bytes());
                bytes.extend(value.to_le_bytes());
            }
        }
        let sum = blake3::hash(&bytes);
        bytes.extend(sum.as_bytes());
        replace(path, &bytes)
    }
}

/// Whether a stamp is certainly older than a moment in nanoseconds since 1970.
fn is_before(stamp: Time, moment: u64) -> bool {
    let slack = match stamp.nanos % 1_000_000 {
        0 => COARSE,
        _ => TICK,
    };
    let stamp = i128::from(stamp.secs) * 1_000_000_000 + i128::from(stamp.nanos);
    stamp + i128::try_from(slack.as_nanos()).unwrap_or(i128::MAX) < i128::from(moment)
}

/// The generation in force; a new one where there is none, or too many records.
fn generation(folder: &Path) -> std::io::Result<String> {
    std::fs::create_dir_all(folder)?;
    let path = folder.join("generation");
    if std::fs::read_dir(folder)?.count() > RECORDS_MAX {
        begin_anew(folder);
    }
    let valid = |text: &String| !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric());
    if let Some(known) = std::fs::read_to_string(&path).ok().filter(valid) {
        return Ok(known);
    }
    let new = solver::backend::session::new_id();
    replace(&path, new.as_bytes())?;
    Ok(new)
}

/// Forgets the generation and its records; who is using them goes on with them.
fn begin_anew(folder: &Path) {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    for entry in entries {
        // What cannot be removed belongs to a generation that nobody names again.
        let _ = std::fs::remove_file(entry.path());
    }
}

fn replace(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let temporary = tempfile::NamedTempFile::new_in(folder)?;
    std::fs::write(temporary.path(), bytes)?;
    temporary.persist(path).map_err(|e| e.error)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn transfer(at_secs: u64, entries: Vec<Transferred>) -> Transfer {
        Transfer {
            started: SystemTime::UNIX_EPOCH + Duration::from_secs(at_secs),
            complete: true,
            entries,
        }
    }

    fn kept(path: u64, secs: i64) -> Transferred {
        let changed = Time { secs, nanos: 1 };
        Transferred::Kept { path, changed }
    }

    #[test]
    fn a_file_that_was_changed_after_it_was_sent_is_not_what_the_daemon_has() {
        let folder = tempfile::tempdir().expect("creates");
        let copies = Copies::open(folder.path(), "worker");
        let sent = |path| Transferred::Sent { path };
        assert!(copies.absorb("/src", &transfer(100, vec![sent(1), sent(2)])));
        assert!(copies.absorb("/src", &transfer(110, vec![kept(1, 90), sent(2)])));
        // The time it was sent stays that of the sending.
        assert!(copies.absorb("/src", &transfer(120, vec![kept(1, 99), kept(2, 109)])));
        let same = Copies::open(folder.path(), "worker");
        assert_eq!(same.shared_key("me"), copies.shared_key("me"));
        assert!(!copies.absorb("/src", &transfer(130, vec![kept(1, 105), kept(2, 109)])));
        let next = Copies::open(folder.path(), "worker");
        assert_ne!(next.shared_key("me"), copies.shared_key("me"), "a new copy");
        assert!(next.absorb("/src", &transfer(140, vec![sent(1), sent(2)])));
    }

    #[test]
    fn a_copy_without_a_record_is_not_trusted() {
        let folder = tempfile::tempdir().expect("creates");
        let copies = Copies::open(folder.path(), "worker");
        assert!(!copies.absorb("/src", &transfer(100, vec![kept(1, 90)])));
        let incomplete = Transfer {
            complete: false,
            ..transfer(100, Vec::new())
        };
        assert!(!copies.absorb("/src", &incomplete));
    }

    #[test]
    fn a_directory_keeps_the_mode_it_was_first_sent_with() {
        let folder = tempfile::tempdir().expect("creates");
        let copies = Copies::open(folder.path(), "worker");
        let dir = |header| vec![Transferred::Directory { path: 7, header }];
        assert!(copies.absorb("/src", &transfer(100, dir(1))));
        assert!(copies.absorb("/src", &transfer(110, dir(1))));
        assert!(!copies.absorb("/src", &transfer(120, dir(2))));
        let next = Copies::open(folder.path(), "worker");
        assert!(next.absorb("/src", &transfer(130, dir(2))));
        // Gone and back: the daemon made it anew.
        assert!(next.absorb("/src", &transfer(140, Vec::new())));
        assert!(next.absorb("/src", &transfer(150, dir(3))));
    }

    #[test]
    fn a_record_comes_back_whole_or_not_at_all() {
        let folder = tempfile::tempdir().expect("creates");
        let path = folder.path().join("record");
        let record = Record {
            files: HashMap::from([(1, 2), (3, 4)]),
            directories: HashMap::from([(5, 6)]),
        };
        record.write(&path).expect("writes");
        assert_eq!(Record::read(&path), Some(record));
        let whole = std::fs::read(&path).expect("reads");
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).expect("writes");
            assert_eq!(Record::read(&path), None, "{length}");
        }
    }

    #[test]
    fn stamps_without_fractions_need_more_distance() {
        let at = |millis: u64| millis * 1_000_000;
        let fine = Time { secs: 10, nanos: 1 };
        assert!(is_before(fine, at(10_021)));
        assert!(!is_before(fine, at(10_010)));
        let coarse = Time::from_secs(10);
        assert!(!is_before(coarse, at(11_999)));
        assert!(is_before(coarse, at(12_001)));
    }
}
