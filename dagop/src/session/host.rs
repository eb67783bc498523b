//! Directories, files and sockets of the client's machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use dagql::Cx;
use snapshots::context::Source;
use solver::backend::session::LocalDir;
use solver::llb::source::{self, LocalOptions};

use super::{BuildSession, HostTree};
use crate::core::path;
use crate::error::Error;
use crate::vertex::Work;

/// A directory of the host, and how the daemon gets it.
pub(crate) struct HostDirectory {
    /// The local source.
    pub(crate) source: Work,
    /// What is in it.
    pub(crate) sighting: Arc<HostTree>,
}

/// A file of the host, and how the daemon gets it.
pub(crate) struct HostFile {
    /// The local source that holds just this file.
    pub(crate) source: Work,
    /// Its name there.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
    /// What is in it.
    pub(crate) sighting: Arc<HostTree>,
}

impl BuildSession {
    /// A host path, relative to the session's working directory.
    pub(crate) fn host_path(&self, text: &str) -> Result<PathBuf, Error> {
        if text.is_empty() || text.contains('\0') {
            return Err(Error::input(format!("{text:?} is not a path")));
        }
        Ok(self.options.workdir.join(text))
    }

    /// A local source of a directory.
    pub(crate) fn local_directory(
        &self,
        cx: &Cx,
        text: &str,
        include: Vec<String>,
        exclude: Vec<String>,
    ) -> Result<HostDirectory, Error> {
        let path = self.host_path(text)?;
        let real = existing(text, &path)?;
        if !real.is_dir() {
            return Err(Error::input(format!(
                "host path {text:?} is not a directory"
            )));
        }
        for (list, name) in [(&include, "include"), (&exclude, "exclude")] {
            snapshots::patterns::PatternMatcher::new(list.iter().map(String::as_str))
                .map_err(|e| Error::input(format!("{name}: {e}")))?;
        }
        let sighting = self.host_tree(&real, include.clone(), exclude.clone(), Vec::new());
        Ok(HostDirectory {
            source: self.local_source(cx, &real, include, exclude),
            sighting,
        })
    }

    /// A local source of one file. A link is followed: the file is what it leads to.
    pub(crate) fn local_file(&self, cx: &Cx, text: &str) -> Result<HostFile, Error> {
        let at = self.host_path(text)?;
        let real = existing(text, &at)?;
        if real.is_dir() {
            return Err(Error::input(format!(
                "host path {text:?} is a directory, not a file"
            )));
        }
        let (Some(parent), Some(name)) = (real.parent(), real.file_name()) else {
            return Err(Error::input(format!("host path {text:?} has no name")));
        };
        let name = name.to_str().ok_or_else(|| {
            Error::input(format!(
                "host path {text:?} leads to a name that is not UTF-8"
            ))
        })?;
        let include = vec![escape(name)];
        // The file has the name it was asked for by, whatever a link leads to.
        let asked = path::name(text.trim_end_matches('/'));
        let parts = vec![name.to_owned(), asked.to_owned()];
        let sighting = self.host_tree(parent, include.clone(), Vec::new(), parts);
        let source = self.local_source(cx, parent, include, Vec::new());
        Ok(HostFile {
            source,
            name: name.to_owned(),
            path: real.clone(),
            sighting,
        })
    }

    fn host_tree(
        &self,
        real: &Path,
        include: Vec<String>,
        exclude: Vec<String>,
        parts: Vec<String>,
    ) -> Arc<HostTree> {
        let source = Source {
            include,
            exclude,
            ..Source::new(real)
        };
        let trees = Arc::clone(&self.providers.local_trees);
        let tree = Arc::new(HostTree::new(trees, local_name(real), source, parts));
        self.providers.local_trees.watch(&tree);
        tree
    }

    fn local_source(
        &self,
        cx: &Cx,
        real: &Path,
        include: Vec<String>,
        exclude: Vec<String>,
    ) -> Work {
        let name = local_name(real);
        self.providers.local_trees.offer(&name, LocalDir::new(real));
        // One vertex per session; one per call where the call asked for a new look.
        let per_call = cx
            .call()
            .scope()
            .iter()
            .find(|input| input.name() == "call");
        let unique = match per_call {
            Some(input) => format!("{}/{}", self.id, input.value()),
            None => self.id.clone(),
        };
        let options = LocalOptions {
            unique: Some(unique),
            include,
            exclude,
            shared_key_hint: Some(name.clone()),
            ..LocalOptions::default()
        };
        Work::Llb(vec![Some(source::local(&name, options))])
    }

    /// A local source of a file that this session made.
    pub(super) fn local_scratch(&self, cx: &Cx, file_name: &str) -> Work {
        let include = vec![escape(file_name)];
        self.local_source(cx, self.scratch.path(), include, Vec::new())
    }

    /// Forwards a socket; returns the id that steps mount it by.
    pub(crate) fn unix_socket(&self, text: &str) -> Result<String, Error> {
        use std::os::unix::fs::FileTypeExt as _;
        let path = self.host_path(text)?;
        let real = existing(text, &path)?;
        let is_socket = std::fs::metadata(&real).is_ok_and(|m| m.file_type().is_socket());
        if !is_socket {
            return Err(Error::input(format!("host path {text:?} is not a socket")));
        }
        let id = format!("dagop.socket{}", path.display());
        self.providers.ssh.insert(id.clone(), real);
        Ok(id)
    }
}

/// The name under which a directory is offered.
fn local_name(real: &Path) -> String {
    real.to_string_lossy().into_owned()
}

/// A name as a pattern that matches only it.
pub(super) fn escape(name: &str) -> String {
    let mut pattern = String::with_capacity(name.len());
    for c in name.chars() {
        if matches!(c, '*' | '?' | '[' | ']' | '\\' | '!' | '^') {
            pattern.push('\\');
        }
        pattern.push(c);
    }
    pattern
}

/// The path without links, which must exist.
fn existing(text: &str, path: &Path) -> Result<PathBuf, Error> {
    path.canonicalize().map_err(|e| {
        let reason = match e.kind() {
            std::io::ErrorKind::NotFound => "does not exist".to_owned(),
            _ => e.to_string(),
        };
        Error::input(format!("host path {text:?} ({}): {reason}", path.display()))
    })
}
