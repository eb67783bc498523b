//! The Content service: blobs of this machine, for the daemon.
//!
//! Every call names a store in its metadata ([`ContentStores`]). The daemon makes up the name: `oci:<id>` for an
//! `oci-layout://` source whose store ID is `<id>`, `local:<path>` for a local cache with that `src` or `dest`, `export`
//! for an exporter that writes into a store. A store is a [`ContentProvider`]; reading and listing go straight to it.
//! Writing is a conversation on one stream (`write.rs`).
//!
//! The daemon can neither delete blobs nor change their labels here: the stores are the user's, and BuildKit never does
//! so. Both calls are refused.

#[cfg(test)]
mod tests;
mod write;

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::Stream;
use proto::content::content_server::Content;
use proto::content::{
    AbortRequest, DeleteContentRequest, Info, InfoRequest, InfoResponse, ListContentRequest,
    ListContentResponse, ListStatusesRequest, ListStatusesResponse, ReadContentRequest,
    ReadContentResponse, StatusRequest, StatusResponse, UpdateRequest, UpdateResponse,
    WriteContentRequest, WriteContentResponse,
};
use snapshots::content::{BlobInfo, ContentError, ContentProvider, ReadAt};
use snapshots::digest::Digest;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::error::code_of;
use super::metadata;
use super::registry::Registry;
use write::Ingest;

/// Bytes per message of a read.
const CHUNK: usize = 64 * 1024;

/// Messages of a read that may wait for the transport.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Blobs per message of a listing.
const LIST_CHUNK: usize = 100;

/// Finds content stores.
pub trait ContentStoreProvider: Send + Sync + 'static {
    /// The store offered as `id`, or `None`.
    fn store(&self, id: &str) -> Option<Arc<dyn ContentProvider>>;
}

/// Content stores by ID; entries can be added while the session runs.
pub type ContentStores = Registry<Arc<dyn ContentProvider>>;

impl ContentStoreProvider for ContentStores {
    fn store(&self, id: &str) -> Option<Arc<dyn ContentProvider>> {
        self.get(id)
    }
}

/// Writes in progress, by store ID and reference.
type Ingests = Arc<Mutex<HashMap<(String, String), Ingest>>>;

/// Serves a [`ContentStoreProvider`].
pub(crate) struct ContentService {
    stores: Arc<dyn ContentStoreProvider>,
    ingests: Ingests,
}

type Answers<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl ContentService {
    pub(crate) fn new(stores: Arc<dyn ContentStoreProvider>) -> Self {
        Self {
            stores,
            ingests: Ingests::default(),
        }
    }

    /// ID and store that a call is about.
    fn choose(&self, metadata: &MetadataMap) -> Result<(String, Arc<dyn ContentProvider>), Status> {
        let id = metadata::first(metadata, "buildkit-attachable-store-id")?
            .ok_or_else(|| Status::invalid_argument("the request names no content store"))?;
        let store = self
            .stores
            .store(&id)
            .ok_or_else(|| Status::not_found(format!("unknown content store {id:?}")))?;
        Ok((id, store))
    }
}

/// The status for a store's error. Codes are those containerd's own service uses.
fn status(error: &ContentError) -> Status {
    let code = match error {
        ContentError::NotFound(_) => tonic::Code::NotFound,
        ContentError::Digest(_) | ContentError::TooLarge { .. } => tonic::Code::InvalidArgument,
        ContentError::DigestMismatch { .. } | ContentError::SizeMismatch { .. } => {
            tonic::Code::FailedPrecondition
        }
        ContentError::ReadOnly => tonic::Code::PermissionDenied,
        ContentError::Io { source, .. } => code_of(source),
        _ => tonic::Code::Unknown,
    };
    Status::new(code, error.to_string())
}

fn digest(text: &str) -> Result<Digest, Status> {
    Digest::parse(text).map_err(|e| Status::invalid_argument(e.to_string()))
}

/// Runs a store operation where it may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ContentError> + Send + 'static,
) -> Result<T, Status> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|_| Status::cancelled("the session is closing"))?
        .map_err(|e| status(&e))
}

fn describe(info: BlobInfo) -> Info {
    let modified: prost_types::Timestamp = info.modified.into();
    Info {
        digest: info.digest.to_string(),
        size: i64::try_from(info.size).unwrap_or(i64::MAX),
        created_at: Some(modified),
        updated_at: Some(modified),
        ..Info::default()
    }
}

#[async_trait]
impl Content for ContentService {
    async fn info(&self, request: Request<InfoRequest>) -> Result<Response<InfoResponse>, Status> {
        let (_, store) = self.choose(request.metadata())?;
        let digest = digest(&request.get_ref().digest)?;
        let info = blocking(move || store.info(&digest)).await?;
        Ok(Response::new(InfoResponse {
            info: Some(describe(info)),
        }))
    }

    async fn update(&self, _: Request<UpdateRequest>) -> Result<Response<UpdateResponse>, Status> {
        Err(Status::permission_denied(
            "labels of the client's blobs cannot be changed",
        ))
    }

    async fn delete(&self, _: Request<DeleteContentRequest>) -> Result<Response<()>, Status> {
        Err(Status::permission_denied(
            "the client's blobs cannot be deleted",
        ))
    }

    type ListStream = Answers<ListContentResponse>;

    /// Lists everything. Filters select by label, and no blob here has labels: with filters, nothing matches.
    async fn list(
        &self,
        request: Request<ListContentRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let (_, store) = self.choose(request.metadata())?;
        let filtered = request.get_ref().filters.iter().any(|f| !f.is_empty());
        let blobs = if filtered {
            Vec::new()
        } else {
            blocking(move || store.list()).await?
        };
        let messages: Vec<_> = blobs
            .chunks(LIST_CHUNK)
            .map(|chunk| {
                Ok(ListContentResponse {
                    info: chunk.iter().cloned().map(describe).collect(),
                })
            })
            .collect();
        Ok(Response::new(Box::pin(futures::stream::iter(messages))))
    }

    type ReadStream = Answers<ReadContentResponse>;

    async fn read(
        &self,
        request: Request<ReadContentRequest>,
    ) -> Result<Response<Self::ReadStream>, Status> {
        let (_, store) = self.choose(request.metadata())?;
        let request = request.into_inner();
        let digest = digest(&request.digest)?;
        let blob = blocking(move || store.reader_at(&digest)).await?;
        let offset = u64::try_from(request.offset).unwrap_or(0);
        let Some(rest) = blob.size().checked_sub(offset) else {
            return Err(Status::out_of_range(format!(
                "offset {offset} is past the end of the blob ({} bytes)",
                blob.size()
            )));
        };
        // A size of zero or less means "to the end".
        let length = u64::try_from(request.size)
            .ok()
            .filter(|size| *size > 0)
            .map_or(rest, |size| size.min(rest));
        let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        tokio::task::spawn_blocking(move || read(&*blob, offset, length, &sender));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }

    async fn status(
        &self,
        request: Request<StatusRequest>,
    ) -> Result<Response<StatusResponse>, Status> {
        let (id, _) = self.choose(request.metadata())?;
        let status = write::status(&self.ingests, &id, &request.get_ref().r#ref)?;
        Ok(Response::new(StatusResponse {
            status: Some(status),
        }))
    }

    /// Filters select by reference with a regular expression, as the daemon never does here: they are refused.
    async fn list_statuses(
        &self,
        request: Request<ListStatusesRequest>,
    ) -> Result<Response<ListStatusesResponse>, Status> {
        let (id, _) = self.choose(request.metadata())?;
        if request.get_ref().filters.iter().any(|f| !f.is_empty()) {
            return Err(Status::unimplemented(
                "writes in progress cannot be filtered",
            ));
        }
        Ok(Response::new(ListStatusesResponse {
            statuses: write::statuses(&self.ingests, &id),
        }))
    }

    type WriteStream = Answers<WriteContentResponse>;

    async fn write(
        &self,
        request: Request<Streaming<WriteContentRequest>>,
    ) -> Result<Response<Self::WriteStream>, Status> {
        let (id, store) = self.choose(request.metadata())?;
        Ok(Response::new(write::start(
            request.into_inner(),
            id,
            store,
            Arc::clone(&self.ingests),
        )))
    }

    async fn abort(&self, request: Request<AbortRequest>) -> Result<Response<()>, Status> {
        let (id, _) = self.choose(request.metadata())?;
        write::abort(&self.ingests, &id, &request.get_ref().r#ref)?;
        Ok(Response::new(()))
    }
}

/// Sends a part of a blob. Offsets in the answers count from the start of the part, as containerd's service does.
fn read(
    blob: &dyn ReadAt,
    start: u64,
    length: u64,
    sender: &mpsc::Sender<Result<ReadContentResponse, Status>>,
) {
    let mut sent = 0;
    while sent < length {
        let wanted = usize::try_from(length - sent).unwrap_or(CHUNK).min(CHUNK);
        let mut data = vec![0; wanted];
        let answer = match blob.read_at(&mut data, start + sent) {
            // The blob was cut short after it was opened.
            Ok(0) => Err(Status::data_loss(format!(
                "the blob ends {} bytes early",
                length - sent
            ))),
            Ok(count) => {
                data.truncate(count);
                let answer = ReadContentResponse {
                    offset: i64::try_from(sent).unwrap_or(i64::MAX),
                    data: Bytes::from(data),
                };
                sent += count as u64;
                Ok(answer)
            }
            Err(e) => Err(Status::new(code_of(&e), format!("read blob: {e}"))),
        };
        let last = answer.is_err();
        if sender.blocking_send(answer).is_err() || last {
            return;
        }
    }
}
