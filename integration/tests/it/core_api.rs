//! Fields of the core API that the examples do not use, against a real daemon
//! and a real registry.

use std::fs;

use integration::{daemon, dagop::Dagop, registry};
use serde_json::{Value, json};

fn user() -> Dagop {
    Dagop::new(daemon::shared().unwrap()).unwrap()
}

/// The answer of operation `Q`, which may use `$tools`.
fn ask(user: &Dagop, text: &str, variables: &[(&str, &str)]) -> Value {
    let outcome = user.with_tools(text, variables).unwrap();
    outcome
        .data("Q")
        .unwrap_or_else(|_| panic!("{}", outcome.stderr))
}

#[test]
fn settings_of_a_container_are_what_was_set() {
    let data = ask(
        &user(),
        r#"query Q { container {
  withEnvVariable(name: "A", value: "1") { withEnvVariable(name: "B", value: "${A}2", expand: true) {
    withoutEnvVariable(name: "A") { withLabel(name: "l", value: "v") { withUser(name: "1000:1000") {
      withWorkdir(path: "/w") { withWorkdir(path: "x") { withEntrypoint(args: ["/e"]) { withDefaultArgs(args: ["d"]) {
        withExposedPort(port: 80, description: "web") { withExposedPort(port: 53, protocol: UDP) {
          envVariables { name value } a: envVariable(name: "A") b: envVariable(name: "B")
          labels { name value } label(name: "l") user workdir entrypoint defaultArgs mounts
          exposedPorts { port protocol description } platform
        } } } } } } } } } } } } }"#,
        &[],
    );
    let mut at = &data["container"];
    while let Some(inner) = at
        .as_object()
        .filter(|o| o.len() == 1)
        .and_then(|o| o.values().next())
    {
        at = inner;
    }
    assert_eq!(at["envVariables"], json!([{"name": "B", "value": "12"}]));
    assert_eq!((&at["a"], &at["b"]), (&Value::Null, &json!("12")));
    assert_eq!(
        (&at["label"], &at["user"], &at["workdir"]),
        (&json!("v"), &json!("1000:1000"), &json!("/w/x"))
    );
    assert_eq!(
        (&at["entrypoint"], &at["defaultArgs"]),
        (&json!(["/e"]), &json!(["d"]))
    );
    let ports = at["exposedPorts"].as_array().unwrap();
    assert!(
        ports.contains(&json!({"port": 80, "protocol": "TCP", "description": "web"})),
        "{ports:?}"
    );
    assert!(
        ports.contains(&json!({"port": 53, "protocol": "UDP", "description": null})),
        "{ports:?}"
    );
}

#[test]
fn output_goes_where_it_is_sent() {
    let data = ask(
        &user(),
        r#"query Q($tools: ContainerID!) { loadContainerFromID(id: $tools) {
  withExec(args: ["busybox", "sh", "-c", "busybox cat; echo err >&2"], stdin: "from stdin\n",
      redirectStdout: "/out", redirectStderr: "/err") {
    stdout stderr combinedOutput exitCode
    out: file(path: "/out") { contents }
    err: file(path: "/err") { contents }
  }
  any: withExec(args: ["busybox", "sh", "-c", "exit 42"], expect: ANY) { exitCode }
  failure: withExec(args: ["busybox", "false"], expect: FAILURE) { exitCode }
  empty: withDefaultArgs(args: ["busybox", "echo", "default"]) { withExec(args: []) { stdout } }
  entry: withEntrypoint(args: ["busybox"]) { withExec(args: ["echo", "entry"], useEntrypoint: true) { stdout } }
  user: withUser(name: "12:34") { withExec(args: ["busybox", "id"]) { stdout } }
} }"#,
        &[],
    );
    let at = &data["loadContainerFromID"];
    let run = &at["withExec"];
    assert_eq!(
        (&run["stdout"], &run["stderr"], &run["exitCode"]),
        (&json!("from stdin\n"), &json!("err\n"), &json!(0))
    );
    assert_eq!(
        run["combinedOutput"].as_str().unwrap().len(),
        "from stdin\nerr\n".len()
    );
    assert_eq!(
        (&run["out"]["contents"], &run["err"]["contents"]),
        (&json!("from stdin\n"), &json!("err\n"))
    );
    assert_eq!(
        (&at["any"]["exitCode"], &at["failure"]["exitCode"]),
        (&json!(42), &json!(1))
    );
    assert_eq!(at["empty"]["withExec"]["stdout"], "default\n");
    assert_eq!(at["entry"]["withExec"]["stdout"], "entry\n");
    assert!(
        at["user"]["withExec"]["stdout"]
            .as_str()
            .unwrap()
            .contains("uid=12 gid=34")
    );
}

#[test]
fn writable_mounts_keep_what_a_command_wrote() {
    let data = ask(
        &user(),
        r#"query S { directory { withNewFile(path: "sub/a", contents: "a") { id @export(as: "source") directory(path: "sub") { id @export(as: "sub") file(path: "a") { id @export(as: "one") } } } } }
query Q($tools: ContainerID!, $source: DirectoryID!, $sub: DirectoryID!, $one: FileID!) { loadContainerFromID(id: $tools) {
  withMountedDirectory(path: "/m", source: $sub, owner: "7:8") { withMountedFile(path: "/f", source: $one) {
    withExec(args: ["busybox", "sh", "-c", "busybox stat -c %u:%g /m/a; busybox cat /f; echo b > /m/b; echo c > /f"]) {
      stdout mounts
      b: file(path: "/m/b") { contents }
      f: file(path: "/f") { contents }
      directory(path: "/m") { entries }
      rootfs { glob(pattern: "m/*") }
      withoutMount(path: "/m") { mounts }
      withNewFile(path: "/m/new", contents: "n") { file(path: "/m/new") { contents } }
    }
  } }
  withDirectory(path: "/all", source: $source) { directory(path: "/all") { glob(pattern: "**") } }
} }"#,
        &[],
    );
    let at = &data["loadContainerFromID"];
    let run = &at["withMountedDirectory"]["withMountedFile"]["withExec"];
    assert_eq!(run["stdout"], "7:8\na");
    assert_eq!(
        (&run["b"]["contents"], &run["f"]["contents"]),
        (&json!("b\n"), &json!("c\n"))
    );
    assert_eq!(run["directory"]["entries"], json!(["a", "b"]));
    assert_eq!(
        run["rootfs"]["glob"],
        json!([]),
        "a mount is not in the root"
    );
    assert_eq!(run["withoutMount"]["mounts"], json!(["/f"]));
    assert_eq!(run["withNewFile"]["file"]["contents"], "n");
    assert_eq!(
        at["withDirectory"]["directory"]["glob"],
        json!(["sub/", "sub/a"])
    );
}

#[test]
fn directories_change_as_asked() {
    let data = ask(
        &user(),
        r#"query S { a: directory { withNewFile(path: "x", contents: "1") { withNewFile(path: "y/z", contents: "2") { withSymlink(target: "x", linkName: "l") { id @export(as: "a") digest } } } }
  b: directory { withNewFile(path: "x", contents: "1") { withNewFile(path: "y/z", contents: "2") { withSymlink(target: "x", linkName: "l") { withNewFile(path: "w", contents: "3") { id @export(as: "b") digest } } } } } }
query E { directory { id @export(as: "empty") } }
query Q($a: DirectoryID!, $b: DirectoryID!, $empty: DirectoryID!) {
  diff: loadDirectoryFromID(id: $a) { diff(other: $b) { glob(pattern: "**") } digest }
  gone: loadDirectoryFromID(id: $a) { diff(other: $empty) { entries } }
  filter: loadDirectoryFromID(id: $b) { filter(include: ["y", "x"], exclude: ["**/z"]) { glob(pattern: "**") } }
  without: loadDirectoryFromID(id: $b) { withoutDirectory(path: "y") { withoutFile(path: "l") { entries digest } } }
  time: loadDirectoryFromID(id: $b) { withTimestamps(timestamp: 5) { digest } digest }
  made: directory { withNewDirectory(path: "d/e", permissions: 448) { entries directory(path: "d") { entries name } } }
  named: file(name: "n", contents: "hello") { size name digest plain: digest(excludeMetadata: true) withName(name: "other") { name contents } contents(offsetLines: 0, limitLines: 1) }
}"#,
        &[],
    );
    assert_eq!(data["diff"]["diff"]["glob"], json!(["w"]));
    assert_eq!(data["gone"]["diff"]["entries"], json!([]));
    assert_eq!(data["filter"]["filter"]["glob"], json!(["x", "y/"]));
    assert_eq!(
        data["without"]["withoutDirectory"]["withoutFile"]["entries"],
        json!(["w", "x"])
    );
    assert_eq!(
        data["time"]["digest"], data["time"]["withTimestamps"]["digest"],
        "times are not content"
    );
    assert_ne!(data["time"]["digest"], data["diff"]["digest"]);
    assert_eq!(data["made"]["withNewDirectory"]["entries"], json!(["d/"]));
    assert_eq!(
        data["made"]["withNewDirectory"]["directory"],
        json!({"entries": ["e/"], "name": "d/"})
    );
    let named = &data["named"];
    assert_eq!((&named["size"], &named["name"]), (&json!(5), &json!("n")));
    // sha256 of "hello".
    assert_eq!(
        named["plain"],
        "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
    );
    assert_eq!(
        named["withName"],
        json!({"name": "other", "contents": "hello"})
    );
}

#[test]
fn an_image_goes_out_and_comes_back() {
    let user = user();
    let address = format!("{}/roundtrip:one", registry::shared().unwrap());
    let data = ask(
        &user,
        r#"query P($tools: ContainerID!, $address: String!) { loadContainerFromID(id: $tools) {
  withNewFile(path: "/marker", contents: "here") { withEnvVariable(name: "KEPT", value: "yes") { withEntrypoint(args: ["busybox"]) {
    publish(address: $address)
    export(path: "out/image.tar")
    asTarball { id @export(as: "tarball") size }
  } } }
} }
query Q($tarball: FileID!, $address: String!) {
  pulled: container { from(address: $address) { imageRef file(path: "/marker") { contents } envVariable(name: "KEPT") entrypoint } }
  imported: container { import(source: $tarball) { withExec(args: ["busybox", "cat", "/marker"]) { stdout } envVariable(name: "KEPT") } }
}"#,
        &[("address", &address)],
    );
    let pulled = &data["pulled"]["from"];
    assert_eq!(
        (&pulled["file"]["contents"], &pulled["envVariable"]),
        (&json!("here"), &json!("yes"))
    );
    assert!(
        pulled["imageRef"]
            .as_str()
            .unwrap()
            .starts_with(&format!("{address}@sha256:")),
        "{pulled}"
    );
    assert_eq!(
        data["imported"]["import"],
        json!({"withExec": {"stdout": "here"}, "envVariable": "yes"})
    );
    assert!(
        fs::metadata(user.work().join("out/image.tar"))
            .unwrap()
            .len()
            > 1000
    );
    let text = "query Q { container { import(source: \"x\") { id } } }";
    assert_ne!(
        user.query(text, &[]).unwrap().code,
        0,
        "an ID that is none is refused"
    );
}

#[test]
fn exports_are_what_they_were_and_where_they_belong() {
    let user = user();
    fs::create_dir_all(user.work().join("target")).unwrap();
    fs::write(user.work().join("target/old"), "old").unwrap();
    let data = ask(
        &user,
        r#"query Q { directory { withNewFile(path: "bin/run", contents: "x", permissions: 493) { withSymlink(target: "bin/run", linkName: "link") {
  merged: export(path: "target")
  directory(path: "bin") { wiped: export(path: "wiped", wipe: true) file(path: "run") { plain: export(path: "single") into: export(path: "target/", allowParentDirPath: true) } }
} } } }"#,
        &[],
    );
    assert_eq!(
        data["directory"]["withNewFile"]["withSymlink"]["merged"],
        "target"
    );
    let work = user.work();
    assert_eq!(
        fs::read_to_string(work.join("target/bin/run")).unwrap(),
        "x"
    );
    assert_eq!(fs::read_to_string(work.join("target/old")).unwrap(), "old");
    assert_eq!(
        fs::read_link(work.join("target/link")).unwrap().to_str(),
        Some("bin/run")
    );
    assert_eq!(fs::read_to_string(work.join("wiped/run")).unwrap(), "x");
    let mode = std::os::unix::fs::PermissionsExt::mode(
        &fs::metadata(work.join("single")).unwrap().permissions(),
    );
    assert_eq!(mode & 0o777, 0o755);
    assert_eq!(fs::read_to_string(work.join("target/run")).unwrap(), "x");
}

#[test]
fn a_dockerfile_is_built_by_the_daemons_frontend() {
    let user = user();
    let context = user.work().join("context");
    fs::create_dir_all(&context).unwrap();
    fs::copy(
        integration::busybox::program().unwrap(),
        context.join("busybox"),
    )
    .unwrap();
    fs::write(
        context.join("Dockerfile"),
        "FROM scratch AS base\nCOPY busybox /bin/busybox\nARG WHO\nENV GREETING=hi\nRUN [\"/bin/busybox\", \"sh\", \"-c\", \"echo $WHO > /who\"]\nFROM base AS other\nUSER 9\n",
    )
    .unwrap();
    let text = r#"query C { host { directory(path: "context") { id @export(as: "context") } } }
query Q($context: DirectoryID!) { loadDirectoryFromID(id: $context) {
  base: dockerBuild(target: "base", buildArgs: [{name: "WHO", value: "me"}]) {
    file(path: "/who") { contents } envVariable(name: "GREETING")
    withExec(args: ["/bin/busybox", "echo", "after"]) { stdout } }
  last: dockerBuild(buildArgs: [{name: "WHO", value: "me"}]) { user }
} }"#;
    let data = ask(&user, text, &[]);
    let base = &data["loadDirectoryFromID"]["base"];
    assert_eq!(
        (&base["file"]["contents"], &base["envVariable"]),
        (&json!("me\n"), &json!("hi"))
    );
    assert_eq!(base["withExec"]["stdout"], "after\n");
    assert_eq!(data["loadDirectoryFromID"]["last"]["user"], "9");
    let again = user.with_tools(text, &[]).unwrap();
    assert_eq!(again.executed().unwrap(), 0, "{:?}", again.executed_names());
}

#[test]
fn a_touched_file_is_sent_and_nothing_runs() {
    let user = user();
    let folder = user.work().join("sources");
    fs::create_dir_all(&folder).unwrap();
    // Nothing that an earlier run left in the daemon.
    let unique = format!("{:?}", std::time::SystemTime::now());
    fs::write(folder.join("a"), &unique).unwrap();
    fs::write(folder.join("b"), "two").unwrap();
    let text = r#"query C { host { directory(path: "sources") { id @export(as: "sources") } } }
query Q($tools: ContainerID!, $sources: DirectoryID!) { loadContainerFromID(id: $tools) {
  withDirectory(path: "/s", source: $sources, include: ["a"]) { withExec(args: ["busybox", "cat", "/s/a"]) { stdout } }
} }"#;
    let run = || user.with_tools(text, &[]).unwrap();
    assert!(run().executed().unwrap() > 0);
    assert_eq!(run().executed().unwrap(), 0, "nothing changed");
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(100);
    fs::File::options()
        .write(true)
        .open(folder.join("a"))
        .unwrap()
        .set_modified(later)
        .unwrap();
    assert_eq!(run().executed().unwrap(), 0, "only a time changed");
    fs::write(folder.join("b"), "changed").unwrap();
    assert_eq!(
        run().executed().unwrap(),
        0,
        "what is not copied does not count"
    );
    fs::write(folder.join("a"), format!("changed {unique}")).unwrap();
    let changed = run();
    assert!(changed.executed().unwrap() > 0);
    assert!(changed.stdout.contains("changed"));
}
