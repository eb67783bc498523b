//! The closed set of words for what became of a call or a vertex, and the evidence behind each.
//!
//! A vertex's word comes from the daemon's status alone ([`of_vertex`]). A call's word comes from
//! the engine when the engine answered by itself, else from the vertices it was lowered to
//! ([`of_call`]). Where the evidence is missing the word is [`Outcome::Unknown`]; nothing is guessed.

use serde::{Deserialize, Serialize};

use crate::event::CallEnd;

/// Declares a closed set of words: an enum, its text for people and the database, and the way back.
macro_rules! words {
    ($(#[$meta:meta])* $name:ident { $($(#[$doc:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        pub enum $name {
            $($(#[$doc])* #[serde(rename = $text)] $variant,)+
        }

        impl $name {
            /// Every word of the set.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The word as shown and stored.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text),+ }
            }

            /// The variant for a stored word.
            pub fn parse(text: &str) -> Option<Self> {
                Self::ALL.iter().copied().find(|word| word.as_str() == text)
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.as_str())
            }
        }
    };
}
pub(crate) use words;

words! {
    /// What became of a call or a vertex.
    Outcome {
        /// The daemon ran it: started, completed, not from cache. For a call: it ran one of the
        /// call's vertices.
        Executed = "executed",
        /// The daemon loaded its result from its cache and ran nothing.
        Cached = "cached",
        /// The engine found the same call in flight and waited for it.
        Joined = "joined",
        /// The engine's result cache had the value; the daemon was not asked.
        Hit = "hit",
        /// An earlier run computed the value and kept it; the daemon was not asked.
        Recalled = "recalled",
        /// The engine computed the value by itself: no vertex exists for the call.
        Computed = "computed",
        /// A local source: files were compared with, and where they differed sent to, the daemon.
        Synced = "synced",
        /// A remote source: the daemon resolved it, and fetched what it did not have.
        Resolved = "resolved",
        /// An exporter ran: a result left the daemon.
        Exported = "exported",
        /// Nothing asked for its result, or what asked for it was cached.
        NotNeeded = "not needed",
        /// It ended with an error.
        Failed = "failed",
        /// It was stopped before it ended.
        Cancelled = "cancelled",
        /// The status ended without saying.
        Unknown = "unknown",
    }
}

impl Outcome {
    /// Whether a vertex did what a record in the cache would have saved it.
    pub fn has_run(self) -> bool {
        matches!(self, Self::Executed | Self::Failed | Self::Cancelled)
    }

    /// Whether the daemon has a record of a vertex when this became of it.
    pub fn left_a_result(self) -> bool {
        matches!(self, Self::Executed | Self::Cached | Self::Joined)
    }
}

words! {
    /// What a call is to the daemon.
    DagOpKind {
        /// No vertex: the engine's own business.
        None = "-",
        /// A directory or a file.
        Fs = "fs",
        /// A JSON value read from a result.
        Raw = "raw",
        /// A container's root and mounts.
        Ctr = "ctr",
    }
}

words! {
    /// What kind of op a vertex is.
    VertexKind {
        /// Files of the client.
        Local = "local",
        /// A container image.
        Image = "image",
        /// A git repository.
        Git = "git",
        /// A file over HTTP.
        Http = "http",
        /// Any other source: an OCI layout, a blob.
        Source = "source",
        /// A process.
        Exec = "exec",
        /// File actions.
        File = "file",
        /// Layers on top of each other.
        Merge = "merge",
        /// What one layer adds to another.
        Diff = "diff",
        /// A nested build.
        Build = "build",
        /// An exporter.
        Export = "export",
        /// The daemon named a vertex that is not ours, and its name does not tell.
        Other = "other",
    }
}

impl VertexKind {
    /// Whether it brings files from outside; such a vertex is looked at in every build.
    pub fn is_source(self) -> bool {
        matches!(
            self,
            Self::Local | Self::Image | Self::Git | Self::Http | Self::Source
        )
    }

    /// The kind of a vertex we did not make, from its name: the names BuildKit's exporters and its
    /// Dockerfile frontend give. [`Self::Other`] when the name follows neither convention.
    pub fn from_name(name: &str) -> Self {
        const CONVENTIONS: &[(&str, VertexKind)] = &[
            ("exporting ", VertexKind::Export),
            ("Verifying build result", VertexKind::Export),
            ("importing cache manifest ", VertexKind::Source),
            ("sending tarball", VertexKind::Export),
            ("preparing build cache for export", VertexKind::Export),
            ("[internal] load metadata for ", VertexKind::Image),
            ("resolve image config for ", VertexKind::Image),
            // What a resolver asked the daemon about: a download, a repository.
            ("resolve ", VertexKind::Source),
            ("docker-image://", VertexKind::Image),
            ("[internal] load ", VertexKind::Local),
            ("local://", VertexKind::Local),
            ("git://", VertexKind::Git),
            ("http://", VertexKind::Http),
            ("https://", VertexKind::Http),
            ("oci-layout://", VertexKind::Source),
        ];
        let known = CONVENTIONS
            .iter()
            .find(|(prefix, _)| name.starts_with(prefix));
        if let Some((_, kind)) = known {
            return *kind;
        }
        // `[stage 2/5] FROM image`: only FROM steps pull.
        let step = name
            .strip_prefix('[')
            .and_then(|rest| rest.split_once("] "));
        match step {
            Some((_, instruction)) if instruction.starts_with("FROM ") => Self::Image,
            Some((_, instruction)) if instruction.starts_with("RUN ") => Self::Exec,
            Some((_, instruction)) if instruction.starts_with("COPY ") => Self::File,
            _ => Self::Other,
        }
    }
}

/// What the daemon's status said of one vertex, all messages taken together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VertexEvidence {
    /// It was reported to have started.
    pub started: bool,
    /// It was reported to have completed.
    pub completed: bool,
    /// It was reported as cached.
    pub cached: bool,
    /// It was reported as cached without having been looked at.
    pub not_needed: bool,
    /// It was reported with an error.
    pub failed: bool,
    /// That error was the end of the build, not its own.
    pub cancelled: bool,
}

/// The word for a vertex.
pub fn of_vertex(kind: VertexKind, evidence: VertexEvidence) -> Outcome {
    match evidence {
        VertexEvidence {
            cancelled: true, ..
        } => Outcome::Cancelled,
        VertexEvidence { failed: true, .. } => Outcome::Failed,
        VertexEvidence {
            not_needed: true, ..
        } => Outcome::NotNeeded,
        VertexEvidence { cached: true, .. } => Outcome::Cached,
        VertexEvidence {
            completed: true, ..
        } => match kind {
            VertexKind::Local => Outcome::Synced,
            VertexKind::Image | VertexKind::Git | VertexKind::Http | VertexKind::Source => {
                Outcome::Resolved
            }
            VertexKind::Export => Outcome::Exported,
            _ => Outcome::Executed,
        },
        VertexEvidence { started: true, .. } => Outcome::Unknown,
        _ => Outcome::NotNeeded,
    }
}

/// The word for a call that ended as `end` (None: it never did) and was lowered to vertices with
/// these outcomes.
///
/// With several vertices the strongest word wins, in the order failed, cancelled, unknown,
/// executed, exported, synced, resolved, cached, not needed.
pub fn of_call(end: Option<CallEnd>, vertices: impl IntoIterator<Item = Outcome>) -> Outcome {
    match end {
        None => Outcome::Unknown,
        Some(CallEnd::Hit) => Outcome::Hit,
        Some(CallEnd::Recalled) => Outcome::Recalled,
        Some(CallEnd::Joined) => Outcome::Joined,
        Some(CallEnd::Failed) => Outcome::Failed,
        Some(CallEnd::Cancelled) => Outcome::Cancelled,
        Some(CallEnd::Ran) => vertices
            .into_iter()
            .max_by_key(|outcome| strength(*outcome))
            .unwrap_or(Outcome::Computed),
    }
}

fn strength(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Failed => 9,
        Outcome::Cancelled => 8,
        Outcome::Unknown => 7,
        Outcome::Executed => 6,
        Outcome::Exported => 5,
        Outcome::Synced => 4,
        Outcome::Resolved => 3,
        Outcome::Cached => 2,
        Outcome::NotNeeded => 1,
        Outcome::Hit | Outcome::Recalled | Outcome::Joined | Outcome::Computed => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DONE: VertexEvidence = VertexEvidence {
        started: true,
        completed: true,
        cached: false,
        not_needed: false,
        failed: false,
        cancelled: false,
    };

    #[test]
    fn every_word_comes_back_from_its_text() {
        for word in Outcome::ALL {
            assert_eq!(Outcome::parse(word.as_str()), Some(*word));
            let json = serde_json::to_string(word).unwrap();
            assert_eq!(json, format!("\"{word}\""));
        }
        assert_eq!(Outcome::parse("perhaps"), None);
    }

    #[test]
    fn a_completed_vertex_executed_unless_it_is_a_source_or_an_export() {
        let words = [
            (VertexKind::Exec, Outcome::Executed),
            (VertexKind::Other, Outcome::Executed),
            (VertexKind::Local, Outcome::Synced),
            (VertexKind::Git, Outcome::Resolved),
            (VertexKind::Export, Outcome::Exported),
        ];
        for (kind, word) in words {
            assert_eq!(of_vertex(kind, DONE), word);
            assert_eq!(
                of_vertex(
                    kind,
                    VertexEvidence {
                        cached: true,
                        ..DONE
                    }
                ),
                Outcome::Cached
            );
            assert_eq!(
                of_vertex(
                    kind,
                    VertexEvidence {
                        failed: true,
                        ..DONE
                    }
                ),
                Outcome::Failed
            );
        }
    }

    #[test]
    fn silence_is_not_needed_and_half_a_story_is_unknown() {
        assert_eq!(
            of_vertex(VertexKind::Exec, VertexEvidence::default()),
            Outcome::NotNeeded
        );
        let started = VertexEvidence {
            started: true,
            ..VertexEvidence::default()
        };
        assert_eq!(of_vertex(VertexKind::Exec, started), Outcome::Unknown);
        let skipped = VertexEvidence {
            cached: true,
            not_needed: true,
            ..DONE
        };
        assert_eq!(of_vertex(VertexKind::Exec, skipped), Outcome::NotNeeded);
    }

    #[test]
    fn a_call_takes_the_strongest_word_of_its_vertices() {
        let mixed = [Outcome::Cached, Outcome::Executed, Outcome::NotNeeded];
        assert_eq!(of_call(Some(CallEnd::Ran), mixed), Outcome::Executed);
        assert_eq!(of_call(Some(CallEnd::Ran), []), Outcome::Computed);
        assert_eq!(of_call(Some(CallEnd::Hit), mixed), Outcome::Hit);
        assert_eq!(of_call(Some(CallEnd::Recalled), []), Outcome::Recalled);
        assert_eq!(of_call(None, mixed), Outcome::Unknown);
    }

    #[test]
    fn names_of_foreign_vertices() {
        let cases = [
            ("[internal] load build context", VertexKind::Local),
            (
                "[internal] load metadata for docker.io/library/alpine:3",
                VertexKind::Image,
            ),
            (
                "[build 1/4] FROM docker.io/library/alpine:3",
                VertexKind::Image,
            ),
            ("[2/4] RUN make", VertexKind::Exec),
            ("exporting to image", VertexKind::Export),
            ("importing cache manifest from r/i:t", VertexKind::Source),
            ("make it so", VertexKind::Other),
        ];
        for (name, kind) in cases {
            assert_eq!(VertexKind::from_name(name), kind, "{name}");
        }
    }
}
