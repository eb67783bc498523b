//! What can go wrong between us and a daemon, as kinds a caller can act on.
//!
//! The kinds answer "what should happen next": nobody answered (`Unreachable`),
//! the daemon died (`Disconnected`), it refused (`Daemon`), the user's own step
//! failed (`Exec`), we stopped it (`Cancelled`), or one of both sides broke the
//! protocol (`Protocol`). Text is for people and is one paragraph per error;
//! [`Failure`] keeps the machine-readable part of what a daemon said.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::address::AddressError;
use super::failure::Failure;
use crate::Digest;

/// One address that was tried and the reason it did not work.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attempt {
    /// Where the address came from, for example `BUILDKIT_HOST`; empty when the
    /// caller named it directly.
    pub origin: String,
    /// The address as text.
    pub address: String,
    /// One line that says why there is no daemon.
    pub reason: String,
}

impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.origin.is_empty() {
            write!(f, "{}: {}", self.address, self.reason)
        } else {
            write!(f, "{} ({}): {}", self.address, self.origin, self.reason)
        }
    }
}

/// An error of the connection, of a build, or of the daemon.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// An address that cannot be read.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// No daemon answered; every address that was tried, in order.
    #[error("no BuildKit daemon answered\n  {}", lines(tried))]
    Unreachable {
        /// What was tried, at least one entry.
        tried: Vec<Attempt>,
    },
    /// The connection broke while it was in use.
    #[error("the connection to the BuildKit daemon at {address} was lost: {reason}")]
    Disconnected {
        /// Address of the daemon.
        address: String,
        /// What was seen of the end: an end of file, an I/O error, a helper's
        /// last words.
        reason: String,
    },
    /// The daemon answered with an error.
    #[error("{0}")]
    Daemon(Box<Failure>),
    /// A process of the build exited with a code that is not accepted.
    #[error("{failure}")]
    Exec {
        /// Digest of the exec vertex as the daemon knows it.
        vertex: Option<Digest>,
        /// Exit code of the process.
        exit_code: u32,
        /// The rest of what the daemon said.
        failure: Box<Failure>,
    },
    /// The work was cancelled, by us or by the daemon at our wish.
    #[error("cancelled")]
    Cancelled,
    /// A step that has a bound took longer.
    #[error("{what} did not finish within {} s", after.as_secs())]
    Timeout {
        /// What was waited for.
        what: String,
        /// The bound.
        after: Duration,
    },
    /// A local file or socket failed.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's reason.
        source: Arc<io::Error>,
    },
    /// The other side said something that the protocol does not allow, or was
    /// asked for something that it cannot carry.
    #[error("{0}")]
    Protocol(String),
}

impl Error {
    /// An I/O error at `path`.
    pub fn io(path: impl AsRef<Path>, source: io::Error) -> Self {
        Self::Io {
            path: path.as_ref().to_owned(),
            source: Arc::new(source),
        }
    }

    /// What the daemon said, when it said something.
    pub fn failure(&self) -> Option<&Failure> {
        match self {
            Self::Daemon(failure) | Self::Exec { failure, .. } => Some(failure),
            _ => None,
        }
    }

    /// Exit code of the user's own process, when that is what failed.
    pub fn exit_code(&self) -> Option<u32> {
        match self {
            Self::Exec { exit_code, .. } => Some(*exit_code),
            _ => None,
        }
    }

    /// Digest of the vertex that failed, as the daemon knows it.
    pub fn vertex(&self) -> Option<&Digest> {
        match self {
            Self::Exec {
                vertex: Some(vertex),
                ..
            } => Some(vertex),
            _ => self.failure().and_then(Failure::vertex),
        }
    }

    /// The error of a call that the daemon answered with `failure`.
    pub(crate) fn from_failure(failure: Failure) -> Self {
        match failure.exit_code() {
            Some(exit_code) => Self::Exec {
                vertex: failure.vertex().cloned(),
                exit_code,
                failure: Box::new(failure),
            },
            None if failure.code == tonic::Code::Cancelled => Self::Cancelled,
            None => Self::Daemon(Box::new(failure)),
        }
    }
}

fn lines(tried: &[Attempt]) -> String {
    tried
        .iter()
        .map(Attempt::to_string)
        .collect::<Vec<_>>()
        .join("\n  ")
}

/// Makes one line of a text that may have several, for use inside a sentence.
pub(crate) fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}
