//! What the daemon holds, and which earlier step made it.
//!
//! The daemon tells of each record a description and a time of creation, and not which key leads to
//! it. A record was made by a step if it is described as that step's result is, and was created while
//! the step ran; both times are the daemon's. A record that two steps may have made is nobody's, and
//! one that no step of the ledger made is another client's.

use std::collections::HashMap;

use super::graph::{Graph, Step};
use crate::DiskRecord;
use crate::event::UnixMillis;
use crate::ledger::VertexKind;

/// The kind of records that can be results of steps.
const REGULAR: &str = "regular";

/// How records of sources are described: layers of images, checkouts, downloads, and local
/// directories, which turn into regular records once something is made on them.
const SOURCES: [&str; 4] = [
    "pulled from ",
    "local source for ",
    "git snapshot for ",
    "http url ",
];

/// How records that came out of an imported cache are described.
const IMPORTED: &str = "imported ";

/// A step of an earlier build: positions of build and step.
pub(super) type Maker = (usize, usize);

/// From when to when a step ran, and which it is.
type Run = ((UnixMillis, UnixMillis), Maker);

/// A record that may be the result of a step.
pub(super) struct Held {
    pub(super) id: String,
    pub(super) description: String,
    /// The steps that may have made it.
    pub(super) makers: Vec<Maker>,
    is_of_command: bool,
}

/// The records that can be results of a step, as far as they are known by number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Class {
    pub(super) records: usize,
    /// Those that no step of the ledger made.
    pub(super) unexplained: usize,
}

/// All of them.
#[derive(Default)]
pub(super) struct Store {
    pub(super) records: Vec<Held>,
    /// Some may be results of any step.
    pub(super) has_imported: bool,
    by_maker: HashMap<Maker, Vec<usize>>,
    /// Of commands by description.
    commands: HashMap<String, Class>,
    all_commands: Class,
    others: Class,
}

impl Store {
    pub(super) fn new(disk: &[DiskRecord], earlier: &[Graph]) -> Self {
        let runs = runs(earlier);
        let mut store = Self::default();
        for record in disk.iter().filter(|record| record.kind == REGULAR) {
            let description = &record.description;
            if SOURCES.iter().any(|source| description.starts_with(source)) {
                continue;
            }
            if description.starts_with(IMPORTED) || description.is_empty() {
                store.has_imported = true;
                continue;
            }
            let made_in = |(first, last): (UnixMillis, UnixMillis)| {
                let created = record.created_ms;
                created.is_some_and(|created| first <= created && created <= last)
            };
            let runs = runs.get(description.as_str());
            let makers = runs.into_iter().flatten();
            let makers = makers.filter(|(run, _)| made_in(*run));
            store.add(record, makers.map(|(_, maker)| *maker).collect());
        }
        store
    }

    fn add(&mut self, record: &DiskRecord, makers: Vec<Maker>) {
        let description = &record.description;
        let is_of_command = is_of_command(description);
        let count = |class: &mut Class| {
            class.records += 1;
            class.unexplained += usize::from(makers.is_empty());
        };
        if is_of_command {
            count(self.commands.entry(description.clone()).or_default());
            count(&mut self.all_commands);
        } else {
            count(&mut self.others);
        }
        for &maker in &makers {
            let made = self.by_maker.entry(maker).or_default();
            made.push(self.records.len());
        }
        self.records.push(Held {
            id: record.id.clone(),
            description: description.clone(),
            makers,
            is_of_command,
        });
    }

    /// How many records may be the result of a step. Of a command they are those with its
    /// description, or all of commands if that is not known. Of anything else they are all others:
    /// their descriptions are names, which another client may have chosen differently for the same
    /// thing.
    pub(super) fn class(&self, step: &Step, output: u64) -> Class {
        match (step.kind, step.description(output)) {
            (VertexKind::Exec, Some(text)) => self.commands.get(text).copied().unwrap_or_default(),
            (VertexKind::Exec, None) => self.all_commands,
            _ => self.others,
        }
    }

    /// Those of them that an earlier step may have made.
    pub(super) fn made_by(
        &self,
        maker: Maker,
        step: &Step,
        output: u64,
    ) -> impl Iterator<Item = usize> {
        let is_command = step.kind == VertexKind::Exec;
        let wanted = step.description(output).filter(|_| is_command);
        let made = self.by_maker.get(&maker).into_iter().flatten().copied();
        made.filter(move |&record| {
            let held = &self.records[record];
            held.is_of_command == is_command
                && wanted.is_none_or(|wanted| wanted == held.description)
        })
    }
}

fn is_of_command(description: &str) -> bool {
    description.starts_with("mount ") && description.contains(" from exec ")
}

/// When the steps ran that left something, by how that is described.
fn runs(earlier: &[Graph]) -> HashMap<&str, Vec<Run>> {
    let mut runs: HashMap<&str, Vec<Run>> = HashMap::new();
    for (build, graph) in earlier.iter().enumerate() {
        for (position, step) in graph.steps.iter().enumerate() {
            // A failed step leaves what it had made until then.
            let Some(run) = step.run.filter(|_| step.outcome.has_run()) else {
                continue;
            };
            for description in step.descriptions() {
                runs.entry(description)
                    .or_default()
                    .push((run, (build, position)));
            }
        }
    }
    runs
}
