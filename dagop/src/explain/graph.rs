//! A recorded build as a graph of steps, made ready to be compared.
//!
//! A step is one operation of the build: its vertices of equal canonical digest taken together, so
//! that the random ids of sessions are gone. Where the daemon shares a vertex among clients, its
//! status may name that of another one: a vertex that is not ours is taken as our step of the same
//! name. Steps are numbered inputs first. Salts (the engine's
//! storage keys, see [`crate::salt`]) are taken out of the operation and kept beside it: they are a
//! matter of the call and compared with it.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;

use crate::ledger::{BuildRow, CallRow, Error, Evidence, OperationRow, Outcome, Reader};
use crate::ledger::{ImportRow, ImportedRow, VertexKind, VertexRow};
use crate::salt::{FILE_PREFIX, SECRET_PREFIX, Salt};

/// A build.
#[derive(Debug)]
pub(super) struct Graph {
    /// Its row.
    pub(super) build: BuildRow,
    /// Its steps, inputs before those that use them.
    pub(super) steps: Vec<Step>,
    /// Its calls, in order of start.
    pub(super) calls: Vec<CallRow>,
    /// Caches that it was told to read.
    pub(super) imports: Vec<ImportRow>,
    /// Whether its keys were predicted, which needs a daemon whose formulas are known.
    pub(super) is_predicted: bool,
}

/// An operation of a build.
#[derive(Debug)]
pub(super) struct Step {
    /// Canonical digest; of a vertex that is not ours the raw one.
    pub(super) canonical: String,
    /// Raw digests of its vertices.
    pub(super) raws: Vec<String>,
    /// Name for people.
    pub(super) name: String,
    /// Kind of operation.
    pub(super) kind: VertexKind,
    /// What became of it.
    pub(super) outcome: Outcome,
    /// When it began and ended.
    pub(super) times: (Option<u64>, Option<u64>),
    /// Digest of its cache map, where that follows from the operation.
    pub(super) cache_map: Option<String>,
    /// The operation without its salts; null if it is not recorded.
    pub(super) fields: Value,
    /// Its salts.
    pub(super) salts: Vec<String>,
    /// Its inputs.
    pub(super) inputs: Vec<Link>,
    /// Digests of its records without their links, with the output they are of.
    pub(super) keys: BTreeSet<(u64, String)>,
    /// Canonical digests of its records, with the output they are of.
    pub(super) records: BTreeSet<(u64, String)>,
    /// Diff ids of what its outputs added, where a cache told.
    pub(super) layers: BTreeSet<(u64, String)>,
    /// Digests of the trees that a local source gave.
    pub(super) trees: BTreeSet<String>,
    /// Calls whose result it carries: positions in [`Graph::calls`].
    pub(super) calls: Vec<usize>,
    /// It was told to run whatever the cache has.
    pub(super) ignores_cache: bool,
    /// What the imported caches have of it.
    pub(super) imported: Vec<ImportedRow>,
}

/// An input of a step.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    /// The step that makes it; none if the ledger does not have it.
    pub(super) step: Option<usize>,
    /// Which of its outputs.
    pub(super) output: u64,
    /// Which part is used, as a digest.
    pub(super) selector: Option<String>,
    /// The paths whose content is a key; empty for everything, none if content is no key.
    pub(super) content: Option<Vec<String>>,
    /// Records of that content.
    pub(super) contents: BTreeSet<String>,
}

impl Graph {
    /// Reads a build.
    pub(super) fn read(ledger: &Reader, build: BuildRow) -> Result<Self, Error> {
        let mut operations = ledger.operations(&build.id)?;
        let mut merged: Vec<(Step, Vec<(String, Link)>)> = Vec::new();
        let mut places: HashMap<String, usize> = HashMap::new();
        let mut by_raw: HashMap<String, usize> = HashMap::new();
        let mut vertices = ledger.vertices(&build.id)?;
        vertices.sort_by_key(|vertex| vertex.canonical.is_none());
        let mut names: HashMap<String, usize> = HashMap::new();
        for vertex in vertices {
            let own = names
                .get(&vertex.name)
                .filter(|_| vertex.canonical.is_none());
            if let Some(&place) = own {
                by_raw.insert(vertex.raw.clone(), place);
                merged[place].0.add(&vertex);
                continue;
            }
            let canonical = vertex.canonical.as_ref().unwrap_or(&vertex.raw);
            let place = *places.entry(canonical.clone()).or_insert_with(|| {
                let operation = operations.remove(canonical);
                merged.push(step(&vertex, operation));
                merged.len() - 1
            });
            by_raw.insert(vertex.raw.clone(), place);
            merged[place].0.add(&vertex);
            names.entry(vertex.name).or_insert(place);
        }
        let calls = ledger.calls(&build.id)?;
        let mut unsorted = Self {
            steps: Vec::with_capacity(merged.len()),
            calls,
            imports: Vec::new(),
            build,
            is_predicted: false,
        };
        for (mut step, links) in merged {
            let resolve = |(canonical, link): (String, Link)| Link {
                step: places.get(&canonical).copied(),
                ..link
            };
            step.inputs = links.into_iter().map(resolve).collect();
            unsorted.steps.push(step);
        }
        unsorted.add_facts(ledger, &by_raw)?;
        Ok(unsorted.sorted())
    }

    /// Adds what is known of the cache and which call made what.
    fn add_facts(&mut self, ledger: &Reader, by_raw: &HashMap<String, usize>) -> Result<(), Error> {
        let cache = ledger.cache(&self.build.id)?;
        let steps = &mut self.steps;
        for row in cache.contents {
            let input = usize::try_from(row.input).unwrap_or(usize::MAX);
            let step = by_raw.get(&row.vertex).map(|&place| &mut steps[place]);
            if let Some(link) = step.and_then(|step| step.inputs.get_mut(input)) {
                link.contents.insert(row.record);
            }
        }
        for row in cache.records {
            self.is_predicted |= row.evidence == Evidence::Predicted;
            let Some(step) = by_raw.get(&row.vertex).map(|&place| &mut steps[place]) else {
                continue;
            };
            step.keys.insert((row.output, row.digest));
            if let Some(canonical) = row.canonical {
                step.records.insert((row.output, canonical));
            }
            let layer = row.layer.and_then(|number| {
                let number = usize::try_from(number).ok()?;
                cache.layers.get(number)?.diff_id.clone()
            });
            step.layers.extend(layer.map(|id| (row.output, id)));
        }
        for row in cache.trees {
            if let Some(&place) = by_raw.get(&row.vertex) {
                steps[place].trees.insert(row.listing);
            }
        }
        for row in cache.imported {
            if let Some(&place) = by_raw.get(&row.vertex) {
                steps[place].imported.push(row);
            }
        }
        self.imports = cache.imports;
        for (number, call) in self.calls.iter().enumerate() {
            let raw = call.vertex.as_ref();
            if let Some(&place) = raw.and_then(|raw| by_raw.get(raw)) {
                steps[place].calls.push(number);
            }
        }
        Ok(())
    }

    /// The same with inputs before those that use them, otherwise in the order in which the ledger
    /// has the steps.
    fn sorted(mut self) -> Self {
        let count = self.steps.len();
        let mut order = Vec::with_capacity(count);
        let mut seen = vec![false; count];
        for root in 0..count {
            let mut stack = vec![(root, 0)];
            while let Some((place, next)) = stack.pop() {
                if next == 0 && std::mem::replace(&mut seen[place], true) {
                    continue;
                }
                match self.steps[place].inputs.get(next) {
                    Some(link) => {
                        stack.push((place, next + 1));
                        if let Some(below) = link.step.filter(|&below| !seen[below]) {
                            stack.push((below, 0));
                        }
                    }
                    None => order.push(place),
                }
            }
        }
        let mut positions = vec![0; count];
        for (position, &place) in order.iter().enumerate() {
            positions[place] = position;
        }
        for (place, step) in self.steps.iter_mut().enumerate() {
            for link in &mut step.inputs {
                let below = link.step.map(|below| positions[below]);
                // Digests cannot form a circle; a file that says so is forged.
                link.step = below.filter(|&below| below < positions[place]);
            }
        }
        let mut steps: Vec<Option<Step>> = self.steps.into_iter().map(Some).collect();
        self.steps = order
            .into_iter()
            .filter_map(|place| steps[place].take())
            .collect();
        self
    }

    /// The steps right below one that were told to run whatever the cache has.
    pub(super) fn told_below(&self, step: &Step) -> impl Iterator<Item = usize> {
        let below = step.inputs.iter().filter_map(|link| link.step);
        below.filter(|&below| self.steps[below].ignores_cache)
    }

    /// Whether a step runs whatever its key is.
    pub(super) fn is_fresh(&self, step: &Step) -> bool {
        step.ignores_cache || self.told_below(step).next().is_some()
    }

    /// For each step, whether no other step uses it.
    pub(super) fn terminals(&self) -> Vec<usize> {
        let mut used = vec![false; self.steps.len()];
        for link in self.steps.iter().flat_map(|step| &step.inputs) {
            if let Some(below) = link.step {
                used[below] = true;
            }
        }
        (0..used.len()).filter(|&step| !used[step]).collect()
    }
}

/// A step of one vertex, its links with the canonical digests of what they lead to.
fn step(vertex: &VertexRow, operation: Option<OperationRow>) -> (Step, Vec<(String, Link)>) {
    let (mut fields, inputs) = match operation {
        Some(operation) => (operation.fields, operation.inputs),
        None => (Value::Null, Vec::new()),
    };
    let salts = take_salts(&mut fields, inputs.len());
    let links = inputs.into_iter().map(|input| {
        let link = Link {
            step: None,
            output: input.output,
            selector: input.selector,
            content: input.content,
            contents: BTreeSet::new(),
        };
        (input.vertex, link)
    });
    let canonical = vertex.canonical.as_ref().unwrap_or(&vertex.raw);
    let step = Step {
        outcome: vertex.outcome,
        cache_map: vertex.predicted_cache_map.clone(),
        fields,
        salts,
        ..Step::new(canonical.clone(), vertex.name.clone(), vertex.kind)
    };
    (step, links.collect())
}

impl Step {
    /// A step of which nothing else is known.
    pub(super) fn new(canonical: String, name: String, kind: VertexKind) -> Self {
        Self {
            canonical,
            raws: Vec::new(),
            name,
            kind,
            outcome: Outcome::Unknown,
            times: (None, None),
            cache_map: None,
            fields: Value::Null,
            salts: Vec::new(),
            inputs: Vec::new(),
            keys: BTreeSet::new(),
            records: BTreeSet::new(),
            layers: BTreeSet::new(),
            trees: BTreeSet::new(),
            calls: Vec::new(),
            ignores_cache: false,
            imported: Vec::new(),
        }
    }

    /// Adds a vertex of the same operation. What ran counts before what did not.
    fn add(&mut self, vertex: &VertexRow) {
        self.raws.push(vertex.raw.clone());
        self.ignores_cache |= vertex.ignore_cache;
        if !self.outcome.has_run() && vertex.outcome != Outcome::NotNeeded {
            self.outcome = vertex.outcome;
        }
        let (started, completed) = &mut self.times;
        *started = [*started, vertex.started_ms].into_iter().flatten().min();
        *completed = (*completed).max(vertex.completed_ms);
    }

    /// The parts of its operation, by the name that BuildKit's messages give it.
    pub(super) fn body(&self, name: &str) -> Option<&Value> {
        self.fields.get(name)
    }

    /// Whether what it asks for is recorded.
    pub(super) fn is_described(&self) -> bool {
        self.fields.is_object()
    }

    /// The input that it is a change of: the root of a command, the tree that files are written
    /// to. What remains of a graph when only these links are kept is a set of chains.
    pub(super) fn primary(&self) -> Option<usize> {
        let index = if let Some(exec) = self.body("exec") {
            let mounts = exec.get("mounts")?.as_array()?;
            let root = mounts.iter().find(|mount| mount["dest"] == "/")?;
            input_index(root.get("input"))?
        } else if let Some(file) = self.body("file") {
            let index = file.get("actions")?.get(0)?.get("input")?.as_i64()?;
            usize::try_from(index).ok()?
        } else {
            0
        };
        self.inputs.get(index)?.step
    }
}

/// An index in a message, in which an absent field is 0 and a negative number says "none".
pub(super) fn input_index(value: Option<&Value>) -> Option<usize> {
    match value {
        None => Some(0),
        Some(value) => usize::try_from(value.as_i64()?).ok(),
    }
}

/// Takes the salts out of an operation. An action of a file operation counts the inputs and the
/// actions before it, so the indexes behind a salt shift.
pub(super) fn take_salts(fields: &mut Value, inputs: usize) -> Vec<String> {
    let mut salts = Vec::new();
    if let Some(mounts) = fields
        .pointer_mut("/exec/mounts")
        .and_then(Value::as_array_mut)
    {
        mounts.retain(|mount| {
            let id = mount.pointer("/secretOpt/ID").and_then(Value::as_str);
            let salt = id.and_then(|id| id.strip_prefix(SECRET_PREFIX));
            salts.extend(salt.map(str::to_owned));
            salt.is_none()
        });
    }
    let actions = fields
        .pointer_mut("/file/actions")
        .and_then(Value::as_array_mut);
    let Some(actions) = actions else { return salts };
    let is_salt = |action: &Value| {
        let path = action.pointer("/rm/path").and_then(Value::as_str)?;
        path.strip_prefix(FILE_PREFIX).map(str::to_owned)
    };
    // Where each result went that an action can refer to.
    let mut moved: Vec<Value> = (0..inputs).map(Value::from).collect();
    let mut kept = 0;
    for action in actions.iter_mut() {
        for field in ["input", "secondaryInput"] {
            let index = action[field].as_i64().and_then(|i| usize::try_from(i).ok());
            if let Some(place) = index.and_then(|index| moved.get(index)) {
                action[field] = place.clone();
            }
        }
        match is_salt(action) {
            // What the salt did nothing to is what follows works on.
            Some(salt) => {
                moved.push(action["input"].clone());
                salts.push(salt);
            }
            None => {
                moved.push(Value::from(inputs + kept));
                kept += 1;
            }
        }
    }
    actions.retain(|action| is_salt(action).is_none());
    salts
}

/// The call whose storage key a salt carries, among those of a step.
pub(super) fn salted<'a>(graph: &'a Graph, step: &Step, salt: &str) -> Option<&'a CallRow> {
    let calls = step.calls.iter().map(|&call| &graph.calls[call]);
    let mut of_step = calls.filter(|call| Salt::new(&call.storage_key).is(salt));
    of_step.next().or_else(|| {
        let mut all = graph.calls.iter();
        all.find(|call| Salt::new(&call.storage_key).is(salt))
    })
}
