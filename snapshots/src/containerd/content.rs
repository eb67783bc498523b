//! The content service as a content provider.
//!
//! Reading is one call per chunk with an offset. Writing is one stream of messages, each answered
//! before the next is sent: start, data at the current offset, commit. A writer that is dropped
//! aborts its ingestion in the daemon.

use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Status, Streaming};
use tonic_prost::ProstCodec;

use super::ContainerdError;
use super::messages::{
    AbortRequest, Info, InfoRequest, InfoResponse, ListContentRequest, ListContentResponse,
    ReadContentRequest, ReadContentResponse, WriteAction, WriteContentRequest,
    WriteContentResponse,
};
use super::rpc::{Connection, ready};
use crate::content::{
    BLOB_SIZE_MAX, BlobInfo, BlobWriter, ContentError, ContentProvider, Expected, LIST_MAX, ReadAt,
};
use crate::digest::Digest;

const INFO: &str = "/containerd.services.content.v1.Content/Info";
const LIST: &str = "/containerd.services.content.v1.Content/List";
const READ: &str = "/containerd.services.content.v1.Content/Read";
const WRITE: &str = "/containerd.services.content.v1.Content/Write";
const ABORT: &str = "/containerd.services.content.v1.Content/Abort";

/// Most data in one message (bytes).
const CHUNK_MAX: usize = 1024 * 1024;

/// The blobs of a containerd namespace.
#[derive(Clone)]
pub struct Content {
    connection: Arc<Connection>,
}

impl Content {
    pub(super) fn new(connection: Arc<Connection>) -> Self {
        Self { connection }
    }
}

/// A failure of a call about a blob.
fn explain(error: ContainerdError, digest: Option<&Digest>) -> ContentError {
    match (error, digest) {
        (ContainerdError::NotFound { .. }, Some(digest)) => ContentError::NotFound(digest.clone()),
        (error, _) => ContentError::Service(error.to_string()),
    }
}

fn describe(info: &Info) -> Result<BlobInfo, ContentError> {
    let time = info.updated_at.or(info.created_at);
    let modified = time.and_then(|time| {
        let secs = Duration::from_secs(u64::try_from(time.seconds).ok()?);
        SystemTime::UNIX_EPOCH.checked_add(secs)
    });
    Ok(BlobInfo {
        digest: Digest::parse(&info.digest)?,
        size: u64::try_from(info.size)
            .map_err(|_| ContentError::Service(format!("{} has a negative size", info.digest)))?,
        modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
    })
}

impl ContentProvider for Content {
    fn info(&self, digest: &Digest) -> Result<BlobInfo, ContentError> {
        let request = InfoRequest {
            digest: digest.to_string(),
        };
        let answer: InfoResponse = self
            .connection
            .unary(INFO, request)
            .map_err(|e| explain(e, Some(digest)))?;
        match answer.info {
            Some(info) => describe(&info),
            None => Err(ContentError::NotFound(digest.clone())),
        }
    }

    fn reader_at(&self, digest: &Digest) -> Result<Box<dyn ReadAt>, ContentError> {
        let size = self.info(digest)?.size;
        Ok(Box::new(RemoteBlob {
            connection: Arc::clone(&self.connection),
            digest: digest.clone(),
            size,
        }))
    }

    fn list(&self) -> Result<Vec<BlobInfo>, ContentError> {
        let request = ListContentRequest {
            filters: Vec::new(),
        };
        let mut infos: Vec<Info> = Vec::new();
        self.connection
            .stream(LIST, request, |batch: ListContentResponse| {
                infos.extend(batch.info);
                infos.len() <= LIST_MAX
            })
            .map_err(|e| explain(e, None))?;
        if infos.len() > LIST_MAX {
            return Err(ContentError::TooMany);
        }
        let mut blobs = infos.iter().map(describe).collect::<Result<Vec<_>, _>>()?;
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(blobs)
    }

    fn writer(&self, expected: &Expected) -> Result<Box<dyn BlobWriter>, ContentError> {
        let writer = Writer::start(Arc::clone(&self.connection), expected);
        Ok(Box::new(writer.map_err(|e| explain(e, None))?))
    }
}

struct RemoteBlob {
    connection: Arc<Connection>,
    digest: Digest,
    size: u64,
}

impl ReadAt for RemoteBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let left = self.size.saturating_sub(offset);
        let want = buf.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let request = ReadContentRequest {
            digest: self.digest.to_string(),
            offset: i64::try_from(offset).map_err(io::Error::other)?,
            size: i64::try_from(want).map_err(io::Error::other)?,
        };
        let mut filled = 0;
        self.connection
            .stream(READ, request, |part: ReadContentResponse| {
                let count = part.data.len().min(want - filled);
                buf[filled..filled + count].copy_from_slice(&part.data[..count]);
                filled += count;
                filled < want
            })
            .map_err(io::Error::other)?;
        if filled < want {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("blob {} ended early", self.digest),
            ));
        }
        Ok(filled)
    }
}

/// An open Write stream.
struct Writer {
    connection: Arc<Connection>,
    reference: String,
    expected: Expected,
    requests: mpsc::Sender<WriteContentRequest>,
    /// Taken while an answer is awaited; gone after a failure.
    answers: Option<Streaming<WriteContentResponse>>,
    offset: u64,
    finished: bool,
}

/// Makes references unique within this process.
static SEQUENCE: AtomicU64 = AtomicU64::new(0);

impl Writer {
    fn start(connection: Arc<Connection>, expected: &Expected) -> Result<Self, ContainerdError> {
        let reference = format!(
            "dagop-{}-{}-{}",
            std::process::id(),
            // A process id is used again one day, with the sequence starting over.
            SystemTime::now()
                .duration_since(SystemTime::UNIX_EPOCH)
                .unwrap_or_default()
                .as_nanos(),
            SEQUENCE.fetch_add(1, Ordering::Relaxed),
        );
        let (requests, stream) = mpsc::channel(1);
        let first = WriteContentRequest {
            action: WriteAction::Stat.into(),
            reference: reference.clone(),
            total: total(expected),
            ..WriteContentRequest::default()
        };
        let mut grpc = connection.grpc();
        let request = connection.request(ReceiverStream::new(stream));
        let sender = requests.clone();
        let answers = connection.run(WRITE, async move {
            ready(&mut grpc).await?;
            sender
                .send(first)
                .await
                .map_err(|_| Status::internal("the stream is closed"))?;
            let codec = ProstCodec::<WriteContentRequest, WriteContentResponse>::default();
            let mut answers = grpc
                .streaming(request, PathAndQuery::from_static(WRITE), codec)
                .await?
                .into_inner();
            answers.message().await?;
            Ok(answers)
        })?;
        Ok(Self {
            connection,
            reference,
            expected: expected.clone(),
            requests,
            answers: Some(answers),
            offset: 0,
            finished: false,
        })
    }

    /// Sends one message and returns its answer.
    fn call(
        &mut self,
        request: WriteContentRequest,
    ) -> Result<WriteContentResponse, ContainerdError> {
        let closed = || ContainerdError::Protocol {
            call: WRITE,
            reason: "the write stream is closed".to_owned(),
        };
        let mut answers = self.answers.take().ok_or_else(closed)?;
        let sender = self.requests.clone();
        let (answer, answers) = self.connection.run(WRITE, async move {
            // When the daemon has ended the call, the reason is in the answers.
            let _ = sender.send(request).await;
            let answer = answers.message().await?;
            Ok((answer, answers))
        })?;
        self.answers = Some(answers);
        answer.ok_or_else(closed)
    }

    fn abort(&mut self) {
        self.answers = None;
        let (mut grpc, request) = (
            self.connection.grpc(),
            self.connection.request(AbortRequest {
                reference: self.reference.clone(),
            }),
        );
        self.connection.spawn(async move {
            if ready(&mut grpc).await.is_ok() {
                let codec = ProstCodec::<AbortRequest, ()>::default();
                // Nothing to tell anyone when the daemon is gone.
                let _ = grpc
                    .unary(request, PathAndQuery::from_static(ABORT), codec)
                    .await;
            }
        });
    }
}

fn total(expected: &Expected) -> i64 {
    let size = expected.size.unwrap_or(0);
    i64::try_from(size).unwrap_or(i64::MAX)
}

impl Write for Writer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let data = &data[..data.len().min(CHUNK_MAX)];
        if data.is_empty() {
            return Ok(0);
        }
        if self.offset + data.len() as u64 > BLOB_SIZE_MAX {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        let request = WriteContentRequest {
            action: WriteAction::Write.into(),
            reference: self.reference.clone(),
            total: total(&self.expected),
            offset: i64::try_from(self.offset).map_err(io::Error::other)?,
            data: data.to_vec(),
            ..WriteContentRequest::default()
        };
        self.call(request).map_err(io::Error::other)?;
        self.offset += data.len() as u64;
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl BlobWriter for Writer {
    fn offset(&self) -> u64 {
        self.offset
    }

    fn restart(&mut self) -> Result<(), ContentError> {
        let expected = self.expected.clone();
        let fresh = Self::start(Arc::clone(&self.connection), &expected);
        // The old one is dropped, which aborts it.
        *self = fresh.map_err(|e| explain(e, None))?;
        Ok(())
    }

    fn commit(mut self: Box<Self>, expected: &Expected) -> Result<BlobInfo, ContentError> {
        if let Some(size) = expected.size.filter(|size| *size != self.offset) {
            return Err(ContentError::SizeMismatch {
                name: self.reference.clone(),
                expected: size,
                actual: self.offset,
            });
        }
        let request = WriteContentRequest {
            action: WriteAction::Commit.into(),
            reference: self.reference.clone(),
            total: i64::try_from(self.offset).unwrap_or(i64::MAX),
            expected: expected
                .digest
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            offset: i64::try_from(self.offset).unwrap_or(i64::MAX),
            labels: self.connection.config.labels.clone(),
            ..WriteContentRequest::default()
        };
        let digest = match (self.call(request), &expected.digest) {
            (Ok(answer), _) => Digest::parse(&answer.digest)?,
            // Somebody else was faster: the same bytes are there.
            (Err(ContainerdError::AlreadyExists { .. }), Some(digest)) => digest.clone(),
            (Err(error), _) => return Err(explain(error, None)),
        };
        self.finished = true;
        let content = Content::new(Arc::clone(&self.connection));
        content.info(&digest)
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        if !self.finished {
            self.abort();
        }
    }
}
