//! `dagop run`: a document's operations, in order, in one session; see [`crate::operations`].

use std::io::Read;
use std::path::PathBuf;

use dagop::report::Report;
use dagop::{Engine, EngineOptions, GraphQlError, SessionOptions};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::args::{RunArgs, Source};
use crate::config::{self, Config, ProgressMode};
use crate::diagnostic::{self, Document};
use crate::error::CliError;
use crate::operations::{self, Answer};
use crate::output::{self, Output, Reader};
use crate::variables::Variable;
use crate::{json, progress, signal, variables};

/// Largest document or variables file, in bytes.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// What a run was given, read and checked.
pub(super) struct Input {
    pub(super) name: String,
    pub(super) text: String,
    pub(super) variables: Map<String, Value>,
}

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
    let input = Input::read(&args)?;
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
    let work = build(config, options, &input, args.operation.as_deref(), &cancel);
    let done = signal::until_wound_up(&cancel, work).await;
    // The display owns the terminal until here.
    display.finish();
    let Done {
        answer,
        report,
        caches,
    } = done??;
    show_report(&report, mode);
    if !answer.errors.is_empty() {
        let document = Document {
            name: &input.name,
            text: &input.text,
        };
        output::to_stderr(&diagnostic::render(
            &answer.errors,
            document,
            config.styled_errors(),
        ));
    }
    if let Some(text) = result_text(&answer, args.json.then_some(&report))? {
        output.write(&text)?;
    }
    // The answer is right although a cache was not written; the exit code says so.
    caches?;
    Ok(diagnostic::code(&answer.errors))
}

async fn build(
    config: &Config,
    options: SessionOptions,
    input: &Input,
    operation: Option<&str>,
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
    let answer = operations::run(&session, &input.text, &input.variables, operation, cancel).await;
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

impl Input {
    fn read(args: &RunArgs) -> Result<Self, CliError> {
        Self::of(&args.document, args.vars_json.as_ref(), &args.variables)
    }

    /// A document with its variables.
    pub(super) fn of(
        document: &Source,
        vars_json: Option<&Source>,
        variables: &[Variable],
    ) -> Result<Self, CliError> {
        if *document == Source::Stdin && vars_json == Some(&Source::Stdin) {
            let message = "standard input cannot be both the document and the variables";
            return Err(CliError::usage(message));
        }
        let base = match vars_json {
            None => Map::new(),
            Some(source) => variables::parse_object(&read(source)?)
                .map_err(|reason| CliError::usage(format!("{}: {reason}", name_of(source))))?,
        };
        Ok(Self {
            name: name_of(document),
            text: read(document)?,
            variables: variables::merge(base, variables),
        })
    }
}

fn name_of(source: &Source) -> String {
    match source {
        Source::Stdin => "standard input".to_owned(),
        Source::File(path) => path.display().to_string(),
    }
}

fn read(source: &Source) -> Result<String, CliError> {
    let name = name_of(source);
    let cannot = |error: std::io::Error| CliError::usage(format!("cannot read {name}: {error}"));
    let mut bytes = Vec::new();
    let limit = INPUT_BYTES_MAX + 1;
    match source {
        Source::Stdin => std::io::stdin().lock().take(limit).read_to_end(&mut bytes),
        Source::File(path) => std::fs::File::open(path)
            .map_err(cannot)?
            .take(limit)
            .read_to_end(&mut bytes),
    }
    .map_err(cannot)?;
    if bytes.len() as u64 > INPUT_BYTES_MAX {
        return Err(CliError::usage(format!(
            "{name} is larger than {} MiB",
            INPUT_BYTES_MAX >> 20
        )));
    }
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::usage(format!("{name} is not UTF-8 text: byte {at} is wrong"))
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        run: RunArgs,
    }

    fn read_input(arguments: &[&str]) -> Result<Input, CliError> {
        let line = [&["run"], arguments].concat();
        Input::read(&Line::try_parse_from(line).unwrap().run)
    }

    #[test]
    fn input_that_cannot_be_used_is_wrong_usage_and_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = directory.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let document = file("a.graphql", b"{ version }");
        let binary = file("b.graphql", b"{ \xff }");
        let list = file("list.json", b"[]");
        let cases: [(&[&str], &str); 4] = [
            (&["/no/such/file"], "/no/such/file"),
            (&[&binary], "byte 2"),
            (&[&document, "--vars-json", &list], "list.json"),
            (&["-", "--vars-json", "-"], "standard input"),
        ];
        for (arguments, named) in cases {
            let error = read_input(arguments).err().unwrap();
            assert_eq!(error.exit_code(), crate::error::USAGE);
            assert!(
                error.render(false).contains(named),
                "{}",
                error.render(false)
            );
        }
        let input = read_input(&[&document, "--var", "a=1"]).unwrap();
        assert_eq!(
            (input.text.as_str(), &input.variables["a"]),
            ("{ version }", &"1".into())
        );
    }

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
