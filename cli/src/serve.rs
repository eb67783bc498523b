//! GraphQL over HTTP as Dagger's SDKs speak it: `POST /query` with a JSON body.
//!
//! The SDKs send HTTP/1.1 with keep-alive, several sockets at once, no version and no session id;
//! their own name for `Host` varies and is not checked. What is answered:
//!
//! | request | answer |
//! |---|---|
//! | executed, with or without errors | 200 |
//! | `GET /cache/stats`: counts of the result cache | 200 |
//! | does not parse or does not fit the schema | 422 `application/json`, or 400 for who accepts `application/graphql-response+json` |
//! | body is not a request | 400; 413 when it is too large, 408 when it is too slow ([`body`]) |
//! | wrong or no token | 401 with a challenge and no body |
//! | not JSON by its content type, or compressed in another way than gzip | 415 |
//! | from a web page | 403 |
//!
//! HTTP/2 is spoken with a client that begins with it. Headers that say nothing to this server, as
//! those of tracing, are ignored.
//!
//! A web page can make a browser post to a port of this machine. Requiring `application/json` makes
//! the browser ask first, which is never granted, and without a token a request that names an
//! `Origin` is refused outright.
//!
//! A client that goes away cancels its request. Shutting down cancels all requests, answers them,
//! and closes the connections.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Request as HttpRequest, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response as HttpResponse};
use axum::routing::{get, post};
use axum::serve::ListenerExt as _;
use base64::Engine as _;
use dagop::{CacheStats, GraphQlError, Request, Response};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::config::Token;
use crate::error::CliError;
use crate::operations::Execute;

mod body;
#[cfg(test)]
mod tests;

/// Requests worked on at once; more wait.
const REQUESTS_MAX: usize = 256;

/// Where the counts of the result cache are.
pub(crate) const STATS_PATH: &str = "/cache/stats";

const JSON: &str = "application/json";
const GRAPHQL_JSON: &str = "application/graphql-response+json";

/// What answers requests, and tells of its cache.
pub(crate) trait Queries: Execute {
    /// Counts of the result cache.
    fn cache_stats(&self) -> CacheStats;
}

/// An HTTP server over one session.
pub(crate) struct Server<Q> {
    queries: Arc<Q>,
    token: Option<Token>,
    requests: Semaphore,
    cancel: CancellationToken,
}

impl<Q: Queries> Server<Q> {
    /// With a token, only requests that give it as their user name are answered.
    pub(crate) fn new(queries: Arc<Q>, token: Option<Token>) -> Self {
        let requests = Semaphore::new(REQUESTS_MAX);
        Self {
            queries,
            token,
            requests,
            cancel: CancellationToken::new(),
        }
    }

    /// Serves until `cancel`, then winds up.
    pub(crate) async fn run(
        mut self,
        listener: TcpListener,
        cancel: CancellationToken,
    ) -> Result<(), CliError> {
        self.cancel = cancel.clone();
        let router = Router::new()
            .route("/query", post(query::<Q>))
            .route(STATS_PATH, get(stats::<Q>))
            .with_state(Arc::new(self));
        // Answers are written in one piece; waiting to fill a packet would only delay them.
        let listener = listener.tap_io(|stream| {
            if let Err(error) = stream.set_nodelay(true) {
                tracing::debug!(%error, "cannot set TCP_NODELAY");
            }
        });
        axum::serve(listener, router)
            .with_graceful_shutdown(async move { cancel.cancelled().await })
            .await
            .map_err(|error| CliError::failed(format!("the HTTP server failed: {error}")))
    }

    /// The refusal of a caller.
    fn refuse(&self, headers: &HeaderMap) -> Option<HttpResponse> {
        match &self.token {
            Some(token) if !authorized(headers, token) => {
                let challenge = "Basic realm=\"dagop session\"";
                let headers = [(header::WWW_AUTHENTICATE, challenge)];
                return Some((StatusCode::UNAUTHORIZED, headers).into_response());
            }
            None if headers.contains_key(header::ORIGIN) => {
                let message = "requests from web pages need a session token";
                return Some(refusal(StatusCode::FORBIDDEN, message));
            }
            _ => {}
        }
        None
    }

    /// The refusal of a query that may not even be read.
    fn refuse_query(&self, headers: &HeaderMap) -> Option<HttpResponse> {
        let refused = self.refuse(headers);
        if refused.is_some() {
            return refused;
        }
        if !media_type(headers).eq_ignore_ascii_case(JSON) {
            let message = "the body must be of type application/json";
            return Some(refusal(StatusCode::UNSUPPORTED_MEDIA_TYPE, message));
        }
        None
    }
}

async fn query<Q: Queries>(
    State(server): State<Arc<Server<Q>>>,
    request: HttpRequest,
) -> HttpResponse {
    match answer(&server, request).await {
        Ok(response) | Err(response) => response,
    }
}

async fn stats<Q: Queries>(
    State(server): State<Arc<Server<Q>>>,
    headers: HeaderMap,
) -> HttpResponse {
    match server.refuse(&headers) {
        Some(refused) => refused,
        None => axum::Json(server.queries.cache_stats()).into_response(),
    }
}

async fn answer<Q: Queries>(
    server: &Server<Q>,
    request: HttpRequest,
) -> Result<HttpResponse, HttpResponse> {
    let (parts, body) = request.into_parts();
    if let Some(refused) = server.refuse_query(&parts.headers) {
        return Err(refused);
    }
    let closed = |_| {
        refusal(
            StatusCode::SERVICE_UNAVAILABLE,
            "the server is shutting down",
        )
    };
    let _permit = server.requests.acquire().await.map_err(closed)?;
    let body = body::read(&parts.headers, body).await;
    let body = body.map_err(IntoResponse::into_response)?;
    let request: Request = serde_json::from_slice(&body).map_err(|error| {
        refusal(
            StatusCode::BAD_REQUEST,
            &format!("the body is not a GraphQL request: {error}"),
        )
    })?;
    drop(body);
    // The client's leaving drops this future, and with it the guard.
    let cancel = server.cancel.child_token();
    let _guard = cancel.clone().drop_guard();
    let response = server.queries.execute(request, cancel).await;
    Ok(encode(&response, accepts_graphql_json(&parts.headers)))
}

fn encode(response: &Response, graphql_json: bool) -> HttpResponse {
    let refused = response.errors.first().is_some_and(is_request_error);
    let (status, media_type) = match (refused, graphql_json) {
        (false, false) => (StatusCode::OK, JSON),
        (false, true) => (StatusCode::OK, GRAPHQL_JSON),
        (true, false) => (StatusCode::UNPROCESSABLE_ENTITY, JSON),
        (true, true) => (StatusCode::BAD_REQUEST, GRAPHQL_JSON),
    };
    match serde_json::to_vec(response) {
        Ok(body) => (status, [(header::CONTENT_TYPE, media_type)], body).into_response(),
        Err(error) => {
            let message = format!("the answer cannot be written as JSON: {error}");
            refusal(StatusCode::INTERNAL_SERVER_ERROR, &message)
        }
    }
}

/// The request was refused as a whole: nothing was executed.
fn is_request_error(error: &GraphQlError) -> bool {
    let code = error
        .extensions()
        .get("code")
        .and_then(|code| code.as_str());
    matches!(
        code,
        Some("GRAPHQL_PARSE_FAILED" | "GRAPHQL_VALIDATION_FAILED")
    )
}

/// A refusal in GraphQL's form, which SDKs show as it is.
fn refusal(status: StatusCode, message: &str) -> HttpResponse {
    let body = json!({"errors": [{"message": message}], "data": null}).to_string();
    (status, [(header::CONTENT_TYPE, JSON)], body).into_response()
}

fn authorized(headers: &HeaderMap, token: &Token) -> bool {
    let credentials = headers
        .get(header::AUTHORIZATION)
        .and_then(|value| value.to_str().ok());
    let encoded = credentials.and_then(|text| {
        let (scheme, encoded) = text.split_once(' ')?;
        scheme
            .eq_ignore_ascii_case("basic")
            .then_some(encoded.trim())
    });
    let Some(encoded) = encoded else { return false };
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded)
        .unwrap_or_default();
    let user = decoded
        .split(|byte| *byte == b':')
        .next()
        .unwrap_or_default();
    same(user, token.expose().as_bytes())
}

/// Compares in a time that does not depend on where the first difference is.
pub(crate) fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len()
        && a.iter()
            .zip(b)
            .fold(0, |differences, (a, b)| differences | (a ^ b))
            == 0
}

/// The content type without its parameters.
fn media_type(headers: &HeaderMap) -> &str {
    let value = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    value
        .and_then(|value| value.split(';').next())
        .unwrap_or_default()
        .trim()
}

fn accepts_graphql_json(headers: &HeaderMap) -> bool {
    let mut accepted = headers.get_all(header::ACCEPT).iter();
    accepted.any(|value| {
        value
            .to_str()
            .is_ok_and(|value| value.contains(GRAPHQL_JSON))
    })
}
