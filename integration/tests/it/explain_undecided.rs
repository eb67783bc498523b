//! Steps whose content decides and is not recorded, steps that moved and were edited, and every kind
//! of vertex: through the ledger, with outcomes that are made up.

use std::collections::{BTreeMap, BTreeSet};

use dagop::explain::{self, Reason, Setting, Status, Waste};
use solver::llb::{
    self, Constraints, Definition, Output,
    file::{FileOp, MkfileOptions},
    source::{self, LocalOptions},
};

use crate::{
    explain_draft::Draft,
    explain_pipelines::{Context, LOCAL, pipeline},
    explain_record::{Book, DAEMON, EDITED, Fate, RAN},
    explain_world::World,
};

const FOUND: Fate = Fate {
    cached: true,
    ..EDITED
};

const SKIPPED: Fate = Fate {
    cached: true,
    not_needed: true,
    ..EDITED
};

/// Two builds of a pipeline of two stages; in the second one an argument of the first stage is
/// another one, and `fate` says what became of the steps.
fn stages(fate: &dyn Fn(&str) -> Fate) -> (Book, String, String) {
    let (book, world, context) = (Book::new(), World::invented(), Context::new());
    let locals = context.locals();
    let before = pipeline(&world, "stages", "one");
    let before = book.record(&before, &locals, &DAEMON, RAN);
    let mut draft = Draft::new(&pipeline(&world, "stages", "two"));
    let place = draft.execs().into_iter().find(|&place| {
        let args = &draft.exec(place).meta.as_ref().unwrap().args;
        args[1] == "make"
    });
    let meta = draft.exec(place.unwrap()).meta.as_mut().unwrap();
    meta.args[2] = "--other".to_owned();
    let after = draft.definition();
    let after = book.record_each(&after, &locals, &DAEMON, (EDITED, fate));
    (book, before, after)
}

/// Steps above the first stage.
const ABOVE: [&str; 6] = [
    "install",
    "step verify",
    "step polish",
    "step shine",
    "fetched",
    "step finish",
];

fn waste(book: &Book, before: &str, after: &str) -> Waste {
    explain::waste(&book.reader(), &[before.to_owned(), after.to_owned()]).unwrap()
}

#[test]
fn a_step_that_was_found_by_content_is_not_said_to_differ() {
    let (book, before, after) = stages(&|name| match name {
        "step finish" => FOUND,
        name if ABOVE.contains(&name) => SKIPPED,
        _ => EDITED,
    });
    let found = explain::compare(&book.reader(), &before, &after).unwrap();
    assert_eq!(found.causes.len(), 1);
    let names: Vec<&str> = found
        .differences
        .iter()
        .map(|step| &*step.step.name)
        .collect();
    assert_eq!(names, ["step make"]);
    let undecided: BTreeSet<&str> = found
        .undecided
        .iter()
        .map(|step| &*step.step.name)
        .collect();
    assert_eq!(undecided, BTreeSet::from(ABOVE));
    for step in &found.undecided {
        assert_eq!((&step.causes[..], &step.possible[..]), (&[][..], &[0][..]));
    }
    let answers = explain::why(&book.reader(), &after, "step finish", Some(&before)).unwrap();
    assert_eq!(answers[0].key_differs, None);
    assert_eq!(answers[0].status, Status::DidNotRun);
    assert!(answers[0].reasons.is_empty());
    assert_eq!(answers[0].possible.len(), 1);
    // What the first stage made was there already.
    let waste = waste(&book, &before, &after);
    assert_eq!(waste.steps.len(), 1, "{waste:?}");
    assert_eq!(waste.steps[0].step.name, "step make");
    assert_eq!(waste.steps[0].proof, explain::Proof::Found);
    assert_eq!((waste.lost_ms, waste.useful, waste.unknown), (1000, 0, 0));
}

#[test]
fn a_step_that_ran_for_content_follows_from_what_made_it() {
    let (book, before, after) = stages(&|_| EDITED);
    let found = explain::compare(&book.reader(), &before, &after).unwrap();
    assert_eq!(found.undecided, []);
    assert!(found.differences.iter().all(|step| step.causes == [0]));
    let waste = waste(&book, &before, &after);
    assert_eq!(waste.steps, []);
    assert_eq!(waste.useful, 1, "the copy ran: what it takes is another");
    assert_eq!(waste.unknown, 6, "of the others layers would tell");
}

#[test]
fn where_records_were_lost_content_that_is_not_known_proves_nothing() {
    // Everything ran again, also what has the same key.
    let (book, before, after) = stages(&|_| Fate {
        repeats: false,
        ..EDITED
    });
    let answers = explain::why(&book.reader(), &after, "install", Some(&before)).unwrap();
    assert_eq!(answers[0].status, Status::Unknown);
    let missing = &answers[0].reasons[0].sentence;
    assert!(missing.contains("has lost records"), "{missing}");
    assert_eq!(answers[0].possible.len(), 1);
}

#[test]
fn a_step_that_moved_and_was_edited_keeps_its_pair() {
    let (book, world, context) = (Book::new(), World::invented(), Context::new());
    let before = pipeline(&world, "chain", "one");
    let before = book.record(&before, &context.locals(), &DAEMON, RAN);
    let mut draft = Draft::new(&pipeline(&world, "chain", "two"));
    let word = |draft: &mut Draft, wanted: &str| {
        let places = draft.execs();
        let is = |place: &usize| {
            let args = &draft.exec(*place).meta.as_ref().unwrap().args;
            args[1] == wanted
        };
        places.into_iter().find(is).unwrap()
    };
    let (lower, upper) = (word(&mut draft, "configure"), word(&mut draft, "make"));
    let (a, b) = (draft.nodes[lower].op.clone(), draft.nodes[upper].op.clone());
    draft.nodes[lower].op = b;
    draft.nodes[upper].op = a;
    // Both are edited, so that neither is what it was.
    for (place, user) in [(lower, "2000"), (upper, "3000")] {
        draft.exec(place).meta.as_mut().unwrap().user = user.to_owned();
    }
    let after = book.record(&draft.definition(), &context.locals(), &DAEMON, EDITED);
    let found = explain::compare(&book.reader(), &before, &after).unwrap();
    let mut causes: Vec<Reason> = found.causes.iter().map(|c| c.reason.clone()).collect();
    causes.sort();
    let user = |to: &str| Reason::Setting {
        setting: Setting::User,
        name: None,
        from: Some("1000".to_owned()),
        to: Some(to.to_owned()),
    };
    let mut expected = vec![user("2000"), user("3000"), Reason::StepMoved];
    expected.sort();
    assert_eq!(causes, expected);
}

/// A graph with every kind of vertex; `word` is in one file of it.
fn all_kinds(world: &World, session: &str, word: &str) -> Definition {
    let plain = Constraints::default;
    let file = |base: Option<Output>, path: &str, text: &str| {
        let text = text.to_owned();
        let file = FileOp::new(base).mkfile(path, 0o644, text, MkfileOptions::default());
        file.build(plain()).unwrap()
    };
    let rich = pipeline(world, "merge", session).output().unwrap().unwrap();
    let lower = file(None, "/lower", word);
    let upper = file(Some(lower.clone()), "/upper", "same");
    let diff = llb::diff(Some(&lower), Some(&upper), plain()).unwrap();
    let inner = Definition::marshal(Some(&lower), &plain()).encode();
    let inner = FileOp::new(None).mkfile("/graph", 0o644, inner, MkfileOptions::default());
    let nested = llb::build(&inner.build(plain()).unwrap(), Some("/graph"), plain());
    let options = LocalOptions {
        unique: Some(session.to_owned()),
        ..LocalOptions::default()
    };
    let local = source::local(LOCAL, options);
    let on_local = file(Some(local), "/on", "same");
    let all = [rich, diff, nested, on_local].map(Some);
    Definition::marshal(llb::merge(&all, plain()).as_ref(), &plain())
}

#[test]
fn every_kind_of_vertex_has_an_answer() {
    let (book, world, context) = (Book::new(), World::invented(), Context::new());
    let record = |session: &str, word: &str, fate: Fate| {
        let graph = all_kinds(&world, session, word);
        book.record(&graph, &context.locals(), &DAEMON, fate)
    };
    let before = record("one", "one", RAN);
    let after = record("two", "two", EDITED);
    let reader = book.reader();
    let mut kinds: BTreeMap<&str, usize> = BTreeMap::new();
    for vertex in reader.vertices(&after).unwrap() {
        let canonical = vertex.canonical.as_ref().unwrap();
        for against in [Some(before.as_str()), None] {
            let answers = explain::why(&reader, &after, canonical, against).unwrap();
            assert_eq!(answers.len(), 1, "{}", vertex.name);
            let answer = &answers[0];
            assert_eq!(answer.step.canonical, *canonical, "{}", vertex.name);
            let ran = vertex.outcome.has_run();
            // The content of a local directory that is written to is the session's.
            assert_eq!(ran, !answer.reasons.is_empty(), "{answer:?}");
            assert_eq!(ran, answer.status != Status::DidNotRun, "{answer:?}");
        }
        *kinds.entry(vertex.kind.as_str()).or_default() += 1;
    }
    let expected = [
        "build", "diff", "exec", "file", "git", "http", "image", "local", "merge",
    ];
    let found: Vec<&str> = kinds.into_keys().collect();
    assert_eq!(found, expected);
    // First builds have answers too.
    for vertex in reader.vertices(&before).unwrap() {
        let canonical = vertex.canonical.as_ref().unwrap();
        let answers = explain::why(&reader, &before, canonical, None).unwrap();
        let first = answers[0].reasons.first().map(|cause| &cause.reason);
        let is_first = matches!(first, Some(Reason::FirstBuild { .. }));
        assert_eq!(is_first, vertex.outcome.has_run(), "{}", vertex.name);
    }
}
