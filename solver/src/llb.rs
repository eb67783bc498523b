//! LLB: building, encoding and decoding the graphs that BuildKit runs.
//!
//! A [`Vertex`] is one operation with its inputs. It is immutable and complete: its bytes, and so
//! its digest, are fixed when it is built. Builders make vertices and return [`Output`]s, which
//! are what further vertices take as inputs. There is no vertex for an empty file system: scratch
//! is `None`.
//!
//! | operation | builder |
//! |---|---|
//! | images, local directories, git, http, OCI layouts, blobs | [`source`] |
//! | processes | [`exec::Exec`] |
//! | copy, mkdir, mkfile, rm, symlink | [`file::FileOp`] |
//! | layers over each other, layers between two | [`merge`], [`diff`] |
//! | wait for all, return some | [`passthrough`] |
//! | a graph stored in a file | [`build`] |
//!
//! [`Definition`] is a graph on the wire: [`Definition::marshal`] writes the vertices below an
//! output, [`Definition::output`] reads them back.
//!
//! Bytes are those of BuildKit's Go client, option by option, so that a vertex built here is the
//! same vertex as one built by any other client, and its digest is the one the daemon reports.
//! Unlike in the Go client nothing is left open until marshalling: the platform and the unique id
//! of a local directory are given when the vertex is built.
//!
//! No walk in here recurses along the graph, so chains may be as long as memory allows.

pub mod caps;
mod constraints;
mod decode;
mod definition;
mod error;
pub mod exec;
pub mod file;
mod graph;
pub mod name;
pub(crate) mod paths;
pub mod platform;
pub mod reference;
pub mod source;
mod vertex;

pub use proto::pb::{NetMode, OpMetadata, Platform, SecurityMode};

pub use self::{
    constraints::Constraints,
    definition::{Definition, VertexInfo, vertices},
    error::Error,
    graph::{build, diff, merge, passthrough},
    name::Kind,
    vertex::{Output, Vertex},
};
pub(crate) use self::{definition::walk, graph::DEFINITION_INPUT};
