//! Where the document is in what a reference stands for.
//!
//! | what is there | where the records are |
//! |---|---|
//! | image manifest whose config has the cache's media type | that config; the manifest's layers say more about the blobs |
//! | index with an entry of that media type | that entry; the other entries say more about the blobs |
//! | image manifest with an image config | inline, in the config |
//! | index of image manifests | inline, in the config of each |

use std::collections::HashMap;

use base64::Engine as _;
use serde::Deserialize;

use super::{Config, Error, INLINE_KEY, Layer, MEDIA_TYPE, parse_inline};
use crate::Digest;

/// Annotation of a blob: the digest of the layer without compression.
const DIFF_ID: &str = "containerd.io/uncompressed";

/// What to read next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// The cache config with this digest; `blobs` is what the container says about its layers.
    Document {
        /// The blob to read and to [`super::parse`].
        digest: Digest,
        /// Layers by blob.
        blobs: HashMap<Digest, Blob>,
    },
    /// The image config with this digest, which may have an inline cache; see [`inline_records`].
    Image {
        /// The blob to read.
        config: Digest,
        /// The layers of the image, lowest first.
        layers: Vec<(Digest, Blob)>,
    },
    /// Manifests to look at in turn, with their platforms.
    Manifests(Vec<(Digest, Option<String>)>),
}

/// What a container says about a blob.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blob {
    /// Media type.
    pub media_type: Option<String>,
    /// Size in bytes.
    pub size: Option<u64>,
    /// Digest of the uncompressed layer.
    pub diff_id: Option<Digest>,
}

#[derive(Deserialize)]
struct Manifest {
    config: Option<Descriptor>,
    #[serde(default)]
    layers: Vec<Descriptor>,
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Deserialize)]
struct Descriptor {
    #[serde(rename = "mediaType", default)]
    media_type: String,
    digest: String,
    #[serde(default)]
    size: i64,
    #[serde(default)]
    annotations: HashMap<String, String>,
    platform: Option<Platform>,
}

#[derive(Deserialize)]
struct Platform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: String,
}

/// Where the cache is, by a manifest or an index.
///
/// # Errors
/// If it is neither.
pub fn locate(manifest: &[u8]) -> Result<Place, Error> {
    let shape = |error: &dyn std::fmt::Display| Error::Shape(format!("manifest: {error}"));
    let manifest: Manifest = serde_json::from_slice(manifest).map_err(|e| shape(&e))?;
    let digest = |text: &str| Digest::parse(text).map_err(|e| shape(&e));
    let blobs = |list: &[Descriptor]| {
        let blobs = list.iter().map(|one| Ok((digest(&one.digest)?, blob(one))));
        blobs.collect::<Result<Vec<_>, Error>>()
    };
    if let Some(config) = &manifest.config {
        let own = digest(&config.digest)?;
        if config.media_type == MEDIA_TYPE {
            return Ok(Place::Document {
                digest: own,
                blobs: blobs(&manifest.layers)?.into_iter().collect(),
            });
        }
        return Ok(Place::Image {
            config: own,
            layers: blobs(&manifest.layers)?,
        });
    }
    let entries = &manifest.manifests;
    if let Some(cache) = entries.iter().find(|entry| entry.media_type == MEDIA_TYPE) {
        return Ok(Place::Document {
            digest: digest(&cache.digest)?,
            blobs: blobs(entries)?.into_iter().collect(),
        });
    }
    if entries.is_empty() {
        return Err(shape(&"it has neither a config nor entries"));
    }
    let entries = entries.iter().map(|entry| {
        let platform = entry.platform.as_ref().map(Platform::text);
        Ok((digest(&entry.digest)?, platform))
    });
    Ok(Place::Manifests(entries.collect::<Result<_, Error>>()?))
}

impl Platform {
    fn text(&self) -> String {
        let parts = [&self.os, &self.architecture, &self.variant];
        let parts: Vec<&str> = parts
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(|s| &**s)
            .collect();
        parts.join("/")
    }
}

fn blob(descriptor: &Descriptor) -> Blob {
    let diff_id = descriptor.annotations.get(DIFF_ID);
    Blob {
        media_type: (!descriptor.media_type.is_empty()).then(|| descriptor.media_type.clone()),
        size: u64::try_from(descriptor.size).ok().filter(|size| *size > 0),
        diff_id: diff_id.and_then(|text| Digest::parse(text).ok()),
    }
}

impl Config {
    /// Adds what a container says about the blobs, where the document is silent.
    pub fn describe(&mut self, blobs: &HashMap<Digest, Blob>) {
        for layer in &mut self.layers {
            let Some(blob) = blobs.get(&layer.blob) else {
                continue;
            };
            layer.diff_id = layer.diff_id.take().or_else(|| blob.diff_id.clone());
            layer.size = layer.size.or(blob.size);
            layer.media_type = layer.media_type.take().or_else(|| blob.media_type.clone());
        }
    }
}

#[derive(Deserialize)]
struct Image {
    #[serde(flatten)]
    platform: Platform,
    #[serde(default)]
    rootfs: RootFs,
    #[serde(rename = "moby.buildkit.cache.v0")]
    cache: Option<String>,
}

#[derive(Default, Deserialize)]
struct RootFs {
    #[serde(default)]
    diff_ids: Vec<String>,
}

fn image(config: &[u8]) -> Result<Image, Error> {
    serde_json::from_slice(config).map_err(|e| Error::Shape(format!("image config: {e}")))
}

/// The platform that an image config names, such as `linux/arm64/v8`; none if it names none.
///
/// # Errors
/// If the config is malformed.
pub fn image_platform(config: &[u8]) -> Result<Option<String>, Error> {
    let platform = image(config)?.platform.text();
    Ok((!platform.is_empty()).then_some(platform))
}

/// The diff ids that an image config lists, lowest layer first.
///
/// # Errors
/// If the config is malformed.
pub fn diff_ids(config: &[u8]) -> Result<Vec<Digest>, Error> {
    let ids = image(config)?.rootfs.diff_ids;
    let ids = ids.iter().enumerate().map(|(index, text)| {
        let place = || format!("rootfs.diff_ids[{index}]");
        Digest::parse(text).map_err(|error| Error::at(place(), error.to_string()))
    });
    ids.collect()
}

/// The layers of an image, lowest first: `layers` as in [`Place::Image`], with the diff ids of the
/// image config.
///
/// # Errors
/// If the config is malformed, or the two do not fit together.
pub fn image_layers(config: &[u8], layers: &[(Digest, Blob)]) -> Result<Vec<Layer>, Error> {
    let diff_ids = diff_ids(config)?;
    if diff_ids.len() != layers.len() {
        let (ids, layers) = (diff_ids.len(), layers.len());
        let reason = format!("{ids} diff ids for {layers} layers");
        return Err(Error::at("rootfs.diff_ids", reason));
    }
    let layers = layers.iter().zip(diff_ids).enumerate();
    let layers = layers.map(|(index, ((digest, blob), diff_id))| Layer {
        blob: digest.clone(),
        parent: index.checked_sub(1),
        diff_id: Some(diff_id),
        size: blob.size,
        media_type: blob.media_type.clone(),
    });
    Ok(layers.collect())
}

/// The inline cache in an image config, if there is one; `layers` as in [`Place::Image`].
///
/// # Errors
/// If the image config, or what it holds, is malformed.
pub fn inline_records(config: &[u8], layers: &[(Digest, Blob)]) -> Result<Option<Config>, Error> {
    let Some(cache) = image(config)?.cache else {
        return Ok(None);
    };
    let records = base64::prelude::BASE64_STANDARD
        .decode(&cache)
        .map_err(|error| Error::at(INLINE_KEY, error.to_string()))?;
    parse_inline(&records, image_layers(config, layers)?).map(Some)
}
