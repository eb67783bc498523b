//! `dagop waste`: steps that ran under another key to make what was there already.

use std::fmt::Write as _;

use dagop::explain::{self, Proof, Waste};
use dagop::report::text;

use super::keys;
use crate::args::WasteArgs;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

pub(crate) fn waste(config: &Config, args: &WasteArgs) -> Result<(), CliError> {
    let ledger = keys::ledger(config, args.bundle.as_deref())?;
    let builds = if args.builds.is_empty() {
        // The newest one, and the one before it of the same pipeline.
        let newest = ledger.find("last")?.id;
        let before = explain::before(&ledger, &newest)?;
        before.into_iter().chain([newest]).collect()
    } else {
        args.builds.clone()
    };
    let waste = explain::waste(&ledger, &builds)?;
    let shown = if args.json {
        output::json(&waste)?
    } else {
        table(&waste)
    };
    output::to_stdout(shown.as_bytes())
}

fn table(waste: &Waste) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail, here and below.
    for step in &waste.steps {
        let name = text::one_line(&step.step.name, usize::MAX);
        _ = writeln!(
            out,
            "{}  {name}  build {}",
            text::duration(step.lost_ms),
            step.build
        );
        let proof = match step.proof {
            Proof::Layers => "its layers are the same",
            Proof::Content => "what other steps take of it is the same",
            Proof::Found => "what takes parts of it was found in the cache",
        };
        _ = writeln!(out, "    {proof}");
        for cause in &step.causes {
            _ = writeln!(out, "    because {}", cause.sentence);
        }
    }
    _ = writeln!(
        out,
        "{} lost in {} steps that made the same again; {} made something else, of {} nothing is known",
        text::duration(waste.lost_ms),
        waste.steps.len(),
        waste.useful,
        waste.unknown
    );
    out
}
