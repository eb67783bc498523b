//! Directories, files and sockets of the client's machine.

use std::path::{Path, PathBuf};

use dagql::Cx;
use solver::backend::session::LocalDir;
use solver::llb::source::{self, LocalOptions};

use super::BuildSession;
use crate::error::Error;
use crate::vertex::Work;

/// A file of the host, and how the daemon gets it.
pub(crate) struct HostFile {
    /// The local source that holds just this file.
    pub(crate) source: Work,
    /// Its name there.
    pub(crate) name: String,
    /// Where it is.
    pub(crate) path: PathBuf,
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
    ) -> Result<Work, Error> {
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
        Ok(self.local_source(cx, &real, include, exclude))
    }

    /// A local source of one file. A link is followed: the file is what it leads to.
    pub(crate) fn local_file(&self, cx: &Cx, text: &str) -> Result<HostFile, Error> {
        let path = self.host_path(text)?;
        let real = existing(text, &path)?;
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
        let source = self.local_source(cx, parent, include, Vec::new());
        Ok(HostFile {
            source,
            name: name.to_owned(),
            path: real.clone(),
        })
    }

    fn local_source(
        &self,
        cx: &Cx,
        real: &Path,
        include: Vec<String>,
        exclude: Vec<String>,
    ) -> Work {
        let name = real.to_string_lossy().into_owned();
        self.providers
            .local_dirs
            .insert(name.clone(), LocalDir::new(real));
        // One vertex per session; one per call where the call asked for a new look.
        let per_call = cx
            .call()
            .scope()
            .iter()
            .find(|input| input.name() == "call");
        let unique = match per_call {
            Some(input) => format!("{}/{}", self.session.id(), input.value()),
            None => self.session.id().to_owned(),
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

/// A name as a pattern that matches only it.
fn escape(name: &str) -> String {
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
