//! Connections through a program: which command line, and its pipes as a stream.
//!
//! A helper (`docker exec`, `kubectl exec`, `ssh` …) runs `buildctl dial-stdio`
//! next to the daemon and relays its socket over standard input and output. When
//! it ends, what it wrote to standard error is the only explanation there is, so
//! the last [`STDERR_BYTES_MAX`] bytes of it become part of the read error.
//!
//! A helper runs in its own process group: a Ctrl-C at the terminal must reach us
//! first, so that the build is cancelled over a working connection. It is killed
//! when the stream is dropped. `ssh` runs in batch mode, because a program in
//! another process group cannot ask for a password.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::process::Stdio;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command};
use tokio::task::JoinHandle;

use super::address::Helper;
use super::error::one_line;

/// How much of a helper's standard error is kept, in bytes from its end.
const STDERR_BYTES_MAX: usize = 4096;

/// How long the end of a helper is waited for once it closed its output.
const END_WAIT: Duration = Duration::from_secs(1);

impl Helper {
    /// The command line; never empty. `docker` asks for the Docker Engine of an
    /// ssh host instead of its buildkitd.
    pub(crate) fn command(&self, docker: bool) -> Vec<String> {
        let mut words = match self {
            Self::DockerContainer { name, context } => {
                let context = context.iter().map(|context| format!("--context={context}"));
                let mut words = vec!["docker".to_owned()];
                words.extend(context);
                words.extend(owned(["exec", "-i", name]));
                words
            }
            Self::PodmanContainer { name } => owned(["podman", "exec", "-i", name]).to_vec(),
            Self::NerdctlContainer { name, namespace } => {
                let mut words = owned(["nerdctl", "exec"]).to_vec();
                if let Some(namespace) = namespace {
                    words.extend(owned(["--namespace", namespace]));
                }
                words.extend(owned(["-i", name]));
                words
            }
            Self::KubePod {
                pod,
                context,
                namespace,
                container,
            } => vec![
                "kubectl".to_owned(),
                format!("--context={context}"),
                format!("--namespace={namespace}"),
                "exec".to_owned(),
                format!("--container={container}"),
                "-i".to_owned(),
                pod.clone(),
                "--".to_owned(),
            ],
            Self::Ssh {
                user, host, port, ..
            } => ssh(user.as_deref(), host, *port),
        };
        match self {
            Self::Ssh { .. } if docker => words.extend(owned(["docker", "system", "dial-stdio"])),
            Self::Ssh {
                socket: Some(socket),
                ..
            } => {
                // ssh joins its words with spaces and a shell there splits them again.
                let address = quote(&format!("unix://{socket}"));
                words.extend(owned(["buildctl", "--addr", &address, "dial-stdio"]));
            }
            _ => words.extend(owned(["buildctl", "dial-stdio"])),
        }
        words
    }
}

fn owned<const N: usize>(words: [&str; N]) -> [String; N] {
    words.map(str::to_owned)
}

/// `ssh` up to and including the host.
fn ssh(user: Option<&str>, host: &str, port: Option<u16>) -> Vec<String> {
    let mut words = vec!["ssh".to_owned()];
    for option in [
        "BatchMode=yes",
        "ConnectTimeout=30",
        "ServerAliveInterval=5",
        "ServerAliveCountMax=3",
    ] {
        words.extend(owned(["-o", option]));
    }
    words.push("-T".to_owned());
    if let Some(user) = user {
        words.extend(owned(["-l", user]));
    }
    if let Some(port) = port {
        words.extend(["-p".to_owned(), port.to_string()]);
    }
    words.extend(owned(["--", host]));
    words
}

/// One word for a POSIX shell.
fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// The pipes of a running helper.
pub(crate) struct HelperIo {
    program: String,
    stdin: ChildStdin,
    stdout: ChildStdout,
    state: State,
}

enum State {
    Running {
        child: Box<Child>,
        stderr: JoinHandle<Vec<u8>>,
    },
    Ending(Pin<Box<dyn Future<Output = String> + Send>>),
    Ended(String),
}

impl HelperIo {
    /// Starts a command. The error is one line.
    pub(crate) fn spawn(words: &[String]) -> Result<Self, String> {
        let (program, arguments) = words.split_first().ok_or("no helper command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => format!("the program {program:?} is not installed"),
                _ => format!("{program:?} cannot be started: {error}"),
            })?;
        let pipes = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        let (Some(stdin), Some(stdout), Some(stderr)) = pipes else {
            return Err(format!("{program:?} was started without pipes"));
        };
        let stderr = tokio::spawn(tail(stderr));
        let state = State::Running {
            child: Box::new(child),
            stderr,
        };
        Ok(Self {
            program: program.clone(),
            stdin,
            stdout,
            state,
        })
    }

    /// The error to report once the output ended; waits for the exit status.
    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<io::Error> {
        loop {
            match &mut self.state {
                State::Running { .. } => {
                    let state = std::mem::replace(&mut self.state, State::Ended(String::new()));
                    let State::Running { child, stderr } = state else {
                        continue;
                    };
                    self.state =
                        State::Ending(Box::pin(last_words(self.program.clone(), child, stderr)));
                }
                State::Ending(future) => {
                    let reason = ready!(future.as_mut().poll(cx));
                    self.state = State::Ended(reason);
                }
                State::Ended(reason) => {
                    return Poll::Ready(io::Error::new(io::ErrorKind::BrokenPipe, reason.clone()));
                }
            }
        }
    }
}

/// Reads to the end and keeps the last [`STDERR_BYTES_MAX`] bytes.
async fn tail(mut stderr: ChildStderr) -> Vec<u8> {
    let mut kept = Vec::new();
    let mut chunk = [0; STDERR_BYTES_MAX];
    while let Ok(read) = stderr.read(&mut chunk).await {
        if read == 0 {
            break;
        }
        kept.extend_from_slice(&chunk[..read]);
        let surplus = kept.len().saturating_sub(STDERR_BYTES_MAX);
        kept.drain(..surplus);
    }
    kept
}

/// How the helper ended and what it said, in one line.
async fn last_words(program: String, mut child: Box<Child>, stderr: JoinHandle<Vec<u8>>) -> String {
    let status = match tokio::time::timeout(END_WAIT, child.wait()).await {
        Ok(Ok(status)) => format!("{program:?} ended ({status})"),
        Ok(Err(_)) | Err(_) => format!("{program:?} closed its output"),
    };
    // A grandchild may hold the pipe open for long after the helper's end.
    let abort = stderr.abort_handle();
    let said = match tokio::time::timeout(END_WAIT, stderr).await {
        Ok(Ok(said)) => one_line(&String::from_utf8_lossy(&said)),
        Ok(Err(_)) | Err(_) => {
            abort.abort();
            String::new()
        }
    };
    if said.is_empty() {
        status
    } else {
        format!("{status}: {said}")
    }
}

impl AsyncRead for HelperIo {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        if matches!(self.state, State::Running { .. }) {
            let before = buf.filled().len();
            ready!(Pin::new(&mut self.stdout).poll_read(cx, buf))?;
            if buf.filled().len() > before {
                return Poll::Ready(Ok(()));
            }
        }
        self.poll_end(cx).map(Err)
    }
}

impl AsyncWrite for HelperIo {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        match ready!(Pin::new(&mut self.stdin).poll_write(cx, buf)) {
            // The read side knows why; its reason is better than "broken pipe".
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.poll_end(cx).map(Err),
            result => Poll::Ready(result),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stdin).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::address::{Address, Endpoint};
    use tokio::io::AsyncWriteExt;

    fn command(address: &str) -> String {
        let address: Address = address.parse().expect(address);
        let Endpoint::Helper(helper) = address.endpoint() else {
            panic!("{address} is no helper")
        };
        helper.command(address.is_docker()).join(" ")
    }

    #[test]
    fn command_lines() {
        for (address, expected) in [
            (
                "docker-container://bk",
                "docker exec -i bk buildctl dial-stdio",
            ),
            (
                "docker-container://bk?context=c",
                "docker --context=c exec -i bk buildctl dial-stdio",
            ),
            (
                "podman-container://bk",
                "podman exec -i bk buildctl dial-stdio",
            ),
            (
                "nerdctl-container://bk?namespace=n",
                "nerdctl exec --namespace n -i bk buildctl dial-stdio",
            ),
            (
                "kube-pod://p?namespace=n",
                "kubectl --context= --namespace=n exec --container= -i p -- buildctl dial-stdio",
            ),
        ] {
            assert_eq!(command(address), expected);
        }
        let ssh = command("ssh://me@h:22/run/it's.sock");
        assert!(
            ssh.ends_with(
                r"-T -l me -p 22 -- h buildctl --addr 'unix:///run/it'\''s.sock' dial-stdio"
            ),
            "{ssh}"
        );
        assert!(command("docker+ssh://h").ends_with("-T -- h docker system dial-stdio"));
    }

    fn shell(script: &str) -> HelperIo {
        HelperIo::spawn(&["sh".into(), "-c".into(), script.into()]).expect("sh starts")
    }

    #[tokio::test]
    async fn bytes_pass_both_ways() {
        let mut io = shell("exec cat");
        io.write_all(b"hello").await.expect("write");
        let mut back = [0; 5];
        io.read_exact(&mut back).await.expect("read");
        assert_eq!(&back, b"hello");
    }

    #[tokio::test]
    async fn the_error_of_a_dead_helper_is_what_it_said() {
        let mut io = shell("echo 'No such container: bk' >&2; exit 3");
        let error = io.read(&mut [0; 8]).await.expect_err("it ended");
        assert_eq!(
            error.to_string(),
            r#""sh" ended (exit status: 3): No such container: bk"#
        );
        let again = io.read(&mut [0; 8]).await.expect_err("it stays ended");
        assert_eq!(again.to_string(), error.to_string());
    }

    #[tokio::test]
    async fn only_the_end_of_a_long_explanation_is_kept() {
        let mut io =
            shell("i=0; while [ $i -lt 2000 ]; do echo line$i >&2; i=$((i+1)); done; exit 1");
        let error = io
            .read(&mut [0; 8])
            .await
            .expect_err("it ended")
            .to_string();
        assert!(
            error.ends_with("line1999") && error.len() < STDERR_BYTES_MAX + 64,
            "{error}"
        );
    }

    #[tokio::test]
    async fn a_missing_program_is_named() {
        let error = HelperIo::spawn(&["dagop-no-such-program".into()]).err();
        assert_eq!(
            error.as_deref(),
            Some(r#"the program "dagop-no-such-program" is not installed"#)
        );
    }
}
