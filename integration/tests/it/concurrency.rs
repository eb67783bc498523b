//! Two clients of one server that ask the same thing at the same time: it is
//! done once, both get it, and one that gives up does not take it from the other.

use std::time::Duration;

use integration::{busybox, daemon, dagop::Dagop, process::wait_until, server::Server};
use serde_json::{Value, json};

/// How long a command may take to appear. Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(60);

const PROGRAM: &str = "query($busybox: String!) { host { file(path: $busybox) { id } } }";

const TOOLS: &str = "query($program: FileID!) { container {
  withFile(path: \"/bin/busybox\", source: $program, permissions: 493) {
    withEnvVariable(name: \"PATH\", value: \"/bin\") { id } } } }";

const VOLUME: &str = "query($key: String!) { cacheVolume(key: $key) { id } }";

/// Leaves a line in the volume each time it runs, waits, and says something
/// that no second run would say. `$mark` is unused by the script: it makes a
/// command that no earlier test run left in the daemon's cache, which the name
/// of the volume alone does not.
const SLOW: &str = "query($tools: ContainerID!, $volume: CacheVolumeID!, $seconds: String!, $mark: String!) {
  loadContainerFromID(id: $tools) { withMountedCache(path: \"/cache\", cache: $volume) {
    withExec(args: [\"busybox\", \"sh\", \"-c\",
      \"echo run >> /cache/runs; busybox sleep $0; busybox cat /proc/sys/kernel/random/uuid\", $seconds, $mark]) {
      stdout } } } }";

/// Reads the lines.
const RUNS: &str =
    "query($tools: ContainerID!, $volume: CacheVolumeID!, $seconds: String!, $mark: String!) {
  loadContainerFromID(id: $tools) { withMountedCache(path: \"/cache\", cache: $volume) {
    withExec(args: [\"busybox\", \"sh\", \"-c\", \"busybox cat /cache/runs\", $seconds, $mark]) {
      stdout } } } }";

/// A server with a container and a fresh cache volume.
struct Bench {
    user: Dagop,
    server: Server,
    variables: Value,
}

impl Bench {
    /// `seconds` is the length of the slow command, and by its digits finds its process.
    fn new(seconds: &str) -> Self {
        let user = Dagop::new(daemon::shared().unwrap()).unwrap();
        let server = Server::start(&user).unwrap();
        let busybox = json!({"busybox": busybox::program().unwrap()});
        let program = server.query(PROGRAM, &busybox).unwrap()["host"]["file"]["id"].take();
        let mut tools = server.query(TOOLS, &json!({"program": program})).unwrap();
        let tools = tools["container"]["withFile"]["withEnvVariable"]["id"].take();
        let key = json!({"key": user.home()});
        let volume = server.query(VOLUME, &key).unwrap()["cacheVolume"]["id"].take();
        let variables =
            json!({"tools": tools, "volume": volume, "seconds": seconds, "mark": user.home()});
        Self {
            user,
            server,
            variables,
        }
    }

    /// Waits until the slow command runs in its container.
    fn await_running(&self) {
        let seconds = self.variables["seconds"].as_str().unwrap();
        let wanted = format!("sleep\0{seconds}\0");
        let runs = || {
            let processes = std::fs::read_dir("/proc")?.filter_map(Result::ok);
            let mut lines = processes.filter_map(|p| std::fs::read(p.path().join("cmdline")).ok());
            Ok(lines.any(|line| {
                line.windows(wanted.len())
                    .any(|part| part == wanted.as_bytes())
            }))
        };
        wait_until(SOON, runs).unwrap();
    }

    fn runs(&self) -> String {
        stdout(&self.server.query(RUNS, &self.variables).unwrap())
    }
}

fn stdout(data: &Value) -> String {
    data["loadContainerFromID"]["withMountedCache"]["withExec"]["stdout"]
        .as_str()
        .unwrap()
        .to_owned()
}

#[test]
fn two_identical_queries_execute_once() {
    let bench = Bench::new("3.0101");
    let first = bench.server.send(SLOW, &bench.variables).unwrap();
    bench.await_running();
    let second = bench.server.send(SLOW, &bench.variables).unwrap();
    let first = stdout(&first.data().unwrap());
    assert_eq!(first, stdout(&second.data().unwrap()));
    assert_eq!(first.trim().len(), 36, "a UUID: {first}");
    assert_eq!(bench.runs(), "run\n");
    // The ledger says so as well.
    let Bench { user, server, .. } = bench;
    server.stop().unwrap();
    let keys = user.run(["keys", "--json"]).unwrap().json().unwrap();
    let slow = |vertex: &&Value| {
        vertex["outcome"] == "executed"
            && vertex["name"]
                .as_str()
                .unwrap_or_default()
                .contains("random/uuid")
    };
    let executed = keys["vertices"]
        .as_array()
        .unwrap()
        .iter()
        .filter(slow)
        .count();
    assert_eq!(executed, 1, "{keys}");
}

#[test]
fn a_client_that_gives_up_does_not_take_the_result_from_the_other() {
    let bench = Bench::new("6.0202");
    let first = bench.server.send(SLOW, &bench.variables).unwrap();
    bench.await_running();
    let second = bench.server.send(SLOW, &bench.variables).unwrap();
    // Time for the second to join; if it is late it does the work itself.
    std::thread::sleep(Duration::from_secs(1));
    first.abandon().unwrap();
    let second = stdout(&second.data().unwrap());
    assert_eq!(second.trim().len(), 36, "a UUID: {second}");
}
