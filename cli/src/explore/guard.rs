//! Who may see the page: whoever holds its address, and only through that very address.
//!
//! - **The key** is the first part of every path: [`KEY_BYTES`] random bytes, made up for each start
//!   and printed to the user. Other users of this machine can reach the port, but do not know it.
//! - **`Host`** must name 127.0.0.1 or localhost with our port. A web page whose name was made to
//!   resolve to 127.0.0.1 (DNS rebinding) sends its own name, and gets nothing.
//! - **`Origin` and `Sec-Fetch-Site`**, where a browser sends them, must be our own page's; only
//!   following a link, which shows nothing to the page it is on, may come from elsewhere.
//! - **The answer's headers** forbid the page everything but its own files and data: no other
//!   address, no inline script or style, no markup made from text, no frame around it, no copy in a
//!   cache, no address in a `Referer`.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Request, State};
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use super::plain;
use crate::serve::same;

/// Random bytes of the key and of a ticket.
const KEY_BYTES: usize = 32;

/// What the page may do. `trusted-types` without a policy makes the browser refuse to parse text as
/// markup, whatever the scripts try.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'; \
     require-trusted-types-for 'script'; trusted-types 'none'";

/// Headers of every answer.
const HEADERS: [(header::HeaderName, &str); 6] = [
    (header::CONTENT_SECURITY_POLICY, POLICY),
    (header::REFERRER_POLICY, "no-referrer"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::CACHE_CONTROL, "no-store"),
    (
        header::HeaderName::from_static("cross-origin-resource-policy"),
        "same-origin",
    ),
    (
        header::HeaderName::from_static("cross-origin-opener-policy"),
        "same-origin",
    ),
];

/// The key, the names we go by, and the tickets not yet used.
pub(super) struct Guard {
    key: String,
    hosts: [String; 2],
    /// Ticket and the address it leads to.
    tickets: Mutex<HashSet<(String, String)>>,
}

/// Without the key: it must not end up in a log.
impl std::fmt::Debug for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Guard")
            .field("hosts", &self.hosts)
            .finish_non_exhaustive()
    }
}

impl Guard {
    /// For the server on `port`.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(super) fn new(port: u16) -> Result<Self, getrandom::Error> {
        Ok(Self {
            key: random()?,
            hosts: [format!("127.0.0.1:{port}"), format!("localhost:{port}")],
            tickets: Mutex::default(),
        })
    }

    /// The address of the page.
    pub(super) fn page(&self, build: &str, against: Option<&str>) -> String {
        let mut url = format!("http://{}/{}/?build={build}", self.hosts[0], self.key);
        if let Some(against) = against {
            url.push_str("&against=");
            url.push_str(against);
        }
        url
    }

    /// An address that leads to `page` once.
    ///
    /// # Errors
    /// When the system gives no random bytes.
    pub(super) fn ticket(&self, page: String) -> Result<String, getrandom::Error> {
        let ticket = random()?;
        let url = format!("http://{}/open/{ticket}", self.hosts[0]);
        self.tickets
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert((ticket, page));
        Ok(url)
    }

    /// Where a ticket leads. It is used up.
    pub(super) fn redeem(&self, ticket: &str) -> Option<String> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let used = tickets
            .iter()
            .find(|(known, _)| same(known.as_bytes(), ticket.as_bytes()))
            .cloned()?;
        tickets.take(&used).map(|(_, page)| page)
    }

    /// Why a request gets nothing.
    fn refuse(&self, request: &Request) -> Option<(StatusCode, &'static str)> {
        let headers = request.headers();
        let host = text(headers, header::HOST.as_str());
        if !host.is_some_and(|host| self.hosts.iter().any(|known| known == host)) {
            let sentence = "This server answers to the name 127.0.0.1 only.";
            return Some((StatusCode::MISDIRECTED_REQUEST, sentence));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Some((
                StatusCode::METHOD_NOT_ALLOWED,
                "There is nothing to change here.",
            ));
        }
        if !self.is_from_our_page(headers) {
            let sentence = "The data of this page is for this page only.";
            return Some((StatusCode::FORBIDDEN, sentence));
        }
        let first = request
            .uri()
            .path()
            .trim_start_matches('/')
            .split('/')
            .next();
        let key = first.unwrap_or_default();
        if key != "open" && !same(key.as_bytes(), self.key.as_bytes()) {
            let sentence =
                "This address is not complete. Use the one that `dagop explore` printed.";
            return Some((StatusCode::FORBIDDEN, sentence));
        }
        None
    }

    fn is_from_our_page(&self, headers: &HeaderMap) -> bool {
        let ours = |origin: &str| {
            let host = origin.strip_prefix("http://");
            host.is_some_and(|host| self.hosts.iter().any(|known| known == host))
        };
        let origin = text(headers, "origin").is_none_or(ours);
        let site = text(headers, "sec-fetch-site");
        let link = text(headers, "sec-fetch-mode") == Some("navigate")
            && text(headers, "sec-fetch-dest") == Some("document");
        origin && (link || site.is_none_or(|site| matches!(site, "same-origin" | "none")))
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers
        .get(name)
        .map(|value| value.to_str().unwrap_or_default())
}

fn random() -> Result<String, getrandom::Error> {
    let mut bytes = [0; KEY_BYTES];
    getrandom::fill(&mut bytes)?;
    Ok(BASE64_URL_SAFE_NO_PAD.encode(bytes))
}

/// Stands before every handler.
pub(super) async fn check(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let mut response = match guard.refuse(&request) {
        Some((status, sentence)) => plain(status, sentence),
        None => next.run(request).await,
    };
    let headers = HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value)));
    response.headers_mut().extend(headers);
    response
}
