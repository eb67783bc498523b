//! The command line: its grammar and its help.
//!
//! Raw arguments end here and in [`crate::config`]; commands get structs that are already
//! well-formed. Flags that have an environment variable are declared in `config`, the only place
//! that reads the environment.

mod recorded;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

pub(crate) use self::recorded::{
    BundleArgs, CacheExplainArgs, DiffArgs, ExploreArgs, KeysArgs, WasteArgs, WhyArgs,
};
use crate::config::{
    Config, ConnectionFlags, Environment, ProgressFlags, ServeFlags, ServerFlags, SessionFlags,
};
use crate::error::USAGE;
use crate::variables::Variable;

/// What was asked for.
#[derive(Debug)]
pub(crate) struct Cli {
    pub(crate) config: Config,
    pub(crate) command: Command,
}

#[derive(Debug, Parser)]
#[command(name = "dagop", version, after_help = EXIT_CODES)]
#[command(propagate_version = true, disable_help_subcommand = true)]
#[command(about = ABOUT, long_about = LONG_ABOUT)]
struct RawCli {
    #[command(flatten)]
    connection: ConnectionFlags,
    #[command(subcommand)]
    command: Command,
}

const ABOUT: &str = "Runs Dagger's GraphQL API on the BuildKit daemon you already have";

const LONG_ABOUT: &str = "Runs Dagger's GraphQL API on the BuildKit daemon you already have, and \
tells how each call met each cache.\n\nThe daemon is the first of these that answers: --addr, \
$BUILDKIT_HOST, buildkitd's socket, a rootless buildkitd's socket, Docker Engine.";

const EXIT_CODES: &str = "Exit codes: 0 success, 1 a step of the build or its input failed, 2 wrong \
usage or a document that does not fit the schema, 3 no daemon, or it went away, 70 a defect of \
dagop, 130 cancelled. `why` and `cache explain` exit with 4 if a fact is missing, `diff` with 1 if \
keys differ.";

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a GraphQL document and print its result
    Run(RunArgs),
    /// Tell which steps of a document would run and which are cached, without running any
    Plan(PlanArgs),
    /// Run every command of a document twice and name those that do not write the same
    Verify(VerifyArgs),
    /// Show the calls of a recorded build with their keys and outcomes
    Keys(KeysArgs),
    /// Write a recorded build to a file that other machines can read
    Bundle(BundleArgs),
    /// Say why a step of a recorded build was not in the cache
    Why(WhyArgs),
    /// Show what differs between two recorded builds, and what follows from what
    Diff(DiffArgs),
    /// Show steps that ran under another key to make what was there already
    Waste(WasteArgs),
    /// Show what the IDs of objects call, whether they are true, and where two part
    #[command(subcommand)]
    Id(IdCommand),
    /// Predict the cache keys of an LLB definition, or ask the daemon whether it has such keys
    Predict(PredictArgs),
    /// Show recorded builds in the browser: graph, times, keys, two builds side by side
    Explore(ExploreArgs),
    /// Show what the daemon's cache holds
    Du(DuArgs),
    /// The engine's own cache: count it, or delete its values; the daemon's is shown by `du`
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Show the versions of dagop, its API and the daemon
    Version(VersionArgs),
    /// Answer GraphQL requests over HTTP, for Dagger's SDKs
    Serve(ServeArgs),
    /// Serve one session to the Dagger SDK that started this process
    Session(SessionArgs),
    /// Print a completion script for a shell
    Completion(CompletionArgs),
    /// Print the manual page
    Man,
}

/// `dagop run`.
#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    #[command(flatten)]
    pub(crate) input: DocumentArgs,
    /// Print one object of data, errors and the build's report
    #[arg(long)]
    pub(crate) json: bool,
    /// Write the result to a file instead of standard output
    #[arg(long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// Write the last evaluated LLB definition to a file; into a directory, all of them
    #[arg(long, value_name = "PATH")]
    pub(crate) dump_llb: Option<PathBuf>,
    #[command(flatten)]
    pub(crate) session: SessionFlags,
    #[command(flatten)]
    pub(crate) progress: ProgressFlags,
}

/// A document with its variables.
#[derive(Debug, clap::Args)]
pub(crate) struct DocumentArgs {
    /// GraphQL document; `-` reads standard input
    #[arg(value_name = "FILE")]
    pub(crate) document: Source,
    /// Set a variable: NAME=TEXT is a string, NAME:=JSON any value
    #[arg(long = "var", value_name = "NAME=TEXT")]
    pub(crate) variables: Vec<Variable>,
    /// Read variables from a JSON object; `-` reads standard input
    #[arg(long, value_name = "FILE")]
    pub(crate) vars_json: Option<Source>,
    /// Run only this operation; without it all operations run in order, in one session
    #[arg(long, value_name = "NAME")]
    pub(crate) operation: Option<String>,
}

/// `dagop plan`.
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    pub(crate) input: DocumentArgs,
    /// Exit with 1 if a step whose name or call matches will run, with 4 if it may; `*` is any text,
    /// `?` a character. May be repeated; one that matches no step is a mistake and exits with 2
    #[arg(long, value_name = "GLOB")]
    pub(crate) fail_on_miss: Vec<String>,
    /// Print the plan as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) session: SessionFlags,
}

/// `dagop verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct VerifyArgs {
    #[command(flatten)]
    pub(crate) input: DocumentArgs,
    /// Run every command twice over the same inputs, each time without a cache
    #[arg(long, required = true)]
    twice: bool,
    /// Compare modification times as well, those of directories excepted
    #[arg(long)]
    pub(crate) mtimes: bool,
    /// Print what was found as JSON
    #[arg(long)]
    pub(crate) json: bool,
    #[command(flatten)]
    pub(crate) session: SessionFlags,
    #[command(flatten)]
    pub(crate) progress: ProgressFlags,
}

/// `dagop id`.
#[derive(Debug, Subcommand)]
pub(crate) enum IdCommand {
    /// Show an ID as a list of calls with their digests
    Decode(IdArgs),
    /// Compute every digest anew; exit code 1 if one is wrong
    Verify(IdArgs),
    /// Show the first call in which two IDs differ; exit code 1 if they do
    Diff(IdDiffArgs),
}

/// `dagop id decode` and `dagop id verify`.
#[derive(Debug, clap::Args)]
pub(crate) struct IdArgs {
    /// Encoded ID; `@FILE` reads it from a file, `-` from standard input
    #[arg(value_name = "ID", required = true)]
    pub(crate) ids: Vec<IdSource>,
    /// Print an array with one object per ID
    #[arg(long)]
    pub(crate) json: bool,
}

/// `dagop id diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct IdDiffArgs {
    /// Encoded ID; `@FILE` reads it from a file, `-` from standard input
    #[arg(value_name = "A")]
    pub(crate) left: IdSource,
    /// The ID to compare with it
    #[arg(value_name = "B")]
    pub(crate) right: IdSource,
    /// Print the difference as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, clap::Args)]
pub(crate) struct PredictArgs {
    /// Encoded LLB definition, as `buildctl build` reads it; `-` reads standard input
    #[arg(long, value_name = "FILE", required_unless_present = "self_test")]
    pub(crate) llb: Option<Source>,
    /// Build a few files on the daemon; fails unless their cache keys are the predicted ones
    #[arg(long, conflicts_with_all = ["llb", "locals", "layouts", "profile", "preimages"])]
    pub(crate) self_test: bool,
    /// Directory behind the local source of this name
    #[arg(long = "local", value_name = "NAME=DIR")]
    pub(crate) locals: Vec<Named>,
    /// OCI layout behind the store of this name
    #[arg(long = "oci-layout", value_name = "NAME=DIR")]
    pub(crate) layouts: Vec<Named>,
    /// Release of the daemon, such as v0.20.2; the newest known one otherwise
    #[arg(long, value_name = "VERSION")]
    pub(crate) profile: Option<String>,
    /// Also print what the digests of cache maps are the hash of
    #[arg(long)]
    pub(crate) preimages: bool,
    /// Print vertices and records as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// A directory with a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) name: String,
    pub(crate) path: PathBuf,
}

impl std::str::FromStr for Named {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((name, path)) if !name.is_empty() && !path.is_empty() => Ok(Self {
                name: name.to_owned(),
                path: path.into(),
            }),
            _ => Err(format!("`{text}` names no directory: write NAME=DIR")),
        }
    }
}

/// `dagop du`.
#[derive(Debug, clap::Args)]
pub(crate) struct DuArgs {
    /// Print the records as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `dagop cache`.
#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Count what is kept on disk, or what a running server holds in memory
    Stats(CacheStatsArgs),
    /// Delete every value that earlier runs kept, and say how many there were
    Prune(CachePruneArgs),
    /// Say which steps of a recorded build a cache elsewhere has, and where the chain breaks
    Explain(CacheExplainArgs),
}

/// `dagop cache stats`.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheStatsArgs {
    #[command(flatten)]
    pub(crate) server: ServerFlags,
    /// Print the counts as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `dagop cache prune`.
#[derive(Debug, clap::Args)]
pub(crate) struct CachePruneArgs {
    /// Print what was deleted as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `dagop version`.
#[derive(Debug, clap::Args)]
pub(crate) struct VersionArgs {
    /// Do not ask the daemon
    #[arg(long)]
    pub(crate) client: bool,
    /// Print the versions as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `dagop serve`.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeArgs {
    #[command(flatten)]
    pub(crate) http: ServeFlags,
    #[command(flatten)]
    pub(crate) session: SessionFlags,
    #[command(flatten)]
    pub(crate) progress: ProgressFlags,
    /// Serve this command only, found by the SDKs through its environment, and end with it
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) program: Vec<OsString>,
}

/// `dagop session`: the flags that SDKs give, most of which say nothing to us.
#[derive(Debug, clap::Args)]
#[command(disable_version_flag = true)]
pub(crate) struct SessionArgs {
    /// Directory that relative host paths are resolved in [default: the current one]
    #[arg(long, value_name = "DIR", visible_alias = "project")]
    pub(crate) workdir: Option<PathBuf>,
    /// What the SDK says about itself; dagger.io/sdk.version is the API version it expects
    #[arg(long = "label", value_name = "NAME:VALUE")]
    pub(crate) labels: Vec<String>,
    /// API version that the schema is shown in [default: the SDK's]
    #[arg(long = "version", value_name = "VERSION")]
    api_version: Option<String>,
    /// Accepted and not used
    #[arg(short = 'v', action = clap::ArgAction::Count)]
    verbosity: u8,
    #[command(flatten)]
    pub(crate) progress: ProgressFlags,
    /// Flags of other SDK versions; they are ignored
    #[arg(trailing_var_arg = true, allow_hyphen_values = true, hide = true)]
    pub(crate) unknown: Vec<OsString>,
}

impl SessionArgs {
    /// The API version that was asked for, or the one the SDK was made for, or the newest.
    pub(crate) fn api_version(&self) -> String {
        let labels = self.labels.iter();
        let mut of_sdk = labels.filter_map(|label| label.strip_prefix("dagger.io/sdk.version:"));
        let asked = self.api_version.as_deref().or_else(|| of_sdk.next());
        asked.unwrap_or_default().to_owned()
    }
}

/// `dagop completion`.
#[derive(Debug, clap::Args)]
pub(crate) struct CompletionArgs {
    /// The shell
    pub(crate) shell: clap_complete::Shell,
}

/// A file to read, or standard input.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Stdin,
    File(PathBuf),
}

impl From<OsString> for Source {
    fn from(text: OsString) -> Self {
        if text == "-" {
            Self::Stdin
        } else {
            Self::File(text.into())
        }
    }
}

/// An encoded ID, or where it is: IDs are longer than a command line may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum IdSource {
    Text(String),
    In(Source),
}

impl From<std::ffi::OsString> for IdSource {
    fn from(text: std::ffi::OsString) -> Self {
        match text.as_encoded_bytes() {
            b"-" => Self::In(Source::Stdin),
            [b'@', file @ ..] => {
                use std::os::unix::ffi::OsStrExt as _;
                Self::In(Source::File(std::ffi::OsStr::from_bytes(file).into()))
            }
            // What is no text is no base64 either, and refused as such.
            _ => Self::Text(text.to_string_lossy().into_owned()),
        }
    }
}

/// The grammar, for completions and the manual page.
pub(crate) fn grammar() -> clap::Command {
    RawCli::command()
}

/// Parses the process's arguments and environment. On failure, or when only help was wanted, the
/// text is already printed and the exit code is returned.
pub(crate) fn parse() -> Result<Cli, ExitCode> {
    let raw = RawCli::try_parse().map_err(|error| {
        // Nothing can be done for someone who closes the stream the text goes to.
        _ = error.print();
        if error.use_stderr() {
            ExitCode::from(USAGE)
        } else {
            ExitCode::SUCCESS
        }
    })?;
    let config = Config::new(raw.connection, Environment::read());
    Ok(Cli {
        config,
        command: raw.command,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_grammar_is_sound() {
        grammar().debug_assert();
    }

    /// The comments on flattened groups of flags are ours, not the user's.
    #[test]
    fn help_describes_the_command_and_not_its_groups_of_flags() {
        assert_eq!(grammar().get_about().unwrap().to_string(), ABOUT);
        for command in grammar().get_subcommands() {
            let about = command.get_about().unwrap().to_string();
            assert!(!about.ends_with('.') && about.len() > 20, "{about}");
            assert!(command.get_long_about().is_none(), "{}", command.get_name());
        }
    }

    #[test]
    fn a_dash_is_standard_input() {
        let raw = RawCli::try_parse_from(["dagop", "run", "-", "--addr", "unix:///x"]).unwrap();
        let Command::Run(run) = raw.command else {
            panic!("not run")
        };
        assert_eq!(run.input.document, Source::Stdin);
        assert_eq!(raw.connection.addr.as_deref(), Some("unix:///x"));
    }

    #[test]
    fn an_sdk_says_which_api_it_expects() {
        let version = |more: &[&str]| {
            let arguments = ["dagop", "session"].iter().chain(more);
            let Command::Session(session) = RawCli::try_parse_from(arguments).unwrap().command
            else {
                panic!("not session")
            };
            session.api_version()
        };
        let label = "dagger.io/sdk.version:0.19.11";
        assert_eq!(version(&[]), "");
        assert_eq!(version(&["--label", "dagger.io/sdk.name:go"]), "");
        assert_eq!(version(&["--label", label, "--unknown", "x"]), "0.19.11");
        assert_eq!(
            version(&["--version", "v0.18.2", "--label", label]),
            "v0.18.2"
        );
    }

    #[test]
    fn wrong_usage_names_the_argument() {
        let error = RawCli::try_parse_from(["dagop", "run", "f", "--var", "novalue"]).unwrap_err();
        let text = error.to_string();
        assert!(text.contains("--var") && text.contains("novalue"), "{text}");
        assert!(RawCli::try_parse_from(["dagop", "run", "f", "--progress", "loud"]).is_err());
        assert!(RawCli::try_parse_from(["dagop", "run", "f", "--allow", "everything"]).is_err());
    }
}
