//! Puts the parts of a prediction together: cache maps, then contents, then records.

use hashbrown::HashMap;

use super::{
    Content, InputKeys, Inputs, Lack, OutputKeys, Prediction, VertexKeys, config,
    contents::{self, Trees},
    graph::{Edge, Graph, Nested},
    maps::Maps,
    missing::Lacks,
    records::{Input, Keys, Records},
};
use crate::{
    Digest,
    cachemap::{CacheMap, Profile},
    llb::{Definition, Output},
};

/// Everything that is found out on the way. What is not known is a position in `lacks`.
pub(super) struct Predictor {
    graph: Graph,
    lacks: Lacks,
    /// By vertex; nothing is missing where a local directory has none.
    maps: Vec<Result<CacheMap, Option<usize>>>,
    /// Second cache maps of images, by vertex.
    chains: HashMap<usize, Result<Digest, usize>>,
    /// By vertex and input.
    contents: HashMap<(usize, usize), Result<Digest, usize>>,
    /// Build operations whose graph is missing.
    no_graph: HashMap<usize, usize>,
    records: Records,
    /// By vertex and, in the order of `graph.outputs`, by output.
    keys: Vec<Vec<Keys>>,
}

/// Deepest nesting of graphs in files of graphs.
const NESTING_MAX: usize = 8;

/// Largest file with a graph.
const GRAPH_SIZE_MAX: u64 = 64 << 20;

/// The graph with those in its build operations, as far as they are known, and what is missing of
/// the others by raw digest of the operation.
fn expand(
    result: &Output,
    inputs: &dyn Inputs,
    profile: Profile,
) -> (Graph, HashMap<Digest, Lack>) {
    let mut nested = Nested::new();
    let mut missing: HashMap<Digest, Lack> = HashMap::new();
    let mut graph = Graph::new(result, &nested);
    for _ in 0..NESTING_MAX {
        let mut found = false;
        let mut trees = Trees::new(&graph, inputs, profile);
        for (position, input, path) in graph.builds() {
            let digest = graph.vertices[position].digest();
            if missing.contains_key(digest) {
                continue;
            }
            let read = trees.file_bytes(input, path, GRAPH_SIZE_MAX);
            let inner = read
                .map_err(|(_, lack)| lack.to_string())
                .and_then(|bytes| decode(&bytes));
            match inner {
                Ok(output) => {
                    found = true;
                    nested.insert(digest.clone(), output);
                }
                Err(reason) => {
                    missing.insert(digest.clone(), Lack::Graph(reason));
                }
            }
        }
        if !found {
            return (graph, missing);
        }
        graph = Graph::new(result, &nested);
    }
    for (position, ..) in graph.builds() {
        let reason = format!("graphs nest deeper than {NESTING_MAX} levels");
        let digest = graph.vertices[position].digest().clone();
        missing.entry(digest).or_insert(Lack::Graph(reason));
    }
    (graph, missing)
}

/// The result of an encoded definition.
fn decode(bytes: &[u8]) -> Result<Output, String> {
    let definition = Definition::decode(bytes).map_err(|error| error.to_string())?;
    let output = definition.output().map_err(|error| error.to_string())?;
    output.ok_or_else(|| "it is empty".to_owned())
}

impl Predictor {
    pub(super) fn new(result: &Output, inputs: &dyn Inputs, profile: Profile) -> Self {
        let (graph, no_graph) = expand(result, inputs, profile);
        let mut lacks = Lacks::default();
        let Maps { maps, chains } = Maps::new(&graph, inputs, profile, &mut lacks);
        let answers = contents::answers(&graph, &maps, inputs, profile);
        let mut contents = HashMap::with_capacity(answers.len());
        for (place, answer) in answers {
            let known =
                answer.map_err(|(edge, lack)| lacks.add(edge.vertex, Some(edge.output), lack));
            contents.insert(place, known);
        }
        let mut graphs = HashMap::with_capacity(no_graph.len());
        for (position, vertex) in graph.vertices.iter().enumerate() {
            if let Some(lack) = no_graph.get(vertex.digest()) {
                graphs.insert(position, lacks.add(position, None, lack.clone()));
            }
        }
        let keys = Vec::with_capacity(graph.vertices.len());
        Self {
            no_graph: graphs,
            graph,
            lacks,
            maps,
            chains,
            contents,
            records: Records::new(profile.cuts_inputs()),
            keys,
        }
    }

    pub(super) fn finish(mut self) -> Prediction {
        for vertex in 0..self.graph.vertices.len() {
            let outputs = self.graph.outputs[vertex].clone();
            let keys = outputs
                .into_iter()
                .map(|output| self.output(Edge { vertex, output }))
                .collect();
            self.keys.push(keys);
        }
        self.records.mark_images();
        let (records, positions) = config::order(std::mem::take(&mut self.records.records));
        let mut vertices = Vec::with_capacity(self.graph.vertices.len());
        for (position, map) in std::mem::take(&mut self.maps).into_iter().enumerate() {
            vertices.push(self.describe(position, map.ok(), &positions));
        }
        Prediction {
            vertices,
            records,
            missing: self.lacks.list,
        }
    }

    /// The keys of one output; those of all inputs are known.
    fn output(&mut self, edge: Edge) -> Keys {
        let map = match &self.maps[edge.vertex] {
            Ok(map) => map,
            Err(lack) => {
                return Keys {
                    unknown: lack.iter().copied().collect(),
                    ..Keys::default()
                };
            }
        };
        if let Some(chain) = self.chains.get(&edge.vertex) {
            let chain = chain.as_ref().map_err(|lack| *lack);
            return self.records.image(edge, &map.digest, chain);
        }
        let inputs = &self.graph.inputs[edge.vertex];
        if inputs.is_empty() {
            return self.records.without_inputs(edge, &map.digest);
        }
        let inputs: Vec<Input<'_>> = inputs
            .iter()
            .enumerate()
            .map(|(at, input)| Input {
                selector: map.inputs.get(at).and_then(|map| map.selector.as_ref()),
                keys: self.graph.keys(&self.keys, *input),
                content: self
                    .contents
                    .get(&(edge.vertex, at))
                    .map(|content| content.as_ref().map_err(|lack| *lack)),
            })
            .collect();
        let mut keys = self.records.with_inputs(edge, &map.digest, &inputs);
        // A build is also known by what its graph results in.
        if let Some(result) = self.graph.nested.get(&edge.vertex) {
            keys.or(self.graph.keys(&self.keys, *result));
        }
        keys.unknown.extend(self.no_graph.get(&edge.vertex));
        keys
    }

    fn describe(
        &mut self,
        position: usize,
        cache_map: Option<CacheMap>,
        positions: &[usize],
    ) -> VertexKeys {
        let vertex = &self.graph.vertices[position];
        let inputs = self.graph.inputs[position].iter().enumerate();
        let inputs = inputs
            .map(|(at, input)| InputKeys {
                vertex: input.vertex,
                output: input.output,
                content: match self.contents.remove(&(position, at)) {
                    None => Content::Unused,
                    Some(Ok(digest)) => Content::Known(digest),
                    Some(Err(lack)) => Content::Unknown(lack),
                },
            })
            .collect();
        let outputs = self.graph.outputs[position].iter();
        let outputs = outputs
            .zip(std::mem::take(&mut self.keys[position]))
            .map(|(&output, keys)| OutputKeys {
                output,
                records: keys.records.iter().map(|&at| positions[at]).collect(),
                unknown: keys.unknown,
            })
            .collect();
        VertexKeys {
            digest: vertex.digest().clone(),
            canonical: vertex.canonical().clone(),
            name: vertex.name(),
            kind: vertex.kind(),
            cache_map,
            chain: self.chains.remove(&position).and_then(Result::ok),
            inputs,
            outputs,
        }
    }
}
