//! A map over a list, on all cores if the list is long.

use rayon::iter::{
    IndexedParallelIterator as _, IntoParallelRefIterator as _, ParallelIterator as _,
};

/// Fewest items that are worth a thread, at some microseconds each.
const ITEMS_PER_THREAD: usize = 512;

/// What `of` makes of each item and its position, in order. Short lists start no threads.
pub(crate) fn map<T: Sync, R: Send>(items: &[T], of: impl Fn(usize, &T) -> R + Sync) -> Vec<R> {
    if items.len() < 2 * ITEMS_PER_THREAD {
        let items = items.iter().enumerate();
        return items.map(|(position, item)| of(position, item)).collect();
    }
    let items = items.par_iter().enumerate();
    let items = items.with_min_len(ITEMS_PER_THREAD);
    items.map(|(position, item)| of(position, item)).collect()
}

#[cfg(test)]
mod tests {
    use super::map;

    #[test]
    fn results_are_in_order_whatever_the_length() {
        for length in [0, 1, 1_023, 1_024, 10_000] {
            let items: Vec<usize> = (0..length).collect();
            let sums = map(&items, |position, item| position + item);
            assert!(sums.iter().copied().eq((0..length).map(|item| 2 * item)));
        }
    }
}
