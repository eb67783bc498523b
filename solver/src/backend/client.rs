//! A connection to one daemon.
//!
//! [`Client::connect`] opens a stream, speaks HTTP/2 on it and asks the daemon for
//! its version, so that a wrong socket, a wrong certificate or a dead helper is
//! found before any build starts. A `Client` is cheap to clone and every clone
//! shares the connection, on which calls run side by side.
//!
//! When the stream ends, all pending calls fail with [`Error::Disconnected`]. The
//! next call opens a new stream, so a client outlives a restart of its daemon;
//! builds that were under way do not.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use proto::content::content_client::ContentClient;
use proto::control::control_client::ControlClient;
use proto::gateway::llb_bridge_client::LlbBridgeClient;
use proto::{MESSAGE_SIZE_MAX, control};
use tonic::transport::{Channel, Endpoint, Uri};
use tonic::{Code, Status};

use super::address::Address;
use super::dial::{BoxedIo, Dialer, Link, Watched};
use super::error::{Attempt, Error, one_line};
use super::failure::Failure;
use super::tls::{Tls, TlsConfig};

/// Default bound for opening a connection, handshakes and first answer included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(20);

/// Bound for calls that a healthy daemon answers at once.
pub(crate) const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// How to connect.
#[derive(Debug, Clone)]
pub struct ConnectOptions {
    /// TLS for `tcp` and `docker+tcp` addresses; other addresses ignore it.
    pub tls: Option<TlsConfig>,
    /// Bound for the whole of [`Client::connect`].
    pub timeout: Duration,
}

impl Default for ConnectOptions {
    fn default() -> Self {
        Self {
            tls: None,
            timeout: CONNECT_TIMEOUT,
        }
    }
}

/// What a daemon says of itself. Empty strings = it did not say.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct DaemonInfo {
    /// Go package, for example `github.com/moby/buildkit` or that of Docker.
    pub package: String,
    /// Version, for example `v0.32.2`.
    pub version: String,
    /// Source revision.
    pub revision: String,
    /// Version of the built-in Dockerfile frontend.
    pub dockerfile_version: String,
}

impl From<proto::types::BuildkitVersion> for DaemonInfo {
    fn from(wire: proto::types::BuildkitVersion) -> Self {
        Self {
            package: wire.package,
            version: wire.version,
            revision: wire.revision,
            dockerfile_version: wire.dockerfile_version,
        }
    }
}

/// A connection to a daemon.
#[derive(Clone)]
pub struct Client {
    shared: Arc<Shared>,
}

struct Shared {
    dialer: Dialer,
    link: Link,
    channel: Channel,
    connect_timeout: Duration,
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Client")
            .field("address", self.address())
            .finish_non_exhaustive()
    }
}

impl Client {
    /// Connects and checks that a BuildKit daemon answers.
    ///
    /// # Errors
    /// [`Error::Unreachable`] with one attempt; [`Error::Io`] for a TLS file.
    pub async fn connect(address: &Address, options: &ConnectOptions) -> Result<Self, Error> {
        let tls = match &options.tls {
            Some(config) => Some(Tls::load(config).await?),
            None => None,
        };
        let dialer = Dialer::new(address.clone(), tls);
        let connecting = Self::open(dialer, options.timeout);
        match tokio::time::timeout(options.timeout, connecting).await {
            Ok(result) => result,
            Err(_) => {
                let seconds = options.timeout.as_secs_f32();
                Err(unreachable(
                    address,
                    format!("no answer within {seconds} s"),
                ))
            }
        }
    }

    async fn open(dialer: Dialer, connect_timeout: Duration) -> Result<Self, Error> {
        let first = dialer
            .grpc()
            .await
            .map_err(|reason| unreachable(dialer.address(), reason))?;
        Self::greet(dialer, first, connect_timeout).await
    }

    /// Speaks HTTP/2 on an open stream and asks who is there.
    async fn greet(
        dialer: Dialer,
        first: BoxedIo,
        connect_timeout: Duration,
    ) -> Result<Self, Error> {
        let address = dialer.address().clone();
        let link = Link::new();
        let channel = channel(&dialer, &link, first, connect_timeout)?;
        let client = Self {
            shared: Arc::new(Shared {
                dialer,
                link,
                channel,
                connect_timeout,
            }),
        };
        client.info().await.map_err(|error| match error {
            Error::Disconnected { reason, .. } | Error::Protocol(reason) => {
                unreachable(&address, reason)
            }
            Error::Daemon(failure) => unreachable(
                &address,
                format!("something answered, but not as BuildKit does: {failure}"),
            ),
            other => other,
        })?;
        Ok(client)
    }

    /// A client on a stream that a test opened; `address` serves later streams.
    #[cfg(test)]
    pub(super) async fn over(address: &Address, io: BoxedIo) -> Result<Self, Error> {
        Self::greet(Dialer::new(address.clone(), None), io, CONNECT_TIMEOUT).await
    }

    /// The address this client was made for.
    pub fn address(&self) -> &Address {
        self.shared.dialer.address()
    }

    /// Version of the daemon. Daemons before v0.11 have no call for it; they are
    /// asked for their workers instead, whose records may carry the version.
    pub async fn info(&self) -> Result<DaemonInfo, Error> {
        let request = control::InfoRequest {};
        match self.call(self.control().info(request)).await {
            Ok(response) => Ok(response.buildkit_version.unwrap_or_default().into()),
            Err(error) if code(&error) == Some(Code::Unimplemented) => {
                let workers = self.workers(&[]).await?;
                Ok(workers
                    .into_iter()
                    .next()
                    .map(|worker| worker.version)
                    .unwrap_or_default())
            }
            Err(error) => Err(error),
        }
    }

    pub(crate) fn control(&self) -> ControlClient<Channel> {
        ControlClient::new(self.shared.channel.clone())
            .max_decoding_message_size(MESSAGE_SIZE_MAX)
            .max_encoding_message_size(MESSAGE_SIZE_MAX)
    }

    pub(crate) fn bridge(&self) -> LlbBridgeClient<Channel> {
        LlbBridgeClient::new(self.shared.channel.clone())
            .max_decoding_message_size(MESSAGE_SIZE_MAX)
            .max_encoding_message_size(MESSAGE_SIZE_MAX)
    }

    pub(crate) fn content(&self) -> ContentClient<Channel> {
        ContentClient::new(self.shared.channel.clone())
            .max_decoding_message_size(MESSAGE_SIZE_MAX)
            .max_encoding_message_size(MESSAGE_SIZE_MAX)
    }

    /// Opens a further connection to a Docker Engine and upgrades it to raw
    /// HTTP/2 with `POST path` and `headers`; used for the session, where we are
    /// the server. Its end does not count as the end of the client's connection.
    pub(crate) async fn docker_upgrade(
        &self,
        path: &str,
        headers: &http::HeaderMap,
    ) -> Result<BoxedIo, Error> {
        if !self.address().is_docker() {
            return Err(Error::Protocol(format!(
                "{} is no Docker Engine",
                self.address()
            )));
        }
        let opening = self.shared.dialer.upgrade(path, headers);
        match tokio::time::timeout(self.shared.connect_timeout, opening).await {
            Ok(Ok(io)) => Ok(io),
            Ok(Err(reason)) => Err(unreachable(self.address(), reason)),
            Err(_) => Err(Error::Timeout {
                what: format!("POST {path} to {}", self.address()),
                after: self.shared.connect_timeout,
            }),
        }
    }

    /// Awaits a call that a healthy daemon answers at once.
    pub(crate) async fn call<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Error> {
        match tokio::time::timeout(CALL_TIMEOUT, self.long_call(call)).await {
            Ok(result) => result,
            Err(_) => Err(Error::Timeout {
                what: format!("a call to the BuildKit daemon at {}", self.address()),
                after: CALL_TIMEOUT,
            }),
        }
    }

    /// Awaits a call that takes as long as its work.
    pub(crate) async fn long_call<T>(
        &self,
        call: impl Future<Output = Result<tonic::Response<T>, Status>>,
    ) -> Result<T, Error> {
        match call.await {
            Ok(response) => Ok(response.into_inner()),
            Err(status) => Err(self.error(status).await),
        }
    }

    /// The error behind a status: the daemon's own words, or what became of the
    /// connection. Statuses that tonic makes up for a broken transport have a
    /// source; those that a daemon sent have none.
    pub(crate) async fn error(&self, status: Status) -> Error {
        use std::error::Error as _;
        if too_large(&status) {
            let limit = MESSAGE_SIZE_MAX >> 20;
            let text = format!("an answer of the daemon has more than {limit} MiB");
            return Error::Protocol(text);
        }
        if status.source().is_none() {
            return Error::from_failure(Failure::from_status(&status));
        }
        if let Some(DialError(reason)) = dial_error(&status) {
            return unreachable(self.address(), reason.clone());
        }
        match self.shared.link.lost().await {
            Some(reason) => Error::Disconnected {
                address: self.address().to_string(),
                reason,
            },
            None if status.code() == Code::Cancelled => Error::Cancelled,
            None => Error::Protocol(format!(
                "the transport to {} failed: {}",
                self.address(),
                one_line(&format!("{}: {}", status.message(), innermost(&status)))
            )),
        }
    }
}

/// Refuses a request that is too large to be sent, before it breaks its call with a
/// less useful error.
pub(crate) fn check_size(request: &impl prost::Message) -> Result<(), Error> {
    let size = request.encoded_len();
    if size <= MESSAGE_SIZE_MAX {
        return Ok(());
    }
    Err(Error::Protocol(format!(
        "the build definition has {size} bytes; a daemon takes {MESSAGE_SIZE_MAX} at most"
    )))
}

/// Whether our own side refused an answer for its size. tonic has no other sign of
/// it than its text.
fn too_large(status: &Status) -> bool {
    status.code() == Code::OutOfRange && status.message().contains("message length too large")
}

/// gRPC code of an error that the daemon sent.
pub(crate) fn code(error: &Error) -> Option<Code> {
    error.failure().map(|failure| failure.code)
}

fn unreachable(address: &Address, reason: String) -> Error {
    let attempt = Attempt {
        origin: String::new(),
        address: address.to_string(),
        reason,
    };
    Error::Unreachable {
        tried: vec![attempt],
    }
}

/// Why a later connection attempt failed, on its way through tonic.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
struct DialError(String);

fn dial_error(status: &Status) -> Option<&DialError> {
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        if let Some(found) = error.downcast_ref() {
            return Some(found);
        }
        next = error.source();
    }
    None
}

fn innermost(status: &Status) -> String {
    let mut last = String::new();
    let mut next = std::error::Error::source(status);
    while let Some(error) = next {
        last = error.to_string();
        next = error.source();
    }
    last
}

/// A channel that uses `first` and dials again after each loss.
fn channel(
    dialer: &Dialer,
    link: &Link,
    first: BoxedIo,
    connect_timeout: Duration,
) -> Result<Channel, Error> {
    let uri = format!("http://{}", dialer.address().authority());
    let endpoint = Endpoint::from_shared(uri)
        .map_err(|error| Error::Protocol(format!("{}: {error}", dialer.address())))?;
    let (dialer, link) = (dialer.clone(), link.clone());
    let first = Arc::new(Mutex::new(Some(first)));
    let connector = tower::service_fn(move |_: Uri| {
        let (dialer, link) = (dialer.clone(), link.clone());
        let ready = first.lock().unwrap_or_else(PoisonError::into_inner).take();
        async move {
            let io = match ready {
                Some(io) => io,
                None => tokio::time::timeout(connect_timeout, dialer.grpc())
                    .await
                    .unwrap_or_else(|_| {
                        Err(format!(
                            "no answer within {} s",
                            connect_timeout.as_secs_f32()
                        ))
                    })
                    .map_err(DialError)?,
            };
            Ok::<TokioIo<Watched>, DialError>(TokioIo::new(link.watch(io)))
        }
    });
    Ok(endpoint.connect_with_connector_lazy(connector))
}

#[cfg(test)]
mod tests;
