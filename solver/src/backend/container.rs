//! Containers of a build: processes that run on refs without being vertices.
//!
//! A container is a set of mounts; one of them is its root. The first process is
//! its init: when it ends, the container's other processes are killed. The daemon
//! also kills all of them when any one exits with a code other than 0 (the init
//! then exits with 137), so processes that may fail need containers of their own.
//! Nothing a container does is cached.
//!
//! Each [`Process`] has a stream of its own to the daemon. The daemon handles the
//! messages of a stream one after the other and blocks on the standard input of a
//! process that does not read, so with a shared stream one such process would
//! hold up the signals of all others.
//!
//! # Life of a process
//! `Init` goes out, `Started` comes back, then output and, at the exit, `Exit`.
//! Output may still follow it; `Done` is last, and comes only after the standard
//! input was closed, which is done here at the exit if the caller did not.
//! Dropping a process kills it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use proto::gateway::exec_message::Input as Wire;
use proto::{gateway, pb};
use tokio::sync::{Mutex, mpsc};
use tokio_stream::wrappers::ReceiverStream;

use super::build::{Build, Handle};
use super::error::Error;
use super::failure::{Code, Failure};
use super::gateway::{FileStat, Ref, Tree, chunks, collect, read_dir, stat_file};
use super::session::new_id;

/// Messages that wait to be sent to one process.
const SEND_QUEUE: usize = 16;

/// Bytes of standard input in one message.
const INPUT_BYTES: usize = 1 << 20;

/// Most output that [`Process::output`] collects from each stream, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// Exit code that stands for "not known".
const EXIT_UNKNOWN: u32 = 255;

/// A mount of a container.
#[derive(Debug, Clone)]
pub struct Mount {
    /// Where it appears; `/` for the root.
    pub destination: String,
    /// Path inside the mounted result; empty = all of it.
    pub selector: String,
    /// Whether it cannot be written to.
    pub readonly: bool,
    /// What is mounted.
    pub source: MountSource,
}

/// What a mount shows.
#[derive(Debug, Clone)]
pub enum MountSource {
    /// A result of the build, by the id of its ref, or one of the ids in
    /// [`SolveDetail`](super::failure::SolveDetail). An empty id is an empty
    /// directory.
    Result(String),
    /// A cache mount.
    Cache(pb::CacheOpt),
    /// A file with a secret.
    Secret(pb::SecretOpt),
    /// A socket of an ssh agent.
    Ssh(pb::SshOpt),
    /// Memory.
    Tmpfs,
}

impl Mount {
    /// A writable mount of a ref; `None` is an empty directory.
    pub fn of(destination: impl Into<String>, reference: Option<&Ref>) -> Self {
        let id = reference
            .map(|reference| reference.id().to_owned())
            .unwrap_or_default();
        Self {
            destination: destination.into(),
            selector: String::new(),
            readonly: false,
            source: MountSource::Result(id),
        }
    }

    fn into_wire(self) -> pb::Mount {
        let mut wire = pb::Mount {
            dest: self.destination,
            selector: self.selector,
            readonly: self.readonly,
            ..Default::default()
        };
        let kind = match self.source {
            MountSource::Result(id) => {
                wire.result_id = id;
                pb::MountType::Bind
            }
            MountSource::Cache(cache) => {
                wire.cache_opt = Some(cache);
                pb::MountType::Cache
            }
            MountSource::Secret(secret) => {
                wire.secret_opt = Some(secret);
                pb::MountType::Secret
            }
            MountSource::Ssh(ssh) => {
                wire.ssh_opt = Some(ssh);
                pb::MountType::Ssh
            }
            MountSource::Tmpfs => pb::MountType::Tmpfs,
        };
        wire.mount_type = kind.into();
        wire
    }
}

/// A container to make.
#[derive(Debug, Clone, Default)]
pub struct NewContainer {
    /// Its mounts; one must be at `/`.
    pub mounts: Vec<Mount>,
    /// Its network.
    pub network: pb::NetMode,
    /// Its platform; `None` = that of the default worker.
    pub platform: Option<pb::Platform>,
    /// Which workers may run it.
    pub constraints: Option<pb::WorkerConstraints>,
    /// Additional lines of its hosts file.
    pub extra_hosts: Vec<pb::HostIp>,
    /// Its host name; empty = the daemon's default.
    pub hostname: String,
}

/// A process to run.
#[derive(Debug, Clone, Default)]
pub struct Exec {
    /// Program and arguments.
    pub args: Vec<String>,
    /// Environment, `NAME=value`.
    pub env: Vec<String>,
    /// Working directory; empty = `/`.
    pub cwd: String,
    /// User; empty = root.
    pub user: String,
    /// Give it a terminal. Output then comes on standard output alone.
    pub tty: bool,
    /// Whether its standard input is connected; otherwise it reads nothing.
    pub stdin: bool,
    /// Sandboxed or with all powers (needs an entitlement).
    pub security: pb::SecurityMode,
    /// Secrets to put into the environment.
    pub secret_env: Vec<pb::SecretEnv>,
}

/// A container; dropping it kills its processes.
#[derive(Debug)]
pub struct Container {
    build: Handle,
    id: String,
    released: bool,
}

impl Build {
    /// Makes a container. Its mounts are computed now.
    pub async fn container(&self, container: NewContainer) -> Result<Container, Error> {
        let id = new_id();
        let request = self.handle.request(gateway::NewContainerRequest {
            container_id: id.clone(),
            mounts: container.mounts.into_iter().map(Mount::into_wire).collect(),
            network: container.network.into(),
            platform: container.platform,
            constraints: container.constraints,
            extra_hosts: container.extra_hosts,
            hostname: container.hostname,
        });
        // Made first: if the call is dropped half-way, the container goes too.
        let container = Container {
            build: self.handle.clone(),
            id,
            released: false,
        };
        self.handle
            .call(self.client().bridge().new_container(request))
            .await?;
        Ok(container)
    }
}

impl Container {
    /// Starts a process and waits until it runs.
    ///
    /// # Errors
    /// The daemon's reason when it cannot start, for example no such program.
    pub async fn exec(&self, exec: Exec) -> Result<Process, Error> {
        let process_id = new_id();
        let fds = if exec.stdin {
            vec![0, 1, 2]
        } else {
            vec![1, 2]
        };
        let stdin = exec.stdin;
        let init = gateway::InitMessage {
            container_id: self.id.clone(),
            meta: Some(pb::Meta {
                args: exec.args,
                env: exec.env,
                cwd: if exec.cwd.is_empty() {
                    "/".to_owned()
                } else {
                    exec.cwd
                },
                user: exec.user,
                remove_mount_stubs_recursive: true,
                ..Default::default()
            }),
            fds,
            tty: exec.tty,
            security: exec.security.into(),
            secretenv: exec.secret_env,
        };
        let (sender, receiver) = mpsc::channel(SEND_QUEUE);
        let input = ProcessInput {
            shared: Arc::new(SharedInput {
                process_id,
                sender,
                stdin: Mutex::new(stdin),
                exited: AtomicBool::new(false),
            }),
        };
        input.send(Wire::Init(init)).await?;
        let request = self.build.request(ReceiverStream::new(receiver));
        let mut bridge = self.build.client().bridge();
        let messages = self.build.call(bridge.exec_process(request)).await?;
        let mut process = Process {
            build: self.build.clone(),
            messages,
            input,
            exit: None,
        };
        process.started().await?;
        Ok(process)
    }

    /// Reads a file as the container sees it through mount number `mount` (in the
    /// order of [`NewContainer::mounts`]); `path` is relative to that mount.
    pub async fn read_file(&self, mount: usize, path: &str) -> Result<Vec<u8>, Error> {
        let tree = self.tree(mount)?;
        collect(
            chunks(self.build.clone(), tree, path.to_owned(), None),
            path,
        )
        .await
    }

    /// Lists a directory of a mount; see [`Container::read_file`].
    pub async fn read_dir(
        &self,
        mount: usize,
        path: &str,
        include: &str,
    ) -> Result<Vec<FileStat>, Error> {
        read_dir(&self.build, self.tree(mount)?, path, include).await
    }

    /// Looks at a path of a mount; see [`Container::read_file`].
    pub async fn stat_file(&self, mount: usize, path: &str) -> Result<FileStat, Error> {
        stat_file(&self.build, self.tree(mount)?, path).await
    }

    fn tree(&self, mount: usize) -> Result<Tree, Error> {
        let index = i32::try_from(mount)
            .map_err(|_| Error::Protocol(format!("mount number {mount} is out of range")))?;
        Ok(Tree::Mount(self.id.clone(), index))
    }

    /// Kills its processes and waits until it is gone.
    pub async fn release(mut self) -> Result<(), Error> {
        self.released = true;
        match release(self.build.clone(), std::mem::take(&mut self.id)).await {
            // How a process ended is told by the process; the container is gone.
            Ok(()) | Err(Error::Exec { .. } | Error::Cancelled) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

async fn release(build: Handle, id: String) -> Result<(), Error> {
    let request = build.request(gateway::ReleaseContainerRequest { container_id: id });
    let mut bridge = build.client().bridge();
    build
        .call(bridge.release_container(request))
        .await
        .map(drop)
}

impl Drop for Container {
    fn drop(&mut self) {
        if self.released {
            return;
        }
        // Without a runtime there is no connection either, and the daemon removes
        // the containers of a build that ends.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let release = release(self.build.clone(), std::mem::take(&mut self.id));
            runtime.spawn(release);
        }
    }
}

/// What a process does.
#[derive(Debug, Clone)]
pub enum Event {
    /// It wrote to standard output.
    Stdout(Bytes),
    /// It wrote to standard error.
    Stderr(Bytes),
    /// It ended; output may still follow.
    Exit(Exit),
}

/// How a process ended.
#[derive(Debug, Clone)]
pub struct Exit {
    /// Exit code; 255 with a failure when the daemon does not know it.
    pub code: u32,
    /// What the daemon says about an end that was not a success.
    pub failure: Option<Failure>,
}

impl Exit {
    /// Turns an end without success into an error.
    pub fn ok(self) -> Result<(), Error> {
        match (self.code, self.failure) {
            (0, None) => Ok(()),
            (code, Some(failure)) if code == EXIT_UNKNOWN && failure.exit_code().is_none() => {
                Err(Error::from_failure(failure))
            }
            (0, Some(failure)) => Err(Error::from_failure(failure)),
            (code, failure) => {
                let text = || Failure::new(Code::Unknown, format!("exit code: {code}"));
                let failure = Box::new(failure.unwrap_or_else(text));
                Err(Error::Exec {
                    vertex: failure.vertex().cloned(),
                    exit_code: code,
                    failure,
                })
            }
        }
    }
}

/// Everything a process wrote, and its end.
#[derive(Debug, Clone)]
pub struct Output {
    /// Standard output.
    pub stdout: Vec<u8>,
    /// Standard error.
    pub stderr: Vec<u8>,
    /// The end.
    pub exit: Exit,
}

/// A running process. Dropping it kills it.
#[derive(Debug)]
pub struct Process {
    build: Handle,
    messages: tonic::Streaming<gateway::ExecMessage>,
    input: ProcessInput,
    exit: Option<Exit>,
}

impl Process {
    /// The way to the process: standard input, terminal size, signals.
    pub fn input(&self) -> ProcessInput {
        self.input.clone()
    }

    /// What it does next; `None` when it has ended and all output has come.
    /// Not taking events slows the process down, like a full pipe.
    pub async fn next(&mut self) -> Result<Option<Event>, Error> {
        while let Some(message) = self.message().await? {
            match message {
                Wire::File(file) if !file.data.is_empty() => match file.fd {
                    1 => return Ok(Some(Event::Stdout(file.data))),
                    2 => return Ok(Some(Event::Stderr(file.data))),
                    other => {
                        return Err(Error::Protocol(format!(
                            "output of file descriptor {other}"
                        )));
                    }
                },
                Wire::Exit(exit) => {
                    let failure = exit.error.as_ref().map(Failure::from_rpc);
                    let exit = Exit {
                        code: exit.code,
                        failure,
                    };
                    self.exit = Some(exit.clone());
                    self.input.shared.exited.store(true, Ordering::Release);
                    // Done does not come while the standard input is open.
                    self.input.close().await?;
                    return Ok(Some(Event::Exit(exit)));
                }
                Wire::Done(_) if self.exit.is_some() => return Ok(None),
                // Ends of output, a Done that overtook the exit because input could
                // not be delivered, and whatever newer daemons say.
                _ => {}
            }
        }
        Ok(None)
    }

    /// Collects all output until the end.
    ///
    /// # Errors
    /// [`Error::Protocol`] for more than [`OUTPUT_BYTES_MAX`] on one stream. A
    /// process that fails is no error here; see [`Exit::ok`].
    pub async fn output(mut self) -> Result<Output, Error> {
        let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
        while let Some(event) = self.next().await? {
            let (kept, data) = match event {
                Event::Stdout(data) => (&mut stdout, data),
                Event::Stderr(data) => (&mut stderr, data),
                Event::Exit(_) => continue,
            };
            if kept.len() + data.len() > OUTPUT_BYTES_MAX {
                return Err(Error::Protocol(format!(
                    "the process wrote more than {OUTPUT_BYTES_MAX} bytes"
                )));
            }
            kept.extend_from_slice(&data);
        }
        match self.exit.take() {
            Some(exit) => Ok(Output {
                stdout,
                stderr,
                exit,
            }),
            None => Err(Error::Protocol(
                "the daemon did not say how the process ended".to_owned(),
            )),
        }
    }

    async fn started(&mut self) -> Result<(), Error> {
        match self.message().await? {
            Some(Wire::Started(_)) => Ok(()),
            Some(_) => Err(Error::Protocol(
                "the daemon did not say that the process started".to_owned(),
            )),
            None => Err(Error::Protocol(
                "the daemon did not start the process".to_owned(),
            )),
        }
    }

    async fn message(&mut self) -> Result<Option<Wire>, Error> {
        tokio::select! {
            biased;
            message = self.messages.message() => match message {
                Ok(Some(message)) => Ok(message.input),
                Ok(None) => Ok(None),
                Err(status) => match self.build.client().error(status).await {
                    // Input that crossed the exit on its way breaks the stream off.
                    Error::Daemon(_) if self.exit.is_some() => Ok(None),
                    error => Err(self.build.cause(error).await),
                },
            },
            error = self.build.ended_early() => Err(error),
        }
    }
}

/// The way to a process; clones share it.
#[derive(Debug, Clone)]
pub struct ProcessInput {
    shared: Arc<SharedInput>,
}

#[derive(Debug)]
struct SharedInput {
    process_id: String,
    sender: mpsc::Sender<gateway::ExecMessage>,
    /// Whether the standard input is open; held while a part of it is sent, so
    /// that nothing is sent after its end.
    stdin: Mutex<bool>,
    exited: AtomicBool,
}

impl ProcessInput {
    /// Writes to the standard input. Waits while the process does not read. After
    /// the end of the process nothing happens, like writing to a closed pipe with
    /// the signal ignored.
    ///
    /// # Errors
    /// [`Error::Protocol`] when the standard input is not connected or was closed.
    pub async fn write(&self, data: impl Into<Bytes>) -> Result<(), Error> {
        let mut data: Bytes = data.into();
        let open = self.shared.stdin.lock().await;
        while !data.is_empty() {
            if self.shared.exited.load(Ordering::Acquire) {
                return Ok(());
            }
            if !*open {
                return Err(Error::Protocol(
                    "the standard input of the process is closed".to_owned(),
                ));
            }
            let part = data.split_to(data.len().min(INPUT_BYTES));
            self.send(Wire::File(gateway::FdMessage {
                fd: 0,
                eof: false,
                data: part,
            }))
            .await?;
        }
        Ok(())
    }

    /// Closes the standard input; the process sees its end. Does nothing when it
    /// is closed already.
    pub async fn close(&self) -> Result<(), Error> {
        let mut open = self.shared.stdin.lock().await;
        if std::mem::replace(&mut *open, false) {
            self.send(Wire::File(gateway::FdMessage {
                fd: 0,
                eof: true,
                data: Bytes::new(),
            }))
            .await?;
        }
        Ok(())
    }

    /// Sets the size of the terminal, in characters.
    pub async fn resize(&self, rows: u32, columns: u32) -> Result<(), Error> {
        self.send(Wire::Resize(gateway::ResizeMessage {
            rows,
            cols: columns,
        }))
        .await
    }

    /// Sends a signal by name, without `SIG`: `INT`, `TERM`, `KILL` … . A name
    /// that the daemon does not know ends the process.
    pub async fn signal(&self, name: &str) -> Result<(), Error> {
        self.send(Wire::Signal(gateway::SignalMessage {
            name: name.to_owned(),
        }))
        .await
    }

    async fn send(&self, input: Wire) -> Result<(), Error> {
        let message = gateway::ExecMessage {
            process_id: self.shared.process_id.clone(),
            input: Some(input),
        };
        // A closed queue means that the stream is over; its reader tells why.
        let _ = self.shared.sender.send(message).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mounts_carry_only_what_their_kind_needs() {
        let secret = pb::SecretOpt {
            id: "s".into(),
            ..Default::default()
        };
        let mount = Mount {
            source: MountSource::Secret(secret),
            ..Mount::of("/run/s", None)
        };
        let wire = mount.into_wire();
        assert_eq!(wire.mount_type(), pb::MountType::Secret);
        assert!(wire.result_id.is_empty() && wire.cache_opt.is_none() && wire.ssh_opt.is_none());
        assert_eq!(
            Mount::of("/", None).into_wire().mount_type(),
            pb::MountType::Bind
        );
    }

    #[test]
    fn an_end_without_success_is_an_error_of_its_kind() {
        let exit = |code, failure| Exit { code, failure }.ok();
        assert!(exit(0, None).is_ok());
        let failure = || Some(Failure::new(Code::Unknown, "killed"));
        assert!(matches!(
            exit(3, failure()),
            Err(Error::Exec { exit_code: 3, .. })
        ));
        assert!(matches!(
            exit(255, None),
            Err(Error::Exec { exit_code: 255, .. })
        ));
        assert!(
            matches!(exit(255, failure()), Err(Error::Daemon(_))),
            "the code is not known"
        );
    }
}
