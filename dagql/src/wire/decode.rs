//! Reading and verifying an ID.
//!
//! 1. *Table* (`wire/table.rs`): the bytes become a list of undecoded calls with resolved
//!    references, ordered so that each call comes after what it refers to. Cycles, gaps and excess
//!    are found here.
//! 2. *Rules*: a root under `blake3:` is checked under our rules, any other under both versions of
//!    Dagger's, the older one first. The versions differ in the digest of every call without
//!    receiver, so the wrong one fails at once.
//! 3. *Build*: in that order each call is parsed, its digest is computed and compared.

use super::call::{self, Parsed};
use super::names::Names;
use super::reader::{Fail, text};
use super::table::{Table, quote};
use super::{Decoded, Limits, WireError};
use crate::digest::Digest;
use crate::digest::scheme::Scheme;
use crate::id::Id;

/// Reads the bytes of a whole graph.
pub(super) fn dag(bytes: &[u8], limits: &Limits) -> Result<Decoded, WireError> {
    let located = |fail: Fail| fail.located(bytes);
    let table = Table::read(bytes, limits).map_err(located)?;
    let order = table.order().map_err(located)?;
    let build = |scheme| {
        let built = Build::new(&table, scheme).run(&order);
        built.map_err(|(verified, fail)| (verified, located(fail)))
    };
    if table.root().starts_with(b"blake3:") {
        return build(Scheme::Blake3).map_err(|(_, error)| error);
    }
    match build(Scheme::Xxh3V1) {
        Ok(decoded) => Ok(decoded),
        // Other rules can only help where a digest did not match. If neither fit, the ones that
        // fitted longer tell more.
        Err((verified, error @ WireError::Forged { .. })) => build(Scheme::Xxh3V2)
            .map_err(|(later, other)| if later > verified { other } else { error }),
        Err((_, error)) => Err(error),
    }
}

/// Building the calls of a table under one version of the rules.
struct Build<'t, 'a> {
    table: &'t Table<'a>,
    scheme: Scheme,
    built: Vec<Option<Id>>,
    names: Names<'a>,
    /// Scratch space for one call's preimage.
    preimage: Vec<u8>,
    /// Calls whose digest was computed and matched.
    verified: usize,
    claims: usize,
}

impl<'t, 'a> Build<'t, 'a> {
    fn new(table: &'t Table<'a>, scheme: Scheme) -> Self {
        Self {
            table,
            scheme,
            built: vec![None; table.len()],
            names: Names::new(),
            preimage: Vec::new(),
            verified: 0,
            claims: 0,
        }
    }

    /// The root; on failure, how many calls had been verified.
    fn run(mut self, order: &[usize]) -> Result<Decoded, (usize, Fail)> {
        let mut last = None;
        for &at in order {
            let id = self.build(at).map_err(|error| (self.verified, error))?;
            last = Some(id.clone());
            self.built[at] = Some(id);
        }
        let id = last.expect("the order ends with the root");
        Ok(Decoded {
            id,
            scheme: self.scheme,
            claims: self.claims,
        })
    }

    fn build(&mut self, at: usize) -> Result<Id, Fail> {
        let parsed = parse(self.table, at, &self.built, &mut self.names)?;
        self.verify(parsed.under(self.scheme)?)
    }

    /// Compares the claimed digest with the computed one, or counts the claim where there is
    /// nothing to compute.
    fn verify(&mut self, parsed: Parsed<'a>) -> Result<Id, Fail> {
        let Parsed {
            receiver,
            call,
            digest: claimed,
            custom,
            content,
        } = parsed;
        let rules = self.scheme.rules();
        if custom {
            let digest = stated(claimed)?;
            if !rules.custom_digests() {
                return Err(WireError::Claim(digest).into());
            }
            let id = Id::with_known_digest(self.scheme, receiver, call, digest, true, content);
            let proven = id.has_element_digest() && id.content_digest().is_none();
            self.claims += usize::from(!proven);
            return Ok(id);
        }
        self.preimage.clear();
        rules.call_preimage(receiver.as_ref(), &call, &mut self.preimage);
        let computed = rules.finish(&self.preimage);
        if computed.as_str().as_bytes() != claimed {
            let forged = WireError::Forged {
                claimed: stated(claimed)?,
                computed,
                call: call.field().to_owned(),
            };
            return Err(forged.into());
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

/// A digest as it is stated.
pub(super) fn stated(digest: &[u8]) -> Result<Digest, Fail> {
    Ok(Digest::parse(text(digest)?)?)
}

/// Parses the call at `at`, whose references are already built.
pub(super) fn parse<'a>(
    table: &Table<'a>,
    at: usize,
    built: &[Option<Id>],
    names: &mut Names<'a>,
) -> Result<Parsed<'a>, Fail> {
    let (key, bytes) = table.call(at);
    let mut references = table.references(at).iter();
    // Both passes see the references in the order of the bytes. The table promises only that it
    // would have found the call if it were there.
    let mut resolve = |digest: &'a [u8]| {
        let id = references
            .next()
            .and_then(|&call| built[call as usize].as_ref());
        let id = id.filter(|id| id.digest().as_str().as_bytes() == digest);
        id.cloned()
            .ok_or_else(|| WireError::Missing(quote(digest)).into())
    };
    let parsed = call::parse(bytes, names, &mut resolve).map_err(|fail| fail.within(bytes))?;
    if parsed.digest != key {
        return Err(WireError::Mismatch {
            key: quote(key),
            inner: quote(parsed.digest),
        }
        .into());
    }
    Ok(parsed)
}
