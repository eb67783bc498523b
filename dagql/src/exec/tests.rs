//! The executor as clients see it.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use proptest::prelude::*;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use crate::testing::{Lab, data, errors, run, server, session, shared_server};
use crate::{Kind, Request};

#[tokio::test]
async fn a_chain_with_aliases_and_typename() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let answer = data(
        &session,
        r#"{ one: text(value: "a") { __typename next: append(with: "b") { v: value } } }"#,
    )
    .await;
    assert_eq!(
        answer,
        json!({"one": {"__typename": "Text", "next": {"v": "ab"}}})
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_of_5000_calls_runs_and_answers() {
    deep(5_000).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_deepest_accepted_chain_runs_and_answers() {
    deep(QUERY_DEPTH_MAX_CALLS).await;
}

/// One level is the root's, one the innermost leaf's, and arguments nest one more.
const QUERY_DEPTH_MAX_CALLS: usize = crate::QUERY_DEPTH_MAX - 2;

async fn deep(calls: usize) {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let query = format!(
        "{{text{}{{value}}{}}}",
        "{append(with:\"b\")".repeat(calls),
        "}".repeat(calls)
    );
    let response = run(&session, &query).await;
    assert_eq!(response.errors.len(), 0, "{:?}", response.errors);
    let text = response.data.expect("data");
    assert!(text.get().starts_with(r#"{"text":{"append":{"append""#));
    assert_eq!(text.get().matches("append").count(), calls);
    assert_eq!(lab.runs("append"), calls);
}

#[tokio::test]
async fn siblings_run_in_parallel() {
    let lab = Lab::gated();
    let session = session(&server(&lab), "s");
    let query = tokio::spawn(async move {
        data(&session, r#"{ a: wait(name: "a") b: wait(name: "b") }"#).await
    });
    // Neither can end before the gate opens, so both are running at once.
    lab.begun.notified().await;
    while lab.runs("wait a") + lab.runs("wait b") < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(lab.runs("done a") + lab.runs("done b"), 0);
    lab.open_gate();
    lab.open_gate();
    assert_eq!(query.await.expect("ends"), json!({"a": "a", "b": "b"}));
}

#[tokio::test]
async fn fields_with_one_key_are_one_call_with_merged_selections() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let answer = data(
        &session,
        r#"{
            text(value: "a") { append(with: "b", times: 1) { value } }
            text(value: "a") { append(with: "b") { again: value } label }
        }"#,
    )
    .await;
    let expected = json!({"text": {"append": {"value": "ab", "again": "ab"}, "label": "text a"}});
    assert_eq!(answer, expected);
    assert_eq!((lab.runs("text"), lab.runs("append")), (1, 1));
    assert_eq!(
        errors(
            &session,
            r#"{ text(value: "a") { value } text(value: "b") { value } }"#
        )
        .await,
        [
            "1:30 the answer can have one field text, the query asks for text with different arguments: use an alias"
        ]
    );
    assert_eq!(
        errors(&session, "{ text { x: value x: label } }").await,
        ["1:22 the answer can have one field x, the query asks for value and label: use an alias"]
    );
}

#[tokio::test]
async fn list_elements_have_ids_of_their_own() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let answer = data(&session(&server, "s"), "{ texts(count: 3) { id value } }").await;
    let second = answer["texts"][1]["id"].as_str().expect("an ID").to_owned();
    assert_eq!(answer["texts"][1]["value"], "t1");
    // In another session nothing is owned any more: the list is made again and indexed.
    let query = format!(r#"{{ loadTextFromID(id: "{second}") {{ value }} }}"#);
    let answer = data(&session(&server, "other"), &query).await;
    assert_eq!(answer["loadTextFromID"]["value"], "t1");
    assert_eq!(lab.runs("texts"), 2);
    assert_eq!(
        data(&session(&server, "s"), "{ texts(count: 0) { id } }").await["texts"],
        json!([])
    );
}

#[tokio::test]
async fn null_is_allowed_where_the_type_says_so() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    assert_eq!(
        data(&session, "{ nothing { value } }").await,
        json!({"nothing": null})
    );
    assert_eq!(
        errors(&session, "{ broken { value } }").await,
        ["1:3 broken returned null, its type is Text!"]
    );
}

#[tokio::test]
async fn every_failure_is_reported_in_document_order_and_there_is_no_data() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let response = run(
        &session,
        r#"{
            a: text(value: "a") { fail { value } }
            list: texts(count: 2) { fail { value } }
            fine: text { value }
        }"#,
    )
    .await;
    let shown = serde_json::to_value(&response).expect("serialises");
    assert_eq!(
        shown,
        json!({
            "data": null,
            "errors": [
                {"message": "no a", "path": ["a", "fail"], "locations": [{"line": 2, "column": 35}]},
                {"message": "no t0", "path": ["list", 0, "fail"], "locations": [{"line": 3, "column": 37}]},
                {"message": "no t1", "path": ["list", 1, "fail"], "locations": [{"line": 3, "column": 37}]},
            ],
        })
    );
}

#[tokio::test]
async fn a_resolvers_extensions_reach_the_client() {
    let lab = Arc::new(Lab::default());
    let response = run(&session(&server(&lab), "s"), "{ flaky }").await;
    let shown = serde_json::to_value(&response.errors[0]).expect("serialises");
    assert_eq!(shown["message"], "first time");
    assert_eq!(shown["extensions"], json!({"exitCode": 3}));
    assert!(
        response.errors[0]
            .downcast_ref::<std::io::Error>()
            .is_some()
    );
}

#[tokio::test]
async fn a_panic_fails_its_own_call_only() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    assert_eq!(
        errors(&session, "{ panic text { value } }").await,
        ["1:3 the resolver of panic panicked: boom"]
    );
    assert_eq!(
        data(&session, "{ text { value } }").await["text"]["value"],
        "x"
    );
}

#[tokio::test]
async fn fragments_variables_and_conditions() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let query = r#"
        query A($v: String!, $no: Boolean = false, $times: Int) {
            text(value: $v) { ...F ... on Text { label } ... @include(if: $no) { hidden: value } }
        }
        query B { text { value } }
        fragment F on Text {
            append(with: "!", times: $times) { value }
            value @skip(if: $no)
            gone: value @skip(if: true)
        }"#;
    let request = Request::new(query)
        .operation("A")
        .variable("v", "hi")
        .variable("unknown", 1);
    let response = session.execute(request, CancellationToken::new()).await;
    let expected = json!({"text": {"append": {"value": "hi!"}, "value": "hi", "label": "text hi"}});
    assert_eq!(response.json().expect("succeeds"), expected);
    let response = session
        .execute(
            Request::new("{ text { value } }").operation(""),
            CancellationToken::new(),
        )
        .await;
    assert_eq!(
        response.json().expect("an empty name is none")["text"]["value"],
        "x"
    );
    let request = Request::new(query).operation("C");
    let response = session.execute(request, CancellationToken::new()).await;
    assert_eq!(
        response.errors[0].message(),
        "the document has no operation C, only A, B"
    );
    let response = run(&session, query).await;
    assert_eq!(
        response.errors[0].message(),
        "the document has several operations, choose one of A, B"
    );
    let response = session
        .execute(Request::new(query).operation("A"), CancellationToken::new())
        .await;
    assert_eq!(
        response.errors[0].message(),
        "variable $v: a value of type String! is required"
    );
}

#[tokio::test]
async fn interfaces_select_the_objects_own_fields() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let query =
        "{ named { __typename label scaled ... on Number { value } ... on Text { text: value } } }";
    assert_eq!(
        data(&session, query).await,
        json!({"named": [
            {"__typename": "Text", "label": "text x", "scaled": 2, "text": "x"},
            {"__typename": "Number", "label": "number 7", "scaled": 14, "value": 7},
        ]})
    );
    // Different types may use one key for different fields; one type may not.
    let query = "{ named { ... on Number { a: value } ... on Text { a: label } } }";
    assert_eq!(
        data(&session, query).await["named"],
        json!([{"a": "text x"}, {"a": 7}])
    );
    let query = "{ named { a: label ... on Number { a: value } } }";
    let errors = errors(&session, query).await;
    assert!(
        errors[0].contains("the query asks for label and value"),
        "{errors:?}"
    );
}

#[tokio::test]
async fn exports_hand_leaf_values_to_the_caller() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let query = r#"{ text { value @export(as: "v") id @export(as: "text") } number { value @export(as: "n") } }"#;
    let response = run(&session, query).await;
    assert_eq!(response.exports["v"], "x");
    assert_eq!(response.exports["n"], 7);
    assert!(response.exports["text"].is_string());
    let query = r#"{ a: number { value @export(as: "n") } b: number { value @export(as: "n") } }"#;
    assert_eq!(
        errors(&session, query).await,
        ["1:52 @export name n is used twice"]
    );
}

#[tokio::test]
async fn fragments_that_unfold_without_end_are_refused() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let mut query = String::from("{ text { ...F0 } }");
    for level in 0..40 {
        let next = level + 1;
        let _ = write!(
            query,
            " fragment F{level} on Text {{ a: append(with: \"a\") {{ ...F{next} }} b: append(with: \"b\") {{ ...F{next} }} }}"
        );
    }
    query.push_str(" fragment F40 on Text { value }");
    let response = run(&session, &query).await;
    assert_eq!(response.errors[0].kind(), Kind::Validation);
    assert!(
        response.errors[0]
            .message()
            .contains("more than 1000000 fields")
    );
    assert_eq!(lab.runs("text"), 0);
}

#[tokio::test]
async fn a_cancelled_request_says_so() {
    let lab = Lab::gated();
    let session = session(&server(&lab), "s");
    let cancel = CancellationToken::new();
    let asked = session.execute(Request::new("{ wait }"), cancel.clone());
    let (response, ()) = tokio::join!(asked, async {
        lab.begun.notified().await;
        cancel.cancel();
    });
    assert_eq!(response.errors[0].kind(), Kind::Cancelled);
}

#[tokio::test]
async fn every_sdks_spelling_of_a_call_is_one_call() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    // Go orders at random, Python leaves defaults out, TypeScript spells them out.
    for query in [
        r#"query{text(value:"a"){append(times:1,with:"b"){id}}}"#,
        r#"{ text: text(value: "a") { append: append(with: "b") { id: id } } }"#,
        "\n      { text (value: \"a\", fresh: false) { append (with: \"b\", times: 1) { id }} }\n",
        r#"query($w: String!) { text(value: "a") { append(with: $w, times: "1") { id } } }"#,
    ] {
        let request = Request::new(query).variable("w", "b");
        let response = session.execute(request, CancellationToken::new()).await;
        assert!(response.errors.is_empty(), "{query}: {:?}", response.errors);
    }
    assert_eq!((lab.runs("text"), lab.runs("append")), (1, 1));
}

#[tokio::test]
async fn a_thousand_siblings_and_elements_are_bounded_and_all_answered() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let mut query = String::from("{ texts(count: 1000) { append(with: \"!\") { value } }");
    for at in 0..1000 {
        let _ = write!(query, " f{at}: text(value: \"{at}\") {{ value }}");
    }
    query.push('}');
    let answer = data(&session, &query).await;
    assert_eq!(answer["texts"][999]["append"]["value"], "t999!");
    assert_eq!(answer["f999"]["value"], "999");
    assert_eq!((lab.runs("text"), lab.runs("append")), (1000, 1000));
}

/// A selection of the merging property: keys with the fields below them.
#[derive(Debug, Clone)]
enum Tree {
    Leaf,
    Node(Vec<(u8, Self)>),
}

fn tree() -> impl Strategy<Value = Vec<(u8, Tree)>> {
    let leaf = Just(Tree::Leaf);
    let tree = leaf.prop_recursive(4, 40, 4, |inner| {
        prop::collection::vec((0..3_u8, inner), 1..4).prop_map(Tree::Node)
    });
    prop::collection::vec((0..3_u8, tree), 1..4)
}

/// Writes the selections as they are: keys may repeat, some are wrapped in fragments.
fn write_query(trees: &[(u8, Tree)], out: &mut String) {
    for (at, (key, tree)) in trees.iter().enumerate() {
        let wrap = at % 2 == 1;
        out.push_str(if wrap { " ... on Text {" } else { " " });
        match tree {
            Tree::Leaf => {
                let _ = write!(out, "l{key}: value");
            }
            Tree::Node(children) => {
                let _ = write!(out, "n{key}: append(with: \"{key}\") {{");
                write_query(children, out);
                out.push('}');
            }
        }
        out.push_str(if wrap { "}" } else { "" });
    }
}

/// The answer by the rule: all fields of one key are one field whose selections are joined.
fn expected(trees: &[(u8, Tree)], value: &str) -> serde_json::Value {
    let mut leaves = serde_json::Map::new();
    let mut nodes: BTreeMap<u8, Vec<(u8, Tree)>> = BTreeMap::new();
    for (key, tree) in trees {
        match tree {
            Tree::Leaf => {
                leaves.insert(format!("l{key}"), value.into());
            }
            Tree::Node(children) => nodes.entry(*key).or_default().extend(children.clone()),
        }
    }
    for (key, children) in nodes {
        let below = expected(&children, &format!("{value}{key}"));
        leaves.insert(format!("n{key}"), below);
    }
    leaves.into()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn responses_merge_by_key(trees in tree()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("starts");
        let mut query = String::from("{ text {");
        write_query(&trees, &mut query);
        query.push_str("} }");
        let answer = runtime.block_on(async {
            data(&session(shared_server(), "s"), &query).await
        });
        prop_assert_eq!(&answer["text"], &expected(&trees, "x"), "{}", query);
    }
}
