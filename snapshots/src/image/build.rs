//! An image of one tree: what tests, examples and `oci-layout` sources start from.

use std::collections::{BTreeMap, HashMap};
use std::io::Write;
use std::path::Path;

use oci_spec::image::{
    Config, Descriptor, HistoryBuilder, ImageConfigurationBuilder, RootFsBuilder,
};

use super::write::IMAGE_NAME;
use super::{ArchiveOptions, ImageError, Platform, archive, write_manifest};
use crate::content::{ContentProvider, ContentStore, REF_NAME};
use crate::layer::{self, Compression, Options, Times};
use crate::tree::{DirTree, Tree};

/// How a tree becomes an image. The default is deterministic: every time is 1970, every owner
/// root, and the image is for the platform of this machine.
#[derive(Debug, Clone)]
pub struct BuildOptions {
    /// Platform that the config states.
    pub platform: Platform,
    /// What a container runs: command, environment, user ...
    pub config: Config,
    /// Compression of the layer.
    pub compression: Compression,
    /// Modification times in the layer.
    pub times: Times,
    /// Owner of everything, `None` for the owners in the tree.
    pub owner: Option<(u32, u32)>,
    /// Creation time in the config, RFC 3339.
    pub created: String,
    /// Full reference such as `example.test/busybox:latest`, written into the index.
    pub name: Option<String>,
}

impl Default for BuildOptions {
    fn default() -> Self {
        Self {
            platform: Platform::host(),
            config: Config::default(),
            compression: Compression::default(),
            times: Times::Fixed(0),
            owner: Some((0, 0)),
            created: "1970-01-01T00:00:00Z".to_owned(),
            name: None,
        }
    }
}

/// Stores a tree as an image of one layer; returns the descriptor of its manifest, with platform
/// and, if there is a name, the annotations that an index carries.
///
/// # Errors
/// [`ImageError`].
pub fn from_tree(
    provider: &dyn ContentProvider,
    tree: &dyn Tree,
    options: &BuildOptions,
) -> Result<Descriptor, ImageError> {
    let layer_options = Options {
        compression: options.compression,
        times: options.times,
        owner: options.owner,
    };
    let layer = layer::from_trees(provider, None, tree, &layer_options)?;
    let invalid = |e: oci_spec::OciSpecError| ImageError::document("new config", e);
    let rootfs = RootFsBuilder::default()
        .typ("layers")
        .diff_ids(vec![layer.diff_id.to_string()])
        .build()
        .map_err(invalid)?;
    let history = HistoryBuilder::default()
        .created(options.created.clone())
        .created_by("files of one tree")
        .build()
        .map_err(invalid)?;
    let platform = options.platform.to_oci();
    let mut config = ImageConfigurationBuilder::default()
        .created(options.created.clone())
        .architecture(platform.architecture().clone())
        .os(platform.os().clone())
        .config(options.config.clone())
        .rootfs(rootfs)
        .history(vec![history])
        .build()
        .map_err(invalid)?;
    config.set_variant(platform.variant().clone());
    let layers = vec![layer.descriptor()];
    let mut image = write_manifest(provider, &config, layers, BTreeMap::new())?;
    if let Some(name) = &options.name {
        image.set_annotations(Some(names(name)));
    }
    Ok(image)
}

fn names(name: &str) -> HashMap<String, String> {
    // A colon after the last slash starts the tag; before it, it is a port.
    let last = name.rsplit('/').next().unwrap_or(name);
    let tag = last.split_once(':').map_or("latest", |(_, tag)| tag);
    HashMap::from([
        (IMAGE_NAME.to_owned(), name.to_owned()),
        (REF_NAME.to_owned(), tag.to_owned()),
    ])
}

/// Writes the files below `root` as an OCI archive of one image of one layer.
///
/// # Errors
/// [`ImageError`]; the archive is then incomplete.
pub fn archive_from_root(
    root: &Path,
    options: &BuildOptions,
    out: impl Write,
) -> Result<Descriptor, ImageError> {
    let tree = DirTree::new(root).map_err(ImageError::io(root))?;
    let temporary = tempfile::tempdir().map_err(ImageError::io(&tempfile::env::temp_dir()))?;
    let store = ContentStore::open(temporary.path())?;
    let image = from_tree(&store, &tree, options)?;
    let archive_options = ArchiveOptions {
        docker: true,
        time: 0,
    };
    archive(&store, std::slice::from_ref(&image), out, &archive_options)?;
    Ok(image)
}
