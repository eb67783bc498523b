//! dagop: Dagger's core API on a stock BuildKit daemon, and the record of what
//! both caches did.
//!
//! # The flow
//! ```text
//! GraphQL ─ dagql ─> call ID, call key ─ result cache ─ miss ─> resolver     core/*.rs
//!   resolver ─> a new value: a tree that grew by one DagOp                   vertex.rs
//!   a field that must know (stdout, entries, sync, export ...)
//!     ─> lower: DagOps to stock LLB, file actions folded                     lower.rs
//!     ─> solve, read, export through the daemon                              session.rs
//!   calls, vertices, statuses ─> one stream of events                        journal.rs
//!     ─> ledger, progress, reports                                           ledger.rs, report.rs
//! ```
//! [`engine`] holds it together and is where a front end begins.
//!
//! # Two caches
//! The engine's cache answers a call it has seen, by the call's key. What it
//! does not have becomes LLB, and BuildKit's cache answers what *it* has seen,
//! by its own keys. Neither knows the other. They meet in two places only: a
//! scoped or TTL call carries its storage key into LLB ([`salt`]), and the
//! ledger joins the keys of both.
//!
//! # What a command leaves
//! A stock daemon returns no output of a process. [`init`] runs in front of
//! each command and keeps it in a mount that is cached with the step.

mod copies;
pub mod core;
mod daemon;
pub mod engine;
pub mod error;
pub mod event;
pub mod explain;
mod formulas;
pub mod init;
pub mod join;
mod journal;
pub mod ledger;
pub mod lower;
pub mod plan;
pub mod platform;
pub mod predict;
pub mod remote;
pub mod report;
pub mod salt;
pub mod session;
mod stored;
pub mod verify;
pub mod vertex;

pub use daemon::{DaemonInfo, WorkerInfo};
pub use dagql::{CacheStats, Digest, Literal, id, scheme, wire};
pub use dagql::{Error as GraphQlError, Location, PathSegment, Request, Response};
pub use engine::{
    DiskRecord, Engine, EngineOptions, EngineSession, SessionOptions, TlsOptions, operation_names,
    prune_values,
};
pub use error::Error;
pub use formulas::SelfTest;
pub use solver::backend::CacheBackend;
pub use stored::{Stored, stored};

/// The release of Dagger whose API this is; what `Query.version` answers.
pub const API_VERSION: &str = "v0.19.11";
