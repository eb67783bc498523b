//! The HTTP side of `dagop serve`, over real sockets, against an engine that only repeats: what is
//! tested here is what a client can get wrong, not what queries mean.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::body::BODY_BYTES_MAX;
use super::*;

/// Answers `{"query": <the document>}`, unless the document is one of a few words.
#[derive(Default)]
struct Echo {
    started: AtomicUsize,
    cancelled: AtomicUsize,
}

/// Counts when it is dropped before it is disarmed.
struct Dropped<'a>(&'a AtomicUsize);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl Execute for Echo {
    async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        self.started.fetch_add(1, Ordering::SeqCst);
        let mut response = Response::default();
        match request.query.as_str() {
            "fail" => response.errors.push(GraphQlError::input("no such thing")),
            "nonsense" => response.errors.push(
                GraphQlError::input("unexpected end")
                    .with_extension("code", "GRAPHQL_PARSE_FAILED"),
            ),
            "wait" => {
                let dropped = Dropped(&self.cancelled);
                cancel.cancelled().await;
                drop(dropped);
                response.errors.push(GraphQlError::cancelled());
            }
            query => {
                let data = json!({"query": query, "variables": request.variables});
                response.data = serde_json::value::RawValue::from_string(data.to_string()).ok();
            }
        }
        response
    }
}

impl Queries for Echo {
    fn cache_stats(&self) -> CacheStats {
        CacheStats::default()
    }
}

/// A running server.
struct Running {
    address: std::net::SocketAddr,
    echo: Arc<Echo>,
    cancel: CancellationToken,
    task: tokio::task::JoinHandle<Result<(), CliError>>,
}

async fn start(token: Option<&str>) -> Running {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let echo = Arc::new(Echo::default());
    let cancel = CancellationToken::new();
    let server = Server::new(Arc::clone(&echo), token.map(|token| token.parse().unwrap()));
    let task = tokio::spawn(server.run(listener, cancel.clone()));
    Running {
        address,
        echo,
        cancel,
        task,
    }
}

impl Running {
    /// Sends bytes and reads until the server closes.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8(answer).unwrap()
    }

    /// Posts a body; status line and body of the answer.
    async fn post(&self, headers: &str, body: &str) -> (u16, String) {
        let length = body.len();
        let answer = self
            .raw(&format!(
                "POST /query HTTP/1.1\r\nHost: dagger\r\nConnection: close\r\n\
                 Content-Length: {length}\r\n{headers}\r\n{body}"
            ))
            .await;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head[9..12].parse().unwrap(), format!("{head}\n{body}"))
    }

    async fn query(&self, query: &str) -> (u16, String) {
        self.post(TYPE, &json!({"query": query}).to_string()).await
    }

    /// Waits, without a clock, until a counter has reached a value.
    async fn until(counter: &AtomicUsize, value: usize) {
        while counter.load(Ordering::SeqCst) < value {
            tokio::task::yield_now().await;
        }
    }
}

const TYPE: &str = "Content-Type: application/json\r\n";

#[tokio::test]
async fn a_query_is_answered() {
    let server = start(None).await;
    let body = r#"{"query":"{a}","operationName":"","variables":{"x":1}}"#;
    let (status, answer) = server
        .post("Content-Type: application/json; charset=utf-8\r\n", body)
        .await;
    assert_eq!(status, 200);
    assert!(
        answer.contains("content-type: application/json\r\n"),
        "{answer}"
    );
    assert!(
        answer.ends_with(r#"{"data":{"query":"{a}","variables":{"x":1}}}"#),
        "{answer}"
    );
}

#[tokio::test]
async fn one_connection_serves_many_requests() {
    let server = start(None).await;
    let request = |connection| {
        format!(
            "POST /query HTTP/1.1\r\nHost: x\r\n{TYPE}Connection: {connection}\r\n\
             Content-Length: 14\r\n\r\n{{\"query\":\"{{a}}\"}}"
        )
        .replace("Content-Length: 14", "Content-Length: 15")
    };
    let answer = server
        .raw(&(request("keep-alive") + &request("close")))
        .await;
    assert_eq!(answer.matches("HTTP/1.1 200").count(), 2, "{answer}");
}

#[tokio::test]
async fn many_connections_with_many_requests_each_get_their_own_answers() {
    let server = Arc::new(start(None).await);
    let connection = |number: usize| {
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let requests: String = (0..8)
                .map(|nth| {
                    let body = json!({"query": format!("{{c{number}r{nth}}}")}).to_string();
                    let connection = if nth == 7 { "close" } else { "keep-alive" };
                    format!(
                        "POST /query HTTP/1.1\r\nHost: x\r\n{TYPE}Connection: {connection}\r\n\
                         Content-Length: {}\r\n\r\n{body}",
                        body.len()
                    )
                })
                .collect();
            (number, server.raw(&requests).await)
        })
    };
    let answers = futures::future::join_all((0..8).map(connection)).await;
    for answer in answers {
        let (number, answer) = answer.unwrap();
        let bodies: Vec<&str> = answer
            .split("HTTP/1.1 200 OK")
            .skip(1)
            .map(|answer| answer.split_once("\r\n\r\n").unwrap().1)
            .collect();
        let expected: Vec<String> = (0..8)
            .map(|nth| format!(r#"{{"data":{{"query":"{{c{number}r{nth}}}","variables":null}}}}"#))
            .collect();
        assert_eq!(bodies, expected);
    }
    assert_eq!(server.echo.started.load(Ordering::SeqCst), 64);
}

#[tokio::test]
async fn http2_with_prior_knowledge_serves_many_requests_at_once() {
    let server = start(Some("sesame")).await;
    let stream = TcpStream::connect(server.address).await.unwrap();
    let executor = hyper_util::rt::TokioExecutor::new();
    let io = hyper_util::rt::TokioIo::new(stream);
    let (sender, connection) = hyper::client::conn::http2::handshake(executor, io)
        .await
        .unwrap();
    let connection = tokio::spawn(connection);
    let user = base64::engine::general_purpose::STANDARD.encode("sesame:");
    let ask = |number: usize, authorization: String| {
        let mut sender = sender.clone();
        async move {
            let request = HttpRequest::post("http://dagger/query")
                .header(header::CONTENT_TYPE, JSON)
                .header(header::AUTHORIZATION, authorization)
                .body(format!(r#"{{"query":"{{q{number}}}"}}"#))
                .unwrap();
            let (head, body) = sender.send_request(request).await.unwrap().into_parts();
            let body = http_body_util::BodyExt::collect(body).await.unwrap();
            (head.status.as_u16(), body.to_bytes())
        }
    };
    let asked = (0..64).map(|number| ask(number, format!("Basic {user}")));
    for (number, (status, body)) in futures::future::join_all(asked).await.iter().enumerate() {
        assert_eq!(*status, 200);
        let expected = format!(r#"{{"data":{{"query":"{{q{number}}}","variables":null}}}}"#);
        assert_eq!(body, expected.as_bytes());
    }
    assert_eq!(ask(0, "Basic x".to_owned()).await.0, 401);
    drop(sender);
    connection.await.unwrap().unwrap();
}

#[tokio::test]
async fn headers_of_tracing_are_ignored_whatever_is_in_them() {
    let server = start(None).await;
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let long = "k=v,".repeat(2000);
    for headers in [
        format!("traceparent: {parent}\r\ntracestate: a=1,b=2\r\nbaggage: user=me;p=1,x=%20\r\n"),
        "traceparent: not one\r\nbaggage: ,,;=\r\n".to_owned(),
        format!("baggage: {long}\r\nbaggage: {long}\r\n"),
        "traceparent:\r\ntracestate:\r\nbaggage:\r\n".to_owned(),
    ] {
        let (status, answer) = server
            .post(&format!("{TYPE}{headers}"), r#"{"query":"{a}"}"#)
            .await;
        assert_eq!(status, 200, "{answer}");
        assert!(answer.ends_with(r#"{"data":{"query":"{a}","variables":null}}"#));
    }
}

#[tokio::test]
async fn a_compressed_request_is_answered_and_an_unknown_encoding_refused() {
    use std::io::Write as _;
    let server = start(None).await;
    let body = r#"{"query":"{a}"}"#;
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    encoder.write_all(body.as_bytes()).unwrap();
    let compressed = encoder.finish().unwrap();
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let head = format!(
        "POST /query HTTP/1.1\r\nHost: x\r\n{TYPE}Content-Encoding: gzip\r\n\
         Content-Length: {}\r\nConnection: close\r\n\r\n",
        compressed.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(&compressed).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains(r#""query":"{a}""#),
        "{answer}"
    );
    let (status, answer) = server
        .post(&format!("{TYPE}Content-Encoding: br\r\n"), body)
        .await;
    assert_eq!(status, 415);
    assert!(
        answer.contains("accept-encoding: gzip, identity\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn errors_of_execution_are_200_and_of_the_document_are_not() {
    let server = start(None).await;
    let (status, answer) = server.query("fail").await;
    assert_eq!(status, 200);
    assert!(answer.contains(r#""message":"no such thing""#) && answer.contains(r#""data":null"#));
    assert_eq!(server.query("nonsense").await.0, 422);
    let accept = "Accept: application/graphql-response+json, application/json\r\n";
    let (status, answer) = server
        .post(&format!("{TYPE}{accept}"), r#"{"query":"nonsense"}"#)
        .await;
    assert_eq!(status, 400);
    assert!(
        answer.contains("content-type: application/graphql-response+json\r\n"),
        "{answer}"
    );
}

#[tokio::test]
async fn what_is_not_a_request_is_refused() {
    let server = start(None).await;
    assert_eq!(server.post(TYPE, "{").await.0, 400);
    assert_eq!(server.post(TYPE, "[]").await.0, 400);
    assert_eq!(server.post(TYPE, r#"{"quer":"x"}"#).await.0, 400);
    assert_eq!(
        server.post(TYPE, r#"{"query":"x","variables":[]}"#).await.0,
        400
    );
    assert_eq!(server.post("", r#"{"query":"x"}"#).await.0, 415);
    assert_eq!(
        server
            .post("Content-Type: text/plain\r\n", r#"{"query":"x"}"#)
            .await
            .0,
        415
    );
    let (status, answer) = server
        .post(&format!("{TYPE}Origin: http://evil\r\n"), "{}")
        .await;
    assert_eq!(status, 403, "{answer}");
    assert!(
        server
            .raw("GET /query HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 405")
    );
    assert!(
        server
            .raw("GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert!(
        server
            .raw("\x16\x03\x01 hello\r\n\r\n")
            .await
            .starts_with("HTTP/1.1 400")
    );
    assert_eq!(
        server.echo.started.load(Ordering::SeqCst),
        0,
        "nothing reached the engine"
    );
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_by_its_announced_length() {
    let server = start(None).await;
    let length = BODY_BYTES_MAX + 1;
    let answer = server
        .raw(&format!(
            "POST /query HTTP/1.1\r\nHost: x\r\n{TYPE}Content-Length: {length}\r\n\r\n{{"
        ))
        .await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn only_the_token_opens_the_door() {
    let server = start(Some("s3cret")).await;
    let encode = |text: &str| base64::engine::general_purpose::STANDARD.encode(text);
    let with = |credentials: String| format!("{TYPE}Authorization: {credentials}\r\n");
    let body = r#"{"query":"{a}"}"#;
    let (status, answer) = server.post(TYPE, body).await;
    assert_eq!(status, 401);
    assert!(answer.contains("www-authenticate: Basic"), "{answer}");
    assert!(
        answer.ends_with('\n') && !answer.contains("s3cret"),
        "no body: {answer}"
    );
    for wrong in ["s3cre:", "s3cret2:", "x:s3cret", ":", ""] {
        assert_eq!(
            server
                .post(&with(format!("Basic {}", encode(wrong))), body)
                .await
                .0,
            401
        );
    }
    assert_eq!(
        server.post(&with("Bearer s3cret".into()), body).await.0,
        401
    );
    assert_eq!(server.post(&with("Basic %%%".into()), body).await.0, 401);
    assert_eq!(
        server
            .post(&with(format!("basic {}", encode("s3cret:any"))), body)
            .await
            .0,
        200
    );
    let page = with(format!("Basic {}", encode("s3cret:"))) + "Origin: http://localhost\r\n";
    assert_eq!(server.post(&page, body).await.0, 200);
}

#[tokio::test]
async fn the_caches_counts_are_behind_the_same_door() {
    let get = |headers: &str| {
        format!("GET {STATS_PATH} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
    };
    let open = start(None).await;
    let answer = open.raw(&get("")).await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    let body = answer.split("\r\n\r\n").nth(1).unwrap();
    let stats: CacheStats = serde_json::from_str(body).unwrap();
    assert!(stats.is_empty());
    let answer = open.raw(&get("Origin: https://page.example\r\n")).await;
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let closed = start(Some("sesame")).await;
    let answer = closed.raw(&get("")).await;
    assert!(answer.starts_with("HTTP/1.1 401"), "{answer}");
    let user = base64::engine::general_purpose::STANDARD.encode("sesame:");
    let answer = closed
        .raw(&get(&format!("Authorization: Basic {user}\r\n")))
        .await;
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
}

#[tokio::test]
async fn a_client_that_leaves_cancels_its_request_and_no_other() {
    let server = start(None).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    let body = r#"{"query":"wait"}"#;
    let request = format!(
        "POST /query HTTP/1.1\r\nHost: x\r\n{TYPE}Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    Running::until(&server.echo.started, 1).await;
    drop(stream);
    Running::until(&server.echo.cancelled, 1).await;
    assert_eq!(server.query("{a}").await.0, 200);
}

#[tokio::test]
async fn shutting_down_answers_what_is_under_way() {
    let server = start(None).await;
    let (echo, cancel) = (Arc::clone(&server.echo), server.cancel.clone());
    let stop = async move {
        Running::until(&echo.started, 1).await;
        cancel.cancel();
    };
    let ((status, answer), ()) = tokio::join!(server.query("wait"), stop);
    assert_eq!(status, 200);
    assert!(answer.contains("cancelled"), "{answer}");
    server.task.await.unwrap().unwrap();
    assert!(TcpStream::connect(server.address).await.is_err());
}
