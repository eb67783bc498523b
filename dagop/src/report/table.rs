//! The key table: one line per call, its keys across the layers side by side; then one per vertex
//! that no call brought.
//!
//! Columns are as wide as their widest cell. A call's time is that of the vertex that carries its
//! result, where there is one: the engine itself spends next to none.

use std::collections::{HashMap, HashSet};
use std::fmt::Write as _;

use super::{Report, text};
use crate::event::UnixMillis;
use crate::ledger::{CallRow, RecordRow, VertexRow};

/// Widest a call's text may be, in characters.
const CALL_WIDTH_MAX: usize = 60;

const HEADER: [&str; 11] = [
    "#", "CALL", "OUTCOME", "KIND", "TIME", "BYTES", "CALL KEY", "SCOPE", "VERTEX", "RECORD",
    "LAYER",
];

pub(super) fn render(report: &Report) -> String {
    let vertices: HashMap<&str, &VertexRow> = report
        .vertices
        .iter()
        .map(|vertex| (vertex.raw.as_str(), vertex))
        .collect();
    let records = report.best_records();
    let mut rows = vec![HEADER.map(str::to_owned)];
    rows.extend(report.calls.iter().map(|call| {
        let raw = call.vertex.as_deref();
        let record = record_cells(report, raw.and_then(|raw| records.get(raw).copied()));
        cells(call, &vertices, record)
    }));
    let owned: HashSet<&str> = report
        .calls
        .iter()
        .flat_map(|call| call.vertex.iter().chain(&call.other_vertices))
        .map(String::as_str)
        .collect();
    let others = report.vertices.iter();
    let others = others.filter(|vertex| !owned.contains(vertex.raw.as_str()));
    rows.extend(others.map(|vertex| {
        let record = records.get(vertex.raw.as_str()).copied();
        vertex_cells(vertex, record_cells(report, record))
    }));

    let mut table = String::new();
    let build = &report.build;
    let daemon = [build.daemon.as_str(), build.daemon_version.as_str()].join(" ");
    // Writing to a String cannot fail, here and below.
    _ = writeln!(
        table,
        "build {} {} on {}",
        build.id,
        build.state,
        daemon.trim_end()
    );
    write_columns(&mut table, &rows);
    _ = writeln!(table, "{}", report.summary.line());
    if build.rows_dropped > 0 {
        _ = writeln!(table, "{} more rows were not kept", build.rows_dropped);
    }
    table
}

fn cells(
    call: &CallRow,
    vertices: &HashMap<&str, &VertexRow>,
    [record, layer]: [String; 2],
) -> [String; HEADER.len()] {
    let vertex = call.vertex.as_deref().and_then(|raw| vertices.get(raw));
    let scopes: Vec<&str> = call
        .scopes
        .iter()
        .map(|scope| scope.name.as_str())
        .collect();
    [
        call.call.to_string(),
        text::one_line(&call.display, CALL_WIDTH_MAX),
        call.outcome.to_string(),
        call.kind.to_string(),
        time(call, vertex.copied()),
        bytes(call.bytes),
        text::digest(Some(&call.call_key)).to_owned(),
        if scopes.is_empty() {
            "-".to_owned()
        } else {
            scopes.join(",")
        },
        text::digest(call.canonical.as_deref()).to_owned(),
        record,
        layer,
    ]
}

/// A vertex that no call brought: what a frontend adds, and exporters.
fn vertex_cells(vertex: &VertexRow, [record, layer]: [String; 2]) -> [String; HEADER.len()] {
    let none = || "-".to_owned();
    [
        none(),
        text::one_line(&vertex.name, CALL_WIDTH_MAX),
        vertex.outcome.to_string(),
        vertex.kind.to_string(),
        text::between(vertex.started_ms, vertex.completed_ms),
        bytes(vertex.bytes),
        none(),
        none(),
        text::digest(vertex.canonical.as_deref()).to_owned(),
        record,
        layer,
    ]
}

fn bytes(count: u64) -> String {
    if count > 0 {
        text::bytes(count)
    } else {
        "-".to_owned()
    }
}

/// The record that tells most of a vertex, and the blob of its layer.
fn record_cells(report: &Report, record: Option<&RecordRow>) -> [String; 2] {
    let layer = record.and_then(|record| report.layer(record.layer?));
    [
        text::digest(record.map(|record| record.digest.as_str())).to_owned(),
        text::digest(layer.map(|layer| layer.blob.as_str())).to_owned(),
    ]
}

fn time(call: &CallRow, vertex: Option<&VertexRow>) -> String {
    let span: (Option<UnixMillis>, Option<UnixMillis>) = match vertex {
        Some(vertex) => (vertex.started_ms, vertex.completed_ms),
        None => (Some(call.started_ms), call.finished_ms),
    };
    text::between(span.0, span.1)
}

fn write_columns<const N: usize>(out: &mut String, rows: &[[String; N]]) {
    let mut widths = [0; N];
    for row in rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count());
        }
    }
    for row in rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            _ = write!(line, "{cell:<width$}  ");
        }
        _ = writeln!(out, "{}", line.trim_end());
    }
}
