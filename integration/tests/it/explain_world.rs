//! What the pipelines of the corpus are made from: images, a repository, a download. Either names
//! only, or a server that a daemon can fetch them from.

use std::{
    collections::BTreeMap,
    fs,
    io::{BufRead as _, BufReader, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::Command,
    sync::{Arc, Mutex},
};

use integration::busybox;
use snapshots::content::read_all;
use solver::Digest;

use crate::predict_world::packed;

/// Names of the images.
const IMAGES: [&str; 5] = ["base", "base again", "new", "small", "data"];

/// The largest blob of an image, in bytes.
const BLOB_MAX: u64 = 64 << 20;

/// The two states of the download.
const DOWNLOADS: [&str; 2] = ["one archive", "another archive"];

/// The program of every step: what it writes depends on its arguments and one variable only, so
/// that some edits change a step's key and not its output.
const STEP: &str = "#!/bin/sh\n\
    echo \"$@\" $MODE > /out/app 2> /dev/null\n\
    echo \"$2\" > /out/$2 2> /dev/null\n\
    exit 0\n";

/// See the module.
pub(crate) struct World {
    /// References with digests, by name.
    pub(crate) images: BTreeMap<&'static str, String>,
    /// URL.
    pub(crate) repository: String,
    /// Two of its commits.
    pub(crate) commits: [String; 2],
    /// URL.
    pub(crate) download: String,
    /// What it can be.
    pub(crate) checksums: [Digest; 2],
    server: Option<Server>,
}

impl World {
    /// Nothing of it exists.
    pub(crate) fn invented() -> Self {
        let digit = |digit: usize| digit.to_string().repeat(64);
        let reference = |(number, name): (usize, &'static str)| {
            let (repository, _) = name.split_once(' ').unwrap_or((name, ""));
            let digest = digit(number);
            (
                name,
                format!("docker.io/library/{repository}:1@sha256:{digest}"),
            )
        };
        Self {
            images: (1..).zip(IMAGES).map(reference).collect(),
            repository: "https://example.com/repo.git".to_owned(),
            commits: ["a".repeat(40), "b".repeat(40)],
            download: "https://example.com/file.tar".to_owned(),
            checksums: [7, 8].map(|number| format!("sha256:{}", digit(number)).parse().unwrap()),
            server: None,
        }
    }

    /// Everything is served on a port of this machine.
    pub(crate) fn served() -> Self {
        let server = Server::start();
        let address = server.address.clone();
        let images = IMAGES.map(|name| (name, image(&server, name)));
        let commits = repository(&server);
        let world = Self {
            images: images.into_iter().collect(),
            repository: format!("http://{address}/repo.git"),
            commits,
            download: format!("http://{address}/file.tar"),
            checksums: DOWNLOADS.map(|text| Digest::sha256(text.as_bytes())),
            server: Some(server),
        };
        world.serve_download(0);
        world
    }

    /// Chooses what the download is.
    pub(crate) fn serve_download(&self, state: usize) {
        if let Some(server) = &self.server {
            server.put("/file.tar", "application/x-tar", DOWNLOADS[state].into());
        }
    }
}

/// Makes an image and offers it as a registry does; its reference.
fn image(server: &Server, name: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("root");
    busybox::write_rootfs(&root).unwrap();
    fs::write(root.join("etc/issue"), name).unwrap();
    for program in ["step", "inserted"] {
        let path = root.join("bin").join(program);
        fs::write(&path, STEP).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }
    for folder in ["out", "set", "other"] {
        fs::create_dir(root.join(folder)).unwrap();
        fs::write(root.join(folder).join("file"), folder).unwrap();
        let everybody = fs::Permissions::from_mode(0o1777);
        fs::set_permissions(root.join(folder), everybody).unwrap();
    }
    symlink("set", root.join("link")).unwrap();
    let (store, _, manifest) = packed(&root);
    let read = |digest: &str| {
        let digest = snapshots::Digest::parse(digest).unwrap();
        read_all(&store, &digest, BLOB_MAX).unwrap()
    };
    let (repository, _) = name.split_once(' ').unwrap_or((name, ""));
    let digest = manifest.digest().to_string();
    let document = read(&digest);
    let parsed: serde_json::Value = serde_json::from_slice(&document).unwrap();
    let layers = parsed["layers"].as_array().unwrap().iter();
    for blob in layers.chain([&parsed["config"]]) {
        let digest = blob["digest"].as_str().unwrap();
        let path = format!("/v2/{repository}/blobs/{digest}");
        server.put(&path, "application/octet-stream", read(digest));
    }
    let path = format!("/v2/{repository}/manifests/{digest}");
    server.put(&path, manifest.media_type().as_ref(), document);
    format!("{}/{repository}:1@{digest}", server.address)
}

/// Makes a repository of two commits and offers it for dumb clients.
fn repository(server: &Server) -> [String; 2] {
    let folder = tempfile::tempdir().unwrap();
    let (work, bare) = (folder.path().join("work"), folder.path().join("repo.git"));
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .args(["-c", "user.name=n", "-c", "user.email=e@example.com"])
            .args(arguments)
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .output()
            .unwrap();
        assert!(output.status.success(), "git {arguments:?}: {output:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    };
    let (work_text, bare_text) = (work.to_str().unwrap(), bare.to_str().unwrap());
    git(&["init", "--quiet", "--initial-branch=main", work_text]);
    let commit = |text: &str| {
        fs::write(work.join("file"), text).unwrap();
        git(&["-C", work_text, "add", "."]);
        git(&["-C", work_text, "commit", "--quiet", "-m", text]);
        git(&["-C", work_text, "rev-parse", "HEAD"])
    };
    let commits = [commit("one"), commit("two")];
    git(&["clone", "--quiet", "--bare", work_text, bare_text]);
    git(&["-C", bare_text, "update-server-info"]);
    offer(server, &bare, "/repo.git");
    commits
}

fn offer(server: &Server, folder: &Path, path: &str) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{path}/{}", entry.file_name().to_string_lossy());
        if entry.file_type().unwrap().is_dir() {
            offer(server, &entry.path(), &path);
        } else {
            let bytes = fs::read(entry.path()).unwrap();
            server.put(&path, "application/octet-stream", bytes);
        }
    }
}

type Files = Arc<Mutex<BTreeMap<String, (String, Vec<u8>)>>>;

/// Files over HTTP, from memory. It ends with the process.
struct Server {
    address: String,
    files: Files,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let files = Files::default();
        let served = Arc::clone(&files);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let files = Arc::clone(&served);
                // A client that goes away is its own business.
                std::thread::spawn(move || answer(stream, &files));
            }
        });
        Self { address, files }
    }

    fn put(&self, path: &str, kind: &str, bytes: Vec<u8>) {
        let mut files = self.files.lock().unwrap();
        files.insert(path.to_owned(), (kind.to_owned(), bytes));
    }
}

/// One request per connection.
fn answer(mut stream: TcpStream, files: &Files) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut request = String::new();
    reader.read_line(&mut request)?;
    let mut line = String::new();
    while reader.read_line(&mut line)? > 2 {
        line.clear();
    }
    let mut words = request.split_whitespace();
    let (method, path) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
    let path = path.split('?').next().unwrap_or("");
    let found = match path {
        "/v2/" => Some(("application/json".to_owned(), b"{}".to_vec())),
        path => files.lock().unwrap().get(path).cloned(),
    };
    let (status, (kind, bytes)) = match found {
        Some(found) => ("200 OK", found),
        None => ("404 Not Found", ("text/plain".to_owned(), Vec::new())),
    };
    let digest = Digest::sha256(&bytes);
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\
         Docker-Content-Digest: {digest}\r\nETag: \"{digest}\"\r\nConnection: close\r\n\r\n",
        bytes.len()
    )?;
    if method != "HEAD" {
        stream.write_all(&bytes)?;
    }
    stream.flush()
}
