//! Wildcards, include and exclude patterns: which entries a selection lists, and their digest.
//!
//! # Listing
//! The entries are visited in record order, below a start that has no wildcard: for
//! `/a/b*/c` that is `/a`, with links resolved. Reported paths keep the asked-for spelling, so
//! patterns see `/a/...` even when `/a` is a link. Every directory is visited twice, once for its
//! content record, once for its header record:
//! * a content record is never listed (some of its content may be excluded), but it is matched;
//! * a header record goes on a stack, listed or not, with the match state of the patterns, so that
//!   its children need one test per pattern; when something below it is listed, all headers on
//!   the stack are listed first.
//!
//! With a wildcard an entry must match the whole pattern, or lie below one that does; patterns are
//! then asked about the path relative to that match.
//!
//! # Digest
//! Nothing listed: sha256 of the empty text. One entry with the same base name as the asked-for
//! path: that entry's digest. Otherwise sha256 over the list; see [`Rules`](super::Rules).

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use super::records::{Node, is_below};
use super::sum::Summer;
use super::{ChecksumError, Checksums, key_path};
use crate::digest::Digest;
use crate::patterns::{Glob, MatchInfo, PatternMatcher};

/// A selector of an op that reads part of a tree.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selection {
    /// The path may contain `*`, `?`, `[`.
    pub wildcard: bool,
    /// Links that are matched themselves are followed.
    pub follow_links: bool,
    /// Only what matches, when not empty.
    pub include: Vec<String>,
    /// Not what matches.
    pub exclude: Vec<String>,
    /// Each must be the beginning of a selected path, as it is spelled in the list; only asked of a
    /// selection that is not plain, and only by releases that know it ([`Rules::required_paths`](super::Rules)).
    pub required: Vec<String>,
}

impl Selection {
    /// True when the selection is just the path, which [`Checksums::plain`] answers.
    pub fn is_plain(&self) -> bool {
        !self.wildcard && self.include.is_empty() && self.exclude.is_empty()
    }
}

/// An entry that is listed.
pub(super) struct Listed {
    /// Path in the asked-for spelling, without trailing slash.
    pub(super) path: Vec<u8>,
    record: usize,
    /// The header record of a directory is meant.
    header: bool,
    follow: bool,
}

/// A directory header above the entry being visited.
struct Enclosing {
    path: Vec<u8>,
    record: usize,
    listed: bool,
    follow: bool,
    state: MatchState,
}

/// How far the patterns have matched on the way down.
#[derive(Clone, Default)]
struct MatchState {
    include: Option<MatchInfo>,
    exclude: Option<MatchInfo>,
}

/// The lists of a selection, compiled.
struct Filter {
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
}

impl Filter {
    fn new(selection: &Selection) -> Result<Self, ChecksumError> {
        let compile = |patterns: &[String]| match patterns {
            [] => Ok(None),
            patterns => PatternMatcher::new(patterns).map(Some),
        };
        Ok(Self {
            include: compile(&selection.include)?,
            exclude: compile(&selection.exclude)?,
        })
    }

    /// Is the entry selected, and what do its children need to know?
    fn test(&self, candidate: &str, parent: Option<&MatchState>) -> (bool, MatchState) {
        let mut state = MatchState::default();
        if let Some(include) = &self.include {
            let known = parent.and_then(|p| p.include.as_ref());
            let (matched, info) = include.matches_below(candidate, known);
            state.include = Some(info);
            if !matched {
                return (false, state);
            }
        }
        if let Some(exclude) = &self.exclude {
            let known = parent.and_then(|p| p.exclude.as_ref());
            let (matched, info) = exclude.matches_below(candidate, known);
            state.exclude = Some(info);
            if matched {
                return (false, state);
            }
        }
        (true, state)
    }
}

impl Checksums<'_> {
    /// The digest of what a selector selects; a plain one is answered by [`Checksums::plain`].
    ///
    /// # Errors
    /// [`ChecksumError`]; a path that selects nothing is no error when the selection is not plain.
    pub fn filtered(&self, path: &str, selection: &Selection) -> Result<Digest, ChecksumError> {
        if selection.is_plain() {
            return self.plain(path, selection.follow_links);
        }
        let (prefix, listed) = self.list(path, selection)?;
        let missing = selection.required.iter().find(|required| {
            let found = |item: &Listed| item.path.starts_with(required.as_bytes());
            !listed.iter().any(found)
        });
        if let Some(missing) = missing.filter(|_| self.profile.rules.required_paths) {
            return Err(ChecksumError::NotFound(missing.clone()));
        }
        self.digest_list(path, &prefix, &listed)
    }

    /// Lists what is selected, with the prefix that list digests leave out.
    pub(super) fn list(
        &self,
        path: &str,
        selection: &Selection,
    ) -> Result<(Vec<u8>, Vec<Listed>), ChecksumError> {
        let asked = key_path(path);
        let (prefix, start) = if selection.wildcard {
            let (literal, has_rest) = literal_prefix(&asked);
            let start = self.resolve(literal.as_bytes(), has_rest)?;
            (literal, start)
        } else {
            (asked.clone(), self.resolve(asked.as_bytes(), false)?)
        };
        let Some(start) = start else {
            return Ok((prefix.into_bytes(), Vec::new()));
        };
        let glob = Glob::new(&asked).map_err(|reason| ChecksumError::Wildcard {
            path: path.to_owned(),
            reason: reason.to_string(),
        });
        let mut visit = Visit {
            filter: Filter::new(selection)?,
            glob: match selection.wildcard && !asked.is_empty() {
                true => Some(glob?),
                false => None,
            },
            skip_header: path.ends_with('/').then(|| asked.clone()),
            base: if selection.wildcard {
                String::new()
            } else {
                asked
            },
            follow: selection.follow_links,
            follow_nested: self.profile.rules.follow_nested,
            enclosing: Vec::new(),
            listed: Vec::new(),
        };
        let resolved = self.records[start].path.len();
        for at in start..self.records[start].end {
            let record = &self.records[at];
            let name = [prefix.as_bytes(), &record.path[resolved..]].concat();
            if record.is_dir() {
                visit.entry(&name, at, Shape::Content);
                visit.entry(&name, at, Shape::Header);
            } else {
                visit.entry(&name, at, Shape::Leaf);
            }
        }
        Ok((prefix.into_bytes(), visit.listed))
    }

    fn digest_list(
        &self,
        path: &str,
        prefix: &[u8],
        listed: &[Listed],
    ) -> Result<Digest, ChecksumError> {
        let leaves = listed.iter().filter(|item| !item.header);
        self.read_all(leaves.map(|item| item.record))?;
        let mut digests = Vec::with_capacity(listed.len());
        for item in listed {
            let link = matches!(self.records[item.record].node, Node::Link { .. });
            digests.push(if item.follow && link {
                let at = self.resolve(&item.path, true)?.ok_or_else(|| {
                    ChecksumError::NotFound(String::from_utf8_lossy(&item.path).into_owned())
                })?;
                self.digest_of(at)?
            } else if item.header {
                *self.header_of(item.record)
            } else {
                *self.known(item.record)
            });
        }
        if let ([only], [digest]) = (listed, digests.as_slice())
            && base_name(path.as_bytes()) == base_name(&only.path)
        {
            return Ok((*digest).into());
        }
        let mut summer = Summer::default();
        for (position, (item, digest)) in listed.iter().zip(&digests).enumerate() {
            if self.profile.rules.relative_list {
                let relative = item.path.strip_prefix(prefix).unwrap_or(&item.path);
                if relative.is_empty() {
                    summer.update(b"\0");
                }
                let key: Vec<u8> = relative
                    .iter()
                    .map(|b| if *b == b'/' { 0 } else { *b })
                    .collect();
                summer.update(&key);
            } else {
                if position > 0 {
                    summer.update(b"\0");
                }
                summer.update(base_name(&item.path));
            }
            summer.update_digest(digest);
        }
        Ok(summer.finish().into())
    }
}

/// Which record of an entry is visited.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Shape {
    Content,
    Header,
    Leaf,
}

/// The state of a listing.
struct Visit {
    filter: Filter,
    /// What an entry must match, or lie below a match of.
    glob: Option<Glob>,
    /// The asked-for path when it ends with a slash: its own header is left out.
    skip_header: Option<String>,
    /// Patterns are asked about paths below this; with a wildcard, the last match.
    base: String,
    follow: bool,
    follow_nested: bool,
    enclosing: Vec<Enclosing>,
    listed: Vec<Listed>,
}

impl Visit {
    fn entry(&mut self, name: &[u8], record: usize, shape: Shape) {
        while self
            .enclosing
            .last()
            .is_some_and(|top| !is_below(name, &top.path))
        {
            self.enclosing.pop();
        }
        let text = String::from_utf8_lossy(name);
        if shape == Shape::Header && self.skip_header.as_deref() == Some(&*text) {
            return;
        }
        if let Some(glob) = &self.glob
            && (self.base.is_empty() || !is_below(text.as_bytes(), self.base.as_bytes()))
        {
            if !glob.is_match(&text) {
                return;
            }
            self.base = text.clone().into_owned();
        }
        let parent = self.enclosing.last();
        let follow = self.follow && (parent.is_none() || self.follow_nested);
        let candidate = relative(&text, &self.base);
        let (selected, state) = self.filter.test(candidate, parent.map(|p| &p.state));
        if selected && shape != Shape::Content {
            for dir in self.enclosing.iter_mut().filter(|dir| !dir.listed) {
                dir.listed = true;
                self.listed.push(Listed {
                    path: dir.path.clone(),
                    record: dir.record,
                    header: true,
                    follow: dir.follow,
                });
            }
            self.listed.push(Listed {
                path: name.to_vec(),
                record,
                header: shape == Shape::Header,
                follow,
            });
        }
        if shape == Shape::Header {
            self.enclosing.push(Enclosing {
                path: name.to_vec(),
                record,
                listed: selected,
                follow,
                state,
            });
        }
    }
}

/// `path` seen from `base`: empty when equal, unchanged when it is not below.
fn relative<'a>(path: &'a str, base: &str) -> &'a str {
    match path.strip_prefix(base) {
        Some("") => "",
        Some(rest) => rest.strip_prefix('/').unwrap_or(path),
        None => path,
    }
}

/// The components before the first with a wildcard, and whether any follow.
fn literal_prefix(path: &str) -> (String, bool) {
    let mut end = 0;
    for part in path.split('/').skip(1) {
        if has_wildcard(part) {
            return (path[..end].to_owned(), true);
        }
        end += 1 + part.len();
    }
    (path[..end].to_owned(), false)
}

fn has_wildcard(part: &str) -> bool {
    let mut chars = part.chars();
    while let Some(c) = chars.next() {
        match c {
            '*' | '?' | '[' => return true,
            '\\' => {
                chars.next();
            }
            _ => {}
        }
    }
    false
}

/// Last component; `/` for the root.
fn base_name(path: &[u8]) -> &[u8] {
    let path = Path::new(std::ffi::OsStr::from_bytes(path));
    match path.file_name() {
        Some(name) => name.as_bytes(),
        None if path.as_os_str().is_empty() => b".",
        None => b"/",
    }
}
