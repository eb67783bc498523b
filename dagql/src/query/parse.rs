//! Parsing on a stack that is large enough for the text at hand.
//!
//! The parser, the syntax tree and its destructor all recurse once or more per nesting level. The
//! nesting of a text is known before it is parsed, by counting its brackets outside strings and
//! comments. Shallow documents are parsed in place. For deep ones a thread is started whose stack is
//! proportional to the depth; the kernel gives it memory only for the part that is touched. Few of
//! them exist at a time.
//!
//! # One blank per brace
//! The parser's tree library shares equal nodes of up to three children, and to find them it hashes
//! the whole subtree: quadratic in the depth of `{a{b{c}}}`, 30 seconds for 20,000 levels. Nodes
//! with more children, and whatever holds one, are not shared. So the parser is given a text with a
//! blank after each opening brace of a selection set, which makes four children of every set, and
//! offsets are mapped back ([`Spaced`]). Values and types, which nest in parentheses, are limited to
//! a few levels before they get there.

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

/// Deepest accepted nesting of brackets inside one argument list. Values themselves are limited to
/// [`crate::LITERAL_DEPTH_MAX`], with a located error.
const VALUE_NESTING_MAX: usize = 64;

/// Up to this depth a document is parsed on the caller's stack.
const SHALLOW_DEPTH: usize = 48;

/// Documents longer than this are parsed on a thread of their own, to keep the worker free.
const SHORT_BYTES: usize = 64 * 1024;

/// Stack for one nesting level; less than an eighth of it was seen in use.
const STACK_PER_LEVEL: usize = 16 * 1024;

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
    let spaced = Spaced::new(&text);
    let lines = Lines::new(text, spaced.braces);
    match parser.parse_ast(spaced.text, "query.graphql") {
        Ok(ast) => lower::lower(schema, &ast, lines),
        Err(invalid) => Err(invalid
            .errors
            .iter()
            .take(ERRORS_MAX)
            .map(|diagnostic| {
                let span = diagnostic.error.location();
                let at = span.map(|span| lines.locate(lines.original(span.offset())));
                Error::new(Kind::Syntax, diagnostic.error.to_string()).at(at)
            })
            .collect()),
    }
}

/// A text with a blank after each opening brace.
struct Spaced {
    text: String,
    /// Where the braces are in the original.
    braces: Vec<u32>,
}

impl Spaced {
    fn new(text: &str) -> Self {
        let mut spaced = Self {
            text: String::with_capacity(text.len() + text.len() / 8),
            braces: Vec::new(),
        };
        let mut copied = 0;
        scan(text.as_bytes(), |at, byte| {
            if byte == b'{' {
                spaced.text.push_str(&text[copied..=at]);
                spaced.text.push(' ');
                spaced.braces.push(offset(at).0);
                copied = at + 1;
            }
        });
        spaced.text.push_str(&text[copied..]);
        spaced
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
    let refuse = |at: usize, what: &str, limit: usize| {
        let location = Lines::new(text.into(), Vec::new()).locate(offset(at));
        let message = format!("{what} nests more than {limit} levels deep");
        Error::new(Kind::Syntax, message).at(Some(location))
    };
    match nesting(text) {
        Nesting::Fits(depth) => Ok(depth),
        Nesting::Deep(at) => Err(refuse(at, "the document", QUERY_DEPTH_MAX)),
        Nesting::DeepValue(at) => Err(refuse(at, "a value or type", VALUE_NESTING_MAX)),
    }
}

/// What counting brackets found.
#[derive(Debug, PartialEq)]
enum Nesting {
    /// The deepest nesting.
    Fits(usize),
    /// Where [`QUERY_DEPTH_MAX`] is exceeded.
    Deep(usize),
    /// Where [`VALUE_NESTING_MAX`] is exceeded.
    DeepValue(usize),
}

/// Counts brackets outside strings and comments. Closing brackets that match nothing are the
/// parser's business.
fn nesting(text: &str) -> Nesting {
    let (mut depth, mut high) = (0_usize, 0);
    let mut first_parenthesis: Option<usize> = None;
    let mut refused = None;
    scan(text.as_bytes(), |at, byte| {
        if !matches!(byte, b'{' | b'[' | b'(') {
            depth = depth.saturating_sub(1);
            if first_parenthesis.is_some_and(|outside| depth <= outside) {
                first_parenthesis = None;
            }
            return;
        }
        if byte == b'(' && first_parenthesis.is_none() {
            first_parenthesis = Some(depth);
        }
        depth += 1;
        high = high.max(depth);
        // A bracket that belongs to no selection set and no parenthesis is an error, but the parser
        // may follow it before it says so.
        let outside = first_parenthesis.or((byte == b'[').then_some(0));
        if refused.is_none() && depth > QUERY_DEPTH_MAX {
            refused = Some(Nesting::Deep(at));
        } else if refused.is_none()
            && outside.is_some_and(|outside| depth - outside > VALUE_NESTING_MAX + 1)
        {
            refused = Some(Nesting::DeepValue(at));
        }
    });
    refused.unwrap_or(Nesting::Fits(high))
}

/// Calls `found` for each bracket outside strings and comments.
pub(super) fn scan(bytes: &[u8], mut found: impl FnMut(usize, u8)) {
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'{' | b'[' | b'(' | b'}' | b']' | b')' => found(at, *byte),
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
        let depth = |text: &str| match nesting(text) {
            Nesting::Fits(depth) => depth,
            other => panic!("{other:?}"),
        };
        assert_eq!(depth("{a(b:[1]){c}}"), 3);
        assert_eq!(depth(r#"{a(b:"{{{[[[\"((")}"#), 2);
        assert_eq!(depth("{a # {{{{\n}"), 1);
        assert_eq!(depth("\"\"\"{{ \\\"\"\" {{\"\"\" {"), 1);
        assert_eq!(depth("}}}{"), 1);
        assert_eq!(depth("\"unterminated {{\n{"), 1);
        assert_eq!(depth("\"\\"), 0);
    }

    #[test]
    fn values_nest_less_than_selections() {
        let open = |text: &str, times| text.repeat(times);
        assert_eq!(nesting(&open("{a", 20_000)), Nesting::Fits(20_000));
        assert_eq!(nesting(&open("{a", 20_001)), Nesting::Deep(40_000));
        assert_eq!(
            nesting(&format!("{{a(b:{}", open("[", 64))),
            Nesting::Fits(66)
        );
        assert_eq!(
            nesting(&format!("{{a(b:{}", open("[", 65))),
            Nesting::DeepValue(69)
        );
        assert_eq!(nesting(&open("[", 100)), Nesting::DeepValue(65));
        // A parenthesis that was closed leaves no trace.
        let calls = "{a(b:[1])".repeat(1000);
        assert_eq!(nesting(&calls), Nesting::Fits(1002));
    }

    #[test]
    fn only_selection_braces_get_a_blank_and_offsets_map_back() {
        let text = "{é(x:\"{\"){b}}";
        let spaced = Spaced::new(text);
        assert_eq!(spaced.text, "{ é(x:\"{\"){ b}}");
        let lines = Lines::new(text.into(), spaced.braces);
        for (at, character) in text.char_indices().filter(|(_, c)| *c != '{') {
            let moved = spaced.text.rfind(character).expect("copied");
            if text.matches(character).count() == 1 {
                assert_eq!(lines.original(moved), offset(at), "{character}");
            }
        }
    }
}
