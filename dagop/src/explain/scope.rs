//! Why the salt of a scoped step is another one.

use std::collections::BTreeSet;

use super::graph::{Graph, Step, salted};
use super::reason::Reason;
use crate::ledger::CallRow;

/// The scope that is a time to live.
const TTL: &str = "ttl";

/// The reasons. If the step differs for other reasons already, a salt that differs with no scope of
/// its own follows from those, and there are none.
pub(super) fn reasons(
    (before, a): (&Graph, &Step),
    (after, b): (&Graph, &Step),
    explained: bool,
) -> Vec<Reason> {
    let calls = |graph, step: &Step| -> Vec<Option<&CallRow>> {
        let salts = step.salts.iter();
        salts.map(|salt| salted(graph, step, salt)).collect()
    };
    let (old, new) = (calls(before, a), calls(after, b));
    let mut reasons = Vec::new();
    for place in 0..old.len().max(new.len()) {
        let from = old.get(place).copied().flatten();
        let to = new.get(place).copied().flatten();
        reasons.extend(scopes(from, to));
    }
    if !reasons.is_empty() || explained {
        return reasons;
    }
    for (from, to) in old.into_iter().flatten().zip(new.into_iter().flatten()) {
        if from.storage_key == to.storage_key {
            continue;
        }
        if from.call_key != to.call_key {
            reasons.push(other_call(before, from, after, to));
            continue;
        }
        let ttl = to.scopes.iter().find(|scope| scope.name == TTL);
        if let Some(ttl) = ttl {
            reasons.push(Reason::Expired {
                call: to.display.clone(),
                seconds: ttl.value.clone(),
                from_ms: from.started_ms,
                to_ms: to.started_ms,
            });
        }
    }
    reasons
}

/// Scopes that differ.
fn scopes(from: Option<&CallRow>, to: Option<&CallRow>) -> Vec<Reason> {
    let Some(call) = to.or(from) else {
        return Vec::new();
    };
    let value = |call: Option<&CallRow>, name: &str| {
        let scope = call?.scopes.iter().find(|scope| scope.name == name);
        scope.map(|scope| scope.value.clone())
    };
    let rows = [from, to].into_iter().flatten();
    let names: BTreeSet<&String> = rows.flat_map(|row| &row.scopes).map(|s| &s.name).collect();
    let differing = names.into_iter().filter_map(|name| {
        let (from, to) = (value(from, name), value(to, name));
        (from != to).then(|| Reason::Scope {
            call: call.display.clone(),
            scope: name.clone(),
            from,
            to,
        })
    });
    differing.collect()
}

/// The first call below two scoped calls that differs, from the root.
fn other_call(before: &Graph, from: &CallRow, after: &Graph, to: &CallRow) -> Reason {
    let (old, new) = (chain(before, from), chain(after, to));
    let same = old.iter().zip(&new);
    let same = same.take_while(|(a, b)| a.display == b.display).count();
    let or_last = |chain: &[&CallRow], place: usize| {
        let call = chain.get(place).or(chain.last());
        call.map(|call| call.display.clone()).unwrap_or_default()
    };
    Reason::Call {
        from: or_last(&old, same),
        to: or_last(&new, same),
    }
}

/// The first calls below two whose keys differ, from the root, in words. Scopes that differ are
/// named with them.
pub(super) fn first_difference(
    (before, from): (&Graph, &CallRow),
    (after, to): (&Graph, &CallRow),
) -> (String, String) {
    let (old, new) = (chain(before, from), chain(after, to));
    let same = old.iter().zip(&new);
    let same = same.take_while(|(a, b)| a.call_key == b.call_key).count();
    let (a, b) = (old.get(same), new.get(same));
    let words = |call: Option<&&CallRow>, other: Option<&&CallRow>| {
        let Some(call) = call else {
            return "nothing".to_owned();
        };
        let mut words = call.display.clone();
        if other.is_some_and(|other| other.display == call.display) {
            let known = |scope: &&crate::event::ScopeInput| {
                other.is_some_and(|other| other.scopes.contains(scope))
            };
            for scope in call.scopes.iter().filter(|scope| !known(scope)) {
                words.push_str(&format!(" ({} {})", scope.name, scope.value));
            }
        }
        words
    };
    (words(a, b), words(b, a))
}

/// A call and those that it is made on, the root first.
fn chain<'a>(graph: &'a Graph, call: &'a CallRow) -> Vec<&'a CallRow> {
    let by_number = graph.calls.iter().map(|call| (call.call, call)).collect();
    let mut chain: Vec<&CallRow> = call.and_above(&by_number).collect();
    chain.reverse();
    chain
}
