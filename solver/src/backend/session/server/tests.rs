//! A whole session in memory: a gRPC client plays the daemon over an in-memory socket.

use std::sync::Arc;

use proto::filesync::auth_client::AuthClient;
use proto::filesync::file_send_client::FileSendClient;
use proto::filesync::{BytesMessage, CredentialsRequest};
use proto::health::HealthCheckRequest;
use proto::health::health_check_response::ServingStatus;
use proto::health::health_client::HealthClient;
use proto::secrets::GetSecretRequest;
use proto::secrets::secrets_client::SecretsClient;
use proto::sshforward::CheckAgentRequest;
use proto::sshforward::ssh_client::SshClient;
use proto::upload::upload_client::UploadClient;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tonic::Request;
use tonic::transport::{Channel, Endpoint};

use super::*;
use crate::backend::session::{FileSendTargets, Secrets, Session, SshAgents, Target, Uploads};

/// Serves `config` in a task and connects to it.
async fn connect(config: SessionConfig) -> Channel {
    let (ours, theirs) = tokio::io::duplex(64 * 1024);
    tokio::spawn(async move { serve(ours, &config).await });
    let mut theirs = Some(TokioIo::new(theirs));
    let connector = tower::service_fn(move |_| {
        let io = theirs
            .take()
            .ok_or_else(|| std::io::Error::other("only one connection"));
        async move { io }
    });
    Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await
        .unwrap()
}

#[test]
fn every_announced_method_has_a_distinct_path() {
    let mut seen = std::collections::BTreeSet::new();
    for method in METHODS {
        assert!(
            method.starts_with('/') && method.matches('/').count() == 2,
            "{method}"
        );
        assert!(seen.insert(method), "{method}");
    }
}

/// An announced method that is not served would surprise the daemon in the middle of a build.
#[tokio::test]
async fn every_announced_method_is_routed() {
    let routes = routes(&SessionConfig::default());
    for method in METHODS {
        let request = http::Request::post(method)
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::empty())
            .unwrap();
        let response = tower::ServiceExt::oneshot(routes.clone(), request)
            .await
            .unwrap();
        let status = response
            .headers()
            .get("grpc-message")
            .map_or("", |m| m.to_str().unwrap());
        let code = response
            .headers()
            .get("grpc-status")
            .map_or("", |m| m.to_str().unwrap());
        // The router's own answer to an unknown path is Unimplemented without a message.
        assert!(
            code != "12" || !status.is_empty(),
            "{method} is announced but not served"
        );
    }
}

#[tokio::test]
async fn health_is_serving() {
    let channel = connect(SessionConfig::default()).await;
    let response = HealthClient::new(channel)
        .check(HealthCheckRequest::default())
        .await
        .unwrap();
    assert_eq!(response.into_inner().status(), ServingStatus::Serving);
}

#[tokio::test]
async fn providers_can_be_filled_while_the_session_runs() {
    let secrets = Arc::new(Secrets::new());
    let channel = connect(SessionConfig {
        secrets: secrets.clone(),
        ..SessionConfig::default()
    })
    .await;
    let mut client = SecretsClient::new(channel.clone());
    let request = || GetSecretRequest {
        id: "late".into(),
        ..Default::default()
    };
    assert_eq!(
        client.get_secret(request()).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
    secrets.add("late", b"value".to_vec());
    assert_eq!(
        client
            .get_secret(request())
            .await
            .unwrap()
            .into_inner()
            .data,
        "value"
    );
    let mut auth = AuthClient::new(channel);
    let anonymous = auth.credentials(CredentialsRequest {
        host: "reg.example".into(),
    });
    assert!(anonymous.await.unwrap().into_inner().secret.is_empty());
}

#[tokio::test]
async fn an_agent_is_reached_and_half_closed() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("agent");
    let listener = tokio::net::UnixListener::bind(&path).unwrap();
    let agent = tokio::spawn(async move {
        let (mut socket, _) = listener.accept().await.unwrap();
        let mut asked = Vec::new();
        socket.read_to_end(&mut asked).await.unwrap();
        socket
            .write_all(&[&b"answer to "[..], &asked].concat())
            .await
            .unwrap();
    });
    let agents = Arc::new(SshAgents::new());
    agents.insert("default", path);
    let mut client = SshClient::new(
        connect(SessionConfig {
            ssh: agents,
            ..SessionConfig::default()
        })
        .await,
    );
    client
        .check_agent(CheckAgentRequest { id: String::new() })
        .await
        .unwrap();
    let unknown = client
        .check_agent(CheckAgentRequest { id: "other".into() })
        .await
        .unwrap_err();
    assert_eq!(unknown.code(), tonic::Code::NotFound);

    let messages =
        ["que", "stion"].map(|part| proto::sshforward::BytesMessage { data: part.into() });
    let mut answers = client
        .forward_agent(futures::stream::iter(messages))
        .await
        .unwrap()
        .into_inner();
    let mut got = Vec::new();
    while let Some(message) = answers.message().await.unwrap() {
        got.extend_from_slice(&message.data);
    }
    assert_eq!(got, b"answer to question");
    agent.await.unwrap();
}

#[tokio::test]
async fn an_upload_is_pulled_once() {
    let uploads = Arc::new(Uploads::new());
    let data = vec![3u8; 200_000];
    let url = uploads.add(std::io::Cursor::new(data.clone()));
    let mut client = UploadClient::new(
        connect(SessionConfig {
            uploads,
            ..SessionConfig::default()
        })
        .await,
    );
    let request = || {
        let mut request = Request::new(futures::stream::empty());
        let path = url.strip_prefix("http://buildkit-session").unwrap();
        request
            .metadata_mut()
            .insert("urlpath", path.parse().unwrap());
        request
    };
    let mut messages = client.pull(request()).await.unwrap().into_inner();
    let mut got = Vec::new();
    while let Some(message) = messages.message().await.unwrap() {
        got.extend_from_slice(&message.data);
    }
    assert_eq!(got, data);
    assert_eq!(
        client.pull(request()).await.unwrap_err().code(),
        tonic::Code::NotFound
    );
}

#[tokio::test]
async fn an_export_file_is_received_through_the_raw_codec() {
    let dir = tempfile::tempdir().unwrap();
    let targets = Arc::new(FileSendTargets::new());
    targets.set(2, Target::File(dir.path().join("out")));
    let mut client = FileSendClient::new(
        connect(SessionConfig {
            targets,
            ..SessionConfig::default()
        })
        .await,
    );
    let request = |exporter: &str| {
        let parts = ["ab", "cd"].map(|part| BytesMessage { data: part.into() });
        let mut request = Request::new(futures::stream::iter(parts));
        request
            .metadata_mut()
            .insert("buildkit-attachable-exporter-id", exporter.parse().unwrap());
        request
    };
    let mut answers = client.diff_copy(request("2")).await.unwrap().into_inner();
    assert!(answers.message().await.unwrap().is_none());
    assert_eq!(
        std::fs::read_to_string(dir.path().join("out")).unwrap(),
        "abcd"
    );
    let missing = client.diff_copy(request("0")).await.unwrap_err();
    assert_eq!(missing.message(), "there is no target for exporter 0");
}

/// What answers here is no daemon: it has no `Control` service.
#[tokio::test]
async fn a_refused_session_stream_says_why() {
    let control =
        proto::control::control_client::ControlClient::new(connect(SessionConfig::default()).await);
    let error = Session::over_control(control, SessionConfig::default())
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("was not accepted by the daemon"),
        "{error}"
    );
}

#[tokio::test]
async fn the_end_of_the_connection_ends_the_server() {
    let (ours, theirs) = tokio::io::duplex(1024);
    drop(theirs);
    // Whether an early end counts as an error is hyper's choice; what matters is that serving ends.
    let _ = serve(ours, &SessionConfig::default()).await;
}
