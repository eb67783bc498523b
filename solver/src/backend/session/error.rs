//! What can go wrong with a session as a whole, and with the local side of one transfer.

use std::io;

pub use snapshots::beneath::PathError;

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

/// The gRPC status for a failed operation on a local path. The code follows the cause, so that the daemon's error keeps
/// its kind.
pub(crate) fn path_status(error: &PathError) -> tonic::Status {
    tonic::Status::new(code_of(&error.source), error.to_string())
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
        let status = path_status(&error);
        assert_eq!(status.code(), tonic::Code::ResourceExhausted);
        assert_eq!(status.message(), "write /out/a.tar: no storage space");
    }
}
