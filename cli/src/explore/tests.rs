//! The server over real sockets, and builds made by hand for it.

use std::collections::BTreeMap;
use std::path::Path as FilePath;

use dagop::event::{
    BuildEnd, BuildFinished, BuildStarted, CallEnd, CallFinished, CallStarted, Event, Lowered,
    PlannedVertex, VertexUpdate,
};
use dagop::ledger::{
    BuildState, CacheRows, CallRow, DagOpKind, Ledger, Outcome, VertexKind, VertexRow, path_in,
};
use dagop::report::Summary;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::*;

/// A call on the call with the number `parent`; its keys follow from its text.
pub(super) fn step(display: &str, parent: Option<u64>) -> CallRow {
    CallRow {
        call: 0,
        parent,
        path: display.split('(').next().unwrap_or_default().to_owned(),
        display: display.to_owned(),
        call_key: format!("blake3:{display}"),
        scopes: Vec::new(),
        storage_key: format!("blake3:{display}"),
        kind: DagOpKind::Ctr,
        vertex: None,
        canonical: Some(format!("sha256:canonical {display}")),
        predicted_cache_map: Some(format!("sha256:map {display}")),
        other_vertices: Vec::new(),
        outcome: Outcome::Executed,
        bytes: 0,
        started_ms: 1000,
        finished_ms: Some(1500),
        error_class: None,
    }
}

/// A build of these calls, each with a vertex of its own.
pub(super) fn report(steps: &[CallRow]) -> Report {
    let mut calls = steps.to_vec();
    let mut vertices = Vec::new();
    for (number, call) in (1..).zip(&mut calls) {
        let raw = format!("sha256:raw {number}");
        call.call = number;
        call.path = format!("{}.{}", call.parent.unwrap_or_default(), call.path);
        call.vertex = Some(raw.clone());
        vertices.push(VertexRow {
            number,
            raw,
            canonical: call.canonical.clone(),
            name: call.display.clone(),
            kind: VertexKind::Exec,
            predicted_cache_map: call.predicted_cache_map.clone(),
            outcome: call.outcome,
            bytes: 0,
            started_ms: Some(1000),
            completed_ms: Some(1500),
            ignore_cache: false,
        });
    }
    let summary = Summary {
        calls: calls.len() as u64,
        calls_by_outcome: BTreeMap::new(),
        vertices: vertices.len() as u64,
        vertices_by_outcome: BTreeMap::new(),
        bytes: 0,
        wall_ms: Some(600),
    };
    let build = BuildRow {
        number: Some(1),
        id: "0123456789abcdef".into(),
        state: BuildState::Succeeded,
        started_ms: 900,
        finished_ms: Some(1500),
        daemon: "unix:///run/bk.sock".into(),
        daemon_version: "v0.32.2".into(),
        daemon_ref: None,
        rows_dropped: 0,
    };
    Report {
        build,
        summary,
        calls,
        vertices,
        cache: CacheRows::default(),
        notices: Vec::new(),
    }
}

/// Records a chain of two calls, of which the second has a vertex; the build's id.
async fn record(state: &FilePath, text: &str) -> String {
    let recorder = Ledger::start(path_in(state)).record();
    let build = recorder.build().to_owned();
    recorder.observe(&Event::BuildStarted(BuildStarted {
        build: build.clone(),
        daemon: "unix:///run/bk.sock".into(),
        daemon_version: "v0.32.2".into(),
        daemon_ref: None,
        at_ms: 1000,
    }));
    for (call, parent, display) in [(1, None, "container"), (2, Some(1), text)] {
        recorder.observe(&Event::CallStarted(CallStarted {
            call,
            parent,
            path: "container".into(),
            display: display.into(),
            call_key: format!("blake3:{call:064}"),
            scopes: Vec::new(),
            storage_key: format!("blake3:{call:064}"),
            at_ms: 1010,
        }));
        recorder.observe(&Event::CallFinished(CallFinished {
            call,
            end: CallEnd::Ran,
            error: None,
            at_ms: 1020,
        }));
    }
    let raw = format!("sha256:{:064}", 7);
    let vertex = PlannedVertex {
        raw: raw.clone(),
        canonical: raw.clone(),
        name: text.into(),
        kind: VertexKind::Exec,
        predicted_cache_map: None,
        operation: None,
    };
    recorder.observe(&Event::Lowered(Lowered {
        call: 2,
        kind: DagOpKind::Ctr,
        vertices: vec![vertex],
    }));
    recorder.observe(&Event::Vertex(VertexUpdate {
        digest: raw,
        name: text.into(),
        started_ms: Some(1030),
        completed_ms: Some(1090),
        cached: false,
        not_needed: false,
        error: None,
    }));
    recorder.observe(&Event::BuildFinished(BuildFinished {
        end: BuildEnd::Succeeded,
        at_ms: 1100,
    }));
    assert_eq!(recorder.finish().await.notices, [""; 0]);
    build
}

/// A running server over a ledger with the builds of the test.
struct Running {
    state: tempfile::TempDir,
    builds: Vec<String>,
    /// `http://127.0.0.1:PORT/KEY/?build=...`
    url: String,
    ticket: String,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), CliError>>,
}

/// Status, head and body of an answer.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn start(texts: &[&str]) -> Running {
    let state = tempfile::tempdir().unwrap();
    let mut builds = Vec::new();
    for text in texts {
        builds.push(record(state.path(), text).await);
    }
    let explorer = Explorer::bind(Source::Ledger(path_in(state.path())), 0)
        .await
        .unwrap();
    let build = builds.last().map_or("last", String::as_str);
    let url = explorer.url(build, None);
    let ticket = explorer.ticket(build, None).unwrap();
    let cancel = CancellationToken::new();
    let task = tokio::spawn(explorer.run(cancel.clone()));
    Running {
        state,
        builds,
        url,
        ticket,
        cancel,
        task,
    }
}

impl Running {
    fn host(&self) -> &str {
        self.url.split('/').nth(2).unwrap()
    }

    fn key(&self) -> &str {
        self.url.split('/').nth(3).unwrap()
    }

    /// Asks with a request line's beginning and headers of the test's choice.
    async fn ask(&self, method: &str, path: &str, host: &str, headers: &str) -> Answer {
        let mut stream = TcpStream::connect(self.host()).await.unwrap();
        let request = format!(
            "{method} {path} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{headers}\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        let answer = String::from_utf8(answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        Answer {
            status: head[9..12].parse().unwrap(),
            head: head.to_owned(),
            body: body.to_owned(),
        }
    }

    /// Asks as the page does.
    async fn get(&self, below: &str) -> Answer {
        let path = format!("/{}/{below}", self.key());
        self.ask("GET", &path, self.host(), "").await
    }

    async fn json(&self, below: &str) -> Value {
        let answer = self.get(below).await;
        assert_eq!(answer.status, 200, "{}", answer.body);
        assert!(
            answer.head.contains("content-type: application/json"),
            "{}",
            answer.head
        );
        serde_json::from_str(&answer.body).unwrap()
    }
}

#[tokio::test]
async fn the_page_and_its_files_are_served_under_a_strict_policy() {
    let server = start(&["x"]).await;
    let page = server.get("?build=last").await;
    assert_eq!(page.status, 200);
    assert!(
        page.head.contains("content-type: text/html"),
        "{}",
        page.head
    );
    assert!(
        page.head
            .contains("content-security-policy: default-src 'none'; script-src 'self'"),
        "{}",
        page.head
    );
    assert!(
        page.head.contains("referrer-policy: no-referrer"),
        "{}",
        page.head
    );
    assert_eq!(server.get("main.js").await.status, 200);
    let missing = server.get("../main.js").await;
    assert_ne!(missing.status, 200);
    assert!(
        missing.head.contains("content-security-policy"),
        "also on errors: {}",
        missing.head
    );
    assert_eq!(server.get("secret.js").await.status, 404);
}

#[tokio::test]
async fn a_build_is_columns_of_equal_length() {
    let server = start(&["withExec(args: [\"</script><b>\"])"]).await;
    let json = server.json("api/builds/last").await;
    assert_eq!(json["build"]["id"], server.builds[0].as_str());
    assert_eq!(json["summary"]["calls"], 2);
    for (table, rows) in [("calls", 2), ("vertices", 1)] {
        for (column, cells) in json[table].as_object().unwrap() {
            assert_eq!(cells.as_array().unwrap().len(), rows, "{table} {column}");
        }
    }
    assert_eq!(json["calls"]["outcome"], json!(["computed", "executed"]));
    assert_eq!(
        json["calls"]["display"][1],
        "withExec(args: [\"</script><b>\"])"
    );
    assert_eq!(json["calls"]["vertex"], json!([null, 0]));
    assert_eq!(json["calls"]["storage_key"], json!([null, null]));
    assert_eq!(json["edges"], json!({"calls": [0, 1], "vertices": []}));
}

#[tokio::test]
async fn builds_are_listed_and_compared() {
    let server = start(&["withExec(args: [\"a\"])", "withExec(args: [\"b\"])"]).await;
    let builds = server.json("api/builds").await;
    assert_eq!(builds["builds"].as_array().unwrap().len(), 2);
    let (a, b) = (&server.builds[0], &server.builds[1]);
    let pairs = server.json(&format!("api/compare/{a}/{b}")).await;
    assert_eq!(
        pairs["calls"],
        json!({"a": [0, 1], "b": [0, 1], "differs": [0, 0]})
    );
    assert_eq!(pairs["differences"][0], "call key");
    assert_eq!(pairs["reasons"], json!([null]));
}

#[tokio::test]
async fn an_unknown_build_is_an_error_that_says_so() {
    let server = start(&["x"]).await;
    let unknown = server.get("api/builds/ffffffffffffffffff").await;
    assert_eq!(unknown.status, 404);
    assert!(
        unknown
            .body
            .contains("no recorded build has an id that begins with"),
        "{}",
        unknown.body
    );
    assert_eq!(server.get("api/builds/%27%3B--").await.status, 404);
    assert_eq!(server.get("api/compare/last/no").await.status, 404);
    std::fs::remove_file(path_in(server.state.path())).unwrap();
    let gone = server.get("api/builds/last").await;
    assert!(
        gone.status == 404 && gone.body.contains("no build has been recorded"),
        "{}",
        gone.body
    );
}

#[tokio::test]
async fn only_the_whole_address_opens_the_door() {
    let server = start(&["x"]).await;
    let (host, key) = (server.host(), server.key());
    let mut almost = key.to_owned();
    almost.replace_range(..1, if key.starts_with('A') { "B" } else { "A" });
    for path in [
        "/",
        "/api/builds",
        "/favicon.ico",
        &format!("/{almost}/"),
        &format!("/x/{key}/"),
    ] {
        let refused = server.ask("GET", path, host, "").await;
        assert_eq!(refused.status, 403, "{path}");
        assert!(!refused.body.contains(key) && refused.body.contains("dagop explore"));
    }
    let post = server
        .ask(
            "POST",
            &format!("/{key}/api/builds"),
            host,
            "Content-Length: 0\r\n",
        )
        .await;
    assert_eq!(post.status, 405);
    assert!(!format!("{:?}", Guard::new(1).unwrap()).contains("key"));
}

#[tokio::test]
async fn another_name_for_this_address_gets_nothing() {
    let server = start(&["x"]).await;
    let path = format!("/{}/api/builds", server.key());
    let port = server.host().rsplit(':').next().unwrap();
    let hosts = [
        "evil.example".to_owned(),
        format!("evil.example:{port}"),
        "127.0.0.1".to_owned(),
        "127.0.0.1:1".to_owned(),
        String::new(),
    ];
    for host in hosts {
        assert_eq!(
            server.ask("GET", &path, &host, "").await.status,
            421,
            "{host}"
        );
    }
    let localhost = format!("localhost:{port}");
    assert_eq!(server.ask("GET", &path, &localhost, "").await.status, 200);
}

#[tokio::test]
async fn other_pages_get_no_data_though_links_work() {
    let server = start(&["x"]).await;
    let path = format!("/{}/api/builds", server.key());
    let ask = async |headers: &str| {
        server
            .ask("GET", &path, server.host(), headers)
            .await
            .status
    };
    assert_eq!(ask("Origin: http://evil.example\r\n").await, 403);
    assert_eq!(ask("Origin: null\r\n").await, 403);
    assert_eq!(
        ask("Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: no-cors\r\n").await,
        403
    );
    assert_eq!(
        ask("Sec-Fetch-Site: same-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: iframe\r\n")
            .await,
        403
    );
    assert_eq!(
        ask(
            "Sec-Fetch-Site: cross-site\r\nSec-Fetch-Mode: navigate\r\nSec-Fetch-Dest: document\r\n"
        )
        .await,
        200
    );
    let own = format!(
        "Origin: http://{}\r\nSec-Fetch-Site: same-origin\r\n",
        server.host()
    );
    assert_eq!(ask(&own).await, 200);
}

#[tokio::test]
async fn a_ticket_leads_to_the_page_once() {
    let server = start(&["x"]).await;
    let path = server
        .ticket
        .strip_prefix(&format!("http://{}", server.host()))
        .unwrap();
    let first = server.ask("GET", path, server.host(), "").await;
    assert_eq!(first.status, 303);
    assert!(
        first.head.contains(&format!("location: {}", server.url)),
        "{}",
        first.head
    );
    let second = server.ask("GET", path, server.host(), "").await;
    assert!(
        second.status == 410 && !second.body.contains(server.key()),
        "{}",
        second.body
    );
}

#[tokio::test]
async fn cancelling_ends_the_server() {
    let server = start(&["x"]).await;
    server.cancel.cancel();
    server.task.await.unwrap().unwrap();
    assert!(
        TcpStream::connect(server.url.split('/').nth(2).unwrap())
            .await
            .is_err()
    );
}
