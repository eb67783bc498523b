//! The session against a real daemon.
//!
//! `BUILDKIT_TEST_ADDR` names a running buildkitd. Without it these tests say that they are skipped, and pass; what
//! needs no daemon is tested beside its code. Commands run in a root that holds nothing but `/bin/busybox` of this
//! machine (Debian: busybox-static).

mod directories;
mod exports;
mod measure;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use snapshots::content::{ContentProvider, Memory};
use tokio::io::AsyncReadExt;

use super::*;
use crate::backend::{
    Address, CacheBackend, ConnectOptions, Exporter, ExporterResponse, SolveInput, SolveOptions,
    SolveRequest,
};
use crate::llb::exec::{Exec, Secret};
use crate::llb::file::{FileOp, MkfileOptions};
use crate::llb::source::{LocalOptions, OciLayoutOptions, OciStore, local, oci_layout};
use crate::llb::{Constraints, Definition, Output};

/// Everything a test needs: a connection, a session, and handles on its providers.
struct Live {
    client: Client,
    session: Session,
    dirs: Arc<LocalDirs>,
    targets: Arc<FileSendTargets>,
    secrets: Arc<Secrets>,
    stores: Arc<ContentStores>,
    ssh: Arc<SshAgents>,
    uploads: Arc<Uploads>,
    auth: Arc<RegistryAuth>,
    /// Makes names unique among runs against one daemon.
    run: String,
}

fn address() -> Option<Address> {
    let Some(address) = std::env::var("BUILDKIT_TEST_ADDR")
        .ok()
        .filter(|a| !a.is_empty())
    else {
        eprintln!("skipped: BUILDKIT_TEST_ADDR is not set");
        return None;
    };
    Some(address.parse().expect("BUILDKIT_TEST_ADDR is an address"))
}

impl Live {
    async fn start() -> Option<Self> {
        let client = Client::connect(&address()?, &ConnectOptions::default())
            .await
            .unwrap();
        let (dirs, targets) = (Arc::new(LocalDirs::new()), Arc::new(FileSendTargets::new()));
        let (ssh, uploads, auth) = (
            Arc::new(SshAgents::new()),
            Arc::new(Uploads::new()),
            Arc::new(RegistryAuth::new()),
        );
        let (secrets, stores) = (Arc::new(Secrets::new()), Arc::new(ContentStores::new()));
        let config = SessionConfig {
            local_dirs: dirs.clone(),
            targets: targets.clone(),
            secrets: secrets.clone(),
            content: stores.clone(),
            ssh: ssh.clone(),
            uploads: uploads.clone(),
            auth: auth.clone(),
            ..SessionConfig::default()
        };
        let session = Session::start(&client, config).await.unwrap();
        Some(Self {
            client,
            session,
            dirs,
            targets,
            secrets,
            stores,
            ssh,
            uploads,
            auth,
            run: new_id(),
        })
    }

    async fn solve(
        &self,
        output: &Output,
        options: SolveOptions,
    ) -> Result<ExporterResponse, crate::backend::Error> {
        let definition = Definition::marshal(Some(output), &Constraints::default()).to_pb();
        let options = SolveOptions {
            session: self.session.id().to_owned(),
            ..options
        };
        self.client
            .solve(SolveRequest::new(
                SolveInput::Definition(definition),
                options,
            ))
            .await
    }

    /// Builds `output` into exporter 0, whose target was set before.
    async fn export(
        &self,
        output: &Output,
        kind: &str,
        attrs: &[(&str, &str)],
    ) -> ExporterResponse {
        let attrs = attrs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect();
        let exporters = vec![Exporter {
            kind: kind.to_owned(),
            attrs,
        }];
        self.solve(
            output,
            SolveOptions {
                exporters,
                ..SolveOptions::default()
            },
        )
        .await
        .unwrap()
    }

    /// Builds `output` into a fresh directory.
    async fn export_dir(&self, output: &Output) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        self.targets
            .set(0, Target::directory(dir.path().join("out")));
        self.export(output, "local", &[]).await;
        dir
    }
}

fn busybox() -> Output {
    let program = fs::read(crate::backend::tests::busybox_path()).expect("a static busybox");
    FileOp::new(None)
        .mkdir("/bin", 0o755, crate::llb::file::MkdirOptions::default())
        .mkfile(
            "/bin/busybox",
            0o755,
            program,
            MkfileOptions {
                timestamp: Some(0),
                ..MkfileOptions::default()
            },
        )
        .build(Constraints::default())
        .unwrap()
}

/// Runs a shell command; the result is the directory `/out`.
fn shell(script: &str, secrets: Vec<Secret>) -> Output {
    let mount = crate::llb::exec::Mount::bind("/out", None);
    let mut exec = Exec::new(Some(busybox()), ["/bin/busybox", "sh", "-c", script]).mount(mount);
    for secret in secrets {
        exec = exec.secret(secret);
    }
    exec.build().unwrap().mount("/out").unwrap().clone()
}

#[tokio::test]
async fn a_secret_reaches_the_step_and_a_missing_one_fails_it() {
    let Some(live) = Live::start().await else {
        return;
    };
    let (id, missing) = (
        format!("token-{}", live.run),
        format!("missing-{}", live.run),
    );
    live.secrets.add(id.clone(), b"s3cret".to_vec());
    let script = "cat /run/token > /out/token; test ! -e /run/other && echo none > /out/other";
    let script = script.replace("cat", "/bin/busybox cat");
    let secrets = vec![
        Secret::file(&id, "/run/token"),
        Secret::file(&missing, "/run/other").optional(),
    ];
    let out = live.export_dir(&shell(&script, secrets)).await;
    assert_eq!(
        fs::read_to_string(out.path().join("out/token")).unwrap(),
        "s3cret"
    );
    assert_eq!(
        fs::read_to_string(out.path().join("out/other")).unwrap(),
        "none\n"
    );

    let required = shell("true", vec![Secret::file(&missing, "/run/other")]);
    let error = live
        .solve(&required, SolveOptions::default())
        .await
        .unwrap_err();
    assert!(error.to_string().contains(&missing), "{error}");
}

/// An image is exported into a store of this process, and then used as the source of another build.
#[tokio::test]
async fn an_image_travels_through_a_content_store_both_ways() {
    let Some(live) = Live::start().await else {
        return;
    };
    let marker = format!("marker {}", live.run);
    let tree = FileOp::new(None)
        .mkfile("/marker", 0o644, marker.clone(), MkfileOptions::default())
        .build(Constraints::default())
        .unwrap();
    let store = Memory::new();
    live.stores.insert("export", Arc::new(store.clone()));
    let response = live.export(&tree, "oci", &[("tar", "false")]).await;
    let digest = &response["containerimage.digest"];
    assert!(
        store
            .list()
            .unwrap()
            .iter()
            .any(|blob| blob.digest.as_str() == digest)
    );

    live.stores.insert("oci:layout", Arc::new(store));
    let options = OciLayoutOptions {
        store: OciStore {
            store_id: Some("layout".into()),
            session_id: Some(live.session.id().to_owned()),
        },
        ..OciLayoutOptions::default()
    };
    let image = oci_layout(&format!("example.org/{}@{digest}", live.run), options).unwrap();
    let out = live.export_dir(&image).await;
    assert_eq!(
        fs::read_to_string(out.path().join("out/marker")).unwrap(),
        marker
    );
}

#[tokio::test]
async fn a_local_cache_is_written_and_read_through_the_session() {
    let Some(live) = Live::start().await else {
        return;
    };
    let store = Memory::new();
    live.stores.insert("local:/cache", Arc::new(store.clone()));
    let step = shell(&format!("echo {} > /out/x", live.run), Vec::new());
    let cache = |attrs: &[(&str, &str)]| CacheBackend {
        kind: "local".into(),
        attrs: attrs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
    };
    let options = SolveOptions {
        cache_exports: vec![cache(&[("dest", "/cache"), ("mode", "max")])],
        ..SolveOptions::default()
    };
    let response = live.solve(&step, options).await.unwrap();
    let manifest: serde_json::Value = serde_json::from_str(&response["cache.manifest"]).unwrap();
    let digest = manifest["digest"].as_str().unwrap();
    assert!(
        store
            .list()
            .unwrap()
            .iter()
            .any(|blob| blob.digest.as_str() == digest)
    );
    let options = SolveOptions {
        cache_imports: vec![cache(&[("src", "/cache"), ("digest", digest)])],
        ..SolveOptions::default()
    };
    live.solve(&step, options).await.unwrap();
}

#[tokio::test]
async fn a_closed_session_is_gone_for_the_daemon() {
    let Some(live) = Live::start().await else {
        return;
    };
    live.dirs.insert("src", LocalDir::new("/"));
    let id = live.session.id().to_owned();
    live.session.close().await;
    let definition = Definition::marshal(
        Some(&local("src", LocalOptions::default())),
        &Constraints::default(),
    );
    let options = SolveOptions {
        session: id,
        ..SolveOptions::default()
    };
    let request = SolveRequest::new(SolveInput::Definition(definition.to_pb()), options);
    assert!(live.client.solve(request).await.is_err());
}

#[tokio::test]
async fn an_ssh_mount_finds_its_agent_or_says_that_there_is_none() {
    let Some(live) = Live::start().await else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let _listener = std::os::unix::net::UnixListener::bind(dir.path().join("agent")).unwrap();
    let id = format!("agent-{}", live.run);
    let step = || {
        let agent = crate::llb::exec::SshAgent::new(&id).target("/run/agent");
        let exec = Exec::new(
            Some(busybox()),
            ["/bin/busybox", "test", "-S", "/run/agent"],
        )
        .ssh_agent(agent);
        exec.build().unwrap().root().unwrap().clone()
    };
    let error = live
        .solve(&step(), SolveOptions::default())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("no SSH agent is offered"),
        "{error}"
    );
    live.ssh.insert(&id, dir.path().join("agent"));
    live.solve(&step(), SolveOptions::default()).await.unwrap();
}

#[tokio::test]
async fn an_upload_becomes_a_source() {
    let Some(live) = Live::start().await else {
        return;
    };
    let url = live.uploads.add(std::io::Cursor::new(vec![9; 100_000]));
    let options = crate::llb::source::HttpOptions {
        filename: Some("data".into()),
        ..Default::default()
    };
    let out = live
        .export_dir(&crate::llb::source::http(&url, options).unwrap())
        .await;
    assert_eq!(
        fs::read(out.path().join("out/data")).unwrap(),
        vec![9; 100_000]
    );
}

/// `BUILDKIT_TEST_PRIVATE_REGISTRY` is `host:port user password` of a registry that the daemon reaches without TLS.
#[tokio::test]
async fn a_private_registry_accepts_the_sessions_credentials() {
    let Some(live) = Live::start().await else {
        return;
    };
    let Ok(registry) = std::env::var("BUILDKIT_TEST_PRIVATE_REGISTRY") else {
        return;
    };
    let [host, user, password] = registry.split(' ').collect::<Vec<_>>()[..] else {
        panic!("three words")
    };
    let name = format!("{host}/session-{}", live.run);
    let attrs = |auth: &str| {
        BTreeMap::from([
            ("name".into(), format!("{name}:{auth}")),
            ("push".into(), "true".into()),
        ])
    };
    let push = |auth: &str| SolveOptions {
        exporters: vec![Exporter {
            kind: "image".into(),
            attrs: attrs(auth),
        }],
        ..SolveOptions::default()
    };
    let error = live.solve(&busybox(), push("anonymous")).await.unwrap_err();
    assert!(!error.to_string().contains(password), "{error}");
    live.auth.add(host, user, password.to_owned());
    live.solve(&busybox(), push("known")).await.unwrap();
}
