//! Canonical digests, and the order of the graph of links.

use std::fmt::Write as _;

use super::Record;
use crate::Digest;

/// The records' positions, linked ones before those that link to them; positions that are part of
/// a loop, or behind one, are left out.
pub(super) fn order(records: &[Record]) -> Vec<usize> {
    let mut waiting = vec![0_usize; records.len()];
    let mut behind: Vec<Vec<usize>> = vec![Vec::new(); records.len()];
    for (position, record) in records.iter().enumerate() {
        for link in record.inputs.iter().flatten() {
            waiting[position] += 1;
            behind[link.record].push(position);
        }
    }
    let mut order: Vec<usize> = (0..records.len()).filter(|&at| waiting[at] == 0).collect();
    let mut next = 0;
    while let Some(&position) = order.get(next) {
        next += 1;
        for &after in &behind[position] {
            waiting[after] -= 1;
            if waiting[after] == 0 {
                order.push(after);
            }
        }
    }
    order
}

/// See [`super::Config::canonical`]. The links have no loop: [`super::parse`] checked that.
pub(super) fn digests(records: &[Record]) -> Vec<Digest> {
    let mut digests: Vec<Option<Digest>> = vec![None; records.len()];
    let mut text = String::new();
    for position in order(records) {
        let record = &records[position];
        text.clear();
        text.push_str(record.digest.as_str());
        for (input, links) in record.inputs.iter().enumerate() {
            let mut lines: Vec<(&str, &str)> = links
                .iter()
                .map(|link| {
                    let selector = link.selector.as_ref().map_or("", Digest::as_str);
                    let linked = digests[link.record].as_ref().map_or("", Digest::as_str);
                    (selector, linked)
                })
                .collect();
            lines.sort_unstable();
            lines.dedup();
            for (selector, linked) in lines {
                // Writing to a String cannot fail.
                _ = write!(text, "\n{input} {selector} {linked}");
            }
        }
        let digest = Digest::sha256(text.as_bytes());
        digests[position] = Some(digest);
    }
    let unlinked = records.iter().map(|record| record.digest.clone());
    let pairs = digests.into_iter().zip(unlinked);
    pairs.map(|(digest, own)| digest.unwrap_or(own)).collect()
}
