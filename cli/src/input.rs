//! What commands read: a document with its variables, and files of every kind with a bound.

use std::io::{self, Read};

use dagop::GraphQlError;
use serde_json::{Map, Value};

use crate::args::{DocumentArgs, Source};
use crate::config::Config;
use crate::diagnostic::{self, Document};
use crate::error::CliError;
use crate::{output, variables};

/// Largest document or variables file, in bytes.
const DOCUMENT_BYTES_MAX: u64 = 64 << 20;

/// What a run was given, read and checked.
pub(crate) struct Input {
    name: String,
    pub(crate) text: String,
    pub(crate) variables: Map<String, Value>,
    /// The one operation that was asked for.
    pub(crate) operation: Option<String>,
}

impl Input {
    pub(crate) fn read(args: &DocumentArgs) -> Result<Self, CliError> {
        let vars_json = args.vars_json.as_ref();
        if args.document == Source::Stdin && vars_json == Some(&Source::Stdin) {
            let message = "standard input cannot be both the document and the variables";
            return Err(CliError::usage(message));
        }
        let base = match vars_json {
            None => Map::new(),
            Some(source) => variables::parse_object(&document(source)?)
                .map_err(|reason| CliError::usage(format!("{}: {reason}", name_of(source))))?,
        };
        Ok(Self {
            name: name_of(&args.document),
            text: document(&args.document)?,
            variables: variables::merge(base, &args.variables),
            operation: args.operation.clone(),
        })
    }

    /// A document that was not read from anywhere.
    #[cfg(test)]
    pub(crate) fn new(text: &str, variables: Map<String, Value>, operation: Option<&str>) -> Self {
        Self {
            name: "document".to_owned(),
            text: text.to_owned(),
            variables,
            operation: operation.map(str::to_owned),
        }
    }

    /// Shows the errors of an answer, where they are in the document; the answer's exit code.
    pub(crate) fn explain(&self, errors: &[GraphQlError], config: &Config) -> u8 {
        if !errors.is_empty() {
            let document = Document {
                name: &self.name,
                text: &self.text,
            };
            let text = diagnostic::render(errors, document, config.styled_errors());
            output::to_stderr(&text);
        }
        diagnostic::code(errors)
    }
}

/// What a source is called in messages.
pub(crate) fn name_of(source: &Source) -> String {
    match source {
        Source::Stdin => "standard input".to_owned(),
        Source::File(path) => path.display().to_string(),
    }
}

/// The first bytes of a source, at most `limit`.
pub(crate) fn bytes(source: &Source, limit: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    match source {
        Source::Stdin => io::stdin().lock().take(limit).read_to_end(&mut bytes),
        Source::File(path) => std::fs::File::open(path)?
            .take(limit)
            .read_to_end(&mut bytes),
    }?;
    Ok(bytes)
}

/// That a source cannot be read.
pub(crate) fn unreadable(name: &str, error: &io::Error) -> CliError {
    CliError::usage(format!("cannot read {name}: {error}"))
}

/// What was read as text.
pub(crate) fn text(bytes: Vec<u8>, name: &str) -> Result<String, CliError> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        CliError::usage(format!("{name} is not UTF-8 text: byte {at} is wrong"))
    })
}

fn document(source: &Source) -> Result<String, CliError> {
    let name = name_of(source);
    let bytes = bytes(source, DOCUMENT_BYTES_MAX + 1).map_err(|error| unreadable(&name, &error))?;
    if bytes.len() as u64 > DOCUMENT_BYTES_MAX {
        return Err(CliError::usage(format!(
            "{name} is larger than {} MiB",
            DOCUMENT_BYTES_MAX >> 20
        )));
    }
    text(bytes, &name)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        document: DocumentArgs,
    }

    fn read_input(arguments: &[&str]) -> Result<Input, CliError> {
        let line = [&["run"], arguments].concat();
        Input::read(&Line::try_parse_from(line).unwrap().document)
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
}
