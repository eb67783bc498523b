//! Why steps of a plan are going to run: what [`super::why`] will say of them when they have.
//!
//! A plan is recorded like a build, in a ledger of its own, and nothing in it has run. So the steps
//! that are expected to are taken as if they had, and each is compared with the build that
//! `against.rs` describes. In which build a step had the very same key the plan knows already; for
//! the others builds are looked at, newest first, until each step has its pair. That is one
//! comparison for all steps unless the newest build is of another part of the pipeline. A build with
//! the steps of one that was looked at has no pair either, and is passed over.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::answer::{self, Answer};
use super::graph::Graph;
use super::{Compared, Error, against};
use crate::ledger::{BuildRow, Outcome, Reader};

/// A step that is expected to run.
#[derive(Clone, Debug)]
pub(crate) struct Expected {
    /// Its canonical digest.
    pub(crate) canonical: String,
    /// Id of the newest earlier build in which it had this very key and a result.
    pub(crate) same_key: Option<String>,
}

/// The answers for steps of the one build that `plan` holds, by canonical digest. Steps that the
/// plan does not have get none.
///
/// # Errors
/// When a ledger cannot be read.
pub(crate) fn ahead(
    ledger: &Reader,
    (plan, build): (&Reader, &BuildRow),
    expected: &[Expected],
) -> Result<HashMap<String, Answer>, Error> {
    // Its number is one of another ledger.
    let build = BuildRow {
        number: None,
        ..build.clone()
    };
    let mut graph = Graph::read(plan, build.clone())?;
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, step) in graph.steps.iter_mut().enumerate() {
        places.insert(step.canonical.clone(), place);
    }
    let mut known: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
    let mut open: Vec<usize> = Vec::new();
    for step in expected {
        let Some(&place) = places.get(&step.canonical) else {
            continue;
        };
        graph.steps[place].outcome = Outcome::Executed;
        match &step.same_key {
            Some(build) => known.entry(build).or_default().push(place),
            None => open.push(place),
        }
    }
    let graph = Arc::new(graph);
    let mut answers = HashMap::new();
    let mut answer = |compared: &Compared, place: usize| {
        let answer = answer::answer(compared, place);
        answers.insert(answer.step.canonical.clone(), answer);
    };
    let compare = |before: Graph| Compared::across([ledger, plan], before, Arc::clone(&graph));
    for (id, places) in known {
        let compared = compare(Graph::read(ledger, ledger.find(id)?)?)?;
        for place in places {
            answer(&compared, place);
        }
    }
    let mut seen = HashSet::new();
    for other in against::candidates(ledger, &build)? {
        if open.is_empty() {
            break;
        }
        if !seen.insert(steps(ledger, &other)?) {
            continue;
        }
        let before = Graph::read(ledger, other)?;
        if !against::same_pipeline(&before, &graph) {
            continue;
        }
        let compared = compare(before)?;
        open.retain(|&place| {
            let paired = compared.pairs.before[place].is_some();
            if paired {
                answer(&compared, place);
            }
            !paired
        });
    }
    for place in open {
        let first = answer::first(&graph, place);
        answers.insert(first.step.canonical.clone(), first);
    }
    Ok(answers)
}

/// The canonical digests of a build's steps.
fn steps(ledger: &Reader, build: &BuildRow) -> Result<BTreeSet<String>, Error> {
    let vertices = ledger.vertices(&build.id)?.into_iter();
    Ok(vertices.filter_map(|vertex| vertex.canonical).collect())
}
