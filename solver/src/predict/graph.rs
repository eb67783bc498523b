//! The graph by numbers: vertices in the order of a definition, inputs first, and the outputs of
//! them that somebody uses.

use std::{collections::HashMap, sync::Arc};

use crate::llb::{self, Output, Vertex};

/// One output of a vertex, by position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Edge {
    pub(super) vertex: usize,
    pub(super) output: i64,
}

pub(super) struct Graph {
    pub(super) vertices: Vec<Arc<Vertex>>,
    /// Inputs of each vertex.
    pub(super) inputs: Vec<Vec<Edge>>,
    /// Used outputs of each vertex, in order.
    pub(super) outputs: Vec<Vec<i64>>,
}

impl Graph {
    pub(super) fn new(result: &Output) -> Self {
        let mut vertices = Vec::new();
        llb::walk(result, |vertex| vertices.push(Arc::clone(vertex)));
        let positions: HashMap<*const Vertex, usize> = vertices
            .iter()
            .enumerate()
            .map(|(position, vertex)| (Arc::as_ptr(vertex), position))
            .collect();
        let edge = |output: &Output| Edge {
            vertex: positions[&Arc::as_ptr(output.vertex())],
            output: output.index(),
        };
        let inputs: Vec<Vec<Edge>> = vertices
            .iter()
            .map(|vertex| vertex.inputs().iter().map(edge).collect())
            .collect();
        let result = edge(result);
        let mut outputs = vec![Vec::new(); vertices.len()];
        for used in inputs.iter().flatten().chain([&result]) {
            let outputs: &mut Vec<i64> = &mut outputs[used.vertex];
            if let Err(at) = outputs.binary_search(&used.output) {
                outputs.insert(at, used.output);
            }
        }
        Self {
            vertices,
            inputs,
            outputs,
        }
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
