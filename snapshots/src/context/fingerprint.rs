//! Proof that a directory is what it was when it was hashed.
//!
//! The same walk runs again and compares what `stat(2)` says. Entries that were written so shortly
//! before they were read that another write could hide behind the same times are read again.

use std::path::Path;

use super::identity::{Identity, Moment};
use super::read::{self, Found};
use super::walk::{Attributes, Entry, walk};
use super::{ContextError, Source};
use crate::checksum::{Profile, Sum};
use crate::tree::Meta;

/// The state of a local source at the time it was hashed.
#[derive(Debug)]
pub struct Fingerprint {
    source: Source,
    profile: Profile,
    /// In listing order.
    entries: Vec<State>,
}

#[derive(Debug)]
struct State {
    path: String,
    what: What,
}

/// What must be the same.
#[derive(Debug)]
enum What {
    /// Of a directory the header; its times change with entries that are not listed.
    Directory(Box<Meta>),
    /// Times far enough in the past tell everything.
    Settled(Identity),
    /// The content has to be compared.
    Racy(Identity, Sum),
}

impl Fingerprint {
    pub(super) fn new(source: Source, profile: Profile, read: Moment, found: &[Found]) -> Self {
        let entries = found.iter().map(|found| State {
            path: found.path.clone(),
            what: match &found.digest {
                None => What::Directory(Box::new(timeless(&found.meta))),
                Some(_) if read.settles(&found.identity) => What::Settled(found.identity),
                Some(digest) => What::Racy(found.identity, *digest),
            },
        });
        Self {
            source,
            profile,
            entries: entries.collect(),
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
                    Some(state) => state.is_still(entry, &mut worker),
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
}

impl State {
    fn is_still(&self, entry: Entry, worker: &mut read::Worker<'_>) -> Result<bool, ContextError> {
        match &self.what {
            What::Directory(meta) => Ok(timeless(&entry.meta) == **meta),
            What::Settled(identity) => Ok(entry.identity == *identity),
            What::Racy(identity, _) if entry.identity != *identity => Ok(false),
            What::Racy(identity, digest) => match worker.entry(entry) {
                Ok(found) => Ok(found.is_some_and(|found| {
                    found.identity == *identity && found.digest.as_ref() == Some(digest)
                })),
                Err(ContextError::Changing(_)) => Ok(false),
                Err(e) => Err(e),
            },
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
