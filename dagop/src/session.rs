//! The daemon's side of one engine session: a connection's session, one
//! gateway build in it, and everything that resolvers ask of a daemon.
//!
//! ```text
//! resolver ── tree ──> lower ──> solve ──> Ref ──> read_file, read_dir, stat ...
//!                        │
//!                        └─ journal: which vertices belong to which call
//! ```
//!
//! The gateway build is started when the first resolver needs it and stays
//! open until [`BuildSession::close`]: results are then held by the daemon for
//! as long as the session lives. A solve is lazy; a read, `evaluate` or an
//! export forces it. The same output is solved once per session, whoever asks.
//!
//! | file | what is in it |
//! |---|---|
//! | `solve.rs` | trees to refs, evaluation, failures of steps |
//! | `read.rs` | files, listings, digests |
//! | `resolve.rs` | images, http, git |
//! | `dockerfile.rs` | Dockerfiles, through the daemon's frontend |
//! | `host.rs` | local directories and sockets |
//! | `sighting.rs` | what was in them, for values that are kept |
//! | `local.rs` | the files of local directories, for keys that are made of them |
//! | `import.rs` | image tarballs |
//! | `export.rs` | directories, files, images, publishing |
//! | `cache.rs` | caches outside of the daemon, and the join with them |
//! | `secrets.rs` | secret values |
//! | `mode.rs` | sessions that do not do what they are asked: plans and verifications |
//! | `output.rs` | the end of what each step printed, for errors |

mod cache;
mod digest;
mod dockerfile;
mod export;
mod host;
mod import;
mod imports;
mod local;
mod mode;
mod output;
mod read;
mod resolve;
mod secrets;
mod sighting;
mod solve;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use solver::backend::debug::DebugAddress;
use solver::backend::session::{ContentStores, DockerConfig, RegistryAuth, SshAgents};
use solver::backend::{Build, BuildOptions, CacheBackend, Client, Ref, Session, SessionConfig};
use tokio::sync::OnceCell;
use tokio::task::JoinHandle;

pub use dockerfile::DockerBuild;
pub use export::{ImageFormat, ImageVariant};
pub(crate) use mode::Mode;
pub use read::Stat;
pub(crate) use resolve::pinned;
pub use secrets::{Environment, SecretStore};
pub(crate) use sighting::HostTree;
use sighting::LocalTrees;

use crate::copies::Copies;
use crate::daemon::Daemon;
use crate::error::Error;
use crate::formulas::{self, Formulas};
use crate::journal::Journal;
use crate::platform::Platform;
use crate::vertex::DagOp;
use output::StepOutput;

/// What a session needs from its owner.
pub struct BuildSessionOptions {
    /// The daemon.
    pub(crate) daemon: Arc<Daemon>,
    /// The platform of its first worker.
    pub platform: Platform,
    /// Host paths are relative to this directory.
    pub workdir: PathBuf,
    /// Entitlements the user granted.
    pub allow: Vec<String>,
    /// Docker's configuration directory, for registry credentials.
    pub docker_config: Option<PathBuf>,
    /// The client's environment, for `env://` secrets.
    pub environment: Environment,
    /// Names this client to the daemon's copies of local directories.
    pub shared_key: String,
    /// What the daemon was sent of them.
    pub(crate) copies: Arc<Copies>,
    /// Folder of what local files were hashed to.
    pub(crate) stat_cache: PathBuf,
    /// Where the last definition that was solved is written.
    pub dump_llb: Option<PathBuf>,
    /// Caches that every solve may read.
    pub cache_imports: Vec<CacheBackend>,
    /// Caches to write at the end; inline ones with every image.
    pub cache_exports: Vec<CacheBackend>,
    /// Where the daemon lists its cache store.
    pub debug: Option<DebugAddress>,
    /// What happens, for progress and ledger.
    pub journal: Arc<Journal>,
    /// What the session is for.
    pub(crate) mode: Mode,
}

impl std::fmt::Debug for BuildSessionOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildSessionOptions")
            .field("workdir", &self.workdir)
            .finish_non_exhaustive()
    }
}

/// See the module.
pub struct BuildSession {
    options: BuildSessionOptions,
    /// The session's id, known before the daemon hears of it.
    id: String,
    session: OnceCell<Session>,
    providers: Providers,
    build: OnceCell<Build>,
    refs: Mutex<HashMap<solver::llb::Output, Arc<OnceCell<Option<Ref>>>>>,
    output: Arc<StepOutput>,
    /// Caches to read, made ready by the first solve.
    /// Local sources that were lowered.
    locals: Mutex<Vec<Arc<solver::llb::Vertex>>>,
    imports: OnceLock<imports::Imports>,
    /// Diff ids of the images that were resolved, by source identifier.
    images: Mutex<HashMap<String, Vec<solver::Digest>>>,
    /// The commands that were lowered, where the mode wants them.
    commands: Mutex<Vec<Arc<DagOp>>>,
    /// Asks the daemon how it computes keys, where nobody knows; see [`crate::formulas`].
    asking: OnceLock<AbortOnDrop>,
    /// Tarballs made for the daemon to read; removed with the session.
    scratch: tempfile::TempDir,
}

/// A task that ends with its owner.
struct AbortOnDrop(JoinHandle<()>);

impl Drop for AbortOnDrop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What the daemon may ask this client for; shared by every session of it.
struct Providers {
    local_trees: Arc<LocalTrees>,
    secrets: Arc<SecretStore>,
    auth: Arc<RegistryAuth>,
    ssh: Arc<SshAgents>,
    content: Arc<ContentStores>,
}

impl Providers {
    fn config(&self, shared_key: &str) -> SessionConfig {
        SessionConfig {
            name: "dagop".to_owned(),
            shared_key: shared_key.to_owned(),
            local_dirs: Arc::<LocalTrees>::clone(&self.local_trees),
            secrets: Arc::<SecretStore>::clone(&self.secrets),
            auth: Arc::<RegistryAuth>::clone(&self.auth),
            ssh: Arc::<SshAgents>::clone(&self.ssh),
            content: Arc::<ContentStores>::clone(&self.content),
            ..SessionConfig::default()
        }
    }
}

impl std::fmt::Debug for BuildSession {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("BuildSession")
            .field("session", &self.id)
            .finish_non_exhaustive()
    }
}

impl BuildSession {
    /// Opens a session; the daemon hears of it at the first call that needs it.
    ///
    /// # Errors
    /// When no temporary directory can be made.
    pub fn open(options: BuildSessionOptions) -> Result<Self, Error> {
        let scratch = tempfile::Builder::new()
            .prefix("dagop-")
            .tempdir()
            .map_err(|e| Error::input(format!("temporary directory: {e}")))?;
        let auth = match &options.docker_config {
            Some(directory) => RegistryAuth::with_docker_config(DockerConfig::new(directory)),
            None => RegistryAuth::new(),
        };
        let secrets = SecretStore::new(Arc::clone(&options.environment), options.workdir.clone());
        let providers = Providers {
            local_trees: Arc::new(LocalTrees::new(
                Arc::clone(&options.copies),
                options.stat_cache.clone(),
            )),
            secrets: Arc::new(secrets),
            auth: Arc::new(auth),
            ssh: Arc::default(),
            content: Arc::default(),
        };
        let hide = Arc::clone(&providers.secrets);
        options
            .journal
            .redact_with(Arc::new(move |text| hide.redact(text)));
        Ok(Self {
            options,
            id: solver::backend::session::new_id(),
            session: OnceCell::new(),
            providers,
            build: OnceCell::new(),
            refs: Mutex::default(),
            output: Arc::default(),
            locals: Mutex::default(),
            imports: OnceLock::new(),
            images: Mutex::default(),
            commands: Mutex::default(),
            asking: OnceLock::new(),
            scratch,
        })
    }

    /// The session's id at the daemon.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The platform of the daemon's first worker.
    pub fn platform(&self) -> &Platform {
        &self.options.platform
    }

    /// The session's secrets.
    pub fn secrets(&self) -> &SecretStore {
        &self.providers.secrets
    }

    /// Fails unless the user granted an entitlement.
    ///
    /// # Errors
    /// When it was not granted.
    pub fn require_entitlement(&self, name: &str) -> Result<(), Error> {
        if self.options.allow.iter().any(|granted| granted == name) {
            return Ok(());
        }
        Err(
            Error::input(format!("the build is not allowed to use {name}"))
                .with_hint(format!("grant it with --allow {name}")),
        )
    }

    /// Adds credentials for a registry.
    ///
    /// # Errors
    /// When the secret cannot be read.
    pub async fn add_registry_auth(
        &self,
        address: &str,
        username: &str,
        secret: &str,
    ) -> Result<(), Error> {
        let password = self.providers.secrets.plaintext(secret).await?;
        self.providers.auth.add(address, username, password);
        Ok(())
    }

    /// Forgets credentials for a registry.
    ///
    /// # Errors
    /// When there are none.
    pub fn remove_registry_auth(&self, address: &str) -> Result<(), Error> {
        if self.providers.auth.remove(address) {
            return Ok(());
        }
        Err(Error::input(format!(
            "there are no credentials for {address}"
        )))
    }

    /// Configuration of another session of this client.
    fn session_config(&self) -> SessionConfig {
        self.providers.config(&self.options.shared_key)
    }

    /// The session with the daemon, opened at the first call.
    async fn daemon_session(&self, client: &Client) -> Result<&Session, Error> {
        let config = SessionConfig {
            id: self.id.clone(),
            ..self.session_config()
        };
        let start = async { Ok(Session::start(client, config).await?) };
        self.session.get_or_try_init(|| start).await
    }

    /// The gateway build, started at the first call.
    async fn build(&self) -> Result<&Build, Error> {
        let start = async {
            let client = self.options.daemon.client().await?;
            let session = self.daemon_session(client).await?;
            let options = BuildOptions {
                session: session.id().to_owned(),
                entitlements: self.options.allow.clone(),
                ..BuildOptions::default()
            };
            let build = Build::start(client, options).await?;
            self.options.journal.begin(
                &client.address().to_string(),
                &self.options.daemon.info().version,
                Some(build.reference()),
            );
            self.follow(&build);
            self.ask_for_formulas();
            Ok(build)
        };
        self.build.get_or_try_init(|| start).await
    }

    /// Lets the daemon be asked how it computes keys while the build runs; nobody waits for it.
    fn ask_for_formulas(&self) {
        if !matches!(self.options.daemon.formulas(), Formulas::Unknown(_)) {
            return;
        }
        let daemon = Arc::clone(&self.options.daemon);
        self.asking.get_or_init(|| {
            AbortOnDrop(tokio::spawn(async move {
                if let Err(error) = formulas::ask(&daemon).await {
                    tracing::debug!(%error, "how the daemon computes keys is not known");
                }
            }))
        });
    }

    /// Hands a build's progress to the journal until it ends.
    fn follow(&self, build: &Build) {
        let journal = Arc::clone(&self.options.journal);
        let output = Arc::clone(&self.output);
        let secrets = Arc::clone(&self.providers.secrets);
        let mut updates = build.updates();
        let following = tokio::spawn(async move {
            // A broken stream of updates shows as the error of a call as well.
            while let Some(Ok(update)) = updates.next().await {
                output.observe(&update);
                journal.progress(&update, &secrets);
            }
        });
        self.options.journal.keep(following);
    }

    /// Ends the gateway build and the session; what the daemon said until then
    /// is in the journal when this returns.
    ///
    /// # Errors
    /// When the daemon could not end the build, which a dead daemon cannot.
    pub async fn close(&self, cancelled: bool) -> Result<(), Error> {
        let Some(build) = self.build.get() else {
            return Ok(());
        };
        if cancelled {
            build.cancel().await;
            return Ok(());
        }
        build
            .finish(solver::backend::BuildResult::single(None))
            .await?;
        Ok(())
    }

    fn cell(&self, output: &solver::llb::Output) -> Arc<OnceCell<Option<Ref>>> {
        let mut refs = self.refs.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(refs.entry(output.clone()).or_default())
    }
}
