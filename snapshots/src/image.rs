//! Images: manifests, indexes and configs, and the archives they travel in.
//!
//! ```text
//! index (one entry per platform, may nest) -> manifest -> config (diff ids, command ...)
//!                                                      -> layers, lowest first
//! ```
//! Every arrow is a descriptor: media type, digest, size. Documents are read through
//! [`content::read_all`](crate::content::read_all), which verifies the digest; here the size and
//! the shape are verified too, so whatever comes out of this module is consistent.
//!
//! * `image/read.rs`: documents, and [`resolve`] from any descriptor to one platform's [`Image`].
//! * `image/platform.rs`: `os/arch/variant` and which other platforms it can run.
//! * `image/import.rs`: archives and layout directories into a store, also those of `docker save`.
//! * `image/write.rs`: manifests, indexes and archives out of a store.
//! * `image/build.rs`: an image of one directory.
//! * `image/rootfs.rs`: the content hash of an image's files, out of its layers.

mod build;
mod docker;
mod import;
mod platform;
mod read;
mod rootfs;
mod upper;
mod write;

use std::path::{Path, PathBuf};

pub use oci_spec::image::Descriptor;
use oci_spec::image::MediaType;
use serde::Serialize;
use thiserror::Error;

pub use build::{BuildOptions, archive_from_root, from_tree};
pub use import::{Imported, NamedImage, copy, import, import_path};
pub use platform::{Platform, PlatformError};
pub use read::{Image, blobs, read_config, read_index, read_manifest, resolve, unpack};
pub use rootfs::{ImageTree, rootfs};
pub use write::{ArchiveOptions, archive, write_index, write_manifest};

use crate::content::ContentError;
use crate::digest::{Digest, DigestError};
use crate::layer::LayerError;
use crate::tar::TarError;

/// Deepest nesting of indexes.
pub const INDEX_DEPTH_MAX: usize = 8;

/// Most documents and blobs reachable from one descriptor.
pub const REACHABLE_MAX: usize = 100_000;

/// Most layers of an image.
pub const LAYERS_MAX: usize = 4096;

/// Media type of a Docker manifest list.
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// Media type of a Docker manifest, version 2 schema 2.
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// What can go wrong with images.
#[derive(Debug, Error)]
pub enum ImageError {
    /// A blob is missing, damaged, or cannot be stored.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A blob in an archive could not be stored.
    #[error("archive entry `{}`: {source}", path.display())]
    Entry {
        /// Path in the archive.
        path: PathBuf,
        /// The cause.
        source: ContentError,
    },
    /// A digest in a document is malformed.
    #[error("{document}: {source}")]
    BadDigest {
        /// Where it stands.
        document: String,
        /// What is wrong with it.
        source: DigestError,
    },
    /// A document is no JSON or not of the expected shape.
    #[error("{document}: {reason}")]
    Document {
        /// Digest or file name.
        document: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A blob has another size than its descriptor says.
    #[error("{digest} has {actual} bytes, its descriptor says {expected}")]
    Size {
        /// The blob.
        digest: Digest,
        /// Bytes announced.
        expected: u64,
        /// Bytes there.
        actual: u64,
    },
    /// The media type is none that can be read.
    #[error("{digest} has the media type `{media_type}`, which is no image")]
    MediaType {
        /// The blob.
        digest: Digest,
        /// Its media type.
        media_type: String,
    },
    /// Indexes nest too deep, or there is too much of something.
    #[error("image exceeds the limit of {limit} {what}")]
    Limit {
        /// "levels of indexes", "layers" ...
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// The image exists, but not for this platform.
    #[error("no image for platform {wanted} (there is: {})", if available.is_empty() { "nothing" } else { available })]
    NoPlatform {
        /// What was asked for.
        wanted: String,
        /// What there is, comma separated.
        available: String,
    },
    /// The platform text is malformed.
    #[error(transparent)]
    Platform(#[from] PlatformError),
    /// The archive is neither an OCI layout nor from `docker save`.
    #[error("{0}")]
    Archive(String),
    /// The archive is no good tar, or cannot be written.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// A layer is bad.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A file or directory cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// The cause.
        source: std::io::Error,
    },
}

impl ImageError {
    fn io(path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { path, source }
    }

    fn document(document: impl ToString, reason: impl ToString) -> Self {
        Self::Document {
            document: document.to_string(),
            reason: reason.to_string(),
        }
    }
}

/// Makes a descriptor.
pub fn descriptor(media_type: MediaType, digest: &Digest, size: u64) -> Descriptor {
    let digest = oci_spec::image::Digest::try_from(digest.as_str())
        .expect("our digests are a subset of those that OCI allows");
    Descriptor::new(media_type, size, digest)
}

/// Reads a descriptor and gives it a name, under which [`crate::content::ContentStore::tag`] lists
/// it.
///
/// # Errors
/// [`ImageError::Document`] when it is none.
pub fn named_descriptor(json: &[u8], name: &str) -> Result<Descriptor, ImageError> {
    let mut descriptor: Descriptor =
        serde_json::from_slice(json).map_err(|e| ImageError::document("descriptor", e))?;
    let mut annotations = descriptor.annotations().clone().unwrap_or_default();
    annotations.insert(crate::content::REF_NAME.to_owned(), name.to_owned());
    descriptor.set_annotations(Some(annotations));
    Ok(descriptor)
}

/// The digest of a descriptor, in our form.
///
/// # Errors
/// [`ImageError::BadDigest`] for an algorithm that we do not know.
pub fn digest_of(descriptor: &Descriptor) -> Result<Digest, ImageError> {
    Digest::parse(descriptor.digest().as_ref()).map_err(|source| ImageError::BadDigest {
        document: "descriptor".to_owned(),
        source,
    })
}

/// The chain ids of a list of diff ids: the names of the snapshots that result from applying the
/// first layer, the first two, and so on. chain(1) = diff(1),
/// chain(n) = sha256(chain(n-1) ‖ " " ‖ diff(n)).
pub fn chain_ids(diff_ids: &[Digest]) -> Vec<Digest> {
    let mut chain: Vec<Digest> = Vec::with_capacity(diff_ids.len());
    for id in diff_ids {
        chain.push(match chain.last() {
            Some(parent) => Digest::sha256(format!("{parent} {id}")),
            None => id.clone(),
        });
    }
    chain
}

/// JSON with sorted keys, so that equal documents have equal digests: the typed documents keep
/// annotations in a hash map.
fn to_json(document: &impl Serialize) -> Result<Vec<u8>, ImageError> {
    serde_json::to_value(document)
        .and_then(|value| serde_json::to_vec(&value))
        .map_err(|e| ImageError::document("new document", e))
}

fn is_index(media_type: &MediaType) -> bool {
    *media_type == MediaType::ImageIndex || media_type.as_ref() == DOCKER_LIST
}

fn is_manifest(media_type: &MediaType) -> bool {
    *media_type == MediaType::ImageManifest || media_type.as_ref() == DOCKER_MANIFEST
}

#[cfg(test)]
mod tests;
