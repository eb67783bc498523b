//! What differs between two builds without being in the daemon's key of a step: things that one
//! would take for a cause, and that are none.

use super::causes::Key;
use super::graph::Graph;
use super::reason::Reason;
use super::{Compared, exec, scope};
use crate::ledger::CallRow;

/// The remarks on a step of the later build. There are none on one whose key differs.
pub(super) fn reasons(compared: &Compared, place: usize) -> Vec<Reason> {
    let Some(pair) = compared.pairs.before[place] else {
        return Vec::new();
    };
    if compared.causes.steps[place].key == Key::Other {
        return Vec::new();
    }
    let (a, b) = (&compared.before.steps[pair], &compared.after.steps[place]);
    let mut reasons = exec::volumes(a, b);
    if compared.causes.steps[place].key == Key::Same {
        reasons.extend(engine_key(
            (&compared.before, &a.calls),
            (&compared.after, &b.calls),
        ));
    }
    reasons
}

/// The call that is at the top of what a step does for the engine, if its key differs.
fn engine_key(
    (before, old): (&Graph, &[usize]),
    (after, new): (&Graph, &[usize]),
) -> Option<Reason> {
    let call = |graph: &'_ Graph, calls: &[usize]| -> Option<CallRow> {
        calls.last().map(|&call| graph.calls[call].clone())
    };
    let (from, to) = (call(before, old)?, call(after, new)?);
    let known = new
        .iter()
        .any(|&call| after.calls[call].call_key == from.call_key);
    if from.call_key == to.call_key || known {
        return None;
    }
    let (first, second) = scope::first_difference((before, &from), (after, &to));
    Some(Reason::EngineKey {
        call: to.display,
        from: first,
        to: second,
    })
}
