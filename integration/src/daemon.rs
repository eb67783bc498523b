//! BuildKit daemons. Most tests share the daemon of the test run; a test that
//! kills its daemon starts a private one.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use anyhow::Context as _;
use rustix::process::Signal;
use tempfile::TempDir;

use crate::{
    env,
    process::{Process, wait_until},
};

/// How long a daemon may take until it answers.
const READY: Duration = Duration::from_secs(60);

/// How long the kernel may take to end a killed daemon.
const DEAD: Duration = Duration::from_secs(20);

/// The address of the daemon that all tests of a run share.
///
/// # Errors
/// When `hack/test` named none.
pub fn shared() -> anyhow::Result<String> {
    env::required("BUILDKIT_TEST_ADDR")
}

/// A daemon of one test. Dropping it stops it and deletes all it stored.
#[derive(Debug)]
pub struct Daemon {
    // Dropped before `folder`: a running daemon would write into a deleted one.
    process: Process,
    folder: TempDir,
    tools: PathBuf,
}

impl Daemon {
    /// Starts `buildkitd` and waits until it answers.
    ///
    /// # Errors
    /// When the tools are missing or the daemon does not come up; its log is in the message.
    pub fn start() -> anyhow::Result<Self> {
        Self::start_from(&tools()?)
    }

    /// As [`Daemon::start`], with the programs of another folder.
    ///
    /// # Errors
    /// When the daemon does not come up; its log is in the message.
    pub fn start_from(tools: &Path) -> anyhow::Result<Self> {
        Self::start_with(tools, "")
    }

    /// As [`Daemon::start_from`], with lines of `buildkitd.toml`.
    ///
    /// # Errors
    /// When the daemon does not come up; its log is in the message.
    pub fn start_with(tools: &Path, settings: &str) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("dagop-it-").tempdir()?;
        let config = folder.path().join("buildkitd.toml");
        std::fs::write(&config, settings)?;
        let process = launch(tools, folder.path())?;
        let tools = tools.to_owned();
        let mut daemon = Self {
            process,
            folder,
            tools,
        };
        daemon.await_ready()?;
        Ok(daemon)
    }

    /// Stops it as an administrator does and starts it again with what it stored.
    ///
    /// # Errors
    /// When it does not end, or does not come up again.
    pub fn restart(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::TERM)?;
        self.process.wait(DEAD)?;
        self.process = launch(&self.tools, self.folder.path())?;
        self.await_ready()
    }

    /// Its address, for `--addr`.
    pub fn address(&self) -> String {
        address(self.folder.path())
    }

    /// Where it keeps everything: configuration, log, cache.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What it logged so far.
    ///
    /// # Errors
    /// When the log cannot be read.
    pub fn log(&self) -> anyhow::Result<String> {
        std::fs::read_to_string(self.folder.path().join("log")).context("read the daemon's log")
    }

    /// Kills it with SIGKILL: no goodbye to its clients.
    ///
    /// # Errors
    /// When it cannot be killed.
    pub fn kill(&mut self) -> anyhow::Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(DEAD)?;
        Ok(())
    }

    fn await_ready(&mut self) -> anyhow::Result<()> {
        let buildctl = self.tools.join("buildctl");
        let address = self.address();
        let answered = wait_until(READY, || {
            anyhow::ensure!(self.process.is_running(), "the daemon ended");
            let mut command = Command::new(&buildctl);
            command.args(["--addr", &address, "debug", "workers"]);
            Ok(command
                .stdout(Stdio::null())
                .stderr(Stdio::null())
                .status()?
                .success())
        });
        answered.with_context(|| self.log().unwrap_or_default())
    }
}

impl Drop for Daemon {
    /// A killed daemon leaves containers and mounts: the folder could not be deleted.
    fn drop(&mut self) {
        let _ = self.process.signal(Signal::TERM);
        let _ = self.process.wait(DEAD);
        let leftovers =
            remove_containers(self.folder.path()).and_then(|()| unmount_below(self.folder.path()));
        if let Err(error) = leftovers {
            // A destructor cannot fail a test that already failed.
            assert!(
                std::thread::panicking(),
                "cleaning up after the daemon: {error:#}"
            );
        }
    }
}

fn launch(tools: &Path, folder: &Path) -> anyhow::Result<Process> {
    let mut command = Command::new(tools.join("buildkitd"));
    command
        .arg("--config")
        .arg(folder.join("buildkitd.toml"))
        .arg("--root")
        .arg(folder.join("root"))
        .args(["--addr", &address(folder)])
        .args(["--oci-worker-net=host", "--containerd-worker=false"]);
    Process::start(&mut command, &folder.join("log"))
}

fn address(folder: &Path) -> String {
    format!("unix://{}", folder.join("bk.sock").display())
}

/// The folder of `buildkitd` and `buildctl`.
///
/// # Errors
/// When `hack/test` named none.
pub fn tools() -> anyhow::Result<PathBuf> {
    env::required_path("DAGOP_TEST_TOOLS")
}

/// Ends the containers whose bundle lies below `folder`, and no others.
fn remove_containers(folder: &Path) -> anyhow::Result<()> {
    let list = Command::new("runc")
        .arg("list")
        .output()
        .context("runc list")?;
    for line in String::from_utf8_lossy(&list.stdout).lines() {
        // Columns: ID PID STATUS BUNDLE CREATED OWNER.
        let mut columns = line.split_whitespace();
        let (Some(id), Some(bundle)) = (columns.next(), columns.nth(2)) else {
            continue;
        };
        if Path::new(bundle).starts_with(folder) {
            Command::new("runc")
                .args(["delete", "--force", id])
                .status()
                .context("runc delete")?;
        }
    }
    Ok(())
}

/// Detaches everything mounted below `folder`, deepest first.
fn unmount_below(folder: &Path) -> anyhow::Result<()> {
    let mounts = std::fs::read_to_string("/proc/self/mounts")?;
    let mut points: Vec<&str> = mounts
        .lines()
        .filter_map(|line| line.split(' ').nth(1))
        .filter(|point| Path::new(point).starts_with(folder))
        .collect();
    points.sort_unstable();
    for point in points.into_iter().rev() {
        rustix::mount::unmount(point, rustix::mount::UnmountFlags::DETACH)
            .with_context(|| format!("unmount {point}"))?;
    }
    Ok(())
}
