//! The same against a real daemon, through the command line: after an edit, `dagop why` on the
//! first step that ran names that edit and nothing else.

use std::{fs, os::unix::fs::PermissionsExt as _, process::Command};

use integration::{
    daemon::{self, Daemon},
    dagop::Dagop,
};
use serde_json::{Value, json};

/// A pipeline with one of everything that is edited below.
#[derive(Clone)]
struct Pipeline {
    flag: &'static str,
    argument: &'static str,
    workdir: &'static str,
    user: &'static str,
    content: &'static str,
    mode: u32,
    target: &'static str,
    cache: &'static str,
    scope: &'static str,
    inserted: bool,
}

const BASE: Pipeline = Pipeline {
    flag: "one",
    argument: "first",
    workdir: "/w",
    user: "0",
    content: "text",
    mode: 0o644,
    target: "a",
    cache: "/cache",
    scope: "@cache(key: \"k1\")",
    inserted: false,
};

impl Pipeline {
    fn text(&self) -> String {
        let Self {
            flag,
            argument,
            workdir,
            user,
            content,
            mode,
            target,
            cache,
            scope,
            inserted,
        } = self;
        let inserted = if *inserted {
            r#"withExec(args: ["busybox", "true", "inserted"]) {"#
        } else {
            "withEnvVariable(name: \"SAME\", value: \"1\") {"
        };
        format!(
            r#"query Context {{ host {{ directory(path: "ctx") {{ id @export(as: "ctx") }} }} }}
query Go($tools: ContainerID!, $ctx: DirectoryID!) {{ loadContainerFromID(id: $tools) {{
  withNewFile(path: "/made/file", contents: "{content}", permissions: {mode}) {{
  withSymlink(target: "{target}", linkName: "/made/link") {{
  withDirectory(path: "/src", source: $ctx, include: ["*.c"]) {{
  withEnvVariable(name: "SAME", value: "1") {{
  withExec(args: ["busybox", "true", "zero"]) {{
  {inserted}
  withWorkdir(path: "{workdir}") {{ withUser(name: "{user}") {{
  withEnvVariable(name: "FLAG", value: "{flag}") {{
  withMountedTemp(path: "{cache}") {{
  withExec(args: ["busybox", "true", "{argument}"]) {{
  withExec(args: ["busybox", "true", "scoped"]) {scope} {{ stdout }}
  }} }} }} }} }} }} }} }} }} }} }} }} }}"#
        )
    }
}

/// A user with a local directory.
struct Desk {
    user: Dagop,
}

impl Desk {
    fn new(address: &str) -> Self {
        let user = Dagop::new(address).unwrap();
        let context = user.work().join("ctx");
        fs::create_dir(&context).unwrap();
        for (name, text) in [("a.c", "int a;"), ("b.c", "int b;"), ("notes", "words")] {
            fs::write(context.join(name), text).unwrap();
            fs::set_permissions(context.join(name), fs::Permissions::from_mode(0o644)).unwrap();
        }
        Self { user }
    }

    /// Runs; the build's id, and the canonical digests of the vertices that ran, in order.
    fn run(&self, pipeline: &Pipeline) -> (String, Vec<String>) {
        let outcome = self.user.with_tools(&pipeline.text(), &[]).unwrap();
        let report = outcome.json().unwrap()["report"].take();
        let vertices = report["vertices"].as_array().unwrap().iter();
        let ran = vertices.filter(|vertex| vertex["outcome"] == "executed");
        let digests = ran.map(|vertex| vertex["canonical"].as_str().unwrap().to_owned());
        (
            report["build"]["id"].as_str().unwrap().to_owned(),
            digests.collect(),
        )
    }

    fn why(&self, arguments: &[&str]) -> Value {
        let all = ["why", "--json"].iter().chain(arguments);
        let outcome = self.user.run(all).unwrap();
        assert!(outcome.code == 0 || outcome.code == 4, "{}", outcome.stderr);
        serde_json::from_str(&outcome.stdout).unwrap()
    }

    /// The reasons of a step; the names of files and digests in them are the caller's business.
    fn reasons(&self, step: &str, against: &str) -> Vec<Value> {
        let answer = self.why(&[step, "--against", against]);
        let reasons = answer[0]["reasons"].as_array().unwrap().iter();
        reasons.map(|cause| cause["reason"].clone()).collect()
    }
}

/// Edits of the pipeline, with the fields of the reason that they are.
fn edits() -> Vec<(&'static str, Pipeline, Value)> {
    let made = |content, mode, target| Pipeline {
        content,
        mode,
        target,
        ..BASE
    };
    vec![
        (
            "variable",
            Pipeline {
                flag: "two",
                ..BASE
            },
            json!({"reason": "env", "name": "FLAG", "from": "one", "to": "two"}),
        ),
        (
            "argument",
            Pipeline {
                argument: "second",
                ..BASE
            },
            json!({"reason": "argument", "index": 2, "from": "first", "to": "second"}),
        ),
        (
            "working directory",
            Pipeline {
                workdir: "/v",
                ..BASE
            },
            json!({"reason": "setting", "setting": "workdir", "from": "/w", "to": "/v"}),
        ),
        (
            "user",
            Pipeline {
                user: "1000",
                ..BASE
            },
            json!({"reason": "setting", "setting": "user", "from": "0", "to": "1000"}),
        ),
        (
            "content",
            made("other", 0o644, "a"),
            json!({"reason": "action", "action": "mkfile /made/file", "field": "content"}),
        ),
        (
            "mode",
            made("text", 0o664, "a"),
            json!({"reason": "action", "field": "mode", "from": "0644", "to": "0664"}),
        ),
        (
            "link",
            made("text", 0o644, "b"),
            json!({"reason": "action", "field": "target", "from": "a", "to": "b"}),
        ),
        (
            "mount",
            Pipeline {
                cache: "/other",
                ..BASE
            },
            json!({"reason": "mount_moved", "from": "/cache", "to": "/other"}),
        ),
        (
            "scope",
            Pipeline {
                scope: "@cache(key: \"k2\")",
                ..BASE
            },
            json!({"reason": "scope", "scope": "key", "from": "k1", "to": "k2"}),
        ),
        (
            "step",
            Pipeline {
                inserted: true,
                ..BASE
            },
            json!({"reason": "step_added"}),
        ),
    ]
}

fn has(reason: &Value, fields: &Value) -> bool {
    let fields = fields.as_object().unwrap();
    fields.iter().all(|(name, value)| reason[name] == *value)
}

#[test]
fn an_edit_of_the_pipeline_is_named() {
    let desk = Desk::new(&daemon::shared().unwrap());
    let (base, _) = desk.run(&BASE);
    for (name, pipeline, expected) in edits() {
        let (_, ran) = desk.run(&pipeline);
        let first = ran.first().unwrap_or_else(|| panic!("{name}: nothing ran"));
        let reasons = desk.reasons(first, &base);
        assert!(
            matches!(&reasons[..], [only] if has(only, &expected)),
            "{name}: {reasons:?}, not {expected}"
        );
    }
}

#[test]
fn an_edit_of_a_local_file_is_named_and_what_no_step_takes_is_not() {
    let desk = Desk::new(&daemon::shared().unwrap());
    let context = desk.user.work().join("ctx");
    let mut before = desk.run(&BASE).0;
    let mut check = |name: &str, expected: Option<Value>| {
        let (build, ran) = desk.run(&BASE);
        match (ran.first(), &expected) {
            (None, None) => {}
            (Some(first), Some(expected)) => {
                let reasons = desk.reasons(first, &before);
                assert!(
                    matches!(&reasons[..], [only] if has(only, expected)),
                    "{name}: {reasons:?}, not {expected}"
                );
            }
            _ => panic!("{name}: {ran:?} ran"),
        }
        before = build;
    };
    fs::write(context.join("notes"), "other words").unwrap();
    check("a file that no step takes", None);
    fs::write(context.join("a.c"), "int other;").unwrap();
    check(
        "content",
        Some(json!({"reason": "file_content", "path": "a.c"})),
    );
    fs::set_permissions(context.join("b.c"), fs::Permissions::from_mode(0o664)).unwrap();
    let mode = json!({"reason": "file_property", "path": "b.c", "property": "mode",
        "from": "0644", "to": "0664"});
    check("mode", Some(mode));
    fs::write(context.join("c.c"), "int c;").unwrap();
    check(
        "added",
        Some(json!({"reason": "file_added", "path": "c.c"})),
    );
    fs::remove_file(context.join("c.c")).unwrap();
    fs::remove_file(context.join("b.c")).unwrap();
    let (_, ran) = desk.run(&BASE);
    let answers = desk.why(&[&ran[0], "--against", &before]);
    let paths: Vec<&Value> = answers[0]["reasons"].as_array().unwrap().iter().collect();
    let paths: Vec<&str> = paths
        .iter()
        .map(|c| c["reason"]["path"].as_str().unwrap())
        .collect();
    assert_eq!(paths, ["b.c", "c.c"]);
}

#[test]
fn a_pruned_record_and_an_expired_call_are_told_apart_from_edits() {
    let daemon = Daemon::start().unwrap();
    let desk = Desk::new(&daemon.address());
    let short = Pipeline {
        scope: "@cache(ttl: \"1s\")",
        ..BASE
    };
    let (first, _) = desk.run(&short);
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let (_, ran) = desk.run(&short);
    assert_eq!(ran.len(), 1, "only the call whose time has passed");
    let reasons = desk.reasons(&ran[0], &first);
    assert!(
        matches!(&reasons[..], [r] if r["reason"] == "expired" && r["seconds"] == "1"),
        "{reasons:?}"
    );

    desk.run(&BASE);
    let buildctl = daemon::tools().unwrap().join("buildctl");
    let pruned = Command::new(buildctl)
        .args(["--addr", &daemon.address(), "prune", "--all"])
        .output()
        .unwrap();
    assert!(pruned.status.success(), "{pruned:?}");
    let (_, ran) = desk.run(&BASE);
    assert!(ran.len() > 3, "{ran:?}");
    for step in ran {
        let answer = desk.why(&[&step]);
        let reasons = answer[0]["reasons"].as_array().unwrap();
        assert_eq!(reasons.len(), 1, "{answer}");
        assert_eq!(reasons[0]["reason"]["reason"], "evicted", "{answer}");
    }
}

#[test]
fn diff_counts_causes_and_its_exit_code_says_whether_there_are_any() {
    let desk = Desk::new(&daemon::shared().unwrap());
    let (base, _) = desk.run(&BASE);
    let (same, _) = desk.run(&BASE);
    let outcome = desk.user.run(["diff", &base, &same]).unwrap();
    assert_eq!(outcome.code, 0, "{}", outcome.stdout);
    let edited = Pipeline {
        flag: "two",
        content: "other",
        ..BASE
    };
    let (edited, _) = desk.run(&edited);
    let outcome = desk.user.run(["diff", &base, &edited, "--causes"]).unwrap();
    assert_eq!(outcome.code, 1);
    assert!(outcome.stdout.contains("2 causes"), "{}", outcome.stdout);
    assert!(
        outcome.stdout.contains("FLAG changed: `one` -> `two`"),
        "{}",
        outcome.stdout
    );
    let missing = desk.user.run(["why", "no-such-step"]).unwrap();
    assert_eq!(missing.code, 1, "{}", missing.stderr);
}
