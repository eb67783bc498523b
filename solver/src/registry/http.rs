//! Connections: HTTP/1.1, with TLS or without, redirects, and limits.

use std::sync::Arc;
use std::time::Duration;

use ::http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderValue, LOCATION, USER_AGENT};
use ::http::{Method, Request, Response, Uri};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use secrecy::{ExposeSecret, SecretString};
use tokio_rustls::rustls::client::danger::{
    HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier,
};
use tokio_rustls::rustls::crypto::{
    WebPkiSupportedAlgorithms, ring, verify_tls12_signature, verify_tls13_signature,
};
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::rustls::{
    ClientConfig, DigitallySignedStruct, Error as TlsError, SignatureScheme,
};

use super::{ANSWER_TIME_MAX, Error, Trust};

/// Most redirects of one request.
const REDIRECTS_MAX: usize = 5;

/// How long a connection may take.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(30);

/// A request.
pub(super) struct Outgoing<'a> {
    pub(super) method: &'a Method,
    pub(super) url: &'a str,
    pub(super) accept: &'a str,
    /// The value of the header of that name.
    pub(super) authorization: Option<&'a SecretString>,
    /// A form to send.
    pub(super) form: Option<&'a SecretString>,
}

/// A pool of connections.
pub(super) struct Connections {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
}

impl Connections {
    pub(super) fn new(registry: &str, trust: Trust) -> Self {
        let mut connector = HttpConnector::new();
        connector.set_connect_timeout(Some(CONNECT_TIME_MAX));
        connector.enforce_http(false);
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls(registry, trust))
            .https_or_http()
            .enable_http1()
            .wrap_connector(connector);
        Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
        }
    }

    /// The scheme to speak to a registry in.
    pub(super) async fn scheme(&self, registry: &str, trust: Trust) -> Result<&'static str, Error> {
        if trust == Trust::Secure {
            return Ok(if is_loopback(registry) {
                "http"
            } else {
                "https"
            });
        }
        let mut failure = None;
        for scheme in ["https", "http"] {
            let outgoing = Outgoing {
                method: &Method::GET,
                url: &format!("{scheme}://{registry}/v2/"),
                accept: "*/*",
                authorization: None,
                form: None,
            };
            // Any answer at all is one in this protocol.
            match self.send(registry, &outgoing).await {
                Ok(_) => return Ok(scheme),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.expect("there are two schemes to try"))
    }

    /// The final answer to a request. Redirects are followed where nothing is sent but the request.
    pub(super) async fn send(
        &self,
        registry: &str,
        outgoing: &Outgoing<'_>,
    ) -> Result<Response<Incoming>, Error> {
        let fail = |reason: String| Error::Unreachable {
            registry: registry.to_owned(),
            reason,
        };
        let first: Uri = outgoing
            .url
            .parse()
            .map_err(|_| fail("it names an address that is no URL".to_owned()))?;
        let mut uri = first.clone();
        for _ in 0..=REDIRECTS_MAX {
            let is_first_host =
                (uri.scheme(), uri.authority()) == (first.scheme(), first.authority());
            let request = request(outgoing, &uri, is_first_host).map_err(&fail)?;
            let response = tokio::time::timeout(ANSWER_TIME_MAX, self.client.request(request));
            let response = response
                .await
                .map_err(|_| fail("it does not answer".to_owned()))?
                .map_err(|error| fail(sources(&error)))?;
            let is_redirect = response.status().is_redirection() && outgoing.form.is_none();
            let Some(location) = response.headers().get(LOCATION).filter(|_| is_redirect) else {
                return Ok(response);
            };
            let location = location.to_str().unwrap_or_default();
            uri = redirected(&uri, location).map_err(&fail)?;
        }
        Err(fail(format!(
            "it redirects more than {REDIRECTS_MAX} times"
        )))
    }
}

fn request(
    outgoing: &Outgoing<'_>,
    uri: &Uri,
    is_first_host: bool,
) -> Result<Request<Full<Bytes>>, String> {
    let mut request = Request::builder()
        .method(outgoing.method)
        .uri(uri.clone())
        .header(ACCEPT, outgoing.accept)
        .header(USER_AGENT, concat!("dagop/", env!("CARGO_PKG_VERSION")));
    if let Some(secret) = outgoing.authorization.filter(|_| is_first_host) {
        let mut value = HeaderValue::from_str(secret.expose_secret())
            .map_err(|_| "its token, or a password for it, has characters of no header")?;
        value.set_sensitive(true);
        request = request.header(AUTHORIZATION, value);
    }
    let mut body = Bytes::new();
    if let Some(form) = outgoing.form {
        request = request.header(CONTENT_TYPE, "application/x-www-form-urlencoded");
        body = Bytes::copy_from_slice(form.expose_secret().as_bytes());
    }
    request.body(Full::new(body)).map_err(|e| e.to_string())
}

/// Where a redirect leads: a whole URL, or a path on the same host.
fn redirected(from: &Uri, location: &str) -> Result<Uri, String> {
    let unusable = || "it redirects to an address that is no URL".to_owned();
    let to: Uri = match location.starts_with('/') && !location.starts_with("//") {
        true => {
            let scheme = from.scheme_str().unwrap_or("https");
            let authority = from.authority().map_or("", |authority| authority.as_str());
            format!("{scheme}://{authority}{location}").parse()
        }
        false => location.parse(),
    }
    .map_err(|_| unusable())?;
    match (from.scheme_str(), to.scheme_str()) {
        (_, Some("https")) | (Some("http"), Some("http")) => Ok(to),
        (Some("https"), Some("http")) => Err("it redirects from TLS to plain HTTP".to_owned()),
        _ => Err(unusable()),
    }
}

/// A body of at most `max` bytes.
pub(super) async fn body(response: Response<Incoming>, max: usize) -> Result<Vec<u8>, String> {
    let body = Limited::new(response.into_body(), max).collect();
    let body = tokio::time::timeout(ANSWER_TIME_MAX, body).await;
    let body = body.map_err(|_| "the answer does not end".to_owned())?;
    let body =
        body.map_err(
            |error| match error.downcast_ref::<http_body_util::LengthLimitError>() {
                Some(_) => format!("it has more than {max} bytes"),
                None => sources(&*error),
            },
        )?;
    Ok(body.to_bytes().to_vec())
}

/// The scheme of a URL.
pub(super) fn scheme_of(url: &str) -> Option<&str> {
    url.split_once("://").map(|(scheme, _)| scheme)
}

/// Whether a registry is on this machine, by its name alone.
fn is_loopback(registry: &str) -> bool {
    let host = match registry.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
        _ => registry,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// An error with what caused it.
fn sources(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let more = source.to_string();
        if !text.ends_with(&more) {
            text = format!("{text}: {more}");
        }
        next = source.source();
    }
    text
}

fn tls(registry: &str, trust: Trust) -> ClientConfig {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3");
    if trust == Trust::Insecure {
        let algorithms = provider.signature_verification_algorithms;
        return builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Anybody(algorithms)))
            .with_no_client_auth();
    }
    let mut roots = tokio_rustls::rustls::RootCertStore::empty();
    // Reading a hundred files for a registry that shows no certificate would be wasted.
    if !is_loopback(registry) {
        let system = rustls_native_certs::load_native_certs();
        for error in &system.errors {
            tracing::debug!(%error, "a certificate of the system cannot be read");
        }
        roots.add_parsable_certificates(system.certs);
    }
    builder.with_root_certificates(roots).with_no_client_auth()
}

/// Takes every certificate; for registries that the user calls insecure.
#[derive(Debug)]
struct Anybody(WebPkiSupportedAlgorithms);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, certificate, signature, &self.0)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, certificate, signature, &self.0)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registries_on_this_machine_are_known_by_name() {
        for name in [
            "localhost",
            "localhost:5000",
            "127.0.0.1:1",
            "127.8.8.8",
            "[::1]:5000",
        ] {
            assert!(is_loopback(name), "{name}");
        }
        for name in [
            "localhost.example",
            "example:5000",
            "10.0.0.1:5000",
            "[::2]:1",
        ] {
            assert!(!is_loopback(name), "{name}");
        }
    }

    #[test]
    fn a_redirect_never_leaves_tls() {
        let from: Uri = "https://a/v2/x".parse().unwrap();
        let to = |location: &str| redirected(&from, location).map(|uri| uri.to_string());
        assert_eq!(to("/blob?x=1").as_deref(), Ok("https://a/blob?x=1"));
        assert_eq!(to("https://cdn/b").as_deref(), Ok("https://cdn/b"));
        assert!(to("http://cdn/b").unwrap_err().contains("plain HTTP"));
        for bad in ["", "//cdn/b", "blob", "ftp://cdn/b"] {
            assert!(to(bad).unwrap_err().contains("no URL"), "{bad}");
        }
    }
}
