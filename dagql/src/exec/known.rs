//! Documents that a session sent before: parsed, checked and, where no variable decides, planned.
//!
//! Programs send the same text again and again, and reading it costs more than answering it from
//! the result cache. A session keeps the documents it used last, found by the digest of their text.
//! They hold what the text holds, file contents and secrets included, and go with the session.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use super::plan::Plan;
use crate::query::Document;

/// Documents kept.
const KEPT_MAX: usize = 256;

/// Longest text that is kept, in bytes: with longer ones, reading is not what costs.
const KEPT_BYTES_MAX: usize = 16 * 1024;

/// Blake3 of a document's text.
type Key = [u8; 32];

/// The documents of a session.
#[derive(Default)]
pub(crate) struct Known(Mutex<Recent>);

#[derive(Default)]
struct Recent {
    documents: HashMap<Key, (u64, Arc<Read>)>,
    /// Uses so far: the clock by which documents are old.
    uses: u64,
}

/// A document that was read, with the plans of its operations that have no variables.
pub(crate) struct Read {
    pub(super) document: Arc<Document>,
    pub(super) plans: Box<[OnceLock<Arc<Plan>>]>,
}

impl Read {
    pub(super) fn new(document: Document) -> Arc<Self> {
        let operations = document.operations.iter();
        Arc::new(Self {
            plans: operations.map(|_| OnceLock::new()).collect(),
            document: Arc::new(document),
        })
    }
}

impl Known {
    /// The key of a text that may be kept.
    pub(super) fn key(text: &str) -> Option<Key> {
        (text.len() <= KEPT_BYTES_MAX).then(|| *blake3::hash(text.as_bytes()).as_bytes())
    }

    pub(super) fn get(&self, key: &Key) -> Option<Arc<Read>> {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        recent.uses += 1;
        let now = recent.uses;
        let (used, read) = recent.documents.get_mut(key)?;
        *used = now;
        Some(Arc::clone(read))
    }

    /// Keeps a document, in place of the one that was not used for longest.
    pub(super) fn keep(&self, key: Key, read: Arc<Read>) {
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = recent.uses;
        if recent.documents.len() >= KEPT_MAX {
            let oldest = recent.documents.iter().min_by_key(|(_, (used, _))| *used);
            if let Some(oldest) = oldest.map(|(key, _)| *key) {
                recent.documents.remove(&oldest);
            }
        }
        recent.documents.insert(key, (now, read));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> Key {
        Known::key(&number.to_string()).expect("short")
    }

    #[test]
    fn the_documents_used_last_are_kept() {
        let known = Known::default();
        for number in 0..KEPT_MAX {
            known.keep(key(number), Read::new(Document::default()));
        }
        assert!(known.get(&key(0)).is_some(), "used again");
        known.keep(key(KEPT_MAX), Read::new(Document::default()));
        assert!(known.get(&key(0)).is_some());
        let kept = (0..=KEPT_MAX).filter(|number| known.get(&key(*number)).is_some());
        assert_eq!(kept.count(), KEPT_MAX);
        assert!(Known::key(&"x".repeat(KEPT_BYTES_MAX + 1)).is_none());
    }
}
