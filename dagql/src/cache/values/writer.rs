//! The one thread that writes values: it commits all rows that are waiting in one transaction.
//!
//! The thread and its connection come into being with the first message, so a run that only reads
//! pays for neither; the thread ends with the store. Nobody is told of a row before the transaction
//! that holds it is committed.

use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::time::Instant;

use rusqlite::{Connection, Transaction, TransactionBehavior, params};
use tokio::sync::oneshot;

use super::super::Clock;
use super::super::database::{Database, RowError, signed};
use super::{BACKOFF, BUSY_TIMEOUT, Limits, NewRow, ValueStats, totals};

/// Most messages of one transaction.
const BATCH_MESSAGES: usize = 256;

/// Value bytes from which on a transaction takes no further message.
const BATCH_BYTES: u64 = 8 << 20;

/// Rows deleted by one statement when there is no room.
const EVICT_ROWS: u64 = 256;

/// The totals are counted anew after this many transactions, because other processes write too.
const COUNT_EVERY: u32 = 64;

pub(super) enum Message {
    /// A row to keep; the sender is told, or dropped, when that is decided.
    Put(NewRow, oneshot::Sender<()>),
    /// The key of a row that was used.
    Touch(String),
}

impl Message {
    fn bytes(&self) -> u64 {
        match self {
            Self::Put(row, _) => row.bytes(),
            Self::Touch(_) => 0,
        }
    }
}

pub(super) struct Writer {
    path: PathBuf,
    limits: Limits,
    clock: Clock,
    sender: OnceLock<Option<Sender<Message>>>,
}

impl Writer {
    pub(super) fn new(path: PathBuf, limits: Limits, clock: Clock) -> Self {
        Self {
            path,
            limits,
            clock,
            sender: OnceLock::new(),
        }
    }

    /// Hands a message to the thread. If there is none, the message is dropped, and with it the
    /// sender of whoever waits.
    pub(super) fn send(&self, message: Message) {
        if let Some(sender) = self.sender.get_or_init(|| self.start()) {
            let _ = sender.send(message);
        }
    }

    fn start(&self) -> Option<Sender<Message>> {
        let (sender, receiver) = channel();
        let work = Work {
            database: None,
            limits: self.limits,
            clock: Arc::clone(&self.clock),
            known: None,
            silent_until: None,
        };
        let path = self.path.clone();
        let started = std::thread::Builder::new()
            .name("value-writer".to_owned())
            .spawn(move || work.run(&path, &receiver));
        match started {
            Ok(_) => Some(sender),
            Err(error) => {
                tracing::warn!(%error, "values are not kept");
                None
            }
        }
    }
}

struct Work {
    database: Option<Database>,
    limits: Limits,
    clock: Clock,
    /// Totals, and how many transactions ago they were counted.
    known: Option<(ValueStats, u32)>,
    /// Set after a failure.
    silent_until: Option<Instant>,
}

impl Work {
    fn run(mut self, path: &Path, messages: &Receiver<Message>) {
        while let Ok(first) = messages.recv() {
            let batch = collect(first, messages);
            if self
                .silent_until
                .is_some_and(|until| Instant::now() < until)
            {
                continue;
            }
            match self.write(path, &batch) {
                Ok(()) => {
                    for message in batch {
                        if let Message::Put(_, committed) = message {
                            // A caller that left does not want to know.
                            let _ = committed.send(());
                        }
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, "values are not kept for the next {} s", BACKOFF.as_secs());
                    self.silent_until = Some(Instant::now() + BACKOFF);
                    self.known = None;
                }
            }
        }
    }

    fn write(&mut self, path: &Path, batch: &[Message]) -> Result<(), RowError> {
        let (now, limits, known) = ((self.clock)(), self.limits, self.known);
        let database = match &mut self.database {
            Some(database) => database,
            none => none.insert(Database::open(path, BUSY_TIMEOUT)?),
        };
        let known = database.with(|connection| {
            let mut known = match known {
                Some((totals, age)) if age < COUNT_EVERY => (totals, age + 1),
                _ => (totals(connection)?, 0),
            };
            commit(connection, batch, now, &mut known.0)?;
            make_room(connection, limits, now, &mut known.0)?;
            Ok(known)
        })?;
        self.known = Some(known);
        Ok(())
    }
}

/// `first` and whatever else is waiting, within the bounds of a transaction.
fn collect(first: Message, messages: &Receiver<Message>) -> Vec<Message> {
    let mut bytes = first.bytes();
    let mut batch = vec![first];
    while batch.len() < BATCH_MESSAGES
        && bytes < BATCH_BYTES
        && let Ok(message) = messages.try_recv()
    {
        bytes += message.bytes();
        batch.push(message);
    }
    batch
}

fn commit(
    connection: &mut Connection,
    batch: &[Message],
    now: u64,
    totals: &mut ValueStats,
) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for message in batch {
        match message {
            Message::Put(row, _) => {
                insert(&transaction, row, now)?;
                totals.rows += 1;
                totals.bytes += row.bytes();
            }
            Message::Touch(key) => {
                transaction
                    .prepare_cached("UPDATE call_values SET used = ?2 WHERE key = ?1")?
                    .execute(params![key, signed(now)])?;
            }
        }
    }
    transaction.commit()
}

/// The latest value of a key wins: it is as right as the one before, and expires later.
fn insert(transaction: &Transaction<'_>, row: &NewRow, now: u64) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO call_values (key, value, sum, bytes, created, used, expires)
             VALUES (?1, ?2, ?3, ?4, ?5, ?5, ?6)
             ON CONFLICT (key) DO UPDATE SET
             value = excluded.value, sum = excluded.sum, bytes = excluded.bytes,
             created = excluded.created, used = excluded.used, expires = excluded.expires",
        )?
        .execute(params![
            row.key,
            row.value,
            row.sum,
            signed(row.bytes()),
            signed(now),
            row.expires.map(signed)
        ])?;
    Ok(())
}

/// Deletes expired rows, then those used longest ago, until an eighth of the room is free.
fn make_room(
    connection: &mut Connection,
    limits: Limits,
    now: u64,
    known: &mut ValueStats,
) -> rusqlite::Result<()> {
    let within = |known: &ValueStats, part: u64| {
        known.bytes <= limits.bytes / 8 * part && known.rows <= limits.rows / 8 * part
    };
    if known.bytes <= limits.bytes && known.rows <= limits.rows {
        return Ok(());
    }
    connection.execute("DELETE FROM call_values WHERE expires <= ?1", [signed(now)])?;
    *known = totals(connection)?;
    while known.rows > 0 && !within(known, 7) {
        connection.execute(
            "DELETE FROM call_values WHERE rowid IN
             (SELECT rowid FROM call_values ORDER BY used, rowid LIMIT ?1)",
            [signed(EVICT_ROWS)],
        )?;
        *known = totals(connection)?;
    }
    Ok(())
}
