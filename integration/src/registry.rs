//! Image registries. Most tests share the registry of the test run; a test of
//! passwords starts a private one that asks for them.

use std::{
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    env,
    process::{Process, wait_until},
};

/// How long a registry may take until it listens.
const READY: Duration = Duration::from_secs(30);

/// The user a private registry lets in.
pub const USER: &str = "builder";

/// That user's password.
pub const PASSWORD: &str = "correct horse";

/// `htpasswd -nbB -C 5 builder "correct horse"`: the only form this registry reads.
const HTPASSWD: &str = "builder:$2y$05$dagopintegrationtest..o0NgJY4x9EqZRubJej.n0TrmpFOD5ie\n";

/// host:port of the registry that all tests of a run share; anybody may push.
///
/// # Errors
/// When `hack/test` named none.
pub fn shared() -> anyhow::Result<String> {
    env::required("DAGOP_TEST_REGISTRY")
}

/// A registry of one test that lets in [`USER`] with [`PASSWORD`] only.
/// Dropping it stops it and deletes its images.
#[derive(Debug)]
pub struct Registry {
    // Dropped before `folder`.
    _process: Process,
    folder: TempDir,
    address: String,
}

impl Registry {
    /// Starts a registry on a free port of 127.0.0.1 and waits until it listens.
    ///
    /// # Errors
    /// When the program is missing or does not come up.
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("dagop-it-").tempdir()?;
        let config = write_config(folder.path())?;
        let log = folder.path().join("log");
        let mut command = Command::new(env::required_path("DAGOP_TEST_REGISTRY_PROGRAM")?);
        let mut process = Process::start(command.arg("serve").arg(config), &log)?;
        let mut address = None;
        wait_until(READY, || {
            let text = std::fs::read_to_string(&log)?;
            anyhow::ensure!(process.is_running(), "the registry ended: {text}");
            address = listening(&text);
            Ok(address.is_some())
        })?;
        let address = address.context("the registry's address")?;
        Ok(Self {
            _process: process,
            folder,
            address,
        })
    }

    /// host:port.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Where it keeps everything: configuration, log, images.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Whether anything was pushed under the repository name `repository`.
    pub fn holds(&self, repository: &str) -> bool {
        self.folder
            .path()
            .join("images/docker/registry/v2/repositories")
            .join(repository)
            .join("_manifests")
            .exists()
    }
}

/// Port 0: the kernel chooses, and the log tells.
fn write_config(folder: &Path) -> anyhow::Result<PathBuf> {
    let passwords = folder.join("htpasswd");
    std::fs::write(&passwords, HTPASSWD)?;
    let images = folder.join("images");
    let config = folder.join("config.yml");
    std::fs::write(
        &config,
        format!(
            "version: 0.1\n\
             storage: {{filesystem: {{rootdirectory: {images:?}}}}}\n\
             auth: {{htpasswd: {{realm: tests, path: {passwords:?}}}}}\n\
             http: {{addr: '127.0.0.1:0'}}\n"
        ),
    )?;
    Ok(config)
}

/// Finds the address in the registry's log.
fn listening(log: &str) -> Option<String> {
    let (_, rest) = log.split_once("listening on ")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == '.' || c == ':'))?;
    Some(rest[..end].to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_read_from_the_log() {
        let log = "time=\"x\" level=info msg=\"listening on 127.0.0.1:4711\" version=1\n";
        assert_eq!(listening(log).as_deref(), Some("127.0.0.1:4711"));
        assert_eq!(listening("starting"), None);
        // A line that is still being written has no end yet.
        assert_eq!(listening("listening on 127.0.0.1:47"), None);
    }
}
