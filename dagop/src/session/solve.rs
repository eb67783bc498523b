//! From a tree to the daemon's ref of it.

use std::path::{Path, PathBuf};

use solver::backend::{GatewaySolve, Ref};
use solver::llb::{Constraints, Definition, Output};

use super::BuildSession;
use crate::error::{Error, ExecError, Kind};
use crate::lower::lower;
use crate::vertex::Tree;

impl BuildSession {
    /// Lowers a tree and tells the journal what is new.
    pub(crate) fn lowered(&self, tree: &Tree) -> Result<Option<Output>, Error> {
        let Some(edge) = tree else { return Ok(None) };
        let mut made = Vec::new();
        let output = lower(edge, &mut made)?;
        self.keep_commands(&made);
        self.keep_locals(&made);
        self.options.journal.lowered(&made);
        Ok(output)
    }

    /// The definition of an output.
    pub(super) fn definition(&self, output: Option<&Output>) -> Result<Definition, Error> {
        let definition = Definition::marshal(output, &Constraints::default());
        if let Some((path, output)) = self.options.dump_llb.as_ref().zip(output) {
            let path = dump_path(path, output);
            std::fs::write(&path, definition.encode())
                .map_err(|e| Error::input(format!("{}: {e}", path.display())))?;
        }
        Ok(definition)
    }

    /// The daemon's ref of a tree; nothing for an empty one. Lazy: nothing has
    /// run when this returns.
    pub(super) async fn reference(&self, tree: &Tree) -> Result<Option<Ref>, Error> {
        let Some(output) = self.lowered(tree)? else {
            return Ok(None);
        };
        let cell = self.cell(&output);
        self.runs("the result of a step")?;
        self.look_at_local_trees().await;
        let build = self.build().await?;
        let solve = async {
            let definition = self.definition(Some(&output))?;
            let solve = self.with_imports(GatewaySolve::definition(definition.to_pb()));
            let result = build.solve(solve).await;
            let result = result.map_err(|e| self.explain(e))?;
            Ok::<_, Error>(result.reference().cloned())
        };
        Ok(cell.get_or_try_init(|| solve).await?.clone())
    }

    /// Runs everything a tree needs.
    ///
    /// # Errors
    /// The first step that fails, or the daemon.
    pub async fn evaluate(&self, tree: &Tree) -> Result<(), Error> {
        if self.is_plan() {
            return self.note(tree);
        }
        let Some(reference) = self.reference(tree).await? else {
            return Ok(());
        };
        self.build()
            .await?
            .evaluate(&reference)
            .await
            .map_err(|e| self.explain(e))
    }

    /// The engine's error for a daemon's: a failed command of ours gets its
    /// command line and output, and everything passes the redaction.
    pub(super) fn explain(&self, error: solver::backend::Error) -> Error {
        let step = error.vertex().zip(error.exit_code());
        let Some((vertex, exit_code)) = step else {
            let ours = Error::from(error);
            let message = self.providers.secrets.redact(ours.message()).into_owned();
            return ours.with_message(message);
        };
        let command = self.options.journal.command(vertex);
        let (stdout, stderr) = self.output.of(vertex);
        match command {
            Some(cmd) => Error::exec(ExecError {
                cmd,
                exit_code: exit_code.into(),
                stdout: self.providers.secrets.redact(&stdout).into_owned(),
                stderr: self.providers.secrets.redact(&stderr).into_owned(),
            }),
            None => {
                let message = self
                    .providers
                    .secrets
                    .redact(&error.to_string())
                    .into_owned();
                Error::new(Kind::StepFailed, message)
            }
        }
    }
}

/// Where the definition of an output is written: to the path, or, if that is a directory, to a file
/// of its own there, named by the vertex and the index of the output.
fn dump_path(path: &Path, output: &Output) -> PathBuf {
    if !path.is_dir() {
        return path.to_owned();
    }
    let digest = output.digest().as_str();
    let hex = digest.split_once(':').map_or(digest, |(_, hex)| hex);
    path.join(format!("{hex}-{}.llb", output.index()))
}

#[cfg(test)]
mod tests {
    use solver::llb::exec::Exec;

    use super::*;

    #[test]
    fn a_directory_gets_one_file_per_definition() {
        let folder = tempfile::tempdir().unwrap();
        let step = |word| {
            let exec = Exec::new(None, [word]).build().unwrap();
            exec.root().unwrap().clone()
        };
        let (one, two) = (step("one"), step("two"));
        let file = folder.path().join("last.llb");
        assert_eq!(dump_path(&file, &one), dump_path(&file, &two));
        let path = dump_path(folder.path(), &one);
        assert_ne!(path, dump_path(folder.path(), &two));
        assert_eq!(path.parent(), Some(folder.path()));
        assert!(path.to_str().unwrap().ends_with("-0.llb"));
    }
}
