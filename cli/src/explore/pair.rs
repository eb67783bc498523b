//! Which steps of two builds belong together.
//!
//! Two vertices are a pair when [`dagop::explain`] says so: it follows the graphs of operations, so
//! that edits and renames keep their pair. Two calls are a pair when they have the same call key; of
//! those left over, when they are the same field with results in a pair of vertices; then, when they
//! stand at the same path of the document; then, when they are the same field of a pair of
//! receivers. Where several would do, they are taken in order. So an edited step is still the same
//! step, and a step that only one build has is left alone. Linear in rows.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use dagop::explain::{Cause, Comparison};
use dagop::ledger::CallRow;
use dagop::report::Report;
use serde::Serialize;

use super::graph::{self, identity};
use super::reason;

/// What can differ between the two steps of a pair. A difference is a bit: 1 for the first word.
const DIFFERENCES: [&str; 4] = ["call key", "vertex", "cache map", "outcome"];
const CALL_KEY: u8 = 1;
const VERTEX: u8 = 2;
const CACHE_MAP: u8 = 4;
const OUTCOME: u8 = 8;

/// All pairs of two builds.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Pairs {
    differences: [&'static str; 4],
    calls: Columns,
    vertices: Columns,
    /// For each row of `vertices`, why its key differs: root causes. Null where it does not.
    reasons: Vec<Option<String>>,
}

/// For each step of the first build and each unpaired one of the second: its position there, its
/// position here, how they differ.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
struct Columns {
    a: Vec<Option<u32>>,
    b: Vec<Option<u32>>,
    differs: Vec<u8>,
}

impl Pairs {
    /// `comparison` is of the same two builds.
    pub(super) fn of(a: &Report, b: &Report, comparison: &Comparison) -> Self {
        let vertices = pair_vertices(a, b, comparison);
        let calls = pair_calls(a, b, &vertices);
        let call_differs = |x: u32, y: u32| {
            let (x, y) = (&a.calls[x as usize], &b.calls[y as usize]);
            flag(CALL_KEY, x.call_key != y.call_key)
                | differ(VERTEX, x.canonical.as_ref(), y.canonical.as_ref())
                | differ(
                    CACHE_MAP,
                    x.predicted_cache_map.as_ref(),
                    y.predicted_cache_map.as_ref(),
                )
                | flag(OUTCOME, x.outcome != y.outcome)
        };
        let vertex_differs = |x: u32, y: u32| {
            let (x, y) = (&a.vertices[x as usize], &b.vertices[y as usize]);
            flag(VERTEX, identity(x) != identity(y))
                | differ(
                    CACHE_MAP,
                    x.predicted_cache_map.as_ref(),
                    y.predicted_cache_map.as_ref(),
                )
                | flag(OUTCOME, x.outcome != y.outcome)
        };
        let vertices = vertices.columns(vertex_differs);
        Self {
            differences: DIFFERENCES,
            reasons: reasons(b, &vertices, comparison),
            calls: calls.columns(call_differs),
            vertices,
        }
    }
}

fn reasons(b: &Report, vertices: &Columns, comparison: &Comparison) -> Vec<Option<String>> {
    let told = comparison.differences.iter().filter_map(|difference| {
        let causes = difference.causes.iter();
        let causes: Vec<&Cause> = causes
            .filter_map(|number| comparison.causes.get(*number as usize))
            .collect();
        let step = &difference.step.canonical;
        Some((step.as_str(), reason::told(step, &causes, difference.more)?))
    });
    let told: HashMap<&str, String> = told.collect();
    let of = |y: &u32| told.get(identity(&b.vertices[*y as usize])).cloned();
    vertices.b.iter().map(|y| y.as_ref().and_then(of)).collect()
}

fn flag(bit: u8, set: bool) -> u8 {
    if set { bit } else { 0 }
}

/// The bit if both steps have a key and the keys differ. Something that only one of them has is no
/// difference: a call that the engine answered itself has no vertex this time.
fn differ(bit: u8, a: Option<&String>, b: Option<&String>) -> u8 {
    flag(bit, matches!((a, b), (Some(a), Some(b)) if a != b))
}

/// Pairs while they are being found.
struct Matching {
    /// For each step of the first build, its partner in the second.
    a: Vec<Option<u32>>,
    /// And the other way round.
    b: Vec<Option<u32>>,
}

impl Matching {
    fn new(a: usize, b: usize) -> Self {
        Self {
            a: vec![None; a],
            b: vec![None; b],
        }
    }

    fn pair(&mut self, x: usize, y: usize) {
        self.a[x] = u32::try_from(y).ok();
        self.b[y] = u32::try_from(x).ok();
    }

    /// Pairs what is left over and has equal keys, in order. Steps without a key stay alone.
    fn pair_by<K: Hash + Eq>(
        &mut self,
        key_a: impl Fn(usize) -> Option<K>,
        key_b: impl Fn(usize) -> Option<K>,
    ) {
        let mut waiting: HashMap<K, VecDeque<usize>> = HashMap::new();
        for y in (0..self.b.len()).filter(|y| self.b[*y].is_none()) {
            if let Some(key) = key_b(y) {
                waiting.entry(key).or_default().push_back(y);
            }
        }
        for x in 0..self.a.len() {
            let key = if self.a[x].is_none() { key_a(x) } else { None };
            let partner = key.and_then(|key| waiting.get_mut(&key)?.pop_front());
            if let Some(y) = partner {
                self.pair(x, y);
            }
        }
    }

    fn columns(&self, differs: impl Fn(u32, u32) -> u8) -> Columns {
        let mut columns = Columns::default();
        for (x, partner) in (0..).zip(&self.a) {
            columns.a.push(Some(x));
            columns.b.push(*partner);
            columns.differs.push(partner.map_or(0, |y| differs(x, y)));
        }
        for (y, partner) in (0..).zip(&self.b) {
            if partner.is_none() {
                columns.a.push(None);
                columns.b.push(Some(y));
                columns.differs.push(0);
            }
        }
        columns
    }
}

fn pair_calls(a: &Report, b: &Report, vertices: &Matching) -> Matching {
    let (a_positions, b_positions) = (graph::positions(a), graph::positions(b));
    let (a, b) = (&a.calls, &b.calls);
    let mut matching = Matching::new(a.len(), b.len());
    matching.pair_by(|x| Some(&a[x].call_key), |y| Some(&b[y].call_key));
    let partner = |x: usize| {
        let vertex = graph::vertex_of(&a[x], &a_positions)?;
        Some((vertices.a[vertex as usize]?, field(&a[x])))
    };
    let own = |y: usize| Some((graph::vertex_of(&b[y], &b_positions)?, field(&b[y])));
    matching.pair_by(partner, own);
    matching.pair_by(|x| Some(&a[x].path), |y| Some(&b[y].path));
    pair_by_receiver(&mut matching, a, b);
    matching
}

/// Pairs what is left over by field and pair of receivers. Receivers come before what is made on
/// them, so that one pass over the first build pairs whole chains.
fn pair_by_receiver(matching: &mut Matching, a: &[CallRow], b: &[CallRow]) {
    let at = |calls: &[CallRow]| -> HashMap<u64, usize> {
        calls
            .iter()
            .enumerate()
            .map(|(at, call)| (call.call, at))
            .collect()
    };
    let (numbers_a, numbers_b) = (at(a), at(b));
    let mut waiting: HashMap<(Option<usize>, &str), VecDeque<usize>> = HashMap::new();
    for (y, call) in b
        .iter()
        .enumerate()
        .filter(|(y, _)| matching.b[*y].is_none())
    {
        let receiver = call
            .parent
            .and_then(|number| numbers_b.get(&number).copied());
        waiting
            .entry((receiver, field(call)))
            .or_default()
            .push_back(y);
    }
    for (x, call) in a.iter().enumerate() {
        if matching.a[x].is_some() {
            continue;
        }
        let receiver = call.parent.and_then(|number| numbers_a.get(&number));
        let receiver = match receiver.map(|receiver| matching.a[*receiver]) {
            // Its receiver is in the first build only, so it is too.
            Some(None) => continue,
            Some(Some(partner)) => Some(partner as usize),
            None => None,
        };
        let partner = waiting
            .get_mut(&(receiver, field(call)))
            .and_then(VecDeque::pop_front);
        if let Some(y) = partner {
            matching.pair(x, y);
        }
    }
}

/// The name of the field that was called.
fn field(call: &CallRow) -> &str {
    call.display.split('(').next().unwrap_or_default()
}

/// Several vertices of one digest are one step there, and are paired here in order.
fn pair_vertices(a: &Report, b: &Report, comparison: &Comparison) -> Matching {
    let mut matching = Matching::new(a.vertices.len(), b.vertices.len());
    let differences = comparison.differences.iter();
    let before: HashMap<&str, &str> = differences
        .filter_map(|difference| {
            let before = difference.before.as_ref()?;
            Some((&*difference.step.canonical, &*before.canonical))
        })
        .collect();
    matching.pair_by(
        |x| Some(identity(&a.vertices[x])),
        |y| {
            let own = identity(&b.vertices[y]);
            Some(before.get(own).copied().unwrap_or(own))
        },
    );
    matching
}

#[cfg(test)]
mod tests {
    use dagop::explain::{Difference, Reason, StepName};
    use dagop::ledger::Outcome;

    use super::super::tests::{report, step};
    use super::*;

    fn name(report: &Report, at: usize) -> StepName {
        let vertex = &report.vertices[at];
        StepName {
            canonical: identity(vertex).to_owned(),
            raw: vertex.raw.clone(),
            name: vertex.name.clone(),
            kind: vertex.kind,
            outcome: vertex.outcome,
            started_ms: vertex.started_ms,
            completed_ms: vertex.completed_ms,
        }
    }

    /// A comparison that found these vertices to be the same step with another key.
    fn compared(a: &Report, b: &Report, pairs: &[(usize, usize)]) -> Comparison {
        let reason = Reason::StepAdded;
        let cause = |(number, (_, y)): (u32, &(usize, usize))| Cause {
            number,
            sentence: reason.to_string(),
            reason: reason.clone(),
            step: name(b, *y),
            removed: false,
            steps: 1,
        };
        let difference = |(number, (x, y)): (u32, &(usize, usize))| Difference {
            step: name(b, *y),
            before: Some(name(a, *x)),
            own: vec![number],
            causes: vec![number],
            possible: Vec::new(),
            key_differs: true,
            more: false,
        };
        Comparison {
            before: a.build.clone(),
            after: b.build.clone(),
            causes: (0..).zip(pairs).map(cause).collect(),
            differences: (0..).zip(pairs).map(difference).collect(),
            undecided: Vec::new(),
            equal: 0,
        }
    }

    fn pairs_of(a: &Report, b: &Report, changed: &[(usize, usize)]) -> Pairs {
        Pairs::of(a, b, &compared(a, b, changed))
    }

    /// Pairs of calls as text: `0=0`, `1~1` for a changed one, `-2`, `+3`.
    fn shown(pairs: &Columns) -> String {
        let rows = pairs.a.iter().zip(&pairs.b).zip(&pairs.differs);
        let words = rows.map(|((a, b), differs)| match (a, b) {
            (Some(a), Some(b)) => format!("{a}{}{b}", if *differs == 0 { "=" } else { "~" }),
            (Some(a), None) => format!("-{a}"),
            (None, Some(b)) => format!("+{b}"),
            (None, None) => "?".to_owned(),
        });
        words.collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn the_same_build_twice_has_no_difference() {
        let one = report(&[
            step("container", None),
            step("withExec(args: [\"make\"])", Some(1)),
        ]);
        let pairs = pairs_of(&one, &one, &[]);
        assert_eq!(shown(&pairs.calls), "0=0 1=1");
        assert_eq!(shown(&pairs.vertices), "0=0 1=1");
    }

    #[test]
    fn an_edited_step_and_all_after_it_are_changed() {
        let of = |argument: &str| {
            let edited = format!("withExec(args: [\"{argument}\"])");
            report(&[
                step("container", None),
                step(&edited, Some(1)),
                step("stdout", Some(2)),
            ])
        };
        let mut after = of("make all");
        after.calls[2].call_key = "blake3:other".into();
        let pairs = pairs_of(&of("make"), &after, &[(1, 1)]);
        assert_eq!(shown(&pairs.calls), "0=0 1~1 2~2");
        assert_eq!(shown(&pairs.vertices), "0=0 1~1 2=2");
        let cause = Reason::StepAdded.to_string();
        assert_eq!(pairs.reasons, [None, Some(cause), None]);
        assert_eq!(
            pairs.calls.differs,
            [0, CALL_KEY | VERTEX | CACHE_MAP, CALL_KEY]
        );
    }

    #[test]
    fn a_call_goes_with_its_vertex_wherever_it_stands() {
        let before = report(&[step("container", None), step("withExec(args: [])", Some(1))]);
        let after = report(&[
            step("container", None),
            step("withUser(name: \"me\")", Some(1)),
            step("withExec(args: [\"make\"])", Some(2)),
        ]);
        let pairs = pairs_of(&before, &after, &[(1, 2)]);
        assert_eq!(shown(&pairs.calls), "0=0 1~2 +1");
        assert_eq!(shown(&pairs.vertices), "0=0 1~2 +1");
    }

    #[test]
    fn another_outcome_alone_is_a_difference() {
        let before = report(&[step("container", None)]);
        let mut after = before.clone();
        after.calls[0].outcome = Outcome::Cached;
        after.vertices[0].outcome = Outcome::Cached;
        let pairs = pairs_of(&before, &after, &[]);
        assert_eq!(
            (&*pairs.calls.differs, &*pairs.vertices.differs),
            (&[OUTCOME][..], &[OUTCOME][..])
        );
    }

    #[test]
    fn a_step_of_one_build_only_stays_alone() {
        let before = report(&[
            step("container", None),
            step("withWorkdir(path: \"/a\")", Some(1)),
            step("stdout", Some(2)),
        ]);
        let after = report(&[
            step("container", None),
            step("stdout", Some(1)),
            step("stderr", Some(1)),
        ]);
        let pairs = pairs_of(&before, &after, &[]);
        assert_eq!(shown(&pairs.calls), "0=0 -1 2=1 +2");
    }

    #[test]
    fn of_equal_steps_the_first_goes_with_the_first() {
        let twice = report(&[step("a", None), step("a", None), step("a", None)]);
        let once = report(&[step("a", None)]);
        assert_eq!(shown(&pairs_of(&twice, &once, &[]).calls), "0=0 -1 -2");
        assert_eq!(shown(&pairs_of(&once, &twice, &[]).calls), "0=0 +1 +2");
    }
}
