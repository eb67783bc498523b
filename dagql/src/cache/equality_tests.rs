//! What is found although it was never asked for under this name, and what is not.

use std::sync::Arc;

use serde_json::{Value as Json, json};

use super::Cache;
use super::blobs::{Bench, server};
use crate::testing::{data, session};
use crate::{Id, Session};

fn start() -> (Arc<Bench>, Arc<Session>, Arc<Session>) {
    let bench = Arc::new(Bench::default());
    let server = server(&bench, Cache::in_memory());
    let sessions = [session(&server, "a"), session(&server, "b")];
    let [a, b] = sessions;
    (bench, a, b)
}

fn id_of(answer: &Json) -> Id {
    Id::decode(answer.as_str().expect("an ID")).expect("our own")
}

#[tokio::test]
async fn equal_content_makes_equal_calls_under_their_own_names() {
    let (bench, a, b) = start();
    let one =
        r#"{ blob(name: "1", content: "c") { grow(by: "x") { grow(by: "y") { id size } } } }"#;
    let two =
        r#"{ blob(name: "2", content: "c") { grow(by: "x") { grow(by: "y") { id size } } } }"#;
    let first = data(&a, one).await["blob"]["grow"]["grow"].clone();
    let second = data(&b, two).await["blob"]["grow"]["grow"].clone();
    assert_eq!((bench.runs("grow"), bench.runs("size")), (2, 1));
    assert_eq!(first["size"], second["size"]);
    let id = id_of(&second["id"]);
    assert_ne!(id, id_of(&first["id"]));
    let root = id.chain().last().expect("a chain has a root");
    assert_eq!(root.arg("name").map(|arg| arg.value()), Some(&"2".into()));
    // What was found once is exact from then on.
    let before = a.server().cache().stats();
    data(&b, two).await;
    let after = a.server().cache().stats();
    assert_eq!(after.hits_term, before.hits_term);
    assert_eq!(after.hits_exact, before.hits_exact + 4);
}

#[tokio::test]
async fn content_that_is_learnt_later_unites_what_was_computed_before() {
    let (bench, a, _b) = start();
    let grow = |name: &str, rest: &str| {
        format!(
            r#"{{ blob(name: "{name}") {{ grow(by: "x") {{ grow(by: "y") {{ {rest} }} }} }} }}"#
        )
    };
    data(&a, &grow("1", "size")).await;
    data(&a, &grow("2", "id")).await;
    assert_eq!(bench.runs("grow"), 4);
    let learn = r#"{ one: blob(name: "1") { learn(content: "c") } two: blob(name: "2") { learn(content: "c") } }"#;
    data(&a, learn).await;
    // Two levels above what was learnt, nothing runs again.
    assert_eq!(
        data(&a, &grow("2", "size")).await["blob"]["grow"]["grow"]["size"],
        "1xy"
    );
    assert_eq!((bench.runs("grow"), bench.runs("size")), (4, 1));
}

#[tokio::test]
async fn an_equal_argument_is_as_good_as_an_equal_receiver() {
    let (bench, a, b) = start();
    for (session, name) in [(&a, "1"), (&b, "2")] {
        let other = format!(r#"{{ blob(name: "{name}", content: "c") {{ id }} }}"#);
        let other = data(session, &other).await["blob"]["id"].clone();
        let merge = format!(r#"{{ blob(name: "0") {{ merge(other: {other}) {{ size }} }} }}"#);
        assert_eq!(data(session, &merge).await["blob"]["merge"]["size"], "0+1");
    }
    assert_eq!((bench.runs("merge"), bench.runs("size")), (1, 1));
}

#[tokio::test]
async fn a_call_that_changes_nothing_is_its_receiver() {
    let (bench, a, _b) = start();
    data(&a, r#"{ blob { grow(by: "x") { size } } }"#).await;
    let answer = data(
        &a,
        r#"{ blob { noop { id grow(by: "x") { size } noop { noop { size } } } } }"#,
    )
    .await;
    assert_eq!(bench.runs("grow"), 1);
    assert_eq!(
        bench.runs("noop"),
        1,
        "the receiver of the second is equal to that of the first"
    );
    assert_eq!(id_of(&answer["blob"]["noop"]["id"]).field(), "noop");
    assert_eq!(answer["blob"]["noop"]["grow"]["size"], "nx");
}

#[tokio::test]
async fn a_result_that_bears_an_id_is_not_handed_out_under_another() {
    let (bench, a, b) = start();
    let ask = |name: &str| {
        format!(r#"{{ blob(name: "{name}", content: "c") {{ grown {{ id }} self }} }}"#)
    };
    data(&a, &ask("1")).await;
    let answer = data(&b, &ask("2")).await;
    // The resolvers ran again; what `grown` calls inside was found.
    assert_eq!((bench.runs("grown"), bench.runs("self")), (2, 2));
    assert_eq!(bench.runs("grow"), 1);
    for found in [&answer["blob"]["grown"]["id"], &answer["blob"]["self"]] {
        let id = id_of(found);
        let root = id.chain().last().expect("a chain has a root");
        assert_eq!(root.arg("name").map(|arg| arg.value()), Some(&"2".into()));
    }
}

#[tokio::test]
async fn what_another_call_named_keeps_that_name_even_if_its_content_is_known() {
    let lab = Arc::new(crate::testing::Lab::default());
    let session = session(&crate::testing::server(&lab), "s");
    let direct = r#"{ text(value: "ab") { upper { id } } }"#;
    let longer = r#"{ text(value: "a") { append(with: "b") { upper { id } } } }"#;
    let one = data(&session, direct).await["text"]["upper"]["id"].clone();
    let two = data(&session, longer).await["text"]["append"]["upper"]["id"].clone();
    assert_eq!(one, two);
    assert_eq!(id_of(&two).field(), "text");
}

#[tokio::test]
async fn elements_of_equal_lists_are_equal() {
    let (bench, a, b) = start();
    let ask = |name: &str| {
        format!(
            r#"{{ blob(name: "{name}", content: "c") {{ parts {{ id grow(by: "x") {{ size }} }} }} }}"#
        )
    };
    data(&a, &ask("1")).await;
    let answer = data(&b, &ask("2")).await;
    assert_eq!(
        (bench.runs("parts"), bench.runs("grow"), bench.runs("size")),
        (1, 2, 2)
    );
    let parts = &answer["blob"]["parts"];
    assert_eq!(parts[0]["grow"]["size"], "11x");
    assert_eq!(parts[1]["grow"]["size"], "12x", "positions are kept apart");
    let id = id_of(&parts[1]["id"]);
    assert_eq!(id.nth(), 2);
    let root = id.chain().last().expect("a chain has a root");
    assert_eq!(root.arg("name").map(|arg| arg.value()), Some(&"2".into()));
}

#[tokio::test]
async fn scopes_are_not_equal_to_each_other() {
    let (bench, a, b) = start();
    for session in [&a, &b] {
        data(session, "{ clientBlob { size } callBlob { size } }").await;
    }
    assert_eq!((bench.runs("clientBlob"), bench.runs("callBlob")), (2, 2));
    assert_eq!(bench.runs("size"), 4);
    // Unless they are known to be the same thing; then each keeps its own name.
    let answer = |session| async move {
        data(session, r#"{ clientBlob(content: "c") { id size } }"#).await["clientBlob"].clone()
    };
    let (one, two) = (answer(&a).await, answer(&b).await);
    assert_eq!((bench.runs("clientBlob"), bench.runs("size")), (4, 5));
    let scope = |answer: &Json| id_of(&answer["id"]).implicit_inputs()[0].value().to_owned();
    assert_eq!(
        (scope(&one), scope(&two)),
        ("a-client".to_owned(), "b-client".to_owned())
    );
}

#[tokio::test]
async fn a_call_with_two_contents_unites_nothing() {
    let (bench, a, b) = start();
    // Two blobs that become equal only after a call on both had two contents.
    let ask = |name: &str, rest: &str| {
        format!(r#"{{ blob(name: "{name}") {{ unsteady {{ {rest} }} }} }}"#)
    };
    data(&a, &ask("1", "size")).await;
    data(&b, &ask("2", "size")).await;
    assert_eq!((bench.runs("unsteady"), bench.runs("size")), (2, 2));
    let learn = r#"{ one: blob(name: "1") { learn(content: "c") } two: blob(name: "2") { learn(content: "c") } }"#;
    data(&a, learn).await;
    // An honest blob with the first content is not one with the second.
    let honest = r#"{ blob(name: "3", content: "run 2") { size } }"#;
    assert_eq!(data(&a, honest).await, json!({"blob": {"size": "2"}}));
    let honest = r#"{ blob(name: "4", content: "run 1") { size } }"#;
    assert_eq!(data(&a, honest).await, json!({"blob": {"size": "1"}}));
    assert_eq!(bench.runs("size"), 2);
}

#[tokio::test]
async fn what_one_session_alone_can_use_is_not_found_by_another() {
    let (bench, a, b) = start();
    let ask = |name: &str| {
        format!(
            r#"{{ blob(name: "{name}", content: "c", bound: true) {{ grow(by: "x") {{ id size }} }} }}"#
        )
    };
    data(&a, &ask("1")).await;
    data(&a, &ask("2")).await;
    assert_eq!(
        (bench.runs("blob"), bench.runs("grow"), bench.runs("size")),
        (2, 1, 1)
    );
    let answer = data(&b, &ask("2")).await;
    // The data was made again; the text, which holds nothing of the session, was found.
    assert_eq!(
        (bench.runs("blob"), bench.runs("grow"), bench.runs("size")),
        (3, 2, 1)
    );
    let id = &answer["blob"]["grow"]["id"];
    let load = format!("{{ loadBlobFromID(id: {id}) {{ size }} }}");
    data(&b, &load).await;
    assert_eq!(bench.runs("grow"), 2, "its own is found by its ID");
    data(&a, &load).await;
    assert_eq!(
        bench.runs("grow"),
        2,
        "the same ID names the other's own here"
    );
}
