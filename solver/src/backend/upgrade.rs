//! The HTTP/1.1 upgrade that leads into a Docker Engine's BuildKit.
//!
//! Docker serves BuildKit on its API socket: `POST /grpc` turns the connection
//! into HTTP/2 with the engine as server (Control, LLBBridge, health), and
//! `POST /session` into HTTP/2 with *us* as server. Both ask for
//! `Connection: Upgrade`, `Upgrade: h2c` and answer `101`; every other answer is
//! an error whose body is Docker's explanation.

use bytes::Bytes;
use http::header::{CONNECTION, HOST, UPGRADE};
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt, Empty, LengthLimitError, Limited};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;

use super::dial::BoxedIo;
use super::error::one_line;

/// Longest explanation read from a refused upgrade, in bytes.
const EXPLANATION_BYTES_MAX: usize = 16 << 10;

/// Switches `io` to the protocol behind `path`. The error is one line.
pub(crate) async fn open(io: BoxedIo, path: &str, headers: &HeaderMap) -> Result<BoxedIo, String> {
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(io))
        .await
        .map_err(|error| error.to_string())?;
    // The connection ends by itself: with the upgrade, or when `sender` is dropped.
    tokio::spawn(connection.with_upgrades());
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = Method::POST;
    *request.uri_mut() = path
        .parse()
        .map_err(|_| format!("{path:?} is not a path"))?;
    *request.headers_mut() = headers.clone();
    let fixed = request.headers_mut();
    fixed.insert(HOST, http::HeaderValue::from_static("docker"));
    fixed.insert(CONNECTION, http::HeaderValue::from_static("Upgrade"));
    fixed.insert(UPGRADE, http::HeaderValue::from_static("h2c"));
    let response = sender.send_request(request).await.map_err(|error| {
        format!(
            "POST {path} got no answer: {}",
            one_line(&error.to_string())
        )
    })?;
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return Err(refusal(path, response).await);
    }
    let upgraded = hyper::upgrade::on(response)
        .await
        .map_err(|error| format!("POST {path} was not upgraded: {error}"))?;
    Ok(Box::new(TokioIo::new(upgraded)))
}

async fn refusal(path: &str, response: http::Response<Incoming>) -> String {
    let status = response.status();
    let body = match Limited::new(response.into_body(), EXPLANATION_BYTES_MAX)
        .collect()
        .await
    {
        Ok(body) => one_line(&String::from_utf8_lossy(&body.to_bytes())),
        Err(error) if error.is::<LengthLimitError>() => "a long explanation".to_owned(),
        Err(_) => String::new(),
    };
    let message = serde_json::from_str::<serde_json::Value>(&body)
        .ok()
        .and_then(|json| Some(json.get("message")?.as_str()?.to_owned()))
        .unwrap_or(body);
    format!("Docker Engine refused POST {path} with {status}: {message}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    /// Answers one request with `answer` and then echoes; returns the request head.
    async fn engine(mut io: tokio::io::DuplexStream, answer: &'static str) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(io.read_u8().await.expect("request head"));
        }
        io.write_all(answer.as_bytes()).await.expect("answer");
        let (mut read, mut write) = tokio::io::split(io);
        tokio::io::copy(&mut read, &mut write).await.expect("echo");
        String::from_utf8(head).expect("text")
    }

    #[tokio::test]
    async fn a_101_turns_into_a_raw_stream_without_losing_bytes() {
        let (near, far) = tokio::io::duplex(1024);
        let answer = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\nearly";
        let engine = tokio::spawn(engine(far, answer));
        let mut headers = HeaderMap::new();
        headers.append(
            "x-docker-expose-session-grpc-method",
            "/a/B".parse().expect("value"),
        );
        headers.append(
            "x-docker-expose-session-grpc-method",
            "/c/D".parse().expect("value"),
        );
        let mut io = open(Box::new(near), "/session", &headers)
            .await
            .expect("upgraded");
        io.write_all(b"ping").await.expect("write");
        let mut back = [0; 9];
        io.read_exact(&mut back).await.expect("read");
        assert_eq!(&back, b"earlyping");
        drop(io);
        let head = engine.await.expect("engine").to_ascii_lowercase();
        assert!(head.starts_with("post /session http/1.1\r\n"), "{head}");
        for line in [
            "connection: upgrade",
            "upgrade: h2c",
            "method: /a/b",
            "method: /c/d",
        ] {
            assert!(head.contains(line), "{line} in {head}");
        }
    }

    #[tokio::test]
    async fn a_refusal_is_dockers_own_message() {
        let (near, far) = tokio::io::duplex(1024);
        let answer = "HTTP/1.1 404 Not Found\r\nContent-Type: application/json\r\nContent-Length: 29\r\n\r\n{\"message\":\"page not found\"}\n";
        tokio::spawn(engine(far, answer));
        let error = open(Box::new(near), "/grpc", &HeaderMap::new())
            .await
            .err()
            .expect("refused");
        assert_eq!(
            error,
            "Docker Engine refused POST /grpc with 404 Not Found: page not found"
        );
    }

    #[tokio::test]
    async fn a_server_that_hangs_up_is_an_error() {
        let (near, far) = tokio::io::duplex(1024);
        drop(far);
        let error = open(Box::new(near), "/grpc", &HeaderMap::new())
            .await
            .err()
            .expect("no answer");
        assert!(error.starts_with("POST /grpc got no answer: "), "{error}");
    }
}
