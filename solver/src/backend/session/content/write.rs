//! Writing a blob into one of the client's stores.
//!
//! One stream is one write. Its first message names a reference; every message is answered before the next is sent:
//!
//! - STAT reports the offset;
//! - WRITE appends data at the current offset, or starts over when it says offset 0;
//! - COMMIT may carry the last data; it verifies size and digest and makes the blob visible, and ends the stream.
//!
//! A message that states the expected digest of a blob that is there already is answered AlreadyExists, which the
//! daemon takes as success. While a stream writes, its reference is taken: a second writer is told so (Unavailable).
//! A stream that ends without COMMIT leaves nothing behind, so a write always starts at offset 0.

use std::sync::{Arc, PoisonError};
use std::time::SystemTime;

use futures::{Stream, StreamExt};
use proto::content::{
    Status as IngestStatus, WriteAction, WriteContentRequest, WriteContentResponse,
};
use snapshots::content::{BlobWriter, ContentProvider, Expected};
use snapshots::digest::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use super::{Answers, Ingests, blocking, digest};
use crate::backend::session::error::code_of;

/// Longest reference of a write, in bytes.
const REF_MAX: usize = 1024;

/// A write in progress as `Status` reports it.
#[derive(Debug, Clone)]
pub(crate) struct Ingest {
    started: SystemTime,
    updated: SystemTime,
    offset: u64,
    total: i64,
    expected: String,
    cancel: CancellationToken,
}

impl Ingest {
    fn describe(&self, reference: &str) -> IngestStatus {
        IngestStatus {
            started_at: Some(self.started.into()),
            updated_at: Some(self.updated.into()),
            r#ref: reference.to_owned(),
            offset: signed(self.offset),
            total: self.total,
            expected: self.expected.clone(),
        }
    }
}

fn signed(size: u64) -> i64 {
    i64::try_from(size).unwrap_or(i64::MAX)
}

/// The state of one write.
pub(crate) fn status(
    ingests: &Ingests,
    store: &str,
    reference: &str,
) -> Result<IngestStatus, Status> {
    let ingests = ingests.lock().unwrap_or_else(PoisonError::into_inner);
    ingests
        .get(&(store.to_owned(), reference.to_owned()))
        .map(|ingest| ingest.describe(reference))
        .ok_or_else(|| Status::not_found(format!("nothing is being written as {reference:?}")))
}

/// The states of all writes into a store.
pub(crate) fn statuses(ingests: &Ingests, store: &str) -> Vec<IngestStatus> {
    let ingests = ingests.lock().unwrap_or_else(PoisonError::into_inner);
    let mut found: Vec<_> = ingests
        .iter()
        .filter(|((id, _), _)| id == store)
        .map(|((_, reference), ingest)| ingest.describe(reference))
        .collect();
    found.sort_by(|a, b| a.r#ref.cmp(&b.r#ref));
    found
}

/// Stops a write and discards what it wrote.
pub(crate) fn abort(ingests: &Ingests, store: &str, reference: &str) -> Result<(), Status> {
    let ingests = ingests.lock().unwrap_or_else(PoisonError::into_inner);
    let ingest = ingests
        .get(&(store.to_owned(), reference.to_owned()))
        .ok_or_else(|| Status::not_found(format!("nothing is being written as {reference:?}")))?;
    ingest.cancel.cancel();
    Ok(())
}

/// Serves one write stream.
pub(crate) fn start<S>(
    inbound: S,
    id: String,
    store: Arc<dyn ContentProvider>,
    ingests: Ingests,
) -> Answers<WriteContentResponse>
where
    S: Stream<Item = Result<WriteContentRequest, Status>> + Send + Unpin + 'static,
{
    // The daemon waits for each answer, so one place is enough.
    let (sender, receiver) = mpsc::channel(1);
    tokio::spawn(async move {
        let served = serve(inbound, id, store, ingests, &sender);
        let outcome = tokio::select! {
            outcome = served => outcome,
            () = sender.closed() => return,
        };
        if let Err(status) = outcome {
            // Ignored: the daemon has left.
            let _ = sender.send(Err(status)).await;
        }
    });
    Box::pin(ReceiverStream::new(receiver))
}

async fn serve<S>(
    mut inbound: S,
    id: String,
    store: Arc<dyn ContentProvider>,
    ingests: Ingests,
    answers: &mpsc::Sender<Result<WriteContentResponse, Status>>,
) -> Result<(), Status>
where
    S: Stream<Item = Result<WriteContentRequest, Status>> + Send + Unpin,
{
    let Some(first) = inbound.next().await else {
        return Ok(());
    };
    let mut request = first?;
    let mut write = Write::new(id, &request, store, ingests).await?;
    loop {
        let last = request.action() == WriteAction::Commit;
        let answer = write.handle(request).await?;
        if answers.send(Ok(answer)).await.is_err() || last {
            return Ok(());
        }
        request = tokio::select! {
            next = inbound.next() => match next {
                Some(next) => next?,
                None => return Ok(()),
            },
            () = write.cancel.cancelled() => return Err(Status::aborted("the write was aborted")),
        };
    }
}

/// One write; its reference is free again when this is dropped.
struct Write {
    key: (String, String),
    ingests: Ingests,
    store: Arc<dyn ContentProvider>,
    /// `None` while an operation runs, and after the commit.
    writer: Option<Box<dyn BlobWriter>>,
    expected: Option<Digest>,
    total: i64,
    started: SystemTime,
    cancel: CancellationToken,
}

impl Drop for Write {
    fn drop(&mut self) {
        self.ingests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&self.key);
    }
}

impl Write {
    async fn new(
        id: String,
        request: &WriteContentRequest,
        store: Arc<dyn ContentProvider>,
        ingests: Ingests,
    ) -> Result<Self, Status> {
        let reference = &request.r#ref;
        if reference.is_empty() || reference.len() > REF_MAX {
            return Err(Status::invalid_argument(format!(
                "the first message of a write must name a reference of at most {REF_MAX} bytes"
            )));
        }
        let expected = if request.expected.is_empty() {
            None
        } else {
            Some(digest(&request.expected)?)
        };
        let now = SystemTime::now();
        let cancel = CancellationToken::new();
        let key = (id, reference.clone());
        let ingest = Ingest {
            started: now,
            updated: now,
            offset: 0,
            total: request.total,
            expected: request.expected.clone(),
            cancel: cancel.clone(),
        };
        match ingests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(key.clone())
        {
            std::collections::hash_map::Entry::Occupied(_) => {
                return Err(Status::unavailable(format!(
                    "{reference:?} is being written by another call"
                )));
            }
            std::collections::hash_map::Entry::Vacant(free) => free.insert(ingest),
        };
        let mut write = Self {
            key,
            ingests,
            store,
            writer: None,
            expected,
            total: request.total,
            started: now,
            cancel,
        };
        let store = Arc::clone(&write.store);
        let known = Expected {
            digest: write.expected.clone(),
            size: None,
        };
        write.writer = Some(blocking(move || store.writer(&known)).await?);
        Ok(write)
    }

    /// Handles one message and returns its answer.
    async fn handle(
        &mut self,
        request: WriteContentRequest,
    ) -> Result<WriteContentResponse, Status> {
        if !request.expected.is_empty() {
            let expected = digest(&request.expected)?;
            let (store, wanted) = (Arc::clone(&self.store), expected.clone());
            let exists = blocking(move || match store.info(&wanted) {
                Ok(_) => Ok(true),
                Err(e) if e.is_not_found() => Ok(false),
                Err(e) => Err(e),
            });
            if exists.await? {
                return Err(Status::already_exists(format!("blob {expected} exists")));
            }
            self.expected = Some(expected);
        }
        if request.total > 0 {
            self.total = request.total;
        }
        let action = request.action();
        let mut answer = WriteContentResponse {
            action: action.into(),
            total: self.total,
            ..Default::default()
        };
        if action == WriteAction::Stat {
            answer.offset = signed(self.offset());
            answer.started_at = Some(self.started.into());
            answer.updated_at = Some(SystemTime::now().into());
            return Ok(answer);
        }
        self.append(request.offset, request.data).await?;
        answer.offset = signed(self.offset());
        if action == WriteAction::Commit {
            answer.digest = self.commit().await?.to_string();
        }
        Ok(answer)
    }

    fn offset(&self) -> u64 {
        self.writer.as_ref().map_or(0, |writer| writer.offset())
    }

    async fn append(&mut self, offset: i64, data: bytes::Bytes) -> Result<(), Status> {
        let current = self.offset();
        if offset > 0 && offset != signed(current) {
            return Err(Status::out_of_range(format!(
                "write at offset {offset} while the blob has {current} bytes"
            )));
        }
        let mut writer = self.take()?;
        let written = tokio::task::spawn_blocking(move || {
            if offset == 0 && current > 0 {
                writer.restart().map_err(|e| super::status(&e))?;
            }
            writer
                .write_all(&data)
                .map_err(|e| Status::new(code_of(&e), format!("write blob: {e}")))?;
            Ok::<_, Status>(writer)
        });
        self.writer = Some(
            written
                .await
                .map_err(|_| Status::cancelled("the session is closing"))??,
        );
        let offset = self.offset();
        if let Some(ingest) = self
            .ingests
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get_mut(&self.key)
        {
            ingest.offset = offset;
            ingest.updated = SystemTime::now();
        }
        Ok(())
    }

    async fn commit(&mut self) -> Result<Digest, Status> {
        let writer = self.take()?;
        let expected = Expected {
            digest: self.expected.clone(),
            size: u64::try_from(self.total).ok().filter(|total| *total > 0),
        };
        Ok(blocking(move || writer.commit(&expected)).await?.digest)
    }

    fn take(&mut self) -> Result<Box<dyn BlobWriter>, Status> {
        self.writer
            .take()
            .ok_or_else(|| Status::failed_precondition("the write has failed or was committed"))
    }
}
