//! What can go wrong between a GraphQL text and its answer, and how a client sees it.
//!
//! One [`Error`] is one entry of a response's `errors` list. It keeps more than the wire shows:
//! the [`Kind`] (so that a front end can choose an HTTP status or an exit code), the resolver's own
//! error as the source, and both kinds of position:
//! - `path`: response keys and list indexes from the root of the answer to the failed field;
//! - `locations`: line and column in the document.
//!
//! Resolvers return errors without positions; the executor adds the path and the location of the
//! field on the way up. Errors are values that several waiters of one call share, so they are
//! cheap to clone.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};

/// Fields of an error's `extensions`: machine readable details such as an exit code.
pub type Extensions = serde_json::Map<String, serde_json::Value>;

/// Whose mistake an error is; decides the status a front end answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Kind {
    /// The document is not GraphQL, or exceeds a size limit.
    Syntax,
    /// The document does not fit the schema: unknown field, wrong type, bad fragment.
    Validation,
    /// A variable, an argument value or an ID is not usable.
    Input,
    /// The field's resolver failed.
    Resolver,
    /// The request was cancelled, or its session ended.
    Cancelled,
    /// A broken invariant: a panic in a resolver, a value of the wrong type, a call waiting on itself.
    Internal,
}

impl Kind {
    /// True when nothing was executed: the request as a whole was refused.
    pub fn is_request_error(self) -> bool {
        matches!(self, Self::Syntax | Self::Validation)
    }

    /// The `extensions.code` of request errors, as Dagger's server (gqlgen) names them.
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Syntax => Some("GRAPHQL_PARSE_FAILED"),
            Self::Validation => Some("GRAPHQL_VALIDATION_FAILED"),
            _ => None,
        }
    }
}

/// One step of a response path.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(untagged)]
pub enum PathSegment {
    /// Response key (alias or name) of a field.
    Key(Arc<str>),
    /// Zero-based index in a list.
    Index(usize),
}

/// A position in the request's document.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub struct Location {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

impl fmt::Display for Location {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.line, self.column)
    }
}

/// A failed request or a failed field.
#[derive(Clone)]
pub struct Error(Arc<Inner>);

#[derive(Clone)]
struct Inner {
    kind: Kind,
    message: String,
    path: Vec<PathSegment>,
    locations: Vec<Location>,
    extensions: Extensions,
    source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error of `kind` with a finished sentence for the user.
    pub fn new(kind: Kind, message: impl Into<String>) -> Self {
        let mut extensions = Extensions::new();
        if let Some(code) = kind.code() {
            extensions.insert("code".to_owned(), code.into());
        }
        Self(Arc::new(Inner {
            kind,
            message: message.into(),
            path: Vec::new(),
            locations: Vec::new(),
            extensions,
            source: None,
        }))
    }

    /// A resolver's failure: the message is `source`'s whole chain, and `source` stays available
    /// to [`Error::downcast_ref`].
    pub fn resolver(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        let source: Arc<dyn std::error::Error + Send + Sync> = Arc::from(source.into());
        let mut error = Self::new(Kind::Resolver, chain_message(source.as_ref()));
        error.edit().source = Some(source);
        error
    }

    /// A value the caller gave that cannot be used.
    pub fn input(message: impl Into<String>) -> Self {
        Self::new(Kind::Input, message)
    }

    /// A broken invariant of the engine.
    pub fn internal(message: impl Into<String>) -> Self {
        Self::new(Kind::Internal, message)
    }

    /// The request was cancelled.
    pub fn cancelled() -> Self {
        Self::new(Kind::Cancelled, "the request was cancelled")
    }

    pub(crate) fn validation(message: impl Into<String>, at: Option<Location>) -> Self {
        Self::new(Kind::Validation, message).at(at)
    }

    /// Adds one entry to `extensions`; a later entry of the same name wins.
    #[must_use]
    pub fn with_extension(mut self, name: &str, value: impl Into<serde_json::Value>) -> Self {
        self.edit().extensions.insert(name.to_owned(), value.into());
        self
    }

    /// Adds a position in the document.
    #[must_use]
    pub(crate) fn at(mut self, location: Option<Location>) -> Self {
        self.edit().locations.extend(location);
        self
    }

    /// Sets path and location unless a deeper field already did.
    #[must_use]
    pub(crate) fn located(mut self, path: Vec<PathSegment>, location: Option<Location>) -> Self {
        let inner = self.edit();
        if inner.path.is_empty() {
            inner.path = path;
        }
        if inner.locations.is_empty() {
            inner.locations.extend(location);
        }
        self
    }

    /// Puts `prefix` before the message, to say which argument or field it is about.
    #[must_use]
    pub fn context(mut self, prefix: impl fmt::Display) -> Self {
        let inner = self.edit();
        inner.message = format!("{prefix}: {}", inner.message);
        self
    }

    fn edit(&mut self) -> &mut Inner {
        Arc::make_mut(&mut self.0)
    }

    /// Whose mistake this is.
    pub fn kind(&self) -> Kind {
        self.0.kind
    }

    /// One sentence for the user.
    pub fn message(&self) -> &str {
        &self.0.message
    }

    /// Where in the answer; empty when the request as a whole failed.
    pub fn path(&self) -> &[PathSegment] {
        &self.0.path
    }

    /// Where in the document.
    pub fn locations(&self) -> &[Location] {
        &self.0.locations
    }

    /// Machine readable details.
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// The resolver's own error, or one of its sources, when it is an `E`.
    pub fn downcast_ref<E: std::error::Error + 'static>(&self) -> Option<&E> {
        let mut next: Option<&(dyn std::error::Error + 'static)> = match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        };
        while let Some(error) = next {
            if let Some(found) = error.downcast_ref::<E>() {
                return Some(found);
            }
            next = error.source();
        }
        None
    }
}

/// Joins an error and its sources with ": ", skipping a source whose text the outer one repeats.
fn chain_message(error: &dyn std::error::Error) -> String {
    let mut message = error.to_string();
    let mut next = error.source();
    while let Some(source) = next {
        let text = source.to_string();
        if !message.contains(&text) {
            message.push_str(": ");
            message.push_str(&text);
        }
        next = source.source();
    }
    message
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.message)
    }
}

impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Error")
            .field("kind", &self.0.kind)
            .field("message", &self.0.message)
            .field("path", &self.0.path)
            .field("locations", &self.0.locations)
            .field("extensions", &self.0.extensions)
            .finish()
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match &self.0.source {
            Some(source) => Some(source.as_ref()),
            None => None,
        }
    }
}

/// The wire form: `message`, then `path`, `locations` and `extensions` when they are not empty.
impl Serialize for Error {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("message", &self.0.message)?;
        if !self.0.path.is_empty() {
            map.serialize_entry("path", &self.0.path)?;
        }
        if !self.0.locations.is_empty() {
            map.serialize_entry("locations", &self.0.locations)?;
        }
        if !self.0.extensions.is_empty() {
            map.serialize_entry("extensions", &self.0.extensions)?;
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("exit code {0}")]
    struct Exit(i32);

    #[derive(Debug, thiserror::Error)]
    #[error("step failed")]
    struct Step(#[source] Exit);

    #[test]
    fn a_resolver_error_keeps_its_source_and_tells_the_whole_chain() {
        let error = Error::resolver(Step(Exit(3)));
        assert_eq!(error.message(), "step failed: exit code 3");
        assert_eq!(error.downcast_ref::<Exit>().map(|exit| exit.0), Some(3));
        assert!(error.downcast_ref::<std::io::Error>().is_none());
    }

    #[test]
    fn the_innermost_position_wins() {
        let inner = Error::input("no").located(vec![PathSegment::Key("a".into())], None);
        let outer = inner.located(
            vec![PathSegment::Index(1)],
            Some(Location { line: 2, column: 3 }),
        );
        assert_eq!(outer.path(), [PathSegment::Key("a".into())]);
        assert_eq!(outer.locations(), [Location { line: 2, column: 3 }]);
    }

    #[test]
    fn the_wire_form_omits_what_is_empty() {
        let plain = serde_json::to_string(&Error::input("bad")).expect("serialises");
        assert_eq!(plain, r#"{"message":"bad"}"#);
        let full = Error::new(Kind::Validation, "bad")
            .at(Some(Location { line: 1, column: 2 }))
            .located(
                vec![PathSegment::Key("a".into()), PathSegment::Index(0)],
                None,
            );
        assert_eq!(
            serde_json::to_string(&full).expect("serialises"),
            r#"{"message":"bad","path":["a",0],"locations":[{"line":1,"column":2}],"extensions":{"code":"GRAPHQL_VALIDATION_FAILED"}}"#
        );
    }
}
