//! The deterministic writer.
//!
//! The same sequence of entries gives the same bytes on every machine: no names of users, no
//! access times, no process ids, and one choice of format. An entry that ustar can express (ASCII
//! path that fits, ids under 2 097 152, size under 8 GiB, whole seconds from 1970 to 2242, no
//! attributes) is written as ustar; any other gets a PAX header with just the records it needs.

use std::io::{self, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use tar::{EntryType, Header};

use super::records::{self, Records, XATTR};
use super::{BLOCK, EXTENSION_SIZE_MAX, PATH_LEN_MAX, TarError, quote};
use crate::tree::{Kind, MODE_MASK, Meta, Time};

/// Largest id in the seven octal digits of ustar.
const USTAR_ID_MAX: u32 = 0o7_777_777;

/// Largest size and time in the eleven octal digits of ustar.
const USTAR_SIZE_MAX: u64 = 0o77_777_777_777;

/// Bytes of the name and the prefix field of ustar.
const NAME_LEN: usize = 100;
const PREFIX_LEN: usize = 155;

/// Writes entries to a stream.
pub struct Writer<W: Write> {
    stream: W,
    buffer: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// Starts an archive.
    pub fn new(stream: W) -> Self {
        Self {
            stream,
            buffer: vec![0; 64 * 1024],
        }
    }

    /// Appends a directory, link, device or pipe. `path` is relative; empty means the root.
    ///
    /// # Errors
    /// As [`Writer::append_file`].
    pub fn append(&mut self, path: &Path, meta: &Meta) -> Result<(), TarError> {
        debug_assert!(meta.size() == 0, "a file with data needs append_file");
        self.header(path, meta, None)
    }

    /// Appends a regular file with its data.
    ///
    /// # Errors
    /// [`TarError::Entry`] for sockets, over-long paths and data whose length is not the size in
    /// `meta`, [`TarError::Stream`] when either stream fails.
    pub fn append_file(
        &mut self,
        path: &Path,
        meta: &Meta,
        mut data: impl Read,
    ) -> Result<(), TarError> {
        self.header(path, meta, None)?;
        let size = meta.size();
        let mut left = size;
        loop {
            let count = match data.read(&mut self.buffer) {
                Ok(0) => break,
                Ok(count) => count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
                Err(e) => return Err(refuse(path, &format!("reading it failed: {e}"))),
            };
            left = left
                .checked_sub(count as u64)
                .ok_or_else(|| refuse(path, "it grew while it was read"))?;
            self.stream.write_all(&self.buffer[..count])?;
        }
        if left > 0 {
            return Err(refuse(path, "it shrank while it was read"));
        }
        self.pad(size)
    }

    /// Appends another name for an entry written earlier.
    ///
    /// # Errors
    /// As [`Writer::append_file`].
    pub fn append_hard_link(
        &mut self,
        path: &Path,
        target: &Path,
        meta: &Meta,
    ) -> Result<(), TarError> {
        self.header(path, meta, Some(target))
    }

    /// Ends the archive and returns the stream, flushed.
    ///
    /// # Errors
    /// Errors of the stream.
    pub fn finish(mut self) -> Result<W, TarError> {
        self.stream.write_all(&[0; 2 * BLOCK])?;
        self.stream.flush()?;
        Ok(self.stream)
    }

    fn header(&mut self, path: &Path, meta: &Meta, link: Option<&Path>) -> Result<(), TarError> {
        let (kind, target) = match (&meta.kind, link) {
            (_, Some(target)) => (EntryType::Link, target.as_os_str().as_bytes()),
            (Kind::File { .. }, None) => (EntryType::Regular, &b""[..]),
            (Kind::Dir, None) => (EntryType::Directory, &b""[..]),
            (Kind::Symlink { target }, None) => (EntryType::Symlink, target.as_os_str().as_bytes()),
            (Kind::Char { .. }, None) => (EntryType::Char, &b""[..]),
            (Kind::Block { .. }, None) => (EntryType::Block, &b""[..]),
            (Kind::Fifo, None) => (EntryType::Fifo, &b""[..]),
            (Kind::Socket, None) => return Err(refuse(path, "tar has no sockets")),
        };
        let mut name = match path.as_os_str().as_bytes() {
            b"" => b"./".to_vec(),
            name => name.to_vec(),
        };
        if kind == EntryType::Directory && !name.ends_with(b"/") {
            name.push(b'/');
        }
        if name.len() > PATH_LEN_MAX || target.len() > PATH_LEN_MAX {
            return Err(refuse(path, "the path or link target is too long"));
        }
        let size = match kind {
            EntryType::Regular => meta.size(),
            _ => 0,
        };
        let mut header = Header::new_ustar();
        let mut pax = Records::new();
        header.set_entry_type(kind);
        header.set_mode(meta.mode & MODE_MASK);
        set_path(&mut header, &name, &mut pax);
        set_link(&mut header, target, &mut pax);
        set_numbers(&mut header, meta, size, &mut pax);
        if let Kind::Char { major, minor } | Kind::Block { major, minor } = meta.kind {
            let fits = |e: io::Error| refuse(path, &e.to_string());
            header.set_device_major(major).map_err(fits)?;
            header.set_device_minor(minor).map_err(fits)?;
        }
        for (key, value) in &meta.xattrs {
            pax.insert([XATTR, key].concat(), value.clone());
        }
        if !pax.is_empty() {
            self.extension(path, &pax)?;
        }
        header.set_cksum();
        self.stream.write_all(header.as_bytes())?;
        Ok(())
    }

    fn extension(&mut self, path: &Path, pax: &Records) -> Result<(), TarError> {
        let data = records::encode(pax);
        if data.len() as u64 > EXTENSION_SIZE_MAX {
            return Err(refuse(path, "its extended attributes are too large"));
        }
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::XHeader);
        header.set_mode(0o644);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_size(data.len() as u64);
        if let Some(ustar) = header.as_ustar_mut() {
            ustar.name[..10].copy_from_slice(b"PaxHeaders");
        }
        header.set_cksum();
        self.stream.write_all(header.as_bytes())?;
        self.stream.write_all(&data)?;
        self.pad(data.len() as u64)
    }

    fn pad(&mut self, size: u64) -> Result<(), TarError> {
        let padding = size.next_multiple_of(BLOCK as u64) - size;
        // Less than one block.
        self.stream.write_all(&[0; BLOCK][..padding as usize])?;
        Ok(())
    }
}

fn refuse(path: &Path, reason: &str) -> TarError {
    TarError::Entry {
        path: quote(path.as_os_str().as_bytes()),
        reason: reason.to_owned(),
    }
}

/// Stores the path in the ustar fields, or in a record when it does not fit.
fn set_path(header: &mut Header, name: &[u8], pax: &mut Records) {
    let split = if name.len() <= NAME_LEN {
        Some((&b""[..], name))
    } else {
        // The shortest name part leaves the most room: split at the first slash that fits.
        (name.len() - NAME_LEN - 1..name.len().min(PREFIX_LEN + 1))
            .find(|at| name[*at] == b'/' && *at > 0 && at + 1 < name.len())
            .map(|at| (&name[..at], &name[at + 1..]))
    };
    let ustar = header.as_ustar_mut().expect("the header was made as ustar");
    match split {
        Some((prefix, rest)) if name.is_ascii() => {
            ustar.prefix[..prefix.len()].copy_from_slice(prefix);
            ustar.name[..rest.len()].copy_from_slice(rest);
        }
        _ => {
            record_path(pax, b"path", name);
            // For readers without PAX; those with it ignore the field.
            let short = name.len().min(NAME_LEN);
            ustar.name[..short].copy_from_slice(&name[..short]);
        }
    }
}

fn set_link(header: &mut Header, target: &[u8], pax: &mut Records) {
    let ustar = header.as_ustar_mut().expect("the header was made as ustar");
    let short = target.len().min(NAME_LEN);
    ustar.linkname[..short].copy_from_slice(&target[..short]);
    if target.len() > NAME_LEN || !target.is_ascii() {
        record_path(pax, b"linkpath", target);
    }
}

/// PAX values are UTF-8 unless this says otherwise.
fn record_path(pax: &mut Records, key: &[u8], value: &[u8]) {
    if std::str::from_utf8(value).is_err() {
        pax.insert(b"hdrcharset".to_vec(), b"BINARY".to_vec());
    }
    pax.insert(key.to_vec(), value.to_vec());
}

fn set_numbers(header: &mut Header, meta: &Meta, size: u64, pax: &mut Records) {
    let mut id = |key: &str, id: u32| {
        if id > USTAR_ID_MAX {
            pax.insert(key.into(), id.to_string().into());
        }
        u64::from(if id > USTAR_ID_MAX { 0 } else { id })
    };
    header.set_uid(id("uid", meta.uid));
    header.set_gid(id("gid", meta.gid));
    if size > USTAR_SIZE_MAX {
        pax.insert(b"size".to_vec(), size.to_string().into());
    }
    header.set_size(if size > USTAR_SIZE_MAX { 0 } else { size });
    let secs = u64::try_from(meta.mtime.secs).ok();
    let fits = secs.filter(|secs| *secs <= USTAR_SIZE_MAX && meta.mtime.nanos == 0);
    if fits.is_none() {
        pax.insert(b"mtime".to_vec(), format_time(meta.mtime).into());
    }
    header.set_mtime(fits.unwrap_or(0));
}

/// Decimal seconds, without trailing zeros.
fn format_time(time: Time) -> String {
    let (sign, secs, nanos) = match (time.secs < 0, time.nanos) {
        (false, nanos) => ("", time.secs.unsigned_abs(), nanos),
        (true, 0) => ("-", time.secs.unsigned_abs(), 0),
        (true, nanos) => ("-", time.secs.unsigned_abs() - 1, 1_000_000_000 - nanos),
    };
    let fraction = format!(".{nanos:09}");
    let fraction = fraction.trim_end_matches('0').trim_end_matches('.');
    format!("{sign}{secs}{fraction}")
}
