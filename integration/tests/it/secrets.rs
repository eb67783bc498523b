//! A canary: one secret used as environment variable, as mount and as registry
//! password, then looked for, with its plain hashes, in everything that dagop
//! and the daemon wrote: answers, errors, the ledger, IDs, logs, the daemon's
//! whole state, and the published image.

use std::{fs, io, path::Path};

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

/// The secret itself and what would identify it by trial: its bare hashes.
fn needles() -> Vec<(&'static str, Vec<u8>)> {
    let sha256 = Sha256::digest(PASSWORD);
    let blake3 = blake3::hash(PASSWORD.as_bytes());
    vec![
        ("plain text", PASSWORD.into()),
        (
            "base64",
            base64::Engine::encode(&base64::prelude::BASE64_STANDARD, PASSWORD).into(),
        ),
        ("SHA-256, hex", hex::encode(sha256).into()),
        ("SHA-256", sha256.to_vec()),
        ("BLAKE3, hex", blake3.to_hex().as_str().into()),
        ("BLAKE3", blake3.as_bytes().to_vec()),
    ]
}

/// What of the secret `bytes` holds.
fn found_in(bytes: &[u8]) -> Vec<&'static str> {
    let holds = |needle: &[u8]| bytes.windows(needle.len()).any(|part| part == needle);
    needles()
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
    for user in [&user, &recalling] {
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
