//! `dagop verify`: runs a document's commands twice; see [`dagop::verify`].

use dagop::verify::{Options, Verification, Verifier};
use dagop::{CacheStats, Engine, Request, Response, SessionOptions};
use tokio_util::sync::CancellationToken;

use super::run::{Input, workdir};
use crate::args::VerifyArgs;
use crate::config::Config;
use crate::diagnostic::{self, Document};
use crate::error::{CliError, FAILED};
use crate::operations::{self, Answer};
use crate::output::Reader;
use crate::serve::Queries;
use crate::{output, progress, signal};

impl Queries for Verifier {
    async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        Self::execute(self, request, cancel).await
    }

    fn cache_stats(&self) -> CacheStats {
        Self::cache_stats(self)
    }
}

pub(crate) async fn verify(config: &Config, args: VerifyArgs) -> Result<u8, CliError> {
    let input = Input::of(
        &args.input.document,
        args.input.vars_json.as_ref(),
        &args.input.variables,
    )?;
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
    let operation = args.input.operation.as_deref();
    let work = compare(config, session, options, &input, operation, &cancel);
    let done = signal::until_wound_up(&cancel, work).await;
    // The display owns the terminal until here.
    display.finish();
    let (answer, verification) = done??;
    if !answer.errors.is_empty() {
        let document = Document {
            name: &input.name,
            text: &input.text,
        };
        let text = diagnostic::render(&answer.errors, document, config.styled_errors());
        output::to_stderr(&text);
        return Ok(diagnostic::code(&answer.errors));
    }
    let Some(verification) = verification else {
        return Err(CliError::cancelled());
    };
    let text = if args.json {
        let json = serde_json::to_string_pretty(&verification);
        json.map_err(|error| CliError::internal(format!("report as JSON: {error}")))? + "\n"
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
    operation: Option<&str>,
    cancel: &CancellationToken,
) -> Result<(Answer, Option<Verification>), CliError> {
    let engine = Engine::start(config.engine_options()?).await?;
    let verifier = Verifier::start(&engine, session, options)?;
    let answer = operations::run(&verifier, &input.text, &input.variables, operation, cancel).await;
    if !answer.errors.is_empty() {
        return Ok((answer, None));
    }
    let verification = tokio::select! {
        found = verifier.finish() => Some(found?),
        () = cancel.cancelled() => None,
    };
    Ok((answer, verification))
}
