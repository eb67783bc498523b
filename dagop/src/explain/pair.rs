//! Which step of one build is which step of another: a pairing that survives edits and renames.
//!
//! 1. Steps of equal canonical digest are pairs, and so is everything below them.
//! 2. The results of the builds (steps that no other uses) are paired: equal call path, then most
//!    steps alike below, then likeness. The best pair goes first.
//! 3. From each pair of results the *chains* of primary inputs are followed down to what is paired
//!    already, and aligned (`align.rs`): first by signature, then by essence, then by similarity.
//!    A step that was put in or taken out therefore shifts nothing, and a step whose arguments
//!    were changed or whose files were renamed keeps its pair.
//! 4. The other inputs of each pair are paired by role (the target of a mount, the action that
//!    copies from it, the place in a merge), and begin chains of their own.
//! 5. Of what is left, steps with the same unique signature are the same step at another place:
//!    they *moved*. So are commands and file operations with the same unique essence, and commands
//!    of which each is the other's best likeness by far ([`LIKENESS_MIN`]): they moved and were
//!    edited. Anything less alike was removed and added.
//!
//! Each step is in one chain, so everything is O(n log n) plus the gaps in which all is changed,
//! which are bounded (`align.rs`). Nothing depends on the order of hash tables.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};

use super::align::align;
use serde_json::Value;

use super::graph::{Graph, Step};
use super::role;
use super::similar::{Profile, WORDS_MAX, share};

/// Steps of a chain that are looked at to tell which results belong together.
const LOOK_BELOW: usize = 64;

/// Results that may have a step in common for it to say which belong together.
const OWNERS_MAX: usize = 16;

/// The share of words that the arguments of two commands have in common for them to be the same
/// command at another place. Commands that moved are paired without any other sign, so that less
/// would take what was removed for what was added elsewhere.
const LIKENESS_MIN: f64 = 0.8;

/// Commands left over on one side that are compared by likeness; of more, none are.
const LIKENESS_STEPS_MAX: usize = 256;

/// The pairs of two builds: `before` and `after`.
#[derive(Debug)]
pub(super) struct Pairs {
    /// For each step of `after`, the step of `before`.
    pub(super) before: Vec<Option<usize>>,
    /// For each step of `before`, the step of `after`.
    pub(super) after: Vec<Option<usize>>,
    /// Steps of `after` that are at another place than they were.
    pub(super) moved: BTreeSet<usize>,
}

/// A pairing in the making.
struct Pairing<'a> {
    graphs: [&'a Graph; 2],
    profiles: [Vec<Profile>; 2],
    pairs: Pairs,
    /// Steps that are in a chain already.
    seen: [Vec<bool>; 2],
    /// Heads of chains to align.
    heads: VecDeque<(usize, usize)>,
}

/// Pairs the steps of two builds.
pub(super) fn pair(before: &Graph, after: &Graph) -> Pairs {
    let graphs = [before, after];
    let mut pairing = Pairing {
        graphs,
        profiles: graphs.map(|graph| graph.steps.iter().map(Profile::new).collect()),
        pairs: Pairs {
            before: vec![None; after.steps.len()],
            after: vec![None; before.steps.len()],
            moved: BTreeSet::new(),
        },
        seen: graphs.map(|graph| vec![false; graph.steps.len()]),
        heads: VecDeque::new(),
    };
    pairing.equal();
    pairing.results();
    pairing.chains();
    // What is surest goes first: it begins chains in which others find their pairs in place.
    for moved in [Pairing::moved, Pairing::moved_and_edited] {
        for (i, j) in moved(&mut pairing) {
            pairing.queue_inputs(i, j);
        }
        pairing.chains();
    }
    pairing.pairs
}

impl Pairing<'_> {
    fn equal(&mut self) {
        let steps = self.graphs[0].steps.iter().enumerate();
        let known: HashMap<&str, usize> = steps.map(|(i, s)| (&*s.canonical, i)).collect();
        for (j, step) in self.graphs[1].steps.iter().enumerate() {
            if let Some(&i) = known.get(&*step.canonical) {
                self.set(i, j);
            }
        }
    }

    fn set(&mut self, i: usize, j: usize) {
        self.pairs.after[i] = Some(j);
        self.pairs.before[j] = Some(i);
        self.seen[0][i] = true;
        self.seen[1][j] = true;
    }

    /// Queues pairs of results, the surest first.
    fn results(&mut self) {
        let free = |side: usize| -> Vec<usize> {
            let mut terminals = self.graphs[side].terminals();
            terminals.retain(|&step| !self.seen[side][step]);
            terminals
        };
        let (left, right) = (free(0), free(1));
        let mut candidates = self.candidates(&left, &right);
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0).then((a.1, a.2).cmp(&(b.1, b.2))));
        let mut used = [HashSet::new(), HashSet::new()];
        for (_, i, j) in candidates {
            if !used[0].contains(&i) && !used[1].contains(&j) {
                used[0].insert(i);
                used[1].insert(j);
                self.heads.push_back((i, j));
            }
        }
        // What has nothing in common with anything: by order within each kind.
        let mut rest: HashMap<_, VecDeque<usize>> = HashMap::new();
        for j in right.into_iter().filter(|j| !used[1].contains(j)) {
            let kind = self.graphs[1].steps[j].kind;
            rest.entry(kind).or_default().push_back(j);
        }
        for i in left.into_iter().filter(|i| !used[0].contains(i)) {
            let same_kind = rest.get_mut(&self.graphs[0].steps[i].kind);
            if let Some(j) = same_kind.and_then(VecDeque::pop_front) {
                self.heads.push_back((i, j));
            }
        }
    }

    /// Pairs of results that have something in common, with how much that is.
    fn candidates(&self, left: &[usize], right: &[usize]) -> Vec<(f64, usize, usize)> {
        let marks = |side: usize, results: &[usize]| -> HashMap<u64, Vec<usize>> {
            let mut owners: HashMap<u64, Vec<usize>> = HashMap::new();
            for &result in results {
                for mark in self.marks(side, result) {
                    owners.entry(mark).or_default().push(result);
                }
            }
            owners.retain(|_, owners| owners.len() <= OWNERS_MAX);
            owners
        };
        let (mine, theirs) = (marks(0, left), marks(1, right));
        let mut shared: HashMap<(usize, usize), f64> = HashMap::new();
        for (mark, owners) in &mine {
            for &j in theirs.get(mark).into_iter().flatten() {
                for &i in owners {
                    *shared.entry((i, j)).or_default() += 1.0;
                }
            }
        }
        let scored = shared.into_iter().filter_map(|((i, j), count)| {
            let similarity = self.profiles[0][i].similarity(&self.profiles[1][j])?;
            Some((count + similarity, i, j))
        });
        scored.collect()
    }

    /// What tells a result from others: its call's path, and the steps of its chain.
    fn marks(&self, side: usize, result: usize) -> BTreeSet<u64> {
        let graph = self.graphs[side];
        let mut marks = BTreeSet::new();
        for &call in &graph.steps[result].calls {
            marks.insert(super::similar::hash(&("path", &graph.calls[call].path)));
        }
        let mut next = Some(result);
        for _ in 0..LOOK_BELOW {
            let Some(step) = next else { break };
            let profile = &self.profiles[side][step];
            marks.insert(profile.signature);
            marks.insert(profile.essence);
            next = graph.steps[step].primary();
        }
        marks
    }

    fn chains(&mut self) {
        while let Some((i, j)) = self.heads.pop_front() {
            let (left, right) = (self.chain(0, i), self.chain(1, j));
            let (a, b) = (&self.profiles[0], &self.profiles[1]);
            let tier = |profile: &Profile, tier: usize| match tier {
                0 => profile.signature,
                _ => profile.essence,
            };
            let pairs = align(
                (left.len(), right.len()),
                2,
                (&|t, x| tier(&a[left[x]], t), &|t, y| tier(&b[right[y]], t)),
                &|x, y| a[left[x]].similarity(&b[right[y]]),
            );
            for &(x, y) in &pairs {
                self.set(left[x], right[y]);
            }
            for (x, y) in pairs {
                self.queue_inputs(left[x], right[y]);
            }
        }
    }

    /// The chain of primary inputs from a step down to what is in another chain.
    fn chain(&mut self, side: usize, head: usize) -> Vec<usize> {
        let mut chain = Vec::new();
        let mut next = Some(head);
        while let Some(step) = next {
            if std::mem::replace(&mut self.seen[side][step], true) {
                break;
            }
            chain.push(step);
            next = self.graphs[side].steps[step].primary();
        }
        chain
    }

    /// Queues the inputs of a pair that have the same role.
    fn queue_inputs(&mut self, i: usize, j: usize) {
        let [before, after] = self.graphs;
        for (x, y) in role::inputs(before, i, after, j, &|_, _| false).shared {
            let (a, b) = (&before.steps[i].inputs[x], &after.steps[j].inputs[y]);
            if let (Some(a), Some(b)) = (a.step, b.step) {
                self.heads.push_back((a, b));
            }
        }
    }

    /// Pairs steps that are at another place than they were.
    fn moved(&mut self) -> Vec<(usize, usize)> {
        self.unique(&|profile| Some(profile.signature))
    }

    /// Pairs steps that are at another place, and not the same as they were.
    fn moved_and_edited(&mut self) -> Vec<(usize, usize)> {
        let mut all = self.unique(&|profile| profile.is_step().then_some(profile.essence));
        all.extend(self.alike());
        all
    }

    /// Pairs what is left by a mark that only one step on either side has.
    fn unique(&mut self, mark: &dyn Fn(&Profile) -> Option<u64>) -> Vec<(usize, usize)> {
        let free = |side: usize, paired: &[Option<usize>]| -> HashMap<u64, Option<usize>> {
            let mut unique: HashMap<u64, Option<usize>> = HashMap::new();
            for (step, _) in paired.iter().enumerate().filter(|(_, pair)| pair.is_none()) {
                let Some(mark) = mark(&self.profiles[side][step]) else {
                    continue;
                };
                let place = unique.entry(mark).or_insert(Some(step));
                if *place != Some(step) {
                    *place = None;
                }
            }
            unique
        };
        let left = free(0, &self.pairs.after);
        let right = free(1, &self.pairs.before);
        let both = left
            .into_iter()
            .filter_map(|(mark, i)| Some((i?, (*right.get(&mark)?)?)));
        let both = both.collect();
        self.set_moved(both)
    }

    /// Pairs commands that are left of which each is the other's only best likeness.
    fn alike(&mut self) -> Vec<(usize, usize)> {
        let free = |side: usize, paired: &[Option<usize>]| -> Vec<usize> {
            let steps = paired.iter().enumerate().filter(|(_, pair)| pair.is_none());
            let steps = steps.map(|(step, _)| step);
            steps
                .filter(|&step| self.graphs[side].steps[step].body("exec").is_some())
                .collect()
        };
        let (left, right) = (free(0, &self.pairs.after), free(1, &self.pairs.before));
        if left.len().max(right.len()) > LIKENESS_STEPS_MAX {
            return Vec::new();
        }
        let words = |side: usize, steps: &[usize]| -> Vec<Vec<u64>> {
            let steps = steps.iter().map(|&step| &self.graphs[side].steps[step]);
            steps.map(argument_words).collect()
        };
        let (a, b) = (words(0, &left), words(1, &right));
        // The only best of the other side, if it is alike enough.
        let best = |own: &Vec<u64>, others: &[Vec<u64>]| -> Option<usize> {
            let shares = others.iter().map(|other| share(own, other));
            let shares: Vec<f64> = shares.collect();
            let most = shares.iter().copied().fold(0.0, f64::max);
            let mut places = (0..shares.len()).filter(|&place| shares[place] >= most);
            let place = places.next().filter(|_| most >= LIKENESS_MIN)?;
            places.next().is_none().then_some(place)
        };
        let mut both = Vec::new();
        for (x, own) in a.iter().enumerate() {
            if let Some(y) = best(own, &b)
                && best(&b[y], &a) == Some(x)
            {
                both.push((left[x], right[y]));
            }
        }
        self.set_moved(both)
    }

    fn set_moved(&mut self, mut both: Vec<(usize, usize)>) -> Vec<(usize, usize)> {
        both.sort_unstable();
        for &(i, j) in &both {
            self.set(i, j);
            self.pairs.moved.insert(j);
        }
        both
    }
}

/// Hashes of the words of a command's arguments, sorted.
fn argument_words(step: &Step) -> Vec<u64> {
    let args = step
        .fields
        .pointer("/exec/meta/args")
        .and_then(Value::as_array);
    let args = args.into_iter().flatten().filter_map(Value::as_str);
    let words = args.flat_map(str::split_whitespace).take(WORDS_MAX);
    let mut words: Vec<u64> = words.map(super::similar::hash).collect();
    words.sort_unstable();
    words
}
