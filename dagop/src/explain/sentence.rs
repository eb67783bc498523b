//! One sentence for each reason.

use std::fmt;

use super::reason::{Reason, Setting};
use crate::report::text;

/// Characters of a value that are shown.
const VALUE_CHARS: usize = 120;

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Argument { index, from, to } => {
                change(f, &format!("argument {index} of the command"), from, to)
            }
            Self::Env { name, from, to } => {
                change(f, &format!("environment variable {name}"), from, to)
            }
            Self::Order { of } => write!(f, "the {of} has another order"),
            Self::Setting {
                setting,
                name,
                from,
                to,
            } => {
                let what = match name {
                    Some(name) => format!("{setting} {name}"),
                    None => format!("the {setting}"),
                };
                change(f, &what, from, to)
            }
            Self::Platform { from, to } => write!(f, "the platform was {from} and is {to}"),
            Self::MountAdded { target, kind } => write!(f, "a {kind} mount at {target} was added"),
            Self::MountRemoved { target, kind } => {
                write!(f, "the {kind} mount at {target} was removed")
            }
            Self::MountMoved { from, to } => {
                write!(f, "the mount at {from} is at {to} now")
            }
            Self::Mount {
                target,
                option,
                from,
                to,
            } => change(
                f,
                &format!("option {option} of the mount at {target}"),
                from,
                to,
            ),
            Self::Selector { target, from, to } => {
                write!(
                    f,
                    "the mount at {target} shows {to} of its source instead of {from}"
                )
            }
            Self::ActionAdded { action } => write!(f, "the action `{action}` was added"),
            Self::ActionRemoved { action } => write!(f, "the action `{action}` was removed"),
            Self::ActionMoved { action } => {
                write!(
                    f,
                    "the action `{action}` is at another place among the others"
                )
            }
            Self::Action {
                action,
                field,
                from,
                to,
            } => change(f, &format!("the {field} of `{action}`"), from, to),
            _ => self.of_sources(f),
        }
    }
}

impl Reason {
    /// Sentences about files and sources.
    fn of_sources(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::FileAdded { source, path } => write!(f, "{path} was added to {source}"),
            Self::FileRemoved { source, path } => write!(f, "{path} was removed from {source}"),
            Self::FileContent {
                source,
                path,
                from,
                to,
            } => write!(
                f,
                "the content of {path} in {source} changed: {} -> {}",
                short(from),
                short(to)
            ),
            Self::FileProperty {
                source,
                path,
                property,
                from,
                to,
            } => write!(
                f,
                "the {property} of {path} in {source} changed: {from} -> {to}"
            ),
            Self::MoreFiles { source, count } => {
                write!(f, "and {count} more files of {source} differ")
            }
            Self::ImageMoved { image, from, to } => write!(
                f,
                "{image} stands for another image: {} -> {}",
                short(from),
                short(to)
            ),
            Self::Commit {
                repository,
                from,
                to,
            } => write!(
                f,
                "{repository} is at another commit: {} -> {}",
                short(from),
                short(to)
            ),
            Self::Checksum { url, from, to } => {
                write!(f, "{url} has other bytes: {} -> {}", short(from), short(to))
            }
            Self::Source { from, to } => write!(f, "the source is {to} instead of {from}"),
            Self::SourceOption {
                source,
                option,
                from,
                to,
            } => change(f, &format!("option {option} of {source}"), from, to),
            _ => self.of_keys(f),
        }
    }

    /// Sentences about keys, graphs and records.
    fn of_keys(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Scope {
                call,
                scope,
                from,
                to,
            } => change(
                f,
                &format!("the {scope} that `{call}` is scoped to"),
                from,
                to,
            ),
            Self::Expired { call, seconds, .. } => {
                write!(
                    f,
                    "the result of `{call}` is older than its time to live of {seconds} s"
                )
            }
            Self::Call { from, to } if from == to => {
                write!(
                    f,
                    "the engine's key of `{to}`, which is scoped, is another one"
                )
            }
            Self::Call { from, to } => write!(
                f,
                "the call `{to}` was `{from}`, and the scoped step above has its key"
            ),
            Self::StepAdded => f.write_str("the step was added"),
            Self::StepRemoved => f.write_str("the step was removed"),
            Self::StepMoved => f.write_str("the step is at another place in the chain"),
            Self::Rewired { input, from, to } => change(f, input, from, to),
            Self::SessionKeyed { source } => write!(
                f,
                "{source} is changed or run directly, so that its key is the session and never hits"
            ),
            Self::FirstBuild { daemon } => {
                write!(f, "no earlier build on {daemon} had this step")
            }
            Self::Evicted { build, outcome, .. } => write!(
                f,
                "no key differs, and the step was {outcome} in build {build}: the daemon has lost \
                 its record since"
            ),
            Self::OtherDaemon { from, to } => {
                write!(f, "the record is in the cache of {from}, not of {to}")
            }
            Self::Concurrent { build } => {
                write!(
                    f,
                    "build {build} ran the same step at the same time and had no result yet"
                )
            }
            Self::Formula { from, to } => {
                write!(
                    f,
                    "the daemon is {to} instead of {from}, which computes keys differently"
                )
            }
            Self::NoCache => f.write_str("its definition says to run it whatever the cache has"),
            Self::ImportNoRecord { cache } => {
                write!(f, "the imported cache {cache} has no record of its key")
            }
            Self::ImportNoResult { cache } => write!(
                f,
                "the imported cache {cache} has a record of its key, without a result"
            ),
            Self::ImportNoBlob { cache, blob } => write!(
                f,
                "the imported cache {cache} has a record of its key, and the blob {} of the result \
                 is not there",
                short(blob)
            ),
            Self::ImportAbsent { cache } => {
                write!(f, "there is no cache {cache}, which was to be imported")
            }
            Self::EngineKey { call, from, to } => write!(
                f,
                "the engine's key of `{call}` is another one, though the daemon's is the same: \
                 `{to}` instead of `{from}`"
            ),
            Self::CacheVolume { target, from, to } => write!(
                f,
                "the cache at {target} is the volume `{to}` instead of `{from}`, which is in no key: \
                 a record made with either serves both"
            ),
            Self::NoResult { build, outcome } => {
                write!(
                    f,
                    "build {build} left no result of it: there it was {outcome}"
                )
            }
            Self::Unknown { missing } => write!(f, "unknown: {missing}"),
            // The others have their sentences above.
            other => write!(f, "{other:?}"),
        }
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Workdir => "working directory",
            Self::User => "user",
            Self::Hostname => "host name",
            Self::Network => "network mode",
            Self::Security => "security mode",
            Self::CgroupParent => "parent control group",
            Self::ValidExitCodes => "list of valid exit codes",
            Self::MountStubs => "removal of mount targets",
            Self::Ulimit => "limit",
            Self::ExtraHost => "extra host",
            Self::SecretEnv => "secret variable",
            Self::Device => "device",
            Self::Redirection => "redirection of",
            Self::Other => "field",
        })
    }
}

/// "x was added", "x was removed", "x changed: a -> b".
fn change(
    f: &mut fmt::Formatter<'_>,
    what: &str,
    from: &Option<String>,
    to: &Option<String>,
) -> fmt::Result {
    match (from, to) {
        (None, None) => write!(f, "{what} changed"),
        (None, Some(to)) => write!(f, "{what} was added: {}", value(to)),
        (Some(from), None) => write!(f, "{what} was removed: {}", value(from)),
        (Some(from), Some(to)) => write!(f, "{what} changed: {} -> {}", value(from), value(to)),
    }
}

/// A value on one line; digests short.
fn value(value: &str) -> String {
    if value.starts_with("sha256:") || value.starts_with("blake3:") {
        return short(value).to_owned();
    }
    format!("`{}`", text::one_line(value, VALUE_CHARS))
}

fn short(digest: &str) -> &str {
    text::digest(Some(digest))
}
