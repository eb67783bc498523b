//! Dagger's SDKs, unmodified, and the programs of the tests that are written
//! with them. `hack/sdks` installs the SDKs; the programs are in
//! `integration/tests/it/sdk`.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
};

use anyhow::Context as _;
use tempfile::TempDir;

use crate::{
    dagop::Dagop,
    env::{required, required_path},
    workspace::root,
};

/// A language that Dagger has an SDK for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sdk {
    /// `dagger-io`.
    Python,
    /// `@dagger.io/dagger`.
    Node,
    /// `dagger.io/dagger`.
    Go,
}

impl Sdk {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Python, Self::Node, Self::Go];

    /// The command that runs the test program `name` as `user`, without its
    /// arguments.
    ///
    /// # Errors
    /// When the SDK is missing, or the program does not compile.
    pub fn program(self, user: &Dagop, name: &str) -> anyhow::Result<Command> {
        let source = |ending: &str| programs().join(format!("{name}.{ending}"));
        match self {
            Self::Python => {
                let mut command = user.program(required_path("DAGOP_TEST_PYTHON")?);
                command.arg(source("py"));
                Ok(command)
            }
            Self::Node => {
                // An ES module looks for packages in the folders above it.
                let modules = user.home().join("node_modules");
                if !modules.exists() {
                    symlink(modules_of_node()?, &modules)?;
                }
                let copy = user.home().join(format!("{name}.mjs"));
                fs::copy(source("mjs"), &copy)?;
                let mut command = user.program("node");
                command.arg(copy);
                Ok(command)
            }
            Self::Go => Ok(user.program(compiled(&source("go"))?)),
        }
    }
}

/// The folder of packages for Node.
///
/// # Errors
/// When `hack/test` named none.
pub fn modules_of_node() -> anyhow::Result<PathBuf> {
    Ok(required_path("DAGOP_TEST_NODE")?.join("node_modules"))
}

/// Where the programs are.
pub fn programs() -> PathBuf {
    root().join("integration/tests/it/sdk")
}

/// The one Go program, compiled on first use.
fn compiled(source: &Path) -> anyhow::Result<PathBuf> {
    static FOLDER: OnceLock<Result<TempDir, String>> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| compile(source).map_err(|error| format!("{error:#}")));
    let folder = folder.as_ref();
    let folder = folder.map_err(|error| anyhow::anyhow!("{error}"))?;
    Ok(folder.path().join("program"))
}

fn compile(source: &Path) -> anyhow::Result<TempDir> {
    let module = PathBuf::from(required("DAGOP_TEST_GO")?);
    let folder = tempfile::Builder::new().prefix("dagop-it-").tempdir()?;
    for file in ["go.mod", "go.sum"] {
        fs::copy(module.join(file), folder.path().join(file)).with_context(|| file.to_owned())?;
    }
    fs::copy(source, folder.path().join("main.go"))?;
    // Everything is in Go's caches since hack/sdks: no proxy is asked.
    let output = Command::new("go")
        .args(["build", "-mod=mod", "-o", "program", "."])
        .current_dir(folder.path())
        .env("GOPROXY", "off")
        .output()
        .context("run go")?;
    anyhow::ensure!(
        output.status.success(),
        "compiling {}: {}",
        source.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(folder)
}
