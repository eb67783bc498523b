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
//! A salt is the engine's key and depends on everything under the call. It is a cause only where
//! a scope has another value, its time to live has passed, or nothing else explains it.
//!
//! The same change of circumstances (a variable that all commands of a chain have) is one cause.
//! A step names at most [`CAUSES_PER_STEP_MAX`] causes.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use super::change::{Change, changes};
use super::files::{self, Differences};
use super::graph::{Graph, Link};
use super::pair::Pairs;
use super::reason::Reason;
use super::{role, scope};
use crate::ledger::{Error, Reader, VertexKind};

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

/// How a step of the later build differs from its pair.
#[derive(Clone, Debug, Default)]
pub(super) struct Difference {
    /// Numbers of its own causes.
    pub(super) own: Vec<u32>,
    /// Numbers of all causes, its own and those below, in order.
    pub(super) all: Arc<[u32]>,
    /// Whether there are more than it names.
    pub(super) more: bool,
    /// Whether its key differs.
    pub(super) differs: bool,
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
    };
    for step in 0..after.steps.len() {
        let pure = finder.is_pure(step);
        finder.pure.push(pure);
        let difference = finder.step(step)?;
        finder.causes.steps.push(difference);
    }
    finder.ends();
    finder.parts();
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
}

/// What an input contributes to the difference of a step.
#[derive(Default)]
struct Edge {
    /// Its key differs.
    differs: bool,
    /// The causes.
    causes: Vec<u32>,
    /// There are more.
    more: bool,
    /// Causes of the step itself: an input that is another one.
    own: Vec<u32>,
}

impl Finder<'_> {
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
        let mut found = difference(Vec::new(), all.collect(), false);
        found.differs = true;
        found
    }

    /// A local directory: its own options, and its files. Files become causes when they are used.
    fn local(&mut self, i: usize, j: usize) -> Result<Difference, Error> {
        let (a, b) = (&self.before.steps[i], &self.after.steps[j]);
        let found = Arc::new(files::differences(self.ledgers, a, b)?);
        let equal = matches!(&*found, Differences::Known(changes) if changes.is_empty());
        self.trees.insert(j, found);
        Ok(Difference {
            differs: !equal,
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
        let mut own = Vec::new();
        let (mut below, mut more, mut differs) = (Vec::new(), false, !same_map);
        let mut equal: HashSet<usize> = HashSet::new();
        for &(x, y) in &roles.shared {
            let edge = self.edge(j, (&a.inputs[x], &b.inputs[y]), y)?;
            differs |= edge.differs;
            more |= edge.more;
            if !edge.differs {
                equal.insert(y);
            }
            own.extend(edge.own);
            below.extend(edge.causes);
        }
        for &(x, y) in &roles.alone {
            differs = true;
            own.extend(self.alone(i, j, (x, y)));
        }
        for Change { reason, input } in self.changes(i, j) {
            let counts = match input {
                Some(input) => !equal.contains(&input),
                None => !same_map,
            };
            if counts {
                own.push(self.cause(reason, At::After(j)));
            }
        }
        if self.pairs.moved.contains(&j) {
            own.push(self.cause(Reason::StepMoved, At::After(j)));
            differs = true;
        }
        if a.salts != b.salts {
            let explained = !own.is_empty() || !below.is_empty();
            for reason in scope::reasons((before, a), (after, b), explained) {
                own.push(self.cause(reason, At::After(j)));
            }
        }
        if !differs {
            return Ok(Difference::default());
        }
        if own.is_empty() && below.is_empty() {
            let missing = format!("which hidden or unrecorded part of `{}` differs", b.name);
            own.push(self.cause(Reason::Unknown { missing }, At::After(j)));
        }
        Ok(difference(own, below, more))
    }

    fn changes(&self, i: usize, j: usize) -> Vec<Change> {
        let paired = |x, y| self.paired(x, y);
        changes((self.before, i), (self.after, j), &paired)
    }

    /// An input that both steps have in the same role.
    fn edge(&mut self, user: usize, (a, b): (&Link, &Link), input: usize) -> Result<Edge, Error> {
        let by_content = b.content.is_some() && a.content.is_some();
        let known = !a.contents.is_empty() && !b.contents.is_empty();
        let shared = a.contents.intersection(&b.contents).next().is_some();
        if by_content && known && shared {
            return Ok(Edge::default());
        }
        let (Some(x), Some(y)) = (a.step, b.step) else {
            let missing = "what an input is, which the ledger does not have".to_owned();
            let own = vec![self.cause(Reason::Unknown { missing }, At::After(user))];
            return Ok(Edge {
                differs: true,
                own,
                ..Edge::default()
            });
        };
        let local = self.after.steps[y].kind == VertexKind::Local;
        if self.pairs.moved.contains(&user) && self.after.steps[user].primary() == Some(y) {
            // At another place it is on another step, which is the same as saying that it moved.
            let below = &self.causes.steps[y];
            return Ok(Edge {
                differs: true,
                causes: below.all.to_vec(),
                more: below.more,
                own: Vec::new(),
            });
        }
        if !self.paired(x, y) || self.pairs.moved.contains(&y) {
            return Ok(self.walk(user, input, (Some(x), Some(y))));
        }
        if local {
            return self.directory(user, input, y, (by_content, known));
        }
        let below = &self.causes.steps[y];
        if below.differs {
            return Ok(Edge {
                differs: true,
                causes: below.all.to_vec(),
                more: below.more,
                own: Vec::new(),
            });
        }
        if a.output != b.output {
            let name =
                |output: u64| Some(format!("output {output} of `{}`", self.after.steps[y].name));
            let (from, to) = (name(a.output), name(b.output));
            let reason = Reason::Rewired {
                input: self.role(user, input),
                from,
                to,
            };
            let own = vec![self.cause(reason, At::After(user))];
            return Ok(Edge {
                differs: true,
                own,
                ..Edge::default()
            });
        }
        // Another part of the same tree; what part, is a change of the operation.
        Ok(Edge {
            differs: a.selector != b.selector || by_content && known && !shared,
            ..Edge::default()
        })
    }

    /// An input from a local directory that is the same in both builds but for its files.
    fn directory(
        &mut self,
        user: usize,
        input: usize,
        local: usize,
        (by_content, known): (bool, bool),
    ) -> Result<Edge, Error> {
        let source = directory_name(self.after, local);
        if !by_content {
            let own = vec![self.cause(Reason::SessionKeyed { source }, At::After(user))];
            return Ok(Edge {
                differs: true,
                own,
                ..Edge::default()
            });
        }
        let found = self.trees.get(&local).map(Arc::clone);
        let reasons = match found.as_deref() {
            Some(Differences::Known(changes)) => {
                files::reasons(&source, changes, (self.after, user, input), known)
            }
            Some(Differences::Missing(build)) => vec![Reason::Unknown {
                missing: format!("the files of {source} in the {build} build"),
            }],
            None => Vec::new(),
        };
        let mut causes = Vec::new();
        for reason in reasons {
            let number = self.cause(reason, At::After(local));
            causes.push(number);
        }
        let held = &mut self.causes.steps[local];
        let all: BTreeSet<u32> = held.own.iter().chain(&causes).copied().collect();
        held.own = all.iter().copied().collect();
        held.all = held.own.clone().into();
        let differs = !causes.is_empty() || known;
        Ok(Edge {
            differs,
            causes,
            ..Edge::default()
        })
    }

    /// An input that only one of the steps has in a role.
    fn alone(&mut self, i: usize, j: usize, (x, y): (Option<usize>, Option<usize>)) -> Vec<u32> {
        let (a, b) = (&self.before.steps[i], &self.after.steps[j]);
        let x = x.and_then(|x| a.inputs[x].step);
        let from = y.and_then(|y| b.inputs[y].step);
        if b.body("merge").is_none() {
            let edge = self.walk(j, y.unwrap_or(0), (x, from));
            return edge.own.into_iter().chain(edge.causes).collect();
        }
        let reason = Reason::Rewired {
            input: "what is merged".to_owned(),
            from: x.map(|x| self.before.steps[x].name.clone()),
            to: from.map(|y| self.after.steps[y].name.clone()),
        };
        vec![self.cause(reason, At::After(j))]
    }

    /// Walks down from two steps that are no pair to the next that are.
    fn walk(&mut self, user: usize, input: usize, from: (Option<usize>, Option<usize>)) -> Edge {
        let (mut x, mut y) = from;
        let mut causes = Vec::new();
        while let Some(step) = y {
            let reason = match self.pairs.before[step] {
                None => Reason::StepAdded,
                Some(_) if self.pairs.moved.contains(&step) => Reason::StepMoved,
                Some(_) => break,
            };
            causes.push(self.cause(reason, At::After(step)));
            y = self.after.steps[step].primary();
        }
        while let Some(step) = x {
            match self.pairs.after[step] {
                None => causes.push(self.cause(Reason::StepRemoved, At::Before(step))),
                Some(pair) if self.pairs.moved.contains(&pair) => {
                    causes.push(self.cause(Reason::StepMoved, At::After(pair)));
                }
                Some(_) => break,
            }
            x = self.before.steps[step].primary();
        }
        let mut edge = Edge {
            differs: true,
            causes,
            ..Edge::default()
        };
        match (x, y) {
            (None, None) => {}
            (Some(x), Some(y)) if self.paired(x, y) => {
                let below = &self.causes.steps[y];
                edge.causes.extend(below.all.iter());
                edge.more = below.more;
            }
            (x, y) => {
                let from = x.map(|x| self.before.steps[x].name.clone());
                let to = y.map(|y| self.after.steps[y].name.clone());
                let input = self.role(user, input);
                edge.own
                    .push(self.cause(Reason::Rewired { input, from, to }, At::After(user)));
            }
        }
        edge
    }

    /// What an input is to a step, in words.
    fn role(&self, user: usize, input: usize) -> String {
        let step = &self.after.steps[user];
        let mounts = step.body("exec").and_then(|exec| exec["mounts"].as_array());
        let mut mounts = mounts.into_iter().flatten();
        match mounts.find(|mount| super::exec::input(mount) == Some(input)) {
            Some(mount) => format!("what is mounted at {}", super::change::text(&mount["dest"])),
            None => format!("input {input}"),
        }
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
                let mut found = difference(Vec::new(), causes, edge.more);
                found.differs = true;
                self.causes.steps[j] = found;
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
            let mut found = difference(own, all, self.causes.steps[j].more);
            found.differs = true;
            self.causes.steps[j] = found;
        }
    }
}

/// The name of a local directory.
pub(super) fn directory_name(graph: &Graph, step: usize) -> String {
    let step = &graph.steps[step];
    let identifier = step.fields.pointer("/source/identifier");
    let name = identifier.and_then(serde_json::Value::as_str);
    let name = name.unwrap_or(&step.name);
    name.strip_prefix("local://").unwrap_or(name).to_owned()
}

/// A difference of these causes.
fn difference(own: Vec<u32>, below: Vec<u32>, more: bool) -> Difference {
    let own: BTreeSet<u32> = own.into_iter().collect();
    let all: BTreeSet<u32> = own.iter().copied().chain(below).collect();
    Difference {
        more: more || all.len() > CAUSES_PER_STEP_MAX,
        all: all.into_iter().take(CAUSES_PER_STEP_MAX).collect(),
        own: own.into_iter().collect(),
        differs: true,
    }
}
