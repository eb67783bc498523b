//! Which steps of two builds belong together.
//!
//! Two calls are a pair when they have the same call key; of those left over, when they stand at the
//! same path of the document; then, when they are the same field of a pair of receivers. Two
//! vertices are a pair when they have the same canonical digest; of those left over, when they carry
//! the results of a pair of calls; then, when they are of one kind and have one name. Where several
//! would do, they are taken in order. So an edited step is still the same step, and a step that only
//! one build has is left alone. Linear in rows.

use std::collections::{HashMap, VecDeque};
use std::hash::Hash;

use dagop::ledger::{CallRow, VertexRow};
use dagop::report::Report;
use serde::Serialize;

use super::graph::{self, Positions, identity};

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
    pub(super) fn of(a: &Report, b: &Report) -> Self {
        let calls = pair_calls(&a.calls, &b.calls);
        let (a_positions, b_positions) = (graph::positions(a), graph::positions(b));
        let vertices = pair_vertices((a, &a_positions), (b, &b_positions), &calls);
        let call_differs = |x: u32, y: u32| {
            let (x, y) = (&a.calls[x as usize], &b.calls[y as usize]);
            flag(CALL_KEY, x.call_key != y.call_key)
                | flag(
                    VERTEX,
                    both_differ(x.canonical.as_ref(), y.canonical.as_ref()),
                )
                | flag(
                    CACHE_MAP,
                    both_differ(
                        x.predicted_cache_map.as_ref(),
                        y.predicted_cache_map.as_ref(),
                    ),
                )
                | flag(OUTCOME, x.outcome != y.outcome)
        };
        let vertex_differs = |x: u32, y: u32| {
            let (x, y) = (&a.vertices[x as usize], &b.vertices[y as usize]);
            flag(VERTEX, identity(x) != identity(y))
                | flag(
                    CACHE_MAP,
                    both_differ(
                        x.predicted_cache_map.as_ref(),
                        y.predicted_cache_map.as_ref(),
                    ),
                )
                | flag(OUTCOME, x.outcome != y.outcome)
        };
        Self {
            differences: DIFFERENCES,
            calls: calls.columns(call_differs),
            vertices: vertices.columns(vertex_differs),
        }
    }
}

fn flag(bit: u8, set: bool) -> u8 {
    if set { bit } else { 0 }
}

/// Something that only one of two steps has is no difference of keys: a call that the engine
/// answered itself has no vertex this time.
fn both_differ(a: Option<&String>, b: Option<&String>) -> bool {
    matches!((a, b), (Some(a), Some(b)) if a != b)
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

fn pair_calls(a: &[CallRow], b: &[CallRow]) -> Matching {
    let mut matching = Matching::new(a.len(), b.len());
    matching.pair_by(|x| Some(&a[x].call_key), |y| Some(&b[y].call_key));
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

fn pair_vertices(
    (a, a_positions): (&Report, &Positions<'_>),
    (b, b_positions): (&Report, &Positions<'_>),
    calls: &Matching,
) -> Matching {
    let mut matching = Matching::new(a.vertices.len(), b.vertices.len());
    matching.pair_by(
        |x| Some(identity(&a.vertices[x])),
        |y| Some(identity(&b.vertices[y])),
    );
    for (x, partner) in a.calls.iter().zip(&calls.a) {
        let y = partner.map(|y| &b.calls[y as usize]);
        let vertices = (
            graph::vertex_of(x, a_positions),
            y.and_then(|y| graph::vertex_of(y, b_positions)),
        );
        if let (Some(x), Some(y)) = vertices {
            let (x, y) = (x as usize, y as usize);
            if matching.a[x].is_none() && matching.b[y].is_none() {
                matching.pair(x, y);
            }
        }
    }
    let look = |vertex: &'_ VertexRow| Some((vertex.kind, vertex.name.clone()));
    matching.pair_by(|x| look(&a.vertices[x]), |y| look(&b.vertices[y]));
    matching
}

#[cfg(test)]
mod tests {
    use dagop::ledger::Outcome;

    use super::super::tests::{report, step};
    use super::*;

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
        let pairs = Pairs::of(&one, &one);
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
        let pairs = Pairs::of(&of("make"), &after);
        assert_eq!(shown(&pairs.calls), "0=0 1~1 2~2");
        assert_eq!(
            pairs.calls.differs,
            [0, CALL_KEY | VERTEX | CACHE_MAP, CALL_KEY]
        );
    }

    #[test]
    fn another_outcome_alone_is_a_difference() {
        let before = report(&[step("container", None)]);
        let mut after = before.clone();
        after.calls[0].outcome = Outcome::Cached;
        after.vertices[0].outcome = Outcome::Cached;
        let pairs = Pairs::of(&before, &after);
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
        let pairs = Pairs::of(&before, &after);
        assert_eq!(shown(&pairs.calls), "0=0 -1 2=1 +2");
    }

    #[test]
    fn of_equal_steps_the_first_goes_with_the_first() {
        let twice = report(&[step("a", None), step("a", None), step("a", None)]);
        let once = report(&[step("a", None)]);
        assert_eq!(shown(&Pairs::of(&twice, &once).calls), "0=0 -1 -2");
        assert_eq!(shown(&Pairs::of(&once, &twice).calls), "0=0 +1 +2");
    }
}
