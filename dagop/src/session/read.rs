//! Reading results: files, listings, digests.

use std::pin::Pin;

use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use sha2::{Digest as _, Sha256};
use solver::backend::Code;
use solver::backend::gateway::{FileKind, FileStat};

use super::BuildSession;
use crate::core::path;
use crate::error::Error;
use crate::vertex::Tree;

/// Directories that `glob` and content digests look into at most.
const DIRECTORIES_MAX: usize = 100_000;

/// A file or directory of a tree.
#[derive(Clone, Debug)]
pub struct Stat {
    /// Absolute path in the tree.
    pub path: String,
    /// Size in bytes.
    pub size: i64,
    kind: FileKind,
}

impl Stat {
    /// Whether it is a directory.
    pub fn is_dir(&self) -> bool {
        self.kind == FileKind::Directory
    }

    fn new(path: String, stat: &FileStat) -> Self {
        Self {
            path,
            size: stat.size,
            kind: stat.kind,
        }
    }
}

/// A file that is being read.
pub(super) struct Chunks {
    path: String,
    stream: Pin<Box<dyn Stream<Item = Result<Bytes, solver::backend::Error>> + Send>>,
}

impl Chunks {
    /// The next piece; nothing at the end.
    pub(super) async fn next(&mut self, session: &BuildSession) -> Result<Option<Bytes>, Error> {
        let next = self.stream.next().await.transpose();
        next.map_err(|e| session.about(&self.path, e))
    }
}

impl BuildSession {
    /// A file's content, at most `most` bytes of it.
    ///
    /// # Errors
    /// A missing path, a larger file, or a failing step.
    pub async fn read_file(&self, tree: &Tree, path: &str, most: usize) -> Result<Vec<u8>, Error> {
        let mut bytes = Vec::new();
        let mut chunks = self.chunks(tree, path).await?;
        while let Some(chunk) = chunks.next(self).await? {
            bytes.extend_from_slice(&chunk);
            if bytes.len() > most {
                return Err(
                    Error::input(format!("file {path} is larger than {most} bytes"))
                        .with_hint("export it instead"),
                );
            }
        }
        Ok(bytes)
    }

    /// A file's content, piece by piece.
    pub(super) async fn chunks(&self, tree: &Tree, path: &str) -> Result<Chunks, Error> {
        let reference = self.reference(tree).await?.ok_or_else(|| missing(path))?;
        let build = self.build().await?;
        let stream = Box::pin(build.file_chunks(&reference, path, None));
        Ok(Chunks {
            path: path.to_owned(),
            stream,
        })
    }

    /// What is in a directory, in the daemon's order; `pattern` matches names.
    ///
    /// # Errors
    /// A missing path, or a failing step.
    pub async fn read_dir(
        &self,
        tree: &Tree,
        dir: &str,
        pattern: Option<&str>,
    ) -> Result<Vec<Stat>, Error> {
        Ok(self
            .list(tree, dir, pattern)
            .await?
            .iter()
            .map(|stat| Stat::new(child(dir, &stat.name), stat))
            .collect())
    }

    async fn list(
        &self,
        tree: &Tree,
        dir: &str,
        pattern: Option<&str>,
    ) -> Result<Vec<FileStat>, Error> {
        let Some(reference) = self.reference(tree).await? else {
            return if dir == "/" {
                Ok(Vec::new())
            } else {
                Err(missing(dir))
            };
        };
        let build = self.build().await?;
        build
            .read_dir(&reference, dir, pattern.unwrap_or_default())
            .await
            .map_err(|e| self.about(dir, e))
    }

    /// What a path is.
    ///
    /// # Errors
    /// A missing path, or a failing step.
    pub async fn stat(&self, tree: &Tree, path: &str) -> Result<Stat, Error> {
        Ok(Stat::new(
            path.to_owned(),
            &self.file_stat(tree, path).await?,
        ))
    }

    pub(super) async fn file_stat(&self, tree: &Tree, path: &str) -> Result<FileStat, Error> {
        let reference = self.reference(tree).await?.ok_or_else(|| missing(path))?;
        let build = self.build().await?;
        build
            .stat_file(&reference, path)
            .await
            .map_err(|e| self.about(path, e))
    }

    /// Paths below `dir`, relative to it, that match a pattern; directories end with `/`.
    ///
    /// # Errors
    /// A malformed pattern, a missing directory, a failing step.
    pub async fn glob(&self, tree: &Tree, dir: &str, pattern: &str) -> Result<Vec<String>, Error> {
        let matcher = snapshots::patterns::PatternMatcher::new([pattern])
            .map_err(|e| Error::input(format!("pattern {pattern:?}: {e}")))?;
        let mut found = Vec::new();
        for stat in self.walk(tree, dir).await? {
            let Some(below) = path::below(dir, &stat.path) else {
                continue;
            };
            if matcher.matches_exact(below) {
                let slash = if stat.is_dir() { "/" } else { "" };
                found.push(format!("{below}{slash}"));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Everything below a directory.
    async fn walk(&self, tree: &Tree, dir: &str) -> Result<Vec<Stat>, Error> {
        let mut found = Vec::new();
        let mut pending = vec![dir.to_owned()];
        let mut visited = 0;
        while let Some(dir) = pending.pop() {
            visited += 1;
            if visited > DIRECTORIES_MAX {
                return Err(Error::input(format!(
                    "more than {DIRECTORIES_MAX} directories"
                )));
            }
            for stat in self.read_dir(tree, &dir, None).await? {
                if stat.is_dir() {
                    pending.push(stat.path.clone());
                }
                found.push(stat);
            }
        }
        Ok(found)
    }

    /// SHA-256 of a file's data alone.
    ///
    /// # Errors
    /// A missing path, or a failing step.
    pub async fn data_digest(&self, tree: &Tree, path: &str) -> Result<String, Error> {
        let mut hash = Sha256::new();
        let mut chunks = self.chunks(tree, path).await?;
        while let Some(chunk) = chunks.next(self).await? {
            hash.update(&chunk);
        }
        Ok(format!("sha256:{}", hex::encode(hash.finalize())))
    }

    /// A daemon's error about a path, in the caller's words.
    fn about(&self, path: &str, error: solver::backend::Error) -> Error {
        let absent = error.failure().is_some_and(|f| {
            f.code == Code::NotFound || f.message.contains("no such file or directory")
        });
        let step_failed = error.exit_code().is_some();
        if absent && !step_failed {
            return missing(path);
        }
        self.explain(error)
    }
}

fn missing(path: &str) -> Error {
    Error::input(format!("path {path} does not exist"))
}

fn child(dir: &str, name: &str) -> String {
    if dir == "/" {
        format!("/{name}")
    } else {
        format!("{dir}/{name}")
    }
}
