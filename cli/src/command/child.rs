//! The command that `dagop serve` serves: it finds the session where Dagger's SDKs look for one.

use std::ffi::OsString;
use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;

use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use crate::config::Token;
use crate::error::CliError;

/// The variables in which Dagger's SDKs look for a session.
const PORT_VARIABLE: &str = "DAGGER_SESSION_PORT";
const TOKEN_VARIABLE: &str = "DAGGER_SESSION_TOKEN";

/// Starts the command; dropping it kills it.
pub(super) fn start(
    command: &OsString,
    arguments: &[OsString],
    port: u16,
    token: &Token,
) -> Result<Child, CliError> {
    let child = Command::new(command)
        .args(arguments)
        .env(PORT_VARIABLE, port.to_string())
        .env(TOKEN_VARIABLE, token.expose())
        .kill_on_drop(true)
        .spawn();
    child.map_err(|error| CliError::failed(format!("cannot start {}: {error}", command.display())))
}

/// Waits for the command; a signal for us is one for it.
pub(super) async fn wait(
    mut child: Child,
    cancel: CancellationToken,
    ended: CancellationToken,
) -> std::io::Result<ExitStatus> {
    let _ended = ended.drop_guard();
    tokio::select! {
        status = child.wait() => return status,
        () = cancel.cancelled() => {}
    }
    let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
    if let Some(pid) = pid.and_then(rustix::process::Pid::from_raw) {
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
    }
    child.wait().await
}

/// The command's exit code, in a shell's form for a signal.
pub(super) fn exit_code(
    ended: Result<std::io::Result<ExitStatus>, tokio::task::JoinError>,
) -> Result<u8, CliError> {
    let failed =
        |error: &dyn std::fmt::Display| CliError::failed(format!("the command is lost: {error}"));
    let status = ended.map_err(|error| failed(&error))?;
    let status = status.map_err(|error| failed(&error))?;
    let code = status.code().or_else(|| Some(128 + status.signal()?));
    Ok(code
        .and_then(|code| u8::try_from(code).ok())
        .unwrap_or(u8::MAX))
}
