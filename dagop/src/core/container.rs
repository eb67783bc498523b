//! `Container`: a root file system, what is mounted in it, and an image config.
//!
//! The value is lazy and immutable: settings change the config, files change a
//! tree, and `withExec` makes a vertex whose outputs become the new trees. The
//! fields are in the files of `container/`, grouped by what they touch.
//!
//! A path of a container belongs to the mount with the longest target above
//! it, or else to the root: [`Container::locate`] decides, so that `withFile`,
//! `directory` and `file` see what a process would see.

mod config;
mod exec;
mod files;
mod image;
mod mounts;
mod owner;
mod settings;

use std::sync::Arc;

use crate::platform::Platform;
use dagql::{EnumType, ObjectData, ObjectType};

pub(crate) use config::ImageConfig;

use super::path;
use super::records::Port;
use crate::error::Error;
use crate::vertex::{ExecMount, MountKind, Tree, mount_is_bound, tree_is_bound};

/// The data of a `Container`.
#[derive(Clone, Debug)]
pub(crate) struct Container {
    /// Where its processes run.
    pub(crate) platform: Platform,
    /// The root file system.
    pub(crate) rootfs: Tree,
    /// The image config.
    pub(crate) config: Arc<ImageConfig>,
    /// Everything mounted, in the order it was added.
    pub(crate) mounts: Arc<[ExecMount]>,
    /// Environment variables from secrets: variable, secret id.
    pub(crate) secret_env: Arc<[(String, String)]>,
    /// Ports with what the image config cannot say.
    pub(crate) ports: Arc<[Port]>,
    /// The image it was made from, pinned by digest.
    pub(crate) image_ref: Option<String>,
    /// The last `withExec`: its meta output, and the command for messages.
    pub(crate) meta: Tree,
}

impl ObjectData for Container {
    fn type_name(&self) -> &str {
        "Container"
    }

    fn session_bound(&self) -> bool {
        [&self.rootfs, &self.meta].into_iter().any(tree_is_bound)
            || self.mounts.iter().any(mount_is_bound)
            || !self.secret_env.is_empty()
    }
}

/// A path of a container, in the tree that holds it.
pub(crate) struct Place {
    /// Index of the mount; none for the root.
    pub(crate) mount: Option<usize>,
    /// The tree.
    pub(crate) tree: Tree,
    /// The path in the tree.
    pub(crate) path: String,
}

impl Container {
    /// An empty container.
    pub(crate) fn new(platform: Platform) -> Self {
        Self {
            platform,
            rootfs: None,
            config: Arc::default(),
            mounts: Arc::new([]),
            secret_env: Arc::new([]),
            ports: Arc::new([]),
            image_ref: None,
            meta: None,
        }
    }

    /// Absolute path of an argument: relative ones begin at the working directory.
    pub(crate) fn absolute(&self, text: &str) -> Result<String, Error> {
        path::join(&self.config.workdir_or_root(), text)
    }

    /// An argument with `$NAME` replaced, if the call asked for it.
    pub(crate) fn expand(&self, text: &str, wanted: bool) -> Result<String, Error> {
        if !wanted {
            return Ok(text.to_owned());
        }
        super::expand::expand(text, |name| {
            if self.secret_env.iter().any(|(variable, _)| variable == name) {
                return Err(Error::input(format!(
                    "variable {name} comes from a secret and cannot be expanded"
                )));
            }
            Ok(self.config.env(name).map(str::to_owned))
        })
    }

    /// The tree that holds an absolute path.
    ///
    /// # Errors
    /// When what is mounted there has no files outside a running process.
    pub(crate) fn locate(&self, absolute: &str) -> Result<Place, Error> {
        let nearest = self
            .mounts
            .iter()
            .enumerate()
            .filter_map(|(i, mount)| Some((i, mount, path::below(&mount.target, absolute)?)))
            .max_by_key(|(_, mount, _)| mount.target.len());
        let Some((index, mount, below)) = nearest else {
            return Ok(Place {
                mount: None,
                tree: self.rootfs.clone(),
                path: absolute.to_owned(),
            });
        };
        match &mount.kind {
            MountKind::Bind {
                source, selector, ..
            } => Ok(Place {
                mount: Some(index),
                tree: source.clone(),
                path: path::within(selector, below)?,
            }),
            other => Err(Error::input(format!(
                "path {absolute} is in {} mounted at {}, whose files exist only while a command runs",
                describe(other),
                mount.target
            ))),
        }
    }

    /// The container with another tree where `place` was found.
    pub(crate) fn replace(&self, place: &Place, tree: Tree) -> Self {
        let mut next = self.clone();
        match place.mount {
            None => {
                next.rootfs = tree;
                next.image_ref = None;
            }
            Some(index) => {
                let mut mounts = next.mounts.to_vec();
                if let MountKind::Bind { source, .. } = &mut mounts[index].kind {
                    *source = tree;
                }
                next.mounts = mounts.into();
            }
        }
        next
    }

    /// The container with its config changed.
    pub(crate) fn configure(&self, change: impl FnOnce(&mut ImageConfig)) -> Self {
        let mut next = self.clone();
        change(Arc::make_mut(&mut next.config));
        next
    }
}

fn describe(kind: &MountKind) -> &'static str {
    match kind {
        MountKind::Bind { .. } => "a directory",
        MountKind::Cache { .. } => "the cache volume",
        MountKind::Tmpfs { .. } => "the temporary directory",
        MountKind::Secret { .. } => "the secret",
        MountKind::Socket { .. } => "the socket",
    }
}

/// The object type.
pub(crate) fn object_type() -> ObjectType {
    let ty = ObjectType::new("Container").doc("A container: files, mounts and an image config.");
    image::fields(exec::fields(mounts::fields(files::fields(
        settings::fields(ty),
    ))))
}

/// The enums of container fields.
pub(crate) fn enums() -> Vec<EnumType> {
    vec![
        exec::return_type(),
        image::compression(),
        image::media_types(),
        super::records::network_protocol(),
    ]
}

#[cfg(test)]
mod tests;
