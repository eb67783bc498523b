//! Caches outside of the daemon: what a registry, a directory or an archive holds of one.
//!
//! ```text
//! CacheBackend (type=registry,ref=… | type=local,src=…) ─> Remote::open ─> read ─> Held …
//!                                                                  └─────> stat (is a blob there)
//! ```
//! A name stands for one manifest or for an index. Reading follows it to every cache that is behind
//! it: one document in a cache of its own, one per image where it is inline. The join (`join.rs`)
//! and the explanation of a cache (`explain/cache.rs`) both start from that.
//!
//! What is read was written by others: documents are bounded and checked by
//! [`solver::cacheconfig`], and the entries of an index are limited.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use snapshots::content::{self, ContentError, ContentProvider as _, ContentStore, REF_NAME};
use snapshots::image;
use solver::Digest;
use solver::backend::session::{AuthProvider, DockerConfig, RegistryAuth};
use solver::backend::{CacheBackend, Client};
use solver::cacheconfig::{self, Config, DOCUMENT_BYTES_MAX, Layer, Place};
use solver::llb::reference::Reference;
use solver::registry::{self, Repository, Stored, Trust};

use crate::ledger::Evidence;
use crate::platform::Platform;

/// The tag of a local cache that names none.
pub(crate) const TAG: &str = "latest";

/// Most manifests that are looked at behind one name.
const MANIFESTS_MAX: usize = 256;

/// Why a cache cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The registry does not give it.
    #[error(transparent)]
    Registry(#[from] registry::Error),
    /// The name of the cache is none.
    #[error("{0}")]
    Name(String),
    /// The directory or archive does not give it.
    #[error("{}: {reason}", .path.display())]
    Files {
        /// The directory or archive.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
    /// The daemon does not give it.
    #[error("the daemon's content store: {0}")]
    Daemon(String),
    /// A document is malformed.
    #[error("{what}: {source}")]
    Document {
        /// Which one.
        what: String,
        /// What is wrong with it.
        source: cacheconfig::Error,
    },
    /// What is there is an image or an index, and no cache.
    #[error("{0} has no cache: it is an image, and none is in its config")]
    NoCache(String),
    /// None of its images is for the platform that was asked for.
    #[error("{name} has nothing for {platform}, only for {}", .has.join(", "))]
    Platform {
        /// The name of the cache.
        name: String,
        /// What was asked for.
        platform: String,
        /// What there is.
        has: Vec<String>,
    },
}

/// One cache or image behind a name.
#[derive(Clone, Debug)]
pub struct Held {
    /// Digest of its manifest; that of the index where the cache is an entry of one.
    pub manifest: Digest,
    /// The platform of an image; none of a cache of its own, which may hold several.
    pub platform: Option<String>,
    /// The layers of an image, lowest first.
    pub layers: Vec<Layer>,
    /// The cache, and what kind of evidence it is; none in an image without one.
    pub cache: Option<(Config, Evidence)>,
}

/// Something with manifests and blobs.
pub(crate) struct Remote {
    name: String,
    place: Where,
}

enum Where {
    Registry(Box<Repository>, Reference),
    Local {
        store: ContentStore,
        manifest: Digest,
        // Removed when the last blob was read.
        _unpacked: Option<tempfile::TempDir>,
    },
    Daemon(Client, Digest),
}

/// Whose credentials a registry is shown: those of Docker's configuration.
pub fn docker_credentials(directory: Option<&Path>) -> Arc<dyn AuthProvider> {
    Arc::new(match directory {
        Some(directory) => RegistryAuth::with_docker_config(DockerConfig::new(directory)),
        None => RegistryAuth::new(),
    })
}

impl Remote {
    /// The cache that a user names as for `--import-cache`; paths are relative to `workdir`.
    ///
    /// # Errors
    /// When the name is none, the directory is no layout, or an insecure registry is not there.
    pub(crate) async fn open(
        cache: &CacheBackend,
        auth: Arc<dyn AuthProvider>,
        workdir: &Path,
    ) -> Result<Self, Error> {
        let attr = |name: &str| cache.attrs.get(name).filter(|value| !value.is_empty());
        match cache.kind.as_str() {
            "registry" => {
                let text =
                    attr("ref").ok_or_else(|| Error::Name("there is no ref=IMAGE".into()))?;
                let trust = match cache.is_insecure() {
                    true => Trust::Insecure,
                    false => Trust::Secure,
                };
                Self::registry(text, trust, auth).await
            }
            "local" => {
                let path = attr("src").or_else(|| attr("dest"));
                let path = path.ok_or_else(|| Error::Name("there is no src=DIRECTORY".into()))?;
                let path = workdir.join(path);
                let (digest, tag) = (attr("digest").cloned(), attr("tag").cloned());
                let opened = tokio::task::spawn_blocking(move || {
                    local(&path, digest.as_deref(), tag.as_deref().unwrap_or(TAG))
                });
                opened.await.map_err(|e| Error::Name(e.to_string()))?
            }
            other => Err(Error::Name(format!(
                "a cache of type={other} can be read by the daemon alone; \
                 type=registry and type=local can be read here"
            ))),
        }
    }

    /// The image or cache of a registry.
    ///
    /// # Errors
    /// When the text is no reference, or an insecure registry is not there.
    pub(crate) async fn registry(
        text: &str,
        trust: Trust,
        auth: Arc<dyn AuthProvider>,
    ) -> Result<Self, Error> {
        let reference = Reference::parse(text).map_err(|e| Error::Name(e.to_string()))?;
        let reference = reference.or_latest();
        let repository = Repository::open(&reference, auth, trust).await?;
        Ok(Self {
            name: reference.to_string(),
            place: Where::Registry(Box::new(repository), reference),
        })
    }

    /// What the daemon has in its content store: images that it made.
    pub(crate) fn daemon(client: &Client, manifest: Digest) -> Self {
        Self {
            name: manifest.to_string(),
            place: Where::Daemon(client.clone(), manifest),
        }
    }

    /// The same place under the digest of a manifest, if there is one.
    #[must_use]
    pub(crate) fn at(mut self, digest: Option<Digest>) -> Self {
        match (&mut self.place, digest) {
            (_, None) => {}
            (Where::Registry(_, reference), digest) => {
                reference.digest = digest;
                self.name = reference.to_string();
            }
            (Where::Local { manifest, .. } | Where::Daemon(_, manifest), Some(digest)) => {
                *manifest = digest;
            }
        }
        self
    }

    /// Its name for people.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Everything behind the name, in the order of its index.
    ///
    /// # Errors
    /// When a document cannot be read, or is malformed.
    pub(crate) async fn read(&self) -> Result<Vec<Held>, Error> {
        let (top, bytes) = self.top().await?;
        let mut held = Vec::new();
        let place = cacheconfig::locate(&bytes).map_err(|e| self.document("manifest", e))?;
        let Place::Manifests(entries) = place else {
            held.push(self.one(top, place, None).await?);
            return Ok(held);
        };
        if entries.len() > MANIFESTS_MAX {
            let reason = format!("its index has more than {MANIFESTS_MAX} entries");
            return Err(Error::Name(format!("{}: {reason}", self.name)));
        }
        for (digest, platform) in entries {
            let bytes = self.manifest(&digest).await?;
            let place = cacheconfig::locate(&bytes).map_err(|e| self.document(&digest, e))?;
            // An index in an index is no image; statements about images are of no platform.
            let is_image = matches!(place, Place::Image { .. } | Place::Document { .. });
            if is_image && platform.as_deref() != Some("unknown/unknown") {
                held.push(self.one(digest, place, platform).await?);
            }
        }
        Ok(held)
    }

    /// What one manifest has.
    async fn one(
        &self,
        manifest: Digest,
        place: Place,
        platform: Option<String>,
    ) -> Result<Held, Error> {
        let mut held = Held {
            manifest,
            platform: platform.map(|text| normal(&text)),
            layers: Vec::new(),
            cache: None,
        };
        match place {
            Place::Document { digest, blobs } => {
                let document = self.blob(&digest).await?;
                let config = cacheconfig::parse(&document);
                let mut config = config.map_err(|e| self.document(&digest, e))?;
                config.describe(&blobs);
                held.cache = Some((config, self.evidence()));
            }
            Place::Image { config, layers } => {
                let document = self.blob(&config).await?;
                let malformed = |e| self.document(&config, e);
                if held.platform.is_none() {
                    let platform = cacheconfig::image_platform(&document).map_err(malformed)?;
                    held.platform = platform.map(|text| normal(&text));
                }
                held.layers = cacheconfig::image_layers(&document, &layers).map_err(malformed)?;
                let inline = cacheconfig::inline_records(&document, &layers).map_err(malformed)?;
                held.cache = inline.map(|config| (config, Evidence::Inline));
            }
            Place::Manifests(_) => {}
        }
        Ok(held)
    }

    fn evidence(&self) -> Evidence {
        match self.place {
            Where::Registry(..) => Evidence::Registry,
            Where::Local { .. } | Where::Daemon(..) => Evidence::Local,
        }
    }

    fn document(&self, what: impl std::fmt::Display, source: cacheconfig::Error) -> Error {
        Error::Document {
            what: format!("{}: {what}", self.name),
            source,
        }
    }

    async fn top(&self) -> Result<(Digest, Vec<u8>), Error> {
        match &self.place {
            Where::Registry(repository, reference) => {
                let manifest = repository.manifest(reference).await?;
                Ok((manifest.digest, manifest.bytes))
            }
            Where::Local { manifest, .. } | Where::Daemon(_, manifest) => {
                Ok((manifest.clone(), self.blob(manifest).await?))
            }
        }
    }

    async fn manifest(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        let Where::Registry(repository, reference) = &self.place else {
            return self.blob(digest).await;
        };
        let reference = Reference {
            digest: Some(digest.clone()),
            ..reference.clone()
        };
        Ok(repository.manifest(&reference).await?.bytes)
    }

    async fn blob(&self, digest: &Digest) -> Result<Vec<u8>, Error> {
        match &self.place {
            Where::Registry(repository, _) => {
                Ok(repository.blob(digest, DOCUMENT_BYTES_MAX).await?)
            }
            Where::Local { store, .. } => {
                let read = |store: &ContentStore, digest: &_| {
                    content::read_all(store, digest, DOCUMENT_BYTES_MAX as u64)
                };
                on_disk(store, digest, read).await
            }
            Where::Daemon(client, _) => {
                let read = client.read_blob(digest).await;
                read.map_err(|e| Error::Daemon(e.to_string()))
            }
        }
    }

    /// Whether a blob is there, without reading it where that can be told.
    ///
    /// # Errors
    /// When that cannot be told.
    pub(crate) async fn stat(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        let stored = |size| Stored { size: Some(size) };
        match &self.place {
            Where::Registry(repository, _) => Ok(repository.stat(digest).await?),
            Where::Local { store, .. } => {
                let info = move |store: &ContentStore, digest: &_| match store.info(digest) {
                    Ok(info) => Ok(Some(stored(info.size))),
                    Err(error) if error.is_not_found() => Ok(None),
                    Err(error) => Err(error),
                };
                on_disk(store, digest, info).await
            }
            Where::Daemon(client, _) => {
                let read = client.read_blob(digest).await;
                let read = read.map_err(|e| Error::Daemon(e.to_string()))?;
                Ok(Some(stored(read.len() as u64)))
            }
        }
    }
}

/// A platform in normal form; as it is if it has none.
fn normal(text: &str) -> String {
    Platform::parse(text).map_or_else(|_| text.to_owned(), |platform| platform.to_string())
}

/// Something that a directory is asked, away from the threads that must not wait.
async fn on_disk<T: Send + 'static>(
    store: &ContentStore,
    digest: &Digest,
    ask: impl FnOnce(&ContentStore, &snapshots::digest::Digest) -> Result<T, ContentError>
    + Send
    + 'static,
) -> Result<T, Error> {
    let path = store.root().to_owned();
    let fail = |reason: String| Error::Files { path, reason };
    let digest = match snapshots::digest::Digest::parse(digest.as_str()) {
        Ok(digest) => digest,
        Err(error) => return Err(fail(error.to_string())),
    };
    let store = store.clone();
    match tokio::task::spawn_blocking(move || ask(&store, &digest)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(error)) => Err(fail(error.to_string())),
        Err(error) => Err(fail(error.to_string())),
    }
}

/// The manifest of a directory, or of an archive of one.
fn local(path: &Path, digest: Option<&str>, tag: &str) -> Result<Remote, Error> {
    let fail = |reason: String| Error::Files {
        path: path.to_owned(),
        reason,
    };
    let (store, unpacked) = if path.is_file() {
        let folder = tempfile::Builder::new().prefix("dagop-").tempdir();
        let folder = folder.map_err(|e| fail(e.to_string()))?;
        let store = ContentStore::open(folder.path()).map_err(|e| fail(e.to_string()))?;
        let imported = image::import_path(&store, path).map_err(|e| fail(e.to_string()))?;
        for image in imported.images {
            store
                .tag(image.descriptor)
                .map_err(|e| fail(e.to_string()))?;
        }
        (store, Some(folder))
    } else {
        let store = ContentStore::open_existing(path).map_err(|e| fail(e.to_string()))?;
        (store, None)
    };
    let manifest = match digest {
        Some(digest) => digest.to_owned(),
        None => manifest_of(&store, tag).map_err(&fail)?,
    };
    Ok(Remote {
        name: path.display().to_string(),
        place: Where::Local {
            manifest: Digest::parse(&manifest).map_err(|e| fail(e.to_string()))?,
            store,
            _unpacked: unpacked,
        },
    })
}

/// Digest of the manifest that a tag of a local cache names. An image that is alone needs no tag.
pub(crate) fn manifest_of(store: &ContentStore, tag: &str) -> Result<String, String> {
    let index = store.index().map_err(|e| e.to_string())?;
    let manifests = index.manifests();
    let named = manifests.iter().find(|manifest| {
        let annotations = manifest.annotations().as_ref();
        annotations.is_some_and(|a| a.get(REF_NAME).is_some_and(|name| name == tag))
    });
    let only = match &manifests[..] {
        [only]
            if only
                .annotations()
                .as_ref()
                .is_none_or(|a| !a.contains_key(REF_NAME)) =>
        {
            Some(only)
        }
        _ => None,
    };
    let found = named.or(only);
    let found = found.ok_or_else(|| format!("{} has no tag {tag:?}", store.root().display()))?;
    Ok(found.digest().to_string())
}
