//! Inputs by name: directories for local sources, OCI layouts for images, trees of outputs.

use std::{
    collections::{BTreeMap, HashMap},
    path::PathBuf,
    sync::Arc,
};

use proto::pb;
use snapshots::{
    content::{ContentProvider, DOCUMENT_SIZE_MAX, read_all},
    context,
    image::{self, Image},
};

use super::{Files, InputError, Inputs, Source};
use crate::{
    Digest,
    llb::{Output, Platform, Vertex, platform, reference::Reference, source::patterns},
};

/// What is known, by name. Everything not named is not known.
#[derive(Default)]
pub struct Known {
    /// Platform of the worker; this machine's if `None`.
    pub platform: Option<Platform>,
    /// Directories by the name of local sources.
    pub locals: BTreeMap<String, PathBuf>,
    /// Content stores by the id that image sources of OCI layouts name.
    pub layouts: BTreeMap<String, Arc<dyn ContentProvider>>,
    /// What other sources resolve to, by raw digest of the vertex.
    pub sources: HashMap<Digest, Source>,
    /// Trees by raw digest of the vertex and output.
    pub outputs: HashMap<(Digest, i64), Files>,
}

/// An image, and where its layers are.
struct Found {
    provider: Arc<dyn ContentProvider>,
    image: Image,
}

impl Known {
    /// The image of an OCI layout that a vertex names; `None` if it names no layout that is known.
    fn image(&self, vertex: &Vertex) -> Result<Option<Found>, InputError> {
        let Some(pb::SourceOp { identifier, attrs }) = vertex.source() else {
            return Ok(None);
        };
        let Some(reference) = identifier.strip_prefix("oci-layout://") else {
            return Ok(None);
        };
        let reference = Reference::parse(reference).map_err(fail)?;
        let store = attrs.get("oci.store").unwrap_or(&reference.name);
        let (Some(provider), Some(digest)) = (self.layouts.get(store), &reference.digest) else {
            return Ok(None);
        };
        let platform = vertex.op().platform.clone().or_else(|| self.platform());
        let platform = platform::normalize(&platform.unwrap_or_else(platform::host));
        let wanted = image::Platform::new(&platform.os, &platform.architecture, &platform.variant);
        let image = resolve(&**provider, digest, &wanted)?;
        Ok(Some(Found {
            provider: Arc::clone(provider),
            image: limited(image, attrs)?,
        }))
    }
}

/// What a stored document says it is. Older ones do not say; then an index is told by its list.
#[derive(serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    media_type: Option<String>,
    manifests: Option<serde::de::IgnoredAny>,
}

/// The image behind the digest of a manifest or an index.
fn resolve(
    provider: &dyn ContentProvider,
    digest: &Digest,
    platform: &image::Platform,
) -> Result<Image, InputError> {
    let digest = snapshots::Digest::parse(digest.as_str()).map_err(fail)?;
    let data = read_all(provider, &digest, DOCUMENT_SIZE_MAX).map_err(fail)?;
    let document: Document = serde_json::from_slice(&data)
        .map_err(|error| InputError(format!("{digest} is no image: {error}")))?;
    let media_type = document.media_type.unwrap_or_else(|| {
        let kind = document.manifests.map_or("manifest", |_| "index");
        format!("application/vnd.oci.image.{kind}.v1+json")
    });
    let descriptor = image::descriptor(media_type.as_str().into(), &digest, data.len() as u64);
    image::resolve(provider, &descriptor, platform).map_err(fail)
}

/// The image with as many layers as the source takes.
fn limited(mut image: Image, attrs: &BTreeMap<String, String>) -> Result<Image, InputError> {
    let Some(limit) = attrs.get("oci.layerlimit") else {
        return Ok(image);
    };
    let limit: usize = limit.parse().map_err(fail)?;
    image.diff_ids.truncate(limit);
    let layers = image.manifest.layers().iter().take(limit).cloned();
    let layers = layers.collect();
    image.manifest.set_layers(layers);
    Ok(image)
}

fn fail(error: impl std::fmt::Display) -> InputError {
    InputError(error.to_string())
}

impl Inputs for Known {
    fn platform(&self) -> Option<Platform> {
        Some(self.platform.clone().unwrap_or_else(platform::host))
    }

    fn source(&self, source: &Vertex) -> Result<Option<Source>, InputError> {
        if let Some(known) = self.sources.get(source.digest()) {
            return Ok(Some(known.clone()));
        }
        let Some(Found { image, .. }) = self.image(source)? else {
            return Ok(None);
        };
        let layers = image.diff_ids.iter().map(|id| Digest::parse(id.as_str()));
        Ok(Some(Source {
            resolved: None,
            layers: Some(layers.collect::<Result<_, _>>().map_err(fail)?),
        }))
    }

    fn files(&self, output: &Output) -> Result<Option<Files>, InputError> {
        let vertex = output.vertex();
        let place = (vertex.digest().clone(), output.index());
        if let Some(files) = self.outputs.get(&place) {
            return Ok(Some(files.clone()));
        }
        let Some(source) = vertex.source() else {
            return Ok(None);
        };
        if let Some(Found { provider, image }) = self.image(vertex)? {
            let hashes = move |rules| image::rootfs(&*provider, &image, rules).map_err(fail);
            return Ok(Some(Files::hashed(Arc::new(hashes))));
        }
        let Some(("local", name)) = source.identifier.split_once("://") else {
            return Ok(None);
        };
        let Some(root) = self.locals.get(name) else {
            return Ok(None);
        };
        let source = context::Source {
            include: patterns(source, "local.includepattern"),
            exclude: patterns(source, "local.excludepatterns"),
            follow: patterns(source, "local.followpaths"),
            ..context::Source::new(root)
        };
        let tree = Arc::new(context::list(&source).map_err(fail)?);
        Ok(Some(Files {
            owner: None,
            ..Files::sent(tree)
        }))
    }
}
