//! The gRPC server of a session: which methods exist, and serving them on one connection.
//!
//! hyper's HTTP/2 server is used directly instead of tonic's listener: there is exactly one connection, its end is the
//! end of the session and must be seen, and dropping the future must close it.

use std::sync::Arc;

use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::service::TowerToHyperService;
use proto::content::content_server::ContentServer;
use proto::exporter::exporter_server::ExporterServer;
use proto::filesync::auth_server::AuthServer;
use proto::filesync::file_sync_server::FileSyncServer;
use proto::health::health_server::HealthServer;
use proto::secrets::secrets_server::SecretsServer;
use proto::sshforward::ssh_server::SshServer;
use proto::upload::upload_server::UploadServer;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::service::Routes;

use super::SessionConfig;
use super::auth::AuthService;
use super::content::ContentService;
use super::exporter::ExporterService;
use super::filesend::FileSendServer;
use super::filesync::FileSyncService;
use super::health::HealthService;
use super::secrets::SecretsService;
use super::ssh::SshService;
use super::upload::UploadService;

/// Every method a session offers, as announced to the daemon.
pub(crate) const METHODS: [&str; 24] = [
    "/grpc.health.v1.Health/Check",
    "/grpc.health.v1.Health/Watch",
    "/grpc.health.v1.Health/List",
    "/moby.filesync.v1.FileSync/DiffCopy",
    "/moby.filesync.v1.FileSend/DiffCopy",
    "/moby.filesync.v1.Auth/Credentials",
    "/moby.filesync.v1.Auth/FetchToken",
    "/moby.filesync.v1.Auth/GetTokenAuthority",
    "/moby.filesync.v1.Auth/VerifyTokenAuthority",
    "/moby.buildkit.secrets.v1.Secrets/GetSecret",
    "/moby.sshforward.v1.SSH/CheckAgent",
    "/moby.sshforward.v1.SSH/ForwardAgent",
    "/moby.upload.v1.Upload/Pull",
    "/containerd.services.content.v1.Content/Info",
    "/containerd.services.content.v1.Content/Update",
    "/containerd.services.content.v1.Content/List",
    "/containerd.services.content.v1.Content/Delete",
    "/containerd.services.content.v1.Content/Read",
    "/containerd.services.content.v1.Content/Status",
    "/containerd.services.content.v1.Content/ListStatuses",
    "/containerd.services.content.v1.Content/Write",
    "/containerd.services.content.v1.Content/Abort",
    "/moby.exporter.v1.Exporter/FindExporters",
    "/moby.exporter.v1.Exporter/FinalizeExport",
];

/// HTTP/2 window of one stream, in bytes. Exports arrive in a single stream; the protocol's default of 64 KiB would
/// tie their speed to the round trip time.
const STREAM_WINDOW: u32 = 1 << 20;

/// HTTP/2 window of the whole connection, in bytes.
const CONNECTION_WINDOW: u32 = 4 << 20;

/// Calls the daemon may have open at once; more wait at its side.
const STREAMS_MAX: u32 = 1024;

/// Largest set of request headers, in bytes. Include and exclude patterns of a local directory travel as headers, one
/// per pattern; the limit is that of other BuildKit clients. hyper's default of 16 KiB would refuse a long ignore file.
const HEADERS_MAX: u32 = 16 << 20;

/// Calls that may be cancelled before they were looked at. The daemon reads blobs in many short calls that it cancels
/// when it has enough; the default of 20 would take a burst of them for an attack and end the session.
const CANCELLED_MAX: usize = 4096;

/// The services of a configuration.
fn routes(config: &SessionConfig) -> Routes {
    let limit = proto::MESSAGE_SIZE_MAX;
    Routes::new(HealthServer::new(HealthService))
        .add_service(FileSyncServer::new(FileSyncService(Arc::clone(
            &config.local_dirs,
        ))))
        .add_service(FileSendServer(Arc::clone(&config.targets)))
        .add_service(AuthServer::new(AuthService(Arc::clone(&config.auth))))
        .add_service(SecretsServer::new(SecretsService(Arc::clone(
            &config.secrets,
        ))))
        .add_service(SshServer::new(SshService(Arc::clone(&config.ssh))))
        .add_service(UploadServer::new(UploadService(Arc::clone(
            &config.uploads,
        ))))
        .add_service(
            ContentServer::new(ContentService::new(Arc::clone(&config.content)))
                .max_decoding_message_size(limit)
                .max_encoding_message_size(limit),
        )
        .add_service(
            ExporterServer::new(ExporterService(Arc::clone(&config.exporters)))
                .max_decoding_message_size(limit),
        )
        .prepare()
}

/// Serves one connection until it ends. `Err` is the transport's reason, as text.
pub(crate) async fn serve<Io>(io: Io, config: &SessionConfig) -> Result<(), String>
where
    Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    hyper::server::conn::http2::Builder::new(TokioExecutor::new())
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW)
        .max_concurrent_streams(STREAMS_MAX)
        .max_header_list_size(HEADERS_MAX)
        .max_pending_accept_reset_streams(CANCELLED_MAX)
        .max_local_error_reset_streams(None)
        .serve_connection(TokioIo::new(io), TowerToHyperService::new(routes(config)))
        .await
        .map_err(|error| match std::error::Error::source(&error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        })
}

#[cfg(test)]
mod tests;
