//! The counts of a build.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::text;
use crate::ledger::{BuildRow, CallRow, Outcome, VertexRow};

/// How many calls and vertices met which end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Summary {
    /// Calls in all.
    pub calls: u64,
    /// Calls by outcome; outcomes no call had are left out.
    pub calls_by_outcome: BTreeMap<Outcome, u64>,
    /// Vertices in all.
    pub vertices: u64,
    /// Vertices by outcome; outcomes no vertex had are left out.
    pub vertices_by_outcome: BTreeMap<Outcome, u64>,
    /// Bytes all vertices moved.
    pub bytes: u64,
    /// From the build's begin to its end, in milliseconds.
    pub wall_ms: Option<u64>,
}

impl Summary {
    pub(super) fn of(build: &BuildRow, calls: &[CallRow], vertices: &[VertexRow]) -> Self {
        Self {
            calls: calls.len() as u64,
            calls_by_outcome: count(calls.iter().map(|call| call.outcome)),
            vertices: vertices.len() as u64,
            vertices_by_outcome: count(vertices.iter().map(|vertex| vertex.outcome)),
            bytes: vertices.iter().map(|vertex| vertex.bytes).sum(),
            wall_ms: build
                .finished_ms
                .map(|end| end.saturating_sub(build.started_ms)),
        }
    }

    /// Calls with this outcome.
    pub fn calls_that(&self, outcome: Outcome) -> u64 {
        self.calls_by_outcome.get(&outcome).copied().unwrap_or(0)
    }

    /// Vertices with this outcome.
    pub fn vertices_that(&self, outcome: Outcome) -> u64 {
        self.vertices_by_outcome.get(&outcome).copied().unwrap_or(0)
    }

    /// One line: `12 calls (3 hit, 9 computed), 5 vertices (0 executed, 5 cached), 1.2MB, 0.4s`.
    /// The number of executed vertices is always there: it is what people look for.
    pub fn line(&self) -> String {
        let calls = list(&self.calls_by_outcome);
        let mut vertices = self.vertices_by_outcome.clone();
        if self.vertices > 0 {
            vertices.entry(Outcome::Executed).or_insert(0);
        }
        let mut parts = vec![
            format!(
                "{} {}{calls}",
                self.calls,
                plural(self.calls, "call", "calls")
            ),
            format!(
                "{} {}{}",
                self.vertices,
                plural(self.vertices, "vertex", "vertices"),
                list(&vertices)
            ),
        ];
        if self.bytes > 0 {
            parts.push(text::bytes(self.bytes));
        }
        parts.extend(self.wall_ms.map(text::duration));
        parts.join(", ")
    }
}

fn count(outcomes: impl Iterator<Item = Outcome>) -> BTreeMap<Outcome, u64> {
    let mut counts = BTreeMap::new();
    for outcome in outcomes {
        *counts.entry(outcome).or_insert(0) += 1;
    }
    counts
}

fn list(counts: &BTreeMap<Outcome, u64>) -> String {
    if counts.is_empty() {
        return String::new();
    }
    let parts: Vec<_> = counts
        .iter()
        .map(|(outcome, count)| format!("{count} {outcome}"))
        .collect();
    format!(" ({})", parts.join(", "))
}

fn plural(count: u64, one: &'static str, many: &'static str) -> &'static str {
    if count == 1 { one } else { many }
}
