//! Why a step was not found in the caches that the build was told to read.

use super::graph::{Graph, Step};
use super::reason::Reason;
use crate::ledger::{ImportRow, ImportState, Imported};

/// One reason for each imported cache, in the order in which the build was told of them. Only for
/// a step that ran, and for no cause that its key would show.
pub(super) fn reasons(graph: &Graph, step: &Step) -> Vec<Reason> {
    let imports = graph.imports.iter();
    imports.map(|import| reason(import, step)).collect()
}

fn reason(import: &ImportRow, step: &Step) -> Reason {
    let cache = format!("{} {}", import.kind, import.name);
    let unknown = |missing: String| Reason::Unknown { missing };
    match import.state {
        ImportState::Absent => return Reason::ImportAbsent { cache },
        ImportState::Unread => {
            return unknown(format!(
                "what the imported cache {cache} has: it was not read"
            ));
        }
        ImportState::Read => {}
    }
    let rows = step.imported.iter();
    let mut rows = rows.filter(|row| row.import == import.number);
    let Some(first) = rows.next() else {
        return unknown(format!("whether the imported cache {cache} has its key"));
    };
    // A record of any output would have served.
    let best = rows.fold(first, |best, row| {
        if row.state.rank() > best.state.rank() {
            row
        } else {
            best
        }
    });
    match (best.state, &best.blob) {
        (Imported::NoRecord, _) => Reason::ImportNoRecord { cache },
        (Imported::NoResult, _) => Reason::ImportNoResult { cache },
        (Imported::NoBlob, Some(blob)) => Reason::ImportNoBlob {
            cache,
            blob: blob.clone(),
        },
        (Imported::NoBlob, None) => unknown(format!("which blob the imported cache {cache} lacks")),
        (Imported::Unclear, _) => unknown(format!(
            "whether a record of the imported cache {cache} is of the same inputs"
        )),
        // It is read when the build is over.
        (Imported::Whole, _) => unknown(format!(
            "whether the imported cache {cache}, which has the record now, had it then"
        )),
    }
}
