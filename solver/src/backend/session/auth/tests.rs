//! Which credentials are found where, and what errors may not say.

use super::*;
use base64::Engine as _;

fn config(json: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.json"), json).unwrap();
    dir
}

fn auth_field(user: &str, password: &str) -> String {
    base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
}

async fn ask(auth: RegistryAuth, host: &str) -> Result<(String, String), Status> {
    let request = Request::new(CredentialsRequest {
        host: host.to_owned(),
    });
    let response = AuthService(Arc::new(auth))
        .credentials(request)
        .await?
        .into_inner();
    Ok((response.username, response.secret))
}

#[tokio::test]
async fn explicit_entries_win_over_the_docker_configuration() {
    let json = format!(
        r#"{{"auths":{{"reg.example:5000":{{"auth":"{}"}}}}}}"#,
        auth_field("file", "from-file")
    );
    let dir = config(&json);
    let auth = RegistryAuth::with_docker_config(DockerConfig::new(dir.path()));
    assert_eq!(
        ask(auth, "reg.example:5000").await.unwrap(),
        ("file".into(), "from-file".into())
    );

    let auth = RegistryAuth::with_docker_config(DockerConfig::new(dir.path()));
    auth.add(
        "https://Reg.Example:5000/team/image",
        "me",
        "explicit".to_owned(),
    );
    assert_eq!(
        ask(auth, "reg.example:5000").await.unwrap(),
        ("me".into(), "explicit".into())
    );
}

#[tokio::test]
async fn the_names_of_docker_hub_are_one_registry() {
    let json = format!(
        r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{}"}}}}}}"#,
        auth_field("hub", "pw")
    );
    let dir = config(&json);
    let auth = RegistryAuth::with_docker_config(DockerConfig::new(dir.path()));
    assert_eq!(
        ask(auth, "registry-1.docker.io").await.unwrap(),
        ("hub".into(), "pw".into())
    );

    let auth = RegistryAuth::new();
    auth.add("docker.io", "me", "pw".to_owned());
    assert_eq!(
        ask(auth, "registry-1.docker.io").await.unwrap(),
        ("me".into(), "pw".into())
    );
}

#[tokio::test]
async fn nothing_configured_is_anonymous() {
    let missing = RegistryAuth::with_docker_config(DockerConfig::new("/nonexistent/docker"));
    assert_eq!(
        ask(missing, "reg.example").await.unwrap(),
        (String::new(), String::new())
    );
    let dir = config(r#"{"auths":{"other.example":{"auth":"eDp5"}}}"#);
    let other = RegistryAuth::with_docker_config(DockerConfig::new(dir.path()));
    assert_eq!(
        ask(other, "reg.example").await.unwrap(),
        (String::new(), String::new())
    );
}

#[tokio::test]
async fn an_identity_token_has_no_user_name() {
    let dir = config(r#"{"auths":{"reg.example":{"identitytoken":"tok"}}}"#);
    let auth = RegistryAuth::with_docker_config(DockerConfig::new(dir.path()));
    assert_eq!(
        ask(auth, "reg.example").await.unwrap(),
        (String::new(), "tok".into())
    );
}

#[tokio::test]
async fn a_broken_configuration_is_an_error_that_names_file_and_host_only() {
    let dir = config(r#"{"auths":{"reg.example":{"auth":"!!hunter2!!"}}}"#);
    let auth = RegistryAuth::with_docker_config(DockerConfig::new(dir.path()));
    let status = ask(auth, "reg.example").await.unwrap_err();
    assert!(
        status.message().contains("reg.example") && status.message().contains("config.json"),
        "{status}"
    );
    assert!(!status.message().contains("hunter2"), "{status}");
}

/// A `credHelpers` program is found through `PATH`, which a test must not change; its answers are what matters here.
#[test]
fn a_helper_without_an_entry_means_anonymous_and_its_output_is_not_repeated() {
    let failure = |stdout: &str| CredentialRetrievalError::HelperFailure {
        helper: "docker-credential-x".into(),
        stdout: stdout.into(),
        stderr: "hunter2".into(),
    };
    assert!(
        explain(failure("credentials not found in native keychain\n"))
            .unwrap()
            .is_none()
    );
    let reason = explain(failure("hunter2")).unwrap_err();
    assert_eq!(reason, "credential helper docker-credential-x failed");
}

#[tokio::test]
async fn a_configured_helper_that_does_not_exist_is_an_error() {
    let dir = config(r#"{"credHelpers":{"reg.example":"surely-not-installed-here"}}"#);
    let auth = RegistryAuth::with_docker_config(DockerConfig::new(dir.path()));
    let status = ask(auth, "reg.example").await.unwrap_err();
    assert!(status.message().contains("helper"), "{status}");
}

#[tokio::test]
async fn an_unreadable_configuration_is_an_error() {
    let dir = config("{}");
    std::fs::remove_file(dir.path().join("config.json")).unwrap();
    std::fs::create_dir(dir.path().join("config.json")).unwrap();
    let auth = RegistryAuth::with_docker_config(DockerConfig::new(dir.path()));
    assert!(ask(auth, "reg.example").await.is_err());
}

#[tokio::test]
async fn token_calls_are_unimplemented_so_that_the_daemon_asks_for_credentials() {
    let service = AuthService(Arc::new(RegistryAuth::new()));
    let status = service
        .get_token_authority(Request::new(GetTokenAuthorityRequest::default()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
    let status = service
        .fetch_token(Request::new(FetchTokenRequest::default()))
        .await
        .unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unimplemented);
}

#[test]
fn debug_output_hides_the_secret() {
    let auth = RegistryAuth::new();
    auth.add("reg.example", "me", "hunter2".to_owned());
    let shown = format!("{auth:?}");
    assert!(
        shown.contains("me") && !shown.contains("hunter2"),
        "{shown}"
    );
}
