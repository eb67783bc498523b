//! The messages and services of BuildKit, fsutil and containerd's content store, and the two
//! encodings in which BuildKit hashes them.
//!
//! One module per protobuf package, compiled from `protos/*.proto` by the build script. Every
//! service has a client and a server, because a BuildKit session turns the roles round: the
//! daemon calls services that the client offers. Map fields are `BTreeMap` (their order is part
//! of a digest), bytes fields are [`prost::bytes::Bytes`] (a definition is cloned often and is large).
//!
//! - [`gowire`]: protobuf bytes exactly as the Go runtime writes them. Digests of LLB vertices are
//!   hashes of these, so nothing else may encode an `Op` that is going to be hashed.
//! - [`gojson`]: JSON bytes exactly as Go's `encoding/json` writes them. Cache maps are hashes of
//!   these.

pub mod gojson;
pub mod gowire;
mod redact;

#[expect(
    missing_docs,
    unreachable_pub,
    reason = "generated from protos/*.proto"
)]
#[allow(
    clippy::all,
    clippy::use_self,
    clippy::semicolon_if_nothing_returned,
    clippy::allow_attributes_without_reason,
    rustdoc::all,
    reason = "generated from protos/*.proto"
)]
mod generated {
    include!(concat!(env!("OUT_DIR"), "/mod.rs"));
}

/// Largest message that is sent or received, in bytes. The daemon uses the same limit; the
/// default of tonic is 4 MiB, which a large definition or an image config exceeds.
pub const MESSAGE_SIZE_MAX: usize = 16 << 20;

/// LLB operations (package `pb`).
pub use generated::pb;

/// The daemon's service `Control` (package `moby.buildkit.v1`).
pub use generated::moby::buildkit::v1 as control;

/// Workers and versions (package `moby.buildkit.v1.types`).
pub use generated::moby::buildkit::v1::types;

/// The frontend's service `LLBBridge` (package `moby.buildkit.v1.frontend`).
pub use generated::moby::buildkit::v1::frontend as gateway;

/// Capabilities (package `moby.buildkit.v1.apicaps`).
pub use generated::moby::buildkit::v1::apicaps as caps;

/// Source policies (package `moby.buildkit.v1.sourcepolicy`).
pub use generated::moby::buildkit::v1::sourcepolicy;

/// Source policies decided by the client (package `moby.buildkit.v1.sourcepolicy.policysession`).
pub use generated::moby::buildkit::v1::sourcepolicy::policysession;

/// Services `FileSync`, `FileSend` and `Auth` (package `moby.filesync.v1`).
pub use generated::moby::filesync::v1 as filesync;

/// Service `Secrets` (package `moby.buildkit.secrets.v1`).
pub use generated::moby::buildkit::secrets::v1 as secrets;

/// Service `SSH` (package `moby.sshforward.v1`).
pub use generated::moby::sshforward::v1 as sshforward;

/// Service `Upload` (package `moby.upload.v1`).
pub use generated::moby::upload::v1 as upload;

/// Service `Exporter` (package `moby.exporter.v1`).
pub use generated::moby::exporter::v1 as exporter;

/// File transfer (package `fsutil.types`).
pub use generated::fsutil::types as fsutil;

/// containerd's content store (package `containerd.services.content.v1`).
pub use generated::containerd::services::content::v1 as content;

/// Service `Health` (package `grpc.health.v1`).
pub use generated::grpc::health::v1 as health;

/// The status behind a gRPC error (package `google.rpc`).
pub use generated::google::rpc;
