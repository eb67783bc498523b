//! The strict reader.
//!
//! An archive is a sequence of 512-byte headers, each followed by data padded to 512 bytes, ended
//! by two zero blocks. Extension headers describe the entry after them: `x` (PAX records), `L` and
//! `K` (GNU long path and link target, which win over PAX). Global PAX headers (`g`) are skipped:
//! the daemon ignores them too, and a layer must mean the same to both.
//! The reader collects extensions until an ordinary header comes, and then returns one
//! [`Entry`] with everything applied. Data is read from the reader itself; what is left unread is
//! skipped by the next call.
//!
//! Refused, with the reason: checksum errors, negative sizes, paths with `..` or NUL, sparse
//! files, unknown types, extensions over [`EXTENSION_SIZE_MAX`](super::EXTENSION_SIZE_MAX).
//! Bytes after the end of the archive are ignored, as every tar does. An archive without the two zero blocks is accepted when it ends exactly between two
//! entries, since some writers omit them; anything else is [`TarError::Truncated`].

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use tar::{EntryType, Header};

use super::field::{self, at};
use super::records::{self, Records, XATTR};
use super::{BLOCK, EXTENSION_SIZE_MAX, Entry, PATH_LEN_MAX, TarError, quote};
use crate::tree::{Kind, MODE_MASK, Meta, Time, Xattrs};

/// Most extension headers before one entry.
const EXTENSIONS_MAX: usize = 16;

/// Reads entries in order; itself a [`Read`] of the current entry's data.
pub struct Reader<R> {
    stream: R,
    /// Offset in the archive, for errors.
    offset: u64,
    /// Bytes of the current entry not yet read, and its padding after them.
    remaining: u64,
    padding: u64,
    finished: bool,
}

/// What extension headers said about the next entry.
#[derive(Default)]
struct Extensions {
    long_path: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Records,
    count: usize,
}

impl<R: Read> Reader<R> {
    /// Reads from the start of an archive.
    pub fn new(stream: R) -> Self {
        Self {
            stream,
            offset: 0,
            remaining: 0,
            padding: 0,
            finished: false,
        }
    }

    /// The next entry, `None` at the end.
    ///
    /// # Errors
    /// [`TarError`]; after one, the reader must not be used again.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, TarError> {
        let mut extensions = Extensions::default();
        loop {
            self.skip_data()?;
            let start = self.offset;
            let Some(header) = self.header()? else {
                if extensions.count > 0 {
                    return Err(TarError::Truncated(
                        "an extension header has no entry".into(),
                    ));
                }
                return Ok(None);
            };
            let bad = |reason: String| TarError::Header {
                offset: start,
                reason,
            };
            let size = size_of(&header).map_err(bad)?;
            let kind = header.entry_type();
            if !matches!(
                kind,
                EntryType::XHeader
                    | EntryType::XGlobalHeader
                    | EntryType::GNULongName
                    | EntryType::GNULongLink
            ) {
                return self.entry(&header, extensions, start).map(Some);
            }
            let data = self.extension(size, start)?;
            extensions.count += 1;
            if extensions.count > EXTENSIONS_MAX {
                return Err(bad(format!(
                    "more than {EXTENSIONS_MAX} extension headers in a row"
                )));
            }
            match kind {
                EntryType::XHeader => records::parse(&data, &mut extensions.pax).map_err(bad)?,
                // It belongs to no entry, so the archive may end after it.
                EntryType::XGlobalHeader => extensions.count -= 1,
                EntryType::GNULongName => extensions.long_path = Some(until_nul(data)),
                _ => extensions.long_link = Some(until_nul(data)),
            }
        }
    }

    /// Offset of the current entry's data in the archive, before any of it is read.
    pub fn data_offset(&self) -> u64 {
        self.offset
    }

    /// Everything after the end of the archive up to the end of the stream, so that a hash over
    /// the stream covers all of it.
    ///
    /// # Errors
    /// Errors of the stream.
    pub fn drain(&mut self) -> Result<(), TarError> {
        io::copy(&mut self.stream, &mut io::sink())?;
        Ok(())
    }

    /// The stream, wherever it stands.
    pub fn into_inner(self) -> R {
        self.stream
    }

    /// Reads one header; `None` at the end of the archive.
    fn header(&mut self) -> Result<Option<Header>, TarError> {
        if self.finished {
            return Ok(None);
        }
        let mut block = [0; BLOCK];
        let count = fill(&mut self.stream, &mut block)?;
        if count == 0 {
            self.finished = true;
            return Ok(None);
        }
        let start = self.offset;
        self.offset += count as u64;
        if count < BLOCK {
            return Err(TarError::Truncated(format!(
                "{count} bytes of a header at byte {start}"
            )));
        }
        if block.iter().all(|b| *b == 0) {
            self.finished = true;
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        // The checksum counts its own field as spaces.
        let sum: i64 = block
            .iter()
            .enumerate()
            .map(|(at, b)| i64::from(if at::CHECKSUM.contains(&at) { b' ' } else { *b }))
            .sum();
        if field::number(&block[at::CHECKSUM]) != Ok(sum) {
            return Err(TarError::Header {
                offset: start,
                reason: "wrong checksum (not a tar archive, or damaged)".into(),
            });
        }
        Ok(Some(header))
    }

    fn extension(&mut self, size: u64, start: u64) -> Result<Vec<u8>, TarError> {
        if size > EXTENSION_SIZE_MAX {
            return Err(TarError::Header {
                offset: start,
                reason: format!(
                    "extension of {size} bytes, over the limit of {EXTENSION_SIZE_MAX}"
                ),
            });
        }
        self.begin(size);
        let mut data = Vec::new();
        self.read_to_end(&mut data).map_err(truncation)?;
        Ok(data)
    }

    fn begin(&mut self, size: u64) {
        self.remaining = size;
        self.padding = size.next_multiple_of(BLOCK as u64) - size;
    }

    fn skip_data(&mut self) -> Result<(), TarError> {
        io::copy(self, &mut io::sink()).map_err(truncation)?;
        let padding = std::mem::take(&mut self.padding);
        let skipped = io::copy(&mut (&mut self.stream).take(padding), &mut io::sink())?;
        self.offset += skipped;
        if skipped < padding {
            return Err(TarError::Truncated(
                "the padding of the last entry is missing".into(),
            ));
        }
        Ok(())
    }

    /// Puts header and extensions together, and sets the reader to the entry's data.
    fn entry(
        &mut self,
        header: &Header,
        extensions: Extensions,
        start: u64,
    ) -> Result<Entry, TarError> {
        let bad = |reason: String| TarError::Header {
            offset: start,
            reason,
        };
        let pax = Pax(&extensions.pax);
        pax.refuse_sparse().map_err(bad)?;
        let long =
            |gnu: &Option<Vec<u8>>, key| gnu.as_deref().or(pax.bytes(key)).map(<[u8]>::to_vec);
        let raw_path =
            long(&extensions.long_path, "path").unwrap_or_else(|| header.path_bytes().into_owned());
        let raw_link = long(&extensions.long_link, "linkpath")
            .or_else(|| header.link_name_bytes().map(std::borrow::Cow::into_owned))
            .unwrap_or_default();
        let size = match pax.number("size").map_err(bad)? {
            Some(size) => size,
            None => size_of(header).map_err(bad)?,
        };
        let mut kind = header.entry_type();
        // Before POSIX a directory was a file, then of type NUL, whose name ends with a slash.
        if header.as_bytes()[156] == 0 && raw_path.ends_with(b"/") {
            kind = EntryType::Directory;
        }
        let path = normalise(&raw_path)?;
        let has_data = matches!(kind, EntryType::Regular | EntryType::Continuous);
        // A hard link may repeat the size of its target, and a directory state an allocation
        // hint; neither is followed by data.
        self.begin(if has_data { size } else { 0 });
        Ok(Entry {
            path,
            hard_link: match kind {
                EntryType::Link => Some(normalise(&raw_link)?),
                _ => None,
            },
            meta: Meta {
                kind: kind_of(header, kind, size, &raw_path, &raw_link).map_err(bad)?,
                ..common_meta(header, &pax).map_err(bad)?
            },
        })
    }
}

fn size_of(header: &Header) -> Result<u64, String> {
    let size = field::number(&header.as_bytes()[at::SIZE])?;
    u64::try_from(size).map_err(|_| format!("the size {size} is negative"))
}

/// Everything of an entry but its kind.
fn common_meta(header: &Header, pax: &Pax<'_>) -> Result<Meta, String> {
    let block = header.as_bytes();
    let id = |key, range| -> Result<u32, String> {
        let id = match pax.number(key)? {
            Some(id) => i64::try_from(id).unwrap_or(i64::MAX),
            None => field::number(&block[range])?,
        };
        u32::try_from(id).map_err(|_| format!("{key} {id} does not fit 32 bits"))
    };
    // Type bits that some writers add do not matter; that the number fits does not either then.
    let mode = field::number(&block[at::MODE])? & i64::from(MODE_MASK);
    Ok(Meta {
        kind: Kind::Dir,
        mode: u32::try_from(mode).expect("masked to twelve bits"),
        uid: id("uid", at::UID)?,
        gid: id("gid", at::GID)?,
        mtime: match pax.time()? {
            Some(time) => time,
            None => Time::from_secs(field::number(&block[at::MTIME])?),
        },
        xattrs: pax.xattrs(),
    })
}

fn kind_of(
    header: &Header,
    kind: EntryType,
    size: u64,
    path: &[u8],
    link: &[u8],
) -> Result<Kind, String> {
    let device = || -> Result<(u32, u32), String> {
        let part = |range| {
            let number = field::number(&header.as_bytes()[range])?;
            u32::try_from(number).map_err(|_| format!("the device number {number} is out of range"))
        };
        Ok((part(at::MAJOR)?, part(at::MINOR)?))
    };
    Ok(match kind {
        EntryType::Regular | EntryType::Continuous => Kind::File { size },
        EntryType::Link => Kind::File { size: 0 },
        EntryType::Directory => Kind::Dir,
        EntryType::Symlink => {
            if link.is_empty() || link.len() > PATH_LEN_MAX || link.contains(&0) {
                return Err(format!("`{}` has an unusable link target", quote(path)));
            }
            Kind::Symlink {
                target: PathBuf::from(OsStr::from_bytes(link)),
            }
        }
        EntryType::Char => {
            let (major, minor) = device()?;
            Kind::Char { major, minor }
        }
        EntryType::Block => {
            let (major, minor) = device()?;
            Kind::Block { major, minor }
        }
        EntryType::Fifo => Kind::Fifo,
        EntryType::GNUSparse => return Err(format!("`{}` is a sparse file", quote(path))),
        other => {
            let byte = char::from(other.as_byte());
            return Err(format!("`{}` has the unknown type {byte:?}", quote(path)));
        }
    })
}

impl<R: Read> Read for Reader<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let want = buf
            .len()
            .min(usize::try_from(self.remaining).unwrap_or(usize::MAX));
        if want == 0 {
            return Ok(0);
        }
        let count = self.stream.read(&mut buf[..want])?;
        if count == 0 {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("{} bytes of an entry are missing", self.remaining),
            ));
        }
        self.remaining -= count as u64;
        self.offset += count as u64;
        Ok(count)
    }
}

/// Tells a truncated archive from a failing stream.
fn truncation(error: io::Error) -> TarError {
    if error.kind() == io::ErrorKind::UnexpectedEof {
        TarError::Truncated(error.to_string())
    } else {
        TarError::Stream(error)
    }
}

/// Fills the buffer as far as the stream goes.
fn fill(stream: &mut impl Read, buf: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buf.len() {
        match stream.read(&mut buf[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

fn until_nul(mut data: Vec<u8>) -> Vec<u8> {
    if let Some(end) = data.iter().position(|b| *b == 0) {
        data.truncate(end);
    }
    data
}

/// A path as an entry may have it: leading slashes and `.` dropped, `..` and NUL refused.
pub(crate) fn normalise(raw: &[u8]) -> Result<PathBuf, TarError> {
    let refuse = |reason: &str| TarError::Entry {
        path: quote(raw),
        reason: reason.to_owned(),
    };
    if raw.len() > PATH_LEN_MAX {
        return Err(refuse("the path is too long"));
    }
    if raw.contains(&0) {
        return Err(refuse("the path contains a NUL byte"));
    }
    if raw.is_empty() {
        return Err(refuse("the path is empty"));
    }
    let mut path = PathBuf::new();
    for component in Path::new(OsStr::from_bytes(raw)).components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => return Err(refuse("`..` may lead out of the archive")),
            Component::CurDir | Component::RootDir | Component::Prefix(_) => {}
        }
    }
    Ok(path)
}

/// Typed access to PAX records.
struct Pax<'a>(&'a Records);

impl Pax<'_> {
    /// A record; an empty value deletes it, says POSIX.
    fn bytes(&self, key: &str) -> Option<&[u8]> {
        self.0
            .get(key.as_bytes())
            .map(Vec::as_slice)
            .filter(|value| !value.is_empty())
    }

    fn text(&self, key: &str) -> Result<Option<&str>, String> {
        self.bytes(key)
            .map(|v| std::str::from_utf8(v).map_err(|_| format!("PAX {key} is not a number")))
            .transpose()
    }

    fn number(&self, key: &str) -> Result<Option<u64>, String> {
        let Some(text) = self.text(key)? else {
            return Ok(None);
        };
        let digits = text.bytes().all(|b| b.is_ascii_digit());
        match text.parse() {
            Ok(number) if digits => Ok(Some(number)),
            _ => Err(format!(
                "PAX {key} `{}` is not a number",
                quote(text.as_bytes())
            )),
        }
    }

    fn time(&self) -> Result<Option<Time>, String> {
        let Some(text) = self.text("mtime")? else {
            return Ok(None);
        };
        parse_time(text)
            .map(Some)
            .ok_or_else(|| format!("PAX mtime `{}` is not a time", quote(text.as_bytes())))
    }

    fn refuse_sparse(&self) -> Result<(), String> {
        match self.0.keys().find(|key| key.starts_with(b"GNU.sparse.")) {
            Some(_) => Err("sparse files are not supported".to_owned()),
            None => Ok(()),
        }
    }

    fn xattrs(&self) -> Xattrs {
        self.0
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(XATTR)?, value)))
            .filter(|(name, _)| !name.is_empty() && !name.contains(&0))
            .map(|(name, value)| (name.to_vec(), value.clone()))
            .collect()
    }
}

/// `-12.5` is 12.5 seconds before 1970.
fn parse_time(text: &str) -> Option<Time> {
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |t: &str| t.bytes().all(|b| b.is_ascii_digit());
    if whole.is_empty() || !digits(whole) || !digits(fraction) {
        return None;
    }
    let secs: i64 = whole.parse().ok()?;
    // Digits past the ninth are less than a nanosecond.
    let nanos: u32 = format!("{fraction:0<9}")[..9].parse().ok()?;
    Some(match (negative, nanos) {
        (false, _) => Time { secs, nanos },
        (true, 0) => Time::from_secs(-secs),
        (true, _) => Time {
            secs: -secs - 1,
            nanos: 1_000_000_000 - nanos,
        },
    })
}
