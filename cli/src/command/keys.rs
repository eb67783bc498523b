//! `dagop keys`: the calls of a recorded build. Reads the ledger; needs no daemon.

use dagop::ledger::{self, Reader};
use dagop::report::Report;

use crate::args::KeysArgs;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

pub(crate) fn keys(config: &Config, args: &KeysArgs) -> Result<(), CliError> {
    let ledger = Reader::open(&ledger::path_in(&config.state_dir()?))?;
    let report = Report::read(&ledger, &args.build)?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(&report);
        json.map_err(|error| CliError::internal(format!("report as JSON: {error}")))? + "\n"
    } else {
        report.key_table()
    };
    output::to_stdout(text.as_bytes())
}
