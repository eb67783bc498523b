//! Packs a directory as an OCI image archive: `pack DIRECTORY ARCHIVE [NAME]`.
//!
//! The archive depends on names, modes and bytes only, so packing twice gives the same file.
//! Load it with `docker load`, push it with any tool that reads OCI archives, or unpack it into a
//! folder and use that as an `oci-layout://` source.

use std::error::Error;
use std::fs::File;
use std::io::{BufWriter, Write};
use std::path::Path;

use snapshots::image::{BuildOptions, archive_from_root};

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [directory, archive, name @ ..] = arguments.as_slice() else {
        return Err("usage: pack DIRECTORY ARCHIVE [NAME]".into());
    };
    let options = BuildOptions {
        name: name.first().cloned(),
        ..BuildOptions::default()
    };
    let mut out = BufWriter::new(File::create(archive)?);
    let image = archive_from_root(Path::new(directory), &options, &mut out)?;
    out.flush()?;
    writeln!(std::io::stdout(), "{}", image.digest())?;
    Ok(())
}
