//! Work that made what was there already: steps that ran under another key and whose outputs are
//! the same.
//!
//! There are three proofs ([`Proof`]), the strongest first:
//! 1. *Layers*: a cache export or an image shows layers of equal diff ids for the outputs. Diff ids
//!    cover times of files, so that a step which writes a file anew hardly ever has this proof.
//! 2. *Content*: everything that takes a part of the step's output is keyed by the content of that
//!    part (a copy, a read-only mount), and the content is recorded and equal in both builds.
//! 3. *Found*: everything that takes a part of it is keyed by content, and the daemon found it in its
//!    cache although the step is keyed anew. Only equal content can have led there, be it that of
//!    the earlier build or of an older one.
//!
//! Where there is no proof, of sameness or of difference, nothing is claimed: those steps are
//! counted as unknown. Steps that cannot be other than new (they were added, or are told to run
//! always) are not counted.

use std::collections::BTreeSet;

use serde::Serialize;

use super::causes::Key;
use super::graph::{Graph, Link};
use super::{Cause, Compared, Error, Reason, StepName, name};
use crate::ledger::{Outcome, Reader};

/// How it is known that a step made what was there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Proof {
    /// Its layers are the same.
    Layers,
    /// The content that other steps take of it is the same.
    Content,
    /// The steps that take content of it were found in the cache.
    Found,
}

/// A step that made again what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WastedStep {
    /// The build in which it ran.
    pub build: String,
    /// The build that it was compared with.
    pub before: String,
    /// The step.
    pub step: StepName,
    /// How it is known.
    pub proof: Proof,
    /// How long it ran.
    pub lost_ms: u64,
    /// Why it ran.
    pub causes: Vec<Cause>,
}

/// What ran for nothing in some builds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Waste {
    /// The steps, the most expensive first.
    pub steps: Vec<WastedStep>,
    /// Milliseconds of all of them. Steps that ran at the same time count each.
    pub lost_ms: u64,
    /// Steps that ran again and made something else.
    pub useful: usize,
    /// Steps that ran again and of which neither is known.
    pub unknown: usize,
}

/// See [`super::waste`].
pub(super) fn waste(ledger: &Reader, builds: &[String]) -> Result<Waste, Error> {
    let mut waste = Waste::default();
    for pair in builds.windows(2) {
        let before = Graph::read(ledger, ledger.find(&pair[0])?)?;
        let after = Graph::read(ledger, ledger.find(&pair[1])?)?;
        let compared = Compared::new(ledger, before, std::sync::Arc::new(after))?;
        let users = users(&compared.after);
        for place in 0..users.len() {
            step(&compared, place, &users, &mut waste);
        }
    }
    waste
        .steps
        .sort_by_key(|step| std::cmp::Reverse(step.lost_ms));
    waste.lost_ms = waste.steps.iter().map(|step| step.lost_ms).sum();
    Ok(waste)
}

/// By step: the steps that use it, each with the number of the input that it is.
type Users = Vec<Vec<(usize, usize)>>;

fn users(graph: &Graph) -> Users {
    let mut users = vec![Vec::new(); graph.steps.len()];
    for (user, step) in graph.steps.iter().enumerate() {
        for (input, link) in step.inputs.iter().enumerate() {
            if let Some(below) = link.step {
                users[below].push((user, input));
            }
        }
    }
    users
}

fn step(compared: &Compared, place: usize, users: &Users, waste: &mut Waste) {
    let (difference, step) = (&compared.causes.steps[place], &compared.after.steps[place]);
    let Some(pair) = compared.pairs.before[place] else {
        return;
    };
    if difference.key != Key::Other || step.outcome != Outcome::Executed {
        return;
    }
    let layers = same_layers(&compared.before.steps[pair].layers, &step.layers);
    let found = match layers {
        Some(true) => Finding::Same(Proof::Layers),
        Some(false) | None => taken(compared, place, users),
    };
    let proof = match (found, layers) {
        (Finding::Same(proof), _) => proof,
        (Finding::Other, _) | (Finding::Unknown, Some(false)) => {
            waste.useful += 1;
            return;
        }
        (Finding::Unknown, _) => {
            waste.unknown += 1;
            return;
        }
    };
    let lost_ms = match step.times {
        (Some(begin), Some(end)) => end.saturating_sub(begin),
        _ => 0,
    };
    waste.steps.push(WastedStep {
        build: compared.after.build.id.clone(),
        before: compared.before.build.id.clone(),
        step: name(step),
        proof,
        lost_ms,
        causes: compared
            .all(place)
            .into_iter()
            .map(|number| compared.cause(number))
            .collect(),
    });
}

/// Whether the layers of a step's outputs are the same; none if some are not known.
fn same_layers(old: &BTreeSet<(u64, String)>, new: &BTreeSet<(u64, String)>) -> Option<bool> {
    let outputs = |layers: &BTreeSet<(u64, String)>| -> BTreeSet<u64> {
        layers.iter().map(|(output, _)| *output).collect()
    };
    let known = !old.is_empty() && outputs(old) == outputs(new);
    known.then(|| old == new)
}

/// What is known of a step's output, or of a part of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    Same(Proof),
    Other,
    Unknown,
}

/// What the steps that take parts of a step's output say of all of it.
fn taken(compared: &Compared, place: usize, users: &Users) -> Finding {
    let mut weakest = None;
    let mut unknown = false;
    for &user in &users[place] {
        match part(compared, users, place, user) {
            Finding::Same(proof) => weakest = weakest.max(Some(proof)),
            Finding::Other => return Finding::Other,
            Finding::Unknown => unknown = true,
        }
    }
    match weakest {
        Some(proof) if !unknown => Finding::Same(proof),
        _ => Finding::Unknown,
    }
}

/// What one of them says of the part that it takes as an input.
fn part(
    compared: &Compared,
    users: &Users,
    place: usize,
    (user, input): (usize, usize),
) -> Finding {
    let step = &compared.after.steps[user];
    let link = &step.inputs[input];
    let Some(pair) = compared.pairs.before[user].filter(|_| link.content.is_some()) else {
        return Finding::Unknown;
    };
    let before = compared.pairs.before[place];
    let same_part = |other: &&Link| {
        other.step == before && other.output == link.output && other.content == link.content
    };
    let mut others = compared.before.steps[pair].inputs.iter();
    let Some(other) = others.find(same_part) else {
        return Finding::Unknown;
    };
    if !link.contents.is_empty() && !other.contents.is_empty() {
        return if link.contents.is_disjoint(&other.contents) {
            Finding::Other
        } else {
            Finding::Same(Proof::Content)
        };
    }
    let found = &compared.causes.steps[user];
    if found.key == Key::Perhaps {
        return if was_found(compared, users, user) {
            Finding::Same(Proof::Found)
        } else {
            Finding::Unknown
        };
    }
    // If it ran, and this part is all that can have made its key another one, the part differs.
    let below = step.inputs.iter().filter_map(|link| link.step);
    let differing = below.filter(|&below| compared.causes.steps[below].key != Key::Same);
    let reasons = found.all.iter();
    let unknown = reasons
        .map(|&number| &compared.causes.list[number as usize].reason)
        .any(Reason::is_unknown);
    if step.outcome.has_run() && found.own.is_empty() && differing.count() == 1 && !unknown {
        Finding::Other
    } else {
        Finding::Unknown
    }
}

/// Whether a step whose key may be the same was found in the cache, by itself or for the sake of a
/// step above it that was.
fn was_found(compared: &Compared, users: &Users, step: usize) -> bool {
    let mut seen = BTreeSet::new();
    let mut stack = vec![step];
    while let Some(step) = stack.pop() {
        if compared.after.steps[step].outcome == Outcome::Cached {
            return true;
        }
        let above = users[step].iter().map(|(user, _)| *user);
        let undecided = above.filter(|&user| compared.causes.steps[user].key == Key::Perhaps);
        stack.extend(undecided.filter(|&user| seen.insert(user)));
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(list: &[(u64, &str)]) -> BTreeSet<(u64, String)> {
        let owned = list.iter().map(|(output, id)| (*output, (*id).to_owned()));
        owned.collect()
    }

    #[test]
    fn layers_say_something_only_if_both_builds_show_the_same_outputs() {
        let one = layers(&[(0, "a")]);
        assert_eq!(same_layers(&one, &layers(&[(0, "a")])), Some(true));
        assert_eq!(same_layers(&one, &layers(&[(0, "b")])), Some(false));
        assert_eq!(same_layers(&one, &layers(&[(0, "a"), (1, "a")])), None);
        assert_eq!(same_layers(&layers(&[]), &layers(&[])), None);
    }

    #[test]
    fn of_several_proofs_the_weakest_counts() {
        assert!(Proof::Found > Proof::Content && Proof::Content > Proof::Layers);
    }
}
