//! The result cache: one per engine, shared by all sessions.
//!
//! Three parts: the [`table`] in memory, which is authoritative for live results, and optionally two
//! tables on disk: the [`rows`], which remember the storage keys of calls with a time to live, and
//! the [`values`] of calls that mean the same in every process.
//!
//! # In memory
//! A result is found by the call's key, or because it is known to be equal ([`classes`]); it is owned
//! by the sessions that used it ([`entries`]) and may stay after them, within a budget ([`budget`]);
//! where an ID alone does not say which result it means, keys and results have a version
//! ([`version`]). What is promised, and which test shows it, is listed in [`proof`].
//!
//! # A call with a time to live
//! Its result is shared by everybody until the time has passed, and "everybody" includes the next
//! process. Values cannot outlive the process, but the caches below can: they are addressed with the
//! call's *storage key*. So the table on disk holds, for each call key, the storage key in force and
//! the second at which it expires.
//! 1. A valid row: its storage key is used. In memory the result is found by the call key as ever;
//!    after a restart the resolver runs again under the old storage key, and the cache below hits.
//! 2. No row, or an expired one: a new storage key is derived from call key, session and expiry.
//! 3. After success, unless the resolver called [`Cx::do_not_persist`](crate::Cx::do_not_persist),
//!    the row is written. Of two writers the first wins: an update names the key it replaces.
//! 4. A database error is logged and the call goes on without a row. The file is never needed for
//!    a correct answer; losing it makes the next run slower.
//!
//! The expiry is fixed when the call begins, not when it ends, so a slow call cannot lengthen it.

use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::digest::scheme::Scheme;
use crate::{Digest, Error, Object, Value};

#[cfg(all(test, not(feature = "shuttle")))]
mod blobs;
mod budget;
mod classes;
mod database;
mod entries;
#[cfg(all(test, not(feature = "shuttle")))]
mod equality_tests;
mod flights;
mod key;
#[cfg(all(test, not(feature = "shuttle")))]
mod lease_tests;
#[cfg(all(test, not(feature = "shuttle")))]
mod life_tests;
#[cfg(all(test, not(feature = "shuttle")))]
mod load_tests;
#[cfg(all(test, not(feature = "shuttle")))]
mod model;
#[cfg(all(test, not(feature = "shuttle")))]
mod model_tests;
mod proof;
pub(crate) mod rows;
#[cfg(all(test, feature = "shuttle"))]
mod shuttle_tests;
mod stats;
mod sweep;
pub(crate) mod table;
#[cfg(all(test, not(feature = "shuttle")))]
mod table_tests;
#[cfg(all(test, not(feature = "shuttle")))]
mod tests;
pub(crate) mod values;
pub(crate) mod version;

pub use budget::BUDGET_DEFAULT;
pub(crate) use budget::{ENTRY_BYTES, weight};
pub use database::RowError;
pub(crate) use flights::{FlightId, Ticket};
pub(crate) use key::Key;
pub use rows::{LeaseStats, Row, Rows, SqliteRows, lease_stats};
pub use stats::CacheStats;
pub(crate) use table::{Claim, Completion, Equal, Held, Input, Shape, Table};
pub use values::{
    Limits as ValueLimits, VALUE_BYTES_MAX, ValueStats, ValueStore, prune_values, value_stats,
};
pub(crate) use version::Version;

/// Number of an open session; never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct SessionKey(u64);

impl SessionKey {
    fn numbered(number: u64) -> Self {
        Self(number)
    }

    fn number(self) -> u64 {
        self.0
    }
}

/// Seconds since the epoch.
type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// The engine's results. Cheap to clone; clones are the same cache.
#[derive(Clone)]
pub struct Cache {
    pub(crate) table: Arc<Table<Value>>,
    rows: Option<Arc<dyn Rows>>,
    values: Option<ValueStore>,
    /// The tables on disk are read and not written.
    read_only: bool,
    clock: Clock,
}

/// What the table on disk said about one call with a time to live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Lease {
    pub(crate) storage_key: Digest,
    /// Second at which the result expires.
    pub(crate) expires: u64,
    /// The storage key to replace, if a row has to be written.
    write_over: Option<Option<String>>,
}

impl Lease {
    /// A lease whose row is there.
    pub(crate) fn of_row(storage_key: Digest, expires: u64) -> Self {
        Self {
            storage_key,
            expires,
            write_over: None,
        }
    }
}

impl Cache {
    /// A cache that forgets everything when the process ends.
    pub fn in_memory() -> Self {
        Self {
            table: Table::new(BUDGET_DEFAULT),
            rows: None,
            values: None,
            read_only: false,
            clock: Arc::new(system_seconds),
        }
    }

    /// A cache whose storage keys are remembered in the SQLite file at `path`. A file that cannot be
    /// read is replaced by an empty one.
    ///
    /// # Errors
    /// When not even an empty file can be opened.
    pub fn open(path: &Path) -> Result<Self, RowError> {
        Ok(Self::in_memory().with_rows(Arc::new(SqliteRows::open(path)?)))
    }

    /// The same cache with another table of storage keys.
    #[must_use]
    pub fn with_rows(mut self, rows: Arc<dyn Rows>) -> Self {
        self.rows = Some(rows);
        self
    }

    /// The same cache with a store of values that outlive the process.
    #[must_use]
    pub fn with_values(mut self, values: ValueStore) -> Self {
        self.values = Some(values);
        self
    }

    /// An empty cache over the same tables on disk, which it reads and does not write: for a session
    /// that finds out what another one would find. A time to live does not begin in it.
    #[must_use]
    pub fn read_only(&self) -> Self {
        Self {
            table: Table::new(BUDGET_DEFAULT),
            read_only: true,
            ..self.clone()
        }
    }

    pub(crate) fn values(&self) -> Option<&ValueStore> {
        self.values.as_ref()
    }

    pub(crate) fn writes(&self) -> bool {
        !self.read_only
    }

    /// The same cache with another clock, in seconds since the epoch. For tests.
    #[must_use]
    pub fn with_clock(mut self, clock: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// The same cache with another budget: bytes above which results that no open session owns are
    /// given up, the least recently used first. 0 keeps none.
    #[must_use]
    pub fn with_budget(self, bytes: usize) -> Self {
        self.table.set_budget(bytes);
        self
    }

    /// Sizes of the table in memory, and counts.
    pub fn stats(&self) -> CacheStats {
        self.table.stats(self.now())
    }

    /// Says after the fact what `object` is: everything of its type with this content is equal to
    /// it, and so are the results of equal calls on equal objects, also of calls that were made
    /// before. Nothing happens when the object is not cached, or is known to be something else.
    pub fn learn_content(&self, object: &Object, content: &Digest) {
        if let Some(id) = object.id() {
            let name = version::handle(id, object.version().map(Arc::as_ref));
            let content = Key::content(object.type_name(), content);
            self.table.learn(&name, content);
        }
    }

    pub(crate) fn now(&self) -> u64 {
        (self.clock)()
    }

    /// The storage key in force for a call with a time to live.
    pub(crate) async fn lease(&self, call_key: &Digest, session_id: &str, ttl: Duration) -> Lease {
        let now = self.now();
        let row = match &self.rows {
            Some(rows) => {
                let (rows, key) = (Arc::clone(rows), call_key.clone());
                blocking(move || rows.get(key.as_str())).await
            }
            None => None,
        };
        let row = row.flatten();
        if let Some(row) = &row
            && row.expires > now
            && let Ok(storage_key) = Digest::parse(&row.storage_key)
        {
            return Lease {
                storage_key,
                expires: row.expires,
                write_over: None,
            };
        }
        let expires = now.saturating_add(ttl.as_secs());
        let parts = [call_key.as_str(), session_id, &expires.to_string()];
        Lease {
            storage_key: Scheme::Blake3.rules().strings("storage key", &parts),
            expires,
            write_over: Some(row.map(|row| row.storage_key)),
        }
    }

    /// Writes the row of a lease whose call succeeded.
    pub(crate) async fn keep(&self, call_key: &Digest, lease: &Lease) {
        if self.read_only {
            return;
        }
        let (Some(rows), Some(previous)) = (&self.rows, &lease.write_over) else {
            return;
        };
        let (rows, previous) = (Arc::clone(rows), previous.clone());
        let key = call_key.to_string();
        let row = Row {
            storage_key: lease.storage_key.to_string(),
            expires: lease.expires,
        };
        let now = self.now();
        blocking(move || rows.put(&key, &row, previous.as_deref(), now)).await;
    }
}

impl fmt::Debug for Cache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Cache({:?})", self.stats())
    }
}

/// Runs a database access off the workers; a failure is logged and counts as nothing found.
async fn blocking<T: Send + 'static>(
    access: impl FnOnce() -> Result<T, RowError> + Send + 'static,
) -> Option<T> {
    match tokio::task::spawn_blocking(access).await {
        Ok(Ok(found)) => Some(found),
        Ok(Err(error)) => {
            tracing::warn!(%error, "the table of storage keys failed; going on without it");
            None
        }
        Err(error) => {
            tracing::warn!(%error, "an access to the table of storage keys did not finish");
            None
        }
    }
}

fn system_seconds() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

/// The error of a session that is released.
pub(crate) fn closed() -> Error {
    Error::new(crate::Kind::Cancelled, "the session is closed")
}
