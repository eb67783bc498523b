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

use dagql::{
    Cache, CacheStats, Request, Response, Schema, Server, ValueLimits, ValueStats, ValueStore,
};
use solver::backend::CacheBackend;
use solver::backend::debug::DebugError;
use tokio::sync::mpsc::UnboundedSender;
use tokio_util::sync::CancellationToken;

use crate::copies::Copies;
use crate::daemon::{Daemon, DaemonInfo};
use crate::error::{Error, Kind};
use crate::event::{BuildEnd, Event};
use crate::formulas::{self, Formulas, SelfTest};
use crate::journal::Journal;
use crate::ledger::{self, Ledger};
use crate::report::Report;
use crate::session::{BuildSession, BuildSessionOptions, Environment, Mode};

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
    /// Address of the daemon's debug endpoint; its cache store is then joined with each build.
    pub debug_address: Option<String>,
    /// Go on without a daemon if none answers but one is remembered for the same addresses: calls
    /// that earlier runs answered are answered, and only those that need the daemon fail.
    pub daemon_may_be_away: bool,
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
    /// Where the last definition that was solved is written; all of them, if it is a directory.
    pub dump_llb: Option<PathBuf>,
    /// The API version that the client was written for; empty for the newest.
    pub api_version: String,
    /// Caches that every solve may read.
    pub cache_imports: Vec<CacheBackend>,
    /// Caches to write when all requests are answered; inline ones with every image.
    pub cache_exports: Vec<CacheBackend>,
    /// Compute values anew that earlier runs kept.
    pub no_recall: bool,
}

impl std::fmt::Debug for SessionOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionOptions")
            .field("workdir", &self.workdir)
            .field("allow", &self.allow)
            .finish_non_exhaustive()
    }
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
    daemon: Arc<Daemon>,
    ledger: Ledger,
    cache: Cache,
    schema: Schema,
    client_id: String,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine")
            .field("daemon", self.daemon.info())
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// Finds a daemon and opens the state directory.
    ///
    /// # Errors
    /// No daemon answers (see [`EngineOptions::daemon_may_be_away`]), a bad address or TLS file.
    pub async fn start(options: EngineOptions) -> Result<Self, Error> {
        let client_id = client_id(&options.state_dir);
        let daemon = Daemon::find(&options).await?;
        let schema = crate::core::schema()
            .map_err(|e| Error::internal(format!("the schema is not valid: {e}")))?;
        Ok(Self {
            ledger: Ledger::start(ledger::path_in(&options.state_dir)),
            cache: result_cache(&options.state_dir, &daemon, &schema),
            options,
            daemon: Arc::new(daemon),
            schema,
            client_id,
        })
    }

    /// The daemon that was found, or is remembered.
    pub fn daemon(&self) -> &DaemonInfo {
        self.daemon.info()
    }

    /// The API's schema.
    pub fn schema(&self) -> &Schema {
        &self.schema
    }

    /// Asks the daemon whether it computes cache keys as they are predicted, and keeps the answer.
    ///
    /// # Errors
    /// When it does not answer.
    pub async fn self_test(&self) -> Result<SelfTest, Error> {
        formulas::ask(&self.daemon).await
    }

    /// Asks it unless that is known.
    ///
    /// # Errors
    /// When it does not answer.
    pub(crate) async fn prove_formulas(&self) -> Result<(), Error> {
        formulas::ask_if_unknown(&self.daemon).await
    }

    /// How it computes cache keys, as far as that is known.
    pub(crate) fn formulas(&self) -> Formulas {
        self.daemon.formulas()
    }

    /// Records of the daemon's cache.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub async fn disk_usage(&self) -> Result<Vec<DiskRecord>, Error> {
        let records = self.daemon.client().await?.disk_usage(&[]).await?;
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

    /// Opens a session. The daemon hears of it when a call needs the daemon.
    ///
    /// # Errors
    /// When no temporary directory can be made, or the debug address is none.
    pub fn session(&self, options: SessionOptions) -> Result<EngineSession, Error> {
        self.open(options, &self.ledger, Mode::Run)
    }

    /// Opens a session in which nothing runs; what is planned is recorded in `ledger`.
    pub(crate) fn open_plan(
        &self,
        options: SessionOptions,
        ledger: &Ledger,
    ) -> Result<EngineSession, Error> {
        self.open(options, ledger, Mode::Plan)
    }

    /// Opens a session whose commands run under keys that no other session has. No value is
    /// recalled, since then they would not run.
    pub(crate) fn open_verification(
        &self,
        options: SessionOptions,
    ) -> Result<EngineSession, Error> {
        let options = SessionOptions {
            no_recall: true,
            ..options
        };
        let key = format!("verify/{}", solver::backend::session::new_id());
        self.open(options, &self.ledger, Mode::Verify(key))
    }

    fn open(
        &self,
        options: SessionOptions,
        ledger: &Ledger,
        mode: Mode,
    ) -> Result<EngineSession, Error> {
        let journal = Arc::new(Journal::new(ledger.record(), options.events));
        // A cache is written from what was solved: then all of it has to be.
        let recall = !options.no_recall && options.cache_exports.is_empty();
        let is_plan = mode == Mode::Plan;
        let debug = match &self.options.debug_address {
            Some(text) => Some(text.parse().map_err(debug_error)?),
            None => None,
        };
        let info = self.daemon.info();
        journal.begin(&info.address, &info.version, None);
        let worker = info.workers.first().map_or("", |worker| worker.id.as_str());
        let copies = Copies::open(&self.options.state_dir, worker);
        let build = BuildSession::open(BuildSessionOptions {
            daemon: Arc::clone(&self.daemon),
            platform: self.daemon.platform(),
            workdir: options.workdir,
            allow: options.allow,
            docker_config: self.options.docker_config.clone(),
            environment: process_environment(),
            shared_key: copies.shared_key(&self.client_id),
            copies: Arc::new(copies),
            stat_cache: self.options.state_dir.join("stat-cache"),
            dump_llb: options.dump_llb,
            cache_imports: options.cache_imports,
            cache_exports: options.cache_exports,
            debug,
            journal: Arc::clone(&journal),
            mode,
        })?;
        let build = Arc::new(build);
        let observer = Arc::<Journal>::clone(&journal);
        // What a plan asks for must neither be found by a run nor begin a time to live.
        let cache = match is_plan {
            true => self.cache.read_only(),
            false => self.cache.clone(),
        };
        let server = Server::new(self.schema.clone(), cache, observer);
        let extension = Arc::<BuildSession>::clone(&build);
        let own = dagql::SessionOptions::new(build.id(), self.client_id.as_str(), extension);
        let own = own.view(dagql::View::of(&options.api_version));
        let session = server.session(own.recall(recall));
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

    /// Counts of the engine's result cache, which all its sessions share.
    pub fn cache_stats(&self) -> CacheStats {
        self.session.server().cache().stats()
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

    /// The daemon's side of it.
    pub(crate) fn build(&self) -> &BuildSession {
        &self.build
    }

    /// What a plan's session noted instead of evaluating it.
    pub(crate) fn planned(&self) -> Vec<(String, u64)> {
        self.build.planned()
    }

    async fn end(&self, end: BuildEnd) -> Result<Report, Error> {
        self.build.note_cache(end == BuildEnd::Cancelled).await;
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

fn debug_error(error: DebugError) -> Error {
    Error::new(Kind::Usage, error.to_string())
}

/// The id of this client, made once per state directory. It scopes per-client
/// calls and lets the daemon find its copies of local directories again. Where
/// it cannot be kept each process is a client of its own, which is slower and
/// nothing worse; the ledger, which is in the same place, tells the user.
fn client_id(state_dir: &Path) -> String {
    let path = state_dir.join("client-id");
    if let Ok(id) = std::fs::read_to_string(&path)
        && !id.is_empty()
        && id.bytes().all(|b| b.is_ascii_alphanumeric())
    {
        return id;
    }
    let id = solver::backend::session::new_id();
    // Complete or not at all: another process may be starting as well.
    let keep = || {
        std::fs::create_dir_all(state_dir)?;
        let temporary = tempfile::NamedTempFile::new_in(state_dir)?;
        std::fs::write(temporary.path(), &id)?;
        temporary.persist(&path).map_err(|e| e.error)
    };
    if let Err(error) = keep() {
        let path = state_dir.display();
        tracing::warn!(%path, %error, "the client's id is not kept");
    }
    id
}

/// The result cache with its TTL rows and stored values; a file that cannot be
/// used is a slower run, never a failed one.
fn result_cache(state_dir: &Path, daemon: &Daemon, schema: &Schema) -> Cache {
    let path = crate::stored::path_in(state_dir);
    let cache = Cache::open(&path).unwrap_or_else(|error| {
        tracing::warn!(%error, "results with a time to live are not kept");
        Cache::in_memory()
    });
    let namespace = namespace(daemon, schema);
    match ValueStore::open(&path, &namespace, ValueLimits::default()) {
        Ok(values) => cache.with_values(values),
        Err(error) => {
            tracing::warn!(%error, "values of calls are neither kept nor recalled");
            cache
        }
    }
}

/// Deletes the values of calls that earlier runs kept in a state directory; says what there was.
///
/// # Errors
/// When the file cannot be written, or belongs to a newer version.
pub fn prune_values(state_dir: &Path) -> Result<ValueStats, Error> {
    dagql::prune_values(&crate::stored::path_in(state_dir)).map_err(|e| Error::input(e.to_string()))
}

/// What must be the same for a value of an earlier run to be an answer now: the
/// API, our version, and whose worker computed it. A daemon with another state
/// has another worker id, so nothing is taken from one daemon for another.
fn namespace(daemon: &Daemon, schema: &Schema) -> String {
    let info = daemon.info();
    let worker = info.workers.first().map_or("", |worker| worker.id.as_str());
    let platform = daemon.platform().to_string();
    [
        VALUES_VERSION,
        env!("CARGO_PKG_VERSION"),
        schema.digest().as_str(),
        worker,
        &info.version,
        &platform,
    ]
    .join("\n")
}

/// Changed whenever a field that keeps its values computes them differently
/// although neither the schema nor the version of the package tells.
const VALUES_VERSION: &str = "1";

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
