//! Work done by a BuildKit daemon: connection, calls, builds, sessions.
//!
//! ```text
//! Address ──discover──> Client ──┬── control, history, status   one call each
//!   dial: unix, tcp (tls),       ├── Session                    the daemon calls us
//!   helper process, upgrade      └── Build                      we play the frontend
//!                                      gateway: solve, read, resolve
//!                                      container: exec
//! ```
//!
//! - [`address`] reads addresses, [`discover`] finds one, `dial` and its parts
//!   (`helper`, `tls`, `upgrade`) turn it into a byte stream.
//! - [`client`] is the connection: HTTP/2 on that stream, typed errors, detection
//!   of a dead daemon. [`control`], [`history`] and [`status`] are its calls.
//! - [`build`] is a solve in which we are the frontend; [`gateway`] holds the calls
//!   that it allows, [`container`] runs processes in it, [`updates`] hands its
//!   progress to any number of readers.
//! - [`session`] is the other direction: files, secrets and credentials that the
//!   daemon asks for.
//! - [`debug`] is another endpoint of a daemon, which lists its cache store.
//! - [`error`] has the kinds of errors, [`failure`] what a daemon says in one.
//!
//! # Rules that hold everywhere here
//! - Dropping a future, a stream, a `Build`, a `Container` or a `Process` stops
//!   the work of the daemon that belongs to it.
//! - A daemon that dies is [`Error::Disconnected`] at once on a socket or pipe and
//!   within seconds over TCP; nothing waits for ever on a dead peer.
//! - Messages are at most [`proto::MESSAGE_SIZE_MAX`] bytes in both directions.

pub mod address;
pub mod build;
pub mod client;
pub mod container;
pub mod control;
pub mod debug;
mod dial;
pub mod discover;
pub mod error;
pub mod failure;
pub mod gateway;
mod helper;
pub mod history;
pub mod session;
pub mod status;
#[cfg(test)]
mod tests;
pub mod tls;
pub mod updates;
mod upgrade;

pub use address::{Address, AddressError};
pub use build::{Build, BuildOptions};
pub use client::{Client, ConnectOptions, DaemonInfo};
pub use container::{Container, NewContainer};
pub use control::{
    CacheBackend, Exporter, ExporterResponse, SolveInput, SolveOptions, SolveRequest, Worker,
};
pub use error::{Attempt, Error};
pub use failure::{Code, Detail, Failure};
pub use gateway::{BuildResult, GatewaySolve, Ref};
pub use session::{Session, SessionConfig};
pub use status::{Progress, StatusUpdate};
pub use tls::{Identity, TlsConfig};
pub use updates::Updates;
