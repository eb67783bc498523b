//! Images, from a registry or from an OCI layout that the client serves.

use super::{Attributes, OciStore, PlatformUse};
use crate::{
    Digest,
    llb::{Constraints, Error, Output, caps, reference::Reference},
};

/// Where the daemon looks for the manifest of an image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ResolveMode {
    /// The daemon's choice; this is the absence of the attribute.
    #[default]
    Default,
    /// Always ask the registry.
    ForcePull,
    /// Use a local image if there is one.
    PreferLocal,
}

/// How the daemon's cache records the layers of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RecordType {
    /// Pulled for the daemon's own use.
    Internal,
    /// Pulled as a frontend.
    Frontend,
}

/// Options of an image.
#[derive(Debug, Clone, Default)]
pub struct ImageOptions {
    /// Where to look for the manifest.
    pub resolve_mode: ResolveMode,
    /// How to record the layers.
    pub record_type: Option<RecordType>,
    /// Use only this many layers from the bottom.
    pub layer_limit: Option<u32>,
    /// Fail unless the reference resolves to this digest.
    pub checksum: Option<Digest>,
    /// Platform, name and so on.
    pub constraints: Constraints,
}

/// The file system of an image in a registry. The reference is completed as Docker does.
///
/// # Errors
///
/// If the reference does not parse.
pub fn image(reference: &str, options: ImageOptions) -> Result<Output, Error> {
    let reference = Reference::parse(reference)?.or_latest();
    let mut attributes = Attributes::default();
    attributes.require(caps::SOURCE_IMAGE);
    match options.resolve_mode {
        ResolveMode::Default => {}
        ResolveMode::ForcePull => attributes.set_some(
            "image.resolvemode",
            Some("pull"),
            caps::SOURCE_IMAGE_RESOLVE_MODE,
        ),
        // An older daemon may ignore this one, so no capability is required.
        ResolveMode::PreferLocal => attributes.set("image.resolvemode", "local"),
    }
    match options.record_type {
        None => {}
        Some(RecordType::Internal) => attributes.set("image.recordtype", "internal"),
        Some(RecordType::Frontend) => attributes.set("image.recordtype", "frontend"),
    }
    attributes.set_some(
        "image.layerlimit",
        options.layer_limit.map(|limit| limit.to_string()),
        caps::SOURCE_IMAGE_LAYER_LIMIT,
    );
    attributes.set_some(
        "image.checksum",
        options.checksum.as_ref().map(Digest::as_str),
        caps::SOURCE_IMAGE_CHECKSUM,
    );
    let identifier = format!("docker-image://{reference}");
    Ok(attributes.into_source(identifier, PlatformUse::Keep, options.constraints))
}

/// Options of an image in an OCI layout.
#[derive(Debug, Clone, Default)]
pub struct OciLayoutOptions {
    /// Which content store of which session has the layout.
    pub store: OciStore,
    /// Use only this many layers from the bottom.
    pub layer_limit: Option<u32>,
    /// Platform, name and so on.
    pub constraints: Constraints,
}

/// The file system of an image in an OCI layout. The reference is `name@digest` and is not
/// completed; without a store id its name is the id of the store.
///
/// # Errors
///
/// If the reference does not parse or has no digest.
pub fn oci_layout(reference: &str, options: OciLayoutOptions) -> Result<Output, Error> {
    if Reference::parse(reference)?.digest.is_none() {
        return Err(Error::Reference {
            reference: reference.to_owned(),
            reason: "an image of an OCI layout is named by its digest",
        });
    }
    let mut attributes = Attributes::default();
    attributes.require(caps::SOURCE_OCI_LAYOUT);
    options.store.set(&mut attributes);
    if let Some(limit) = options.layer_limit {
        attributes.set("oci.layerlimit", limit.to_string());
    }
    let identifier = format!("oci-layout://{reference}");
    Ok(attributes.into_source(identifier, PlatformUse::Keep, options.constraints))
}
