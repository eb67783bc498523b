//! `dagop verify --twice`: which steps write something else the second time.

use integration::{
    busybox::{TOOLS, program},
    daemon::Daemon,
    dagop::{Dagop, Outcome},
};
use serde_json::Value;

/// A step that is always the same, one that writes a random file, one that copies that file, one
/// that prints something random, and one whose file has another time only.
const DOCUMENT: &str = r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
    same: withExec(args: ["busybox", "sh", "-c", "echo same > /same"]) { sync }
    random: withExec(args: ["busybox", "cp", "/proc/sys/kernel/random/uuid", "/random"]) {
      withExec(args: ["busybox", "cp", "/random", "/copy"]) {
        sync
        file(path: "/copy") { export(path: "out/copy") } } }
    printed: withExec(args: ["busybox", "cat", "/proc/sys/kernel/random/uuid"]) { stdout } } }"#;

fn verify(user: &Dagop, text: &str, more: &[&str]) -> Outcome {
    let document = user.home().join("document.graphql");
    std::fs::write(&document, format!("{TOOLS}{text}")).unwrap();
    let document = document.display().to_string();
    let busybox = format!("busybox={}", program().unwrap().display());
    let mut arguments = vec!["verify", &document, "--twice", "--var", &busybox];
    arguments.extend_from_slice(more);
    user.run(arguments).unwrap()
}

/// The step with this command.
fn step<'a>(found: &'a Value, command: &str) -> &'a Value {
    let steps = found["steps"].as_array().unwrap();
    let step = steps
        .iter()
        .find(|step| step["name"].as_str().unwrap().contains(command));
    step.unwrap_or_else(|| panic!("{command} in {found}"))
}

#[test]
fn causes_are_named_with_the_first_file_and_consequences_are_not_causes() {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let outcome = verify(&user, DOCUMENT, &["--json"]);
    assert_eq!(outcome.code, 1, "{outcome:?}");
    let found: Value = serde_json::from_str(&outcome.stdout).unwrap();
    assert_eq!(found["steps"].as_array().unwrap().len(), 4, "{found}");
    assert_eq!(step(&found, "/same")["verdict"], "same", "{found}");
    let random = step(&found, "uuid /random");
    assert_eq!(random["verdict"], "differs", "{found}");
    assert_eq!(random["difference"]["path"], "/random");
    assert_eq!(random["difference"]["what"]["what"], "content");
    let copy = step(&found, "/random /copy");
    assert_eq!(copy["verdict"], "consequence", "{found}");
    assert!(copy["of"][0].as_str().unwrap().contains("uuid /random"));
    let printed = step(&found, "busybox cat");
    assert_eq!(
        printed["difference"]["output"], "what it printed",
        "{found}"
    );
    assert_eq!(printed["difference"]["path"], "/meta/stdout");
    // Nothing leaves a verification.
    assert!(!user.work().join("out").exists());
}

#[test]
fn the_keys_of_others_are_left_alone_and_times_count_on_request() {
    let daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    // Two runs may fall into one second, which is all that an archive keeps of a time.
    let text = r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
        withExec(args: ["busybox", "sh", "-c",
            "echo x > /x; set -- $(busybox od -An -N3 -tu4 /dev/urandom); busybox touch -d @$1 /x"
        ]) { sync } } }"#;
    let plain = verify(&user, text, &[]);
    assert_eq!(plain.code, 0, "{plain:?}");
    assert!(plain.stdout.starts_with("same"), "{plain:?}");
    let times = verify(&user, text, &["--mtimes"]);
    assert_eq!(times.code, 1, "{times:?}");
    assert!(
        times.stdout.contains("/x has another modification time"),
        "{times:?}"
    );
    // A build finds nothing of it, and the next one all of its own.
    let run = || {
        user.with_tools(text, &[])
            .unwrap()
            .executed_names()
            .unwrap()
    };
    assert!(run().iter().any(|name| name.contains("echo x")));
    assert_eq!(run(), Vec::<String>::new());
    let after = verify(&user, text, &[]);
    assert_eq!(after.code, 0, "{after:?}");
    assert_eq!(run(), Vec::<String>::new());
}
