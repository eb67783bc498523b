//! Bad input of every kind: one located error, the right exit code, and
//! nothing half-written. A user reads the text, a script the code.

use std::{fs, process::Command};

use integration::{
    busybox, daemon,
    dagop::{Dagop, Outcome, finish},
    registry::{PASSWORD, Registry, USER},
};

/// Exit codes by kind of error.
mod code {
    pub(super) const STEP_FAILED: i32 = 1;
    pub(super) const USAGE: i32 = 2;
    pub(super) const UNREACHABLE: i32 = 3;
}

/// Longest error text in characters: one paragraph and some quoted source.
const TEXT_MAX: usize = 2000;

fn user() -> Dagop {
    Dagop::new(daemon::shared().unwrap()).unwrap()
}

/// Checks the exit code and that the error text names everything in `parts`.
#[track_caller]
fn assert_error(outcome: &Outcome, code: i32, parts: &[&str]) {
    let text = &outcome.stderr;
    assert_eq!(outcome.code, code, "{outcome:?}");
    for part in parts {
        assert!(text.contains(part), "no {part:?} in: {text}");
    }
    assert!(text.len() <= TEXT_MAX, "{} characters: {text}", text.len());
    for trace in ["panicked", "stack backtrace", "RUST_BACKTRACE"] {
        assert!(!text.contains(trace), "{text}");
    }
}

#[test]
fn syntax_error_is_located() {
    let outcome = user()
        .query(
            "query {\n  container {\n    from(address: ])\n  }\n}\n",
            &[],
        )
        .unwrap();
    assert_error(&outcome, code::USAGE, &["document.graphql:3:"]);
}

#[test]
fn unknown_field_names_the_field_and_its_type() {
    let outcome = user()
        .query(
            "query {\n  container { withExecc(args: [\"x\"]) { stdout } }\n}\n",
            &[],
        )
        .unwrap();
    assert_error(
        &outcome,
        code::USAGE,
        &["withExecc", "Container", "document.graphql:2:"],
    );
}

#[test]
fn wrong_type_names_the_argument() {
    let outcome = user()
        .query("{ container { withExec(args: 5) { stdout } } }", &[])
        .unwrap();
    assert_error(&outcome, code::USAGE, &["args", "String"]);
}

#[test]
fn missing_variable_names_the_variable() {
    let outcome = user()
        .query(
            "query($path: String!) { host { directory(path: $path) { id } } }",
            &[],
        )
        .unwrap();
    assert_error(&outcome, code::USAGE, &["path"]);
}

#[test]
fn missing_document_names_the_path() {
    let outcome = user().run(["run", "nowhere.graphql"]).unwrap();
    assert_error(&outcome, code::USAGE, &["nowhere.graphql"]);
}

#[test]
fn missing_host_path_names_the_path() {
    let outcome = user()
        .query("{ host { directory(path: \"nowhere\") { entries } } }", &[])
        .unwrap();
    assert_error(&outcome, code::STEP_FAILED, &["nowhere"]);
}

#[test]
fn missing_path_in_a_directory_names_the_path() {
    let outcome = user()
        .query("{ directory { file(path: \"a/b\") { contents } } }", &[])
        .unwrap();
    assert_error(&outcome, code::STEP_FAILED, &["a/b"]);
}

/// `..` and absolute links stop at the root of the directory they are in.
#[test]
fn no_path_leaves_its_root() {
    let document = "{ directory { file(path: \"../../../../etc/passwd\") { contents } } }";
    let outcome = user().query(document, &[]).unwrap();
    assert_error(&outcome, code::STEP_FAILED, &["etc/passwd"]);

    let document = "{ directory { withSymlink(target: \"/etc/passwd\", linkName: \"link\") { file(path: \"link\") { contents } } } }";
    let outcome = user().query(document, &[]).unwrap();
    assert_error(&outcome, code::STEP_FAILED, &["link"]);
    assert!(!outcome.stdout.contains("root:"), "{outcome:?}");
}

/// A link out of a context directory is sent as a link, not followed.
#[test]
fn a_link_out_of_a_host_directory_is_not_followed() {
    let user = user();
    fs::write(user.home().join("outside"), "not yours").unwrap();
    fs::create_dir(user.work().join("context")).unwrap();
    std::os::unix::fs::symlink("../../outside", user.work().join("context/link")).unwrap();
    let outcome = user
        .query(
            "{ host { directory(path: \"context\") { file(path: \"link\") { contents } } } }",
            &[],
        )
        .unwrap();
    assert_error(&outcome, code::STEP_FAILED, &["link"]);
    assert!(!format!("{outcome:?}").contains("not yours"));
}

#[test]
fn unknown_secret_names_the_variable() {
    let document = "{ secret(uri: \"env://SURELY_UNSET\") { plaintext } }";
    assert_error(
        &user().query(document, &[]).unwrap(),
        code::STEP_FAILED,
        &["SURELY_UNSET"],
    );
}

#[test]
fn failing_command_shows_its_code_and_its_errors() {
    let document = r#"
        query Fails($tools: ContainerID!) {
          loadContainerFromID(id: $tools) {
            withExec(args: ["busybox", "sh", "-c", "echo because of this >&2; exit 42"]) { sync }
          }
        }"#;
    let outcome = user().with_tools(document, &[]).unwrap();
    assert_error(&outcome, code::STEP_FAILED, &["because of this", "42"]);
}

/// An error is never cached: the same command fails again, and for the same reason.
#[test]
fn failing_command_fails_again() {
    let user = user();
    let document = r#"
        query Fails($tools: ContainerID!) {
          loadContainerFromID(id: $tools) { withExec(args: ["busybox", "false"]) { sync } }
        }"#;
    assert_error(
        &user.with_tools(document, &[]).unwrap(),
        code::STEP_FAILED,
        &["false"],
    );
    assert_error(
        &user.with_tools(document, &[]).unwrap(),
        code::STEP_FAILED,
        &["false"],
    );
}

#[test]
fn unreachable_daemon_says_what_was_tried() {
    let user = Dagop::new("unix:///nowhere/buildkitd.sock").unwrap();
    let outcome = user.query("{ directory { entries } }", &[]).unwrap();
    assert_error(&outcome, code::UNREACHABLE, &["/nowhere/buildkitd.sock"]);
}

#[test]
fn bad_address_is_a_usage_error() {
    let outcome = user()
        .run(["run", "-", "--addr", "carrier-pigeon://x"])
        .unwrap();
    assert_error(&outcome, code::USAGE, &["carrier-pigeon"]);
}

/// The target is a file system of 64 KiB in a mount namespace of its own, so
/// that nothing stays mounted whatever happens.
#[test]
fn full_disk_on_export_leaves_no_file() {
    let user = user();
    let target = user.work().join("small");
    fs::create_dir(&target).unwrap();
    let document = user.home().join("export.graphql");
    fs::write(&document, format!(
        "{}query Export($program: FileID!) {{ loadFileFromID(id: $program) {{ export(path: \"small/busybox\") }} }}",
        busybox::TOOLS
    ))
    .unwrap();
    let script = r#"mount -t tmpfs -o size=64k none small || exit 99
        "$@"; code=$?
        ls -A small
        exit $code"#;
    let inner = user.command(["run"]).unwrap();
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", script, "sh"])
        .arg(inner.get_program());
    command.args(["run", document.to_str().unwrap(), "--var"]);
    command.arg(format!("busybox={}", busybox::program().unwrap().display()));
    command.current_dir(user.work()).env("HOME", user.home());
    command
        .env("XDG_STATE_HOME", user.home().join("state"))
        .env("BUILDKIT_HOST", daemon::shared().unwrap());
    command
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped());
    let outcome = finish(command).unwrap();
    assert_error(&outcome, code::STEP_FAILED, &["small/busybox", "space"]);
    assert!(
        !outcome.stdout.contains("busybox"),
        "left behind: {}",
        outcome.stdout
    );
}

const PUBLISH: &str = r#"
query Password($password: String!) { setSecret(name: "password", plaintext: $password) { id @export(as: "secret") } }
query Publish($tools: ContainerID!, $secret: SecretID!, $address: String!, $user: String!, $image: String!) {
  loadContainerFromID(id: $tools) {
    withRegistryAuth(address: $address, username: $user, secret: $secret) { publish(address: $image) }
  }
}"#;

#[test]
fn registry_refuses_without_the_right_password() {
    let registry = Registry::start().unwrap();
    let image = format!("{}/refused:latest", registry.address());
    let publish = |password: &str| {
        user()
            .with_tools(
                PUBLISH,
                &[
                    ("password", password),
                    ("address", registry.address()),
                    ("user", USER),
                    ("image", &image),
                ],
            )
            .unwrap()
    };
    let outcome = publish("wrong");
    assert_error(&outcome, code::STEP_FAILED, &["refused:latest"]);
    assert!(!registry.holds("refused"));
    // The same with the right password works: it was the password.
    let outcome = publish(PASSWORD);
    assert_eq!(outcome.code, 0, "{outcome:?}");
    assert!(registry.holds("refused"));
    assert!(!format!("{outcome:?}").contains(PASSWORD));
}
