//! `dagop id`: reading the IDs of objects. Needs no daemon.
//!
//! | command | exit code |
//! |---|---|
//! | `decode` | 0; 2 for what is no ID |
//! | `verify` | 0 when every digest is right, 1 when one is not; 2 for what is no ID |
//! | `diff` | 0 when the IDs are the same, 1 when they differ; 2 for what is no ID, or no true one |
//!
//! Sensitive arguments are never part of an ID, so nothing here can show one.

mod decode;
mod diff;
mod value;
mod verify;

use dagop::wire::{self, WireError};

use crate::args::{IdCommand, IdSource, Source};
use crate::error::CliError;
use crate::{input, output};

/// Runs the command; its exit code.
pub(crate) fn id(command: &IdCommand) -> Result<u8, CliError> {
    let (text, code) = match command {
        IdCommand::Decode(args) => decode::decode(&read_all(&args.ids)?, args.json)?,
        IdCommand::Verify(args) => verify::verify(&read_all(&args.ids)?, args.json)?,
        IdCommand::Diff(args) => {
            let sources = [args.left.clone(), args.right.clone()];
            let given = read_all(&sources)?;
            diff::diff(&given[0], &given[1], args.json)?
        }
    };
    output::to_stdout(text.as_bytes())?;
    Ok(code)
}

/// An ID as it was given.
#[derive(Debug)]
struct Given {
    /// What to call it in messages.
    name: String,
    text: String,
}

impl Given {
    /// Says which ID it is that cannot be read.
    fn refuse(&self, error: &WireError) -> CliError {
        CliError::usage(format!("{}: {error}", self.name))
    }
}

fn read_all(sources: &[IdSource]) -> Result<Vec<Given>, CliError> {
    let stdin = IdSource::In(Source::Stdin);
    if sources.iter().filter(|source| **source == stdin).count() > 1 {
        return Err(CliError::usage("standard input can hold only one ID"));
    }
    let numbered = (1..).zip(sources);
    numbered
        .map(|(number, source)| {
            let name = match source {
                IdSource::Text(_) if sources.len() == 1 => "the argument".to_owned(),
                IdSource::Text(_) => format!("argument {number}"),
                IdSource::In(source) => input::name_of(source),
            };
            let text = match source {
                IdSource::Text(text) => text.clone(),
                IdSource::In(source) => read(source, &name)?,
            };
            Ok(Given {
                text: unquoted(&text).to_owned(),
                name,
            })
        })
        .collect()
}

/// The ID without the white space around it, and without the quotes of a JSON string.
fn unquoted(text: &str) -> &str {
    let text = text.trim_ascii();
    let inside = text
        .strip_prefix('"')
        .and_then(|text| text.strip_suffix('"'));
    inside.unwrap_or(text)
}

fn read(source: &Source, name: &str) -> Result<String, CliError> {
    // White space and quotes come on top; a longer text is refused by the decoder.
    let limit = wire::TEXT_BYTES_MAX as u64 + 1024;
    let bytes = input::bytes(source, limit).map_err(|error| input::unreadable(name, &error))?;
    input::text(bytes, name)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `container.from(address: "alpine").withExec(args: ["echo", "hi"])`, as Dagger writes it.
    pub(super) const WITH_EXEC: &str = "ChV4eGgzOjc0ZTE3MWFkYjI3OTNhMWMScQoVeHhoMzo1MmJiYTFkYzA3MmY0YjRiElgKFXh4aDM6NjE0MmIzNjM2NDQ4ZmQ1ZhINCglDb250YWluZXIYARoEZnJvbSITCgdhZGRyZXNzEgg6BmFscGluZUoVeHhoMzo1MmJiYTFkYzA3MmY0YjRiEkoKFXh4aDM6NjE0MmIzNjM2NDQ4ZmQ1ZhIxEg0KCUNvbnRhaW5lchgBGgljb250YWluZXJKFXh4aDM6NjE0MmIzNjM2NDQ4ZmQ1ZhKEAQoVeHhoMzo3NGUxNzFhZGIyNzkzYTFjEmsKFXh4aDM6NTJiYmExZGMwNzJmNGI0YhINCglDb250YWluZXIYARoId2l0aEV4ZWMiGAoEYXJncxIQQg4KBjoEZWNobwoEOgJoaUoVeHhoMzo3NGUxNzFhZGIyNzkzYTFjUgh2MC4xOS4xMA==";

    pub(super) fn given(text: &str) -> Given {
        Given {
            name: "the argument".into(),
            text: text.into(),
        }
    }

    #[test]
    fn an_id_is_found_in_an_argument_or_a_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("id");
        std::fs::write(&file, "\"AAAA\"\n").unwrap();
        let mut at = std::ffi::OsString::from("@");
        at.push(&file);
        let sources = [
            IdSource::from(at),
            IdSource::from(std::ffi::OsString::from("BBBB")),
        ];
        let given = read_all(&sources).unwrap();
        assert_eq!((&*given[0].text, &*given[1].text), ("AAAA", "BBBB"));
        assert_eq!(given[1].name, "argument 2");
        let missing = [IdSource::In(Source::File(directory.path().join("no")))];
        let error = read_all(&missing).unwrap_err();
        assert!(error.render(false).contains("/no: "), "{error:?}");
        let twice = [IdSource::In(Source::Stdin), IdSource::In(Source::Stdin)];
        assert_eq!(read_all(&twice).unwrap_err().exit_code(), 2);
    }

    #[test]
    fn what_is_no_id_is_located_and_is_wrong_usage() {
        let refused = |text: &str| {
            let [verify, decode] =
                [verify::verify, decode::decode].map(|run| run(&[given(text)], false).unwrap_err());
            assert_eq!(verify.render(false), decode.render(false));
            assert_eq!((verify.exit_code(), decode.exit_code()), (2, 2));
            verify.render(false)
        };
        assert_eq!(refused(""), "error: the argument: the ID is empty\n");
        let symbol = refused("ChV4 GgzOjc=");
        assert!(
            symbol.contains("not valid base64") && symbol.contains("offset 4"),
            "{symbol}"
        );
        let cut = refused(&WITH_EXEC[..WITH_EXEC.len() - 8]);
        assert!(cut.contains("the bytes end too early"), "{cut}");
    }
}
