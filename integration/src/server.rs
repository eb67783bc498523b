//! `dagop serve` and a client that speaks just enough HTTP to ask it.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::{Shutdown, TcpStream},
    process::Stdio,
    time::Duration,
};

use anyhow::Context as _;
use serde_json::Value;

use crate::{
    dagop::{Dagop, RUN_MAX},
    process::Process,
};

/// How long the server may take to end by itself.
const END: Duration = Duration::from_secs(30);

/// A running server on a free port. Dropping it ends it.
#[derive(Debug)]
pub struct Server {
    process: Process,
    port: u16,
}

/// A request on its way. Dropping it closes the connection, as a client does
/// that gives up.
#[derive(Debug)]
pub struct Request {
    stream: TcpStream,
}

impl Server {
    /// Starts the server for `user` and waits until it says where it listens.
    /// Its progress goes to `serve.log` in the user's home.
    ///
    /// # Errors
    /// When it does not come up; what it said is in the message.
    pub fn start(user: &Dagop) -> anyhow::Result<Self> {
        let log = user.home().join("serve.log");
        let mut command = user.command(["serve", "--listen", "127.0.0.1:0"])?;
        command
            .stdout(Stdio::piped())
            .stderr(std::fs::File::create(&log)?);
        let mut process = Process::of(command.spawn().context("start dagop serve")?);
        let stdout = process
            .child()
            .stdout
            .take()
            .context("standard output is piped")?;
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let announced: Value = serde_json::from_str(&line)
            .with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?;
        let port = announced["port"].as_u64().context("the announced port")?;
        Ok(Self {
            process,
            port: u16::try_from(port)?,
        })
    }

    /// Where it answers.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}/query", self.port)
    }

    /// Sends one operation; the answer is read later.
    ///
    /// # Errors
    /// When the server cannot be reached.
    pub fn send(&self, query: &str, variables: &Value) -> anyhow::Result<Request> {
        let body = serde_json::json!({"query": query, "variables": variables}).to_string();
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(RUN_MAX))?;
        write!(
            stream,
            "POST /query HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            body.len()
        )?;
        Ok(Request { stream })
    }

    /// Sends one operation and returns its data.
    ///
    /// # Errors
    /// When there is no answer, or one with errors.
    pub fn query(&self, query: &str, variables: &Value) -> anyhow::Result<Value> {
        self.send(query, variables)?.data()
    }

    /// Asks the server to end and waits for it.
    ///
    /// # Errors
    /// When it does not end within seconds.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.process.signal(rustix::process::Signal::TERM)?;
        self.process.wait(END)?;
        Ok(())
    }
}

impl Request {
    /// Waits for the answer and returns its data.
    ///
    /// # Errors
    /// When the connection breaks, or the answer has errors.
    pub fn data(mut self) -> anyhow::Result<Value> {
        let mut answer = Vec::new();
        self.stream
            .read_to_end(&mut answer)
            .context("read the answer")?;
        let text = String::from_utf8(answer)?;
        let (head, body) = text.split_once("\r\n\r\n").context("an HTTP answer")?;
        let chunked = head.to_lowercase().contains("transfer-encoding: chunked");
        anyhow::ensure!(!chunked, "this client reads no chunks: {head}");
        let mut json: Value = serde_json::from_str(body).with_context(|| text.clone())?;
        anyhow::ensure!(json["errors"].is_null(), "{}", json["errors"]);
        Ok(json["data"].take())
    }

    /// Gives up: the server sees the connection end.
    ///
    /// # Errors
    /// When it already ended.
    pub fn abandon(self) -> anyhow::Result<()> {
        Ok(self.stream.shutdown(Shutdown::Both)?)
    }
}
