//! The SSH service: connects steps with an SSH mount to agents (or other unix sockets) of this machine.
//!
//! `CheckAgent` says whether an ID is offered; `ForwardAgent` connects to the socket of that ID and copies bytes both
//! ways until both sides have finished. Every forwarded connection of the step is one call, and one connection here.
//! Bytes pass unread: agent requests that add or remove keys are the agent's own business, so offer a socket only to
//! builds that are trusted with it.

use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use futures::Stream;
use proto::sshforward::ssh_server::Ssh;
use proto::sshforward::{BytesMessage, CheckAgentRequest, CheckAgentResponse};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::error::{PathError, path_status};
use super::metadata;
use super::registry::Registry;

/// The ID of an SSH mount that names none.
pub const DEFAULT_ID: &str = "default";

/// Bytes copied per message.
const CHUNK: usize = 32 * 1024;

/// Messages from the agent that may wait for the transport.
const CHUNKS_IN_FLIGHT: usize = 4;

/// Finds the socket for an SSH ID.
pub trait SshAgentProvider: Send + Sync + 'static {
    /// Path of the unix socket behind `id`, or `None` when the ID is not offered.
    fn socket(&self, id: &str) -> Option<PathBuf>;
}

/// Sockets by ID; entries can be added while the session runs.
pub type SshAgents = Registry<PathBuf>;

impl SshAgentProvider for SshAgents {
    fn socket(&self, id: &str) -> Option<PathBuf> {
        self.get(id)
    }
}

/// Serves an [`SshAgentProvider`].
pub(crate) struct SshService(pub(crate) Arc<dyn SshAgentProvider>);

impl SshService {
    fn socket(&self, id: &str) -> Result<PathBuf, Status> {
        let id = if id.is_empty() { DEFAULT_ID } else { id };
        self.0.socket(id).ok_or_else(|| {
            Status::not_found(format!("no SSH agent is offered under the ID {id:?}"))
        })
    }
}

async fn connect(path: &Path) -> Result<UnixStream, Status> {
    UnixStream::connect(path)
        .await
        .map_err(|e| path_status(&PathError::new("connect to SSH agent", path, e)))
}

#[async_trait]
impl Ssh for SshService {
    /// Only tells whether the ID is offered. The socket is not touched: an agent that is briefly away must not fail a
    /// build that may never use it.
    async fn check_agent(
        &self,
        request: Request<CheckAgentRequest>,
    ) -> Result<Response<CheckAgentResponse>, Status> {
        self.socket(&request.get_ref().id)?;
        Ok(Response::new(CheckAgentResponse {}))
    }

    type ForwardAgentStream = Pin<Box<dyn Stream<Item = Result<BytesMessage, Status>> + Send>>;

    async fn forward_agent(
        &self,
        request: Request<Streaming<BytesMessage>>,
    ) -> Result<Response<Self::ForwardAgentStream>, Status> {
        let id = metadata::first(request.metadata(), "buildkit.ssh.id")?.unwrap_or_default();
        let path = self.socket(&id)?;
        let (reader, writer) = connect(&path).await?.into_split();
        let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
        tokio::spawn(copy(request.into_inner(), reader, writer, sender, path));
        Ok(Response::new(Box::pin(ReceiverStream::new(receiver))))
    }
}

/// Runs both directions of one forwarded connection. Ends when the agent has closed its side, when either side fails,
/// or when the daemon drops the call.
async fn copy(
    inbound: Streaming<BytesMessage>,
    reader: OwnedReadHalf,
    writer: OwnedWriteHalf,
    sender: mpsc::Sender<Result<BytesMessage, Status>>,
    path: PathBuf,
) {
    let upload = async {
        to_agent(inbound, writer, &path).await?;
        // The step has finished writing; what the agent still has to say follows through the other direction.
        std::future::pending().await
    };
    let result = tokio::select! {
        result = from_agent(reader, &sender, &path) => result,
        result = upload => result,
        () = sender.closed() => Ok(()),
    };
    if let Err(status) = result {
        // A failed send means the daemon has already dropped the call.
        let _ = sender.send(Err(status)).await;
    }
}

async fn to_agent(
    mut inbound: Streaming<BytesMessage>,
    mut writer: OwnedWriteHalf,
    path: &Path,
) -> Result<(), Status> {
    let failed = |e| path_status(&PathError::new("write to SSH agent", path, e));
    while let Some(message) = inbound.message().await? {
        writer.write_all(&message.data).await.map_err(failed)?;
    }
    writer.shutdown().await.map_err(failed)
}

async fn from_agent(
    mut reader: OwnedReadHalf,
    sender: &mpsc::Sender<Result<BytesMessage, Status>>,
    path: &Path,
) -> Result<(), Status> {
    loop {
        let mut chunk = BytesMut::with_capacity(CHUNK);
        let length = reader
            .read_buf(&mut chunk)
            .await
            .map_err(|e| path_status(&PathError::new("read from SSH agent", path, e)))?;
        if length == 0
            || sender
                .send(Ok(BytesMessage {
                    data: chunk.freeze(),
                }))
                .await
                .is_err()
        {
            return Ok(());
        }
    }
}
