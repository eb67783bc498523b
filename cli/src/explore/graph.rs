//! The edges between the steps of a build, as far as the ledger knows them.
//!
//! - A call is made on the result of another, its *receiver*.
//! - A vertex has its operation's inputs. Where the ledger has no operation (a vertex that a frontend
//!   made, a build recorded by an earlier version) the edge follows from the calls: the vertex of a
//!   call is made from the vertex of the nearest call below it that has another one.
//! - A call that took the result of another as an *argument* is not told apart in the ledger, but its
//!   vertex has an input that no receiver accounts for. The last call that made that input is the
//!   argument. Calls that were folded into one vertex are left out: their inputs are mixed.
//!
//! Edges between calls lead from a smaller position to a larger, so there is no cycle even in a file
//! that somebody wrote by hand; the page copes with cycles of vertices. All of it is linear in rows
//! and inputs.

use std::collections::{HashMap, HashSet};

use dagop::ledger::{CallRow, DagOpKind, OperationRow, VertexRow};
use dagop::report::Report;
use serde::Serialize;

/// Edges as pairs of positions, one after the other: from, to, from, to.
#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Edges {
    pub(super) calls: Vec<u32>,
    pub(super) vertices: Vec<u32>,
}

/// Positions of vertices in the report, by raw digest.
pub(super) type Positions<'a> = HashMap<&'a str, u32>;

/// Operations by canonical digest, as the ledger gives them.
pub(super) type Operations = HashMap<String, OperationRow>;

pub(super) fn positions(report: &Report) -> Positions<'_> {
    (0..)
        .zip(&report.vertices)
        .map(|(at, vertex)| (vertex.raw.as_str(), at))
        .collect()
}

pub(super) fn edges(report: &Report, positions: &Positions<'_>, operations: &Operations) -> Edges {
    let inputs = inputs(report, operations);
    let places = places(report, positions);
    let mut vertices = Set::default();
    for (to, known) in (0..).zip(&inputs) {
        for from in known.iter().flatten() {
            vertices.add(*from, to);
        }
    }
    let shared = owners(report, positions);
    let mut calls = Set::default();
    let mut latest: HashMap<u32, u32> = HashMap::new();
    for (at, call) in (0..).zip(&report.calls) {
        let place = &places[at as usize];
        if let Some(receiver) = place.receiver {
            calls.add(receiver, at);
        }
        let Some(own) = place.own.filter(|_| makes(call)) else {
            continue;
        };
        let brought: Vec<u32> = positions_of(&call.other_vertices, positions);
        if inputs[own as usize].is_none() {
            for from in brought.iter().chain(&place.made_from) {
                vertices.add(*from, own);
            }
        } else if shared[own as usize] == 1 {
            let all = brought.iter().chain([&own]);
            let all = all
                .filter_map(|vertex| inputs[*vertex as usize].as_ref())
                .flatten();
            for input in all.filter(|input| Some(**input) != place.made_from) {
                if let Some(argument) = latest.get(input) {
                    calls.add(*argument, at);
                }
            }
        }
        latest.insert(own, at);
    }
    Edges {
        calls: calls.edges,
        vertices: vertices.edges,
    }
}

/// Whether the call's vertex holds what the call made, and not what it read from it.
fn makes(call: &CallRow) -> bool {
    call.kind != DagOpKind::Raw
}

/// How many calls made each vertex. More than one when they were folded, and then nobody knows whose
/// an argument was.
fn owners(report: &Report, positions: &Positions<'_>) -> Vec<u32> {
    let mut owners = vec![0; report.vertices.len()];
    for call in report.calls.iter().filter(|call| makes(call)) {
        if let Some(own) = vertex_of(call, positions) {
            owners[own as usize] += 1;
        }
    }
    owners
}

/// Positions of the vertices with these raw digests.
pub(super) fn positions_of(raws: &[String], positions: &Positions<'_>) -> Vec<u32> {
    raws.iter()
        .filter_map(|raw| positions.get(raw.as_str()).copied())
        .collect()
}

/// Edges without repetition.
#[derive(Default)]
struct Set {
    edges: Vec<u32>,
    seen: HashSet<(u32, u32)>,
}

impl Set {
    fn add(&mut self, from: u32, to: u32) {
        if from != to && self.seen.insert((from, to)) {
            self.edges.extend([from, to]);
        }
    }
}

/// Positions of each vertex's inputs; None where its operation is not known.
fn inputs(report: &Report, operations: &Operations) -> Vec<Option<Vec<u32>>> {
    // Of vertices that differ by session noise alone, the first stands for all.
    let mut canonical: HashMap<&str, u32> = HashMap::new();
    for (at, vertex) in (0..).zip(&report.vertices) {
        canonical.entry(identity(vertex)).or_insert(at);
    }
    let of = |vertex: &VertexRow| {
        let operation = operations.get(identity(vertex))?;
        let inputs = operation.inputs.iter();
        Some(
            inputs
                .filter_map(|input| canonical.get(input.vertex.as_str()).copied())
                .collect(),
        )
    };
    report.vertices.iter().map(of).collect()
}

/// Where a call's result is.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Position of the receiver.
    receiver: Option<u32>,
    /// The call's own vertex.
    own: Option<u32>,
    /// The vertex its result is in: its own, or that of a receiver.
    carried: Option<u32>,
    /// The vertex that one is made from.
    made_from: Option<u32>,
}

fn places(report: &Report, positions: &Positions<'_>) -> Vec<Place> {
    let numbers: HashMap<u64, u32> = (0..)
        .zip(&report.calls)
        .map(|(at, call)| (call.call, at))
        .collect();
    let mut places: Vec<Place> = Vec::with_capacity(report.calls.len());
    for (at, call) in (0_u32..).zip(&report.calls) {
        let receiver = call.parent.and_then(|number| numbers.get(&number).copied());
        let receiver = receiver.filter(|receiver| *receiver < at);
        let below = receiver.map_or_else(Place::default, |receiver| places[receiver as usize]);
        let own = vertex_of(call, positions);
        places.push(Place {
            receiver,
            own,
            carried: own.or(below.carried),
            made_from: if own.is_none() || own == below.carried {
                below.made_from
            } else {
                below.carried
            },
        });
    }
    places
}

/// Where the vertex is that carries the call's result.
pub(super) fn vertex_of(call: &CallRow, positions: &Positions<'_>) -> Option<u32> {
    call.vertex
        .as_deref()
        .and_then(|raw| positions.get(raw))
        .copied()
}

/// The digest of a vertex that is equal in two builds of the same thing, if we know one.
pub(super) fn identity(vertex: &VertexRow) -> &str {
    vertex.canonical.as_deref().unwrap_or(&vertex.raw)
}

#[cfg(test)]
mod tests {
    use dagop::ledger::InputRow;

    use super::super::tests::{report, step};
    use super::*;

    fn operations(rows: &[(&str, &[&str])]) -> Operations {
        let canonical = |name: &str| format!("sha256:canonical {name}");
        let row = |(name, inputs): &(&str, &[&str])| OperationRow {
            digest: canonical(name),
            name: (*name).to_owned(),
            inputs: inputs
                .iter()
                .map(|input| InputRow {
                    vertex: canonical(input),
                    output: 0,
                    selector: None,
                    content: None,
                })
                .collect(),
            fields: serde_json::Value::Null,
        };
        rows.iter()
            .map(row)
            .map(|row| (row.digest.clone(), row))
            .collect()
    }

    fn edges_of(report: &Report, operations: &Operations) -> Edges {
        edges(report, &positions(report), operations)
    }

    #[test]
    fn without_operations_the_vertices_follow_the_calls() {
        let mut report = report(&[
            step("a", None),
            step("b", Some(1)),
            step("c", Some(2)),
            step("d", Some(2)),
        ]);
        // Folded into the vertex of its receiver: no edge, and `c` is made from that vertex too.
        report.calls[1].vertex = report.calls[0].vertex.clone();
        let edges = edges_of(&report, &Operations::new());
        assert_eq!(edges.calls, [0, 1, 1, 2, 1, 3]);
        assert_eq!(edges.vertices, [0, 2, 0, 3]);
    }

    #[test]
    fn an_operations_inputs_are_edges_and_tell_the_arguments() {
        let report = report(&[
            step("file", None),
            step("container", None),
            step("withFile", Some(2)),
        ]);
        let known = operations(&[
            ("file", &[]),
            ("container", &[]),
            ("withFile", &["container", "file", "elsewhere"]),
        ]);
        let edges = edges_of(&report, &known);
        assert_eq!(edges.vertices, [1, 2, 0, 2]);
        assert_eq!(edges.calls, [1, 2, 0, 2]);
    }

    #[test]
    fn a_receiver_that_is_not_before_its_call_is_no_edge() {
        let report = report(&[step("a", Some(2)), step("b", Some(9))]);
        assert_eq!(edges_of(&report, &Operations::new()), Edges::default());
    }
}
