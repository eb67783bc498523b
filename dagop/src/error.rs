//! What can go wrong in the engine, as kinds a front end can act on.
//!
//! An [`Error`] is one paragraph for people, a [`Kind`] for exit codes, and a
//! hint where one is known. A failed step is an [`ExecError`], which also
//! travels to GraphQL clients in the `extensions` that Dagger's SDKs read
//! (`_type: EXEC_ERROR`, `cmd`, `exitCode`, `stdout`, `stderr`).
//!
//! Messages never hold secret values: whatever comes from the daemon or from a
//! step has passed the session's redaction before it gets here.

use std::fmt;
use std::sync::Arc;

/// What should happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The request cannot be understood: a flag, the document, an argument.
    Usage,
    /// The request is well formed, but something it names is wrong: a path, a
    /// secret, an image.
    Input,
    /// The user's own command failed.
    StepFailed,
    /// No daemon answered.
    Unreachable,
    /// The daemon died while it was in use.
    Disconnected,
    /// The work was cancelled.
    Cancelled,
    /// It is known only when it runs, and this is a plan: nothing runs.
    NotRun,
    /// As [`Self::NotRun`], of something that steps are made from: those are not known either.
    NotPlanned,
    /// A broken invariant of ours.
    Internal,
}

/// A failed command of `withExec`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ExecError {
    /// The user's command line.
    pub cmd: Vec<String>,
    /// Exit code.
    pub exit_code: i64,
    /// What it printed, shortened to the last [`OUTPUT_KEPT`] bytes.
    pub stdout: String,
    /// What it complained about, shortened likewise.
    pub stderr: String,
}

/// Bytes of a failed step's output that an error carries, as many as Dagger's.
pub const OUTPUT_KEPT: usize = 100 * 1024;

/// Bytes of a failed step's output that a message shows.
const OUTPUT_SHOWN: usize = 2000;

/// An error of the engine.
#[derive(Clone, Debug)]
pub struct Error {
    kind: Kind,
    message: String,
    hint: Option<String>,
    exec: Option<Box<ExecError>>,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a finished sentence.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
            exec: None,
            source: None,
        }
    }

    /// Something that the user named is wrong.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// In a plan, something that only a run tells.
    pub(crate) fn not_run(what: &str) -> Self {
        Self::new(Kind::NotRun, format!("{what} is not known until it runs"))
    }

    /// In a plan, something that only a run tells and that steps are made from.
    pub(crate) fn not_planned(what: &str) -> Self {
        Self::new(
            Kind::NotPlanned,
            format!("{what} is not known until it runs"),
        )
    }

    /// A broken invariant.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// A failed command.
    pub fn exec(exec: ExecError) -> Self {
        let cmd = crate::init::display_command(&exec.cmd);
        let mut message = format!("command {cmd} failed with exit code {}", exec.exit_code);
        let shown = if exec.stderr.trim().is_empty() {
            &exec.stdout
        } else {
            &exec.stderr
        };
        if !shown.trim().is_empty() {
            message.push_str(":\n");
            message.push_str(tail(shown.trim_end(), OUTPUT_SHOWN));
        }
        Self {
            exec: Some(Box::new(exec)),
            ..Self::new(Kind::StepFailed, message)
        }
    }

    /// Adds what the user can do about it.
    #[must_use]
    pub fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The same error in other words.
    #[must_use]
    pub(crate) fn with_message(self, message: String) -> Self {
        Self { message, ..self }
    }

    /// Puts what was being done before the message.
    #[must_use]
    pub fn context(mut self, what: impl fmt::Display) -> Self {
        self.message = format!("{what}: {}", self.message);
        self
    }

    /// What should happen next.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// One paragraph.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// What the user can do about it.
    pub fn hint(&self) -> Option<&str> {
        self.hint.as_deref()
    }

    /// The failed command.
    pub fn exec_error(&self) -> Option<&ExecError> {
        self.exec.as_deref()
    }

    /// The daemon's or the system's own error, if that is the cause.
    pub fn solver_error(&self) -> Option<&solver::backend::Error> {
        self.source.as_ref()?.downcast_ref()
    }

    /// The engine's view of a GraphQL error: our own, or one of dagql's.
    pub fn from_dagql(error: &dagql::Error) -> Self {
        if let Some(own) = error.downcast_ref::<Self>() {
            return Self {
                message: error.message().to_owned(),
                ..own.clone()
            };
        }
        let kind = match error.kind() {
            dagql::Kind::Syntax | dagql::Kind::Validation | dagql::Kind::Input => Kind::Usage,
            dagql::Kind::Cancelled => Kind::Cancelled,
            dagql::Kind::Resolver => Kind::Input,
            _ => Kind::Internal,
        };
        Self::new(kind, error.message())
    }
}

/// The last `most` bytes of `text`, from the beginning of a line or character.
pub(crate) fn tail(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let mut start = text.len() - most;
    while !text.is_char_boundary(start) {
        start += 1;
    }
    match text[start..].find('\n') {
        Some(newline) if newline + 1 < text.len() - start => &text[start + newline + 1..],
        _ => &text[start..],
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl From<solver::backend::Error> for Error {
    fn from(error: solver::backend::Error) -> Self {
        use solver::backend::Error as Solver;
        let kind = match &error {
            Solver::Address(_) => Kind::Usage,
            Solver::Unreachable { .. } => Kind::Unreachable,
            Solver::Disconnected { .. } | Solver::Timeout { .. } => Kind::Disconnected,
            Solver::Exec { .. } => Kind::StepFailed,
            Solver::Cancelled => Kind::Cancelled,
            Solver::Daemon(_) | Solver::Io { .. } => Kind::Input,
            Solver::Protocol(_) => Kind::Internal,
        };
        let hint = match &error {
            Solver::Unreachable { .. } => Some(
                "start a daemon (hack/buildkitd up), or name one with --addr or BUILDKIT_HOST"
                    .to_owned(),
            ),
            _ => None,
        };
        Self {
            hint,
            source: Some(Arc::new(error.clone())),
            ..Self::new(kind, error.to_string())
        }
    }
}

impl From<solver::backend::session::Error> for Error {
    fn from(error: solver::backend::session::Error) -> Self {
        Self::new(Kind::Disconnected, error.to_string())
    }
}

impl From<Error> for dagql::Error {
    fn from(error: Error) -> Self {
        if error.kind == Kind::Cancelled {
            return Self::cancelled();
        }
        let exec = error.exec.clone();
        let wire = Self::resolver(error);
        match exec {
            None => wire,
            Some(exec) => wire
                .with_extension("_type", "EXEC_ERROR")
                .with_extension("cmd", exec.cmd)
                .with_extension("exitCode", exec.exit_code)
                .with_extension("stdout", exec.stdout)
                .with_extension("stderr", exec.stderr),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failed() -> ExecError {
        ExecError {
            cmd: vec!["sh".into(), "-c".into(), "exit 3".into()],
            exit_code: 3,
            stdout: String::new(),
            stderr: "no such luck\n".into(),
        }
    }

    #[test]
    fn a_failed_command_says_what_it_complained_about() {
        let error = Error::exec(failed());
        assert_eq!(
            error.message(),
            "command sh -c \"exit 3\" failed with exit code 3:\nno such luck"
        );
        assert_eq!(error.kind(), Kind::StepFailed);
    }

    #[test]
    fn a_failed_command_keeps_its_type_through_graphql() {
        let wire = dagql::Error::from(Error::exec(failed()));
        assert_eq!(wire.extensions()["_type"], "EXEC_ERROR");
        assert_eq!(wire.extensions()["exitCode"], 3);
        assert_eq!(Error::from_dagql(&wire).exec_error(), Some(&failed()));
    }

    #[test]
    fn a_tail_begins_at_a_line() {
        assert_eq!(tail("one\ntwo\nthree", 8), "three");
        assert_eq!(tail("äöü", 3), "ü");
        assert_eq!(tail("short", 100), "short");
    }
}
