//! The init program as the daemon sees it: where it is mounted, how it is
//! called, and under which secret id its bytes are served.
//!
//! Wire contract of one exec (see `init/main.rs` for what init does):
//!
//! | mount | kind | why |
//! |---|---|---|
//! | [`PATH`] | secret, mode 0555, id [`secret_id`] | the program; a secret's bytes are in no cache key |
//! | [`META`] | bind, writable, input [`META_DIR`] of a `mkdir` vertex | output 1 of the exec: what the command printed |
//! | [`STDIN`] | bind, read-only | only with `stdin`; a `mkfile` vertex, so its content is in the key |
//!
//! [`VERSION`] is part of the secret's id and so of every exec's key. It is
//! raised only when a new init gives other results for the same command line.

use std::fmt::Write as _;

/// The program for the architecture dagop was built for.
pub static PROGRAM: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/init"));

/// Architecture of [`PROGRAM`] in OCI words.
pub const ARCH: &str = env!("DAGOP_INIT_ARCH");

/// Version of the contract between lowering and program.
pub const VERSION: u32 = 1;

/// Where the program is mounted.
pub const PATH: &str = "/.dagop/init";

/// Where the meta mount is.
pub const META: &str = "/.dagop/meta";

/// Where the command's standard input is mounted.
pub const STDIN: &str = "/.dagop/stdin";

/// The directory inside the meta mount's input. It has mode 0777, because the
/// command's user, who may not be root, writes there.
pub const META_DIR: &str = "/meta";

/// What the meta mount holds after a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetaFile {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// Both, in the order in which init read them.
    Combined,
    /// The exit code in decimal.
    ExitCode,
}

impl MetaFile {
    /// Path inside the meta output.
    pub fn path(self) -> String {
        let name = match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
            Self::Combined => "combinedOutput",
            Self::ExitCode => "exitCode",
        };
        format!("{META_DIR}/{name}")
    }
}

/// Id under which the session serves the program.
pub fn secret_id() -> String {
    format!("dagop.init/{VERSION}/{ARCH}")
}

/// What init is told besides the command.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InitOptions {
    /// Whether a file is mounted at [`STDIN`].
    pub stdin: bool,
    /// Absolute path in the container read as standard input instead.
    pub redirect_stdin: Option<String>,
    /// Absolute path in the container that receives standard output as well.
    pub redirect_stdout: Option<String>,
    /// Absolute path in the container that receives standard error as well.
    pub redirect_stderr: Option<String>,
    /// Environment variables whose values are replaced by `***` in the output.
    pub scrub_env: Vec<String>,
    /// Files whose contents are replaced by `***` in the output.
    pub scrub_files: Vec<String>,
}

/// The whole command line: init, its options, the user's command.
pub fn command_line(options: &InitOptions, command: &[String]) -> Vec<String> {
    let mut args = vec![PATH.to_owned()];
    if options.stdin {
        args.push(format!("--stdin={STDIN}"));
    } else if let Some(path) = &options.redirect_stdin {
        args.push(format!("--stdin={path}"));
    }
    args.extend(
        options
            .redirect_stdout
            .iter()
            .map(|p| format!("--stdout={p}")),
    );
    args.extend(
        options
            .redirect_stderr
            .iter()
            .map(|p| format!("--stderr={p}")),
    );
    args.extend(options.scrub_env.iter().map(|n| format!("--scrub-env={n}")));
    args.extend(
        options
            .scrub_files
            .iter()
            .map(|p| format!("--scrub-file={p}")),
    );
    args.push("--".to_owned());
    args.extend_from_slice(command);
    args
}

/// The user's part of a command line made by [`command_line`].
pub fn user_command(args: &[String]) -> &[String] {
    match args.iter().position(|a| a == "--") {
        Some(at) if args.first().is_some_and(|a| a == PATH) => &args[at + 1..],
        _ => args,
    }
}

/// A command as a person would type it, for messages.
pub fn display_command(user: &[String]) -> String {
    let mut text = String::new();
    for (i, arg) in user.iter().enumerate() {
        let plain = !arg.is_empty()
            && arg
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_./:=@%+,".contains(&b));
        let space = if i == 0 { "" } else { " " };
        // Writing to a String cannot fail.
        let _ = if plain {
            write!(text, "{space}{arg}")
        } else {
            write!(text, "{space}{arg:?}")
        };
    }
    text
}
