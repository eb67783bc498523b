//! Where in the answer a field stands: a path that grows at its end and shares its beginning.
//!
//! Every field of a deep query needs its path in case it fails, so a path is a list linked towards
//! the root: extending it costs one node whatever its length. Dropping is a loop, because a list of
//! 20,000 nodes must not be dropped by recursion.

use std::fmt;
use std::sync::Arc;

use crate::PathSegment;

/// A path from the root of the answer; cheap to clone and to extend.
#[derive(Clone, Default)]
pub struct ResponsePath(Option<Arc<Node>>);

struct Node {
    parent: ResponsePath,
    segment: PathSegment,
}

impl ResponsePath {
    /// This path and one more step.
    pub(crate) fn child(&self, segment: PathSegment) -> Self {
        Self(Some(Arc::new(Node {
            parent: self.clone(),
            segment,
        })))
    }

    /// Whether this is the root.
    pub fn is_empty(&self) -> bool {
        self.0.is_none()
    }

    /// The last `most` steps, and whether there are more before them.
    pub fn tail(&self, most: usize) -> (Vec<PathSegment>, bool) {
        let mut segments = Vec::new();
        let mut next = self;
        while let Some(node) = &next.0 {
            if segments.len() == most {
                break;
            }
            segments.push(node.segment.clone());
            next = &node.parent;
        }
        segments.reverse();
        (segments, !next.is_empty())
    }

    /// The steps from the root.
    pub fn segments(&self) -> Vec<PathSegment> {
        let mut segments = Vec::new();
        let mut next = self;
        while let Some(node) = &next.0 {
            segments.push(node.segment.clone());
            next = &node.parent;
        }
        segments.reverse();
        segments
    }
}

impl Drop for ResponsePath {
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut node) = next.and_then(Arc::into_inner) {
            next = node.parent.0.take();
        }
    }
}

impl fmt::Debug for ResponsePath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.segments()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_path_is_read_in_order_and_dropped_without_recursion() {
        let mut path = ResponsePath::default();
        for index in 0..200_000 {
            path = path.child(PathSegment::Index(index));
        }
        let segments = path.segments();
        assert_eq!(segments.len(), 200_000);
        assert_eq!(segments[7], PathSegment::Index(7));
    }
}
