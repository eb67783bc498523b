//! How alike two steps are, inputs left out.
//!
//! Three measures, from exact to loose: the *signature* (all fields equal), the *essence* (the same
//! command, the same paths, the same source, whatever the settings), and the *similarity* (the
//! share of words that two operations have in common). Steps of different kinds have nothing in
//! common.

use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher, Hash};

use serde_json::Value;

use super::graph::Step;
use crate::ledger::VertexKind;

/// Words of one operation that are compared; the rest of a larger one is not looked at.
pub(super) const WORDS_MAX: usize = 512;

/// Similarity of steps of one kind that share no word: still better than no pair.
const SAME_KIND: f64 = 0.05;

/// What pairing needs to know of a step.
#[derive(Debug)]
pub(super) struct Profile {
    kind: VertexKind,
    /// Equal for steps whose operations are equal but for their inputs.
    pub(super) signature: u64,
    /// Equal for steps that do the same in other circumstances.
    pub(super) essence: u64,
    /// Hashes of the words, sorted.
    words: Vec<u64>,
}

impl Profile {
    /// The profile of a step.
    pub(super) fn new(step: &Step) -> Self {
        let described = step.is_described();
        let signature = if described {
            hash(&(step.kind, step.fields.to_string()))
        } else {
            hash(&step.canonical)
        };
        let mut words = Vec::new();
        collect(&step.fields, &mut words);
        if !described {
            words.extend(
                step.name
                    .split_whitespace()
                    .take(WORDS_MAX)
                    .map(|w| hash(&w)),
            );
        }
        words.sort_unstable();
        Self {
            kind: step.kind,
            signature,
            essence: hash(&(step.kind, essence(step))),
            words,
        }
    }

    /// Whether it is a command or a file operation, which have their place in a chain.
    pub(super) fn is_step(&self) -> bool {
        matches!(self.kind, VertexKind::Exec | VertexKind::File)
    }

    /// From 0 to 1; none for steps of different kinds.
    pub(super) fn similarity(&self, other: &Self) -> Option<f64> {
        if self.kind != other.kind {
            return None;
        }
        let share = share(&self.words, &other.words);
        Some(SAME_KIND + (1.0 - SAME_KIND) * share)
    }
}

/// The share of two sorted lists that they have in common, from 0 to 1.
pub(super) fn share(a: &[u64], b: &[u64]) -> f64 {
    let (mut i, mut j, mut shared) = (0, 0, 0_u32);
    while let (Some(x), Some(y)) = (a.get(i), b.get(j)) {
        shared += u32::from(x == y);
        i += usize::from(x <= y);
        j += usize::from(y <= x);
    }
    let all = u32::try_from(a.len() + b.len()).unwrap_or(u32::MAX);
    f64::from(2 * shared) / f64::from(all.max(1))
}

/// Hashes the same in every process.
pub(super) fn hash(value: &(impl Hash + ?Sized)) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(value)
}

/// The words of all texts and the numbers, each with the name of the field it is in.
fn collect(root: &Value, words: &mut Vec<u64>) {
    let mut stack = vec![("", root)];
    while let Some((field, value)) = stack.pop() {
        if words.len() >= WORDS_MAX {
            return;
        }
        match value {
            Value::Object(map) => stack.extend(map.iter().map(|(key, value)| (&**key, value))),
            Value::Array(list) => stack.extend(list.iter().map(|value| (field, value))),
            Value::String(text) => {
                let room = WORDS_MAX - words.len();
                let parts = text
                    .split([' ', '\n', '/', '=', ':'])
                    .filter(|w| !w.is_empty());
                words.extend(parts.take(room).map(|word| hash(&(field, word))));
            }
            other => words.push(hash(&(field, other.to_string()))),
        }
    }
}

/// What makes a step this step: the command, the paths that are written, the source.
fn essence(step: &Step) -> String {
    if let Some(exec) = step.body("exec") {
        return exec
            .pointer("/meta/args")
            .map(Value::to_string)
            .unwrap_or_default();
    }
    if let Some(source) = step.body("source") {
        let name = source["identifier"].as_str().unwrap_or_default();
        let name = name.split_once('@').map_or(name, |(name, _)| name);
        return name.to_owned();
    }
    let actions = step
        .body("file")
        .and_then(|file| file["actions"].as_array());
    let Some(actions) = actions else {
        return String::new();
    };
    let target = |action: &Value| {
        let (kind, body) = super::file::body(action)?;
        let path = body.get("path").or_else(|| body.get("dest"))?;
        Some(format!("{kind} {path}"))
    };
    let targets: Vec<String> = actions.iter().filter_map(target).collect();
    targets.join("\n")
}
