//! Which earlier build a step is compared with when nobody says.
//!
//! Of the builds that began before, newest first and at most [`BUILDS_MAX`] of them:
//! 1. On the same daemon, the newest in which the step has the very same key and left a result
//!    (else the newest with that key): nothing else can explain that the step ran again.
//! 2. On the same daemon, the newest of the same pipeline that has a pair of the step.
//! 3. The same two on any daemon.
//!
//! The choice is one of an order, so it stays the same when builds that are not chosen are taken
//! away: a bundle of the chosen ones gives the same answers.
//!
//! Builds are of the same pipeline if at least half of the steps of the smaller one are the same
//! ones, have the same operation, or do the same in other circumstances.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use super::causes::Key;
use super::graph::Graph;
use super::similar::Profile;
use super::{Compared, Error};
use crate::ledger::{BuildRow, Reader};

/// Earlier builds that are looked at.
const BUILDS_MAX: usize = 50;

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

/// How well a build suits a step: the best first, see the module.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Rank {
    other_daemon: bool,
    of_step: OfStep,
}

/// Likewise, on one daemon.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum OfStep {
    /// The same key, and a result of it.
    SameKey,
    /// The same key, but no result of it.
    Fruitless,
    /// A pair with another key.
    Pair,
}

impl Rank {
    /// Of a step's pair in another build; none if it has no pair there.
    fn new(compared: &Compared, step: usize) -> Option<Self> {
        let pair = compared.pairs.before[step]?;
        let of_step = if compared.causes.steps[step].key != Key::Same {
            OfStep::Pair
        } else if compared.before.steps[pair].outcome.left_a_result() {
            OfStep::SameKey
        } else {
            OfStep::Fruitless
        };
        Some(Self {
            other_daemon: compared.before.build.daemon != compared.after.build.daemon,
            of_step,
        })
    }

    /// Whether no later candidate, of which `other_daemon` is the next, can be better.
    fn is_final(self, other_daemon: bool) -> bool {
        self.of_step == OfStep::SameKey || other_daemon && !self.other_daemon
    }
}

/// Chooses for some steps of a build, given by their places in its graph: for each the comparison
/// with the chosen build.
pub(super) fn for_steps(
    ledger: &Reader,
    after: &Arc<Graph>,
    steps: &[usize],
) -> Result<Vec<Option<Arc<Compared>>>, Error> {
    let mut chosen: Vec<Option<(Rank, Arc<Compared>)>> = vec![None; steps.len()];
    let own = essences(after);
    for other in candidates(ledger, &after.build)? {
        let other_daemon = other.daemon != after.build.daemon;
        let settled = |best: &Option<(Rank, _)>| {
            best.as_ref()
                .is_some_and(|(rank, _)| rank.is_final(other_daemon))
        };
        if chosen.iter().all(settled) {
            break;
        }
        let before = Graph::read(ledger, other)?;
        if !are_alike(&essences(&before), &own) {
            continue;
        }
        let compared = Arc::new(Compared::new(ledger, before, Arc::clone(after))?);
        for (best, &step) in chosen.iter_mut().zip(steps) {
            let Some(rank) = Rank::new(&compared, step) else {
                continue;
            };
            if best.as_ref().is_none_or(|(held, _)| rank < *held) {
                *best = Some((rank, Arc::clone(&compared)));
            }
        }
    }
    let chosen = chosen.into_iter();
    Ok(chosen.map(|best| best.map(|(_, it)| it)).collect())
}

/// Chooses for a whole build.
pub(super) fn for_build(ledger: &Reader, after: &Arc<Graph>) -> Result<Option<Compared>, Error> {
    let own = essences(after);
    for other in candidates(ledger, &after.build)? {
        let before = Graph::read(ledger, other)?;
        if are_alike(&essences(&before), &own) {
            return Ok(Some(Compared::new(ledger, before, Arc::clone(after))?));
        }
    }
    Ok(None)
}

/// See [`super::compared_with`].
pub(super) fn all(ledger: &Reader, build: BuildRow) -> Result<Vec<String>, Error> {
    let after = Arc::new(Graph::read(ledger, build)?);
    let steps: Vec<usize> = (0..after.steps.len()).collect();
    let of_steps = for_steps(ledger, &after, &steps)?;
    let whole = for_build(ledger, &after)?;
    let id = |compared: &Compared| compared.before.build.id.clone();
    let ids: BTreeSet<String> = of_steps
        .iter()
        .flatten()
        .map(|compared| id(compared))
        .chain(whole.as_ref().map(id))
        .collect();
    Ok(ids.into_iter().collect())
}

fn essences(graph: &Graph) -> HashSet<u64> {
    let steps = graph.steps.iter();
    steps.map(|step| Profile::new(step).essence).collect()
}

/// See the module.
pub(super) fn same_pipeline(before: &Graph, after: &Graph) -> bool {
    are_alike(&essences(before), &essences(after))
}

fn are_alike(a: &HashSet<u64>, b: &HashSet<u64>) -> bool {
    let smaller = a.len().min(b.len());
    smaller > 0 && 2 * a.intersection(b).count() >= smaller
}
