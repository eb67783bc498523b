//! The receiving side of an fsutil transfer: builds a tree from packets.
//!
//! ```text
//! inbound messages ──task──> bounded channel ──> Receiver (blocking thread) ──> REQ packets ──> response stream
//! ```
//! The receiver handles packets strictly in order. Each STAT creates its entry in the staging directory at once
//! (directories, links, devices, empty files); files are then requested, at most [`REQUESTS_MAX`] at a time, and filled
//! by the DATA packets. When the listing is complete and every file is there, the tree is moved into place, FIN is sent,
//! and the daemon's FIN ends the call. Any failure removes the staging directory and is sent as ERR.
//!
//! # What is checked
//! Paths are relative, clean, in the protocol's order, and their parent was announced as a directory before; since the
//! staging directory starts empty and parents are opened without following links, nothing can be created elsewhere. A
//! hard link must name an existing entry of the same tree, reached without links. The target text of a symbolic link is
//! not restricted: exports must keep it, and nothing here follows it.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::io::Write;
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use prost::Message as _;
use proto::fsutil::packet::PacketType;
use proto::fsutil::{Packet, Stat};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, Timespec, Timestamps};
use rustix::io::Errno;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::order::Order;
use super::stage::{Directory, Stage};
use super::{DirectoryMode, Outbound};
use crate::backend::session::error::{PathError, code_of};
use crate::backend::session::gomode;
use snapshots::beneath::Root;

/// Files requested and not complete; each is an open file. The daemon queues 128 requests.
const REQUESTS_MAX: usize = 64;

/// Packets that may wait for the disk, each at most 32 KiB of content.
const PACKETS_IN_FLIGHT: usize = 64;

/// Most entries of one export.
const ENTRIES_MAX: u32 = 20_000_000;

/// A failure with the code of the call's status.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ReceiveError {
    /// Something could not be written.
    #[error(transparent)]
    Path(#[from] PathError),
    /// The daemon sent something that the protocol does not allow.
    #[error("refused an entry of the export: {0}")]
    Refused(String),
    /// The daemon ended the transfer with this text.
    #[error("error from sender: {0}")]
    Sender(String),
    /// The call was cut off.
    #[error("the export was cut off before it was complete")]
    CutOff,
}

impl ReceiveError {
    fn status(&self) -> Status {
        let code = match self {
            Self::Path(error) => code_of(&error.source),
            Self::Refused(_) => tonic::Code::InvalidArgument,
            Self::Sender(_) | Self::CutOff => tonic::Code::Aborted,
        };
        Status::new(code, self.to_string())
    }
}

/// Starts receiving into `target`.
pub(crate) fn start<S>(inbound: S, target: PathBuf, mode: DirectoryMode) -> Outbound
where
    S: Stream<Item = Result<Bytes, Status>> + Send + Unpin + 'static,
{
    let (packets, receiver) = mpsc::channel(PACKETS_IN_FLIGHT);
    // Room for all outstanding requests and the final packets: the receiver never waits here, so it cannot wait for a
    // daemon that waits for it.
    let (sender, outbound) = mpsc::channel(REQUESTS_MAX + 8);
    tokio::spawn(pump(inbound, packets));
    tokio::task::spawn_blocking(move || {
        if let Err(error) = run(receiver, &sender, target, mode) {
            let status = error.status();
            let text = Packet {
                r#type: PacketType::PacketErr.into(),
                data: Bytes::from(status.message().to_owned()),
                ..Packet::default()
            };
            // Ignored: a closed channel means that the daemon has left.
            let _ = sender.blocking_send(Ok(text.encode_to_vec().into()));
            let _ = sender.blocking_send(Err(status));
        }
    });
    Box::pin(ReceiverStream::new(outbound))
}

/// Decodes messages and hands them to the receiver, until either ends. It holds no sender of the response, which ends
/// with the receiver.
async fn pump<S>(mut inbound: S, packets: mpsc::Sender<Packet>)
where
    S: Stream<Item = Result<Bytes, Status>> + Send + Unpin,
{
    loop {
        let message = tokio::select! {
            message = inbound.next() => message,
            () = packets.closed() => return,
        };
        // A broken stream or message reaches the receiver as the end of the packets.
        let Some(Ok(message)) = message else { return };
        let Ok(packet) = Packet::decode(message) else {
            return;
        };
        if packets.send(packet).await.is_err() {
            return;
        }
    }
}

fn run(
    mut packets: mpsc::Receiver<Packet>,
    outbound: &mpsc::Sender<Result<Bytes, Status>>,
    target: PathBuf,
    mode: DirectoryMode,
) -> Result<(), ReceiveError> {
    let stage = Stage::new(&target)?;
    let mut receiver = Receiver {
        outbound,
        parent: None,
        order: Order::default(),
        entries: 0,
        listed: false,
        waiting: VecDeque::new(),
        open: HashMap::new(),
        directories: Vec::new(),
        stage: &stage,
    };
    while !receiver.complete() {
        let packet = packets.blocking_recv().ok_or(ReceiveError::CutOff)?;
        receiver.handle(packet)?;
    }
    let directories = receiver.directories;
    stage.commit(&directories, mode)?;
    let end = Packet {
        r#type: PacketType::PacketFin.into(),
        ..Packet::default()
    };
    // The export is in place; a daemon that leaves now does not change that.
    let _ = outbound.blocking_send(Ok(end.encode_to_vec().into()));
    while let Some(packet) = packets.blocking_recv() {
        if packet.r#type() == PacketType::PacketFin {
            break;
        }
    }
    Ok(())
}

/// A requested file.
struct Open {
    file: File,
    entry: Stat,
}

struct Receiver<'a> {
    outbound: &'a mpsc::Sender<Result<Bytes, Status>>,
    /// The directory that entries were last created in.
    parent: Option<(String, OwnedFd)>,
    order: Order,
    /// Entries listed so far, which is the number of the next one.
    entries: u32,
    listed: bool,
    waiting: VecDeque<(u32, Stat)>,
    open: HashMap<u32, Open>,
    directories: Vec<Directory>,
    stage: &'a Stage,
}

impl Receiver<'_> {
    fn complete(&self) -> bool {
        self.listed && self.waiting.is_empty() && self.open.is_empty()
    }

    fn handle(&mut self, packet: Packet) -> Result<(), ReceiveError> {
        match (packet.r#type(), packet.stat) {
            (PacketType::PacketStat, None) => self.listed = true,
            (PacketType::PacketStat, Some(entry)) => self.entry(entry)?,
            (PacketType::PacketData, _) => self.data(packet.id, &packet.data)?,
            (PacketType::PacketErr, _) => {
                return Err(ReceiveError::Sender(
                    String::from_utf8_lossy(&packet.data).into_owned(),
                ));
            }
            (kind @ (PacketType::PacketReq | PacketType::PacketFin), _) => {
                return Err(ReceiveError::Refused(format!(
                    "unexpected packet {}",
                    kind.as_str_name()
                )));
            }
        }
        self.request()
    }

    fn failed(&self, operation: &'static str, path: &str, error: Errno) -> ReceiveError {
        PathError::new(operation, self.stage.show(path), error).into()
    }

    /// Creates one listed entry.
    fn entry(&mut self, entry: Stat) -> Result<(), ReceiveError> {
        let id = self.entries;
        if self.listed || id == ENTRIES_MAX {
            return Err(ReceiveError::Refused(format!(
                "{:?}: more entries than announced or allowed",
                entry.path
            )));
        }
        self.entries += 1;
        let kind = gomode::file_type(entry.mode);
        self.order
            .check(&entry.path, kind == FileType::Directory)
            .map_err(ReceiveError::Refused)?;
        let path = entry.path.clone();
        self.create(id, entry, kind)
            .map_err(|(operation, e)| match e {
                Errno::LOOP | Errno::NOTDIR | Errno::XDEV => ReceiveError::Refused(format!(
                    "{path:?}: {operation}: leads out of the export ({e})"
                )),
                e => self.failed(operation, &path, e),
            })
    }

    fn create(&mut self, id: u32, entry: Stat, kind: FileType) -> Result<(), Failed> {
        let (parent, name) = entry.path.rsplit_once('/').unwrap_or(("", &entry.path));
        if self.parent.as_ref().is_none_or(|(path, _)| path != parent) {
            let opened = self
                .stage
                .root()
                .open_dir(parent)
                .map_err(|e| ("open directory of", e))?;
            self.parent = Some((parent.to_owned(), opened));
        }
        let Some((_, parent)) = &self.parent else {
            return Err(("open directory of", Errno::NOENT));
        };
        match kind {
            FileType::Directory => {
                rustix::fs::mkdirat(parent, name, Mode::RWXU)
                    .map_err(|e| ("create directory", e))?;
                self.directories.push(Directory {
                    path: entry.path,
                    mode: entry.mode,
                    modified: times(entry.mod_time),
                    xattrs: entry.xattrs,
                });
            }
            FileType::Symlink => create_symlink(parent, name, &entry)?,
            _ if !entry.linkname.is_empty() => {
                create_hard_link(self.stage.root(), parent, name, &entry.linkname)?;
            }
            FileType::BlockDevice | FileType::CharacterDevice | FileType::Fifo => {
                create_device(parent, name, kind, &entry)?;
            }
            FileType::RegularFile | FileType::Socket => {
                let flags = OFlags::WRONLY
                    | OFlags::CREATE
                    | OFlags::EXCL
                    | OFlags::NOFOLLOW
                    | OFlags::CLOEXEC;
                rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)
                    .map_err(|e| ("create", e))?;
                if gomode::has_content(entry.mode) {
                    self.waiting.push_back((id, entry));
                }
            }
            FileType::Unknown => return Err(("understand the type of", Errno::INVAL)),
        }
        Ok(())
    }

    /// Requests as many files as may be open.
    fn request(&mut self) -> Result<(), ReceiveError> {
        while self.open.len() < REQUESTS_MAX {
            let Some((id, entry)) = self.waiting.pop_front() else {
                break;
            };
            let file = self
                .stage
                .root()
                .open_for_writing(&entry.path)
                .map_err(|e| self.failed("open", &entry.path, e))?;
            self.open.insert(
                id,
                Open {
                    file: file.into(),
                    entry,
                },
            );
            let packet = Packet {
                r#type: PacketType::PacketReq.into(),
                id,
                ..Packet::default()
            };
            self.outbound
                .blocking_send(Ok(packet.encode_to_vec().into()))
                .map_err(|_| ReceiveError::CutOff)?;
        }
        Ok(())
    }

    /// Appends to a requested file; no data is its end.
    fn data(&mut self, id: u32, data: &[u8]) -> Result<(), ReceiveError> {
        let Some(open) = self.open.get_mut(&id) else {
            return Err(ReceiveError::Refused(format!(
                "content of entry {id}, which was not requested"
            )));
        };
        if !data.is_empty() {
            return open
                .file
                .write_all(data)
                .map_err(|e| PathError::new("write", self.stage.show(&open.entry.path), e).into());
        }
        let Some(Open { file, entry }) = self.open.remove(&id) else {
            return Ok(());
        };
        finish(&file, &entry).map_err(|e| self.failed("set mode and time of", &entry.path, e))
    }
}

/// An operation that failed, and the system's reason.
type Failed = (&'static str, Errno);

fn create_symlink(parent: &OwnedFd, name: &str, entry: &Stat) -> Result<(), Failed> {
    rustix::fs::symlinkat(&*entry.linkname, parent, name).map_err(|e| ("create link", e))?;
    touch(parent, name, entry.mod_time)
}

/// The first name is looked up without following links, since the export may have links that lead outside.
fn create_hard_link(root: &Root, parent: &OwnedFd, name: &str, first: &str) -> Result<(), Failed> {
    let (from, source) = first.rsplit_once('/').unwrap_or(("", first));
    if matches!(source, "" | "." | "..") {
        return Err(("link to", Errno::XDEV));
    }
    let from = root.open_dir(from).map_err(|e| ("link to", e))?;
    rustix::fs::linkat(&from, source, parent, name, AtFlags::empty()).map_err(|e| ("link to", e))
}

fn create_device(parent: &OwnedFd, name: &str, kind: FileType, entry: &Stat) -> Result<(), Failed> {
    let mode = Mode::from_raw_mode(gomode::permissions(entry.mode));
    let number = |part: i64| u32::try_from(part).map_err(|_| ("create device", Errno::INVAL));
    let device = rustix::fs::makedev(number(entry.devmajor)?, number(entry.devminor)?);
    rustix::fs::mknodat(parent, name, kind, mode, device).map_err(|e| ("create device", e))?;
    rustix::fs::chmodat(parent, name, mode, AtFlags::empty())
        .map_err(|e| ("set the mode of", e))?;
    touch(parent, name, entry.mod_time)
}

/// Gives a complete file its attributes.
fn finish(file: &File, entry: &Stat) -> Result<(), Errno> {
    set_xattrs(file, &entry.xattrs);
    rustix::fs::fchmod(file, Mode::from_raw_mode(gomode::permissions(entry.mode)))?;
    rustix::fs::futimens(file, &times(entry.mod_time))
}

/// Sets extended attributes as far as the file system and our privileges allow it; exports are often made by users who
/// may not set most of them.
pub(crate) fn set_xattrs(
    file: impl rustix::fd::AsFd,
    xattrs: &std::collections::BTreeMap<String, Bytes>,
) {
    for (name, value) in xattrs {
        if let Err(error) =
            rustix::fs::fsetxattr(&file, name.as_str(), value, rustix::fs::XattrFlags::empty())
        {
            tracing::debug!(name, %error, "extended attribute of an exported file not set");
        }
    }
}

fn touch(parent: &OwnedFd, name: &str, nanoseconds: i64) -> Result<(), Failed> {
    rustix::fs::utimensat(parent, name, &times(nanoseconds), AtFlags::SYMLINK_NOFOLLOW)
        .map_err(|e| ("set the time of", e))
}

/// Access and modification time from nanoseconds since 1970.
fn times(nanoseconds: i64) -> Timestamps {
    const SECOND: i64 = 1_000_000_000;
    let time = Timespec {
        tv_sec: nanoseconds.div_euclid(SECOND),
        tv_nsec: nanoseconds.rem_euclid(SECOND),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}
