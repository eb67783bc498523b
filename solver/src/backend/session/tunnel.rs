//! A byte stream over the two message streams of `Control.Session`.
//!
//! Both directions of that call carry `BytesMessage`s whose contents, put one after another, are an HTTP/2 connection;
//! message boundaries mean nothing. [`Tunnel`] turns the pair into `AsyncRead + AsyncWrite`:
//!
//! - reading hands out the current message piece by piece, without copying it first;
//! - writing gathers bytes until the HTTP/2 layer flushes or [`FRAME_MAX`] is reached, because that layer writes a nine
//!   byte frame header and its payload separately and each message costs a gRPC frame of its own;
//! - the outbound channel holds [`FRAMES_IN_FLIGHT`] messages, so a slow daemon slows the writer down instead of
//!   filling memory.
//!
//! The reason of a broken stream is kept for the owner of the session (see [`Tunnel::failure`]), since the HTTP/2 layer
//! reduces it to "connection error".

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use futures::Stream;
use proto::control::BytesMessage;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::mpsc;
use tokio_util::sync::PollSender;
use tonic::Status;

/// Largest message written, in bytes: the size every BuildKit client uses.
pub(crate) const FRAME_MAX: usize = 32 * 1024;

/// Messages that may wait for the transport before writing blocks.
const FRAMES_IN_FLIGHT: usize = 8;

/// Where a tunnel leaves the reason of its end.
pub(crate) type Failure = Arc<OnceLock<String>>;

/// One end of the tunnel; `S` is the stream of messages coming from the daemon.
pub(crate) struct Tunnel<S> {
    inbound: S,
    unread: Bytes,
    outbound: PollSender<BytesMessage>,
    unsent: BytesMut,
    failure: Failure,
}

/// The channel of messages to the daemon: the sender goes into the tunnel, the receiver becomes the request stream.
pub(crate) fn outbound() -> (mpsc::Sender<BytesMessage>, mpsc::Receiver<BytesMessage>) {
    mpsc::channel(FRAMES_IN_FLIGHT)
}

impl<S> Tunnel<S> {
    /// Joins the two halves.
    pub(crate) fn new(inbound: S, outbound: mpsc::Sender<BytesMessage>) -> Self {
        Self {
            inbound,
            unread: Bytes::new(),
            outbound: PollSender::new(outbound),
            unsent: BytesMut::new(),
            failure: Failure::default(),
        }
    }

    /// Filled in when the daemon's stream breaks; readable after the tunnel was given away.
    pub(crate) fn failure(&self) -> Failure {
        Arc::clone(&self.failure)
    }

    /// Hands the gathered bytes to the transport as one message.
    fn poll_send(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.unsent.is_empty() {
            return Poll::Ready(Ok(()));
        }
        ready!(self.outbound.poll_reserve(cx)).map_err(|_| closed())?;
        let data = self.unsent.split().freeze();
        Poll::Ready(
            self.outbound
                .send_item(BytesMessage { data })
                .map_err(|_| closed()),
        )
    }
}

fn closed() -> io::Error {
    io::Error::new(
        io::ErrorKind::BrokenPipe,
        "the session stream to the daemon is closed",
    )
}

impl<S> AsyncRead for Tunnel<S>
where
    S: Stream<Item = Result<BytesMessage, Status>> + Unpin,
{
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        while self.unread.is_empty() {
            match ready!(Pin::new(&mut self.inbound).poll_next(cx)) {
                Some(Ok(message)) => self.unread = message.data,
                Some(Err(status)) => {
                    let reason = format!("{}: {}", status.code(), status.message());
                    // Only the first reason counts; later ones are consequences.
                    let _ = self.failure.set(reason.clone());
                    return Poll::Ready(Err(io::Error::new(
                        io::ErrorKind::ConnectionReset,
                        reason,
                    )));
                }
                None => return Poll::Ready(Ok(())),
            }
        }
        let length = self.unread.len().min(buf.remaining());
        buf.put_slice(&self.unread[..length]);
        self.unread.advance(length);
        Poll::Ready(Ok(()))
    }
}

impl<S: Unpin> AsyncWrite for Tunnel<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.unsent.len() == FRAME_MAX {
            ready!(self.poll_send(cx))?;
        }
        let length = buf.len().min(FRAME_MAX - self.unsent.len());
        self.unsent.extend_from_slice(&buf[..length]);
        Poll::Ready(Ok(length))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_send(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_send(cx))?;
        self.outbound.close();
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    fn message(data: &[u8]) -> Result<BytesMessage, Status> {
        Ok(BytesMessage {
            data: Bytes::copy_from_slice(data),
        })
    }

    #[tokio::test]
    async fn message_boundaries_do_not_show() {
        let inbound = futures::stream::iter([message(b"ab"), message(b""), message(b"cde")]);
        let mut tunnel = Tunnel::new(inbound, outbound().0);
        let mut two = [0; 4];
        tunnel.read_exact(&mut two).await.unwrap();
        assert_eq!(&two, b"abcd");
        let mut rest = Vec::new();
        tunnel.read_to_end(&mut rest).await.unwrap();
        assert_eq!(rest, b"e");
    }

    #[tokio::test]
    async fn small_writes_leave_as_one_message_on_flush() {
        let (sender, mut receiver) = outbound();
        let mut tunnel = Tunnel::new(
            futures::stream::empty::<Result<BytesMessage, Status>>(),
            sender,
        );
        tunnel.write_all(b"header").await.unwrap();
        tunnel.write_all(b"payload").await.unwrap();
        assert!(
            receiver.try_recv().is_err(),
            "nothing leaves before the flush"
        );
        tunnel.flush().await.unwrap();
        assert_eq!(receiver.try_recv().unwrap().data, "headerpayload");
    }

    #[tokio::test]
    async fn the_daemons_last_words_are_kept() {
        let inbound = futures::stream::iter([Err(Status::unavailable("daemon is going down"))]);
        let mut tunnel = Tunnel::new(inbound, outbound().0);
        let failure = tunnel.failure();
        let error = tunnel.read_u8().await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ConnectionReset);
        assert!(failure.get().unwrap().contains("daemon is going down"));
    }

    #[tokio::test]
    async fn writing_after_the_transport_is_gone_is_a_broken_pipe() {
        let (sender, receiver) = outbound();
        drop(receiver);
        let mut tunnel = Tunnel::new(
            futures::stream::empty::<Result<BytesMessage, Status>>(),
            sender,
        );
        tunnel.write_all(b"x").await.unwrap();
        assert_eq!(
            tunnel.flush().await.unwrap_err().kind(),
            io::ErrorKind::BrokenPipe
        );
    }

    proptest! {
        #[test]
        fn bytes_arrive_in_order_and_frames_stay_small(chunks in proptest::collection::vec(1usize..90_000, 1..6)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let (sender, mut receiver) = outbound();
                let mut tunnel = Tunnel::new(futures::stream::empty::<Result<BytesMessage, Status>>(), sender);
                let sent: Vec<u8> = (0..chunks.iter().sum::<usize>()).map(|i| (i % 251) as u8).collect();
                let writer = async {
                    let mut at = 0;
                    for chunk in &chunks {
                        tunnel.write_all(&sent[at..at + chunk]).await.unwrap();
                        at += chunk;
                    }
                    tunnel.shutdown().await.unwrap();
                };
                let reader = async {
                    let mut got = Vec::new();
                    while let Some(message) = receiver.recv().await {
                        assert!(!message.data.is_empty() && message.data.len() <= FRAME_MAX);
                        got.extend_from_slice(&message.data);
                    }
                    got
                };
                let ((), got) = tokio::join!(writer, reader);
                assert_eq!(got, sent);
            });
        }
    }
}
