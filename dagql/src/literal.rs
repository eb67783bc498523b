//! The values an argument of a call may have.
//!
//! A literal is data after coercion: an enum value is no longer a string, an ID is a decoded
//! [`Id`]. The canonical form that makes one key of many spellings is in
//! [`crate::id::canonical_arguments`]; how a literal enters a digest is in
//! [`crate::digest::scheme`]. Literals nest at most [`LITERAL_DEPTH_MAX`] levels; every door
//! through which foreign data comes in (JSON, the wire, canonical arguments) checks it, so code
//! that walks a literal may recurse.

use std::fmt;
use std::sync::Arc;

use serde_json::Value as Json;
use thiserror::Error;

use crate::id::Id;
use crate::wire::WireError;

/// How deep lists and input objects may nest in one argument.
pub const LITERAL_DEPTH_MAX: usize = 32;

/// One argument value.
#[derive(Clone, PartialEq)]
pub enum Literal {
    /// Explicit absence.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// A 64-bit integer; GraphQL text has 32 bits, Dagger's wire has 64.
    Int(i64),
    /// A finite number.
    Float(f64),
    /// Text.
    String(Arc<str>),
    /// The name of an enum value.
    Enum(Arc<str>),
    /// A list.
    List(Vec<Self>),
    /// An input object: fields in the order of the input type.
    Object(Vec<(Arc<str>, Self)>),
    /// An object, named by the call that makes it.
    Id(Id),
}

/// Why a literal cannot be converted from or to JSON, or hashed.
#[derive(Debug, Error)]
pub enum LiteralError {
    /// Deeper than [`LITERAL_DEPTH_MAX`].
    #[error("a value may nest at most {LITERAL_DEPTH_MAX} lists and objects")]
    Depth,
    /// An integer beyond 64 signed bits.
    #[error("the integer {0} does not fit 64 signed bits")]
    IntRange(String),
    /// Infinity or not-a-number.
    #[error("a number must be finite")]
    NotFinite,
    /// An ID inside the literal has no text form.
    #[error(transparent)]
    Id(#[from] WireError),
}

impl Literal {
    /// A string literal.
    #[must_use]
    pub fn string(text: impl Into<Arc<str>>) -> Self {
        Self::String(text.into())
    }

    /// An enum literal.
    #[must_use]
    pub fn enumeration(name: impl Into<Arc<str>>) -> Self {
        Self::Enum(name.into())
    }

    /// Whether this is null.
    #[must_use]
    pub fn is_null(&self) -> bool {
        matches!(self, Self::Null)
    }

    /// The word for this kind of value in messages.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Null => "null",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a float",
            Self::String(_) => "a string",
            Self::Enum(_) => "an enum value",
            Self::List(_) => "a list",
            Self::Object(_) => "an input object",
            Self::Id(_) => "an ID",
        }
    }

    /// Checks what no type can, nesting and finiteness, and returns the number of values: this one
    /// and all elements and fields under it.
    ///
    /// # Errors
    /// [`LiteralError::Depth`] and [`LiteralError::NotFinite`].
    pub fn check(&self) -> Result<usize, LiteralError> {
        let mut count = 0;
        let mut pending = vec![(self, 0)];
        while let Some((literal, depth)) = pending.pop() {
            count += 1;
            match literal {
                Self::List(_) | Self::Object(_) if depth == LITERAL_DEPTH_MAX => {
                    return Err(LiteralError::Depth);
                }
                Self::List(values) => pending.extend(values.iter().map(|value| (value, depth + 1))),
                Self::Object(fields) => {
                    pending.extend(fields.iter().map(|(_, value)| (value, depth + 1)));
                }
                Self::Float(number) if !number.is_finite() => return Err(LiteralError::NotFinite),
                _ => {}
            }
        }
        Ok(count)
    }

    /// Calls `visit` for each ID in the literal, from left to right.
    pub fn for_each_id<'a>(&'a self, visit: &mut impl FnMut(&'a Id)) {
        match self {
            Self::Id(id) => visit(id),
            Self::List(values) => values.iter().for_each(|value| value.for_each_id(visit)),
            Self::Object(fields) => fields
                .iter()
                .for_each(|(_, value)| value.for_each_id(visit)),
            _ => {}
        }
    }

    /// The literal with each ID replaced by what `replace` says.
    pub(crate) fn map_ids(&self, replace: &impl Fn(&Id) -> Id) -> Self {
        match self {
            Self::Id(id) => Self::Id(replace(id)),
            Self::List(values) => {
                Self::List(values.iter().map(|value| value.map_ids(replace)).collect())
            }
            Self::Object(fields) => Self::Object(
                fields
                    .iter()
                    .map(|(name, value)| (name.clone(), value.map_ids(replace)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }

    /// Reads untyped JSON. JSON knows neither enums nor IDs: both arrive as strings and are turned
    /// by whoever knows the argument's type. A number without fraction or exponent is an integer.
    ///
    /// # Errors
    /// [`LiteralError::Depth`] and [`LiteralError::IntRange`].
    pub fn from_json(json: &Json) -> Result<Self, LiteralError> {
        Self::from_json_at(json, 0)
    }

    fn from_json_at(json: &Json, depth: usize) -> Result<Self, LiteralError> {
        if depth == LITERAL_DEPTH_MAX && (json.is_array() || json.is_object()) {
            return Err(LiteralError::Depth);
        }
        Ok(match json {
            Json::Null => Self::Null,
            Json::Bool(value) => Self::Bool(*value),
            Json::Number(number) => match (number.as_i64(), number.as_f64()) {
                (Some(int), _) => Self::Int(int),
                (None, Some(float)) if !number.is_u64() => Self::Float(float),
                _ => return Err(LiteralError::IntRange(number.to_string())),
            },
            Json::String(text) => Self::string(text.as_str()),
            Json::Array(values) => Self::List(
                values
                    .iter()
                    .map(|value| Self::from_json_at(value, depth + 1))
                    .collect::<Result<_, _>>()?,
            ),
            Json::Object(fields) => Self::Object(
                fields
                    .iter()
                    .map(|(name, value)| {
                        Ok((name.as_str().into(), Self::from_json_at(value, depth + 1)?))
                    })
                    .collect::<Result<_, LiteralError>>()?,
            ),
        })
    }

    /// Writes JSON: enum values as strings, IDs in their encoded text form.
    ///
    /// # Errors
    /// An ID that cannot be encoded, a number that is not finite, or nesting that is too deep.
    pub fn to_json(&self) -> Result<Json, LiteralError> {
        self.check()?;
        self.to_json_checked()
    }

    fn to_json_checked(&self) -> Result<Json, LiteralError> {
        Ok(match self {
            Self::Null => Json::Null,
            Self::Bool(value) => Json::Bool(*value),
            Self::Int(value) => Json::from(*value),
            Self::Float(value) => Json::from(*value),
            Self::String(text) | Self::Enum(text) => Json::from(&**text),
            Self::List(values) => Json::Array(
                values
                    .iter()
                    .map(Self::to_json_checked)
                    .collect::<Result<_, LiteralError>>()?,
            ),
            Self::Object(fields) => Json::Object(
                fields
                    .iter()
                    .map(|(name, value)| Ok((name.to_string(), value.to_json_checked()?)))
                    .collect::<Result<_, LiteralError>>()?,
            ),
            Self::Id(id) => Json::from(id.encode()?),
        })
    }
}

impl fmt::Debug for Literal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("null"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Int(value) => write!(f, "{value}"),
            Self::Float(value) => write!(f, "{value:?}"),
            Self::String(text) => write!(f, "{text:?}"),
            Self::Enum(name) => f.write_str(name),
            Self::List(values) => f.debug_list().entries(values).finish(),
            Self::Object(fields) => f
                .debug_map()
                .entries(fields.iter().map(|(name, value)| (name, value)))
                .finish(),
            Self::Id(id) => fmt::Debug::fmt(id, f),
        }
    }
}

impl From<bool> for Literal {
    fn from(value: bool) -> Self {
        Self::Bool(value)
    }
}

impl From<i64> for Literal {
    fn from(value: i64) -> Self {
        Self::Int(value)
    }
}

impl From<f64> for Literal {
    fn from(value: f64) -> Self {
        Self::Float(value)
    }
}

impl From<&str> for Literal {
    fn from(text: &str) -> Self {
        Self::string(text)
    }
}

impl From<String> for Literal {
    fn from(text: String) -> Self {
        Self::string(text)
    }
}

impl From<Id> for Literal {
    fn from(id: Id) -> Self {
        Self::Id(id)
    }
}

impl<T: Into<Self>> From<Vec<T>> for Literal {
    fn from(values: Vec<T>) -> Self {
        Self::List(values.into_iter().map(Into::into).collect())
    }
}

impl<T: Into<Self>> From<Option<T>> for Literal {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Null, Into::into)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_round_trips() {
        let json = json!({"a": [1, -9_007_199_254_740_993_i64, 1.5, "x", null, true, {}], "b": []});
        assert_eq!(Literal::from_json(&json).unwrap().to_json().unwrap(), json);
    }

    #[test]
    fn json_integers_stay_exact_or_fail() {
        assert_eq!(
            Literal::from_json(&json!(i64::MAX)).unwrap(),
            Literal::Int(i64::MAX)
        );
        let error = Literal::from_json(&json!(u64::MAX)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "the integer 18446744073709551615 does not fit 64 signed bits"
        );
        assert_eq!(
            Literal::from_json(&json!(1.0)).unwrap(),
            Literal::Float(1.0)
        );
    }

    #[test]
    fn nesting_is_bounded_in_both_directions() {
        let nest = |depth| (0..depth).fold(json!(0), |inner, _| json!([inner]));
        assert!(Literal::from_json(&nest(LITERAL_DEPTH_MAX)).is_ok());
        assert!(matches!(
            Literal::from_json(&nest(LITERAL_DEPTH_MAX + 1)),
            Err(LiteralError::Depth)
        ));
        let deep =
            (0..=LITERAL_DEPTH_MAX).fold(Literal::Null, |inner, _| Literal::List(vec![inner]));
        assert!(matches!(deep.to_json(), Err(LiteralError::Depth)));
        assert!(matches!(
            Literal::Float(f64::NAN).to_json(),
            Err(LiteralError::NotFinite)
        ));
    }
}
