//! Ways to a daemon: Docker upgrade, helper process, mutual TLS.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;

/// A Docker Engine as far as BuildKit is concerned: upgrades `POST /grpc` and
/// relays the rest of the connection to a buildkitd.
async fn fake_engine(listener: tokio::net::UnixListener, buildkitd: PathBuf) {
    while let Ok((mut client, _)) = listener.accept().await {
        let buildkitd = buildkitd.clone();
        tokio::spawn(async move {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(client.read_u8().await.expect("request"));
            }
            assert!(head.starts_with(b"POST /grpc HTTP/1.1\r\n"));
            let answer = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n";
            client.write_all(answer.as_bytes()).await.expect("answer");
            let mut daemon = tokio::net::UnixStream::connect(buildkitd)
                .await
                .expect("buildkitd");
            // Ends with an error when the test is over and the client closes.
            let _ = tokio::io::copy_bidirectional(&mut client, &mut daemon).await;
        });
    }
}

#[tokio::test]
async fn builds_run_through_a_docker_upgrade() {
    let Some(direct) = client().await else { return };
    let Address::BuildKit(super::address::Endpoint::Unix(socket)) = direct.address() else {
        // A Docker Engine needs no stand-in.
        return;
    };
    let dir = tempfile::tempdir().expect("temporary directory");
    let engine = dir.path().join("docker.sock");
    let listener = tokio::net::UnixListener::bind(&engine).expect("bind");
    let server = tokio::spawn(fake_engine(listener, socket.to_owned()));
    let address: Address = format!("docker+unix://{}", engine.display())
        .parse()
        .expect("address");
    let client = Client::connect(&address, &ConnectOptions::default())
        .await
        .expect("connected");
    let build = start(&client).await;
    let mut graph = Graph::default();
    let root = graph.files(&[("/a", b"docker")]);
    let tree = solve(&build, graph.definition(root)).await;
    assert_eq!(
        build.read_file(&tree, "/a", None).await.expect("read"),
        b"docker"
    );
    build
        .finish(BuildResult::single(Some(tree)))
        .await
        .expect("finished");
    server.abort();
}

#[tokio::test]
async fn a_helper_process_is_a_connection_and_its_death_is_explained() {
    let Some(direct) = client().await else { return };
    let Some(buildctl) = setting("BUILDKIT_TEST_BUILDCTL") else {
        return;
    };
    let script = format!(
        "exec 3<&0; {buildctl} --addr {} dial-stdio <&3 & relay=$!; sleep 2; kill -9 $relay; echo last words >&2; exit 5",
        direct.address()
    );
    let io = crate::backend::helper::HelperIo::spawn(&["sh".into(), "-c".into(), script])
        .expect("spawned");
    let client = Client::over(direct.address(), Box::new(io))
        .await
        .expect("connected");
    let build = start(&client).await;
    let error = tokio::time::timeout(HANG, build.ended_early())
        .await
        .expect("no hang");
    let Error::Disconnected { reason, .. } = error else {
        panic!("{error:?}")
    };
    assert_eq!(reason, r#""sh" ended (exit status: 5): last words"#);
}

/// Runs openssl in `dir`.
fn openssl(dir: &Path, arguments: &str) {
    let status = Command::new("openssl")
        .args(arguments.split(' '))
        .current_dir(dir)
        .stderr(Stdio::null())
        .stdout(Stdio::null())
        .status()
        .expect("the package openssl");
    assert!(status.success(), "openssl {arguments}");
}

/// Two authorities in `dir`, and a server and a client certificate of the first.
fn certificates(dir: &Path) {
    for ca in ["ca", "stranger"] {
        openssl(
            dir,
            &format!(
                "req -x509 -newkey rsa:2048 -nodes -keyout {ca}.key -out {ca}.pem -days 2 -subj /CN={ca}"
            ),
        );
    }
    for (name, extension) in [
        ("server", "subjectAltName=DNS:buildkitd.test"),
        ("client", "extendedKeyUsage=clientAuth"),
    ] {
        std::fs::write(dir.join("extension"), extension).expect("written");
        openssl(
            dir,
            &format!(
                "req -newkey rsa:2048 -nodes -keyout {name}.key -out {name}.csr -subj /CN={name}"
            ),
        );
        openssl(
            dir,
            &format!(
                "x509 -req -in {name}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -out {name}.pem -days 2 -extfile extension"
            ),
        );
    }
}

#[tokio::test]
async fn mutual_tls_lets_in_whom_it_should_and_nobody_else() {
    let Some(binary) = setting("BUILDKIT_TEST_BUILDKITD") else {
        return;
    };
    let dir = tempfile::tempdir().expect("temporary directory");
    certificates(dir.path());
    let port = std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|l| l.local_addr())
        .expect("a free port")
        .port();
    let file = |name: &str| dir.path().join(name);
    let mut arguments = vec!["--addr".to_owned(), format!("tcp://127.0.0.1:{port}")];
    for (option, name) in [
        ("--tlscacert", "ca.pem"),
        ("--tlscert", "server.pem"),
        ("--tlskey", "server.key"),
    ] {
        arguments.extend([option.to_owned(), file(name).display().to_string()]);
    }
    let daemon = Daemon::start_with(&binary, &arguments);
    connect_when_up(&daemon.socket()).await;

    let address: Address = format!("tcp://127.0.0.1:{port}").parse().expect("address");
    let identity = Identity {
        cert: file("client.pem"),
        key: file("client.key"),
    };
    let good = TlsConfig {
        ca: file("ca.pem"),
        identity: Some(identity),
        server_name: Some("buildkitd.test".to_owned()),
    };
    let connect = async |tls: Option<TlsConfig>| {
        let options = ConnectOptions {
            tls,
            ..ConnectOptions::default()
        };
        Client::connect(&address, &options).await
    };
    let client = connect(Some(good.clone())).await.expect("connected");
    let build = start(&client).await;
    build
        .finish(BuildResult::single(None))
        .await
        .expect("finished");

    let stranger = TlsConfig {
        ca: file("stranger.pem"),
        ..good.clone()
    };
    let other_name = TlsConfig {
        server_name: None,
        ..good.clone()
    };
    let anonymous = TlsConfig {
        identity: None,
        ..good.clone()
    };
    for tls in [Some(stranger), Some(other_name), Some(anonymous), None] {
        let error = connect(tls.clone()).await.expect_err("refused");
        assert!(
            matches!(error, Error::Unreachable { .. }),
            "{tls:?}: {error:?}"
        );
    }
    let mixed = Identity {
        cert: file("client.pem"),
        key: file("server.key"),
    };
    let error = connect(Some(TlsConfig {
        identity: Some(mixed),
        ..good
    }))
    .await
    .expect_err("no pair");
    assert!(
        error
            .to_string()
            .contains("does not go with the private key"),
        "{error}"
    );
}
