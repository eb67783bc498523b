//! Arguments of the commands that answer from what was recorded of builds.

use std::path::PathBuf;

use crate::cache;

/// `dagop keys`.
#[derive(Debug, clap::Args)]
pub(crate) struct KeysArgs {
    /// The build: its number, its id, the beginning of one, or `last`
    #[arg(value_name = "BUILD", default_value = "last")]
    pub(crate) build: String,
    /// Only these steps, in full: path or number of a call, beginning of a digest, name with `*`
    #[arg(value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// Read a file that `dagop bundle` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `dagop bundle`.
#[derive(Debug, clap::Args)]
pub(crate) struct BundleArgs {
    /// The build: its number, its id, the beginning of one, or `last`
    #[arg(value_name = "BUILD", default_value = "last")]
    pub(crate) build: String,
    /// The file to write, which must not exist [default: dagop-ID.db]
    #[arg(short, long, value_name = "FILE")]
    pub(crate) output: Option<PathBuf>,
    /// A build to compare with; repeatable [default: those that `dagop why` compares with]
    #[arg(long, value_name = "BUILD")]
    pub(crate) against: Vec<String>,
    /// Also replace what has this name (variables, flags, headers); `*` stands for any text
    #[arg(long, value_name = "NAME")]
    pub(crate) redact: Vec<String>,
}

/// `dagop why`.
#[derive(Debug, clap::Args)]
pub(crate) struct WhyArgs {
    /// The step: path or number of a call, beginning of a digest, name with `*`
    #[arg(value_name = "STEP")]
    pub(crate) step: String,
    /// The build: its number, its id, the beginning of one, or `last`
    #[arg(long, value_name = "BUILD", default_value = "last")]
    pub(crate) build: String,
    /// The build to compare with [default: the newest earlier one that had the step]
    #[arg(long, value_name = "BUILD")]
    pub(crate) against: Option<String>,
    /// Read a file that `dagop bundle` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Print an array with one object per step
    #[arg(long)]
    pub(crate) json: bool,
}

/// `dagop diff`.
#[derive(Debug, clap::Args)]
pub(crate) struct DiffArgs {
    /// The earlier build: its number, its id, the beginning of one, or `last`
    #[arg(value_name = "A")]
    pub(crate) before: String,
    /// The later build
    #[arg(value_name = "B")]
    pub(crate) after: String,
    /// Show the root causes alone
    #[arg(long)]
    pub(crate) causes: bool,
    /// Read a file that `dagop bundle` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `dagop waste`.
#[derive(Debug, clap::Args)]
pub(crate) struct WasteArgs {
    /// Builds in order, each compared with the one before it [default: the newest, and the one
    /// before it of the same pipeline]
    #[arg(value_name = "BUILD")]
    pub(crate) builds: Vec<String>,
    /// Read a file that `dagop bundle` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}

/// `dagop explore`.
#[derive(Debug, clap::Args)]
pub(crate) struct ExploreArgs {
    /// Id of the build, the beginning of one, or `last`
    #[arg(value_name = "BUILD", default_value = "last")]
    pub(crate) build: String,
    /// Show this build beside it, and how they differ
    #[arg(long, value_name = "BUILD")]
    pub(crate) against: Option<String>,
    /// Read a file that `dagop bundle` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Port on 127.0.0.1 to serve the page on; 0 takes a free one
    #[arg(long, value_name = "PORT", default_value_t = 0)]
    pub(crate) port: u16,
    /// Only print the page's address, open no browser
    #[arg(long)]
    pub(crate) no_open: bool,
}

/// `dagop cache explain`.
#[derive(Debug, clap::Args)]
pub(crate) struct CacheExplainArgs {
    /// Image reference, directory or archive of the cache, or as --import-cache names one
    #[arg(value_name = "CACHE", value_parser = cache::named)]
    pub(crate) cache: dagop::CacheBackend,
    /// Only these steps: path or number of a call, beginning of a digest, name with `*`
    #[arg(value_name = "STEP")]
    pub(crate) step: Option<String>,
    /// The build: its number, its id, the beginning of one, or `last`
    #[arg(long, value_name = "BUILD", default_value = "last")]
    pub(crate) build: String,
    /// Of an image for several platforms look at this one only
    #[arg(long, value_name = "PLATFORM")]
    pub(crate) platform: Option<String>,
    /// Read a file that `dagop bundle` wrote
    #[arg(long, value_name = "FILE")]
    pub(crate) bundle: Option<PathBuf>,
    /// Print everything as JSON
    #[arg(long)]
    pub(crate) json: bool,
}
