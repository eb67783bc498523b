//! Hashes the files of a local source while it is being listed.
//!
//! The calling thread walks. Entries go in batches through a bounded channel to as many workers as
//! there are cores, which open each file relative to its open directory, read its attributes
//! through the descriptor, and hash header and data. Results come back by position in the listing.
//! Memory: the listing itself, [`BATCHES_WAITING`] batches, one buffer per worker.
//!
//! # Files that change
//! The header holds the size, so it must be that of the data. After the last byte the open file is
//! asked again what it is; if that is not what the listing said, it is hashed anew, [`ATTEMPTS`]
//! times. A file that is gone by then is left out, as in a listing a moment later.

use std::os::fd::OwnedFd;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};

use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;

use super::cache::Cache;
use super::filter::Filter;
use super::identity::Identity;
use super::walk::{Attributes, Entry, READ_XATTRS, walk};
use super::{ContextError, Ownership, Work, xattrs};
use crate::beneath::{PathError, Root, is_gone};
use crate::checksum::{Profile, Sum, summer};
use crate::tree::{ENTRIES_MAX, Kind, MODE_MASK, Meta};

/// Most workers.
const WORKERS_MAX: usize = 16;

/// Entries per batch.
const BATCH_ENTRIES: usize = 64;

/// Bytes of files after which a batch is handed on.
const BATCH_BYTES: u64 = 1024 * 1024;

/// Batches that may wait for a worker; each entry may hold its directory open.
const BATCHES_WAITING: usize = 8;

/// Times a file that changes is read.
const ATTEMPTS: usize = 5;

/// Bytes per read: large enough that the calls do not count, small enough for a core's cache.
const BUFFER: usize = 256 * 1024;

/// An entry of the listing with its digest; directories get theirs from their content.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) path: String,
    pub(super) meta: Meta,
    pub(super) identity: Identity,
    pub(super) digest: Option<Sum>,
    /// The inode has further names.
    pub(super) several: bool,
}

impl Found {
    /// Identity of the inode, for entries that have several names.
    pub(super) fn group(&self) -> Option<(u64, u64)> {
        self.several
            .then_some((self.identity.device, self.identity.inode))
    }
}

/// A position in the listing, and what is there.
type Job = (usize, Entry);

/// Lists the tree and hashes everything in it.
pub(super) fn all(
    root: &Root,
    filter: &Filter,
    ownership: Ownership,
    profile: Profile,
    cache: Option<&mut Cache>,
) -> Result<(Vec<Found>, Work), ContextError> {
    let workers = std::thread::available_parallelism()
        .map_or(1, usize::from)
        .min(WORKERS_MAX);
    let (sender, receiver) = sync_channel(BATCHES_WAITING);
    let receiver = Mutex::new(receiver);
    let (listed, hashed) = std::thread::scope(|scope| {
        let handles: Vec<_> = (0..workers)
            .map(|_| scope.spawn(|| Worker::new(root, profile).run(&receiver)))
            .collect();
        let listed = list(root, filter, ownership, cache, sender);
        let hashed: Vec<_> = handles
            .into_iter()
            .map(|handle| match handle.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            })
            .collect();
        (listed, hashed)
    });
    let mut work = Work::default();
    let mut parts = Vec::with_capacity(hashed.len());
    for result in hashed {
        // A worker that fails also stops the walk; its error is the cause.
        let (part, read, bytes) = result?;
        parts.push(part);
        work.read += read;
        work.bytes += bytes;
    }
    let (count, done) = listed?;
    let mut slots: Vec<Option<Found>> = Vec::new();
    slots.resize_with(count, || None);
    for (at, found) in parts.into_iter().flatten().chain(done) {
        slots[at] = Some(found);
    }
    let found: Vec<Found> = slots.into_iter().flatten().collect();
    work.entries = found.len();
    Ok((found, work))
}

/// Lists the tree and reads no file.
pub(super) fn nothing(
    root: &Root,
    filter: &Filter,
    ownership: Ownership,
) -> Result<Vec<Found>, ContextError> {
    let mut found = Vec::new();
    walk(root, filter, ownership, Attributes::All, &mut |entry| {
        found.push(entry.into_found(None));
        true
    })?;
    Ok(found)
}

/// Walks, hands out what must be hashed and keeps what need not. Returns how many entries there are.
fn list(
    root: &Root,
    filter: &Filter,
    ownership: Ownership,
    mut cache: Option<&mut Cache>,
    sender: SyncSender<Vec<Job>>,
) -> Result<(usize, Vec<(usize, Found)>), ContextError> {
    let mut count = 0;
    let mut done = Vec::new();
    let mut batch: Vec<Job> = Vec::with_capacity(BATCH_ENTRIES);
    let mut bytes = 0;
    let outcome = walk(
        root,
        filter,
        ownership,
        Attributes::OfDirectories,
        &mut |entry| {
            let at = count;
            count += 1;
            let known = cache
                .as_mut()
                .filter(|_| !entry.meta.is_dir())
                .and_then(|cache| cache.lookup(&entry.path, &entry.identity));
            if entry.meta.is_dir() || known.is_some() {
                done.push((at, entry.into_found(known)));
            } else {
                bytes += entry.meta.size();
                batch.push((at, entry));
                if batch.len() == BATCH_ENTRIES || bytes >= BATCH_BYTES {
                    bytes = 0;
                    let full = std::mem::replace(&mut batch, Vec::with_capacity(BATCH_ENTRIES));
                    return sender.send(full).is_ok() && count < ENTRIES_MAX;
                }
            }
            count < ENTRIES_MAX
        },
    );
    match outcome {
        Err(ContextError::Stopped) if count >= ENTRIES_MAX => {
            return Err(ContextError::TooManyEntries(ENTRIES_MAX));
        }
        other => other?,
    }
    // Fails only when all workers have: their error is reported.
    let _ = sender.send(batch);
    Ok((count, done))
}

impl Entry {
    fn into_found(self, digest: Option<Sum>) -> Found {
        Found {
            path: self.path,
            meta: self.meta,
            identity: self.identity,
            digest,
            several: self.several,
        }
    }
}

/// What a worker found: entries by position, files read, bytes read.
type Part = (Vec<(usize, Found)>, usize, u64);

pub(super) struct Worker<'a> {
    root: &'a Root,
    profile: Profile,
    buffer: Vec<u8>,
    xattrs: xattrs::Reader,
    part: Part,
}

impl<'a> Worker<'a> {
    pub(super) fn new(root: &'a Root, profile: Profile) -> Self {
        Self {
            root,
            profile,
            buffer: vec![0; BUFFER],
            xattrs: xattrs::Reader::new(root),
            part: Part::default(),
        }
    }

    fn run(mut self, jobs: &Mutex<Receiver<Vec<Job>>>) -> Result<Part, ContextError> {
        loop {
            let next = jobs.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(batch) = next else {
                return Ok(self.part);
            };
            for (at, entry) in batch {
                if let Some(found) = self.entry(entry)? {
                    self.part.0.push((at, found));
                }
            }
        }
    }

    /// `None` when the entry is gone.
    pub(super) fn entry(&mut self, mut entry: Entry) -> Result<Option<Found>, ContextError> {
        let Some(parent) = entry.parent.take() else {
            return Ok(None);
        };
        match entry.meta.kind {
            Kind::File { .. } => self.file(&parent, entry),
            _ => self.other(&parent, entry),
        }
    }

    /// Links, devices, pipes and sockets have a header only.
    fn other(&mut self, parent: &OwnedFd, mut entry: Entry) -> Result<Option<Found>, ContextError> {
        let name = name(&entry.path);
        match self.xattrs.read_name(parent, name) {
            Ok(xattrs) => entry.meta.xattrs = xattrs,
            Err(e) if is_gone(e) => return Ok(None),
            Err(e) => return Err(self.failed(READ_XATTRS, &entry.path, e)),
        }
        let digest = summer(&entry.meta, &self.profile).finish();
        Ok(Some(entry.into_found(Some(digest))))
    }

    fn file(
        &mut self,
        parent: &Arc<OwnedFd>,
        mut entry: Entry,
    ) -> Result<Option<Found>, ContextError> {
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
        let file = match rustix::fs::openat(&**parent, name(&entry.path), flags, Mode::empty()) {
            Ok(file) => file,
            Err(e) if is_gone(e) => return Ok(None),
            Err(e) => return Err(self.failed("open", &entry.path, e)),
        };
        self.part.1 += 1;
        for _ in 0..ATTEMPTS {
            let digest = self.read(&file, &mut entry)?;
            let now = rustix::fs::fstat(&file).map_err(|e| self.failed("stat", &entry.path, e))?;
            if FileType::from_raw_mode(now.st_mode) != FileType::RegularFile {
                break;
            }
            let now = Identity::of(&now);
            if now == entry.identity
                && let Some(digest) = digest
            {
                return Ok(Some(entry.into_found(Some(digest))));
            }
            entry.update(now);
        }
        Err(ContextError::Changing(self.root.show(&entry.path)))
    }

    /// Hashes an open file from its first byte; `None` when it has not the announced size.
    fn read(&mut self, file: &OwnedFd, entry: &mut Entry) -> Result<Option<Sum>, ContextError> {
        entry.meta.xattrs = self
            .xattrs
            .read_open(file)
            .map_err(|e| self.failed(READ_XATTRS, &entry.path, e))?;
        let mut summer = summer(&entry.meta, &self.profile);
        let size = entry.meta.size();
        let mut offset = 0;
        loop {
            let count =
                rustix::io::retry_on_intr(|| rustix::io::pread(file, &mut *self.buffer, offset))
                    .map_err(|e| self.failed("read", &entry.path, e))?;
            summer.update(&self.buffer[..count]);
            offset += count as u64;
            self.part.2 += count as u64;
            // One byte more than announced is enough to know; a short read is the end of a file.
            if count == 0 || offset > size || (offset == size && count < self.buffer.len()) {
                break;
            }
        }
        Ok((offset == size).then(|| summer.finish()))
    }

    fn failed(&self, operation: &'static str, path: &str, e: Errno) -> ContextError {
        PathError::new(operation, self.root.show(path), e).into()
    }
}

impl Entry {
    /// The entry as it is now.
    fn update(&mut self, now: Identity) {
        self.meta.kind = Kind::File { size: now.size };
        self.meta.mode = now.mode & MODE_MASK;
        self.meta.mtime = now.mtime;
        self.identity = now;
    }
}

/// The last component of a path.
pub(super) fn name(path: &str) -> &str {
    path.rsplit_once('/').map_or(path, |(_, name)| name)
}
