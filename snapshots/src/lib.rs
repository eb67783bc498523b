//! Images, layers and trees: everything dagop knows about bytes at rest.
//!
//! ```text
//! directory --layer--> tar --gzip|zstd--> blob --content--> blobs/<algo>/<hex>
//!     |                                                         ^
//!     +--checksum--> the digest BuildKit gives the tree   image: manifest, config, index
//! ```
//! The crate knows neither the API (`dagql`) nor the solver: it offers what both need.
//!
//! * [`digest`]: the `algorithm:hex` name of a blob, and the hasher that makes one.
//! * [`content`]: blobs by digest; the [`content::ContentProvider`] trait and a store over an OCI layout directory.
//! * [`patterns`]: include and exclude lists as `.dockerignore` and BuildKit understand them.
//! * [`checksum`]: the content hash of a tree as BuildKit computes it.
//! * [`context`]: a local directory as a build sends it, and its content hash.
//! * [`beneath`]: opening files below a directory without ever leaving it.
//! * [`image`]: manifests, indexes, configs; import and export of archives.
//! * [`layer`]: the difference of two trees as a blob, and back.
//! * `containerd` (a cargo feature): a containerd's blobs and snapshots.
//! * [`tree`]: what a file is, and a tree of them on disk or in memory.
//! * [`tar`]: a strict reader, a deterministic writer, a confined extraction.

pub mod beneath;
pub mod checksum;
#[cfg(feature = "containerd")]
pub mod containerd;
pub mod content;
pub mod context;
pub mod digest;
pub mod image;
pub mod layer;
pub mod patterns;
pub mod tar;
pub mod tree;

pub use digest::Digest;

#[cfg(test)]
mod testing;
