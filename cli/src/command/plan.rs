//! `dagop plan`: what a document would run, without running it.

use std::sync::Arc;

use dagop::plan::{Plan, Planner, Step, Verdict};
use dagop::{Engine, EngineOptions, Request, Response, SessionOptions};
use tokio_util::sync::CancellationToken;

use super::run::{Input, workdir};
use crate::args::PlanArgs;
use crate::config::Config;
use crate::diagnostic::{self, Document};
use crate::error::{CliError, FAILED};
use crate::serve::Queries;
use crate::{operations, output, signal};

impl Queries for Planner {
    async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        Self::execute(self, request, cancel).await
    }

    fn cache_stats(&self) -> dagop::CacheStats {
        Self::cache_stats(self)
    }
}

pub(crate) async fn plan(config: &Config, args: PlanArgs) -> Result<u8, CliError> {
    let input = Input::of(
        &args.input.document,
        args.input.vars_json.as_ref(),
        &args.input.variables,
    )?;
    let cancel = signal::listen(tokio::sync::mpsc::unbounded_channel().0)?;
    let engine = Engine::start(EngineOptions {
        daemon_may_be_away: true,
        ..config.engine_options()?
    })
    .await?;
    let options = SessionOptions {
        workdir: workdir(args.session.session_dir.as_deref())?,
        allow: args.session.allow,
        cache_imports: args.session.import_cache,
        no_recall: args.session.no_recall || !args.session.export_cache.is_empty(),
        ..SessionOptions::default()
    };
    let planner = Planner::start(Arc::new(engine), options)?;
    let operation = args.input.operation.as_deref();
    let answer = operations::run(&planner, &input.text, &input.variables, operation, &cancel).await;
    if !answer.errors.is_empty() {
        let document = Document {
            name: &input.name,
            text: &input.text,
        };
        let text = diagnostic::render(&answer.errors, document, config.styled_errors());
        output::to_stderr(&text);
        return Ok(diagnostic::code(&answer.errors));
    }
    let plan = planner.finish().await?;
    show(&plan, args.json)?;
    Ok(failures(&plan, &args.fail_on_miss))
}

fn show(plan: &Plan, json: bool) -> Result<(), CliError> {
    let text = if json {
        let json = serde_json::to_string_pretty(plan);
        json.map_err(|error| CliError::internal(format!("plan as JSON: {error}")))? + "\n"
    } else {
        plan.table()
    };
    output::to_stdout(text.as_bytes())
}

/// Names the steps that must be hits and are not; the exit code.
fn failures(plan: &Plan, globs: &[String]) -> u8 {
    let failing: Vec<&Step> = plan.failing(globs).collect();
    for step in &failing {
        let word = match step.verdict {
            Verdict::Miss => "will run",
            _ => "may run",
        };
        output::to_stderr(&format!(
            "error: {:?} {word}: {}\n",
            step.name, step.sentence
        ));
    }
    if failing.is_empty() { 0 } else { FAILED }
}
