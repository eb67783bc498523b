//! Sources: vertices that bring something in from outside.
//!
//! A source is an identifier `scheme://rest` and attributes. Images get the platform, everything
//! else is the same on all platforms.

mod blob;
pub(crate) mod git;
mod http;
mod image;
pub(crate) mod local;

use std::collections::BTreeMap;

use proto::pb;

pub use self::{
    blob::{BlobOptions, OciStore, image_blob, oci_layout_blob},
    git::{GitBundle, GitOptions, git},
    http::{HttpOptions, HttpSignature, http},
    image::{ImageOptions, OciLayoutOptions, RecordType, ResolveMode, image, oci_layout},
    local::{Differ, LocalOptions, local, patterns},
};
use super::{
    Constraints, Output,
    vertex::{PlatformUse, Vertex},
};

/// Attributes of a source, gathered with the capabilities they need.
#[derive(Default)]
struct Attributes {
    map: BTreeMap<String, String>,
    caps: Vec<&'static str>,
}

impl Attributes {
    fn set(&mut self, key: impl Into<String>, value: impl Into<String>) {
        self.map.insert(key.into(), value.into());
    }

    fn require(&mut self, cap: &'static str) {
        self.caps.push(cap);
    }

    /// Sets an attribute and requires a capability if there is a value.
    fn set_some(&mut self, key: &str, value: Option<impl Into<String>>, cap: &'static str) {
        if let Some(value) = value {
            self.set(key, value);
            self.require(cap);
        }
    }

    /// Sets an attribute to "true" and requires a capability if `value`.
    fn set_flag(&mut self, key: &str, value: bool, cap: &'static str) {
        self.set_some(key, value.then_some("true"), cap);
    }

    fn into_source(
        self,
        identifier: String,
        platform_use: PlatformUse,
        constraints: Constraints,
    ) -> Output {
        let source = pb::SourceOp {
            identifier,
            attrs: self.map,
        };
        let constraints = constraints.requiring(self.caps);
        Vertex::new(
            pb::op::Op::Source(source),
            Vec::new(),
            None,
            platform_use,
            constraints,
        )
        .output(0)
    }
}

#[cfg(test)]
mod tests;
