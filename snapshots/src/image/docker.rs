//! `docker save` archives without an OCI index: `manifest.json` lists, for each image, the path of
//! its config, its tags, and the paths of its layers. The config is kept byte for byte (its
//! digest is the image id that users know) and gets an OCI manifest. Old archives name layers by
//! path only, so each is checked against the diff id in the config.

use std::collections::BTreeMap;
use std::io::Read;

use oci_spec::image::{Descriptor, ImageConfiguration, MediaType};
use serde::Deserialize;

use super::import::{Contents, NamedImage};
use super::write::put_manifest;
use super::{ImageError, LAYERS_MAX, Platform, descriptor};
use crate::content::{self, BlobInfo, ContentProvider, DOCUMENT_SIZE_MAX};
use crate::layer::{Compression, LayerError, diff_id};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Item {
    config: String,
    #[serde(default)]
    repo_tags: Option<Vec<String>>,
    #[serde(default)]
    layers: Option<Vec<String>>,
}

/// Makes an OCI image of each item of a `manifest.json`.
pub(super) fn convert(
    provider: &dyn ContentProvider,
    list: &[u8],
    contents: &Contents,
) -> Result<Vec<NamedImage>, ImageError> {
    let items: Vec<Item> =
        serde_json::from_slice(list).map_err(|e| ImageError::document("manifest.json", e))?;
    if items.is_empty() {
        return Err(ImageError::Archive(
            "manifest.json lists no image".to_owned(),
        ));
    }
    items
        .into_iter()
        .map(|item| convert_one(provider, item, contents))
        .collect()
}

fn convert_one(
    provider: &dyn ContentProvider,
    item: Item,
    contents: &Contents,
) -> Result<NamedImage, ImageError> {
    let config_blob = contents.find(&item.config)?;
    let data = content::read_all(provider, &config_blob.digest, DOCUMENT_SIZE_MAX)?;
    let config: ImageConfiguration =
        serde_json::from_slice(&data).map_err(|e| ImageError::document(&item.config, e))?;
    let paths = item.layers.unwrap_or_default();
    let diff_ids = config.rootfs().diff_ids();
    if paths.len() > LAYERS_MAX {
        return Err(ImageError::Limit {
            what: "layers",
            limit: LAYERS_MAX,
        });
    }
    if paths.len() != diff_ids.len() {
        let (ids, layers) = (diff_ids.len(), paths.len());
        let reason = format!("it has {ids} diff ids, manifest.json lists {layers} layers");
        return Err(ImageError::document(item.config, reason));
    }
    let mut layers = Vec::with_capacity(paths.len());
    for (path, expected) in paths.iter().zip(diff_ids) {
        layers.push(layer(provider, path, contents.find(path)?, expected)?);
    }
    let platform = Platform::new(
        &config.os().to_string(),
        &config.architecture().to_string(),
        config.variant().as_deref().unwrap_or(""),
    );
    let config = descriptor(
        MediaType::ImageConfig,
        &config_blob.digest,
        config_blob.size,
    );
    let descriptor = put_manifest(provider, config, layers, BTreeMap::new(), &platform)?;
    Ok(NamedImage {
        descriptor,
        names: item.repo_tags.unwrap_or_default(),
    })
}

fn layer(
    provider: &dyn ContentProvider,
    path: &str,
    blob: &BlobInfo,
    expected: &str,
) -> Result<Descriptor, ImageError> {
    let mut start = Vec::new();
    content::open(provider, &blob.digest)?
        .take(4)
        .read_to_end(&mut start)
        .map_err(LayerError::Stream)?;
    let compression = Compression::detect(&start);
    let actual = match compression {
        Compression::None => blob.digest.clone(),
        _ => diff_id(provider, &blob.digest)?,
    };
    if actual.as_str() != expected {
        let reason = format!("layer has diff id {actual}, the config says {expected}");
        return Err(ImageError::document(path, reason));
    }
    Ok(descriptor(
        compression.media_type(),
        &blob.digest,
        blob.size,
    ))
}
