//! The session: a connection on which the daemon calls us.
//!
//! A build reads local files, secrets and credentials from the client, and writes exports to it. For all of that the
//! daemon is the caller: the client opens one long-lived stream, and over it runs an HTTP/2 *server*.
//!
//! ```text
//! Session ── opens ──> Control.Session (or POST /session of Docker)
//!    tunnel    bytes of one HTTP/2 connection inside that stream
//!    server    the gRPC services below, chosen by path
//!       filesync   local directories, sent to the daemon      (LocalDirs)
//!       filesend   exports, received from the daemon          (FileSendTargets)
//!       content    blobs: oci-layout sources, local caches    (ContentStores)
//!       secrets    secret values                              (Secrets)
//!       auth       registry credentials                       (RegistryAuth)
//!       ssh        agent sockets                              (SshAgents)
//!       upload     a tar stream as build context              (Uploads)
//!       exporter   choice of exporters after the build        (ExporterProvider)
//!       health     "still here", every five seconds
//! ```
//!
//! The daemon learns the list of methods when the stream opens and never again. Every service is therefore announced
//! from the start and answers "not found" until its provider has something; providers are shared registries, so an
//! entry can be added while builds run.
//!
//! # End of a session
//! Dropping a [`Session`] closes its stream; calls in progress are cut off. When the stream ends for any other reason
//! (the daemon died, the connection broke, the daemon gave up on the health checks), [`Session::lost`] resolves with
//! the reason; builds using the session cannot succeed after that.
//!
//! # One session, many builds
//! Exports are told apart by the index of the exporter within its solve, nothing else. Two solves that export at the
//! same time need two sessions; a session is one stream and costs little.

mod auth;
mod content;
mod error;
mod exporter;
mod filesend;
mod filesync;
mod gomode;
mod health;
pub(crate) mod metadata;
mod registry;
mod secrets;
mod server;
mod ssh;
mod tunnel;
mod upload;

#[cfg(test)]
mod live;

use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderValue};
use proto::control::control_client::ControlClient;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Request;
use tonic::metadata::MetadataMap;
use tonic::transport::Channel;

pub use auth::{AuthProvider, Credentials, DockerConfig, RegistryAuth};
pub use content::{ContentStoreProvider, ContentStores};
pub use error::{Error, PathError};
pub use exporter::{ExporterChoice, ExporterProvider, NoExporters};
pub use filesend::{
    DirectoryMode, ExportMetadata, FileSendProvider, FileSendTargets, Target, TargetWriter,
};
pub use filesync::{LocalDir, LocalDirProvider, LocalDirs, Ownership, Transfer, Transferred};
pub use registry::Registry;
pub use secrets::{SECRET_MAX, SecretBytes, SecretProvider, Secrets};
pub use ssh::{DEFAULT_ID as SSH_DEFAULT_ID, SshAgentProvider, SshAgents};
pub use upload::{UploadProvider, UploadReader, Uploads};

use super::Client;

/// How long the daemon may take to accept a session.
const OPEN_TIMEOUT: Duration = Duration::from_secs(30);

/// What a session offers. Every provider starts empty; keep a clone of an `Arc` to add entries later.
#[derive(Clone)]
pub struct SessionConfig {
    /// Session ID; [`new_id`] unless the caller needs a known one.
    pub id: String,
    /// A name for people; the daemon does not use it.
    pub name: String,
    /// Lets sessions of different runs share the daemon's copies of local directories: a directory that was sent
    /// before under the same name, hint and shared key is sent again only as far as it changed.
    pub shared_key: String,
    /// Local directories the daemon may read.
    pub local_dirs: Arc<dyn LocalDirProvider>,
    /// Where exports go.
    pub targets: Arc<dyn FileSendProvider>,
    /// Content stores by store ID (`oci:<name>`, `local:<path>`, `export`).
    pub content: Arc<dyn ContentStoreProvider>,
    /// Secret values.
    pub secrets: Arc<dyn SecretProvider>,
    /// Registry credentials.
    pub auth: Arc<dyn AuthProvider>,
    /// SSH agent sockets.
    pub ssh: Arc<dyn SshAgentProvider>,
    /// Uploads to `http://buildkit-session/` sources.
    pub uploads: Arc<dyn UploadProvider>,
    /// Exporters chosen after the build.
    pub exporters: Arc<dyn ExporterProvider>,
}

impl Default for SessionConfig {
    fn default() -> Self {
        Self {
            id: new_id(),
            name: String::new(),
            shared_key: String::new(),
            local_dirs: Arc::new(LocalDirs::new()),
            targets: Arc::new(FileSendTargets::new()),
            content: Arc::new(ContentStores::new()),
            secrets: Arc::new(Secrets::new()),
            auth: Arc::new(RegistryAuth::new()),
            ssh: Arc::new(SshAgents::new()),
            uploads: Arc::new(Uploads::new()),
            exporters: Arc::new(NoExporters),
        }
    }
}

impl fmt::Debug for SessionConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SessionConfig")
            .field("id", &self.id)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

impl SessionConfig {
    /// The headers that open the session, in lower case: identity, and one entry per offered method.
    ///
    /// # Errors
    /// [`Error::Header`] when the ID, the name or the shared key cannot be a header value.
    pub fn headers(&self) -> Result<HeaderMap, Error> {
        let value = |field, text: &str| {
            let printable = text.bytes().all(|b| (0x20..0x7f).contains(&b));
            let header = HeaderValue::from_str(text).ok().filter(|_| printable);
            header.ok_or_else(|| Error::Header {
                field,
                value: text.to_owned(),
            })
        };
        let mut headers = HeaderMap::new();
        headers.insert("x-docker-expose-session-uuid", value("ID", &self.id)?);
        headers.insert("x-docker-expose-session-name", value("name", &self.name)?);
        headers.insert(
            "x-docker-expose-session-sharedkey",
            value("shared key", &self.shared_key)?,
        );
        for method in server::METHODS {
            headers.append(
                "x-docker-expose-session-grpc-method",
                HeaderValue::from_static(method),
            );
        }
        Ok(headers)
    }
}

/// A running session; dropping it closes it.
#[derive(Debug)]
pub struct Session {
    id: String,
    server: JoinHandle<()>,
    ended: watch::Receiver<Option<Error>>,
}

impl Session {
    /// Opens a session with the client's daemon and serves it until the returned value is dropped. On a Docker Engine
    /// this takes a second connection, elsewhere a stream of the existing one.
    ///
    /// # Errors
    /// [`Error::Header`] for a configuration that cannot be sent; [`Error::Refused`] when the daemon does not answer
    /// within 30 s, or refuses.
    pub async fn start(client: &Client, config: SessionConfig) -> Result<Self, Error> {
        if client.address().is_docker() {
            let upgrade =
                |headers| async move { client.docker_upgrade("/session", &headers).await };
            Self::over_upgrade(config, upgrade).await
        } else {
            Self::over_control(client.control(), config).await
        }
    }

    /// Opens a session through `Control.Session`.
    async fn over_control(
        mut control: ControlClient<Channel>,
        config: SessionConfig,
    ) -> Result<Self, Error> {
        let headers = config.headers()?;
        let refused = |reason: String| Error::Refused {
            id: config.id.clone(),
            reason,
        };
        let (sender, receiver) = tunnel::outbound();
        let mut request = Request::new(ReceiverStream::new(receiver));
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        let response = tokio::time::timeout(OPEN_TIMEOUT, control.session(request))
            .await
            .map_err(|_| refused(format!("no answer within {} s", OPEN_TIMEOUT.as_secs())))?
            .map_err(|status| refused(format!("{}: {}", status.code(), status.message())))?;
        let tunnel = tunnel::Tunnel::new(response.into_inner(), sender);
        let failure = tunnel.failure();
        Ok(Self::serve(tunnel, failure, config))
    }

    /// Serves a session over a socket that was upgraded by `POST /session` of the Docker API; `open` gets the headers
    /// of that request and does the upgrade.
    async fn over_upgrade<Io, Open, Opening, E>(
        config: SessionConfig,
        open: Open,
    ) -> Result<Self, Error>
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
        Open: FnOnce(HeaderMap) -> Opening,
        Opening: Future<Output = Result<Io, E>>,
        E: fmt::Display,
    {
        let headers = config.headers()?;
        let refused = |reason: String| Error::Refused {
            id: config.id.clone(),
            reason,
        };
        let io = tokio::time::timeout(OPEN_TIMEOUT, open(headers))
            .await
            .map_err(|_| refused(format!("no answer within {} s", OPEN_TIMEOUT.as_secs())))?
            .map_err(|e| refused(e.to_string()))?;
        Ok(Self::serve(io, tunnel::Failure::default(), config))
    }

    /// Runs the server on `io` in a task of its own.
    fn serve<Io>(io: Io, failure: tunnel::Failure, config: SessionConfig) -> Self
    where
        Io: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let id = config.id.clone();
        let (sender, ended) = watch::channel(None);
        let session = id.clone();
        let server = tokio::spawn(async move {
            let outcome = server::serve(io, &config).await;
            let reason = match (failure.get(), outcome) {
                (Some(reason), _) => reason.clone(),
                (None, Err(error)) => error,
                (None, Ok(())) => "the daemon closed the connection".to_owned(),
            };
            tracing::debug!(session, reason, "session ended");
            sender.send_replace(Some(Error::Lost {
                id: session,
                reason,
            }));
        });
        Self { id, server, ended }
    }

    /// The ID that solve requests name.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Waits until the session is lost, and says why. Never resolves while the session works; to be raced against the
    /// build that uses the session.
    pub async fn lost(&self) -> Error {
        let mut ended = self.ended.clone();
        let closed = || Error::Lost {
            id: self.id.clone(),
            reason: "the session was closed".to_owned(),
        };
        match ended.wait_for(Option::is_some).await {
            Ok(error) => error.clone().unwrap_or_else(closed),
            Err(_) => closed(),
        }
    }

    /// The reason of the loss, if the session is lost already.
    pub fn is_lost(&self) -> Option<Error> {
        self.ended.borrow().clone()
    }

    /// Closes the session and waits until nothing of it runs any more.
    pub async fn close(mut self) {
        self.server.abort();
        // An aborted task reports "cancelled"; a finished one is finished.
        let _ = (&mut self.server).await;
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// A new random identifier in BuildKit's form: 25 characters of base 36 (129 bits).
pub fn new_id() -> String {
    const DIGITS: &[u8; 36] = b"0123456789abcdefghijklmnopqrstuvwxyz";
    const LENGTH: usize = 25;
    let mut random = [0u8; 16];
    getrandom::fill(&mut random).expect("the operating system provides random bytes");
    let mut number = u128::from_le_bytes(random);
    let mut id = String::with_capacity(LENGTH);
    for _ in 0..LENGTH {
        id.push(char::from(DIGITS[(number % 36) as usize]));
        number /= 36;
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_name_the_session_and_every_method() {
        let config = SessionConfig {
            id: "abc".into(),
            shared_key: "key".into(),
            ..SessionConfig::default()
        };
        let headers = config.headers().unwrap();
        assert_eq!(headers["x-docker-expose-session-uuid"], "abc");
        assert_eq!(headers["x-docker-expose-session-sharedkey"], "key");
        let methods: Vec<_> = headers
            .get_all("x-docker-expose-session-grpc-method")
            .iter()
            .collect();
        assert_eq!(methods.len(), server::METHODS.len());
        assert!(
            methods
                .iter()
                .any(|m| *m == "/moby.filesync.v1.FileSync/DiffCopy")
        );
    }

    #[test]
    fn a_name_that_would_split_the_header_is_refused() {
        let config = SessionConfig {
            name: "a\r\nx-evil: 1".into(),
            ..SessionConfig::default()
        };
        assert!(matches!(
            config.headers(),
            Err(Error::Header { field: "name", .. })
        ));
    }

    #[test]
    fn identifiers_have_the_daemons_form_and_differ() {
        let (a, b) = (new_id(), new_id());
        assert_ne!(a, b);
        for id in [a, b] {
            assert_eq!(id.len(), 25);
            assert!(
                id.bytes()
                    .all(|c| c.is_ascii_digit() || c.is_ascii_lowercase()),
                "{id}"
            );
        }
    }

    #[tokio::test]
    async fn the_end_of_the_socket_is_reported_as_a_loss() {
        let (ours, theirs) = tokio::io::duplex(1024);
        let session = Session::over_upgrade(SessionConfig::default(), |_| async {
            Ok::<_, std::io::Error>(ours)
        })
        .await
        .unwrap();
        assert!(session.is_lost().is_none());
        drop(theirs);
        let error = session.lost().await;
        assert!(
            error
                .to_string()
                .starts_with(&format!("session {} was lost", session.id())),
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_refused_upgrade_says_why() {
        let opened = Session::over_upgrade::<tokio::io::DuplexStream, _, _, _>(
            SessionConfig::default(),
            |_| async { Err(std::io::Error::other("404 page not found")) },
        );
        assert!(
            opened
                .await
                .unwrap_err()
                .to_string()
                .ends_with("404 page not found")
        );
    }
}
