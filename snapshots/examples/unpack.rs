//! Unpacks an image archive or layout: `unpack ARCHIVE DIRECTORY [PLATFORM]`.
//!
//! Every digest is verified on the way: blobs against their names, layers against their diff ids.
//! Prints the names of the image, its chain id, and the content hash that BuildKit gives its root.

use std::error::Error;
use std::io::Write;
use std::path::Path;

use snapshots::checksum::{self, Profile};
use snapshots::content::ContentStore;
use snapshots::image::{Platform, import_path, resolve, unpack};
use snapshots::tar::Policy;
use snapshots::tree::DirTree;

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [archive, directory, platform @ ..] = arguments.as_slice() else {
        return Err("usage: unpack ARCHIVE DIRECTORY [PLATFORM]".into());
    };
    let platform = match platform.first() {
        Some(text) => text.parse()?,
        None => Platform::host(),
    };
    let directory = Path::new(directory);
    std::fs::create_dir(directory)?;
    let blobs = tempfile::tempdir()?;
    let store = ContentStore::open(blobs.path())?;
    let imported = import_path(&store, Path::new(archive))?;
    let policy = if rustix::process::geteuid().is_root() {
        Policy::layer()
    } else {
        Policy::unprivileged_layer()
    };
    // Archives hold one image as a rule; the first is taken.
    let named = &imported.images[0];
    let image = resolve(&store, &named.descriptor, &platform)?;
    unpack(&store, &image, directory, &policy)?;
    let mut out = std::io::stdout();
    writeln!(out, "names     {}", named.names.join(" "))?;
    writeln!(out, "platform  {}", image.platform())?;
    if let Some(chain) = image.chain_id() {
        writeln!(out, "chain id  {chain}")?;
    }
    let content = checksum::plain(&DirTree::new(directory)?, Profile::SNAPSHOT, "/")?;
    writeln!(out, "content   {content}")?;
    Ok(())
}
