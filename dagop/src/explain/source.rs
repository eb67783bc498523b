//! Differences of two sources.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::change::{Change, text};
use super::reason::Reason;

/// Attributes that pin what a source is.
const CHECKSUM: &str = "http.checksum";

pub(super) fn changes(a: &Value, b: &Value, changes: &mut Vec<Change>) {
    let (from, to) = (text(&a["identifier"]), text(&b["identifier"]));
    if from != to {
        changes.push(Change::of(identifier(from, to.clone())));
    }
    let attributes = |source: &Value| -> BTreeMap<String, String> {
        let attrs = source["attrs"].as_object().into_iter().flatten();
        attrs
            .map(|(name, value)| (name.clone(), text(value)))
            .collect()
    };
    let (before, after) = (attributes(a), attributes(b));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (from, value) = (before.get(name).cloned(), after.get(name).cloned());
        if from == value || is_consequence(name, changes) {
            continue;
        }
        let reason = match (name.as_str(), &from, &value) {
            (CHECKSUM, Some(from), Some(value)) => Reason::Checksum {
                url: to.clone(),
                from: from.clone(),
                to: value.clone(),
            },
            _ => Reason::SourceOption {
                source: to.clone(),
                option: name.clone(),
                from,
                to: value,
            },
        };
        changes.push(Change::of(reason));
    }
}

/// Whether an attribute says again what the identifier says.
fn is_consequence(name: &str, changes: &[Change]) -> bool {
    let repeats = [
        "git.fullurl",
        "local.sharedkeyhint",
        "oci.store",
        CHECKSUM,
        "http.filename",
    ];
    let other = changes
        .iter()
        .any(|change| matches!(change.reason, Reason::Source { .. }));
    other && repeats.contains(&name)
}

/// The same name with another digest or commit, or another name.
fn identifier(from: String, to: String) -> Reason {
    if let (Some((name, old)), Some((other, new))) = (from.rsplit_once('@'), to.rsplit_once('@'))
        && name == other
        && new.contains(':')
    {
        return Reason::ImageMoved {
            image: bare(name).to_owned(),
            from: old.to_owned(),
            to: new.to_owned(),
        };
    }
    if let (Some((repository, old)), Some((other, new))) =
        (from.split_once('#'), to.split_once('#'))
        && repository == other
        && from.starts_with("git://")
    {
        return Reason::Commit {
            repository: bare(repository).to_owned(),
            from: old.to_owned(),
            to: new.to_owned(),
        };
    }
    Reason::Source { from, to }
}

/// A name without the scheme.
fn bare(identifier: &str) -> &str {
    identifier
        .split_once("://")
        .map_or(identifier, |(_, name)| name)
}
