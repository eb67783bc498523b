//! What leaves the daemon: directories and files to the host, images to
//! registries and tarballs.
//!
//! Each export is a build of its own, in a session of its own: the daemon tells
//! exports apart only by their number within a build. Providers are shared, so
//! whatever the main build can read, this one can; results that the main build
//! has are found in the daemon's solver and not computed again.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use dagql::Cx;
use solver::backend::gateway::Refs;
use solver::backend::session::{DirectoryMode, FileSendTargets, Target};
use solver::backend::{
    Build, BuildOptions, BuildResult, Exporter, ExporterResponse, GatewaySolve, Ref, Session,
    SessionConfig,
};
use solver::llb::reference::Reference;
use tokio::io::AsyncWriteExt as _;

use super::BuildSession;
use crate::core::directory::{Directory, as_root};
use crate::core::file::File;
use crate::core::path;
use crate::error::Error;
use crate::platform::Platform;
use crate::vertex::{Tree, Work};

/// One platform of an image.
#[derive(Clone, Debug)]
pub struct ImageVariant {
    /// Its platform.
    pub platform: Platform,
    /// Its root file system.
    pub tree: Tree,
    /// Its image document.
    pub config: Vec<u8>,
}

/// How an image is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageFormat {
    /// Compression of every layer, as the exporter names it; as they are if absent.
    pub compression: Option<String>,
    /// Docker's media types instead of OCI's.
    pub docker_media_types: bool,
}

impl ImageFormat {
    fn attrs(&self) -> BTreeMap<String, String> {
        let mut attrs = BTreeMap::from([(
            "oci-mediatypes".to_owned(),
            (!self.docker_media_types).to_string(),
        )]);
        if let Some(compression) = &self.compression {
            attrs.insert("compression".to_owned(), compression.clone());
            attrs.insert("force-compression".to_owned(), "true".to_owned());
        }
        attrs
    }
}

impl BuildSession {
    /// Writes a directory's content to the host; returns the path.
    pub(crate) async fn export_directory(
        &self,
        cx: &Cx,
        directory: &Directory,
        text: &str,
        wipe: bool,
    ) -> Result<String, dagql::Error> {
        let target = self.host_path(text)?;
        let tree = as_root(cx, directory)?;
        self.leaves("an export", std::slice::from_ref(&tree))
            .await?;
        make_parent(&target)?;
        let mode = if wipe {
            DirectoryMode::Mirror
        } else {
            DirectoryMode::Merge
        };
        // The daemon then says whether what it sends is all of the export.
        let attrs = if wipe {
            BTreeMap::from([("mode".to_owned(), "delete".to_owned())])
        } else {
            BTreeMap::new()
        };
        let exporter = Exporter {
            kind: "local".to_owned(),
            attrs,
        };
        let target = Target::Directory { path: target, mode };
        self.export(exporter, Some(target), &[tree], single).await?;
        Ok(text.to_owned())
    }

    /// Writes a file to the host, complete or not at all; returns the path.
    pub(crate) async fn export_file(
        &self,
        file: &File,
        text: &str,
        into_directory: bool,
    ) -> Result<String, Error> {
        self.leaves("an export", std::slice::from_ref(&file.tree))
            .await?;
        let mut target = self.host_path(text)?;
        if into_directory && (text.ends_with('/') || target.is_dir()) {
            target.push(path::name(&file.path));
        } else if target.is_dir() {
            return Err(Error::input(format!("host path {text:?} is a directory"))
                .with_hint("set allowParentDirPath to put the file into it"));
        }
        make_parent(&target)?;
        let stat = self.file_stat(&file.tree, &file.path).await?;
        self.write_file(file, &target, stat.permissions & 0o777)
            .await?;
        Ok(text.to_owned())
    }

    async fn write_file(&self, file: &File, target: &Path, mode: u32) -> Result<(), Error> {
        let fail = |e: std::io::Error| Error::input(format!("{}: {e}", target.display()));
        let directory = target.parent().unwrap_or(Path::new("/"));
        let temporary = tempfile::Builder::new()
            .prefix(".dagop-")
            .tempfile_in(directory)
            .map_err(fail)?;
        let writer = temporary.reopen().map_err(fail)?;
        let mut writer = tokio::fs::File::from_std(writer);
        self.copy_chunks(&file.tree, &file.path, &mut writer)
            .await
            .map_err(|e| match e {
                CopyError::Read(error) => error,
                CopyError::Write(error) => fail(error),
            })?;
        writer.sync_all().await.map_err(fail)?;
        drop(writer);
        let permissions = std::os::unix::fs::PermissionsExt::from_mode(mode);
        std::fs::set_permissions(temporary.path(), permissions).map_err(fail)?;
        temporary.persist(target).map_err(|e| fail(e.error))?;
        Ok(())
    }

    /// Pushes an image; returns its address by digest.
    pub(crate) async fn publish(
        &self,
        address: &str,
        variants: &[ImageVariant],
        format: ImageFormat,
    ) -> Result<String, Error> {
        let fail = |e: solver::llb::Error| Error::input(format!("address {address:?}: {e}"));
        self.leaves("an export", &trees(variants)).await?;
        let name = Reference::parse(address).map_err(fail)?.or_latest();
        let mut attrs = format.attrs();
        attrs.insert("name".to_owned(), name.to_string());
        attrs.insert("push".to_owned(), "true".to_owned());
        let exporter = Exporter {
            kind: "image".to_owned(),
            attrs,
        };
        let response = self
            .export_variants(exporter, None, variants)
            .await
            .map_err(|e| e.context(format!("publish {address}")))?;
        let digest = response.get("containerimage.digest").ok_or_else(|| {
            Error::internal("the daemon pushed the image and did not say its digest")
        })?;
        Ok(format!("{name}@{digest}"))
    }

    /// Writes an image as a tarball to the host; returns the path.
    pub(crate) async fn export_image(
        &self,
        text: &str,
        variants: &[ImageVariant],
        format: ImageFormat,
    ) -> Result<String, Error> {
        let target = self.host_path(text)?;
        self.leaves("an export", &trees(variants)).await?;
        make_parent(&target)?;
        self.tarball(&target, variants, format).await?;
        Ok(text.to_owned())
    }

    /// An image as a tarball that the daemon can read.
    pub(crate) async fn image_tarball(
        &self,
        cx: &Cx,
        variants: &[ImageVariant],
        format: ImageFormat,
    ) -> Result<(Work, String), Error> {
        self.opens("what an archive holds", &trees(variants))?;
        let name = format!("{}.tar", solver::backend::session::new_id());
        self.tarball(&self.scratch.path().join(&name), variants, format)
            .await?;
        Ok((self.local_scratch(cx, &name), name))
    }

    async fn tarball(
        &self,
        target: &Path,
        variants: &[ImageVariant],
        format: ImageFormat,
    ) -> Result<(), Error> {
        // Docker's own form has no room for several platforms.
        let docker = format.docker_media_types && variants.len() == 1;
        let kind = if docker { "docker" } else { "oci" };
        let exporter = Exporter {
            kind: kind.to_owned(),
            attrs: format.attrs(),
        };
        self.export_variants(exporter, Some(Target::File(target.to_owned())), variants)
            .await?;
        Ok(())
    }

    async fn export_variants(
        &self,
        exporter: Exporter,
        target: Option<Target>,
        variants: &[ImageVariant],
    ) -> Result<ExporterResponse, Error> {
        let trees = trees(variants);
        let response = self
            .export(exporter, target, &trees, |refs| image(variants, refs))
            .await?;
        let roots = variants.iter().map(|variant| {
            let output = self.lowered(&variant.tree)?;
            Ok((variant.platform.clone(), output))
        });
        let roots = roots.collect::<Result<Vec<_>, Error>>()?;
        self.join_image(&roots, &response).await;
        Ok(response)
    }

    /// Runs one export of `trees`; `result` arranges their refs.
    pub(super) async fn export(
        &self,
        exporter: Exporter,
        target: Option<Target>,
        trees: &[Tree],
        result: impl FnOnce(Vec<Option<Ref>>) -> BuildResult,
    ) -> Result<ExporterResponse, Error> {
        self.evaluates("an export", trees)?;
        self.look_at_local_trees().await;
        let targets = FileSendTargets::new();
        if let Some(target) = target {
            targets.set(0, target);
        }
        let session = self.export_session(targets).await?;
        let is_image = matches!(exporter.kind.as_str(), "image" | "oci" | "docker");
        let cache_exports = if is_image {
            self.inline_exports()
        } else {
            Vec::new()
        };
        let options = BuildOptions {
            session: session.id().to_owned(),
            exporters: vec![exporter],
            cache_exports,
            entitlements: self.options.allow.clone(),
            ..BuildOptions::default()
        };
        let build = Build::start(self.options.daemon.client().await?, options)
            .await
            .map_err(|e| self.explain(e))?;
        self.follow(&build);
        let mut refs = Vec::new();
        for tree in trees {
            refs.push(self.solve_in(&build, tree).await?);
        }
        let response = build
            .finish(result(refs))
            .await
            .map_err(|e| self.explain(e))?;
        session.close().await;
        Ok(response)
    }

    async fn solve_in(&self, build: &Build, tree: &Tree) -> Result<Option<Ref>, Error> {
        let Some(output) = self.lowered(tree)? else {
            return Ok(None);
        };
        // What an export needs belongs into the caches that are written at the end.
        self.cell(&output);
        let definition = self.definition(Some(&output))?;
        let solve = self.with_imports(GatewaySolve::definition(definition.to_pb()));
        let solved = build.solve(solve).await;
        Ok(solved.map_err(|e| self.explain(e))?.reference().cloned())
    }

    pub(super) async fn export_session(&self, targets: FileSendTargets) -> Result<Session, Error> {
        let config = SessionConfig {
            targets: Arc::new(targets),
            ..self.session_config()
        };
        Ok(Session::start(self.options.daemon.client().await?, config).await?)
    }
}

fn trees(variants: &[ImageVariant]) -> Vec<Tree> {
    variants.iter().map(|v| v.tree.clone()).collect()
}

/// Why a copy to the host failed.
enum CopyError {
    Read(Error),
    Write(std::io::Error),
}

impl BuildSession {
    async fn copy_chunks(
        &self,
        tree: &Tree,
        path: &str,
        writer: &mut tokio::fs::File,
    ) -> Result<(), CopyError> {
        let mut chunks = self.chunks(tree, path).await.map_err(CopyError::Read)?;
        while let Some(chunk) = chunks.next(self).await.map_err(CopyError::Read)? {
            writer.write_all(&chunk).await.map_err(CopyError::Write)?;
        }
        writer.flush().await.map_err(CopyError::Write)
    }
}

/// The result of an export of one tree.
pub(super) fn single(mut refs: Vec<Option<Ref>>) -> BuildResult {
    BuildResult::single(refs.pop().flatten())
}

/// The result an image exporter wants: refs and configs, by platform if there
/// are several.
fn image(variants: &[ImageVariant], refs: Vec<Option<Ref>>) -> BuildResult {
    const CONFIG: &str = "containerimage.config";
    if let [only] = variants {
        let mut result = single(refs);
        result
            .metadata
            .insert(CONFIG.to_owned(), only.config.clone().into());
        return result;
    }
    let mut result = BuildResult::single(None);
    let mut by_platform = BTreeMap::new();
    let mut platforms = Vec::new();
    for (variant, reference) in variants.iter().zip(refs) {
        let id = variant.platform.to_string();
        let config = variant.config.clone().into();
        result.metadata.insert(format!("{CONFIG}/{id}"), config);
        platforms.push(serde_json::json!({"ID": id, "Platform": oci_platform(&variant.platform)}));
        by_platform.insert(id, reference);
    }
    let platforms = serde_json::json!({ "Platforms": platforms }).to_string();
    result
        .metadata
        .insert("refs.platforms".to_owned(), platforms.into());
    result.refs = Refs::Platforms(by_platform);
    result
}

fn oci_platform(platform: &Platform) -> serde_json::Value {
    let mut object = serde_json::json!({
        "architecture": platform.architecture,
        "os": platform.os,
    });
    if !platform.variant.is_empty() {
        object["variant"] = platform.variant.clone().into();
    }
    object
}

fn make_parent(target: &Path) -> Result<(), Error> {
    let Some(parent) = target.parent() else {
        return Ok(());
    };
    std::fs::create_dir_all(parent)
        .map_err(|e| Error::input(format!("host path {}: {e}", parent.display())))
}
