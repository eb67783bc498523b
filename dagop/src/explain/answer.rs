//! The answer for a step: what became of it, and why.
//!
//! A step that ran with another key than before ran for the root causes of that difference. One
//! that ran with the same key ran because no record was found: it never was on this daemon, it was
//! being made by another build at that moment, the daemon was told not to look, or has lost it since;
//! and none of the imported caches had it. A step that did not run needs no reason; the daemon's word
//! for it is the evidence.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::Serialize;
use solver::cachemap::Profile;

use super::{Cause, Compared, Error, Reason, StepName, against, imports, name, remark};
use crate::ledger::{BuildRow, Reader};
use crate::report::Report;

use super::causes::Key;
use super::graph::{Graph, Step};

/// Whether a step ran, and whether it is known why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    /// It ran or failed, and the reasons say why it was not in the cache.
    Explained,
    /// It did not run; its outcome says what happened instead.
    DidNotRun,
    /// It ran, and a fact is missing that would say why.
    Unknown,
}

/// Why one step became what it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answer {
    /// The step.
    pub step: StepName,
    /// Whether there is something to explain, and whether it is.
    pub status: Status,
    /// The build.
    pub build: String,
    /// The build it was compared with, if there is one.
    pub against: Option<String>,
    /// The same step there.
    pub before: Option<StepName>,
    /// Whether its key is another one than there; absent if that is not known.
    pub key_differs: Option<bool>,
    /// The reasons: root causes with the steps they are at.
    pub reasons: Vec<Cause>,
    /// What is a cause only if the content of an input differs, which is not known.
    pub possible: Vec<Cause>,
    /// What differs and is no cause of anything that ran.
    pub remarks: Vec<Cause>,
    /// There are more than are named.
    pub more: bool,
    /// Names of the steps from the first reason's step to this one.
    pub chain: Vec<String>,
}

/// See [`super::why`].
pub(super) fn why(
    ledger: &Reader,
    build: &str,
    step: &str,
    against: Option<&str>,
) -> Result<Vec<Answer>, Error> {
    let report = Report::read(ledger, build)?;
    let row = report.build.clone();
    let chosen = report.select(step);
    let no_step = || Error::NoStep {
        build: row.id.clone(),
        step: step.to_owned(),
    };
    let vertices = chosen.vertices.iter();
    let mut seen = HashSet::new();
    let wanted: Vec<&str> = vertices
        .map(|vertex| vertex.canonical.as_deref().unwrap_or(&vertex.raw))
        .filter(|canonical| seen.insert(*canonical))
        .collect();
    if wanted.is_empty() {
        return Err(no_step());
    }
    let after = Arc::new(Graph::read(ledger, row.clone())?);
    let places: HashMap<&str, usize> = after.steps.iter().enumerate().map(place).collect();
    let places: Option<Vec<usize>> = wanted.iter().map(|it| places.get(it).copied()).collect();
    let places = places.ok_or_else(no_step)?;
    let compared = match against {
        Some(other) => {
            let before = Graph::read(ledger, ledger.find(other)?)?;
            let given = Arc::new(Compared::new(ledger, before, Arc::clone(&after))?);
            vec![Some(given); places.len()]
        }
        None => against::for_steps(ledger, &after, &places)?,
    };
    let answers = compared.iter().zip(places);
    Ok(answers
        .map(|(compared, place)| match compared {
            Some(compared) => answer(compared, place),
            None => first(&after, place),
        })
        .collect())
}

fn place((place, step): (usize, &Step)) -> (&str, usize) {
    (&step.canonical, place)
}

/// See [`super::reasons`].
pub(super) fn all(
    ledger: &Reader,
    build: &str,
    against: Option<&str>,
) -> Result<(Vec<Answer>, Option<BuildRow>), Error> {
    let after = Arc::new(Graph::read(ledger, ledger.find(build)?)?);
    let compared = match against {
        Some(other) => {
            let before = Graph::read(ledger, ledger.find(other)?)?;
            Some(Compared::new(ledger, before, Arc::clone(&after))?)
        }
        None => against::for_build(ledger, &after)?,
    };
    let steps = 0..after.steps.len();
    Ok(match compared {
        Some(compared) => {
            let answers = steps.map(|step| answer(&compared, step)).collect();
            (answers, Some(compared.before.build))
        }
        None => (steps.map(|step| first(&after, step)).collect(), None),
    })
}

/// The answer for a step of a build that can be compared with no other.
pub(super) fn first(graph: &Graph, step: usize) -> Answer {
    let row = name(&graph.steps[step]);
    let ran = row.outcome.has_run();
    let reasons = if graph.steps[step].ignores_cache {
        vec![Reason::NoCache]
    } else {
        let daemon = graph.build.daemon.clone();
        let imports = imports::reasons(graph, &graph.steps[step]);
        std::iter::once(Reason::FirstBuild { daemon })
            .chain(imports)
            .collect()
    };
    let unknown = reasons.iter().any(Reason::is_unknown);
    Answer {
        status: match (ran, unknown) {
            (false, _) => Status::DidNotRun,
            (true, false) => Status::Explained,
            (true, true) => Status::Unknown,
        },
        build: graph.build.id.clone(),
        against: None,
        before: None,
        key_differs: None,
        reasons: reasons
            .into_iter()
            .filter(|_| ran)
            .map(|reason| at(reason, row.clone()))
            .collect(),
        possible: Vec::new(),
        remarks: Vec::new(),
        more: false,
        chain: Vec::new(),
        step: row,
    }
}

/// A reason that is about the step itself.
fn at(reason: Reason, step: StepName) -> Cause {
    Cause {
        number: 0,
        sentence: reason.to_string(),
        reason,
        step,
        removed: false,
        steps: 1,
    }
}

/// The answer for a step of the later build.
pub(super) fn answer(compared: &Compared, place: usize) -> Answer {
    let difference = &compared.causes.steps[place];
    let step = &compared.after.steps[place];
    let row = name(step);
    let all = match difference.key {
        Key::Other => compared.all(place),
        Key::Same | Key::Perhaps => difference.fresh.clone(),
    };
    let mut reasons: Vec<Cause> = all.iter().map(|&number| compared.cause(number)).collect();
    let first = all.first();
    let chain = first.map(|&first| chain(compared, place, first));
    if all.is_empty() && row.outcome.has_run() && difference.key == Key::Same {
        let lost = no_record(compared, place);
        let imports = imports::reasons(&compared.after, step);
        let all = std::iter::once(lost).chain(imports);
        reasons.extend(all.map(|reason| at(reason, row.clone())));
    }
    let unknown = reasons.is_empty() || reasons.iter().any(|cause| cause.reason.is_unknown());
    let status = match (row.outcome.has_run(), unknown) {
        (false, _) => Status::DidNotRun,
        (true, false) => Status::Explained,
        (true, true) => Status::Unknown,
    };
    Answer {
        status,
        build: compared.after.build.id.clone(),
        against: Some(compared.before.build.id.clone()),
        before: compared.pairs.before[place].map(|pair| name(&compared.before.steps[pair])),
        key_differs: match difference.key {
            Key::Same => Some(false),
            Key::Perhaps => None,
            Key::Other => Some(true),
        },
        reasons,
        possible: difference
            .possible
            .iter()
            .map(|&number| compared.cause(number))
            .collect(),
        remarks: remark::reasons(compared, place)
            .into_iter()
            .map(|reason| at(reason, row.clone()))
            .collect(),
        more: difference.more,
        chain: chain.unwrap_or_default(),
        step: row,
    }
}

/// Why a step ran although its key is the same as in the earlier build.
fn no_record(compared: &Compared, place: usize) -> Reason {
    let (before, after) = (&compared.before.build, &compared.after.build);
    let Some(pair) = compared.pairs.before[place] else {
        return Reason::StepAdded;
    };
    let (old, new) = (&compared.before.steps[pair], &compared.after.steps[place]);
    if before.daemon != after.daemon {
        return Reason::OtherDaemon {
            from: before.daemon.clone(),
            to: after.daemon.clone(),
        };
    }
    let profile = |build: &BuildRow| Profile::for_version(&build.daemon_version);
    if profile(before) != profile(after) {
        return Reason::Formula {
            from: before.daemon_version.clone(),
            to: after.daemon_version.clone(),
        };
    }
    // A build that was killed has no predicted keys either.
    if !compared.after.is_predicted && after.finished_ms.is_some() {
        return Reason::Unknown {
            missing: format!("how BuildKit {} computes cache keys", after.daemon_version),
        };
    }
    let build = before.id.clone();
    let overlaps = match (old.times, new.times.0) {
        ((Some(begin), Some(end)), Some(at)) => begin <= at && at < end,
        _ => false,
    };
    if overlaps && old.outcome.has_run() {
        return Reason::Concurrent { build };
    }
    match old.outcome {
        outcome if outcome.left_a_result() => Reason::Evicted {
            build,
            outcome: old.outcome,
            at_ms: old.times.1,
        },
        outcome => Reason::NoResult { build, outcome },
    }
}

/// Names of the steps from the one that a cause is at to the one that is explained.
fn chain(compared: &Compared, place: usize, cause: u32) -> Vec<String> {
    let steps = &compared.after.steps;
    let mut names = vec![steps[place].name.clone()];
    let mut at = place;
    while !compared.own(at).contains(&cause) {
        let links = steps[at].inputs.iter();
        let below = links
            .filter_map(|link| link.step)
            .find(|&below| compared.all(below).contains(&cause));
        let Some(below) = below else { break };
        names.push(steps[below].name.clone());
        at = below;
    }
    names.reverse();
    names
}
