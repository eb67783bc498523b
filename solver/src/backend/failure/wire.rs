//! The JSON of each typed detail, as the daemon writes it.

use super::{BTreeMap, Deserialize, Position, Range, SolveDetail, Subject};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserializer;
use serde::de::{DeserializeOwned, Error as _};

#[derive(Deserialize)]
pub(super) struct Vertex {
    pub(super) digest: String,
}

#[derive(Deserialize)]
pub(super) struct Name {
    #[serde(default, deserialize_with = "or_null")]
    pub(super) name: String,
}

#[derive(Deserialize)]
#[serde(default)]
#[derive(Default)]
pub(super) struct Frontend {
    pub(super) name: String,
    pub(super) source: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Compatibility {
    #[serde(deserialize_with = "integer")]
    pub(super) version: i64,
    pub(super) feature: String,
}

#[derive(Deserialize)]
pub(super) struct Exit {
    // Go leaves out a zero; a failing process never has code 0, so an absent
    // code is a malformed detail.
    #[serde(rename = "Code")]
    pub(super) code: u32,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Decision {
    #[serde(
        rename = "denyMessages",
        alias = "deny_messages",
        deserialize_with = "or_null"
    )]
    pub(super) deny_messages: Vec<DenyMessage>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct DenyMessage {
    pub(super) message: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
pub(super) struct Source {
    #[serde(deserialize_with = "or_null")]
    info: SourceInfo,
    #[serde(deserialize_with = "or_null")]
    ranges: Vec<WireRange>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct SourceInfo {
    filename: String,
    #[serde(deserialize_with = "or_null")]
    data: String,
    language: String,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct WireRange {
    #[serde(deserialize_with = "or_null")]
    start: Position,
    #[serde(deserialize_with = "or_null")]
    end: Position,
}

impl From<Source> for super::Source {
    fn from(wire: Source) -> Self {
        Self {
            filename: wire.info.filename,
            language: wire.info.language,
            // A text that is not base64 is not worth losing the ranges for.
            data: STANDARD.decode(wire.info.data).unwrap_or_default(),
            ranges: wire
                .ranges
                .iter()
                .map(|r| Range {
                    start: r.start,
                    end: r.end,
                })
                .collect(),
        }
    }
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Solve {
    #[serde(rename = "inputIDs", deserialize_with = "or_null")]
    input_ids: Vec<String>,
    #[serde(rename = "mountIDs", deserialize_with = "or_null")]
    mount_ids: Vec<String>,
    op: serde_json::Value,
    file: Option<Index>,
    cache: Option<Index>,
    #[serde(deserialize_with = "or_null")]
    description: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Index {
    #[serde(deserialize_with = "integer")]
    index: i64,
}

impl From<Solve> for SolveDetail {
    fn from(wire: Solve) -> Self {
        let subject = match (wire.file, wire.cache) {
            (Some(file), _) => Subject::FileAction(file.index),
            (None, Some(cache)) => Subject::ContentKey(cache.index),
            (None, None) => Subject::Operation,
        };
        Self {
            input_ids: wire.input_ids,
            mount_ids: wire.mount_ids,
            subject,
            op: wire.op,
            description: wire.description,
        }
    }
}

/// protojson writes 64-bit integers as strings, encoding/json as numbers.
fn integer<'de, D: Deserializer<'de>>(deserializer: D) -> Result<i64, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Either {
        Number(i64),
        Text(String),
    }
    match Either::deserialize(deserializer)? {
        Either::Number(number) => Ok(number),
        Either::Text(text) => text.parse().map_err(D::Error::custom),
    }
}

/// Go writes a nil slice, map or pointer as null.
fn or_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: DeserializeOwned + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
