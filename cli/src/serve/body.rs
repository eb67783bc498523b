//! The body of a request: read to its end, and decompressed, within bounds.
//!
//! `Content-Encoding` may be absent, `identity` or `gzip`; anything else is 415 with an
//! `Accept-Encoding` that says what would do. The limit holds for what arrives and for what becomes
//! of it, so that a small body cannot fill the memory: decompression stops at the limit.

use std::io::Read as _;
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use flate2::read::MultiGzDecoder;

use super::refusal;

/// Largest request, in bytes, compressed or not. File contents, secrets and IDs travel in it, so it
/// is not small.
pub(super) const BODY_BYTES_MAX: usize = 64 << 20;

/// Longest time a request may take to arrive.
const BODY_TIME_MAX: Duration = Duration::from_secs(60);

/// How a body is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Encoding {
    Identity,
    Gzip,
}

/// Why there is no body.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    /// An encoding that is not known, or several.
    #[error("the body may be compressed with gzip, once, or not at all")]
    Encoding,
    /// As it arrives or as it is meant.
    #[error("the request is larger than {} MiB", BODY_BYTES_MAX >> 20)]
    TooLarge,
    /// Longer than [`BODY_TIME_MAX`].
    #[error("the body did not arrive in time")]
    TooSlow,
    /// The connection ended, or its framing is wrong.
    #[error("the body broke off: {0}")]
    Broken(axum::Error),
    /// Cut off, or something else.
    #[error("the body is not whole gzip: {0}")]
    Gzip(std::io::Error),
    /// The process is ending.
    #[error("the body was not decompressed: {0}")]
    Stopped(tokio::task::JoinError),
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let status = match &self {
            Self::Encoding => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooSlow => StatusCode::REQUEST_TIMEOUT,
            Self::Broken(_) | Self::Gzip(_) => StatusCode::BAD_REQUEST,
            Self::Stopped(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        let mut response = refusal(status, &self.to_string());
        if matches!(self, Self::Encoding) {
            let known = HeaderValue::from_static("gzip, identity");
            response
                .headers_mut()
                .insert(header::ACCEPT_ENCODING, known);
        }
        response
    }
}

/// The bytes that a client meant.
pub(super) async fn read(headers: &HeaderMap, body: Body) -> Result<Bytes, Refused> {
    let encoding = encoding(headers)?;
    let bytes = receive(body).await?;
    match encoding {
        Encoding::Identity => Ok(bytes),
        // It takes as long as the client likes, within the limit: not on a worker.
        Encoding::Gzip => tokio::task::spawn_blocking(move || decompress(&bytes))
            .await
            .unwrap_or_else(|error| Err(Refused::Stopped(error))),
    }
}

fn encoding(headers: &HeaderMap) -> Result<Encoding, Refused> {
    let mut found = Encoding::Identity;
    let values = headers.get_all(header::CONTENT_ENCODING).iter();
    let names = values.flat_map(|value| value.to_str().unwrap_or("?").split(','));
    for name in names.map(|name| name.trim().to_ascii_lowercase()) {
        match (name.as_str(), found) {
            ("" | "identity", _) => {}
            ("gzip" | "x-gzip", Encoding::Identity) => found = Encoding::Gzip,
            _ => return Err(Refused::Encoding),
        }
    }
    Ok(found)
}

async fn receive(body: Body) -> Result<Bytes, Refused> {
    // A length that was announced needs no waiting for.
    if HttpBody::size_hint(&body).lower() > BODY_BYTES_MAX as u64 {
        return Err(Refused::TooLarge);
    }
    let read = axum::body::to_bytes(body, BODY_BYTES_MAX);
    let read = tokio::time::timeout(BODY_TIME_MAX, read);
    read.await.map_err(|_| Refused::TooSlow)?.map_err(|error| {
        // The limit's error is the source of axum's.
        let source = std::error::Error::source(&error);
        match source.is_some_and(|source| source.is::<http_body_util::LengthLimitError>()) {
            true => Refused::TooLarge,
            false => Refused::Broken(error),
        }
    })
}

fn decompress(bytes: &[u8]) -> Result<Bytes, Refused> {
    let mut plain = Vec::new();
    let mut decoder = MultiGzDecoder::new(bytes).take(BODY_BYTES_MAX as u64 + 1);
    decoder.read_to_end(&mut plain).map_err(Refused::Gzip)?;
    match plain.len() > BODY_BYTES_MAX {
        true => Err(Refused::TooLarge),
        false => Ok(plain.into()),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    async fn status(encodings: &[&'static str], body: Vec<u8>) -> Result<Bytes, u16> {
        let mut headers = HeaderMap::new();
        for encoding in encodings {
            headers.append(header::CONTENT_ENCODING, HeaderValue::from_static(encoding));
        }
        let read = read(&headers, Body::from(body)).await;
        read.map_err(|refused| refused.into_response().status().as_u16())
    }

    #[tokio::test]
    async fn a_body_without_an_announced_length_is_read_up_to_the_limit() {
        static MEGABYTE: [u8; 1 << 20] = [b' '; 1 << 20];
        let piece = Ok::<_, std::convert::Infallible>(Bytes::from_static(&MEGABYTE));
        let endless = Body::from_stream(futures::stream::repeat(piece));
        let refused = read(&HeaderMap::new(), endless).await.unwrap_err();
        assert!(matches!(refused, Refused::TooLarge), "{refused}");
    }

    #[tokio::test]
    async fn gzip_is_decompressed_whatever_it_is_called() {
        let plain = Bytes::from_static(b"some text");
        for names in [&["gzip"][..], &["GZIP"], &["x-gzip"], &["identity, gzip"]] {
            assert_eq!(status(names, gzip(&plain)).await, Ok(plain.clone()));
        }
        assert_eq!(
            status(&["identity"], plain.to_vec()).await,
            Ok(plain.clone())
        );
        let members = [gzip(b"some "), gzip(b"text")].concat();
        assert_eq!(status(&["gzip"], members).await, Ok(plain));
    }

    #[tokio::test]
    async fn another_encoding_or_two_are_refused() {
        for names in [
            &["br"][..],
            &["deflate"],
            &["gzip, gzip"],
            &["gzip", "zstd"],
        ] {
            assert_eq!(status(names, gzip(b"x")).await, Err(415), "{names:?}");
        }
    }

    #[tokio::test]
    async fn what_is_not_whole_gzip_is_refused() {
        let whole = gzip(b"some text");
        for length in 0..whole.len() {
            let part = whole[..length].to_vec();
            assert_eq!(status(&["gzip"], part).await, Err(400), "{length}");
        }
        assert_eq!(
            status(&["gzip"], b"{\"query\":\"x\"}".to_vec()).await,
            Err(400)
        );
    }

    #[tokio::test]
    async fn the_limit_is_that_of_what_is_decompressed() {
        let exact = gzip(&vec![b' '; BODY_BYTES_MAX]);
        assert_eq!(
            status(&["gzip"], exact).await.map(|bytes| bytes.len()),
            Ok(BODY_BYTES_MAX)
        );
        let larger = gzip(&vec![b' '; BODY_BYTES_MAX + 1]);
        assert!(larger.len() < BODY_BYTES_MAX / 100);
        assert_eq!(status(&["gzip"], larger).await, Err(413));
    }
}
