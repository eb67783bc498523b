//! The FileSend service: receives what exporters produce.
//!
//! The daemon names the exporter by its index within the solve; [`FileSendTargets`] maps that index to a [`Target`].
//! One method serves two protocols, told apart by the target alone:
//!
//! - a directory (`local` exporter) arrives as fsutil packets, with the daemon as sender (`receive.rs`), into a staging
//!   directory whose content is then moved into place (`stage.rs`);
//! - a single file (`tar`, `oci`, `docker` exporters) arrives as plain chunks (`file.rs`).
//!
//! Because both travel under the same method with different message types, messages are taken as raw bytes
//! (`codec.rs`) and decoded by the protocol.
//!
//! # What is guaranteed
//! - Nothing outside of the target is written, whatever paths and links the daemon sends.
//! - A single file appears under its name only when it is complete and on disk.
//! - A directory is not touched before everything has arrived: a full disk, a cancelled build or a daemon that dies
//!   leave it as it was. Then files are moved in by `rename`, each of them atomically; if that phase is interrupted the
//!   directory may hold some new and some old files, all of them whole. A target directory that did not exist appears
//!   at once. Directories are not synced to disk.
//! - Files belong to the user who runs this process.

mod codec;
mod file;
mod order;
mod receive;
mod stage;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::Stream;
use futures::future::BoxFuture;
use tokio::io::AsyncWrite;
use tonic::body::Body;
use tonic::metadata::{KeyAndValueRef, MetadataMap};
use tonic::server::{Grpc, NamedService, StreamingService};
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::metadata;
use super::registry::Registry;
use codec::RawCodec;
#[cfg(test)]
pub(crate) use order::Order;

/// Prefix of the metadata keys that carry the exporter's response entries.
const METADATA_PREFIX: &str = "exporter-md-";

/// What the daemon says about an export as it starts: response entries such as `containerimage.digest`.
pub type ExportMetadata = BTreeMap<String, String>;

/// What happens to files of a target directory that the export does not contain.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum DirectoryMode {
    /// They stay.
    #[default]
    Merge,
    /// They are removed: the directory mirrors the export. Give the `local` exporter the attribute `mode=delete` too:
    /// only then does the daemon send all platforms in one transfer, and others are refused.
    Mirror,
}

/// A place for one export.
#[derive(Debug, Clone)]
pub enum Target {
    /// A directory, created when missing.
    Directory {
        /// The directory.
        path: PathBuf,
        /// What happens to other files in it.
        mode: DirectoryMode,
    },
    /// A file that is replaced when the export is complete. An existing device or pipe is written to directly.
    File(PathBuf),
    /// A writer, for example standard output.
    Writer(TargetWriter),
}

impl Target {
    /// A directory that keeps its other files.
    pub fn directory(path: impl Into<PathBuf>) -> Self {
        Self::Directory {
            path: path.into(),
            mode: DirectoryMode::Merge,
        }
    }
}

type Writer = Pin<Box<dyn AsyncWrite + Send>>;

/// A writer that one export can use; it is flushed and shut down at the end.
#[derive(Clone)]
pub struct TargetWriter(Arc<Mutex<Option<Writer>>>);

impl TargetWriter {
    /// Wraps a writer.
    pub fn new(writer: impl AsyncWrite + Send + 'static) -> Self {
        Self(Arc::new(Mutex::new(Some(Box::pin(writer)))))
    }

    fn take(&self) -> Option<Writer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

impl fmt::Debug for TargetWriter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TargetWriter")
    }
}

/// Finds the target of an export.
#[async_trait]
pub trait FileSendProvider: Send + Sync + 'static {
    /// The target for the exporter with this index (decimal, as the daemon sends it), or `None`.
    async fn target(
        &self,
        exporter: &str,
        metadata: &ExportMetadata,
    ) -> Result<Option<Target>, String>;
}

/// Targets by exporter index; entries can be added while the session runs.
pub type FileSendTargets = Registry<Target>;

impl Registry<Target> {
    /// Sets the target of the exporter at `index` in the solve's list of exporters.
    pub fn set(&self, index: usize, target: Target) {
        self.insert(index.to_string(), target);
    }
}

#[async_trait]
impl FileSendProvider for FileSendTargets {
    async fn target(&self, exporter: &str, _: &ExportMetadata) -> Result<Option<Target>, String> {
        Ok(self.get(exporter))
    }
}

/// Messages to the daemon.
type Outbound = Pin<Box<dyn Stream<Item = Result<Bytes, Status>> + Send>>;

/// The method `DiffCopy`.
struct DiffCopy(Arc<dyn FileSendProvider>);

impl StreamingService<Bytes> for DiffCopy {
    type Response = Bytes;
    type ResponseStream = Outbound;
    type Future = BoxFuture<'static, Result<Response<Outbound>, Status>>;

    fn call(&mut self, request: Request<Streaming<Bytes>>) -> Self::Future {
        Box::pin(diff_copy(Arc::clone(&self.0), request))
    }
}

async fn diff_copy(
    provider: Arc<dyn FileSendProvider>,
    request: Request<Streaming<Bytes>>,
) -> Result<Response<Outbound>, Status> {
    let (headers, _, inbound) = request.into_parts();
    // Daemons that know only one exporter send no index.
    let exporter = metadata::first(&headers, "buildkit-attachable-exporter-id")?
        .unwrap_or_else(|| "0".to_owned());
    let whole = metadata::values(&headers, "buildkit-exporter-multi-platform")?
        .iter()
        .any(|v| v == "1");
    let target = provider
        .target(&exporter, &export_metadata(&headers)?)
        .await
        .map_err(|e| Status::unknown(format!("target of exporter {exporter}: {e}")))?
        .ok_or_else(|| Status::not_found(format!("there is no target for exporter {exporter}")))?;
    match target {
        Target::Directory {
            mode: DirectoryMode::Mirror,
            path,
        } if !whole => Err(Status::failed_precondition(format!(
            "{}: this daemon exports each platform on its own, so files that belong to another platform cannot be told \
             from files to delete",
            path.display()
        ))),
        Target::Directory { path, mode } => Ok(Response::new(receive::start(inbound, path, mode))),
        Target::File(path) => {
            file::to_file(inbound, path).await?;
            Ok(Response::new(Box::pin(futures::stream::empty())))
        }
        Target::Writer(writer) => {
            let writer = writer
                .take()
                .ok_or_else(|| Status::already_exists("the export's writer was used before"))?;
            file::to_writer(inbound, writer).await?;
            Ok(Response::new(Box::pin(futures::stream::empty())))
        }
    }
}

fn export_metadata(headers: &MetadataMap) -> Result<ExportMetadata, Status> {
    let mut found = ExportMetadata::new();
    for entry in headers.iter() {
        if let KeyAndValueRef::Ascii(key, _) = entry
            && let Some(name) = key.as_str().strip_prefix(METADATA_PREFIX)
            && !found.contains_key(name)
        {
            found.insert(
                name.to_owned(),
                metadata::values(headers, key.as_str())?.join(","),
            );
        }
    }
    Ok(found)
}

/// The gRPC service, written by hand because no single message type fits its method.
#[derive(Clone)]
pub(crate) struct FileSendServer(pub(crate) Arc<dyn FileSendProvider>);

impl NamedService for FileSendServer {
    const NAME: &'static str = "moby.filesync.v1.FileSend";
}

impl tower::Service<http::Request<Body>> for FileSendServer {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = BoxFuture<'static, Result<Self::Response, Self::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: http::Request<Body>) -> Self::Future {
        let method = DiffCopy(Arc::clone(&self.0));
        Box::pin(async move {
            if request.uri().path() != "/moby.filesync.v1.FileSend/DiffCopy" {
                return Ok(
                    Status::unimplemented("FileSend has only the method DiffCopy").into_http(),
                );
            }
            let limit = Some(proto::MESSAGE_SIZE_MAX);
            let mut grpc = Grpc::new(RawCodec).apply_max_message_size_config(limit, limit);
            Ok(grpc.streaming(method, request).await)
        })
    }
}
