//! Values that outlive the process: a second run of an unchanged pipeline is
//! answered without the daemon, a changed one is not, and whatever happens to
//! the file, no answer is wrong.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use integration::daemon::{self, Daemon};
use integration::dagop::{Dagop, Outcome, finish};
use rusqlite::Connection;
use serde_json::{Value, json};

/// Everything that is kept, of files and of a command.
const PIPELINE: &str = r#"
query Read($src: String!) {
  host { directory(path: $src, exclude: ["*.log"]) {
    entries glob(pattern: "**/*.txt") digest
    file(path: "a.txt") { contents size digest }
    directory(path: "sub") { entries }
    id @export(as: "source")
  } }
}
query Run($tools: ContainerID!, $source: DirectoryID!, $variable: String!, $argument: String!) {
  loadContainerFromID(id: $tools) {
    withDirectory(path: "/src", source: $source) {
      withEnvVariable(name: "VARIABLE", value: $variable) {
        withExec(args: ["busybox", "sh", "-c", "busybox cat /src/*.txt; busybox ls -l /src/a.txt | busybox cut -c1-10; busybox echo $VARIABLE $0 >&2", $argument]) {
          stdout stderr combinedOutput exitCode
          file(path: "/src/a.txt") { contents }
        }
      }
    }
  }
}"#;

struct Case {
    user: Dagop,
    source: PathBuf,
    variable: &'static str,
    argument: &'static str,
}

impl Case {
    fn new(address: impl Into<String>) -> Self {
        let user = Dagop::new(address).unwrap().recalling();
        let source = user.work().join("src");
        fs::create_dir_all(source.join("sub")).unwrap();
        fs::write(source.join("a.txt"), "one\n").unwrap();
        fs::write(source.join("sub/b.txt"), "two\n").unwrap();
        Self {
            user,
            source,
            variable: "v",
            argument: "x",
        }
    }

    fn run(&self) -> Outcome {
        let variables = [
            ("src", "src"),
            ("variable", self.variable),
            ("argument", self.argument),
        ];
        self.user.with_tools(PIPELINE, &variables).unwrap()
    }

    /// The command line of a run whose document is written.
    fn arguments(&self) -> Vec<String> {
        let busybox = integration::busybox::program()
            .unwrap()
            .display()
            .to_string();
        let document = self.user.home().join("document.graphql");
        let variables = [
            ("src", "src"),
            ("variable", self.variable),
            ("argument", self.argument),
            ("busybox", &busybox),
        ];
        integration::dagop::arguments(&document, &variables)
    }

    fn answer(&self) -> Value {
        self.run().json().unwrap()
    }

    fn file(&self) -> PathBuf {
        self.user.home().join("state/dagop/dagql-cache.db")
    }
}

fn stdout(answer: &Value) -> &str {
    let exec = &answer["data"]["Run"]["loadContainerFromID"]["withDirectory"]["withEnvVariable"];
    exec["withExec"]["stdout"].as_str().unwrap()
}

fn count(answer: &Value, what: &str, outcome: &str) -> u64 {
    let counts = &answer["report"]["summary"][format!("{what}_by_outcome")];
    counts[outcome].as_u64().unwrap_or(0)
}

/// The outcome of the call whose text begins with `name`.
fn outcome_of(answer: &Value, name: &str) -> String {
    let calls = answer["report"]["calls"].as_array().unwrap();
    let call = calls
        .iter()
        .find(|call| call["display"].as_str().unwrap().starts_with(name));
    call.unwrap_or_else(|| panic!("no call {name}"))["outcome"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn is_recalled(answer: &Value) -> bool {
    outcome_of(answer, "stdout") == "recalled"
}

#[test]
fn an_unchanged_pipeline_needs_no_daemon() {
    let mut daemon = Daemon::start().unwrap();
    let case = Case::new(daemon.address());
    let first = case.answer();
    assert_eq!(count(&first, "calls", "recalled"), 0);
    assert!(count(&first, "vertices", "executed") > 0);
    assert_eq!(stdout(&first), "one\n-rw-r--r--\n");
    daemon.kill().unwrap();

    let second = case.answer();
    assert_eq!(second["data"], first["data"]);
    assert_eq!(second["report"]["summary"]["vertices"], 0, "{second}");
    assert_eq!(second["report"]["vertices"], json!([]));
    // Eleven values, the kinds of four paths, and a file of a directory's directory.
    assert!(
        count(&second, "calls", "recalled") >= 11,
        "{}",
        second["report"]["summary"]
    );
    let keys = case.user.run(["keys"]).unwrap();
    assert!(keys.stdout.contains("recalled"), "{keys:?}");

    // What needs the daemon says that it is away.
    let mut command = case.user.command(["run", "-"]).unwrap();
    command.stdin(
        fs::File::open(document(
            &case,
            "{ directory { withNewFile(path: \"a\", contents: \"b\") { sync } } }",
        ))
        .unwrap(),
    );
    let outcome = finish(command).unwrap();
    assert_eq!(outcome.code, 3, "{outcome:?}");
    assert!(
        outcome.stderr.contains("no BuildKit daemon answered"),
        "{outcome:?}"
    );
    fs::write(case.source.join("a.txt"), "changed\n").unwrap();
    assert_eq!(case.run().code, 3);
    let version = case.user.run(["version"]).unwrap();
    assert_eq!(
        version.code, 3,
        "a remembered daemon has no version now: {version:?}"
    );
}

fn document(case: &Case, text: &str) -> PathBuf {
    let path = case.user.home().join("other.graphql");
    fs::write(&path, text).unwrap();
    path
}

#[test]
fn what_changed_runs_again_and_what_came_back_is_recalled() {
    let mut case = Case::new(daemon::shared().unwrap());
    let first = case.answer();
    assert!(is_recalled(&case.answer()));
    let a = case.source.join("a.txt");

    fs::write(&a, "three\n").unwrap();
    let changed = case.answer();
    assert!(!is_recalled(&changed));
    assert_eq!(stdout(&changed), "three\n-rw-r--r--\n");
    fs::write(&a, "one\n").unwrap();
    let back = case.answer();
    assert_eq!(back["data"], first["data"]);
    assert!(is_recalled(&back), "the content is that of the first run");

    fs::set_permissions(&a, fs::Permissions::from_mode(0o755)).unwrap();
    let mode = case.answer();
    assert_eq!(
        (is_recalled(&mode), stdout(&mode)),
        (false, "one\n-rwxr-xr-x\n")
    );
    fs::set_permissions(&a, fs::Permissions::from_mode(0o644)).unwrap();
    assert!(is_recalled(&case.answer()));

    fs::write(case.source.join("c.txt"), "new\n").unwrap();
    let more = case.answer();
    assert_eq!(
        (is_recalled(&more), stdout(&more)),
        (false, "one\nnew\n-rw-r--r--\n")
    );
    fs::remove_file(case.source.join("c.txt")).unwrap();
    fs::write(case.source.join("ignored.log"), "not sent\n").unwrap();
    assert!(
        is_recalled(&case.answer()),
        "what is not sent is not in the key"
    );

    let times = fs::File::open(&a).unwrap();
    times
        .set_modified(std::time::SystemTime::UNIX_EPOCH)
        .unwrap();
    assert!(
        is_recalled(&case.answer()),
        "BuildKit's keys have no times either"
    );

    case.variable = "w";
    assert!(!is_recalled(&case.answer()));
    case.variable = "v";
    case.argument = "y";
    assert!(!is_recalled(&case.answer()));
    case.argument = "x";
    assert!(is_recalled(&case.answer()));
}

/// BuildKit asks only for files whose size or time is new to it, so its answer for a disguised
/// change is an old one. It must not be kept under the new content.
#[test]
fn a_change_under_the_same_size_and_time_is_never_kept() {
    let case = Case::new(daemon::shared().unwrap());
    let a = case.source.join("a.txt");
    assert_eq!(stdout(&case.answer()), "one\n-rw-r--r--\n");
    let time = fs::metadata(&a).unwrap().modified().unwrap();
    fs::write(&a, "eno\n").unwrap();
    fs::File::open(&a).unwrap().set_modified(time).unwrap();
    // Whatever the daemon makes of it.
    assert!(!is_recalled(&case.answer()));
    // The daemon got a new copy, and its answer is true again.
    let healed = case.answer();
    assert_eq!(stdout(&healed), "eno\n-rw-r--r--\n");
    let recalled = case.answer();
    assert_eq!(
        (is_recalled(&recalled), stdout(&recalled)),
        (true, "eno\n-rw-r--r--\n")
    );
}

/// A file changes all the time while it is hashed, sent and read. What was kept then must be true
/// of the content it is found under.
#[test]
fn a_race_with_a_writer_keeps_no_wrong_value() {
    let case = Case::new(daemon::shared().unwrap());
    let a = case.source.join("a.txt");
    let texts = ["one\n", "two\n", "six\n"];
    for _ in 0..4 {
        let stop = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                for text in texts.iter().cycle() {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    fs::write(&a, text).unwrap();
                }
            });
            // It may see an empty file between two writes, and may refuse one that never rests.
            case.run();
            stop.store(true, Ordering::Relaxed);
        });
        for text in texts {
            fs::write(&a, text).unwrap();
            assert_eq!(stdout(&case.answer()), format!("{text}-rw-r--r--\n"));
        }
    }
}

#[test]
fn what_a_secret_or_a_session_had_a_part_in_is_not_kept() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap().recalling();
    let text = r#"
query Secret {
  setSecret(name: "s", plaintext: "hunter2-7f") { id @export(as: "secret") }
}
query Use($tools: ContainerID!, $secret: SecretID!, $run: String!) {
  loadContainerFromID(id: $tools) {
    withSecretVariable(name: "S", secret: $secret) {
      withExec(args: ["busybox", "sh", "-c", "busybox echo ${#S} $0", $run]) { stdout }
    }
    scoped: withExec(args: ["busybox", "echo", "scoped", $run]) @cache(scope: SESSION) { stdout }
  }
}"#;
    for _ in 0..2 {
        let outcome = user.with_tools(text, &[("run", "r")]).unwrap();
        let answer = outcome.json().unwrap();
        let used = &answer["data"]["Use"]["loadContainerFromID"];
        assert_eq!(used["withSecretVariable"]["withExec"]["stdout"], "10 r\n");
        assert_eq!(
            count(&answer, "calls", "recalled"),
            0,
            "{}",
            answer["report"]["summary"]
        );
    }
}

#[test]
fn a_time_to_live_ends_a_value() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap().recalling();
    let run = |ttl: &str| {
        let text = format!(
            r#"query Q($tools: ContainerID!) {{ loadContainerFromID(id: $tools) {{
              withExec(args: ["busybox", "cat", "/proc/sys/kernel/random/uuid"]) @cache(ttl: "{ttl}") {{ stdout }}
            }} }}"#
        );
        let answer = user.with_tools(&text, &[]).unwrap().json().unwrap();
        let printed = answer["data"]["Q"]["loadContainerFromID"]["withExec"]["stdout"].to_string();
        (printed, is_recalled(&answer))
    };
    let (first, _) = run("1h");
    assert_eq!(run("1h"), (first, true));
    let (short, _) = run("1s");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let (next, recalled) = run("1s");
    assert!(next != short && !recalled);
}

#[test]
fn a_damaged_lost_or_strange_file_is_a_slower_run() {
    let case = Case::new(daemon::shared().unwrap());
    let first = case.answer();
    let again = |what: &str| {
        let outcome = case.run();
        assert_eq!(outcome.code, 0, "{what}: {outcome:?}");
        assert_eq!(outcome.json().unwrap()["data"], first["data"], "{what}");
    };
    let file = case.file();
    let sql = |text: &str| {
        Connection::open(&file)
            .unwrap()
            .execute_batch(text)
            .unwrap();
    };

    sql("UPDATE call_values SET value = x'00'");
    again("tampered rows");
    assert!(is_recalled(&case.answer()), "kept again");
    sql("PRAGMA wal_checkpoint(TRUNCATE)");
    let whole = fs::read(&file).unwrap();
    for length in [0, 10, 4096, whole.len() / 2] {
        remove(&file);
        fs::write(&file, &whole[..length]).unwrap();
        again(&format!("truncated to {length}"));
    }
    assert!(is_recalled(&case.answer()), "replaced");
    remove(&file);
    fs::write(
        &file,
        "not a database, and longer than a header of one would be. ".repeat(50),
    )
    .unwrap();
    again("text");
    assert!(is_recalled(&case.answer()), "replaced");
    remove(&file);
    again("lost");

    sql("PRAGMA user_version = 99");
    again("newer");
    let version: i64 = Connection::open(&file)
        .unwrap()
        .query_row("PRAGMA user_version", [], |r| r.get(0))
        .unwrap();
    assert_eq!(version, 99, "a newer file is left alone");
    remove(&file);
    fs::create_dir(&file).unwrap();
    again("a folder in its place");
    fs::remove_dir(&file).unwrap();

    again("back");
    let locked = Connection::open(&file).unwrap();
    locked.execute_batch("BEGIN IMMEDIATE").unwrap();
    fs::write(case.source.join("a.txt"), "while locked\n").unwrap();
    let outcome = case.run();
    assert_eq!(
        stdout(&outcome.json().unwrap()),
        "while locked\n-rw-r--r--\n"
    );
}

fn remove(file: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(format!("{}{suffix}", file.display()));
    }
}

#[test]
fn a_state_directory_on_a_full_disk_is_a_slower_run() {
    let case = Case::new(daemon::shared().unwrap());
    let first = case.answer();
    // A file system of its own, with less room than one value more needs.
    let state = case.user.home().join("state");
    let saved = case.user.home().join("saved");
    fs::rename(&state, &saved).unwrap();
    fs::create_dir(&state).unwrap();
    let options = c"size=400k";
    rustix::mount::mount(
        "none",
        &state,
        "tmpfs",
        rustix::mount::MountFlags::empty(),
        options,
    )
    .unwrap();
    fs::write(state.join("filler"), vec![0; 330 << 10]).unwrap();
    let outcome = case.run();
    rustix::mount::unmount(&state, rustix::mount::UnmountFlags::empty()).unwrap();
    // The IDs of another client, but the same values.
    assert_eq!(stdout(&outcome.json().unwrap()), stdout(&first));
}

/// A state directory that can only be read, with the state of an earlier run in it or without.
#[test]
fn a_state_directory_that_cannot_be_written_is_a_slower_run() {
    use rustix::mount::{MountFlags, UnmountFlags, mount, mount_bind, mount_remount, unmount};
    let case = Case::new(daemon::shared().unwrap());
    let first = case.answer();
    let state = case.user.home().join("state");
    let run = |what: &str| {
        let outcome = case.run();
        let answer = outcome.json();
        let answer = answer.unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(stdout(&answer), stdout(&first), "{what}");
        assert!(
            outcome.stderr.contains("not recorded"),
            "{what}: {outcome:?}"
        );
        answer
    };

    mount_bind(&state, &state).unwrap();
    mount_remount(&state, MountFlags::BIND | MountFlags::RDONLY, c"").unwrap();
    let full = run("state of an earlier run");
    unmount(&state, UnmountFlags::empty()).unwrap();
    assert_eq!(full["data"], first["data"], "the same client");

    mount("none", &state, "tmpfs", MountFlags::RDONLY, c"size=400k").unwrap();
    run("no state");
    unmount(&state, UnmountFlags::empty()).unwrap();
}

#[test]
fn several_processes_at_once_share_one_file() {
    let case = Case::new(daemon::shared().unwrap());
    let text = format!("{}{PIPELINE}", integration::busybox::TOOLS);
    fs::write(case.user.home().join("document.graphql"), text).unwrap();
    let answers: Vec<Outcome> = std::thread::scope(|scope| {
        let run = || case.user.run(case.arguments()).unwrap();
        let runs: Vec<_> = (0..6).map(|_| scope.spawn(run)).collect();
        runs.into_iter().map(|run| run.join().unwrap()).collect()
    });
    for answer in answers {
        assert_eq!(stdout(&answer.json().unwrap()), "one\n-rw-r--r--\n");
    }
    let connection = Connection::open(case.file()).unwrap();
    let verdict: String = connection
        .query_row("PRAGMA integrity_check", [], |row| row.get(0))
        .unwrap();
    assert_eq!(verdict, "ok");
    assert!(is_recalled(&case.answer()));
    assert_eq!(fs::metadata(case.file()).unwrap().mode() & 0o777, 0o600);
}

#[test]
fn values_can_be_refused_and_pruned() {
    let case = Case::new(daemon::shared().unwrap());
    case.answer();
    let mut arguments = case.arguments();
    arguments.push("--no-recall".to_owned());
    let refused = case.user.run(&arguments).unwrap().json().unwrap();
    assert_eq!(count(&refused, "calls", "recalled"), 0);
    let pruned = case
        .user
        .run(["cache", "prune", "--json"])
        .unwrap()
        .json()
        .unwrap();
    assert!(pruned["values"].as_u64().unwrap() >= 11, "{pruned}");
    assert!(!is_recalled(&case.answer()));
    let pruned = case.user.run(["cache", "prune"]).unwrap();
    assert!(pruned.stdout.starts_with("deleted "), "{pruned:?}");
}
