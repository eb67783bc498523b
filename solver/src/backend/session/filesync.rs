//! The FileSync service: sends local directories to the daemon.
//!
//! The daemon names a directory that was offered ([`LocalDirs`]) and lists include patterns, exclude patterns and paths
//! whose symbolic links are to be followed. The answer is a listing of the matching tree, and then the content of
//! those files the daemon asks for, which are the ones that changed since it last saw the directory:
//!
//! ```text
//! walk.rs    the tree in protocol order, one stat(2) per entry     filter.rs  what is listed and entered
//! send.rs    the packet exchange: listing, requests, content       follow.rs  links -> more include patterns
//! xattrs.rs  extended attributes of one entry
//! ```
//!
//! Directories are read at the time of the request, not when they are offered.

mod filter;
mod follow;
mod send;
#[cfg(test)]
mod tests;
mod walk;
mod xattrs;

use std::path::PathBuf;
use std::sync::Arc;

use proto::filesync::file_sync_server::FileSync;
use proto::fsutil::Packet;
use tonic::{Request, Response, Status, Streaming, async_trait};

use super::beneath::Root;
use super::metadata;
use super::registry::Registry;
use filter::Filter;
use send::Packets;

/// Who owns the files in the daemon's copy of a local directory.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Ownership {
    /// Everything belongs to user 0 and group 0, so that the result does not depend on who runs the build. This is
    /// what other BuildKit clients do.
    #[default]
    Root,
    /// As on disk.
    Keep,
    /// A fixed user and group ID.
    Fixed {
        /// User ID.
        uid: u32,
        /// Group ID.
        gid: u32,
    },
}

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

/// Finds offered directories by name.
pub trait LocalDirProvider: Send + Sync + 'static {
    /// The directory offered as `name`, or `None`.
    fn local_dir(&self, name: &str) -> Option<LocalDir>;
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
        let include = metadata::values(&metadata, "include-patterns")?;
        let exclude = metadata::values(&metadata, "exclude-patterns")?;
        let follow = metadata::values(&metadata, "followpaths")?;
        let prepare = move || {
            let root = Root::open(&dir.root).map_err(|e| e.to_status())?;
            let include = follow::extend(&root, include, &follow)?;
            let filter = Filter::new(&include, &exclude)
                .map_err(|e| Status::invalid_argument(format!("local directory {name:?}: {e}")))?;
            Ok::<_, Status>((root, filter, dir.ownership))
        };
        let (root, filter, ownership) = tokio::task::spawn_blocking(prepare)
            .await
            .map_err(|_| Status::cancelled("the session is closing"))??;
        Ok(Response::new(send::start(inbound, root, filter, ownership)))
    }

    /// An older protocol that no supported daemon asks for.
    async fn tar_stream(&self, _: Request<Streaming<Packet>>) -> Result<Response<Packets>, Status> {
        Err(Status::unimplemented(
            "local directories are sent with DiffCopy",
        ))
    }
}
