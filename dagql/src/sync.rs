//! The locks of the result cache: the standard library's, or shuttle's.
//!
//! With the cargo feature `shuttle` every lock of the claim table and of the entry table is
//! shuttle's, which drives threads through many interleavings of one test. The feature is for this
//! crate's own model tests: such a lock panics outside a shuttle run.

#[cfg(not(feature = "shuttle"))]
pub(crate) use std::sync::{Mutex, MutexGuard};

#[cfg(feature = "shuttle")]
pub(crate) use shuttle::sync::{Mutex, MutexGuard};

/// Locks `mutex` even if a holder panicked: every critical section in this crate leaves its data
/// consistent at each statement, so a poisoned lock carries no broken state.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}
