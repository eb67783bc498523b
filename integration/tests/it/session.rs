//! `dagop session` as a process: the line it prints and how it ends, which the
//! SDKs depend on to the letter.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    process::{ChildStdin, ChildStdout, Stdio},
    time::Duration,
};

use base64::Engine as _;
use integration::{daemon, dagop::Dagop, process::Process};
use rustix::process::Signal;
use serde_json::{Value, json};

/// How long a session may take to end.
const END: Duration = Duration::from_secs(60);

/// A session with its streams in our hands.
struct Session {
    process: Process,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    port: u16,
    token: String,
}

impl Session {
    /// Starts one with arguments as SDKs give them; its standard error is a pipe
    /// that nobody reads.
    fn start(user: &Dagop, arguments: &[&str]) -> Self {
        let mut command = user.command(["session"]).unwrap();
        command.args(arguments).stdin(Stdio::piped());
        let mut process = Process::of(command.spawn().unwrap());
        let stdin = process.child().stdin.take();
        let mut stdout = BufReader::new(process.child().stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let announced: Value = serde_json::from_str(&line).unwrap();
        // Python builds a record of exactly these keys.
        let keys: Vec<&String> = announced.as_object().unwrap().keys().collect();
        assert_eq!(keys, ["port", "session_token"]);
        Self {
            process,
            stdin,
            stdout,
            port: announced["port"].as_u64().unwrap().try_into().unwrap(),
            token: announced["session_token"].as_str().unwrap().to_owned(),
        }
    }

    /// Status line and body of the answer to a query.
    fn ask(&self, token: &str, query: &str) -> (String, String) {
        let body = json!({"query": query, "operationName": ""}).to_string();
        let user = base64::prelude::BASE64_STANDARD.encode(format!("{token}:"));
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(
            stream,
            "POST /query HTTP/1.1\r\nHost: dagger\r\nAuthorization: Basic {user}\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )
        .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.lines().next().unwrap().to_owned(), body.to_owned())
    }

    fn data(&self, query: &str) -> Value {
        let (_, body) = self.ask(&self.token, query);
        let mut answer: Value = serde_json::from_str(&body).unwrap();
        assert!(answer["errors"].is_null(), "{answer}");
        answer["data"].take()
    }

    /// Its exit code, after which nothing more may be on its standard output.
    fn end(mut self) -> Option<i32> {
        let status = self.process.wait(END).unwrap();
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest).unwrap();
        assert_eq!(rest, "");
        status.code()
    }
}

fn user() -> Dagop {
    Dagop::new(daemon::shared().unwrap()).unwrap()
}

#[test]
fn the_end_of_standard_input_ends_it_with_success() {
    let user = user();
    let label = [
        "--label",
        "dagger.io/sdk.name:python",
        "--label",
        "dagger.io/sdk.version:0.19.11",
    ];
    let mut session = Session::start(&user, &label);
    assert!(
        session.data("{version}")["version"]
            .as_str()
            .unwrap()
            .starts_with("v0.")
    );
    assert_eq!(
        session.ask("wrong", "{version}").0,
        "HTTP/1.1 401 Unauthorized"
    );
    drop(session.stdin.take());
    assert_eq!(session.end(), Some(0));
}

#[test]
fn a_signal_ends_it_with_success() {
    let user = user();
    for signal in [Signal::TERM, Signal::INT] {
        let mut session = Session::start(&user, &["-vvv", "--flag-of-another-version", "value"]);
        session.process.signal(signal).unwrap();
        assert_eq!(session.end(), Some(0), "{signal:?}");
    }
}

#[test]
fn host_paths_begin_at_the_workdir() {
    let user = user();
    let folder = user.work().join("elsewhere");
    std::fs::create_dir(&folder).unwrap();
    std::fs::write(folder.join("here"), "").unwrap();
    let session = Session::start(&user, &["--workdir", folder.to_str().unwrap()]);
    let data = session.data(r#"{host{directory(path:"."){entries}}}"#);
    assert_eq!(data["host"]["directory"]["entries"], json!(["here"]));
}

/// More progress than a pipe holds, which nobody reads, neither stops a request
/// nor the end.
#[test]
fn progress_that_nobody_reads_holds_nothing_up() {
    let user = user();
    let mut session = Session::start(&user, &["--label=x:y"]);
    let fields: Vec<String> = (0..1500)
        .map(|index| {
            format!(
                "f{index}:file(name:\"{index}-{}\",contents:\"\"){{size}}",
                "n".repeat(100)
            )
        })
        .collect();
    for query in fields.chunks(500) {
        let data = session.data(&format!("{{{}}}", query.join(" ")));
        assert_eq!(data.as_object().unwrap().len(), 500);
    }
    drop(session.stdin.take());
    assert_eq!(session.end(), Some(0));
}

/// What cannot work is said at once, on standard error, and nothing is announced.
#[test]
fn without_a_daemon_there_is_no_session() {
    let nowhere = Dagop::new("unix:///nonexistent/bk.sock").unwrap();
    let outcome = nowhere.run(["session"]).unwrap();
    assert_eq!((outcome.code, outcome.stdout.as_str()), (3, ""));
    assert!(
        outcome.stderr.contains("/nonexistent/bk.sock"),
        "{}",
        outcome.stderr
    );
}
