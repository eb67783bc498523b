//! Verdicts over small graphs and stores, without a daemon.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{self, World};
use super::graph::{Described, Graph, Input, Step};
use super::held::Store;
use super::index::Index;
use super::same::{Relation, Same};
use super::{Plan, Reason, Verdict};
use serde_json::json;

use crate::DiskRecord;
use crate::ledger::{Outcome, VertexKind};

/// A command or a file operation named `name`, whose cache map is `map`; times begin at `at`.
fn step(kind: VertexKind, name: &str, map: &str, at: u64) -> Step {
    Step {
        canonical: name.to_owned(),
        name: name.to_owned(),
        kind,
        cache_map: Some(map.to_owned()),
        records: BTreeSet::from([format!("{map}@0")]),
        used: BTreeSet::from([0]),
        inputs: Some(Vec::new()),
        outcome: Outcome::Executed,
        run: Some((at, at + 9)),
        described: Described::As(BTreeMap::from([(0, described(kind, name))])),
        checksum: None,
    }
}

fn described(kind: VertexKind, name: &str) -> String {
    match kind {
        VertexKind::Exec => format!("mount / from exec {name}"),
        _ => name.to_owned(),
    }
}

fn link(step: usize) -> Input {
    Input {
        step: Some(step),
        ..Input::default()
    }
}

fn content(step: usize, content: Option<&str>) -> Input {
    Input {
        keyed_by_content: true,
        content: content.map(str::to_owned),
        ..link(step)
    }
}

fn graph(steps: Vec<Step>) -> Graph {
    let mut graph = Graph::default();
    for step in steps {
        graph.add(step);
    }
    graph
}

fn record(description: &str, created_ms: u64) -> DiskRecord {
    DiskRecord {
        id: description.to_owned(),
        size: 1,
        created_ms: Some(created_ms),
        last_used_ms: None,
        usage_count: 1,
        mutable: false,
        in_use: false,
        shared: false,
        kind: "regular".to_owned(),
        description: description.to_owned(),
        parents: Vec::new(),
    }
}

/// A source, a copy out of it, and a command over the copy.
fn pipeline(copied: Option<&str>, command: &str) -> Graph {
    let local = Step {
        cache_map: None,
        ..step(VertexKind::Local, "src", "", 0)
    };
    let copy = Step {
        inputs: Some(vec![content(0, copied)]),
        ..step(VertexKind::File, "copy", "map of copy", 10)
    };
    let make = Step {
        inputs: Some(vec![link(1)]),
        ..step(VertexKind::Exec, "make", command, 20)
    };
    graph(vec![local, copy, make])
}

fn held() -> Vec<DiskRecord> {
    vec![record("copy", 12), record("mount / from exec make", 22)]
}

fn verdicts(planned: &Graph, earlier: &[Graph], disk: &[DiskRecord]) -> Vec<(Verdict, Reason)> {
    let world = World {
        planned,
        earlier,
        store: &Store::new(disk, earlier),
        imports: false,
    };
    let last = planned.steps.last().expect("a step").canonical.clone();
    let decisions = decide::decide(&world, &[(last, 0)]).into_values();
    decisions
        .map(|decision| (decision.verdict, decision.reason))
        .collect()
}

fn words(planned: &Graph, earlier: &[Graph], disk: &[DiskRecord]) -> Vec<Verdict> {
    let verdicts = verdicts(planned, earlier, disk);
    verdicts.into_iter().map(|(verdict, _)| verdict).collect()
}

use Verdict::{Hit, Miss, Unknown};

#[test]
fn what_ran_and_is_held_is_a_hit() {
    let before = [pipeline(Some("c"), "map of make")];
    let planned = pipeline(Some("c"), "map of make");
    assert_eq!(words(&planned, &before, &held()), [Hit, Hit]);
}

#[test]
fn what_is_not_held_is_a_miss_if_it_is_needed() {
    let before = [pipeline(Some("c"), "map of make")];
    let planned = pipeline(Some("c"), "map of make");
    assert_eq!(words(&planned, &before, &[]), [Miss, Miss]);
    // The command's result is there, so nobody asks for the copy.
    assert_eq!(words(&planned, &before, &held()[1..]), [Hit, Hit]);
    assert_eq!(words(&planned, &before, &held()[..1]), [Hit, Miss]);
}

#[test]
fn other_content_is_another_key() {
    let before = [pipeline(Some("c"), "map of make")];
    let planned = pipeline(Some("d"), "map of make");
    let verdicts = verdicts(&planned, &before, &held());
    assert_eq!(verdicts[0], (Miss, Reason::OtherKey { records: 1 }));
    assert_eq!(verdicts[1], (Miss, Reason::OtherKey { records: 1 }));
}

#[test]
fn unknown_content_is_unknown() {
    let before = [pipeline(None, "map of make")];
    let planned = pipeline(Some("d"), "map of make");
    assert_eq!(words(&planned, &before, &held()), [Unknown, Unknown]);
}

#[test]
fn a_record_of_another_client_may_be_anything_of_its_kind() {
    let planned = pipeline(Some("c"), "map of make");
    let foreign = |description: &str| vec![record(description, 500)];
    let of = |description: &str| words(&planned, &[], &foreign(description));
    // Names are free; what a command is, is not.
    assert_eq!(of("COPY . ."), [Unknown, Miss]);
    assert_eq!(of("mount / from exec make"), [Unknown, Unknown]);
    assert_eq!(of("mount / from exec test"), [Miss, Miss]);
    assert_eq!(of("pulled from docker.io/library/a"), [Miss, Miss]);
    assert_eq!(of("local source for /src"), [Miss, Miss]);
    assert_eq!(of("imported sha256:0"), [Unknown, Unknown]);
}

#[test]
fn an_output_that_nobody_used_was_not_kept() {
    let mut before = pipeline(Some("c"), "map of make");
    before.steps[2].used = BTreeSet::from([1]);
    let planned = pipeline(Some("c"), "map of make");
    let verdicts = verdicts(&planned, &[before], &held());
    assert_eq!(verdicts[1], (Unknown, Reason::OutputNotKept { output: 0 }));
}

#[test]
fn a_record_that_two_steps_may_have_made_proves_nothing() {
    let before = || pipeline(Some("c"), "map of make");
    let planned = pipeline(Some("c"), "map of make");
    let verdicts = verdicts(&planned, &[before(), before()], &held());
    assert_eq!(verdicts[1], (Unknown, Reason::Ambiguous));
}

/// A Dockerfile's steps are numbered in their names.
#[test]
fn a_step_with_another_name_is_the_same_step() {
    let before = [pipeline(Some("c"), "map of make")];
    let mut planned = pipeline(Some("c"), "map of make");
    planned.steps[1].described = Described::As(BTreeMap::from([(0, "copy 1/2".to_owned())]));
    assert_eq!(words(&planned, &before, &held()[..1]), [Hit, Miss]);
}

/// A download, and a step that takes the file.
fn download(checksum: &str) -> Graph {
    let page = Step {
        records: BTreeSet::from([format!("record of {checksum}")]),
        checksum: Some(checksum.to_owned()),
        ..step(VertexKind::Http, "page", checksum, 0)
    };
    let taken = Input {
        exact: true,
        ..content(0, None)
    };
    let copy = Step {
        inputs: Some(vec![taken]),
        ..step(VertexKind::File, "copy", "map of copy", 10)
    };
    graph(vec![page, copy])
}

#[test]
fn a_download_with_other_bytes_is_another_content() {
    let disk = [record("copy", 12)];
    assert_eq!(words(&download("a"), &[download("a")], &disk), [Hit]);
    assert_eq!(words(&download("b"), &[download("a")], &disk), [Miss]);
    // A pattern may match nothing in either.
    let mut loose = download("b");
    for input in loose.steps[1].inputs.iter_mut().flatten() {
        input.exact = false;
    }
    assert_eq!(words(&loose, &[download("a")], &disk), [Unknown]);
}

#[test]
fn what_is_not_known_is_named_where_it_is_missing() {
    let chain = |copied| {
        let mut graph = pipeline(copied, "map of make");
        let step = Step {
            inputs: Some(vec![link(2)]),
            ..step(VertexKind::Exec, "test", "map of test", 30)
        };
        graph.add(step);
        graph
    };
    let disk = [record("mount / from exec test", 32)];
    let verdicts = verdicts(&chain(None), &[chain(Some("c"))], &disk);
    let of = "src".to_owned();
    assert_eq!(verdicts[2], (Unknown, Reason::Content { of }));
    let verdicts = self::verdicts(&chain(Some("c")), &[chain(None)], &disk);
    let of = "src".to_owned();
    assert_eq!(verdicts[2], (Unknown, Reason::EarlierContent { of }));
}

/// The same command over many inputs: each is compared with its own counterpart, not with all.
#[test]
fn a_step_is_compared_with_the_few_that_it_can_be() {
    let many = |last: &str| {
        let mut graph = Graph::default();
        for number in 0..200 {
            let name = format!("make {number}");
            let map = if number == 199 { last } else { &name };
            graph.add(step(VertexKind::File, &name, map, 10));
            graph.add(Step {
                inputs: Some(vec![link(2 * number)]),
                ..step(
                    VertexKind::Exec,
                    &format!("true {number}"),
                    "map of true",
                    20,
                )
            });
        }
        graph
    };
    let (planned, earlier) = (many("changed"), many("make 199"));
    let index = Index::new(&earlier);
    let relation = Relation::new(&planned, &earlier);
    let like: Vec<Vec<(usize, Same)>> = (0..planned.steps.len())
        .map(|position| relation.like(position).collect())
        .collect();
    for position in 0..planned.steps.len() {
        let found = index.candidates(&planned.steps[position], &like);
        let expected = if position < 398 {
            vec![position]
        } else {
            vec![]
        };
        assert_eq!(found, expected);
        let expected: Vec<(usize, Same)> = expected.into_iter().map(|at| (at, Same::Yes)).collect();
        assert_eq!(like[position], expected);
    }
}

#[test]
fn a_failed_step_left_no_key() {
    let mut before = pipeline(Some("c"), "map of make");
    before.steps[2].outcome = Outcome::Failed;
    let planned = pipeline(Some("c"), "map of make");
    assert_eq!(words(&planned, &[before], &held()), [Hit, Miss]);
}

/// The form that the README describes; scripts rely on it.
#[test]
fn the_json_is_stable() {
    let reason = |reason: &Reason| serde_json::to_value(reason).expect("data");
    for (value, expected) in [
        (
            Reason::Held {
                build: "b".to_owned(),
                record: "r".to_owned(),
                by_content: true,
            },
            json!({"reason": "held", "build": "b", "record": "r", "by_content": true}),
        ),
        (Reason::Recalled, json!({"reason": "recalled"})),
        (Reason::NotNeeded, json!({"reason": "not_needed"})),
        (Reason::NothingHeld, json!({"reason": "nothing_held"})),
        (
            Reason::OtherKey { records: 2 },
            json!({"reason": "other_key", "records": 2}),
        ),
        (
            Reason::OutputNotKept { output: 1 },
            json!({"reason": "output_not_kept", "output": 1}),
        ),
        (
            Reason::Content { of: "a".to_owned() },
            json!({"reason": "content", "of": "a"}),
        ),
        (
            Reason::EarlierContent { of: "a".to_owned() },
            json!({"reason": "earlier_content", "of": "a"}),
        ),
        (
            Reason::Above {
                step: "a".to_owned(),
            },
            json!({"reason": "above", "step": "a"}),
        ),
        (
            Reason::Unexplained { records: 3 },
            json!({"reason": "unexplained", "records": 3}),
        ),
        (Reason::Imported, json!({"reason": "imported"})),
        (Reason::Key, json!({"reason": "key"})),
        (Reason::NoRecord, json!({"reason": "no_record"})),
        (Reason::Ambiguous, json!({"reason": "ambiguous"})),
    ] {
        assert_eq!(reason(&value), expected);
    }
    let plan = json!({
        "daemon": "unix:///d", "daemon_version": "v1",
        "steps": [{
            "canonical": "sha256:1", "name": "make", "calls": ["withExec"], "kind": "exec",
            "verdict": "miss", "reason": "nothing_held", "causes": [0], "sentence": "s",
        }, {
            "name": "stdout", "calls": [], "verdict": "hit", "reason": "recalled", "sentence": "s",
        }],
        "causes": [{
            "cause": {"reason": "env", "name": "A", "from": "1", "to": null},
            "sentence": "s", "step": "make", "canonical": "sha256:1", "kind": "exec",
            "removed": false, "against": "b",
        }],
        "sources": ["local://a"],
        "unplanned": [{"operation": "Q", "path": "a.b", "hides_steps": false, "sentence": "s"}],
    });
    let read: Plan = serde_json::from_value(plan.clone()).expect("a plan");
    assert_eq!(serde_json::to_value(&read).expect("data"), plan);
}

/// `b` copies a file that `a` writes; its key is known by content only when `a` has run.
fn chain(a: &str) -> Graph {
    let first = step(VertexKind::Exec, "a", a, 0);
    let copy = Step {
        inputs: Some(vec![content(0, None)]),
        ..step(VertexKind::File, "b", "map of b", 10)
    };
    graph(vec![first, copy])
}

#[test]
fn a_step_whose_content_decides_runs_what_makes_it() {
    let disk = [record("mount / from exec a", 3), record("b", 12)];
    let before = [chain("map of a")];
    assert_eq!(words(&chain("map of a"), &before, &disk), [Hit, Hit]);
    let verdicts = verdicts(&chain("changed"), &before, &disk);
    assert_eq!(verdicts[0].0, Miss, "{verdicts:?}");
    assert_eq!(
        verdicts[1],
        (Unknown, Reason::Content { of: "a".to_owned() })
    );
}
