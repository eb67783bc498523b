//! What can be wrong with a graph.

use crate::digest::ParseDigestError;

/// A vertex that cannot be built, or a definition that cannot be read.
#[derive(Debug, Clone, thiserror::Error, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// An image reference that does not parse.
    #[error("invalid image reference {reference:?}: {reason}")]
    Reference {
        /// The reference as given.
        reference: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A git URL that does not parse, or carries a password.
    #[error("invalid git URL {url:?}: {reason}")]
    GitUrl {
        /// The URL as given, without any password.
        url: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An HTTP URL that is none.
    #[error("invalid URL {url:?}: expected http:// or https://")]
    HttpUrl {
        /// The URL as given.
        url: String,
    },
    /// A platform that does not parse.
    #[error("invalid platform {platform:?}: {reason}")]
    Platform {
        /// The platform as given.
        platform: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// A combination of options that the daemon would refuse.
    #[error("{what}: {reason}")]
    Option {
        /// Which vertex or option.
        what: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// An exec without arguments.
    #[error("exec has no arguments")]
    NoArguments,
    /// A working directory that is not absolute.
    #[error("working directory {path:?} of exec is not absolute")]
    RelativeDirectory {
        /// The directory as given.
        path: String,
    },
    /// A mount target that is empty.
    #[error("a mount of exec has an empty target")]
    EmptyTarget,
    /// Two mounts on the same place.
    #[error("exec has two mounts at {target:?}")]
    DuplicateTarget {
        /// The place.
        target: String,
    },
    /// A temporary file system that is given content.
    #[error("tmpfs mount at {target:?} cannot have a source")]
    TmpfsSource {
        /// The place.
        target: String,
    },
    /// A file operation without actions.
    #[error("file operation has no actions")]
    NoActions,
    /// An owner given by name where there is no passwd file to look it up.
    #[error("owner {name:?} of {path:?} cannot be looked up: the file system starts empty")]
    OwnerOnScratch {
        /// The user or group.
        name: String,
        /// Path of the action.
        path: String,
    },
    /// A definition that breaks the format.
    #[error("invalid definition: {reason}")]
    Malformed {
        /// What is wrong.
        reason: String,
    },
    /// A vertex of a definition that breaks the format.
    #[error("invalid definition: vertex {index} ({digest}): {reason}")]
    Vertex {
        /// Position in the definition, from 0.
        index: usize,
        /// Digest of the vertex.
        digest: crate::Digest,
        /// What is wrong.
        reason: String,
    },
    /// A digest that does not parse.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
}
