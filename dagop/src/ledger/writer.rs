//! The thread that owns the ledger's connection and does all writing.
//!
//! One message is one transaction. Housekeeping (removing old builds, checkpointing the write-ahead
//! log) runs when a build begins, when the build itself waits for the daemon anyway: never at its
//! end, where someone waits for the answer.

use std::path::{Path, PathBuf};

use rusqlite::{Connection, Statement, TransactionBehavior, params};
use tokio::sync::{mpsc, oneshot};

use super::row::{BuildRow, CallRow, VertexRow};
use super::{Error, Limits, schema};

/// Unused pages left in the file for the next builds: 4 MiB.
const FREE_PAGES_KEPT: i64 = 256;

/// An update of what can change. `REPLACE` would do the same at twice the price: with a foreign key
/// SQLite keeps a journal of every single such statement.
const UPSERT_CALL: &str = "INSERT INTO calls VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16)
    ON CONFLICT (build, call) DO UPDATE SET kind = ?9, vertex = ?10, other_vertices = ?11,
    outcome = ?12, bytes = ?13, finished_ms = ?15, error_class = ?16";

/// Likewise.
const UPSERT_VERTEX: &str = "INSERT INTO vertices VALUES
    (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)
    ON CONFLICT (build, raw) DO UPDATE SET canonical = ?3, name = ?4, kind = ?5,
    predicted_cache_map = ?6, outcome = ?7, bytes = ?8, started_ms = ?9, completed_ms = ?10";

/// Rows of one build, to be inserted or replaced.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) build: BuildRow,
    pub(super) calls: Vec<CallRow>,
    pub(super) vertices: Vec<VertexRow>,
}

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Message {
    /// A build begins.
    Begin(Batch),
    /// More of it.
    Rows(Batch),
    /// All of it; answers with what went wrong so far, in sentences.
    Finish(Batch, oneshot::Sender<Vec<String>>),
}

/// Starts the thread. It ends when every sender is gone. When no thread can be had the inbox is
/// dropped, which recorders notice as a closed channel.
pub(super) fn spawn(path: PathBuf, limits: Limits, mut inbox: mpsc::Receiver<Message>) {
    let work = move || {
        let mut writer = Writer {
            path,
            limits,
            connection: None,
            notices: Vec::new(),
        };
        writer.open(schema::Look::Quick);
        while let Some(message) = inbox.blocking_recv() {
            writer.handle(message);
        }
    };
    if let Err(error) = std::thread::Builder::new()
        .name("dagop-ledger".into())
        .spawn(work)
    {
        tracing::warn!(%error, "the ledger's thread did not start");
    }
}

struct Writer {
    path: PathBuf,
    limits: Limits,
    /// None when the file could not be opened; tried again at the next build.
    connection: Option<Connection>,
    /// What went wrong since the last build finished.
    notices: Vec<String>,
}

impl Writer {
    fn open(&mut self, look: schema::Look) {
        self.connection = None;
        match schema::open(&self.path, look) {
            Ok((connection, notice)) => {
                self.connection = Some(connection);
                self.notices.extend(notice);
            }
            Err(error) => self
                .notices
                .push(format!("this build is not recorded: {error}")),
        }
    }

    fn handle(&mut self, message: Message) {
        match message {
            Message::Begin(batch) => {
                if self.connection.is_none() && self.notices.is_empty() {
                    self.open(schema::Look::Quick);
                }
                self.write(&batch);
                self.keep_house();
            }
            Message::Rows(batch) => self.write(&batch),
            Message::Finish(batch, reply) => {
                self.write(&batch);
                // A build that no longer listens has nothing to be told.
                _ = reply.send(std::mem::take(&mut self.notices));
            }
        }
    }

    /// Writes a batch; when the file turns out to be damaged, once more into a new one.
    fn write(&mut self, batch: &Batch) {
        for last_try in [false, true] {
            let Some(connection) = &mut self.connection else {
                return;
            };
            match write_batch(connection, batch).map_err(schema::sqlite_error(&self.path)) {
                Ok(()) => return,
                Err(error) if schema::is_corrupt(&error) && !last_try => {
                    self.open(schema::Look::Thorough);
                }
                Err(error) => return self.notices.push(lost_rows(batch, &error)),
            }
        }
    }

    fn keep_house(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let wal = schema::wal_of(&self.path);
        let kept =
            remove_old_builds(connection, self.limits).and_then(|()| tidy_file(connection, &wal));
        if let Err(error) = kept {
            // The limits are kept at the next build then.
            tracing::debug!(%error, path = %self.path.display(), "ledger housekeeping failed");
        }
    }
}

fn lost_rows(batch: &Batch, error: &Error) -> String {
    let rows = batch.calls.len() + batch.vertices.len();
    format!(
        "{rows} rows of build {} are not recorded: {error}",
        batch.build.id
    )
}

fn write_batch(connection: &mut Connection, batch: &Batch) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    write_build(&transaction, &batch.build)?;
    {
        let mut statement = transaction.prepare_cached(UPSERT_CALL)?;
        for call in &batch.calls {
            write_call(&mut statement, &batch.build.id, call)?;
        }
        let mut statement = transaction.prepare_cached(UPSERT_VERTEX)?;
        for vertex in &batch.vertices {
            write_vertex(&mut statement, &batch.build.id, vertex)?;
        }
    }
    transaction.commit()
}

/// Inserts or updates: replacing would delete the build's calls with it.
fn write_build(connection: &Connection, build: &BuildRow) -> rusqlite::Result<()> {
    let mut statement = connection.prepare_cached(
        "INSERT INTO builds VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)
         ON CONFLICT (id) DO UPDATE SET state = ?2, started_ms = ?3, finished_ms = ?4, daemon = ?5,
         daemon_version = ?6, daemon_ref = ?7, rows_dropped = ?8",
    )?;
    statement.execute(params![
        build.id,
        build.state.as_str(),
        integer(build.started_ms),
        build.finished_ms.map(integer),
        build.daemon,
        build.daemon_version,
        build.daemon_ref,
        integer(build.rows_dropped),
    ])?;
    Ok(())
}

fn write_call(statement: &mut Statement<'_>, build: &str, call: &CallRow) -> rusqlite::Result<()> {
    statement.execute(params![
        build,
        integer(call.call),
        call.parent.map(integer),
        call.path,
        call.display,
        call.call_key,
        json(&call.scopes),
        (call.storage_key != call.call_key).then_some(&call.storage_key),
        call.kind.as_str(),
        call.vertex,
        json(&call.other_vertices),
        call.outcome.as_str(),
        integer(call.bytes),
        integer(call.started_ms),
        call.finished_ms.map(integer),
        call.error_class,
    ])?;
    Ok(())
}

fn write_vertex(
    statement: &mut Statement<'_>,
    build: &str,
    vertex: &VertexRow,
) -> rusqlite::Result<()> {
    statement.execute(params![
        build,
        vertex.raw,
        vertex.canonical,
        vertex.name,
        vertex.kind.as_str(),
        vertex.predicted_cache_map,
        vertex.outcome.as_str(),
        integer(vertex.bytes),
        vertex.started_ms.map(integer),
        vertex.completed_ms.map(integer),
    ])?;
    Ok(())
}

/// SQLite's integers are signed.
fn integer(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A list as JSON, None for an empty one.
fn json<T: serde::Serialize>(list: &[T]) -> Option<String> {
    (!list.is_empty()).then(|| serde_json::to_string(list).expect("strings always serialise"))
}

/// Removes the oldest builds until both limits hold.
fn remove_old_builds(connection: &mut Connection, limits: Limits) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    transaction.execute(
        "DELETE FROM builds WHERE id IN
         (SELECT id FROM builds ORDER BY started_ms DESC, id LIMIT -1 OFFSET ?1)",
        [limits.builds_max.max(1)],
    )?;
    while used_bytes(&transaction)? > limits.bytes_max {
        let removed = transaction.execute(
            "DELETE FROM builds WHERE id =
             (SELECT id FROM builds ORDER BY started_ms, id LIMIT 1)
             AND (SELECT count(*) FROM builds) > 1",
            [],
        )?;
        if removed == 0 {
            break;
        }
    }
    transaction.commit()
}

/// Bytes of pages that hold something.
fn used_bytes(connection: &Connection) -> rusqlite::Result<u64> {
    let pragma = |name| connection.pragma_query_value(None, name, |row| row.get::<_, i64>(0));
    let pages = pragma("page_count")? - pragma("freelist_count")?;
    Ok(u64::try_from(pages * pragma("page_size")?).unwrap_or(0))
}

/// Gives free pages back and moves the write-ahead log into the database, once either is worth the
/// wait for the disk.
fn tidy_file(connection: &Connection, wal: &Path) -> rusqlite::Result<()> {
    let free = connection.pragma_query_value(None, "freelist_count", |row| row.get::<_, i64>(0))?;
    if free > FREE_PAGES_KEPT {
        let mut vacuum = connection.prepare("PRAGMA incremental_vacuum")?;
        let mut rows = vacuum.query([])?;
        while rows.next()?.is_some() {}
    }
    if wal
        .metadata()
        .is_ok_and(|data| data.len() > schema::WAL_BYTES_KEPT.unsigned_abs())
    {
        connection.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))?;
    }
    Ok(())
}
