//! A real browser without a window: Chromium, driven over the WebDriver protocol
//! by the few requests that the tests need.

use std::{
    io::{BufRead as _, BufReader, Read as _, Write as _},
    net::TcpStream,
    path::Path,
    process::Command,
    time::Duration,
};

use anyhow::Context as _;
use base64::Engine as _;
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::process::{Process, wait_until};

/// Longest wait for an answer of the driver.
const ANSWER: Duration = Duration::from_secs(120);

/// Longest wait for the driver's port, and for the end of the browser.
const DRIVER: Duration = Duration::from_secs(60);

/// Longest wait for a condition on the page.
const CONDITION: Duration = Duration::from_secs(60);

/// Size of the window, in pixels.
const WINDOW: (u32, u32) = (1440, 960);

/// Chromium tells the driver about everything, and asks nobody on its own: no
/// updates, no lists of bad sites, no accounts. Tests run as root, for whom
/// Chromium has no sandbox.
const ARGUMENTS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-dev-shm-usage",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
];

/// Keys without a character, as WebDriver writes them.
pub mod key {
    /// Enter.
    pub const ENTER: &str = "\u{e007}";
    /// Escape.
    pub const ESCAPE: &str = "\u{e00c}";
    /// Home.
    pub const HOME: &str = "\u{e011}";
    /// The arrow up.
    pub const UP: &str = "\u{e013}";
    /// The arrow to the right.
    pub const RIGHT: &str = "\u{e014}";
    /// The arrow down.
    pub const DOWN: &str = "\u{e015}";
}

/// A browser with one window. Dropping it ends it and deletes its profile.
#[derive(Debug)]
pub struct Browser {
    // Dropped before `profile`: a running browser would write into a deleted one.
    _driver: Process,
    port: u16,
    session: String,
    /// The browser's own process, a child of the driver.
    browser: Option<Pid>,
    profile: TempDir,
}

impl Browser {
    /// Starts the driver and the browser.
    ///
    /// # Errors
    /// When they are not installed or do not start.
    pub fn start() -> anyhow::Result<Self> {
        let profile = tempfile::Builder::new().prefix("dagop-it-").tempdir()?;
        let log = profile.path().join("driver.log");
        let mut command = Command::new("chromedriver");
        command.arg("--port=0");
        command.envs(["HOME", "TMPDIR"].map(|name| (name, profile.path())));
        let driver = Process::start(&mut command, &log).context(
            "run the tests with hack/test, which installs the Debian packages \
             chromium and chromium-driver",
        )?;
        let mut browser = Self {
            _driver: driver,
            port: 0,
            session: String::new(),
            browser: None,
            profile,
        };
        browser.port = announced_port(&log)?;
        browser.open_session()?;
        let (width, height) = WINDOW;
        browser.post("/window/rect", &json!({"width": width, "height": height}))?;
        // What the browser opens by itself at its start is not the page's doing.
        browser.open("about:blank")?;
        browser.requests()?;
        Ok(browser)
    }

    fn open_session(&mut self) -> anyhow::Result<()> {
        let data = self.profile.path().join("profile");
        let mut arguments: Vec<String> = ARGUMENTS.map(str::to_owned).into();
        arguments.push(format!("--user-data-dir={}", data.display()));
        let capabilities = json!({"capabilities": {"alwaysMatch": {
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"args": arguments},
        }}});
        let session = self.request("POST", "/session", Some(&capabilities))?;
        let id = session["sessionId"].as_str().context("a session id")?;
        id.clone_into(&mut self.session);
        let process = session["capabilities"]["goog:processID"].as_i64();
        let process = process.context("the browser's process")?;
        self.browser = Pid::from_raw(i32::try_from(process)?);
        Ok(())
    }

    /// Opens an address and waits until it is loaded.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn open(&self, url: &str) -> anyhow::Result<()> {
        self.post("/url", &json!({"url": url})).map(drop)
    }

    /// The value of a JavaScript expression on the page; a promise is awaited.
    ///
    /// # Errors
    /// When it throws.
    pub fn value(&self, expression: &str) -> anyhow::Result<Value> {
        let script = format!("return await ({expression});");
        self.post("/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The text of the first element that a selector finds.
    ///
    /// # Errors
    /// When there is none.
    pub fn text(&self, selector: &str) -> anyhow::Result<String> {
        let text = self.value(&format!(
            "document.querySelector({}).innerText",
            json!(selector)
        ))?;
        Ok(text.as_str().context("text")?.to_owned())
    }

    /// Waits until an expression is true.
    ///
    /// # Errors
    /// When it is not within a minute.
    pub fn until(&self, expression: &str) -> anyhow::Result<()> {
        wait_until(CONDITION, || Ok(self.value(expression)? == true))
            .with_context(|| expression.to_owned())
    }

    /// Presses keys one after the other.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn press(&self, keys: &[&str]) -> anyhow::Result<()> {
        let strokes = keys.iter().flat_map(|key| {
            [
                json!({"type": "keyDown", "value": key}),
                json!({"type": "keyUp", "value": key}),
            ]
        });
        let strokes: Vec<Value> = strokes.collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": strokes}]});
        self.post("/actions", &actions).map(drop)
    }

    /// Saves what the window shows as a PNG.
    ///
    /// # Errors
    /// When there is no picture or the file cannot be written.
    pub fn screenshot(&self, path: &Path) -> anyhow::Result<()> {
        let picture = self.request(
            "GET",
            &format!("/session/{}/screenshot", self.session),
            None,
        )?;
        let encoded = picture.as_str().context("a picture")?;
        let bytes = base64::prelude::BASE64_STANDARD.decode(encoded)?;
        std::fs::write(path, bytes).with_context(|| path.display().to_string())
    }

    /// What the console said since the last time it was asked, warnings and worse.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn complaints(&self) -> anyhow::Result<Vec<String>> {
        let entries = self.post("/se/log", &json!({"type": "browser"}))?;
        let entries = entries.as_array().context("log entries")?.iter();
        let loud =
            entries.filter(|entry| entry["level"] == "SEVERE" || entry["level"] == "WARNING");
        Ok(loud.map(|entry| entry["message"].to_string()).collect())
    }

    /// The addresses that the page asked for since the last time.
    ///
    /// # Errors
    /// When the driver refuses.
    pub fn requests(&self) -> anyhow::Result<Vec<String>> {
        let entries = self.post("/se/log", &json!({"type": "performance"}))?;
        let mut addresses = Vec::new();
        for entry in entries.as_array().context("log entries")? {
            let event: Value = serde_json::from_str(entry["message"].as_str().unwrap_or_default())?;
            let event = &event["message"];
            if event["method"] == "Network.requestWillBeSent" {
                let url = event["params"]["request"]["url"]
                    .as_str()
                    .context("an address")?;
                addresses.push(url.to_owned());
            }
        }
        Ok(addresses)
    }

    fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.request(
            "POST",
            &format!("/session/{}{path}", self.session),
            Some(body),
        )
    }

    /// One request to the driver, which answers `{"value": ...}`.
    fn request(&self, method: &str, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut stream =
            TcpStream::connect(("127.0.0.1", self.port)).context("reach chromedriver")?;
        stream.set_read_timeout(Some(ANSWER))?;
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\nConnection: close\r\n\r\n{body}",
            self.port,
            body.len()
        )?;
        let mut answer: Value = serde_json::from_slice(&read_answer(stream)?)?;
        let value = answer["value"].take();
        anyhow::ensure!(
            value["error"].is_null(),
            "{path}: {}: {}",
            value["error"],
            value["message"]
        );
        Ok(value)
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // Ends the browser too, also one whose session's beginning failed.
        let asked = self.request("GET", "/shutdown", None);
        let Some(browser) = self.browser else {
            return;
        };
        let gone = || Ok(test_kill_process(browser).is_err());
        if asked.is_err() || wait_until(DRIVER, gone).is_err() {
            // Nothing is left to do about a failure: the test is over.
            let _ = kill_process(browser, Signal::KILL);
        }
    }
}

/// The driver names its port on a line of its own.
fn announced_port(log: &Path) -> anyhow::Result<u16> {
    let mut port = None;
    let found = wait_until(DRIVER, || {
        let said = std::fs::read_to_string(log)?;
        let named = said.split_once("started successfully on port ");
        // The line may be half written: the number ends with a full stop.
        port = named.and_then(|(_, rest)| rest.split_once('.')?.0.parse().ok());
        Ok(port.is_some())
    });
    let said = || {
        format!(
            "chromedriver names its port: {}",
            std::fs::read_to_string(log).unwrap_or_default()
        )
    };
    found.with_context(said)?;
    port.with_context(said)
}

/// The body of an HTTP answer: as long as announced, for the driver does not
/// always close.
fn read_answer(stream: TcpStream) -> anyhow::Result<Vec<u8>> {
    let mut reader = BufReader::new(stream);
    let mut length = None;
    loop {
        let mut line = String::new();
        reader
            .read_line(&mut line)
            .context("read the driver's answer")?;
        // The driver puts no space behind the colon.
        match line.trim_end().split_once(':') {
            Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                length = Some(value.trim().parse::<usize>()?);
            }
            Some(_) => {}
            None if line.trim_end().is_empty() => break,
            None => {}
        }
    }
    let mut body = vec![0; length.context("the driver announces a length")?];
    reader.read_exact(&mut body)?;
    Ok(body)
}
