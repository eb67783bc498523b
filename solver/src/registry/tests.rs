//! Against servers of the tests' own, which answer as registries and token servers do.

use std::collections::VecDeque;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use secrecy::ExposeSecret as _;
use tokio::net::TcpListener;
use tonic::async_trait;

use super::*;
use crate::backend::session::Credentials;

/// A secret that must be in no error.
const CANARY: &str = "canary-b2c4";

/// What a server was asked: method, path with query, authorization, body.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Asked {
    line: String,
    authorization: String,
    body: String,
}

/// What it answers: status, headers, body.
type Answer = (u16, Vec<(&'static str, String)>, Vec<u8>);

struct Server {
    address: String,
    asked: Arc<Mutex<Vec<Asked>>>,
}

impl Server {
    /// Answers each request with what `answer` makes of it.
    async fn start(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (answer, seen) = (Arc::new(answer), Arc::clone(&asked));
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                let service = service_fn(move |request| {
                    let (answer, seen) = (Arc::clone(&answer), Arc::clone(&seen));
                    async move {
                        let asked = read(request).await;
                        seen.lock().unwrap().push(asked.clone());
                        let (status, headers, body) = answer(&asked);
                        let mut response = Response::builder().status(status);
                        for (name, value) in headers {
                            response = response.header(name, value);
                        }
                        response.body(Full::new(Bytes::from(body)))
                    }
                });
                let connection = hyper::server::conn::http1::Builder::new();
                tokio::spawn(connection.serve_connection(TokioIo::new(stream), service));
            }
        });
        Self { address, asked }
    }

    fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }

    fn reference(&self) -> Reference {
        Reference::parse(&format!("{}/team/app:v1", self.address)).unwrap()
    }

    async fn open(&self, own: Option<(&str, &str)>) -> Repository {
        let auth = Fixed(own.map(|(user, secret)| Credentials {
            username: user.into(),
            secret: secret.into(),
        }));
        let reference = self.reference();
        let opened = Repository::open(&reference, Arc::new(auth), Trust::Secure);
        opened.await.unwrap()
    }
}

async fn read(request: ::http::Request<Incoming>) -> Asked {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Asked {
        line: format!("{} {}", parts.method, parts.uri),
        authorization: text(&parts.headers, ::http::header::AUTHORIZATION).unwrap_or_default(),
        body: String::from_utf8(body.to_vec()).unwrap(),
    }
}

struct Fixed(Option<Credentials>);

#[async_trait]
impl AuthProvider for Fixed {
    async fn credentials(&self, _: &str) -> Result<Option<Credentials>, String> {
        Ok(self.0.clone())
    }
}

fn ok(body: &[u8]) -> Answer {
    (200, Vec::new(), body.to_vec())
}

/// Lets in who has the token, and names a token server.
fn with_token(asked: &Asked, realm: &str) -> Answer {
    if asked.authorization == "Bearer good" {
        return ok(b"{}");
    }
    let challenge =
        format!(r#"Bearer realm="{realm}",service="a b",scope="repository:team/app:pull""#);
    (401, vec![("www-authenticate", challenge)], Vec::new())
}

/// A token server, and a registry that sends everybody there.
async fn pair(give: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> (Server, Server) {
    let tokens = Server::start(give).await;
    let realm = format!("http://{}/token", tokens.address);
    let registry = Server::start(move |asked| with_token(asked, &realm)).await;
    (registry, tokens)
}

fn good_token(_: &Asked) -> Answer {
    ok(br#"{"token":"good"}"#)
}

#[tokio::test]
async fn a_token_is_fetched_once_with_user_and_password() {
    let (registry, tokens) = pair(good_token).await;
    let repository = registry.open(Some(("user", CANARY))).await;
    let found = repository.manifest(&registry.reference()).await.unwrap();
    assert_eq!(found.digest, Digest::sha256(b"{}"));
    assert!(repository.stat(&found.digest).await.unwrap().is_some());
    let asked = tokens.asked();
    let [token] = &asked[..] else {
        panic!("{asked:?}")
    };
    let query = "scope=repository%3Ateam%2Fapp%3Apull&service=a+b";
    assert_eq!(token.line, format!("GET /token?{query}"));
    assert!(token.authorization.starts_with("Basic "), "{token:?}");
    let lines: Vec<String> = registry.asked().into_iter().map(|a| a.line).collect();
    let manifest = "GET /v2/team/app/manifests/v1";
    let blob = format!("HEAD /v2/team/app/blobs/{}", found.digest);
    assert_eq!(lines, [manifest, manifest, blob.as_str()]);
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_an_anonymous_user_asks_without() {
    let (registry, tokens) = pair(|_| ok(br#"{"access_token":"good"}"#)).await;
    let repository = registry.open(Some(("", CANARY))).await;
    repository.manifest(&registry.reference()).await.unwrap();
    let asked = tokens.asked();
    assert_eq!(asked[0].line, "POST /token");
    assert!(asked[0].authorization.is_empty());
    for part in [
        "grant_type=refresh_token",
        &format!("refresh_token={CANARY}"),
    ] {
        assert!(asked[0].body.contains(part), "{asked:?}");
    }
    let repository = registry.open(None).await;
    repository.manifest(&registry.reference()).await.unwrap();
    let anonymous = &tokens.asked()[1];
    assert!(anonymous.line.starts_with("GET ") && anonymous.authorization.is_empty());
}

/// Why the manifest is not given.
async fn refusal(repository: &Repository, registry: &Server) -> String {
    let manifest = repository.manifest(&registry.reference()).await;
    manifest.unwrap_err().to_string()
}

#[tokio::test]
async fn who_is_not_let_in_is_told_why_and_no_secret() {
    let (registry, _tokens) = pair(|_| (401, Vec::new(), CANARY.into())).await;
    let cases = [
        (Some(("user", CANARY)), "refuses these credentials (401)"),
        (None, "gives no token without credentials (401)"),
    ];
    for (own, expected) in cases {
        let repository = registry.open(own).await;
        let error = refusal(&repository, &registry).await;
        assert!(
            error.contains(expected) && error.contains("team/app"),
            "{error}"
        );
        assert!(!error.contains(CANARY), "{error}");
    }
    // A token that is none, and one that does not help.
    for (answer, expected) in [
        (&b"\"canary-b2c4\""[..], "it is no JSON object"),
        (b"{}", "it has no token"),
        (br#"{"token":"bad"}"#, "what it was given is not enough"),
        (b"{\"token\":\"a\\nb\"}", "characters of no header"),
    ] {
        let (registry, _tokens) = pair(|_| ok(answer)).await;
        let repository = registry.open(None).await;
        let error = refusal(&repository, &registry).await;
        assert!(
            error.contains(expected) && !error.contains(CANARY),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_password_is_sent_where_it_is_asked_for_and_nowhere_else() {
    let elsewhere = Server::start(|_| ok(b"blob")).await;
    let location = format!("http://{}/stored", elsewhere.address);
    let registry = Server::start(move |asked| match asked.authorization.is_empty() {
        true => (
            401,
            vec![("www-authenticate", r#"Basic realm="x""#.to_owned())],
            Vec::new(),
        ),
        false => (307, vec![("location", location.clone())], Vec::new()),
    })
    .await;
    let repository = registry.open(Some(("user", CANARY))).await;
    let digest = Digest::sha256(b"blob");
    assert_eq!(repository.blob(&digest, 4).await.unwrap(), b"blob");
    let asked = elsewhere.asked();
    assert_eq!(asked.len(), 1);
    assert!(asked[0].authorization.is_empty(), "{asked:?}");

    let repository = registry.open(None).await;
    let error = repository.stat(&digest).await.unwrap_err().to_string();
    assert!(
        error.contains("wants credentials, and there are none"),
        "{error}"
    );
}

#[tokio::test]
async fn what_does_not_fit_its_digest_or_the_limit_is_refused() {
    let registry = Server::start(|_| ok(b"blob")).await;
    let repository = registry.open(None).await;
    let other = Digest::sha256(b"other");
    let error = repository.blob(&other, 4).await.unwrap_err().to_string();
    assert!(
        error.contains("what came has the digest sha256:"),
        "{error}"
    );
    let error = repository.blob(&Digest::sha256(b"blob"), 3).await;
    let error = error.unwrap_err().to_string();
    assert!(error.contains("it has more than 3 bytes"), "{error}");
    let odd = Digest::parse(&format!("sha512:{}", "0".repeat(128))).unwrap();
    let error = repository.blob(&odd, 4).await.unwrap_err().to_string();
    assert!(error.contains("cannot be checked"), "{error}");
}

#[tokio::test]
async fn what_is_not_there_is_told_from_what_went_wrong() {
    let answers = [
        (404, String::new(), "has no manifest team/app:v1"),
        (
            403,
            r#"{"errors":[{"code":"DENIED","message":"not yours"}]}"#.to_owned(),
            "denies access to team/app: without credentials: not yours",
        ),
        (
            429,
            r#"{"errors":[{"code":"TOOMANYREQUESTS"}]}"#.to_owned(),
            "answers 429 for manifest team/app:v1: TOOMANYREQUESTS",
        ),
        (
            500,
            "<html>".to_owned(),
            "answers 500 for manifest team/app:v1",
        ),
    ];
    let list: VecDeque<_> = answers
        .iter()
        .map(|(status, body, _)| (*status, Vec::new(), body.clone().into_bytes()))
        .collect();
    let list = Mutex::new(list);
    let registry = Server::start(move |_| list.lock().unwrap().pop_front().unwrap()).await;
    let repository = registry.open(None).await;
    for (status, _, expected) in answers {
        let error = repository
            .manifest(&registry.reference())
            .await
            .unwrap_err();
        assert_eq!(error.is_not_found(), status == 404);
        assert!(error.to_string().contains(expected), "{error}");
    }
    let nobody = Reference::parse("127.0.0.1:1/a/b").unwrap();
    let auth = Arc::new(Fixed(None));
    let repository = Repository::open(&nobody, auth, Trust::Secure)
        .await
        .unwrap();
    let error = repository.manifest(&nobody).await.unwrap_err().to_string();
    assert!(error.starts_with("cannot ask 127.0.0.1:1: "), "{error}");
}

#[tokio::test]
async fn endless_redirects_end() {
    let registry = Server::start(|_| (307, vec![("location", "/again".into())], Vec::new())).await;
    let repository = registry.open(None).await;
    let error = repository.stat(&Digest::sha256(b"")).await.unwrap_err();
    assert!(
        error.to_string().contains("redirects more than 5 times"),
        "{error}"
    );
}

#[tokio::test]
async fn an_insecure_registry_may_speak_plain_http() {
    let registry = Server::start(|_| ok(b"{}")).await;
    let auth = Arc::new(Fixed(None));
    let opened = Repository::open(&registry.reference(), auth, Trust::Insecure).await;
    let found = opened.unwrap().manifest(&registry.reference()).await;
    assert_eq!(found.unwrap().bytes, b"{}");
}

#[tokio::test]
async fn a_repository_shows_nothing_of_what_it_was_granted() {
    let (registry, _tokens) = pair(good_token).await;
    let repository = registry.open(Some(("user", CANARY))).await;
    repository.manifest(&registry.reference()).await.unwrap();
    assert_eq!(repository.granted().unwrap().expose_secret(), "Bearer good");
    let shown = format!("{repository:?}");
    assert!(
        !shown.contains("good") && !shown.contains(CANARY),
        "{shown}"
    );
}
