//! `dagop cache stats`: what the engine's own cache holds.
//!
//! Results in memory live in the process that computed them. So a running server is asked over its
//! own address, and without one only what is on disk can be counted, which is said.

use std::fmt::Write as _;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use axum::http::{Request, StatusCode, header};
use base64::Engine as _;
use dagop::report::text;
use dagop::{CacheStats, Stored};
use http_body_util::{BodyExt as _, Limited};
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::args::CacheStatsArgs;
use crate::config::{Config, Token};
use crate::error::CliError;
use crate::output;
use crate::serve::STATS_PATH;

/// Largest answer that is read, in bytes.
const ANSWER_BYTES_MAX: usize = 64 << 10;

/// How long the server may take.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);

pub(super) async fn stats(config: &Config, args: &CacheStatsArgs) -> Result<(), CliError> {
    let port = args
        .server
        .port
        .map(|port| (Ipv4Addr::LOCALHOST, port).into());
    let text = match args.server.address.or(port) {
        Some(address) => {
            let asked = ask(address, args.server.token.as_ref());
            let stats = tokio::time::timeout(ANSWER_TIME_MAX, asked).await;
            let stats = stats.map_err(|_| {
                CliError::failed(format!("the server at {address} does not answer"))
            })??;
            match args.json {
                true => format!(
                    "{:#}\n",
                    json!({"server": address.to_string(), "memory": stats})
                ),
                false => memory(address, &stats),
            }
        }
        None => {
            let stored = dagop::stored(&config.state_dir()?)?;
            match args.json {
                true => format!("{:#}\n", json_stored(&stored)),
                false => disk(&stored),
            }
        }
    };
    output::to_stdout(text.as_bytes())
}

/// Asks a server for its counts.
async fn ask(address: SocketAddr, token: Option<&Token>) -> Result<CacheStats, CliError> {
    let failed = |error: &dyn std::fmt::Display| {
        CliError::failed(format!("cannot ask the server at {address}: {error}"))
            .with_hint("is `dagop serve` running there?")
    };
    let stream = TcpStream::connect(address).await.map_err(|e| failed(&e))?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|e| failed(&e))?;
    // Ends with `sender`.
    tokio::spawn(connection);
    let mut request = Request::get(STATS_PATH).header(header::HOST, address.to_string());
    if let Some(token) = token {
        let user = format!("{}:", token.expose());
        let encoded = base64::engine::general_purpose::STANDARD.encode(user);
        request = request.header(header::AUTHORIZATION, format!("Basic {encoded}"));
    }
    let request = request.body(String::new()).map_err(|e| failed(&e))?;
    let answer = sender.send_request(request).await.map_err(|e| failed(&e))?;
    match answer.status() {
        StatusCode::OK => {}
        StatusCode::UNAUTHORIZED => {
            let message = format!("the server at {address} wants its session token");
            let hint = "give it with DAGGER_SESSION_TOKEN";
            return Err(CliError::failed(message).with_hint(hint));
        }
        status => return Err(failed(&status)),
    }
    let body = Limited::new(answer.into_body(), ANSWER_BYTES_MAX);
    let body = body.collect().await.map_err(|e| failed(&e))?.to_bytes();
    serde_json::from_slice(&body).map_err(|e| failed(&e))
}

fn json_stored(stored: &Stored) -> serde_json::Value {
    json!({
        "file": stored.file,
        "storageKeys": {"valid": stored.leases.valid, "expired": stored.leases.expired},
        "values": {"count": stored.values.rows, "bytes": stored.values.bytes},
    })
}

fn disk(stored: &Stored) -> String {
    let mut table = format!("{}\n", stored.file.display());
    let leases = &stored.leases;
    // Writing to a String cannot fail.
    _ = writeln!(
        table,
        "values        {:>10}  {}",
        stored.values.rows,
        text::bytes(stored.values.bytes)
    );
    _ = writeln!(
        table,
        "storage keys  {:>10}  in force, {} expired",
        leases.valid, leases.expired
    );
    table.push_str("Results in memory end with their process; --address asks a running server.\n");
    table
}

fn memory(address: SocketAddr, stats: &CacheStats) -> String {
    let size = |bytes: usize| text::bytes(bytes as u64);
    let rows = [
        (
            "results",
            stats.entries,
            format!("{} owned by sessions, {} kept", stats.owned, stats.retained),
        ),
        (
            "sessions",
            stats.sessions,
            format!("{} calls under way", stats.in_flight),
        ),
        (
            "classes",
            stats.classes,
            format!("{} terms, {} names", stats.terms, stats.names),
        ),
    ];
    let mut table = format!(
        "memory of {address}: about {} of {}\n",
        size(stats.bytes),
        size(stats.budget)
    );
    for (what, count, more) in rows {
        _ = writeln!(table, "{what:<12}{count:>10}  {more}");
    }
    let events = [
        ("hits", stats.hits_exact, "the very call"),
        ("", stats.hits_class, "known to be equal"),
        ("", stats.hits_term, "the same call on equal inputs"),
        ("joined", stats.joined, ""),
        ("executed", stats.executed, ""),
        ("evicted", stats.evicted, "for the budget"),
        ("expired", stats.expired, ""),
    ];
    for (what, count, more) in events {
        let line = format!("{what:<12}{count:>10}  {more}");
        _ = writeln!(table, "{}", line.trim_end());
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_disk_is_counted_and_the_rest_is_said() {
        let directory = tempfile::tempdir().expect("creates");
        let stored = dagop::stored(directory.path()).expect("there is nothing to read");
        assert_eq!((stored.values.rows, stored.leases.valid), (0, 0));
        let text = disk(&stored);
        assert!(text.contains("values                 0  0B"), "{text}");
        assert!(text.contains("--address asks a running server"), "{text}");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("reads").count(),
            0
        );
    }

    #[test]
    fn a_servers_counts_are_a_table() {
        let stats = serde_json::from_value(json!({
            "entries": 3, "owned": 1, "retained": 2, "bytes": 2112, "budget": 268_435_456,
            "classes": 4, "terms": 2, "names": 5, "in_flight": 0, "sessions": 1,
            "hits_exact": 7, "hits_class": 0, "hits_term": 1, "joined": 0, "executed": 3,
            "evicted": 0, "expired": 0,
        }));
        let text = memory(([127, 0, 0, 1], 8080).into(), &stats.expect("all counts"));
        expect_test::expect![[r#"
            memory of 127.0.0.1:8080: about 2.1kB of 268.4MB
            results              3  1 owned by sessions, 2 kept
            sessions             1  0 calls under way
            classes              4  2 terms, 5 names
            hits                 7  the very call
                                 0  known to be equal
                                 1  the same call on equal inputs
            joined               0
            executed             3
            evicted              0  for the budget
            expired              0
        "#]]
        .assert_eq(&text);
    }
}
