//! Reading documents, and finding one platform's image behind a descriptor.

use std::collections::HashSet;
use std::path::Path;

use oci_spec::image::{Descriptor, ImageConfiguration, ImageIndex, ImageManifest};
use serde::de::DeserializeOwned;

use super::{
    INDEX_DEPTH_MAX, ImageError, LAYERS_MAX, Platform, REACHABLE_MAX, digest_of, is_index,
    is_manifest,
};
use crate::content::{self, ContentProvider, DOCUMENT_SIZE_MAX};
use crate::digest::Digest;
use crate::layer;
use crate::tar::Policy;

/// One platform's image, complete but for the bytes of its layers.
#[derive(Debug, Clone)]
pub struct Image {
    /// Descriptor of the manifest.
    pub descriptor: Descriptor,
    /// The manifest.
    pub manifest: ImageManifest,
    /// The config.
    pub config: ImageConfiguration,
    /// The config as it is stored; it may hold fields that [`ImageConfiguration`] does not know.
    pub config_json: Vec<u8>,
    /// Diff ids, lowest layer first; as many as the manifest has layers.
    pub diff_ids: Vec<Digest>,
}

impl Image {
    /// The platform the config states.
    pub fn platform(&self) -> Platform {
        platform_of(&self.config)
    }

    /// The chain id of all layers, `None` for an image without any.
    pub fn chain_id(&self) -> Option<Digest> {
        super::chain_ids(&self.diff_ids).pop()
    }
}

fn platform_of(config: &ImageConfiguration) -> Platform {
    Platform::new(
        &config.os().to_string(),
        &config.architecture().to_string(),
        config.variant().as_deref().unwrap_or(""),
    )
}

/// Reads the bytes behind a descriptor, verified against its size and digest.
fn document(
    provider: &dyn ContentProvider,
    descriptor: &Descriptor,
) -> Result<(Digest, Vec<u8>), ImageError> {
    let digest = digest_of(descriptor)?;
    let actual = provider.info(&digest)?.size;
    if actual != descriptor.size() {
        return Err(ImageError::Size {
            digest,
            expected: descriptor.size(),
            actual,
        });
    }
    let data = content::read_all(provider, &digest, DOCUMENT_SIZE_MAX)?;
    Ok((digest, data))
}

fn parse<T: DeserializeOwned>(name: &Digest, what: &str, data: &[u8]) -> Result<T, ImageError> {
    serde_json::from_slice(data)
        .map_err(|e| ImageError::document(name, format!("not a valid {what}: {e}")))
}

/// Reads an index.
///
/// # Errors
/// [`ImageError`]: missing, damaged, of another size, no index.
pub fn read_index(
    provider: &dyn ContentProvider,
    descriptor: &Descriptor,
) -> Result<ImageIndex, ImageError> {
    let (digest, data) = document(provider, descriptor)?;
    parse(&digest, "image index", &data)
}

/// Reads a manifest.
///
/// # Errors
/// [`ImageError`]: missing, damaged, of another size, no manifest, too many layers.
pub fn read_manifest(
    provider: &dyn ContentProvider,
    descriptor: &Descriptor,
) -> Result<ImageManifest, ImageError> {
    let (digest, data) = document(provider, descriptor)?;
    let manifest: ImageManifest = parse(&digest, "image manifest", &data)?;
    if manifest.layers().len() > LAYERS_MAX {
        return Err(ImageError::Limit {
            what: "layers",
            limit: LAYERS_MAX,
        });
    }
    Ok(manifest)
}

/// Reads a config: parsed, and as it is stored.
///
/// # Errors
/// [`ImageError`]: missing, damaged, of another size, no config.
pub fn read_config(
    provider: &dyn ContentProvider,
    descriptor: &Descriptor,
) -> Result<(ImageConfiguration, Vec<u8>), ImageError> {
    let (digest, data) = document(provider, descriptor)?;
    Ok((parse(&digest, "image config", &data)?, data))
}

/// Finds the image for a platform behind the descriptor of a manifest or an index.
///
/// Among several that the platform can run the best wins ([`Platform::runs`]), then the first.
/// A descriptor that is itself a manifest is taken whatever its platform.
///
/// # Errors
/// [`ImageError::NoPlatform`] listing what there is, and whatever is wrong with the documents.
pub fn resolve(
    provider: &dyn ContentProvider,
    descriptor: &Descriptor,
    platform: &Platform,
) -> Result<Image, ImageError> {
    if !is_index(descriptor.media_type()) {
        return load(provider, descriptor);
    }
    let runs = platform.runs();
    let mut best: Option<(usize, Descriptor)> = None;
    let mut available = Vec::new();
    for manifest in manifests(provider, descriptor)? {
        let Some(offered) = offered_platform(provider, &manifest)? else {
            continue;
        };
        let rank = runs.iter().position(|runnable| *runnable == offered);
        available.push(offered.to_string());
        if let Some(rank) = rank
            && best.as_ref().is_none_or(|(other, _)| rank < *other)
        {
            best = Some((rank, manifest));
        }
    }
    match best {
        Some((_, manifest)) => load(provider, &manifest),
        None => Err(ImageError::NoPlatform {
            wanted: platform.to_string(),
            available: available.join(", "),
        }),
    }
}

/// What a manifest is for: what the index says, else what its config says. `None` for artifacts
/// and attestations, and for an unlabelled manifest that is not stored.
fn offered_platform(
    provider: &dyn ContentProvider,
    descriptor: &Descriptor,
) -> Result<Option<Platform>, ImageError> {
    if let Some(platform) = Platform::of(descriptor) {
        return Ok((platform.os != "unknown").then_some(platform));
    }
    let manifest = match read_manifest(provider, descriptor) {
        Err(ImageError::Content(e)) if e.is_not_found() => return Ok(None),
        result => result?,
    };
    // An artifact's config is not an image config, or empty.
    Ok(read_config(provider, manifest.config())
        .ok()
        .map(|(config, _)| platform_of(&config)))
}

/// All manifests behind an index, in order, each once.
fn manifests(
    provider: &dyn ContentProvider,
    index: &Descriptor,
) -> Result<Vec<Descriptor>, ImageError> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    // (descriptor, depth), next one last.
    let mut pending = vec![(index.clone(), 1)];
    while let Some((descriptor, depth)) = pending.pop() {
        if !seen.insert(descriptor.digest().to_string()) {
            continue;
        }
        if is_manifest(descriptor.media_type()) {
            found.push(descriptor);
        } else if is_index(descriptor.media_type()) {
            if depth > INDEX_DEPTH_MAX {
                return Err(ImageError::Limit {
                    what: "levels of indexes",
                    limit: INDEX_DEPTH_MAX,
                });
            }
            let children = match read_index(provider, &descriptor) {
                // A partial copy of a nested index is as absent as a partial copy of a platform.
                Err(ImageError::Content(e)) if e.is_not_found() && depth > 1 => continue,
                result => result?,
            };
            let next = children.manifests().iter().rev();
            pending.extend(next.map(|child| (child.clone(), depth + 1)));
        }
        if seen.len() + pending.len() > REACHABLE_MAX {
            return Err(ImageError::Limit {
                what: "documents",
                limit: REACHABLE_MAX,
            });
        }
    }
    Ok(found)
}

/// Reads a manifest with its config and checks that they fit.
fn load(provider: &dyn ContentProvider, descriptor: &Descriptor) -> Result<Image, ImageError> {
    if !is_manifest(descriptor.media_type()) {
        return Err(ImageError::MediaType {
            digest: digest_of(descriptor)?,
            media_type: descriptor.media_type().to_string(),
        });
    }
    let manifest = read_manifest(provider, descriptor)?;
    let (config, config_json) = read_config(provider, manifest.config())?;
    let name = digest_of(manifest.config())?;
    let diff_ids = config
        .rootfs()
        .diff_ids()
        .iter()
        .map(|id| Digest::parse(id))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| ImageError::BadDigest {
            document: name.to_string(),
            source,
        })?;
    let layers = manifest.layers().len();
    if diff_ids.len() != layers {
        let count = diff_ids.len();
        return Err(ImageError::document(
            name,
            format!("the config has {count} diff ids, the manifest {layers} layers"),
        ));
    }
    Ok(Image {
        descriptor: descriptor.clone(),
        manifest,
        config,
        config_json,
        diff_ids,
    })
}

/// Everything stored behind a descriptor, itself included, each blob once, with sizes checked.
///
/// Platforms of an index that are not stored at all are left out, since partial copies are
/// common; but a manifest that is stored must have its config and layers, the descriptor itself
/// must be stored, and at least one manifest of an index.
///
/// # Errors
/// [`ImageError`] naming what is missing or wrong.
pub fn blobs(
    provider: &dyn ContentProvider,
    descriptor: &Descriptor,
) -> Result<Vec<Descriptor>, ImageError> {
    let mut found = Vec::new();
    let mut seen = HashSet::new();
    let mut manifests = 0;
    let mut pending = vec![(descriptor.clone(), 0)];
    while let Some((blob, depth)) = pending.pop() {
        if !seen.insert(blob.digest().to_string()) {
            continue;
        }
        if seen.len() > REACHABLE_MAX || depth > INDEX_DEPTH_MAX {
            return Err(ImageError::Limit {
                what: "documents or levels of indexes",
                limit: REACHABLE_MAX,
            });
        }
        let (index, manifest) = (is_index(blob.media_type()), is_manifest(blob.media_type()));
        let digest = digest_of(&blob)?;
        let actual = match provider.info(&digest) {
            Err(e) if e.is_not_found() && depth > 0 && (index || manifest) => continue,
            result => result?.size,
        };
        if actual != blob.size() {
            return Err(ImageError::Size {
                digest,
                expected: blob.size(),
                actual,
            });
        }
        if index {
            let children = read_index(provider, &blob)?;
            let children = children.manifests().iter().rev();
            pending.extend(children.map(|child| (child.clone(), depth + 1)));
        } else if manifest {
            manifests += 1;
            let manifest = read_manifest(provider, &blob)?;
            // The children of a manifest are leaves: what they are is not interpreted.
            for leaf in manifest.layers().iter().chain([manifest.config()]) {
                found.extend(stored_leaf(provider, leaf, &mut seen)?);
            }
        }
        found.push(blob);
    }
    if manifests == 0 && is_index(descriptor.media_type()) {
        let name = descriptor.digest();
        return Err(ImageError::document(
            name,
            "none of its manifests is stored",
        ));
    }
    Ok(found)
}

/// Checks that a config or layer is there with the right size; `None` if it was seen before.
fn stored_leaf(
    provider: &dyn ContentProvider,
    leaf: &Descriptor,
    seen: &mut HashSet<String>,
) -> Result<Option<Descriptor>, ImageError> {
    if !seen.insert(leaf.digest().to_string()) {
        return Ok(None);
    }
    let digest = digest_of(leaf)?;
    let actual = provider.info(&digest)?.size;
    if actual != leaf.size() {
        return Err(ImageError::Size {
            digest,
            expected: leaf.size(),
            actual,
        });
    }
    Ok(Some(leaf.clone()))
}

/// Applies all layers of an image to an empty directory, verifying digests and diff ids.
///
/// # Errors
/// [`ImageError::Layer`]; the directory then holds part of the image.
pub fn unpack(
    provider: &dyn ContentProvider,
    image: &Image,
    dir: &Path,
    policy: &Policy,
) -> Result<(), ImageError> {
    for (descriptor, diff_id) in image.manifest.layers().iter().zip(&image.diff_ids) {
        let digest = digest_of(descriptor)?;
        layer::apply(provider, &digest, Some(diff_id), dir, policy)?;
    }
    Ok(())
}
