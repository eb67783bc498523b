//! Reading and verifying an ID.
//!
//! 1. *Split*: the graph's bytes become a table from digest to the bytes of a call. Nothing inside a call is parsed yet.
//! 2. *Rules*: a root under `blake3:` is checked under our rules, any other under both versions of Dagger's, the older
//!    one first. The versions differ in the digest of every root, so the wrong one fails at once.
//! 3. *Build*: a depth-first walk over the table with its own stack. Entering a call scans it for the digests it refers
//!    to and counts its values against the limits. When all of those are built, the call is parsed, its digest is
//!    computed and compared. A reference to a call that is entered but not left is a cycle.

use std::collections::HashMap;

use super::call::{self, Budget, Names, Parsed};
use super::reader::{Fields, malformed, once};
use super::{Decoded, Limits, WireError};
use crate::digest::Digest;
use crate::digest::scheme::Scheme;
use crate::id::Id;

/// Reads the bytes of a whole graph.
pub(super) fn dag(bytes: &[u8], limits: &Limits) -> Result<Decoded, WireError> {
    let table = Table::split(bytes, limits)?;
    let candidates: &[Scheme] = if table.root.starts_with("blake3:") {
        &[Scheme::Blake3]
    } else {
        &[Scheme::Xxh3V1, Scheme::Xxh3V2]
    };
    let mut furthest: Option<(usize, WireError)> = None;
    for &scheme in candidates {
        let mut build = Build::new(&table, scheme, limits);
        match build.run() {
            Ok(id) => {
                return Ok(Decoded {
                    id,
                    scheme,
                    claims: build.claims,
                });
            }
            // Other rules can only help where a digest did not match.
            Err(error @ WireError::Forged { .. }) => {
                if furthest
                    .as_ref()
                    .is_none_or(|(verified, _)| build.verified > *verified)
                {
                    furthest = Some((build.verified, error));
                }
            }
            Err(error) => return Err(error),
        }
    }
    Err(furthest
        .expect("there is at least one candidate, and it failed")
        .1)
}

/// The calls of a graph as bytes.
struct Table<'a> {
    root: &'a str,
    calls: Vec<(&'a str, &'a [u8])>,
    index: HashMap<&'a str, usize>,
}

impl<'a> Table<'a> {
    fn split(bytes: &'a [u8], limits: &Limits) -> Result<Self, WireError> {
        let mut root = None;
        let mut calls: Vec<(&str, &[u8])> = Vec::new();
        for field in Fields::new(bytes) {
            match field? {
                (1, value) => once(&mut root, value.text()?)?,
                (2, value) => {
                    if calls.len() == limits.calls {
                        return Err(WireError::Limit {
                            what: "calls",
                            limit: limits.calls,
                        });
                    }
                    calls.push(entry(value.bytes()?)?);
                }
                _ => {}
            }
        }
        let mut index = HashMap::with_capacity(calls.len());
        for (at, (key, _)) in calls.iter().enumerate() {
            if index.insert(*key, at).is_some() {
                return Err(WireError::Duplicate(quote(key)));
            }
        }
        let root = root.ok_or_else(|| malformed("there is no root digest".to_owned()))?;
        Ok(Self { root, calls, index })
    }

    fn find(&self, digest: &str) -> Result<usize, WireError> {
        self.index
            .get(digest)
            .copied()
            .ok_or_else(|| WireError::Missing(quote(digest)))
    }
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
fn quote(text: &str) -> String {
    const SHOWN: usize = 100;
    if text.len() <= SHOWN {
        text.to_owned()
    } else {
        format!("{}…", &text[..text.floor_char_boundary(SHOWN)])
    }
}

#[derive(Clone)]
enum State {
    New,
    Entered,
    Built(Id),
}

enum Step<'a> {
    Enter(&'a str),
    Leave(usize),
}

/// The walk over a table, under one version of the rules.
struct Build<'t, 'a> {
    table: &'t Table<'a>,
    scheme: Scheme,
    states: Vec<State>,
    names: Names<'a>,
    budget: Budget,
    /// Calls whose digest was computed and matched.
    verified: usize,
    claims: usize,
}

impl<'t, 'a> Build<'t, 'a> {
    fn new(table: &'t Table<'a>, scheme: Scheme, limits: &Limits) -> Self {
        Self {
            table,
            scheme,
            states: vec![State::New; table.calls.len()],
            names: Names::default(),
            budget: Budget::new(limits.literals),
            verified: 0,
            claims: 0,
        }
    }

    fn run(&mut self) -> Result<Id, WireError> {
        let mut built = 0;
        let mut pending = vec![Step::Enter(self.table.root)];
        while let Some(step) = pending.pop() {
            match step {
                Step::Leave(at) => {
                    self.states[at] = State::Built(self.build(at)?);
                    built += 1;
                }
                Step::Enter(digest) => {
                    let at = self.table.find(digest)?;
                    match self.states[at] {
                        State::Built(_) => continue,
                        State::Entered => return Err(WireError::Cycle(quote(digest))),
                        State::New => self.states[at] = State::Entered,
                    }
                    pending.push(Step::Leave(at));
                    let (_, bytes) = self.table.calls[at];
                    call::scan(bytes, &mut self.budget, &mut |next| {
                        pending.push(Step::Enter(next))
                    })?;
                }
            }
        }
        match self.table.calls.len() - built {
            0 => built_call(self.table, &self.states, self.table.root),
            unreferenced => Err(WireError::Unreferenced(unreferenced)),
        }
    }

    fn build(&mut self, at: usize) -> Result<Id, WireError> {
        let (key, bytes) = self.table.calls[at];
        let resolve = |digest: &str| built_call(self.table, &self.states, digest);
        let parsed = call::parse(bytes, self.scheme, &mut self.names, &resolve)?;
        if parsed.digest != key {
            return Err(WireError::Mismatch {
                key: quote(key),
                inner: quote(parsed.digest),
            });
        }
        self.verify(parsed)
    }

    /// Compares the claimed digest with the computed one, or counts the claim where there is nothing to compute.
    fn verify(&mut self, parsed: Parsed<'a>) -> Result<Id, WireError> {
        let Parsed {
            receiver,
            call,
            digest: claimed,
            custom,
            content,
        } = parsed;
        let rules = self.scheme.rules();
        if custom {
            let digest = Digest::parse(claimed)?;
            if !rules.custom_digests() {
                return Err(WireError::Claim(digest));
            }
            let id = Id::with_known_digest(self.scheme, receiver, call, digest, true, content);
            let element = id
                .receiver()
                .filter(|_| id.is_element())
                .and_then(|list| rules.element(list, id.nth()));
            let proven = element.as_ref() == Some(id.digest()) && id.content_digest().is_none();
            self.claims += usize::from(!proven);
            return Ok(id);
        }
        let computed = rules.call(receiver.as_ref(), &call);
        if computed != *claimed {
            let claimed = Digest::parse(claimed)?;
            return Err(WireError::Forged {
                claimed,
                computed,
                call: call.field().to_owned(),
            });
        }
        self.verified += 1;
        self.claims += usize::from(content.is_some());
        Ok(Id::with_known_digest(
            self.scheme,
            receiver,
            call,
            computed,
            false,
            content,
        ))
    }
}

/// The finished call under `digest`. The scan has entered every reference, so a missing one is a malformed call that
/// scan and parse read differently; it must not pass.
fn built_call(table: &Table<'_>, states: &[State], digest: &str) -> Result<Id, WireError> {
    match &states[table.find(digest)?] {
        State::Built(id) => Ok(id.clone()),
        State::New | State::Entered => {
            Err(malformed("a call is used before it is complete".to_owned()))
        }
    }
}
