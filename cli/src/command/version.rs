//! `dagop version`: our own version, the API's, and the daemon's.

use std::fmt::Write as _;

use dagop::{DaemonInfo, Engine};
use serde_json::json;

use crate::args::VersionArgs;
use crate::config::Config;
use crate::error::CliError;
use crate::output;

const OWN: &str = env!("CARGO_PKG_VERSION");

pub(crate) async fn version(config: &Config, args: &VersionArgs) -> Result<(), CliError> {
    if args.client {
        return print(None, args.json);
    }
    // Our own version is known even when no daemon is.
    match Engine::start(config.engine_options()?).await {
        Ok(engine) => print(Some(engine.daemon()), args.json),
        Err(error) => {
            print(None, args.json)?;
            Err(error.into())
        }
    }
}

fn print(daemon: Option<&DaemonInfo>, as_json: bool) -> Result<(), CliError> {
    let text = if as_json {
        json_text(daemon)
    } else {
        plain_text(daemon)
    };
    output::to_stdout(text.as_bytes())
}

fn json_text(daemon: Option<&DaemonInfo>) -> String {
    let daemon = daemon.map(|daemon| {
        json!({
            "address": daemon.address,
            "version": daemon.version,
            "revision": daemon.revision,
            "workers": daemon.workers.iter().map(|worker| json!({
                "id": worker.id,
                "platforms": worker.platforms,
                "labels": worker.labels,
            })).collect::<Vec<_>>(),
        })
    });
    let versions = json!({"dagop": OWN, "api": dagop::API_VERSION, "daemon": daemon});
    format!("{versions:#}\n")
}

fn plain_text(daemon: Option<&DaemonInfo>) -> String {
    let mut text = format!("dagop   {OWN}\nAPI     {}\n", dagop::API_VERSION);
    if let Some(daemon) = daemon {
        // Writing to a String cannot fail.
        _ = writeln!(text, "daemon  {} at {}", daemon.version, daemon.address);
        for worker in &daemon.workers {
            _ = writeln!(
                text,
                "worker  {} ({})",
                worker.id,
                worker.platforms.join(", ")
            );
        }
    }
    text
}
