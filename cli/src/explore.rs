//! `dagop explore`: one page in the browser that shows finished builds from the ledger.
//!
//! The page and its data come from one small server on 127.0.0.1. Nothing is fetched from anywhere
//! else, nothing is written, and no daemon is asked.
//!
//! | path | answer |
//! |---|---|
//! | `/KEY/` and the files in [`page`] | the page |
//! | `/KEY/api/builds` | the newest builds, at most [`BUILDS_MAX`] |
//! | `/KEY/api/builds/BUILD` | everything about one build, see [`columns`] |
//! | `/KEY/api/compare/A/B` | which steps of two builds belong together, see [`pair`] |
//! | `/open/TICKET` | once: sends the browser to the page |
//!
//! [`guard`] decides who may ask. An answer about a build is made in memory: the ledger's own limits
//! on rows and on the length of a text bound it, and [`ANSWERS_MAX`] bounds how many there are at
//! once.

mod columns;
mod graph;
mod guard;
mod page;
mod pair;
mod reason;

#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use dagop::explain::{self, Error as ExplainError};
use dagop::ledger::{BuildRow, Error as LedgerError, Reader};
use dagop::report::Report;
use serde::Serialize;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::error::CliError;
use guard::Guard;

/// Builds offered for choice.
const BUILDS_MAX: usize = 200;

/// Answers about builds made at once; more wait.
const ANSWERS_MAX: usize = 2;

/// Where the builds are.
#[derive(Clone, Debug)]
pub(crate) enum Source {
    /// This machine's ledger.
    Ledger(PathBuf),
    /// A file that `dagop bundle` wrote.
    Bundle(PathBuf),
}

impl Source {
    /// Opens it as it is now.
    pub(crate) fn open(&self) -> Result<Reader, LedgerError> {
        match self {
            Self::Ledger(path) => Reader::open(path),
            Self::Bundle(path) => Reader::open_bundle(path),
        }
    }
}

/// The server of the page.
#[derive(Debug)]
pub(crate) struct Explorer {
    listener: TcpListener,
    source: Source,
    guard: Guard,
}

/// What the handlers share.
#[derive(Debug)]
struct Shared {
    source: Source,
    guard: Arc<Guard>,
    answers: Semaphore,
}

impl Explorer {
    /// Takes a port of 127.0.0.1 (0: a free one) and makes up the key of the page's address. Serves
    /// nothing yet.
    pub(crate) async fn bind(source: Source, port: u16) -> Result<Self, CliError> {
        let cannot =
            |error| CliError::failed(format!("cannot listen on 127.0.0.1:{port}: {error}"));
        let listener = TcpListener::bind(("127.0.0.1", port)).await;
        let listener = listener.map_err(cannot)?;
        let port = listener.local_addr().map_err(cannot)?.port();
        let guard = Guard::new(port).map_err(|error| no_randomness(&error))?;
        Ok(Self {
            listener,
            source,
            guard,
        })
    }

    /// The page's address for `build`, beside another one if `against` is given. Both are ids.
    pub(crate) fn url(&self, build: &str, against: Option<&str>) -> String {
        self.guard.page(build, against)
    }

    /// An address that leads to the page's, once. A browser's command line is for everyone on this
    /// machine to read, so it gets this one.
    pub(crate) fn ticket(&self, build: &str, against: Option<&str>) -> Result<String, CliError> {
        let ticket = self.guard.ticket(self.guard.page(build, against));
        ticket.map_err(|error| no_randomness(&error))
    }

    /// Serves until `cancel`.
    pub(crate) async fn run(self, cancel: CancellationToken) -> Result<(), CliError> {
        axum::serve(self.listener, router(self.source, self.guard))
            .with_graceful_shutdown(async move { cancel.cancelled().await })
            .await
            .map_err(|error| CliError::failed(format!("the HTTP server failed: {error}")))
    }
}

fn no_randomness(error: &getrandom::Error) -> CliError {
    CliError::failed(format!("the system gives no random bytes: {error}"))
}

fn router(source: Source, guard: Guard) -> Router {
    let guard = Arc::new(guard);
    let shared = Arc::new(Shared {
        source,
        guard: Arc::clone(&guard),
        answers: Semaphore::new(ANSWERS_MAX),
    });
    Router::new()
        .route("/open/{ticket}", get(open))
        .route("/{key}/", get(|| async { page::file("index.html") }))
        .route("/{key}/{file}", get(asset))
        .route("/{key}/api/builds", get(builds))
        .route("/{key}/api/builds/{build}", get(build))
        .route("/{key}/api/compare/{a}/{b}", get(compare))
        .fallback(|| async { plain(StatusCode::NOT_FOUND, "There is nothing at this address.") })
        .with_state(shared)
        .layer(axum::middleware::from_fn_with_state(guard, guard::check))
}

/// A page of text, for people who took a wrong turn.
fn plain(status: StatusCode, sentence: &str) -> Response {
    let text = format!("dagop explore\n\n{sentence}\n");
    let headers = [(header::CONTENT_TYPE, "text/plain; charset=utf-8")];
    (status, headers, text).into_response()
}

async fn open(State(shared): State<Arc<Shared>>, Path(ticket): Path<String>) -> Response {
    match shared.guard.redeem(&ticket) {
        Some(page) => Redirect::to(&page).into_response(),
        None => plain(
            StatusCode::GONE,
            "This address works once. Use the one that `dagop explore` printed.",
        ),
    }
}

async fn asset(Path((_, file)): Path<(String, String)>) -> Response {
    page::file(&file)
}

async fn builds(State(shared): State<Arc<Shared>>) -> Response {
    let read = |ledger: &Reader| {
        let builds: Vec<BuildRow> = ledger.builds(BUILDS_MAX)?;
        Ok(to_json(&json!({ "builds": builds })))
    };
    answer(&shared, read).await
}

async fn build(State(shared): State<Arc<Shared>>, Path(path): Path<(String, String)>) -> Response {
    let read = move |ledger: &Reader| {
        let report = Report::read(ledger, &path.1)?;
        let operations = ledger.operations(&report.build.id)?;
        let reasons = explain::reasons(ledger, &report.build.id, None)?;
        Ok(to_json(&columns::Columns::of(
            &report,
            &operations,
            &reasons,
        )))
    };
    answer(&shared, read).await
}

async fn compare(
    State(shared): State<Arc<Shared>>,
    Path((_, a, b)): Path<(String, String, String)>,
) -> Response {
    let read = move |ledger: &Reader| {
        let (a, b) = (Report::read(ledger, &a)?, Report::read(ledger, &b)?);
        let comparison = explain::compare(ledger, &a.build.id, &b.build.id)?;
        Ok(to_json(&pair::Pairs::of(&a, &b, &comparison)))
    };
    answer(&shared, read).await
}

/// Reads the ledger on a thread that may wait for the disk. Every answer opens it anew: builds may
/// be added, and the file replaced, while the page is open.
async fn answer(
    shared: &Shared,
    read: impl FnOnce(&Reader) -> Result<Response, ExplainError> + Send + 'static,
) -> Response {
    let Ok(_permit) = shared.answers.acquire().await else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "shutting down", None);
    };
    let source = shared.source.clone();
    let work = move || read(&source.open()?);
    match tokio::task::spawn_blocking(work).await {
        Ok(Ok(response)) => response,
        Ok(Err(ExplainError::Ledger(error))) => ledger_failure(&error),
        Ok(Err(error)) => failure(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string(), None),
        Err(error) => {
            tracing::error!(%error, "reading the ledger ended early");
            let message = "reading the ledger ended early: this is a defect of dagop";
            failure(StatusCode::INTERNAL_SERVER_ERROR, message, None)
        }
    }
}

fn ledger_failure(error: &LedgerError) -> Response {
    let (status, hint) = match error {
        LedgerError::NotFound(_) => (
            StatusCode::NOT_FOUND,
            Some("choose one of the recorded builds"),
        ),
        LedgerError::Ambiguous { .. } => (StatusCode::CONFLICT, Some("give more of the id")),
        LedgerError::Empty(_) => (StatusCode::NOT_FOUND, Some("`dagop run` records a build")),
        _ => (StatusCode::INTERNAL_SERVER_ERROR, None),
    };
    failure(status, &error.to_string(), hint)
}

fn failure(status: StatusCode, message: &str, hint: Option<&str>) -> Response {
    let body = json!({"error": message, "hint": hint}).to_string();
    (status, [(header::CONTENT_TYPE, page::JSON)], body).into_response()
}

fn to_json(value: &impl Serialize) -> Response {
    match serde_json::to_vec(value) {
        Ok(body) => ([(header::CONTENT_TYPE, page::JSON)], body).into_response(),
        Err(error) => {
            let message = format!("the answer cannot be written as JSON: {error}");
            failure(StatusCode::INTERNAL_SERVER_ERROR, &message, None)
        }
    }
}
