//! What can be mounted into a process.

use crate::llb::Output;

/// A mount.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Where, in the process's file system.
    pub target: String,
    /// What; `None` is an empty directory.
    pub source: Option<Output>,
    /// Which path of the source; empty for all of it.
    pub selector: String,
    /// The process cannot change it, so it is no output.
    pub readonly: bool,
    /// The process can change it, but the changes are dropped.
    pub no_output: bool,
    /// Whether the content of the source decides the cache.
    pub content_cache: ContentCache,
    /// How.
    pub kind: MountKind,
}

/// How something is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountKind {
    /// The tree itself.
    Bind,
    /// A directory that outlives the build; the source is its first content.
    Cache {
        /// Name of the directory.
        id: String,
        /// Who else may use it at the same time.
        sharing: CacheSharing,
    },
    /// Memory.
    Tmpfs {
        /// Limit in bytes; zero is none.
        size: i64,
    },
}

/// Who may use a cache directory at the same time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum CacheSharing {
    /// Everyone.
    #[default]
    Shared,
    /// Everyone gets a directory of their own.
    Private,
    /// One after the other.
    Locked,
}

/// Whether the content of a mounted source, not its history, decides the cache.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ContentCache {
    /// Where that is sound and the source is not the root.
    #[default]
    Default,
    /// Always; an error where that is not sound.
    On,
    /// Never.
    Off,
}

impl Mount {
    /// A tree, or an empty directory, that the process can change: an output of the vertex.
    #[must_use]
    pub fn bind(target: impl Into<String>, source: Option<Output>) -> Self {
        Self {
            target: target.into(),
            source,
            selector: String::new(),
            readonly: false,
            no_output: false,
            content_cache: ContentCache::Default,
            kind: MountKind::Bind,
        }
    }

    /// A cache directory.
    #[must_use]
    pub fn cache(target: impl Into<String>, id: impl Into<String>, sharing: CacheSharing) -> Self {
        Self {
            kind: MountKind::Cache {
                id: id.into(),
                sharing,
            },
            ..Self::bind(target, None)
        }
    }

    /// A temporary file system; zero is no limit.
    #[must_use]
    pub fn tmpfs(target: impl Into<String>, size: i64) -> Self {
        Self {
            kind: MountKind::Tmpfs { size },
            ..Self::bind(target, None)
        }
    }

    /// The same, read-only.
    #[must_use]
    pub fn readonly(mut self) -> Self {
        self.readonly = true;
        self
    }

    /// The same, dropping changes.
    #[must_use]
    pub fn no_output(mut self) -> Self {
        self.no_output = true;
        self
    }

    /// The same with this source.
    #[must_use]
    pub fn source(mut self, source: Option<Output>) -> Self {
        self.source = source;
        self
    }

    /// The same of one path of the source.
    #[must_use]
    pub fn selector(mut self, path: impl Into<String>) -> Self {
        self.selector = path.into();
        self
    }

    /// The same with this use of the content.
    #[must_use]
    pub fn content_cache(mut self, content_cache: ContentCache) -> Self {
        self.content_cache = content_cache;
        self
    }

    /// Whether the process can change it for those who come after.
    pub(super) fn is_output(&self) -> bool {
        !self.no_output && !self.readonly && self.kind == MountKind::Bind
    }
}

/// A secret, as a file, as a variable, or as both. Its value is not part of the vertex.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Secret {
    /// Name under which the session serves it.
    pub id: String,
    /// Path of the file; `None` for no file.
    pub target: Option<String>,
    /// Name of the variable; `None` for no variable.
    pub env: Option<String>,
    /// Owner of the file.
    pub uid: u32,
    /// Group of the file.
    pub gid: u32,
    /// Permission bits of the file.
    pub mode: u32,
    /// A missing secret is no error. A file then does not exist, a variable is empty.
    pub optional: bool,
}

impl Secret {
    /// A secret as a file that only root can read.
    #[must_use]
    pub fn file(id: impl Into<String>, target: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            target: Some(target.into()),
            env: None,
            uid: 0,
            gid: 0,
            mode: 0o400,
            optional: false,
        }
    }

    /// A secret as a variable.
    #[must_use]
    pub fn env(id: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            env: Some(name.into()),
            target: None,
            ..Self::file(id, "")
        }
    }

    /// The same, but allowed to be missing.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The same with this owner and these permission bits of the file.
    #[must_use]
    pub fn owned(mut self, uid: u32, gid: u32, mode: u32) -> Self {
        (self.uid, self.gid, self.mode) = (uid, gid, mode);
        self
    }
}

/// A forwarded ssh agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SshAgent {
    /// Name under which the session serves it.
    pub id: String,
    /// Path of the socket; `None` is `/run/buildkit/ssh_agent.<position>`.
    pub target: Option<String>,
    /// Owner of the socket.
    pub uid: u32,
    /// Group of the socket.
    pub gid: u32,
    /// Permission bits of the socket.
    pub mode: u32,
    /// A missing agent is no error.
    pub optional: bool,
}

impl SshAgent {
    /// An agent at the usual place, for root only.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Self {
        Self {
            id: id.into(),
            target: None,
            uid: 0,
            gid: 0,
            mode: 0o600,
            optional: false,
        }
    }

    /// The same at this path.
    #[must_use]
    pub fn target(mut self, target: impl Into<String>) -> Self {
        self.target = Some(target.into());
        self
    }

    /// The same, but allowed to be missing.
    #[must_use]
    pub fn optional(mut self) -> Self {
        self.optional = true;
        self
    }

    /// The same with this owner and these permission bits.
    #[must_use]
    pub fn owned(mut self, uid: u32, gid: u32, mode: u32) -> Self {
        (self.uid, self.gid, self.mode) = (uid, gid, mode);
        self
    }
}
