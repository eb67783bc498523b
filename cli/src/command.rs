//! One file per command, each thin over the engine, and the runtime they share.

mod bundle;
mod cache;
mod child;
mod completion;
mod diff;
mod du;
mod explore;
mod id;
mod keys;
mod man;
mod plan;
mod predict;
mod run;
mod serve;
mod session;
mod verify;
mod version;
mod waste;
mod why;

use std::process::ExitCode;

use tracing_subscriber::EnvFilter;

use crate::args::{Cli, Command};
use crate::config::Config;
use crate::error::CliError;

/// Runs the command; the exit code when it ran as far as it could.
pub(crate) fn run(cli: Cli) -> Result<ExitCode, CliError> {
    let Cli { config, command } = cli;
    init_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.map_err(|error| {
        CliError::failed(format!("cannot start the threads of the runtime: {error}"))
    })?;
    let done = runtime.block_on(async {
        match command {
            Command::Run(args) => run::run(&config, args).await,
            Command::Keys(args) => keys::keys(&config, &args).map(|()| 0),
            Command::Bundle(args) => bundle::bundle(&config, &args).map(|()| 0),
            Command::Why(args) => why::why(&config, &args),
            Command::Diff(args) => diff::diff(&config, &args),
            Command::Waste(args) => waste::waste(&config, &args).map(|()| 0),
            Command::Id(command) => id::id(&command),
            Command::Plan(args) => plan::plan(&config, args).await,
            Command::Verify(args) => verify::verify(&config, args).await,
            Command::Predict(args) => predict::predict(&config, &args).await,
            Command::Explore(args) => explore::explore(&config, &args).await.map(|()| 0),
            Command::Du(args) => du::du(&config, &args).await.map(|()| 0),
            Command::Cache(command) => cache::cache(&config, &command).await,
            Command::Version(args) => version::version(&config, &args).await.map(|()| 0),
            Command::Serve(args) => serve::serve(&config, args).await,
            Command::Session(args) => session::session(&config, args).await.map(|()| 0),
            Command::Completion(args) => completion::completion(&args).map(|()| 0),
            Command::Man => man::man().map(|()| 0),
        }
    });
    // Work that ignored its cancellation must not keep the process; see `signal::WIND_UP_MAX`.
    runtime.shutdown_background();
    done.map(ExitCode::from)
}

/// The developer's log goes to standard error, and only when asked for.
fn init_log(config: &Config) -> Result<(), CliError> {
    let Some(filter) = config.log_filter() else {
        return Ok(());
    };
    let filter = EnvFilter::try_new(filter)
        .map_err(|error| CliError::usage(format!("DAGOP_LOG is not a filter: {error}")))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(config.styled_errors())
        .init();
    Ok(())
}
