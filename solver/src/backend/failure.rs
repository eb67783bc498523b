//! What a daemon says when it refuses or fails: a gRPC status with typed details.
//!
//! BuildKit puts Go structures into `google.rpc.Status.details` as `Any` whose
//! type is `github.com/moby/buildkit/<name>+json` and whose value is JSON, not
//! protobuf. Most are `encoding/json` of the structure (field names as declared);
//! `errdefs.Solve` alone is protojson (camelCase, 64-bit integers as strings).
//! A detail that is unknown or malformed is kept as [`Detail::Other`]: a newer
//! daemon must not turn a useful error into a parse error. Details are kept in
//! the order sent, and the bytes are kept too, so that a failure can be handed
//! back to the daemon unchanged.
//!
//! A daemon attaches one `stack.Stack` for every hop. They are kept out of
//! [`Failure::details`] and so out of every text.

mod wire;

use std::collections::BTreeMap;
use std::fmt;

use prost::Message as _;
use serde::Deserialize;
pub use tonic::Code;

use super::error::one_line;
use crate::Digest;

/// What every BuildKit detail type starts with.
const TYPE_PREFIX: &str = "github.com/moby/buildkit/";

/// How a detail with a JSON value ends its type.
const TYPE_SUFFIX: &str = "+json";

/// Longest message shown, in bytes; a process name can carry a whole script.
const MESSAGE_BYTES_MAX: usize = 4096;

/// Most details read from one status.
const DETAILS_MAX: usize = 256;

/// A daemon's error.
#[derive(Clone)]
pub struct Failure {
    /// gRPC code.
    pub code: Code,
    /// The daemon's text.
    pub message: String,
    /// Typed details in the order sent, without Go stacks.
    pub details: Vec<Detail>,
    /// All details as sent.
    raw: Vec<prost_types::Any>,
}

/// One typed detail of a [`Failure`].
#[derive(Debug, Clone, PartialEq)]
pub enum Detail {
    /// The vertex that failed, by the digest it was loaded with.
    Vertex(Digest),
    /// Where in the user's text the failing step was written.
    Source(Source),
    /// The frontend that failed.
    Frontend {
        /// Frontend name, for example `gateway.v0`.
        name: String,
        /// Image the frontend came from.
        source: String,
    },
    /// A capability that was requested and that a frontend lacks.
    FrontendCap(String),
    /// A sub-request that a frontend does not know.
    Subrequest(String),
    /// The refs around the failing operation, for looking into its filesystem.
    Solve(Box<SolveDetail>),
    /// Exit code of a process.
    Exit(u32),
    /// A policy refused a source, with its messages.
    Policy(Vec<String>),
    /// A feature that the requested compatibility version excludes.
    Compatibility {
        /// The requested version.
        version: i64,
        /// The feature that it lacks.
        feature: String,
    },
    /// Materials that make the provenance incomplete, as the daemon lists them.
    ProvenanceIncomplete(serde_json::Value),
    /// Any other detail.
    Other {
        /// Type of the detail.
        type_url: String,
        /// Its bytes.
        value: Vec<u8>,
    },
}

/// A place in the user's text. Lines count from 1, characters from 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// File name as the frontend gave it.
    pub filename: String,
    /// Language, for example `Dockerfile`.
    pub language: String,
    /// The whole text.
    pub data: Vec<u8>,
    /// The ranges that the failing step came from.
    pub ranges: Vec<Range>,
}

/// A range in a text, both ends included as the daemon sends them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Range {
    /// First position.
    pub start: Position,
    /// Last position.
    pub end: Position,
}

/// A position in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Position {
    /// Line, from 1.
    pub line: i32,
    /// Character in the line, from 0.
    pub character: i32,
}

/// The refs around a failing operation. They stay usable in
/// [`MountSource::Result`](super::container::MountSource::Result) until the build ends.
#[derive(Debug, Clone, PartialEq)]
pub struct SolveDetail {
    /// Ref of each input of the operation; empty = none.
    pub input_ids: Vec<String>,
    /// Ref of each mount or output at the time of the failure; empty = none.
    pub mount_ids: Vec<String>,
    /// What failed inside the operation.
    pub subject: Subject,
    /// The operation as protojson.
    pub op: serde_json::Value,
    /// Free key-value description.
    pub description: BTreeMap<String, String>,
}

/// The part of an operation that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// The operation as a whole.
    Operation,
    /// The file action with this index.
    FileAction(i64),
    /// The computation of the content key of this input.
    ContentKey(i64),
}

impl Failure {
    /// A failure of our own making, for reporting to a daemon.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: Vec::new(),
            raw: Vec::new(),
        }
    }

    /// Reads a status that came in a message.
    pub fn from_rpc(status: &proto::rpc::Status) -> Self {
        let details = status
            .details
            .iter()
            .take(DETAILS_MAX)
            .filter_map(detail)
            .collect();
        Self {
            code: Code::from_i32(status.code),
            message: status.message.clone(),
            details,
            raw: status.details.clone(),
        }
    }

    /// Reads a status that ended a call. Details that do not decode are left out.
    pub(crate) fn from_status(status: &tonic::Status) -> Self {
        let mut failure = proto::rpc::Status::decode(status.details())
            .map(|rpc| Self::from_rpc(&rpc))
            .unwrap_or_else(|_| Self::new(status.code(), String::new()));
        failure.code = status.code();
        failure.message = status.message().to_owned();
        failure
    }

    /// The status to send, with all details as they came.
    pub fn to_rpc(&self) -> proto::rpc::Status {
        proto::rpc::Status {
            code: self.code as i32,
            message: self.message.clone(),
            details: self.raw.clone(),
        }
    }

    /// The vertex that failed: the innermost one, which is named first.
    pub fn vertex(&self) -> Option<&Digest> {
        self.details.iter().find_map(|detail| match detail {
            Detail::Vertex(digest) => Some(digest),
            _ => None,
        })
    }

    /// Exit code of the process that failed.
    pub fn exit_code(&self) -> Option<u32> {
        self.details.iter().find_map(|detail| match detail {
            Detail::Exit(code) => Some(*code),
            _ => None,
        })
    }

    /// The refs around the failing operation. Only calls of a
    /// [`Build`](super::build::Build) carry them.
    pub fn solve(&self) -> Option<&SolveDetail> {
        self.details.iter().find_map(|detail| match detail {
            Detail::Solve(solve) => Some(&**solve),
            _ => None,
        })
    }

    /// Places in the user's text, innermost first.
    pub fn sources(&self) -> impl Iterator<Item = &Source> {
        self.details.iter().filter_map(|detail| match detail {
            Detail::Source(source) => Some(source),
            _ => None,
        })
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = one_line(&self.message);
        if text.is_empty() {
            return write!(f, "the daemon failed without a message ({:?})", self.code);
        }
        if text.len() <= MESSAGE_BYTES_MAX {
            return f.write_str(&text);
        }
        // The end carries the reason ("exit code: 1"), the beginning the step.
        let head = text.floor_char_boundary(MESSAGE_BYTES_MAX / 2);
        let tail = text.ceil_char_boundary(text.len() - MESSAGE_BYTES_MAX / 2);
        write!(f, "{} … {}", &text[..head], &text[tail..])
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Failure")
            .field("code", &self.code)
            .field("message", &self.message)
            .field("details", &self.details)
            .finish_non_exhaustive()
    }
}

impl std::error::Error for Failure {}

/// Reads one detail; `None` for a Go stack.
fn detail(any: &prost_types::Any) -> Option<Detail> {
    let name = any
        .type_url
        .strip_prefix(TYPE_PREFIX)
        .and_then(|name| name.strip_suffix(TYPE_SUFFIX))
        .unwrap_or_default();
    if name == "stack.Stack" {
        return None;
    }
    Some(parse(name, &any.value).unwrap_or_else(|| Detail::Other {
        type_url: any.type_url.clone(),
        value: any.value.clone(),
    }))
}

fn parse(name: &str, json: &[u8]) -> Option<Detail> {
    fn read<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Option<T> {
        serde_json::from_slice(json).ok()
    }
    match name {
        "errdefs.Vertex" => {
            let vertex: wire::Vertex = read(json)?;
            Some(Detail::Vertex(vertex.digest.parse().ok()?))
        }
        "errdefs.Source" => Some(Detail::Source(read::<wire::Source>(json)?.into())),
        "errdefs.Frontend" => {
            let wire::Frontend { name, source } = read(json)?;
            Some(Detail::Frontend { name, source })
        }
        "errdefs.FrontendCap" => Some(Detail::FrontendCap(read::<wire::Name>(json)?.name)),
        "errdefs.Subrequest" => Some(Detail::Subrequest(read::<wire::Name>(json)?.name)),
        "errdefs.Solve" => Some(Detail::Solve(Box::new(read::<wire::Solve>(json)?.into()))),
        "errdefs.CompatibilityFeature" => {
            let wire::Compatibility { version, feature } = read(json)?;
            Some(Detail::Compatibility { version, feature })
        }
        "errdefs.ProvenanceMaterialsIncomplete" => Some(Detail::ProvenanceIncomplete(read(json)?)),
        "gatewayapi.ExitMessage" => Some(Detail::Exit(read::<wire::Exit>(json)?.code)),
        "policysession.DecisionResponse" => {
            let decision: wire::Decision = read(json)?;
            Some(Detail::Policy(
                decision
                    .deny_messages
                    .into_iter()
                    .map(|m| m.message)
                    .collect(),
            ))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests;
