//! What names stand for: images, downloads and Git refs.

use std::sync::PoisonError;

use solver::backend::gateway::{ImageQuery, SourceQuery};
use solver::cacheconfig;
use solver::llb::reference::Reference;
use solver::llb::source::{self, GitOptions, HttpOptions, ImageOptions};
use solver::llb::{Constraints, Output};

use super::BuildSession;
use crate::error::Error;
use crate::ledger::{Facts, SourceRow, VertexKind};
use crate::platform::Platform;

/// An image as a registry has it now.
#[derive(Debug)]
pub(crate) struct ResolvedImage {
    /// The image config document.
    pub(crate) config: Vec<u8>,
    /// The reference, pinned by digest.
    pub(crate) reference: String,
}

/// A Git ref as the remote has it now.
#[derive(Debug)]
pub(crate) struct ResolvedRef {
    /// Full name.
    pub(crate) name: String,
    /// Commit.
    pub(crate) commit: String,
}

impl BuildSession {
    /// Asks the daemon what an image reference is: its config document, and the reference pinned
    /// by digest.
    pub(crate) async fn resolve_image(
        &self,
        address: &str,
        platform: &Platform,
    ) -> Result<ResolvedImage, Error> {
        let parsed = reference(address)?;
        let parsed_text = parsed.to_string();
        let query = ImageQuery {
            reference: parsed_text.clone(),
            platform: Some(platform.to_llb()),
            log_name: format!("resolve image config for {parsed}"),
            ..ImageQuery::default()
        };
        let build = self.build().await?;
        let resolved = build
            .resolve_image(query)
            .await
            .map_err(|e| self.explain(e).context(format!("image {address}")))?;
        let digest = resolved.digest.parse().map_err(|_| unanswered(address))?;
        let pinned = Reference {
            digest: Some(digest),
            ..parsed
        };
        self.note_source(VertexKind::Image, &parsed_text, &resolved.digest);
        Ok(ResolvedImage {
            config: resolved.config.to_vec(),
            reference: pinned.to_string(),
        })
    }

    /// The source of a pinned image with this config document.
    pub(crate) fn image_source(
        &self,
        pinned: &str,
        platform: &Platform,
        config: &[u8],
    ) -> Result<Output, Error> {
        let options = ImageOptions {
            constraints: Constraints::on(platform.to_llb()),
            ..ImageOptions::default()
        };
        let source = source::image(pinned, options).map_err(|e| malformed(pinned, &e))?;
        self.note_image(&source, config);
        Ok(source)
    }

    /// Checksum and file name of a download.
    pub(crate) async fn resolve_http(
        &self,
        url: &str,
        options: &HttpOptions,
    ) -> Result<(solver::Digest, String), Error> {
        let source = source::http(url, options.clone()).map_err(|e| Error::input(e.to_string()))?;
        let resolved = self.resolve_source(&source, url).await?;
        let http = resolved.http.ok_or_else(|| unanswered(url))?;
        let checksum = http.checksum.parse().map_err(|_| unanswered(url))?;
        self.note_source(VertexKind::Http, url, &http.checksum);
        Ok((checksum, http.filename))
    }

    /// The commit a ref of a remote is now.
    pub(crate) async fn resolve_git(
        &self,
        url: &str,
        name: &str,
        options: &GitOptions,
    ) -> Result<ResolvedRef, Error> {
        // The remote's HEAD is what no ref at all stands for.
        let reference = (name != "HEAD").then(|| name.to_owned());
        let options = GitOptions {
            reference,
            ..options.clone()
        };
        let source = source::git(url, options).map_err(|e| Error::input(e.to_string()))?;
        let resolved = self.resolve_source(&source, url).await?;
        let git = resolved.git.ok_or_else(|| unanswered(url))?;
        // An annotated tag is an object of its own; the commit it names is what is built.
        let commit = if git.commit_checksum.is_empty() {
            git.checksum
        } else {
            git.commit_checksum
        };
        let name = if git.r#ref.is_empty() {
            name.to_owned()
        } else {
            git.r#ref
        };
        self.note_source(VertexKind::Git, &format!("{url}#{name}"), &commit);
        Ok(ResolvedRef { name, commit })
    }

    /// Notes what a name stands for. What a URL says of its user is left out.
    fn note_source(&self, kind: VertexKind, asked: &str, resolved: &str) {
        let source = SourceRow {
            kind,
            asked: without_user(&self.providers.secrets.redact(asked)),
            resolved: resolved.to_owned(),
        };
        self.options.journal.facts(Facts {
            sources: vec![source],
            ..Facts::default()
        });
    }

    /// Keeps the diff ids of an image, which its second key is made of.
    pub(super) fn note_image(&self, source: &Output, config: &[u8]) {
        let (Ok(ids), Some(op)) = (cacheconfig::diff_ids(config), source.vertex().source()) else {
            return;
        };
        let mut images = self.images.lock().unwrap_or_else(PoisonError::into_inner);
        images.insert(op.identifier.clone(), ids);
    }

    async fn resolve_source(
        &self,
        output: &Output,
        url: &str,
    ) -> Result<solver::backend::gateway::ResolvedSource, Error> {
        let Some(source) = output.vertex().source() else {
            return Err(Error::internal("a source vertex holds no source"));
        };
        let query = SourceQuery {
            source: source.clone(),
            log_name: format!("resolve {url}"),
            ..SourceQuery::default()
        };
        let build = self.build().await?;
        build
            .resolve_source(query)
            .await
            .map_err(|e| self.explain(e).context(url))
    }
}

/// The reference in full, if it names an image by digest: nobody has to be asked what that is.
pub(crate) fn pinned(address: &str) -> Result<Option<String>, Error> {
    let parsed = reference(address)?;
    Ok(parsed.digest.is_some().then(|| parsed.to_string()))
}

fn reference(address: &str) -> Result<Reference, Error> {
    let parsed = Reference::parse(address).map_err(|e| malformed(address, &e))?;
    Ok(parsed.or_latest())
}

fn malformed(address: &str, error: &solver::llb::Error) -> Error {
    Error::input(format!("image {address:?}: {error}"))
}

/// A URL without a user name and password.
fn without_user(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let host_end = rest.find('/').unwrap_or(rest.len());
    match rest[..host_end].rfind('@') {
        Some(at) => format!("{scheme}://{}", &rest[at + 1..]),
        None => url.to_owned(),
    }
}

fn unanswered(url: &str) -> Error {
    Error::input(format!(
        "the daemon did not say what {url} is; it may be older than v0.29"
    ))
}
