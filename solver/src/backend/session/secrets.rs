//! The Secrets service: hands secret values to the daemon, one at a time, by ID.
//!
//! The daemon asks when a step with a secret mount runs (or when a git or http source needs a token). A secret that is
//! not known is answered NotFound, which the daemon turns into "missing" for a required secret and into nothing for an
//! optional one. Values live in zeroing memory until they are encoded into the answer; neither values nor their
//! lengths are logged.

use std::sync::Arc;

use proto::secrets::secrets_server::Secrets as Service;
use proto::secrets::{GetSecretRequest, GetSecretResponse};
use secrecy::{ExposeSecret, SecretSlice};
use tonic::{Request, Response, Status, async_trait};

use super::registry::Registry;

/// Largest secret value in bytes; BuildKit's own limit.
pub const SECRET_MAX: usize = 500 * 1024;

/// Longest secret ID that is looked up, in bytes.
const ID_MAX: usize = 4096;

/// A secret value: arbitrary bytes, wiped from memory when dropped, never printed.
pub type SecretBytes = Arc<SecretSlice<u8>>;

/// Looks secrets up by the ID that the build's steps name.
#[async_trait]
pub trait SecretProvider: Send + Sync + 'static {
    /// The value of the secret `id`, or `None` when there is no such secret. An error text reaches the user through
    /// the daemon, so it must not hold the value.
    async fn secret(&self, id: &str) -> Result<Option<SecretBytes>, String>;
}

/// Secrets held in memory; entries can be added while the session runs.
pub type Secrets = Registry<SecretBytes>;

impl Registry<SecretBytes> {
    /// Adds the secret `id`. The bytes move into zeroing memory.
    pub fn add(&self, id: impl Into<String>, value: Vec<u8>) {
        self.insert(id, Arc::new(SecretSlice::from(value)));
    }
}

#[async_trait]
impl SecretProvider for Secrets {
    async fn secret(&self, id: &str) -> Result<Option<SecretBytes>, String> {
        Ok(self.get(id))
    }
}

/// Serves a [`SecretProvider`].
pub(crate) struct SecretsService(pub(crate) Arc<dyn SecretProvider>);

#[async_trait]
impl Service for SecretsService {
    async fn get_secret(
        &self,
        request: Request<GetSecretRequest>,
    ) -> Result<Response<GetSecretResponse>, Status> {
        let id = request.into_inner().id;
        if id.len() > ID_MAX {
            return Err(Status::invalid_argument(format!(
                "secret ID is longer than {ID_MAX} bytes"
            )));
        }
        let value = self
            .0
            .secret(&id)
            .await
            .map_err(|e| Status::unknown(format!("secret {id}: {e}")))?;
        let Some(value) = value else {
            return Err(Status::not_found(format!("secret {id}: not found")));
        };
        let bytes = value.expose_secret();
        if bytes.len() > SECRET_MAX {
            return Err(Status::invalid_argument(format!(
                "secret {id} is larger than the limit of {SECRET_MAX} bytes"
            )));
        }
        Ok(Response::new(GetSecretResponse {
            data: bytes.to_vec().into(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn get(secrets: Arc<dyn SecretProvider>, id: &str) -> Result<Vec<u8>, Status> {
        let request = Request::new(GetSecretRequest {
            id: id.to_owned(),
            ..Default::default()
        });
        SecretsService(secrets)
            .get_secret(request)
            .await
            .map(|r| r.into_inner().data.to_vec())
    }

    #[tokio::test]
    async fn a_known_secret_is_returned_and_an_unknown_one_is_not_found() {
        let secrets = Arc::new(Secrets::new());
        assert_eq!(
            get(secrets.clone(), "token").await.unwrap_err().code(),
            tonic::Code::NotFound
        );
        secrets.add("token", b"s3cret".to_vec());
        assert_eq!(get(secrets, "token").await.unwrap(), b"s3cret");
    }

    #[tokio::test]
    async fn the_limit_is_exact_and_the_error_tells_only_the_id() {
        let secrets = Arc::new(Secrets::new());
        secrets.add("fits", vec![b'x'; SECRET_MAX]);
        secrets.add("big", vec![b'x'; SECRET_MAX + 1]);
        assert_eq!(
            get(secrets.clone(), "fits").await.unwrap().len(),
            SECRET_MAX
        );
        let status = get(secrets, "big").await.unwrap_err();
        assert_eq!(
            status.message(),
            "secret big is larger than the limit of 512000 bytes"
        );
    }

    #[test]
    fn debug_output_hides_the_value() {
        let secrets = Secrets::new();
        secrets.add("token", b"s3cret".to_vec());
        let shown = format!("{secrets:?}");
        assert!(
            shown.contains("token") && !shown.contains("s3cret") && !shown.contains("115"),
            "{shown}"
        );
    }

    struct Failing;
    #[async_trait]
    impl SecretProvider for Failing {
        async fn secret(&self, _: &str) -> Result<Option<SecretBytes>, String> {
            Err("vault is sealed".to_owned())
        }
    }

    #[tokio::test]
    async fn a_provider_error_is_not_taken_for_a_missing_secret() {
        let status = get(Arc::new(Failing), "token").await.unwrap_err();
        assert_eq!(status.code(), tonic::Code::Unknown);
        assert_eq!(status.message(), "secret token: vault is sealed");
    }
}
