//! The snapshot service: layers unpacked by a snapshotter, as keys with parents.
//!
//! A snapshot is *prepared* on top of a committed one (or nothing), mounted by whoever asked,
//! filled, and *committed* under a name, by convention its chain id. The client returns mounts and
//! leaves mounting to its user.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::ContainerdError;
use super::messages::{
    CommitSnapshotRequest, ListSnapshotsRequest, ListSnapshotsResponse, MountsResponse,
    NewSnapshotRequest, SnapshotInfo, SnapshotRequest, StatSnapshotResponse, UsageResponse,
};
use super::rpc::Connection;

const PREPARE: &str = "/containerd.services.snapshots.v1.Snapshots/Prepare";
const VIEW: &str = "/containerd.services.snapshots.v1.Snapshots/View";
const MOUNTS: &str = "/containerd.services.snapshots.v1.Snapshots/Mounts";
const COMMIT: &str = "/containerd.services.snapshots.v1.Snapshots/Commit";
const REMOVE: &str = "/containerd.services.snapshots.v1.Snapshots/Remove";
const STAT: &str = "/containerd.services.snapshots.v1.Snapshots/Stat";
const LIST: &str = "/containerd.services.snapshots.v1.Snapshots/List";
const USAGE: &str = "/containerd.services.snapshots.v1.Snapshots/Usage";

/// What a snapshot is good for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SnapshotKind {
    /// Read-only and temporary.
    View,
    /// Writable, not yet committed.
    Active,
    /// Immutable, may be a parent.
    Committed,
    /// A kind of the future.
    Unknown,
}

/// A snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Snapshot {
    /// Its key or, when committed, its name.
    pub name: String,
    /// The snapshot below; empty for none.
    pub parent: String,
    /// What it is good for.
    pub kind: SnapshotKind,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// How to mount a snapshot; several are mounted one over the other.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// File system: `bind`, `overlay` ...
    pub kind: String,
    /// Device or directory.
    pub source: String,
    /// Sub-path below the mount point; usually empty.
    pub target: String,
    /// Mount options.
    pub options: Vec<String>,
}

/// Disk space of a snapshot without its parents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// Bytes.
    pub size: u64,
    /// Inodes.
    pub inodes: u64,
}

/// One snapshotter of a containerd.
#[derive(Clone)]
pub struct Snapshotter {
    connection: Arc<Connection>,
    name: String,
}

impl Snapshotter {
    pub(super) fn new(connection: Arc<Connection>, name: String) -> Self {
        Self { connection, name }
    }

    /// Creates a writable snapshot `key` on top of `parent` (empty for none).
    ///
    /// # Errors
    /// [`ContainerdError::AlreadyExists`], [`ContainerdError::NotFound`] for the parent.
    pub fn prepare(&self, key: &str, parent: &str) -> Result<Vec<Mount>, ContainerdError> {
        self.create(PREPARE, key, parent)
    }

    /// Creates a read-only snapshot `key` of `parent`.
    ///
    /// # Errors
    /// As [`Snapshotter::prepare`].
    pub fn view(&self, key: &str, parent: &str) -> Result<Vec<Mount>, ContainerdError> {
        self.create(VIEW, key, parent)
    }

    fn create(
        &self,
        call: &'static str,
        key: &str,
        parent: &str,
    ) -> Result<Vec<Mount>, ContainerdError> {
        let request = NewSnapshotRequest {
            snapshotter: self.name.clone(),
            key: key.to_owned(),
            parent: parent.to_owned(),
            labels: self.connection.config.labels.clone(),
        };
        self.connection.unary(call, request).map(mounts)
    }

    /// The mounts of an active snapshot or view.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`].
    pub fn mounts(&self, key: &str) -> Result<Vec<Mount>, ContainerdError> {
        self.connection.unary(MOUNTS, self.about(key)).map(mounts)
    }

    /// Makes the active snapshot `key` immutable under `name`.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`], [`ContainerdError::AlreadyExists`].
    pub fn commit(&self, name: &str, key: &str) -> Result<(), ContainerdError> {
        let request = CommitSnapshotRequest {
            snapshotter: self.name.clone(),
            name: name.to_owned(),
            key: key.to_owned(),
            labels: self.connection.config.labels.clone(),
        };
        self.connection.unary(COMMIT, request)
    }

    /// Removes a snapshot that is nobody's parent.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`], and a status when it has children.
    pub fn remove(&self, key: &str) -> Result<(), ContainerdError> {
        self.connection.unary(REMOVE, self.about(key))
    }

    /// What a snapshot is.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`].
    pub fn stat(&self, key: &str) -> Result<Snapshot, ContainerdError> {
        let answer: StatSnapshotResponse = self.connection.unary(STAT, self.about(key))?;
        answer
            .info
            .map(describe)
            .ok_or_else(|| ContainerdError::Protocol {
                call: STAT,
                reason: "an answer without a snapshot".to_owned(),
            })
    }

    /// Disk space of a snapshot.
    ///
    /// # Errors
    /// [`ContainerdError::NotFound`].
    pub fn usage(&self, key: &str) -> Result<Usage, ContainerdError> {
        let answer: UsageResponse = self.connection.unary(USAGE, self.about(key))?;
        Ok(Usage {
            size: u64::try_from(answer.size).unwrap_or(0),
            inodes: u64::try_from(answer.inodes).unwrap_or(0),
        })
    }

    /// All snapshots, in the order of the daemon.
    ///
    /// # Errors
    /// [`ContainerdError::Status`] for an unknown snapshotter.
    pub fn list(&self) -> Result<Vec<Snapshot>, ContainerdError> {
        let request = ListSnapshotsRequest {
            snapshotter: self.name.clone(),
        };
        let mut found = Vec::new();
        self.connection
            .stream(LIST, request, |batch: ListSnapshotsResponse| {
                found.extend(batch.info.into_iter().map(describe));
                found.len() < LIST_MAX
            })?;
        Ok(found)
    }

    fn about(&self, key: &str) -> SnapshotRequest {
        SnapshotRequest {
            snapshotter: self.name.clone(),
            key: key.to_owned(),
        }
    }
}

/// Snapshots after which a list stops.
const LIST_MAX: usize = 1_000_000;

fn mounts(answer: MountsResponse) -> Vec<Mount> {
    let convert = |mount: super::messages::WireMount| Mount {
        kind: mount.kind,
        source: mount.source,
        target: mount.target,
        options: mount.options,
    };
    answer.mounts.into_iter().map(convert).collect()
}

fn describe(info: SnapshotInfo) -> Snapshot {
    Snapshot {
        name: info.name,
        parent: info.parent,
        kind: match info.kind {
            1 => SnapshotKind::View,
            2 => SnapshotKind::Active,
            3 => SnapshotKind::Committed,
            _ => SnapshotKind::Unknown,
        },
        labels: info.labels,
    }
}
