//! One shell pattern with the rules of Go's `path.Match`: `*`, `?`, `[class]`, `\x`; no `**`.
//!
//! Used to check the syntax of every pattern, and to expand wildcards in copy sources and in
//! content hashes. Matching is linear in the name for each `*`: when a text after a star does not
//! fit, only the last star is stretched, exactly as in Go (which never revisits an earlier one).

use thiserror::Error;

/// What is wrong with a shell pattern.
#[derive(Debug, Error, Clone, Copy, PartialEq, Eq)]
pub enum GlobError {
    /// `[` without its `]`.
    #[error("`[` without a closing `]`")]
    OpenClass,
    /// `[]`, `[-a]`, `[a-]`.
    #[error("a class needs a character on both sides of `-` and before `]`")]
    EmptyRange,
    /// A backslash with nothing after it.
    #[error("a `\\` at the end escapes nothing")]
    DanglingEscape,
}

/// A parsed shell pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glob(Vec<Token>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Token {
    /// Any run of characters without `/`.
    Star,
    /// One character except `/`.
    Any,
    Literal(char),
    Class {
        negated: bool,
        ranges: Vec<(char, char)>,
    },
}

impl Glob {
    /// Parses a pattern.
    ///
    /// # Errors
    /// [`GlobError`] for the syntax errors that Go reports as a bad pattern.
    pub fn new(pattern: &str) -> Result<Self, GlobError> {
        let mut tokens = Vec::new();
        let mut rest = pattern.chars();
        while let Some(c) = rest.next() {
            tokens.push(match c {
                '*' if tokens.last() == Some(&Token::Star) => continue,
                '*' => Token::Star,
                '?' => Token::Any,
                '[' => class(&mut rest)?,
                '\\' => Token::Literal(rest.next().ok_or(GlobError::DanglingEscape)?),
                c => Token::Literal(c),
            });
        }
        Ok(Self(tokens))
    }

    /// Does the whole name match?
    pub fn is_match(&self, name: &str) -> bool {
        let name: Vec<char> = name.chars().collect();
        let (mut token, mut at) = (0, 0);
        // Where to go on after the last star, and how much the star has eaten.
        let mut star: Option<(usize, usize)> = None;
        loop {
            let fits = match (self.0.get(token), name.get(at)) {
                (None, None) => return true,
                (Some(Token::Star), _) => {
                    star = Some((token + 1, at));
                    token += 1;
                    continue;
                }
                (Some(one), Some(&c)) => one.accepts(c),
                (Some(_), None) | (None, Some(_)) => false,
            };
            if fits {
                token += 1;
                at += 1;
                continue;
            }
            match star {
                Some((after, eaten)) if name.get(eaten).is_some_and(|&c| c != '/') => {
                    star = Some((after, eaten + 1));
                    token = after;
                    at = eaten + 1;
                }
                _ => return false,
            }
        }
    }
}

impl Token {
    fn accepts(&self, c: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => c != '/',
            Self::Literal(literal) => *literal == c,
            Self::Class { negated, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&c)) != *negated
            }
        }
    }
}

/// Parses a class after its `[`.
fn class(rest: &mut std::str::Chars<'_>) -> Result<Token, GlobError> {
    let negated = rest.as_str().starts_with('^');
    if negated {
        rest.next();
    }
    let mut ranges = Vec::new();
    loop {
        if !ranges.is_empty() && rest.as_str().starts_with(']') {
            rest.next();
            return Ok(Token::Class { negated, ranges });
        }
        let low = class_char(rest)?;
        let mut high = low;
        if rest.as_str().starts_with('-') {
            rest.next();
            high = class_char(rest)?;
        }
        ranges.push((low, high));
    }
}

fn class_char(rest: &mut std::str::Chars<'_>) -> Result<char, GlobError> {
    let c = match rest.next().ok_or(GlobError::OpenClass)? {
        '-' | ']' => return Err(GlobError::EmptyRange),
        '\\' => rest.next().ok_or(GlobError::DanglingEscape)?,
        c => c,
    };
    if rest.as_str().is_empty() {
        return Err(GlobError::OpenClass);
    }
    Ok(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn golden_matches_of_path_match() {
        // (pattern, name, expected): the documented cases of Go's path.Match.
        let cases = [
            ("abc", "abc", true),
            ("*", "abc", true),
            ("*c", "abc", true),
            ("a*", "a", true),
            ("a*", "ab/c", false),
            ("a*/b", "abc/b", true),
            ("a*/b", "a/c/b", false),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/f", true),
            ("a*b*c*d*e*/f", "axbxcxdxexxx/fff", false),
            ("a*b?c*x", "abxbbxdbxebxczzx", true),
            ("a*b?c*x", "abxbbxdbxebxczzy", false),
            ("ab[c]", "abc", true),
            ("ab[b-d]", "abc", true),
            ("ab[^c]", "abc", false),
            ("ab[^e-g]", "abc", true),
            ("a\\*b", "a*b", true),
            ("a\\*b", "ab", false),
            ("a?b", "a\u{263a}b", true),
            ("a???b", "a\u{263a}b", false),
            ("a?b", "a/b", false),
            ("a*b", "a/b", false),
            ("[\\]a]", "]", true),
            ("[\\-x]", "x", true),
            ("[x\\-]", "-", true),
            ("*x", "xxx", true),
            ("", "", true),
            ("", "a", false),
            // A later star cannot cross `/`, and an earlier one is not revisited.
            ("*[/x]*b", "x/b", false),
        ];
        for (pattern, name, expected) in cases {
            let glob = Glob::new(pattern).unwrap();
            assert_eq!(glob.is_match(name), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn bad_syntax_is_an_error_wherever_it_stands() {
        let cases = [
            "[]a]", "[-]", "[x-]", "[-x]", "[a-b-c]", "[", "[^", "[^bc", "a[", "\\", "x*[", "[\\",
        ];
        for pattern in cases {
            assert!(Glob::new(pattern).is_err(), "{pattern} was accepted");
        }
    }

    #[test]
    fn stars_do_not_blow_up() {
        let glob = Glob::new(&"*a".repeat(200)).unwrap();
        assert!(!glob.is_match(&"a".repeat(4000).replace("aaaa", "aaab")));
        assert!(glob.is_match(&"a".repeat(4000)));
    }
}
