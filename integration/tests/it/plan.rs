//! `dagop plan` against what then happens. Pipelines are planned and run on a daemon that has not
//! seen them, unchanged, after single edits, after the daemon was restarted or pruned, after a record
//! was lost, beside other clients, and with an imported cache. No step that was said to be a hit may
//! run, and none that was said to be a miss may be cached. The matrix is printed; `unknown` is always
//! allowed, and counted.
//!
//! A sample is tried unless `DAGOP_PLAN_CORPUS` is `full`: then it is every pipeline with every edit
//! (minutes), and the causes of each miss are compared with those that `dagop why` gives afterwards.

use std::process::Command;

use integration::daemon::{self, Daemon};

use crate::plan_bench::{Bench, prune};
use crate::plan_corpus::{CORPUS, Edit, Pipeline};
use crate::plan_world::World;

/// A document of which nothing has to be brought along.
const CHAIN: &str = CORPUS[0].text;

fn is_full() -> bool {
    std::env::var("DAGOP_PLAN_CORPUS").is_ok_and(|size| size == "full")
}

/// The pipelines to try, with the edits of each.
fn chosen() -> impl Iterator<Item = (&'static Pipeline, &'static [Edit])> {
    CORPUS.iter().filter_map(|pipeline| {
        let edits = match is_full() {
            true => pipeline.edits.len(),
            false => pipeline.sample?,
        };
        Some((pipeline, &pipeline.edits[..edits]))
    })
}

/// Another client builds a Dockerfile, whose records no build of ours explains.
fn build_beside(daemon: &Daemon, bench: &Bench) {
    let context = bench.user.work().join("ctx");
    let mut buildctl = Command::new(daemon::tools().unwrap().join("buildctl"));
    buildctl.args([
        "--addr",
        &daemon.address(),
        "build",
        "--frontend=dockerfile.v0",
    ]);
    for name in ["context", "dockerfile"] {
        buildctl.arg(format!("--local={name}={}", context.display()));
    }
    let built = buildctl.output().unwrap();
    assert!(built.status.success(), "{built:?}");
}

#[test]
fn no_hit_runs_and_no_miss_is_cached() {
    let world = World::new();
    let mut daemon = Daemon::start().unwrap();
    let mut bench = Bench::new(&daemon);
    let mut texts: Vec<(&str, String)> = Vec::new();
    for (pipeline, edits) in chosen() {
        let mut text = world.addressed(pipeline.text);
        bench.check("first", pipeline.name, &text);
        bench.check("unchanged", pipeline.name, &text);
        for edit in edits {
            bench.edit(&world, &mut text, edit);
            let plan = bench.check("edited", pipeline.name, &text);
            if is_full() {
                bench.check_causes(&format!("{} after {edit:?}", pipeline.name), &plan);
            }
        }
        texts.push((pipeline.name, text));
    }
    daemon.restart().unwrap();
    for (name, text) in &texts {
        bench.check("restarted", name, text);
    }
    prune(&daemon, None);
    for (name, text) in &texts {
        bench.check("pruned", name, text);
    }
    if is_full() {
        for (name, text) in &texts {
            lose_a_record(&daemon, &mut bench, name, text);
        }
        build_beside(&daemon, &bench);
        for (name, text) in &texts {
            bench.check("beside another client", name, text);
        }
        prune(&daemon, None);
        let other = Bench::new(&daemon);
        for (name, text) in &texts {
            other.run(text, &[]);
            bench.check("made by another client", name, text);
        }
    }
    bench.figures.print();
    let wrong = &bench.figures.wrong;
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A plan that knows nothing is never wrong either.
    let count = |state: &str, verdict: &str| bench.figures.states[state].count(verdict);
    assert!(count("first", "miss") > 10 && count("edited", "miss") > 10);
    assert!(count("unchanged", "hit") > 20 && count("restarted", "hit") > 20);
    assert!(count("pruned", "miss") > 10);
}

/// A cache that another daemon exported may hold anything: what is said about a fresh daemon that
/// imports it must still be true.
#[test]
fn an_imported_cache_makes_no_wrong_verdict() {
    let maker = Daemon::start().unwrap();
    let mut figures = Vec::new();
    let kinds = if is_full() { 2 } else { 1 };
    for kind in ["local", "registry"].into_iter().take(kinds) {
        let world = World::new();
        let daemon = Daemon::start().unwrap();
        let source = Bench::new(&maker);
        let place = source.user.home().join("cache").display().to_string();
        let (to, from) = match kind {
            "local" => (
                format!("type=local,mode=max,dest={place}"),
                format!("type=local,src={place}"),
            ),
            _ => (
                world.addressed("type=registry,mode=max,ref={cache}"),
                world.addressed("type=registry,ref={cache}"),
            ),
        };
        let mut bench = Bench::new(&daemon).with_options(&["--import-cache", &from]);
        let sample = if is_full() { usize::MAX } else { 1 };
        for (pipeline, edits) in chosen().take(sample) {
            let mut text = world.addressed(pipeline.text);
            source.run(&text, &["--export-cache", &to]);
            bench.check("imported", pipeline.name, &text);
            bench.check("imported, unchanged", pipeline.name, &text);
            for edit in edits.iter().take(1) {
                bench.edit(&world, &mut text, edit);
                bench.check("imported, edited", pipeline.name, &text);
            }
        }
        bench.figures.print();
        figures.push(bench.figures);
    }
    let wrong: Vec<&String> = figures.iter().flat_map(|f| &f.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// Takes one record away that the plan relies on.
fn lose_a_record(daemon: &Daemon, bench: &mut Bench, name: &'static str, text: &str) {
    let plan = bench.plan(text, &["--json"]).json().unwrap();
    let mut steps = plan["steps"].as_array().unwrap().iter().rev();
    let Some(held) = steps.find_map(|step| step["record"].as_str()) else {
        return;
    };
    prune(daemon, Some(&format!("id=={held}")));
    bench.check("record lost", name, text);
}

/// 1 for what will run, 2 for a name that nothing has, 4 for what may run, and 0 for certain hits.
#[test]
fn the_gate_names_what_may_run() {
    let daemon = Daemon::start().unwrap();
    let bench = Bench::new(&daemon);
    let gate = |globs: &[&str]| {
        let globs = globs.iter().flat_map(|glob| ["--fail-on-miss", glob]);
        bench.plan(CHAIN, &globs.collect::<Vec<_>>())
    };
    let before = gate(&["*busybox cp*"]);
    assert_eq!(before.code, 1, "{before:?}");
    let text = "\"withExec busybox cp /one /two\" will run: no earlier build";
    assert!(before.stderr.contains(text), "{before:?}");
    assert_eq!(gate(&["*no such step*", "withExec*"]).code, 1);
    let typo = gate(&["*no such step*"]);
    assert_eq!(typo.code, 2, "{typo:?}");
    assert!(typo.stderr.contains("no such step"), "{typo:?}");
    bench.run(CHAIN, &[]);
    let after = gate(&["*"]);
    assert_eq!(after.code, 0, "{after:?}");
    assert_eq!(gate(&["withExec(*\"cp\"*", "*cat*"]).code, 0, "calls");
    assert_eq!(gate(&["*no such step*", "*"]).code, 2);
    // Another client's records, and the ledger is another one.
    let other = Bench::new(&daemon);
    let unknown = other.plan(CHAIN, &["--fail-on-miss", "*busybox cp*"]);
    assert_eq!(unknown.code, 4, "{unknown:?}");
    assert!(unknown.stderr.contains("may run"), "{unknown:?}");
    // A value is wanted that only a run tells, and nobody knows what is made of it.
    let values = CORPUS
        .iter()
        .find(|pipeline| pipeline.name == "values")
        .unwrap();
    let hidden = bench.plan(values.text, &["--fail-on-miss", "*cat /v*"]);
    assert_eq!(hidden.code, 4, "{hidden:?}");
}

/// A plan leaves nothing: no step ran, no file was sent, no build is in the ledger, no export is
/// there, no time to live has begun.
#[test]
fn a_plan_does_nothing() {
    let daemon = Daemon::start().unwrap();
    let bench = Bench::new(&daemon);
    let text = r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
        withExec(args: ["busybox", "touch", "/made"]) @cache(ttl: "1h") {
          file(path: "/made") { export(path: "out/made") } } } }"#;
    let plan = bench.plan(text, &[]);
    assert_eq!(plan.code, 0, "{plan:?}");
    assert!(
        plan.stdout.contains("an export is not known until it runs"),
        "{plan:?}"
    );
    assert!(!bench.user.work().join("out").exists());
    let held = bench.user.run(["du", "--json"]).unwrap().json().unwrap();
    assert_eq!(held.as_array().unwrap().len(), 0, "{held}");
    let stats = bench.user.run(["cache", "stats"]).unwrap();
    let keys = stats
        .stdout
        .lines()
        .find(|line| line.starts_with("storage keys"));
    assert!(
        keys.is_some_and(|line| line.ends_with("0  in force, 0 expired")),
        "{stats:?}"
    );
    let keys = bench.user.run(["keys"]).unwrap();
    assert!(
        keys.stderr.contains("no build has been recorded"),
        "{keys:?}"
    );
}

/// Another client's result is not ours to know: with a record of unknown origin that may be the
/// step's, it is unknown, and a second state folder is such a client.
#[test]
fn what_another_client_made_is_unknown_and_not_a_miss() {
    let daemon = Daemon::start().unwrap();
    let other = Bench::new(&daemon);
    other.user.with_tools(CHAIN, &[]).unwrap().json().unwrap();
    let bench = Bench::new(&daemon);
    let plan = bench.plan(CHAIN, &["--json"]).json().unwrap();
    let steps = plan["steps"].as_array().unwrap();
    assert!(
        steps.iter().all(|step| step["verdict"] == "unknown"),
        "{plan}"
    );
    let run = bench.user.with_tools(CHAIN, &[]).unwrap();
    assert_eq!(run.executed().unwrap(), 0);
}
