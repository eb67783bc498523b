//! What a client sends and what it gets back.
//!
//! A request follows GraphQL over HTTP as the Dagger SDKs use it: an empty `operationName` and null
//! `variables` mean absent. A response is `data` or `errors`, never both: the first failure makes
//! `data` null, because the clients of this API treat a partial answer as none.
//!
//! `data` is finished JSON text and not a tree: an answer is as deep as the query, and a tree of
//! 20,000 levels cannot be dropped or serialised on a worker's stack.

use indexmap::IndexMap;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Error;

/// One GraphQL request.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// The document.
    pub query: String,
    /// Which operation of the document to run; required when it has several.
    #[serde(default)]
    pub operation_name: Option<String>,
    /// Values of the operation's variables.
    #[serde(default)]
    pub variables: Option<serde_json::Map<String, serde_json::Value>>,
}

impl Request {
    /// A request without operation name and variables.
    pub fn new(query: impl Into<String>) -> Self {
        Self {
            query: query.into(),
            ..Self::default()
        }
    }

    /// Chooses an operation.
    #[must_use]
    pub fn operation(mut self, name: impl Into<String>) -> Self {
        self.operation_name = Some(name.into());
        self
    }

    /// Sets one variable.
    #[must_use]
    pub fn variable(
        mut self,
        name: impl Into<String>,
        value: impl Into<serde_json::Value>,
    ) -> Self {
        self.variables
            .get_or_insert_default()
            .insert(name.into(), value.into());
        self
    }

    /// The operation name, with Dagger's empty text counted as none.
    pub(crate) fn operation_name(&self) -> Option<&str> {
        self.operation_name
            .as_deref()
            .filter(|name| !name.is_empty())
    }
}

/// The answer to one request. Serialises as GraphQL's response object.
#[derive(Debug, Default, Serialize)]
pub struct Response {
    /// Why there is no data, in document order.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub errors: Vec<Error>,
    /// The answer as JSON text; none exactly when there are errors.
    pub data: Option<Box<RawValue>>,
    /// Values of the leaf fields that carry `@export(as: "name")`, by that name; where there are
    /// errors, those of the fields that have their value.
    #[serde(skip)]
    pub exports: IndexMap<String, serde_json::Value>,
}

impl Response {
    /// A response of one error.
    pub(crate) fn failed(errors: Vec<Error>) -> Self {
        Self {
            errors,
            ..Self::default()
        }
    }

    /// The data as a JSON tree.
    ///
    /// # Errors
    /// The first error of the response, or an input error when the answer nests too deeply for a
    /// tree (serde_json stops at 128 levels).
    pub fn json(&self) -> Result<serde_json::Value, Error> {
        if let Some(error) = self.errors.first() {
            return Err(error.clone());
        }
        let text = self.data.as_deref().map_or("null", RawValue::get);
        serde_json::from_str(text)
            .map_err(|error| Error::input(format!("cannot read the answer as a tree: {error}")))
    }
}
