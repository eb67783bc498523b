//! Work that made what was there already: steps that ran under another key and whose outputs are
//! the same.
//!
//! Outputs are the same if the layers that a cache export or an image shows for them have equal
//! diff ids. Where no layer is known, nothing is claimed: those steps are counted as unknown.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde::Serialize;

use super::{Cause, Compared, Error, StepName, name};
use crate::ledger::{Outcome, Reader};

use super::causes::Key;
use super::graph::Graph;

/// A step that made again what was there.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct WastedStep {
    /// The build in which it ran.
    pub build: String,
    /// The build that had made the same.
    pub before: String,
    /// The step.
    pub step: StepName,
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
    /// Milliseconds of all of them.
    pub lost_ms: u64,
    /// Steps that ran again and made something else.
    pub useful: usize,
    /// Steps that ran again and of whose outputs nothing is known in one of the builds.
    pub unknown: usize,
}

/// See [`super::waste`].
pub(super) fn waste(ledger: &Reader, builds: &[String]) -> Result<Waste, Error> {
    let mut waste = Waste::default();
    for pair in builds.windows(2) {
        let before = Graph::read(ledger, ledger.find(&pair[0])?)?;
        let after = Arc::new(Graph::read(ledger, ledger.find(&pair[1])?)?);
        let compared = Compared::new(ledger, before, after)?;
        for place in 0..compared.after.steps.len() {
            step(&compared, place, &mut waste);
        }
    }
    waste
        .steps
        .sort_by_key(|step| std::cmp::Reverse(step.lost_ms));
    waste.lost_ms = waste.steps.iter().map(|step| step.lost_ms).sum();
    Ok(waste)
}

fn step(compared: &Compared, place: usize, waste: &mut Waste) {
    let (difference, step) = (&compared.causes.steps[place], &compared.after.steps[place]);
    let Some(pair) = compared.pairs.before[place] else {
        return;
    };
    if difference.key != Key::Other || step.outcome != Outcome::Executed {
        return;
    }
    let (old, new) = (&compared.before.steps[pair].layers, &step.layers);
    let outputs = |layers: &BTreeSet<(u64, String)>| -> BTreeSet<u64> {
        layers.iter().map(|(output, _)| *output).collect()
    };
    if old.is_empty() || outputs(old) != outputs(new) {
        waste.unknown += 1;
        return;
    }
    if old != new {
        waste.useful += 1;
        return;
    }
    let lost_ms = match step.times {
        (Some(begin), Some(end)) => end.saturating_sub(begin),
        _ => 0,
    };
    waste.steps.push(WastedStep {
        build: compared.after.build.id.clone(),
        before: compared.before.build.id.clone(),
        step: name(step),
        lost_ms,
        causes: difference
            .all
            .iter()
            .map(|&number| compared.cause(number))
            .collect(),
    });
}
