//! The ledger: what every build did, one row per call, in one SQLite file anyone can open.
//!
//! It joins what five layers say of one step: engine call key, canonical vertex, raw vertex, cache
//! record, layer. Beside that it keeps what an explanation has to compare when the build itself is
//! long gone:
//!
//! | rows | read with | what they say |
//! |---|---|---|
//! | builds | [`Reader::find`], [`Reader::builds`] | when, on which daemon, how it ended |
//! | calls | [`Reader::calls`] | what the engine was asked: call key, scopes, storage key (the salt) |
//! | vertices | [`Reader::vertices`] | raw and canonical digest, cache map, outcome, bytes, times |
//! | operations | [`Reader::operations`] | the step field by field: arguments, environment, mounts, platform; inputs with selectors |
//! | contents | [`Reader::contents`] | content of an input, as the step is keyed by it |
//! | records, layers | [`Reader::records`], [`Reader::layers`] | the cache records of each output and the blobs they hold, and where that was seen |
//! | sources | [`Reader::sources`] | the digest a tag, the commit a branch stood for |
//! | imports, imported | [`Reader::imports`], [`Reader::imported`] | caches that were read, and what they have of each vertex |
//! | trees | [`Reader::trees`], [`Reader::listing`], [`Reader::tree_changes`] | each file of a local directory: mode, owner, size, digest, link |
//!
//! What builds share is stored once (`migrations` has the tables): a build that repeats another
//! one adds some 150 bytes per step.
//!
//! How it works. A [`Recorder`] per build folds the stream of [`crate::event::Event`]s into rows in
//! memory. Rows travel in batches over a bounded channel to one writer thread (`writer`), which
//! writes each batch in one transaction. The build never waits for the disk: a full channel leaves
//! rows in the recorder until the next chance, and only [`Recorder::finish`] waits. A build shorter
//! than [`FLUSH_INTERVAL`] is written once, at its end.
//!
//! Safety. The file is in WAL mode with `synchronous = NORMAL`: killing a process at any time loses
//! at most the rows it had not committed. Several processes share the file through SQLite's locks.
//! A file SQLite cannot read is moved aside (`schema`) and a new one begun. Nothing that goes
//! wrong here fails a build: it becomes a sentence in [`crate::report::Report::notices`].
//!
//! Privacy. Stored text is display text, in which sensitive arguments are hidden before it gets
//! here; calls, names and operations pass through the session's redaction, and of the files they
//! write only digests are kept. Log lines, error messages and warnings are never stored: they may
//! quote anything. The file is readable by its owner only.

pub mod bundle;
mod column;
mod facts;
mod house;
mod listing;
mod migrations;
mod operations;
mod outcome;
mod reader;
mod recorder;
mod row;
mod schema;
mod tree;
mod write;
mod writer;

#[cfg(test)]
mod tests;

use std::path::{Path, PathBuf};
use std::time::Duration;

pub use facts::Facts;
pub use listing::{Change, Entry, Listing};
pub use operations::Redaction;
pub use outcome::{DagOpKind, Outcome, VertexEvidence, VertexKind, of_call, of_vertex};
pub use reader::Reader;
pub use recorder::Recorder;
pub use row::{
    BuildRow, BuildState, CacheRows, CallRow, ContentRow, Evidence, ImportRow, ImportState,
    Imported, ImportedRow, InputRow, LayerRow, OperationRow, RecordRow, Recorded, SourceRow,
    TreeRow, VertexRow,
};
pub use tree::HashedTree;

use writer::Message;

/// How much the ledger may hold.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Builds kept; the oldest go first.
    pub builds_max: u32,
    /// Calls recorded of one build; more are counted in [`BuildRow::rows_dropped`].
    pub calls_per_build_max: usize,
    /// Vertices recorded of one build; more are counted in [`BuildRow::rows_dropped`].
    pub vertices_per_build_max: usize,
    /// Bytes of rows in the file; beyond it the oldest builds go, except the newest one.
    pub bytes_max: u64,
    /// Bytes of listings of local trees in the file; beyond it those go that no newer build used.
    pub listing_bytes_max: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            builds_max: 200,
            calls_per_build_max: 32 << 10,
            vertices_per_build_max: 32 << 10,
            bytes_max: 256 << 20,
            listing_bytes_max: 64 << 20,
        }
    }
}

/// Longest text stored in one column, in bytes. Longer text loses its middle.
pub const TEXT_BYTES_MAX: usize = 512;

/// Longest operation stored, as JSON, in bytes; of a longer one only its digest is kept.
pub const OPERATION_BYTES_MAX: usize = 256 << 10;

/// Target of the log lines that say what recording costs; `hack/bench-ledger` reads them.
pub(crate) const COST: &str = "dagop::ledger::cost";

/// How long rows may wait in memory while a build runs.
pub const FLUSH_INTERVAL: Duration = Duration::from_secs(1);

/// Batches on their way to the writer thread.
const QUEUE_BATCHES_MAX: usize = 16;

/// How long SQLite waits for another process's transaction.
const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// The ledger's file within dagop's state directory.
pub fn path_in(state_dir: &Path) -> PathBuf {
    state_dir.join("ledger.db")
}

/// Why the ledger could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no file yet.
    #[error("no build has been recorded yet in {}", .0.display())]
    Empty(PathBuf),
    /// No build is called that.
    #[error("no recorded build has an id that begins with `{0}`")]
    NotFound(String),
    /// Several builds are.
    #[error("`{prefix}` is ambiguous: it begins {}", .candidates.join(", "))]
    Ambiguous {
        /// What was asked for.
        prefix: String,
        /// Some ids that begin so.
        candidates: Vec<String>,
    },
    /// The file was written by a later dagop.
    #[error("{} has schema version {found}, this dagop knows up to {known}: use the newer dagop", .path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// Ours.
        known: u32,
    },
    /// The file was written by an earlier dagop and not yet brought up to date.
    #[error("{} has schema version {found}, of an earlier dagop: the next run brings it up to date", .path.display())]
    Older {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
    },
    /// The file is a ledger.
    #[error("{} is a ledger and not a bundle", .0.display())]
    NotABundle(PathBuf),
    /// The file is a bundle that another dagop wrote.
    #[error(
        "{} is a bundle of format {}.{}, this dagop reads {}.{}: write it with the same dagop",
        .path.display(), .found.0, .found.1, .known.0, .known.1
    )]
    BundleFormat {
        /// The file.
        path: PathBuf,
        /// Its format, and the version of its tables.
        found: (u32, u32),
        /// Ours.
        known: (u32, u32),
    },
    /// The file is no bundle that any dagop wrote.
    #[error("{} is damaged, or was not written by dagop: {what}", .path.display())]
    Unsound {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// More builds than a bundle may hold.
    #[error("{0} builds are too many for one bundle, which holds up to {max}", max = bundle::BUILDS_MAX)]
    TooManyBuilds(usize),
    /// The file is another program's database.
    #[error("{} is not a dagop ledger (application id {found:#x})", .path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// The id it carries.
        found: i32,
    },
    /// The file or its directory could not be used.
    #[error("{}: {source}", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// SQLite refused.
    #[error("{}: {source}", .path.display())]
    Sqlite {
        /// The file.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
    },
}

/// The way to the writer thread. Cheap to clone; the thread ends when the last clone and the last
/// recorder are gone.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    limits: Limits,
    queue: tokio::sync::mpsc::Sender<Message>,
}

impl Ledger {
    /// Starts the writer thread for the ledger at `path` and returns at once. The file and its
    /// directory are made when missing. Trouble shows when a recorder finishes.
    pub fn start(path: PathBuf) -> Self {
        Self::start_with(path, Limits::default())
    }

    /// [`Self::start`] with limits of one's own.
    pub fn start_with(path: PathBuf, limits: Limits) -> Self {
        let (queue, inbox) = tokio::sync::mpsc::channel(QUEUE_BATCHES_MAX);
        writer::spawn(path.clone(), limits, inbox);
        Self {
            path,
            limits,
            queue,
        }
    }

    /// Begins to record a build.
    pub fn record(&self) -> Recorder {
        Recorder::new(self.limits, self.queue.clone())
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}
