//! Sizes of the results in memory and counts of what happened to them.

use serde::{Deserialize, Serialize};

/// A snapshot. Counts begin with the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CacheStats {
    /// Results held: owned and retained.
    pub entries: usize,
    /// Results that an open session owns.
    pub owned: usize,
    /// Results that no open session owns, kept for the next one.
    pub retained: usize,
    /// Estimated bytes of all results and of what is known about them.
    pub bytes: usize,
    /// Bytes above which retained results are given up.
    pub budget: usize,
    /// Classes of things that are known to be equal.
    pub classes: usize,
    /// Calls known by what they do to which classes.
    pub terms: usize,
    /// Names by which results and classes are found.
    pub names: usize,
    /// Computations under way.
    pub in_flight: usize,
    /// Open sessions.
    pub sessions: usize,
    /// Lookups that found the very call.
    pub hits_exact: u64,
    /// Lookups that found a result known to be equal to the call's.
    pub hits_class: u64,
    /// Lookups that found the same call on equal inputs.
    pub hits_term: u64,
    /// Calls that waited for one under way.
    pub joined: u64,
    /// Calls that ran their resolver and may be stored.
    pub executed: u64,
    /// Retained results given up for the budget.
    pub evicted: u64,
    /// Results dropped because their time to live had passed.
    pub expired: u64,
}

impl CacheStats {
    /// Whether nothing is held, known or under way, and no session is open.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        let sizes = [
            self.entries,
            self.bytes,
            self.classes,
            self.terms,
            self.names,
            self.in_flight,
            self.sessions,
        ];
        sizes.iter().all(|size| *size == 0)
    }
}
