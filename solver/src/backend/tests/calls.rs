//! Administrative calls, plain solves, history.

use futures::StreamExt as _;

use super::*;
use crate::backend::history::{HistoryChange, HistoryQuery, HistoryUpdate};

#[tokio::test]
async fn a_daemon_tells_its_version_workers_and_usage() {
    let Some(client) = client().await else { return };
    assert!(client.info().await.expect("info").version.starts_with('v'));
    let workers = client.workers(&[]).await.expect("workers");
    assert!(!workers[0].id.is_empty() && workers[0].platforms[0].os == "linux");
    let none = client
        .workers(&["id==none".to_owned()])
        .await
        .expect("filtered");
    assert!(none.is_empty());
    let usage = client.disk_usage(&[]).await.expect("usage");
    assert!(usage.iter().all(|record| !record.id.is_empty()));
    let filter = r#"description=="no such record""#;
    let options = control::PruneOptions {
        filters: vec![filter.to_owned()],
        ..Default::default()
    };
    let pruned: Vec<_> = client.prune(options).await.expect("prune").collect().await;
    assert!(pruned.is_empty(), "{pruned:?}");
}

#[tokio::test]
async fn plain_solves_and_their_history() {
    let Some(client) = client().await else { return };
    let mut graph = Graph::default();
    let root = graph.files(&[("/Dockerfile", b"FROM scratch\nCOPY /Dockerfile /copy\n")]);
    let definition = graph.definition(root);
    let input = SolveInput::Definition(definition.clone());
    let plain = SolveRequest::new(input, SolveOptions::default());
    client.solve(plain.clone()).await.expect("solved");

    let inputs = ["context", "dockerfile"]
        .map(|name| (name.to_owned(), definition.clone()))
        .into();
    let input = SolveInput::Frontend {
        name: "dockerfile.v0".to_owned(),
        inputs,
    };
    let frontend = SolveRequest::new(input, SolveOptions::default());
    client.solve(frontend.clone()).await.expect("solved");

    let query = HistoryQuery {
        reference: frontend.reference.clone(),
        present_only: true,
        ..Default::default()
    };
    let events: Vec<_> = client
        .history(query)
        .await
        .expect("history")
        .collect()
        .await;
    let event = events[0].as_ref().expect("event");
    assert_eq!(
        (event.change, event.record.frontend.as_str()),
        (HistoryChange::Completed, "dockerfile.v0")
    );
    let logs = event.record.logs.as_ref().expect("logs");
    let bytes = client
        .read_blob(&logs.digest.parse().expect("digest"))
        .await
        .expect("blob");
    assert_eq!(i64::try_from(bytes.len()), Ok(logs.size));
    for reference in [&plain.reference, &frontend.reference] {
        client
            .update_history(reference, HistoryUpdate::Delete)
            .await
            .expect("deleted");
    }
    let absent = client.status("nonexistent").await;
    let error = match absent {
        Err(error) => error,
        Ok(stream) => std::pin::pin!(stream)
            .next()
            .await
            .expect("an item")
            .expect_err("no such build"),
    };
    assert!(matches!(error, Error::Daemon(_)), "{error:?}");
}
