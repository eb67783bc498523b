//! The calls of an encoded graph as bytes, with their references resolved to positions and put in
//! order.
//!
//! All three steps read the input front to back or walk small arrays: the bytes of a call are then
//! touched only once more, when the call is built. No step recurses along references.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, BuildHasherDefault, Hasher, RandomState};

use super::call::{self, Budget};
use super::reader::{Fail, Fields, malformed, once};
use super::{Limits, WireError};

/// The calls of one graph.
pub(super) struct Table<'a> {
    /// Position of the root call.
    root: usize,
    /// Digest as filed, and the undecoded call.
    calls: Calls<'a>,
    /// The positions of the calls that each call refers to, those of one call side by side.
    references: Vec<Position>,
    /// Where the references of each call end in `references`; they start where those of the one
    /// before end.
    ends: Vec<Position>,
}

/// A place among the calls or the references. Half the size of an index, because these arrays are
/// read in no order, and the more of them fits into the processor's caches, the better. The bytes
/// are fewer than 2³².
type Position = u32;

type Calls<'a> = Vec<(&'a [u8], &'a [u8])>;

impl<'a> Table<'a> {
    /// Splits `bytes` into calls and resolves their references, checking every limit that bounds
    /// memory.
    pub(super) fn read(bytes: &'a [u8], limits: &Limits) -> Result<Self, Fail> {
        if Position::try_from(bytes.len()).is_err() {
            let limit = Position::MAX as usize;
            return Err(WireError::Limit {
                what: "bytes",
                limit,
            }
            .into());
        }
        let (root, calls) = split(bytes, limits)?;
        let index = Index::new(&calls)?;
        let find = |digest: &[u8]| -> Result<Position, Fail> {
            let found = index.find(digest);
            found.ok_or_else(|| WireError::Missing(quote(digest)).into())
        };
        let at = find(root)? as usize;
        if calls[at].0 != root {
            return Err(WireError::Missing(quote(root)).into());
        }
        let root = at;
        let mut references = Vec::with_capacity(calls.len());
        let mut ends = Vec::with_capacity(calls.len());
        let mut budget = Budget::new(limits.literals);
        for (_, bytes) in &calls {
            let mut refer = |digest| {
                references.push(find(digest)?);
                Ok(())
            };
            call::scan(bytes, &mut budget, &mut refer).map_err(|fail| fail.within(bytes))?;
            let end = Position::try_from(references.len());
            ends.push(end.expect("there are fewer references than bytes"));
        }
        Ok(Self {
            root,
            calls,
            references,
            ends,
        })
    }

    /// The digest the root is filed under.
    pub(super) fn root(&self) -> &'a [u8] {
        self.calls[self.root].0
    }

    pub(super) fn len(&self) -> usize {
        self.calls.len()
    }

    /// The digest and bytes of the call at `at`.
    pub(super) fn call(&self, at: usize) -> (&'a [u8], &'a [u8]) {
        self.calls[at]
    }

    /// The positions of what the call at `at` refers to, in the order of its bytes.
    pub(super) fn references(&self, at: usize) -> &[Position] {
        let start = at.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.references[start as usize..self.ends[at] as usize]
    }

    /// The positions of all calls, each after those it refers to; the root is the last.
    pub(super) fn order(&self) -> Result<Vec<usize>, Fail> {
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
            let next = self.references(*at).get(*done);
            let Some(next) = next.map(|&next| next as usize) else {
                marks[*at] = Mark::Left;
                order.push(*at);
                path.pop();
                continue;
            };
            *done += 1;
            match marks[next] {
                Mark::Left => {}
                Mark::Entered => return Err(WireError::Cycle(quote(self.calls[next].0)).into()),
                Mark::New => {
                    marks[next] = Mark::Entered;
                    path.push((next, 0));
                }
            }
        }
        match self.calls.len() - order.len() {
            0 => Ok(order),
            unreferenced => Err(WireError::Unreferenced(unreferenced).into()),
        }
    }
}

/// Positions by digest.
///
/// Only a keyed hash of each digest is kept, so that a look-up does not touch the digest itself,
/// which lies anywhere in the input and costs a cache miss. A digest that is not there can thus find
/// another one's position; who uses it compares the two when it has both at hand anyway.
struct Index {
    positions: HashMap<u64, Position, BuildHasherDefault<Identity>>,
    keys: RandomState,
}

impl Index {
    fn new(calls: &Calls<'_>) -> Result<Self, Fail> {
        // Two digests of one hash are met once in a billion IDs of 100,000 calls, and never by
        // intention, because nobody knows the keys. Other keys part them.
        loop {
            if let Some(index) = Self::with_keys(calls, RandomState::new())? {
                return Ok(index);
            }
        }
    }

    /// None if two different digests have one hash.
    fn with_keys(calls: &Calls<'_>, keys: RandomState) -> Result<Option<Self>, Fail> {
        let positions = HashMap::with_capacity_and_hasher(calls.len(), Default::default());
        let mut index = Self { positions, keys };
        for ((key, _), at) in calls.iter().zip(0..) {
            match index.positions.insert(index.keys.hash_one(key), at) {
                None => {}
                Some(other) if calls[other as usize].0 == *key => {
                    return Err(WireError::Duplicate(quote(key)).into());
                }
                Some(_) => return Ok(None),
            }
        }
        Ok(Some(index))
    }

    fn find(&self, digest: &[u8]) -> Option<Position> {
        self.positions.get(&self.keys.hash_one(digest)).copied()
    }
}

/// Passes on what is a hash already.
#[derive(Default)]
struct Identity(u64);

impl Hasher for Identity {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn write(&mut self, _bytes: &[u8]) {
        unreachable!("the keys of the map are numbers");
    }
}

fn split<'a>(bytes: &'a [u8], limits: &Limits) -> Result<(&'a [u8], Calls<'a>), Fail> {
    let mut root = None;
    let mut calls = Vec::new();
    for field in Fields::new(bytes) {
        match field? {
            (1, value) => once(&mut root, value.bytes()?)?,
            (2, _) if calls.len() == limits.calls => {
                return Err(WireError::Limit {
                    what: "calls",
                    limit: limits.calls,
                }
                .into());
            }
            (2, value) => calls.push(entry(value.bytes()?)?),
            _ => {}
        }
    }
    let root = root.ok_or_else(|| malformed("there is no root digest".to_owned()))?;
    Ok((root, calls))
}

fn entry(bytes: &[u8]) -> Result<(&[u8], &[u8]), Fail> {
    let (mut key, mut value) = (None, None);
    for field in Fields::new(bytes) {
        match field? {
            (1, field) => once(&mut key, field.bytes()?)?,
            (2, field) => once(&mut value, field.bytes()?)?,
            _ => {}
        }
    }
    key.zip(value)
        .ok_or_else(|| malformed("an entry without key or call".to_owned()).within(bytes))
}

/// Text from the outside, short enough for a message.
pub(super) fn quote(text: &[u8]) -> String {
    const SHOWN: usize = 100;
    let shown = String::from_utf8_lossy(&text[..text.len().min(SHOWN)]);
    let dots = if text.len() > SHOWN { "…" } else { "" };
    format!("{shown}{dots}")
}
