//! Two sequences side by side: which element of one is which of the other.
//!
//! Like a text diff, but with elements that may be *similar*:
//! 1. *Anchors.* An element whose signature occurs once in both sequences is matched; of matches
//!    that cross, a longest increasing subsequence stays (patience diff). Signatures come in tiers,
//!    the exact one first; each tier works within the gaps that the one before left. An exact match
//!    that crosses is at another place; it is left for the caller and matched with nothing else.
//! 2. *Gaps.* Within what is left, pairs are chosen so that the sum of similarities is greatest
//!    (dynamic programming), at most [`CELLS_MAX`] comparisons per gap. A larger gap is matched by
//!    position, from its beginning.
//!
//! Anchors cost O(n log n). Everything is deterministic: among equal choices the earlier one wins.

use std::collections::{HashMap, HashSet};
use std::ops::Range;

/// Comparisons within one gap.
const CELLS_MAX: usize = 1 << 16;

/// The signature of an element of one side, by tier and position.
pub(super) type Signature<'a> = &'a dyn Fn(usize, usize) -> u64;

/// Pairs of positions, in order.
pub(super) fn align(
    lengths: (usize, usize),
    tiers: usize,
    signatures: (Signature<'_>, Signature<'_>),
    similarity: &dyn Fn(usize, usize) -> Option<f64>,
) -> Vec<(usize, usize)> {
    let mut gaps = vec![(0..lengths.0, 0..lengths.1)];
    let mut pairs = Vec::new();
    let mut crossed = [HashSet::new(), HashSet::new()];
    for tier in 0..tiers {
        let mut smaller = Vec::new();
        for (left, right) in gaps {
            let mine = left.clone().filter(|i| !crossed[0].contains(i));
            let theirs = right.clone().filter(|j| !crossed[1].contains(j));
            let mine = mine.map(|i| (signatures.0(tier, i), i)).collect::<Vec<_>>();
            let theirs = theirs
                .map(|j| (signatures.1(tier, j), j))
                .collect::<Vec<_>>();
            let matches = unique(&mine, &theirs);
            let found = increasing(&matches);
            let (mut i, mut j) = (left.start, right.start);
            for &(x, y) in &found {
                smaller.push((i..x, j..y));
                (i, j) = (x + 1, y + 1);
            }
            smaller.push((i..left.end, j..right.end));
            if tier == 0 {
                let kept: HashSet<_> = found.iter().collect();
                for (x, y) in matches.iter().filter(|pair| !kept.contains(pair)) {
                    crossed[0].insert(*x);
                    crossed[1].insert(*y);
                }
            }
            pairs.extend(found);
        }
        smaller.retain(|(left, right)| !left.is_empty() && !right.is_empty());
        gaps = smaller;
    }
    let similarity = |i: usize, j: usize| {
        let taken = crossed[0].contains(&i) || crossed[1].contains(&j);
        if taken { None } else { similarity(i, j) }
    };
    for (left, right) in gaps {
        fill(left, right, &similarity, &mut pairs);
    }
    pairs.sort_unstable();
    pairs
}

/// Elements whose signature is unique on both sides, in the order of the left one.
fn unique(left: &[(u64, usize)], right: &[(u64, usize)]) -> Vec<(usize, usize)> {
    // How often a signature occurs on either side, and where it did last.
    let mut places: HashMap<u64, [(usize, usize); 2]> = HashMap::new();
    for (side, elements) in [left, right].into_iter().enumerate() {
        for &(signature, place) in elements {
            let (count, last) = &mut places.entry(signature).or_default()[side];
            *count += 1;
            *last = place;
        }
    }
    let matches = left
        .iter()
        .filter_map(|(signature, i)| match places[signature] {
            [(1, _), (1, j)] => Some((*i, j)),
            _ => None,
        });
    matches.collect()
}

/// A longest subsequence whose second numbers increase too.
fn increasing(matches: &[(usize, usize)]) -> Vec<(usize, usize)> {
    // The last match of the best subsequence of each length, and what comes before each match.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(matches.len());
    for (number, &(_, j)) in matches.iter().enumerate() {
        let length = ends.partition_point(|&end| matches[end].1 < j);
        before.push(length.checked_sub(1).map(|shorter| ends[shorter]));
        if length == ends.len() {
            ends.push(number);
        } else {
            ends[length] = number;
        }
    }
    let mut chosen = Vec::with_capacity(ends.len());
    let mut next = ends.last().copied();
    while let Some(number) = next {
        chosen.push(matches[number]);
        next = before[number];
    }
    chosen.reverse();
    chosen
}

/// The pairs of a gap with the greatest sum of similarities.
fn fill(
    left: Range<usize>,
    right: Range<usize>,
    similarity: &dyn Fn(usize, usize) -> Option<f64>,
    pairs: &mut Vec<(usize, usize)>,
) {
    if left.len().saturating_mul(right.len()) > CELLS_MAX {
        let positional = left.zip(right);
        pairs.extend(positional.filter(|&(i, j)| similarity(i, j).is_some()));
        return;
    }
    // `best[i][j]` is the sum for what is left from i and j on.
    let width = right.len() + 1;
    let mut best = vec![0.0_f64; (left.len() + 1) * width];
    let mut scores = vec![None; left.len() * right.len()];
    for i in (0..left.len()).rev() {
        for j in (0..right.len()).rev() {
            let score = similarity(left.start + i, right.start + j);
            scores[i * right.len() + j] = score;
            let skip = best[(i + 1) * width + j].max(best[i * width + j + 1]);
            let take = score.map_or(0.0, |score| score + best[(i + 1) * width + j + 1]);
            best[i * width + j] = skip.max(take);
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < left.len() && j < right.len() {
        let here = best[i * width + j];
        let taken = scores[i * right.len() + j]
            .is_some_and(|score| score + best[(i + 1) * width + j + 1] >= here);
        if taken {
            pairs.push((left.start + i, right.start + j));
            (i, j) = (i + 1, j + 1);
        } else if best[(i + 1) * width + j] >= here {
            i += 1;
        } else {
            j += 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::hash::{BuildHasher as _, BuildHasherDefault, DefaultHasher};

    use super::*;

    /// Words; similar if they begin with the same letter, the more so the more letters they share.
    fn words(left: &[&str], right: &[&str]) -> Vec<(usize, usize)> {
        let hasher = BuildHasherDefault::<DefaultHasher>::default();
        let similarity = |i: usize, j: usize| {
            let (a, b) = (left[i].as_bytes(), right[j].as_bytes());
            let shared = a.iter().zip(b).take_while(|(a, b)| a == b).count();
            (shared > 0).then_some(shared as f64)
        };
        align(
            (left.len(), right.len()),
            1,
            (&|_, i| hasher.hash_one(left[i]), &|_, j| {
                hasher.hash_one(right[j])
            }),
            &similarity,
        )
    }

    #[test]
    fn an_insertion_shifts_nothing() {
        let pairs = words(&["a", "b", "c", "d"], &["a", "new", "b", "c", "d"]);
        assert_eq!(pairs, [(0, 0), (1, 2), (2, 3), (3, 4)]);
    }

    #[test]
    fn a_changed_element_keeps_its_place_beside_an_inserted_one() {
        let pairs = words(&["a", "xyz", "c"], &["a", "x", "xyw", "c"]);
        assert_eq!(pairs, [(0, 0), (1, 2), (2, 3)]);
    }

    #[test]
    fn of_crossing_elements_one_stays() {
        let pairs = words(&["a", "b", "c"], &["b", "a", "c"]);
        assert_eq!(pairs.len(), 2);
        assert!(pairs.contains(&(2, 2)));
    }

    #[test]
    fn repeated_elements_are_matched_in_order() {
        let pairs = words(&["a", "a", "a"], &["a", "a"]);
        assert_eq!(pairs, [(0, 0), (1, 1)]);
    }

    #[test]
    fn a_gap_too_large_to_compare_is_matched_by_position() {
        let many = vec!["x"; 300];
        let pairs = words(&many, &many);
        assert_eq!(pairs.len(), 300);
    }
}
