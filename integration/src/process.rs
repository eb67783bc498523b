//! A child process that cannot outlive its owner.

use std::{
    fs::File,
    io,
    path::Path,
    process::{Child, Command, ExitStatus, Stdio},
    time::{Duration, Instant},
};

use anyhow::Context as _;
use rustix::process::{Pid, Signal, kill_process};

/// Time between two looks at a condition that is waited for.
const POLL: Duration = Duration::from_millis(20);

/// How long a child may take to obey SIGTERM before it gets SIGKILL.
const TERM_GRACE: Duration = Duration::from_secs(20);

/// A running child. Dropping it ends it: SIGTERM first, so that a daemon can
/// unmount what it mounted, SIGKILL after 20 seconds.
#[derive(Debug)]
pub struct Process {
    child: Child,
}

impl Process {
    /// Starts `command` with both its outputs appended to the file `log`.
    ///
    /// # Errors
    /// When the log cannot be opened or the program cannot be started.
    pub fn start(command: &mut Command, log: &Path) -> anyhow::Result<Self> {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .with_context(|| format!("open {}", log.display()))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .spawn()
            .with_context(|| format!("start {}", command.get_program().display()))?;
        Ok(Self { child })
    }

    /// Wraps a child that was started with streams of its own.
    pub fn of(child: Child) -> Self {
        Self { child }
    }

    /// The child itself, for its streams.
    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Sends a signal. A child that has ended is left alone.
    ///
    /// # Errors
    /// When the system refuses.
    pub fn signal(&mut self, signal: Signal) -> io::Result<()> {
        if self.is_running() {
            kill_process(Pid::from_child(&self.child), signal)?;
        }
        Ok(())
    }

    /// Waits for the end, at most `limit`.
    ///
    /// # Errors
    /// When it still runs after `limit`.
    pub fn wait(&mut self, limit: Duration) -> anyhow::Result<ExitStatus> {
        let mut status = None;
        wait_until(limit, || {
            status = self.child.try_wait()?;
            Ok(status.is_some())
        })?;
        status.context("the child has an exit status")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let asked = self.signal(Signal::TERM);
        if asked.is_err() || self.wait(TERM_GRACE).is_err() {
            // Nothing is left to do about a failure: the test is over.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Polls `condition` until it holds.
///
/// # Errors
/// The error of the condition, or that it did not hold within `limit`.
pub fn wait_until(
    limit: Duration,
    mut condition: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let start = Instant::now();
    while !condition()? {
        anyhow::ensure!(start.elapsed() < limit, "waited {limit:?} in vain");
        std::thread::sleep(POLL);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_ends_the_child() {
        let folder = tempfile::tempdir().unwrap();
        let mut process = Process::start(
            Command::new("sleep").arg("1000"),
            &folder.path().join("log"),
        )
        .unwrap();
        assert!(process.is_running());
        let pid = process.child().id();
        drop(process);
        assert!(!Path::new(&format!("/proc/{pid}")).exists());
    }

    #[test]
    fn output_goes_to_the_log_and_the_status_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let mut command = Command::new("sh");
        command.args(["-c", "echo out; echo err >&2; exit 3"]);
        let status = Process::start(&mut command, &log)
            .unwrap()
            .wait(Duration::from_secs(60))
            .unwrap();
        assert_eq!(status.code(), Some(3));
        assert_eq!(std::fs::read_to_string(log).unwrap(), "out\nerr\n");
    }

    #[test]
    fn a_condition_that_never_holds_is_an_error() {
        let error = wait_until(Duration::ZERO, || Ok(false))
            .unwrap_err()
            .to_string();
        assert!(error.contains("in vain"), "{error}");
    }
}
