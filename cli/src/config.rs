//! Everything the environment decides: variables, defaults of flags, directories.
//!
//! The only file that reads environment variables. Flags win over `DAGOP_*` variables, which win
//! over the variables of BuildKit and Docker.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use dagop::{EngineOptions, TlsOptions};

use crate::cache;
use crate::error::CliError;

/// Where the daemon is and how to reach it.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Daemon")]
pub(crate) struct ConnectionFlags {
    /// Address of the daemon: unix://, tcp://, docker-container://, ssh:// and others
    #[arg(long, global = true, value_name = "URL", env = "DAGOP_ADDR")]
    pub(crate) addr: Option<String>,
    /// Certificate of the authority that signed the daemon's
    #[arg(long, global = true, value_name = "FILE", env = "DAGOP_TLSCACERT")]
    tlscacert: Option<PathBuf>,
    /// Our own certificate
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DAGOP_TLSCERT",
        requires = "tlskey"
    )]
    tlscert: Option<PathBuf>,
    /// The key of our own certificate
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "DAGOP_TLSKEY",
        requires = "tlscert"
    )]
    tlskey: Option<PathBuf>,
    /// Directory of ca.pem, cert.pem and key.pem
    #[arg(long, global = true, value_name = "DIR", env = "DAGOP_TLSDIR")]
    #[arg(conflicts_with_all = ["tlscacert", "tlscert", "tlskey"])]
    tlsdir: Option<PathBuf>,
    /// Name expected in the daemon's certificate
    #[arg(long, global = true, value_name = "NAME", env = "DAGOP_TLSSERVERNAME")]
    tlsservername: Option<String>,
    /// Debug address of the daemon, as its --debugaddr: the records of its cache are then in `keys`
    #[arg(long, global = true, value_name = "ADDR", env = "DAGOP_DEBUGADDR")]
    debugaddr: Option<String>,
    /// Directory for the ledger and other state [default: $XDG_STATE_HOME/dagop]
    #[arg(long, global = true, value_name = "DIR", env = "DAGOP_STATE_DIR")]
    state_dir: Option<PathBuf>,
}

/// What a session may see and do.
#[derive(Debug, clap::Args)]
pub(crate) struct SessionFlags {
    /// Directory that relative host paths of the document are resolved in [default: the current one]
    #[arg(long, value_name = "DIR", env = "DAGOP_SESSION_DIR")]
    pub(crate) session_dir: Option<PathBuf>,
    /// Allow what the daemon denies by default: network.host, security.insecure, device[=NAME]
    #[arg(long, value_name = "ENTITLEMENT", value_parser = entitlement)]
    pub(crate) allow: Vec<String>,
    /// Read a cache: type=local,src=DIR, type=registry,ref=IMAGE and others
    #[arg(long, value_name = "CACHE", value_parser = cache::import)]
    pub(crate) import_cache: Vec<dagop::CacheBackend>,
    /// Write a cache: type=local,dest=DIR[,mode=max], type=registry,ref=IMAGE, type=inline and others
    #[arg(long, value_name = "CACHE", value_parser = cache::export)]
    pub(crate) export_cache: Vec<dagop::CacheBackend>,
    /// Ask the daemon also for values that an earlier run kept; the daemon's own cache still counts
    #[arg(long, env = "DAGOP_NO_RECALL", value_parser = clap::builder::FalseyValueParser::new())]
    pub(crate) no_recall: bool,
}

/// How progress is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct ProgressFlags {
    /// How to show progress on standard error
    #[arg(
        long,
        value_name = "MODE",
        env = "DAGOP_PROGRESS",
        default_value = "auto"
    )]
    pub(crate) progress: ProgressMode,
}

/// Where and for whom to serve.
#[derive(Debug, clap::Args)]
pub(crate) struct ServeFlags {
    /// Address and port to listen on; port 0 takes a free one [default: 127.0.0.1:8080, or a free
    /// port for a COMMAND]
    #[arg(long, value_name = "ADDR", env = "DAGOP_LISTEN")]
    pub(crate) listen: Option<SocketAddr>,
    /// User name that requests must give by basic authentication
    #[arg(
        long,
        value_name = "TOKEN",
        env = "DAGOP_SESSION_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<Token>,
}

/// Which running `dagop serve` to ask.
#[derive(Debug, clap::Args)]
pub(crate) struct ServerFlags {
    /// Address and port of the server
    #[arg(long, value_name = "ADDR", conflicts_with = "port")]
    pub(crate) address: Option<SocketAddr>,
    /// Port of a server on this machine, as SDKs are told it
    #[arg(long, value_name = "PORT", env = "DAGGER_SESSION_PORT")]
    pub(crate) port: Option<u16>,
    /// The server's token
    #[arg(
        long,
        value_name = "TOKEN",
        env = "DAGGER_SESSION_TOKEN",
        hide_env_values = true
    )]
    pub(crate) token: Option<Token>,
}

/// A secret of the command line: parsed like text, never printed.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Token(String);

impl Token {
    /// A new one that nobody can guess: 128 random bits in hex.
    pub(crate) fn random() -> Result<Self, CliError> {
        let mut bytes = [0_u8; 16];
        getrandom::fill(&mut bytes)
            .map_err(|error| CliError::failed(format!("no random numbers: {error}")))?;
        Ok(Self(
            bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ))
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl FromStr for Token {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "" => Err("must not be empty"),
            _ if text.contains(':') => Err("must not contain a colon: it is a user name"),
            _ => Ok(Self(text.to_owned())),
        }
    }
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Token(..)")
    }
}

/// The ways to show progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum ProgressMode {
    /// tty on a terminal, else plain
    Auto,
    /// Lines that are only ever added
    Plain,
    /// A live tree
    Tty,
    /// One event per line
    Json,
    /// Nothing: only errors and warnings are written
    Quiet,
}

fn entitlement(text: &str) -> Result<String, String> {
    let known = matches!(text, "network.host" | "security.insecure" | "device")
        || text
            .strip_prefix("device=")
            .is_some_and(|name| !name.is_empty());
    let expected = "expected network.host, security.insecure, device or device=NAME";
    if known {
        Ok(text.to_owned())
    } else {
        Err(expected.to_owned())
    }
}

/// The environment variables that matter.
#[derive(Debug, Default)]
pub(crate) struct Environment {
    pub(crate) buildkit_host: Option<String>,
    pub(crate) docker_host: Option<String>,
    pub(crate) docker_config: Option<PathBuf>,
    pub(crate) home: Option<PathBuf>,
    pub(crate) xdg_state_home: Option<PathBuf>,
    pub(crate) xdg_runtime_dir: Option<PathBuf>,
    pub(crate) no_color: bool,
    pub(crate) dumb_terminal: bool,
    pub(crate) desktop: bool,
    pub(crate) log: Option<String>,
}

impl Environment {
    /// The process's. Empty variables count as unset, as the XDG and NO_COLOR conventions say.
    pub(crate) fn read() -> Self {
        Self::from(|name| std::env::var_os(name))
    }

    fn from(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let get = |name| get(name).filter(|value| !value.is_empty());
        let text = |name| get(name).and_then(|value| value.into_string().ok());
        let absolute = |name| {
            get(name)
                .map(PathBuf::from)
                .filter(|path| path.is_absolute())
        };
        Self {
            buildkit_host: text("BUILDKIT_HOST"),
            docker_host: text("DOCKER_HOST"),
            docker_config: get("DOCKER_CONFIG").map(PathBuf::from),
            home: get("HOME").map(PathBuf::from),
            xdg_state_home: absolute("XDG_STATE_HOME"),
            xdg_runtime_dir: absolute("XDG_RUNTIME_DIR"),
            no_color: get("NO_COLOR").is_some(),
            dumb_terminal: text("TERM").is_none_or(|term| term == "dumb"),
            desktop: get("DISPLAY").or_else(|| get("WAYLAND_DISPLAY")).is_some(),
            log: text("DAGOP_LOG"),
        }
    }
}

/// Flags and environment together.
#[derive(Debug)]
pub(crate) struct Config {
    flags: ConnectionFlags,
    environment: Environment,
}

impl Config {
    pub(crate) fn new(flags: ConnectionFlags, environment: Environment) -> Self {
        Self { flags, environment }
    }

    /// Where the ledger is.
    pub(crate) fn state_dir(&self) -> Result<PathBuf, CliError> {
        let environment = &self.environment;
        let of_home = || Some(environment.home.as_ref()?.join(".local/state"));
        if let Some(directory) = &self.flags.state_dir {
            return absolute(directory);
        }
        let base = environment.xdg_state_home.clone().or_else(of_home);
        let base = base.ok_or_else(|| {
            CliError::usage(
                "there is no directory for state: neither HOME nor XDG_STATE_HOME is set",
            )
            .with_hint("name one with --state-dir or DAGOP_STATE_DIR")
        })?;
        absolute(&base.join("dagop"))
    }

    /// What the engine is started with.
    pub(crate) fn engine_options(&self) -> Result<EngineOptions, CliError> {
        let environment = &self.environment;
        Ok(EngineOptions {
            state_dir: self.state_dir()?,
            address: self.flags.addr.clone(),
            buildkit_host: environment.buildkit_host.clone(),
            docker_host: environment.docker_host.clone(),
            xdg_runtime_dir: environment.xdg_runtime_dir.clone(),
            tls: self.tls(),
            docker_config: self.docker_config(),
            debug_address: self.flags.debugaddr.clone(),
            ..EngineOptions::default()
        })
    }

    /// Docker's configuration directory.
    pub(crate) fn docker_config(&self) -> Option<PathBuf> {
        let environment = &self.environment;
        let of_home = || Some(environment.home.as_ref()?.join(".docker"));
        environment.docker_config.clone().or_else(of_home)
    }

    /// None when nothing about TLS was said.
    fn tls(&self) -> Option<TlsOptions> {
        let flags = &self.flags;
        let of_dir = |name: &str| {
            let path = flags.tlsdir.as_ref()?.join(name);
            path.exists().then_some(path)
        };
        let tls = TlsOptions {
            ca: flags.tlscacert.clone().or_else(|| of_dir("ca.pem")),
            cert: flags.tlscert.clone().or_else(|| of_dir("cert.pem")),
            key: flags.tlskey.clone().or_else(|| of_dir("key.pem")),
            server_name: flags.tlsservername.clone(),
        };
        // A directory without any of the files is a mistake, which the engine reports.
        (flags.tlsdir.is_some() || tls != TlsOptions::default()).then_some(tls)
    }

    /// How to show progress, with `auto` decided.
    pub(crate) fn progress(&self, flags: &ProgressFlags) -> ProgressMode {
        let live = std::io::stderr().is_terminal() && !self.environment.dumb_terminal;
        match flags.progress {
            ProgressMode::Auto if live => ProgressMode::Tty,
            ProgressMode::Auto => ProgressMode::Plain,
            mode => mode,
        }
    }

    /// Whether errors may use colour and lines.
    pub(crate) fn styled_errors(&self) -> bool {
        self.colour() && std::io::stderr().is_terminal()
    }

    /// Whether the user leaves colour on.
    pub(crate) fn colour(&self) -> bool {
        !self.environment.no_color && !self.environment.dumb_terminal
    }

    /// Whether there is a desktop that can show a browser.
    pub(crate) fn has_desktop(&self) -> bool {
        self.environment.desktop
    }

    /// Filter of the developer's log, from DAGOP_LOG.
    pub(crate) fn log_filter(&self) -> Option<&str> {
        self.environment.log.as_deref()
    }
}

/// A path as seen from the root, without asking the file system.
pub(crate) fn absolute(path: &Path) -> Result<PathBuf, CliError> {
    std::path::absolute(path).map_err(|error| {
        CliError::failed(format!("cannot tell where {} is: {error}", path.display()))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(flags: ConnectionFlags, variables: &[(&str, &str)]) -> Config {
        let get = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name);
            found.map(|(_, value)| OsString::from(value))
        };
        Config::new(flags, Environment::from(get))
    }

    #[test]
    fn the_state_directory_follows_flag_then_xdg_then_home() {
        let state = |flags, variables: &[_]| config(flags, variables).state_dir();
        let home = ("HOME", "/h");
        let flag = || ConnectionFlags {
            state_dir: Some("/s".into()),
            ..ConnectionFlags::default()
        };
        let xdg = ("XDG_STATE_HOME", "/x");
        assert_eq!(state(flag(), &[home, xdg]).unwrap(), Path::new("/s"));
        let none = ConnectionFlags::default;
        assert_eq!(state(none(), &[home, xdg]).unwrap(), Path::new("/x/dagop"));
        assert_eq!(
            state(none(), &[home]).unwrap(),
            Path::new("/h/.local/state/dagop")
        );
        // A relative XDG directory is to be ignored, says the convention.
        let relative = ("XDG_STATE_HOME", "x");
        assert_eq!(
            state(none(), &[home, relative]).unwrap(),
            Path::new("/h/.local/state/dagop")
        );
        assert!(state(none(), &[]).is_err());
    }

    #[test]
    fn a_tls_directory_gives_the_files_it_has() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("ca.pem"), "").unwrap();
        let tlsdir = Some(directory.path().to_owned());
        let tls = config(
            ConnectionFlags {
                tlsdir,
                ..ConnectionFlags::default()
            },
            &[],
        )
        .tls()
        .unwrap();
        assert_eq!(tls.ca, Some(directory.path().join("ca.pem")));
        assert_eq!((tls.cert, tls.key), (None, None));
    }

    #[test]
    fn a_token_is_never_printed() {
        let token: Token = "canary".parse().unwrap();
        assert_eq!(format!("{token:?}"), "Token(..)");
        assert!("".parse::<Token>().is_err() && "a:b".parse::<Token>().is_err());
    }

    #[test]
    fn only_known_entitlements_are_asked_for() {
        for known in ["network.host", "security.insecure", "device", "device=gpu"] {
            assert_eq!(entitlement(known).as_deref(), Ok(known));
        }
        for unknown in ["", "device=", "network", "all"] {
            assert!(entitlement(unknown).is_err());
        }
    }
}
