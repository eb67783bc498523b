//! `dagop bundle`: a build, and what it is compared with, in one file for another machine.

use dagop::explain;
use dagop::ledger::{self, Reader, bundle};
use dagop::report;

use crate::args::BundleArgs;
use crate::config::{self, Config};
use crate::error::CliError;
use crate::output;

pub(crate) fn bundle(config: &Config, args: &BundleArgs) -> Result<(), CliError> {
    let path = ledger::path_in(&config.state_dir()?);
    let ledger = Reader::open(&path)?;
    let build = ledger.find(&args.build)?;
    let target = match &args.output {
        Some(target) => config::absolute(target)?,
        None => config::absolute(format!("dagop-{}.db", build.id).as_ref())?,
    };
    let against = if args.against.is_empty() {
        explain::compared_with(&ledger, &build.id)?
    } else {
        args.against.clone()
    };
    let is_secret = |name: &str| {
        args.redact
            .iter()
            .any(|pattern| report::is_like(name, pattern))
    };
    bundle::write(&path, &build.id, &against, &target, &is_secret)?;
    output::to_stdout(format!("{}\n", target.display()).as_bytes())
}
