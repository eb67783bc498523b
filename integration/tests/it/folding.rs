//! Long chains of file operations on a real daemon, whose overlays cannot be
//! stacked a thousand high.

use std::fmt::Write as _;

use integration::{daemon, dagop::Dagop};

/// One file operation per call.
const FILES: usize = 5000;

/// Copies are vertices of their own while the chain is short.
const COPIES: usize = 600;

fn user() -> Dagop {
    Dagop::new(daemon::shared().unwrap()).unwrap()
}

/// `directory { step { step { ... end } } }`, `steps` deep.
fn chain(head: &str, steps: usize, step: impl Fn(usize) -> String, end: &str) -> String {
    let mut text = head.to_owned();
    for i in 0..steps {
        write!(text, "{{ {} ", step(i)).unwrap();
    }
    write!(text, "{{ {end} }}{}", " }".repeat(steps)).unwrap();
    text
}

/// How often the answer holds `part`. The answer is too deep for a
/// JSON tree; the report behind it repeats the calls.
fn listed(stdout: &str, part: &str) -> usize {
    let answer = stdout.split("\"report\"").next().unwrap();
    answer.matches(part).count()
}

#[test]
fn five_thousand_files_build_and_hit_again() {
    let user = user();
    let write = |i| {
        format!(
            "withNewFile(path: \"dir{}/file{i}\", contents: \"{i}\")",
            i % 7
        )
    };
    let chained = chain(
        "directory",
        FILES,
        write,
        "last: file(path: \"dir1/file4999\") { contents } glob(pattern: \"**/file*\")",
    );
    let text = format!("query Chain {{ {chained} }}");
    let outcome = user.query(&text, &[]).unwrap();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert!(outcome.stdout.contains("4999"));
    assert_eq!(
        listed(&outcome.stdout, "/file"),
        FILES,
        "every file is there"
    );
    let again = user.query(&text, &[]).unwrap();
    assert_eq!(again.code, 0, "{}", again.stderr);
    assert_eq!(listed(&again.stdout, "/file"), FILES);
    let report = user.run(["keys", "--json"]).unwrap();
    let report: serde_json::Value = serde_json::from_str(&report.stdout).unwrap();
    assert_eq!(
        report["summary"]["vertices_by_outcome"]["executed"]
            .as_u64()
            .unwrap_or(0),
        0
    );
    assert!(report["summary"]["calls"].as_u64().unwrap() >= FILES as u64);
}

#[test]
fn many_copies_build() {
    let user = user();
    let text = format!(
        r#"query Source {{ directory {{ withNewFile(path: "a", contents: "a") {{ id @export(as: "source") }} }} }}
query Copies($source: DirectoryID!) {{ {} }}"#,
        chain(
            "directory",
            COPIES,
            |i| format!("withDirectory(path: \"copy{i}\", source: $source)"),
            "entries",
        )
    );
    let outcome = user.query(&text, &[]).unwrap();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    assert_eq!(listed(&outcome.stdout, "\"copy"), COPIES);
}
