//! Content digests: what BuildKit's content hash of a path is.
//!
//! A stock daemon computes that hash and does not tell it. So the bytes are
//! fetched (a directory as a tar stream, a file through the gateway) and hashed
//! here, with the daemon's own rules.

use std::path::Path;

use snapshots::checksum::{self, Profile, Rules};
use snapshots::tree::{ArchiveTree, Kind, Meta, Time};
use solver::backend::Exporter;
use solver::backend::gateway::{FileKind, FileStat};
use solver::backend::session::Target;

use super::BuildSession;
use super::export::single;
use crate::error::Error;
use crate::vertex::Tree;

impl BuildSession {
    /// The content digest of a path of a tree.
    ///
    /// # Errors
    /// A missing path, a failing step, a full temporary directory.
    pub async fn content_digest(&self, tree: &Tree, path: &str) -> Result<String, Error> {
        let tree = self.archive(tree).await?;
        let profile = Profile {
            rules: self.rules(),
            ..Profile::SNAPSHOT
        };
        let path = path.to_owned();
        let hashing = tokio::task::spawn_blocking(move || hash(&tree, profile, &path));
        hashing.await.map_err(|e| Error::internal(e.to_string()))?
    }

    /// All files of a tree, in an archive that is gone with the value.
    ///
    /// # Errors
    /// A failing step, a full temporary directory.
    pub(crate) async fn archive(&self, tree: &Tree) -> Result<ArchiveTree, Error> {
        let root = match tree {
            None => Meta::new(Kind::Dir, 0o755),
            Some(_) => meta(&self.file_stat(tree, "/").await?),
        };
        let archive = self.scratch.path().join(solver::backend::session::new_id());
        let exporter = Exporter {
            kind: "tar".to_owned(),
            attrs: Default::default(),
        };
        let target = Target::File(archive.clone());
        self.export(exporter, Some(target), std::slice::from_ref(tree), single)
            .await?;
        let opened = tokio::task::spawn_blocking(move || {
            let fail = |e: &dyn std::fmt::Display| Error::input(format!("exported files: {e}"));
            let file = std::fs::File::open(&archive).map_err(|e| fail(&e))?;
            // The temporary directory goes with the session; large trees should not wait for that.
            let _ = std::fs::remove_file(&archive);
            ArchiveTree::open(file, root).map_err(|e| fail(&e))
        });
        opened.await.map_err(|e| Error::internal(e.to_string()))?
    }

    /// The rules of the daemon's release.
    pub(super) fn rules(&self) -> Rules {
        minor(&self.options.daemon.info().version).map_or(Rules::LATEST, Rules::of_minor)
    }
}

fn hash(tree: &ArchiveTree, profile: Profile, path: &str) -> Result<String, Error> {
    let digest = checksum::plain(tree, profile, path);
    let digest = digest.map_err(|e| Error::input(format!("content digest of {path}: {e}")))?;
    Ok(digest.to_string())
}

fn meta(stat: &FileStat) -> Meta {
    let device = |n: i64| u32::try_from(n).unwrap_or(0);
    let kind = match stat.kind {
        FileKind::Directory => Kind::Dir,
        FileKind::Symlink => Kind::Symlink {
            target: Path::new(&stat.link).to_owned(),
        },
        FileKind::Fifo => Kind::Fifo,
        FileKind::Socket => Kind::Socket,
        FileKind::CharDevice => Kind::Char {
            major: device(stat.device.0),
            minor: device(stat.device.1),
        },
        FileKind::BlockDevice => Kind::Block {
            major: device(stat.device.0),
            minor: device(stat.device.1),
        },
        FileKind::Regular => Kind::File {
            size: u64::try_from(stat.size).unwrap_or(0),
        },
    };
    let xattrs = stat
        .xattrs
        .iter()
        .map(|(k, v)| (k.as_bytes().to_vec(), v.to_vec()))
        .collect();
    Meta {
        uid: stat.uid,
        gid: stat.gid,
        mtime: Time::default(),
        xattrs,
        ..Meta::new(kind, stat.permissions)
    }
}

/// The second number of a version such as `v0.32.2`.
fn minor(version: &str) -> Option<u32> {
    let mut parts = version.trim_start_matches('v').split('.');
    match (parts.next(), parts.next()) {
        (Some("0"), Some(minor)) => minor.parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::minor;

    #[test]
    fn versions_of_daemons() {
        assert_eq!(minor("v0.32.2"), Some(32));
        assert_eq!(minor("0.12.0-rc1"), Some(12));
        assert_eq!(minor("v28.0.0"), None);
        assert_eq!(minor(""), None);
    }
}
