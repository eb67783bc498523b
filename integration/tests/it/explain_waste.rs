//! Work for nothing, on a real daemon and through the command line: an edit that changes the key of a
//! step and not what it makes.

use integration::{
    daemon,
    dagop::{self, Dagop},
};
use serde_json::Value;

/// A program is made of a source, and copied to where it is used.
fn document(source: &str, word: &str) -> String {
    let command = format!("busybox sleep 1; : {word}; busybox grep -v '^//' /main.c > /main.o");
    format!(
        r#"query Make($tools: ContainerID!) {{ loadContainerFromID(id: $tools) {{
  withNewFile(path: "/main.c", contents: {source:?}) {{
  withExec(args: ["busybox", "sh", "-c", {command:?}]) {{
  file(path: "/main.o") {{ id @export(as: "object") }} }} }} }} }}
query Use($tools: ContainerID!, $object: FileID!) {{ loadContainerFromID(id: $tools) {{
  withFile(path: "/used.o", source: $object) {{
  withExec(args: ["busybox", "cat", "/used.o"]) {{ stdout }} }} }} }}"#
    )
}

fn run(user: &Dagop, source: &str, word: &str, flags: &[&str]) -> String {
    // A program of its own for each user, so that the daemon has never made it.
    let own = user.home().file_name().unwrap().to_str().unwrap();
    let source = format!("{source}char *user = {own:?};\n");
    let mut command = user
        .command_with_tools(&document(&source, word), &[])
        .unwrap();
    command.args(flags);
    let json = dagop::finish(command).unwrap().json().unwrap();
    json["report"]["build"]["id"].as_str().unwrap().to_owned()
}

fn waste(user: &Dagop, before: &str, after: &str) -> Value {
    let outcome = user.run(["waste", "--json", before, after]).unwrap();
    assert_eq!(outcome.code, 0, "{}", outcome.stderr);
    serde_json::from_str(&outcome.stdout).unwrap()
}

#[test]
fn a_comment_costs_the_time_of_the_step_that_drops_it() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap();
    let first = run(&user, "int waste;\n", "same", &[]);
    let comment = run(&user, "// why\nint waste;\n", "same", &[]);
    let argument = run(&user, "int waste;\n", "other", &[]);
    let code = run(&user, "int other_waste;\n", "same", &[]);
    for (after, cause) in [(&comment, "action"), (&argument, "argument")] {
        let found = waste(&user, &first, after);
        let steps = found["steps"].as_array().unwrap();
        assert_eq!(steps.len(), 1, "{found}");
        assert_eq!(steps[0]["proof"], "found", "{found}");
        let lost = steps[0]["lost_ms"].as_u64().unwrap();
        // It sleeps for a second.
        assert!(lost >= 1000, "{found}");
        let completed = steps[0]["step"]["completed_ms"].as_u64().unwrap();
        let started = steps[0]["step"]["started_ms"].as_u64().unwrap();
        assert_eq!(lost, completed - started);
        assert_eq!(found["lost_ms"], lost);
        assert_eq!(found["useful"], 0, "{found}");
        assert_eq!(steps[0]["causes"].as_array().unwrap().len(), 1);
        assert_eq!(steps[0]["causes"][0]["reason"]["reason"], cause, "{found}");
    }
    let found = waste(&user, &first, &code);
    assert_eq!(found["steps"].as_array().unwrap().len(), 0, "{found}");
    assert_eq!(found["useful"], 1, "{found}");
    // The text says the same.
    let outcome = user.run(["waste", &first, &comment]).unwrap();
    assert!(
        outcome.stdout.contains("was found in the cache"),
        "{outcome:?}"
    );
}

#[test]
fn content_that_caches_show_is_a_proof_too() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap();
    let export = ["--export-cache", "type=local,dest=cache,mode=max"];
    let first = run(&user, "int proof;\n", "same", &export);
    let comment = run(&user, "// why\nint proof;\n", "same", &export);
    let found = waste(&user, &first, &comment);
    let steps = found["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 1, "{found}");
    assert_eq!(steps[0]["proof"], "content", "{found}");
}
