//! The thread that owns the ledger's connection and does all writing.
//!
//! One message is one transaction. Housekeeping (removing old builds, checkpointing the write-ahead
//! log, see `house`) runs when a build begins, when the build itself waits for the daemon anyway: never at its
//! end, where someone waits for the answer.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{mpsc, oneshot};

use super::write::{Batch, write_batch};
use super::{Error, Limits, house, schema};

/// What the thread is asked to do.
#[derive(Debug)]
pub(super) enum Message {
    /// A build begins.
    Begin(Batch),
    /// More of it.
    Rows(Batch),
    /// All of it; the answer says how it went.
    Finish(Batch, oneshot::Sender<Written>),
}

/// How the record of a build went.
#[derive(Debug, Default)]
pub(super) struct Written {
    /// The build's number in the file.
    pub(super) number: Option<u64>,
    /// What went wrong, in sentences.
    pub(super) notices: Vec<String>,
    /// Microseconds for which the thread was at work before it was asked to finish: since it began,
    /// or since the last build finished. Then the build waits, and counts by itself.
    pub(super) beside_us: u64,
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
            beside: Duration::ZERO,
        };
        let begun = Instant::now();
        writer.open(schema::Look::Quick);
        writer.beside = begun.elapsed();
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
    /// Work since the last build finished.
    beside: Duration,
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
        let begun = Instant::now();
        match message {
            Message::Begin(batch) => {
                if self.connection.is_none() && self.notices.is_empty() {
                    self.open(schema::Look::Quick);
                }
                self.write(&batch);
                self.keep_house();
                self.beside += begun.elapsed();
            }
            Message::Rows(batch) => {
                self.write(&batch);
                self.beside += begun.elapsed();
            }
            Message::Finish(batch, reply) => {
                let beside = std::mem::take(&mut self.beside);
                let beside_us = u64::try_from(beside.as_micros()).unwrap_or(u64::MAX);
                let number = self.write(&batch);
                let notices = std::mem::take(&mut self.notices);
                // A build that no longer listens has nothing to be told.
                _ = reply.send(Written {
                    number,
                    notices,
                    beside_us,
                });
            }
        }
    }

    /// Writes a batch; when the file turns out to be damaged, once more into a new one. Returns the
    /// build's number.
    fn write(&mut self, batch: &Batch) -> Option<u64> {
        for last_try in [false, true] {
            let connection = self.connection.as_mut()?;
            match write_batch(connection, batch).map_err(schema::sqlite_error(&self.path)) {
                Ok(number) => return Some(number),
                Err(error) if schema::is_corrupt(&error) && !last_try => {
                    self.open(schema::Look::Thorough);
                }
                Err(error) => {
                    self.notices.push(lost_rows(batch, &error));
                    return None;
                }
            }
        }
        None
    }

    fn keep_house(&mut self) {
        let Some(connection) = &mut self.connection else {
            return;
        };
        let wal = schema::wal_of(&self.path);
        if let Err(error) = house::keep(connection, self.limits, &wal) {
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
