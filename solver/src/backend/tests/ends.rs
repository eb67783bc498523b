//! Ends that nobody wished for: cancelled builds, killed daemons.

use super::*;
use crate::backend::gateway::GatewayInput;

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
    let build = start(client).await;
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
    let running = async {
        while !processes().iter().any(|line| is_sleep(line, seconds)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(HANG, running)
        .await
        .expect("the process starts");
    (build, pending)
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

/// Ends the process of a build whose daemon was killed and so cannot do it.
fn end_orphan(seconds: u32) {
    for line in std::fs::read_dir("/proc").expect("proc").flatten() {
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
    end_orphan(seconds);
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
}
