//! Runs a document's operations, in order, in one session.
//!
//! A document may hold several operations. Without a choice they all run, one after the other, and
//! a value that one of them exports (`@export(as: "name")`) is a variable of those after it; that is
//! how an ID gets from one operation to the next. An export wins over a variable the user gave. The
//! first operation with an error is the last that runs.

use dagop::{EngineSession, GraphQlError, Request, Response};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio_util::sync::CancellationToken;

use crate::input::Input;

/// What answers requests: a session of the engine.
pub(crate) trait Execute: Send + Sync + 'static {
    /// Executes one request; ends soon after `cancel`.
    fn execute(
        &self,
        request: Request,
        cancel: CancellationToken,
    ) -> impl Future<Output = Response> + Send;
}

impl Execute for EngineSession {
    async fn execute(&self, request: Request, cancel: CancellationToken) -> Response {
        Self::execute(self, request, cancel).await
    }
}

/// What a document brought.
#[derive(Debug)]
pub(crate) struct Answer {
    /// The data of a single operation; of several, an object of each one's data by its name. None
    /// when one of them failed.
    pub(crate) data: Option<Box<RawValue>>,
    pub(crate) errors: Vec<GraphQlError>,
}

/// Runs the operation that was asked for, or all of them.
pub(crate) async fn run(
    session: &impl Execute,
    input: &Input,
    cancel: &CancellationToken,
) -> Answer {
    let names = match &input.operation {
        Some(name) => vec![name.clone()],
        // None at all when the document does not parse: executing it says why.
        None => dagop::operation_names(&input.text),
    };
    let several = names.len() > 1;
    let mut variables = input.variables.clone();
    let mut members = Vec::new();
    let mut names = names.into_iter();
    let mut next = Some(names.next().unwrap_or_default());
    while let Some(name) = next {
        let request = Request {
            query: input.text.clone(),
            operation_name: Some(name.clone()),
            variables: Some(variables.clone()),
        };
        let response = session.execute(request, cancel.clone()).await;
        if !several || !response.errors.is_empty() {
            return Answer {
                data: response.data,
                errors: response.errors,
            };
        }
        variables.extend(response.exports);
        let data = response.data.as_deref().map_or("null", RawValue::get);
        members.push(format!("{}:{data}", Value::from(name)));
        next = names.next();
    }
    let object = RawValue::from_string(format!("{{{}}}", members.join(",")));
    Answer {
        data: object.ok(),
        errors: Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use serde_json::{Map, json};

    use super::*;

    /// Answers with the operation's name, exports it as `last`, fails the operation `Bad`, and keeps
    /// the variables it was given.
    #[derive(Default)]
    struct Names(Mutex<Vec<(String, Value)>>);

    impl Execute for Names {
        async fn execute(&self, request: Request, _: CancellationToken) -> Response {
            let name = request.operation_name.unwrap_or_default();
            let variables = Value::Object(request.variables.unwrap_or_default());
            self.0.lock().unwrap().push((name.clone(), variables));
            let mut response = Response::default();
            if name == "Bad" {
                response.errors.push(GraphQlError::input("bad"));
            } else {
                response.data = RawValue::from_string(json!({"name": name}).to_string()).ok();
                response.exports.insert("last".into(), name.into());
            }
            response
        }
    }

    async fn check(document: &str, operation: Option<&str>) -> (Value, Vec<(String, Value)>) {
        let session = Names::default();
        let given = Map::from_iter([("last".to_owned(), json!("given"))]);
        let input = Input::new(document, given, operation);
        let answer = run(&session, &input, &CancellationToken::new()).await;
        let data = answer.data.map_or(Value::Null, |data| {
            serde_json::from_str(data.get()).unwrap()
        });
        assert_eq!(data.is_null(), !answer.errors.is_empty());
        (data, session.0.into_inner().unwrap())
    }

    #[tokio::test]
    async fn a_single_operation_answers_with_its_own_data() {
        let (data, asked) = check("{ version }", None).await;
        assert_eq!(data, json!({"name": ""}));
        assert_eq!(asked, [(String::new(), json!({"last": "given"}))]);
        assert_eq!(
            check("query One { version }", None).await.0,
            json!({"name": "One"})
        );
    }

    #[tokio::test]
    async fn exports_are_variables_of_later_operations() {
        let (data, asked) = check("query A { version } query B { version }", None).await;
        assert_eq!(data, json!({"A": {"name": "A"}, "B": {"name": "B"}}));
        assert_eq!(asked[0].1, json!({"last": "given"}));
        assert_eq!(asked[1].1, json!({"last": "A"}));
    }

    #[tokio::test]
    async fn a_choice_runs_one_of_them() {
        let (data, asked) = check("query A { version } query B { version }", Some("B")).await;
        assert_eq!((data, asked.len()), (json!({"name": "B"}), 1));
    }

    #[tokio::test]
    async fn nothing_runs_after_an_error() {
        let document = "query A { version } query Bad { version } query C { version }";
        let (data, asked) = check(document, None).await;
        assert_eq!((data, asked.len()), (Value::Null, 2));
    }

    #[tokio::test]
    async fn a_document_that_does_not_parse_is_executed_to_learn_why() {
        assert_eq!(check("query {", None).await.1.len(), 1);
    }
}
