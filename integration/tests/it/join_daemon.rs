//! The join with a daemon's own cache store, which its debug endpoint lists where an administrator
//! turned it on.

use integration::{daemon::Daemon, dagop::Dagop, dagop::finish};
use serde_json::Value;

use crate::join::{check, records};

const DOCUMENT: &str = r#"
query Build($tools: ContainerID!) {
  loadContainerFromID(id: $tools) {
    withNewFile(path: "/etc/motd", contents: "daemon\n") {
      withExec(args: ["busybox", "sh", "-c", "echo one > /one"]) {
        withExec(args: ["busybox", "cat", "/one"]) { stdout }
      }
    }
  }
}"#;

fn run(user: &Dagop, debug: &str) -> integration::dagop::Outcome {
    let mut command = user.command_with_tools(DOCUMENT, &[]).unwrap();
    command.args(["--debugaddr", debug]);
    finish(command).unwrap()
}

#[test]
fn the_records_of_the_daemons_store_are_joined() {
    let mut daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let debug = format!("unix://{}", daemon.folder().join("debug.sock").display());
    // It is off: the build is as good, and what is missing is said.
    let without = run(&user, &debug);
    let report = &without.json().unwrap()["report"];
    assert!(
        without.stderr.contains("cache store is not in the ledger"),
        "{without:?}"
    );
    assert_eq!(check(report, "daemon"), 0);

    let config = format!("[grpc]\n  debugAddress = {debug:?}\n");
    std::fs::write(daemon.folder().join("buildkitd.toml"), config).unwrap();
    daemon.restart().unwrap();
    for round in ["as after a restart", "as the store is now"] {
        let outcome = run(&user, &debug);
        let report = &outcome.json().unwrap()["report"];
        // Every vertex with a key has its record there, with the predicted links.
        let seen = check(report, "daemon");
        let vertices = report["vertices"].as_array().unwrap().iter();
        let keyed: Vec<&Value> = vertices
            .filter(|v| !v["canonical"].is_null() && v["kind"] != "local")
            .collect();
        for vertex in &keyed {
            assert!(
                !records(report, vertex, "daemon").is_empty(),
                "{round}: {vertex}"
            );
        }
        assert!(keyed.len() >= 4 && seen >= keyed.len(), "{round}: {report}");
        println!(
            "{} vertices, {seen} records in the daemon's store",
            keyed.len()
        );
    }
    let wrong = run(&user, "http://nowhere");
    assert_eq!(wrong.code, 2, "{wrong:?}");
}
