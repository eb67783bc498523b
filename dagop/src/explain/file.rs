//! Differences of two file operations: lists of actions, aligned as sequences.
//!
//! A directory that is made for the sake of the action that follows (`mkdir` with parents and the
//! usual mode, of the directory that the action writes to) is taken as part of that action. It is
//! looked at by itself only if nothing else differs.

use std::collections::BTreeSet;

use serde_json::Value;

use super::align::{Signature, align};
use super::change::{Change, octal, text};
use super::graph::Step;
use super::reason::Reason;
use super::role::Inputs;
use super::similar::hash;

/// Kinds of actions, by the name of their message.
const KINDS: [&str; 5] = ["copy", "mkfile", "mkdir", "rm", "symlink"];

/// Permission bits of a directory that is made along the way.
const PARENT_MODE: u64 = 0o755;

/// The kind of an action and its fields.
pub(super) fn body(action: &Value) -> Option<(&'static str, &Value)> {
    let kind = KINDS.iter().find(|kind| action.get(**kind).is_some())?;
    Some((kind, &action[*kind]))
}

/// An action that says something, and where it is in the list.
struct Main<'a> {
    kind: &'static str,
    body: &'a Value,
    action: &'a Value,
}

/// The actions without the directories made for them, and those directories.
fn mains(file: &Value) -> (Vec<Main<'_>>, Vec<&Value>) {
    let (mut mains, mut helpers) = (Vec::new(), Vec::new());
    let actions: &[Value] = file["actions"].as_array().map_or(&[], Vec::as_slice);
    for (place, action) in actions.iter().enumerate() {
        let Some((kind, body)) = body(action) else {
            continue;
        };
        let follows = actions.get(place + 1).and_then(self::body);
        let helps = kind == "mkdir"
            && body["makeParents"] == true
            && body["mode"] == PARENT_MODE
            && body.get("owner").is_none()
            && follows.is_some_and(|(_, next)| parent(&target(next)) == text(&body["path"]));
        if helps {
            helpers.push(body);
        } else {
            mains.push(Main { kind, body, action });
        }
    }
    (mains, helpers)
}

/// What an action writes to.
fn target(body: &Value) -> String {
    let path = ["path", "dest", "newpath"]
        .iter()
        .find_map(|key| body.get(*key));
    path.map(text).unwrap_or_default()
}

fn parent(path: &str) -> &str {
    match path.trim_end_matches('/').rsplit_once('/') {
        Some(("", _)) | None => "/",
        Some((parent, _)) => parent,
    }
}

/// Actions of the earlier operation that are actions of the later one.
fn pairs(a: &[Main<'_>], b: &[Main<'_>]) -> Vec<(usize, usize)> {
    let signature = |main: &Main<'_>, tier: usize| match tier {
        0 => hash(&(main.kind, main.body.to_string())),
        _ => hash(&(main.kind, target(main.body))),
    };
    let likeness = |i: usize, j: usize| {
        let (x, y) = (&a[i], &b[j]);
        let fields = |main: &Main<'_>| -> BTreeSet<(String, String)> {
            let fields = main.body.as_object().into_iter().flatten();
            fields
                .map(|(name, value)| (name.clone(), value.to_string()))
                .collect()
        };
        if x.kind != y.kind {
            return None;
        }
        let (x, y) = (fields(x), fields(y));
        let shared = u32::try_from(x.intersection(&y).count()).unwrap_or(0);
        let all = u32::try_from(x.len() + y.len()).unwrap_or(u32::MAX).max(1);
        Some(0.05 + f64::from(2 * shared) / f64::from(all))
    };
    let signatures: (Signature<'_>, Signature<'_>) =
        (&|tier, i| signature(&a[i], tier), &|tier, j| {
            signature(&b[j], tier)
        });
    align((a.len(), b.len()), 2, signatures, &likeness)
}

/// Inputs with the same role: what actions work on, and what they copy from.
pub(super) fn inputs(a: &Step, b: &Step, bodies: (&Value, &Value)) -> Inputs {
    let mut roles = Inputs::default();
    let input = |step: &Step, action: &Value, field: &str| {
        let index = usize::try_from(action[field].as_i64()?).ok()?;
        (index < step.inputs.len()).then_some(index)
    };
    let first = |step: &Step, file: &Value| input(step, file["actions"].get(0)?, "input");
    roles.add(first(a, bodies.0), first(b, bodies.1));
    let (before, after) = (mains(bodies.0).0, mains(bodies.1).0);
    for (i, j) in pairs(&before, &after) {
        for field in ["input", "secondaryInput"] {
            let x = input(a, before[i].action, field);
            roles.add(x, input(b, after[j].action, field));
        }
    }
    roles
}

pub(super) fn changes(a: &Step, b: &Step, bodies: (&Value, &Value), changes: &mut Vec<Change>) {
    let ((before, old_helpers), (after, new_helpers)) = (mains(bodies.0), mains(bodies.1));
    let pairs = pairs(&before, &after);
    let begin = changes.len();
    let mut removed: Vec<usize> = (0..before.len()).collect();
    let mut added: Vec<usize> = (0..after.len()).collect();
    removed.retain(|i| pairs.binary_search_by_key(i, |pair| pair.0).is_err());
    let paired: BTreeSet<usize> = pairs.iter().map(|pair| pair.1).collect();
    added.retain(|j| !paired.contains(j));
    for &(i, j) in &pairs {
        fields(&before[i], &after[j], (a, b), changes);
    }
    for j in added {
        let same = |&i: &usize| before[i].kind == after[j].kind && before[i].body == after[j].body;
        let action = describe(after[j].kind, after[j].body);
        match removed.iter().position(same) {
            Some(place) => {
                removed.remove(place);
                changes.push(Change::of(Reason::ActionMoved { action }));
            }
            None => changes.push(Change::of(Reason::ActionAdded { action })),
        }
    }
    for i in removed {
        let action = describe(before[i].kind, before[i].body);
        changes.push(Change::of(Reason::ActionRemoved { action }));
    }
    if changes.len() > begin {
        return;
    }
    let paths = |helpers: Vec<&Value>| -> BTreeSet<String> {
        helpers
            .into_iter()
            .map(|helper| describe("mkdir", helper))
            .collect()
    };
    let (old, new) = (paths(old_helpers), paths(new_helpers));
    for action in old.difference(&new).cloned() {
        changes.push(Change::of(Reason::ActionRemoved { action }));
    }
    for action in new.difference(&old).cloned() {
        changes.push(Change::of(Reason::ActionAdded { action }));
    }
}

/// Fields of one action.
fn fields(x: &Main<'_>, y: &Main<'_>, steps: (&Step, &Step), changes: &mut Vec<Change>) {
    let action = describe(y.kind, y.body);
    let (null, y_source) = (Value::Null, secondary(y.action, steps.1));
    let names = [x.body, y.body].map(|body| body.as_object().into_iter().flatten());
    let names: BTreeSet<&String> = names.into_iter().flatten().map(|(name, _)| name).collect();
    for name in names {
        let from = x.body.get(name).unwrap_or(&null);
        let to = y.body.get(name).unwrap_or(&null);
        // The size follows from the content.
        if from == to || name == "dataSize" {
            continue;
        }
        let base = |value: &Value| text(value).rsplit('/').next().map(str::to_owned);
        let only_where = name == "src" && base(from) == base(to) && y_source.is_some();
        changes.push(Change {
            reason: Reason::Action {
                action: action.clone(),
                field: field_name(name).to_owned(),
                from: shown(name, from),
                to: shown(name, to),
            },
            input: if only_where { y_source } else { None },
        });
    }
}

/// The input that an action copies from.
fn secondary(action: &Value, step: &Step) -> Option<usize> {
    let index = usize::try_from(action["secondaryInput"].as_i64()?).ok()?;
    (index < step.inputs.len()).then_some(index)
}

/// The name that people know a field by; most are known by that of BuildKit's message.
fn field_name(name: &str) -> &str {
    match name {
        "dataDigest" => "content",
        "src" => "source",
        "dest" => "destination",
        "oldpath" => "target",
        "newpath" => "path",
        "include_patterns" => "include",
        "exclude_patterns" => "exclude",
        "modeStr" => "mode",
        other => other,
    }
}

fn shown(name: &str, value: &Value) -> Option<String> {
    match (name, value) {
        (_, Value::Null) => None,
        ("mode", value) => Some(octal(&text(value))),
        ("owner", value) => Some(owner(value)),
        (_, value) => Some(text(value)),
    }
}

/// `1000:staff`; a dash for what is not set.
fn owner(value: &Value) -> String {
    let part = |user: &Value| match user.get("User") {
        None => "-".to_owned(),
        Some(user) => match (user.get("byId"), user.pointer("/byName/name")) {
            (Some(id), _) => text(id),
            (None, Some(name)) => text(name),
            // A zero is left out.
            (None, None) => "0".to_owned(),
        },
    };
    format!("{}:{}", part(&value["user"]), part(&value["group"]))
}

/// An action in a few words.
fn describe(kind: &str, body: &Value) -> String {
    match kind {
        "copy" => format!("copy {} {}", text(&body["src"]), text(&body["dest"])),
        "symlink" => {
            let (to, path) = (text(&body["oldpath"]), text(&body["newpath"]));
            format!("symlink {to} {path}")
        }
        _ => format!("{kind} {}", text(&body["path"])),
    }
}
