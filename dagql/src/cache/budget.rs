//! How much memory results are taken to need, and how much they may.
//!
//! A weight is an estimate that is cheap to make: the fixed parts below, measured with a counting
//! allocator (`benches/cache.rs`), plus the bytes of texts and lists, plus what an object's data says
//! about itself ([`ObjectData::weight`](crate::ObjectData::weight)). Data that several results
//! share counts for each of them.
//!
//! The budget is for everything that is stored. Only results that no open session owns are given up
//! for it; while sessions own more than the budget, the table is larger than the budget.

use super::classes::{Class, Classes, Name, Term, Use};
use crate::Value;

/// The budget of a cache that is not told another, in bytes.
pub const BUDGET_DEFAULT: usize = 256 << 20;

/// A result without its value's own parts: its rows here (about 200 bytes), and its ID's last call
/// with a short argument (about 500).
pub(crate) const ENTRY_BYTES: usize = 704;

/// Estimated bytes of a value besides [`ENTRY_BYTES`].
pub(crate) fn weight(value: &Value) -> usize {
    match value {
        Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_) | Value::Id(_) => 0,
        Value::String(text) | Value::Enum(text) => text.len(),
        Value::List(items) => items
            .iter()
            .map(|item| size_of::<Value>() + weight(item))
            .sum(),
        Value::Object(object) => object.weight(),
    }
}

/// Estimated bytes of what is known about equality.
pub(super) fn graph(classes: &Classes) -> usize {
    // A row of a hash table of positions takes its position and a control byte, and tables are on
    // average 2/3 full.
    const INDEXED: usize = (size_of::<u32>() + 1) * 3 / 2;
    classes.names.len() * (size_of::<Name>() + INDEXED)
        + classes.classes.len() * size_of::<Class>()
        + classes.terms.len() * (size_of::<Term>() + INDEXED)
        + classes.uses.len() * size_of::<Use>()
}
