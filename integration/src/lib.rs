//! The harness of the integration tests: real parts, started and stopped by
//! the test that needs them.
//!
//! - [`daemon`]: the BuildKit daemon of the test run, or a private one that a
//!   test may kill in the middle of a build.
//! - [`registry`]: the image registry of the test run, or a private one that
//!   asks for a password.
//! - [`dagop`]: runs the `dagop` binary and captures what it says.
//! - [`downloads`]: an HTTP server of files, a server of git repositories.
//! - [`browser`]: Chromium without a window, driven over WebDriver.
//! - [`sdk`]: Dagger's SDKs and the programs written with them.
//! - [`server`]: `dagop serve` and a small HTTP client.
//! - [`workspace`]: this repository: its root, its target folder, its files.
//! - [`busybox`]: a root filesystem of one static program.
//! - [`process`]: a child that is killed when its owner is dropped.
//!
//! `hack/test` prepares the shared parts and names them in the environment
//! (see its header). A test that misses one fails and says so: it never passes
//! by doing nothing.

pub mod browser;
pub mod busybox;
pub mod daemon;
pub mod dagop;
pub mod downloads;
pub mod env;
pub mod process;
pub mod registry;
pub mod sdk;
pub mod server;
pub mod workspace;
