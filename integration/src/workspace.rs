//! This repository as the tests see it: where it lies, what it holds, and what
//! cargo says about its crates.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::Context as _;

/// The root of the repository.
pub fn root() -> &'static Path {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest
        .parent()
        .expect("the crate lies in a folder of the repository")
}

/// The folder with the binaries of this build, such as `target/debug`: the test
/// binary itself lies one folder below it, in `deps`.
///
/// # Errors
/// When the path of the running test is unknown or unexpected.
pub fn binaries() -> anyhow::Result<PathBuf> {
    let test = std::env::current_exe().context("the path of the running test")?;
    let folder = test.ancestors().nth(2).context("the folder above deps")?;
    Ok(folder.to_path_buf())
}

/// The paths of all files under version control plus those that could be added,
/// relative to the root, sorted.
///
/// # Errors
/// When git fails.
pub fn files() -> anyhow::Result<Vec<PathBuf>> {
    let output = run(Command::new("git").args([
        "ls-files",
        "-z",
        "--cached",
        "--others",
        "--exclude-standard",
    ]))?;
    let mut files: Vec<PathBuf> = output
        .split('\0')
        .filter(|path| !path.is_empty())
        .map(PathBuf::from)
        .collect();
    // A file deleted but not committed is still in the index.
    files.retain(|file| root().join(file).symlink_metadata().is_ok());
    files.sort();
    files.dedup();
    Ok(files)
}

/// The answer of `cargo metadata`, without the crates of others.
///
/// # Errors
/// When cargo fails or answers no JSON.
pub fn metadata() -> anyhow::Result<serde_json::Value> {
    let output = run(Command::new(env!("CARGO")).args([
        "metadata",
        "--no-deps",
        "--format-version",
        "1",
        "--offline",
    ]))?;
    Ok(serde_json::from_str(&output)?)
}

/// Runs a program in the root of the repository and returns its output.
fn run(command: &mut Command) -> anyhow::Result<String> {
    let output = command
        .current_dir(root())
        .output()
        .with_context(|| format!("run {command:?}"))?;
    anyhow::ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_holds_the_workspace_manifest() {
        let manifest = std::fs::read_to_string(root().join("Cargo.toml")).unwrap();
        assert!(manifest.contains("[workspace]"));
    }

    #[test]
    fn files_are_those_of_the_repository_and_not_of_the_build() {
        let files = files().unwrap();
        assert!(files.contains(&PathBuf::from("integration/src/workspace.rs")));
        assert!(!files.iter().any(|file| file.starts_with("target")));
    }
}
