//! Some steps of a report, and each of them in full: all its names across the layers.
//!
//! A step is chosen by the path or number of its call, by the beginning of a digest of its vertex
//! (raw or canonical), its call key or its record, or by its name with `*` and `?`.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::Report;
use crate::ledger::{CallRow, ContentRow, LayerRow, RecordRow, VertexRow};

/// Digits that the beginning of a digest must have, so that words are no digests.
const DIGITS_MIN: usize = 4;

/// What is known of the cache, by the raw digest of the vertex.
struct Facts<'a> {
    contents: HashMap<&'a str, Vec<&'a ContentRow>>,
    records: HashMap<&'a str, Vec<&'a RecordRow>>,
}

impl Report {
    /// The part of the report that is about the steps that `step` chooses.
    #[must_use]
    pub fn select(mut self, step: &str) -> Self {
        let mut vertices: HashSet<String> = self
            .vertices
            .iter()
            .filter(|vertex| is_vertex(vertex, step))
            .map(|vertex| vertex.raw.clone())
            .collect();
        let records = self.cache.records.iter();
        let recorded = records.filter(|record| {
            begins(&record.digest, step)
                || record.canonical.as_deref().is_some_and(|c| begins(c, step))
        });
        vertices.extend(recorded.map(|record| record.vertex.clone()));
        let chosen: HashSet<u64> = self
            .calls
            .iter()
            .filter(|call| is_call(call, step) || of(call).any(|raw| vertices.contains(raw)))
            .map(|call| call.call)
            .collect();
        self.calls.retain(|call| chosen.contains(&call.call));
        let asked = self.calls.iter().filter(|call| is_call(call, step));
        vertices.extend(asked.flat_map(of).cloned());
        self.vertices
            .retain(|vertex| vertices.contains(&vertex.raw));
        self.cache
            .records
            .retain(|row| vertices.contains(&row.vertex));
        self.cache
            .contents
            .retain(|row| vertices.contains(&row.vertex));
        self.cache
            .trees
            .retain(|row| vertices.contains(&row.vertex));
        self.summary = super::Summary::of(&self.build, &self.calls, &self.vertices);
        self
    }

    /// Every step in full, one paragraph each.
    pub fn details(&self) -> String {
        let vertices: HashMap<&str, &VertexRow> =
            self.vertices.iter().map(|v| (v.raw.as_str(), v)).collect();
        let facts = Facts {
            contents: by_vertex(&self.cache.contents, |row| &row.vertex),
            records: by_vertex(&self.cache.records, |row| &row.vertex),
        };
        let mut text = String::new();
        let mut shown = HashSet::new();
        // Writing to a String cannot fail, here and below.
        for call in &self.calls {
            _ = writeln!(text, "{}", super::text::one_line(&call.display, usize::MAX));
            line(&mut text, "path", &call.path);
            line(&mut text, "outcome", call.outcome.as_str());
            line(&mut text, "call key", &call.call_key);
            if call.storage_key != call.call_key {
                line(&mut text, "storage key", &call.storage_key);
            }
            for scope in &call.scopes {
                line(
                    &mut text,
                    "scope",
                    &format!("{}={}", scope.name, scope.value),
                );
            }
            for raw in call.vertex.iter().chain(&call.other_vertices) {
                if let Some(vertex) = vertices.get(raw.as_str()) {
                    self.vertex(&mut text, vertex, &facts);
                    shown.insert(raw.as_str());
                }
            }
            text.push('\n');
        }
        for vertex in self
            .vertices
            .iter()
            .filter(|v| !shown.contains(v.raw.as_str()))
        {
            _ = writeln!(text, "{}", super::text::one_line(&vertex.name, usize::MAX));
            self.vertex(&mut text, vertex, &facts);
            text.push('\n');
        }
        text
    }

    fn vertex(&self, text: &mut String, vertex: &VertexRow, facts: &Facts<'_>) {
        let raw = vertex.raw.as_str();
        line(
            text,
            "vertex",
            &format!("{} {} ({})", vertex.raw, vertex.kind, vertex.outcome),
        );
        line(
            text,
            "  canonical",
            vertex.canonical.as_deref().unwrap_or("-"),
        );
        line(
            text,
            "  cache map",
            vertex.predicted_cache_map.as_deref().unwrap_or("-"),
        );
        for content in facts.contents.get(raw).into_iter().flatten() {
            let value = format!(
                "{} of input {} ({})",
                content.record, content.input, content.evidence
            );
            line(text, "  content", &value);
        }
        for record in facts.records.get(raw).into_iter().flatten() {
            let value = format!(
                "{} output {} ({})",
                record.digest, record.output, record.evidence
            );
            line(text, "  record", &value);
            if let Some(canonical) = &record.canonical {
                line(text, "    with its links", canonical);
            }
            if let Some(layer) = record.layer.and_then(|layer| self.layer(layer)) {
                line(text, "    layer", &layer.blob);
                line(text, "    diff id", layer.diff_id.as_deref().unwrap_or("-"));
                line(
                    text,
                    "    chain id",
                    layer.chain_id.as_deref().unwrap_or("-"),
                );
            }
        }
    }

    /// The layer with this number, which is its place.
    pub fn layer(&self, number: u64) -> Option<&LayerRow> {
        let layer = self.cache.layers.get(usize::try_from(number).ok()?);
        layer.filter(|layer| layer.number == number)
    }

    /// By raw digest, the record that tells most of a vertex: one with a layer, else one of a cache,
    /// else the predicted one.
    pub(super) fn best_records(&self) -> HashMap<&str, &RecordRow> {
        let mut best: HashMap<&str, &RecordRow> = HashMap::new();
        let tells = |record: &RecordRow| (record.layer.is_some(), record.canonical.is_some());
        for record in &self.cache.records {
            let held = best.entry(record.vertex.as_str()).or_insert(record);
            if tells(record) >= tells(held) {
                *held = record;
            }
        }
        best
    }
}

/// Rows by the raw digest of their vertex, in their order.
fn by_vertex<T>(rows: &[T], vertex: impl Fn(&T) -> &str) -> HashMap<&str, Vec<&T>> {
    let mut of: HashMap<&str, Vec<&T>> = HashMap::new();
    for row in rows {
        of.entry(vertex(row)).or_default().push(row);
    }
    of
}

fn line(text: &mut String, name: &str, value: &str) {
    _ = writeln!(text, "  {name:<20}{value}");
}

/// Raw digests of a call's vertices.
fn of(call: &CallRow) -> impl Iterator<Item = &String> {
    call.vertex.iter().chain(&call.other_vertices)
}

fn is_call(call: &CallRow, step: &str) -> bool {
    call.path == step
        || call.path.ends_with(&format!(".{step}"))
        || call.call.to_string() == step
        || begins(&call.call_key, step)
        || is_like(&call.display, step)
}

fn is_vertex(vertex: &VertexRow, step: &str) -> bool {
    begins(&vertex.raw, step)
        || vertex.canonical.as_deref().is_some_and(|c| begins(c, step))
        || is_like(&vertex.name, step)
}

/// Whether a digest begins so, with or without its algorithm.
fn begins(digest: &str, step: &str) -> bool {
    let digits = digest.split_once(':').map_or(digest, |(_, digits)| digits);
    let wanted = step.split_once(':').map_or(step, |(_, digits)| digits);
    let is_hex = wanted.bytes().all(|byte| byte.is_ascii_hexdigit());
    is_hex
        && wanted.len() >= DIGITS_MIN
        && if step.contains(':') {
            digest.starts_with(step)
        } else {
            digits.starts_with(wanted)
        }
}

/// Whether a text has the form of a pattern, where `*` stands for any text and `?` for any
/// character.
pub fn is_like(text: &str, pattern: &str) -> bool {
    let (text, pattern): (Vec<char>, Vec<char>) =
        (text.chars().collect(), pattern.chars().collect());
    let (mut at, mut next) = (0, 0);
    // Where the last star is, and how much of the text it stands for so far.
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        match pattern.get(next) {
            Some('*') => {
                star = Some((next, at));
                next += 1;
            }
            Some(&c) if c == '?' || c == text[at] => {
                at += 1;
                next += 1;
            }
            _ => match star {
                Some((place, until)) => {
                    star = Some((place, until + 1));
                    (next, at) = (place + 1, until + 1);
                }
                None => return false,
            },
        }
    }
    pattern[next..].iter().all(|c| *c == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_and_question_marks() {
        for (text, pattern, is) in [
            ("withExec", "withExec", true),
            ("withExec(args)", "withExec*", true),
            ("withExec(args)", "*args?", true),
            ("withExec", "with?xec", true),
            ("withExec", "Exec", false),
            ("abab", "*ab", true),
            ("", "*", true),
            ("", "?", false),
        ] {
            assert_eq!(is_like(text, pattern), is, "{text} {pattern}");
        }
    }

    #[test]
    fn a_digest_is_named_by_its_beginning() {
        assert!(begins("sha256:0a1b2c3d", "0a1b"));
        assert!(begins("sha256:0a1b2c3d", "sha256:0a1b2"));
        assert!(!begins("sha256:0a1b2c3d", "0a1"), "too short to be meant");
        assert!(!begins("sha256:0a1b2c3d", "blake3:0a1b"));
        assert!(!begins("sha256:dead", "make"));
    }
}
