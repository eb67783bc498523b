//! `dagop plan`: what a document would run, without running it.

use std::sync::Arc;

use dagop::plan::{Plan, Planner, Step};
use dagop::{Engine, EngineOptions, Request, Response, SessionOptions};
use tokio_util::sync::CancellationToken;

use super::run::workdir;
use crate::args::PlanArgs;
use crate::config::Config;
use crate::error::{CliError, FAILED, UNKNOWN, USAGE};
use crate::input::Input;
use crate::operations::{self, Execute};
use crate::{output, signal};

impl Execute for Planner {
    async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        Self::execute(self, request, cancel).await
    }
}

pub(crate) async fn plan(config: &Config, args: PlanArgs) -> Result<u8, CliError> {
    let input = Input::read(&args.input)?;
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
    let answer = operations::run(&planner, &input, &cancel).await;
    if !answer.errors.is_empty() {
        return Ok(input.explain(&answer.errors, config));
    }
    let plan = planner.finish().await?;
    show(&plan, args.json)?;
    Ok(gate(&plan, &args.fail_on_miss))
}

fn show(plan: &Plan, json: bool) -> Result<(), CliError> {
    let text = if json {
        output::json(plan)?
    } else {
        plan.table()
    };
    output::to_stdout(text.as_bytes())
}

/// Names what keeps the plan from passing; the exit code: a step that will run counts before a glob
/// that names nothing, and that before what is not known.
fn gate(plan: &Plan, globs: &[String]) -> u8 {
    let gate = plan.gate(globs);
    let complain = |step: &Step, word: &str| {
        output::to_stderr(&format!(
            "error: {:?} {word}: {}\n",
            step.name, step.sentence
        ));
    };
    for step in &gate.misses {
        complain(step, "will run");
    }
    for step in &gate.unknown {
        complain(step, "may run");
    }
    for glob in &gate.unmatched {
        output::to_stderr(&format!(
            "error: --fail-on-miss {glob:?}: the document has no such step\n"
        ));
    }
    for glob in &gate.unplanned {
        output::to_stderr(&format!(
            "error: --fail-on-miss {glob:?}: no such step is planned, but not all of the document \
             could be\n"
        ));
    }
    if !gate.misses.is_empty() {
        FAILED
    } else if !gate.unmatched.is_empty() {
        USAGE
    } else if gate.unknown.is_empty() && gate.unplanned.is_empty() {
        0
    } else {
        UNKNOWN
    }
}
