//! The order of an fsutil listing, and the checks on its paths.
//!
//! Paths are compared component by component, so that a directory comes immediately before its content. A listing is
//! strictly ascending and names every directory before the first entry in it; both together make it a tree, without
//! duplicates, in which a parent is always a directory of the same listing.

use std::cmp::Ordering;

/// Longest path of an entry, in bytes.
const PATH_MAX: usize = 4096;

/// Checks the order of a listing: strictly ascending by components, parents first.
#[derive(Debug, Default)]
pub(crate) struct Order {
    last: String,
    /// Directories that may still get entries, outermost first.
    parents: Vec<String>,
}

impl Order {
    /// Accepts the next path or says what is wrong with it.
    pub(crate) fn check(&mut self, path: &str, is_dir: bool) -> Result<(), String> {
        let clean = path.split('/').all(|c| !matches!(c, "" | "." | ".."));
        if !clean || path.contains('\0') || path.len() > PATH_MAX {
            let shown: String = path.chars().take(PATH_MAX).collect();
            return Err(format!("{shown:?} is not a clean relative path"));
        }
        if !self.last.is_empty() && compare(&self.last, path) != Ordering::Less {
            return Err(format!(
                "{path:?} comes after {:?}: out of order",
                self.last
            ));
        }
        let parent = path.rsplit_once('/').map_or("", |(parent, _)| parent);
        while self.parents.last().is_some_and(|open| open != parent) {
            self.parents.pop();
        }
        if self.parents.is_empty() && !parent.is_empty() {
            return Err(format!(
                "{path:?}: its parent was not announced as a directory"
            ));
        }
        if is_dir {
            self.parents.push(path.to_owned());
        }
        path.clone_into(&mut self.last);
        Ok(())
    }
}

/// Compares two paths component by component.
fn compare(a: &str, b: &str) -> Ordering {
    a.split('/').cmp(b.split('/'))
}
