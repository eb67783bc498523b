//! The FileSync service: sends local directories to the daemon.
//!
//! The daemon names a directory that was offered ([`LocalDirs`]) and lists include patterns, exclude patterns and paths
//! whose symbolic links are to be followed. The answer is a listing of the matching tree, and then the content of
//! those files the daemon asks for, which are the ones that changed since it last saw the directory:
//!
//! ```text
//! snapshots::context   what is listed: follow paths, patterns, the walk in protocol order
//! send.rs              the packet exchange: listing, requests, content
//! ```
//! The walk is shared with the content hash of a local directory, so that what was hashed is what is sent.
//! Directories are read at the time of the request, not when they are offered.

mod send;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use proto::filesync::file_sync_server::FileSync;
use proto::fsutil::Packet;
pub use snapshots::context::Ownership;
use snapshots::context::{self, ContextError, Source};
use snapshots::tree::Time;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::error::path_status;
use super::metadata;
use super::registry::Registry;
use send::Packets;

/// One offered directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LocalDir {
    /// The directory. Links in this path are followed; nothing outside of it is ever sent.
    pub root: PathBuf,
    /// Owner of the entries as the daemon sees them.
    pub ownership: Ownership,
}

impl LocalDir {
    /// Offers `root`, with everything owned by root.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self {
            root: root.into(),
            ownership: Ownership::Root,
        }
    }
}

/// What a transfer showed about the copy that the daemon has now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transfer {
    /// When it began.
    pub started: SystemTime,
    /// The daemon has said that it has everything; only then there are entries.
    pub complete: bool,
    /// Regular files and directories that were listed.
    pub entries: Vec<Transferred>,
}

/// An entry of a transfer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transferred {
    /// The daemon asked for the content of the file.
    Sent {
        /// Digest of its path.
        path: u64,
    },
    /// The daemon did not ask: size and `mtime` are those of the file it has. A file that was changed after that one
    /// was sent, under the same size and `mtime`, is not what the daemon has.
    Kept {
        /// Digest of its path.
        path: u64,
        /// Its last change by the file system's account (`ctime`).
        changed: Time,
    },
    /// A directory. A daemon that has it keeps what it knew of mode and attributes.
    Directory {
        /// Digest of its path.
        path: u64,
        /// Digest of its mode and attributes.
        header: u64,
    },
}

/// Finds offered directories by name.
pub trait LocalDirProvider: Send + Sync + 'static {
    /// The directory offered as `name`, or `None`. Called once at the beginning of each transfer.
    fn local_dir(&self, name: &str) -> Option<LocalDir>;

    /// Told at the end of each transfer that found its directory, however it ends.
    fn transferred(&self, name: &str, transfer: &Transfer) {
        let (_, _) = (name, transfer);
    }
}

/// A transfer under way; dropping it tells the provider that it has ended.
pub(crate) struct Watched {
    provider: Arc<dyn LocalDirProvider>,
    name: String,
    transfer: Transfer,
}

impl Watched {
    fn new(provider: &Arc<dyn LocalDirProvider>, name: &str) -> Self {
        Self {
            provider: Arc::clone(provider),
            name: name.to_owned(),
            transfer: Transfer {
                started: SystemTime::now(),
                complete: false,
                entries: Vec::new(),
            },
        }
    }

    /// The daemon has everything.
    fn complete(&mut self, entries: Vec<Transferred>) {
        self.transfer.complete = true;
        self.transfer.entries = entries;
    }
}

impl Drop for Watched {
    fn drop(&mut self) {
        self.provider.transferred(&self.name, &self.transfer);
    }
}

/// Offered directories by the name that local sources use; entries can be added while the session runs.
pub type LocalDirs = Registry<LocalDir>;

impl LocalDirProvider for LocalDirs {
    fn local_dir(&self, name: &str) -> Option<LocalDir> {
        self.get(name)
    }
}

/// Serves a [`LocalDirProvider`].
pub(crate) struct FileSyncService(pub(crate) Arc<dyn LocalDirProvider>);

#[async_trait]
impl FileSync for FileSyncService {
    type DiffCopyStream = Packets;
    type TarStreamStream = Packets;

    async fn diff_copy(
        &self,
        request: Request<Streaming<Packet>>,
    ) -> Result<Response<Packets>, Status> {
        let (metadata, _, inbound) = request.into_parts();
        let name = metadata::first(&metadata, "dir-name")?.unwrap_or_default();
        let dir = self.0.local_dir(&name).ok_or_else(|| {
            Status::not_found(format!(
                "no local directory is offered under the name {name:?}"
            ))
        })?;
        let watched = Watched::new(&self.0, &name);
        let source = Source {
            root: dir.root,
            include: metadata::values(&metadata, "include-patterns")?,
            exclude: metadata::values(&metadata, "exclude-patterns")?,
            follow: metadata::values(&metadata, "followpaths")?,
            ownership: dir.ownership,
        };
        let prepare = move || {
            let (root, filter) = source.open().map_err(|e| status(&name, &e))?;
            if !context::xattrs_readable(&root) {
                tracing::warn!(
                    "/proc is not available: extended attributes of local files are not sent"
                );
            }
            Ok::<_, Status>((root, filter, source.ownership))
        };
        let (root, filter, ownership) = tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|_| Status::cancelled("the session is closing"))??;
        let packets = send::start(inbound, root, filter, ownership, watched);
        Ok(Response::new(packets))
    }

    /// An older protocol that no supported daemon asks for.
    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented(
            "local directories are sent with DiffCopy",
        ))
    }
}

/// The status for a local directory that cannot be listed.
fn status(name: &str, error: &ContextError) -> Status {
    match error {
        ContextError::Path(path) => path_status(path),
        ContextError::Stopped => Status::cancelled(error.to_string()),
        ContextError::TooManyFollowed(_) | ContextError::TooManyEntries(_) => {
            Status::resource_exhausted(error.to_string())
        }
        ContextError::Pattern(_) => {
            Status::invalid_argument(format!("local directory {name:?}: {error}"))
        }
        _ => Status::invalid_argument(error.to_string()),
    }
}
