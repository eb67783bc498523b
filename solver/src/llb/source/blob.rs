//! Single blobs, from a registry or from an OCI layout, as a file.

use super::{Attributes, PlatformUse};
use crate::llb::{Constraints, Error, Output, caps, reference::Reference};

/// A content store that a client serves through its session.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OciStore {
    /// Session; `None` is any session of the build.
    pub session_id: Option<String>,
    /// Store; `None` is the name in the reference.
    pub store_id: Option<String>,
}

impl OciStore {
    pub(super) fn set(self, attributes: &mut Attributes) {
        if let Some(id) = self.session_id {
            attributes.set("oci.session", id);
        }
        if let Some(id) = self.store_id {
            attributes.set("oci.store", id);
        }
    }
}

/// Options of a blob.
#[derive(Debug, Clone, Default)]
pub struct BlobOptions {
    /// Name of the file.
    pub filename: Option<String>,
    /// Permission bits; zero is the daemon's default.
    pub mode: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Store of an OCI layout; not used for a registry.
    pub store: OciStore,
    /// Name and so on.
    pub constraints: Constraints,
}

/// A blob of a repository in a registry, as a file. The reference is `name@digest`.
///
/// # Errors
///
/// If the reference does not parse, has a tag or has no digest.
pub fn image_blob(reference: &str, options: BlobOptions) -> Result<Output, Error> {
    blob(
        "docker-image+blob",
        reference,
        BlobOptions {
            store: OciStore::default(),
            ..options
        },
    )
}

/// A blob of an OCI layout, as a file. The reference is `name@digest`.
///
/// # Errors
///
/// If the reference does not parse, has a tag or has no digest.
pub fn oci_layout_blob(reference: &str, options: BlobOptions) -> Result<Output, Error> {
    blob("oci-layout+blob", reference, options)
}

fn blob(scheme: &str, reference: &str, options: BlobOptions) -> Result<Output, Error> {
    let parsed = Reference::parse(reference)?;
    if parsed.tag.is_some() || parsed.digest.is_none() {
        return Err(Error::Reference {
            reference: reference.to_owned(),
            reason: "a blob is named by its digest and has no tag",
        });
    }
    let mut attributes = Attributes::default();
    attributes.require(caps::SOURCE_IMAGE_BLOB);
    if let Some(name) = options.filename {
        attributes.set("http.filename", name);
    }
    if options.mode != 0 {
        attributes.set("http.perm", format!("0{:o}", options.mode));
    }
    if options.uid != 0 {
        attributes.set("http.uid", options.uid.to_string());
    }
    if options.gid != 0 {
        attributes.set("http.gid", options.gid.to_string());
    }
    options.store.set(&mut attributes);
    let identifier = format!("{scheme}://{parsed}");
    Ok(attributes.into_source(identifier, PlatformUse::Clear, options.constraints))
}
