//! The backend against a real daemon.
//!
//! `BUILDKIT_TEST_ADDR` names a running buildkitd, `BUILDKIT_TEST_BUILDKITD` and
//! `BUILDKIT_TEST_BUILDCTL` binaries for the tests that start their own. Without them these tests say that
//! they are skipped and pass; what needs no daemon is tested beside its code.

mod builds;
mod calls;
mod containers;
mod ends;
mod transports;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use bytes::Bytes;
use proto::{gowire, pb};

use super::*;
use crate::Digest;

/// A guard against hanging; nothing here takes so long.
const HANG: Duration = Duration::from_secs(60);

fn setting(name: &str) -> Option<String> {
    let value = std::env::var(name).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        eprintln!("skipped: {name} is not set");
    }
    value
}

/// A static busybox: the one `hack/test` names, or the package's.
pub(crate) fn busybox_path() -> PathBuf {
    std::env::var_os("DAGOP_TEST_BUSYBOX").map_or_else(|| "/bin/busybox".into(), PathBuf::from)
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
        let bytes = std::fs::read(busybox_path()).expect("a static busybox");
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

/// A daemon of this test alone; killed and removed when dropped.
struct Daemon {
    process: Child,
    dir: tempfile::TempDir,
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
        // A killed daemon leaves the root filesystems of its processes mounted.
        let mounts = std::fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let places = mounts.lines().filter_map(|line| line.split(' ').nth(1));
        for place in places.filter(|place| Path::new(place).starts_with(self.dir.path())) {
            let _ = Command::new("umount").arg(place).status();
        }
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
