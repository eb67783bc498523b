//! What the journal tells of calls, through a real server.

use std::sync::Arc;

use dagql::{Cache, Field, Request, Schema, Server};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::ledger::Ledger;

#[tokio::test]
async fn a_result_that_is_asked_for_again_and_again_is_told_as_a_hit_once() {
    let mut builder = Schema::builder();
    builder.query(Field::new("one", "Int!").resolve(|_, _, _| async move { Ok(1_i64) }));
    let (sender, mut events) = mpsc::unbounded_channel();
    let directory = tempfile::tempdir().expect("a directory");
    let ledger = Ledger::start(directory.path().join("ledger.db"));
    let journal = Arc::new(Journal::new(ledger.record(), Some(sender)));
    let schema = builder.build().expect("the schema is valid");
    let server = Server::new(schema, Cache::in_memory(), journal);
    let session = server.session(dagql::SessionOptions::new("s", "c", Arc::new(())));
    for _ in 0..5 {
        let answer = session.execute(Request::new("{ one }"), CancellationToken::new());
        assert!(answer.await.errors.is_empty());
    }
    let mut ends = Vec::new();
    while let Ok(event) = events.try_recv() {
        if let Event::CallFinished(finished) = event {
            ends.push((finished.call, finished.end));
        }
    }
    assert_eq!(ends, [(1, event::CallEnd::Ran), (2, event::CallEnd::Hit)]);
}
