//! `dagop why`: why a step of a recorded build ran. Reads the ledger; needs no daemon.

use std::fmt::Write as _;

use dagop::explain::{self, Answer, Status};
use dagop::report::text;

use super::keys;
use crate::args::WhyArgs;
use crate::config::Config;
use crate::error::{CliError, UNKNOWN};
use crate::output;

/// Steps of the way from a cause that are shown.
const CHAIN_MAX: usize = 8;

/// Exit code 0 if every answer is known, [`UNKNOWN`] if a fact is missing.
pub(crate) fn why(config: &Config, args: &WhyArgs) -> Result<u8, CliError> {
    let ledger = keys::ledger(config, args.bundle.as_deref())?;
    let against = args.against.as_deref();
    let answers = explain::why(&ledger, &args.build, &args.step, against)?;
    let shown = if args.json {
        output::json(&answers)?
    } else {
        let paragraphs: Vec<String> = answers.iter().map(paragraph).collect();
        paragraphs.join("\n")
    };
    output::to_stdout(shown.as_bytes())?;
    let unknown = answers
        .iter()
        .any(|answer| answer.status == Status::Unknown);
    Ok(if unknown { UNKNOWN } else { 0 })
}

fn paragraph(answer: &Answer) -> String {
    let step = &answer.step;
    let mut out = String::new();
    let time = text::between(step.started_ms, step.completed_ms);
    // Writing to a String cannot fail, here and below.
    _ = writeln!(
        out,
        "{}: {} ({time}) in build {}",
        text::one_line(&step.name, usize::MAX),
        step.outcome,
        answer.build
    );
    if let Some(against) = &answer.against {
        let key = match answer.key_differs {
            Some(true) => "another key than in",
            Some(false) => "the same key as in",
            None if answer.before.is_some() => "perhaps another key than in",
            None => "compared with",
        };
        _ = writeln!(out, "  {key} build {against}");
    }
    for cause in &answer.reasons {
        _ = writeln!(out, "  because {}", cause.sentence);
        if cause.step.canonical != step.canonical {
            let which = if cause.removed {
                " (earlier build)"
            } else {
                ""
            };
            let name = text::one_line(&cause.step.name, usize::MAX);
            _ = writeln!(out, "    at {name}{which}");
        }
    }
    for cause in &answer.possible {
        let name = text::one_line(&cause.step.name, usize::MAX);
        let sentence = &cause.sentence;
        _ = writeln!(out, "  perhaps because {sentence}");
        _ = writeln!(
            out,
            "    at {name}, if that changed what the step takes of it"
        );
    }
    for cause in &answer.remarks {
        _ = writeln!(out, "  no cause: {}", cause.sentence);
    }
    if answer.more {
        _ = writeln!(out, "  and for more causes");
    }
    if answer.chain.len() > 1 {
        let skipped = answer.chain.len().saturating_sub(CHAIN_MAX);
        let mut names: Vec<&str> = answer.chain.iter().map(String::as_str).collect();
        if skipped > 0 {
            names.splice(1..=skipped, ["…"]);
        }
        _ = writeln!(out, "  via {}", names.join(" -> "));
    }
    out
}
