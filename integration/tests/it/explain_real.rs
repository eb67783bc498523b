//! The corpus of edits on a real daemon: what is said of two builds is held against what the daemon
//! really did.
//!
//! Each pipeline is built once. Each edit of it is built, and compared with that first build:
//! 1. the root causes between the two builds are the edits, and no others;
//! 2. every step that ran is explained by edits and nothing else, and something ran;
//! 3. no step whose key is said to be the same ran;
//! 4. no step that the daemon had in its cache is said to have another key, unless an earlier build
//!    of the corpus had asked for the same.
//!
//! The full matrix takes some minutes and is made by hand:
//!
//! ```text
//! DAGOP_TEST_EXPLAIN_REAL=all hack/test -p integration --test it explain_real -- --nocapture
//! ```

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    fmt::Write as _,
    time::Instant,
};

use dagop::{
    explain::{self, Reason, Status, StepName},
    ledger::Outcome,
};
use solver::llb::{
    Constraints, Definition,
    exec::Exec,
    source::{self, ImageOptions},
};

use crate::{
    explain::{agrees, known},
    explain_draft::Draft,
    explain_edits::{self, Site},
    explain_edits_neutral,
    explain_lab::Lab,
    explain_pipelines::{Context, SHAPES, pipeline},
    explain_record,
    explain_world::World,
    predict_world::Dice,
};

/// `all` for the full matrix; else a number N for every N-th case of it.
const VARIABLE: &str = "DAGOP_TEST_EXPLAIN_REAL";

/// Of this many cases one is made where nobody asks for more.
/// Prime, so that all pipelines are among them.
const SAMPLE: usize = 47;

/// Cases of several edits at once in the full run.
const SEVERAL: usize = 60;

fn sample() -> usize {
    match std::env::var(VARIABLE).as_deref() {
        Ok("all") => 1,
        Ok(text) => text.parse().unwrap(),
        Err(_) => SAMPLE,
    }
}

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Verdict {
    Right,
    Unknown,
    Wrong,
}

/// A daemon, what it can fetch, and the first build of each pipeline.
struct Bench {
    lab: Lab,
    world: World,
    first: BTreeMap<&'static str, String>,
    builds: u64,
    /// Canonical digests of what was asked for by now, but for the first builds.
    asked: HashSet<String>,
    verdicts: BTreeMap<Verdict, usize>,
    wrong: String,
    unknown: String,
}

impl Bench {
    fn new() -> Self {
        Self {
            lab: Lab::start(),
            world: World::served(),
            first: BTreeMap::new(),
            builds: 0,
            asked: HashSet::new(),
            verdicts: BTreeMap::new(),
            wrong: String::new(),
            unknown: String::new(),
        }
    }

    /// The pipeline as every new session asks for it.
    fn pipeline(&mut self, shape: &str) -> Definition {
        self.builds += 1;
        pipeline(&self.world, shape, &format!("session {}", self.builds))
    }

    /// The first build of a pipeline.
    fn first(&mut self, shape: &'static str) -> String {
        if let Some(build) = self.first.get(shape) {
            return build.clone();
        }
        let original = self.pipeline(shape);
        let (build, error) = self.lab.build(&original, &Context::new());
        assert_eq!(error, None, "{shape}");
        self.first.insert(shape, build.clone());
        build
    }

    /// Builds an edited pipeline, and holds what is said of it against what it did.
    fn case(
        &mut self,
        name: &str,
        shape: &'static str,
        edit: impl FnOnce(&World, &Definition, &Context) -> Option<(Definition, Vec<Reason>)>,
    ) -> Option<Verdict> {
        self.world.serve_download(0);
        let before = self.first(shape);
        let context = Context::new();
        let original = self.pipeline(shape);
        let (after, expected) = edit(&self.world, &original, &context)?;
        let canonical = explain_record::vertices(&after).into_iter();
        let canonical: Vec<String> = canonical.map(|v| v.canonical().to_string()).collect();
        let (after, error) = self.lab.build(&after, &context);
        let (verdict, complaints) = self.examine(&before, &after, &expected);
        self.asked.extend(canonical);
        *self.verdicts.entry(verdict).or_default() += 1;
        let text = match verdict {
            Verdict::Right => return Some(verdict),
            Verdict::Unknown => &mut self.unknown,
            Verdict::Wrong => &mut self.wrong,
        };
        writeln!(text, "{name} in {shape}: {expected:?}").unwrap();
        if let Some(error) = error {
            writeln!(text, "  a step failed: {error}").unwrap();
        }
        for complaint in complaints {
            writeln!(text, "  {complaint}").unwrap();
        }
        Some(verdict)
    }

    fn examine(&self, before: &str, after: &str, expected: &[Reason]) -> (Verdict, Vec<String>) {
        let reader = self.lab.book.reader();
        let mut wrong = Vec::new();
        let mut unknown = Vec::new();
        let found = explain::compare(&reader, before, after).unwrap();
        if !agrees(&found, expected) {
            let causes: Vec<_> = found.causes.iter().map(|c| &c.reason).collect();
            let list = if causes.iter().any(|reason| reason.is_unknown()) {
                &mut unknown
            } else {
                &mut wrong
            };
            list.push(format!("the causes are {causes:?}"));
        }
        let edits: BTreeSet<Reason> = expected.iter().map(known).collect();
        let (answers, _) = explain::reasons(&reader, after, Some(before)).unwrap();
        let mut ran = answers
            .iter()
            .filter(|answer| matches!(answer.step.outcome, Outcome::Executed | Outcome::Failed));
        for answer in ran.clone() {
            let reasons = answer.reasons.iter().map(|cause| known(&cause.reason));
            let reasons: BTreeSet<Reason> = reasons.collect();
            if answer.status == Status::Unknown {
                unknown.push(format!("of `{}`: {reasons:?}", answer.step.name));
            } else if reasons.is_empty() || !reasons.is_subset(&edits) {
                wrong.push(format!("`{}` ran for {reasons:?}", answer.step.name));
            }
        }
        for answer in &answers {
            let StepName {
                outcome, canonical, ..
            } = &answer.step;
            let cached = *outcome == Outcome::Cached && !self.asked.contains(canonical);
            if cached && answer.key_differs == Some(true) {
                let name = &answer.step.name;
                wrong.push(format!("`{name}` was cached, and its key differs"));
            }
        }
        let first = ran.next();
        if first.is_none() != expected.is_empty() {
            wrong.push(format!(
                "the first that ran is {:?}",
                first.map(|a| &a.step)
            ));
        }
        if let Some(first) = first {
            let step = &first.step.canonical;
            let alone = explain::why(&reader, after, step, Some(before)).unwrap();
            if alone.first() != Some(first) {
                wrong.push(format!("`{}` alone has other reasons", first.step.name));
            }
        }
        let verdict = match (wrong.is_empty(), unknown.is_empty()) {
            (true, true) => Verdict::Right,
            (true, false) => Verdict::Unknown,
            (false, _) => Verdict::Wrong,
        };
        wrong.extend(unknown);
        (verdict, wrong)
    }

    /// Prints the verdicts since the last time.
    #[expect(clippy::print_stdout, reason = "the counts are what the test measures")]
    fn sum_up(&mut self, what: &str, begin: Instant) {
        let verdicts = std::mem::take(&mut self.verdicts);
        let of = |verdict| verdicts.get(&verdict).copied().unwrap_or_default();
        println!(
            "{what}: {} right, {} wrong, {} unknown, in {:?}",
            of(Verdict::Right),
            of(Verdict::Wrong),
            of(Verdict::Unknown),
            begin.elapsed()
        );
        assert!(of(Verdict::Right) > of(Verdict::Unknown));
    }
}

/// The rows of a matrix: kinds, and what became of them in each pipeline.
#[expect(clippy::print_stdout, reason = "the matrix is what the test measures")]
fn print(table: &BTreeMap<&str, BTreeMap<&str, Verdict>>) {
    println!("{:<28}{}", "kind", SHAPES.join(" "));
    for (name, row) in table {
        let cells = SHAPES.map(|shape| {
            let cell = match row.get(shape) {
                Some(Verdict::Right) => "right",
                Some(Verdict::Wrong) => "WRONG",
                Some(Verdict::Unknown) => "unkn.",
                None => "-",
            };
            format!("{cell:<w$}", w = shape.len())
        });
        println!("{name:<28}{}", cells.join(" "));
    }
}

/// Every kind of edit in every pipeline, one at a time.
fn single(bench: &mut Bench) {
    let begin = Instant::now();
    let mut table: BTreeMap<&str, BTreeMap<&str, Verdict>> = BTreeMap::new();
    let kinds = explain_edits::all();
    let cases = kinds
        .iter()
        .flat_map(|edit| (1..).zip(SHAPES).map(move |site| (*edit, site)));
    for (edit, (seed, shape)) in cases.step_by(sample()) {
        let made = bench.case(edit.0, shape, |world, graph, context| {
            explain_edits::apply(&[edit], world, graph, context, seed)
        });
        if let Some(verdict) = made {
            table.entry(edit.0).or_default().insert(shape, verdict);
        }
    }
    print(&table);
    bench.sum_up("single edits", begin);
    if sample() == 1 {
        assert!(table.len() >= 40, "{} kinds", table.len());
        assert!(table.values().all(|row| row.len() >= 5));
    }
}

/// Edits that change no key: nothing runs, and no cause is named.
fn neutral(bench: &mut Bench) {
    let begin = Instant::now();
    let mut table: BTreeMap<&str, BTreeMap<&str, Verdict>> = BTreeMap::new();
    let kinds = explain_edits_neutral::all();
    let cases = kinds
        .iter()
        .flat_map(|edit| (1..).zip(SHAPES).map(move |site| (*edit, site)));
    for ((name, edit), (seed, shape)) in cases.step_by(sample().div_ceil(4)) {
        let made = bench.case(name, shape, |world, graph, context| {
            let mut draft = Draft::new(graph);
            edit(&mut Site {
                world,
                draft: &mut draft,
                context: context.path(),
                dice: &mut Dice::new(seed),
                touched: &mut HashSet::new(),
            })?;
            Some((draft.definition(), Vec::new()))
        });
        if let Some(verdict) = made {
            table.entry(name).or_default().insert(shape, verdict);
        }
    }
    print(&table);
    bench.sum_up("edits of no key", begin);
}

/// Several edits at once, in a daemon that has only the pipeline itself.
fn several(bench: &mut Bench) {
    let begin = Instant::now();
    for seed in (0..SEVERAL as u64).step_by(sample()) {
        let (shape, chosen) = explain_edits::several(seed);
        let names: Vec<_> = chosen.iter().map(|(name, _)| *name).collect();
        let name = format!("seed {seed}, {names:?}");
        bench.lab.prune();
        bench.first.clear();
        bench.asked.clear();
        bench.case(&name, shape, |world, graph, context| {
            explain_edits::apply(&chosen, world, graph, context, seed)
        });
    }
    bench.sum_up("several edits", begin);
}

#[test]
fn edits_are_the_reasons_of_all_that_ran() {
    let mut bench = Bench::new();
    single(&mut bench);
    neutral(&mut bench);
    several(&mut bench);
    assert!(bench.wrong.is_empty(), "{}", bench.wrong);
    println!("{}", bench.unknown);
}

/// The daemon runs such a step, and the one right above it, through which it looks for no record.
/// Keys stay what they are.
#[test]
fn a_step_that_is_told_to_run_and_the_one_above_it_run_for_that() {
    let (lab, world) = (Lab::start(), World::served());
    let build = |session: &str, fresh: bool| {
        let mut draft = Draft::new(&pipeline(&world, "chain", session));
        if fresh {
            let place = draft.execs()[1];
            draft.nodes[place].metadata.ignore_cache = true;
        }
        let (build, error) = lab.build(&draft.definition(), &Context::new());
        assert_eq!(error, None);
        build
    };
    let first = build("one", false);
    for (session, fresh) in [("two", true), ("three", true), ("four", false)] {
        let after = build(session, fresh);
        let reader = lab.book.reader();
        let found = explain::compare(&reader, &first, &after).unwrap();
        let causes: Vec<&Reason> = found.causes.iter().map(|cause| &cause.reason).collect();
        let (answers, _) = explain::reasons(&reader, &after, Some(&first)).unwrap();
        let ran = answers.iter().filter(|a| a.step.outcome.has_run());
        let ran: Vec<_> = ran.collect();
        if !fresh {
            assert_eq!((causes.len(), ran.len()), (0, 0), "{session}");
            continue;
        }
        assert_eq!(causes, [&Reason::NoCache], "{session}");
        let names: Vec<&str> = ran.iter().map(|answer| &*answer.step.name).collect();
        assert_eq!(names, ["step make", "step test"], "{session}");
        for answer in ran {
            assert_eq!(answer.key_differs, Some(false));
            assert_eq!(answer.status, Status::Explained);
            let reasons: Vec<_> = answer.reasons.iter().map(|c| &c.reason).collect();
            assert_eq!(reasons, [&Reason::NoCache]);
            assert_eq!(answer.reasons[0].step.name, "step make");
        }
        let differences = found.differences.iter();
        assert!(differences.clone().all(|step| !step.key_differs));
        assert_eq!(differences.count(), 2);
    }
}

/// Two builds that ask for the same at the same moment: the daemon runs it once, and neither build
/// is told that a record was lost.
#[test]
fn a_step_that_another_build_is_running_is_not_taken_for_a_lost_record() {
    let (lab, world) = (Lab::start(), World::served());
    let base = source::image(&world.images["base"], ImageOptions::default()).unwrap();
    let sleep = Exec::new(Some(base), ["/bin/sleep", "3"]);
    let sleep = sleep.constraints(Constraints::default().named("sleep"));
    let slept = sleep.build().unwrap().root().unwrap().clone();
    let definition = Definition::marshal(Some(&slept), &Constraints::default());
    let builds = std::thread::scope(|scope| {
        let build = || lab.build(&definition, &Context::new());
        let threads = [scope.spawn(build), scope.spawn(build)];
        threads.map(|thread| thread.join().unwrap())
    });
    let [(one, None), (two, None)] = &builds else {
        panic!("{builds:?}");
    };
    for (build, against) in [(one, two), (two, one)] {
        let answers = explain::why(&lab.book.reader(), build, "sleep", Some(against)).unwrap();
        let reasons: Vec<_> = answers[0].reasons.iter().map(|c| &c.reason).collect();
        match answers[0].step.outcome {
            Outcome::Executed => assert!(
                matches!(&reasons[..], [Reason::Concurrent { build }] if build == against),
                "{reasons:?}"
            ),
            _ => assert!(reasons.is_empty(), "{reasons:?}"),
        }
    }
}
