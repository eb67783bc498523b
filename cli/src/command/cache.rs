//! `dagop cache`: the engine's own cache, and caches outside of the daemon. The daemon's is shown by
//! `dagop du`.

mod explain;
mod stats;

use dagop::report::text;
use serde_json::json;

use crate::args::{CacheCommand, CachePruneArgs};
use crate::config::Config;
use crate::error::CliError;
use crate::output;

pub(crate) async fn cache(config: &Config, command: &CacheCommand) -> Result<u8, CliError> {
    match command {
        CacheCommand::Stats(args) => stats::stats(config, args).await.map(|()| 0),
        CacheCommand::Prune(args) => prune(config, args).map(|()| 0),
        CacheCommand::Explain(args) => explain::explain(config, args).await,
    }
}

fn prune(config: &Config, args: &CachePruneArgs) -> Result<(), CliError> {
    let pruned = dagop::prune_values(&config.state_dir()?)?;
    let text = if args.json {
        let pruned = json!({"values": pruned.rows, "bytes": pruned.bytes});
        format!("{pruned:#}\n")
    } else {
        let bytes = text::bytes(pruned.bytes);
        let values = if pruned.rows == 1 { "value" } else { "values" };
        format!("deleted {} {values}, {bytes}\n", pruned.rows)
    };
    output::to_stdout(text.as_bytes())
}
