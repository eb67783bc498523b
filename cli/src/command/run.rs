//! `dagop run`: a document's operations, in order, in one session; see [`crate::operations`].

use std::path::PathBuf;

use dagop::report::Report;
use dagop::{Engine, EngineOptions, GraphQlError, SessionOptions};
use serde::Serialize;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::args::RunArgs;
use crate::config::{self, Config, ProgressMode};
use crate::error::CliError;
use crate::input::Input;
use crate::operations::{self, Answer};
use crate::output::{self, Output, Reader};
use crate::{json, progress, signal};

/// What came of a run.
struct Done {
    answer: Answer,
    report: Report,
    /// Whether the caches that were asked for are written.
    caches: Result<(), dagop::Error>,
}

/// `--json`.
#[derive(Serialize)]
struct Everything<'a> {
    data: Option<&'a RawValue>,
    errors: &'a [GraphQlError],
    report: &'a Report,
}

pub(crate) async fn run(config: &Config, args: RunArgs) -> Result<u8, CliError> {
    let input = Input::read(&args.input)?;
    let output = Output::open(args.output.as_deref())?;
    let mode = config.progress(&args.progress);
    let (events, display) = progress::start(mode, config.colour(), Reader::Present)?;
    let cancel = signal::listen(events.clone())?;
    let options = SessionOptions {
        workdir: workdir(args.session.session_dir.as_deref())?,
        allow: args.session.allow,
        cache_imports: args.session.import_cache,
        cache_exports: args.session.export_cache,
        events: Some(events),
        no_recall: args.session.no_recall,
        dump_llb: args.dump_llb.as_deref().map(config::absolute).transpose()?,
        ..SessionOptions::default()
    };
    let work = build(config, options, &input, &cancel);
    let done = signal::until_wound_up(&cancel, work).await;
    // The display owns the terminal until here.
    display.finish();
    let Done {
        answer,
        report,
        caches,
    } = done??;
    show_report(&report, mode);
    let code = input.explain(&answer.errors, config);
    if let Some(text) = result_text(&answer, args.json.then_some(&report))? {
        output.write(&text)?;
    }
    // The answer is right although a cache was not written; the exit code says so.
    caches?;
    Ok(code)
}

async fn build(
    config: &Config,
    options: SessionOptions,
    input: &Input,
    cancel: &CancellationToken,
) -> Result<Done, CliError> {
    let start = async {
        let engine = Engine::start(EngineOptions {
            daemon_may_be_away: true,
            ..config.engine_options()?
        })
        .await?;
        Ok::<_, CliError>(engine.session(options)?)
    };
    let session = tokio::select! {
        session = start => session?,
        () = cancel.cancelled() => return Err(CliError::cancelled()),
    };
    let answer = operations::run(&session, input, cancel).await;
    let caches = tokio::select! {
        caches = session.export_caches() => caches,
        () = cancel.cancelled() => Ok(()),
    };
    let report = match cancel.is_cancelled() {
        true => session.abort().await?,
        false => session.finish().await?,
    };
    Ok(Done {
        answer,
        report,
        caches,
    })
}

/// What is printed as the result; nothing when there is none.
fn result_text(answer: &Answer, report: Option<&Report>) -> Result<Option<String>, CliError> {
    let data = answer.data.as_deref();
    let text = match report {
        Some(report) => {
            let everything = Everything {
                data,
                errors: &answer.errors,
                report,
            };
            let text = serde_json::to_string(&everything);
            text.map_err(|error| CliError::internal(format!("result as JSON: {error}")))?
        }
        None => match data {
            Some(data) => data.get().to_owned(),
            None => return Ok(None),
        },
    };
    Ok(Some(json::pretty(&text) + "\n"))
}

fn show_report(report: &Report, mode: ProgressMode) {
    for notice in &report.notices {
        output::to_stderr(&format!("warning: {notice}\n"));
    }
    // Behind JSON events there are only JSON events, and a document that was refused made no build.
    let silent = matches!(mode, ProgressMode::Json | ProgressMode::Quiet);
    if !silent && report.summary.calls > 0 {
        let id = report.build.id.get(..12).unwrap_or(&report.build.id);
        output::to_stderr(&format!("build {id}: {}\n", report.summary.line()));
    }
}

/// The session's directory: given, or the current one.
pub(super) fn workdir(given: Option<&std::path::Path>) -> Result<PathBuf, CliError> {
    let directory = config::absolute(given.unwrap_or(std::path::Path::new(".")))?;
    if directory.is_dir() {
        return Ok(directory);
    }
    Err(CliError::usage(format!(
        "{} is not a directory",
        directory.display()
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_data_only_json_prints_a_result() {
        let answer = Answer {
            data: None,
            errors: vec![GraphQlError::input("no")],
        };
        assert_eq!(result_text(&answer, None).unwrap(), None);
        let data = RawValue::from_string("{\"a\":1}".into()).ok();
        let answer = Answer {
            data,
            errors: Vec::new(),
        };
        assert_eq!(
            result_text(&answer, None).unwrap().unwrap(),
            "{\n  \"a\": 1\n}\n"
        );
    }

    #[test]
    fn a_session_directory_must_exist() {
        assert!(workdir(None).unwrap().is_absolute());
        let error = workdir(Some(std::path::Path::new("/no/such/directory"))).unwrap_err();
        assert_eq!(error.exit_code(), crate::error::USAGE);
    }
}
