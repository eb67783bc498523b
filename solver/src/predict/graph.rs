//! The graph by numbers: vertices, inputs first, and the outputs of them that somebody uses.
//!
//! A build operation has a graph in a file. Where that is known, its vertices come before the
//! operation, as if its result were an input.

use std::sync::Arc;

use hashbrown::HashMap;
use proto::pb;

use crate::{
    Digest,
    llb::{self, Output, Vertex},
};

/// One output of a vertex, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Edge {
    pub(super) vertex: usize,
    pub(super) output: i64,
}

/// Results of the graphs in build operations, by raw digest of the operation.
pub(super) type Nested = HashMap<Digest, Output>;

pub(super) struct Graph {
    pub(super) vertices: Vec<Arc<Vertex>>,
    /// Inputs of each vertex.
    pub(super) inputs: Vec<Vec<Edge>>,
    /// Used outputs of each vertex, in order.
    pub(super) outputs: Vec<Vec<i64>>,
    /// Results of build operations.
    pub(super) nested: HashMap<usize, Edge>,
}

impl Graph {
    pub(super) fn new(result: &Output, nested: &Nested) -> Self {
        let mut vertices: Vec<Arc<Vertex>> = Vec::new();
        let mut positions: HashMap<&Digest, usize> = HashMap::new();
        // Innermost graphs first: what is there is not added again.
        let mut inner: Vec<&Output> = nested.values().collect();
        inner.sort_by_key(|output| depth(output, nested));
        for output in inner.into_iter().chain([result]) {
            llb::walk(output, |vertex| {
                positions.entry(vertex.digest()).or_insert_with(|| {
                    vertices.push(Arc::clone(vertex));
                    vertices.len() - 1
                });
            });
        }
        let edge = |output: &Output| Edge {
            vertex: positions[output.digest()],
            output: output.index(),
        };
        let inputs: Vec<Vec<Edge>> = vertices
            .iter()
            .map(|vertex| vertex.inputs().iter().map(edge).collect())
            .collect();
        let results: HashMap<usize, Edge> = nested
            .iter()
            .filter_map(|(build, output)| Some((*positions.get(build)?, edge(output))))
            .collect();
        let mut outputs = vec![Vec::new(); vertices.len()];
        let used = inputs.iter().flatten().copied();
        for used in used.chain(results.values().copied()).chain([edge(result)]) {
            let outputs: &mut Vec<i64> = &mut outputs[used.vertex];
            if let Err(at) = outputs.binary_search(&used.output) {
                outputs.insert(at, used.output);
            }
        }
        Self {
            vertices,
            inputs,
            outputs,
            nested: results,
        }
    }

    /// Build operations whose graph is not known yet, with the tree and the path it is in.
    pub(super) fn builds(&self) -> impl Iterator<Item = (usize, Edge, &str)> {
        let builds = self.vertices.iter().enumerate();
        builds.filter_map(|(position, vertex)| {
            let Some(pb::op::Op::Build(build)) = &vertex.op().op else {
                return None;
            };
            if self.nested.contains_key(&position) {
                return None;
            }
            let input = build.inputs.get(llb::DEFINITION_INPUT)?.input;
            let input = self.inputs[position].get(usize::try_from(input).ok()?)?;
            let path = build.attrs.get("llbbuild.filename");
            let path = path.map_or(llb::DEFINITION_INPUT, String::as_str);
            Some((position, *input, path))
        })
    }

    /// What belongs to an output, of lists by vertex and used output.
    pub(super) fn keys<'k, T>(&self, lists: &'k [Vec<T>], edge: Edge) -> &'k T {
        let at = self.outputs[edge.vertex]
            .binary_search(&edge.output)
            .expect("every input is among the used outputs");
        &lists[edge.vertex][at]
    }

    /// The output as the API shows it.
    pub(super) fn output(&self, edge: Edge) -> Output {
        self.vertices[edge.vertex].output(edge.output)
    }
}

/// How deep graphs nest below an output.
fn depth(output: &Output, nested: &Nested) -> usize {
    let mut depth = 0;
    let mut level = vec![output];
    while !level.is_empty() && depth <= nested.len() {
        let mut next = Vec::new();
        for output in level {
            llb::walk(output, |vertex| next.extend(nested.get(vertex.digest())));
        }
        level = next;
        depth += 1;
    }
    depth
}
