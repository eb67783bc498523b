//! Opens byte streams to a daemon and notices when one ends.
//!
//! A [`Dialer`] knows one address. It opens the raw stream (unix socket, TCP with
//! or without TLS, the pipes of a helper process) and, for Docker Engine, performs
//! the HTTP/1.1 upgrade that leads to the gRPC services. Everything above sees
//! one type, [`BoxedIo`].
//!
//! The end of a stream is how we learn that a daemon died. HTTP/2 keepalive pings
//! are not an option: buildkitd runs grpc-go with its default policy, which closes
//! the connection of a client that pings more often than every five minutes. So a
//! [`Watched`] stream records the end of file or the error it sees in its
//! [`Link`]; on a socket or a pipe that happens at once when the daemon is killed,
//! and on TCP the kernel's own probes turn a silent peer into an error within
//! [`TCP_SILENCE_MAX`].

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::address::{Address, Endpoint};
use super::helper::HelperIo;
use super::tls::Tls;
use super::upgrade;

/// How long a TCP peer may stay silent although data or probes were sent to it.
const TCP_SILENCE_MAX: Duration = Duration::from_secs(15);

/// Idle time of a TCP connection before the kernel sends the first probe.
#[cfg(target_os = "linux")]
const TCP_PROBE_AFTER: Duration = Duration::from_secs(10);

/// Time between probes.
#[cfg(target_os = "linux")]
const TCP_PROBE_EVERY: Duration = Duration::from_secs(2);

/// How long an error of a call waits for its stream to report its end, which may
/// be noticed a moment later by another task.
const LOST_GRACE: Duration = Duration::from_millis(500);

/// How long after its end a stream explains the error of a call.
const LOST_RECENTLY: Duration = Duration::from_secs(10);

/// A bidirectional byte stream.
pub(crate) trait Io: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Io for T {}

/// Any stream to a daemon.
pub(crate) type BoxedIo = Box<dyn Io>;

/// Opens streams to one address.
#[derive(Clone)]
pub(crate) struct Dialer {
    address: Address,
    tls: Option<Tls>,
}

impl Dialer {
    pub(crate) fn new(address: Address, tls: Option<Tls>) -> Self {
        Self { address, tls }
    }

    pub(crate) fn address(&self) -> &Address {
        &self.address
    }

    /// Opens a stream on which HTTP/2 starts at once. The error is one line.
    pub(crate) async fn grpc(&self) -> Result<BoxedIo, String> {
        if self.address.is_docker() {
            self.upgrade("/grpc", &http::HeaderMap::new()).await
        } else {
            self.raw("h2").await
        }
    }

    /// Opens a stream to a Docker Engine and switches it to raw HTTP/2 with
    /// `POST path`. The error is one line.
    pub(crate) async fn upgrade(
        &self,
        path: &str,
        headers: &http::HeaderMap,
    ) -> Result<BoxedIo, String> {
        let io = self.raw("http/1.1").await?;
        upgrade::open(io, path, headers).await
    }

    async fn raw(&self, protocol: &str) -> Result<BoxedIo, String> {
        let io: BoxedIo = match self.address.endpoint() {
            Endpoint::Unix(path) => Box::new(
                UnixStream::connect(path)
                    .await
                    .map_err(|e| socket_reason(&e))?,
            ),
            Endpoint::Tcp { host, port } => {
                let stream = TcpStream::connect((host.as_str(), *port))
                    .await
                    .map_err(|error| error.to_string())?;
                watch_peer(&stream).map_err(|error| error.to_string())?;
                match &self.tls {
                    Some(tls) => Box::new(tls.connect(host, stream, protocol).await?),
                    None => Box::new(stream),
                }
            }
            Endpoint::Helper(helper) => {
                Box::new(HelperIo::spawn(&helper.command(self.address.is_docker()))?)
            }
        };
        Ok(io)
    }
}

/// What a failed `connect` on a unix socket means, in words.
fn socket_reason(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "there is no such socket".to_owned(),
        io::ErrorKind::ConnectionRefused => "nothing listens on the socket".to_owned(),
        io::ErrorKind::PermissionDenied => {
            "permission denied; the socket belongs to another user or group".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Lets the kernel notice a peer that vanished without closing.
fn watch_peer(stream: &TcpStream) -> io::Result<()> {
    use rustix::net::sockopt;
    stream.set_nodelay(true)?;
    sockopt::set_socket_keepalive(stream, true)?;
    #[cfg(target_os = "linux")]
    {
        let probes =
            TCP_SILENCE_MAX.saturating_sub(TCP_PROBE_AFTER).as_secs() / TCP_PROBE_EVERY.as_secs();
        sockopt::set_tcp_keepidle(stream, TCP_PROBE_AFTER)?;
        sockopt::set_tcp_keepintvl(stream, TCP_PROBE_EVERY)?;
        sockopt::set_tcp_keepcnt(stream, u32::try_from(probes).unwrap_or(1).max(1))?;
        let silence = u32::try_from(TCP_SILENCE_MAX.as_millis()).unwrap_or(u32::MAX);
        sockopt::set_tcp_user_timeout(stream, silence)?;
    }
    Ok(())
}

/// What is known about the ends of a client's gRPC connections: the latest one.
#[derive(Clone)]
pub(crate) struct Link(Arc<watch::Sender<Option<Loss>>>);

/// The end of a stream.
#[derive(Clone)]
struct Loss {
    at: Instant,
    reason: Arc<str>,
}

impl Link {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Wraps a fresh stream.
    pub(crate) fn watch(&self, io: BoxedIo) -> Watched {
        Watched {
            io,
            link: self.clone(),
            lost: false,
        }
    }

    /// Why a stream has just ended, if one has or does within a moment. A call
    /// that failed asks this; by then another call may have a new stream already.
    pub(crate) async fn lost(&self) -> Option<String> {
        let recent = |loss: &Option<Loss>| {
            loss.as_ref()
                .is_some_and(|loss| loss.at.elapsed() < LOST_RECENTLY)
        };
        let mut receiver = self.0.subscribe();
        tokio::time::timeout(LOST_GRACE, receiver.wait_for(recent))
            .await
            .ok()?
            .ok()?;
        self.0.borrow().as_ref().map(|loss| loss.reason.to_string())
    }
}

/// A stream that reports its end to a [`Link`].
pub(crate) struct Watched {
    io: BoxedIo,
    link: Link,
    lost: bool,
}

impl Watched {
    /// Records the first reason; what follows it on the same stream is only noise.
    fn lose(&mut self, reason: &str) {
        if !std::mem::replace(&mut self.lost, true) {
            let loss = Loss {
                at: Instant::now(),
                reason: reason.into(),
            };
            self.link.0.send_replace(Some(loss));
        }
    }

    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        if let Err(error) = &result {
            self.lose(&error.to_string());
        }
        result
    }
}

impl AsyncRead for Watched {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let result = ready!(Pin::new(&mut self.io).poll_read(cx, buf));
        if result.is_ok() && buf.filled().len() == before && buf.remaining() > 0 {
            self.lose("the daemon closed the connection");
        }
        Poll::Ready(self.note(result))
    }
}

impl AsyncWrite for Watched {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = ready!(Pin::new(&mut self.io).poll_write(cx, buf));
        Poll::Ready(self.note(result))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = ready!(Pin::new(&mut self.io).poll_flush(cx));
        Poll::Ready(self.note(result))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    #[tokio::test]
    async fn the_first_reason_of_each_stream_is_recorded() {
        let link = Link::new();
        assert_eq!(link.lost().await, None);
        let (near, far) = tokio::io::duplex(16);
        let mut watched = link.watch(Box::new(near));
        drop(far);
        let error = watched.write_all(b"x").await.expect_err("nobody reads");
        assert_eq!(link.lost().await, Some(error.to_string()));
        let mut rest = Vec::new();
        watched
            .read_to_end(&mut rest)
            .await
            .expect("an end of file is no error here");
        assert_eq!(
            link.lost().await,
            Some(error.to_string()),
            "the first reason stays"
        );

        let (near, far) = tokio::io::duplex(16);
        let mut next = link.watch(Box::new(near));
        drop(far);
        next.read_to_end(&mut rest).await.expect("an end of file");
        assert_eq!(
            link.lost().await.as_deref(),
            Some("the daemon closed the connection")
        );
    }

    #[tokio::test]
    async fn a_missing_socket_is_said_in_words() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let dial = async |path: std::path::PathBuf| {
            Dialer::new(Address::BuildKit(Endpoint::Unix(path)), None)
                .grpc()
                .await
                .err()
        };
        assert_eq!(
            dial(dir.path().join("none")).await.as_deref(),
            Some("there is no such socket")
        );
        let stale = dir.path().join("stale");
        drop(std::os::unix::net::UnixListener::bind(&stale).expect("bind"));
        assert_eq!(
            dial(stale).await.as_deref(),
            Some("nothing listens on the socket")
        );
    }
}
