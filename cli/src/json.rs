//! Finished JSON text, indented for people.
//!
//! An answer is as deep as its query, and a chain of thousands of calls makes one of thousands of
//! levels: deeper than a JSON tree may be, and quadratic to indent. So the text is reformatted as
//! text, in one pass without recursion, and left as it is beyond [`INDENTED_DEPTH_MAX`].

/// Deepest answer that is indented.
const INDENTED_DEPTH_MAX: usize = 64;

/// Spaces per level.
const INDENT: usize = 2;

/// A piece of JSON text: a string as a whole, or one character outside of strings.
enum Piece<'a> {
    String(&'a str),
    Other(char),
}

/// Cuts JSON text into pieces, without the white space between them.
fn pieces(text: &str) -> impl Iterator<Item = Piece<'_>> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = rest.trim_start();
        let first = rest.chars().next()?;
        if first != '"' {
            rest = &rest[first.len_utf8()..];
            return Some(Piece::Other(first));
        }
        let (string, after) = rest.split_at(string_end(rest));
        rest = after;
        Some(Piece::String(string))
    })
}

/// Where the string that `text` begins with ends.
fn string_end(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// `text`, which must be valid JSON, with one member or element per line.
pub(crate) fn pretty(text: &str) -> String {
    if depth(text) > INDENTED_DEPTH_MAX {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len() * 2);
    let mut level = 0;
    let mut opened = false;
    for piece in pieces(text) {
        let closing = matches!(piece, Piece::Other('}' | ']'));
        if closing {
            level -= INDENT;
        }
        // An empty object or array stays closed up.
        if (opened && !closing) || (closing && !opened) {
            new_line(&mut out, level);
        }
        opened = false;
        match piece {
            Piece::String(string) => out.push_str(string),
            Piece::Other(open @ ('{' | '[')) => {
                out.push(open);
                level += INDENT;
                opened = true;
            }
            Piece::Other(',') => {
                out.push(',');
                new_line(&mut out, level);
            }
            Piece::Other(':') => out.push_str(": "),
            Piece::Other(other) => out.push(other),
        }
    }
    out
}

fn new_line(out: &mut String, level: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n(' ', level));
}

fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0_usize, 0);
    for piece in pieces(text) {
        match piece {
            Piece::Other('{' | '[') => depth += 1,
            Piece::Other('}' | ']') => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn the_form_is_the_usual_one() {
        let values = [
            json!({"a": {"b": [1, -2.5e3, null, true]}, "c": {}, "d": [], "e": [[]]}),
            json!("quo\"te, {brace}: \\"),
            json!(12),
            json!([{"key:": "\u{e9}, \n"}]),
        ];
        for value in values {
            assert_eq!(
                pretty(&value.to_string()),
                serde_json::to_string_pretty(&value).unwrap()
            );
        }
    }

    #[test]
    fn an_answer_too_deep_to_indent_stays_as_it_is() {
        let deep = format!("{}1{}", "{\"a\":".repeat(20_000), "}".repeat(20_000));
        assert_eq!(pretty(&deep), deep);
        let flat = format!("{}{}", "[".repeat(64), "]".repeat(64));
        let parsed: Value = serde_json::from_str(&pretty(&flat)).unwrap();
        assert_eq!(parsed.to_string(), flat);
    }
}
