//! Gateway builds: reading results, failures, progress, refusal.

use futures::StreamExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::*;
use crate::backend::container::{Mount, MountSource};
use crate::backend::gateway::{FileKind, ImageQuery, SourceQuery};
use crate::backend::history::{HistoryQuery, HistoryUpdate};

#[tokio::test]
async fn files_of_a_result_can_be_read_in_parts() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    assert!(
        build.capabilities().supports("readfile")
            && build.capabilities().supports_llb("exec.meta.base")
    );
    let mut graph = Graph::default();
    let root = graph.files(&[("/a", b"0123456789"), ("/b", b""), ("/c.txt", b"c")]);
    let tree = solve(&build, graph.definition(root)).await;
    assert!(
        tree.definition()
            .is_some_and(|definition| definition.def.len() == 2)
    );
    build.evaluate(&tree).await.expect("evaluated");

    let read = async |range| build.read_file(&tree, "/a", range).await.expect("read");
    assert_eq!(read(None).await, b"0123456789");
    assert_eq!(read(Some(2..5)).await, b"234");
    assert_eq!(read(Some(8..100)).await, b"89");
    assert_eq!(read(Some(50..60)).await, b"");
    assert_eq!(read(Some(3..3)).await, b"");
    assert_eq!(
        build.read_file(&tree, "/b", None).await.expect("empty"),
        b""
    );
    let missing = build
        .read_file(&tree, "/none", None)
        .await
        .expect_err("no such file");
    assert!(missing.to_string().contains("no such file"), "{missing}");

    let names = async |include: &str| -> Vec<String> {
        let entries = build.read_dir(&tree, "/", include).await.expect("listed");
        entries.into_iter().map(|entry| entry.name).collect()
    };
    assert_eq!(names("").await, ["a", "b", "c.txt"]);
    assert_eq!(names("*.txt").await, ["c.txt"]);
    let stat = build.stat_file(&tree, "/a").await.expect("stat");
    assert_eq!(
        (stat.kind, stat.permissions, stat.size),
        (FileKind::Regular, 0o755, 10)
    );
    let response = build
        .finish(BuildResult::single(Some(tree)))
        .await
        .expect("finished");
    assert!(
        !response.contains_key("containerimage.digest"),
        "nothing was exported"
    );
}

#[tokio::test]
async fn a_file_above_the_message_limit_is_read_in_chunks() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    let mut graph = Graph::default();
    let root = graph.busybox();
    let script =
        "/busybox dd if=/dev/zero bs=1048576 count=20 of=/big 2>/dev/null; echo end >> /big";
    let root = graph.shell(root, script);
    let tree = solve(&build, graph.definition(root)).await;
    let bytes = build.read_file(&tree, "/big", None).await.expect("read");
    assert_eq!(bytes.len(), (20 << 20) + 4);
    assert!(bytes.ends_with(b"\0end\n"));
    let chunks: Vec<_> = build
        .file_chunks(&tree, "/big", Some(0..8 << 20))
        .collect()
        .await;
    assert_eq!(chunks.len(), 2);
}

#[tokio::test]
async fn scratch_is_a_result_without_a_ref() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    let result = build
        .solve(GatewaySolve::definition(pb::Definition::default()))
        .await
        .expect("solved");
    assert!(result.reference().is_none());
    build.finish(result).await.expect("finished");
}

#[tokio::test]
async fn a_failing_step_names_its_vertex_exit_code_and_filesystem() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    let mut graph = Graph::default();
    let root = graph.busybox();
    let failing = graph.shell(root, "echo trace > /trace; exit 9");
    let solve = GatewaySolve {
        evaluate: true,
        ..GatewaySolve::definition(graph.definition(failing.clone()))
    };
    let error = build.solve(solve).await.expect_err("it fails");
    let Error::Exec {
        vertex: Some(vertex),
        exit_code: 9,
        failure,
    } = &error
    else {
        panic!("{error:?}")
    };
    assert_eq!(
        vertex.as_str(),
        failing.digest,
        "the digest is the one we computed"
    );
    let text = error.to_string();
    assert!(
        text.contains("exit code: 9") && text.lines().count() == 1 && !text.contains(".go:"),
        "{text}"
    );

    let detail = failure.solve().expect("a solve detail");
    let root = Mount {
        source: MountSource::Result(detail.mount_ids[0].clone()),
        ..Mount::of("/", None)
    };
    let container = NewContainer {
        mounts: vec![root],
        ..NewContainer::default()
    };
    let container = build
        .container(container)
        .await
        .expect("the state at the failure");
    assert_eq!(
        container.read_file(0, "/trace").await.expect("left behind"),
        b"trace\n"
    );

    build.fail(failure).await.expect("reported");
    let query = HistoryQuery {
        reference: build.reference().to_owned(),
        present_only: true,
        ..Default::default()
    };
    let events: Vec<_> = client
        .history(query)
        .await
        .expect("history")
        .collect()
        .await;
    let record = &events[0].as_ref().expect("event").record;
    let recorded = client
        .history_failure(record)
        .await
        .expect("read")
        .expect("it failed");
    assert_eq!(recorded.exit_code(), Some(9), "{record:?}");
    assert_eq!(recorded.vertex(), Some(vertex));
    client
        .update_history(build.reference(), HistoryUpdate::Delete)
        .await
        .expect("deleted");
}

#[tokio::test]
async fn progress_is_complete_for_early_and_late_readers() {
    let Some(client) = client().await else { return };
    let build = start(&client).await;
    let mut early = build.updates();
    let mut graph = Graph::default();
    let root = graph.busybox();
    let step = graph.shell(root.clone(), "for i in 1 2 3; do echo line $i; done");
    let tree = solve(&build, graph.definition(step.clone())).await;
    build
        .finish(BuildResult::single(Some(tree)))
        .await
        .expect("finished");
    let mut late = build.updates();
    for updates in [&mut early, &mut late] {
        let (mut progress, mut log) = (Progress::new(), Vec::new());
        while let Some(update) = updates.next().await {
            let update = update.expect("no error");
            progress.apply(&update);
            log.extend(update.logs.iter().flat_map(|log| log.data.to_vec()));
        }
        assert_eq!(String::from_utf8_lossy(&log), "line 1\nline 2\nline 3\n");
        let vertex = progress
            .vertex(&step.digest.parse().expect("digest"))
            .expect("the vertex we computed");
        assert!(
            vertex.started <= vertex.completed
                && vertex.completed.is_some()
                && vertex.error.is_empty()
        );
        assert_eq!(vertex.inputs[0].as_str(), root.digest);
    }
}

#[tokio::test]
async fn a_refused_build_fails_at_its_start_with_the_daemons_reason() {
    let Some(client) = client().await else { return };
    let options = BuildOptions {
        entitlements: vec!["nonsense".to_owned()],
        ..BuildOptions::default()
    };
    let error = Build::start(&client, options).await.expect_err("refused");
    assert!(error.to_string().contains("nonsense"), "{error}");
    let exporters = vec![Exporter {
        kind: "nonsense".to_owned(),
        attrs: BTreeMap::new(),
    }];
    let error = Build::start(
        &client,
        BuildOptions {
            exporters,
            ..BuildOptions::default()
        },
    )
    .await
    .expect_err("refused");
    assert!(error.to_string().contains("nonsense"), "{error}");
    let options = BuildOptions {
        entitlements: vec!["security.insecure".to_owned()],
        ..BuildOptions::default()
    };
    let error = Build::start(&client, options).await.expect_err("refused");
    assert!(error.to_string().contains("security.insecure"), "{error}");
}

#[tokio::test]
async fn a_result_is_exported_when_the_build_finishes() {
    let Some(client) = client().await else { return };
    let attrs = [("name", "dagop.test/exported"), ("unpack", "false")];
    let attrs = attrs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into();
    let image = Exporter {
        kind: "image".to_owned(),
        attrs,
    };
    let options = BuildOptions {
        exporters: vec![image],
        ..BuildOptions::default()
    };
    let build = Build::start(&client, options).await.expect("started");
    let mut graph = Graph::default();
    let root = graph.files(&[("/a", b"exported")]);
    let tree = solve(&build, graph.definition(root)).await;
    let response = build
        .finish(BuildResult::single(Some(tree)))
        .await
        .expect("exported");
    assert!(
        response["containerimage.digest"].parse::<Digest>().is_ok(),
        "{response:?}"
    );
    let again = build
        .finish(BuildResult::single(None))
        .await
        .expect_err("it has ended");
    assert!(matches!(again, Error::Protocol(_)), "{again:?}");
}

#[tokio::test]
async fn sources_are_resolved_and_warnings_are_progress() {
    let Some(client) = client().await else { return };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bind");
    let port = listener.local_addr().expect("address").port();
    let server = tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                head.push(stream.read_u8().await.expect("request"));
            }
            let body = if head.starts_with(b"HEAD") {
                ""
            } else {
                "text"
            };
            let answer =
                format!("HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\n{body}");
            stream.write_all(answer.as_bytes()).await.expect("answer");
        }
    });
    let build = start(&client).await;
    let source = |identifier: String| pb::SourceOp {
        identifier,
        ..Default::default()
    };
    let query = SourceQuery {
        source: source(format!("http://127.0.0.1:{port}/f.txt")),
        ..SourceQuery::default()
    };
    let resolved = build.resolve_source(query).await.expect("resolved");
    let download = resolved.http.expect("a download");
    assert_eq!(download.checksum, Digest::sha256(b"text").to_string());
    assert_eq!(download.filename, "f.txt");
    server.abort();

    let query = ImageQuery {
        reference: format!("127.0.0.1:{port}/none:latest"),
        ..ImageQuery::default()
    };
    let error = build.resolve_image(query).await.expect_err("no registry");
    assert!(matches!(error, Error::Daemon(_)), "{error:?}");

    let vertex = Digest::sha256(b"a vertex");
    let warning = proto::gateway::WarnRequest {
        digest: vertex.to_string(),
        level: 1,
        short: Bytes::from_static(b"careful"),
        ..Default::default()
    };
    build.warn(warning).await.expect("warned");
    build
        .finish(BuildResult::single(None))
        .await
        .expect("finished");
    let progress = build.progress();
    let texts: Vec<_> = progress
        .warnings()
        .iter()
        .map(|w| (&w.vertex, &w.short[..]))
        .collect();
    assert_eq!(texts, [(&vertex, &b"careful"[..])]);
}
