//! The engine: a daemon, a result cache, a ledger, and sessions over them.
//!
//! ```text
//! Engine ── start: find a daemon, ask what it is
//!   └─ session ─┬─ dagql::Session   text -> calls -> results
//!               ├─ BuildSession     trees -> LLB -> the daemon      (session.rs)
//!               └─ Journal          calls + vertices -> events      (journal.rs)
//! ```
//!
//! A dagql session has one build session behind it, which resolvers reach as
//! the session's extension. The result cache belongs to the engine, so sessions
//! of one process share results; TTL rows are in a file and outlive it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::SystemTime;

use dagql::{Cache, Request, Response, Schema, Server};
use solver::backend::{
    CacheBackend, Client, ConnectOptions, Identity, TlsConfig, Worker, discover,
};
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::error::{Error, Kind};
use crate::event::{BuildEnd, Event};
use crate::journal::Journal;
use crate::ledger::{self, Ledger};
use crate::platform::Platform;
use crate::report::Report;
use crate::session::{BuildSession, BuildSessionOptions, Environment};

/// Where the daemon is, and what this client keeps.
#[derive(Clone, Debug, Default)]
pub struct EngineOptions {
    /// Ledger, TTL table and the client's id.
    pub state_dir: PathBuf,
    /// The address the user named.
    pub address: Option<String>,
    /// Value of `BUILDKIT_HOST`.
    pub buildkit_host: Option<String>,
    /// Value of `DOCKER_HOST`.
    pub docker_host: Option<String>,
    /// Value of `XDG_RUNTIME_DIR`.
    pub xdg_runtime_dir: Option<PathBuf>,
    /// TLS files, for an address of that kind.
    pub tls: Option<TlsOptions>,
    /// Docker's configuration directory.
    pub docker_config: Option<PathBuf>,
}

/// TLS files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsOptions {
    /// Certificate of the authority that signed the daemon's.
    pub ca: Option<PathBuf>,
    /// Our certificate.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    /// Name expected in the daemon's certificate.
    pub server_name: Option<String>,
}

/// What one session may see and do.
#[derive(Clone, Default)]
pub struct SessionOptions {
    /// Host paths are relative to this directory.
    pub workdir: PathBuf,
    /// Entitlements the user granted in this invocation.
    pub allow: Vec<String>,
    /// Receives everything that happens.
    pub events: Option<UnboundedSender<Event>>,
    /// Where the last definition that was solved is written.
    pub dump_llb: Option<PathBuf>,
    /// The API version that the client was written for; empty for the newest.
    pub api_version: String,
    /// Caches that every solve may read.
    pub cache_imports: Vec<CacheBackend>,
    /// Caches to write when all requests are answered; inline ones with every image.
    pub cache_exports: Vec<CacheBackend>,
}

impl std::fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOptions")
            .field("workdir", &self.workdir)
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
}

/// The daemon, for reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DaemonInfo {
    /// Its address.
    pub address: String,
    /// Its version, empty if it does not say.
    pub version: String,
    /// Its source revision, empty if it does not say.
    pub revision: String,
    /// Its workers, the default one first.
    pub workers: Vec<WorkerInfo>,
}

/// A worker of the daemon.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerInfo {
    /// Its id.
    pub id: String,
    /// Platforms it can run, its own first.
    pub platforms: Vec<String>,
    /// Labels.
    pub labels: std::collections::BTreeMap<String, String>,
}

/// A record of the daemon's cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DiskRecord {
    /// Its id.
    pub id: String,
    /// Bytes.
    pub size: u64,
    /// When it was made, in milliseconds since 1970.
    pub created_ms: Option<u64>,
    /// When it was last used, likewise.
    pub last_used_ms: Option<u64>,
    /// How often it was used.
    pub usage_count: u64,
    /// Whether it can still change.
    pub mutable: bool,
    /// Whether something uses it now.
    pub in_use: bool,
    /// Whether several records share its bytes.
    pub shared: bool,
    /// What kind of record.
    pub kind: String,
    /// What made it.
    pub description: String,
    /// The records it is made on.
    pub parents: Vec<String>,
}

/// See the module.
pub struct Engine {
    options: EngineOptions,
    client: Client,
    daemon: DaemonInfo,
    platform: Platform,
    ledger: Ledger,
    cache: Cache,
    schema: Schema,
    client_id: String,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("daemon", &self.daemon)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Finds a daemon and opens the state directory.
    ///
    /// # Errors
    /// No daemon answers, a bad address or TLS file, a state directory that
    /// cannot be written.
    pub async fn start(options: EngineOptions) -> Result<Self, Error> {
        let client_id = client_id(&options.state_dir)?;
        let hints = discover::Hints {
            explicit: options.address.clone(),
            buildkit_host: options.buildkit_host.clone(),
            xdg_runtime_dir: options.xdg_runtime_dir.clone(),
            docker_host: options.docker_host.clone(),
        };
        let connect = ConnectOptions {
            tls: tls(options.tls.as_ref())?,
            ..ConnectOptions::default()
        };
        let candidates = discover::candidates(&hints);
        // An address that somebody wrote and nobody can read is their mistake,
        // not a daemon that does not answer.
        if let [only] = &candidates[..]
            && let Err(error) = &only.address
        {
            return Err(Error::new(Kind::Usage, format!("{}: {error}", only.origin)));
        }
        let client = discover::connect_any(candidates, &connect).await?;
        let (info, workers) = tokio::try_join!(client.info(), client.workers(&[]))?;
        let platform = workers
            .first()
            .and_then(|worker| worker.platforms.first())
            .map_or_else(Platform::host, |platform| platform.clone().into());
        let daemon = DaemonInfo {
            address: client.address().to_string(),
            version: info.version,
            revision: info.revision,
            workers: workers.into_iter().map(worker_info).collect(),
        };
        let schema = crate::core::schema()
            .map_err(|e| Error::internal(format!("the schema is not valid: {e}")))?;
        Ok(Self {
            ledger: Ledger::start(ledger::path_in(&options.state_dir)),
            cache: result_cache(&options.state_dir),
            options,
            client,
            daemon,
            platform,
            schema,
            client_id,
        })
    }

    /// The daemon that was found.
    pub fn daemon(&self) -> &DaemonInfo {
        &self.daemon
    }

    /// The API's schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Records of the daemon's cache.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn disk_usage(&self) -> Result<Vec<DiskRecord>, Error> {
        let records = self.client.disk_usage(&[]).await?;
        let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
        Ok(records
            .into_iter()
            .map(|record| DiskRecord {
                id: record.id,
                size: unsigned(record.size),
                created_ms: record.created.map(millis),
                last_used_ms: record.last_used.map(millis),
                usage_count: unsigned(record.usage_count),
                mutable: record.mutable,
                in_use: record.in_use,
                shared: record.shared,
                kind: record.kind,
                description: record.description,
                parents: record.parents,
            })
            .collect())
    }

    /// The builds recorded so far.
    ///
    /// # Errors
    /// When there are none, or the file cannot be read.
    pub fn ledger(&self) -> Result<ledger::Reader, ledger::Error> {
        ledger::Reader::open(self.ledger.path())
    }

    /// Opens a session.
    ///
    /// # Errors
    /// When the daemon refuses it.
    pub async fn session(&self, options: SessionOptions) -> Result<EngineSession, Error> {
        let journal = Arc::new(Journal::new(self.ledger.record(), options.events));
        journal.begin(&self.daemon.address, &self.daemon.version, None);
        let build = BuildSession::open(BuildSessionOptions {
            client: self.client.clone(),
            daemon_version: self.daemon.version.clone(),
            platform: self.platform.clone(),
            workdir: options.workdir,
            allow: options.allow,
            docker_config: self.options.docker_config.clone(),
            environment: process_environment(),
            shared_key: self.client_id.clone(),
            dump_llb: options.dump_llb,
            cache_imports: options.cache_imports,
            cache_exports: options.cache_exports,
            journal: Arc::clone(&journal),
        })
        .await?;
        let build = Arc::new(build);
        let observer = Arc::<Journal>::clone(&journal);
        let server = Server::new(self.schema.clone(), self.cache.clone(), observer);
        let extension = Arc::<BuildSession>::clone(&build);
        let own = dagql::SessionOptions::new(build.id(), self.client_id.as_str(), extension);
        let session = server.session(own.view(dagql::View::of(&options.api_version)));
        Ok(EngineSession {
            session,
            build,
            journal,
            failed: AtomicBool::new(false),
        })
    }
}

/// An open session; dropping it stops its work.
#[derive(Debug)]
pub struct EngineSession {
    session: Arc<dagql::Session>,
    build: Arc<BuildSession>,
    journal: Arc<Journal>,
    failed: AtomicBool,
}

impl EngineSession {
    /// Answers one request. Dropping the future or cancelling the token stops
    /// what nobody else waits for.
    pub async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        let response = self.session.execute(request, cancel).await;
        if !response.errors.is_empty() {
            self.failed.store(true, Ordering::Relaxed);
        }
        response
    }

    /// Writes the caches that the options name. Without effect after a request had errors: what
    /// failed cannot be exported.
    ///
    /// # Errors
    /// The daemon's reason for the first cache that could not be written.
    pub async fn export_caches(&self) -> Result<(), Error> {
        if self.failed.load(Ordering::Relaxed) {
            return Ok(());
        }
        let done = self.build.export_caches().await;
        if done.is_err() {
            self.failed.store(true, Ordering::Relaxed);
        }
        done
    }

    /// Ends the session: the daemon forgets its results, and the ledger has
    /// every call.
    ///
    /// # Errors
    /// When it was finished before.
    pub async fn finish(&self) -> Result<Report, Error> {
        let failed = self.failed.load(Ordering::Relaxed);
        let end = if failed {
            BuildEnd::Failed
        } else {
            BuildEnd::Succeeded
        };
        self.end(end).await
    }

    /// Ends the session because the user stopped it: running work is cancelled.
    ///
    /// # Errors
    /// When it was finished before.
    pub async fn abort(&self) -> Result<Report, Error> {
        self.end(BuildEnd::Cancelled).await
    }

    async fn end(&self, end: BuildEnd) -> Result<Report, Error> {
        self.build.note_predicted();
        self.session.release();
        // A daemon that died has been reported by the call that needed it.
        if let Err(error) = self.build.close(end == BuildEnd::Cancelled).await {
            tracing::debug!(%error, "the build did not end cleanly");
        }
        let report = self.journal.finish(end).await;
        report.ok_or_else(|| Error::internal("the session was finished before"))
    }
}

/// Names of a document's operations in order, empty for an anonymous one;
/// nothing for a document that cannot be parsed.
pub fn operation_names(document: &str) -> Vec<String> {
    dagql::operation_names(document)
}

fn tls(options: Option<&TlsOptions>) -> Result<Option<TlsConfig>, Error> {
    let Some(options) = options else {
        return Ok(None);
    };
    let Some(ca) = options.ca.clone() else {
        return Err(
            Error::new(Kind::Usage, "TLS needs the certificate of an authority")
                .with_hint("give --tlscacert or --tlsdir"),
        );
    };
    let identity = match (options.cert.clone(), options.key.clone()) {
        (Some(cert), Some(key)) => Some(Identity { cert, key }),
        (None, None) => None,
        _ => {
            let reason = "a TLS certificate and its key are given together";
            return Err(Error::new(Kind::Usage, reason));
        }
    };
    Ok(Some(TlsConfig {
        ca,
        identity,
        server_name: options.server_name.clone(),
    }))
}

fn worker_info(worker: Worker) -> WorkerInfo {
    let platforms = worker
        .platforms
        .into_iter()
        .map(|p| Platform::from(p).to_string());
    WorkerInfo {
        id: worker.id,
        platforms: platforms.collect(),
        labels: worker.labels,
    }
}

/// The id of this client, made once per state directory. It scopes per-client
/// calls and lets the daemon find its copies of local directories again.
fn client_id(state_dir: &Path) -> Result<String, Error> {
    let fail = |e: std::io::Error| Error::input(format!("{}: {e}", state_dir.display()));
    std::fs::create_dir_all(state_dir).map_err(fail)?;
    let path = state_dir.join("client-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.is_empty()
        && id.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        return Ok(id);
    }
    let id = solver::backend::session::new_id();
    // Complete or not at all: another process may be starting as well.
    let temporary = tempfile::NamedTempFile::new_in(state_dir).map_err(fail)?;
    std::fs::write(temporary.path(), &id).map_err(fail)?;
    temporary.persist(&path).map_err(|e| fail(e.error))?;
    Ok(id)
}

/// The result cache with its TTL rows; a file that cannot be used is a slower
/// run, never a failed one.
fn result_cache(state_dir: &Path) -> Cache {
    match Cache::open(&state_dir.join("dagql-cache.db")) {
        Ok(cache) => cache,
        Err(error) => {
            tracing::warn!(%error, "results with a time to live are not kept");
            Cache::in_memory()
        }
    }
}

fn process_environment() -> Environment {
    Arc::new(|name| {
        let value = std::env::var(name);
        value.ok().map(Into::into)
    })
}

fn millis(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |d| u64::try_from(d.as_millis()).unwrap_or(u64::MAX))
}
