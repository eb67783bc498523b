//! `dagop run`: a document's operations, in order, in one session.
//!
//! A document may hold several operations. Without `--operation` they all run, one after the other,
//! and a value that one of them exports (`@export(as: "name")`) is a variable of those after it;
//! that is how an ID gets from one operation to the next. The first operation with an error is the
//! last that runs.

use std::io::Read;
use std::path::PathBuf;

use dagop::report::Report;
use dagop::{Engine, EngineSession, GraphQlError, Request, SessionOptions};
use serde::Serialize;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;

use crate::args::{RunArgs, Source};
use crate::config::{self, Config, ProgressMode};
use crate::diagnostic::{self, Document};
use crate::error::CliError;
use crate::output::{self, Output};
use crate::{json, progress, signal, variables};

/// Largest document or variables file, in bytes.
const INPUT_BYTES_MAX: u64 = 64 << 20;

/// What a run was given, read and checked.
struct Input {
    name: String,
    text: String,
    variables: Map<String, Value>,
}

/// What a run brought.
struct Answer {
    /// JSON text; none when an operation failed.
    data: Option<Box<RawValue>>,
    errors: Vec<GraphQlError>,
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
    let (events, display) = progress::start(mode, config.colour())?;
    let cancel = signal::listen(events.clone())?;
    let options = SessionOptions {
        workdir: workdir(args.session.session_dir.as_deref())?,
        allow: args.session.allow,
        events: Some(events),
        dump_llb: args.dump_llb.as_deref().map(config::absolute).transpose()?,
    };
    let work = build(config, options, &input, args.operation.as_deref(), &cancel);
    let done = signal::until_wound_up(&cancel, work).await;
    // The display owns the terminal until here.
    display.finish();
    let (answer, report) = done??;
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
    Ok(diagnostic::code(&answer.errors))
}

async fn build(
    config: &Config,
    options: SessionOptions,
    input: &Input,
    operation: Option<&str>,
    cancel: &CancellationToken,
) -> Result<(Answer, Report), CliError> {
    let start = async {
        let engine = Engine::start(config.engine_options()?).await?;
        Ok::<_, CliError>(engine.session(options).await?)
    };
    let session = tokio::select! {
        session = start => session?,
        () = cancel.cancelled() => return Err(CliError::cancelled()),
    };
    let answer = execute(&session, input, operation, cancel).await;
    let report = match cancel.is_cancelled() {
        true => session.abort().await?,
        false => session.finish().await?,
    };
    Ok((answer, report))
}

/// Runs the chosen operation, or all of them.
async fn execute(
    session: &EngineSession,
    input: &Input,
    operation: Option<&str>,
    cancel: &CancellationToken,
) -> Answer {
    let names = match operation {
        Some(name) => vec![name.to_owned()],
        None => dagop::operation_names(&input.text),
    };
    let mut variables = input.variables.clone();
    let request = |name: Option<&str>, variables: &Map<String, Value>| Request {
        query: input.text.clone(),
        operation_name: name.map(str::to_owned),
        variables: Some(variables.clone()),
    };
    if names.len() < 2 {
        let name = names.first().map(String::as_str);
        let response = session
            .execute(request(name, &variables), cancel.clone())
            .await;
        return Answer {
            data: response.data,
            errors: response.errors,
        };
    }
    let mut members = Vec::new();
    for name in &names {
        let response = session
            .execute(request(Some(name), &variables), cancel.clone())
            .await;
        if !response.errors.is_empty() {
            return Answer {
                data: None,
                errors: response.errors,
            };
        }
        variables.extend(response.exports);
        let data = response.data.as_deref().map_or("null", RawValue::get);
        members.push(format!("{}:{data}", Value::from(name.as_str())));
    }
    let object = RawValue::from_string(format!("{{{}}}", members.join(",")));
    Answer {
        data: object.ok(),
        errors: Vec::new(),
    }
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
    if mode != ProgressMode::Json && report.summary.calls > 0 {
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
        if args.document == Source::Stdin && args.vars_json == Some(Source::Stdin) {
            let message = "standard input cannot be both the document and the variables";
            return Err(CliError::usage(message));
        }
        let base = match &args.vars_json {
            None => Map::new(),
            Some(source) => variables::parse_object(&read(source)?)
                .map_err(|reason| CliError::usage(format!("{}: {reason}", name_of(source))))?,
        };
        Ok(Self {
            name: name_of(&args.document),
            text: read(&args.document)?,
            variables: variables::merge(base, &args.variables),
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
