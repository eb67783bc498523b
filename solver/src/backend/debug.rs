//! The debug endpoint of buildkitd (`--debugaddr`), as far as it tells of the cache: plain HTTP on
//! a TCP port or a Unix socket, beside the gRPC address and off unless an administrator wants it.
//!
//! `/debug/cache/store` lists the records of the daemon's store (v0.25 and later); see
//! [`crate::cacheconfig::parse_store`]. The daemon walks its whole store to answer, so this is
//! asked once per build at most.

use std::path::PathBuf;
use std::time::Duration;

use http::header::{ACCEPT, HOST};
use http::{Request, StatusCode};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use crate::cacheconfig::{self, Config, STORE_BYTES_MAX};

/// Where the list is.
const STORE_PATH: &str = "/debug/cache/store";

/// How long the daemon may take to answer.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// Where a debug endpoint is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DebugAddress {
    /// Host and port.
    Tcp(String),
    /// Path of a socket.
    Unix(PathBuf),
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum DebugError {
    /// The text is no address.
    #[error("{0:?} is no debug address: write HOST:PORT, tcp://HOST:PORT or unix://PATH")]
    Address(String),
    /// Nobody answers.
    #[error("the debug endpoint at {address}: {reason}")]
    Unreachable {
        /// Where.
        address: String,
        /// What happened.
        reason: String,
    },
    /// The daemon is too old.
    #[error(
        "the debug endpoint at {0} does not list the cache store; buildkitd v0.25 and later do"
    )]
    NoStore(String),
    /// The list is malformed.
    #[error("the cache store at {address}: {source}")]
    Malformed {
        /// Where.
        address: String,
        /// What is wrong.
        source: cacheconfig::Error,
    },
}

impl std::str::FromStr for DebugAddress {
    type Err = DebugError;

    /// An address as buildkitd takes it: TCP where no scheme is named.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || DebugError::Address(text.to_owned());
        let (scheme, rest) = text.split_once("://").unwrap_or(("tcp", text));
        match scheme {
            "unix" if rest.starts_with('/') => Ok(Self::Unix(rest.into())),
            "tcp" => {
                let (host, port) = rest.rsplit_once(':').ok_or_else(fail)?;
                port.parse::<u16>().map_err(|_| fail())?;
                // A daemon that listens on all addresses is asked on this machine.
                let host = if host.is_empty() { "127.0.0.1" } else { host };
                Ok(Self::Tcp(format!("{host}:{port}")))
            }
            _ => Err(fail()),
        }
    }
}

impl std::fmt::Display for DebugAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(address) => f.write_str(address),
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
        }
    }
}

impl DebugAddress {
    /// The records of the daemon's cache store, without results.
    ///
    /// # Errors
    /// When nobody answers, the daemon has no such list, or it is malformed.
    pub async fn cache_store(&self) -> Result<Config, DebugError> {
        let fail = |reason: String| DebugError::Unreachable {
            address: self.to_string(),
            reason,
        };
        let asked = tokio::time::timeout(ANSWER_TIME_MAX, self.ask());
        let asked = asked
            .await
            .map_err(|_| fail("it does not answer".to_owned()))?;
        let (status, list) = asked.map_err(&fail)?;
        match status {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return Err(DebugError::NoStore(self.to_string())),
            status => return Err(fail(format!("it answers {status}"))),
        }
        // As large as the whole cache: other work goes on meanwhile.
        let parsed = tokio::task::spawn_blocking(move || cacheconfig::parse_store(&list)).await;
        let parsed = parsed.map_err(|e| fail(e.to_string()))?;
        parsed.map_err(|source| DebugError::Malformed {
            address: self.to_string(),
            source,
        })
    }

    async fn ask(&self) -> Result<(StatusCode, Vec<u8>), String> {
        match self {
            Self::Tcp(address) => {
                let stream = TcpStream::connect(address).await;
                get(stream.map_err(|e| e.to_string())?, address).await
            }
            Self::Unix(path) => {
                let stream = UnixStream::connect(path).await;
                get(stream.map_err(|e| e.to_string())?, "localhost").await
            }
        }
    }
}

async fn get(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    host: &str,
) -> Result<(StatusCode, Vec<u8>), String> {
    let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|e| e.to_string())?;
    // Ends with `sender`.
    tokio::spawn(connection);
    let request = Request::get(STORE_PATH)
        .header(HOST, host)
        .header(ACCEPT, "application/json")
        .body(Empty::<bytes::Bytes>::new())
        .map_err(|e| e.to_string())?;
    let response = sender.send_request(request).await;
    let response = response.map_err(|e| e.to_string())?;
    let status = response.status();
    let body = Limited::new(response.into_body(), STORE_BYTES_MAX)
        .collect()
        .await;
    let body = body.map_err(|e| e.to_string())?;
    Ok((status, body.to_bytes().to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_written_as_for_buildkitd() {
        let read = |text: &str| text.parse::<DebugAddress>().map(|a| a.to_string());
        assert_eq!(read("0.0.0.0:6060").unwrap(), "0.0.0.0:6060");
        assert_eq!(read(":6060").unwrap(), "127.0.0.1:6060");
        assert_eq!(read("tcp://host:1").unwrap(), "host:1");
        assert_eq!(read("unix:///run/d.sock").unwrap(), "unix:///run/d.sock");
        for bad in ["", "host", "host:x", "http://host:1", "unix://relative"] {
            assert!(
                read(bad).unwrap_err().to_string().contains("HOST:PORT"),
                "{bad}"
            );
        }
    }

    #[tokio::test]
    async fn nobody_at_the_address_is_an_error_that_names_it() {
        let folder = tempfile::tempdir().unwrap();
        let address = DebugAddress::Unix(folder.path().join("none.sock"));
        let error = address.cache_store().await.unwrap_err().to_string();
        assert!(error.contains("none.sock"), "{error}");
    }
}
