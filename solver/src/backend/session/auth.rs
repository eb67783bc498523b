//! The Auth service: registry credentials for the daemon's pulls and pushes.
//!
//! # Where credentials come from
//! [`RegistryAuth`] asks, in this order:
//! 1. entries added by the program (`withRegistryAuth` and the like), by registry host;
//! 2. Docker's `config.json` in the directory that was passed in: a `credHelpers` entry for the host, then `auths`,
//!    then the global `credsStore`.
//!
//! No entry anywhere means "anonymous", which is an empty answer, not an error. A broken configuration or a failing
//! helper is an error, since a silent fall back to anonymous ends in a confusing "pull access denied".
//!
//! Docker Hub has two names: the daemon asks for `registry-1.docker.io`, configuration files hold
//! `https://index.docker.io/v1/`, and people write `docker.io`. All of them are one registry here.
//!
//! # Tokens
//! The three token calls let a client fetch bearer tokens itself, so that the daemon never sees the password. They
//! are answered Unimplemented, on which the daemon asks for credentials and fetches the token on its own.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use docker_credential::{CredentialRetrievalError, DockerCredential};
use proto::filesync::auth_server::Auth;
use proto::filesync::{
    CredentialsRequest, CredentialsResponse, FetchTokenRequest, FetchTokenResponse,
    GetTokenAuthorityRequest, GetTokenAuthorityResponse, VerifyTokenAuthorityRequest,
    VerifyTokenAuthorityResponse,
};
use secrecy::{ExposeSecret, SecretString};
use tonic::{Request, Response, Status, async_trait};

use super::registry::Registry;

/// The host the daemon asks for when it means Docker Hub.
const HUB_HOST: &str = "registry-1.docker.io";

/// The key of Docker Hub in Docker's configuration and in credential helpers.
const HUB_KEY: &str = "https://index.docker.io/v1/";

/// Largest `config.json` that is read, in bytes.
const CONFIG_MAX: u64 = 4 << 20;

/// What a registry accepts: a user name and a password, or (with an empty user name) an identity token.
#[derive(Clone)]
pub struct Credentials {
    /// User name; empty when `secret` is an identity token.
    pub username: String,
    /// Password or identity token.
    pub secret: SecretString,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials")
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Finds credentials for a registry host.
#[async_trait]
pub trait AuthProvider: Send + Sync + 'static {
    /// Credentials for `host` as the daemon names it, or `None` for anonymous access. The error text reaches the user
    /// and must not hold a password.
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, String>;
}

/// Docker's configuration directory (`$DOCKER_CONFIG`, or `~/.docker`).
#[derive(Debug, Clone)]
pub struct DockerConfig {
    directory: PathBuf,
}

impl DockerConfig {
    /// Reads `config.json` in `directory` whenever credentials are asked for. The file need not exist.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
        }
    }

    /// Looks one registry up. Runs credential helpers, so it may block.
    fn lookup(&self, key: &str) -> Result<Option<Credentials>, String> {
        let path = self.directory.join("config.json");
        let file = match std::fs::File::open(&path) {
            Ok(file) => file,
            Err(e)
                if matches!(
                    e.kind(),
                    io::ErrorKind::NotFound | io::ErrorKind::NotADirectory
                ) =>
            {
                return Ok(None);
            }
            Err(e) => return Err(format!("open {}: {e}", path.display())),
        };
        let reader = io::BufReader::new(io::Read::take(file, CONFIG_MAX));
        match docker_credential::get_credential_from_reader(reader, key) {
            Ok(DockerCredential::IdentityToken(token)) => Ok(Some(Credentials {
                username: String::new(),
                secret: token.into(),
            })),
            // Helpers hand out identity tokens under this fixed user name.
            Ok(DockerCredential::UsernamePassword(user, token)) if user == "<token>" => {
                Ok(Some(Credentials {
                    username: String::new(),
                    secret: token.into(),
                }))
            }
            Ok(DockerCredential::UsernamePassword(user, password))
                if user.is_empty() && password.is_empty() =>
            {
                Ok(None)
            }
            Ok(DockerCredential::UsernamePassword(username, password)) => Ok(Some(Credentials {
                username,
                secret: password.into(),
            })),
            Err(CredentialRetrievalError::NoCredentialConfigured) => Ok(None),
            Err(error) => explain(error).map_err(|reason| format!("{}: {reason}", path.display())),
        }
    }
}

/// Describes a failed look-up. A helper's output is dropped, as it may hold what it should have stored.
fn explain(error: CredentialRetrievalError) -> Result<Option<Credentials>, String> {
    Err(match error {
        // The answer of every helper for a registry it has no entry for; the wording is part of their protocol.
        CredentialRetrievalError::HelperFailure { stdout, .. }
            if stdout.trim() == "credentials not found in native keychain" =>
        {
            return Ok(None);
        }
        CredentialRetrievalError::HelperFailure { helper, .. } => format!("credential helper {helper} failed"),
        CredentialRetrievalError::HelperCommunicationError => {
            "the configured credential helper could not be run (is docker-credential-<name> in PATH?)".to_owned()
        }
        CredentialRetrievalError::MalformedHelperResponse => "the credential helper's answer is malformed".to_owned(),
        CredentialRetrievalError::CredentialDecodingError => {
            "the \"auth\" field of this registry is not base64 of user:password".to_owned()
        }
        CredentialRetrievalError::CredentialMismatchError => {
            "the \"auth\" field of this registry contradicts its \"username\" and \"password\"".to_owned()
        }
        CredentialRetrievalError::ConfigReadError | CredentialRetrievalError::ConfigNotFound => {
            "not a Docker configuration file".to_owned()
        }
        CredentialRetrievalError::NoCredentialConfigured => return Ok(None),
    })
}

/// Explicit credentials first, then Docker's configuration if there is one.
#[derive(Debug, Default)]
pub struct RegistryAuth {
    explicit: Registry<Credentials>,
    docker: Option<DockerConfig>,
}

impl RegistryAuth {
    /// Only explicit credentials; everything else is anonymous.
    pub fn new() -> Self {
        Self::default()
    }

    /// Falls back to a Docker configuration directory.
    pub fn with_docker_config(docker: DockerConfig) -> Self {
        Self {
            explicit: Registry::new(),
            docker: Some(docker),
        }
    }

    /// Adds or replaces the credentials of a registry. `address` may be a host, a URL, or an image reference's prefix:
    /// only its host and port count.
    pub fn add(&self, address: &str, username: impl Into<String>, secret: impl Into<SecretString>) {
        self.explicit.insert(
            host_of(address),
            Credentials {
                username: username.into(),
                secret: secret.into(),
            },
        );
    }

    /// Forgets explicit credentials; says whether there were any.
    pub fn remove(&self, address: &str) -> bool {
        self.explicit.remove(&host_of(address)).is_some()
    }
}

#[async_trait]
impl AuthProvider for RegistryAuth {
    async fn credentials(&self, host: &str) -> Result<Option<Credentials>, String> {
        let host = host_of(host);
        if let Some(found) = self.explicit.get(&host) {
            return Ok(Some(found));
        }
        let Some(docker) = self.docker.clone() else {
            return Ok(None);
        };
        let key = if host == HUB_HOST {
            HUB_KEY.to_owned()
        } else {
            host
        };
        tokio::task::spawn_blocking(move || docker.lookup(&key))
            .await
            .map_err(|_| "the credential lookup was interrupted".to_owned())?
    }
}

/// Host and port of a registry address, with the names of Docker Hub made one.
fn host_of(address: &str) -> String {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    let host = rest
        .split('/')
        .next()
        .unwrap_or_default()
        .to_ascii_lowercase();
    match host.as_str() {
        "docker.io" | "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => {
            HUB_HOST.to_owned()
        }
        _ => host,
    }
}

/// Serves an [`AuthProvider`].
pub(crate) struct AuthService(pub(crate) Arc<dyn AuthProvider>);

fn no_client_tokens() -> Status {
    Status::unimplemented("tokens are fetched by the daemon, with credentials from this session")
}

#[async_trait]
impl Auth for AuthService {
    async fn credentials(
        &self,
        request: Request<CredentialsRequest>,
    ) -> Result<Response<CredentialsResponse>, Status> {
        let host = request.into_inner().host;
        let found = self.0.credentials(&host).await.map_err(|e| {
            Status::failed_precondition(format!("credentials for registry {host}: {e}"))
        })?;
        let response = found.map_or_else(CredentialsResponse::default, |c| CredentialsResponse {
            username: c.username,
            secret: c.secret.expose_secret().to_owned(),
        });
        Ok(Response::new(response))
    }

    async fn fetch_token(
        &self,
        _: Request<FetchTokenRequest>,
    ) -> Result<Response<FetchTokenResponse>, Status> {
        Err(no_client_tokens())
    }

    async fn get_token_authority(
        &self,
        _: Request<GetTokenAuthorityRequest>,
    ) -> Result<Response<GetTokenAuthorityResponse>, Status> {
        Err(no_client_tokens())
    }

    async fn verify_token_authority(
        &self,
        _: Request<VerifyTokenAuthorityRequest>,
    ) -> Result<Response<VerifyTokenAuthorityResponse>, Status> {
        Err(no_client_tokens())
    }
}

#[cfg(test)]
mod tests;
