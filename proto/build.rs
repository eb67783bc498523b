//! Compiles `protos/*.proto` to Rust, without protoc.
//!
//! Two things land in `OUT_DIR`: one Rust file per protobuf package, gathered by `mod.rs`, and
//! `descriptors.bin`, the same files as a `FileDescriptorSet`, from which `gowire` learns which
//! fields are members of a oneof and which are maps.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message as _;

const FILES: [&str; 17] = [
    "auth.proto",
    "caps.proto",
    "content.proto",
    "control.proto",
    "exporter.proto",
    "filesync.proto",
    "fsutil.proto",
    "gateway.proto",
    "health.proto",
    "pb.proto",
    "policysession.proto",
    "rpc.proto",
    "secrets.proto",
    "sourcepolicy.proto",
    "sshforward.proto",
    "types.proto",
    "upload.proto",
];

/// Messages that carry plaintext secrets; `src/redact.rs` writes their `Debug`.
const SECRET: [&str; 3] = [
    ".moby.buildkit.secrets.v1.GetSecretResponse",
    ".moby.filesync.v1.CredentialsResponse",
    ".moby.filesync.v1.FetchTokenResponse",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo::rerun-if-changed=protos");
    let mut files = protox::compile(FILES, ["protos"])?;

    let mut prost = tonic_prost_build::Config::new();
    prost.enable_type_names();
    tonic_prost_build::configure()
        .btree_map(".")
        .bytes(".")
        .skip_debug(SECRET)
        .emit_rerun_if_changed(false)
        .include_file("mod.rs")
        .compile_fds_with_config(files.clone(), prost)?;

    // Comments are for the generated documentation only.
    for file in &mut files.file {
        file.source_code_info = None;
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), files.encode_to_vec())?;
    Ok(())
}
