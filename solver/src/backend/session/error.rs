//! What can go wrong with a session as a whole, and with the local side of one transfer.

use std::io;
use std::path::{Path, PathBuf};

/// The session could not be opened, or it ended before its owner closed it.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The daemon (or the connection to it) refused to open the session stream.
    #[error("session {id} was not accepted by the daemon: {reason}")]
    Refused {
        /// Session ID that was offered.
        id: String,
        /// The daemon's or the transport's words.
        reason: String,
    },
    /// The session was open and its connection ended. Builds that use it cannot continue.
    #[error("session {id} was lost: {reason}")]
    Lost {
        /// Session ID.
        id: String,
        /// Why the connection ended, as far as it is known.
        reason: String,
    },
    /// A session field cannot be sent as a header (it holds a line break or a non-ASCII byte).
    #[error(
        "session {field} {value:?} cannot be sent as a header: only printable ASCII is allowed"
    )]
    Header {
        /// Which field of the configuration.
        field: &'static str,
        /// Its value.
        value: String,
    },
}

/// A failed operation on a local path while serving the daemon: says what was done, where, and the cause.
#[derive(Debug, thiserror::Error)]
#[error("{operation} {}: {source}", path.display())]
pub struct PathError {
    /// The operation, as a verb: `open`, `write`, `rename` ...
    pub operation: &'static str,
    /// The path as the user would name it.
    pub path: PathBuf,
    /// The operating system's answer.
    #[source]
    pub source: io::Error,
}

impl PathError {
    /// Ties an operating system error to the operation and the path it happened on.
    pub(crate) fn new(
        operation: &'static str,
        path: impl AsRef<Path>,
        source: impl Into<io::Error>,
    ) -> Self {
        Self {
            operation,
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }

    /// The gRPC status for this error. The code follows the cause, so that the daemon's error keeps its kind.
    pub(crate) fn to_status(&self) -> tonic::Status {
        tonic::Status::new(code_of(&self.source), self.to_string())
    }
}

/// The gRPC code closest to an operating system error.
pub(crate) fn code_of(error: &io::Error) -> tonic::Code {
    match error.kind() {
        io::ErrorKind::NotFound => tonic::Code::NotFound,
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            tonic::Code::PermissionDenied
        }
        io::ErrorKind::AlreadyExists => tonic::Code::AlreadyExists,
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => tonic::Code::ResourceExhausted,
        io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData => tonic::Code::InvalidArgument,
        _ => tonic::Code::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_is_named_with_its_path_and_keeps_its_kind() {
        let error = PathError::new(
            "write",
            "/out/a.tar",
            io::Error::from(io::ErrorKind::StorageFull),
        );
        let status = error.to_status();
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(status.message(), "write /out/a.tar: no storage space");
    }
}
