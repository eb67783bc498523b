//! Forgetting what can no longer lead to a result.
//!
//! Marks from the classes that have members: a live class keeps the terms that give it, and those
//! keep the classes they take. Everything else goes, and what stays is packed. A name stays if an
//! entry holds it or if it is the content of a live class. Takes time linear in what there is, so
//! the caller sweeps after a fixed part of all entries has gone.

use hashbrown::HashTable;
use slab::Slab;

use super::classes::{ClassIx, Classes, NONE, NameIx};
use super::entries::Entry;

/// Drops what no entry needs and renumbers the rest, also in the entries.
pub(super) fn sweep<V>(classes: &mut Classes, entries: &mut Slab<Entry<V>>) {
    let mut old = std::mem::take(classes);
    if entries.is_empty() {
        return;
    }
    let live = mark(&mut old);
    let new = renumber(&live);
    for at in (0..live.len()).filter(|at| live[*at]) {
        let members = std::mem::take(&mut old.classes[at].members);
        let class = classes.new_class();
        classes.classes[class as usize].members = members;
    }
    copy_terms(&mut old, classes, &live, &new);
    copy_names(&mut old, classes, entries, &new);
}

fn mark(old: &mut Classes) -> Vec<bool> {
    let mut live = vec![false; old.classes.len()];
    let mut pending: Vec<ClassIx> = Vec::new();
    for (at, class) in (0..).zip(&old.classes) {
        if !class.members.is_empty() {
            live[at as usize] = true;
            pending.push(at);
        }
    }
    while let Some(class) = pending.pop() {
        let mut term = old.classes[class as usize].terms.0;
        while term != NONE {
            if old.terms[term as usize].live {
                for input in old.inputs(term) {
                    if !std::mem::replace(&mut live[input as usize], true) {
                        pending.push(input);
                    }
                }
            }
            term = old.terms[term as usize].next;
        }
    }
    live
}

/// The new position of each live class.
fn renumber(live: &[bool]) -> Vec<ClassIx> {
    let mut next = 0;
    let number = |live: &bool| {
        let at = if *live { next } else { NONE };
        next += u32::from(*live);
        at
    };
    live.iter().map(number).collect()
}

fn copy_terms(old: &mut Classes, classes: &mut Classes, live: &[bool], new: &[ClassIx]) {
    for term in 0..u32::try_from(old.terms.len()).unwrap_or(NONE) {
        let output = old.find(old.terms[term as usize].output);
        if !old.terms[term as usize].live || !live[output as usize] {
            continue;
        }
        let inputs: Vec<ClassIx> = old
            .inputs(term)
            .into_iter()
            .map(|class| new[class as usize])
            .collect();
        let digest = old.terms[term as usize].digest;
        classes.add_term(digest, &inputs, new[output as usize]);
    }
}

fn copy_names<V>(
    old: &mut Classes,
    classes: &mut Classes,
    entries: &mut Slab<Entry<V>>,
    new: &[ClassIx],
) {
    let mut held = vec![false; old.names.len()];
    for (_, entry) in entries.iter() {
        entry.names().for_each(|name| held[name as usize] = true);
    }
    let mut moved: Vec<NameIx> = vec![NONE; old.names.len()];
    old.by_key = HashTable::new();
    for name in 0..u32::try_from(old.names.len()).unwrap_or(NONE) {
        let class = old.class_of(name);
        let to = class.map_or(NONE, |class| new[class as usize]);
        let content = class.is_some_and(|class| old.classes[class as usize].content == name);
        if !held[name as usize] && (to == NONE || !content) {
            continue;
        }
        let known = &old.names[name as usize];
        let at = classes.new_name(known.key, to);
        classes.names[at as usize].entry = known.entry;
        if content && to != NONE {
            classes.classes[to as usize].content = at;
        }
        moved[name as usize] = at;
    }
    for (_, entry) in entries.iter_mut() {
        entry.rename(&moved);
    }
}
