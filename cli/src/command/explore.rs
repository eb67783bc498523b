//! `dagop explore`: finished builds in the browser, until a signal ends it. Needs no daemon.

use dagop::ledger;
use tokio::sync::mpsc;

use crate::args::ExploreArgs;
use crate::config::{self, Config};
use crate::error::CliError;
use crate::explore::{Explorer, Source};
use crate::{output, signal};

pub(crate) async fn explore(config: &Config, args: &ExploreArgs) -> Result<(), CliError> {
    let source = match &args.bundle {
        Some(path) => Source::Bundle(config::absolute(path)?),
        None => Source::Ledger(ledger::path_in(&config.state_dir()?)),
    };
    // Wrong names are known here, where the user looks, and not only in the page.
    let (build, against) = {
        let ledger = source.open()?;
        let against = args
            .against
            .as_deref()
            .map(|name| ledger.find(name))
            .transpose()?;
        (ledger.find(&args.build)?.id, against.map(|build| build.id))
    };
    // There is no display that signals could be announced to.
    let cancel = signal::listen(mpsc::unbounded_channel().0)?;
    let explorer = Explorer::bind(source, args.port).await?;
    output::to_stdout(format!("{}\n", explorer.url(&build, against.as_deref())).as_bytes())?;
    output::to_stderr("The address is for you alone. Ctrl-C ends it.\n");
    if !args.no_open && config.has_desktop() {
        open(&explorer.ticket(&build, against.as_deref())?);
    }
    signal::until_wound_up(&cancel, explorer.run(cancel.clone())).await?
}

/// A browser that does not open is no failure: the address is printed.
fn open(url: &str) {
    if let Err(error) = open::that_detached(url) {
        output::to_stderr(&format!("warning: no browser could be opened: {error}\n"));
    }
}
