//! File operations: copy, mkdir, mkfile, rm and symlink, several in one vertex.
//!
//! A [`FileOp`] is a chain of actions over a base. Each action works on the result of the one
//! before. A copy takes its source from another tree, or from another chain, whose actions then
//! become part of the same vertex. The vertex has one output, the result of the last action.

mod action;
mod marshal;

use self::action::{Action, Step};
pub use self::action::{
    CopyMode, CopyOptions, CopySource, MkdirOptions, MkfileOptions, Owner, RmOptions,
    SymlinkOptions, User,
};
use super::{Constraints, Error, Output};

/// A chain of file actions. [`FileOp::build`] makes the vertex.
#[derive(Debug, Clone)]
pub struct FileOp {
    base: Option<Output>,
    directory: String,
    steps: Vec<Step>,
}

impl FileOp {
    /// An empty chain over `base`; `None` starts empty.
    #[must_use]
    pub fn new(base: Option<Output>) -> Self {
        Self {
            base,
            directory: "/".to_owned(),
            steps: Vec::new(),
        }
    }

    /// Sets the directory in which the relative paths of the following actions start.
    #[must_use]
    pub fn directory(mut self, path: impl Into<String>) -> Self {
        self.directory = path.into();
        self
    }

    /// Copies `from` of a source to `to`. A `to` that ends with `/` or `/.` is a directory to copy
    /// into.
    #[must_use]
    pub fn copy(
        self,
        source: impl Into<CopySource>,
        from: impl Into<String>,
        to: impl Into<String>,
        options: CopyOptions,
    ) -> Self {
        self.then(Action::Copy {
            source: source.into(),
            from: from.into(),
            to: to.into(),
            options: Box::new(options),
        })
    }

    /// Makes a directory.
    #[must_use]
    pub fn mkdir(self, path: impl Into<String>, mode: u32, options: MkdirOptions) -> Self {
        self.then(Action::Mkdir {
            path: path.into(),
            mode,
            options,
        })
    }

    /// Writes a file.
    #[must_use]
    pub fn mkfile(
        self,
        path: impl Into<String>,
        mode: u32,
        data: impl Into<bytes::Bytes>,
        options: MkfileOptions,
    ) -> Self {
        self.then(Action::Mkfile {
            path: path.into(),
            mode,
            data: data.into(),
            options,
        })
    }

    /// Removes a path.
    #[must_use]
    pub fn rm(self, path: impl Into<String>, options: RmOptions) -> Self {
        self.then(Action::Rm {
            path: path.into(),
            options,
        })
    }

    /// Makes a symbolic link at `path` that reads `target`. The target stays as it is given.
    #[must_use]
    pub fn symlink(
        self,
        target: impl Into<String>,
        path: impl Into<String>,
        options: SymlinkOptions,
    ) -> Self {
        self.then(Action::Symlink {
            target: target.into(),
            path: path.into(),
            options,
        })
    }

    /// Number of actions so far, without those of chains that are copied from.
    #[must_use]
    pub fn len(&self) -> usize {
        self.steps.len()
    }

    /// Whether there are no actions.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }

    /// Makes the vertex.
    ///
    /// # Errors
    ///
    /// Without actions, for an owner given by name where nothing can be looked up, and for an
    /// empty path.
    pub fn build(self, constraints: Constraints) -> Result<Output, Error> {
        marshal::build(&self, constraints)
    }

    fn then(mut self, action: Action) -> Self {
        self.steps.push(Step {
            action,
            directory: self.directory.clone(),
        });
        self
    }
}

/// Takes nested chains apart one by one: the default would recurse.
impl Drop for FileOp {
    fn drop(&mut self) {
        let mut pending = std::mem::take(&mut self.steps);
        while let Some(step) = pending.pop() {
            if let Action::Copy {
                source: CopySource::Chain(chain),
                ..
            } = step.action
                && let Some(mut chain) = std::sync::Arc::into_inner(chain)
            {
                pending.append(&mut chain.steps);
            }
        }
    }
}

#[cfg(test)]
mod tests;
