//! A canary: one secret used as environment variable, as mount and as registry
//! password, then looked for, with its plain hashes, in everything that dagop
//! and the daemon wrote: answers, errors, the ledger, bundles, IDs, logs, the
//! daemon's whole state, and the published image. What dagop compresses is
//! searched as it was before.
//!
//! And values that no call says are secret, but the name beside them: those are
//! the user's own words and in the ledger, but in no bundle.

use std::{
    fs, io,
    io::{BufRead as _, BufReader, Write as _},
    net::TcpListener,
    path::{Path, PathBuf},
};

use dagop::ledger::Reader;
use integration::{
    daemon::Daemon,
    dagop::{Dagop, Outcome},
    registry::{PASSWORD, Registry, USER},
};
use sha2::{Digest as _, Sha256};

const DOCUMENT: &str = r#"
query Canary($password: String!) {
  setSecret(name: "canary", plaintext: $password) { id @export(as: "canary") }
  fromEnvironment: secret(uri: "env://CANARY") { id @export(as: "environment") }
}
query Use($tools: ContainerID!, $canary: SecretID!, $environment: SecretID!, $address: String!, $user: String!, $image: String!) {
  loadContainerFromID(id: $tools) {
    kept: withExec(args: ["busybox", "echo", "kept beside the secret"]) { stdout }
    withSecretVariable(name: "CANARY", secret: $environment) {
      withMountedSecret(path: "/run/canary", source: $canary) {
        withExec(args: ["busybox", "sh", "-c", "busybox test \"$CANARY\" = \"$(busybox cat /run/canary)\" && busybox echo used"]) {
          stdout
          withRegistryAuth(address: $address, username: $user, secret: $canary) { publish(address: $image) }
        }
      }
    }
  }
}
query Fail($tools: ContainerID!, $canary: SecretID!) {
  loadContainerFromID(id: $tools) {
    withMountedSecret(path: "/run/canary", source: $canary) {
      withExec(args: ["busybox", "sh", "-c", "busybox sha256sum /run/canary > /dev/null; exit 9"]) { sync }
    }
  }
}"#;

/// A secret itself and what would identify it by trial: its bare hashes.
fn needles(secret: &str) -> Vec<(&'static str, Vec<u8>)> {
    let sha256 = Sha256::digest(secret);
    let blake3 = blake3::hash(secret.as_bytes());
    let base64 = |bytes: &[u8]| {
        let text = base64::Engine::encode(&base64::prelude::BASE64_STANDARD_NO_PAD, bytes);
        text.into_bytes()
    };
    vec![
        ("plain text", secret.into()),
        ("base64", base64(secret.as_bytes())),
        ("hex", hex::encode(secret).into()),
        ("SHA-256, hex", hex::encode(sha256).into()),
        ("SHA-256, base64", base64(&sha256)),
        ("SHA-256", sha256.to_vec()),
        ("BLAKE3, hex", blake3.to_hex().as_str().into()),
        ("BLAKE3", blake3.as_bytes().to_vec()),
    ]
}

/// What of the secret `bytes` holds.
fn found_in(bytes: &[u8]) -> Vec<&'static str> {
    forms_in(bytes, PASSWORD)
}

/// The forms of a secret that `bytes` holds.
fn forms_in(bytes: &[u8], secret: &str) -> Vec<&'static str> {
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
    needles(secret)
        .into_iter()
        .filter(|(_, needle)| holds(needle))
        .map(|(what, _)| what)
        .collect()
}

/// Every regular file below `folder` that holds the secret. The daemon still
/// runs: a file that goes away meanwhile is nothing that was left behind.
fn search(folder: &Path, found: &mut Vec<String>) {
    let Some(entries) = present(fs::read_dir(folder)) else {
        return;
    };
    for entry in entries {
        let Some(entry) = present(entry) else {
            continue;
        };
        let Some(kind) = present(entry.file_type()) else {
            continue;
        };
        if kind.is_dir() {
            search(&entry.path(), found);
        } else if kind.is_file() {
            let Some(bytes) = present(fs::read(entry.path())) else {
                continue;
            };
            for what in found_in(&bytes) {
                found.push(format!("{}: {what}", entry.path().display()));
            }
        }
    }
}

/// All bytes of a ledger or a bundle, and what is compressed in it.
fn expanded(path: &Path) -> Vec<u8> {
    let mut all = fs::read(path).unwrap();
    // What was written last is in the log beside a ledger.
    all.extend(present(fs::read(format!("{}-wal", path.display()))).unwrap_or_default());
    let ledger = Reader::open_bundle(path)
        .or_else(|_| Reader::open(path))
        .unwrap();
    for build in ledger.builds(usize::MAX).unwrap() {
        for operation in ledger.operations(&build.id).unwrap().values() {
            all.extend(serde_json::to_vec(operation).unwrap());
        }
        for tree in ledger.trees(&build.id).unwrap() {
            let files = ledger.listing(&tree.listing).unwrap();
            all.extend(serde_json::to_vec(&files).unwrap());
        }
    }
    all
}

/// Packs the newest build; where that is.
fn bundle(user: &Dagop, arguments: &[&str]) -> PathBuf {
    let target = user.work().join("canary.db");
    let _ = fs::remove_file(&target);
    let all = ["bundle", "-o", "canary.db"].iter().chain(arguments);
    let outcome = user.run(all).unwrap();
    assert_eq!(outcome.code, 0, "{outcome:?}");
    target
}

/// The value, or nothing if its file does not exist any more.
#[track_caller]
fn present<T>(result: io::Result<T>) -> Option<T> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        other => Some(other.unwrap()),
    }
}

/// Values are kept for later runs either way; the second user is also answered from them.
#[test]
fn the_canary_is_nowhere() {
    let daemon = Daemon::start().unwrap();
    let registry = Registry::start().unwrap();
    let user = Dagop::new(daemon.address()).unwrap();
    let recalling = Dagop::new(daemon.address()).unwrap().recalling();
    let mut found = Vec::new();
    for user in [&user, &recalling] {
        use_the_secret(user, &registry, &mut found);
    }
    // The same again, now that there is something to recall.
    let keys = use_the_secret(&recalling, &registry, &mut found);
    assert!(keys.stdout.contains("recalled"), "{keys:?}");
    let server = serve_file();
    fetch(&user, &server, &mut found);
    for user in [&user, &recalling] {
        let bundle = bundle(user, &[]);
        for file in [bundle, user.home().join("state/dagop/ledger.db")] {
            let bytes = expanded(&file);
            assert!(bytes.len() > 10_000, "{}", file.display());
            for what in found_in(&bytes) {
                found.push(format!("{} expanded: {what}", file.display()));
            }
        }
        search(user.home(), &mut found);
    }
    search(daemon.folder(), &mut found);
    search(registry.folder(), &mut found);
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Runs the document, which ends with an error on purpose: it is part of what is searched. Returns
/// the keys of that run.
fn use_the_secret(user: &Dagop, registry: &Registry, found: &mut Vec<String>) -> Outcome {
    let image = format!("{}/canary:latest", registry.address());
    let variables = [
        ("password", PASSWORD),
        ("address", registry.address()),
        ("user", USER),
        ("image", image.as_str()),
    ];
    let mut command = user.command_with_tools(DOCUMENT, &variables).unwrap();
    command.env("CANARY", PASSWORD);
    let outcome = integration::dagop::finish(command).unwrap();
    assert_eq!(outcome.code, 1, "{outcome:?}");
    assert!(outcome.stdout.contains("used"), "{outcome:?}");
    assert!(registry.holds("canary"), "{outcome:?}");
    let keys = user.run(["keys", "--json"]).unwrap();
    assert_eq!(keys.code, 0, "{keys:?}");
    for (name, text) in [("run", &outcome), ("keys", &keys)] {
        for what in found_in(format!("{}{}", text.stdout, text.stderr).as_bytes()) {
            found.push(format!("output of {name}: {what}"));
        }
    }
    // The store of values is in use, so that searching it means something.
    let values = rusqlite::Connection::open(user.home().join("state/dagop/dagql-cache.db"));
    let count = "SELECT count(*) FROM call_values";
    let count: i64 = values
        .unwrap()
        .query_row(count, [], |row| row.get(0))
        .unwrap();
    assert!(count > 0, "{outcome:?}");
    keys
}

/// A file that only who sends the secret as a header gets; where it is. It is served as long as the
/// process lives.
fn serve_file() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            // A client that went away asks for nothing.
            let Ok(mut stream) = stream else { continue };
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            let head: Vec<String> = lines
                .by_ref()
                .map_while(Result::ok)
                .take_while(|line| !line.is_empty())
                .collect();
            let knows = head.iter().any(|line| line.ends_with(PASSWORD));
            let status = if knows { "200 OK" } else { "401 Unauthorized" };
            let body = if head.iter().any(|line| line.starts_with("GET")) {
                "file"
            } else {
                ""
            };
            let _ = write!(
                stream,
                "HTTP/1.1 {status}\r\nContent-Length: 4\r\nETag: \"1\"\r\nConnection: close\r\n\r\n{body}"
            );
        }
    });
    format!("http://{address}/file")
}

/// Uses the secret as a header for a file, and as a token for a repository that is not there.
fn fetch(user: &Dagop, url: &str, found: &mut Vec<String>) {
    const SECRET: &str = r#"query Canary($password: String!) {
      setSecret(name: "canary", plaintext: $password) { id @export(as: "canary") }
    }"#;
    const FETCH: &str = r#"query Fetch($url: String!, $canary: SecretID!) {
      http(url: $url, authHeader: $canary) { contents }
    }"#;
    const CLONE: &str = r#"query Clone($canary: SecretID!) {
      git(url: "http://127.0.0.1:9/none.git", httpAuthToken: $canary) {
        branch(name: "main") { tree { entries } }
      }
    }"#;
    let file = format!("{SECRET}{FETCH}");
    let repository = format!("{SECRET}{CLONE}");
    for (text, code, answer) in [
        (file, 0, "\"contents\": \"file\""),
        (repository, 1, "none.git"),
    ] {
        let variables = [("password", PASSWORD), ("url", url)];
        let used = if code == 0 {
            &variables[..]
        } else {
            &variables[..1]
        };
        let outcome = user.with_tools(&text, used).unwrap();
        assert_eq!(outcome.code, code, "{outcome:?}");
        assert!(outcome.stdout.contains(answer), "{outcome:?}");
        for what in found_in(format!("{}{}", outcome.stdout, outcome.stderr).as_bytes()) {
            found.push(format!("output of fetch: {what}"));
        }
    }
}

/// Values beside names that say they are secret, in every place where they are in a build.
#[test]
fn what_a_name_marks_as_secret_is_in_no_bundle() {
    const VARIABLE: &str = "canary-of-variable-3b1f";
    const FLAG: &str = "canary-of-flag-77ae";
    const URL: &str = "canary-of-url-0d44";
    const HEADER: &str = "canary-of-header-91c2";
    const LABEL: &str = "canary-of-label-e5e5";
    const CHOSEN: &str = "canary-of-choice-1207";
    const UNUSED: &str = "canary-of-unused-5a5a";
    const ALL: [&str; 7] = [VARIABLE, FLAG, URL, HEADER, LABEL, CHOSEN, UNUSED];
    let text = r#"query Go($tools: ContainerID!, $variable: String!, $flag: String!, $url: String!, $header: String!, $label: String!, $chosen: String!, $unused: String!) {
      loadContainerFromID(id: $tools) {
        withEnvVariable(name: "DEPLOY_TOKEN", value: $variable) {
          withEnvVariable(name: "COLOUR", value: $chosen) {
            withLabel(name: "api.password", value: $label) {
              withExec(args: ["busybox", "true", "--password", $flag, $url, $header]) {
                stdout
                withEnvVariable(name: "NEVER_USED_SECRET", value: $unused) { envVariable(name: "PATH") }
    } } } } } }"#;
    let user = Dagop::new(integration::daemon::shared().unwrap()).unwrap();
    let url = format!("https://me:{URL}@example.com/x?access_token={URL}");
    let header = format!("Authorization: Bearer {HEADER}");
    for colour in [CHOSEN, "red"] {
        let variables = [
            ("variable", VARIABLE),
            ("flag", FLAG),
            ("url", &url),
            ("header", &header),
            ("label", LABEL),
            ("chosen", colour),
            ("unused", UNUSED),
        ];
        user.with_tools(text, &variables).unwrap().json().unwrap();
    }
    let ledger = expanded(&user.home().join("state/dagop/ledger.db"));
    let bundle = bundle(&user, &["--redact", "COL*"]);
    let mut bytes = expanded(&bundle);
    let bundle = bundle.display().to_string();
    for question in [
        &["keys", "--json"][..],
        &["why", "*"],
        &["why", "*", "--json"],
        &["keys", "last", "*"],
    ] {
        let all = question.iter().copied().chain(["--bundle", &bundle]);
        let outcome = user.run(all).unwrap();
        assert!(outcome.code == 0 || outcome.code == 4, "{outcome:?}");
        bytes.extend(outcome.stdout.into_bytes());
    }
    for secret in ALL {
        let written = forms_in(&ledger, secret);
        assert_eq!(written, ["plain text"], "{secret} is the user's own word");
        assert_eq!(forms_in(&bytes, secret), [""; 0], "{secret}");
    }
    // That the variable is the cause is still said.
    let why = user.run(["why", "*", "--bundle", &bundle]).unwrap();
    let said = why.stdout.contains("COLOUR") && why.stdout.contains("redacted:");
    assert!(said, "{why:?}");
}

#[test]
fn the_search_finds_what_is_there() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("deep")).unwrap();
    fs::write(
        folder.path().join("deep/log"),
        format!("password={PASSWORD}\n"),
    )
    .unwrap();
    fs::write(
        folder.path().join("hash"),
        hex::encode(Sha256::digest(PASSWORD)),
    )
    .unwrap();
    fs::write(folder.path().join("innocent"), "nothing").unwrap();
    let mut found = Vec::new();
    search(folder.path(), &mut found);
    assert_eq!(found.len(), 2, "{found:?}");
}
