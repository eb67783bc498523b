//! `dagop predict`: the cache keys of an LLB definition. Needs no daemon.

use std::io::Read as _;

use dagop::predict::{self, Options, Report};

use crate::args::{Named, PredictArgs, Source};
use crate::error::CliError;
use crate::output;

/// Largest definition that is read, in bytes: four times what a daemon takes in one message.
const LLB_SIZE_MAX: u64 = 64 << 20;

pub(crate) fn predict(args: &PredictArgs) -> Result<(), CliError> {
    let named = |list: &[Named]| {
        let pairs = list
            .iter()
            .map(|named| (named.name.clone(), named.path.clone()));
        pairs.collect()
    };
    let options = Options {
        llb: read(&args.llb)?,
        locals: named(&args.locals),
        layouts: named(&args.layouts),
        version: args.profile.clone(),
        preimages: args.preimages,
    };
    let report = predict::predict(&options)?;
    let text = if args.json {
        let json = serde_json::to_string_pretty(&report);
        json.map_err(|error| CliError::internal(format!("prediction as JSON: {error}")))? + "\n"
    } else {
        report.table() + &preimages(&report)
    };
    output::to_stdout(text.as_bytes())
}

fn read(source: &Source) -> Result<Vec<u8>, CliError> {
    let mut bytes = Vec::new();
    let (name, result) = match source {
        Source::Stdin => (
            "standard input".to_owned(),
            std::io::stdin()
                .take(LLB_SIZE_MAX + 1)
                .read_to_end(&mut bytes),
        ),
        Source::File(path) => (
            path.display().to_string(),
            std::fs::File::open(path)
                .and_then(|file| file.take(LLB_SIZE_MAX + 1).read_to_end(&mut bytes)),
        ),
    };
    result.map_err(|error| CliError::failed(format!("{name}: {error}")))?;
    if bytes.len() as u64 > LLB_SIZE_MAX {
        let text = format!("{name}: more than {LLB_SIZE_MAX} bytes are no LLB definition");
        return Err(CliError::usage(text));
    }
    Ok(bytes)
}

/// What was hashed, below the table.
fn preimages(report: &Report) -> String {
    let mut text = String::new();
    for vertex in &report.vertices {
        for preimage in &vertex.preimages {
            text.push_str(&format!("{} {}\n", vertex.digest, preimage.escape_debug()));
        }
    }
    text
}
