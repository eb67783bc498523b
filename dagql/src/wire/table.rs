//! The calls of an encoded graph as bytes, with their references resolved to positions and put in
//! order.
//!
//! All three steps read the input front to back or walk small arrays: the bytes of a call are then
//! touched only once more, when the call is built. No step recurses along references.

use std::collections::HashMap;

use super::call::{self, Budget};
use super::reader::{Fields, malformed, once};
use super::{Limits, WireError};

/// The calls of one graph.
pub(super) struct Table<'a> {
    /// Position of the root call.
    root: usize,
    /// Digest as filed, and the undecoded call.
    calls: Vec<(&'a str, &'a [u8])>,
    /// The references of all calls, those of one call side by side.
    references: Vec<Reference<'a>>,
    /// Where the references of each call end in `references`; they start where those of the one
    /// before end.
    ends: Vec<usize>,
}

/// A digest in one call that names another one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Reference<'a> {
    /// The digest, as a slice of the input.
    pub(super) digest: &'a str,
    /// Position of the call it names.
    pub(super) call: usize,
}

impl<'a> Table<'a> {
    /// Splits `bytes` into calls and resolves their references, checking every limit that bounds
    /// memory.
    pub(super) fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, WireError> {
        let (root, calls) = split(bytes, limits)?;
        let mut index = HashMap::with_capacity(calls.len());
        for (at, (key, _)) in calls.iter().enumerate() {
            if index.insert(*key, at).is_some() {
                return Err(WireError::Duplicate(quote(key)));
            }
        }
        let find = |digest: &str| {
            index
                .get(digest)
                .copied()
                .ok_or_else(|| WireError::Missing(quote(digest)))
        };
        let root = find(root)?;
        let mut references = Vec::new();
        let mut ends = Vec::with_capacity(calls.len());
        let mut budget = Budget::new(limits.literals);
        for (_, bytes) in &calls {
            call::scan(bytes, &mut budget, &mut |digest| {
                references.push(Reference {
                    digest,
                    call: find(digest)?,
                });
                Ok(())
            })?;
            ends.push(references.len());
        }
        Ok(Self {
            root,
            calls,
            references,
            ends,
        })
    }

    /// The digest the root is filed under.
    pub(super) fn root(&self) -> &'a str {
        self.calls[self.root].0
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The digest and bytes of the call at `at`.
    pub(super) fn call(&self, at: usize) -> (&'a str, &'a [u8]) {
        self.calls[at]
    }

    /// What the call at `at` refers to, in the order of its bytes.
    pub(super) fn references(&self, at: usize) -> &[Reference<'a>] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.references[start..self.ends[at]]
    }

    /// The positions of all calls, each after those it refers to; the root is the last.
    pub(super) fn order(&self) -> Result<Vec<usize>, WireError> {
        #[derive(Clone, Copy, PartialEq)]
        enum Mark {
            New,
            Entered,
            Left,
        }
        let mut marks = vec![Mark::New; self.calls.len()];
        let mut order = Vec::with_capacity(self.calls.len());
        // A call on the way to the current one, and how many of its references are done.
        let mut path = vec![(self.root, 0)];
        marks[self.root] = Mark::Entered;
        while let Some((at, done)) = path.last_mut() {
            let Some(next) = self
                .references(*at)
                .get(*done)
                .map(|reference| reference.call)
            else {
                marks[*at] = Mark::Left;
                order.push(*at);
                path.pop();
                continue;
            };
            *done += 1;
            match marks[next] {
                Mark::Left => {}
                Mark::Entered => return Err(WireError::Cycle(quote(self.calls[next].0))),
                Mark::New => {
                    marks[next] = Mark::Entered;
                    path.push((next, 0));
                }
            }
        }
        match self.calls.len() - order.len() {
            0 => Ok(order),
            unreferenced => Err(WireError::Unreferenced(unreferenced)),
        }
    }
}

type Calls<'a> = Vec<(&'a str, &'a [u8])>;

fn split<'a>(bytes: &'a [u8], limits: &Limits) -> Result<(&'a str, Calls<'a>), WireError> {
    let mut root = None;
    let mut calls = Vec::new();
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => once(&mut root, value.text()?)?,
            (2, _) if calls.len() == limits.calls => {
                return Err(WireError::Limit {
                    what: "calls",
                    limit: limits.calls,
                });
            }
            (2, value) => calls.push(entry(value.bytes()?)?),
            _ => {}
        }
    }
    let root = root.ok_or_else(|| malformed("there is no root digest".to_owned()))?;
    Ok((root, calls))
}

fn entry(bytes: &[u8]) -> Result<(&str, &[u8]), WireError> {
    let (mut key, mut value) = (None, None);
    for field in Fields::new(bytes) {
        match field? {
            (1, field) => once(&mut key, field.text()?)?,
            (2, field) => once(&mut value, field.bytes()?)?,
            _ => {}
        }
    }
    key.zip(value)
        .ok_or_else(|| malformed("an entry without key or call".to_owned()))
}

/// Text from the outside, short enough for a message.
pub(super) fn quote(text: &str) -> String {
    const SHOWN: usize = 100;
    if text.len() <= SHOWN {
        return text.to_owned();
    }
    format!("{}…", &text[..text.floor_char_boundary(SHOWN)])
}
