//! `dagop plan` against what then happens: every pipeline of a corpus is planned and run on a daemon
//! that has not seen it, unchanged, after single edits, after the daemon was pruned and after it was
//! restarted. No step that was said to be a hit may run, and none that was said to be a miss may be
//! cached. The matrix is printed; `unknown` is always allowed, and counted.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;

use integration::{
    busybox::{TOOLS, program},
    daemon::{self, Daemon},
    dagop::{Dagop, Outcome},
};
use serde_json::Value;

/// A change between two runs.
enum Edit {
    /// Of the document.
    Text(&'static str, &'static str),
    /// Of a file of the working folder.
    File(&'static str, &'static str),
    /// Of a file's permissions.
    Mode(&'static str, u32),
    /// Of a file's times alone.
    Touch(&'static str),
}

struct Pipeline {
    name: &'static str,
    text: &'static str,
    edits: &'static [Edit],
}

const CORPUS: [Pipeline; 9] = [
    Pipeline {
        name: "chain",
        text: r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "sh", "-c", "echo chain > /one"]) {
              withExec(args: ["busybox", "cp", "/one", "/two"]) {
                withExec(args: ["busybox", "cat", "/two"]) { stdout } } } } }"#,
        edits: &[
            Edit::Text("echo chain", "echo change"),
            Edit::Text("\"/two\"]) {\n", "\"/two\"], stdin: \"x\") {\n"),
        ],
    },
    Pipeline {
        name: "sources",
        text: r#"query H { host { directory(path: "src") { id @export(as: "src") } } }
          query Q($tools: ContainerID!, $src: DirectoryID!) { loadContainerFromID(id: $tools) {
            withDirectory(path: "/src", source: $src, exclude: ["*.md"]) {
              withExec(args: ["busybox", "cat", "/src/a.c"]) { stdout } } } }"#,
        edits: &[
            Edit::File("src/a.c", "int a;\n"),
            Edit::Mode("src/a.c", 0o755),
            Edit::Touch("src/a.c"),
            Edit::File("src/new.c", "int n;\n"),
        ],
    },
    Pipeline {
        name: "mounted",
        text: r#"query H { host { directory(path: "lib") { id @export(as: "lib") } } }
          query Q($tools: ContainerID!, $lib: DirectoryID!) { loadContainerFromID(id: $tools) {
            withMountedDirectory(path: "/lib", source: $lib) {
              withExec(args: ["busybox", "ls", "/lib"]) { stdout } } } }"#,
        edits: &[Edit::File("lib/x", "changed\n"), Edit::Touch("lib/x")],
    },
    Pipeline {
        name: "stages",
        text: r#"query A($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "sh", "-c", "echo stage one > /out"]) {
              file(path: "/out") { id @export(as: "out") } } } }
          query Q($tools: ContainerID!, $out: FileID!) { loadContainerFromID(id: $tools) {
            withFile(path: "/in", source: $out) {
              withExec(args: ["busybox", "cat", "/in"]) { stdout } } } }"#,
        edits: &[
            Edit::Text("echo stage one", "true; echo stage one"),
            Edit::Text("\"/in\"]", "\"-n\", \"/in\"]"),
        ],
    },
    Pipeline {
        name: "trees",
        text: r#"query Q { directory { withNewFile(path: "a", contents: "tree a") {
            withNewFile(path: "b/c", contents: "tree c") {
              filter(include: ["b/**"]) { entries } } } } }"#,
        edits: &[Edit::Text("tree c", "tree d")],
    },
    Pipeline {
        name: "environment",
        text: r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withEnvVariable(name: "LEVEL", value: "1") {
              left: withExec(args: ["busybox", "sh", "-c", "echo left $LEVEL"]) { stdout }
              right: withWorkdir(path: "/right") {
                withExec(args: ["busybox", "pwd"]) { stdout } } } } }"#,
        edits: &[
            Edit::Text("value: \"1\"", "value: \"2\""),
            Edit::Text("/right", "/other"),
        ],
    },
    Pipeline {
        name: "scoped",
        text: r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "echo", "scoped"]) @cache(scope: SESSION) { stdout } } }"#,
        edits: &[Edit::Text("scope: SESSION", "key: \"fixed\"")],
    },
    Pipeline {
        name: "volume",
        text: r#"query V { cacheVolume(key: "plan-volume") { id @export(as: "volume") } }
          query Q($tools: ContainerID!, $volume: CacheVolumeID!) {
            loadContainerFromID(id: $tools) {
              withMountedCache(path: "/cache", cache: $volume) {
                withExec(args: ["busybox", "sh", "-c", "echo v >> /cache/v; echo volume > /o"]) {
                  sync
                  stdout
                  file(path: "/o") { contents } } } } }"#,
        edits: &[Edit::Text("echo volume", "echo volumes")],
    },
    Pipeline {
        name: "values",
        text: r#"query A($tools: ContainerID!) { loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "echo", "a value"]) { stdout @export(as: "value") } } }
          query Q($tools: ContainerID!, $value: String!) { loadContainerFromID(id: $tools) {
            withNewFile(path: "/v", contents: $value) {
              withExec(args: ["busybox", "cat", "/v"]) { stdout } } } }"#,
        edits: &[Edit::Text("a value", "b value")],
    },
];

/// What was said, what became of it, and how often.
#[derive(Default)]
struct Matrix {
    counts: BTreeMap<(String, String), usize>,
    wrong: Vec<String>,
    /// Of what is unknown.
    reasons: BTreeMap<String, usize>,
    /// Steps that ran or were found and that the plan did not name, for want of a value.
    unnamed: usize,
}

impl Matrix {
    fn compare(&mut self, place: &str, plan: &Value, run: &Value) {
        let vertices = run["report"]["vertices"].as_array().unwrap();
        let mut outcomes: HashMap<&str, &str> = vertices
            .iter()
            .filter_map(|v| Some((v["canonical"].as_str()?, v["outcome"].as_str()?)))
            .collect();
        for step in plan["steps"].as_array().unwrap() {
            let canonical = step["canonical"].as_str().unwrap();
            let verdict = step["verdict"].as_str().unwrap();
            // A salt of this session is in no other run.
            let outcome = outcomes.remove(canonical).unwrap_or("absent");
            if verdict == "unknown" {
                let reason = step["reason"].as_str().unwrap().to_owned();
                *self.reasons.entry(reason).or_default() += 1;
            }
            let place = format!("{place}: {} is {outcome}: {step}", step["name"]);
            match (verdict, outcome) {
                ("hit", "executed") | ("miss", "cached" | "not needed") => self.wrong.push(place),
                _ => {}
            }
            let key = (verdict.to_owned(), outcome.to_owned());
            *self.counts.entry(key).or_default() += 1;
        }
        let steps = outcomes
            .values()
            .filter(|o| ["executed", "cached"].contains(o));
        self.unnamed += steps.count();
    }

    fn count(&self, verdict: &str) -> usize {
        let counts = self.counts.iter();
        counts
            .filter(|((v, _), _)| v == verdict)
            .map(|(_, n)| n)
            .sum()
    }

    #[expect(clippy::print_stdout, reason = "the matrix is what the test measures")]
    fn print(&self, title: &str) {
        println!("{title}: {} unnamed", self.unnamed);
        for ((verdict, outcome), count) in &self.counts {
            println!("  said {verdict:<8} was {outcome:<11} {count:>4}");
        }
        let all: usize = self.counts.values().sum();
        let unknown = self.count("unknown");
        println!(
            "  unknown: {unknown} of {all} = {} % {:?}",
            100 * unknown / all.max(1),
            self.reasons
        );
    }
}

struct Bench {
    user: Dagop,
    /// By the kind of state the daemon and the pipeline were in.
    matrices: BTreeMap<&'static str, Matrix>,
}

impl Bench {
    fn new(daemon: &Daemon) -> Self {
        let user = Dagop::new(daemon.address()).unwrap();
        for (path, text) in [
            ("src/a.c", "int main;\n"),
            ("src/b.c", "int b;\n"),
            ("src/read.md", "read me\n"),
            ("lib/x", "library\n"),
        ] {
            let path = user.work().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        Self {
            user,
            matrices: BTreeMap::new(),
        }
    }

    fn document(&self, text: &str) -> String {
        let path = self.user.home().join("document.graphql");
        fs::write(&path, format!("{TOOLS}{text}")).unwrap();
        path.display().to_string()
    }

    fn plan(&self, text: &str, more: &[&str]) -> Outcome {
        let document = self.document(text);
        let busybox = format!("busybox={}", program().unwrap().display());
        let mut arguments = vec!["plan", &document, "--var", &busybox];
        arguments.extend_from_slice(more);
        self.user.run(arguments).unwrap()
    }

    /// Plans, runs and compares.
    fn check(&mut self, state: &'static str, name: &str, text: &str) {
        let plan = self.plan(text, &["--json"]).json().unwrap();
        let run = self.user.with_tools(text, &[]).unwrap().json().unwrap();
        let matrix = self.matrices.entry(state).or_default();
        matrix.compare(&format!("{name} {state}"), &plan, &run);
    }

    fn edit(&self, text: &mut String, edit: &Edit) {
        let path = |path: &str| self.user.work().join(path);
        match *edit {
            Edit::Text(from, to) => {
                assert!(text.contains(from), "{from} in {text}");
                *text = text.replace(from, to);
            }
            Edit::File(file, content) => fs::write(path(file), content).unwrap(),
            Edit::Mode(file, mode) => {
                fs::set_permissions(path(file), fs::Permissions::from_mode(mode)).unwrap();
            }
            Edit::Touch(file) => {
                let file = fs::File::options().append(true).open(path(file)).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
        }
    }
}

fn prune(daemon: &Daemon) {
    let mut buildctl = Command::new(daemon::tools().unwrap().join("buildctl"));
    let pruned = buildctl.args(["--addr", &daemon.address(), "prune", "--all"]);
    assert!(pruned.output().unwrap().status.success());
}

#[test]
fn no_hit_runs_and_no_miss_is_cached() {
    let mut daemon = Daemon::start().unwrap();
    let mut bench = Bench::new(&daemon);
    let mut texts: Vec<String> = Vec::new();
    for pipeline in &CORPUS {
        let mut text = pipeline.text.to_owned();
        bench.check("first", pipeline.name, &text);
        bench.check("unchanged", pipeline.name, &text);
        for edit in pipeline.edits {
            bench.edit(&mut text, edit);
            bench.check("edited", pipeline.name, &text);
        }
        texts.push(text);
    }
    daemon.restart().unwrap();
    for (pipeline, text) in CORPUS.iter().zip(&texts) {
        bench.check("restarted", pipeline.name, text);
    }
    prune(&daemon);
    for (pipeline, text) in CORPUS.iter().zip(&texts) {
        bench.check("pruned", pipeline.name, text);
    }
    for (state, matrix) in &bench.matrices {
        matrix.print(state);
    }
    let matrices = bench.matrices.values();
    let wrong: Vec<&String> = matrices.flat_map(|matrix| &matrix.wrong).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    // A plan that knows nothing is never wrong either.
    let count = |state: &str, verdict: &str| bench.matrices[state].count(verdict);
    assert!(count("first", "miss") > 10 && count("edited", "miss") > 10);
    assert!(count("unchanged", "hit") > 20 && count("restarted", "hit") > 20);
    for (state, most) in [
        ("first", 5),
        ("unchanged", 2),
        ("edited", 10),
        ("restarted", 5),
    ] {
        assert!(count(state, "unknown") <= most, "{state}");
    }
    assert!(count("pruned", "miss") > 10);
}

#[test]
fn the_gate_names_what_may_run() {
    let daemon = Daemon::start().unwrap();
    let bench = Bench::new(&daemon);
    let text = CORPUS[0].text;
    let gate = |glob: &str| bench.plan(text, &["--fail-on-miss", glob]);
    let before = gate("*busybox cp*");
    assert_eq!(before.code, 1, "{before:?}");
    assert!(
        before.stderr.contains("withExec busybox cp /one /two"),
        "{before:?}"
    );
    assert_eq!(gate("*no such step*").code, 0);
    bench.user.with_tools(text, &[]).unwrap().json().unwrap();
    let after = gate("*");
    assert_eq!(after.code, 0, "{after:?}");
}

/// A plan leaves nothing: no step ran, no file was sent, no build is in the ledger, no export is
/// there.
#[test]
fn a_plan_does_nothing() {
    let daemon = Daemon::start().unwrap();
    let bench = Bench::new(&daemon);
    let text = r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
        withExec(args: ["busybox", "touch", "/made"]) {
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
    other
        .user
        .with_tools(CORPUS[0].text, &[])
        .unwrap()
        .json()
        .unwrap();
    let bench = Bench::new(&daemon);
    let plan = bench.plan(CORPUS[0].text, &["--json"]).json().unwrap();
    let steps = plan["steps"].as_array().unwrap();
    assert!(
        steps.iter().all(|step| step["verdict"] == "unknown"),
        "{plan}"
    );
    let run = bench.user.with_tools(CORPUS[0].text, &[]).unwrap();
    assert_eq!(run.executed().unwrap(), 0);
}
