//! Asking the daemon what a source stands for: the digest behind an image tag, the
//! commit behind a branch, the checksum of a download.

use std::time::SystemTime;

use bytes::Bytes;
use proto::{gateway, pb};

use crate::backend::build::Build;
use crate::backend::control::time;
use crate::backend::error::Error;

/// Where the daemon may take an image from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ResolveMode {
    /// The daemon's own choice: locally if it has it, else the registry.
    #[default]
    Default,
    /// Always ask the registry.
    ForcePull,
    /// Prefer what the daemon has.
    PreferLocal,
}

impl ResolveMode {
    fn text(self) -> String {
        match self {
            Self::Default => "default",
            Self::ForcePull => "pull",
            Self::PreferLocal => "local",
        }
        .to_owned()
    }
}

/// An image reference to resolve.
#[derive(Debug, Clone, Default)]
pub struct ImageQuery {
    /// The reference, for example `docker.io/library/alpine:3`.
    pub reference: String,
    /// Platform; `None` = that of the default worker.
    pub platform: Option<pb::Platform>,
    /// Where to look.
    pub mode: ResolveMode,
    /// Name of the step in progress; empty = the daemon's own.
    pub log_name: String,
    /// Session and store id of an OCI layout that holds the image, instead of a
    /// registry.
    pub layout: Option<(String, String)>,
}

/// A resolved image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedImage {
    /// The reference after source policies; equal to the query's if none applied.
    pub reference: String,
    /// Digest of the manifest or index that the reference stands for.
    pub digest: String,
    /// The image config, JSON.
    pub config: Bytes,
}

/// What to find out about a source.
#[derive(Debug, Clone, Default)]
pub struct SourceQuery {
    /// The source.
    pub source: pb::SourceOp,
    /// Platform; `None` = that of the default worker.
    pub platform: Option<pb::Platform>,
    /// Where to look for an image.
    pub mode: ResolveMode,
    /// Name of the step in progress.
    pub log_name: String,
    /// Details for an image.
    pub image: Option<gateway::ResolveSourceImageRequest>,
    /// Details for a repository.
    pub git: Option<gateway::ResolveSourceGitRequest>,
    /// Details for a download.
    pub http: Option<gateway::ResolveSourceHttpRequest>,
}

/// What a source stands for now. One of `image`, `git` and `http` is present for
/// a source of that kind.
#[derive(Debug, Clone, PartialEq)]
pub struct ResolvedSource {
    /// The source after source policies.
    pub source: pb::SourceOp,
    /// An image: digest, config, attestations if asked for.
    pub image: Option<gateway::ResolveSourceImageResponse>,
    /// A repository: commit, ref, objects if asked for.
    pub git: Option<gateway::ResolveSourceGitResponse>,
    /// A download.
    pub http: Option<ResolvedDownload>,
}

/// A resolved download.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedDownload {
    /// Digest of the content.
    pub checksum: String,
    /// File name.
    pub filename: String,
    /// Time of the last change, as the server says.
    pub last_modified: Option<SystemTime>,
}

impl Build {
    /// Finds out what an image reference stands for, and its config.
    pub async fn resolve_image(&self, query: ImageQuery) -> Result<ResolvedImage, Error> {
        let (session_id, store_id) = query.layout.clone().unwrap_or_default();
        let request = gateway::ResolveImageConfigRequest {
            r#ref: query.reference.clone(),
            platform: query.platform,
            resolve_mode: query.mode.text(),
            log_name: query.log_name,
            resolver_type: i32::from(query.layout.is_some()),
            session_id,
            store_id,
            source_policies: Vec::new(),
        };
        let request = self.handle.request(request);
        let mut bridge = self.client().bridge();
        let response = self
            .handle
            .call(bridge.resolve_image_config(request))
            .await?;
        // Daemons before v0.13 do not answer with the reference.
        let reference = if response.r#ref.is_empty() {
            query.reference
        } else {
            response.r#ref
        };
        Ok(ResolvedImage {
            reference,
            digest: response.digest,
            config: response.config,
        })
    }

    /// Finds out what any source stands for.
    pub async fn resolve_source(&self, query: SourceQuery) -> Result<ResolvedSource, Error> {
        let request = gateway::ResolveSourceMetaRequest {
            source: Some(query.source.clone()),
            platform: query.platform,
            log_name: query.log_name,
            resolve_mode: query.mode.text(),
            image: query.image,
            git: query.git,
            http: query.http,
            source_policies: Vec::new(),
        };
        let request = self.handle.request(request);
        let mut bridge = self.client().bridge();
        let response = self
            .handle
            .call(bridge.resolve_source_meta(request))
            .await?;
        Ok(ResolvedSource {
            source: response.source.unwrap_or(query.source),
            image: response.image,
            git: response.git,
            http: response.http.map(|http| ResolvedDownload {
                checksum: http.checksum,
                filename: http.filename,
                last_modified: time(http.last_modified),
            }),
        })
    }
}
