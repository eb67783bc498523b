//! Parsing on a stack that is large enough for the text at hand.
//!
//! The parser, the syntax tree and its destructor all recurse once or more per nesting level. The
//! nesting of a text is known before it is parsed, by counting its brackets outside strings and
//! comments. Shallow documents are parsed in place. For deep ones a thread is started whose stack is
//! proportional to the depth; the kernel gives it memory only for the part that is touched. Few of
//! them exist at a time.

use std::sync::Arc;

use apollo_compiler::diagnostic::ToCliReport;
use apollo_compiler::parser::Parser;
use tokio::sync::{Semaphore, oneshot};

use super::{At, Document, Lines, lower};
use crate::{Error, Kind, Schema};

/// Longest accepted document in bytes. File contents and IDs travel inside it.
pub const DOCUMENT_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Deepest accepted nesting of brackets, and so of selection sets.
pub const QUERY_DEPTH_MAX: usize = 20_000;

/// Up to this depth a document is parsed on the caller's stack.
const SHALLOW_DEPTH: usize = 48;

/// Documents longer than this are parsed on a thread of their own, to keep the worker free.
const SHORT_BYTES: usize = 64 * 1024;

/// Stack for one nesting level; four times what an unoptimised build was seen to use.
const STACK_PER_LEVEL: usize = 24 * 1024;

/// Stack for everything else.
const STACK_BASE: usize = 4 * 1024 * 1024;

/// Threads for deep documents at a time.
static DEEP_PARSERS: Semaphore = Semaphore::const_new(4);

/// At most this many errors of one document are reported.
pub(super) const ERRORS_MAX: usize = 20;

/// Parses and checks a document.
///
/// # Errors
/// Syntax and validation errors with their locations, in document order.
pub(crate) async fn parse(schema: &Schema, text: &str) -> Result<Document, Vec<Error>> {
    let depth = check_size(text).map_err(|error| vec![error])?;
    if depth <= SHALLOW_DEPTH && text.len() <= SHORT_BYTES {
        return parse_here(schema, text.into(), depth);
    }
    let _permit = DEEP_PARSERS.acquire().await;
    let (schema, text) = (schema.clone(), Arc::from(text));
    let (sender, receiver) = oneshot::channel();
    std::thread::Builder::new()
        .name("dagql-parse".to_owned())
        .stack_size(STACK_BASE + depth * STACK_PER_LEVEL)
        .spawn(move || {
            // The caller may have left; then nobody needs the document.
            let _ = sender.send(parse_here(&schema, text, depth));
        })
        .map_err(|error| vec![Error::internal(format!("cannot start a parser: {error}"))])?;
    receiver
        .await
        .unwrap_or_else(|_| Err(vec![Error::internal("the parser died")]))
}

fn parse_here(schema: &Schema, text: Arc<str>, depth: usize) -> Result<Document, Vec<Error>> {
    // One bracket counts twice at most in the parser: as a value's list and as its item.
    let mut parser = Parser::new().recursion_limit(2 * depth + 16);
    let lines = Lines::new(Arc::clone(&text));
    match parser.parse_ast(&*text, "query.graphql") {
        Ok(ast) => lower::lower(schema, &ast, lines),
        Err(invalid) => Err(invalid
            .errors
            .iter()
            .take(ERRORS_MAX)
            .map(|diagnostic| {
                let span = diagnostic.error.location();
                let at = span.map(|span| lines.locate(offset(span.offset())));
                Error::new(Kind::Syntax, diagnostic.error.to_string()).at(at)
            })
            .collect()),
    }
}

/// Offsets fit because documents are bounded.
pub(super) fn offset(bytes: usize) -> At {
    At(u32::try_from(bytes).unwrap_or(u32::MAX))
}

/// Refuses what is too long or too deep; returns the depth.
fn check_size(text: &str) -> Result<usize, Error> {
    if text.len() > DOCUMENT_BYTES_MAX {
        return Err(Error::new(
            Kind::Syntax,
            format!(
                "the document has {} bytes, at most {DOCUMENT_BYTES_MAX} are accepted",
                text.len()
            ),
        ));
    }
    let (depth, deepest) = nesting(text);
    if depth > QUERY_DEPTH_MAX {
        let location = Lines::new(text.into()).locate(offset(deepest));
        return Err(Error::new(
            Kind::Syntax,
            format!("the document nests more than {QUERY_DEPTH_MAX} levels deep"),
        )
        .at(Some(location)));
    }
    Ok(depth)
}

/// The deepest nesting of brackets outside strings and comments, and where [`QUERY_DEPTH_MAX`] is
/// first exceeded. Closing brackets that match nothing are the parser's business.
fn nesting(text: &str) -> (usize, usize) {
    let bytes = text.as_bytes();
    let (mut depth, mut high, mut exceeded) = (0_usize, 0, 0);
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' | b'(' => {
                depth += 1;
                high = high.max(depth);
                if depth == QUERY_DEPTH_MAX + 1 && exceeded == 0 {
                    exceeded = at;
                }
            }
            b'}' | b']' | b')' => depth = depth.saturating_sub(1),
            b'#' => {
                at += bytes[at..]
                    .iter()
                    .take_while(|byte| !matches!(byte, b'\n' | b'\r'))
                    .count();
                continue;
            }
            b'"' => {
                at = string_end(bytes, at);
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    (high, exceeded)
}

/// The offset after the string that starts at `start`. An unterminated one ends with its line, or
/// with the text for a block string; either is a syntax error later.
fn string_end(bytes: &[u8], start: usize) -> usize {
    let block = bytes[start..].starts_with(b"\"\"\"");
    let mut at = start + if block { 3 } else { 1 };
    while let Some(byte) = bytes.get(at) {
        match (block, byte) {
            (true, b'\\') if bytes[at..].starts_with(b"\\\"\"\"") => at += 4,
            (true, b'"') if bytes[at..].starts_with(b"\"\"\"") => return at + 3,
            (false, b'\\') => at += 2,
            (false, b'"') => return at + 1,
            (false, b'\n' | b'\r') => return at,
            _ => at += 1,
        }
    }
    bytes.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_in_strings_and_comments_do_not_nest() {
        assert_eq!(nesting("{a(b:[1]){c}}").0, 3);
        assert_eq!(nesting(r#"{a(b:"{{{[[[\"((")}"#).0, 2);
        assert_eq!(nesting("{a # {{{{\n}").0, 1);
        assert_eq!(nesting("\"\"\"{{ \\\"\"\" {{\"\"\" {").0, 1);
        assert_eq!(nesting("}}}{").0, 1);
        assert_eq!(nesting("\"unterminated {{\n{").0, 1);
        assert_eq!(nesting("\"\\").0, 0);
    }
}
