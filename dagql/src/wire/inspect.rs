//! Reading an ID without believing it: every call as it is written, and what its digest is worth.
//!
//! [`super::decode`] stops at the first digest that does not match, because an ID that lies must
//! not get further. Whoever wants to know *why* it lies looks at all of it: here each call is built
//! under the digest that is stated for it, and computed under every known scheme over the stated
//! digests of what it refers to. So one forged call is one mismatch and not a mismatch of all calls
//! above it. Everything that bounds time and memory is that of `decode`.

use super::decode::{parse, stated};
use super::names::Names;
use super::reader::Fail;
use super::table::Table;
use super::{Limits, WireError};
use crate::digest::Digest;
use crate::digest::scheme::Scheme;
use crate::id::Id;

/// An ID as it is written.
#[derive(Debug)]
pub struct Inspection {
    /// Every distinct call, each after what it refers to: receiver, arguments, module. The root is
    /// the last.
    pub calls: Vec<Inspected>,
    /// The first rules under which every computed digest matches, if there are any.
    pub scheme: Option<Scheme>,
}

/// One call as it is written.
#[derive(Debug)]
pub struct Inspected {
    /// The call under its *stated* digest. For looking at; never a key.
    pub id: Id,
    /// What the digest is worth.
    pub standing: Standing,
}

/// What a stated digest is worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Standing {
    /// It is what these rules compute.
    Computed(Vec<Scheme>),
    /// It is declared as custom, and is what Dagger's rules assign to this element of its list.
    Element,
    /// It is declared as custom; there is nothing to compare it with.
    Custom,
    /// It is not what any rules compute; these are their digests.
    Mismatch(Vec<(Scheme, Digest)>),
}

/// Reads the bytes of a whole graph.
pub(super) fn dag(bytes: &[u8], limits: &Limits) -> Result<Inspection, WireError> {
    graph(bytes, limits).map_err(|fail| fail.located(bytes))
}

fn graph(bytes: &[u8], limits: &Limits) -> Result<Inspection, Fail> {
    let table = Table::read(bytes, limits)?;
    let guess = if table.root().starts_with(b"blake3:") {
        Scheme::Blake3
    } else {
        Scheme::Xxh3V1
    };
    let mut names = Names::new();
    let mut built: Vec<Option<Id>> = vec![None; table.len()];
    let mut calls = Vec::with_capacity(table.len());
    let mut fitting = Scheme::ALL.to_vec();
    for at in table.order()? {
        let parsed = parse(&table, at, &built, &mut names)?;
        let stated = stated(parsed.digest)?;
        let (receiver, call) = (parsed.receiver, parsed.call);
        let id =
            Id::with_known_digest(guess, receiver, call, stated, parsed.custom, parsed.content);
        let standing = standing(&id);
        match &standing {
            Standing::Computed(schemes) => fitting.retain(|scheme| schemes.contains(scheme)),
            Standing::Mismatch(_) => fitting.clear(),
            Standing::Element | Standing::Custom => {
                fitting.retain(|scheme| scheme.rules().custom_digests());
            }
        }
        built[at] = Some(id.clone());
        calls.push(Inspected { id, standing });
    }
    Ok(Inspection {
        calls,
        scheme: fitting.first().copied(),
    })
}

fn standing(id: &Id) -> Standing {
    if id.has_element_digest() && id.has_custom_digest() {
        return Standing::Element;
    }
    if id.has_custom_digest() {
        return Standing::Custom;
    }
    let computed = Scheme::ALL.map(|scheme| {
        let digest = scheme.rules().call(id.receiver(), id.call());
        (scheme, digest)
    });
    let matching: Vec<Scheme> = computed
        .iter()
        .filter(|(_, digest)| digest == id.digest())
        .map(|(scheme, _)| *scheme)
        .collect();
    if matching.is_empty() {
        Standing::Mismatch(computed.into())
    } else {
        Standing::Computed(matching)
    }
}
