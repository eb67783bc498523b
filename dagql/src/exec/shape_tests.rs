//! The shape of answers: the order of their keys, lists of lists, and IDs, which are no calls.

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;

use crate::testing::{Lab, Log, data, errors, run, server, session, shared_server};
use crate::{Cache, Field, Literal, Server, Value};

/// The field is asked of the object, not of the cache: an answer in the form of an ID is neither
/// stored nor announced as a call, and reading it twice makes nothing.
#[tokio::test]
async fn the_field_id_is_never_cached() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let session = session(&server, "s");
    let query = r#"{ text(value: "a") { id append(with: "b") { id other: id } } }"#;
    let first = data(&session, query).await;
    assert_eq!(server.cache().stats().entries, 2, "text and append");
    assert_eq!(data(&session, query).await, first);
    assert_eq!(
        first["text"]["append"]["id"],
        first["text"]["append"]["other"]
    );
    assert_eq!(lab.outcomes("id"), []);
    let stats = server.cache().stats();
    assert_eq!((stats.entries, stats.executed), (2, 2));
}

/// A server with lists of lists: of numbers, and of objects that other calls made.
fn grids() -> Server {
    let lab = Arc::new(Lab::default());
    let mut builder = crate::testing::builder(&lab);
    builder
        .query(Field::new("grid", "[[Int!]]!").resolve(|_, _, _| async {
            let rows = [Value::list([1_i64, 2]), Value::Null, Value::list::<i64>([])];
            Ok(Value::list(rows))
        }))
        .query(
            Field::new("table", "[[Text!]!]!").resolve(|cx, _, _| async move {
                let cell = async |value: &str| {
                    cx.select(&cx.root(), "text", [("value", Literal::from(value))])
                        .await
                };
                let rows = [
                    Value::list([cell("a").await?, cell("b").await?]),
                    Value::list([cell("c").await?]),
                ];
                Ok(Value::list(rows))
            }),
        )
        .query(
            Field::new("flat", "[[Int!]!]!").resolve(|_, _, _| async { Ok(Value::list([1_i64])) }),
        )
        .query(
            Field::new("holes", "[[Int!]!]!")
                .resolve(|_, _, _| async { Ok(Value::list([Value::list([Value::Null])])) }),
        );
    let schema = builder.build().expect("valid");
    Server::new(schema, Cache::in_memory(), Arc::new(Log(lab)))
}

#[tokio::test]
async fn lists_of_lists_are_answered_element_by_element() {
    let server = grids();
    let session = session(&server, "s");
    for _ in 0..2 {
        let answer = data(&session, "{ grid table { value id } }").await;
        assert_eq!(answer["grid"], json!([[1, 2], null, []]));
        let table = &answer["table"];
        assert_eq!(table[0][1]["value"], "b");
        assert_eq!(table[1][0]["value"], "c");
        // An element of an inner list has the name of the call that made it.
        let id = table[1][0]["id"].as_str().expect("an ID");
        let again = format!(r#"{{ loadTextFromID(id: "{id}") {{ value }} }}"#);
        assert_eq!(data(&session, &again).await["loadTextFromID"]["value"], "c");
    }
    let response = run(&session, "{ table { fail { value } } }").await;
    let paths: Vec<String> = response
        .errors
        .iter()
        .map(|error| serde_json::to_value(error).expect("JSON")["path"].to_string())
        .collect();
    assert_eq!(paths.len(), 3);
    assert!(
        paths.contains(&r#"["table",0,1,"fail"]"#.to_owned()),
        "{paths:?}"
    );
    assert_eq!(
        errors(&session, "{ flat }").await,
        ["1:3 the resolver returned an Int, the schema says [Int!]!"]
    );
    assert_eq!(
        errors(&session, "{ holes }").await,
        ["1:3 the resolver returned null, the schema says Int!"]
    );
}

/// Keys appear in the order of the document, whatever the schema's order is and whichever call ends
/// first, and a key that is asked for twice where it is asked for first.
#[tokio::test]
async fn response_keys_are_in_the_order_of_the_document_however_calls_end() {
    let lab = Lab::gated();
    let session = session(&server(&lab), "s");
    let query = r#"
        query { z: wait(name: "z") number { value } ...Rest a: wait(name: "a") k: __typename }
        fragment Rest on Query { m: text { value label } number { label again: value } b: wait(name: "b") }"#;
    let answer = tokio::spawn(async move { run(&session, query).await });
    // All that does not wait has ended before the first of those that wait, and these end in an
    // order of their own.
    while lab.outcomes("label").len() < 2 || lab.runs("wait b") == 0 {
        tokio::task::yield_now().await;
    }
    for _ in 0..3 {
        lab.open_gate();
    }
    let answer = answer.await.expect("ends").data.expect("data");
    assert_eq!(
        answer.get(),
        r#"{"z":"z","number":{"value":7,"label":"number 7","again":7},"m":{"value":"x","label":"text x"},"b":"b","a":"a","k":"Query"}"#
    );
}

proptest! {
    /// The same for any order of any keys.
    #[test]
    fn keys_in_any_order_are_answered_in_that_order(keys in proptest::collection::vec("[a-z]{1,3}", 1..12)) {
        let session = session(shared_server(), "order");
        let fields: Vec<String> = keys
            .iter()
            .map(|key| format!(r#"{key}: text(value: "{key}") {{ value __typename }}"#))
            .collect();
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        let query = format!("{{ {} }}", fields.join(" "));
        let answer = runtime.block_on(run(&session, &query)).data.expect("data");
        let mut unique: Vec<&String> = Vec::new();
        for key in &keys {
            if !unique.contains(&key) {
                unique.push(key);
            }
        }
        let expected: Vec<String> = unique
            .iter()
            .map(|key| format!(r#""{key}":{{"value":"{key}","__typename":"Text"}}"#))
            .collect();
        prop_assert_eq!(answer.get(), format!("{{{}}}", expected.join(",")));
    }
}
