//! Ends that come from outside: Ctrl-C, and a daemon that dies. Both end the
//! client within seconds, with its own exit code, and leave nothing behind:
//! no process in a container, no exported file.

use std::{fs, time::Duration};

use integration::{
    daemon::{self, Daemon},
    dagop::Dagop,
    process::{Process, wait_until},
};
use rustix::process::Signal;

/// How long an end may take to show. Generous: the machine may be busy.
const SOON: Duration = Duration::from_secs(30);

/// A command that runs for ever, then an export that must never happen. `$mark`
/// is an argument by which the process is found on this machine.
const ENDLESS: &str = r#"
query Endless($tools: ContainerID!, $mark: String!) {
  loadContainerFromID(id: $tools) {
    withExec(args: ["busybox", "sh", "-c", "busybox echo started; exec busybox sleep \"$0\"", $mark]) {
      rootfs { export(path: "out") }
    }
  }
}"#;

/// A duration for `sleep` that no other process has: seconds in the millions.
fn mark() -> String {
    format!("7{:06}", std::process::id() % 1_000_000)
}

/// Whether a process `busybox sleep MARK` runs anywhere on this machine.
fn sleeps(mark: &str) -> bool {
    let wanted = format!("sleep\0{mark}\0");
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    processes
        .filter_map(|process| fs::read(process.path().join("cmdline")).ok())
        .any(|line| {
            line.windows(wanted.len())
                .any(|part| part == wanted.as_bytes())
        })
}

/// Starts the endless command and waits until its process runs.
fn start_endless(user: &Dagop, mark: &str) -> Process {
    let mut command = user.command_with_tools(ENDLESS, &[("mark", mark)]).unwrap();
    let log = fs::File::create(user.home().join("client.log")).unwrap();
    command.stdout(log.try_clone().unwrap()).stderr(log);
    let mut client = Process::of(command.spawn().unwrap());
    let started = wait_until(SOON, || {
        anyhow::ensure!(client.is_running(), "the client ended: {}", said(user));
        Ok(sleeps(mark))
    });
    started.unwrap();
    client
}

fn said(user: &Dagop) -> String {
    fs::read_to_string(user.home().join("client.log")).unwrap()
}

#[test]
fn ctrl_c_stops_the_work_of_the_daemon() {
    let user = Dagop::new(daemon::shared().unwrap()).unwrap();
    let mark = mark();
    let mut client = start_endless(&user, &mark);
    client.signal(Signal::INT).unwrap();
    let status = client.wait(SOON).unwrap();
    assert_eq!(status.code(), Some(130), "{}", said(&user));
    wait_until(SOON, || Ok(!sleeps(&mark))).expect("the process in the container ends");
    assert!(!user.work().join("out").exists());
}

#[test]
fn a_daemon_that_dies_is_a_clear_error() {
    let mut daemon = Daemon::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    // One digit more than the other test's, whose process may run now.
    let mut client = start_endless(&user, &format!("{}0", mark()));
    daemon.kill().unwrap();
    let status = client.wait(SOON).unwrap();
    let said = said(&user);
    assert_eq!(status.code(), Some(3), "{said}");
    assert!(said.contains("daemon"), "{said}");
    assert!(!said.contains("panicked"), "{said}");
    assert!(!user.work().join("out").exists());
}
