//! Loading by ID: what the ID says is kept, what it cannot say is refused.

use std::sync::Arc;

use crate::TypeRef;
use crate::testing::{Lab, data, errors, run, server, session};
use tokio_util::sync::CancellationToken;

#[tokio::test]
async fn an_id_of_another_client_is_a_hit_while_cached_and_refused_afterwards() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    let id = data(&a, r#"{ clientText(value: "of a") { id } }"#).await["clientText"]["id"].clone();
    let query = format!("{{ loadTextFromID(id: {id}) {{ value id }} }}");
    let loaded = data(&b, &query).await;
    assert_eq!(loaded["loadTextFromID"]["value"], "of a");
    assert_eq!(
        loaded["loadTextFromID"]["id"], id,
        "loading does not rescope"
    );
    drop((a, b));
    let c = session(&server, "c");
    let found = errors(&c, &query).await;
    assert!(
        found[0].contains("belongs to another client, is no longer cached"),
        "{found:?}"
    );
    // The client itself may compute it again, in a later session too.
    let again = session(&server, "a");
    assert_eq!(
        data(&again, &query).await["loadTextFromID"]["value"],
        "of a"
    );
    assert_eq!(lab.runs("clientText"), 2);
}

#[tokio::test]
async fn a_cached_leaf_is_loaded_without_its_chain() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let a = session(&server, "a");
    let answer = data(&a, r#"{ text(value: "a") { append(with: "b") { id } } }"#).await;
    let id = answer["text"]["append"]["id"].clone();
    let query = format!("{{ loadTextFromID(id: {id}) {{ value }} }}");
    let b = session(&server, "b");
    assert_eq!(data(&b, &query).await["loadTextFromID"]["value"], "ab");
    a.release();
    // `b` adopted the leaf alone; the chain below it is gone.
    assert_eq!(data(&b, &query).await["loadTextFromID"]["value"], "ab");
    assert_eq!((lab.runs("text"), lab.runs("append")), (1, 1));
    b.release();
    assert_eq!(
        data(&session(&server, "c"), &query).await["loadTextFromID"]["value"],
        "ab"
    );
    assert_eq!((lab.runs("text"), lab.runs("append")), (2, 2));
}

#[tokio::test]
async fn an_id_of_10000_calls_is_replayed_without_recursion() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let ty = || TypeRef::named("Text").non_null();
    let text = crate::Call::new("text", ty())
        .arg("value", "a")
        .arg("fresh", false);
    let mut id = crate::Id::root(text);
    for _ in 0..10_000 {
        let append = crate::Call::new("append", ty())
            .arg("with", "b")
            .arg("times", 1_i64);
        id = id.append(append);
    }
    let encoded = id.encode().expect("encodes");
    let query = format!(r#"{{ loadTextFromID(id: "{encoded}") {{ id }} }}"#);
    let a = session(&server, "a");
    let answer = data(&a, &query).await;
    assert_eq!(answer["loadTextFromID"]["id"], encoded);
    assert_eq!(lab.runs("append"), 10_000);
    // A query that asks for the beginning of the same chain names the same calls.
    let short = data(&a, r#"{ text(value: "a") { append(with: "b") { id } } }"#).await;
    let first = id
        .chain()
        .nth(9_999)
        .expect("the first call after the root");
    assert_eq!(
        short["text"]["append"]["id"],
        first.encode().expect("encodes")
    );
    assert_eq!(lab.runs("append"), 10_000);
}

#[tokio::test]
async fn an_id_of_another_type_or_shape_is_refused() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    for (call, expected) in [
        (
            crate::Call::new("nope", TypeRef::named("Text").non_null()),
            "the ID cannot be loaded: type Query has no field nope",
        ),
        (
            crate::Call::new("number", TypeRef::named("Text").non_null()),
            "the ID's call Query.number: it claims to return Text!, the schema says Number!",
        ),
        (
            crate::Call::new("text", TypeRef::named("Text").non_null()).arg("value", 7_i64),
            "the ID's call Query.text: argument value: expected String, got an integer",
        ),
        (
            crate::Call::new("text", TypeRef::named("Text").non_null()).arg("vaule", "x"),
            "the ID's call Query.text: field text has no argument vaule; did you mean value?",
        ),
        (
            crate::Call::new("loadTextFromID", TypeRef::named("Text").non_null()),
            "the ID's call Query.loadTextFromID: it is not a call that can be replayed",
        ),
    ] {
        let id = crate::Id::root(call);
        let error = session
            .load(&id, CancellationToken::new())
            .await
            .expect_err("refused");
        assert_eq!(error.message(), expected);
    }
}

#[tokio::test]
async fn sensitive_arguments_stay_out_of_ids_and_messages() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let a = session(&server, "a");
    let answer = data(&a, r#"{ secret(plaintext: "hunter2") { id value } }"#).await;
    assert_eq!(answer["secret"]["value"], "7");
    let id = answer["secret"]["id"].as_str().expect("an ID");
    let decoded = crate::Id::decode(id).expect("our own");
    assert!(decoded.arg("plaintext").is_none());
    let query = format!(r#"{{ loadTextFromID(id: "{id}") {{ value }} }}"#);
    assert_eq!(data(&a, &query).await["loadTextFromID"]["value"], "7");
    a.release();
    let found = errors(&session(&server, "b"), &query).await;
    assert!(
        found[0].contains("an ID does not carry sensitive arguments"),
        "{found:?}"
    );
    let response = run(
        &session(&server, "c"),
        r#"{ secret(plaintext: ["hunter2"]) { id } }"#,
    )
    .await;
    assert!(!format!("{:?}", response.errors).contains("hunter2"));
}
