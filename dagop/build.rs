//! Compiles the init program (`init/main.rs`) for the target with the same
//! `rustc`, and leaves it in `OUT_DIR/init` for `src/init.rs` to embed.
//!
//! It is not a Cargo package because it must be linked without the standard
//! library and its start files, whatever profile the workspace is built with.

use std::path::PathBuf;
use std::process::Command;

/// Flags that make a small static program without start files or a C library.
const FLAGS: [&str; 14] = [
    "--edition=2024",
    "--crate-type=bin",
    "--crate-name=init",
    "-Copt-level=s",
    "-Cpanic=abort",
    "-Crelocation-model=static",
    "-Cstrip=symbols",
    "-Clink-arg=-nostartfiles",
    "-Clink-arg=-nostdlib",
    "-Clink-arg=-static",
    "-Clink-arg=-Wl,--build-id=none",
    "--cap-lints=warn",
    "--remap-path-prefix=init=init",
    "-Ccodegen-units=1",
];

fn main() {
    for file in [
        "init/main.rs",
        "init/memory.rs",
        "init/scrub.rs",
        "init/sys.rs",
        "build.rs",
    ] {
        println!("cargo::rerun-if-changed={file}");
    }
    let var = |name: &str| std::env::var(name).unwrap_or_else(|_| panic!("cargo sets {name}"));
    let out = PathBuf::from(var("OUT_DIR")).join("init");
    let target = var("TARGET");
    let arch = var("CARGO_CFG_TARGET_ARCH");
    assert!(
        var("CARGO_CFG_TARGET_OS") == "linux" && (arch == "x86_64" || arch == "aarch64"),
        "the init program exists for linux on x86_64 and aarch64, not for {target}"
    );
    println!(
        "cargo::rustc-env=DAGOP_INIT_ARCH={}",
        if arch == "x86_64" { "amd64" } else { "arm64" }
    );
    let status = Command::new(var("RUSTC"))
        .args(FLAGS)
        .args(["--target", &target, "-o"])
        .arg(&out)
        .arg("init/main.rs")
        .status()
        .expect("rustc starts");
    assert!(status.success(), "the init program did not compile");
}
