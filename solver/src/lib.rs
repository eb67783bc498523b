//! What BuildKit solves, and how to ask it to.
//!
//! - [`llb`]: the graph. Vertices with the bytes and digests that BuildKit's own client gives
//!   them, definitions, and their canonical identity.
//! - [`cachemap`]: what each operation contributes to BuildKit's cache keys.
//! - [`predict`]: the keys themselves, for a whole graph.
//! - [`cacheconfig`]: what a cache export holds, and which of it belongs to a graph.
//! - [`registry`]: manifests and blobs of an image registry, read without a daemon.
//! - [`backend`]: a client of the daemon: connection, session, gateway, progress.
//!
//! Nothing in here knows GraphQL or Dagger.

pub mod backend;
pub mod cacheconfig;
pub mod cachemap;
pub mod digest;
pub mod llb;
mod parallel;
pub mod predict;
pub mod registry;

pub use digest::Digest;
