//! `dagop predict`: the cache keys of an LLB definition, which needs no daemon; or a self-test of
//! the prediction on one.

use dagop::Engine;
use dagop::predict::{self, Options, Report};

use crate::args::{Named, PredictArgs, Source};
use crate::config::Config;
use crate::error::{CliError, FAILED};
use crate::{input, output};

/// Largest definition that is read, in bytes: four times what a daemon takes in one message.
const LLB_SIZE_MAX: u64 = 64 << 20;

pub(crate) async fn predict(config: &Config, args: &PredictArgs) -> Result<u8, CliError> {
    match &args.llb {
        Some(llb) => of_definition(llb, args).map(|()| 0),
        None => self_test(config, args.json).await,
    }
}

/// Asks the daemon; the exit code says whether it computes keys as predicted.
async fn self_test(config: &Config, as_json: bool) -> Result<u8, CliError> {
    let engine = Engine::start(config.engine_options()?).await?;
    let answer = engine.self_test().await?;
    let text = if as_json {
        output::json(&answer)?
    } else {
        format!("{}\n", answer.sentence())
    };
    output::to_stdout(text.as_bytes())?;
    Ok(if answer.is_good() { 0 } else { FAILED })
}

fn of_definition(llb: &Source, args: &PredictArgs) -> Result<(), CliError> {
    let named = |list: &[Named]| {
        let pairs = list
            .iter()
            .map(|named| (named.name.clone(), named.path.clone()));
        pairs.collect()
    };
    let options = Options {
        llb: read(llb)?,
        locals: named(&args.locals),
        layouts: named(&args.layouts),
        version: args.profile.clone(),
        preimages: args.preimages,
    };
    let report = predict::predict(&options)?;
    let text = if args.json {
        output::json(&report)?
    } else {
        report.table() + &preimages(&report)
    };
    output::to_stdout(text.as_bytes())
}

fn read(source: &Source) -> Result<Vec<u8>, CliError> {
    let name = input::name_of(source);
    let bytes = input::bytes(source, LLB_SIZE_MAX + 1)
        .map_err(|error| CliError::failed(format!("{name}: {error}")))?;
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
