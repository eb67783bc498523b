//! The actions of a file operation and their options.

use std::sync::Arc;

use bytes::Bytes;

use super::FileOp;
use crate::llb::Output;

/// An action with the directory its relative paths start in.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) directory: String,
}

/// One action.
#[derive(Debug, Clone)]
pub(super) enum Action {
    Copy {
        source: CopySource,
        from: String,
        to: String,
        options: Box<CopyOptions>,
    },
    Mkdir {
        path: String,
        mode: u32,
        options: MkdirOptions,
    },
    Mkfile {
        path: String,
        mode: u32,
        data: Bytes,
        options: MkfileOptions,
    },
    Rm {
        path: String,
        options: RmOptions,
    },
    Symlink {
        target: String,
        path: String,
        options: SymlinkOptions,
    },
}

/// What a copy takes its source from.
#[derive(Debug, Clone)]
pub enum CopySource {
    /// A tree; `None` is empty.
    Tree(Option<Output>),
    /// The result of another chain, which becomes part of this vertex.
    Chain(Arc<FileOp>),
}

impl From<Output> for CopySource {
    fn from(output: Output) -> Self {
        Self::Tree(Some(output))
    }
}

impl From<Option<Output>> for CopySource {
    fn from(output: Option<Output>) -> Self {
        Self::Tree(output)
    }
}

impl From<FileOp> for CopySource {
    fn from(chain: FileOp) -> Self {
        Self::Chain(Arc::new(chain))
    }
}

impl From<Arc<FileOp>> for CopySource {
    fn from(chain: Arc<FileOp>) -> Self {
        Self::Chain(chain)
    }
}

/// Options of a copy.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyOptions {
    /// Permissions of what is copied; `None` keeps those of the source.
    pub mode: Option<CopyMode>,
    /// Owner of what is copied; `None` keeps that of the source.
    pub owner: Option<Owner>,
    /// Modification time, in nanoseconds since 1970; `None` keeps that of the source.
    pub timestamp: Option<i64>,
    /// If the source path is a symbolic link, copy what it leads to.
    pub follow_symlinks: bool,
    /// Copy what is in the directory, not the directory.
    pub contents_only: bool,
    /// Extract a file that is a tar archive.
    pub unpack: bool,
    /// Make the missing parents of the destination.
    pub create_parents: bool,
    /// The source path is a pattern.
    pub wildcard: bool,
    /// A pattern that matches nothing is no error.
    pub allow_empty_wildcard: bool,
    /// Copy only what matches.
    pub include: Vec<String>,
    /// Leave out what matches.
    pub exclude: Vec<String>,
    /// Paths that must exist in the source. Needs a daemon of v0.26 or later.
    pub required_paths: Vec<String>,
    /// Where a file and a directory meet, replace what is at the destination.
    pub replace: bool,
}

/// Permissions of what is copied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CopyMode {
    /// Permission bits.
    Bits(u32),
    /// A change such as `u+x,g-w`. Needs a daemon of v0.17 or later.
    Symbolic(String),
}

/// Options of mkdir.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MkdirOptions {
    /// Make missing parents, and accept an existing directory.
    pub parents: bool,
    /// Owner; `None` is root.
    pub owner: Option<Owner>,
    /// Modification time, in nanoseconds since 1970; `None` is now.
    pub timestamp: Option<i64>,
}

/// Options of mkfile.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MkfileOptions {
    /// Owner; `None` is root.
    pub owner: Option<Owner>,
    /// Modification time, in nanoseconds since 1970; `None` is now.
    pub timestamp: Option<i64>,
}

/// Options of rm.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RmOptions {
    /// A missing path is no error.
    pub allow_not_found: bool,
    /// The path is a pattern.
    pub wildcard: bool,
}

/// Options of symlink. Needs a daemon of v0.19 or later.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SymlinkOptions {
    /// Owner; `None` is root.
    pub owner: Option<Owner>,
    /// Modification time, in nanoseconds since 1970; `None` is now.
    pub timestamp: Option<i64>,
}

/// Owner of what an action creates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The user.
    pub user: User,
    /// The group; `None` is that of the user.
    pub group: Option<User>,
}

/// A user or a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum User {
    /// By number.
    Id(u32),
    /// By name, looked up in the base of the chain. An unknown name is root.
    Name(String),
}

impl Owner {
    /// An owner by numbers.
    #[must_use]
    pub fn ids(uid: u32, gid: u32) -> Self {
        Self {
            user: User::Id(uid),
            group: Some(User::Id(gid)),
        }
    }

    /// An owner written `user` or `user:group`, names or numbers.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.split_once(':') {
            Some((user, group)) => Self {
                user: User::parse(user),
                group: Some(User::parse(group)),
            },
            None => Self {
                user: User::parse(text),
                group: None,
            },
        }
    }
}

impl User {
    /// A number, `root` or nothing (which are 0), or else a name.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        match text.parse::<i32>() {
            // A negative number wraps around in BuildKit's client too.
            Ok(id) => Self::Id(id.cast_unsigned()),
            Err(_) if text.is_empty() || text == "root" => Self::Id(0),
            Err(_) => Self::Name(text.to_owned()),
        }
    }
}
