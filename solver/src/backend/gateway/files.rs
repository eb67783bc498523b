//! Looking into the files of a result, or of a mount of a container.
//!
//! Reading forces a lazy result. Files are read in parts of [`READ_CHUNK_BYTES`],
//! because an answer is one message and messages are limited; a result never
//! changes, so the parts fit together.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use proto::gateway;

use super::Ref;
use crate::backend::build::{Build, Handle};
use crate::backend::client::code;
use crate::backend::error::Error;
use crate::backend::failure::Code;

/// Bytes of a file that are asked for at a time; well below the message limit.
pub const READ_CHUNK_BYTES: u64 = 4 << 20;

/// Largest file part that [`Build::read_file`] puts into memory, in bytes.
pub const READ_BYTES_MAX: u64 = 256 << 20;

/// Kind of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FileKind {
    /// Regular file.
    Regular,
    /// Directory.
    Directory,
    /// Symbolic link.
    Symlink,
    /// Named pipe.
    Fifo,
    /// Unix socket.
    Socket,
    /// Block device.
    BlockDevice,
    /// Character device.
    CharDevice,
}

/// What is known about one file of a result.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileStat {
    /// Name: the last element of the path.
    pub name: String,
    /// Kind.
    pub kind: FileKind,
    /// Permissions with set-user-id, set-group-id and sticky bits, as in `chmod`.
    pub permissions: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Size in bytes.
    pub size: i64,
    /// Time of the last change.
    pub modified: SystemTime,
    /// Target of a symbolic link.
    pub link: String,
    /// Major and minor number of a device.
    pub device: (i64, i64),
    /// Extended attributes.
    pub xattrs: BTreeMap<String, Bytes>,
}

impl From<proto::fsutil::Stat> for FileStat {
    fn from(wire: proto::fsutil::Stat) -> Self {
        // Mode bits are those of Go's os.FileMode.
        let bit = |n: u32| wire.mode & (1 << n) != 0;
        let kind = match () {
            () if bit(31) => FileKind::Directory,
            () if bit(27) => FileKind::Symlink,
            () if bit(26) && bit(21) => FileKind::CharDevice,
            () if bit(26) => FileKind::BlockDevice,
            () if bit(25) => FileKind::Fifo,
            () if bit(24) => FileKind::Socket,
            () => FileKind::Regular,
        };
        let special = [(23, 0o4000), (22, 0o2000), (20, 0o1000)];
        let special: u32 = special
            .iter()
            .filter(|(n, _)| bit(*n))
            .map(|(_, mode)| mode)
            .sum();
        let offset = Duration::from_nanos(wire.mod_time.unsigned_abs());
        let modified = if wire.mod_time < 0 {
            SystemTime::UNIX_EPOCH.checked_sub(offset)
        } else {
            SystemTime::UNIX_EPOCH.checked_add(offset)
        };
        Self {
            name: wire.path,
            kind,
            permissions: special | wire.mode & 0o777,
            uid: wire.uid,
            gid: wire.gid,
            size: wire.size,
            modified: modified.unwrap_or(SystemTime::UNIX_EPOCH),
            link: wire.linkname,
            device: (wire.devmajor, wire.devminor),
            xattrs: wire.xattrs,
        }
    }
}

impl Build {
    /// Reads a file, or the part of it that `range` covers; a range that reaches
    /// past the end is cut there.
    ///
    /// # Errors
    /// [`Error::Protocol`] for more than [`READ_BYTES_MAX`] bytes; larger files
    /// are read with [`Build::file_chunks`].
    pub async fn read_file(
        &self,
        reference: &Ref,
        path: &str,
        range: Option<Range<u64>>,
    ) -> Result<Vec<u8>, Error> {
        collect(self.file_chunks(reference, path, range), path).await
    }

    /// A file, or a part of it, in chunks of at most [`READ_CHUNK_BYTES`].
    pub fn file_chunks(
        &self,
        reference: &Ref,
        path: &str,
        range: Option<Range<u64>>,
    ) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
        chunks(
            self.handle.clone(),
            Tree::Ref(reference.id().to_owned()),
            path.to_owned(),
            range,
        )
    }

    /// Lists a directory, by name. `include` is a shell pattern for names; empty
    /// = all.
    pub async fn read_dir(
        &self,
        reference: &Ref,
        path: &str,
        include: &str,
    ) -> Result<Vec<FileStat>, Error> {
        read_dir(
            &self.handle,
            Tree::Ref(reference.id().to_owned()),
            path,
            include,
        )
        .await
    }

    /// Looks at one path; a symbolic link at its end is not followed.
    pub async fn stat_file(&self, reference: &Ref, path: &str) -> Result<FileStat, Error> {
        stat_file(&self.handle, Tree::Ref(reference.id().to_owned()), path).await
    }
}

/// A tree whose files can be looked at.
#[derive(Debug, Clone)]
pub(crate) enum Tree {
    /// Id of a ref.
    Ref(String),
    /// Id of a container and index of one of its mounts.
    Mount(String, i32),
}

impl Tree {
    fn parts(self) -> (String, i32, bool) {
        match self {
            Self::Ref(id) => (id, 0, false),
            Self::Mount(id, index) => (id, index, true),
        }
    }
}

pub(crate) async fn read_dir(
    build: &Handle,
    tree: Tree,
    path: &str,
    include: &str,
) -> Result<Vec<FileStat>, Error> {
    let (id, mount_index, container) = tree.parts();
    let request = build.request(gateway::ReadDirRequest {
        r#ref: id,
        dir_path: path.to_owned(),
        include_pattern: include.to_owned(),
        mount_index,
    });
    let mut bridge = build.client().bridge();
    let response = if container {
        build.call(bridge.read_dir_container(request)).await
    } else {
        build.call(bridge.read_dir(request)).await
    };
    match response {
        Ok(response) => Ok(response.entries.into_iter().map(FileStat::from).collect()),
        // A listing is one message, and this is how the daemon refuses to send a large one.
        Err(error) if code(&error) == Some(Code::ResourceExhausted) => Err(Error::Protocol(
            format!("the listing of {path:?} is too large for one answer; list with a pattern"),
        )),
        Err(error) => Err(error),
    }
}

pub(crate) async fn stat_file(build: &Handle, tree: Tree, path: &str) -> Result<FileStat, Error> {
    let (id, mount_index, container) = tree.parts();
    let request = build.request(gateway::StatFileRequest {
        r#ref: id,
        path: path.to_owned(),
        mount_index,
    });
    let mut bridge = build.client().bridge();
    let response = if container {
        build.call(bridge.stat_file_container(request)).await?
    } else {
        build.call(bridge.stat_file(request)).await?
    };
    let absent = || Error::Protocol(format!("the daemon answered nothing about {path:?}"));
    Ok(response.stat.ok_or_else(absent)?.into())
}

/// Reads a file chunk by chunk; a short chunk is the end.
pub(crate) fn chunks(
    build: Handle,
    tree: Tree,
    path: String,
    range: Option<Range<u64>>,
) -> impl Stream<Item = Result<Bytes, Error>> + Send + use<> {
    let range = range.unwrap_or(0..u64::MAX);
    let rest = (range.start < range.end).then_some(range);
    futures::stream::unfold(
        (rest, build, tree, path),
        |(rest, build, tree, path)| async move {
            let rest = rest?;
            let length = (rest.end - rest.start).min(READ_CHUNK_BYTES);
            let chunk = read_chunk(&build, tree.clone(), &path, rest.start, length).await;
            let next = match &chunk {
                Ok(data) if data.is_empty() => return None,
                Ok(data) if data.len() as u64 == length && rest.end > rest.start + length => {
                    Some(rest.start + length..rest.end)
                }
                _ => None,
            };
            Some((chunk, (next, build, tree, path)))
        },
    )
}

async fn read_chunk(
    build: &Handle,
    tree: Tree,
    path: &str,
    offset: u64,
    length: u64,
) -> Result<Bytes, Error> {
    let too_large = || Error::Protocol(format!("offset {offset} of {path:?} is out of range"));
    let (id, mount_index, container) = tree.parts();
    let request = build.request(gateway::ReadFileRequest {
        r#ref: id,
        file_path: path.to_owned(),
        range: Some(gateway::FileRange {
            offset: i64::try_from(offset).map_err(|_| too_large())?,
            length: i64::try_from(length).map_err(|_| too_large())?,
        }),
        mount_index,
    });
    let mut bridge = build.client().bridge();
    let response = if container {
        build.call(bridge.read_file_container(request)).await?
    } else {
        build.call(bridge.read_file(request)).await?
    };
    if response.data.len() as u64 > length {
        return Err(Error::Protocol(format!(
            "the daemon sent more of {path:?} than was asked for"
        )));
    }
    Ok(response.data)
}

pub(crate) async fn collect(
    chunks: impl Stream<Item = Result<Bytes, Error>>,
    path: &str,
) -> Result<Vec<u8>, Error> {
    let mut chunks = std::pin::pin!(chunks);
    let mut bytes = Vec::new();
    while let Some(chunk) = chunks.next().await {
        bytes.extend_from_slice(&chunk?);
        if bytes.len() as u64 > READ_BYTES_MAX {
            return Err(Error::Protocol(format!(
                "{path:?} has more than {READ_BYTES_MAX} bytes"
            )));
        }
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stat(mode: u32) -> FileStat {
        proto::fsutil::Stat {
            mode,
            ..Default::default()
        }
        .into()
    }

    #[test]
    fn go_modes_become_kinds_and_permissions() {
        assert_eq!(
            (stat(0o644).kind, stat(0o644).permissions),
            (FileKind::Regular, 0o644)
        );
        let sticky = stat(1 << 31 | 1 << 20 | 0o777);
        assert_eq!(
            (sticky.kind, sticky.permissions),
            (FileKind::Directory, 0o1777)
        );
        let setuid = stat(1 << 23 | 1 << 22 | 0o755);
        assert_eq!(
            (setuid.kind, setuid.permissions),
            (FileKind::Regular, 0o6755)
        );
        assert_eq!(stat(1 << 27 | 0o777).kind, FileKind::Symlink);
        assert_eq!(stat(1 << 26).kind, FileKind::BlockDevice);
        assert_eq!(stat(1 << 26 | 1 << 21).kind, FileKind::CharDevice);
        assert_eq!(stat(1 << 25).kind, FileKind::Fifo);
        assert_eq!(stat(1 << 24).kind, FileKind::Socket);
    }

    #[test]
    fn times_before_1970_and_extremes_are_no_panic() {
        for mod_time in [i64::MIN, -1, 0, i64::MAX] {
            let _: FileStat = proto::fsutil::Stat {
                mod_time,
                ..Default::default()
            }
            .into();
        }
    }
}
