//! The backend against a real daemon.
//!
//! `BUILDKIT_TEST_ADDR` names a running buildkitd; `BUILDKIT_TEST_BUILDKITD` a
//! buildkitd binary for the tests that kill one. Without them these tests say that
//! they are skipped and pass; what needs no daemon is tested beside its code.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use proto::{gowire, pb};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::container::{Event, Exec, Mount, MountSource, NewContainer};
use super::gateway::{FileKind, GatewayInput, GatewaySolve, Ref};
use super::history::{HistoryChange, HistoryQuery, HistoryUpdate};
use super::*;
use crate::Digest;

/// A guard against hanging; nothing here takes so long.
const HANG: Duration = Duration::from_secs(60);

#[expect(clippy::print_stderr, reason = "a skipped test says so")]
fn setting(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        eprintln!("skipped: {name} is not set");
    }
    value
}

async fn client() -> Option<Client> {
    let address: Address = setting("BUILDKIT_TEST_ADDR")?.parse().expect("address");
    Some(
        Client::connect(&address, &ConnectOptions::default())
            .await
            .expect("connected"),
    )
}

/// A graph under construction.
#[derive(Default)]
struct Graph {
    ops: Vec<Bytes>,
    metadata: BTreeMap<String, pb::OpMetadata>,
}

impl Graph {
    fn add(&mut self, inputs: Vec<pb::Input>, op: pb::op::Op, fresh: bool) -> pb::Input {
        let bytes = gowire::encode(&pb::Op {
            inputs,
            op: Some(op),
            ..Default::default()
        });
        let digest = Digest::sha256(&bytes).to_string();
        self.ops.push(bytes.into());
        let metadata = pb::OpMetadata {
            ignore_cache: fresh,
            ..Default::default()
        };
        self.metadata.insert(digest.clone(), metadata);
        pb::Input { digest, index: 0 }
    }

    /// Files of `/`, each with its content.
    fn files(&mut self, files: &[(&str, &[u8])]) -> pb::Input {
        let last = files.len() - 1;
        let actions = files
            .iter()
            .enumerate()
            .map(|(i, (path, data))| pb::FileAction {
                input: i64::try_from(i).expect("few") - 1,
                secondary_input: -1,
                output: if i == last { 0 } else { -1 },
                action: Some(pb::file_action::Action::Mkfile(pb::FileActionMkFile {
                    path: (*path).to_owned(),
                    mode: 0o755,
                    data: Bytes::copy_from_slice(data),
                    timestamp: -1,
                    ..Default::default()
                })),
            });
        let op = pb::op::Op::File(pb::FileOp {
            actions: actions.collect(),
        });
        self.add(Vec::new(), op, false)
    }

    fn busybox(&mut self) -> pb::Input {
        let bytes = std::fs::read("/bin/busybox").expect("the package busybox-static");
        self.files(&[("/busybox", &bytes)])
    }

    /// A command of busybox's shell with `root` as writable root, never cached.
    fn shell(&mut self, root: pb::Input, script: &str) -> pb::Input {
        let op = pb::ExecOp {
            meta: Some(pb::Meta {
                args: ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
                cwd: "/".to_owned(),
                ..Default::default()
            }),
            mounts: vec![pb::Mount {
                input: 0,
                dest: "/".to_owned(),
                output: 0,
                ..Default::default()
            }],
            ..Default::default()
        };
        self.add(vec![root], pb::op::Op::Exec(op), true)
    }

    fn definition(mut self, result: pb::Input) -> pb::Definition {
        let last = pb::Op {
            inputs: vec![result],
            ..Default::default()
        };
        self.ops.push(gowire::encode(&last).into());
        pb::Definition {
            def: self.ops,
            metadata: self.metadata,
            source: None,
        }
    }
}

async fn solve(build: &Build, definition: pb::Definition) -> Ref {
    let result = build
        .solve(GatewaySolve::definition(definition))
        .await
        .expect("solved");
    result.reference().expect("a ref").clone()
}

async fn start(client: &Client) -> Build {
    Build::start(client, BuildOptions::default())
        .await
        .expect("started")
}

#[tokio::test]
async fn a_daemon_tells_its_version_workers_and_usage() {
    let Some(client) = client().await else { return };
    assert!(client.info().await.expect("info").version.starts_with('v'));
    let workers = client.workers(&[]).await.expect("workers");
    assert!(!workers[0].id.is_empty() && workers[0].platforms[0].os == "linux");
    let none = client
        .workers(&["id==none".to_owned()])
        .await
        .expect("filtered");
    assert!(none.is_empty());
    let usage = client.disk_usage(&[]).await.expect("usage");
    assert!(usage.iter().all(|record| !record.id.is_empty()));
    let filter = r#"description=="no such record""#;
    let options = control::PruneOptions {
        filters: vec![filter.to_owned()],
        ..Default::default()
    };
    let pruned: Vec<_> = client.prune(options).await.expect("prune").collect().await;
    assert!(pruned.is_empty(), "{pruned:?}");
}

#[tokio::test]
async fn files_of_a_result_can_be_read_in_parts() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    assert!(
        build.capabilities().supports("readfile")
            && build.capabilities().supports_llb("exec.meta.base")
    );
    let mut graph = Graph::default();
    let root = graph.files(&[("/a", b"0123456789"), ("/b", b""), ("/c.txt", b"c")]);
    let tree = solve(&build, graph.definition(root)).await;
    assert!(
        tree.definition()
            .is_some_and(|definition| definition.def.len() == 2)
    );
    build.evaluate(&tree).await.expect("evaluated");

    let read = async |range| build.read_file(&tree, "/a", range).await.expect("read");
    assert_eq!(read(None).await, b"0123456789");
    assert_eq!(read(Some(2..5)).await, b"234");
    assert_eq!(read(Some(8..100)).await, b"89");
    assert_eq!(read(Some(50..60)).await, b"");
    assert_eq!(read(Some(3..3)).await, b"");
    assert_eq!(
        build.read_file(&tree, "/b", None).await.expect("empty"),
        b""
    );
    let missing = build
        .read_file(&tree, "/none", None)
        .await
        .expect_err("no such file");
    assert!(missing.to_string().contains("no such file"), "{missing}");

    let names = async |include: &str| -> Vec<String> {
        let entries = build.read_dir(&tree, "/", include).await.expect("listed");
        entries.into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names("").await, ["a", "b", "c.txt"]);
    assert_eq!(names("*.txt").await, ["c.txt"]);
    let stat = build.stat_file(&tree, "/a").await.expect("stat");
    assert_eq!(
        (stat.kind, stat.permissions, stat.size),
        (FileKind::Regular, 0o755, 10)
    );
    let response = build
        .finish(BuildResult::single(Some(tree)))
        .await
        .expect("finished");
    assert!(
        !response.contains_key("containerimage.digest"),
        "nothing was exported"
    );
}

#[tokio::test]
async fn a_file_above_the_message_limit_is_read_in_chunks() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    let mut graph = Graph::default();
    let root = graph.busybox();
    let script =
        "/busybox dd if=/dev/zero bs=1048576 count=20 of=/big 2>/dev/null; echo end >> /big";
    let root = graph.shell(root, script);
    let tree = solve(&build, graph.definition(root)).await;
    let bytes = build.read_file(&tree, "/big", None).await.expect("read");
    assert_eq!(bytes.len(), (20 << 20) + 4);
    assert!(bytes.ends_with(b"\0end\n"));
    let chunks: Vec<_> = build
        .file_chunks(&tree, "/big", Some(0..8 << 20))
        .collect()
        .await;
    assert_eq!(chunks.len(), 2);
}

#[tokio::test]
async fn scratch_is_a_result_without_a_ref() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    let result = build
        .solve(GatewaySolve::definition(pb::Definition::default()))
        .await
        .expect("solved");
    assert!(result.reference().is_none());
    build.finish(result).await.expect("finished");
}

/// A container with busybox as its root and the build that owns it.
async fn busybox(client: &Client) -> (Build, Container) {
    let build = start(client).await;
    let mut graph = Graph::default();
    let root = graph.busybox();
    let root = solve(&build, graph.definition(root)).await;
    let mounts = vec![Mount::of("/", Some(&root)), Mount::of("/work", None)];
    let container = NewContainer {
        mounts,
        hostname: "box".to_owned(),
        ..NewContainer::default()
    };
    let container = build.container(container).await.expect("container");
    (build, container)
}

fn sh(script: &str) -> Exec {
    Exec {
        args: ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
        ..Exec::default()
    }
}

#[tokio::test]
async fn processes_have_streams_an_exit_code_and_files() {
    let Some(client) = client().await else { return };
    let (_build, container) = busybox(&client).await;
    // The first process is the container's init and must outlive the others.
    let init = container
        .exec(Exec {
            stdin: true,
            ..sh("/busybox cat")
        })
        .await
        .expect("init");
    let script = "echo out; echo err >&2; echo file > /work/f; /busybox hostname";
    let process = container.exec(sh(script)).await.expect("started");
    let output = process.output().await.expect("ended");
    assert_eq!(output.stdout, b"out\nbox\n");
    assert_eq!(output.stderr, b"err\n");
    output.exit.ok().expect("success");
    assert_eq!(container.read_file(1, "/f").await.expect("read"), b"file\n");
    assert_eq!(container.stat_file(1, "/f").await.expect("stat").size, 5);
    let entries = container.read_dir(1, "/", "").await.expect("listed");
    assert_eq!(
        entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(),
        ["f"]
    );

    let sent = Bytes::from(vec![b'x'; 3 << 20]);
    let input = init.input();
    let writer = {
        let (input, sent) = (input.clone(), sent.clone());
        tokio::spawn(async move {
            input.write(sent).await.expect("written");
            input.close().await.expect("closed");
        })
    };
    let output = init.output().await.expect("ended");
    writer.await.expect("writer");
    assert!(output.stdout == sent && output.exit.code == 0);
    input
        .write("late")
        .await
        .expect("ignored, like a closed pipe");
    container.release().await.expect("released");

    let (_build, container) = busybox(&client).await;
    let failing = container.exec(sh("exit 7")).await.expect("started");
    let output = failing.output().await.expect("ended");
    assert!(matches!(
        output.exit.ok(),
        Err(Error::Exec { exit_code: 7, .. })
    ));
    container.release().await.expect("released");
}

#[tokio::test]
async fn signals_terminals_and_missing_programs() {
    let Some(client) = client().await else { return };
    let (_build, container) = busybox(&client).await;
    let init = container.exec(sh(
        "trap 'echo caught; exit 3' TERM; echo ready; while :; do /busybox sleep 0.1; done",
    ));
    let mut init = init.await.expect("init");
    let mut seen = Vec::new();
    while !seen.ends_with(b"ready\n") {
        match init.next().await.expect("event").expect("running") {
            Event::Stdout(data) => seen.extend_from_slice(&data),
            other => panic!("unexpected {other:?}"),
        }
    }
    let script =
        r#"while [ "$(/busybox stty size)" != "33 101" ]; do /busybox sleep 0.1; done; echo sized"#;
    let tty = Exec {
        tty: true,
        stdin: true,
        ..sh(script)
    };
    let tty = container.exec(tty).await.expect("terminal");
    tty.input().resize(33, 101).await.expect("resized");
    let text = String::from_utf8(tty.output().await.expect("ended").stdout).expect("text");
    assert!(text.ends_with("sized\r\n"), "{text:?}");

    init.input().signal("TERM").await.expect("signalled");
    let output = init.output().await.expect("ended");
    assert_eq!(
        (output.stdout.as_slice(), output.exit.code),
        (&b"caught\n"[..], 3)
    );

    let (_build, container) = busybox(&client).await;
    let missing = Exec {
        args: vec!["/none".to_owned()],
        ..Exec::default()
    };
    let explanation = match container.exec(missing).await {
        Err(error) => error.to_string(),
        Ok(process) => {
            let output = process.output().await.expect("ended");
            let end = output.exit.ok().expect_err("no program");
            format!("{}{end}", String::from_utf8_lossy(&output.stderr))
        }
    };
    assert!(explanation.contains("/none"), "{explanation}");
}

#[tokio::test]
async fn a_failing_step_names_its_vertex_exit_code_and_filesystem() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    let mut graph = Graph::default();
    let root = graph.busybox();
    let failing = graph.shell(root, "echo trace > /trace; exit 9");
    let solve = GatewaySolve {
        evaluate: true,
        ..GatewaySolve::definition(graph.definition(failing.clone()))
    };
    let error = build.solve(solve).await.expect_err("it fails");
    let Error::Exec {
        vertex: Some(vertex),
        exit_code: 9,
        failure,
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        vertex.as_str(),
        failing.digest,
        "the digest is the one we computed"
    );
    let text = error.to_string();
    assert!(
        text.contains("exit code: 9") && text.lines().count() == 1 && !text.contains(".go:"),
        "{text}"
    );

    let detail = failure.solve().expect("a solve detail");
    let root = Mount {
        source: MountSource::Result(detail.mount_ids[0].clone()),
        ..Mount::of("/", None)
    };
    let container = NewContainer {
        mounts: vec![root],
        ..NewContainer::default()
    };
    let container = build
        .container(container)
        .await
        .expect("the state at the failure");
    assert_eq!(
        container.read_file(0, "/trace").await.expect("left behind"),
        b"trace\n"
    );

    build.fail(failure).await.expect("reported");
    let query = HistoryQuery {
        reference: build.reference().to_owned(),
        present_only: true,
        ..Default::default()
    };
    let events: Vec<_> = client
        .history(query)
        .await
        .expect("history")
        .collect()
        .await;
    let record = &events[0].as_ref().expect("event").record;
    let recorded = client
        .history_failure(record)
        .await
        .expect("read")
        .expect("it failed");
    assert_eq!(recorded.exit_code(), Some(9), "{record:?}");
    assert_eq!(recorded.vertex(), Some(vertex));
    client
        .update_history(build.reference(), HistoryUpdate::Delete)
        .await
        .expect("deleted");
}

#[tokio::test]
async fn progress_is_complete_for_early_and_late_readers() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    let mut early = build.updates();
    let mut graph = Graph::default();
    let root = graph.busybox();
    let step = graph.shell(root.clone(), "for i in 1 2 3; do echo line $i; done");
    let tree = solve(&build, graph.definition(step.clone())).await;
    build
        .finish(BuildResult::single(Some(tree)))
        .await
        .expect("finished");
    let mut late = build.updates();
    for updates in [&mut early, &mut late] {
        let (mut progress, mut log) = (Progress::new(), Vec::new());
        while let Some(update) = updates.next().await {
            let update = update.expect("no error");
            progress.apply(&update);
            log.extend(update.logs.iter().flat_map(|log| log.data.to_vec()));
        }
        assert_eq!(String::from_utf8_lossy(&log), "line 1\nline 2\nline 3\n");
        let vertex = progress
            .vertex(&step.digest.parse().expect("digest"))
            .expect("the vertex we computed");
        assert!(
            vertex.started <= vertex.completed
                && vertex.completed.is_some()
                && vertex.error.is_empty()
        );
        assert_eq!(vertex.inputs[0].as_str(), root.digest);
    }
}

/// Command lines of the processes of this machine.
fn processes() -> Vec<String> {
    let entries = std::fs::read_dir("/proc").expect("proc");
    let lines = entries
        .flatten()
        .filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines
        .map(|line| String::from_utf8_lossy(&line).replace('\0', " "))
        .collect()
}

/// A build that runs `/busybox sleep <seconds>`; returns once it runs.
async fn sleeping(client: &Client, seconds: u32) -> (Build, tokio::task::JoinHandle<Error>) {
    let build = std::sync::Arc::new(start(client).await);
    let mut graph = Graph::default();
    let root = graph.busybox();
    let step = graph.shell(root, &format!("exec /busybox sleep {seconds}"));
    let solve = GatewaySolve {
        evaluate: true,
        ..GatewaySolve::definition(graph.definition(step))
    };
    let handle = build.handle.clone();
    let request = handle.request(solve_wire(solve));
    let pending = tokio::spawn(async move {
        let mut bridge = handle.client().bridge();
        handle
            .call(bridge.solve(request))
            .await
            .expect_err("it never succeeds")
    });
    while !processes().iter().any(|line| is_sleep(line, seconds)) {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    (
        std::sync::Arc::into_inner(build).expect("one owner"),
        pending,
    )
}

/// Waits until no such process runs.
async fn stopped(seconds: u32) {
    let stopped = async {
        while processes().iter().any(|line| is_sleep(line, seconds)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(HANG, stopped)
        .await
        .expect("the process is stopped");
}

fn is_sleep(line: &str, seconds: u32) -> bool {
    line.trim_end() == format!("/busybox sleep {seconds}")
}

fn solve_wire(solve: GatewaySolve) -> proto::gateway::SolveRequest {
    let GatewayInput::Definition(definition) = solve.input else {
        panic!("a definition")
    };
    proto::gateway::SolveRequest {
        definition: Some(definition),
        evaluate: solve.evaluate,
        allow_result_return: true,
        allow_result_array_ref: true,
        ..Default::default()
    }
}

#[tokio::test]
async fn cancelling_or_dropping_a_build_stops_its_processes() {
    let Some(client) = client().await else { return };
    let seconds = 900_000 + std::process::id() % 90_000;
    let (build, pending) = sleeping(&client, seconds).await;
    tokio::time::timeout(HANG, build.cancel())
        .await
        .expect("bounded");
    assert!(matches!(pending.await.expect("task"), Error::Cancelled));
    stopped(seconds).await;
    let after = build.ping().await.expect_err("the build is over");
    assert!(matches!(after, Error::Cancelled), "{after:?}");

    let (build, pending) = sleeping(&client, seconds + 1).await;
    drop(build);
    assert!(matches!(pending.await.expect("task"), Error::Cancelled));
    stopped(seconds + 1).await;
}

#[tokio::test]
async fn a_refused_build_fails_at_its_start_with_the_daemons_reason() {
    let Some(client) = client().await else { return };
    let options = BuildOptions {
        entitlements: vec!["nonsense".to_owned()],
        ..BuildOptions::default()
    };
    let error = Build::start(&client, options).await.expect_err("refused");
    assert!(error.to_string().contains("nonsense"), "{error}");
    let exporters = vec![Exporter {
        kind: "nonsense".to_owned(),
        attrs: BTreeMap::new(),
    }];
    let error = Build::start(
        &client,
        BuildOptions {
            exporters,
            ..BuildOptions::default()
        },
    )
    .await
    .expect_err("refused");
    assert!(error.to_string().contains("nonsense"), "{error}");
}

#[tokio::test]
async fn plain_solves_and_their_history() {
    let Some(client) = client().await else { return };
    let mut graph = Graph::default();
    let root = graph.files(&[("/Dockerfile", b"FROM scratch\nCOPY /Dockerfile /copy\n")]);
    let definition = graph.definition(root);
    let input = SolveInput::Definition(definition.clone());
    let plain = SolveRequest::new(input, SolveOptions::default());
    client.solve(plain.clone()).await.expect("solved");

    let inputs = ["context", "dockerfile"]
        .map(|name| (name.to_owned(), definition.clone()))
        .into();
    let input = SolveInput::Frontend {
        name: "dockerfile.v0".to_owned(),
        inputs,
    };
    let frontend = SolveRequest::new(input, SolveOptions::default());
    client.solve(frontend.clone()).await.expect("solved");

    let query = HistoryQuery {
        reference: frontend.reference.clone(),
        present_only: true,
        ..Default::default()
    };
    let events: Vec<_> = client
        .history(query)
        .await
        .expect("history")
        .collect()
        .await;
    let event = events[0].as_ref().expect("event");
    assert_eq!(
        (event.change, event.record.frontend.as_str()),
        (HistoryChange::Completed, "dockerfile.v0")
    );
    let logs = event.record.logs.as_ref().expect("logs");
    let bytes = client
        .read_blob(&logs.digest.parse().expect("digest"))
        .await
        .expect("blob");
    assert_eq!(i64::try_from(bytes.len()), Ok(logs.size));
    for reference in [&plain.reference, &frontend.reference] {
        client
            .update_history(reference, HistoryUpdate::Delete)
            .await
            .expect("deleted");
    }
    let absent = client.status("nonexistent").await;
    let error = match absent {
        Err(error) => error,
        Ok(stream) => std::pin::pin!(stream)
            .next()
            .await
            .expect("an item")
            .expect_err("no such build"),
    };
    assert!(matches!(error, Error::Daemon(_)), "{error:?}");
}

/// A Docker Engine as far as BuildKit is concerned: upgrades `POST /grpc` and
/// relays the rest of the connection to a buildkitd.
async fn fake_engine(listener: tokio::net::UnixListener, buildkitd: PathBuf) {
    while let Ok((mut client, _)) = listener.accept().await {
        let buildkitd = buildkitd.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.expect("request"));
            }
            assert!(head.starts_with(b"POST /grpc HTTP/1.1\r\n"));
            let answer = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
            client.write_all(answer.as_bytes()).await.expect("answer");
            let mut daemon = tokio::net::UnixStream::connect(buildkitd)
                .await
                .expect("buildkitd");
            // Ends with an error when the test is over and the client closes.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut daemon).await;
        });
    }
}

#[tokio::test]
async fn builds_run_through_a_docker_upgrade() {
    let Some(direct) = client().await else { return };
    let Some(socket) = direct.address().socket() else {
        return;
    };
    let dir = tempfile::tempdir().expect("temporary directory");
    let engine = dir.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&engine).expect("bind");
    let server = tokio::spawn(fake_engine(listener, socket.to_owned()));
    let address: Address = format!("docker+unix://{}", engine.display())
        .parse()
        .expect("address");
    let client = Client::connect(&address, &ConnectOptions::default())
        .await
        .expect("connected");
    let build = start(&client).await;
    let mut graph = Graph::default();
    let root = graph.files(&[("/a", b"docker")]);
    let tree = solve(&build, graph.definition(root)).await;
    assert_eq!(
        build.read_file(&tree, "/a", None).await.expect("read"),
        b"docker"
    );
    build
        .finish(BuildResult::single(Some(tree)))
        .await
        .expect("finished");
    server.abort();
}

#[tokio::test]
async fn a_helper_process_is_a_connection_and_its_death_is_explained() {
    let Some(direct) = client().await else { return };
    let Some(buildctl) = setting("BUILDKIT_TEST_BUILDCTL") else {
        return;
    };
    let script = format!(
        "exec 3<&0; {buildctl} --addr {} dial-stdio <&3 & relay=$!; sleep 2; kill -9 $relay; echo last words >&2; exit 5",
        direct.address()
    );
    let io = super::helper::HelperIo::spawn(&["sh".into(), "-c".into(), script]).expect("spawned");
    let client = Client::over(direct.address(), Box::new(io))
        .await
        .expect("connected");
    let build = start(&client).await;
    let error = tokio::time::timeout(HANG, build.ended_early())
        .await
        .expect("no hang");
    let Error::Disconnected { reason, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(reason, r#""sh" ended (exit status: 5): last words"#);
}

/// A daemon of this test alone; killed and removed when dropped.
struct Daemon {
    process: Child,
    dir: tempfile::TempDir,
}

/// Runs openssl in `dir`.
fn openssl(dir: &Path, arguments: &str) {
    let status = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(dir)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("the package openssl");
    assert!(status.success(), "openssl {arguments}");
}

/// Two authorities in `dir`, and a server and a client certificate of the first.
fn certificates(dir: &Path) {
    for ca in ["ca", "stranger"] {
        openssl(
            dir,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}"
            ),
        );
    }
    for (name, extension) in [
        ("server", "subjectAltName=DNS:buildkitd.test"),
        ("client", "extendedKeyUsage=clientAuth"),
    ] {
        std::fs::write(dir.join("extension"), extension).expect("written");
        openssl(
            dir,
            &format!(
                "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
            ),
        );
        openssl(
            dir,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile extension"
            ),
        );
    }
}

#[tokio::test]
async fn mutual_tls_lets_in_whom_it_should_and_nobody_else() {
    let Some(binary) = setting("BUILDKIT_TEST_BUILDKITD") else {
        return;
    };
    let dir = tempfile::tempdir().expect("temporary directory");
    certificates(dir.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port();
    let file = |name: &str| dir.path().join(name);
    let mut arguments = vec!["--addr".to_owned(), format!("tcp://127.0.0.1:{port}")];
    for (option, name) in [
        ("--tlscacert", "ca.pem"),
        ("--tlscert", "server.pem"),
        ("--tlskey", "server.key"),
    ] {
        arguments.extend([option.to_owned(), file(name).display().to_string()]);
    }
    let daemon = Daemon::start_with(&binary, &arguments);
    connect_when_up(&daemon.socket()).await;

    let address: Address = format!("tcp://127.0.0.1:{port}").parse().expect("address");
    let identity = Identity {
        cert: file("client.pem"),
        key: file("client.key"),
    };
    let good = TlsConfig {
        ca: file("ca.pem"),
        identity: Some(identity),
        server_name: Some("buildkitd.test".to_owned()),
    };
    let connect = async |tls: Option<TlsConfig>| {
        let options = ConnectOptions {
            tls,
            ..ConnectOptions::default()
        };
        Client::connect(&address, &options).await
    };
    let client = connect(Some(good.clone())).await.expect("connected");
    let build = start(&client).await;
    build
        .finish(BuildResult::single(None))
        .await
        .expect("finished");

    let stranger = TlsConfig {
        ca: file("stranger.pem"),
        ..good.clone()
    };
    let other_name = TlsConfig {
        server_name: None,
        ..good.clone()
    };
    let anonymous = TlsConfig {
        identity: None,
        ..good.clone()
    };
    for tls in [Some(stranger), Some(other_name), Some(anonymous), None] {
        let error = connect(tls.clone()).await.expect_err("refused");
        assert!(
            matches!(error, Error::Unreachable { .. }),
            "{tls:?}: {error:?}"
        );
    }
    let mixed = Identity {
        cert: file("client.pem"),
        key: file("server.key"),
    };
    let error = connect(Some(TlsConfig {
        identity: Some(mixed),
        ..good
    }))
    .await
    .expect_err("no pair");
    assert!(
        error
            .to_string()
            .contains("does not go with the private key"),
        "{error}"
    );
}

impl Daemon {
    fn start(binary: &str) -> Self {
        Self::start_with(binary, &[])
    }

    fn start_with(binary: &str, arguments: &[String]) -> Self {
        let dir = tempfile::tempdir().expect("temporary directory");
        let process = Command::new(binary)
            .args([
                "--oci-worker-snapshotter=native",
                "--oci-worker-net=host",
                "--oci-cni-pool-size=0",
            ])
            .arg("--root")
            .arg(dir.path().join("root"))
            .arg("--addr")
            .arg(format!("unix://{}", dir.path().join("bk.sock").display()))
            .args(arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("buildkitd starts");
        Self { process, dir }
    }

    fn socket(&self) -> PathBuf {
        self.dir.path().join("bk.sock")
    }

    fn kill(&mut self) {
        self.process.kill().expect("killed");
        self.process.wait().expect("reaped");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

async fn connect_when_up(socket: &Path) -> Client {
    let address = Address::BuildKit(super::address::Endpoint::Unix(socket.to_owned()));
    let connecting = async {
        loop {
            match Client::connect(&address, &ConnectOptions::default()).await {
                Ok(client) => return client,
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    };
    tokio::time::timeout(HANG, connecting)
        .await
        .expect("buildkitd comes up")
}

#[tokio::test]
async fn a_daemon_killed_in_mid_build_is_a_disconnect_for_every_call() {
    let Some(binary) = setting("BUILDKIT_TEST_BUILDKITD") else {
        return;
    };
    let mut daemon = Daemon::start(&binary);
    let client = connect_when_up(&daemon.socket()).await;
    let seconds = 800_000 + std::process::id() % 90_000;
    let (build, pending) = sleeping(&client, seconds).await;
    let mut updates = build.updates();
    daemon.kill();
    let five = Duration::from_secs(5);
    let error = tokio::time::timeout(five, pending)
        .await
        .expect("no hang")
        .expect("task");
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    let error = tokio::time::timeout(five, build.ended_early())
        .await
        .expect("no hang");
    assert!(matches!(error, Error::Disconnected { .. }), "{error:?}");
    let end = async { while updates.next().await.is_some() {} };
    tokio::time::timeout(HANG, end)
        .await
        .expect("progress ends");
    let error = client.workers(&[]).await.expect_err("nobody is there");
    assert!(matches!(error, Error::Unreachable { .. }), "{error:?}");
    for line in std::fs::read_dir("/proc").expect("proc").flatten() {
        // The daemon's own child outlives a SIGKILL of the daemon.
        let command = std::fs::read(line.path().join("cmdline")).unwrap_or_default();
        if is_sleep(
            &String::from_utf8_lossy(&command).replace('\0', " "),
            seconds,
        ) {
            let pid = line
                .file_name()
                .to_string_lossy()
                .parse()
                .ok()
                .and_then(rustix::process::Pid::from_raw);
            rustix::process::kill_process(pid.expect("a pid"), rustix::process::Signal::KILL)
                .expect("killed");
        }
    }
}
