//! Which files of a local directory make a step run again.
//!
//! The listings of both builds tell what differs. Of that only those paths count that the step
//! selects: below the path it copies or mounts, and of a copy with patterns what they match. What
//! links lead to outside of the selected path is not followed here; if the content key says that
//! something differs and no selected path does, all that differs is named.

use std::collections::BTreeSet;

use serde_json::Value;
use snapshots::patterns::PatternMatcher;

use super::graph::{Graph, Step};
use super::reason::Reason;
use crate::ledger::{Change, Entry, Error, Reader};

/// Reasons given for one directory and one step; the others are counted.
pub(super) const FILES_MAX: usize = 20;

/// Bits of a mode that are permissions; the others are the type.
const PERMISSIONS: u32 = 0o7777;

/// What is known of how a local directory differs.
#[derive(Debug)]
pub(super) enum Differences {
    /// The differing entries; empty if the trees are equal.
    Known(Vec<Change>),
    /// A listing is missing: of the earlier or the later build.
    Missing(&'static str),
}

/// How a local directory differs between two builds, which have these ledgers.
pub(super) fn differences(ledgers: [&Reader; 2], a: &Step, b: &Step) -> Result<Differences, Error> {
    if !a.trees.is_empty() && a.trees == b.trees {
        return Ok(Differences::Known(Vec::new()));
    }
    let (Some(before), Some(after)) = (only(&a.trees), only(&b.trees)) else {
        let missing = if only(&a.trees).is_none() {
            "earlier"
        } else {
            "later"
        };
        return Ok(Differences::Missing(missing));
    };
    let [ledger, later] = ledgers;
    Ok(match ledger.tree_changes(before, (later, after))? {
        Some(changes) => Differences::Known(changes),
        None if ledger.listing(before)?.is_none() => Differences::Missing("earlier"),
        None => Differences::Missing("later"),
    })
}

/// The one tree that a source gave. Of several it is not known which step got which.
fn only(trees: &BTreeSet<String>) -> Option<&String> {
    let mut trees = trees.iter();
    trees.next().filter(|_| trees.next().is_none())
}

/// A part of a tree that a step takes.
struct Selected {
    path: String,
    wildcard: Option<PatternMatcher>,
    include: Option<PatternMatcher>,
    exclude: Option<PatternMatcher>,
}

/// The parts of an input that a step takes; everything where that cannot be told.
fn selection(step: &Step, input: usize) -> Vec<Selected> {
    let mut parts = Vec::new();
    let whole = |path: &str| Selected {
        path: relative(path),
        wildcard: None,
        include: None,
        exclude: None,
    };
    if let Some(actions) = step
        .body("file")
        .and_then(|file| file["actions"].as_array())
    {
        let uses = |action: &&Value| action["secondaryInput"].as_u64() == Some(input as u64);
        for action in actions.iter().filter(uses) {
            let copy = &action["copy"];
            let source = copy["src"].as_str().unwrap_or_default();
            let wildcard = copy["allowWildcard"] == true;
            parts.push(Selected {
                wildcard: if wildcard {
                    matcher(&[relative(source)])
                } else {
                    None
                },
                include: patterns(&copy["include_patterns"]),
                exclude: patterns(&copy["exclude_patterns"]),
                ..whole(if wildcard { "" } else { source })
            });
        }
        return parts;
    }
    let mounts = step.body("exec").and_then(|exec| exec["mounts"].as_array());
    for mount in mounts.into_iter().flatten() {
        if super::exec::input(mount) == Some(input) {
            parts.push(whole(mount["selector"].as_str().unwrap_or_default()));
        }
    }
    parts
}

fn relative(path: &str) -> String {
    path.trim_matches('/').trim_start_matches("./").to_owned()
}

fn patterns(value: &Value) -> Option<PatternMatcher> {
    let list = value.as_array().filter(|list| !list.is_empty())?;
    let list: Vec<String> = list.iter().map(super::change::text).collect();
    matcher(&list)
}

fn matcher(patterns: &[String]) -> Option<PatternMatcher> {
    PatternMatcher::new(patterns.iter().map(String::as_str)).ok()
}

impl Selected {
    fn takes(&self, path: &str) -> bool {
        let below = match (self.path.as_str(), path.strip_prefix(&self.path)) {
            ("" | ".", _) => path,
            (_, Some("")) => return true,
            (_, Some(rest)) if rest.starts_with('/') => &rest[1..],
            _ => return false,
        };
        let matches = |matcher: &PatternMatcher| matcher.matches(below);
        self.wildcard.as_ref().is_none_or(matches)
            && self.include.as_ref().is_none_or(matches)
            && !self.exclude.as_ref().is_some_and(matches)
    }
}

/// The reasons that differences of a local directory are to a step. `known_to_differ` says that the
/// content key of this very input differs.
pub(super) fn reasons(
    source: &str,
    changes: &[Change],
    (graph, step, input): (&Graph, usize, usize),
    known_to_differ: bool,
) -> Vec<Reason> {
    let parts = selection(&graph.steps[step], input);
    let path = |change: &Change| {
        let entry = change.1.as_ref().or(change.0.as_ref());
        entry.map(|entry| entry.path.clone()).unwrap_or_default()
    };
    let taken = |change: &&Change| {
        let path = path(change);
        parts.is_empty() || parts.iter().any(|part| part.takes(&path))
    };
    let selected: Vec<&Change> = changes.iter().filter(taken).collect();
    let selected = if selected.is_empty() && known_to_differ {
        changes.iter().collect()
    } else {
        selected
    };
    let mut reasons: Vec<Reason> = selected
        .iter()
        .flat_map(|change| of_file(source, change))
        .take(FILES_MAX + 1)
        .collect();
    if reasons.len() > FILES_MAX {
        let all = selected
            .iter()
            .flat_map(|change| of_file(source, change))
            .count();
        reasons.truncate(FILES_MAX);
        reasons.push(Reason::MoreFiles {
            source: source.to_owned(),
            count: (all - FILES_MAX) as u64,
        });
    }
    reasons
}

/// What differs of one path.
fn of_file(source: &str, (before, after): &Change) -> Vec<Reason> {
    let source = source.to_owned();
    let (a, b) = match (before, after) {
        (Some(a), Some(b)) => (a, b),
        (None, Some(entry)) => {
            let path = entry.path.clone();
            return vec![Reason::FileAdded { source, path }];
        }
        (Some(entry), None) => {
            let path = entry.path.clone();
            return vec![Reason::FileRemoved { source, path }];
        }
        (None, None) => return Vec::new(),
    };
    let mut reasons = Vec::new();
    let mut property = |property: &str, from: String, to: String| {
        if from != to {
            reasons.push(Reason::FileProperty {
                source: source.clone(),
                path: b.path.clone(),
                property: property.to_owned(),
                from,
                to,
            });
        }
    };
    let octal = |entry: &Entry| format!("{:04o}", entry.mode & PERMISSIONS);
    property("type", kind(a), kind(b));
    property("mode", octal(a), octal(b));
    property("uid", a.uid.to_string(), b.uid.to_string());
    property("gid", a.gid.to_string(), b.gid.to_string());
    property("link", a.link.clone(), b.link.clone());
    // The digest covers the header as well; only without another difference is it the bytes.
    if reasons.is_empty() || a.size != b.size {
        let from = a.digest.clone();
        let to = b.digest.clone();
        if from != to {
            let path = b.path.clone();
            reasons.push(Reason::FileContent {
                source,
                path,
                from,
                to,
            });
        }
    }
    reasons
}

/// The type that a mode says.
fn kind(entry: &Entry) -> String {
    let word = match entry.mode >> 12 {
        0o4 => "directory",
        0o10 => "file",
        0o12 => "link",
        0o1 => "fifo",
        0o2 => "character device",
        0o6 => "block device",
        0o14 => "socket",
        _ => "unknown",
    };
    word.to_owned()
}
