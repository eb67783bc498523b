//! A daemon whose cache keys nobody knows is asked how it computes them, and believed.
//!
//! The daemon is the real one. That it is of another release is only what it says: in a copy of the
//! program the version is overwritten, so that `v0.99.2` has the formulas that a newer release may
//! well have, and `v0.17.2` has others than its release.

use std::{fs, os::unix::fs::symlink, process::Command};

use integration::{
    daemon::{self, Daemon},
    dagop::Dagop,
};
use serde_json::Value;
use tempfile::TempDir;

/// The version of the programs of the test run, as they say it.
const OWN: &str = "v0.32.2";

/// Runs in which the daemon gets the time to answer, at most. One is enough on an idle machine.
const RUNS_MAX: usize = 10;

const DOCUMENT: &str = r#"
query Step($tools: ContainerID!, $command: String!) {
  loadContainerFromID(id: $tools) {
    withExec(args: ["busybox", "sh", "-c", $command]) {
      withExec(args: ["busybox", "cat", "/made"]) { stdout }
    }
  }
}"#;

/// What the step runs, unless a test has reasons to run something else.
const COMMAND: &str = "echo formulas > /made";

/// A daemon that says it is of another release, which is written like the real one.
fn daemon(version: &str) -> (Daemon, TempDir) {
    let real = daemon::tools().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let mut program = fs::read(real.join("buildkitd")).unwrap();
    assert_eq!(OWN.len(), version.len());
    let mut place = 0;
    let mut count = 0;
    while let Some(found) = position(&program[place..], OWN.as_bytes()) {
        place += found;
        program[place..place + OWN.len()].copy_from_slice(version.as_bytes());
        count += 1;
    }
    assert!(count > 0, "the program does not say that it is {OWN}");
    let path = folder.path().join("buildkitd");
    fs::write(&path, program).unwrap();
    let mode = fs::metadata(real.join("buildkitd")).unwrap().permissions();
    fs::set_permissions(&path, mode).unwrap();
    symlink(real.join("buildctl"), folder.path().join("buildctl")).unwrap();
    (Daemon::start_from(folder.path()).unwrap(), folder)
}

/// Where a text is in a program.
fn position(program: &[u8], text: &[u8]) -> Option<usize> {
    let mut start = 0;
    while let Some(found) = program[start..].iter().position(|byte| *byte == text[0]) {
        start += found;
        if program[start..].starts_with(text) {
            return Some(start);
        }
        start += 1;
    }
    None
}

fn run(user: &Dagop, command: &str) {
    let outcome = user.with_tools(DOCUMENT, &[("command", command)]).unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}");
}

fn prune(daemon: &Daemon) {
    let buildctl = daemon::tools().unwrap().join("buildctl");
    let mut command = Command::new(buildctl);
    let pruned = command.args(["--addr", &daemon.address(), "prune", "--all"]);
    assert!(pruned.output().unwrap().status.success());
}

fn keys(user: &Dagop) -> usize {
    let keys = user.run(["keys", "--json"]).unwrap().json().unwrap();
    let records = keys["cache"]["records"].as_array().unwrap().iter();
    records.filter(|r| r["evidence"] == "predicted").count()
}

/// Reasons of a plan's steps, with their verdicts.
fn plan(user: &Dagop) -> Vec<(String, String)> {
    let run = user.command_with_tools(DOCUMENT, &[("command", COMMAND)]);
    let run = run.unwrap();
    let arguments = run.get_args().skip(1).map(|argument| argument.to_owned());
    let arguments = std::iter::once("plan".into()).chain(arguments);
    let plan = user.run(arguments).unwrap().json().unwrap();
    let steps = plan["steps"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    steps
        .map(|step| (text(&step["verdict"]), text(&step["reason"])))
        .collect()
}

#[test]
fn a_newer_release_is_asked_while_the_first_build_runs() {
    let (daemon, _folder) = daemon("v0.99.2");
    let user = Dagop::new(daemon.address()).unwrap();
    let answers = user.home().join("state/dagop/formulas.json");
    let is_answered = (0..RUNS_MAX).any(|number| {
        run(&user, &format!("busybox sleep 2; echo {number} > /made"));
        answers.exists()
    });
    assert!(is_answered, "no run has asked");
    let text = fs::read_to_string(&answers).unwrap();
    assert!(text.contains("v0.99.2"), "{text}");
    // From then on it is like any release that is known.
    run(&user, COMMAND);
    assert!(keys(&user) > 0);
    let steps = plan(&user);
    assert!(
        steps.iter().all(|(verdict, _)| verdict == "hit"),
        "{steps:?}"
    );
    assert_eq!(fs::read_to_string(&answers).unwrap(), text, "asked again");
}

#[test]
fn nothing_is_predicted_for_a_daemon_with_other_formulas() {
    let (daemon, _folder) = daemon("v0.17.2");
    let user = Dagop::new(daemon.address()).unwrap();
    let asked = user.run(["predict", "--self-test"]).unwrap();
    assert_eq!(asked.code, 1, "{asked:?}");
    assert!(
        asked
            .stdout
            .starts_with("BuildKit v0.17.2 computes other cache keys"),
        "{asked:?}"
    );
    let json = user.run(["predict", "--self-test", "--json"]).unwrap();
    let json: Value = serde_json::from_str(&json.stdout).unwrap();
    assert!(!json["unexpected"].as_array().unwrap().is_empty(), "{json}");
    run(&user, COMMAND);
    assert_eq!(keys(&user), 0);
    let json = user.run(["keys", "--json"]).unwrap().json().unwrap();
    let mut vertices = json["vertices"].as_array().unwrap().iter();
    assert!(
        vertices.all(|vertex| vertex["predicted_cache_map"].is_null()),
        "{json:#}"
    );
    // That the daemon lost what it had under the same key would be a claim about keys.
    prune(&daemon);
    run(&user, COMMAND);
    let why = user.run(["why", "*cat /made*"]).unwrap();
    assert!(
        why.stdout
            .contains("unknown: how BuildKit v0.17.2 computes cache keys"),
        "{why:?}"
    );
    let steps = plan(&user);
    let is_open =
        |(verdict, reason): &(String, String)| verdict == "unknown" && reason == "formulas";
    assert!(!steps.is_empty() && steps.iter().all(is_open), "{steps:?}");
}

#[test]
fn a_known_release_has_its_formulas_and_no_run_asks() {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    run(&user, COMMAND);
    assert!(keys(&user) > 0);
    assert!(!user.home().join("state/dagop/formulas.json").exists());
    let asked = user.run(["predict", "--self-test"]).unwrap();
    assert_eq!(asked.code, 0, "{asked:?}");
    assert_eq!(
        asked.stdout,
        format!("BuildKit {OWN} computes the predicted cache keys\n")
    );
    // No build of the user's.
    let steps = plan(&user);
    assert!(
        steps.iter().all(|(verdict, _)| verdict == "hit"),
        "{steps:?}"
    );
}
