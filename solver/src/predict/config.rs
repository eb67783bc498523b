//! The order of a cacheconfig document.
//!
//! Records are ordered by digest, then number of inputs, then by input number of links and, link by
//! link, selector and digest of the linked record; links by the position of the record they lead
//! to. Records that this does not tell apart (merges of merges, say) have no fixed order in what
//! the daemon writes either; here they keep the order of the graph. Compare documents as graphs.

use std::cmp::Ordering;

use super::{Link, Record, records};
use crate::Digest;

/// The records in order, and the position in it of each.
pub(super) fn order(mut records: Vec<records::Record>) -> (Vec<Record>, Vec<usize>) {
    let digests: Vec<_> = records.iter().map(|record| record.digest.clone()).collect();
    for links in records.iter_mut().flat_map(|record| &mut record.inputs) {
        links.sort_by(|a, b| {
            let by_selector = a.selector.cmp(&b.selector);
            by_selector.then_with(|| digests[a.record].cmp(&digests[b.record]))
        });
    }
    // Most pairs are told apart by the beginning of the digest, which lies beside the position.
    let heads = digests.iter().map(head).zip(0..);
    let mut order: Vec<([u8; HEAD], usize)> = heads.collect();
    order.sort_by(|(head, a), (other, b)| {
        let by_head = head.cmp(other);
        by_head.then_with(|| compare(&records[*a], &records[*b], &digests))
    });
    let order: Vec<usize> = order.into_iter().map(|(_, position)| position).collect();
    let mut positions = vec![0; records.len()];
    for (new, &old) in order.iter().enumerate() {
        positions[old] = new;
    }
    let mut slots: Vec<_> = records.into_iter().map(Some).collect();
    let ordered = order
        .iter()
        .filter_map(|&old| slots[old].take())
        .map(|record| Record {
            digest: record.digest,
            inputs: record
                .inputs
                .into_iter()
                .map(|links| reindex(links, &positions))
                .collect(),
            unknown: record.unknown,
            outputs: record
                .edges
                .iter()
                .map(|edge| (edge.vertex, edge.output))
                .collect(),
            merged: record.merged,
        })
        .collect();
    (ordered, positions)
}

/// Bytes of a digest's text that are compared first: the algorithm, and 64 bits in digits.
const HEAD: usize = "sha256:".len() + 16;

/// The beginning of a digest's text.
fn head(digest: &Digest) -> [u8; HEAD] {
    let mut head = [0; HEAD];
    let text = digest.as_str().as_bytes();
    let length = text.len().min(HEAD);
    head[..length].copy_from_slice(&text[..length]);
    head
}

fn reindex(links: Vec<records::Link>, positions: &[usize]) -> Vec<Link> {
    let mut links: Vec<Link> = links
        .into_iter()
        .map(|link| Link {
            record: positions[link.record],
            selector: link.selector,
        })
        .collect();
    links.sort();
    links
}

fn compare(a: &records::Record, b: &records::Record, digests: &[Digest]) -> Ordering {
    let heads = a.digest.cmp(&b.digest);
    let mut order = heads.then(a.inputs.len().cmp(&b.inputs.len()));
    for (a, b) in a.inputs.iter().zip(&b.inputs) {
        if order.is_ne() {
            return order;
        }
        order = a.len().cmp(&b.len());
        for (a, b) in a.iter().zip(b) {
            if order.is_ne() {
                return order;
            }
            let by_selector = a.selector.cmp(&b.selector);
            order = by_selector.then_with(|| digests[a.record].cmp(&digests[b.record]));
        }
    }
    order
}
