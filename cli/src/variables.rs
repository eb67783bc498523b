//! Variables of a GraphQL document, from `--var` and `--vars-json`.
//!
//! `NAME=TEXT` is a string, whatever it looks like: a version `1.20` must not become a number.
//! `NAME:=JSON` is any JSON value. The shape decides, so that a value from a script cannot change
//! its type by its content.

use std::str::FromStr;

use serde_json::{Map, Value};

/// One `--var`.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Variable {
    name: String,
    value: Value,
}

/// A variable's name as GraphQL has it.
fn is_name(text: &str) -> bool {
    let letter = |c: char| c.is_ascii_alphabetic() || c == '_';
    text.starts_with(letter) && text.chars().all(|c| letter(c) || c.is_ascii_digit())
}

impl FromStr for Variable {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, text_value) = text
            .split_once('=')
            .ok_or_else(|| format!("`{text}` has no value: write NAME=TEXT or NAME:=JSON"))?;
        let (name, value) = match name.strip_suffix(':') {
            None => (name, Value::String(text_value.to_owned())),
            Some(name) => {
                let parsed = serde_json::from_str(text_value);
                (
                    name,
                    parsed.map_err(|error| format!("the value of {name} is not JSON: {error}"))?,
                )
            }
        };
        if !is_name(name) {
            return Err(format!(
                "`{name}` is not a variable's name: letters, digits, underscores"
            ));
        }
        Ok(Self {
            name: name.to_owned(),
            value,
        })
    }
}

/// All variables: those of the JSON object, then each `--var`; the last of a name counts.
pub(crate) fn merge(mut base: Map<String, Value>, given: &[Variable]) -> Map<String, Value> {
    for variable in given {
        base.insert(variable.name.clone(), variable.value.clone());
    }
    base
}

/// The JSON object of `--vars-json`.
pub(crate) fn parse_object(text: &str) -> Result<Map<String, Value>, String> {
    match serde_json::from_str(text) {
        Ok(Value::Object(object)) => match object.keys().find(|name| !is_name(name)) {
            Some(name) => Err(format!("`{name}` is not a variable's name")),
            None => Ok(object),
        },
        Ok(_) => Err("expected a JSON object of variables".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn value(text: &str) -> Result<Value, String> {
        text.parse::<Variable>().map(|variable| variable.value)
    }

    #[test]
    fn one_equals_sign_is_text_whatever_it_looks_like() {
        assert_eq!(value("v=1.20"), Ok(json!("1.20")));
        assert_eq!(value("v=true"), Ok(json!("true")));
        assert_eq!(value("v="), Ok(json!("")));
        assert_eq!(value("v=a=b:=c"), Ok(json!("a=b:=c")));
    }

    #[test]
    fn a_colon_makes_it_json() {
        assert_eq!(value("v:=5"), Ok(json!(5)));
        assert_eq!(value("v:=null"), Ok(json!(null)));
        assert_eq!(value(r#"v:={"a": ["b=c"]}"#), Ok(json!({"a": ["b=c"]})));
        assert_eq!(value(r#"v:="text""#), Ok(json!("text")));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let error = |text: &str| value(text).unwrap_err();
        assert!(error("v").contains("no value"));
        assert!(error("v:=nope").contains("value of v is not JSON"));
        for name in ["", "1v", "a-b", "ä"] {
            assert!(
                error(&format!("{name}=x")).contains("not a variable's name"),
                "{name}"
            );
        }
    }

    #[test]
    fn a_flag_wins_over_the_file_and_a_later_flag_over_an_earlier() {
        let base = parse_object(r#"{"a": 1, "b": 2}"#).unwrap();
        let given = ["a=x", "a=y"].map(|text| text.parse().unwrap());
        assert_eq!(
            Value::Object(merge(base, &given)),
            json!({"a": "y", "b": 2})
        );
    }

    #[test]
    fn a_file_of_variables_is_an_object() {
        assert!(parse_object("[1]").unwrap_err().contains("object"));
        assert!(parse_object("{").is_err());
        assert!(parse_object(r#"{"a-b": 1}"#).unwrap_err().contains("a-b"));
    }
}
