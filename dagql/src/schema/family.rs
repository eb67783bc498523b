//! The views of one schema: for every version of the API, what its clients see.
//!
//! There are more versions than schemas. Two versions between which no filter makes a difference
//! form one class and share one schema; there are at most two classes per version that a filter
//! names, and one more. All of them are built, and thus checked, with the schema itself.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use super::SchemaInner;
use crate::view::Version;
use crate::{View, Visible};

/// Which filters let a view through: what two views have in common that see the same.
type Class = Vec<bool>;

/// The filters of a schema.
#[derive(Default)]
pub(super) struct Filters {
    filters: Vec<Visible>,
    bounds: BTreeSet<Version>,
}

impl Filters {
    pub(super) fn add(&mut self, filter: Visible) -> Result<(), String> {
        self.bounds.extend(filter.version()?);
        if !self.filters.contains(&filter) {
            self.filters.push(filter);
        }
        Ok(())
    }

    pub(super) fn class(&self, view: View) -> Class {
        let filters = self.filters.iter();
        filters.map(|filter| filter.in_view(view)).collect()
    }

    /// At least one view of every class: classes begin at a bound, behind one, or at zero.
    pub(super) fn representatives(&self) -> impl Iterator<Item = View> {
        let bounds = self.bounds.iter();
        let edges = bounds.flat_map(|bound| [*bound, bound.successor()]);
        std::iter::once(Version::ZERO).chain(edges).map(View::at)
    }
}

/// Everything that a schema is in some view.
pub(super) struct Family {
    pub(super) filters: Filters,
    pub(super) newest: Arc<SchemaInner>,
    pub(super) classes: HashMap<Class, Arc<SchemaInner>>,
}

impl Family {
    pub(super) fn of(&self, view: View) -> &Arc<SchemaInner> {
        let class = self.filters.class(view);
        // Every class has a representative that was built.
        self.classes.get(&class).unwrap_or(&self.newest)
    }
}
