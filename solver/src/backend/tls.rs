//! TLS and mutual TLS for TCP addresses, from PEM files.
//!
//! A daemon's certificate is checked against the CA file and nothing else: the
//! CA of a BuildKit daemon is a private one, and falling back to the public
//! authorities would accept a stranger. With a client certificate and key the
//! daemon can check us as well.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

use super::error::Error;

/// Largest PEM file that is read, in bytes.
const PEM_BYTES_MAX: u64 = 1 << 20;

/// The files of a TLS connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates of the authorities that may sign the daemon's.
    pub ca: PathBuf,
    /// Our own certificate chain and private key, for mutual TLS.
    pub identity: Option<Identity>,
    /// Name in the daemon's certificate when it is not the host of the address.
    pub server_name: Option<String>,
}

/// Files of a client certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Certificate chain, leaf first.
    pub cert: PathBuf,
    /// Private key (PKCS #8, PKCS #1 or SEC 1).
    pub key: PathBuf,
}

/// A loaded [`TlsConfig`].
#[derive(Clone)]
pub(crate) struct Tls {
    config: Arc<ClientConfig>,
    server_name: Option<String>,
}

impl Tls {
    /// Reads the files; an error names the one that is at fault.
    pub(crate) async fn load(config: &TlsConfig) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        for certificate in certificates(&config.ca).await? {
            roots
                .add(certificate)
                .map_err(|error| invalid(&config.ca, error.to_string()))?;
        }
        let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(|error| Error::Protocol(format!("TLS cannot be set up: {error}")))?
            .with_root_certificates(roots);
        let loaded = match &config.identity {
            None => builder.with_no_client_auth(),
            Some(identity) => {
                let chain = certificates(&identity.cert).await?;
                let key = PrivateKeyDer::from_pem_slice(&read(&identity.key).await?)
                    .map_err(|error| invalid(&identity.key, format!("no private key: {error}")))?;
                builder.with_client_auth_cert(chain, key).map_err(|error| {
                    invalid(
                        &identity.cert,
                        format!("does not go with the private key: {error}"),
                    )
                })?
            }
        };
        if let Some(name) = &config.server_name {
            server_name(name).map_err(Error::Protocol)?;
        }
        Ok(Self {
            config: Arc::new(loaded),
            server_name: config.server_name.clone(),
        })
    }

    /// Performs the handshake on `io`, offering one application protocol.
    pub(crate) async fn connect<S>(
        &self,
        host: &str,
        io: S,
        protocol: &str,
    ) -> Result<TlsStream<S>, String>
    where
        S: AsyncRead + AsyncWrite + Unpin,
    {
        let mut config = ClientConfig::clone(&self.config);
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let name = server_name(self.server_name.as_deref().unwrap_or(host))?;
        TlsConnector::from(Arc::new(config))
            .connect(name, io)
            .await
            .map_err(|error| format!("TLS handshake failed: {error}"))
    }
}

fn server_name(name: &str) -> Result<ServerName<'static>, String> {
    ServerName::try_from(name.to_owned())
        .map_err(|_| format!("{name:?} cannot be the name of a TLS server"))
}

async fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let pem = read(path).await?;
    let certificates = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| invalid(path, error.to_string()))?;
    if certificates.is_empty() {
        return Err(invalid(path, "contains no PEM certificate".to_owned()));
    }
    Ok(certificates)
}

async fn read(path: &Path) -> Result<Vec<u8>, Error> {
    let size = tokio::fs::metadata(path)
        .await
        .map_err(|error| Error::io(path, error))?
        .len();
    if size > PEM_BYTES_MAX {
        return Err(invalid(path, format!("larger than {PEM_BYTES_MAX} bytes")));
    }
    tokio::fs::read(path)
        .await
        .map_err(|error| Error::io(path, error))
}

fn invalid(path: &Path, reason: String) -> Error {
    Error::io(path, io::Error::new(io::ErrorKind::InvalidData, reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn load(ca: &Path) -> String {
        let config = TlsConfig {
            ca: ca.to_owned(),
            identity: None,
            server_name: None,
        };
        Tls::load(&config)
            .await
            .err()
            .expect("not a CA file")
            .to_string()
    }

    #[tokio::test]
    async fn the_file_at_fault_is_named() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let missing = dir.path().join("missing.pem");
        assert!(
            load(&missing)
                .await
                .starts_with(&format!("{}: ", missing.display()))
        );
        let file = dir.path().join("ca.pem");
        for (content, reason) in [
            ("", "contains no PEM certificate"),
            (
                "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n",
                "",
            ),
            (
                "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
                "",
            ),
        ] {
            std::fs::write(&file, content).expect("written");
            let error = load(&file).await;
            assert!(
                error.starts_with(&file.display().to_string()) && error.contains(reason),
                "{error}"
            );
        }
        let large = std::fs::File::create(&file).expect("created");
        large.set_len(PEM_BYTES_MAX + 1).expect("sized");
        assert!(load(&file).await.ends_with("larger than 1048576 bytes"));
    }
}
