//! Containers and processes.

use super::*;
use crate::backend::container::{Event, Exec, Mount};

/// A container with busybox as its root and the build that owns it.
async fn busybox(client: &Client) -> (Build, Container) {
    let build = start(client).await;
    let mut graph = Graph::default();
    let root = graph.busybox();
    let root = solve(&build, graph.definition(root)).await;
    let mounts = vec![Mount::of("/", Some(&root)), Mount::of("/work", None)];
    let container = NewContainer {
        mounts,
        hostname: "box".to_owned(),
        ..NewContainer::default()
    };
    let container = build.container(container).await.expect("container");
    (build, container)
}

fn sh(script: &str) -> Exec {
    Exec {
        args: ["/busybox", "sh", "-c", script].map(str::to_owned).to_vec(),
        ..Exec::default()
    }
}

#[tokio::test]
async fn processes_have_streams_an_exit_code_and_files() {
    let Some(client) = client().await else { return };
    let (_build, container) = busybox(&client).await;
    // The first process is the container's init and must outlive the others.
    let init = container
        .exec(Exec {
            stdin: true,
            ..sh("/busybox cat")
        })
        .await
        .expect("init");
    let script = "echo out; echo err >&2; echo file > /work/f; /busybox hostname";
    let process = container.exec(sh(script)).await.expect("started");
    let output = process.output().await.expect("ended");
    assert_eq!(output.stdout, b"out\nbox\n");
    assert_eq!(output.stderr, b"err\n");
    output.exit.ok().expect("success");
    assert_eq!(container.read_file(1, "/f").await.expect("read"), b"file\n");
    assert_eq!(container.stat_file(1, "/f").await.expect("stat").size, 5);
    let entries = container.read_dir(1, "/", "").await.expect("listed");
    assert_eq!(
        entries.iter().map(|e| e.name.as_str()).collect::<Vec<_>>(),
        ["f"]
    );

    let sent = Bytes::from(vec![b'x'; 3 << 20]);
    let input = init.input();
    let writer = {
        let (input, sent) = (input.clone(), sent.clone());
        tokio::spawn(async move {
            input.write(sent).await.expect("written");
            input.close().await.expect("closed");
        })
    };
    let output = init.output().await.expect("ended");
    writer.await.expect("writer");
    assert!(output.stdout == sent && output.exit.code == 0);
    input
        .write("late")
        .await
        .expect("ignored, like a closed pipe");
    container.release().await.expect("released");

    let (_build, container) = busybox(&client).await;
    let failing = container.exec(sh("exit 7")).await.expect("started");
    let output = failing.output().await.expect("ended");
    assert!(matches!(
        output.exit.ok(),
        Err(Error::Exec { exit_code: 7, .. })
    ));
    container.release().await.expect("released");
}

#[tokio::test]
async fn signals_terminals_and_missing_programs() {
    let Some(client) = client().await else { return };
    let (_build, container) = busybox(&client).await;
    let init = container.exec(sh(
        "trap 'echo caught; exit 3' TERM; echo ready; while :; do /busybox sleep 0.1; done",
    ));
    let mut init = init.await.expect("init");
    let mut seen = Vec::new();
    while !seen.ends_with(b"ready\n") {
        match init.next().await.expect("event").expect("running") {
            Event::Stdout(data) => seen.extend_from_slice(&data),
            other => panic!("unexpected {other:?}"),
        }
    }
    let script =
        r#"while [ "$(/busybox stty size)" != "33 101" ]; do /busybox sleep 0.1; done; echo sized"#;
    let tty = Exec {
        tty: true,
        stdin: true,
        ..sh(script)
    };
    let tty = container.exec(tty).await.expect("terminal");
    tty.input().resize(33, 101).await.expect("resized");
    let text = String::from_utf8(tty.output().await.expect("ended").stdout).expect("text");
    assert!(text.ends_with("sized\r\n"), "{text:?}");

    init.input().signal("TERM").await.expect("signalled");
    let output = init.output().await.expect("ended");
    assert_eq!(
        (output.stdout.as_slice(), output.exit.code),
        (&b"caught\n"[..], 3)
    );

    let (_build, container) = busybox(&client).await;
    let missing = Exec {
        args: vec!["/none".to_owned()],
        ..Exec::default()
    };
    let explanation = match container.exec(missing).await {
        Err(error) => error.to_string(),
        Ok(process) => {
            let output = process.output().await.expect("ended");
            let end = output.exit.ok().expect_err("no program");
            format!("{}{end}", String::from_utf8_lossy(&output.stderr))
        }
    };
    assert!(explanation.contains("/none"), "{explanation}");
}
