//! `dagop bundle`: one build in one file, for another machine.

use dagop::ledger::{self, Reader, bundle};
use dagop::report;

use crate::args::BundleArgs;
use crate::config::{self, Config};
use crate::error::CliError;
use crate::output;

pub(crate) fn bundle(config: &Config, args: &BundleArgs) -> Result<(), CliError> {
    let path = ledger::path_in(&config.state_dir()?);
    let build = Reader::open(&path)?.find(&args.build)?;
    let target = match &args.output {
        Some(target) => config::absolute(target)?,
        None => config::absolute(format!("dagop-{}.db", build.id).as_ref())?,
    };
    let is_secret = |name: &str| {
        args.redact
            .iter()
            .any(|pattern| report::is_like(name, pattern))
    };
    bundle::write(&path, &build.id, &target, &is_secret)?;
    output::to_stdout(format!("{}\n", target.display()).as_bytes())
}
