//! A root filesystem of one program: a static busybox and a few links to it.
//! Enough to run commands in a container, and made in a millisecond.

use std::{
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
};

use anyhow::Context as _;

use crate::env;

/// Names under which the program is found in a container's `/bin`.
pub const APPLETS: [&str; 12] = [
    "sh",
    "cat",
    "cp",
    "echo",
    "env",
    "false",
    "id",
    "ls",
    "mkdir",
    "sha256sum",
    "sleep",
    "true",
];

/// Operations that leave the ID of a container with busybox in the variable
/// `$tools` of the operations after them. They need the variable `busybox`.
pub const TOOLS: &str = r#"
query Program($busybox: String!) {
  host { file(path: $busybox) { id @export(as: "program") } }
}
query Tools($program: FileID!) {
  container {
    withFile(path: "/bin/busybox", source: $program, permissions: 493) {
      withEnvVariable(name: "PATH", value: "/bin") { id @export(as: "tools") }
    }
  }
}
"#;

/// The static busybox of the test run.
///
/// # Errors
/// When `hack/test` named none.
pub fn program() -> anyhow::Result<PathBuf> {
    env::required_path("DAGOP_TEST_BUSYBOX")
}

/// Fills the folder `root` with `/bin/busybox`, links for [`APPLETS`], and the
/// folders and user file that programs expect.
///
/// # Errors
/// When a file cannot be written.
pub fn write_rootfs(root: &Path) -> anyhow::Result<()> {
    let bin = root.join("bin");
    for folder in ["bin", "etc", "tmp", "work"] {
        fs::create_dir_all(root.join(folder)).with_context(|| format!("make {folder}"))?;
    }
    let busybox = bin.join("busybox");
    fs::copy(program()?, &busybox).context("copy busybox")?;
    fs::set_permissions(&busybox, fs::Permissions::from_mode(0o755))?;
    for applet in APPLETS {
        symlink("busybox", bin.join(applet))?;
    }
    fs::write(
        root.join("etc/passwd"),
        "root:x:0:0:root:/:/bin/sh\nguest:x:1000:1000:guest:/:/bin/sh\n",
    )?;
    fs::write(root.join("etc/group"), "root:x:0:\nguest:x:1000:\n")?;
    Ok(())
}
