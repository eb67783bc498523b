//! What pipelines get from outside, and what can be changed between two runs: a file over HTTP, a
//! branch of a Git repository, a tag in the registry.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread::JoinHandle,
};

use integration::{daemon, dagop::Dagop, registry};
use tempfile::TempDir;

/// Accepts connections until it is dropped, and then no more.
struct Listener {
    address: SocketAddr,
    stopped: Arc<Mutex<bool>>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(serve: impl Fn(TcpStream) + Send + 'static) -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        let stopped = Arc::new(Mutex::new(false));
        let stop = Arc::clone(&stopped);
        let thread = std::thread::spawn(move || {
            for stream in socket.incoming() {
                if *stop.lock().unwrap() {
                    return;
                }
                serve(stream.unwrap());
            }
        });
        Self {
            address,
            stopped,
            thread: Some(thread),
        }
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        *self.stopped.lock().unwrap() = true;
        // Wakes the thread up.
        let _ = TcpStream::connect(self.address);
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

/// What is at the one address of the HTTP server.
#[derive(Clone, Debug)]
pub(crate) struct Page {
    pub(crate) body: &'static str,
    pub(crate) etag: &'static str,
    pub(crate) modified: &'static str,
}

/// The page of the beginning.
pub(crate) const PAGE: Page = Page {
    body: "a page\n",
    etag: "one",
    modified: "Mon, 02 Jan 2023 10:00:00 GMT",
};

/// An image as it is published.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Image {
    /// Content of `/data`.
    pub(crate) data: &'static str,
    /// The variable `LEVEL`.
    pub(crate) level: &'static str,
    /// A label, of which no step knows.
    pub(crate) note: &'static str,
}

/// The image of the beginning.
pub(crate) const IMAGE: Image = Image {
    data: "one",
    level: "1",
    note: "a",
};

/// See the module.
pub(crate) struct World {
    page: Arc<Mutex<Page>>,
    http: Listener,
    git: Listener,
    repository: TempDir,
    publisher: Dagop,
    image: String,
}

impl World {
    pub(crate) fn new() -> Self {
        let page = Arc::new(Mutex::new(PAGE));
        let served = Arc::clone(&page);
        let http = Listener::start(move |stream| answer(stream, &served.lock().unwrap()));
        let repository = tempfile::Builder::new()
            .prefix("dagop-it-")
            .tempdir()
            .unwrap();
        let base = repository.path().to_owned();
        let git = Listener::start(move |stream| {
            let output = stream.try_clone().unwrap();
            let mut command = Command::new("git");
            command.args(["daemon", "--inetd", "--export-all"]);
            command.arg(format!("--base-path={}", base.display()));
            command.stdin(Stdio::from(OwnedFd::from(stream)));
            command.stdout(Stdio::from(OwnedFd::from(output)));
            command.stderr(Stdio::null()).status().unwrap();
        });
        // A daemon of its own: what the tests look at has none of these layers.
        let publisher = Dagop::new(daemon::shared().unwrap()).unwrap();
        let unique = publisher.home().file_name().unwrap().to_str().unwrap();
        let image = format!("{}/{}", registry::shared().unwrap(), unique.to_lowercase());
        let world = Self {
            page,
            http,
            git,
            image,
            publisher,
            repository,
        };
        world.git(&["init", "--quiet", "--bare", "--initial-branch=main", "repo"]);
        world.git(&["clone", "--quiet", "repo", "work"]);
        world.commit("a", "int a;\n");
        world.commit("b", "int b;\n");
        world.publish(IMAGE);
        world
    }

    /// A text with the addresses of this world.
    pub(crate) fn addressed(&self, text: &str) -> String {
        text.replace("{image}", &format!("{}:latest", self.image))
            .replace("{cache}", &format!("{}:cache", self.image))
            .replace("{http}", &format!("http://{}/page", self.http.address))
            .replace("{git}", &format!("git://{}/repo", self.git.address))
    }

    pub(crate) fn serve(&self, page: &Page) {
        *self.page.lock().unwrap() = page.clone();
    }

    /// Commits a file to the branch.
    pub(crate) fn commit(&self, file: &str, content: &str) {
        fs::write(self.repository.path().join("work").join(file), content).unwrap();
        self.git(&["-C", "work", "add", "."]);
        self.git(&["-C", "work", "commit", "--quiet", "--message", content]);
        self.git(&["-C", "work", "push", "--quiet", "origin", "HEAD:main"]);
    }

    fn git(&self, arguments: &[&str]) {
        let mut command = Command::new("git");
        command
            .args(["-c", "user.name=test", "-c", "user.email=test@localhost"])
            .args(arguments)
            .current_dir(self.repository.path())
            .env("HOME", self.repository.path())
            .env("GIT_CONFIG_NOSYSTEM", "1");
        let done = command.output().unwrap();
        assert!(done.status.success(), "{arguments:?}: {done:?}");
    }

    /// Moves the tag to an image.
    pub(crate) fn publish(&self, image: Image) {
        let Image { data, level, note } = image;
        let text = format!(
            r#"query P($tools: ContainerID!) {{ loadContainerFromID(id: $tools) {{
                withNewFile(path: "/data", contents: "{data}") {{
                  withEnvVariable(name: "LEVEL", value: "{level}") {{
                    withLabel(name: "note", value: "{note}") {{
                      publish(address: "{}:latest") }} }} }} }} }}"#,
            self.image
        );
        self.publisher
            .with_tools(&text, &[])
            .unwrap()
            .json()
            .unwrap();
    }
}

/// Answers one request, as a server that knows conditional requests.
fn answer(mut stream: TcpStream, page: &Page) {
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 || line.trim().is_empty() {
            break;
        }
        lines.push(line.trim().to_owned());
    }
    let Some(request) = lines.first() else { return };
    let etag = format!("\"{}\"", page.etag);
    let matches = lines.iter().any(|line| {
        let (name, value) = line.split_once(':').unwrap_or_default();
        name.eq_ignore_ascii_case("if-none-match") && value.contains(&etag)
    });
    let status = if matches {
        "304 Not Modified"
    } else {
        "200 OK"
    };
    let body = if matches || request.starts_with("HEAD") {
        ""
    } else {
        page.body
    };
    // A client that has gone away needs no answer.
    let _ = write!(
        stream,
        "HTTP/1.1 {status}\r\nETag: {etag}\r\nLast-Modified: {}\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        page.modified,
        if matches { 0 } else { page.body.len() },
    );
}
