//! `dagop diff`: what differs between two recorded builds, and what follows from what.

use std::fmt::Write as _;

use dagop::explain::{self, Comparison, Difference};
use dagop::report::text;

use super::keys;
use crate::args::DiffArgs;
use crate::config::Config;
use crate::error::{CliError, FAILED};
use crate::output;

/// Numbers of causes shown behind a step.
const NUMBERS_MAX: usize = 8;

/// Exit code 0 if no key differs, else [`FAILED`].
pub(crate) fn diff(config: &Config, args: &DiffArgs) -> Result<u8, CliError> {
    let ledger = keys::ledger(config, args.bundle.as_deref())?;
    let comparison = explain::compare(&ledger, &args.before, &args.after)?;
    let shown = if args.json {
        output::json(&comparison)?
    } else {
        table(&comparison, args.causes)
    };
    output::to_stdout(shown.as_bytes())?;
    let equal = comparison.differences.is_empty() && comparison.causes.is_empty();
    Ok(if equal { 0 } else { FAILED })
}

fn table(comparison: &Comparison, only_causes: bool) -> String {
    let mut out = String::new();
    // Writing to a String cannot fail, here and below.
    for cause in &comparison.causes {
        let which = if cause.removed {
            " (earlier build)"
        } else {
            ""
        };
        let name = text::one_line(&cause.step.name, usize::MAX);
        _ = writeln!(out, "[{}] {name}{which}: {}", cause.number, cause.sentence);
        if cause.steps > 1 {
            _ = writeln!(out, "    the same at {} steps", cause.steps);
        }
    }
    if !only_causes {
        for difference in &comparison.differences {
            let name = text::one_line(&difference.step.name, usize::MAX);
            _ = writeln!(
                out,
                "  {}  {name}  {}",
                difference.step.outcome,
                tags(difference)
            );
        }
    }
    if !only_causes {
        for difference in &comparison.undecided {
            let name = text::one_line(&difference.step.name, usize::MAX);
            let outcome = difference.step.outcome;
            let numbers = list(&difference.possible);
            _ = writeln!(out, "  {outcome}  {name}  perhaps follows from {numbers}");
        }
    }
    let count = |count: usize, one: &str, many: &str| {
        format!("{count} {}", if count == 1 { one } else { many })
    };
    let differences = comparison.differences.iter();
    let differing = differences.filter(|step| step.key_differs).count();
    _ = writeln!(
        out,
        "{}, {} with another key, {} with the same",
        count(comparison.causes.len(), "cause", "causes"),
        count(differing, "step", "steps"),
        comparison.equal
    );
    if differing < comparison.differences.len() {
        let same = comparison.differences.len() - differing;
        _ = writeln!(
            out,
            "{} ran although the key is the same",
            count(same, "step", "steps")
        );
    }
    if !comparison.undecided.is_empty() {
        _ = writeln!(
            out,
            "{} did not run and may have the same key: the content that decides is not recorded",
            count(comparison.undecided.len(), "step", "steps")
        );
    }
    out
}

/// `own [0] follows from [1] [2]`.
fn tags(difference: &Difference) -> String {
    let below = difference
        .causes
        .iter()
        .filter(|number| !difference.own.contains(number));
    let below: Vec<u32> = below.copied().collect();
    match (difference.own.is_empty(), below.is_empty()) {
        (true, true) => "not used".to_owned(),
        (false, true) => list(&difference.own),
        (true, false) => format!("follows from {}", list(&below)),
        (false, false) => format!(
            "{} and follows from {}",
            list(&difference.own),
            list(&below)
        ),
    }
}

/// `[1] [2]`, at most [`NUMBERS_MAX`].
fn list(numbers: &[u32]) -> String {
    let shown = numbers.iter().take(NUMBERS_MAX);
    let shown: Vec<String> = shown.map(|number| format!("[{number}]")).collect();
    let dots = if numbers.len() > NUMBERS_MAX {
        " …"
    } else {
        ""
    };
    shown.join(" ") + dots
}
