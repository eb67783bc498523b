//! A process in a container, as a stream of events and a way in.
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

use crate::backend::build::Handle;
use crate::backend::error::Error;
use crate::backend::failure::{Code, Failure};
use crate::backend::session::new_id;

/// Messages that wait to be sent to one process.
const SEND_QUEUE: usize = 16;

/// Bytes of standard input in one message.
const INPUT_BYTES: usize = 1 << 20;

/// Most output that [`Process::output`] collects from each stream, in bytes.
pub const OUTPUT_BYTES_MAX: usize = 64 << 20;

/// Exit code that stands for "not known".
const EXIT_UNKNOWN: u32 = 255;

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

impl Exec {
    fn init(self, container_id: &str) -> gateway::InitMessage {
        let cwd = if self.cwd.is_empty() {
            "/".to_owned()
        } else {
            self.cwd
        };
        gateway::InitMessage {
            container_id: container_id.to_owned(),
            meta: Some(pb::Meta {
                args: self.args,
                env: self.env,
                cwd,
                user: self.user,
                remove_mount_stubs_recursive: true,
                ..Default::default()
            }),
            fds: if self.stdin {
                vec![0, 1, 2]
            } else {
                vec![1, 2]
            },
            tty: self.tty,
            security: self.security.into(),
            secretenv: self.secret_env,
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
    /// Starts a process in a container and waits until it runs.
    pub(crate) async fn start(
        build: Handle,
        container_id: &str,
        exec: Exec,
    ) -> Result<Self, Error> {
        let (sender, receiver) = mpsc::channel(SEND_QUEUE);
        let shared = SharedInput {
            process_id: new_id(),
            sender,
            stdin: Mutex::new(exec.stdin),
            exited: AtomicBool::new(false),
        };
        let input = ProcessInput {
            shared: Arc::new(shared),
        };
        input.send(Wire::Init(exec.init(container_id))).await?;
        let request = build.request(ReceiverStream::new(receiver));
        let mut bridge = build.client().bridge();
        let messages = build.call(bridge.exec_process(request)).await?;
        let mut process = Self {
            build,
            messages,
            input,
            exit: None,
        };
        process.started().await?;
        Ok(process)
    }

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
