//! Layers: the difference of two trees as a compressed archive.
//!
//! * `layer/diff.rs` compares two trees: what was added or changed, what was deleted.
//! * [`create`] turns entries into a blob in one pass: each byte of the archive goes to the hasher
//!   of the diff id and to the compressor, whose output goes to the blob writer, which computes
//!   the digest. Nothing is buffered but a block.
//! * `layer/apply.rs` puts a layer onto a directory and verifies both digests on the way.
//!
//! The diff id is the digest of the uncompressed archive; it names the content whatever the
//! compression. The same tree gives the same diff id always. The digest of the blob also depends
//! on the compressor: ours and that of a Go program differ for the same diff id.

mod apply;
mod compress;
mod diff;

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use oci_spec::image::{Descriptor, MediaType};
use thiserror::Error;

pub(crate) use apply::verified;
pub use apply::{Applied, apply, diff_id};
pub use compress::Compression;
pub use diff::{Change, diff};

use crate::content::{BlobWriter, ContentError, ContentProvider, Expected};
use crate::digest::{Digest, Hasher};
use crate::tar::{TarError, Writer};
use crate::tree::{Kind, Meta, Time, Tree, TreeError};
pub(crate) use compress::Decoder;
use compress::Encoder;

/// What can go wrong with layers.
#[derive(Debug, Error)]
pub enum LayerError {
    /// The tree cannot be read.
    #[error(transparent)]
    Tree(#[from] TreeError),
    /// The archive is bad, or cannot be written or extracted.
    #[error(transparent)]
    Tar(#[from] TarError),
    /// The blob cannot be read or written.
    #[error(transparent)]
    Content(#[from] ContentError),
    /// A file of the tree has a name that means a deletion in a layer.
    #[error("/{}: names that start with `.wh.` cannot be stored in a layer", .0.display())]
    Reserved(PathBuf),
    /// The bytes of a layer are not those that were announced.
    #[error("layer has {what} {actual}, expected {expected}")]
    Mismatch {
        /// "digest" of the blob or "diff id" of the archive.
        what: &'static str,
        /// What was announced.
        expected: Digest,
        /// What it is.
        actual: Digest,
    },
    /// Compression or decompression failed.
    #[error("layer stream: {0}")]
    Stream(#[from] io::Error),
}

/// A stored layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Digest of the blob.
    pub digest: Digest,
    /// Bytes of the blob.
    pub size: u64,
    /// Digest of the uncompressed archive.
    pub diff_id: Digest,
    /// How it is compressed.
    pub compression: Compression,
}

impl Layer {
    /// The descriptor for a manifest.
    pub fn descriptor(&self) -> Descriptor {
        crate::image::descriptor(self.compression.media_type(), &self.digest, self.size)
    }

    /// The media type of the blob.
    pub fn media_type(&self) -> MediaType {
        self.compression.media_type()
    }
}

/// Which modification times a layer records.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Times {
    /// As in the tree, to the nanosecond.
    Exact,
    /// As in the tree, fractions of seconds dropped; what builders write.
    #[default]
    Seconds,
    /// No time later than this second (the convention of SOURCE_DATE_EPOCH).
    Clamped(i64),
    /// This second for every entry: the same files give the same layer.
    Fixed(i64),
}

impl Times {
    fn apply(self, time: Time) -> Time {
        match self {
            Self::Exact => time,
            Self::Seconds => Time::from_secs(time.secs),
            Self::Clamped(limit) => Time::from_secs(time.secs.min(limit)),
            Self::Fixed(secs) => Time::from_secs(secs),
        }
    }
}

/// How a tree becomes a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Options {
    /// Compression of the blob.
    pub compression: Compression,
    /// Modification times.
    pub times: Times,
    /// Owner and group of every entry, instead of those in the tree.
    pub owner: Option<(u32, u32)>,
}

/// The stream an archive is written to while a layer is created.
pub struct LayerStream<'p> {
    encoder: Encoder<Box<dyn BlobWriter + 'p>>,
    hasher: Hasher,
}

impl Write for LayerStream<'_> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        let count = self.encoder.write(data)?;
        self.hasher.update(&data[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.encoder.flush()
    }
}

/// Stores the archive that `fill` writes as a layer. After an error nothing is stored.
///
/// # Errors
/// Whatever `fill` returns, and [`LayerError`] of compression and storage.
pub fn create(
    provider: &dyn ContentProvider,
    compression: Compression,
    fill: impl FnOnce(&mut Writer<LayerStream<'_>>) -> Result<(), LayerError>,
) -> Result<Layer, LayerError> {
    let blob = provider.writer(&Expected::ANY)?;
    let mut writer = Writer::new(LayerStream {
        encoder: Encoder::new(compression, blob)?,
        hasher: Hasher::default(),
    });
    fill(&mut writer)?;
    let stream = writer.finish()?;
    let blob = stream.encoder.finish()?.commit(&Expected::ANY)?;
    Ok(Layer {
        digest: blob.digest,
        size: blob.size,
        diff_id: stream.hasher.finish(),
        compression,
    })
}

/// Stores the layer that turns `lower` (or nothing) into `upper`.
///
/// # Errors
/// [`LayerError`]; nothing is stored then.
pub fn from_trees(
    provider: &dyn ContentProvider,
    lower: Option<&dyn Tree>,
    upper: &dyn Tree,
    options: &Options,
) -> Result<Layer, LayerError> {
    let changes = diff(lower, upper)?;
    create(provider, options.compression, |writer| {
        write_changes(writer, upper, &changes, options)
    })
}

/// Writes changes as archive entries; parents come before their children.
///
/// # Errors
/// [`LayerError`].
pub fn write_changes<W: Write>(
    writer: &mut Writer<W>,
    upper: &dyn Tree,
    changes: &[Change],
    options: &Options,
) -> Result<(), LayerError> {
    for change in changes {
        match change {
            Change::Delete(marker) => {
                let mut meta = Meta::new(Kind::File { size: 0 }, 0);
                meta.mtime = options.times.apply(meta.mtime);
                writer.append_file(marker, &meta, io::empty())?;
            }
            Change::Link { path, target, meta } => {
                writer.append_hard_link(path, target, &adjusted(meta, options))?;
            }
            Change::Put { path, meta } => {
                let meta = adjusted(meta, options);
                if matches!(meta.kind, Kind::File { .. }) {
                    let data = open(upper, path)?;
                    writer.append_file(path, &meta, data)?;
                } else {
                    writer.append(path, &meta)?;
                }
            }
        }
    }
    Ok(())
}

fn adjusted(meta: &Meta, options: &Options) -> Meta {
    let mut meta = meta.clone();
    meta.mtime = options.times.apply(meta.mtime);
    if let Some((uid, gid)) = options.owner {
        (meta.uid, meta.gid) = (uid, gid);
    }
    meta
}

fn open<'t>(tree: &'t dyn Tree, path: &Path) -> Result<Box<dyn io::Read + Send + 't>, TreeError> {
    tree.open(path).map_err(TreeError::at(path))
}

#[cfg(test)]
mod tests;
