//! Differences of two commands.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::align::{Signature, align};
use super::change::{Change, Paired, field, octal, text};
use super::graph::{Step, input_index};
use super::reason::{Reason, Setting};
use super::similar::hash;
use crate::init;

/// Mount types by number.
const KINDS: [&str; 5] = ["bind", "secret", "ssh", "cache", "tmpfs"];

/// Ways to share a cache by number.
const SHARING: [&str; 3] = ["shared", "private", "locked"];

/// Network modes by number.
const NETWORKS: [&str; 3] = ["sandbox", "host", "none"];

/// Security modes by number.
const SECURITY: [&str; 2] = ["sandbox", "insecure"];

pub(super) fn changes(a: &Step, b: &Step, paired: Paired<'_>, changes: &mut Vec<Change>) {
    let (Some(x), Some(y)) = (a.body("exec"), b.body("exec")) else {
        return;
    };
    let null = Value::Null;
    let meta = |exec: &Value| exec.get("meta").cloned().unwrap_or_default();
    let (meta_a, meta_b) = (meta(x), meta(y));
    let (args_a, args_b) = (texts(&meta_a["args"]), texts(&meta_b["args"]));
    redirections(&args_a, &args_b, changes);
    arguments(&args_a, &args_b, changes);
    environment(&texts(&meta_a["env"]), &texts(&meta_b["env"]), changes);
    let plain = [
        (Setting::Workdir, "cwd"),
        (Setting::User, "user"),
        (Setting::Hostname, "hostname"),
        (Setting::CgroupParent, "cgroupParent"),
        (Setting::ValidExitCodes, "validExitCodes"),
        (Setting::MountStubs, "removeMountStubsRecursive"),
    ];
    for (setting, name) in plain {
        let (from, to) = (field(&meta_a, name), field(&meta_b, name));
        set(changes, setting, None, from, to);
    }
    let word = |exec: &Value, name: &str, words: &[&str]| {
        Some(number(exec.get(name).unwrap_or(&null), words))
    };
    let network = |exec| word(exec, "network", &NETWORKS);
    set(changes, Setting::Network, None, network(x), network(y));
    let security = |exec| word(exec, "security", &SECURITY);
    set(changes, Setting::Security, None, security(x), security(y));
    named(
        changes,
        Setting::Ulimit,
        (&meta_a["ulimit"], &meta_b["ulimit"]),
        "Name",
    );
    // Of an extra host the name is in the key and the address is not.
    let hosts = |meta: &Value| without(&meta["extraHosts"], "IP");
    let hosts = (&hosts(&meta_a), &hosts(&meta_b));
    named(changes, Setting::ExtraHost, hosts, "Host");
    named(
        changes,
        Setting::SecretEnv,
        (&x["secretenv"], &y["secretenv"]),
        "name",
    );
    named(
        changes,
        Setting::Device,
        (&x["cdiDevices"], &y["cdiDevices"]),
        "name",
    );
    mounts(a, b, paired, changes);
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().map(text).collect()
}

/// A number as the word for it.
fn number(value: &Value, words: &[&str]) -> String {
    let number = value.as_u64().unwrap_or(0);
    let word = usize::try_from(number).ok().and_then(|n| words.get(n));
    word.map_or_else(|| number.to_string(), |word| (*word).to_owned())
}

fn set(
    changes: &mut Vec<Change>,
    setting: Setting,
    name: Option<String>,
    from: Option<String>,
    to: Option<String>,
) {
    if from != to {
        changes.push(Change::of(Reason::Setting {
            setting,
            name,
            from,
            to,
        }));
    }
}

/// What init is told, as far as it does not follow from mounts and secrets.
fn redirections(a: &[String], b: &[String], changes: &mut Vec<Change>) {
    let options = |args: &[String]| -> BTreeMap<String, String> {
        let own = args.len() - init::user_command(args).len();
        let options = args[..own]
            .iter()
            .filter_map(|arg| arg.strip_prefix("--")?.split_once('='));
        let told =
            options.filter(|(name, path)| !name.starts_with("scrub") && *path != init::STDIN);
        told.map(|(name, path)| (name.to_owned(), path.to_owned()))
            .collect()
    };
    let (before, after) = (options(a), options(b));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (from, to) = (before.get(name).cloned(), after.get(name).cloned());
        set(changes, Setting::Redirection, Some(name.clone()), from, to);
    }
}

/// Arguments side by side, those of init left out.
fn arguments(a: &[String], b: &[String], changes: &mut Vec<Change>) {
    let (a, b) = (init::user_command(a), init::user_command(b));
    if a == b {
        return;
    }
    let likeness = |i: usize, j: usize| {
        let same = a[i].bytes().zip(b[j].bytes()).take_while(|(x, y)| x == y);
        let longest = a[i].len().max(b[j].len()).max(1);
        // Lengths of arguments are far below 2^52.
        #[expect(clippy::cast_precision_loss, reason = "a share need not be exact")]
        let share = same.count() as f64 / longest as f64;
        Some(0.05 + share)
    };
    let signatures: (Signature<'_>, Signature<'_>) = (&|_, i| hash(&a[i]), &|_, j| hash(&b[j]));
    let pairs = align((a.len(), b.len()), 1, signatures, &likeness);
    let mut push = |index: usize, from: Option<&String>, to: Option<&String>| {
        changes.push(Change::of(Reason::Argument {
            index: index as u64,
            from: from.cloned(),
            to: to.cloned(),
        }));
    };
    let (mut i, mut j) = (0, 0);
    for (x, y) in pairs.into_iter().chain([(a.len(), b.len())]) {
        (i..x).for_each(|i| push(i, Some(&a[i]), None));
        (j..y).for_each(|j| push(j, None, Some(&b[j])));
        if let (Some(from), Some(to)) = (a.get(x), b.get(y))
            && from != to
        {
            push(y, Some(from), Some(to));
        }
        (i, j) = (x + 1, y + 1);
    }
}

fn environment(a: &[String], b: &[String], changes: &mut Vec<Change>) {
    let split = |entry: &String| {
        let (name, value) = entry.split_once('=').unwrap_or((entry, ""));
        (name.to_owned(), value.to_owned())
    };
    let before: BTreeMap<String, String> = a.iter().map(split).collect();
    let after: BTreeMap<String, String> = b.iter().map(split).collect();
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (from, to) = (before.get(name), after.get(name));
        if from != to {
            changes.push(Change::of(Reason::Env {
                name: name.clone(),
                from: from.cloned(),
                to: to.cloned(),
            }));
        }
    }
    let order = |entries: &[String], other: &BTreeMap<String, String>| -> Vec<String> {
        let names = entries.iter().map(|entry| split(entry).0);
        names.filter(|name| other.contains_key(name)).collect()
    };
    if order(a, &after) != order(b, &before) {
        changes.push(Change::of(Reason::Order {
            of: "environment".to_owned(),
        }));
    }
}

/// Lists of messages with a name.
fn named(changes: &mut Vec<Change>, setting: Setting, lists: (&Value, &Value), key: &str) {
    let by_name = |list: &Value| -> BTreeMap<String, String> {
        let entries = list.as_array().into_iter().flatten();
        let one = |entry: &Value| (text(&entry[key]), describe(entry, key));
        entries.map(one).collect()
    };
    let (before, after) = (by_name(lists.0), by_name(lists.1));
    let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
    for name in names {
        let (from, to) = (before.get(name).cloned(), after.get(name).cloned());
        set(changes, setting, Some(name.clone()), from, to);
    }
}

/// The fields of a message but for its name: `Soft=1 Hard=2`.
fn describe(entry: &Value, key: &str) -> String {
    let fields = entry.as_object().into_iter().flatten();
    let fields = fields.filter(|(name, _)| *name != key);
    let fields: Vec<String> = fields.map(|(n, v)| format!("{n}={}", text(v))).collect();
    fields.join(" ")
}

fn without(list: &Value, key: &str) -> Value {
    let mut list = list.clone();
    for entry in list.as_array_mut().into_iter().flatten() {
        if let Some(object) = entry.as_object_mut() {
            object.remove(key);
        }
    }
    list
}

/// The mounts of a step with their targets.
fn list(step: &Step) -> Vec<(String, &Value)> {
    let mounts = step.body("exec").and_then(|exec| exec["mounts"].as_array());
    let mounts = mounts.into_iter().flatten();
    mounts.map(|mount| (text(&mount["dest"]), mount)).collect()
}

fn kind(mount: &Value) -> String {
    number(&mount["mountType"], &KINDS)
}

/// The input of a mount.
pub(super) fn input(mount: &Value) -> Option<usize> {
    let has_input = matches!(&*kind(mount), "bind" | "cache");
    has_input.then(|| input_index(mount.get("input")))?
}

/// Mounts that are the same mount: by target, then by what they show and how.
fn pairs<'a>(a: &'a Step, b: &'a Step, paired: Paired<'_>) -> MountPairs<'a> {
    let (before, after) = (list(a), list(b));
    let mut used = vec![false; after.len()];
    let mut result = MountPairs::default();
    for (target, mount) in &before {
        let found = after.iter().position(|(other, _)| other == target);
        match found {
            Some(place) => {
                used[place] = true;
                result.shared.push((mount, after[place].1));
            }
            None => result.removed.push(mount),
        }
    }
    let unused = after.iter().zip(&used).filter(|(_, used)| !**used);
    for ((_, mount), _) in unused {
        let same = |other: &&Value| {
            let steps = (source(a, other), source(b, mount));
            let same_source = match steps {
                (Some(x), Some(y)) => paired(x, y),
                (None, None) => true,
                _ => false,
            };
            same_source && options(other) == options(mount)
        };
        match result.removed.iter().position(same) {
            Some(place) => result.shared.push((result.removed.remove(place), mount)),
            None => result.added.push(mount),
        }
    }
    result
}

#[derive(Default)]
struct MountPairs<'a> {
    shared: Vec<(&'a Value, &'a Value)>,
    removed: Vec<&'a Value>,
    added: Vec<&'a Value>,
}

fn source(step: &Step, mount: &Value) -> Option<usize> {
    step.inputs.get(input(mount)?)?.step
}

/// Inputs with the same role: before and after.
pub(super) fn inputs(a: &Step, b: &Step, paired: Paired<'_>) -> super::role::Inputs {
    let pairs = pairs(a, b, paired);
    let mut roles = super::role::Inputs::default();
    for (x, y) in &pairs.shared {
        roles.add(input(x), input(y));
    }
    roles
}

/// What a key depends on of a mount, by name.
fn options(mount: &Value) -> BTreeMap<String, String> {
    let mut options = BTreeMap::from([("kind".to_owned(), kind(mount))]);
    for name in ["readonly", "resultID", "contentCache"] {
        options.extend(field(mount, name).map(|value| (name.to_owned(), value)));
    }
    if let Some(size) = mount.pointer("/TmpfsOpt/size") {
        options.insert("size".to_owned(), text(size));
    }
    for message in ["secretOpt", "SSHOpt"] {
        for (name, value) in mount[message].as_object().into_iter().flatten() {
            let value = if name == "mode" {
                octal(&text(value))
            } else {
                text(value)
            };
            options.insert(name.to_lowercase(), value);
        }
    }
    let cache = &mount["cacheOpt"];
    if is_default_cache(mount) {
        options.insert("id".to_owned(), text(&cache["ID"]));
    }
    options
}

/// Only a cache that is named as a Dockerfile names one has its name in the key.
fn is_default_cache(mount: &Value) -> bool {
    let Some(cache) = mount.get("cacheOpt") else {
        return false;
    };
    let (id, target) = (text(&cache["ID"]), text(&mount["dest"]));
    let namespaced = id.split_once('/').is_some_and(|(_, rest)| rest == target);
    number(&cache["sharing"], &SHARING) == SHARING[0] && (id == target || namespaced)
}

/// Cache volumes that are others than they were although no key says so.
pub(super) fn volumes(a: &Step, b: &Step) -> Vec<Reason> {
    let (before, after) = (list(a), list(b));
    let id = |mount: &Value| mount.pointer("/cacheOpt/ID").map(text);
    let mut reasons = Vec::new();
    for (target, mount) in &after {
        let same = before.iter().find(|(other, _)| other == target);
        let ids = same.and_then(|(_, other)| Some((id(other)?, id(mount)?, other)));
        if let Some((from, to, other)) = ids
            && from != to
            && options(other) == options(mount)
        {
            reasons.push(Reason::CacheVolume {
                target: target.clone(),
                from,
                to,
            });
        }
    }
    reasons
}

fn mounts(a: &Step, b: &Step, paired: Paired<'_>, changes: &mut Vec<Change>) {
    let pairs = pairs(a, b, paired);
    for (x, y) in &pairs.shared {
        let (from, to) = (text(&x["dest"]), text(&y["dest"]));
        if from != to {
            let to = to.clone();
            changes.push(Change::of(Reason::MountMoved { from, to }));
        }
        let (before, after) = (options(x), options(y));
        let names: BTreeSet<&String> = before.keys().chain(after.keys()).collect();
        for option in names {
            let (from, value) = (before.get(option), after.get(option));
            if from != value {
                changes.push(Change::of(Reason::Mount {
                    target: to.clone(),
                    option: option.clone(),
                    from: from.cloned(),
                    to: value.cloned(),
                }));
            }
        }
        let selector = |mount: &Value| field(mount, "selector").unwrap_or_else(|| "/".to_owned());
        if selector(x) != selector(y) {
            changes.push(Change {
                reason: Reason::Selector {
                    target: to,
                    from: selector(x),
                    to: selector(y),
                },
                input: input(y),
            });
        }
    }
    for mount in pairs.removed {
        changes.push(Change::of(Reason::MountRemoved {
            target: text(&mount["dest"]),
            kind: kind(mount),
        }));
    }
    for mount in pairs.added {
        changes.push(Change::of(Reason::MountAdded {
            target: text(&mount["dest"]),
            kind: kind(mount),
        }));
    }
}
