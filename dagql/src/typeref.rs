//! A reference to a GraphQL type: a name, wrapped in any number of list and non-null marks.
//!
//! The text form is GraphQL's own (`[String!]!`). A reference is a few words and shares its name,
//! because every call of a chain carries one.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use thiserror::Error;

/// How many list levels a type may have. Dagger itself uses one.
pub const TYPE_DEPTH_MAX: usize = 8;

/// The longest accepted GraphQL name in bytes.
pub const NAME_BYTES_MAX: usize = 256;

/// A GraphQL type reference.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TypeRef {
    /// `Name` or `Name!`.
    Named {
        /// The type's name.
        name: Arc<str>,
        /// Whether null is excluded.
        non_null: bool,
    },
    /// `[of]` or `[of]!`.
    List {
        /// The element type.
        of: Arc<Self>,
        /// Whether null is excluded.
        non_null: bool,
    },
}

/// Why a text is not a [`TypeRef`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum TypeRefError {
    /// A name was expected at this offset.
    #[error("expected a type name at offset {offset} of `{text}`")]
    Name {
        /// The text that was parsed.
        text: String,
        /// Where the name should start.
        offset: usize,
    },
    /// A `[` has no `]`.
    #[error("expected `]` at offset {offset} of `{text}`")]
    Unclosed {
        /// The text that was parsed.
        text: String,
        /// Where the bracket should be.
        offset: usize,
    },
    /// Something follows the type.
    #[error("unexpected text after the type at offset {offset} of `{text}`")]
    Trailing {
        /// The text that was parsed.
        text: String,
        /// Where the rest starts.
        offset: usize,
    },
    /// More than [`TYPE_DEPTH_MAX`] list levels.
    #[error("a type may nest at most {TYPE_DEPTH_MAX} lists")]
    Depth,
    /// A name or the whole text is too long.
    #[error("a type name may have at most {NAME_BYTES_MAX} bytes")]
    Length,
}

/// Whether `text` is a GraphQL name (`[_A-Za-z][_0-9A-Za-z]*`) of at most [`NAME_BYTES_MAX`] bytes.
#[must_use]
pub fn is_name(text: &str) -> bool {
    let mut bytes = text.bytes();
    text.len() <= NAME_BYTES_MAX
        && bytes
            .next()
            .is_some_and(|first| first == b'_' || first.is_ascii_alphabetic())
        && bytes.all(|byte| byte == b'_' || byte.is_ascii_alphanumeric())
}

impl TypeRef {
    /// The nullable type `name`.
    #[must_use]
    pub fn named(name: impl Into<Arc<str>>) -> Self {
        Self::Named {
            name: name.into(),
            non_null: false,
        }
    }

    /// The nullable list of `of`.
    #[must_use]
    pub fn list(of: Self) -> Self {
        Self::List {
            of: Arc::new(of),
            non_null: false,
        }
    }

    /// The same type with null excluded.
    #[must_use]
    pub fn non_null(mut self) -> Self {
        let (Self::Named { non_null, .. } | Self::List { non_null, .. }) = &mut self;
        *non_null = true;
        self
    }

    /// The same type with null allowed.
    #[must_use]
    pub fn nullable(mut self) -> Self {
        let (Self::Named { non_null, .. } | Self::List { non_null, .. }) = &mut self;
        *non_null = false;
        self
    }

    /// Whether null is excluded at the outermost level.
    #[must_use]
    pub fn is_non_null(&self) -> bool {
        let (Self::Named { non_null, .. } | Self::List { non_null, .. }) = self;
        *non_null
    }

    /// The element type, if this is a list.
    #[must_use]
    pub fn element(&self) -> Option<&Self> {
        match self {
            Self::Named { .. } => None,
            Self::List { of, .. } => Some(of),
        }
    }

    /// The name under all lists.
    #[must_use]
    pub fn name(&self) -> &str {
        self.named_type()
    }

    /// The shared name under all lists.
    #[must_use]
    pub fn named_type(&self) -> &Arc<str> {
        let mut level = self;
        loop {
            match level {
                Self::Named { name, .. } => return name,
                Self::List { of, .. } => level = of,
            }
        }
    }

    /// The levels from the outermost in; the last one is the name.
    pub(crate) fn levels(&self) -> impl Iterator<Item = &Self> {
        std::iter::successors(Some(self), |level| level.element())
    }

    /// Parses GraphQL text such as `[String!]!`. No blanks are allowed.
    ///
    /// # Errors
    /// See [`TypeRefError`].
    pub fn parse(text: &str) -> Result<Self, TypeRefError> {
        let depth = text.bytes().take_while(|&byte| byte == b'[').count();
        if depth > TYPE_DEPTH_MAX {
            return Err(TypeRefError::Depth);
        }
        if text.len() > NAME_BYTES_MAX + 3 * TYPE_DEPTH_MAX + 1 {
            return Err(TypeRefError::Length);
        }
        let rest = &text[depth..];
        let length = rest
            .bytes()
            .take_while(|byte| *byte == b'_' || byte.is_ascii_alphanumeric())
            .count();
        if length > NAME_BYTES_MAX {
            return Err(TypeRefError::Length);
        }
        if !is_name(&rest[..length]) {
            return Err(TypeRefError::Name {
                text: text.to_owned(),
                offset: depth,
            });
        }
        let mut at = depth + length;
        let non_null = text[at..].starts_with('!');
        at += usize::from(non_null);
        let mut parsed = Self::Named {
            name: rest[..length].into(),
            non_null,
        };
        for _ in 0..depth {
            if !text[at..].starts_with(']') {
                return Err(TypeRefError::Unclosed {
                    text: text.to_owned(),
                    offset: at,
                });
            }
            let non_null = text[at + 1..].starts_with('!');
            at += 1 + usize::from(non_null);
            parsed = Self::List {
                of: Arc::new(parsed),
                non_null,
            };
        }
        if at < text.len() {
            return Err(TypeRefError::Trailing {
                text: text.to_owned(),
                offset: at,
            });
        }
        Ok(parsed)
    }
}

impl FromStr for TypeRef {
    type Err = TypeRefError;

    fn from_str(text: &str) -> Result<Self, TypeRefError> {
        Self::parse(text)
    }
}

impl fmt::Display for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let bang = if self.is_non_null() { "!" } else { "" };
        match self {
            Self::Named { name, .. } => write!(f, "{name}{bang}"),
            Self::List { of, .. } => write!(f, "[{of}]{bang}"),
        }
    }
}

impl fmt::Debug for TypeRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn parses_what_graphql_writes() {
        let parsed = TypeRef::parse("[EnvVariable!]!").unwrap();
        assert_eq!(
            parsed,
            TypeRef::list(TypeRef::named("EnvVariable").non_null()).non_null()
        );
        assert_eq!(parsed.name(), "EnvVariable");
        assert_eq!(parsed.element().unwrap().to_string(), "EnvVariable!");
        assert_eq!(parsed.nullable().to_string(), "[EnvVariable!]");
    }

    #[test]
    fn errors_say_where() {
        let error = |text: &str| TypeRef::parse(text).unwrap_err().to_string();
        assert_eq!(error(""), "expected a type name at offset 0 of ``");
        assert_eq!(error("[1]"), "expected a type name at offset 1 of `[1]`");
        assert_eq!(error("[[A]"), "expected `]` at offset 4 of `[[A]`");
        assert_eq!(
            error("A!!"),
            "unexpected text after the type at offset 2 of `A!!`"
        );
        assert_eq!(
            error("A é"),
            "unexpected text after the type at offset 1 of `A é`"
        );
        assert_eq!(
            error(&"[".repeat(1_000_000)),
            "a type may nest at most 8 lists"
        );
        assert_eq!(
            error(&"A".repeat(1_000_000)),
            "a type name may have at most 256 bytes"
        );
    }

    proptest! {
        #[test]
        fn display_and_parse_are_inverse(
            name in "[_A-Za-z][_0-9A-Za-z]{0,20}",
            marks in prop::collection::vec(any::<bool>(), 1..8),
        ) {
            let mut levels = marks.iter();
            let mut built = TypeRef::named(name.as_str());
            if *levels.next().unwrap() { built = built.non_null(); }
            for &non_null in levels {
                built = TypeRef::list(built);
                if non_null { built = built.non_null(); }
            }
            prop_assert_eq!(TypeRef::parse(&built.to_string()).unwrap(), built);
        }

        #[test]
        fn any_text_parses_or_errs(text in ".{0,40}") {
            if let Ok(parsed) = TypeRef::parse(&text) { prop_assert_eq!(parsed.to_string(), text); }
        }
    }
}
