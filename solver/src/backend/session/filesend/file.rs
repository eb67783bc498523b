//! Single-file exports: chunks until the daemon closes its side.
//!
//! A regular file is written next to its final place under a temporary name, synced, and renamed: the name never shows
//! an incomplete file, and a failed export leaves an older file alone. An existing device, pipe or socket link cannot be
//! replaced and is written to directly.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use futures::{Stream, StreamExt};
use prost::Message as _;
use proto::filesync::BytesMessage;
use tokio::io::{AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tonic::Status;

use crate::backend::session::error::{PathError, code_of, path_status};

/// Chunks that may wait for the disk. The daemon's chunks are at most 3 MiB and normally 4 KiB.
const CHUNKS_IN_FLIGHT: usize = 4;

/// The content of one message.
fn data(message: &Bytes) -> Result<Bytes, Status> {
    BytesMessage::decode(message.clone())
        .map(|m| m.data)
        .map_err(|e| Status::invalid_argument(format!("malformed chunk of an exported file: {e}")))
}

/// Writes an export to a file.
pub(crate) async fn to_file<S>(mut inbound: S, path: PathBuf) -> Result<(), Status>
where
    S: Stream<Item = Result<Bytes, Status>> + Send + Unpin,
{
    let (sender, receiver) = mpsc::channel(CHUNKS_IN_FLIGHT);
    let writer = tokio::task::spawn_blocking(move || write_file(&path, receiver));
    let outcome = loop {
        match inbound.next().await {
            None => break Ok(()),
            Some(Err(status)) => break Err(status),
            Some(Ok(message)) => match data(&message) {
                // A closed channel: the writer has failed and says why.
                Ok(data) => {
                    if sender.send(Chunk::Data(data)).await.is_err() {
                        break Ok(());
                    }
                }
                Err(status) => break Err(status),
            },
        }
    };
    if outcome.is_ok() {
        // Ignored for the same reason.
        let _ = sender.send(Chunk::End).await;
    }
    drop(sender);
    let written = writer
        .await
        .map_err(|_| Status::cancelled("the session is closing"))?;
    outcome?;
    written.map_err(|e| path_status(&e))
}

/// What the writer is told; a channel that closes before `End` means the transfer broke off.
enum Chunk {
    Data(Bytes),
    End,
}

fn write_file(path: &Path, chunks: mpsc::Receiver<Chunk>) -> Result<(), PathError> {
    let failed = |operation, e: io::Error| PathError::new(operation, path, e);
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => {
            return Err(failed(
                "write",
                io::Error::from(io::ErrorKind::IsADirectory),
            ));
        }
        Ok(found) if !found.is_file() => {
            let mut file = std::fs::OpenOptions::new()
                .write(true)
                .open(path)
                .map_err(|e| failed("open", e))?;
            return match copy(&mut file, chunks) {
                Ok(_) => Ok(()),
                Err(e) => Err(failed("write", e)),
            };
        }
        _ => {}
    }
    // A link stays a link: its target is replaced.
    let place = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    let parent = match place.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    std::fs::create_dir_all(parent).map_err(|e| PathError::new("create directory", parent, e))?;
    let mut file = tempfile::Builder::new()
        .prefix(".export-")
        .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .tempfile_in(parent)
        .map_err(|e| PathError::new("create a file in", parent, e))?;
    if !copy(file.as_file_mut(), chunks).map_err(|e| failed("write", e))? {
        // Dropping the temporary file removes it.
        return Ok(());
    }
    file.as_file().sync_all().map_err(|e| failed("sync", e))?;
    file.persist(&place)
        .map_err(|e| failed("rename to", e.error))?;
    Ok(())
}

/// Writes all chunks; true if the export arrived completely.
fn copy(file: &mut std::fs::File, mut chunks: mpsc::Receiver<Chunk>) -> io::Result<bool> {
    loop {
        match chunks.blocking_recv() {
            Some(Chunk::Data(data)) => file.write_all(&data)?,
            Some(Chunk::End) => return Ok(true),
            None => return Ok(false),
        }
    }
}

/// Copies an export to a writer.
pub(crate) async fn to_writer<S>(
    mut inbound: S,
    mut writer: impl AsyncWrite + Unpin,
) -> Result<(), Status>
where
    S: Stream<Item = Result<Bytes, Status>> + Send + Unpin,
{
    let failed = |e: io::Error| Status::new(code_of(&e), format!("write the export: {e}"));
    while let Some(message) = inbound.next().await {
        writer.write_all(&data(&message?)?).await.map_err(failed)?;
    }
    writer.shutdown().await.map_err(failed)
}
