//! Writing images: manifests and indexes into a store, archives out of one.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use oci_spec::image::{
    Descriptor, ImageConfiguration, ImageIndexBuilder, ImageManifestBuilder, MediaType,
};
use serde_json::json;

use super::{
    ImageError, Platform, blobs, descriptor, digest_of, is_manifest, read_manifest, to_json,
};
use crate::content::{self, ContentProvider, Expected};
use crate::digest::Digest;
use crate::tar::Writer;
use crate::tree::{Kind, Meta, Time};

/// Annotation with the full reference of an image, as containerd and Docker write it.
pub(super) const IMAGE_NAME: &str = "io.containerd.image.name";

/// Stores a config and a manifest; returns the manifest's descriptor with its platform.
///
/// # Errors
/// [`ImageError::Document`] when the config's diff ids do not fit the layers, and storage errors.
pub fn write_manifest(
    provider: &dyn ContentProvider,
    config: &ImageConfiguration,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
) -> Result<Descriptor, ImageError> {
    let (ids, count) = (config.rootfs().diff_ids().len(), layers.len());
    if ids != count {
        return Err(ImageError::document(
            "image config",
            format!("it has {ids} diff ids for {count} layers"),
        ));
    }
    let json = to_json(config)?;
    let blob = content::put(provider, &json, &Expected::ANY)?;
    let config_descriptor = descriptor(MediaType::ImageConfig, &blob.digest, blob.size);
    let platform = Platform::new(
        &config.os().to_string(),
        &config.architecture().to_string(),
        config.variant().as_deref().unwrap_or(""),
    );
    put_manifest(provider, config_descriptor, layers, annotations, &platform)
}

/// Stores a manifest for a config that is stored already.
pub(super) fn put_manifest(
    provider: &dyn ContentProvider,
    config: Descriptor,
    layers: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
    platform: &Platform,
) -> Result<Descriptor, ImageError> {
    let mut manifest = ImageManifestBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageManifest)
        .config(config)
        .layers(layers)
        .build()
        .map_err(|e| ImageError::document("new manifest", e))?;
    if !annotations.is_empty() {
        manifest.set_annotations(Some(HashMap::from_iter(annotations)));
    }
    let blob = content::put(provider, &to_json(&manifest)?, &Expected::ANY)?;
    let mut out = descriptor(MediaType::ImageManifest, &blob.digest, blob.size);
    out.set_platform(Some(platform.to_oci()));
    Ok(out)
}

/// Stores an index of manifests.
///
/// # Errors
/// Storage errors.
pub fn write_index(
    provider: &dyn ContentProvider,
    manifests: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
) -> Result<Descriptor, ImageError> {
    let json = index_json(manifests, annotations)?;
    let blob = content::put(provider, &json, &Expected::ANY)?;
    Ok(descriptor(MediaType::ImageIndex, &blob.digest, blob.size))
}

fn index_json(
    manifests: Vec<Descriptor>,
    annotations: BTreeMap<String, String>,
) -> Result<Vec<u8>, ImageError> {
    let mut index = ImageIndexBuilder::default()
        .schema_version(2u32)
        .media_type(MediaType::ImageIndex)
        .manifests(manifests)
        .build()
        .map_err(|e| ImageError::document("new index", e))?;
    if !annotations.is_empty() {
        index.set_annotations(Some(HashMap::from_iter(annotations)));
    }
    to_json(&index)
}

/// How an archive is written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ArchiveOptions {
    /// Also write `manifest.json`, for `docker load` of engines that do not read OCI layouts.
    /// Only images that are manifests, not indexes, appear in it.
    pub docker: bool,
    /// Modification time of every entry, in seconds since 1970.
    pub time: i64,
}

/// Writes an OCI layout as a tar archive: the blobs of the images by digest, then the documents.
/// The same images give the same bytes.
///
/// # Errors
/// [`ImageError`] when something is missing or the stream fails; the archive is then incomplete.
pub fn archive<W: Write>(
    provider: &dyn ContentProvider,
    images: &[Descriptor],
    out: W,
    options: &ArchiveOptions,
) -> Result<W, ImageError> {
    let mut all: BTreeMap<Digest, u64> = BTreeMap::new();
    for image in images {
        for blob in blobs(provider, image)? {
            all.insert(digest_of(&blob)?, blob.size());
        }
    }
    let mut archive = Archive {
        writer: Writer::new(out),
        time: Time::from_secs(options.time),
    };
    archive.dir("blobs")?;
    let mut folder = "";
    for (digest, size) in &all {
        let name = digest.algorithm().name();
        if folder != name {
            archive.dir(&format!("blobs/{name}"))?;
            folder = name;
        }
        let path = format!("blobs/{name}/{}", digest.hex());
        let data = content::open(provider, digest)?;
        archive.file(&path, *size, data)?;
    }
    archive.document("index.json", &index_json(images.to_vec(), BTreeMap::new())?)?;
    if options.docker {
        archive.document("manifest.json", &docker_manifest(provider, images)?)?;
    }
    archive.document("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(archive.writer.finish()?)
}

struct Archive<W: Write> {
    writer: Writer<W>,
    time: Time,
}

impl<W: Write> Archive<W> {
    fn meta(&self, kind: Kind, mode: u32) -> Meta {
        Meta {
            mtime: self.time,
            ..Meta::new(kind, mode)
        }
    }

    fn dir(&mut self, path: &str) -> Result<(), ImageError> {
        let meta = self.meta(Kind::Dir, 0o755);
        Ok(self.writer.append(Path::new(path), &meta)?)
    }

    fn file(&mut self, path: &str, size: u64, data: impl std::io::Read) -> Result<(), ImageError> {
        let meta = self.meta(Kind::File { size }, 0o444);
        Ok(self.writer.append_file(Path::new(path), &meta, data)?)
    }

    fn document(&mut self, path: &str, json: &[u8]) -> Result<(), ImageError> {
        self.file(path, json.len() as u64, json)
    }
}

/// The list that `docker load` reads.
fn docker_manifest(
    provider: &dyn ContentProvider,
    images: &[Descriptor],
) -> Result<Vec<u8>, ImageError> {
    let path = |blob: &Descriptor| -> Result<String, ImageError> {
        let digest = digest_of(blob)?;
        Ok(format!(
            "blobs/{}/{}",
            digest.algorithm().name(),
            digest.hex()
        ))
    };
    let mut list = Vec::new();
    for image in images
        .iter()
        .filter(|image| is_manifest(image.media_type()))
    {
        let manifest = read_manifest(provider, image)?;
        let layers = manifest
            .layers()
            .iter()
            .map(path)
            .collect::<Result<Vec<_>, _>>()?;
        let names: Vec<&str> = image_name(image).into_iter().collect();
        list.push(json!({
            "Config": path(manifest.config())?,
            "RepoTags": names,
            "Layers": layers,
        }));
    }
    to_json(&list)
}

/// The full reference of an image in an index.
pub(super) fn image_name(image: &Descriptor) -> Option<&str> {
    let annotations = image.annotations().as_ref()?;
    annotations
        .get(IMAGE_NAME)
        .or_else(|| annotations.get(content::REF_NAME))
        .map(String::as_str)
}
