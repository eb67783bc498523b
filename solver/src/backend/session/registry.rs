//! A named table that a session reads while its owner still adds to it.
//!
//! A session announces its services once, when it starts, but what the services offer is known later: a
//! `host.directory` call, a new secret or a new export arrives while the session runs. Each provider trait of the
//! session is therefore implemented by a [`Registry`] of the matching value: lookups take a read lock for the time of
//! one map access, and nothing is held across an await.

use std::collections::BTreeMap;
use std::sync::{PoisonError, RwLock};

/// Names mapped to cheaply cloned values (normally an `Arc` inside), changeable through a shared reference.
#[derive(Debug)]
pub struct Registry<V> {
    entries: RwLock<BTreeMap<String, V>>,
}

impl<V> Default for Registry<V> {
    fn default() -> Self {
        Self {
            entries: RwLock::new(BTreeMap::new()),
        }
    }
}

impl<V: Clone> Registry<V> {
    /// An empty table.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds or replaces the entry `name`; returns what was there before.
    pub fn insert(&self, name: impl Into<String>, value: V) -> Option<V> {
        self.entries
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.into(), value)
    }

    /// Removes the entry `name`; later requests of the daemon for it are answered "not found".
    pub fn remove(&self, name: &str) -> Option<V> {
        self.entries
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(name)
    }

    /// The entry `name`, if there is one now.
    pub fn get(&self, name: &str) -> Option<V> {
        self.entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(name)
            .cloned()
    }

    /// All names, in byte order.
    pub fn names(&self) -> Vec<String> {
        self.entries
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .keys()
            .cloned()
            .collect()
    }
}

impl<V: Clone, N: Into<String>> FromIterator<(N, V)> for Registry<V> {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(entries: I) -> Self {
        let registry = Self::new();
        for (name, value) in entries {
            registry.insert(name, value);
        }
        registry
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    fn entries_added_later_are_seen_through_a_shared_reference() {
        let registry = Arc::new(Registry::<u32>::new());
        let reader = Arc::clone(&registry);
        assert_eq!(reader.get("a"), None);
        assert_eq!(registry.insert("a", 1), None);
        assert_eq!(registry.insert("a", 2), Some(1));
        assert_eq!(reader.get("a"), Some(2));
        assert_eq!(reader.names(), ["a"]);
        assert_eq!(registry.remove("a"), Some(2));
        assert_eq!(reader.get("a"), None);
    }
}
