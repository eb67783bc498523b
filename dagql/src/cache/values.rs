//! Values of pure calls that outlive the process.
//!
//! A call whose field is marked with [`Field::persist`](crate::Field::persist) and whose *portable
//! key* is known (`call/portable.rs`) is looked up here before its resolver runs, and its value is
//! kept here before anybody is told of it. Only plain values are kept: null, scalars and lists of
//! them, up to [`VALUE_BYTES_MAX`].
//!
//! # A row
//! The key is a digest over the portable key and the *namespace*: a text of whoever opens the store
//! that says under which conditions values may be exchanged (versions, platform, which daemon).
//! `sum` is a digest over key, value and expiry, so that a damaged page, or a row that an index
//! wrongly leads to, is a miss. A value past its expiry is a miss as well.
//!
//! # Writing
//! [`ValueStore::put`] returns when the row is committed, so a process killed at any later time has
//! lost nothing that it told anybody. Writers hand their rows to one thread (`values/writer.rs`),
//! which commits all that are waiting in one transaction.
//!
//! # Failure
//! Every failure is a miss, or a value that is not kept; it is logged, and after a failed write the
//! store stays silent for [`BACKOFF`], so that a locked file does not slow down every call.
//!
//! # Size
//! At most [`Limits`]; what was used longest ago goes first. A row's time of use is accurate to
//! [`TOUCH_AFTER`], so that reading seldom writes.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension};

use super::Clock;
use super::database::{Database, RowError, signed};
use crate::digest::scheme::Scheme;
use crate::{Digest, Value};

mod codec;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
mod writer;

use writer::{Message, Writer};

/// Largest value that is kept, in encoded bytes.
pub const VALUE_BYTES_MAX: usize = 1 << 20;

/// How long an access waits for another process.
const BUSY_TIMEOUT: Duration = Duration::from_secs(1);

/// How long nothing is written after a write failed.
const BACKOFF: Duration = Duration::from_secs(10);

/// Age of a row's time of use from which on a read renews it.
const TOUCH_AFTER: Duration = Duration::from_secs(60 * 60);

/// Bytes of a sum.
const SUM_BYTES: usize = 16;

/// What a store may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all keys and values.
    pub bytes: u64,
    /// Rows.
    pub rows: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: 256 << 20,
            rows: 200_000,
        }
    }
}

/// How much a store holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ValueStats {
    /// Values.
    pub rows: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Values in a SQLite file. Cheap to clone; clones are the same store.
#[derive(Clone)]
pub struct ValueStore {
    inner: Arc<Inner>,
}

struct Inner {
    namespace: String,
    reader: Database,
    writer: Writer,
    clock: Clock,
}

impl std::fmt::Debug for ValueStore {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ValueStore").finish_non_exhaustive()
    }
}

impl ValueStore {
    /// Opens or creates the file, which may be that of [`Cache::open`](crate::Cache::open). Values
    /// put under another `namespace` are not found.
    ///
    /// # Errors
    /// When no usable file can be made at `path`, or when it belongs to a newer version.
    pub fn open(path: &Path, namespace: &str, limits: Limits) -> Result<Self, RowError> {
        Self::with_clock(path, namespace, limits, Arc::new(super::system_seconds))
    }

    fn with_clock(
        path: &Path,
        namespace: &str,
        limits: Limits,
        clock: Clock,
    ) -> Result<Self, RowError> {
        let inner = Inner {
            namespace: namespace.to_owned(),
            reader: Database::open(path, BUSY_TIMEOUT)?,
            writer: Writer::new(path.to_owned(), limits, Arc::clone(&clock)),
            clock,
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// The value of a call, if a valid one is there.
    pub(crate) async fn get(&self, portable: &Digest) -> Option<Value> {
        let (store, key) = (self.clone(), self.row_key(portable));
        let found = tokio::task::spawn_blocking(move || store.read(&key));
        found.await.unwrap_or_default()
    }

    /// Keeps a value until `expires` (a second since the epoch), or for as long as there is room.
    /// Returns when the row is committed, or when it will not be.
    pub(crate) async fn put(&self, portable: &Digest, value: &Value, expires: Option<u64>) {
        let Some(value) = codec::encode(value, VALUE_BYTES_MAX) else {
            return;
        };
        let key = self.row_key(portable);
        let sum = sum(&key, &value, expires);
        let (committed, done) = tokio::sync::oneshot::channel();
        let row = NewRow {
            key,
            value,
            sum,
            expires,
        };
        self.inner.writer.send(Message::Put(row, committed));
        // A writer that is gone has committed nothing, and nothing was promised.
        let _ = done.await;
    }

    fn row_key(&self, portable: &Digest) -> String {
        let parts = [self.inner.namespace.as_str(), portable.as_str()];
        let rules = Scheme::Blake3.rules();
        rules.strings("stored value", &parts).as_str().to_owned()
    }

    fn read(&self, key: &str) -> Option<Value> {
        let found = self.inner.reader.with(|connection| select(connection, key));
        let row = match found {
            Ok(row) => row?,
            Err(error) => {
                tracing::warn!(%error, "stored values cannot be read; going on without them");
                return None;
            }
        };
        let now = (self.inner.clock)();
        if row.expires.is_some_and(|expires| expires <= now) {
            return None;
        }
        if sum(key, &row.value, row.expires)[..] != row.sum[..] {
            tracing::warn!(key, "a stored value is damaged; it is computed again");
            return None;
        }
        let value = codec::decode(&row.value);
        if value.is_some() && row.used.saturating_add(TOUCH_AFTER.as_secs()) < now {
            self.inner.writer.send(Message::Touch(key.to_owned()));
        }
        value
    }
}

/// Sizes of the store in the file at `path`; nothing where there is no file.
///
/// # Errors
/// When the file cannot be read.
pub fn value_stats(path: &Path) -> Result<ValueStats, RowError> {
    if !path.exists() {
        return Ok(ValueStats::default());
    }
    Database::open(path, BUSY_TIMEOUT)?.with(|connection| totals(connection))
}

/// Deletes every stored value and gives the space back; returns what was there.
///
/// # Errors
/// When the file cannot be written.
pub fn prune_values(path: &Path) -> Result<ValueStats, RowError> {
    if !path.exists() {
        return Ok(ValueStats::default());
    }
    Database::open(path, BUSY_TIMEOUT)?.with(|connection| {
        let before = totals(connection)?;
        connection.execute("DELETE FROM call_values", [])?;
        connection.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")?;
        Ok(before)
    })
}

struct NewRow {
    key: String,
    value: Vec<u8>,
    sum: [u8; SUM_BYTES],
    expires: Option<u64>,
}

impl NewRow {
    fn bytes(&self) -> u64 {
        (self.key.len() + self.value.len()) as u64
    }
}

struct StoredRow {
    value: Vec<u8>,
    sum: Vec<u8>,
    used: u64,
    expires: Option<u64>,
}

fn select(connection: &Connection, key: &str) -> rusqlite::Result<Option<StoredRow>> {
    connection
        .prepare_cached("SELECT value, sum, used, expires FROM call_values WHERE key = ?1")?
        .query_row([key], |row| {
            let seconds = |value: i64| u64::try_from(value).unwrap_or(0);
            Ok(StoredRow {
                value: row.get(0)?,
                sum: row.get(1)?,
                used: seconds(row.get(2)?),
                expires: row.get::<_, Option<i64>>(3)?.map(seconds),
            })
        })
        .optional()
}

fn totals(connection: &Connection) -> rusqlite::Result<ValueStats> {
    let sql = "SELECT count(*), coalesce(sum(bytes), 0) FROM call_values";
    connection.query_row(sql, [], |row| {
        let unsigned = |value: i64| u64::try_from(value).unwrap_or(0);
        Ok(ValueStats {
            rows: unsigned(row.get(0)?),
            bytes: unsigned(row.get(1)?),
        })
    })
}

fn sum(key: &str, value: &[u8], expires: Option<u64>) -> [u8; SUM_BYTES] {
    let mut hasher = blake3::Hasher::new_derive_key("dagop stored value sum v1");
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key.as_bytes());
    hasher.update(&signed(expires.unwrap_or(u64::MAX)).to_le_bytes());
    hasher.update(value);
    let mut sum = [0; SUM_BYTES];
    hasher.finalize_xof().fill(&mut sum);
    sum
}
