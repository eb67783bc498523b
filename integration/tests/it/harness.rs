//! The harness itself: what it starts answers, and what it stops is gone.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::TcpStream,
    process::Command,
    time::Duration,
};

use integration::{busybox, daemon::Daemon, process::wait_until, registry, registry::Registry};

/// Whether something is mounted at a path with both parts in it.
fn mounted(folder: &str, part: &str) -> bool {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
    mounts
        .lines()
        .any(|line| line.contains(folder) && line.contains(part))
}

/// A daemon that was killed while a container ran leaves a process, a mount
/// and a folder that cannot be deleted. The harness must clean up all three.
#[test]
fn a_killed_daemon_leaves_nothing() {
    let mut daemon = Daemon::start().unwrap();
    let folder = daemon.folder().display().to_string();
    let context = tempfile::tempdir().unwrap();
    fs::copy(busybox::program().unwrap(), context.path().join("busybox")).unwrap();
    let dockerfile =
        "FROM scratch\nCOPY busybox /busybox\nRUN [\"/busybox\", \"sleep\", \"86399\"]\n";
    fs::write(context.path().join("Dockerfile"), dockerfile).unwrap();
    let local = |name: &str| format!("--local={name}={}", context.path().display());
    let mut command = Command::new(integration::daemon::tools().unwrap().join("buildctl"));
    command.args([
        "--addr",
        &daemon.address(),
        "build",
        "--frontend=dockerfile.v0",
    ]);
    command.args([local("context"), local("dockerfile")]);
    let log = context.path().join("log");
    let _client = integration::process::Process::start(&mut command, &log).unwrap();
    wait_until(Duration::from_secs(60), || {
        Ok(mounted(&folder, "/executor/"))
    })
    .unwrap();
    daemon.kill().unwrap();
    drop(daemon);
    assert!(!mounted(&folder, ""));
    assert!(!fs::exists(&folder).unwrap());
}

/// The first line of the answer to `GET /v2/`, with or without credentials.
fn status(registry: &Registry, authorization: &str) -> String {
    let mut stream = TcpStream::connect(registry.address()).unwrap();
    let host = registry.address();
    write!(
        stream,
        "GET /v2/ HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{authorization}\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer.lines().next().unwrap().to_owned()
}

#[test]
fn a_private_registry_asks_for_the_password() {
    let registry = Registry::start().unwrap();
    let basic = |password: &str| {
        let pair = format!("{}:{password}", registry::USER);
        let encoded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, pair);
        format!("Authorization: Basic {encoded}\r\n")
    };
    assert_eq!(status(&registry, ""), "HTTP/1.1 401 Unauthorized");
    assert_eq!(
        status(&registry, &basic("wrong")),
        "HTTP/1.1 401 Unauthorized"
    );
    assert_eq!(
        status(&registry, &basic(registry::PASSWORD)),
        "HTTP/1.1 200 OK"
    );
    assert!(!registry.holds("anything"));
}
