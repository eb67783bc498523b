//! Images in tarballs: unpacked into the session's content store, from which
//! the daemon pulls what it does not have. The store goes with the session; the
//! daemon keeps what it pulled, by digest.

use std::path::PathBuf;
use std::sync::Arc;

use snapshots::content::ContentStore;
use snapshots::image::{self, Image as Unpacked, NamedImage};
use solver::llb::source::{self, OciLayoutOptions, OciStore};
use solver::llb::{Constraints, Output};
use tokio::io::AsyncWriteExt as _;

use super::BuildSession;
use crate::core::file::File;
use crate::error::Error;
use crate::platform::Platform;

/// Name of the content store in LLB and in the session.
const STORE: &str = "dagop";

/// An unpacked image.
#[derive(Debug)]
pub(crate) struct Image {
    /// The source vertex's output.
    pub(crate) source: Output,
    /// The image config document.
    pub(crate) config: Vec<u8>,
}

impl BuildSession {
    /// Reads an image tarball; `tag` chooses one image of several.
    pub(crate) async fn import_image(
        &self,
        file: &File,
        tag: &str,
        platform: &Platform,
    ) -> Result<Image, Error> {
        let path = self.on_disk(file).await?;
        let directory = self.scratch.path().join("content");
        let shown = file
            .host
            .clone()
            .unwrap_or_else(|| file.path.clone().into());
        let fail = move |reason: String| {
            Error::input(format!("image archive {}: {reason}", shown.display()))
        };
        let (tag, wanted) = (tag.to_owned(), platform.clone());
        let unpacked = tokio::task::spawn_blocking(move || {
            let store = ContentStore::open(directory).map_err(|e| e.to_string())?;
            let imported = image::import_path(&store, &path).map_err(|e| e.to_string())?;
            let chosen = choose(&imported.images, &tag)?;
            let platform = image::Platform::new(&wanted.os, &wanted.architecture, &wanted.variant);
            let found =
                image::resolve(&store, &chosen.descriptor, &platform).map_err(|e| e.to_string())?;
            check_platform(&found, &platform)?;
            Ok::<_, String>((store, found))
        });
        let unpacked = unpacked.await.map_err(|e| Error::internal(e.to_string()))?;
        let (store, found) = unpacked.map_err(fail)?;
        self.providers
            .content
            .insert(format!("oci:{STORE}"), Arc::new(store));
        let reference = format!("{STORE}/image@{}", found.descriptor.digest());
        let options = OciLayoutOptions {
            // Any session of the build: naming one would make the vertex differ in every run.
            store: OciStore {
                session_id: None,
                store_id: Some(STORE.to_owned()),
            },
            constraints: Constraints::on(platform.to_llb()),
            ..OciLayoutOptions::default()
        };
        let source =
            source::oci_layout(&reference, options).map_err(|e| Error::internal(e.to_string()))?;
        self.note_image(&source, &found.config_json);
        Ok(Image {
            source,
            config: found.config_json,
        })
    }

    /// Where the file is on this machine; fetched from the daemon if it is not.
    async fn on_disk(&self, file: &File) -> Result<PathBuf, Error> {
        if let Some(path) = &file.host {
            return Ok(path.clone());
        }
        self.opens("what an archive holds", std::slice::from_ref(&file.tree))?;
        let path = self.scratch.path().join(solver::backend::session::new_id());
        let fail = |e: std::io::Error| Error::input(format!("{}: {e}", path.display()));
        let mut copy = tokio::fs::File::create(&path).await.map_err(fail)?;
        let mut chunks = self.chunks(&file.tree, &file.path).await?;
        while let Some(chunk) = chunks.next(self).await? {
            copy.write_all(&chunk).await.map_err(fail)?;
        }
        copy.flush().await.map_err(fail)?;
        Ok(path)
    }
}

/// An archive may hold one manifest without an index, whatever its platform.
fn check_platform(image: &Unpacked, wanted: &image::Platform) -> Result<(), String> {
    let found = image.platform();
    if wanted.runs().contains(&found) {
        return Ok(());
    }
    Err(format!("its image is for {found}, not for {wanted}"))
}

/// The image of a tag; the only one if there is no tag.
fn choose<'a>(images: &'a [NamedImage], tag: &str) -> Result<&'a NamedImage, String> {
    let names = || {
        let names: Vec<_> = images
            .iter()
            .flat_map(|i| i.names.iter().map(String::as_str))
            .collect();
        names.join(", ")
    };
    if tag.is_empty() {
        return match images {
            [only] => Ok(only),
            [] => Err("it holds no image".to_owned()),
            _ => Err(format!(
                "it holds several images, choose one with tag: {}",
                names()
            )),
        };
    }
    let is_it = |name: &String| name == tag || name.ends_with(&format!(":{tag}"));
    images
        .iter()
        .find(|image: &&NamedImage| image.names.iter().any(is_it))
        .ok_or_else(|| format!("it holds no image {tag:?}; it holds: {}", names()))
}
