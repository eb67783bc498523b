//! A registry, read: manifests, blobs, and whether a blob is there. Nothing is ever written.
//!
//! ```text
//! Repository::open(reference) ─> manifest(reference) ─> bytes, digest checked
//!        │                       blob(digest, max)   ─> bytes, digest checked
//!        │                       stat(digest)        ─> there or not, by HEAD
//!   token.rs: 401 ─> challenge ─> credentials ─> Basic, or a bearer token
//!   http.rs:  one connection pool; TLS, redirects, limits of size and time
//! ```
//!
//! # Which protocol
//! As BuildKit has it: registries on a loopback address are spoken to in plain HTTP, all others in
//! HTTPS with the certificates that this system trusts. A repository that is opened as
//! [`Trust::Insecure`] (`registry.insecure=true` of a cache) takes any certificate and, where no
//! TLS is spoken, plain HTTP. The daemon's own configuration of mirrors and authorities is the
//! daemon's and not known here.
//!
//! # Who asks
//! A request is first made without credentials. A 401 names how to get in; the [`AuthProvider`] of
//! the session, the same that answers the daemon, has user name and password or an identity token.
//! What was granted is kept for the repository and asked for again when it ends. Secrets travel to
//! the registry or to the token server that it names, and to the latter only over HTTPS unless the
//! registry itself is spoken to in plain HTTP. A redirect to another host carries none.
//!
//! # Bad registries
//! Every answer is bounded in bytes and in time, redirects in number. What has a digest is checked
//! against it before anybody sees it. Errors name registry and repository, and never a secret.

mod http;
#[cfg(test)]
mod tests;
mod token;

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use ::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use ::http::{HeaderMap, Method, Response, StatusCode};
use hyper::body::Incoming;
use secrecy::SecretString;
use serde::Deserialize;

use self::http::{Connections, Outgoing};
use crate::Digest;
use crate::backend::session::AuthProvider;
use crate::llb::reference::Reference;

/// Largest manifest or index, in bytes: what registries accept at most.
pub const MANIFEST_BYTES_MAX: usize = 4 << 20;

/// Largest error message or token answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// How long a registry may take to begin an answer, and to end it.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(60);

/// Longest text of a registry that is repeated in an error, in characters.
const REASON_CHARS_MAX: usize = 200;

/// What a manifest may be.
const MANIFEST_TYPES: &str = "application/vnd.oci.image.manifest.v1+json, \
    application/vnd.oci.image.index.v1+json, \
    application/vnd.docker.distribution.manifest.v2+json, \
    application/vnd.docker.distribution.manifest.list.v2+json, */*;q=0.1";

/// Whether the peer has to prove who it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Trust {
    /// By a certificate that this system trusts, except on a loopback address.
    #[default]
    Secure,
    /// Any certificate will do, and plain HTTP as well.
    Insecure,
}

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is not there.
    #[error("{registry} has no {what}")]
    NotFound {
        /// The registry's host and port.
        registry: String,
        /// For example `manifest a/b:latest`.
        what: String,
    },
    /// The registry lets nobody in, or not with these credentials.
    #[error("{registry} denies access to {repository}: {reason}")]
    Denied {
        /// The registry's host and port.
        registry: String,
        /// The repository.
        repository: String,
        /// Whether there were credentials, and what the registry said.
        reason: String,
    },
    /// No connection, or it broke.
    #[error("cannot ask {registry}: {reason}")]
    Unreachable {
        /// The registry's host and port.
        registry: String,
        /// What happened.
        reason: String,
    },
    /// An answer that is none.
    #[error("{registry} answers {status} for {what}{reason}")]
    Status {
        /// The registry's host and port.
        registry: String,
        /// The HTTP status.
        status: u16,
        /// What was asked for.
        what: String,
        /// What the registry said, after a colon.
        reason: String,
    },
    /// An answer that cannot be used.
    #[error("{registry}: {what}: {reason}")]
    Malformed {
        /// The registry's host and port.
        registry: String,
        /// What was asked for.
        what: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl Error {
    /// Whether the registry answered that there is no such thing.
    #[must_use]
    pub fn is_not_found(&self) -> bool {
        matches!(self, Self::NotFound { .. })
    }
}

/// A manifest or an index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// Its digest.
    pub digest: Digest,
    /// Its media type, as the registry says.
    pub media_type: Option<String>,
    /// The document.
    pub bytes: Vec<u8>,
}

/// A blob that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its size in bytes, if the registry says.
    pub size: Option<u64>,
}

/// One repository of a registry.
pub struct Repository {
    /// Host and port.
    registry: String,
    /// Path within the registry.
    name: String,
    /// URL that the paths of the API are appended to.
    base: String,
    connections: Connections,
    auth: Arc<dyn AuthProvider>,
    /// The header that let us in last.
    granted: Mutex<Option<SecretString>>,
}

impl std::fmt::Debug for Repository {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Repository");
        shown.field("base", &self.base).finish_non_exhaustive()
    }
}

impl Repository {
    /// The repository of a reference; `auth` is asked when the registry wants credentials.
    ///
    /// # Errors
    /// When an insecure registry answers neither in TLS nor in plain HTTP.
    pub async fn open(
        reference: &Reference,
        auth: Arc<dyn AuthProvider>,
        trust: Trust,
    ) -> Result<Self, Error> {
        // Every complete reference has both.
        let (domain, name) = reference.name.split_once('/').unwrap_or(("", ""));
        let registry = match domain {
            "docker.io" => "registry-1.docker.io",
            other => other,
        };
        let connections = Connections::new(registry, trust);
        let scheme = connections.scheme(registry, trust).await?;
        Ok(Self {
            base: format!("{scheme}://{registry}/v2/{name}"),
            registry: registry.to_owned(),
            name: name.to_owned(),
            connections,
            auth,
            granted: Mutex::default(),
        })
    }

    /// The manifest or index that a reference stands for: by its digest, if it has one, else by its
    /// tag.
    ///
    /// # Errors
    /// When it is not there, is not given to us, or is not what its digest says.
    pub async fn manifest(&self, reference: &Reference) -> Result<Manifest, Error> {
        let digest = reference.digest.as_ref();
        let name = digest.map_or(reference.tag.as_deref(), |d| Some(d.as_str()));
        let name = name.unwrap_or("latest");
        let what = match digest {
            Some(digest) => format!("manifest {}@{digest}", self.name),
            None => format!("manifest {}:{name}", self.name),
        };
        let path = format!("/manifests/{name}");
        let response = self.ask(&Method::GET, &path, MANIFEST_TYPES, &what).await?;
        let media_type = text(response.headers(), CONTENT_TYPE);
        let bytes = self.body(response, MANIFEST_BYTES_MAX, &what).await?;
        let digest = match digest {
            Some(digest) => {
                self.check(digest, &bytes, &what)?;
                digest.clone()
            }
            None => Digest::sha256(&bytes),
        };
        Ok(Manifest {
            digest,
            media_type,
            bytes,
        })
    }

    /// The bytes of a blob of at most `max` bytes.
    ///
    /// # Errors
    /// When it is not there, larger, not given to us, or not what its digest says.
    pub async fn blob(&self, digest: &Digest, max: usize) -> Result<Vec<u8>, Error> {
        let what = format!("blob {}@{digest}", self.name);
        let path = format!("/blobs/{digest}");
        let response = self.ask(&Method::GET, &path, "*/*", &what).await?;
        let bytes = self.body(response, max, &what).await?;
        self.check(digest, &bytes, &what)?;
        Ok(bytes)
    }

    /// Whether a blob is there, without reading it.
    ///
    /// # Errors
    /// When that cannot be told.
    pub async fn stat(&self, digest: &Digest) -> Result<Option<Stored>, Error> {
        let what = format!("blob {}@{digest}", self.name);
        let path = format!("/blobs/{digest}");
        match self.ask(&Method::HEAD, &path, "*/*", &what).await {
            Ok(response) => {
                let size = text(response.headers(), CONTENT_LENGTH);
                let size = size.and_then(|size| size.parse().ok());
                Ok(Some(Stored { size }))
            }
            Err(Error::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// A request that succeeds, with the credentials that it takes.
    async fn ask(
        &self,
        method: &Method,
        path: &str,
        accept: &str,
        what: &str,
    ) -> Result<Response<Incoming>, Error> {
        let url = format!("{}{path}", self.base);
        let mut authorization = self.granted();
        let mut asked = false;
        loop {
            let outgoing = Outgoing {
                method,
                url: &url,
                accept,
                authorization: authorization.as_ref(),
                form: None,
            };
            let response = self.connections.send(&self.registry, &outgoing).await?;
            match response.status() {
                status if status.is_success() => {
                    self.grant(authorization);
                    return Ok(response);
                }
                StatusCode::NOT_FOUND => {
                    return Err(Error::NotFound {
                        registry: self.registry.clone(),
                        what: what.to_owned(),
                    });
                }
                StatusCode::UNAUTHORIZED if !asked => {
                    asked = true;
                    authorization = self.authorize(response.headers()).await?;
                    if authorization.is_none() {
                        return Err(self.denied("it wants credentials, and there are none"));
                    }
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    let said = self.said(response).await;
                    let with = match authorization {
                        Some(_) => "what it was given is not enough",
                        None => "without credentials",
                    };
                    return Err(self.denied(&format!("{with}{said}")));
                }
                status => {
                    return Err(Error::Status {
                        registry: self.registry.clone(),
                        status: status.as_u16(),
                        what: what.to_owned(),
                        reason: self.said(response).await,
                    });
                }
            }
        }
    }

    fn granted(&self) -> Option<SecretString> {
        let granted = self.granted.lock();
        granted.unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn grant(&self, authorization: Option<SecretString>) {
        let granted = self.granted.lock();
        *granted.unwrap_or_else(PoisonError::into_inner) = authorization;
    }

    fn denied(&self, reason: &str) -> Error {
        Error::Denied {
            registry: self.registry.clone(),
            repository: self.name.clone(),
            reason: reason.to_owned(),
        }
    }

    fn malformed(&self, what: &str, reason: impl Into<String>) -> Error {
        Error::Malformed {
            registry: self.registry.clone(),
            what: what.to_owned(),
            reason: reason.into(),
        }
    }

    async fn body(
        &self,
        response: Response<Incoming>,
        max: usize,
        what: &str,
    ) -> Result<Vec<u8>, Error> {
        let body = http::body(response, max).await;
        body.map_err(|reason| self.malformed(what, reason))
    }

    fn check(&self, digest: &Digest, bytes: &[u8], what: &str) -> Result<(), Error> {
        if digest.algorithm() != "sha256" {
            return Err(self.malformed(what, "its digest is not sha256, and cannot be checked"));
        }
        let found = Digest::sha256(bytes);
        if found == *digest {
            return Ok(());
        }
        Err(self.malformed(what, format!("what came has the digest {found}")))
    }

    /// What the registry says about a failure, after a colon; empty if that is nothing.
    async fn said(&self, response: Response<Incoming>) -> String {
        #[derive(Deserialize)]
        struct Failures {
            errors: Vec<Failure>,
        }
        #[derive(Deserialize)]
        struct Failure {
            #[serde(default)]
            code: String,
            #[serde(default)]
            message: String,
        }
        let Ok(body) = http::body(response, ANSWER_BYTES_MAX).await else {
            return String::new();
        };
        let failures: Option<Failures> = serde_json::from_slice(&body).ok();
        let first = failures.and_then(|all| all.errors.into_iter().next());
        let said = first.map(|first| match first.message.is_empty() {
            true => first.code,
            false => first.message,
        });
        let said: String = said.unwrap_or_default();
        let said: String = said.chars().take(REASON_CHARS_MAX).collect();
        match said.is_empty() {
            true => said,
            false => format!(": {said}"),
        }
    }
}

fn text(headers: &HeaderMap, name: ::http::HeaderName) -> Option<String> {
    let value = headers.get(name)?.to_str().ok()?;
    Some(value.to_owned())
}
