//! Compares a predicted record graph with an exported one.
//!
//! A record is known by its digest and by what it is linked to: the *canonical* digest of a record
//! is the hash of its digest and, by input, of selectors and canonical digests of the linked
//! records. Two graphs are equal if the sets of canonical digests are.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use solver::{Digest, predict::Prediction};

/// A record, from either side: its digest, and by input selectors and positions of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) digest: String,
    pub(crate) inputs: Vec<Vec<(String, usize)>>,
}

/// The records of a cacheconfig document.
pub(crate) fn exported(config: &Value) -> Vec<Record> {
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    list(&config["records"])
        .iter()
        .map(|record| Record {
            digest: record["digest"].as_str().unwrap().to_owned(),
            inputs: list(&record["inputs"])
                .iter()
                .map(|links| {
                    list(links)
                        .iter()
                        .map(|link| {
                            let selector = link["selector"].as_str().unwrap_or_default();
                            let position = link["link"].as_u64().unwrap();
                            (selector.to_owned(), usize::try_from(position).unwrap())
                        })
                        .collect()
                })
                .collect(),
        })
        .collect()
}

/// The records of a prediction.
pub(crate) fn predicted(prediction: &Prediction) -> Vec<Record> {
    prediction
        .records
        .iter()
        .map(|record| Record {
            digest: record.digest.to_string(),
            inputs: record
                .inputs
                .iter()
                .map(|links| {
                    links
                        .iter()
                        .map(|link| {
                            let selector = link.selector.as_ref().map(Digest::to_string);
                            (selector.unwrap_or_default(), link.record)
                        })
                        .collect()
                })
                .collect(),
        })
        .collect()
}

/// The records without one that no other is linked to.
pub(crate) fn without(records: &[Record], gone: usize) -> Vec<Record> {
    let mut left = records.to_vec();
    left.remove(gone);
    for (_, to) in left.iter_mut().flat_map(|r| &mut r.inputs).flatten() {
        assert_ne!(*to, gone);
        *to -= usize::from(*to > gone);
    }
    left
}

/// Records in an order in which links lead back.
fn bottom_up(records: &[Record]) -> Vec<usize> {
    let mut order = Vec::new();
    let mut state = vec![0u8; records.len()];
    for start in 0..records.len() {
        let mut stack = vec![start];
        while let Some(&at) = stack.last() {
            let open = records[at].inputs.iter().flatten();
            let open: Vec<usize> = open
                .map(|link| link.1)
                .filter(|&to| state[to] == 0)
                .collect();
            if state[at] == 0 && !open.is_empty() {
                stack.extend(open);
                continue;
            }
            stack.pop();
            if state[at] == 0 {
                state[at] = 1;
                order.push(at);
            }
        }
    }
    order
}

/// Canonical digests by position.
fn canonical(records: &[Record]) -> Vec<Digest> {
    let mut known: BTreeMap<usize, Digest> = BTreeMap::new();
    for at in bottom_up(records) {
        let mut text = records[at].digest.clone();
        for links in &records[at].inputs {
            let links: BTreeSet<String> = links
                .iter()
                .map(|(selector, to)| format!("{selector}>{}", known[to]))
                .collect();
            text.push('|');
            text.extend(links);
        }
        known.insert(at, Digest::sha256(text.as_bytes()));
    }
    known.into_values().collect()
}

/// How two graphs differ; empty if they do not.
pub(crate) fn differences(predicted: &[Record], exported: &[Record]) -> Vec<String> {
    let ours = canonical(predicted);
    let theirs = canonical(exported);
    let only = |what: &str, these: &[Digest], those: &[Digest], records: &[Record]| {
        let those: BTreeSet<&Digest> = those.iter().collect();
        let mut found = Vec::new();
        for (at, digest) in these.iter().enumerate() {
            if !those.contains(digest) {
                found.push(format!("only {what}: {}", show(records, at)));
            }
        }
        found
    };
    let mut found = only("predicted", &ours, &theirs, predicted);
    found.extend(only("exported", &theirs, &ours, exported));
    found
}

fn show(records: &[Record], at: usize) -> String {
    let short = |text: &str| {
        text.trim_start_matches("sha256:")
            .chars()
            .take(8)
            .collect::<String>()
    };
    let inputs: Vec<String> = records[at]
        .inputs
        .iter()
        .map(|links| {
            let mut links: Vec<String> = links
                .iter()
                .map(|(selector, to)| {
                    format!("{}>{}", short(selector), short(&records[*to].digest))
                })
                .collect();
            links.sort();
            format!("[{}]", links.join(" "))
        })
        .collect();
    format!("{} {}", short(&records[at].digest), inputs.join(" "))
}

/// Whether the exported graph is one that the merging of vertices can leave of the predicted one:
/// every exported record is a predicted one with some of its links, at least one for each input.
pub(crate) fn is_part(
    exported: &[Record],
    predicted: &[Record],
    merged: &[bool],
) -> Option<String> {
    let mut chosen: BTreeMap<usize, BTreeSet<usize>> = BTreeMap::new();
    for at in bottom_up(exported) {
        let record = &exported[at];
        let fits = |candidate: usize| {
            let ours = &predicted[candidate];
            ours.digest == record.digest
                && ours.inputs.len() == record.inputs.len()
                && ours
                    .inputs
                    .iter()
                    .zip(&record.inputs)
                    .all(|(ours, theirs)| {
                        let known = theirs.iter().all(|(selector, to)| {
                            ours.iter().any(|(known, target)| {
                                known == selector && chosen[to].contains(target)
                            })
                        });
                        known && (merged[candidate] || ours.len() == theirs.len())
                    })
        };
        let candidates: BTreeSet<usize> = (0..predicted.len()).filter(|&c| fits(c)).collect();
        if candidates.is_empty() {
            return Some(format!("not predicted: {}", show(exported, at)));
        }
        chosen.insert(at, candidates);
    }
    let found: BTreeSet<usize> = chosen.into_values().flatten().collect();
    (0..predicted.len())
        .filter(|at| !found.contains(at) && !predicted[*at].inputs.is_empty())
        .map(|at| format!("not exported: {}", show(predicted, at)))
        .next()
}
