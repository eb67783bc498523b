//! Bringing images into a store: OCI layouts as archives or directories, `docker save` archives.
//!
//! An archive is read once, front to back, so it may be a pipe, compressed or not. Blobs go into
//! the store as they come, verified against the digest in their path; the few documents are kept
//! in memory, bounded, and interpreted at the end, since they may come first or last. Files of
//! old `docker save` archives have paths that are no digests: they are stored under the digest of
//! their bytes and found again by path, through links where the archive has links.
//!
//! Nothing is listed as imported that is not complete: see [`blobs`](super::blobs). Blobs of a
//! failed import stay in the store, where they are harmless.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Component, Path, PathBuf};

use oci_spec::image::{Descriptor, ImageIndex, OciLayout};

use super::write::image_name;
use super::{ImageError, blobs, digest_of, docker};
use crate::content::{
    self, BlobInfo, ContentError, ContentProvider, ContentStore, DOCUMENT_SIZE_MAX, Expected,
};
use crate::digest::Digest;
use crate::layer::Decoder;
use crate::tar::{Reader, TarError};
use crate::tree::Kind;

/// Most entries of an image archive.
const ENTRIES_MAX: usize = 200_000;

/// Most links followed from a path to a file of the archive.
const LINKS_MAX: usize = 8;

/// An image with the names the archive gives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedImage {
    /// Manifest or index.
    pub descriptor: Descriptor,
    /// References such as `example.test/app:1`; may be empty.
    pub names: Vec<String>,
}

/// What an archive contained.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Imported {
    /// At least one image, in the order of the archive.
    pub images: Vec<NamedImage>,
}

/// The files of an archive that is being read.
#[derive(Default)]
pub(super) struct Contents {
    documents: HashMap<PathBuf, Vec<u8>>,
    stored: HashMap<PathBuf, BlobInfo>,
    links: HashMap<PathBuf, PathBuf>,
}

impl Contents {
    /// The blob at a path of the archive, links followed.
    pub(super) fn find(&self, path: &str) -> Result<&BlobInfo, ImageError> {
        let mut at = crate::tar::normalise(path.as_bytes())?;
        for _ in 0..=LINKS_MAX {
            if let Some(blob) = self.stored.get(&at) {
                return Ok(blob);
            }
            match self.links.get(&at) {
                Some(target) => at.clone_from(target),
                None => break,
            }
        }
        Err(ImageError::Archive(format!(
            "`{path}` is listed in manifest.json but not in the archive"
        )))
    }
}

/// Imports an archive from a stream.
///
/// # Errors
/// [`ImageError`] naming the entry or document at fault.
pub fn import(provider: &dyn ContentProvider, stream: impl Read) -> Result<Imported, ImageError> {
    let decoder = Decoder::new(stream).map_err(TarError::Stream)?;
    let mut reader = Reader::new(decoder);
    let mut contents = Contents::default();
    let mut count = 0;
    while let Some(entry) = reader.next_entry()? {
        count += 1;
        if count > ENTRIES_MAX {
            return Err(ImageError::Limit {
                what: "archive entries",
                limit: ENTRIES_MAX,
            });
        }
        let path = entry.path;
        if let Some(target) = entry.hard_link {
            contents.links.insert(path, target);
            continue;
        }
        match entry.meta.kind {
            Kind::File { size } => file(provider, &mut contents, &mut reader, path, size)?,
            Kind::Symlink { target } => {
                if let Some(target) = link_target(&path, &target) {
                    contents.links.insert(path, target);
                }
            }
            // Folders carry nothing; anything else is of no use in an image archive.
            _ => {}
        }
    }
    let images = if let Some(index) = contents.documents.get(Path::new("index.json")) {
        let marker = contents.documents.get(Path::new("oci-layout"));
        listed(provider, index, marker.map(Vec::as_slice))?
    } else if let Some(list) = contents.documents.get(Path::new("manifest.json")) {
        docker::convert(provider, list, &contents)?
    } else {
        return Err(ImageError::Archive(
            "not an image archive: it has neither index.json (OCI layout) nor manifest.json (docker save)"
                .to_owned(),
        ));
    };
    Ok(Imported { images })
}

/// Imports from a path: an archive, or a directory that is an OCI layout.
///
/// # Errors
/// [`ImageError`].
pub fn import_path(provider: &dyn ContentProvider, path: &Path) -> Result<Imported, ImageError> {
    if !path.is_dir() {
        let file = File::open(path).map_err(ImageError::io(path))?;
        return import(provider, file);
    }
    let layout = ContentStore::open_existing(path)?;
    let images = named(layout.index()?.manifests())?;
    for image in &images {
        copy(&layout, provider, &image.descriptor)?;
    }
    Ok(Imported { images })
}

/// Copies everything behind a descriptor from one store to another; blobs that are there already
/// are skipped.
///
/// # Errors
/// [`ImageError`].
pub fn copy(
    from: &dyn ContentProvider,
    to: &dyn ContentProvider,
    descriptor: &Descriptor,
) -> Result<(), ImageError> {
    for blob in blobs(from, descriptor)? {
        let digest = digest_of(&blob)?;
        if to.info(&digest).is_ok_and(|info| info.size == blob.size()) {
            continue;
        }
        let expected = Expected::exactly(digest.clone(), blob.size());
        let mut writer = to.writer(&expected)?;
        let mut reader = content::open(from, &digest)?;
        io::copy(&mut reader, &mut writer).map_err(ContentError::io(digest.as_str()))?;
        writer.commit(&expected)?;
    }
    Ok(())
}

/// Stores or keeps one file of an archive.
fn file<R: Read>(
    provider: &dyn ContentProvider,
    contents: &mut Contents,
    reader: &mut Reader<R>,
    path: PathBuf,
    size: u64,
) -> Result<(), ImageError> {
    let name = path.file_name().unwrap_or_default();
    let top = path.components().count() == 1;
    if top
        && ["index.json", "oci-layout", "manifest.json"]
            .iter()
            .any(|n| *n == name)
    {
        if size > DOCUMENT_SIZE_MAX {
            let limit = format!("larger than {DOCUMENT_SIZE_MAX} bytes");
            return Err(ImageError::document(path.display(), limit));
        }
        let mut data = Vec::new();
        reader.read_to_end(&mut data).map_err(TarError::Stream)?;
        contents.documents.insert(path, data);
        return Ok(());
    }
    // Version markers and tag lists that docker save writes for engines of 2015.
    if name == "VERSION" || name == "json" || name == "repositories" {
        return Ok(());
    }
    let digest = blob_digest(&path)?;
    let expected = Expected {
        digest,
        size: Some(size),
    };
    let failed = |source| ImageError::Entry {
        path: path.clone(),
        source,
    };
    let mut writer = provider.writer(&expected).map_err(failed)?;
    let mut buffer = vec![0; 128 * 1024];
    loop {
        let count = reader.read(&mut buffer).map_err(|e| match e.kind() {
            io::ErrorKind::UnexpectedEof => TarError::Truncated(format!("`{}`", path.display())),
            _ => TarError::Stream(e),
        })?;
        if count == 0 {
            break;
        }
        writer
            .write_all(&buffer[..count])
            .map_err(|e| failed(ContentError::io(&path)(e)))?;
    }
    let info = writer.commit(&expected).map_err(failed)?;
    contents.stored.insert(path, info);
    Ok(())
}

/// The digest that a path `blobs/ALGORITHM/HEX` promises.
fn blob_digest(path: &Path) -> Result<Option<Digest>, ImageError> {
    let parts: Vec<_> = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect();
    match parts.as_slice() {
        [blobs, algorithm, hex] if blobs == "blobs" => {
            let digest = Digest::parse(&format!("{algorithm}:{hex}"));
            let digest = digest.map_err(|source| ImageError::BadDigest {
                document: path.display().to_string(),
                source,
            })?;
            Ok(Some(digest))
        }
        _ => Ok(None),
    }
}

/// Where a link in the archive leads, by name only; `None` outside of the archive.
fn link_target(link: &Path, target: &Path) -> Option<PathBuf> {
    let mut path = link.parent().unwrap_or(Path::new("")).to_owned();
    for component in target.components() {
        match component {
            Component::Normal(name) => path.push(name),
            Component::ParentDir => {
                if !path.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => path = PathBuf::new(),
            Component::CurDir => {}
        }
    }
    Some(path)
}

/// The images that an OCI layout lists, checked.
fn listed(
    provider: &dyn ContentProvider,
    index: &[u8],
    marker: Option<&[u8]>,
) -> Result<Vec<NamedImage>, ImageError> {
    let marker = marker.ok_or_else(|| {
        ImageError::Archive("not an OCI layout: index.json without oci-layout".to_owned())
    })?;
    let layout: OciLayout =
        serde_json::from_slice(marker).map_err(|e| ImageError::document("oci-layout", e))?;
    let version = layout.image_layout_version();
    if version != "1.0.0" {
        let reason = format!("layout version `{version}` is not supported (1.0.0 is)");
        return Err(ImageError::document("oci-layout", reason));
    }
    let index: ImageIndex =
        serde_json::from_slice(index).map_err(|e| ImageError::document("index.json", e))?;
    let images = named(index.manifests())?;
    for image in &images {
        blobs(provider, &image.descriptor)?;
    }
    Ok(images)
}

fn named(images: &[Descriptor]) -> Result<Vec<NamedImage>, ImageError> {
    if images.is_empty() {
        return Err(ImageError::Archive("index.json lists no image".to_owned()));
    }
    Ok(images
        .iter()
        .map(|descriptor| NamedImage {
            names: image_name(descriptor)
                .map(str::to_owned)
                .into_iter()
                .collect(),
            descriptor: descriptor.clone(),
        })
        .collect())
}
