//! Turns a cleaned pattern into the cheapest equivalent test.
//!
//! The reference implementation writes a Go regular expression character by character and only
//! remembers which shortcut (exact, prefix, suffix) still holds. Two of its habits matter:
//! a `**` that is the first thing sets the suffix shortcut although more may follow (a later
//! wildcard cancels it), and `^` is not escaped, so it is an anchor once the pattern needs an
//! expression. The second half of this file rewrites Go's character classes, where `[`, `&&` and
//! `--` are plain characters, into the syntax of the `regex` crate, where they are not.

use std::fmt::Write as _;
use std::iter::Peekable;
use std::str::Chars;

/// How a pattern is tested.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Exact,
    Prefix,
    Suffix,
    /// An anchored expression in the syntax of the `regex` crate.
    Regex(String),
}

/// Shortcut that still holds while scanning.
#[derive(PartialEq, Eq)]
enum Shortcut {
    Exact,
    Prefix,
    Suffix,
    None,
}

/// Chooses the test for a pattern; the error is a reason without the pattern.
pub(super) fn classify(pattern: &str) -> Result<Kind, String> {
    let mut go = String::from("^");
    let mut shortcut = Shortcut::Exact;
    let mut rest = pattern.chars().peekable();
    let mut first = true;
    while let Some(c) = rest.next() {
        match c {
            '*' if rest.next_if_eq(&'*').is_some() => {
                rest.next_if_eq(&'/');
                if rest.peek().is_some() {
                    go.push_str("(.*/)?");
                    shortcut = Shortcut::None;
                } else if shortcut == Shortcut::Exact {
                    shortcut = Shortcut::Prefix;
                } else {
                    go.push_str(".*");
                    shortcut = Shortcut::None;
                }
                if first {
                    shortcut = Shortcut::Suffix;
                }
            }
            '*' => {
                go.push_str("[^/]*");
                shortcut = Shortcut::None;
            }
            '?' => {
                go.push_str("[^/]");
                shortcut = Shortcut::None;
            }
            '.' | '+' | '(' | ')' | '|' | '{' | '}' | '$' => {
                go.push('\\');
                go.push(c);
            }
            '\\' => {
                go.push('\\');
                if let Some(escaped) = rest.next() {
                    go.push(escaped);
                    shortcut = Shortcut::None;
                }
            }
            '[' | ']' => {
                go.push(c);
                shortcut = Shortcut::None;
            }
            c => go.push(c),
        }
        first = false;
    }
    Ok(match shortcut {
        Shortcut::Exact => Kind::Exact,
        Shortcut::Prefix => Kind::Prefix,
        Shortcut::Suffix => Kind::Suffix,
        Shortcut::None => Kind::Regex(from_go(&go)? + "$"),
    })
}

/// Go expression to `regex` expression: classes and escapes are rewritten, the rest is common.
fn from_go(go: &str) -> Result<String, String> {
    let mut out = String::with_capacity(go.len());
    let mut rest = go.chars().peekable();
    while let Some(c) = rest.next() {
        match c {
            '[' => class(&mut rest, &mut out)?,
            '\\' => {
                let escaped = rest.next().ok_or("a `\\` at the end escapes nothing")?;
                match escaped {
                    'A' | 'z' => {
                        out.push('\\');
                        out.push(escaped);
                    }
                    // Go's word boundary knows ASCII words only.
                    'b' | 'B' => write!(out, "(?-u:\\{escaped})").map_err(|e| e.to_string())?,
                    _ => match escape(escaped)? {
                        Escape::Char(c) => push_char(&mut out, c),
                        Escape::Set(set) => {
                            out.push('[');
                            out.push_str(set);
                            out.push(']');
                        }
                    },
                }
            }
            c => out.push(c),
        }
    }
    Ok(out)
}

enum Escape {
    Char(char),
    /// Body of a class.
    Set(&'static str),
}

/// What `\c` means in a Go expression, inside and outside a class.
fn escape(c: char) -> Result<Escape, String> {
    Ok(match c {
        'd' => Escape::Set("0-9"),
        'D' => Escape::Set("[^0-9]"),
        's' => Escape::Set("\\t\\n\\f\\r\\x20"),
        'S' => Escape::Set("[^\\t\\n\\f\\r\\x20]"),
        'w' => Escape::Set("0-9A-Za-z_"),
        'W' => Escape::Set("[^0-9A-Za-z_]"),
        'a' => Escape::Char('\u{7}'),
        'f' => Escape::Char('\u{c}'),
        'n' => Escape::Char('\n'),
        'r' => Escape::Char('\r'),
        't' => Escape::Char('\t'),
        'v' => Escape::Char('\u{b}'),
        c if c.is_ascii() && !c.is_ascii_alphanumeric() => Escape::Char(c),
        c => return Err(format!("unknown escape `\\{c}`")),
    })
}

/// A character that can have no special meaning.
fn push_char(out: &mut String, c: char) {
    if c.is_alphanumeric() || c == '/' || c == '_' {
        out.push(c);
    } else {
        // Writing to a String cannot fail.
        let _ = write!(out, "\\x{{{:x}}}", u32::from(c));
    }
}

/// Rewrites a class after its `[`; every character is emitted in a form without a meaning.
fn class(rest: &mut Peekable<Chars<'_>>, out: &mut String) -> Result<(), String> {
    out.push('[');
    if rest.next_if_eq(&'^').is_some() {
        out.push('^');
    }
    let mut first = true;
    loop {
        if !first && rest.next_if_eq(&']').is_some() {
            out.push(']');
            return Ok(());
        }
        first = false;
        if let Some(name) = posix_class(rest) {
            let _ = write!(out, "[:{name}:]");
            continue;
        }
        let low = match class_item(rest)? {
            Escape::Set(set) => {
                out.push_str(set);
                continue;
            }
            Escape::Char(c) => c,
        };
        push_char(out, low);
        let mut ahead = rest.clone();
        if ahead.next() == Some('-') && ahead.peek().is_some_and(|c| *c != ']') {
            rest.next();
            let Escape::Char(high) = class_item(rest)? else {
                return Err("a class range must end with a character".to_owned());
            };
            if high < low {
                return Err(format!("class range `{low}-{high}` runs backwards"));
            }
            out.push('-');
            push_char(out, high);
        }
    }
}

fn class_item(rest: &mut Peekable<Chars<'_>>) -> Result<Escape, String> {
    match rest.next() {
        None => Err("`[` without a closing `]`".to_owned()),
        Some('\\') => escape(rest.next().ok_or("a `\\` at the end escapes nothing")?),
        Some(c) => Ok(Escape::Char(c)),
    }
}

/// Consumes `[:name:]` when it stands here and is a class both dialects know.
fn posix_class(rest: &mut Peekable<Chars<'_>>) -> Option<String> {
    let mut ahead = rest.clone();
    if (ahead.next(), ahead.next()) != (Some('['), Some(':')) {
        return None;
    }
    let name: String = ahead.by_ref().take_while(|c| *c != ':').collect();
    if ahead.next() != Some(']') || !POSIX.contains(&name.trim_start_matches('^')) {
        return None;
    }
    *rest = ahead;
    Some(name)
}

/// POSIX class names, the same in both dialects.
const POSIX: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];
