//! Whether a daemon computes cache keys as they are predicted here.
//!
//! A release of BuildKit that the formulas were compared with needs no proof. Of any other (newer
//! than all known, a fork, one that does not say what it is) it is found out with a graph of a few
//! small files, which the daemon builds and whose exported cache shows its keys
//! ([`solver::predict::self_test`]). The answer is kept in [`FILE`], for that daemon and version: it
//! is asked once.
//!
//! | who | when | what |
//! |---|---|---|
//! | `dagop predict --self-test` | always | asks, whatever is known, and keeps the answer |
//! | `dagop plan` | nothing is known | asks before it answers |
//! | `dagop run` | nothing is known | asks meanwhile, and gives up when the run is over first |
//! | everything that predicts | | goes by the answer; without a proof nothing is predicted |
//!
//! So a run on a usual release does nothing for it, and on another one it never waits. A test
//! leaves three records of a few bytes in the daemon's cache and nothing in its history.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use solver::cachemap::Profile;
use solver::predict;

use crate::daemon::{Daemon, DaemonInfo};
use crate::error::Error;

/// Name of the file in the state directory.
const FILE: &str = "formulas.json";

/// Answers that are kept at most; then the memory begins anew.
const ANSWERS_MAX: usize = 100;

/// Largest file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;

/// How long the daemon may take to build the graph.
const TIMEOUT: Duration = Duration::from_secs(60);

/// What a daemon answered.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SelfTest {
    /// Its address.
    pub daemon: String,
    /// Its version.
    pub version: String,
    /// When, in milliseconds since 1970.
    pub at_ms: u64,
    /// Digests of records that were predicted and are not there.
    pub missing: Vec<String>,
    /// Digests of records that are there and were not predicted.
    pub unexpected: Vec<String>,
}

impl SelfTest {
    /// Whether the keys are the predicted ones.
    pub fn is_good(&self) -> bool {
        self.missing.is_empty() && self.unexpected.is_empty()
    }

    /// The answer as a sentence.
    pub fn sentence(&self) -> String {
        let version = match self.version.as_str() {
            "" => "of an unknown version",
            version => version,
        };
        if self.is_good() {
            return format!("BuildKit {version} computes the predicted cache keys");
        }
        format!(
            "BuildKit {version} computes other cache keys: of the records of a test build {} are \
             not as predicted and {} not there",
            self.unexpected.len(),
            self.missing.len()
        )
    }
}

/// Which formulas are a daemon's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Formulas {
    /// These, because of its release or because it was asked.
    Proven(Profile),
    /// Others than all known ones.
    Other,
    /// Nobody knows yet; if any, these.
    Unknown(Profile),
}

impl Formulas {
    /// The formulas to predict with; none if that would be a guess.
    pub(crate) fn proven(&self) -> Option<Profile> {
        match self {
            Self::Proven(profile) => Some(*profile),
            Self::Other | Self::Unknown(_) => None,
        }
    }
}

/// The answers that are kept in a state directory.
pub(crate) struct Answers {
    path: PathBuf,
}

impl Answers {
    pub(crate) fn in_dir(state_dir: &Path) -> Self {
        Self {
            path: state_dir.join(FILE),
        }
    }

    /// What is known of a daemon: what it answered, else what its release says.
    pub(crate) fn of(&self, daemon: &DaemonInfo) -> Formulas {
        let answer = self.all().remove(&key(daemon));
        match (answer, Profile::of_version(&daemon.version)) {
            (Some(answer), _) if !answer.is_good() => Formulas::Other,
            (Some(_), choice) => Formulas::Proven(choice.map_or(Profile::NEWEST, |c| c.profile)),
            (None, Some(choice)) if choice.is_proven => Formulas::Proven(choice.profile),
            (None, choice) => Formulas::Unknown(choice.map_or(Profile::NEWEST, |c| c.profile)),
        }
    }

    /// A file that cannot be read answers nothing.
    fn all(&self) -> BTreeMap<String, SelfTest> {
        let small = std::fs::metadata(&self.path).is_ok_and(|meta| meta.len() <= FILE_BYTES_MAX);
        let text = small.then(|| std::fs::read(&self.path).ok()).flatten();
        text.and_then(|text| serde_json::from_slice(&text).ok())
            .unwrap_or_default()
    }

    /// Where the directory cannot be written, the daemon will be asked again.
    fn keep(&self, daemon: &DaemonInfo, answer: &SelfTest) {
        let mut all = self.all();
        if all.len() >= ANSWERS_MAX {
            all.clear();
        }
        all.insert(key(daemon), answer.clone());
        if let Err(error) = self.write(&all) {
            tracing::debug!(%error, "the daemon's answer is not kept");
        }
    }

    /// Complete or not at all: another process may be writing as well.
    fn write(&self, all: &BTreeMap<String, SelfTest>) -> std::io::Result<()> {
        let folder = self.path.parent().unwrap_or(Path::new("."));
        std::fs::create_dir_all(folder)?;
        let temporary = tempfile::NamedTempFile::new_in(folder)?;
        serde_json::to_writer(&temporary, all)?;
        temporary.persist(&self.path).map_err(|e| e.error)?;
        Ok(())
    }
}

/// A daemon with another version, revision or state is another one.
fn key(daemon: &DaemonInfo) -> String {
    let worker = daemon.workers.first();
    let worker = worker.map_or("", |worker| worker.id.as_str());
    [worker, &daemon.version, &daemon.revision].join(" ")
}

/// Asks a daemon, and keeps the answer.
///
/// # Errors
/// When it cannot be reached, does not build the graph, or takes longer than a minute.
pub(crate) async fn ask(daemon: &Daemon) -> Result<SelfTest, Error> {
    let info = daemon.info();
    let profile = Profile::of_version(&info.version).map_or(Profile::NEWEST, |c| c.profile);
    let client = daemon.client().await?;
    // New each time, or the daemon would answer out of its cache.
    let text = solver::backend::session::new_id();
    let test = predict::self_test(client, profile, &text);
    let test = tokio::time::timeout(TIMEOUT, test).await;
    let verdict = test
        .map_err(|_| Error::input(format!("no answer within {} s", TIMEOUT.as_secs())))
        .and_then(|verdict| verdict.map_err(|error| Error::input(error.to_string())))
        .map_err(|error| error.context("the self-test of the predictor"))?;
    let texts = |digests: Vec<solver::Digest>| digests.iter().map(ToString::to_string).collect();
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    let answer = SelfTest {
        daemon: info.address.clone(),
        version: info.version.clone(),
        at_ms: since.map_or(0, |since| u64::try_from(since.as_millis()).unwrap_or(0)),
        missing: texts(verdict.missing),
        unexpected: texts(verdict.unexpected),
    };
    daemon.answers().keep(info, &answer);
    Ok(answer)
}

/// Asks a daemon of which nothing is known.
///
/// # Errors
/// As [`ask`].
pub(crate) async fn ask_if_unknown(daemon: &Daemon) -> Result<(), Error> {
    if matches!(daemon.formulas(), Formulas::Unknown(_)) {
        ask(daemon).await?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::WorkerInfo;

    fn daemon(version: &str) -> DaemonInfo {
        DaemonInfo {
            address: "unix:///run/daemon.sock".to_owned(),
            version: version.to_owned(),
            revision: String::new(),
            workers: vec![WorkerInfo {
                id: "worker".to_owned(),
                platforms: Vec::new(),
                labels: BTreeMap::new(),
            }],
        }
    }

    fn answer(unexpected: &[&str]) -> SelfTest {
        SelfTest {
            daemon: String::new(),
            version: "v0.99.0".to_owned(),
            at_ms: 0,
            missing: Vec::new(),
            unexpected: unexpected.iter().map(|&text| text.to_owned()).collect(),
        }
    }

    #[test]
    fn a_known_release_is_proven_and_others_are_not() {
        let folder = tempfile::tempdir().unwrap();
        let answers = Answers::in_dir(folder.path());
        let known = answers.of(&daemon("v0.32.2"));
        assert_eq!(known, Formulas::Proven(Profile::NEWEST));
        for version in ["v0.99.0", "dev", ""] {
            let unknown = answers.of(&daemon(version));
            assert_eq!(unknown, Formulas::Unknown(Profile::NEWEST), "{version:?}");
            assert_eq!(unknown.proven(), None);
        }
    }

    #[test]
    fn an_answer_is_kept_for_that_daemon_only() {
        let folder = tempfile::tempdir().unwrap();
        let answers = Answers::in_dir(&folder.path().join("state"));
        answers.keep(&daemon("v0.99.0"), &answer(&[]));
        let again = Answers::in_dir(&folder.path().join("state"));
        let proven = again.of(&daemon("v0.99.0"));
        assert_eq!(proven, Formulas::Proven(Profile::NEWEST));
        let other = again.of(&daemon("v0.99.1"));
        assert_eq!(other, Formulas::Unknown(Profile::NEWEST));
    }

    #[test]
    fn a_bad_answer_counts_more_than_the_release() {
        let folder = tempfile::tempdir().unwrap();
        let answers = Answers::in_dir(folder.path());
        answers.keep(&daemon("v0.32.2"), &answer(&["sha256:1"]));
        assert_eq!(answers.of(&daemon("v0.32.2")), Formulas::Other);
        answers.keep(&daemon("v0.32.2"), &answer(&[]));
        let proven = answers.of(&daemon("v0.32.2"));
        assert_eq!(proven, Formulas::Proven(Profile::NEWEST));
    }

    #[test]
    fn a_damaged_file_answers_nothing() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        let answers = Answers::in_dir(folder.path());
        let unknown = answers.of(&daemon("v0.99.0"));
        assert_eq!(unknown, Formulas::Unknown(Profile::NEWEST));
    }
}
