//! Typed details: what a daemon sends, and what it may send wrong.

use super::*;

fn any(name: &str, json: &str) -> prost_types::Any {
    prost_types::Any {
        type_url: format!("github.com/moby/buildkit/{name}+json"),
        value: json.as_bytes().to_vec(),
    }
}

fn failure(details: Vec<prost_types::Any>) -> Failure {
    Failure::from_rpc(&proto::rpc::Status {
        code: 2,
        message: "m".into(),
        details,
    })
}

const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

#[test]
fn a_failing_process_is_named_by_vertex_and_exit_code() {
    let failure = failure(vec![
        any("stack.Stack", r#"{"frames":[{"Name":"main.main"}]}"#),
        any("gatewayapi.ExitMessage", r#"{"Code":7}"#),
        any("errdefs.Vertex", &format!(r#"{{"digest":"{DIGEST}"}}"#)),
    ]);
    assert_eq!(failure.exit_code(), Some(7));
    assert_eq!(
        failure.vertex().map(ToString::to_string).as_deref(),
        Some(DIGEST)
    );
    assert_eq!(failure.details.len(), 2, "the stack is no detail");
    assert_eq!(failure.to_rpc().details.len(), 3, "but it travels on");
    assert!(matches!(
        Error::from_failure(failure),
        Error::Exec {
            exit_code: 7,
            vertex: Some(_),
            ..
        }
    ));
}

#[test]
fn solve_is_protojson() {
    let failure = failure(vec![any(
        "errdefs.Solve",
        r#"{"inputIDs":["a",""],"mountIDs":["b"],"op":{"inputs":[{"digest":"sha256:x","index":"0"}],"exec":{"meta":{"args":["false"]}}},"file":{"index":"3"},"description":{"k":"v"}}"#,
    )]);
    let solve = failure.solve().expect("parsed");
    assert_eq!(solve.input_ids, ["a", ""]);
    assert_eq!(solve.mount_ids, ["b"]);
    assert_eq!(solve.subject, Subject::FileAction(3));
    assert_eq!(solve.op["exec"]["meta"]["args"][0], "false");
    assert_eq!(solve.description["k"], "v");
}

#[test]
fn subjects_default_to_the_operation_and_index_zero() {
    let subject = |json| {
        failure(vec![any("errdefs.Solve", json)])
            .solve()
            .map(|s| s.subject)
    };
    assert_eq!(subject("{}"), Some(Subject::Operation));
    assert_eq!(subject(r#"{"cache":{}}"#), Some(Subject::ContentKey(0)));
    assert_eq!(
        subject(r#"{"file":{"index":2}}"#),
        Some(Subject::FileAction(2))
    );
}

#[test]
fn source_ranges_and_text() {
    let failure = failure(vec![any(
        "errdefs.Source",
        r#"{"info":{"filename":"Dockerfile","data":"UlVOIHg=","language":"Dockerfile"},"ranges":[{"start":{"line":4},"end":{"line":4,"character":6}},{"start":null}]}"#,
    )]);
    let source = failure.sources().next().expect("parsed");
    assert_eq!(source.data, b"RUN x");
    assert_eq!(
        source.ranges[0].start,
        Position {
            line: 4,
            character: 0
        }
    );
    assert_eq!(
        source.ranges[0].end,
        Position {
            line: 4,
            character: 6
        }
    );
    assert_eq!(source.ranges[1].start, Position::default());
}

#[test]
fn every_other_detail_is_typed() {
    let failure = failure(vec![
        any(
            "errdefs.Frontend",
            r#"{"name":"gateway.v0","source":"img"}"#,
        ),
        any("errdefs.FrontendCap", r#"{"name":"c"}"#),
        any("errdefs.Subrequest", r#"{"name":"s"}"#),
        any(
            "errdefs.CompatibilityFeature",
            r#"{"version":20,"feature":"f"}"#,
        ),
        any(
            "errdefs.ProvenanceMaterialsIncomplete",
            r#"{"incomplete":[]}"#,
        ),
        any(
            "policysession.DecisionResponse",
            r#"{"action":1,"denyMessages":[{"message":"no"}]}"#,
        ),
    ]);
    assert_eq!(
        failure.details,
        [
            Detail::Frontend {
                name: "gateway.v0".into(),
                source: "img".into()
            },
            Detail::FrontendCap("c".into()),
            Detail::Subrequest("s".into()),
            Detail::Compatibility {
                version: 20,
                feature: "f".into()
            },
            Detail::ProvenanceIncomplete(serde_json::json!({"incomplete": []})),
            Detail::Policy(vec!["no".into()]),
        ]
    );
}

#[test]
fn unknown_and_malformed_details_are_kept_as_they_are() {
    for (name, json) in [
        ("errdefs.Future", "{}"),
        ("errdefs.Vertex", "not json"),
        ("errdefs.Vertex", r#"{"digest":"nope"}"#),
        ("gatewayapi.ExitMessage", "{}"),
    ] {
        let failure = failure(vec![any(name, json)]);
        assert!(
            matches!(&failure.details[..], [Detail::Other { value, .. }] if value == json.as_bytes())
        );
    }
}

#[test]
fn text_is_one_paragraph_of_bounded_length() {
    assert_eq!(
        Failure::new(Code::Unknown, "a\n\tb  c\n").to_string(),
        "a b c"
    );
    assert!(
        Failure::new(Code::Internal, "")
            .to_string()
            .contains("Internal")
    );
    let long = format!("process \"{}\" exit code: 9", "é".repeat(10_000));
    let text = Failure::new(Code::Unknown, long).to_string();
    assert!(text.len() < MESSAGE_BYTES_MAX + 16);
    assert!(text.starts_with("process") && text.ends_with("exit code: 9"));
}

use super::super::error::Error;

#[test]
fn a_cancelled_call_is_a_kind_of_its_own() {
    assert!(matches!(
        Error::from_failure(Failure::new(Code::Cancelled, "x")),
        Error::Cancelled
    ));
    assert!(matches!(
        Error::from_failure(Failure::new(Code::NotFound, "x")),
        Error::Daemon(_)
    ));
}
