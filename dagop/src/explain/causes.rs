//! From pairs to causes: what differs by itself, and what only follows.
//!
//! Steps are visited inputs first. Of each pair the keys are compared as the daemon makes them:
//! - *equal*, if a canonical record of both is equal, or the operation (cache map) and every input
//!   is. An input is equal if its content is, where content is a key and known on both sides; or if
//!   the step that makes it, the output and the selector are equal.
//! - otherwise each difference of the operation itself is a **root cause**, and each input that
//!   differs makes the step a **cascade** of the causes of the step below it.
//!
//! Where the steps behind an input are no pair, both chains are walked down to the next pair: on
//! the way are the steps that were added, removed or moved. If the walks do not meet, the input was
//! rewired, which is a cause of its own.
//!
//! A local directory has no key. Its files are causes of those steps that select them.
//!
//! Where content is a key and is not known, a difference below may end there (`causes/settle.rs`).
//!
//! A step that is told to run whatever the cache has (`ignore_cache`) has the key it always had, and
//! so has the step right above it; both run nevertheless, for the one cause that it was told to.
//!
//! A salt is the engine's key and depends on everything under the call. It is a cause only where
//! a scope has another value, its time to live has passed, or nothing else explains it.
//!
//! The same change of circumstances (a variable that all commands of a chain have) is one cause.
//! A step names at most [`CAUSES_PER_STEP_MAX`] causes.

mod edge;
mod settle;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::change::{Change, changes};
use super::files::{self, Differences};
use super::graph::Graph;
use super::pair::Pairs;
use super::reason::Reason;
use super::{role, scope};
use crate::ledger::{Error, Reader, VertexKind};

use settle::Parts;

/// Causes that one step names; a step that has more says so.
pub(super) const CAUSES_PER_STEP_MAX: usize = 256;

/// A root cause, by the numbers of the graphs.
#[derive(Debug)]
pub(super) struct Cause {
    /// What differs.
    pub(super) reason: Reason,
    /// The first step at which it does: of the earlier build if it is only there.
    pub(super) at: At,
    /// At how many steps it does.
    pub(super) steps: usize,
}

/// A step of one of the builds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum At {
    /// Of the earlier.
    Before(usize),
    /// Of the later.
    After(usize),
}

/// Whether a step has the key that its pair had.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Key {
    /// It has.
    #[default]
    Same,
    /// It has, if the content of an input that is not known is the same.
    Perhaps,
    /// It has not.
    Other,
}

/// How a step of the later build differs from its pair.
#[derive(Clone, Debug, Default)]
pub(super) struct Difference {
    /// Numbers of its own causes.
    pub(super) own: Vec<u32>,
    /// Numbers of all causes, its own and those below, in order.
    pub(super) all: Arc<[u32]>,
    /// Numbers of those that are causes only if the content of an input differs, which is not known.
    pub(super) possible: Arc<[u32]>,
    /// Numbers of causes for which it ran whatever its key is.
    pub(super) fresh: Vec<u32>,
    /// Whether there are more than it names.
    pub(super) more: bool,
    /// Whether its key differs.
    pub(super) key: Key,
}

/// What differs between two builds.
#[derive(Debug, Default)]
pub(super) struct Causes {
    /// The root causes, in the order in which they were found.
    pub(super) list: Vec<Cause>,
    /// By step of the later build.
    pub(super) steps: Vec<Difference>,
}

/// Finds the causes between two builds, which have these ledgers.
pub(super) fn find(
    ledgers: [&Reader; 2],
    before: &Graph,
    after: &Graph,
    pairs: &Pairs,
) -> Result<Causes, Error> {
    let mut finder = Finder {
        ledgers,
        before,
        after,
        pairs,
        numbers: HashMap::new(),
        causes: Causes::default(),
        trees: HashMap::new(),
        pure: Vec::with_capacity(after.steps.len()),
        lost: false,
    };
    for step in 0..after.steps.len() {
        let pure = finder.is_pure(step);
        finder.pure.push(pure);
    }
    finder.lost = finder.has_lost_records();
    for step in 0..after.steps.len() {
        let difference = finder.step(step)?;
        finder.causes.steps.push(difference);
    }
    finder.ends();
    finder.parts();
    for step in 0..after.steps.len() {
        finder.causes.steps[step].fresh = finder.fresh(step);
    }
    Ok(finder.causes)
}

struct Finder<'a> {
    ledgers: [&'a Reader; 2],
    before: &'a Graph,
    after: &'a Graph,
    pairs: &'a Pairs,
    numbers: HashMap<(Reason, Option<At>), u32>,
    causes: Causes,
    /// Differences of local directories, by step of the later build.
    trees: HashMap<usize, Arc<Differences>>,
    /// By step: the canonical digest says everything.
    pure: Vec<bool>,
    /// The daemon has lost records between the builds.
    lost: bool,
}

impl Finder<'_> {
    /// Whether a step ran whose key says the same as in the earlier build, which left a result.
    fn has_lost_records(&self) -> bool {
        let after = self.after;
        let steps = self.after.steps.iter().zip(&self.pairs.before);
        let pairs = steps.filter_map(|(b, pair)| Some((&self.before.steps[(*pair)?], b)));
        pairs.zip(&self.pure).any(|((a, b), pure)| {
            let same = *pure && a.canonical == b.canonical && !after.is_fresh(b);
            same && b.outcome.has_run() && a.outcome.left_a_result()
        })
    }

    /// Causes for which a step ran whatever its key is: it was told to, or a step right below it
    /// was. The daemon looks for no record through such a step, but for one by content.
    fn fresh(&mut self, j: usize) -> Vec<u32> {
        let step = &self.after.steps[j];
        if !step.outcome.has_run() {
            return Vec::new();
        }
        let told: BTreeSet<usize> = if step.ignores_cache {
            BTreeSet::from([j])
        } else {
            self.after.told_below(step).collect()
        };
        told.into_iter()
            .map(|told| self.cause(Reason::NoCache, At::After(told)))
            .collect()
    }

    fn is_pure(&self, step: usize) -> bool {
        let step = &self.after.steps[step];
        let named = matches!(
            step.kind,
            VertexKind::Image | VertexKind::Git | VertexKind::Http | VertexKind::Source
        );
        step.is_described()
            && step.kind != VertexKind::Local
            && (!named || step.cache_map.is_some())
            && step
                .inputs
                .iter()
                .all(|link| link.step.is_some_and(|below| self.pure[below]))
    }

    /// The number of a cause; the same reason is the same cause where it is shared, and at one step.
    fn cause(&mut self, reason: Reason, at: At) -> u32 {
        let place = (!reason.is_shared()).then_some(at);
        let next = u32::try_from(self.causes.list.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry((reason.clone(), place)).or_insert(next);
        if number == next {
            self.causes.list.push(Cause {
                reason,
                at,
                steps: 0,
            });
        }
        if place.is_none() || number == next {
            self.causes.list[number as usize].steps += 1;
        }
        number
    }

    fn paired(&self, before: usize, after: usize) -> bool {
        self.pairs.before[after] == Some(before)
    }

    fn step(&mut self, j: usize) -> Result<Difference, Error> {
        let Some(i) = self.pairs.before[j] else {
            return Ok(self.added(j));
        };
        let (a, b) = (&self.before.steps[i], &self.after.steps[j]);
        let same_operation = a.canonical == b.canonical;
        if same_operation && (self.pure[j] || !b.is_described() && b.inputs.is_empty()) {
            return Ok(Difference::default());
        }
        if a.records.intersection(&b.records).next().is_some() {
            return Ok(Difference::default());
        }
        if b.kind == VertexKind::Local {
            return self.local(i, j);
        }
        if !(a.is_described() && b.is_described()) {
            let missing = format!("what `{}` asks for is not recorded", b.name);
            let own = vec![self.cause(Reason::Unknown { missing }, At::After(j))];
            return Ok(difference(own, Vec::new(), false));
        }
        self.compare(i, j)
    }

    /// A step without a pair: whether it is a cause is said by those that use it.
    fn added(&mut self, j: usize) -> Difference {
        let links = self.after.steps[j].inputs.iter();
        let below: Vec<usize> = links.filter_map(|link| link.step).collect();
        let all = below
            .iter()
            .flat_map(|&step| self.causes.steps[step].all.iter().copied());
        difference(Vec::new(), all.collect(), false)
    }

    /// A local directory: its own options, and its files. Files become causes when they are used.
    fn local(&mut self, i: usize, j: usize) -> Result<Difference, Error> {
        let (a, b) = (&self.before.steps[i], &self.after.steps[j]);
        let found = Arc::new(files::differences(self.ledgers, a, b)?);
        let equal = matches!(&*found, Differences::Known(changes) if changes.is_empty());
        self.trees.insert(j, found);
        Ok(Difference {
            key: if equal { Key::Same } else { Key::Other },
            ..Difference::default()
        })
    }

    fn compare(&mut self, i: usize, j: usize) -> Result<Difference, Error> {
        let (before, after) = (self.before, self.after);
        let (a, b) = (&before.steps[i], &after.steps[j]);
        let same_map = match (&a.cache_map, &b.cache_map) {
            (Some(a), Some(b)) => a == b,
            _ => a.fields == b.fields && a.salts == b.salts,
        };
        let roles = {
            let paired = |x, y| self.paired(x, y);
            role::inputs(before, i, after, j, &paired)
        };
        let mut parts = Parts::default();
        if !same_map {
            parts.key = Key::Other;
        }
        for &(x, y) in &roles.shared {
            let edge = self.edge(j, (&a.inputs[x], &b.inputs[y]), y)?;
            parts.edges.push((y, edge));
        }
        for &(x, y) in &roles.alone {
            parts.key = Key::Other;
            parts.own.extend(self.alone(i, j, (x, y)));
        }
        for Change { reason, input } in self.changes(i, j) {
            match input {
                None if same_map => {}
                None => parts.own.push(self.cause(reason, At::After(j))),
                Some(input) => {
                    let edge = parts.edges.iter().position(|(y, _)| *y == input);
                    let edge = edge.filter(|&edge| parts.edges[edge].1.key != Key::Same);
                    if let Some(edge) = edge {
                        let number = self.cause(reason, At::After(j));
                        parts.edges[edge].1.own.push(number);
                    }
                }
            }
        }
        if self.pairs.moved.contains(&j) {
            parts.own.push(self.cause(Reason::StepMoved, At::After(j)));
            parts.key = Key::Other;
        }
        if a.salts != b.salts {
            for reason in scope::reasons((before, a), (after, b), parts.explain()) {
                parts.own.push(self.cause(reason, At::After(j)));
            }
        }
        Ok(self.settle(j, parts))
    }

    fn changes(&self, i: usize, j: usize) -> Vec<Change> {
        let paired = |x, y| self.paired(x, y);
        changes((self.before, i), (self.after, j), &paired)
    }

    /// Steps that were added or removed at the end of a chain, which nobody uses.
    fn ends(&mut self) {
        for j in self.after.terminals() {
            // A vertex that is not ours has no known place in a chain.
            if self.pairs.before[j].is_none() && self.after.steps[j].is_described() {
                let i = self.meets(j);
                let edge = self.walk(j, 0, (i, Some(j)));
                let below = self.causes.steps[j].all.to_vec();
                let causes = edge.causes.into_iter().chain(below).collect();
                self.causes.steps[j] = difference(Vec::new(), causes, edge.more);
            }
        }
        for i in self.before.terminals() {
            if self.pairs.after[i].is_none() && self.before.steps[i].is_described() {
                let mut x = Some(i);
                while let Some(step) = x.filter(|&step| self.pairs.after[step].is_none()) {
                    self.cause(Reason::StepRemoved, At::Before(step));
                    x = self.before.steps[step].primary();
                }
            }
        }
    }

    /// The step of the earlier build that the chain below a step meets.
    fn meets(&self, j: usize) -> Option<usize> {
        let mut next = Some(j);
        while let Some(step) = next {
            if let Some(pair) = self.pairs.before[step] {
                return Some(pair);
            }
            next = self.after.steps[step].primary();
        }
        None
    }

    /// Gives added steps, which were visited before it was known what they are to others, their
    /// own cause, and those that belong to one of these the causes of that.
    fn parts(&mut self) {
        let mut at: HashMap<usize, Vec<u32>> = HashMap::new();
        for (number, cause) in (0..).zip(&self.causes.list) {
            if let (Reason::StepAdded, At::After(step)) = (&cause.reason, cause.at) {
                at.entry(step).or_default().push(number);
            }
        }
        let mut used_by: Vec<Option<usize>> = vec![None; self.after.steps.len()];
        for (user, step) in self.after.steps.iter().enumerate() {
            for below in step.inputs.iter().filter_map(|link| link.step) {
                used_by[below].get_or_insert(user);
            }
        }
        for j in (0..self.after.steps.len()).rev() {
            if self.pairs.before[j].is_some() {
                continue;
            }
            let own = at.remove(&j).unwrap_or_default();
            let of_user = used_by[j].filter(|_| own.is_empty());
            let user = of_user.map(|user| self.causes.steps[user].own.clone());
            let all = self.causes.steps[j].all.to_vec();
            let all = all.into_iter().chain(user.into_iter().flatten()).collect();
            self.causes.steps[j] = difference(own, all, self.causes.steps[j].more);
        }
    }
}

/// A difference of these causes.
fn difference(own: Vec<u32>, below: Vec<u32>, more: bool) -> Difference {
    let own: BTreeSet<u32> = own.into_iter().collect();
    let all: BTreeSet<u32> = own.iter().copied().chain(below).collect();
    Difference {
        more: more || all.len() > CAUSES_PER_STEP_MAX,
        all: all.into_iter().take(CAUSES_PER_STEP_MAX).collect(),
        own: own.into_iter().collect(),
        possible: Arc::default(),
        fresh: Vec::new(),
        key: Key::Other,
    }
}
