//! Include and exclude lists with the semantics of `moby/patternmatcher` 0.6, which
//! `.dockerignore`, BuildKit's local source, file copies and content hashes all share.
//!
//! # Rules
//! A list is ordered; a later pattern overrides an earlier one, `!pattern` takes matches back.
//! Each pattern is trimmed, dropped when blank, and cleaned as a path (`a//b/../c/` is `a/c`).
//! `*` is any run without `/`, `?` one character but `/`, `[a-z]` a class, `\x` the character x,
//! `**` any number of directories. A match of a directory is a match of everything below it.
//!
//! # How a pattern is compiled
//! Most patterns need no regular expression: a text without wildcards is compared, `dir/**` is a
//! prefix, `**/name` a suffix. Everything else becomes an anchored regular expression
//! (`patterns/translate.rs`) that keeps the quirks of the original, since a pattern that
//! matches differently here than in the daemon would upload, or hash, different files.
//!
//! # Walks
//! Asking about every path of a tree re-tests all parents of each path. A walk passes the
//! parent's [`MatchInfo`] instead ([`PatternMatcher::matches_below`]); then each path costs one
//! test per pattern. The answers are those of the daemon's walk, which are not always those of
//! [`PatternMatcher::matches`]: skipped tests are recorded as "no match" for the children.

mod glob;
mod translate;

use std::path::Component;
use std::path::Path;

use regex::Regex;
use thiserror::Error;

pub use glob::{Glob, GlobError};

/// Most patterns one list may have.
pub const PATTERNS_MAX: usize = 10_000;

/// Longest single pattern, in bytes.
pub const PATTERN_LEN_MAX: usize = 16 * 1024;

/// Most memory the regular expression of one pattern may take, in bytes.
const REGEX_SIZE_MAX: usize = 4 * 1024 * 1024;

/// Why a pattern list was refused.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum PatternError {
    /// A lone `!` excludes nothing.
    #[error("illegal exclusion pattern `!`: an exclusion needs a pattern after the `!`")]
    EmptyExclusion,
    /// Unclosed class, dangling backslash, unknown escape ...
    #[error("bad pattern `{pattern}`: {reason}")]
    Syntax {
        /// The pattern as written.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// More than [`PATTERNS_MAX`] patterns.
    #[error("{0} patterns given, at most {PATTERNS_MAX} are allowed")]
    TooMany(usize),
}

/// An ordered list of compiled patterns.
#[derive(Debug, Clone, Default)]
pub struct PatternMatcher {
    patterns: Vec<Pattern>,
    has_exclusions: bool,
}

/// One compiled pattern of a list.
#[derive(Debug, Clone)]
pub struct Pattern {
    /// Cleaned, without the `!`.
    text: String,
    exclusion: bool,
    test: Test,
}

#[derive(Debug, Clone)]
enum Test {
    /// The whole path equals the text.
    Exact,
    /// The path starts with the text up to its trailing `**`.
    Prefix,
    /// The path ends with the text after its leading `**`.
    Suffix,
    Regex(Regex),
}

/// Which patterns of a list matched a directory; valid only for the list that made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchInfo(Vec<bool>);

impl PatternMatcher {
    /// Compiles a list.
    ///
    /// # Errors
    /// [`PatternError`] naming the offending pattern.
    pub fn new<S: AsRef<str>>(patterns: impl IntoIterator<Item = S>) -> Result<Self, PatternError> {
        let mut list = Self::default();
        for pattern in patterns {
            if let Some(pattern) = Pattern::new(pattern.as_ref())? {
                list.has_exclusions |= pattern.exclusion;
                list.patterns.push(pattern);
            }
            if list.patterns.len() > PATTERNS_MAX {
                return Err(PatternError::TooMany(list.patterns.len()));
            }
        }
        Ok(list)
    }

    /// True when no pattern is left after blanks were dropped; such a list matches nothing.
    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// True when some pattern starts with `!`, so that a child of a matched directory may not match.
    pub fn has_exclusions(&self) -> bool {
        self.has_exclusions
    }

    /// The compiled patterns in order.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }

    /// Does the path, or a directory above it, match? `path` is relative and uses `/`.
    pub fn matches(&self, path: &str) -> bool {
        self.matches_below(path, None).0
    }

    /// Does the path itself match, whatever its parents do?
    pub fn matches_exact(&self, path: &str) -> bool {
        let mut matched = false;
        for pattern in &self.patterns {
            if pattern.exclusion == matched && pattern.is_match(path) {
                matched = !pattern.exclusion;
            }
        }
        matched
    }

    /// The walk's question: `parent` is what this function returned for the directory that
    /// holds `path`, `None` when nothing is known (then the parents are tested here).
    ///
    /// Returns whether the path matches, and what to pass on for its children.
    pub fn matches_below(&self, path: &str, parent: Option<&MatchInfo>) -> (bool, MatchInfo) {
        let known = parent.filter(|info| info.0.len() == self.patterns.len());
        let mut info = vec![false; self.patterns.len()];
        let mut matched = false;
        for (index, pattern) in self.patterns.iter().enumerate() {
            let mut hit = known.is_some_and(|info| info.0[index]);
            if !hit {
                // The result of this pattern could not change `matched`.
                if pattern.exclusion != matched {
                    continue;
                }
                hit = pattern.is_match(path)
                    || (known.is_none() && parents(path).any(|dir| pattern.is_match(dir)));
            }
            info[index] = hit;
            if hit {
                matched = !pattern.exclusion;
            }
        }
        (matched, MatchInfo(info))
    }
}

/// Every directory above a path, top first: `a/b/c` gives `a`, `a/b`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(end, _)| &path[..end])
}

impl Pattern {
    /// `None` for a blank line.
    fn new(written: &str) -> Result<Option<Self>, PatternError> {
        let trimmed = written.trim();
        if trimmed.is_empty() {
            return Ok(None);
        }
        let syntax = |reason: String| PatternError::Syntax {
            pattern: written.chars().take(200).collect(),
            reason,
        };
        if trimmed.len() > PATTERN_LEN_MAX {
            return Err(syntax(format!("longer than {PATTERN_LEN_MAX} bytes")));
        }
        let cleaned = clean(trimmed);
        let (exclusion, text) = match cleaned.strip_prefix('!') {
            Some("") => return Err(PatternError::EmptyExclusion),
            Some(rest) => (true, rest.to_owned()),
            None => (false, cleaned),
        };
        Glob::new(&text).map_err(|e| syntax(e.to_string()))?;
        let test = match translate::classify(&text).map_err(&syntax)? {
            translate::Kind::Exact => Test::Exact,
            translate::Kind::Prefix => Test::Prefix,
            translate::Kind::Suffix => Test::Suffix,
            translate::Kind::Regex(expression) => Test::Regex(
                regex::RegexBuilder::new(&expression)
                    .size_limit(REGEX_SIZE_MAX)
                    .build()
                    .map_err(|e| syntax(e.to_string()))?,
            ),
        };
        Ok(Some(Self {
            text,
            exclusion,
            test,
        }))
    }

    /// The cleaned text, without the `!`.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// True for `!pattern`.
    pub fn exclusion(&self) -> bool {
        self.exclusion
    }

    /// Does this one pattern match exactly this path?
    pub fn is_match(&self, path: &str) -> bool {
        match &self.test {
            Test::Exact => path == self.text,
            Test::Prefix => path.starts_with(&self.text[..self.text.len() - 2]),
            Test::Suffix => {
                let suffix = &self.text[2..];
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Test::Regex(regex) => regex.is_match(path),
        }
    }
}

/// Lexical path cleaning as Go's `path.Clean`: no `.`, no `//`, `..` resolved, never empty.
pub fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for component in path.split('/') {
        match component {
            "" | "." => {}
            ".." => match parts.last() {
                Some(&last) if last != ".." => {
                    parts.pop();
                }
                _ if rooted => {}
                _ => parts.push(".."),
            },
            name => parts.push(name),
        }
    }
    match (rooted, parts.is_empty()) {
        (true, _) => format!("/{}", parts.join("/")),
        (false, true) => ".".to_owned(),
        (false, false) => parts.join("/"),
    }
}

/// A relative path of a walk as the `/`-separated text that patterns are asked about.
/// Bytes that are not UTF-8 become U+FFFD, as Go's regular expressions see them.
pub fn slash_path(path: &Path) -> String {
    let mut text = String::new();
    for component in path.components() {
        if let Component::Normal(name) = component {
            if !text.is_empty() {
                text.push('/');
            }
            text.push_str(&name.to_string_lossy());
        }
    }
    text
}

#[cfg(test)]
mod tests;
