//! Proof that a directory is what it was when it was hashed.
//!
//! The same walk runs again and compares what `stat(2)` says. Entries that were written so shortly
//! before they were read that another write could hide behind the same times are read again.

use std::path::Path;
use std::sync::Arc;

use super::identity::Moment;
use super::read::{self, Found};
use super::walk::{Attributes, Entry, walk};
use super::{ContextError, Source};
use crate::checksum::Profile;
use crate::tree::Meta;

/// The state of a local source at the time it was hashed.
#[derive(Debug)]
pub struct Fingerprint {
    source: Source,
    profile: Profile,
    read: Moment,
    /// In listing order.
    entries: Arc<[Found]>,
}

impl Fingerprint {
    pub(super) fn new(
        source: Source,
        profile: Profile,
        read: Moment,
        entries: Arc<[Found]>,
    ) -> Self {
        Self {
            source,
            profile,
            read,
            entries,
        }
    }

    /// True when nothing was changed since: no name, no mode, no owner, no attribute, no byte.
    ///
    /// # Errors
    /// As of hashing.
    pub fn unchanged(&self) -> Result<bool, ContextError> {
        Ok(self.first_change()?.is_none())
    }

    /// The first path in the listing that was added, removed or changed since, relative to the root.
    ///
    /// # Errors
    /// As of hashing.
    pub fn first_change(&self) -> Result<Option<String>, ContextError> {
        let (root, filter) = self.source.open()?;
        let mut worker = read::Worker::new(&root, self.profile);
        let mut expected = self.entries.iter();
        let mut change = None;
        let mut failure = None;
        let ownership = self.source.ownership;
        let outcome = walk(
            &root,
            &filter,
            ownership,
            Attributes::OfDirectories,
            &mut |entry| {
                let path = entry.path.clone();
                let same = match expected.next() {
                    // A name that is missing now shows as the one behind it.
                    Some(state) if state.path != path => {
                        change = Some(earlier(&state.path, &path));
                        return false;
                    }
                    Some(state) => self.is_still(state, entry, &mut worker),
                    None => Ok(false),
                };
                match same {
                    Ok(true) => return true,
                    Ok(false) => change = Some(path),
                    Err(e) => failure = Some(e),
                }
                false
            },
        );
        match (failure, change, outcome) {
            (Some(error), ..) => Err(error),
            (None, Some(path), _) => Ok(Some(path)),
            (None, None, outcome) => {
                outcome?;
                Ok(expected.next().map(|state| state.path.clone()))
            }
        }
    }

    fn is_still(
        &self,
        was: &Found,
        entry: Entry,
        worker: &mut read::Worker<'_>,
    ) -> Result<bool, ContextError> {
        // The times of a directory change with entries that are not listed.
        if was.digest.is_none() {
            return Ok(timeless(&entry.meta) == timeless(&was.meta));
        }
        if entry.identity != was.identity || self.read.settles(&was.identity) {
            return Ok(entry.identity == was.identity);
        }
        match worker.entry(entry) {
            Ok(found) => Ok(found
                .is_some_and(|found| found.identity == was.identity && found.digest == was.digest)),
            Err(ContextError::Changing(_)) => Ok(false),
            Err(e) => Err(e),
        }
    }
}

/// The description without times.
fn timeless(meta: &Meta) -> Meta {
    Meta {
        mtime: Default::default(),
        ..meta.clone()
    }
}

/// The path that a listing has first.
fn earlier(one: &str, other: &str) -> String {
    let first = if Path::new(one) < Path::new(other) {
        one
    } else {
        other
    };
    first.to_owned()
}
