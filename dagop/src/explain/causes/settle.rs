//! From what is known of a step's operation and inputs to whether its key differs, and why.
//!
//! An input whose content is a key may be the same although what makes it is not. Where its content
//! is not recorded, only what became of the step tells:
//! - It ran. Then the daemon found no record, so that the content does differ; of several such
//!   inputs at least one. Unless records were lost between the builds: then it is not known.
//! - It was in the cache, or was not needed. Then its key *may* be the same. It is not said to
//!   differ, and what differs below is only a *possible* cause.

use std::collections::BTreeSet;

use super::super::reason::Reason;
use super::{At, Difference, Finder, Key, difference};

/// What an input contributes to the difference of a step.
#[derive(Debug, Default)]
pub(super) struct Edge {
    /// Whether its key differs.
    pub(super) key: Key,
    /// The causes.
    pub(super) causes: Vec<u32>,
    /// What is a cause only if content differs that is not known.
    pub(super) possible: Vec<u32>,
    /// There are more.
    pub(super) more: bool,
    /// Causes of the step itself: an input that is another one.
    pub(super) own: Vec<u32>,
    /// What is not known, if that decides whether the key differs.
    pub(super) missing: Option<String>,
}

impl Edge {
    /// An input that is the result of a step.
    pub(super) fn of(below: &Difference) -> Self {
        Self {
            key: below.key,
            causes: below.all.to_vec(),
            possible: below.possible.to_vec(),
            more: below.more,
            ..Self::default()
        }
    }

    fn numbers(&self) -> BTreeSet<u32> {
        let all = self.own.iter().chain(&self.causes).chain(&self.possible);
        all.copied().collect()
    }
}

/// What is known of a step.
#[derive(Debug, Default)]
pub(super) struct Parts {
    /// Whether something but an input makes the key another one.
    pub(super) key: Key,
    /// Causes that are no matter of one input.
    pub(super) own: Vec<u32>,
    /// Inputs by number.
    pub(super) edges: Vec<(usize, Edge)>,
}

impl Parts {
    /// Whether there is a cause already.
    pub(super) fn explain(&self) -> bool {
        !self.own.is_empty()
            || self
                .edges
                .iter()
                .any(|(_, edge)| !edge.numbers().is_empty())
    }
}

impl Finder<'_> {
    /// See the module.
    pub(super) fn settle(&mut self, j: usize, parts: Parts) -> Difference {
        let Parts {
            mut key,
            mut own,
            edges,
        } = parts;
        let (mut below, mut possible, mut more) = (Vec::new(), BTreeSet::new(), false);
        let mut open = Vec::new();
        for (_, edge) in edges {
            key = key.max(edge.key);
            more |= edge.more;
            match edge.key {
                Key::Same => {}
                Key::Perhaps => open.push(edge),
                Key::Other => {
                    if edge.numbers().is_empty()
                        && let Some(missing) = edge.missing
                    {
                        own.push(self.cause(Reason::Unknown { missing }, At::After(j)));
                    }
                    own.extend(edge.own);
                    below.extend(edge.causes);
                    possible.extend(edge.possible);
                }
            }
        }
        let ran = self.after.steps[j].outcome.has_run();
        match key {
            Key::Same => return Difference::default(),
            Key::Perhaps if ran => {
                key = Key::Other;
                self.at_least_one(j, &open, (&mut own, &mut below, &mut possible));
            }
            _ => {
                for edge in &open {
                    let numbers = edge.numbers();
                    if let (true, true, Some(missing)) = (ran, numbers.is_empty(), &edge.missing) {
                        let missing = missing.clone();
                        own.push(self.cause(Reason::Unknown { missing }, At::After(j)));
                    }
                    possible.extend(numbers);
                }
            }
        }
        if key == Key::Other && own.is_empty() && below.is_empty() {
            let missing = format!(
                "which hidden or unrecorded part of `{}` differs",
                self.after.steps[j].name
            );
            own.push(self.cause(Reason::Unknown { missing }, At::After(j)));
        }
        let mut found = difference(own, below, more);
        let only = possible
            .into_iter()
            .filter(|number| !found.all.contains(number));
        found.possible = only.take(super::CAUSES_PER_STEP_MAX).collect();
        found.key = key;
        found
    }

    /// The causes of a step that ran although only content that is not known may differ.
    fn at_least_one(
        &mut self,
        j: usize,
        open: &[Edge],
        (own, below, possible): (&mut Vec<u32>, &mut Vec<u32>, &mut BTreeSet<u32>),
    ) {
        let sets: Vec<BTreeSet<u32>> = open.iter().map(Edge::numbers).collect();
        // What is a cause whichever of them differs.
        let mut certain = sets.first().cloned().unwrap_or_default();
        for set in &sets {
            certain.retain(|number| set.contains(number));
            possible.extend(set);
        }
        if certain.is_empty() || self.lost {
            let names = open.iter().filter_map(|edge| edge.missing.clone());
            let mut missing = names.collect::<Vec<_>>().join(" and ");
            if self.lost {
                missing.push_str(" (the daemon has lost records since the earlier build)");
            }
            own.push(self.cause(Reason::Unknown { missing }, At::After(j)));
            return;
        }
        let mine: BTreeSet<u32> = open.iter().flat_map(|edge| edge.own.clone()).collect();
        for number in certain {
            if mine.contains(&number) {
                own.push(number);
            }
            below.push(number);
        }
    }
}
