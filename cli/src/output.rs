//! Where results go: standard output, or a file that appears whole or not at all.

use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec};
use tempfile::NamedTempFile;

use crate::error::CliError;

/// Opened before the work begins, so that a wrong path is known at once.
#[derive(Debug)]
pub(crate) enum Output {
    Stdout,
    /// A new file beside the final one, which it replaces when it is complete.
    Replace {
        file: NamedTempFile,
        path: PathBuf,
    },
    /// A device or a pipe, which cannot be replaced.
    Special(PathBuf),
}

/// A value as JSON for people and programs.
pub(crate) fn json(value: &impl serde::Serialize) -> Result<String, CliError> {
    let json = serde_json::to_string_pretty(value);
    json.map(|json| json + "\n")
        .map_err(|error| CliError::internal(format!("the answer as JSON: {error}")))
}

impl Output {
    /// Standard output for None.
    pub(crate) fn open(path: Option<&Path>) -> Result<Self, CliError> {
        let Some(path) = path else {
            return Ok(Self::Stdout);
        };
        if path
            .metadata()
            .is_ok_and(|data| !data.is_file() && !data.is_dir())
        {
            return Ok(Self::Special(path.to_owned()));
        }
        if path.is_dir() {
            return Err(CliError::usage(format!(
                "{} is a directory",
                path.display()
            )));
        }
        let directory = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let directory = directory.unwrap_or(Path::new("."));
        let readable = std::os::unix::fs::PermissionsExt::from_mode(0o666);
        let file = tempfile::Builder::new()
            .permissions(readable)
            .tempfile_in(directory);
        let file = file.map_err(|error| cannot_write(path, &error))?;
        Ok(Self::Replace {
            file,
            path: path.to_owned(),
        })
    }

    /// Writes all of the result. A reader that closed standard output has had enough: no error.
    pub(crate) fn write(self, text: &str) -> Result<(), CliError> {
        match self {
            Self::Stdout => to_stdout(text.as_bytes()),
            Self::Special(path) => std::fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .and_then(|mut file| file.write_all(text.as_bytes()))
                .map_err(|error| cannot_write(&path, &error)),
            Self::Replace { mut file, path } => {
                let written = file.write_all(text.as_bytes()).and_then(|()| file.flush());
                written.map_err(|error| cannot_write(&path, &error))?;
                file.persist(&path)
                    .map_err(|error| cannot_write(&path, &error.error))?;
                Ok(())
            }
        }
    }
}

/// Writes to standard output.
pub(crate) fn to_stdout(bytes: &[u8]) -> Result<(), CliError> {
    let mut stdout = io::stdout().lock();
    match stdout.write_all(bytes).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(CliError::failed(format!(
            "cannot write to standard output: {error}"
        ))),
        _ => Ok(()),
    }
}

/// Writes to standard error, where nothing can be done about a failure.
pub(crate) fn to_stderr(text: &str) {
    _ = to_reader(text.as_bytes(), Reader::Present);
}

/// Who reads standard error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reader {
    /// Somebody: a write waits for them.
    Present,
    /// A program that may hold a pipe and never read it: what it does not take is dropped.
    Doubtful,
}

/// Bytes that a pipe which is ready for writing takes without blocking: `PIPE_BUF` of Linux.
const PIPE_READY_BYTES: usize = 4096;

/// How long a doubtful reader may be busy before text is dropped.
const READER_BUSY_MAX: Duration = Duration::from_millis(500);

/// Writes to standard error as its reader can take it.
pub(crate) fn to_reader(bytes: &[u8], reader: Reader) -> io::Result<()> {
    let mut stderr = io::stderr().lock();
    if reader == Reader::Present {
        return stderr.write_all(bytes);
    }
    // Not O_NONBLOCK: it would apply to everyone who shares this end of the pipe.
    for piece in bytes.chunks(PIPE_READY_BYTES) {
        let mut ready = [PollFd::new(&stderr, PollFlags::OUT)];
        let limit = Timespec::try_from(READER_BUSY_MAX).map_err(io::Error::other)?;
        if rustix::event::poll(&mut ready, Some(&limit))? == 0 {
            return Err(io::ErrorKind::TimedOut.into());
        }
        stderr.write_all(piece)?;
    }
    Ok(())
}

fn cannot_write(path: &Path, error: &io::Error) -> CliError {
    CliError::failed(format!("cannot write {}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_appears_when_it_is_complete() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("result.json");
        std::fs::write(&path, "old").unwrap();
        let output = Output::open(Some(&path)).unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "old");
        output.write("new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        drop(Output::open(Some(&path)).unwrap());
        assert_eq!(
            std::fs::read_dir(directory.path()).unwrap().count(),
            1,
            "nothing is left"
        );
    }

    #[test]
    fn a_path_that_cannot_be_written_is_known_before_the_work() {
        let directory = tempfile::tempdir().unwrap();
        assert!(Output::open(Some(directory.path())).is_err());
        let missing = directory.path().join("no/such/file");
        let error = Output::open(Some(&missing)).unwrap_err();
        assert!(error.render(false).contains("no/such/file"));
        assert!(matches!(
            Output::open(Some(Path::new("/dev/null"))),
            Ok(Output::Special(_))
        ));
    }
}
