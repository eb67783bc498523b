//! The ledger and other processes: several share one file, and any of them may be killed.

use std::process::{Child, Command, Stdio};

use super::*;

/// Names the ledger to the tests of this file that run as child processes.
const PATH_VARIABLE: &str = "DAGOP_TEST_LEDGER";

/// Runs one of the tests below in a process of its own, on this ledger.
fn child(test: &str, ledger: &Path) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args([
        "--exact",
        &format!("ledger::tests::processes::{test}"),
        "--ignored",
        "--nocapture",
    ]);
    command
        .env(PATH_VARIABLE, ledger)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}

fn ledger_of_parent() -> Option<Ledger> {
    Some(Ledger::start(std::env::var_os(PATH_VARIABLE)?.into()))
}

#[tokio::test]
#[ignore = "runs as a child process of several_processes_share_one_file"]
async fn child_records_twenty_builds() {
    let Some(ledger) = ledger_of_parent() else {
        return;
    };
    for age in 1..=20 {
        let calls = (1..=50).map(|number| call(number, "c"));
        let events: Vec<_> = std::iter::once(started(age))
            .chain(calls)
            .chain([ended()])
            .collect();
        assert_eq!(record(&ledger, &events).await.notices, [""; 0]);
    }
}

#[test]
fn several_processes_share_one_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let children: Vec<_> = (0..4)
        .map(|_| child("child_records_twenty_builds", &path))
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    let reader = Reader::open(&path).unwrap();
    let builds = reader.builds(1000).unwrap();
    assert_eq!(builds.len(), 4 * 20);
    assert!(
        builds
            .iter()
            .all(|build| reader.calls(&build.id).unwrap().len() == 50)
    );
}

#[tokio::test]
#[ignore = "runs as a child process of a_killed_writer_leaves_a_readable_file"]
async fn child_records_until_killed() {
    let Some(ledger) = ledger_of_parent() else {
        return;
    };
    for age in 1.. {
        let calls = (1..=200).map(|number| call(number, "c"));
        let events: Vec<_> = std::iter::once(started(age))
            .chain(calls)
            .chain([ended()])
            .collect();
        record(&ledger, &events).await;
    }
}

#[test]
fn a_killed_writer_leaves_a_readable_file() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("ledger.db");
    let mut recorded = 0;
    for round in 0..5 {
        let mut victim = child("child_records_until_killed", &path);
        // At least one more build is in, then the blow falls at an arbitrary moment.
        let more = || Reader::open(&path).and_then(|reader| reader.builds(100_000));
        while more().map_or(0, |builds| builds.len()) <= recorded {
            assert!(
                victim.try_wait().unwrap().is_none(),
                "the writer ended by itself"
            );
            std::thread::sleep(std::time::Duration::from_millis(3 + round));
        }
        victim.kill().unwrap();
        victim.wait().unwrap();
        let reader = Reader::open(&path).unwrap();
        let builds = reader.builds(100_000).unwrap();
        assert!(builds.len() > recorded);
        recorded = builds.len().min(150);
        for build in builds {
            // A build's end and its calls are one transaction: all of them or none.
            let calls = reader.calls(&build.id).unwrap().len();
            assert_eq!(
                calls,
                if build.state == BuildState::Unfinished {
                    calls
                } else {
                    200
                }
            );
        }
    }
    // And the next process writes on.
    assert!(
        schema::open(&path, schema::Look::Thorough)
            .unwrap()
            .1
            .is_none()
    );
}
