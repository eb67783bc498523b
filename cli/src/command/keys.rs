//! `dagop keys`: the steps of a recorded build with their names across the layers. Reads the
//! ledger or a bundle; needs no daemon.

use std::path::Path;

use dagop::ledger::{self, OperationRow, Reader};
use dagop::report::Report;
use serde::Serialize;

use crate::args::KeysArgs;
use crate::config::{self, Config};
use crate::error::CliError;
use crate::output;

/// `--json`: the report, and what its vertices ask for.
#[derive(Serialize)]
struct Everything<'a> {
    #[serde(flatten)]
    report: &'a Report,
    /// By canonical digest, in order of it.
    operations: Vec<OperationRow>,
}

pub(crate) fn keys(config: &Config, args: &KeysArgs) -> Result<(), CliError> {
    let ledger = self::ledger(config, args.bundle.as_deref())?;
    let mut report = Report::read(&ledger, &args.build)?;
    if let Some(step) = &args.step {
        report = report.select(step);
        if report.calls.is_empty() && report.vertices.is_empty() {
            let message = format!("build {} has no step {step:?}", report.build.id);
            let hint =
                "a step is a call's path or number, the beginning of a digest, or a name with *";
            return Err(CliError::usage(message).with_hint(hint));
        }
    }
    let text = if args.json {
        json(&ledger, &report)?
    } else if args.step.is_some() {
        report.details()
    } else {
        report.key_table()
    };
    output::to_stdout(text.as_bytes())
}

/// The ledger to read: a bundle, or this machine's.
pub(super) fn ledger(config: &Config, bundle: Option<&Path>) -> Result<Reader, CliError> {
    Ok(match bundle {
        Some(path) => Reader::open_bundle(&config::absolute(path)?)?,
        None => Reader::open(&ledger::path_in(&config.state_dir()?))?,
    })
}

fn json(ledger: &Reader, report: &Report) -> Result<String, CliError> {
    let mut all = ledger.operations(&report.build.id)?;
    let wanted = report
        .vertices
        .iter()
        .filter_map(|vertex| vertex.canonical.as_ref());
    let mut operations: Vec<_> = wanted.filter_map(|digest| all.remove(digest)).collect();
    operations.sort_by(|a, b| a.digest.cmp(&b.digest));
    output::json(&Everything { report, operations })
}
