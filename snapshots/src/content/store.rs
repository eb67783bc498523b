//! A content store that is an OCI image layout directory.
//!
//! ```text
//! ROOT/oci-layout          {"imageLayoutVersion":"1.0.0"}
//! ROOT/index.json          the images: one descriptor each, named by an annotation
//! ROOT/blobs/sha256/<hex>  the bytes
//! ROOT/ingest/             blobs being written (ours; readers of layouts ignore it)
//! ```
//! The directory can be handed as it is to any tool that understands OCI layouts. Nothing is
//! ever garbage collected: whoever owns the directory removes it.
//!
//! Blobs are opened without following symbolic links and must be regular files, so a layout that
//! came from elsewhere cannot make us read other files. `index.json` is replaced by rename under
//! a lock on the directory, so writers in several processes do not lose each other's entries.

use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use oci_spec::image::{Descriptor, ImageIndex, ImageIndexBuilder, OciLayout};
use rustix::fs::{FlockOperation, Mode, OFlags};

use super::{
    BlobInfo, BlobWriter, ContentError, ContentProvider, DOCUMENT_SIZE_MAX, Expected, Ingest,
    LIST_MAX, ReadAt,
};
use crate::digest::{Algorithm, Digest};

/// The annotation that names an image in `index.json`.
pub const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// Layout version written, and the only one read.
const LAYOUT_VERSION: &str = "1.0.0";

/// Age after which a file in `ingest/` belongs to a writer that is gone.
const INGEST_STALE: Duration = Duration::from_secs(24 * 60 * 60);

/// An OCI layout directory as a content store. Cheap to clone; clones are the same store.
#[derive(Debug, Clone)]
pub struct ContentStore {
    root: PathBuf,
}

impl ContentStore {
    /// Opens a store, creating the directory and its marker file when they are missing.
    ///
    /// # Errors
    /// [`ContentError::Layout`] when the directory has a marker of another version, and I/O errors.
    pub fn open(root: impl Into<PathBuf>) -> Result<Self, ContentError> {
        let store = Self { root: root.into() };
        for folder in [store.ingest(), store.blobs().join("sha256")] {
            std::fs::create_dir_all(&folder).map_err(ContentError::io(&folder))?;
        }
        let marker = store.root.join("oci-layout");
        if marker.exists() {
            store.check_marker()?;
        } else {
            let json = format!("{{\"imageLayoutVersion\":\"{LAYOUT_VERSION}\"}}");
            store.replace(&marker, json.as_bytes())?;
        }
        store.remove_stale()?;
        Ok(store)
    }

    /// Opens a layout that somebody else made; nothing is created.
    ///
    /// # Errors
    /// [`ContentError::Layout`] when it is no layout of a known version, and I/O errors.
    pub fn open_existing(root: impl Into<PathBuf>) -> Result<Self, ContentError> {
        let store = Self { root: root.into() };
        store.check_marker()?;
        Ok(store)
    }

    /// The directory.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The images listed in `index.json`; an empty index when there is no such file.
    ///
    /// # Errors
    /// [`ContentError::Layout`] for a file that is too large or no index, and I/O errors.
    pub fn index(&self) -> Result<ImageIndex, ContentError> {
        let path = self.root.join("index.json");
        match self.document(&path) {
            Ok(data) => serde_json::from_slice(&data).map_err(|e| layout(&path, e)),
            Err(ContentError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                ImageIndexBuilder::default()
                    .schema_version(2u32)
                    .media_type(oci_spec::image::MediaType::ImageIndex)
                    .manifests(Vec::new())
                    .build()
                    .map_err(|e| layout(&path, e))
            }
            Err(error) => Err(error),
        }
    }

    /// Lists an image in `index.json`. An entry with the same name is replaced; without a name,
    /// an entry with the same digest.
    ///
    /// # Errors
    /// As [`ContentStore::index`].
    pub fn tag(&self, image: Descriptor) -> Result<(), ContentError> {
        let _lock = self.lock()?;
        let mut index = self.index()?;
        let mut images = index.manifests().clone();
        let name = ref_name(&image).map(str::to_owned);
        images.retain(|other| match (&name, ref_name(other)) {
            (Some(name), Some(other)) => name != other,
            (None, None) => other.digest() != image.digest(),
            _ => true,
        });
        images.push(image);
        index.set_manifests(images);
        let path = self.root.join("index.json");
        // Through a value: that sorts the keys, and annotations are kept in a hash map.
        let json = serde_json::to_value(&index)
            .and_then(|value| serde_json::to_vec(&value))
            .map_err(|e| layout(&path, e))?;
        self.replace(&path, &json)
    }

    /// Where a blob lies. The path is inside the store whatever the digest, since a [`Digest`]
    /// consists of a known name and hexadecimal digits.
    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.blobs()
            .join(digest.algorithm().name())
            .join(digest.hex())
    }

    /// Starts a blob; the concrete form of [`ContentProvider::writer`].
    ///
    /// # Errors
    /// I/O errors.
    pub fn ingest_blob(&self, expected: &Expected) -> Result<Ingest, ContentError> {
        let folder = self.ingest();
        std::fs::create_dir_all(&folder).map_err(ContentError::io(&folder))?;
        Ingest::new(&folder, &self.blobs(), expected)
    }

    /// Removes a blob; absent is fine.
    ///
    /// # Errors
    /// I/O errors.
    pub fn remove(&self, digest: &Digest) -> Result<(), ContentError> {
        let path = self.blob_path(digest);
        match std::fs::remove_file(&path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(ContentError::io(path)(e)),
            _ => Ok(()),
        }
    }

    fn blobs(&self) -> PathBuf {
        self.root.join("blobs")
    }

    fn ingest(&self) -> PathBuf {
        self.root.join("ingest")
    }

    /// A small file of the layout, bounded.
    fn document(&self, path: &Path) -> Result<Vec<u8>, ContentError> {
        let file = open_regular(path).map_err(ContentError::io(path))?;
        let mut data = Vec::new();
        io::Read::read_to_end(&mut io::Read::take(file, DOCUMENT_SIZE_MAX + 1), &mut data)
            .map_err(ContentError::io(path))?;
        if data.len() as u64 > DOCUMENT_SIZE_MAX {
            return Err(layout(
                path,
                format!("larger than {DOCUMENT_SIZE_MAX} bytes"),
            ));
        }
        Ok(data)
    }

    fn check_marker(&self) -> Result<(), ContentError> {
        let path = self.root.join("oci-layout");
        let data = self.document(&path).map_err(|error| match error {
            ContentError::Io { source, .. } if source.kind() == io::ErrorKind::NotFound => layout(
                &self.root,
                "not an OCI image layout: it has no `oci-layout` file",
            ),
            error => error,
        })?;
        let marker: OciLayout = serde_json::from_slice(&data).map_err(|e| layout(&path, e))?;
        if marker.image_layout_version() == LAYOUT_VERSION {
            Ok(())
        } else {
            let found = marker.image_layout_version();
            Err(layout(
                &path,
                format!("layout version `{found}` is not supported (1.0.0 is)"),
            ))
        }
    }

    /// Writes a file so that a reader sees the old or the new text.
    fn replace(&self, path: &Path, data: &[u8]) -> Result<(), ContentError> {
        let at = |e| ContentError::io(path)(e);
        let mut file = tempfile::Builder::new()
            .prefix("file-")
            .tempfile_in(self.ingest())
            .map_err(at)?;
        file.write_all(data).map_err(at)?;
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o644);
        file.as_file().set_permissions(readable).map_err(at)?;
        file.as_file().sync_all().map_err(at)?;
        file.persist(path).map_err(|e| at(e.error))?;
        Ok(())
    }

    /// Exclusive among processes until dropped; a killed holder releases it.
    fn lock(&self) -> Result<File, ContentError> {
        let path = self.ingest();
        std::fs::create_dir_all(&path).map_err(ContentError::io(&path))?;
        let folder = File::open(&path).map_err(ContentError::io(&path))?;
        rustix::fs::flock(&folder, FlockOperation::LockExclusive)
            .map_err(|e| ContentError::io(&path)(e.into()))?;
        Ok(folder)
    }

    fn remove_stale(&self) -> Result<(), ContentError> {
        let folder = self.ingest();
        for entry in std::fs::read_dir(&folder).map_err(ContentError::io(&folder))? {
            let entry = entry.map_err(ContentError::io(&folder))?;
            let old = entry
                .metadata()
                .and_then(|meta| meta.modified())
                .ok()
                .and_then(|time| SystemTime::now().duration_since(time).ok())
                .is_some_and(|age| age > INGEST_STALE);
            if old {
                // Another process may have removed it first.
                let _ = std::fs::remove_file(entry.path());
            }
        }
        Ok(())
    }
}

/// The name of an image in an index.
pub(crate) fn ref_name(image: &Descriptor) -> Option<&str> {
    image
        .annotations()
        .as_ref()?
        .get(REF_NAME)
        .map(String::as_str)
}

fn layout(path: &Path, reason: impl ToString) -> ContentError {
    ContentError::Layout {
        path: path.to_owned(),
        reason: reason.to_string(),
    }
}

/// Opens a regular file for reading; a symbolic link or a device is refused.
fn open_regular(path: &Path) -> io::Result<File> {
    // NONBLOCK: opening a FIFO planted as a blob must not hang.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::NONBLOCK;
    let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "not a regular file",
        ));
    }
    Ok(file)
}

impl ContentProvider for ContentStore {
    fn info(&self, digest: &Digest) -> Result<BlobInfo, ContentError> {
        let path = self.blob_path(digest);
        let meta = match std::fs::symlink_metadata(&path) {
            Ok(meta) if meta.is_file() => meta,
            Ok(_) => return Err(layout(&path, "not a regular file")),
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(ContentError::NotFound(digest.clone()));
            }
            Err(e) => return Err(ContentError::io(path)(e)),
        };
        Ok(BlobInfo {
            digest: digest.clone(),
            size: meta.len(),
            modified: meta.modified().unwrap_or(SystemTime::UNIX_EPOCH),
        })
    }

    fn reader_at(&self, digest: &Digest) -> Result<Box<dyn ReadAt>, ContentError> {
        let path = self.blob_path(digest);
        let file = match open_regular(&path) {
            Ok(file) => file,
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                return Err(ContentError::NotFound(digest.clone()));
            }
            Err(e) => return Err(ContentError::io(path)(e)),
        };
        let size = file.metadata().map_err(ContentError::io(path))?.len();
        Ok(Box::new(FileBlob { file, size }))
    }

    fn list(&self) -> Result<Vec<BlobInfo>, ContentError> {
        let mut blobs = Vec::new();
        for algorithm in Algorithm::ALL {
            let folder = self.blobs().join(algorithm.name());
            let entries = match std::fs::read_dir(&folder) {
                Ok(entries) => entries,
                Err(e) if e.kind() == io::ErrorKind::NotFound => continue,
                Err(e) => return Err(ContentError::io(folder)(e)),
            };
            for entry in entries {
                let entry = entry.map_err(ContentError::io(&folder))?;
                // A file whose name is no digest is no blob; layouts may hold such files.
                let name = format!("{}:{}", algorithm.name(), entry.file_name().display());
                let Ok(digest) = Digest::parse(&name) else {
                    continue;
                };
                match self.info(&digest) {
                    Ok(info) => blobs.push(info),
                    Err(error) if error.is_not_found() => {}
                    Err(error) => return Err(error),
                }
                if blobs.len() > LIST_MAX {
                    return Err(ContentError::TooMany);
                }
            }
        }
        blobs.sort_by(|a, b| a.digest.cmp(&b.digest));
        Ok(blobs)
    }

    fn writer(&self, expected: &Expected) -> Result<Box<dyn BlobWriter>, ContentError> {
        Ok(Box::new(self.ingest_blob(expected)?))
    }
}

struct FileBlob {
    file: File,
    size: u64,
}

impl ReadAt for FileBlob {
    fn size(&self) -> u64 {
        self.size
    }

    fn read_at(&self, buf: &mut [u8], offset: u64) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buf.len() {
            match self
                .file
                .read_at(&mut buf[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(filled)
    }
}
