//! `dagop bundle` between two machines: with nothing but the file, and neither daemon nor ledger,
//! every question has the very answer that it has where the builds ran.

use std::fs;
use std::path::Path;

use dagop::explain;
use dagop::ledger::{Reader, path_in};
use integration::{
    daemon::{self, Daemon},
    dagop::{Dagop, Outcome},
};

/// A pipeline, and what it is called with in one build after the other.
struct Pipeline {
    name: &'static str,
    text: &'static str,
    runs: &'static [&'static [(&'static str, &'static str)]],
}

const PIPELINES: [Pipeline; 3] = [
    Pipeline {
        name: "chain",
        text: r#"query Go($tools: ContainerID!, $word: String!, $flag: String!, $home: String!) {
          loadContainerFromID(id: $tools) {
            withNewFile(path: "/word", contents: $word) {
              withEnvVariable(name: "HOME_OF_TEST", value: $home) {
                withExec(args: ["busybox", "cat", "/word"]) {
                  withEnvVariable(name: "FLAG", value: $flag) {
                    withExec(args: ["busybox", "true", "last"]) { stdout }
        } } } } } }"#,
        runs: &[
            &[("word", "one"), ("flag", "a")],
            &[("word", "one"), ("flag", "b")],
            &[("word", "two"), ("flag", "b")],
            // As the first one was: its steps have their keys of then.
            &[("word", "one"), ("flag", "a")],
        ],
    },
    Pipeline {
        name: "directory",
        text: r#"query Context { host { directory(path: "ctx") { id @export(as: "ctx") } } }
        query Go($tools: ContainerID!, $ctx: DirectoryID!, $home: String!) {
          loadContainerFromID(id: $tools) {
            withEnvVariable(name: "HOME_OF_TEST", value: $home) {
              withDirectory(path: "/src", source: $ctx, include: ["*.c"]) {
                withExec(args: ["busybox", "ls", "/src"]) { stdout }
        } } } }"#,
        runs: &[&[("file", "a.c")], &[("file", "b.c")], &[("file", "notes")]],
    },
    Pipeline {
        name: "scopes and two branches",
        text: r#"query Left($tools: ContainerID!, $word: String!, $home: String!) {
          loadContainerFromID(id: $tools) {
            withEnvVariable(name: "HOME_OF_TEST", value: $home) {
              withExec(args: ["busybox", "mkdir", "/left"]) @cache(key: "k1") {
                directory(path: "/left") { id @export(as: "left") }
                withExec(args: ["busybox", "true", $word]) { id @export(as: "right") }
        } } } }
        query Join($left: DirectoryID!, $right: ContainerID!) {
          loadContainerFromID(id: $right) {
            withDirectory(path: "/joined", source: $left) {
              withExec(args: ["busybox", "ls", "/joined"]) { stdout }
        } } }"#,
        runs: &[&[("word", "one")], &[("word", "two")]],
    },
];

/// Everything that can be asked of a build and those it is compared with.
fn questions(against: &[String], build: &str) -> Vec<Vec<String>> {
    let mut questions: Vec<Vec<&str>> = vec![
        vec!["why", "*", "--build", build],
        vec!["why", "*", "--build", build, "--json"],
        vec!["keys", build],
        vec!["keys", build, "--json"],
        vec!["keys", build, "*"],
    ];
    for other in against {
        questions.extend([
            vec!["diff", other, build],
            vec!["diff", other, build, "--causes"],
            vec!["diff", other, build, "--json"],
            vec!["waste", other, build, "--json"],
            vec!["why", "*", "--build", build, "--against", other, "--json"],
        ]);
    }
    let owned = |question: Vec<&str>| question.into_iter().map(str::to_owned).collect();
    questions.into_iter().map(owned).collect()
}

fn ask(user: &Dagop, question: &[String], bundle: Option<&Path>) -> Outcome {
    let mut arguments = question.to_vec();
    if let Some(path) = bundle {
        arguments.extend(["--bundle".to_owned(), path.display().to_string()]);
    }
    user.run(arguments).unwrap()
}

#[test]
fn another_machine_gets_the_same_answers() {
    // Of its own: what other tests build decides what is cached, and so how many reasons there are.
    let daemon = Daemon::start().unwrap();
    let (mut asked, mut explained, mut compared) = (0, 0, 0);
    for pipeline in &PIPELINES {
        let user = Dagop::new(daemon.address()).unwrap();
        fs::create_dir(user.work().join("ctx")).unwrap();
        let home = user.home().display().to_string();
        for variables in pipeline.runs {
            let mut all = vec![("home", home.as_str())];
            for (name, value) in *variables {
                if *name == "file" {
                    fs::write(user.work().join("ctx").join(value), "text").unwrap();
                } else {
                    all.push((name, value));
                }
            }
            let run = user
                .with_tools(pipeline.text, &all)
                .unwrap()
                .json()
                .unwrap();
            let build = run["report"]["build"]["id"].as_str().unwrap();

            let bundle = user.run(["bundle"]).unwrap();
            assert_eq!(bundle.code, 0, "{bundle:?}");
            let path = Path::new(bundle.stdout.trim_end());
            let ledger = Reader::open(&path_in(&user.home().join("state/dagop"))).unwrap();
            let against = explain::compared_with(&ledger, build).unwrap();
            compared += against.len();
            // No daemon, no ledger, no file but the bundle.
            let elsewhere = Dagop::new("unix:///nowhere").unwrap();
            for question in questions(&against, build) {
                let here = ask(&user, &question, None);
                let there = ask(&elsewhere, &question, Some(path));
                let answer = |outcome: &Outcome| (outcome.code, outcome.stdout.clone());
                assert_eq!(
                    answer(&there),
                    answer(&here),
                    "{}: {question:?}: {}",
                    pipeline.name,
                    there.stderr
                );
                asked += 1;
                explained += here.stdout.matches("  because ").count();
            }
            // What `last` is: the build of the bundle, as it is the newest here.
            let last = |user: &Dagop, bundle| ask(user, &["why".into(), "*".into()], bundle).stdout;
            assert_eq!(last(&elsewhere, Some(path)), last(&user, None));
            assert!(!elsewhere.home().join("state/dagop/ledger.db").exists());
        }
    }
    println!("{asked} answers are equal; {explained} reasons, {compared} builds to compare with");
    assert!(explained >= 15 && compared >= 6, "{explained} {compared}");
}

#[test]
fn a_file_that_is_no_bundle_is_named() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap();
    let pipeline = &PIPELINES[0];
    let variables = [("word", "one"), ("flag", "a"), ("home", "here")];
    user.with_tools(pipeline.text, &variables)
        .unwrap()
        .json()
        .unwrap();
    let bundle = user.run(["bundle", "-o", "build.db"]).unwrap();
    assert_eq!(bundle.code, 0, "{bundle:?}");
    let again = user.run(["bundle", "-o", "build.db"]).unwrap();
    assert_eq!(again.code, 1, "{again:?}");
    assert!(again.stderr.contains("build.db: File exists"), "{again:?}");

    let bytes = fs::read(user.work().join("build.db")).unwrap();
    fs::write(user.work().join("short.db"), &bytes[..bytes.len() / 2]).unwrap();
    fs::write(
        user.work().join("text.db"),
        "not a bundle at all\n".repeat(300),
    )
    .unwrap();
    fs::write(user.work().join("empty.db"), "").unwrap();
    // A copy of the ledger, with what is still in its log.
    let ledger = rusqlite::Connection::open(user.home().join("state/dagop/ledger.db")).unwrap();
    let copy = user.work().join("ledger.db");
    ledger
        .execute("VACUUM INTO ?1", [copy.to_str().unwrap()])
        .unwrap();
    for (file, expected) in [
        ("short.db", "short.db"),
        ("text.db", "text.db: file is not a database"),
        (
            "empty.db",
            "empty.db is damaged, or was not written by dagop: there is nothing in it",
        ),
        ("ledger.db", "ledger.db is a ledger and not a bundle"),
        ("missing.db", "missing.db: No such file"),
    ] {
        for question in [
            &["why", "*"][..],
            &["keys"],
            &["waste"],
            &["explore", "--no-open"],
        ] {
            let mut arguments = question.to_vec();
            arguments.extend(["--bundle", file]);
            let outcome = user.run(arguments).unwrap();
            assert_eq!(
                (outcome.code, outcome.stdout.as_str()),
                (1, ""),
                "{file}: {outcome:?}"
            );
            assert!(outcome.stderr.contains(expected), "{file}: {outcome:?}");
        }
    }
}
