//! Every cause is named, and no other: a corpus of edits of known kinds, made in graphs of several
//! shapes and recorded through the ledger; and reasons that no edit makes.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
};

use dagop::explain::{self, Comparison, Reason, Status};
use solver::llb::{Constraints, Definition, exec::Exec};

use crate::{
    explain_draft::Draft,
    explain_edits::{self, Edit},
    explain_pipelines::{Context, SHAPES, pipeline},
    explain_record::{Book, DAEMON, Daemon, EDITED, Fate, RAN},
    explain_world::World,
};

/// Cases of several edits at once in CI; a full run is asked for by [`CASES_VARIABLE`].
const CASES: usize = 60;

/// Number of cases of several edits at once.
const CASES_VARIABLE: &str = "DAGOP_TEST_EXPLAIN_CASES";

/// Records a pipeline before and after some edits; what differs, and what should.
fn edited(
    book: &Book,
    shape: &str,
    edits: &[Edit],
    seed: u64,
) -> Option<(Comparison, Vec<Reason>)> {
    let (world, context) = (World::invented(), Context::new());
    let before = pipeline(&world, shape, "session one");
    let before = book.record(&before, &context.locals(), &DAEMON, RAN);
    let after = pipeline(&world, shape, "session two");
    let (after, expected) = explain_edits::apply(edits, &world, &after, &context, seed)?;
    let after = book.record(&after, &context.locals(), &DAEMON, EDITED);
    let found = explain::compare(&book.reader(), &before, &after).unwrap();
    Some((found, expected))
}

/// A reason without what an edit cannot know.
pub(crate) fn known(reason: &Reason) -> Reason {
    match reason.clone() {
        Reason::FileContent { source, path, .. } => Reason::FileContent {
            source,
            path,
            from: String::new(),
            to: String::new(),
        },
        other => other,
    }
}

/// Whether the causes are those that were made, each as often.
pub(crate) fn agrees(found: &Comparison, expected: &[Reason]) -> bool {
    let mut causes: Vec<Reason> = found.causes.iter().map(|c| known(&c.reason)).collect();
    let mut expected: Vec<Reason> = expected.iter().map(known).collect();
    causes.sort();
    expected.sort();
    causes == expected
}

#[test]
fn one_edit_is_one_cause_and_everything_else_a_cascade() {
    let mut table: BTreeMap<&str, BTreeMap<&str, bool>> = BTreeMap::new();
    let mut wrong = String::new();
    for (name, edit) in explain_edits::all() {
        let book = Book::new();
        for (seed, shape) in (1..).zip(SHAPES) {
            let Some((found, expected)) = edited(&book, shape, &[(name, edit)], seed) else {
                continue;
            };
            let cause = BTreeSet::from([0]);
            let tagged = found.differences.iter().all(|difference| {
                difference.causes.iter().copied().collect::<BTreeSet<u32>>() == cause
            });
            let right = agrees(&found, &expected) && tagged && !found.differences.is_empty();
            table.entry(name).or_default().insert(shape, right);
            if !right {
                let causes: Vec<_> = found.causes.iter().map(|c| &c.reason).collect();
                writeln!(wrong, "{name} in {shape}: {expected:?}\n  but {causes:?}").unwrap();
            }
        }
    }
    println!("{:<28}{}", "kind", SHAPES.join(" "));
    for (name, row) in &table {
        let cells = SHAPES.map(|shape| match row.get(shape) {
            Some(true) => format!("{:<w$}", "right", w = shape.len()),
            Some(false) => format!("{:<w$}", "WRONG", w = shape.len()),
            None => format!("{:<w$}", "-", w = shape.len()),
        });
        println!("{name:<28}{}", cells.join(" "));
    }
    assert!(wrong.is_empty(), "{wrong}");
    assert!(table.len() >= 40, "{} kinds", table.len());
    for (name, row) in table {
        assert!(
            row.len() >= 5,
            "{name} was made in {} shapes only",
            row.len()
        );
    }
}

#[test]
fn the_first_step_that_ran_has_exactly_the_cause() {
    let book = Book::new();
    for (name, edit) in explain_edits::all().into_iter().step_by(4) {
        let Some((found, expected)) = edited(&book, "stages", &[(name, edit)], 5) else {
            continue;
        };
        let first = found
            .differences
            .iter()
            .find(|d| !d.causes.is_empty())
            .unwrap();
        let (build, before) = (&found.after.id, Some(found.before.id.as_str()));
        let step = &first.step.canonical;
        let answers = explain::why(&book.reader(), build, step, before).unwrap();
        let reasons: Vec<Reason> = answers[0]
            .reasons
            .iter()
            .map(|c| known(&c.reason))
            .collect();
        let expected: Vec<Reason> = expected.iter().map(known).collect();
        assert_eq!(reasons, expected, "{name}");
        let (all, _) = explain::reasons(&book.reader(), build, before).unwrap();
        let same = all
            .iter()
            .find(|answer| answer.step.canonical == *step)
            .unwrap();
        assert_eq!(same, &answers[0], "{name}");
    }
}

#[test]
fn several_edits_are_as_many_causes() {
    let cases = std::env::var(CASES_VARIABLE).map_or(CASES, |text| text.parse().unwrap());
    let (mut made, mut wrong) = (0, String::new());
    for seed in 0..cases as u64 {
        let (shape, chosen) = explain_edits::several(seed);
        let Some((found, expected)) = edited(&Book::new(), shape, &chosen, seed) else {
            continue;
        };
        made += 1;
        if !agrees(&found, &expected) {
            let names: Vec<_> = chosen.iter().map(|(name, _)| name).collect();
            let causes: Vec<_> = found.causes.iter().map(|c| &c.reason).collect();
            writeln!(
                wrong,
                "seed {seed}, {names:?} in {shape}:\n  {expected:?}\n  but {causes:?}"
            )
            .unwrap();
        }
    }
    println!("{made} of {cases} cases could be made");
    assert!(wrong.is_empty(), "{wrong}");
    assert!(made * 2 > cases, "only {made} cases could be made");
}

/// Why every step of a second, identical build ran.
fn again(first: (&Daemon, Fate), second: (&Daemon, Fate)) -> BTreeSet<Reason> {
    let (book, context) = (Book::new(), Context::new());
    let build = |session: &str, (daemon, fate): (&Daemon, Fate)| {
        book.record(
            &pipeline(&World::invented(), "chain", session),
            &context.locals(),
            daemon,
            fate,
        )
    };
    build("one", first);
    let after = build("two", second);
    let (answers, _) = explain::reasons(&book.reader(), &after, None).unwrap();
    let commands = answers.iter().filter(|a| a.step.name.starts_with("step "));
    commands
        .flat_map(|answer| {
            assert_eq!(answer.status, Status::Explained, "{answer:?}");
            assert_eq!(answer.key_differs, Some(false));
            answer.reasons.iter().map(|cause| cause.reason.clone())
        })
        .collect()
}

/// Later than [`RAN`].
const LATER: Fate = Fate {
    started: 5000,
    completed: 6000,
    ..RAN
};

#[test]
fn a_record_that_was_there_is_lost() {
    let reasons: Vec<_> = again((&DAEMON, RAN), (&DAEMON, LATER))
        .into_iter()
        .collect();
    assert!(
        matches!(
            &reasons[..],
            [Reason::Evicted {
                at_ms: Some(2000),
                ..
            }]
        ),
        "{reasons:?}"
    );
}

#[test]
fn what_was_not_needed_left_no_record() {
    let unneeded = Fate {
        not_needed: true,
        cached: true,
        ..RAN
    };
    let reasons: Vec<_> = again((&DAEMON, unneeded), (&DAEMON, LATER))
        .into_iter()
        .collect();
    assert!(
        matches!(&reasons[..], [Reason::NoResult { .. }]),
        "{reasons:?}"
    );
}

#[test]
fn two_builds_at_once_share_no_record_yet() {
    let overlapping = Fate {
        started: 1500,
        ..LATER
    };
    let reasons: Vec<_> = again((&DAEMON, RAN), (&DAEMON, overlapping))
        .into_iter()
        .collect();
    assert!(
        matches!(&reasons[..], [Reason::Concurrent { .. }]),
        "{reasons:?}"
    );
}

#[test]
fn another_daemon_has_another_cache() {
    let other = Daemon {
        address: "unix:///run/two.sock",
        ..DAEMON
    };
    let reasons = again((&DAEMON, RAN), (&other, LATER));
    let (from, to) = (DAEMON.address.to_owned(), other.address.to_owned());
    assert_eq!(reasons, BTreeSet::from([Reason::OtherDaemon { from, to }]));
}

#[test]
fn an_upgraded_daemon_computes_other_keys() {
    let old = Daemon {
        version: "v0.17.3",
        ..DAEMON
    };
    let reasons = again((&old, RAN), (&DAEMON, LATER));
    let (from, to) = ("v0.17.3".to_owned(), "v0.32.2".to_owned());
    assert_eq!(reasons, BTreeSet::from([Reason::Formula { from, to }]));
}

#[test]
fn the_first_build_has_nothing_to_compare_with() {
    let (book, context) = (Book::new(), Context::new());
    let build = book.record(
        &pipeline(&World::invented(), "merge", "s"),
        &context.locals(),
        &DAEMON,
        RAN,
    );
    let answers = explain::why(&book.reader(), &build, "step use", None).unwrap();
    assert!(matches!(
        answers[0].reasons[0].reason,
        Reason::FirstBuild { .. }
    ));
    let missing = explain::why(&book.reader(), &build, "no such step", None).unwrap_err();
    assert!(missing.to_string().contains("no such step"), "{missing}");
}

/// Back to an earlier version: the build before has another key, but an older one has the same.
#[test]
fn an_older_build_with_the_same_key_explains_more_than_the_last_one() {
    let (book, context) = (Book::new(), Context::new());
    let original = |session: &str| pipeline(&World::invented(), "chain", session);
    let record = |definition, fate| book.record(&definition, &context.locals(), &DAEMON, fate);
    let oldest = record(original("one"), RAN);
    let mut draft = Draft::new(&original("two"));
    for place in draft.execs() {
        draft.exec(place).meta.as_mut().unwrap().user = "other".to_owned();
    }
    record(draft.definition(), LATER);
    let newest = record(
        original("three"),
        Fate {
            started: 8000,
            completed: 9000,
            ..RAN
        },
    );
    let answers = explain::why(&book.reader(), &newest, "step test", None).unwrap();
    let reason = &answers[0].reasons[0].reason;
    assert!(
        matches!(reason, Reason::Evicted { build, .. } if *build == oldest),
        "{reason:?}"
    );
}

#[test]
fn files_that_are_not_recorded_are_unknown_and_not_guessed() {
    let (book, context) = (Book::new(), Context::new());
    let nothing = BTreeMap::new();
    let before = book.record(
        &pipeline(&World::invented(), "chain", "one"),
        &nothing,
        &DAEMON,
        RAN,
    );
    let after = book.record(
        &pipeline(&World::invented(), "chain", "two"),
        &context.locals(),
        &DAEMON,
        EDITED,
    );
    let found = explain::compare(&book.reader(), &before, &after).unwrap();
    let reasons: Vec<_> = found
        .causes
        .iter()
        .map(|cause| cause.sentence.as_str())
        .collect();
    assert_eq!(reasons, ["unknown: the files of /ctx in the earlier build"]);
}

#[test]
fn many_files_are_named_up_to_a_bound() {
    let (book, context) = (Book::new(), Context::new());
    let record = |session: &str| {
        book.record(
            &pipeline(&World::invented(), "chain", session),
            &context.locals(),
            &DAEMON,
            RAN,
        )
    };
    let before = record("one");
    for number in 0..37 {
        std::fs::write(context.path().join(format!("src/new{number:02}.c")), "").unwrap();
    }
    let after = record("two");
    let found = explain::compare(&book.reader(), &before, &after).unwrap();
    assert_eq!(found.causes.len(), 21);
    let last = found.causes.last().unwrap();
    assert_eq!(last.sentence, "and 17 more files of /ctx differ");
}

/// Steps of the large builds.
const MANY: usize = 5000;

#[test]
fn builds_of_five_thousand_steps_are_compared() {
    let chain = |edited: bool| {
        let mut output = None;
        for number in 0..MANY {
            let word = if edited && number % 1000 == 7 {
                "edited"
            } else {
                "same"
            };
            let step = Exec::new(
                output,
                ["/step".to_owned(), number.to_string(), word.to_owned()],
            );
            // What every step has changes too: no step has the operation it had before.
            let step = step.env("ALL", if edited { "2" } else { "1" });
            let step = step.constraints(Constraints::default());
            output = step.build().unwrap().root().cloned();
        }
        Definition::marshal(output.as_ref(), &Constraints::default())
    };
    let (book, locals) = (Book::new(), BTreeMap::new());
    let before = book.record(&chain(false), &locals, &DAEMON, RAN);
    let after = book.record(&chain(true), &locals, &DAEMON, LATER);
    let reader = book.reader();
    let begin = std::time::Instant::now();
    let found = explain::compare(&reader, &before, &after).unwrap();
    println!(
        "two builds of {MANY} steps compared in {:?}",
        begin.elapsed()
    );
    assert_eq!(found.causes.len(), 6, "five arguments and one variable");
    assert_eq!(found.differences.len(), MANY);
}
