//! What builds download: files over HTTP, and git repositories, from servers of one test on
//! 127.0.0.1. Every connection is served by a thread of its own and closed after one answer.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
};

use anyhow::Context as _;

/// A file on the server.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// Its bytes.
    pub body: Vec<u8>,
    /// `ETag`, with its quotes. A request for something newer is answered with 304.
    pub etag: Option<String>,
    /// `Last-Modified`.
    pub last_modified: Option<String>,
    /// The name in `Content-Disposition`.
    pub filename: Option<String>,
}

/// An HTTP server of files that are kept in memory. Dropping it stops it.
#[derive(Debug)]
pub struct Pages {
    pages: Arc<Mutex<BTreeMap<String, Page>>>,
    listener: Listener,
}

impl Pages {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start() -> anyhow::Result<Self> {
        let pages = Arc::new(Mutex::new(BTreeMap::new()));
        let served = Arc::clone(&pages);
        let listener = Listener::start(move |stream| {
            // A client that hangs up early is its own affair.
            _ = answer(&stream, &served);
        })?;
        Ok(Self { pages, listener })
    }

    /// Offers a page under an absolute path; returns its URL.
    pub fn offer(&self, path: &str, page: Page) -> String {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        pages.insert(path.to_owned(), page);
        format!("http://{}{path}", self.listener.address)
    }
}

/// Answers one request, `GET` or `HEAD`.
fn answer(stream: &TcpStream, pages: &Mutex<BTreeMap<String, Page>>) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream).lines();
    let request = lines.next().transpose()?.unwrap_or_default();
    let mut known = None;
    for line in lines {
        let line = line?;
        let Some((name, value)) = line.split_once(':') else {
            break;
        };
        if name.eq_ignore_ascii_case("if-none-match") {
            known = Some(value.trim().to_owned());
        }
    }
    let mut words = request.split(' ');
    let is_head = words.next() == Some("HEAD");
    let path = words.next().unwrap_or_default();
    let page = pages
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .get(path)
        .cloned();
    let is_known = |page: &Page| page.etag.is_some() && page.etag == known;
    let status = match &page {
        None => "404 Not Found",
        Some(page) if is_known(page) => "304 Not Modified",
        Some(_) => "200 OK",
    };
    let page = page.unwrap_or_default();
    let mut head = format!("HTTP/1.1 {status}\r\nConnection: close\r\n");
    let disposition = page
        .filename
        .map(|name| format!("attachment; filename=\"{name}\""));
    for (name, value) in [
        ("ETag", page.etag),
        ("Last-Modified", page.last_modified),
        ("Content-Disposition", disposition),
    ] {
        if let Some(value) = value {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
    }
    let mut stream = stream;
    if status.starts_with("304") {
        return write!(stream, "{head}\r\n");
    }
    write!(stream, "{head}Content-Length: {}\r\n\r\n", page.body.len())?;
    if !is_head {
        stream.write_all(&page.body)?;
    }
    Ok(())
}

/// A server of the git repositories in a folder, over the `git://` protocol. Dropping it stops it.
#[derive(Debug)]
pub struct Repositories {
    folder: PathBuf,
    listener: Listener,
}

impl Repositories {
    /// Starts it on a free port.
    ///
    /// # Errors
    /// When no port can be had.
    pub fn start(folder: &Path) -> anyhow::Result<Self> {
        let served = folder.to_owned();
        let listener = Listener::start(move |stream| {
            // A client that hangs up early is its own affair.
            _ = converse(stream, &served);
        })?;
        Ok(Self {
            folder: folder.to_owned(),
            listener,
        })
    }

    /// Where the repository of a name belongs.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// Its URL.
    pub fn url(&self, name: &str) -> String {
        format!("git://{}/{name}", self.listener.address)
    }
}

/// Lets git's own server talk over a connection.
fn converse(stream: TcpStream, folder: &Path) -> anyhow::Result<()> {
    let output = OwnedFd::from(stream.try_clone()?);
    let mut base = std::ffi::OsString::from("--base-path=");
    base.push(folder);
    Command::new("git")
        .args(["daemon", "--inetd", "--export-all"])
        .arg(base)
        .stdin(OwnedFd::from(stream))
        .stdout(output)
        .stderr(Stdio::null())
        .status()?;
    Ok(())
}

/// Runs git in a folder as a fixed author at a fixed time; returns what it prints.
///
/// # Errors
/// When git is missing or fails.
pub fn git(folder: &Path, arguments: &[&str]) -> anyhow::Result<String> {
    let output = Command::new("git")
        .current_dir(folder)
        .args(["-c", "user.name=Test", "-c", "user.email=test@example.test"])
        .args(arguments)
        .envs([
            ("GIT_CONFIG_GLOBAL", "/dev/null"),
            ("GIT_CONFIG_NOSYSTEM", "1"),
            ("GIT_AUTHOR_DATE", "1700000000 +0000"),
            ("GIT_COMMITTER_DATE", "1700000000 +0000"),
        ])
        .output()
        .context("run git")?;
    anyhow::ensure!(
        output.status.success(),
        "git {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?.trim().to_owned())
}

/// A thread that accepts connections.
#[derive(Debug)]
struct Listener {
    address: SocketAddr,
    stopped: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Listener {
    fn start(serve: impl Fn(TcpStream) + Send + Sync + 'static) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let stopped = Arc::new(AtomicBool::new(false));
        let is_stopped = Arc::clone(&stopped);
        let serve = Arc::new(serve);
        let thread = thread::spawn(move || {
            for stream in listener.incoming() {
                if is_stopped.load(Ordering::SeqCst) {
                    return;
                }
                if let Ok(stream) = stream {
                    let serve = Arc::clone(&serve);
                    thread::spawn(move || serve(stream));
                }
            }
        });
        Ok(Self {
            address,
            stopped,
            thread: Some(thread),
        })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stopped.store(true, Ordering::SeqCst);
        // A connection wakes the thread, which then sees that it is stopped.
        if TcpStream::connect(self.address).is_ok()
            && let Some(thread) = self.thread.take()
        {
            _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use super::*;

    fn ask(url: &str, method: &str, more: &str) -> String {
        let rest = url.strip_prefix("http://").unwrap();
        let (host, path) = rest.split_at(rest.find('/').unwrap());
        let mut stream = TcpStream::connect(host).unwrap();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\n{more}\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_page_has_its_headers_and_is_not_sent_twice() {
        let pages = Pages::start().unwrap();
        let page = Page {
            body: b"hi\n".to_vec(),
            etag: Some("\"1\"".to_owned()),
            last_modified: None,
            filename: Some("name".to_owned()),
        };
        let url = pages.offer("/a/b", page);
        let answer = ask(&url, "GET", "");
        assert!(
            answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("\r\n\r\nhi\n"),
            "{answer}"
        );
        assert!(answer.contains("ETag: \"1\"\r\n"), "{answer}");
        assert!(answer.contains("filename=\"name\""), "{answer}");
        assert!(ask(&url, "HEAD", "").ends_with("Content-Length: 3\r\n\r\n"));
        let again = ask(&url, "GET", "If-None-Match: \"1\"\r\n");
        assert!(again.starts_with("HTTP/1.1 304 "), "{again}");
        let other = format!("{url}/c");
        assert!(ask(&other, "GET", "").starts_with("HTTP/1.1 404 "));
    }

    #[test]
    fn a_repository_is_cloned() {
        let folder = tempfile::tempdir().unwrap();
        let repositories = Repositories::start(folder.path()).unwrap();
        let path = repositories.path("one");
        std::fs::create_dir(&path).unwrap();
        for arguments in [
            &["init", "--quiet", "--initial-branch", "main"][..],
            &["commit", "--quiet", "--allow-empty", "--message", "first"],
        ] {
            git(&path, arguments).unwrap();
        }
        let refs = git(&path, &["ls-remote", &repositories.url("one"), "main"]).unwrap();
        let commit = git(&path, &["rev-parse", "main"]).unwrap();
        assert!(refs.starts_with(&commit), "{refs}");
    }
}
