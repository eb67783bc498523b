//! The one error type of the command line: what went wrong, what to do, which exit code.

use std::io::Write as _;
use std::process::ExitCode;

use dagop::error::Kind;

use crate::diagnostic::printable;

/// A step of the build, its input, or the machine failed.
pub(crate) const FAILED: u8 = 1;
/// The invocation or the document is wrong.
pub(crate) const USAGE: u8 = 2;
/// No daemon answered, or it went away.
pub(crate) const UNREACHABLE: u8 = 3;
/// An answer could not be given, because a fact is missing.
pub(crate) const UNKNOWN: u8 = 4;
/// A defect of dagop (`EX_SOFTWARE` of sysexits.h).
pub(crate) const INTERNAL: u8 = 70;
/// Stopped by a signal, as a shell reports SIGINT.
pub(crate) const CANCELLED: u8 = 130;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CliError {
    kind: Kind,
    message: String,
    hint: Option<String>,
}

impl CliError {
    fn new(kind: Kind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            hint: None,
        }
    }

    /// The invocation is wrong.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Kind::Usage, message)
    }

    /// A file, a pipe or a port did not do what was asked of it.
    pub(crate) fn failed(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// The user stopped it.
    pub(crate) fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "cancelled")
    }

    /// An invariant does not hold.
    pub(crate) fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// The process's exit code for it.
    pub(crate) fn exit_code(&self) -> u8 {
        exit_code(self.kind)
    }

    /// The paragraph shown to the user.
    pub(crate) fn render(&self, styled: bool) -> String {
        let defect = "This is a defect of dagop. DAGOP_LOG=debug shows what led to it.";
        let more = (self.kind == Kind::Internal).then_some(defect);
        let mut text = paragraph(&printable(&self.message), more, styled);
        if let Some(hint) = &self.hint {
            text.push_str(&hint_line(hint, styled));
        }
        text
    }

    /// Prints it on standard error.
    pub(crate) fn report(&self, styled: bool) -> ExitCode {
        // Nobody is left to tell when standard error is closed; the exit code still says it.
        _ = std::io::stderr().write_all(self.render(styled).as_bytes());
        ExitCode::from(self.exit_code())
    }
}

/// A message in the form that all errors have.
pub(crate) fn paragraph(message: &str, more: Option<&str>, styled: bool) -> String {
    let (red, plain) = if styled {
        ("\x1b[31;1m", "\x1b[0m")
    } else {
        ("", "")
    };
    let mut text = format!("{red}error:{plain} {}\n", message.trim_end());
    text.extend(more.into_iter().flat_map(|more| [more, "\n"]));
    text
}

/// What the user can do about it.
pub(crate) fn hint_line(hint: &str, styled: bool) -> String {
    let (cyan, plain) = if styled {
        ("\x1b[36;1m", "\x1b[0m")
    } else {
        ("", "")
    };
    format!("{cyan}hint:{plain} {}\n", printable(hint))
}

/// The exit code for a kind of failure.
pub(crate) fn exit_code(kind: Kind) -> u8 {
    match kind {
        Kind::Usage => USAGE,
        Kind::Unreachable | Kind::Disconnected => UNREACHABLE,
        Kind::Cancelled => CANCELLED,
        Kind::Internal => INTERNAL,
        // StepFailed, Input, and kinds that are yet to come.
        _ => FAILED,
    }
}

impl From<dagop::Error> for CliError {
    fn from(error: dagop::Error) -> Self {
        let hint = error.hint().map(str::to_owned);
        Self {
            hint,
            ..Self::new(error.kind(), error.message())
        }
    }
}

impl From<dagop::ledger::Error> for CliError {
    fn from(error: dagop::ledger::Error) -> Self {
        use dagop::ledger::Error;
        let message = error.to_string();
        match error {
            Error::Empty(_) => Self::failed(message).with_hint("`dagop run` records a build"),
            Error::NotFound(_) | Error::Ambiguous { .. } => {
                Self::usage(message).with_hint("`dagop run` shows a build's id when it ends")
            }
            Error::NotABundle(_) => Self::failed(message).with_hint(
                "`dagop bundle` writes one; without --bundle this machine's ledger is read",
            ),
            _ => Self::failed(message),
        }
    }
}

impl From<dagop::explain::Error> for CliError {
    fn from(error: dagop::explain::Error) -> Self {
        use dagop::explain::Error;
        let message = error.to_string();
        match error {
            Error::Ledger(error) => error.into(),
            Error::Remote(_) => Self::failed(message),
            Error::NoStep { .. } => Self::failed(message).with_hint(
                "a step is a call's path or number, the beginning of a digest, or a name with *",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::*;

    #[test]
    fn every_kind_has_its_exit_code() {
        let codes = [
            (Kind::Usage, 2),
            (Kind::Input, 1),
            (Kind::StepFailed, 1),
            (Kind::Unreachable, 3),
            (Kind::Disconnected, 3),
            (Kind::Cancelled, 130),
            (Kind::Internal, 70),
        ];
        for (kind, code) in codes {
            assert_eq!(
                CliError::from(dagop::Error::new(kind, "x")).exit_code(),
                code,
                "{kind:?}"
            );
        }
    }

    #[test]
    fn an_error_is_one_paragraph() {
        let error =
            dagop::Error::new(Kind::Unreachable, "no daemon answered").with_hint("start one");
        expect![[r#"
            error: no daemon answered
            hint: start one
        "#]]
        .assert_eq(&CliError::from(error).render(false));
        expect![[r#"
            error: two roots
            This is a defect of dagop. DAGOP_LOG=debug shows what led to it.
        "#]]
        .assert_eq(&CliError::internal("two roots").render(false));
    }

    #[test]
    fn an_unknown_build_is_wrong_usage_and_an_empty_ledger_is_not() {
        use dagop::ledger::Error;
        assert_eq!(
            CliError::from(Error::NotFound("x".into())).exit_code(),
            USAGE
        );
        assert_eq!(
            CliError::from(Error::Empty("/x".into())).exit_code(),
            FAILED
        );
    }
}
