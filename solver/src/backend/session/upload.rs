//! The Upload service: streams client data to a `http://buildkit-session/<id>` source.
//!
//! This is how a tar archive on standard input becomes a build context: the archive is added here, the URL that comes
//! back goes into an http source, and the daemon pulls the bytes through the session. Each upload can be pulled once,
//! since its reader is consumed.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};

use futures::{Stream, StreamExt};
use proto::upload::BytesMessage;
use proto::upload::upload_server::Upload;
use tokio::io::AsyncRead;
use tokio_util::io::ReaderStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::{metadata, new_id};

/// Bytes per message.
const CHUNK: usize = 64 * 1024;

/// The body of an upload.
pub type UploadReader = Pin<Box<dyn AsyncRead + Send>>;

/// Hands out the bodies of uploads.
pub trait UploadProvider: Send + Sync + 'static {
    /// Takes the upload `id` (the last component of the URL's path), or `None` when there is none (any more).
    fn take(&self, id: &str) -> Option<UploadReader>;
}

/// Uploads waiting to be pulled; they can be added while the session runs.
#[derive(Default)]
pub struct Uploads {
    waiting: Mutex<HashMap<String, UploadReader>>,
}

impl Uploads {
    /// No uploads.
    pub fn new() -> Self {
        Self::default()
    }

    /// Offers `reader` and returns the URL under which the daemon can fetch it, once.
    pub fn add(&self, reader: impl AsyncRead + Send + 'static) -> String {
        let id = new_id();
        let url = format!("http://buildkit-session/{id}");
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(id, Box::pin(reader));
        url
    }
}

impl std::fmt::Debug for Uploads {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_struct("Uploads")
            .field("waiting", &waiting.len())
            .finish()
    }
}

impl UploadProvider for Uploads {
    fn take(&self, id: &str) -> Option<UploadReader> {
        self.waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(id)
    }
}

/// Serves an [`UploadProvider`].
pub(crate) struct UploadService(pub(crate) Arc<dyn UploadProvider>);

#[async_trait]
impl Upload for UploadService {
    type PullStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    /// The daemon sends no messages of its own; the path of the URL is in the metadata.
    async fn pull(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::PullStream>, Status> {
        let path = metadata::first(request.metadata(), "urlpath")?.unwrap_or_default();
        let id = path.rsplit('/').next().unwrap_or_default();
        let reader = self.0.take(id).ok_or_else(|| {
            Status::not_found(format!(
                "upload {id:?}: unknown, or already fetched (each can be fetched once)"
            ))
        })?;
        let name = id.to_owned();
        let messages = ReaderStream::with_capacity(reader, CHUNK).map(move |chunk| match chunk {
            Ok(data) => Ok(BytesMessage { data }),
            Err(e) => Err(Status::unknown(format!("upload {name:?}: read: {e}"))),
        });
        Ok(Response::new(Box::pin(messages)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_upload_is_found_under_its_url_and_only_once() {
        let uploads = Uploads::new();
        let url = uploads.add(&b"tar"[..]);
        let id = url.strip_prefix("http://buildkit-session/").unwrap();
        assert!(uploads.take("other").is_none());
        assert!(uploads.take(id).is_some());
        assert!(uploads.take(id).is_none());
    }
}
