//! GraphQL errors for people: the sentence, where in the document, what the command printed.
//!
//! An error with a location shows the line of the document it points at. A failed command shows its
//! exit code and the last lines it wrote. Everything that came from outside is stripped of control
//! characters, so that an error text cannot drive the terminal.

use std::fmt::Write as _;

use dagop::GraphQlError;
use miette::{
    Diagnostic, GraphicalReportHandler, GraphicalTheme, LabeledSpan, NamedSource, SourceCode,
    SourceOffset,
};
use serde_json::Value;

use crate::error::{exit_code, hint_line, paragraph};

/// Errors shown of one answer; the rest is counted.
const ERRORS_MAX: usize = 10;

/// Lines shown of a failed command's output.
const OUTPUT_LINES_MAX: usize = 20;

/// Response keys shown at either end of a long path.
const PATH_ENDS: usize = 4;

/// The document an error points into.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Document<'a> {
    /// Its file name, for the location.
    pub(crate) name: &'a str,
    pub(crate) text: &'a str,
}

/// The exit code for an answer with these errors: that of the first.
pub(crate) fn code(errors: &[GraphQlError]) -> u8 {
    errors
        .first()
        .map_or(0, |error| exit_code(dagop::Error::from_dagql(error).kind()))
}

/// All errors as text.
pub(crate) fn render(errors: &[GraphQlError], document: Document<'_>, styled: bool) -> String {
    let mut text = String::new();
    for error in errors.iter().take(ERRORS_MAX) {
        Problem::from(error).render(&mut text, document, styled);
    }
    if errors.len() > ERRORS_MAX {
        // Writing to a String cannot fail, here and below.
        _ = writeln!(text, "and {} more errors", errors.len() - ERRORS_MAX);
    }
    text
}

/// What is shown of an error.
#[derive(Debug, Default)]
struct Problem {
    message: String,
    /// Response keys and list indexes.
    path: Vec<String>,
    /// Line and column in the document, from 1.
    location: Option<(usize, usize)>,
    hint: Option<String>,
    /// What a failed command wrote.
    output: Option<String>,
}

impl From<&GraphQlError> for Problem {
    fn from(error: &GraphQlError) -> Self {
        let engine = dagop::Error::from_dagql(error);
        let exec = engine.exec_error();
        // The message of a failed command ends with its output, which has its own place here.
        let message = match exec {
            Some(_) => error
                .message()
                .lines()
                .next()
                .unwrap_or_default()
                .trim_end_matches(':'),
            None => error.message(),
        };
        let output = exec.map(|exec| match exec.stderr.trim() {
            "" => exec.stdout.clone(),
            _ => exec.stderr.clone(),
        });
        Self {
            message: message.to_owned(),
            path: error.path().iter().map(segment).collect(),
            location: error.locations().first().map(|at| (at.line, at.column)),
            hint: engine.hint().map(str::to_owned),
            output,
        }
    }
}

/// A response key as it is, or a list's index in digits.
fn segment(segment: &impl serde::Serialize) -> String {
    match serde_json::to_value(segment) {
        Ok(Value::String(key)) => key,
        Ok(index) => index.to_string(),
        Err(_) => "?".to_owned(),
    }
}

impl Problem {
    fn render(&self, text: &mut String, document: Document<'_>, styled: bool) {
        let mut message = printable(&self.message);
        if !self.path.is_empty() {
            _ = write!(message, " (at {})", self.short_path());
        }
        match self.located(&message, document) {
            Some(located) => text.push_str(&located.render(styled)),
            None => text.push_str(&paragraph(&message, None, styled)),
        }
        self.render_output(text);
        if let Some(hint) = &self.hint {
            text.push_str(&hint_line(hint, styled));
        }
    }

    /// The last lines of what a failed command wrote.
    fn render_output(&self, text: &mut String) {
        let Some(output) = &self.output else { return };
        let lines: Vec<&str> = output.trim_end().lines().collect();
        let hidden = lines.len().saturating_sub(OUTPUT_LINES_MAX);
        if hidden > 0 {
            _ = writeln!(text, "  | ({hidden} lines before)");
        }
        for line in &lines[hidden..] {
            _ = writeln!(text, "  | {}", printable(line));
        }
    }

    fn located(&self, message: &str, document: Document<'_>) -> Option<Located> {
        let (line, column) = self.location?;
        let start = SourceOffset::from_location(document.text, line, column).offset();
        let rest = document.text.get(start..).unwrap_or_default();
        let word = |c: &char| c.is_alphanumeric() || matches!(c, '_' | '$' | '@');
        let length = rest
            .chars()
            .take_while(word)
            .map(char::len_utf8)
            .sum::<usize>()
            .max(1);
        Some(Located {
            message: message.to_owned(),
            source: NamedSource::new(document.name, document.text.to_owned()),
            span: LabeledSpan::new(None, start, length),
        })
    }

    /// The path, with the middle of a long one left out.
    fn short_path(&self) -> String {
        let path = &self.path;
        if path.len() <= 2 * PATH_ENDS + 1 {
            return path.join(".");
        }
        let (head, tail) = (&path[..PATH_ENDS], &path[path.len() - PATH_ENDS..]);
        format!("{}.….{}", head.join("."), tail.join("."))
    }
}

/// `text` without control characters other than line ends and tabs; of a line that was overwritten
/// (progress bars), what was there last.
pub(crate) fn printable(text: &str) -> String {
    let lines = text.split('\n').map(|line| {
        let line = line.trim_end_matches('\r');
        let line = line.rsplit('\r').next().unwrap_or(line);
        without_controls(line)
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Drops control characters, and whole CSI sequences (colours) rather than only their first byte.
fn without_controls(line: &str) -> String {
    let mut shown = String::with_capacity(line.len());
    let mut characters = line.chars().peekable();
    while let Some(c) = characters.next() {
        if c == '\x1b' && characters.next_if_eq(&'[').is_some() {
            // Parameters and intermediates, up to a final byte.
            while characters.next_if(|c| matches!(c, ' '..='?')).is_some() {}
            characters.next_if(|c| matches!(c, '@'..='~'));
        } else if c == '\t' || !c.is_control() {
            shown.push(c);
        }
    }
    shown
}

/// An error at a place in the document, as miette wants it.
#[derive(Debug)]
struct Located {
    message: String,
    source: NamedSource<String>,
    span: LabeledSpan,
}

impl Located {
    /// The message, then the line with what is around it.
    fn render(&self, styled: bool) -> String {
        let mut theme = if styled {
            GraphicalTheme::unicode()
        } else {
            GraphicalTheme::unicode_nocolor()
        };
        theme.characters.error = "error:".to_owned();
        let handler = GraphicalReportHandler::new_themed(theme)
            .with_links(false)
            .with_wrap_lines(false)
            .with_context_lines(1);
        let mut text = String::new();
        match handler.render_report(&mut text, self) {
            // miette indents the message, which is to begin like every other error's.
            Ok(()) => text.trim_start().to_owned(),
            Err(_) => paragraph(&self.message, None, styled),
        }
    }
}

impl std::fmt::Display for Located {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Located {}

impl Diagnostic for Located {
    fn source_code(&self) -> Option<&dyn SourceCode> {
        Some(&self.source)
    }

    fn labels(&self) -> Option<Box<dyn Iterator<Item = LabeledSpan> + '_>> {
        Some(Box::new(std::iter::once(self.span.clone())))
    }
}

#[cfg(test)]
mod tests {
    use dagop::error::{ExecError, Kind};
    use expect_test::{Expect, expect};

    use super::*;
    use crate::error::{CANCELLED, FAILED, UNREACHABLE, USAGE};

    const DOCUMENT: Document<'_> = Document {
        name: "build.graphql",
        text: "{\n  container {\n    frm(address: \"alpine\") { stdout }\n  }\n}\n",
    };

    fn check(problem: &Problem, expected: &Expect) {
        let mut text = String::new();
        problem.render(&mut text, DOCUMENT, false);
        expected.assert_eq(&text);
    }

    #[test]
    fn a_located_error_shows_its_line() {
        let problem = Problem {
            message: "Query.container has no field `frm`".into(),
            location: Some((3, 5)),
            ..Problem::default()
        };
        check(
            &problem,
            &expect![[r#"
                error: Query.container has no field `frm`
                   ╭─[build.graphql:3:5]
                 2 │   container {
                 3 │     frm(address: "alpine") { stdout }
                   ·     ───
                 4 │   }
                   ╰────
            "#]],
        );
    }

    #[test]
    fn a_failed_command_shows_its_code_and_the_end_of_its_output() {
        let stderr: String = (1..=23)
            .map(|line| format!("line {line}\x1b[31m!\r\n"))
            .collect();
        let exec = ExecError {
            cmd: vec!["make".into()],
            exit_code: 2,
            stdout: "no".into(),
            stderr,
        };
        check(
            &Problem::from(&dagop::Error::exec(exec).into()),
            &expect![[r#"
                error: command make failed with exit code 2
                  | (3 lines before)
                  | line 4!
                  | line 5!
                  | line 6!
                  | line 7!
                  | line 8!
                  | line 9!
                  | line 10!
                  | line 11!
                  | line 12!
                  | line 13!
                  | line 14!
                  | line 15!
                  | line 16!
                  | line 17!
                  | line 18!
                  | line 19!
                  | line 20!
                  | line 21!
                  | line 22!
                  | line 23!
            "#]],
        );
    }

    #[test]
    fn a_path_and_a_hint_follow_the_message() {
        let path = ["a", "b", "c", "d", "e", "0", "g", "h", "i", "j"].map(str::to_owned);
        let problem = Problem {
            message: "no such file".into(),
            path: path.to_vec(),
            hint: Some("look elsewhere".into()),
            ..Problem::default()
        };
        check(
            &problem,
            &expect![[r#"
                error: no such file (at a.b.c.d.….g.h.i.j)
                hint: look elsewhere
            "#]],
        );
    }

    #[test]
    fn a_location_outside_of_the_document_does_no_harm() {
        let problem = Problem {
            location: Some((99, 99)),
            ..Problem::default()
        };
        problem.render(&mut String::new(), DOCUMENT, false);
    }

    #[test]
    fn many_errors_are_counted() {
        let errors = vec![GraphQlError::from(dagop::Error::input("no")); ERRORS_MAX + 3];
        let text = render(&errors, DOCUMENT, false);
        assert!(text.ends_with("and 3 more errors\n"), "{text}");
    }

    #[test]
    fn the_first_error_decides_the_exit_code() {
        let failed = |kind| GraphQlError::from(dagop::Error::new(kind, "x"));
        assert_eq!(code(&[]), 0);
        assert_eq!(
            code(&[failed(Kind::Unreachable), failed(Kind::Input)]),
            UNREACHABLE
        );
        assert_eq!(code(&[failed(Kind::StepFailed)]), FAILED);
        assert_eq!(code(&[GraphQlError::cancelled()]), CANCELLED);
        assert_eq!(code(&[GraphQlError::input("x")]), USAGE);
    }

    #[test]
    fn text_from_outside_cannot_drive_the_terminal() {
        assert_eq!(
            printable("a\x1b[2Jb\x07\tc\n10%\r100%\r\n"),
            "ab\tc\n100%\n"
        );
        assert_eq!(printable("\x1b]0;title\x07x"), "]0;titlex");
    }
}
