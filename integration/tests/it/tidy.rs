//! House rules that no compiler checks. Each rule is a function from one file
//! to its complaints; the first test applies them to the whole repository, the
//! others show that each rule finds a violation.
//!
//! | rule | why |
//! |---|---|
//! | a Rust file opens with `//!` | the first lines say what the file owns |
//! | at most 600 lines, or a reason in the opening | one noun or verb per file |
//! | nothing is left to do | an open end is an issue, not a comment |
//! | few files read the environment or start programs | what a run depends on is seen in one place |
//! | scripts run | a script that lost its mode fails on a clean clone only |
//! | no public registry, no path of this machine | the project works anywhere |

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path};

use integration::workspace;

/// Longest Rust file and shell script, in lines.
const LINES_MAX: usize = 600;

/// A longer file says why, in a line of its opening that begins like this.
const LONG_BECAUSE: &str = "//! Long because ";

/// Largest file under version control, in bytes: no archives, no dumps.
/// Cargo.lock and golden vectors are below it.
const BYTES_MAX: u64 = 512 * 1024;

/// A file as the rules see it.
struct File<'a> {
    path: &'a str,
    text: &'a str,
    executable: bool,
}

impl File<'_> {
    fn is_rust(&self) -> bool {
        self.path.ends_with(".rs")
    }

    /// Scripts carry no extension; a shared file of functions is no program.
    fn is_script(&self) -> bool {
        self.text.starts_with("#!")
    }
}

/// All complaints about one file, with the line where there is one.
fn complaints(file: &File<'_>) -> Vec<String> {
    let mut found = Vec::new();
    opening(file, &mut found);
    length(file, &mut found);
    left_open(file, &mut found);
    mode(file, &mut found);
    reach(file, &mut found);
    foreign_names(file, &mut found);
    found
}

fn opening(file: &File<'_>, found: &mut Vec<String>) {
    if file.is_rust() && !file.text.starts_with("//!") {
        found.push(format!(
            "{}: a Rust file opens with //! saying what it owns",
            file.path
        ));
    }
}

fn length(file: &File<'_>, found: &mut Vec<String>) {
    let lines = file.text.lines().count();
    let mut opening = file.text.lines().take_while(|line| line.starts_with("//!"));
    let reason = opening.any(|line| line.starts_with(LONG_BECAUSE));
    if (file.is_rust() || file.is_script()) && lines > LINES_MAX && !reason {
        found.push(format!("{}: {lines} lines, at most {LINES_MAX}", file.path));
    }
}

/// The words are put together here, or this file would find itself.
fn left_open(file: &File<'_>, found: &mut Vec<String>) {
    let words = [
        ["TO", "DO"].concat(),
        ["FIX", "ME"].concat(),
        ["XX", "X"].concat(),
    ];
    let macros = [["to", "do!("].concat(), ["unimple", "mented!("].concat()];
    for (number, line) in numbered(file) {
        let open = words.iter().any(|word| has_word(line, word))
            || macros.iter().any(|call| line.contains(call));
        if open {
            found.push(format!(
                "{}:{number}: work left open belongs in an issue",
                file.path
            ));
        }
    }
}

/// Whether `word` stands in `line` with no letter, digit or underscore at its ends.
fn has_word(line: &str, word: &str) -> bool {
    let inside = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(word).any(|(at, _)| {
        !line[..at].ends_with(inside) && !line[at + word.len()..].starts_with(inside)
    })
}

fn mode(file: &File<'_>, found: &mut Vec<String>) {
    if file.is_script() && !file.executable {
        found.push(format!("{}: a script must be executable", file.path));
    }
    if file.is_rust() && file.executable {
        found.push(format!("{}: a Rust file must not be executable", file.path));
    }
}

/// Files that may read the process's environment, besides tests and build scripts.
const READ_ENVIRONMENT: &[&str] = &[
    "cli/src/config.rs",
    // The default for secrets of the kind env://NAME, which are read when asked for.
    "dagop/src/engine.rs",
];

/// Files that may start programs, besides tests and build scripts.
const START_PROGRAMS: &[&str] = &[
    // Helpers of connections: ssh, docker, kubectl.
    "solver/src/backend/helper.rs",
    // Secrets of the kind cmd://COMMAND.
    "dagop/src/session/secrets.rs",
    // The command that a session is served to.
    "cli/src/command/child.rs",
];

/// The needles are put together here, or this file would find itself.
fn reach(file: &File<'_>, found: &mut Vec<String>) {
    let parts = || {
        Path::new(file.path)
            .components()
            .map(|part| part.as_os_str().to_string_lossy())
    };
    let is_test = parts().any(|part| {
        [
            "tests", "tests.rs", "benches", "live", "live.rs", "build.rs",
        ]
        .contains(&&*part)
            || part.ends_with("_tests.rs")
    });
    if !file.is_rust() || is_test || file.path.starts_with("integration/") {
        return;
    }
    let rules = [
        (
            ["env::", "var"].concat(),
            READ_ENVIRONMENT,
            "read the environment",
        ),
        (
            ["Command", "::new("].concat(),
            START_PROGRAMS,
            "start programs",
        ),
    ];
    // Below this line a file holds its tests.
    let code = numbered(file).take_while(|(_, line)| !line.starts_with("#[cfg(test)]"));
    for (number, line) in code {
        for (needle, allowed, what) in &rules {
            if line.contains(needle.as_str()) && !allowed.contains(&file.path) {
                found.push(format!("{}:{number}: this file must not {what}", file.path));
            }
        }
    }
}

/// Host names of public registries and mirrors, and paths that exist on one
/// machine only. Put together here for the same reason as above. Rust code may
/// name Docker Hub: an image reference without a host means that one.
fn foreign_names(file: &File<'_>, found: &mut Vec<String>) {
    if file.path == "Cargo.lock" {
        return;
    }
    let docker_hub = [["docker", ".io/"].concat(), ["hub.docker", ".com"].concat()];
    let others = [
        ["gh", "cr.io"].concat(),
        ["qu", "ay.io"].concat(),
        ["gc", "r.io"].concat(),
        ["mcr.", "microsoft.com"].concat(),
        ["public.ecr.", "aws"].concat(),
        ["/wo", "rk/main"].concat(),
        ["/wo", "rk/shared"].concat(),
        ["deb.", "debian.org"].concat(),
        ["archive.", "ubuntu.com"].concat(),
    ];
    for (number, line) in numbered(file) {
        let names = others
            .iter()
            .chain(docker_hub.iter().filter(|_| !file.is_rust()));
        for name in names.filter(|name| line.contains(name.as_str())) {
            found.push(format!("{}:{number}: names {name}", file.path));
        }
    }
}

fn numbered<'a>(file: &File<'a>) -> impl Iterator<Item = (usize, &'a str)> {
    file.text
        .lines()
        .enumerate()
        .map(|(index, line)| (index + 1, line))
}

#[test]
fn the_repository_is_tidy() {
    let mut found = Vec::new();
    for path in workspace::files().unwrap() {
        let full = workspace::root().join(&path);
        let metadata = full.symlink_metadata().unwrap();
        if metadata.len() > BYTES_MAX {
            found.push(format!(
                "{}: {} bytes, at most {BYTES_MAX}",
                path.display(),
                metadata.len()
            ));
        }
        // A binary golden file has no lines to judge.
        let Ok(text) = fs::read_to_string(&full) else {
            continue;
        };
        let executable = metadata.permissions().mode() & 0o111 != 0;
        found.extend(complaints(&File {
            path: path.to_str().unwrap(),
            text: &text,
            executable,
        }));
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Shell code is shared through one file: a script that starts no bash with
/// strict options would go on after a failure.
#[test]
fn scripts_are_strict() {
    for path in workspace::files().unwrap() {
        let Ok(text) = fs::read_to_string(workspace::root().join(&path)) else {
            continue;
        };
        if text.starts_with("#!/usr/bin/env bash") {
            assert!(
                text.contains("\nset -euo pipefail\n"),
                "{}: set -euo pipefail",
                path.display()
            );
        }
    }
}

fn check(path: &str, text: &str, executable: bool) -> Vec<String> {
    complaints(&File {
        path,
        text,
        executable,
    })
}

#[test]
fn a_missing_opening_is_found() {
    assert_eq!(check("a.rs", "use std::fs;\n", false).len(), 1);
    assert_eq!(
        check("a.rs", "//! Owns nothing.\n", false),
        Vec::<String>::new()
    );
}

#[test]
fn a_long_file_is_found() {
    let lines = |count: usize| "//! x\n".repeat(count);
    assert_eq!(
        check("a.rs", &lines(LINES_MAX), false),
        Vec::<String>::new()
    );
    assert_eq!(
        check("a.rs", &lines(LINES_MAX + 1), false),
        ["a.rs: 601 lines, at most 600"]
    );
}

#[test]
fn work_left_open_is_found_with_its_line() {
    let text = ["//! x\n\n// TO", "DO: later\n"].concat();
    assert_eq!(
        check("a.rs", &text, false),
        ["a.rs:3: work left open belongs in an issue"]
    );
    let text = ["//! x\nfn f() { to", "do!() }\n"].concat();
    assert_eq!(check("a.rs", &text, false).len(), 1);
    // Part of a longer word is no such mark.
    assert_eq!(
        check("a.rs", "//! METHODOLOGY, MASTODON\n", false),
        Vec::<String>::new()
    );
}

#[test]
fn wrong_modes_are_found() {
    assert_eq!(
        check("hack/x", "#!/bin/sh\n", false),
        ["hack/x: a script must be executable"]
    );
    assert_eq!(check("hack/x", "#!/bin/sh\n", true), Vec::<String>::new());
    assert_eq!(
        check("a.rs", "//! x\n", true),
        ["a.rs: a Rust file must not be executable"]
    );
}

#[test]
fn a_hidden_dependency_on_the_process_is_found() {
    let text = ["//! x\nlet home = std::env::", "var(\"HOME\");\n"].concat();
    assert_eq!(
        check("solver/src/a.rs", &text, false),
        ["solver/src/a.rs:2: this file must not read the environment"]
    );
    assert_eq!(
        check("cli/src/config.rs", &text, false),
        Vec::<String>::new()
    );
    for tests in ["solver/src/a/tests.rs", "solver/src/a/b_tests.rs"] {
        assert_eq!(check(tests, &text, false), Vec::<String>::new());
    }
    let text = ["//! x\nCommand", "::new(\"sh\");\n"].concat();
    assert_eq!(
        check("dagql/src/a.rs", &text, false),
        ["dagql/src/a.rs:2: this file must not start programs"]
    );
    let text = [
        "//! x\n#[cfg(test)]\nmod tests {\nCommand",
        "::new(\"sh\");\n}\n",
    ]
    .concat();
    assert_eq!(check("dagql/src/a.rs", &text, false), Vec::<String>::new());
}

#[test]
fn names_of_elsewhere_are_found() {
    let text = ["from: docker", ".io/library/x\n"].concat();
    assert_eq!(check("x.md", &text, false).len(), 1);
    assert_eq!(
        check("a.rs", &["//! x\n", &text].concat(), false),
        Vec::<String>::new()
    );
    let text = ["cd /wo", "rk/main\n"].concat();
    assert_eq!(check("x.md", &text, false).len(), 1);
    assert_eq!(
        check("x.md", "from: 127.0.0.1:5000/x\n", false),
        Vec::<String>::new()
    );
}

#[test]
fn paths_of_files_are_relative() {
    assert!(
        workspace::files()
            .unwrap()
            .iter()
            .all(|path| Path::new(path).is_relative())
    );
}
