//! The rules of the result cache, seen through the whole engine.

use std::sync::Arc;

use futures::future::join_all;
use serde_json::json;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{Lab, data, errors, server, session};
use crate::{Outcome, Request, Scope, Session};

async fn text_id(session: &Arc<Session>, query: &str) -> crate::Id {
    let answer = data(session, query).await;
    let field = answer.as_object().and_then(|fields| fields.values().next());
    let id = field.and_then(|field| field["id"].as_str()).expect("an ID");
    crate::Id::decode(id).expect("our own ID")
}

/// Runs `query` in a task of its own.
fn spawn(
    session: &Arc<Session>,
    query: &str,
    cancel: &CancellationToken,
) -> tokio::task::JoinHandle<crate::Response> {
    let (session, cancel) = (Arc::clone(session), cancel.clone());
    let request = Request::new(query);
    tokio::spawn(async move { session.execute(request, cancel).await })
}

#[tokio::test]
async fn concurrent_equal_calls_run_once() {
    let lab = Lab::gated();
    let session = session(&server(&lab), "s");
    let cancel = CancellationToken::new();
    let queries: Vec<_> = (0..10)
        .map(|_| spawn(&session, "{ wait }", &cancel))
        .collect();
    while lab.outcomes("wait").is_empty() && session.cache().stats().in_flight == 0 {
        tokio::task::yield_now().await;
    }
    tokio::task::yield_now().await;
    lab.open_gate();
    for response in join_all(queries).await {
        assert_eq!(
            response.expect("ends").json().expect("succeeds"),
            json!({"wait": "w"})
        );
    }
    assert_eq!(lab.runs("wait w"), 1);
    let outcomes = lab.outcomes("wait");
    let count = |wanted| {
        outcomes
            .iter()
            .filter(|outcome| **outcome == wanted)
            .count()
    };
    assert_eq!(count(Outcome::Executed), 1);
    assert_eq!(count(Outcome::Joined) + count(Outcome::Hit), 9);
}

#[tokio::test]
async fn sessions_do_not_join_each_others_flights_but_share_results() {
    let lab = Lab::gated();
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    let cancel = CancellationToken::new();
    let queries = [
        spawn(&a, "{ wait }", &cancel),
        spawn(&b, "{ wait }", &cancel),
    ];
    while lab.runs("wait w") < 2 {
        tokio::task::yield_now().await;
    }
    lab.open_gate();
    lab.open_gate();
    for query in queries {
        assert!(query.await.expect("ends").errors.is_empty());
    }
    // Of two values one was kept.
    assert_eq!(server.cache().stats().entries, 1);
    assert_eq!(data(&session(&server, "c"), "{ wait }").await["wait"], "w");
    assert_eq!(lab.runs("wait w"), 2);
}

#[tokio::test]
async fn cancelling_one_of_two_leaves_the_other() {
    let lab = Lab::gated();
    let session = session(&server(&lab), "s");
    let (first, second) = (CancellationToken::new(), CancellationToken::new());
    let (one, two) = (
        spawn(&session, "{ wait }", &first),
        spawn(&session, "{ wait }", &second),
    );
    lab.begun.notified().await;
    tokio::task::yield_now().await;
    first.cancel();
    let response = one.await.expect("ends");
    assert_eq!(response.errors[0].kind(), crate::Kind::Cancelled);
    assert_eq!(lab.runs("stopped w"), 0, "the second caller still waits");
    lab.open_gate();
    assert_eq!(
        two.await.expect("ends").json().expect("succeeds")["wait"],
        "w"
    );
    assert_eq!((lab.runs("wait w"), lab.runs("done w")), (1, 1));
}

#[tokio::test]
async fn the_last_waiter_to_leave_stops_the_call_and_a_later_one_starts_afresh() {
    let lab = Lab::gated();
    let session = session(&server(&lab), "s");
    let cancel = CancellationToken::new();
    let query = spawn(&session, "{ wait }", &cancel);
    lab.begun.notified().await;
    cancel.cancel();
    query.await.expect("ends");
    while lab.runs("stopped w") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(session.cache().stats().in_flight, 0);
    lab.open_gate();
    assert_eq!(data(&session, "{ wait }").await["wait"], "w");
    assert_eq!((lab.runs("wait w"), lab.runs("done w")), (2, 1));
}

#[tokio::test]
async fn errors_are_not_cached() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    assert_eq!(errors(&session, "{ flaky }").await, ["1:3 first time"]);
    assert_eq!(data(&session, "{ flaky }").await["flaky"], "better");
    assert_eq!(data(&session, "{ flaky }").await["flaky"], "better");
    assert_eq!(lab.runs("flaky"), 2);
    assert_eq!(
        lab.outcomes("flaky"),
        [Outcome::Failed, Outcome::Executed, Outcome::Hit]
    );
}

#[tokio::test]
async fn a_call_that_waits_for_itself_is_an_error() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    assert_eq!(
        errors(&session, "{ itself }").await,
        ["1:3 itself waits for itself"]
    );
    // Two calls that wait for each other: whichever asks last is refused, and both end.
    let found = errors(&session, "{ tick tock }").await;
    assert!(found[0].contains("waits for itself"), "{found:?}");
}

#[tokio::test]
async fn recursion_under_ever_new_keys_ends() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    let found = errors(&session, "{ deeper }").await;
    assert!(found[0].contains("levels deep, last deeper"), "{found:?}");
}

#[tokio::test]
async fn releasing_a_session_frees_what_no_other_owns() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    data(
        &a,
        r#"{ text(value: "shared") { value } mine: text(value: "mine") { value } }"#,
    )
    .await;
    for _ in 0..100 {
        data(&b, r#"{ text(value: "shared") { value } }"#).await;
    }
    assert_eq!((lab.live(), lab.runs("text")), (2, 2));
    a.release();
    a.release();
    assert_eq!(lab.live(), 1, "what only `a` owned is gone");
    assert_eq!(
        data(&b, r#"{ text(value: "shared") { value } }"#).await["text"]["value"],
        "shared"
    );
    assert_eq!(
        errors(&a, "{ text { value } }").await,
        ["- the session is closed"]
    );
    drop(b);
    assert_eq!(lab.live(), 0);
    assert!(server.cache().stats().is_empty());
}

#[tokio::test]
async fn a_call_that_ends_after_its_session_returns_and_keeps_nothing() {
    let lab = Lab::gated();
    let server = server(&lab);
    let session = session(&server, "s");
    let query = spawn(&session, "{ wait }", &CancellationToken::new());
    lab.begun.notified().await;
    session.release();
    let response = query.await.expect("ends");
    assert_eq!(response.errors[0].message(), "the session is closed");
    assert!(server.cache().stats().is_empty());
}

#[tokio::test]
async fn a_result_is_found_by_the_id_it_came_with() {
    let lab = Arc::new(Lab::default());
    let session = session(&server(&lab), "s");
    // `upper` returns the object of another call; its own key and that ID lead to one entry each.
    let answer = data(
        &session,
        r#"{ text(value: "a") { upper { id value } } direct: text(value: "A") { id } }"#,
    )
    .await;
    assert_eq!(answer["text"]["upper"]["id"], answer["direct"]["id"]);
    assert_eq!(answer["text"]["upper"]["value"], "A");
    assert_eq!(lab.runs("text"), 2);
}

#[tokio::test]
async fn policies_share_as_they_say() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    for (field, runs) in [
        ("text", 1),
        ("clientText", 2),
        ("sessionText", 2),
        ("callText", 4),
        ("schemaText", 1),
        ("neverText", 4),
        ("requestedText", 2),
        ("requestedText(fresh: true)", 4),
    ] {
        let name = field.split('(').next().expect("a name");
        let before = lab.runs(name);
        for session in [&a, &a, &b, &b] {
            data(session, &format!("{{ {field} {{ value }} }}")).await;
        }
        assert_eq!(lab.runs(name) - before, runs, "{field}");
    }
}

#[tokio::test]
async fn a_hook_may_scope_by_anything_and_the_id_shows_it() {
    let lab = Arc::new(Lab::default());
    let mut builder = crate::testing::builder(&lab);
    let hook: crate::ScopeHook = Arc::new(|_, _, args| {
        let first = args.str("value")?.chars().take(1).collect::<String>();
        Ok(vec![crate::ImplicitInput::new("initial", first)])
    });
    let at = Arc::clone(&lab);
    builder.query(
        crate::Field::new("initial", "Text!")
            .arg(crate::Arg::new("value", "String!"))
            .cache(crate::CachePolicy::Custom(hook))
            .resolve(move |cx, _, args| {
                let lab = Arc::clone(&at);
                async move { Ok(cx.object(lab.text(args.str("value")?))) }
            }),
    );
    let observer = Arc::new(crate::Unobserved);
    let server = crate::Server::new(
        builder.build().expect("valid"),
        Cache::in_memory(),
        observer,
    );
    let id = text_id(
        &session(&server, "s"),
        r#"{ initial(value: "abc") { id } }"#,
    )
    .await;
    let recorded: Vec<_> = id
        .implicit_inputs()
        .iter()
        .map(|i| (i.name(), i.value()))
        .collect();
    assert_eq!(recorded, [("initial", "a")]);
}

#[tokio::test]
async fn a_directive_scopes_one_call_and_is_recorded() {
    let lab = Arc::new(Lab::default());
    let server = server(&lab);
    let (a, b) = (session(&server, "a"), session(&server, "b"));
    for (directive, runs) in [
        ("", 1),
        ("@cache(scope: CLIENT)", 2),
        ("@cache(scope: SESSION)", 2),
        ("@cache(scope: CALL)", 4),
        (r#"@cache(key: "k")"#, 1),
        (r#"@cache(ttl: "1h")"#, 1),
        (r#"@cache(ttl: "1h", key: "k", scope: CLIENT)"#, 2),
    ] {
        let before = lab.runs("append");
        for session in [&a, &a, &b, &b] {
            let query = format!("{{ text {{ append(with: \"b\") {directive} {{ value }} }} }}");
            assert_eq!(data(session, &query).await["text"]["append"]["value"], "xb");
        }
        assert_eq!(lab.runs("append") - before, runs, "{directive}");
    }
    let query = r#"{ text @cache(ttl: "1h30m", key: "k", scope: SESSION) { id } }"#;
    let id = text_id(&a, query).await;
    let recorded: Vec<_> = id
        .implicit_inputs()
        .iter()
        .map(|input| (input.scope(), input.value().to_owned()))
        .collect();
    assert_eq!(
        recorded,
        [
            (Some(Scope::Key), "k".to_owned()),
            (Some(Scope::Session), "a".to_owned()),
            (Some(Scope::Ttl), "5400".to_owned()),
        ]
    );
    for (directive, expected) in [
        ("@cache", "1:3 @cache needs scope, ttl or key"),
        (
            r#"@cache(ttl: "soon")"#,
            "1:15 @cache(ttl): `soon` is not a duration: write for example 90s, 15m, 1h30m or 7d",
        ),
        (
            "@cache(scope: GLOBAL)",
            "1:15 @cache(scope): expected CLIENT, SESSION or CALL",
        ),
    ] {
        assert_eq!(
            errors(&a, &format!("{{ text {directive} {{ value }} }}")).await,
            [expected]
        );
    }
}

#[tokio::test]
async fn leaving_a_call_leaves_the_calls_it_made() {
    let lab = Lab::gated();
    let mut builder = crate::testing::builder(&lab);
    builder.query(
        crate::Field::new("outer", "String!").resolve(|cx, _, _| async move {
            let inner = [("name", crate::Literal::from("inner"))];
            cx.select(&cx.root(), "wait", inner).await
        }),
    );
    let observer = Arc::new(crate::Unobserved);
    let server = crate::Server::new(
        builder.build().expect("valid"),
        Cache::in_memory(),
        observer,
    );
    let session = session(&server, "s");
    let cancel = CancellationToken::new();
    let query = spawn(&session, "{ outer }", &cancel);
    lab.begun.notified().await;
    assert_eq!(server.cache().stats().in_flight, 2);
    cancel.cancel();
    query.await.expect("ends");
    while lab.runs("stopped inner") == 0 {
        tokio::task::yield_now().await;
    }
    assert_eq!(server.cache().stats().in_flight, 0);
}

#[tokio::test]
async fn the_observer_sees_who_called_what_where() {
    #[derive(Default)]
    struct Seen(std::sync::Mutex<Vec<String>>);
    impl crate::Observer for Seen {
        fn call_started(&self, call: &crate::CallInfo) {
            let line = format!(
                "+{} {:?} nested={}",
                call.id.field(),
                call.path,
                call.nested
            );
            self.0.lock().expect("no panic holds it").push(line);
            assert_eq!(
                call.call_key, call.storage_key,
                "nothing here has a time to live"
            );
            assert_eq!(&call.call_key, call.id.digest());
        }
        fn call_finished(&self, call: &crate::CallInfo, end: &crate::Finished<'_>) {
            let other = end.result_id.map(|id| format!(" as {}", id.field()));
            let line = format!(
                "-{} {:?}{}",
                call.id.field(),
                end.outcome,
                other.unwrap_or_default()
            );
            self.0.lock().expect("no panic holds it").push(line);
        }
    }
    let seen = Arc::new(Seen::default());
    let lab = Arc::new(Lab::default());
    let observer = Arc::<Seen>::clone(&seen);
    let server = crate::Server::new(crate::testing::schema(&lab), Cache::in_memory(), observer);
    let session = session(&server, "s");
    data(
        &session,
        r#"{ t: text(value: "a") { upper { __typename } } }"#,
    )
    .await;
    data(&session, r#"{ text(value: "A") { id } }"#).await;
    let lines = seen.0.lock().expect("no panic holds it").join("\n");
    expect_test::expect![[r#"
        +text [Key("t")] nested=false
        -text Executed
        +upper [Key("t"), Key("upper")] nested=false
        +text [] nested=true
        -text Executed
        -upper Executed as text
        +text [Key("text")] nested=false
        -text Hit"#]]
    .assert_eq(&lines);
}
