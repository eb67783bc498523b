//! `dagop verify`: runs a document's commands twice; see [`dagop::verify`].

use dagop::verify::{Options, Verification, Verifier};
use dagop::{Engine, Request, Response, SessionOptions};
use tokio_util::sync::CancellationToken;

use super::run::workdir;
use crate::args::VerifyArgs;
use crate::config::Config;
use crate::error::{CliError, FAILED};
use crate::input::Input;
use crate::operations::{self, Answer, Execute};
use crate::output::Reader;
use crate::{output, progress, signal};

impl Execute for Verifier {
    async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        Self::execute(self, request, cancel).await
    }
}

pub(crate) async fn verify(config: &Config, args: VerifyArgs) -> Result<u8, CliError> {
    let input = Input::read(&args.input)?;
    let mode = config.progress(&args.progress);
    let (events, display) = progress::start(mode, config.colour(), Reader::Present)?;
    let cancel = signal::listen(events.clone())?;
    let session = SessionOptions {
        workdir: workdir(args.session.session_dir.as_deref())?,
        allow: args.session.allow,
        events: Some(events),
        ..SessionOptions::default()
    };
    let options = Options {
        mtimes: args.mtimes,
    };
    let work = compare(config, session, options, &input, &cancel);
    let done = signal::until_wound_up(&cancel, work).await;
    // The display owns the terminal until here.
    display.finish();
    let (answer, verification) = done??;
    if !answer.errors.is_empty() {
        return Ok(input.explain(&answer.errors, config));
    }
    let Some(verification) = verification else {
        return Err(CliError::cancelled());
    };
    let text = if args.json {
        output::json(&verification)?
    } else {
        verification.table()
    };
    output::to_stdout(text.as_bytes())?;
    Ok(if verification.has_causes() { FAILED } else { 0 })
}

async fn compare(
    config: &Config,
    session: SessionOptions,
    options: Options,
    input: &Input,
    cancel: &CancellationToken,
) -> Result<(Answer, Option<Verification>), CliError> {
    let engine = Engine::start(config.engine_options()?).await?;
    let verifier = Verifier::start(&engine, session, options)?;
    let answer = operations::run(&verifier, input, cancel).await;
    if !answer.errors.is_empty() {
        return Ok((answer, None));
    }
    let verification = tokio::select! {
        found = verifier.finish() => Some(found?),
        () = cancel.cancelled() => None,
    };
    Ok((answer, verification))
}
