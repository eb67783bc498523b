//! `dagop completion`: a completion script for a shell.

use crate::args::{CompletionArgs, grammar};
use crate::error::CliError;
use crate::output;

pub(crate) fn completion(args: &CompletionArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut grammar(), "dagop", &mut script);
    output::to_stdout(&script)
}
