//! The `dagop` binary: parse, run one command, end with its exit code.

mod args;
mod cache;
mod command;
mod config;
mod diagnostic;
mod error;
mod explore;
mod input;
mod json;
mod operations;
mod output;
mod progress;
mod serve;
mod signal;
mod variables;

use std::process::ExitCode;

/// Graphs, IDs and documents are many small allocations of all ages, for which the C library's
/// allocator spends a third of the time of a prediction.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = match args::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let styled = cli.config.styled_errors();
    command::run(cli).unwrap_or_else(|error| error.report(styled))
}
