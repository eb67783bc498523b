//! The table in memory, done slowly and obviously: what `cache/model_tests.rs` compares with.
//!
//! There are no hash tables, no forests and no positions: results are a list, classes are a label on
//! each name, and congruence compares all terms with each other until nothing changes. Forgetting
//! ([`Model::sweep`]) rebuilds the facts from those that a stored result can be reached by.

use std::collections::{BTreeMap, BTreeSet};

/// A name of something.
pub(super) type Name = u32;

#[derive(Debug, Clone)]
pub(super) struct Stored {
    /// What the resolver computed; tells results apart.
    pub(super) value: u64,
    pub(super) exact: Name,
    pub(super) home: Name,
    pub(super) private: Option<usize>,
    pub(super) volatile: bool,
    pub(super) portable: bool,
    pub(super) expires: Option<u64>,
    pub(super) weight: usize,
    /// Names that it holds besides.
    pub(super) equal: Option<Name>,
    pub(super) owners: BTreeSet<usize>,
    pub(super) used: u64,
    pub(super) age: u64,
}

impl Stored {
    pub(super) fn of(value: u64, exact: Name, home: Name) -> Self {
        Self {
            value,
            exact,
            home,
            private: None,
            volatile: false,
            portable: true,
            expires: None,
            weight: 0,
            equal: None,
            owners: BTreeSet::new(),
            used: 0,
            age: 0,
        }
    }

    fn allows(&self, session: usize) -> bool {
        self.private.is_none_or(|owner| owner == session)
    }
}

/// A call taken apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Call {
    pub(super) digest: u32,
    pub(super) inputs: Vec<Name>,
}

/// What is known: a label on each name, and terms over labels.
#[derive(Debug, Default)]
pub(super) struct Facts {
    class: BTreeMap<Name, u32>,
    content: BTreeMap<u32, u32>,
    terms: BTreeSet<(u32, Vec<u32>, u32)>,
    labels: u32,
}

impl Facts {
    fn know(&mut self, name: Name) -> u32 {
        let new = self.labels + 1;
        let class = *self.class.entry(name).or_insert(new);
        self.labels = self.labels.max(class);
        class
    }

    fn unite(&mut self, a: u32, b: u32) {
        let contents = (self.content.get(&a).copied(), self.content.get(&b).copied());
        if a == b || matches!(contents, (Some(_), Some(_))) {
            return;
        }
        let label = |class: u32| if class == b { a } else { class };
        self.class
            .values_mut()
            .for_each(|class| *class = label(*class));
        self.content = std::mem::take(&mut self.content)
            .into_iter()
            .map(|(class, content)| (label(class), content))
            .collect();
        self.terms = std::mem::take(&mut self.terms)
            .into_iter()
            .map(|(digest, inputs, output)| {
                (
                    digest,
                    inputs.into_iter().map(label).collect(),
                    label(output),
                )
            })
            .collect();
    }

    /// Unites the outputs of equal terms until there are none.
    fn close(&mut self) {
        loop {
            let mut outputs: BTreeMap<(u32, &[u32]), u32> = BTreeMap::new();
            let found = self.terms.iter().find_map(|(digest, inputs, output)| {
                let known = *outputs.entry((*digest, inputs)).or_insert(*output);
                (known != *output).then_some((known, *output))
            });
            match found {
                Some((a, b)) => self.unite(a, b),
                None => return,
            }
        }
    }

    fn set_content(&mut self, class: u32, content: u32) {
        let known = self.content.iter().find(|(_, known)| **known == content);
        match known.map(|(class, _)| *class) {
            Some(other) => self.unite(class, other),
            None => {
                self.content.entry(class).or_insert(content);
            }
        }
        self.close();
    }
}

#[derive(Debug, Default)]
pub(super) struct Model {
    pub(super) stored: Vec<Stored>,
    pub(super) facts: Facts,
    pub(super) sessions: BTreeSet<usize>,
    pub(super) clock: u64,
    pub(super) budget: usize,
}

impl Model {
    pub(super) fn release(&mut self, session: usize) {
        self.sessions.remove(&session);
        for stored in &mut self.stored {
            stored.owners.remove(&session);
        }
        self.stored.retain(|stored| {
            stored.private != Some(session) && !(stored.volatile && stored.owners.is_empty())
        });
        self.make_room();
    }

    pub(super) fn expire(&mut self, now: u64) {
        self.stored
            .retain(|stored| stored.expires.is_none_or(|expires| expires > now));
        self.forget_all_if_empty();
    }

    fn forget_all_if_empty(&mut self) {
        if self.stored.is_empty() {
            self.facts = Facts::default();
        }
    }

    /// Gives up idle results, the one used longest ago first.
    fn make_room(&mut self) {
        loop {
            let weights: usize = self.stored.iter().map(|stored| stored.weight).sum();
            let idle = self.stored.iter().filter(|stored| stored.owners.is_empty());
            let oldest = idle.map(|stored| stored.used).min();
            match oldest {
                Some(used) if weights > self.budget => {
                    self.stored.retain(|stored| stored.used != used);
                }
                _ => break,
            }
        }
        self.forget_all_if_empty();
    }

    fn adopt(&mut self, at: usize, session: usize) -> u64 {
        self.clock += 1;
        let stored = &mut self.stored[at];
        stored.owners.insert(session);
        stored.used = self.clock;
        stored.value
    }

    fn exact(&self, key: Name, session: usize) -> Option<usize> {
        let found = |owner| {
            let found = |stored: &Stored| stored.exact == key && stored.private == owner;
            self.stored.iter().position(found)
        };
        found(Some(session)).or_else(|| found(None))
    }

    pub(super) fn hit(&mut self, key: Name, session: usize) -> Option<u64> {
        let at = self.exact(key, session)?;
        Some(self.adopt(at, session))
    }

    /// Home and value of an equal result.
    pub(super) fn equal(
        &self,
        key: Name,
        call: Option<&Call>,
        session: usize,
    ) -> Option<(Name, u64)> {
        let class = self.facts.class.get(&key);
        let by_class = class.and_then(|class| self.oldest(*class, session));
        by_class.or_else(|| {
            let call = call?;
            let inputs = call.inputs.iter().map(|input| self.input(*input, session));
            let inputs: Vec<u32> = inputs.collect::<Option<_>>()?;
            let mut terms = self.facts.terms.iter();
            let found = terms.find(|(digest, known, _)| (*digest, known) == (call.digest, &inputs));
            self.oldest(found?.2, session)
        })
    }

    /// The class of what a name stands for now.
    fn input(&self, name: Name, session: usize) -> Option<u32> {
        let stored = self.exact(name, session).map(|at| self.stored[at].home);
        self.facts.class.get(&stored.unwrap_or(name)).copied()
    }

    fn oldest(&self, class: u32, session: usize) -> Option<(Name, u64)> {
        let found = self.stored.iter().filter(|stored| {
            let home = self.facts.class.get(&stored.home);
            stored.portable && stored.allows(session) && home == Some(&class)
        });
        let oldest = found.min_by_key(|stored| stored.age)?;
        Some((oldest.home, oldest.value))
    }

    /// Stores a result; what is there afterwards.
    pub(super) fn store(
        &mut self,
        new: Stored,
        session: usize,
        content: Option<u32>,
        call: Option<&Call>,
        now: u64,
    ) -> Option<u64> {
        if !self.sessions.contains(&session) {
            return None;
        }
        if let Some(at) = self.exact(new.exact, session) {
            return Some(self.adopt(at, session));
        }
        if new.expires.is_some_and(|expires| expires <= now) {
            return Some(new.value);
        }
        let (home, equal) = (new.home, new.equal);
        self.clock += 1;
        self.stored.push(Stored {
            age: self.clock,
            ..new
        });
        let at = self.stored.len() - 1;
        self.facts.know(home);
        if let Some(equal) = equal {
            let (a, b) = (self.facts.know(home), self.facts.know(equal));
            self.facts.unite(a, b);
            self.facts.close();
        }
        if let Some(content) = content {
            let class = self.facts.know(home);
            self.facts.set_content(class, content);
        }
        if let Some(call) = call {
            let mut inputs = Vec::new();
            for input in &call.inputs {
                let known = self.input(*input, session);
                inputs.push(known.unwrap_or_else(|| self.facts.know(*input)));
            }
            let output = self.facts.know(home);
            self.facts.terms.insert((call.digest, inputs, output));
            self.facts.close();
        }
        let value = self.adopt(at, session);
        self.make_room();
        Some(value)
    }

    pub(super) fn learn(&mut self, name: Name, content: u32) {
        if let Some(class) = self.facts.class.get(&name) {
            self.facts.set_content(*class, content);
        }
    }

    /// Keeps what a stored result can be reached by: the classes of results, the inputs of terms
    /// that give a kept class, and the names that results hold.
    pub(super) fn sweep(&mut self) {
        let facts = &mut self.facts;
        let homes = self.stored.iter().map(|stored| facts.class[&stored.home]);
        let mut live: BTreeSet<u32> = homes.collect();
        loop {
            let inputs: BTreeSet<u32> = facts
                .terms
                .iter()
                .filter(|(_, _, output)| live.contains(output))
                .flat_map(|(_, inputs, _)| inputs.iter().copied())
                .collect();
            if inputs.is_subset(&live) {
                break;
            }
            live.extend(inputs);
        }
        facts.terms.retain(|(_, _, output)| live.contains(output));
        facts.content.retain(|class, _| live.contains(class));
        let stored = &self.stored;
        let held = |name: Name| {
            let holds = |stored: &Stored| {
                let exact = stored.private.is_none() && stored.exact == name;
                exact || stored.home == name || stored.equal == Some(name)
            };
            stored.iter().any(holds)
        };
        facts
            .class
            .retain(|name, class| live.contains(class) && held(*name));
    }

    /// Numbers of classes and terms.
    pub(super) fn sizes(&self) -> (usize, usize) {
        let facts = &self.facts;
        let mut classes: BTreeSet<u32> = facts.class.values().copied().collect();
        classes.extend(facts.content.keys());
        for (_, inputs, output) in &facts.terms {
            classes.extend(inputs);
            classes.insert(*output);
        }
        (classes.len(), facts.terms.len())
    }
}
