//! The cost of a query whose calls are all cached: the document, the calls, the answer.
//!
//! `cargo bench -p dagql --bench query`. The same document again and again is what SDKs in a loop
//! and warm pipelines send; `fresh` sends another document each time, so that nothing of it is known.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use dagql::{
    Arg, Cache, Field, ObjectData, ObjectType, Request, Schema, Server, Session, SessionOptions,
    Unobserved,
};
use divan::Bencher;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

/// Calls of one document.
const CALLS: usize = 10;

fn main() {
    divan::main();
}

struct Step;

impl ObjectData for Step {
    fn type_name(&self) -> &str {
        "Step"
    }
}

fn step(name: &str) -> Field {
    Field::new(name, "Step!")
        .arg(Arg::new("name", "String!").default(""))
        .arg(Arg::new("value", "String!").default(""))
        .arg(Arg::new("expand", "Boolean!").default(false))
        .resolve(|cx, _, _| async move { Ok(cx.object(Step)) })
}

fn session() -> Arc<Session> {
    let mut builder = Schema::builder();
    builder.query(step("container"));
    builder.object(
        ObjectType::new("Step")
            .field(step("withEnvVariable"))
            .field(Field::new("count", "Int!").resolve(|_, _, _| async move { Ok(CALLS as i64) })),
    );
    let schema = builder.build().expect("the schema is valid");
    let server = Server::new(schema, Cache::in_memory(), Arc::new(Unobserved));
    server.session(SessionOptions::new("session", "client", Arc::new(())))
}

/// A chain of [`CALLS`] calls; the white space makes a document that was not sent before.
fn document(blanks: &str) -> String {
    let steps: String = (2..CALLS)
        .map(|at| format!("withEnvVariable(name: \"V{at}\", value: \"x\") {{ "))
        .collect();
    let close = "}".repeat(CALLS);
    format!("{{{blanks} container {{ {steps} count {close}")
}

fn ask(runtime: &Runtime, session: &Arc<Session>, text: String) -> usize {
    let answer = session.execute(Request::new(text), CancellationToken::new());
    let response = runtime.block_on(answer);
    response.data.expect("the query succeeds").get().len()
}

fn runtime() -> Runtime {
    let built = tokio::runtime::Builder::new_current_thread().build();
    built.expect("a runtime starts")
}

#[divan::bench]
fn cached(bencher: Bencher<'_, '_>) {
    let (runtime, session, text) = (runtime(), session(), document(""));
    ask(&runtime, &session, text.clone());
    bencher
        .with_inputs(|| text.clone())
        .bench_local_values(|text| ask(&runtime, &session, text));
}

#[divan::bench]
fn fresh(bencher: Bencher<'_, '_>) {
    let (runtime, session) = (runtime(), session());
    ask(&runtime, &session, document(""));
    let sent = AtomicU64::new(0);
    bencher
        .with_inputs(|| {
            // Sixteen blanks or line feeds: 65,536 spellings of one document.
            let number = sent.fetch_add(1, Ordering::Relaxed);
            let blank = |bit| if number >> bit & 1 == 0 { ' ' } else { '\n' };
            document(&(0..16).map(blank).collect::<String>())
        })
        .bench_local_values(|text| ask(&runtime, &session, text));
}
