//! The packet exchange of one local directory transfer, seen from the sender.
//!
//! ```text
//! walk (blocking thread)     STAT STAT STAT ... STAT(empty)  ─┐
//! requests (task)            REQ id ──> queue                 ├─> one bounded channel ──> response stream
//! readers (blocking threads) queue ──> DATA ... DATA(empty)  ─┘
//! ```
//! Entries are numbered in listing order; a request names a number and is answered with the content in chunks, an
//! empty chunk last. Contents of several files may interleave. When the receiver has everything it sends FIN, which is
//! answered with FIN; any side can end the transfer with ERR and a text.
//!
//! # Cost
//! An unchanged tree is all listing: packets travel through the channel in batches, and the HTTP/2 layer packs what is
//! ready into large frames. Readers start with the first request. Memory is bounded by the channel
//! ([`BATCHES_IN_FLIGHT`] batches of at most [`BATCH_BYTES`] of content) plus the paths of files not yet requested.
//!
//! # Files that change
//! Content is what is in the file when it is read, whatever size was announced. A file that is gone by then is sent as
//! empty; the next build sees the difference. A file that cannot be read is an error that names it.

use std::os::fd::OwnedFd;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::vec;

use bytes::Bytes;
use futures::Stream;
use proto::fsutil::packet::PacketType;
use proto::fsutil::{Packet, Stat};
use rustix::fs::FileType;
use rustix::io::Errno;
use sha2::{Digest as _, Sha256};
use snapshots::beneath::{Root, is_gone};
use snapshots::context::{self, Attributes, Entry, Filter, Ownership};
use snapshots::tree::{Kind, Time};
use tokio::sync::mpsc;
use tonic::Status;

use super::{Transferred, Watched};
use crate::backend::session::error::{PathError, path_status};
use crate::backend::session::gomode;

/// Content bytes per packet; the protocol's usual size.
const CHUNK: usize = 32 * 1024;

/// Packets per batch.
const BATCH_PACKETS: usize = 256;

/// Content bytes after which a batch is handed on.
const BATCH_BYTES: usize = 128 * 1024;

/// Batches that may wait for the transport.
const BATCHES_IN_FLIGHT: usize = 8;

/// Requests that may wait for a reader; the daemon's further ones wait in the transport.
const REQUESTS_WAITING: usize = 128;

/// Threads that read files.
const READERS: usize = 4;

type Batch = Result<Vec<Packet>, Status>;

/// The response stream: batches laid out as packets.
#[derive(Debug)]
pub(crate) struct Packets {
    batches: Option<mpsc::Receiver<Batch>>,
    current: vec::IntoIter<Packet>,
}

impl Stream for Packets {
    type Item = Result<Packet, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(packet) = self.current.next() {
                return Poll::Ready(Some(Ok(packet)));
            }
            let Some(batches) = &mut self.batches else {
                return Poll::Ready(None);
            };
            match ready!(batches.poll_recv(cx)) {
                Some(Ok(batch)) => self.current = batch.into_iter(),
                Some(Err(status)) => {
                    // Closing the channel stops everybody who still wants to send.
                    self.batches = None;
                    return Poll::Ready(Some(Err(status)));
                }
                None => self.batches = None,
            }
        }
    }
}

/// The protocol's description of an entry. A socket becomes an empty regular file, as with every other client.
fn stat(entry: Entry) -> Stat {
    let Entry {
        path,
        meta,
        hard_link,
        identity,
        ..
    } = entry;
    let (devmajor, devminor) = match meta.kind {
        Kind::Char { major, minor } | Kind::Block { major, minor } => (major.into(), minor.into()),
        _ => (0, 0),
    };
    let linkname = match &meta.kind {
        Kind::Symlink { target } => target.to_string_lossy().into_owned(),
        _ => hard_link.unwrap_or_default(),
    };
    Stat {
        path,
        mode: gomode::from_unix(identity.mode) & !gomode::SOCKET,
        uid: meta.uid,
        gid: meta.gid,
        size: match meta.kind {
            Kind::Dir => 0,
            _ => identity.size.cast_signed(),
        },
        mod_time: (meta.mtime.secs.saturating_mul(1_000_000_000))
            .saturating_add(meta.mtime.nanos.into()),
        linkname,
        devmajor,
        devminor,
        xattrs: meta
            .xattrs
            .into_iter()
            .filter_map(|(name, value)| Some((String::from_utf8(name).ok()?, value.into())))
            .collect(),
    }
}

/// What was listed, by entry number.
type Files = Arc<Mutex<Vec<Option<Listed>>>>;

/// A listed entry that the end of the transfer is told of.
#[derive(Debug)]
struct Listed {
    /// Of a file that may still be requested.
    path: Option<Box<str>>,
    /// Of a file as if it will not be.
    outcome: Transferred,
}

impl Listed {
    /// Nothing for what has neither content nor entries: its listing says all.
    fn new(entry: &Stat, changed: Time) -> Option<Self> {
        let path = digest(&[entry.path.as_bytes()]);
        if entry.mode & gomode::DIR != 0 {
            let mut parts = vec![entry.mode.to_le_bytes().to_vec()];
            for (name, value) in &entry.xattrs {
                parts.extend([name.as_bytes().to_vec(), value.to_vec()]);
            }
            let parts: Vec<&[u8]> = parts.iter().map(Vec::as_slice).collect();
            let header = digest(&parts);
            let outcome = Transferred::Directory { path, header };
            return Some(Self {
                path: None,
                outcome,
            });
        }
        gomode::has_content(entry.mode).then(|| Self {
            path: Some(entry.path.as_str().into()),
            // A further name of a file is never requested: its content is that of the first.
            outcome: match entry.linkname.is_empty() {
                true => Transferred::Kept { path, changed },
                false => Transferred::Sent { path },
            },
        })
    }
}

/// The same in every process and every version.
fn digest(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_le_bytes(first)
}

/// A file to be read: its entry number and path.
type Wanted = (u32, Box<str>);

/// Starts a transfer. It runs until it is finished, fails, or the returned stream is dropped.
pub(crate) fn start<S>(
    inbound: S,
    root: Root,
    filter: Filter,
    ownership: Ownership,
    watched: Watched,
) -> Packets
where
    S: Stream<Item = Result<Packet, Status>> + Send + Unpin + 'static,
{
    let (sender, receiver) = mpsc::channel(BATCHES_IN_FLIGHT);
    let root = Arc::new(root);
    let files = Files::default();
    let walker = Listing {
        sender: sender.clone(),
        files: Arc::clone(&files),
        batch: Vec::new(),
        batch_files: Vec::new(),
    };
    let tree = Arc::clone(&root);
    tokio::task::spawn_blocking(move || walker.run(&tree, &filter, ownership));
    tokio::spawn(serve_requests(inbound, sender, root, files, watched));
    Packets {
        batches: Some(receiver),
        current: Vec::new().into_iter(),
    }
}

/// The ERR packet for the receiver, then the same text as the status of the call. Errors of sending are ignored: they
/// mean that the transfer has ended already.
fn fail(sender: &mpsc::Sender<Batch>, status: Status) {
    let packet = Packet {
        data: Bytes::from(status.message().to_owned()),
        ..packet(PacketType::PacketErr)
    };
    let _ = sender.blocking_send(Ok(vec![packet]));
    let _ = sender.blocking_send(Err(status));
}

fn packet(kind: PacketType) -> Packet {
    Packet {
        r#type: kind.into(),
        ..Packet::default()
    }
}

/// The listing half: collects entries into batches.
struct Listing {
    sender: mpsc::Sender<Batch>,
    files: Files,
    batch: Vec<Packet>,
    /// Paths belonging to `batch`, entered into `files` before the batch leaves.
    batch_files: Vec<Option<Listed>>,
}

impl Listing {
    fn run(mut self, root: &Root, filter: &Filter, ownership: Ownership) {
        let outcome = context::walk(root, filter, ownership, Attributes::All, &mut |entry| {
            let changed = entry.identity.ctime;
            self.push(stat(entry), changed)
        });
        match outcome {
            Ok(()) => {
                self.batch.push(packet(PacketType::PacketStat));
                self.flush();
            }
            Err(error) => {
                self.flush();
                fail(&self.sender, super::status("", &error));
            }
        }
    }

    fn push(&mut self, entry: Stat, changed: Time) -> bool {
        self.batch_files.push(Listed::new(&entry, changed));
        self.batch.push(Packet {
            stat: Some(entry),
            ..packet(PacketType::PacketStat)
        });
        self.batch.len() < BATCH_PACKETS || self.flush()
    }

    /// Hands the batch on; false when nobody listens any more.
    fn flush(&mut self) -> bool {
        self.files
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .append(&mut self.batch_files);
        let batch = std::mem::replace(&mut self.batch, Vec::with_capacity(BATCH_PACKETS));
        self.sender.blocking_send(Ok(batch)).is_ok()
    }
}

/// Reads the receiver's packets until FIN, an error, or the end of the stream.
async fn serve_requests<S>(
    mut inbound: S,
    sender: mpsc::Sender<Batch>,
    root: Arc<Root>,
    files: Files,
    mut watched: Watched,
) where
    S: Stream<Item = Result<Packet, Status>> + Send + Unpin,
{
    let mut readers = None;
    let outcome = loop {
        let next = tokio::select! {
            next = futures::StreamExt::next(&mut inbound) => next,
            () = sender.closed() => return,
        };
        let packet = match next {
            Some(Ok(packet)) => packet,
            Some(Err(status)) => break Err(status),
            None => {
                break Err(Status::aborted(
                    "the receiver ended the transfer before it was complete",
                ));
            }
        };
        match packet.r#type() {
            PacketType::PacketReq => {
                let path = take(&files, packet.id);
                let Some(path) = path else {
                    break Err(Status::invalid_argument(format!(
                        "request for entry {}, which has no content or was requested before",
                        packet.id
                    )));
                };
                let queue = readers.get_or_insert_with(|| start_readers(&sender, &root));
                // A closed queue means that a reader has failed, and that its error is on the way.
                if queue.send((packet.id, path)).await.is_err() {
                    return;
                }
            }
            PacketType::PacketFin => {
                let files = files.lock().unwrap_or_else(PoisonError::into_inner);
                watched.complete(files.iter().flatten().map(|file| file.outcome).collect());
                break Ok(());
            }
            PacketType::PacketErr => {
                let text = String::from_utf8_lossy(&packet.data);
                break Err(Status::aborted(format!("error from receiver: {text}")));
            }
            kind @ (PacketType::PacketStat | PacketType::PacketData) => {
                break Err(Status::invalid_argument(format!(
                    "unexpected packet {} from the receiver",
                    kind.as_str_name()
                )));
            }
        }
    };
    let last = match outcome {
        Ok(()) => Ok(vec![packet(PacketType::PacketFin)]),
        Err(status) => Err(status),
    };
    // Before the daemon goes on: whoever waits for what it makes of the files knows of the transfer.
    drop(watched);
    // Fails only when the stream was dropped.
    let _ = sender.send(last).await;
}

fn take(files: &Files, id: u32) -> Option<Box<str>> {
    let mut files = files.lock().unwrap_or_else(PoisonError::into_inner);
    let file = files.get_mut(id as usize)?.as_mut()?;
    if let Transferred::Kept { path, .. } = file.outcome {
        file.outcome = Transferred::Sent { path };
    }
    file.path.take()
}

/// Starts the readers; they end when the returned queue is dropped.
fn start_readers(sender: &mpsc::Sender<Batch>, root: &Arc<Root>) -> mpsc::Sender<Wanted> {
    let (queue, wanted) = mpsc::channel(REQUESTS_WAITING);
    let wanted = Arc::new(Mutex::new(wanted));
    for _ in 0..READERS {
        let reader = Reader {
            sender: sender.clone(),
            wanted: Arc::clone(&wanted),
            root: Arc::clone(root),
            batch: Vec::new(),
            bytes: 0,
        };
        tokio::task::spawn_blocking(move || reader.run());
    }
    queue
}

/// Reads requested files, one after the other. The contents of small files share a batch.
struct Reader {
    sender: mpsc::Sender<Batch>,
    wanted: Arc<Mutex<mpsc::Receiver<Wanted>>>,
    root: Arc<Root>,
    batch: Vec<Packet>,
    bytes: usize,
}

/// The receiver of the packets is gone.
struct Gone;

impl Reader {
    fn run(mut self) {
        while let Ok(Some((id, path))) = self.next() {
            match self.file(id, &path) {
                Ok(Ok(())) => {}
                Ok(Err(error)) => return fail(&self.sender, path_status(&error)),
                Err(Gone) => return,
            }
        }
    }

    /// The next request. What is finished is sent before waiting for one.
    fn next(&mut self) -> Result<Option<Wanted>, Gone> {
        let wanted = Arc::clone(&self.wanted);
        if !self.batch.is_empty() {
            // Whoever waits for requests holds the lock while waiting, so a lock that is taken means "none ready".
            if let Ok(mut queue) = wanted.try_lock()
                && let Ok(request) = queue.try_recv()
            {
                return Ok(Some(request));
            }
            self.flush()?;
        }
        Ok(wanted
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv())
    }

    /// Sends one file. The outer error is "nobody listens", the inner one a file that cannot be read.
    fn file(&mut self, id: u32, path: &str) -> Result<Result<(), PathError>, Gone> {
        let failed = |root: &Root, operation, e: Errno| {
            Ok(Err(PathError::new(operation, root.show(path), e)))
        };
        let opened = match self.root.open_file(path) {
            Ok(file) => regular(file),
            Err(e) => Err(e),
        };
        match opened {
            Ok(Some((file, size))) => {
                let mut capacity = usize::try_from(size).unwrap_or(CHUNK).clamp(1, CHUNK);
                loop {
                    let mut chunk = Vec::with_capacity(capacity);
                    match rustix::io::retry_on_intr(|| {
                        rustix::io::read(&file, rustix::buffer::spare_capacity(&mut chunk))
                    }) {
                        Ok(0) => break,
                        Ok(_) => self.push(id, chunk.into())?,
                        Err(e) => return failed(&self.root, "read", e),
                    }
                    capacity = CHUNK;
                }
            }
            Ok(None) => {}
            Err(e) if is_gone(e) => {}
            Err(e) => return failed(&self.root, "open", e),
        }
        self.push(id, Bytes::new()).map(Ok)
    }

    fn push(&mut self, id: u32, data: Bytes) -> Result<(), Gone> {
        self.bytes += data.len();
        self.batch.push(Packet {
            id,
            data,
            ..packet(PacketType::PacketData)
        });
        if self.batch.len() == BATCH_PACKETS || self.bytes >= BATCH_BYTES {
            self.flush()
        } else {
            Ok(())
        }
    }

    fn flush(&mut self) -> Result<(), Gone> {
        self.bytes = 0;
        self.sender
            .blocking_send(Ok(std::mem::take(&mut self.batch)))
            .map_err(|_| Gone)
    }
}

/// The file and its size if it is a regular one; `None` for what has been put in its place.
fn regular(file: OwnedFd) -> Result<Option<(OwnedFd, i64)>, Errno> {
    let stat = rustix::fs::fstat(&file)?;
    Ok(
        (FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
            .then_some((file, stat.st_size)),
    )
}
