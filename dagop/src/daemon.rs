//! The daemon of an engine: found when the engine starts, or remembered.
//!
//! What calls mean depends on the daemon a little: its first worker's platform is the default one,
//! and values of earlier runs are those of one worker of one version. So the engine asks who the
//! daemon is before anything else. Where none answers, an engine that
//! [may](crate::EngineOptions::daemon_may_be_away) do without goes on with what the same addresses
//! answered last time, which is kept in [`FILE`]. What needs the daemon then tries once more to
//! reach it, and fails with the usual error; a daemon that answers by then must be the remembered
//! one, because calls may have been answered in its name.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use solver::backend::discover::{self, Candidate};
use solver::backend::{Client, ConnectOptions, Identity, TlsConfig, Worker};
use tokio::sync::OnceCell;

use crate::engine::{EngineOptions, TlsOptions};
use crate::error::{Error, Kind};
use crate::formulas::{Answers, Formulas};
use crate::platform::Platform;

/// Name of the file in the state directory.
const FILE: &str = "daemons.json";

/// Daemons that are remembered at most; then the memory begins anew.
const REMEMBERED_MAX: usize = 100;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// The daemon, for reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkerInfo {
    /// Its id.
    pub id: String,
    /// Platforms it can run, its own first.
    pub platforms: Vec<String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

/// See the module.
pub(crate) struct Daemon {
    info: DaemonInfo,
    candidates: Vec<Candidate>,
    connect: ConnectOptions,
    client: OnceCell<Client>,
    state_dir: PathBuf,
}

impl Daemon {
    /// Finds a daemon, or remembers one.
    ///
    /// # Errors
    /// No daemon answers and none is remembered, a bad address or TLS file.
    pub(crate) async fn find(options: &EngineOptions) -> Result<Self, Error> {
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
        let memory = Memory::in_dir(&options.state_dir, &candidates);
        match reach(candidates.clone(), &connect).await {
            Ok((client, info)) => {
                memory.keep(&info);
                Ok(Self {
                    info,
                    candidates,
                    connect,
                    client: OnceCell::new_with(Some(client)),
                    state_dir: options.state_dir.clone(),
                })
            }
            Err(error) if error.kind() == Kind::Unreachable && options.daemon_may_be_away => {
                let info = memory.recall().ok_or(error)?;
                tracing::debug!(
                    address = info.address,
                    "no daemon answers; going on without"
                );
                Ok(Self {
                    info,
                    candidates,
                    connect,
                    client: OnceCell::new(),
                    state_dir: options.state_dir.clone(),
                })
            }
            Err(error) => Err(error),
        }
    }

    /// What it is, or was when it answered last.
    pub(crate) fn info(&self) -> &DaemonInfo {
        &self.info
    }

    /// How it computes cache keys, as far as that is known.
    pub(crate) fn formulas(&self) -> Formulas {
        self.answers().of(&self.info)
    }

    /// What daemons said of that.
    pub(crate) fn answers(&self) -> Answers {
        Answers::in_dir(&self.state_dir)
    }

    /// The platform of its first worker.
    pub(crate) fn platform(&self) -> Platform {
        let worker = self.info.workers.first();
        let first = worker.and_then(|worker| worker.platforms.first());
        first
            .and_then(|text| Platform::parse(text).ok())
            .unwrap_or_else(Platform::host)
    }

    /// The connection; made now where the daemon did not answer before.
    ///
    /// # Errors
    /// When it still does not answer, or when another one does.
    pub(crate) async fn client(&self) -> Result<&Client, Error> {
        let connect = async {
            let (client, info) = reach(self.candidates.clone(), &self.connect).await?;
            if !same(&info, &self.info) {
                let reason = format!(
                    "the daemon at {} is not the one that was there last time",
                    info.address
                );
                return Err(Error::new(Kind::Disconnected, reason).with_hint("run it again"));
            }
            Ok(client)
        };
        self.client.get_or_try_init(|| connect).await
    }
}

/// Whether values of one are values of the other: version and first worker.
fn same(one: &DaemonInfo, other: &DaemonInfo) -> bool {
    let worker = |info: &DaemonInfo| {
        let first = info.workers.first()?;
        Some((first.id.clone(), first.platforms.clone()))
    };
    one.version == other.version && worker(one) == worker(other)
}

async fn reach(
    candidates: Vec<Candidate>,
    connect: &ConnectOptions,
) -> Result<(Client, DaemonInfo), Error> {
    let client = discover::connect_any(candidates, connect).await?;
    let (info, workers) = tokio::try_join!(client.info(), client.workers(&[]))?;
    let info = DaemonInfo {
        address: client.address().to_string(),
        version: info.version,
        revision: info.revision,
        workers: workers.into_iter().map(worker_info).collect(),
    };
    Ok((client, info))
}

/// What the same addresses answered before.
struct Memory {
    path: PathBuf,
    addresses: String,
}

impl Memory {
    fn in_dir(state_dir: &Path, candidates: &[Candidate]) -> Self {
        let texts = candidates.iter().map(|candidate| match &candidate.address {
            Ok(address) => address.to_string(),
            Err(error) => error.text.clone(),
        });
        Self {
            path: state_dir.join(FILE),
            addresses: texts.collect::<Vec<_>>().join(" "),
        }
    }

    /// A file that cannot be read remembers nothing.
    fn all(&self) -> BTreeMap<String, DaemonInfo> {
        let small = std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() <= FILE_BYTES_MAX);
        let text = small.then(|| std::fs::read(&self.path).ok()).flatten();
        text.and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    fn recall(&self) -> Option<DaemonInfo> {
        self.all().remove(&self.addresses)
    }

    /// Nothing depends on it: a directory that cannot be written is no error.
    fn keep(&self, info: &DaemonInfo) {
        let mut all = self.all();
        if all.get(&self.addresses) == Some(info) {
            return;
        }
        if all.len() >= REMEMBERED_MAX {
            all.clear();
        }
        all.insert(self.addresses.clone(), info.clone());
        if let Err(error) = self.write(&all) {
            tracing::debug!(%error, "the daemon will not be remembered");
        }
    }

    /// Complete or not at all: another process may be starting as well.
    fn write(&self, all: &BTreeMap<String, DaemonInfo>) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        let temporary = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&temporary, all)?;
        temporary.persist(&self.path).map_err(|e| e.error)?;
        Ok(())
    }
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
