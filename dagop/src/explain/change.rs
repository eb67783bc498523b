//! How the operations of a pair of steps differ, as far as the cache is keyed by it.
//!
//! Each kind of operation has a file of its own. Fields that no key depends on (addresses of extra
//! hosts, proxies, ids of caches) are left out, as in [`solver::cachemap`]. Some fields count only
//! through an input: where a copy comes from does not matter as long as the content is the same.
//! Such a change names its input, and the caller decides.

use serde_json::Value;

use super::graph::{Graph, Step};
use super::reason::{Reason, Setting};
use super::{exec, file, source};

/// A difference of two operations.
#[derive(Debug, PartialEq)]
pub(super) struct Change {
    /// What differs.
    pub(super) reason: Reason,
    /// The input of the later step through which alone it counts.
    pub(super) input: Option<usize>,
}

impl Change {
    pub(super) fn of(reason: Reason) -> Self {
        Self {
            reason,
            input: None,
        }
    }
}

/// Whether two steps, of the earlier and of the later build, are a pair.
pub(super) type Paired<'a> = &'a dyn Fn(usize, usize) -> bool;

/// All differences between two operations that are recorded.
pub(super) fn changes(
    before: (&Graph, usize),
    after: (&Graph, usize),
    paired: Paired<'_>,
) -> Vec<Change> {
    let (a, b) = (&before.0.steps[before.1], &after.0.steps[after.1]);
    let mut changes = Vec::new();
    match (a.body("exec"), b.body("exec")) {
        (Some(_), Some(_)) => exec::changes(a, b, paired, &mut changes),
        _ => {
            if let (Some(x), Some(y)) = (a.body("file"), b.body("file")) {
                file::changes(a, b, (x, y), &mut changes);
            } else if let (Some(x), Some(y)) = (a.body("source"), b.body("source")) {
                source::changes(x, y, &mut changes);
            } else {
                rest(a, b, &mut changes);
            }
        }
    }
    let platforms = (a.body("platform"), b.body("platform"));
    if platforms.0 != platforms.1 {
        changes.push(Change::of(Reason::Platform {
            from: platform(platforms.0),
            to: platform(platforms.1),
        }));
    }
    // Filters choose a worker; they are in no cache map, but a source is resolved by the worker.
    changes
}

/// `linux/arm64/v8`, or that the worker chooses.
fn platform(value: Option<&Value>) -> String {
    let Some(value) = value else {
        return "the worker's".to_owned();
    };
    let parts = ["OS", "Architecture", "Variant", "OSVersion"].map(|key| value[key].as_str());
    let parts: Vec<&str> = parts.into_iter().flatten().collect();
    parts.join("/")
}

/// Fields of operations that have no file of their own: merge, diff, build, passthrough. What they
/// are made of shows in their inputs.
fn rest(a: &Step, b: &Step, changes: &mut Vec<Change>) {
    for name in ["build", "passthrough"] {
        let (x, y) = (a.body(name), b.body(name));
        if x != y {
            changes.push(Change::of(Reason::Setting {
                setting: Setting::Other,
                name: Some(name.to_owned()),
                from: x.map(Value::to_string),
                to: y.map(Value::to_string),
            }));
        }
    }
}

/// The text of a JSON value: strings without quotes.
pub(super) fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A field as text, none if it is absent.
pub(super) fn field(object: &Value, name: &str) -> Option<String> {
    object.get(name).map(text)
}

/// Permission bits in octal.
pub(super) fn octal(value: &str) -> String {
    match value.parse::<u32>() {
        Ok(mode) => format!("{mode:04o}"),
        Err(_) => value.to_owned(),
    }
}
