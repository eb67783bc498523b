//! The root causes of misses: what `dagop why` will say once the steps have run.
//!
//! The same cause makes many steps run, so it is kept once, and steps name it by its position.

use std::collections::{BTreeMap, HashMap};

use super::decide::{Decision, World};
use super::{Cause, Verdict};
use crate::explain::{self, Answer, Expected};
use crate::ledger::Reader;

/// Causes, and which of them each step has.
#[derive(Debug, Default)]
pub(super) struct Causes {
    pub(super) list: Vec<Cause>,
    /// Positions in the list, by position of the step.
    pub(super) steps: HashMap<usize, Vec<usize>>,
}

impl Causes {
    /// Explains the misses, from the ledger of earlier builds and that of the plan.
    pub(super) fn find(
        (ledger, plan): (&Reader, &Reader),
        world: &World<'_>,
        decisions: &BTreeMap<usize, Decision>,
    ) -> Result<Self, explain::Error> {
        let steps = &world.planned.steps;
        let missed = |(_, decision): &(&usize, &Decision)| decision.verdict == Verdict::Miss;
        let misses: Vec<(usize, Expected)> = decisions
            .iter()
            .filter(missed)
            .map(|(&position, decision)| {
                let build = |build: usize| world.earlier[build].build.id.clone();
                let expected = Expected {
                    canonical: steps[position].canonical.clone(),
                    same_key: decision.same_key.map(build),
                };
                (position, expected)
            })
            .collect();
        let mut causes = Self::default();
        if misses.is_empty() {
            return Ok(causes);
        }
        let (positions, expected): (Vec<usize>, Vec<Expected>) = misses.into_iter().unzip();
        let mut answers = explain::ahead(ledger, (plan, &world.planned.build), &expected)?;
        let mut numbers = HashMap::new();
        for position in positions {
            if let Some(answer) = answers.remove(&steps[position].canonical) {
                causes.add(position, answer, &mut numbers);
            }
        }
        Ok(causes)
    }

    fn add(
        &mut self,
        position: usize,
        answer: Answer,
        numbers: &mut HashMap<(explain::Reason, String), usize>,
    ) {
        let step = answer.step.canonical;
        // What differs at the step itself says more than what differs below it.
        let (own, below): (Vec<_>, Vec<_>) = answer
            .reasons
            .into_iter()
            .partition(|cause| cause.step.canonical == step);
        for cause in own.into_iter().chain(below) {
            let key = (cause.reason.clone(), cause.step.canonical.clone());
            let number = *numbers.entry(key).or_insert(self.list.len());
            if number == self.list.len() {
                self.list.push(Cause {
                    cause: cause.reason,
                    sentence: cause.sentence,
                    step: cause.step.name,
                    canonical: cause.step.canonical,
                    kind: cause.step.kind,
                    removed: cause.removed,
                    against: answer.against.clone(),
                });
            }
            self.steps.entry(position).or_default().push(number);
        }
    }
}

/// The first cause of a step in words, and how many more there are.
pub(super) fn sentence(causes: &[Cause], of_step: &[usize], canonical: &str) -> Option<String> {
    let first = causes.get(*of_step.first()?)?;
    let mut sentence = first.sentence.clone();
    // What differs of a source says itself which source it is.
    if first.canonical != canonical && !first.kind.is_source() {
        sentence = format!("{sentence} (at {:?})", first.step);
    }
    match of_step.len() - 1 {
        0 => {}
        more => sentence = format!("{sentence}; and {more} more"),
    }
    Some(sentence)
}
