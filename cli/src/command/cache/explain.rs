//! `dagop cache explain`: which steps of a recorded build a cache elsewhere has. Asks the registry or
//! reads the directory; needs no daemon.

use dagop::explain::cache::{CacheQuestion, InCache, in_cache};

use crate::args::CacheExplainArgs;
use crate::command::keys;
use crate::config::{self, Config};
use crate::error::{CliError, UNKNOWN};
use crate::output;

/// Exit code 0 if it is known of every step, [`UNKNOWN`] if a fact is missing.
pub(super) async fn explain(config: &Config, args: &CacheExplainArgs) -> Result<u8, CliError> {
    let ledger = keys::ledger(config, args.bundle.as_deref())?;
    let question = CacheQuestion {
        build: &args.build,
        step: args.step.as_deref(),
        platform: args.platform.as_deref(),
    };
    let directory = config.docker_config();
    let credentials = dagop::remote::docker_credentials(directory.as_deref());
    let workdir = config::absolute(".".as_ref())?;
    let answer = in_cache(&ledger, question, &args.cache, credentials, &workdir).await?;
    let text = match args.json {
        true => output::json(&answer)?,
        false => answer.table(),
    };
    output::to_stdout(text.as_bytes())?;
    let unknown = answer
        .steps
        .iter()
        .any(|step| step.status == InCache::Unknown);
    Ok(if unknown { UNKNOWN } else { 0 })
}
