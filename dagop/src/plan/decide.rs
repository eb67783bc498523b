//! The verdicts: what is asked for, from the results down, and what is held of it.
//!
//! Consumers come before what they use. The outputs that a document evaluates are asked for. A step
//! that runs asks for all of its inputs. A step that is found by its definition asks for none, and
//! one that is found by content for the inputs whose content led to it. Of an unknown step it is not
//! known whether it asks, except where its record could be found by the content of an input alone:
//! then that input is needed either way.

use std::collections::{BTreeMap, BTreeSet};

use super::graph::{Graph, Input, Step};
use super::held::{Class, Maker, Store};
use super::same::{Relation, Same};
use super::{Reason, Verdict};
use crate::ledger::{Outcome, VertexKind};

/// Whether something asks for an output.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Asked {
    /// It does.
    Surely,
    /// That depends on this step.
    Perhaps(String),
}

/// What is known of the result behind one output.
enum Result {
    /// It is there, made by this step.
    Held { record: usize, maker: Maker },
    /// It is not.
    Absent(Reason),
    /// It cannot be told.
    Unknown(Reason),
}

/// Everything that verdicts are made from.
pub(super) struct World<'a> {
    pub(super) planned: &'a Graph,
    pub(super) earlier: &'a [Graph],
    pub(super) store: &'a Store,
    /// The build reads a cache from elsewhere.
    pub(super) imports: bool,
}

/// What was decided of a step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Decision {
    pub(super) verdict: Verdict,
    pub(super) reason: Reason,
    /// Of a miss, the newest earlier build in which it had the very same key and a result.
    pub(super) same_key: Option<usize>,
}

/// The decisions on the steps that have a verdict, by position.
pub(super) fn decide(world: &World<'_>, roots: &[(String, u64)]) -> BTreeMap<usize, Decision> {
    let relations: Vec<Relation<'_>> = world
        .earlier
        .iter()
        .map(|earlier| Relation::new(world.planned, earlier))
        .collect();
    let mut decider = Decider {
        world,
        relations,
        asked: vec![BTreeMap::new(); world.planned.steps.len()],
    };
    for (canonical, output) in roots {
        if let Some(&step) = world.planned.positions.get(canonical) {
            decider.asked[step].insert(*output, Asked::Surely);
        }
    }
    let mut decisions = BTreeMap::new();
    for position in (0..world.planned.steps.len()).rev() {
        if !world.planned.steps[position].is_source() {
            let (verdict, reason) = decider.step(position);
            let same_key = (verdict == Verdict::Miss).then(|| decider.same_key(position));
            let decision = Decision {
                verdict,
                reason,
                same_key: same_key.flatten(),
            };
            decisions.insert(position, decision);
        }
    }
    decisions
}

struct Decider<'a> {
    world: &'a World<'a>,
    relations: Vec<Relation<'a>>,
    /// By position and output.
    asked: Vec<BTreeMap<u64, Asked>>,
}

impl Decider<'_> {
    fn step(&mut self, position: usize) -> (Verdict, Reason) {
        let asked = std::mem::take(&mut self.asked[position]);
        if asked.is_empty() {
            return (Verdict::Hit, Reason::NotNeeded);
        }
        let mut held = None;
        let mut open = None;
        let mut above = None;
        for (output, asked) in asked {
            match (self.result(position, output), asked) {
                (Result::Absent(reason), Asked::Surely) => {
                    self.ask_all(position, &Asked::Surely);
                    return (Verdict::Miss, reason);
                }
                (Result::Unknown(reason), Asked::Surely) => open = Some(reason),
                (Result::Absent(_) | Result::Unknown(_), Asked::Perhaps(step)) => {
                    above = Some(Reason::Above { step });
                }
                (Result::Held { record, maker }, _) => held = Some((record, maker)),
            }
        }
        if let Some(reason) = open.or(above) {
            self.ask_where_unknown(position);
            return (Verdict::Unknown, reason);
        }
        match held {
            Some((record, maker)) => self.hit(position, record, maker),
            None => (Verdict::Hit, Reason::NotNeeded),
        }
    }

    fn hit(&mut self, position: usize, record: usize, (build, maker): Maker) -> (Verdict, Reason) {
        let world = self.world;
        let inputs = world.planned.steps[position].inputs.as_deref();
        let inputs = inputs.unwrap_or_default();
        let links: Vec<Same> = (0..inputs.len())
            .map(|input| self.relations[build].link_of(position, maker, input))
            .collect();
        let by_content = links.iter().any(|link| *link != Same::Yes);
        for (input, link) in inputs.iter().zip(links) {
            if link != Same::Yes {
                self.ask(input.step, input.output, Asked::Surely);
            } else if by_content && input.keyed_by_content {
                // The daemon may want to know this content as well.
                let step = world.planned.steps[position].name.clone();
                self.ask(input.step, input.output, Asked::Perhaps(step));
            }
        }
        let reason = Reason::Held {
            build: world.earlier[build].build.id.clone(),
            record: world.store.records[record].id.clone(),
            by_content,
        };
        (Verdict::Hit, reason)
    }

    /// What is known of the result of an output.
    fn result(&self, position: usize, output: u64) -> Result {
        let world = self.world;
        let step = &world.planned.steps[position];
        let mut unsure = None;
        for record in self.candidates(position, output) {
            let held = &world.store.records[record];
            let made = held
                .makers
                .iter()
                .map(|&maker| (maker, self.same(position, maker)));
            let made: Vec<(Maker, Same)> = made.filter(|(_, same)| *same != Same::No).collect();
            match made[..] {
                [] => {}
                [(maker, Same::Yes)] if held.makers.len() == 1 => {
                    // Its own name may be another one: names are in no key.
                    let made = &world.earlier[maker.0].steps[maker.1];
                    if made.description(output) == Some(held.description.as_str())
                        && self.kept(maker, output)
                    {
                        return Result::Held { record, maker };
                    }
                    unsure = Some(Reason::OutputNotKept { output });
                }
                [(maker, Same::Maybe)] => unsure = Some(self.lack(step, maker)),
                _ => unsure = Some(Reason::Ambiguous),
            }
        }
        self.without(step, unsure, world.store.class(step, output))
    }

    /// What follows when no record is known to be the result.
    fn without(&self, step: &Step, unsure: Option<Reason>, class: Class) -> Result {
        let reason = if let Some(reason) = unsure {
            Some(reason)
        } else if self.world.imports || self.world.store.has_imported {
            Some(Reason::Imported)
        } else if class.unexplained > 0 {
            Some(Reason::Unexplained {
                records: class.unexplained,
            })
        } else if step.inputs.is_none() {
            Some(Reason::Key)
        } else if !matches!(step.kind, VertexKind::Exec | VertexKind::File) {
            // A merge of one tree, for example, is that tree.
            Some(Reason::NoRecord)
        } else {
            None
        };
        match (reason, class.records) {
            (Some(reason), _) => Result::Unknown(reason),
            (None, 0) => Result::Absent(Reason::NothingHeld),
            (None, records) => Result::Absent(Reason::OtherKey { records }),
        }
    }

    /// The records of steps whose key the planned one has or may have.
    fn candidates(&self, position: usize, output: u64) -> BTreeSet<usize> {
        let store = self.world.store;
        let step = &self.world.planned.steps[position];
        let mut records = BTreeSet::new();
        for (build, relation) in self.relations.iter().enumerate() {
            for (earlier, _) in relation.like(position) {
                let maker = (build, earlier);
                if self.same(position, maker) != Same::No {
                    records.extend(store.made_by(maker, step, output));
                }
            }
        }
        records
    }

    fn same_key(&self, position: usize) -> Option<usize> {
        let mut builds = self.relations.iter().zip(self.world.earlier);
        builds.position(|(relation, earlier)| {
            let mut like = relation.like(position);
            like.any(|(step, same)| {
                let outcome = earlier.steps[step].outcome;
                same == Same::Yes && outcome.left_a_result()
            })
        })
    }

    /// A step that failed was filed under no key.
    fn same(&self, position: usize, (build, maker): Maker) -> Same {
        match self.world.earlier[build].steps[maker].outcome {
            Outcome::Executed => self.relations[build].same(position, maker),
            _ => Same::No,
        }
    }

    /// Whether an output was kept when the step ran: the daemon files only those that were asked
    /// for. The only output that anything used was; of several, those of which a user ran, and those
    /// that no step used, which the document asked for then.
    fn kept(&self, (build, maker): Maker, output: u64) -> bool {
        let graph = &self.world.earlier[build];
        let used = &graph.steps[maker].used;
        if !used.contains(&output) || used.len() == 1 {
            return used.contains(&output);
        }
        let users = graph.users[maker].iter().map(|&user| &graph.steps[user]);
        let mut users = users.filter(|step| {
            let mut inputs = step.inputs.as_deref().unwrap_or_default().iter();
            inputs.any(|input| input.step == Some(maker) && input.output == output)
        });
        let ran = |step: &Step| matches!(step.outcome, Outcome::Executed | Outcome::Failed);
        users
            .next()
            .is_none_or(|first| ran(first) || users.any(ran))
    }

    /// What is missing to tell whether a step has the key of another.
    fn lack(&self, step: &Step, (build, maker): Maker) -> Reason {
        let planned = self.world.planned;
        let relation = &self.relations[build];
        let (mut step, mut maker) = (step, Some(maker));
        loop {
            let inputs = step.inputs.as_deref().unwrap_or_default();
            let is_open = |input: &&Input| input.keyed_by_content && input.content.is_none();
            if let Some(of) = inputs.iter().find(is_open).and_then(|input| input.step) {
                let of = planned.steps[of].name.clone();
                return Reason::Content { of };
            }
            let before = maker.and_then(|maker| relation.unknown_before(step, maker));
            if let Some(of) = before {
                let of = planned.steps[of].name.clone();
                return Reason::EarlierContent { of };
            }
            // The key of what makes an input is missing, and what is missing there comes first.
            let below = maker.and_then(|maker| relation.first_doubt(step, maker));
            let Some((next, like)) = below else {
                return Reason::Key;
            };
            (step, maker) = (&planned.steps[next], like);
        }
    }

    fn ask_where_unknown(&mut self, position: usize) {
        let step = &self.world.planned.steps[position];
        let inputs = step.inputs.as_deref().unwrap_or_default();
        for (number, input) in inputs.iter().enumerate() {
            let asked = if input.keyed_by_content && self.only_by_content(position, number) {
                Asked::Surely
            } else {
                Asked::Perhaps(step.name.clone())
            };
            self.ask(input.step, input.output, asked);
        }
    }

    /// Whether no record that is held can be found through what makes this input: it is then
    /// evaluated in any case, to be hashed or to be used.
    fn only_by_content(&self, position: usize, input: usize) -> bool {
        let step = &self.world.planned.steps[position];
        let outputs: Vec<u64> = match &step.described {
            super::graph::Described::As(texts) => texts.keys().copied().collect(),
            super::graph::Described::Hidden => return false,
        };
        if self.world.imports || self.world.store.has_imported {
            return false;
        }
        let explained = |output: &u64| self.world.store.class(step, *output).unexplained == 0;
        if !outputs.iter().all(explained) {
            return false;
        }
        let records = outputs
            .iter()
            .flat_map(|&output| self.candidates(position, output));
        let mut makers = records.flat_map(|record| &self.world.store.records[record].makers);
        makers.all(|&(build, maker)| {
            self.same(position, (build, maker)) == Same::No
                || self.relations[build].link_of(position, maker, input) == Same::No
        })
    }

    fn ask_all(&mut self, position: usize, asked: &Asked) {
        let world = self.world;
        let inputs = world.planned.steps[position].inputs.as_deref();
        for input in inputs.unwrap_or_default() {
            self.ask(input.step, input.output, asked.clone());
        }
    }

    fn ask(&mut self, step: Option<usize>, output: u64, asked: Asked) {
        let Some(step) = step else { return };
        let known = self.asked[step]
            .entry(output)
            .or_insert_with(|| asked.clone());
        if asked == Asked::Surely {
            *known = asked;
        }
    }
}
