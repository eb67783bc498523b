//! The salt of a scoped call on a real daemon: it changes BuildKit's key, the
//! process cannot see it, and the same storage key hits again.

use integration::{daemon, dagop::Dagop};
use serde_json::Value;

/// Prints a number that differs in every run, and everything of the engine's
/// that a process could find: files, mounts, variables.
const SCRIPT: &str = r#"busybox cat /proc/sys/kernel/random/uuid; busybox env; busybox mount; busybox ls -a / /.dagop"#;

fn document(directive: &str) -> String {
    format!(
        r#"query Scoped($tools: ContainerID!, $script: String!) {{
  loadContainerFromID(id: $tools) {{
    withExec(args: ["busybox", "sh", "-c", $script]) {directive} {{ stdout }}
  }}
}}"#
    )
}

/// What the command printed, and the ledger's row of the call.
fn run(user: &Dagop, directive: &str) -> (String, Value) {
    let outcome = user
        .with_tools(&document(directive), &[("script", SCRIPT)])
        .unwrap();
    let stdout =
        outcome.data("Scoped").unwrap()["loadContainerFromID"]["withExec"]["stdout"].clone();
    let report = outcome.json().unwrap()["report"].take();
    let row = report["calls"]
        .as_array()
        .unwrap()
        .iter()
        .find(|call| call["display"].as_str().unwrap().starts_with("withExec"))
        .expect("a row for the exec")
        .clone();
    (stdout.as_str().unwrap().to_owned(), row)
}

fn user() -> Dagop {
    Dagop::new(daemon::shared().unwrap()).unwrap()
}

#[test]
fn a_session_scope_runs_once_per_session() {
    let user = user();
    let (first, row) = run(&user, "@cache(scope: SESSION)");
    let (second, _) = run(&user, "@cache(scope: SESSION)");
    assert_ne!(first, second, "another session, another key");
    assert_eq!(row["scopes"][0]["name"], "session", "{row}");
}

#[test]
fn a_client_scope_and_a_key_hit_again() {
    let user = user();
    for directive in ["@cache(scope: CLIENT)", "@cache(key: \"release 7\")"] {
        let (first, row) = run(&user, directive);
        let (second, again) = run(&user, directive);
        assert_eq!(first, second, "{directive}");
        assert_eq!(row["outcome"], "executed");
        assert_eq!(again["outcome"], "cached", "{directive}: {again}");
        assert_eq!(row["canonical"], again["canonical"], "{directive}");
    }
}

#[test]
fn a_salt_is_another_key_of_the_same_step() {
    let user = user();
    let (plain, unscoped) = run(&user, "");
    let (salted, scoped) = run(&user, "@cache(key: \"another key\")");
    assert_ne!(plain, salted);
    assert_ne!(unscoped["vertex"], scoped["vertex"]);
    assert_ne!(
        unscoped["predicted_cache_map"],
        scoped["predicted_cache_map"]
    );
}

#[test]
fn two_clients_do_not_share_a_client_scope() {
    let (first, _) = run(&user(), "@cache(scope: CLIENT)");
    let (second, _) = run(&user(), "@cache(scope: CLIENT)");
    assert_ne!(first, second);
}

#[test]
fn a_time_to_live_survives_the_process_and_ends() {
    let user = user();
    let (first, _) = run(&user, "@cache(ttl: \"1h\")");
    let (second, row) = run(&user, "@cache(ttl: \"1h\")");
    assert_eq!(first, second, "a valid row keeps the storage key");
    assert_eq!(row["outcome"], "cached", "{row}");
    let (short, _) = run(&user, "@cache(ttl: \"1s\")");
    std::thread::sleep(std::time::Duration::from_millis(2100));
    let (expired, _) = run(&user, "@cache(ttl: \"1s\")");
    assert_ne!(short, expired, "an expired row is another key");
}

#[test]
fn the_process_sees_no_salt() {
    let user = user();
    let (plain, _) = run(&user, "");
    let (salted, row) = run(&user, "@cache(scope: SESSION)");
    let seen = |text: &str| -> Vec<String> {
        // The number on the first line and the daemon's own folder names differ.
        let stable = |line: &&str| {
            !["lowerdir=", "/runc-overlayfs/", "TRACEPARENT="]
                .iter()
                .any(|part| line.contains(part))
        };
        text.lines()
            .skip(1)
            .filter(stable)
            .map(str::to_owned)
            .collect()
    };
    assert_eq!(seen(&plain), seen(&salted));
    let key = row["storage_key"].as_str().unwrap();
    let encoded = key.rsplit(':').next().unwrap();
    assert!(
        !salted.contains(encoded) && !salted.contains("mix"),
        "{salted}"
    );
}
