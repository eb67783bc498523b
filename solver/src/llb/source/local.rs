//! Directories of the client, sent through its session.

use proto::{gojson, pb};

use super::{Attributes, PlatformUse};
use crate::llb::{Constraints, Output, caps};

/// Attributes that name the session and not the content. They change with every run, so the
/// canonical form of a vertex leaves them out.
pub(crate) const SESSION_ATTRIBUTES: [&str; 2] = ["local.session", "local.unique"];

/// How the daemon finds out which files of an earlier transfer changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Differ {
    /// Send every file again.
    None,
    /// Compare size, times, mode and owner.
    Metadata,
}

/// Options of a local directory. Empty lists are the same as none.
#[derive(Debug, Clone, Default)]
pub struct LocalOptions {
    /// Session that has the directory; `None` is any session of the build.
    pub session_id: Option<String>,
    /// Text that makes the vertex unique to one client, so that directories of the same name of
    /// two clients are not taken for one. Needed without a session id.
    pub unique: Option<String>,
    /// Send only what matches.
    pub include: Vec<String>,
    /// Leave out what matches.
    pub exclude: Vec<String>,
    /// Send only these paths, with whatever their links lead to.
    pub follow_paths: Vec<String>,
    /// Tells apart directories of the same name for reuse of earlier transfers.
    pub shared_key_hint: Option<String>,
    /// How to find changes; `true` if the daemon must know how.
    pub differ: Option<(Differ, bool)>,
    /// Send only names, sizes and times, and content of files that match one of the patterns.
    pub metadata_only: Option<Vec<String>>,
    /// Name and so on.
    pub constraints: Constraints,
}

/// A directory of the client, by the name under which the session serves it.
#[must_use]
pub fn local(name: &str, options: LocalOptions) -> Output {
    let mut attributes = Attributes::default();
    attributes.require(caps::SOURCE_LOCAL);
    // A session id already makes the vertex unique.
    let unique = options.unique.filter(|_| options.session_id.is_none());
    attributes.set_some(
        "local.session",
        options.session_id,
        caps::SOURCE_LOCAL_SESSION_ID,
    );
    attributes.set_some("local.unique", unique, caps::SOURCE_LOCAL_UNIQUE);
    attributes.set_some(
        "local.includepattern",
        json_array(&options.include),
        caps::SOURCE_LOCAL_INCLUDE_PATTERNS,
    );
    attributes.set_some(
        "local.excludepatterns",
        json_array(&options.exclude),
        caps::SOURCE_LOCAL_EXCLUDE_PATTERNS,
    );
    attributes.set_some(
        "local.followpaths",
        json_array(&options.follow_paths),
        caps::SOURCE_LOCAL_FOLLOW_PATHS,
    );
    attributes.set_some(
        "local.sharedkeyhint",
        options.shared_key_hint,
        caps::SOURCE_LOCAL_SHARED_KEY_HINT,
    );
    if let Some((differ, required)) = options.differ {
        let value = match differ {
            Differ::None => "none",
            Differ::Metadata => "metadata",
        };
        attributes.set("local.differ", value);
        if required {
            attributes.require(caps::SOURCE_LOCAL_DIFFER);
        }
    }
    if let Some(exceptions) = &options.metadata_only {
        attributes.set_flag(
            "local.metadatatransfer",
            true,
            caps::SOURCE_LOCAL_METADATA_TRANSFER,
        );
        if let Some(exceptions) = json_array(exceptions) {
            attributes.set("local.metadatatransferexclude", exceptions);
        }
    }
    attributes.into_source(
        format!("local://{name}"),
        PlatformUse::Clear,
        options.constraints,
    )
}

/// The patterns in an attribute of a local directory, empty without it. The daemon refuses a list
/// that is malformed, and so is any build with it.
#[must_use]
pub fn patterns(source: &pb::SourceOp, attribute: &str) -> Vec<String> {
    let text = source.attrs.get(attribute);
    text.and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// The list as BuildKit's client writes it into an attribute; `None` if empty.
fn json_array(list: &[String]) -> Option<String> {
    (!list.is_empty()).then(|| gojson::to_string(list).expect("a list of strings is JSON"))
}
