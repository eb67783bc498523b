//! Operations of which only a run would tell the values: what is not known is kept, not failed for.

use std::sync::{Mutex, PoisonError};

use super::Unplanned;
use crate::error::{Error, Kind};
use crate::{GraphQlError, PathSegment, Response};

/// What was not known so far.
#[derive(Debug, Default)]
pub(crate) struct Unknowns(Mutex<Vec<Unplanned>>);

impl Unknowns {
    /// Takes out of a response the errors that say that a value is not known. If that is all that
    /// is wrong, the answer is null, with what is known to be handed on; and so it is where a later
    /// operation wants such a value.
    pub(crate) fn take(&self, operation: String, mut response: Response) -> Response {
        let is_kind = |error: &GraphQlError, kind| Error::from_dagql(error).kind() == kind;
        let all = |kind| response.errors.iter().all(|error| is_kind(error, kind));
        let unknown = |error| is_kind(error, Kind::NotRun) || is_kind(error, Kind::NotPlanned);
        let mut unknowns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let waits = all(Kind::Usage) && !unknowns.is_empty();
        let only_unknown = response.errors.iter().all(unknown);
        if response.errors.is_empty() || !(only_unknown || waits) {
            return response;
        }
        for error in response.errors.drain(..) {
            let unknown = if waits {
                Unplanned {
                    operation: operation.clone(),
                    path: String::new(),
                    hides_steps: true,
                    sentence: format!("it needs a value that is not known: {}", error.message()),
                }
            } else {
                Unplanned {
                    operation: operation.clone(),
                    path: path(&error),
                    hides_steps: is_kind(&error, Kind::NotPlanned),
                    sentence: error.message().to_owned(),
                }
            };
            unknowns.push(unknown);
        }
        response
    }

    pub(crate) fn into_list(self) -> Vec<Unplanned> {
        self.0.into_inner().unwrap_or_else(PoisonError::into_inner)
    }
}

fn path(error: &GraphQlError) -> String {
    let keys = error.path().iter().map(|segment| match segment {
        PathSegment::Key(key) => key.to_string(),
        PathSegment::Index(index) => index.to_string(),
    });
    keys.collect::<Vec<_>>().join(".")
}
