//! Prints BuildKit's content hash of paths of a directory, or of an image in an OCI layout.
//!
//! `digest DIR PATH...`: as a build sends the directory; `digest --image LAYOUT PATH...`: the files of
//! the only image of an OCI layout, as the daemon unpacks them.
#![allow(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::sync::Arc;

use snapshots::checksum::{Checksums, Rules};
use snapshots::content::ContentStore;
use snapshots::context::{Options, Source, hash};
use snapshots::image::{ImageTree, Platform, resolve};

fn main() -> Result<(), Box<dyn Error>> {
    let mut words = std::env::args().skip(1);
    let usage = "usage: digest DIR PATH... | digest --image LAYOUT PATH...";
    let first = words.next().ok_or(usage)?;
    let sums: Checksums<'static> = if first == "--image" {
        let store = ContentStore::open_existing(words.next().ok_or(usage)?)?;
        let index = store.index()?;
        let image = index.manifests().first().ok_or("the layout has no image")?;
        let image = resolve(&store, image, &Platform::host())?;
        ImageTree::read(Arc::new(store), &image, Rules::LATEST)?.checksums()
    } else {
        hash(&Source::new(first), &Options::default())?.sums
    };
    for path in words {
        let plain = Default::default();
        let content = sums.content([(path.as_str(), &plain)])?;
        println!("{path} {} {content}", sums.plain(&path, false)?);
    }
    Ok(())
}
