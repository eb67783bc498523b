//! Which earlier build a step is compared with when nobody says.
//!
//! Of the builds that began before, newest first and at most [`BUILDS_MAX`] of them:
//! 1. On the same daemon, the newest in which the step has the very same key and left a result
//!    (else the newest with that key): nothing else can explain that the step ran again.
//! 2. On the same daemon, the newest of the same pipeline that has a pair of the step.
//! 3. The same two on any daemon.
//!
//! Builds are of the same pipeline if at least half of the steps of the smaller one are the same
//! ones, have the same operation, or do the same in other circumstances.

use std::collections::HashSet;

use super::graph::Graph;
use super::similar::Profile;
use super::{Compared, Error};
use crate::ledger::{BuildRow, Outcome, Reader};

/// Earlier builds that are looked at.
const BUILDS_MAX: usize = 50;

/// What was chosen.
pub(super) struct Chosen {
    /// The comparison with it.
    pub(super) compared: Compared,
}

/// Earlier builds, newest first, those on the same daemon before the others.
pub(super) fn candidates(ledger: &Reader, build: &BuildRow) -> Result<Vec<BuildRow>, Error> {
    let all = ledger.builds(usize::MAX)?;
    let earlier = |other: &BuildRow| match (other.number, build.number) {
        (Some(other), Some(own)) => other < own,
        _ => (other.started_ms, &other.id) < (build.started_ms, &build.id),
    };
    let earlier = all
        .into_iter()
        .filter(|other| other.id != build.id && earlier(other));
    let (mut same, other): (Vec<_>, Vec<_>) = earlier
        .take(BUILDS_MAX)
        .partition(|other| other.daemon == build.daemon);
    same.extend(other);
    Ok(same)
}

/// Chooses for one step of a build, by its canonical digest.
pub(super) fn for_step(
    ledger: &Reader,
    build: &BuildRow,
    canonical: &str,
) -> Result<Option<Compared>, Error> {
    let mut best: Option<(bool, Compared)> = None;
    // The same key, but no result of it.
    let mut fruitless: Option<Compared> = None;
    for other in candidates(ledger, build)? {
        let same_daemon = other.daemon == build.daemon;
        let found = fruitless.is_some() || best.as_ref().is_some_and(|(daemon, _)| *daemon);
        if found && !same_daemon {
            break;
        }
        let (before, after) = graphs(ledger, other, build)?;
        if !same_pipeline(&before, &after) {
            continue;
        }
        let compared = Compared::new(ledger, before, after)?;
        let steps = &compared.after.steps;
        let Some(step) = steps.iter().position(|step| step.canonical == canonical) else {
            continue;
        };
        let Some(pair) = compared.pairs.before[step] else {
            continue;
        };
        if !compared.causes.steps[step].differs {
            if left_a_result(compared.before.steps[pair].outcome) {
                return Ok(Some(compared));
            }
            fruitless.get_or_insert(compared);
            continue;
        }
        best.get_or_insert((same_daemon, compared));
    }
    Ok(fruitless.or(best.map(|(_, compared)| compared)))
}

/// Whether an outcome is one after which the daemon had a record.
pub(crate) fn left_a_result(outcome: Outcome) -> bool {
    matches!(
        outcome,
        Outcome::Executed | Outcome::Cached | Outcome::Joined
    )
}

/// Chooses for a whole build.
pub(super) fn for_build(ledger: &Reader, build: &BuildRow) -> Result<Option<Chosen>, Error> {
    for other in candidates(ledger, build)? {
        let (before, after) = graphs(ledger, other, build)?;
        if same_pipeline(&before, &after) {
            let compared = Compared::new(ledger, before, after)?;
            return Ok(Some(Chosen { compared }));
        }
    }
    Ok(None)
}

fn graphs(ledger: &Reader, other: BuildRow, build: &BuildRow) -> Result<(Graph, Graph), Error> {
    let before = Graph::read(ledger, other)?;
    let after = Graph::read(ledger, build.clone())?;
    Ok((before, after))
}

/// See the module.
pub(super) fn same_pipeline(before: &Graph, after: &Graph) -> bool {
    let essences = |graph: &Graph| -> HashSet<u64> {
        graph
            .steps
            .iter()
            .map(|step| Profile::new(step).essence)
            .collect()
    };
    let (a, b) = (essences(before), essences(after));
    let smaller = a.len().min(b.len());
    smaller > 0 && 2 * a.intersection(&b).count() >= smaller
}
