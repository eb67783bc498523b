//! Hands the progress of a build to any number of readers without losing any.
//!
//! One task reads the daemon's Status stream and publishes every update; each
//! reader has a queue of its own.
//!
//! # Policy
//! - **Nothing is lost silently.** A queue holds [`QUEUE_BYTES_MAX`] bytes. When
//!   it is full, publishing waits, and with it the stream from the daemon, which
//!   buffers on its side; the build itself goes on. A reader that takes nothing
//!   for [`STALL_MAX`] is cut off: it gets what is queued and then an error.
//! - **A late reader catches up.** Its first update is the state of all vertices,
//!   statuses and warnings so far, together with the most recent
//!   [`LOG_BYTES_KEPT`] bytes of output. [`Updates::missed_log_bytes`] says how
//!   much older output it did not get.
//! - **The end is clean.** After the last update the stream of a reader ends. It
//!   ends with an error only when progress broke off while the build went on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::join_all;
use futures::{Stream, StreamExt};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::error::Error;
use super::status::{Progress, StatusUpdate, VertexLog};

/// Bytes of updates that wait for one reader.
pub const QUEUE_BYTES_MAX: u32 = 32 << 20;

/// Bytes of recent output that are kept for late readers.
pub const LOG_BYTES_KEPT: usize = 4 << 20;

/// How long a reader with a full queue may hold up the others.
pub const STALL_MAX: Duration = Duration::from_secs(30);

/// Estimated size of a record without its texts, in bytes.
const RECORD_BYTES: usize = 128;

type Item = (
    Result<Arc<StatusUpdate>, Error>,
    Option<OwnedSemaphorePermit>,
);

/// A reader's end: a stream of updates.
#[derive(Debug)]
pub struct Updates {
    queue: mpsc::UnboundedReceiver<Item>,
    missed_log_bytes: u64,
}

impl Updates {
    /// The next update; `None` when the build's progress has ended.
    pub async fn next(&mut self) -> Option<Result<Arc<StatusUpdate>, Error>> {
        StreamExt::next(self).await
    }

    /// Bytes of output that were discarded before this reader came.
    pub fn missed_log_bytes(&self) -> u64 {
        self.missed_log_bytes
    }
}

impl Stream for Updates {
    type Item = Result<Arc<StatusUpdate>, Error>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        // Dropping the permit makes room in the queue.
        self.queue
            .poll_recv(cx)
            .map(|item| item.map(|(update, _permit)| update))
    }
}

/// The publishing end and the state of the build.
#[derive(Debug)]
pub(crate) struct Hub {
    state: Mutex<State>,
    ended: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    progress: Progress,
    logs: VecDeque<VertexLog>,
    log_bytes: usize,
    dropped_log_bytes: u64,
    readers: Vec<Reader>,
    end: Option<Result<(), Error>>,
}

#[derive(Debug, Clone)]
struct Reader {
    queue: mpsc::UnboundedSender<Item>,
    room: Arc<Semaphore>,
}

impl Hub {
    pub(crate) fn new() -> Self {
        Self {
            state: Mutex::default(),
            ended: watch::Sender::new(false),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A new reader, which first gets everything that is known already.
    pub(crate) fn subscribe(&self) -> Updates {
        let (sender, queue) = mpsc::unbounded_channel();
        let mut state = self.state();
        let mut first = state.progress.snapshot();
        first.logs = state.logs.iter().cloned().collect();
        if !first.is_empty() {
            // The reader's own end is in this function, so the queue is open.
            let _ = sender.send((Ok(Arc::new(first)), None));
        }
        match &state.end {
            None => {
                let room = Arc::new(Semaphore::new(QUEUE_BYTES_MAX as usize));
                state.readers.push(Reader {
                    queue: sender,
                    room,
                });
            }
            Some(Ok(())) => {}
            Some(Err(error)) => {
                let _ = sender.send((Err(error.clone()), None));
            }
        }
        Updates {
            queue,
            missed_log_bytes: state.dropped_log_bytes,
        }
    }

    /// What is known now.
    pub(crate) fn progress(&self) -> Progress {
        self.state().progress.clone()
    }

    /// Records an update and queues it for every reader, waiting for room.
    pub(crate) async fn publish(&self, update: StatusUpdate) {
        let weight = weight(&update);
        let update = Arc::new(update);
        let readers = {
            let mut state = self.state();
            state.record(&update);
            state.readers.retain(|reader| !reader.queue.is_closed());
            state.readers.clone()
        };
        let stalled = join_all(readers.iter().map(|reader| offer(reader, &update, weight))).await;
        if stalled.contains(&true) {
            let cut: Vec<_> = readers
                .iter()
                .zip(stalled)
                .filter(|(_, stalled)| *stalled)
                .collect();
            self.state().readers.retain(|kept| {
                !cut.iter()
                    .any(|(reader, _)| reader.queue.same_channel(&kept.queue))
            });
        }
    }

    /// Ends every reader's stream, with the error if there is one.
    pub(crate) fn close(&self, end: Result<(), Error>) {
        let mut state = self.state();
        for reader in std::mem::take(&mut state.readers) {
            if let Err(error) = &end {
                let _ = reader.queue.send((Err(error.clone()), None));
            }
        }
        state.end.get_or_insert(end);
        drop(state);
        self.ended.send_replace(true);
    }

    /// Waits until [`close`](Self::close) was called.
    pub(crate) async fn closed(&self) {
        // The sender lives in `self`, so waiting cannot fail.
        let _ = self.ended.subscribe().wait_for(|ended| *ended).await;
    }
}

impl State {
    fn record(&mut self, update: &StatusUpdate) {
        self.progress.apply(update);
        for log in &update.logs {
            self.log_bytes += log.data.len();
            self.logs.push_back(log.clone());
        }
        while self.log_bytes > LOG_BYTES_KEPT {
            let Some(oldest) = self.logs.pop_front() else {
                break;
            };
            self.log_bytes -= oldest.data.len();
            self.dropped_log_bytes += oldest.data.len() as u64;
        }
    }
}

/// Queues an update for one reader; true when the reader stalled and was cut off.
async fn offer(reader: &Reader, update: &Arc<StatusUpdate>, weight: u32) -> bool {
    let room = reader.room.clone().acquire_many_owned(weight);
    let permit = tokio::select! {
        permit = tokio::time::timeout(STALL_MAX, room) => permit,
        () = reader.queue.closed() => return false,
    };
    match permit {
        // A send fails when the reader has gone, which is its right.
        Ok(permit) => {
            let _ = reader.queue.send((Ok(update.clone()), permit.ok()));
            false
        }
        Err(_) => {
            let seconds = STALL_MAX.as_secs();
            let text = format!("progress was not read for {seconds} s and is incomplete from here");
            let _ = reader.queue.send((Err(Error::Protocol(text)), None));
            true
        }
    }
}

fn weight(update: &StatusUpdate) -> u32 {
    let vertices = update.vertices.iter().map(|vertex| {
        RECORD_BYTES * (1 + vertex.inputs.len()) + vertex.name.len() + vertex.error.len()
    });
    let statuses = update
        .statuses
        .iter()
        .map(|s| 2 * RECORD_BYTES + s.id.len() + s.name.len());
    let logs = update.logs.iter().map(|log| RECORD_BYTES + log.data.len());
    let warnings = update.warnings.iter().map(|w| {
        RECORD_BYTES + w.short.len() + w.detail.iter().map(bytes::Bytes::len).sum::<usize>()
    });
    let bytes: usize = vertices.chain(statuses).chain(logs).chain(warnings).sum();
    u32::try_from(bytes)
        .unwrap_or(u32::MAX)
        .clamp(1, QUEUE_BYTES_MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::status::LogStream;
    use bytes::Bytes;

    fn log(size: usize, byte: u8) -> StatusUpdate {
        let vertex = format!("sha256:{}", "a".repeat(64))
            .parse()
            .expect("digest");
        let data = Bytes::from(vec![byte; size]);
        let log = VertexLog {
            vertex,
            time: None,
            stream: LogStream::Stdout,
            data,
        };
        StatusUpdate {
            logs: vec![log],
            ..StatusUpdate::default()
        }
    }

    fn bytes(update: &StatusUpdate) -> usize {
        update.logs.iter().map(|log| log.data.len()).sum()
    }

    #[tokio::test]
    async fn every_reader_gets_every_update_and_a_clean_end() {
        let hub = Hub::new();
        let mut readers = [hub.subscribe(), hub.subscribe()];
        for i in 0..100 {
            hub.publish(log(10, i)).await;
        }
        hub.close(Ok(()));
        for reader in &mut readers {
            for i in 0..100 {
                let update = reader.next().await.expect("update").expect("no error");
                assert_eq!(update.logs[0].data[0], i);
            }
            assert!(reader.next().await.is_none());
        }
    }

    #[tokio::test]
    async fn a_late_reader_gets_recent_output_and_knows_what_it_missed() {
        let hub = Hub::new();
        let piece = LOG_BYTES_KEPT / 4;
        for i in 0..6 {
            hub.publish(log(piece, i)).await;
        }
        let mut late = hub.subscribe();
        assert_eq!(late.missed_log_bytes(), 2 * piece as u64);
        let first = late.next().await.expect("snapshot").expect("no error");
        assert_eq!(bytes(&first), 4 * piece);
        assert_eq!(first.logs[0].data[0], 2, "the oldest went first");
        hub.close(Ok(()));
        assert!(late.next().await.is_none());
        let mut later = hub.subscribe();
        assert!(later.next().await.is_some(), "even after the end");
        assert!(later.next().await.is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_reader_that_stops_reading_is_cut_off_with_an_error() {
        let hub = Hub::new();
        let mut idle = hub.subscribe();
        let mut busy = hub.subscribe();
        let size = QUEUE_BYTES_MAX as usize / 2;
        for i in 0..5 {
            hub.publish(log(size, i)).await;
            let update = busy.next().await.expect("update").expect("no error");
            assert_eq!(update.logs[0].data[0], i, "others are served");
        }
        hub.close(Ok(()));
        assert!(idle.next().await.expect("queued").is_ok());
        let error = idle.next().await.expect("the cut").expect_err("incomplete");
        assert!(error.to_string().contains("incomplete"), "{error}");
        assert!(idle.next().await.is_none());
    }

    #[tokio::test]
    async fn a_reader_that_goes_away_holds_nobody_up() {
        let hub = Hub::new();
        drop(hub.subscribe());
        for _ in 0..10 {
            hub.publish(log(QUEUE_BYTES_MAX as usize / 2, 0)).await;
        }
        assert!(hub.state().readers.is_empty());
    }

    #[tokio::test]
    async fn progress_that_broke_off_ends_with_its_error() {
        let hub = Hub::new();
        let mut reader = hub.subscribe();
        hub.close(Err(Error::Cancelled));
        assert!(matches!(reader.next().await, Some(Err(Error::Cancelled))));
        assert!(reader.next().await.is_none());
        assert!(matches!(
            hub.subscribe().next().await,
            Some(Err(Error::Cancelled))
        ));
        hub.closed().await;
    }
}
