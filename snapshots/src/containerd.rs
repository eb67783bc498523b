//! Client of a containerd: its blobs as a [`ContentProvider`](crate::content::ContentProvider),
//! and its snapshots.
//!
//! # Why not the `containerd-client` crate
//! Its build script runs `protoc`, which a build of this workspace does not need otherwise. Two
//! services with some fifteen messages are all that is used here, and their field numbers are
//! frozen, so `containerd/messages.rs` writes them down; the calls go through `tonic` directly
//! (`containerd/rpc.rs`).
//!
//! # Blocking calls
//! The providers of this crate are synchronous. A [`Client`] owns a small runtime on a thread of
//! its own; a call hands its future to that runtime and waits for the answer. It may therefore be
//! used from any thread, but in async code only where blocking is allowed. Every step has a time
//! limit, so that a daemon that hangs is an error and not a hang.
//!
//! # What stays in the daemon
//! containerd removes what nothing refers to. A [`Config`] names a lease or labels that keep what
//! is written alive; without either it may be collected as soon as it is committed.

mod content;
mod messages;
mod rpc;
mod snapshots;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;

pub use content::Content;
pub use snapshots::{Mount, Snapshot, SnapshotKind, Snapshotter, Usage};

use rpc::Connection;

/// Where containerd listens unless configured otherwise.
pub const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";

/// What can go wrong in a call.
#[derive(Debug, Error)]
pub enum ContainerdError {
    /// Nobody answers at the socket.
    #[error("no containerd at {}: {reason}", path.display())]
    Unreachable {
        /// The socket.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// A namespace, lease or label that cannot be sent.
    #[error("`{0}` cannot be sent to containerd as {1}")]
    BadName(String, &'static str),
    /// The blob or snapshot does not exist.
    #[error("{call}: not found: {message}")]
    NotFound {
        /// The method called.
        call: &'static str,
        /// The daemon's text.
        message: String,
    },
    /// The blob or snapshot exists already.
    #[error("{call}: already exists: {message}")]
    AlreadyExists {
        /// The method called.
        call: &'static str,
        /// The daemon's text.
        message: String,
    },
    /// Any other answer that is an error.
    #[error("{call}: {code}: {message}")]
    Status {
        /// The method called.
        call: &'static str,
        /// The name of the gRPC code.
        code: String,
        /// The daemon's text.
        message: String,
    },
    /// No answer within [`CALL_TIMEOUT`].
    #[error("{0}: no answer within {CALL_TIMEOUT:?}")]
    Timeout(&'static str),
    /// The answer lacks something it must have.
    #[error("{call}: {reason}")]
    Protocol {
        /// The method called.
        call: &'static str,
        /// What is missing.
        reason: String,
    },
}

/// Longest wait for one answer. Committing a large blob syncs it to disk.
pub const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Which containerd objects to use, and how what is written stays alive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// The namespace: `default`, `moby`, `k8s.io`, `buildkit` ...
    pub namespace: String,
    /// Lease that holds what is written.
    pub lease: Option<String>,
    /// Labels of every blob and snapshot that is written.
    pub labels: BTreeMap<String, String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            namespace: "default".to_owned(),
            lease: None,
            labels: BTreeMap::new(),
        }
    }
}

/// A connected client. Clones share the connection.
#[derive(Clone)]
pub struct Client {
    connection: Arc<Connection>,
}

impl Client {
    /// Connects to the socket of a containerd.
    ///
    /// # Errors
    /// [`ContainerdError::Unreachable`], [`ContainerdError::BadName`].
    pub fn connect(socket: &Path, config: Config) -> Result<Self, ContainerdError> {
        Connection::open(socket, config).map(|connection| Self {
            connection: Arc::new(connection),
        })
    }

    /// The daemon's blobs.
    pub fn content(&self) -> Content {
        Content::new(Arc::clone(&self.connection))
    }

    /// One of the daemon's snapshotters, such as `overlayfs`.
    pub fn snapshotter(&self, name: impl Into<String>) -> Snapshotter {
        Snapshotter::new(Arc::clone(&self.connection), name.into())
    }
}

#[cfg(test)]
mod tests;
