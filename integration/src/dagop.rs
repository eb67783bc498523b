//! Runs the `dagop` binary the way a user does and captures what it says. Each
//! [`Dagop`] has a home and a state folder of its own, so that no test reads
//! what another one stored, nor this machine's configuration.

use std::{
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    busybox::{TOOLS, program},
    process::Process,
    workspace::{binaries, root},
};

/// Longest run of one command in a test. A hang fails; nothing here takes minutes.
pub const RUN_MAX: Duration = Duration::from_secs(300);

/// A user of the binary: a home folder, a working folder and a daemon.
#[derive(Debug)]
pub struct Dagop {
    folder: TempDir,
    address: String,
    recalls: bool,
}

/// What a finished command left behind.
#[derive(Debug)]
pub struct Outcome {
    /// Exit code; -1 when a signal ended it.
    pub code: i32,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error.
    pub stderr: String,
}

impl Dagop {
    /// A new user of the daemon at `address`.
    ///
    /// # Errors
    /// When no folder can be made.
    pub fn new(address: impl Into<String>) -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("dagop-it-").tempdir()?;
        std::fs::create_dir(folder.path().join("work"))?;
        Ok(Self {
            folder,
            address: address.into(),
            recalls: false,
        })
    }

    /// The same user, answered from what earlier runs kept where it can be. Others are not, so
    /// that every run shows what the daemon does.
    #[must_use]
    pub fn recalling(mut self) -> Self {
        self.recalls = true;
        self
    }

    /// The folder in which commands run; paths in documents are relative to it.
    pub fn work(&self) -> PathBuf {
        self.folder.path().join("work")
    }

    /// The folder that holds everything the binary may write by itself.
    pub fn home(&self) -> &Path {
        self.folder.path()
    }

    /// A command with `arguments`, ready to be changed or started.
    ///
    /// # Errors
    /// When the binary cannot be built.
    pub fn command<I>(&self, arguments: I) -> anyhow::Result<Command>
    where
        I: IntoIterator,
        I::Item: AsRef<std::ffi::OsStr>,
    {
        let mut command = self.program(binary()?);
        command.args(arguments);
        Ok(command)
    }

    /// Another program in the same place, with the same daemon.
    pub fn program(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new(program);
        command
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.folder.path())
            .env("XDG_STATE_HOME", self.folder.path().join("state"))
            .env("BUILDKIT_HOST", &self.address)
            .env("DAGOP_NO_RECALL", if self.recalls { "0" } else { "1" })
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        command
    }

    /// Runs the binary with `arguments` to its end.
    ///
    /// # Errors
    /// When it cannot be built or started, or runs longer than [`RUN_MAX`].
    pub fn run<I>(&self, arguments: I) -> anyhow::Result<Outcome>
    where
        I: IntoIterator,
        I::Item: AsRef<std::ffi::OsStr>,
    {
        finish(self.command(arguments)?)
    }

    /// Runs the GraphQL document `text` with variables, answering as JSON.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn query(&self, text: &str, variables: &[(&str, &str)]) -> anyhow::Result<Outcome> {
        let document = self.folder.path().join("document.graphql");
        std::fs::write(&document, text)?;
        self.run(arguments(&document, variables))
    }

    /// Runs one of the repository's examples.
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn example(&self, name: &str, variables: &[(&str, &str)]) -> anyhow::Result<Outcome> {
        self.run(arguments(&root().join("examples").join(name), variables))
    }

    /// Runs the operations `text`, which may use `$tools`: the ID of a container
    /// with busybox, see [`TOOLS`].
    ///
    /// # Errors
    /// As [`Self::run`].
    pub fn with_tools(&self, text: &str, variables: &[(&str, &str)]) -> anyhow::Result<Outcome> {
        finish(self.command_with_tools(text, variables)?)
    }

    /// The command that [`Self::with_tools`] runs, not yet started.
    ///
    /// # Errors
    /// When a file cannot be written or the binary cannot be built.
    pub fn command_with_tools(
        &self,
        text: &str,
        variables: &[(&str, &str)],
    ) -> anyhow::Result<Command> {
        let document = self.folder.path().join("document.graphql");
        std::fs::write(&document, format!("{TOOLS}{text}"))?;
        let busybox = program()?.display().to_string();
        let mut all = vec![("busybox", busybox.as_str())];
        all.extend_from_slice(variables);
        self.command(arguments(&document, &all))
    }
}

impl Outcome {
    /// The JSON on standard output.
    ///
    /// # Errors
    /// When the command failed or answered no JSON; both outputs are in the message.
    pub fn json(&self) -> anyhow::Result<serde_json::Value> {
        anyhow::ensure!(
            self.code == 0,
            "exit code {}: {}{}",
            self.code,
            self.stdout,
            self.stderr
        );
        serde_json::from_str(&self.stdout)
            .with_context(|| format!("{}{}", self.stdout, self.stderr))
    }

    /// The answer of the operation `name`.
    ///
    /// # Errors
    /// As [`Self::json`], or when there is no such operation.
    pub fn data(&self, name: &str) -> anyhow::Result<serde_json::Value> {
        let mut json = self.json()?;
        anyhow::ensure!(
            json["data"][name].is_object(),
            "no operation {name} in {json}"
        );
        Ok(json["data"][name].take())
    }

    /// How many vertices the daemon executed for this run, by its report.
    ///
    /// # Errors
    /// As [`Self::json`], or when there is no report.
    pub fn executed(&self) -> anyhow::Result<u64> {
        let json = self.json()?;
        let outcomes = &json["report"]["summary"]["vertices_by_outcome"];
        anyhow::ensure!(outcomes.is_object(), "no report in {json}");
        // An outcome that no vertex had is absent.
        Ok(outcomes["executed"].as_u64().unwrap_or(0))
    }

    /// The names of the vertices that the daemon reported under a digest that we
    /// did not compute. Exporters are the daemon's own.
    ///
    /// # Errors
    /// As [`Self::json`], or when there is no report.
    pub fn foreign_vertices(&self) -> anyhow::Result<Vec<String>> {
        let json = self.json()?;
        let vertices = json["report"]["vertices"]
            .as_array()
            .context("vertices in the report")?;
        let foreign = vertices
            .iter()
            .filter(|vertex| vertex["canonical"].is_null() && vertex["kind"] != "export");
        Ok(foreign.map(|vertex| vertex["name"].to_string()).collect())
    }

    /// The names of the vertices that the daemon executed for this run.
    ///
    /// # Errors
    /// As [`Self::json`], or when there is no report.
    pub fn executed_names(&self) -> anyhow::Result<Vec<String>> {
        let json = self.json()?;
        let vertices = json["report"]["vertices"]
            .as_array()
            .context("vertices in the report")?;
        let executed = vertices
            .iter()
            .filter(|vertex| vertex["outcome"] == "executed");
        Ok(executed
            .map(|vertex| vertex["name"].as_str().unwrap_or_default().to_owned())
            .collect())
    }
}

/// The command line that runs `document`.
pub fn arguments(document: &Path, variables: &[(&str, &str)]) -> Vec<String> {
    let mut arguments = vec![
        "run".to_owned(),
        document.display().to_string(),
        "--json".to_owned(),
    ];
    for (name, value) in variables {
        arguments.push("--var".to_owned());
        arguments.push(format!("{name}={value}"));
    }
    arguments
}

/// Runs a command to its end, reading both outputs at once so that none blocks.
///
/// # Errors
/// When it cannot be started, or runs longer than [`RUN_MAX`].
pub fn finish(mut command: Command) -> anyhow::Result<Outcome> {
    let child = command
        .spawn()
        .with_context(|| format!("start {command:?}"))?;
    let mut process = Process::of(child);
    let stdout = process.child().stdout.take();
    let stderr = process.child().stderr.take();
    let readers = (
        std::thread::spawn(|| read_all(stdout)),
        std::thread::spawn(|| read_all(stderr)),
    );
    let status = process
        .wait(RUN_MAX)
        .with_context(|| format!("{command:?}"))?;
    let text = |reader: std::thread::JoinHandle<Vec<u8>>| {
        let bytes = reader
            .join()
            .map_err(|_| anyhow::anyhow!("the reader panicked"))?;
        anyhow::Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    Ok(Outcome {
        code: status.code().unwrap_or(-1),
        stdout: text(readers.0)?,
        stderr: text(readers.1)?,
    })
}

fn read_all(stream: Option<impl std::io::Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut stream) = stream {
        // A stream that breaks ends the text; the exit code tells the rest.
        let _ = stream.read_to_end(&mut bytes);
    }
    bytes
}

/// The binary under test: the one `hack/test` built, or else this build's own,
/// compiled on first use because cargo offers no binary of another package.
///
/// # Errors
/// When it cannot be built.
pub fn binary() -> anyhow::Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| build().map_err(|error| format!("{error:#}")));
    built.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build() -> anyhow::Result<PathBuf> {
    if let Some(path) = std::env::var_os("DAGOP_BIN") {
        return Ok(PathBuf::from(path));
    }
    let output = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--package", "cli", "--bin", "dagop"])
        .current_dir(root())
        .output()
        .context("run cargo")?;
    anyhow::ensure!(
        output.status.success(),
        "building dagop: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(binaries()?.join("dagop"))
}
