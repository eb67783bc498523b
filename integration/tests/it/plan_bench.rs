//! A user who plans, runs and compares, with what was said and what became of it.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    os::unix::fs::{PermissionsExt as _, symlink},
    process::Command,
};

use integration::{
    busybox::{TOOLS, program},
    daemon::{self, Daemon},
    dagop::{Dagop, Outcome, finish},
};
use serde_json::Value;

use crate::plan_corpus::{Edit, FILES};
use crate::plan_world::World;

/// What was said, what became of it, and how often.
#[derive(Default)]
pub(crate) struct Matrix {
    counts: BTreeMap<(String, String), usize>,
    /// Of what is unknown.
    reasons: BTreeMap<String, usize>,
    /// Steps that ran or were found and that the plan did not name, for want of a value.
    unnamed: usize,
}

impl Matrix {
    fn add(&mut self, step: &Value, outcome: &str) {
        let verdict = step["verdict"].as_str().unwrap();
        if verdict == "unknown" {
            let reason = step["reason"].as_str().unwrap().to_owned();
            *self.reasons.entry(reason).or_default() += 1;
        }
        let key = (verdict.to_owned(), outcome.to_owned());
        *self.counts.entry(key).or_default() += 1;
    }

    pub(crate) fn count(&self, verdict: &str) -> usize {
        let counts = self.counts.iter();
        counts
            .filter(|((v, _), _)| v == verdict)
            .map(|(_, n)| n)
            .sum()
    }

    #[expect(clippy::print_stdout, reason = "the matrix is what the test measures")]
    pub(crate) fn print(&self, title: &str) {
        let all: usize = self.counts.values().sum();
        let unknown = self.count("unknown");
        println!(
            "{title}: {all} steps, {unknown} unknown = {} % {:?}, {} unnamed",
            100 * unknown / all.max(1),
            self.reasons,
            self.unnamed
        );
        for ((verdict, outcome), count) in &self.counts {
            println!("    said {verdict:<8} was {outcome:<11} {count:>4}");
        }
    }
}

/// All matrices, and what was wrong.
#[derive(Default)]
pub(crate) struct Figures {
    /// By the kind of state the daemon and the pipeline were in.
    pub(crate) states: BTreeMap<&'static str, Matrix>,
    pub(crate) pipelines: BTreeMap<&'static str, Matrix>,
    pub(crate) wrong: Vec<String>,
    /// Misses whose causes were compared with those that `why` gave afterwards.
    pub(crate) explained: usize,
    /// Of which `why` knew less than the plan.
    pub(crate) unexplained: usize,
}

impl Figures {
    fn compare(&mut self, (state, name): (&'static str, &'static str), plan: &Value, run: &Value) {
        let vertices = run["report"]["vertices"].as_array().unwrap();
        let own = |vertex: &&Value| vertex["canonical"].is_string();
        let mut outcomes: HashMap<&str, &str> = vertices
            .iter()
            .filter(own)
            .map(|v| {
                (
                    v["canonical"].as_str().unwrap(),
                    v["outcome"].as_str().unwrap(),
                )
            })
            .collect();
        // A key that only one session has is in no other run, but a step of that name may be.
        let mut names: HashMap<&str, Vec<&str>> = HashMap::new();
        for vertex in vertices.iter().filter(own) {
            let canonicals = names.entry(vertex["name"].as_str().unwrap()).or_default();
            canonicals.push(vertex["canonical"].as_str().unwrap());
        }
        for step in plan["steps"].as_array().unwrap() {
            let mut canonical = step["canonical"].as_str().unwrap();
            if !outcomes.contains_key(canonical)
                && let Some([only]) = names.get(step["name"].as_str().unwrap()).map(Vec::as_slice)
            {
                canonical = only;
            }
            let outcome = outcomes.remove(canonical).unwrap_or("absent");
            if let ("hit", "executed") | ("miss", "cached" | "not needed") =
                (step["verdict"].as_str().unwrap(), outcome)
            {
                self.wrong.push(format!(
                    "{name} {state}: {} is {outcome}: {step}",
                    step["name"]
                ));
            }
            self.states.entry(state).or_default().add(step, outcome);
            self.pipelines.entry(name).or_default().add(step, outcome);
        }
        let steps = outcomes.values();
        let unnamed = steps.filter(|o| ["executed", "cached"].contains(o)).count();
        self.states.entry(state).or_default().unnamed += unnamed;
        self.pipelines.entry(name).or_default().unnamed += unnamed;
    }

    #[expect(
        clippy::print_stdout,
        reason = "the figures are what the test measures"
    )]
    pub(crate) fn print(&self) {
        println!(
            "{} wrong; causes of {} misses compared, and of {} not known afterwards",
            self.wrong.len(),
            self.explained,
            self.unexplained
        );
        for (state, matrix) in &self.states {
            matrix.print(state);
        }
        for (name, matrix) in &self.pipelines {
            matrix.print(&format!("pipeline {name}"));
        }
    }
}

/// See the module.
pub(crate) struct Bench {
    pub(crate) user: Dagop,
    pub(crate) figures: Figures,
    /// Arguments of plan and run alike.
    options: Vec<String>,
    environment: HashMap<&'static str, &'static str>,
}

impl Bench {
    pub(crate) fn new(daemon: &Daemon) -> Self {
        let user = Dagop::new(daemon.address()).unwrap();
        for (path, text) in FILES {
            let path = user.work().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        fs::copy(program().unwrap(), user.work().join("ctx/busybox")).unwrap();
        symlink("a.c", user.work().join("src/link")).unwrap();
        Self {
            user,
            figures: Figures::default(),
            options: Vec::new(),
            environment: HashMap::from([("PLAN_SECRET", "a value")]),
        }
    }

    /// The same with arguments for plan and run alike.
    pub(crate) fn with_options(mut self, options: &[&str]) -> Self {
        self.options = options.iter().map(|&option| option.to_owned()).collect();
        self
    }

    fn command(&self, name: &str, text: &str, more: &[&str]) -> Outcome {
        let document = self.user.home().join("document.graphql");
        fs::write(&document, format!("{TOOLS}{text}")).unwrap();
        let busybox = format!("busybox={}", program().unwrap().display());
        let document = document.display().to_string();
        let mut arguments = vec![name, &document, "--var", &busybox];
        arguments.extend(self.options.iter().map(String::as_str));
        arguments.extend_from_slice(more);
        let mut command = self.user.command(arguments).unwrap();
        command.envs(&self.environment);
        finish(command).unwrap()
    }

    pub(crate) fn plan(&self, text: &str, more: &[&str]) -> Outcome {
        self.command("plan", text, more)
    }

    pub(crate) fn run(&self, text: &str, more: &[&str]) -> Value {
        let more: Vec<&str> = ["--json"].iter().chain(more).copied().collect();
        self.command("run", text, &more).json().unwrap()
    }

    /// Plans, runs and compares; the plan.
    pub(crate) fn check(&mut self, state: &'static str, name: &'static str, text: &str) -> Value {
        let plan = self.plan(text, &["--json"]).json().unwrap();
        let run = self.run(text, &[]);
        self.figures.compare((state, name), &plan, &run);
        plan
    }

    /// Compares the causes of the plan's misses with those that `why` gives for the last build.
    pub(crate) fn check_causes(&mut self, place: &str, plan: &Value) {
        let all = self.user.run(["why", "*", "--json"]).unwrap();
        let answers: Value =
            serde_json::from_str(&all.stdout).unwrap_or_else(|_| panic!("{all:?}"));
        let answers = answers.as_array().unwrap();
        for step in plan["steps"].as_array().unwrap() {
            let causes = step["causes"].as_array();
            let same = |answer: &&Value| answer["step"]["canonical"] == step["canonical"];
            let (Some(causes), Some(answer)) = (causes, answers.iter().find(same)) else {
                continue;
            };
            if answer["status"] == "did_not_run" {
                continue;
            }
            let said: BTreeSet<String> = causes
                .iter()
                .map(|number| &plan["causes"][usize::try_from(number.as_u64().unwrap()).unwrap()])
                .map(|cause| cause["cause"].to_string())
                .collect();
            let reasons = answer["reasons"].as_array().unwrap().iter();
            let found: BTreeSet<String> = reasons.map(|r| r["reason"].to_string()).collect();
            // Files that may have changed while they were sent are not in the ledger; a plan sends none.
            if found
                .iter()
                .any(|reason| reason.contains("\"reason\":\"unknown\""))
            {
                self.figures.unexplained += 1;
                continue;
            }
            self.figures.explained += 1;
            if said != found {
                let name = &step["name"];
                let wrong = format!("{place}: causes of {name}: {said:?}, then {found:?}");
                self.figures.wrong.push(wrong);
            }
        }
    }

    pub(crate) fn edit(&mut self, world: &World, text: &mut String, edit: &Edit) {
        let path = |path: &str| self.user.work().join(path);
        match edit {
            Edit::Text(from, to) => {
                assert!(text.contains(from), "{from} in {text}");
                *text = text.replace(from, to);
            }
            Edit::File(file, content) => fs::write(path(file), content).unwrap(),
            Edit::Remove(file) => fs::remove_file(path(file)).unwrap(),
            Edit::Mode(file, mode) => {
                fs::set_permissions(path(file), fs::Permissions::from_mode(*mode)).unwrap();
            }
            Edit::Touch(file) => {
                let file = fs::File::options().append(true).open(path(file)).unwrap();
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
            Edit::Link(file, target) => {
                fs::remove_file(path(file)).unwrap();
                symlink(target, path(file)).unwrap();
            }
            Edit::Env(name, value) => {
                self.environment.insert(name, value);
            }
            Edit::Page(page) => world.serve(page),
            Edit::Commit(file, content) => world.commit(file, content),
            Edit::Image(image) => world.publish(*image),
            Edit::Expire => self.expire(),
        }
    }

    /// Lets all times to live pass.
    pub(crate) fn expire(&self) {
        let path = self.user.home().join("state/dagop/dagql-cache.db");
        let file = rusqlite::Connection::open(path).unwrap();
        let changed = file.execute("UPDATE calls SET expiration = 1", []).unwrap();
        assert!(changed > 0, "no time to live has begun");
    }
}

/// Takes records out of the daemon: all, or those that a filter chooses.
pub(crate) fn prune(daemon: &Daemon, filter: Option<&str>) {
    let mut buildctl = Command::new(daemon::tools().unwrap().join("buildctl"));
    buildctl.args(["--addr", &daemon.address(), "prune", "--all"]);
    buildctl.args(filter.map(|filter| format!("--filter={filter}")));
    assert!(buildctl.output().unwrap().status.success());
}
