//! The steps of one build with everything that keys are made of, as the ledger has it.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use serde_json::Value as Json;

use crate::event::UnixMillis;
use crate::ledger::{self, BuildRow, Evidence, OperationRow, Outcome, Reader, VertexKind};

/// What a redaction leaves of a secret.
const REDACTED: &str = "***";

/// Operations by canonical digest.
pub(super) type Operations = HashMap<String, OperationRow>;

/// A build's steps, inputs before those that use them.
#[derive(Debug, Default)]
pub(super) struct Graph {
    pub(super) build: BuildRow,
    pub(super) steps: Vec<Step>,
    /// Positions by canonical digest.
    pub(super) positions: HashMap<String, usize>,
    /// By position, the steps that use it.
    pub(super) users: Vec<Vec<usize>>,
}

/// One step.
#[derive(Debug, Clone)]
pub(super) struct Step {
    pub(super) canonical: String,
    pub(super) name: String,
    pub(super) kind: VertexKind,
    /// Digest of its cache map, if that follows from the operation.
    pub(super) cache_map: Option<String>,
    /// Digests of its records; of an image that is pinned there are two.
    pub(super) records: BTreeSet<String>,
    /// Its outputs that something used: another step, or the document.
    pub(super) used: BTreeSet<u64>,
    /// Its inputs; none if the ledger does not have them.
    pub(super) inputs: Option<Vec<Input>>,
    pub(super) outcome: Outcome,
    pub(super) run: Option<(UnixMillis, UnixMillis)>,
    /// What the daemon calls its results.
    pub(super) described: Described,
    /// Of a download, the digest of its bytes.
    pub(super) checksum: Option<String>,
}

/// One input of a step.
#[derive(Debug, Clone, Default)]
pub(super) struct Input {
    /// Position of the step that makes it.
    pub(super) step: Option<usize>,
    pub(super) output: u64,
    pub(super) selector: Option<String>,
    /// Whether its content is a key too.
    pub(super) keyed_by_content: bool,
    /// That key, where it is known.
    pub(super) content: Option<String>,
    /// That key is made of whole trees or of paths that must be there, without patterns.
    pub(super) exact: bool,
}

/// How the daemon describes the records of results.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum Described {
    /// Texts by output.
    As(BTreeMap<u64, String>),
    /// It cannot be told: a secret is left out of what we have, or the text is too long.
    #[default]
    Hidden,
}

impl Graph {
    /// Reads a build. `operations` are those of builds that were read before, from the same ledger.
    pub(super) fn read(
        ledger: &Reader,
        build: BuildRow,
        operations: &mut Operations,
    ) -> Result<Self, ledger::Error> {
        let id = build.id.clone();
        let new = ledger.operations_but(&id, |digest| operations.contains_key(digest))?;
        operations.extend(new);
        let mut contents: HashMap<(String, u64), Option<String>> = HashMap::new();
        let mut records: HashMap<String, (BTreeSet<String>, BTreeSet<u64>)> = HashMap::new();
        let mut canonicals = HashMap::new();
        let mut rows = HashMap::new();
        for vertex in ledger.vertices(&id)? {
            let Some(canonical) = vertex.canonical.clone() else {
                continue;
            };
            canonicals.insert(vertex.raw.clone(), canonical.clone());
            rows.entry(canonical).or_insert(vertex);
        }
        for content in ledger.contents(&id)? {
            let Some(canonical) = canonicals.get(&content.vertex) else {
                continue;
            };
            let known = contents.entry((canonical.clone(), content.input));
            let known = known.or_insert_with(|| Some(content.record.clone()));
            // Two directories of one name in two states: neither is *the* content.
            if known.as_ref().is_some_and(|known| *known != content.record) {
                *known = None;
            }
        }
        for record in ledger.records(&id)? {
            if record.evidence == Evidence::Predicted
                && let Some(canonical) = canonicals.get(&record.vertex)
            {
                let (digests, used) = records.entry(canonical.clone()).or_default();
                digests.insert(record.digest);
                used.insert(record.output);
            }
        }
        let mut graph = Self {
            build,
            ..Self::default()
        };
        let mut names: Vec<&str> = rows.keys().map(String::as_str).collect();
        names.sort_unstable();
        for canonical in order(&names, operations) {
            let Some(row) = rows.remove(&canonical) else {
                continue;
            };
            let operation = &operations[&canonical];
            let filters = filters(&operation.fields);
            let inputs = operation
                .inputs
                .iter()
                .enumerate()
                .map(|(at, input)| Input {
                    step: graph.positions.get(&input.vertex).copied(),
                    output: input.output,
                    selector: input.selector.clone(),
                    keyed_by_content: input.content.is_some(),
                    exact: !filters && input.content.as_deref().is_some_and(are_exact),
                    content: contents
                        .get(&(canonical.clone(), at as u64))
                        .cloned()
                        .flatten(),
                });
            let (digests, used) = records.remove(&canonical).unwrap_or_default();
            let step = Step {
                name: row.name.clone(),
                kind: row.kind,
                cache_map: row.predicted_cache_map,
                records: digests,
                used,
                inputs: (!operation.fields.is_null()).then(|| inputs.collect()),
                outcome: row.outcome,
                run: row.started_ms.zip(row.completed_ms),
                described: described(row.kind, &row.name, &operation.fields),
                checksum: checksum(&operation.fields),
                canonical: canonical.clone(),
            };
            graph.add(step);
        }
        Ok(graph)
    }

    /// Adds a step, whose inputs are there.
    pub(super) fn add(&mut self, step: Step) {
        let position = self.steps.len();
        self.users.push(Vec::new());
        for made in step.inputs.iter().flatten().filter_map(|input| input.step) {
            self.users[made].push(position);
        }
        self.positions.insert(step.canonical.clone(), position);
        self.steps.push(step);
    }
}

/// The canonical digests of operations, inputs first. Iterative: chains are long.
fn order(names: &[&str], operations: &Operations) -> Vec<String> {
    let mut done: HashSet<&str> = HashSet::new();
    let mut ordered = Vec::with_capacity(names.len());
    let mut stack: Vec<(&str, bool)> = Vec::new();
    for name in names {
        stack.push((*name, false));
        while let Some((name, inputs_done)) = stack.pop() {
            if inputs_done {
                ordered.push(name.to_owned());
                continue;
            }
            let Some(operation) = operations.get(name) else {
                continue;
            };
            if !done.insert(name) {
                continue;
            }
            stack.push((name, true));
            let inputs = operation.inputs.iter();
            stack.extend(inputs.map(|input| (input.vertex.as_str(), false)));
        }
    }
    ordered
}

/// The daemon's descriptions: of a command its words behind each mount it may write to, of
/// everything else the vertex's name.
fn described(kind: VertexKind, name: &str, fields: &Json) -> Described {
    if kind != VertexKind::Exec {
        if name.contains(REDACTED) || name.len() >= ledger::TEXT_BYTES_MAX {
            return Described::Hidden;
        }
        return Described::As(BTreeMap::from([(0, name.to_owned())]));
    }
    let exec = &fields["exec"];
    let (Some(args), Some(mounts)) = (exec["meta"]["args"].as_array(), exec["mounts"].as_array())
    else {
        return Described::Hidden;
    };
    let words: Vec<&str> = args.iter().filter_map(Json::as_str).collect();
    let command = words.join(" ");
    if command.contains(REDACTED) || words.len() != args.len() {
        return Described::Hidden;
    }
    let mut texts = BTreeMap::new();
    // Of a secret or an agent the output says nothing; binds have the type zero.
    for mount in mounts.iter().filter(|mount| mount["mountType"].is_null()) {
        // Zero fields are left out.
        let output = mount["output"].as_i64().unwrap_or(0);
        if let (Ok(output), Some(dest)) = (u64::try_from(output), mount["dest"].as_str()) {
            texts.insert(output, format!("mount {dest} from exec {command}"));
        }
    }
    Described::As(texts)
}

/// Whether a file operation takes only what matches patterns.
fn filters(fields: &Json) -> bool {
    let actions = fields["file"]["actions"].as_array();
    let mut copies = actions.into_iter().flatten().map(|action| &action["copy"]);
    let patterns = ["include_patterns", "exclude_patterns"];
    copies.any(|copy| patterns.iter().any(|list| copy[list].is_array()))
}

fn are_exact(paths: &[String]) -> bool {
    paths
        .iter()
        .all(|path| !path.contains(['*', '?', '[', '\\']))
}

fn checksum(fields: &Json) -> Option<String> {
    let checksum = fields["source"]["attrs"]["http.checksum"].as_str();
    checksum.map(str::to_owned)
}

impl Step {
    /// Sources are looked at in every build, and have no verdict.
    pub(super) fn is_source(&self) -> bool {
        self.kind.is_source()
    }

    /// All that its results are called.
    pub(super) fn descriptions(&self) -> impl Iterator<Item = &str> {
        let texts = match &self.described {
            Described::As(texts) => Some(texts.values()),
            Described::Hidden => None,
        };
        texts.into_iter().flatten().map(String::as_str)
    }

    pub(super) fn description(&self, output: u64) -> Option<&str> {
        match &self.described {
            Described::As(texts) => texts.get(&output).map(String::as_str),
            Described::Hidden => None,
        }
    }
}
