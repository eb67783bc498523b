//! `dagop id diff`: the first call in which two IDs differ.

use std::fmt::Write as _;

use dagop::Literal;
use dagop::id::{self, Change, Diff, Difference, Id, Part};
use dagop::report::text;
use dagop::wire;
use serde_json::{Value, json};

use super::Given;
use super::value::{Numbers, call, call_json, literal, literal_json};
use crate::error::CliError;

/// The exit code when the IDs differ.
const DIFFERENT: u8 = 1;

/// The longest value shown in text; JSON has all of it.
const VALUE_CHARS_MAX: usize = 200;

pub(super) fn diff(left: &Given, right: &Given, as_json: bool) -> Result<(String, u8), CliError> {
    let decode = |given: &Given| {
        let decoded = wire::decode(&given.text).map_err(|error| given.refuse(&error))?;
        Ok::<Id, CliError>(decoded.id)
    };
    let (left, right) = (decode(left)?, decode(right)?);
    let diff = id::diff(&left, &right);
    let code = if diff.is_none() { 0 } else { DIFFERENT };
    let sides = Sides::new(&left, &right, diff.as_ref());
    let text = if as_json {
        format!("{:#}\n", sides.to_json(diff.as_ref()))
    } else {
        diff.map_or_else(String::new, |diff| sides.to_text(&diff))
    };
    Ok((text, code))
}

/// The numbers of the calls of both IDs.
struct Sides {
    left: Numbers,
    right: Numbers,
}

impl Sides {
    fn new(left: &Id, right: &Id, diff: Option<&Diff>) -> Self {
        let numbers = |id: &Id| match diff.and_then(|diff| diff.rules) {
            // The difference is then told in calls under our own rules.
            Some(_) => Numbers::new(id.rehash(dagop::scheme::Scheme::Blake3).post_order()),
            None => Numbers::new(id.post_order()),
        };
        Self {
            left: numbers(left),
            right: numbers(right),
        }
    }

    fn to_text(&self, diff: &Diff) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        if let Some((left, right)) = diff.rules {
            _ = writeln!(out, "digest rules: {left} | {right}");
        }
        let Some(first) = &diff.first else {
            out.push_str("the calls are the same\n");
            return out;
        };
        for through in &first.through {
            let (a, b) = (self.left.of(&through.left), self.right.of(&through.right));
            let part = part(&through.part);
            _ = writeln!(out, "in {part} of #{a} | #{b} {}:", through.left.name());
        }
        self.calls(first, &mut out);
        for change in &first.changes {
            let [left, right] = self.values(change);
            _ = writeln!(out, "  {}: {left} | {right}", part(&change.part));
        }
        let calls =
            |count: usize| format!("{count} more call{}", if count == 1 { "" } else { "s" });
        match diff.own {
            (0, 0) => {}
            (left, right) => {
                let (left, right) = (calls(left), calls(right));
                _ = writeln!(out, "{left} of A, {right} of B differ by themselves");
            }
        }
        if diff.consequences > 0 {
            let later = calls(diff.consequences);
            _ = writeln!(out, "{later} differ only as a consequence");
        }
        out
    }

    fn calls(&self, first: &Difference, out: &mut String) {
        let what = match (&first.left, &first.right) {
            (Some(_), None) => "only A has this call:",
            (None, Some(_)) => "only B has this call:",
            _ => "the first call that differs:",
        };
        _ = writeln!(out, "{what}");
        let sides = [
            ("A", &first.left, &self.left),
            ("B", &first.right, &self.right),
        ];
        for (side, id, numbers) in sides {
            if let Some(id) = id {
                let number = numbers.of(id);
                // Named in full: the call before it is not shown.
                let shown = call(id, 0, numbers);
                let name = text::one_line(&shown, VALUE_CHARS_MAX);
                _ = writeln!(out, "  {side} #{number} of {}: {name}", numbers.len());
            }
        }
    }

    /// Both values as text. Of two long texts, the part from shortly before the difference on.
    fn values(&self, change: &Change) -> [String; 2] {
        let shown =
            [(&change.left, &self.left), (&change.right, &self.right)].map(|(value, numbers)| {
                match value {
                    None => "absent".to_owned(),
                    Some(Literal::String(text)) if !matches!(change.part, Part::Argument(_)) => {
                        text.to_string()
                    }
                    Some(value) => {
                        let mut out = String::new();
                        literal(value, numbers, &mut out);
                        out
                    }
                }
            });
        /// Characters kept before the first that differs.
        const BEFORE: usize = 20;
        let [left, right] = &shown;
        let common = left
            .chars()
            .zip(right.chars())
            .take_while(|(l, r)| l == r)
            .count();
        let long = shown
            .iter()
            .any(|text| text.chars().count() > VALUE_CHARS_MAX);
        let skipped = if long {
            common.saturating_sub(BEFORE)
        } else {
            0
        };
        shown.map(|shown| {
            let rest: String = shown.chars().skip(skipped).collect();
            let dots = if skipped > 0 { "…" } else { "" };
            format!("{dots}{}", text::one_line(&rest, VALUE_CHARS_MAX))
        })
    }

    fn to_json(&self, diff: Option<&Diff>) -> Value {
        let Some(diff) = diff else {
            return json!({"same": true});
        };
        let side =
            |id: &Option<Id>, numbers: &Numbers| id.as_ref().map(|id| call_json(id, numbers));
        let first = diff.first.as_ref().map(|first| {
            let through = first.through.iter().map(|through| {
                json!({
                    "a": self.left.of(&through.left),
                    "b": self.right.of(&through.right),
                    "name": through.left.name(),
                    "part": part(&through.part),
                })
            });
            let changes = first.changes.iter().map(|change| {
                let value = |value: &Option<Literal>, numbers: &Numbers| {
                    value.as_ref().map(|value| literal_json(value, numbers))
                };
                json!({
                    "part": part(&change.part),
                    "inA": change.left.is_some(),
                    "inB": change.right.is_some(),
                    "a": value(&change.left, &self.left),
                    "b": value(&change.right, &self.right),
                })
            });
            json!({
                "through": through.collect::<Vec<_>>(),
                "a": side(&first.left, &self.left),
                "b": side(&first.right, &self.right),
                "changes": changes.collect::<Vec<_>>(),
            })
        });
        json!({
            "same": false,
            "rules": diff.rules.map(|(left, right)| [left.name(), right.name()]),
            "first": first,
            "consequences": diff.consequences,
            "more": {"a": diff.own.0, "b": diff.own.1},
        })
    }
}

fn part(part: &Part) -> String {
    match part {
        Part::Field => "field".to_owned(),
        Part::Type => "type".to_owned(),
        Part::Argument(path) => format!("argument {path}"),
        Part::ArgumentOrder => "order of arguments".to_owned(),
        Part::Nth => "element".to_owned(),
        Part::View => "view".to_owned(),
        Part::Module => "module".to_owned(),
        Part::Scope(name) => format!("scope {name}"),
        Part::CustomDigest => "custom digest".to_owned(),
        Part::ContentDigest => "content digest".to_owned(),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use dagop::id::{Argument, Call, ImplicitInput, Module, Scope};
    use expect_test::{Expect, expect};

    use super::super::tests::given;
    use super::*;

    fn ty(text: &str) -> dagop::id::TypeRef {
        text.parse().unwrap()
    }

    /// An ID with every part a call can have.
    pub(in super::super) fn everything() -> Id {
        let module = Id::root(Call::new("module", ty("Module!")));
        let directory = Id::root(Call::new("directory", ty("Directory!")));
        let object = vec![
            ("tag".into(), Literal::enumeration("SHARED")),
            (
                "from".into(),
                Literal::List(vec![Literal::Id(directory.clone()), Literal::Null]),
            ),
        ];
        let list = Call::new("things", ty("[Thing!]!"))
            .arg("source", Literal::Id(directory))
            .arg("options", Literal::Object(object))
            .arg("ratio", 0.5)
            .argument(Argument::sensitive("token", "hunter2"))
            .with_module(Module::new(module, "mine", "github.com/x/y", "deadbeef"))
            .with_view("v0.19.11")
            .implicit(ImplicitInput::scoped(Scope::Client, "c1"));
        Id::root(list).select_nth(2).unwrap()
    }

    fn file(text: &str) -> Id {
        let directory = Id::root(Call::new("directory", ty("Directory!")));
        let call = Call::new("withNewFile", ty("Directory!"));
        directory.append(call.arg("path", "a").arg("contents", text))
    }

    fn mounted(file: Id, steps: &[&str]) -> Id {
        let container = Id::root(Call::new("container", ty("Container!")));
        let call = Call::new("withDirectory", ty("Container!")).arg("source", file);
        steps.iter().fold(container.append(call), |id, step| {
            let call = Call::new("withExec", ty("Container!"));
            id.append(call.arg("args", vec!["sh", "-c", step]))
        })
    }

    fn check(left: &Id, right: &Id, expected: &Expect) -> Value {
        let [left, right] = [left, right].map(|id| given(&id.encode().unwrap()));
        let (text, code) = diff(&left, &right, false).unwrap();
        expected.assert_eq(&text);
        assert_eq!(code, u8::from(!text.is_empty()));
        serde_json::from_str(&diff(&left, &right, true).unwrap().0).unwrap()
    }

    #[test]
    fn the_same_is_the_same() {
        let json = check(&everything(), &everything(), &expect![[""]]);
        assert_eq!(json, json!({"same": true}));
    }

    #[test]
    fn an_argument_is_named_down_to_the_element() {
        let steps = [
            ["make", "make check", "install"],
            ["make", "make test", "install"],
        ];
        let [left, right] = steps.map(|steps| mounted(file("x"), &steps));
        let json = check(
            &left,
            &right,
            &expect![[r#"
                the first call that differs:
                  A #6 of 7: #5.withExec(args: ["sh", "-c", "make check"])
                  B #6 of 7: #5.withExec(args: ["sh", "-c", "make test"])
                  argument args[2]: "make check" | "make test"
                1 more call differ only as a consequence
            "#]],
        );
        assert_eq!(json["first"]["changes"][0]["b"], "make test");
        assert_eq!(json["consequences"], 1);
    }

    #[test]
    fn the_cause_is_found_inside_the_object_that_an_argument_names() {
        let [left, right] = ["x", "y"].map(|text| mounted(file(text), &["make"]));
        let json = check(
            &left,
            &right,
            &expect![[r#"
                in argument source of #4 | #4 Container.withDirectory:
                the first call that differs:
                  A #3 of 5: #2.withNewFile(path: "a", contents: "x")
                  B #3 of 5: #2.withNewFile(path: "a", contents: "y")
                  argument contents: "x" | "y"
                2 more calls differ only as a consequence
            "#]],
        );
        assert_eq!(json["first"]["through"][0]["part"], "argument source");
    }

    #[test]
    fn a_call_that_was_put_in_is_no_change_of_those_behind_it() {
        let left = mounted(file("x"), &["one", "two"]);
        let right = mounted(file("x"), &["new", "one", "two"]);
        check(
            &left,
            &right,
            &expect![[r#"
                only B has this call:
                  B #5 of 7: #4.withExec(args: ["sh", "-c", "new"])
                2 more calls differ only as a consequence
            "#]],
        );
        check(
            &right,
            &left,
            &expect![[r#"
                only A has this call:
                  A #5 of 7: #4.withExec(args: ["sh", "-c", "new"])
                2 more calls differ only as a consequence
            "#]],
        );
        // One chain continues the other.
        check(
            &mounted(file("x"), &["one"]),
            &left,
            &expect![[r#"
            only B has this call:
              B #6 of 6: #5.withExec(args: ["sh", "-c", "two"])
        "#]],
        );
    }

    #[test]
    fn several_differences_and_rules_and_scopes() {
        let left = mounted(file("x"), &["one", "two", "three"]);
        let right = mounted(file("x"), &["1", "two", "3"]);
        check(
            &left,
            &right,
            &expect![[r#"
                the first call that differs:
                  A #5 of 7: #4.withExec(args: ["sh", "-c", "one"])
                  B #5 of 7: #4.withExec(args: ["sh", "-c", "1"])
                  argument args[2]: "one" | "1"
                1 more call of A, 1 more call of B differ by themselves
                1 more call differ only as a consequence
            "#]],
        );
        let theirs = left.rehash(dagop::scheme::Scheme::Xxh3V1);
        check(
            &left,
            &theirs,
            &expect![[r#"
            digest rules: blake3-v1 | xxh3-v1
            the calls are the same
        "#]],
        );
        let scoped = left.with_implicit(ImplicitInput::scoped(Scope::Session, "s1"));
        check(
            &left,
            &scoped,
            &expect![[r#"
            the first call that differs:
              A #7 of 7: #6.withExec(args: ["sh", "-c", "three"])
              B #7 of 7: #6.withExec(args: ["sh", "-c", "three"]) [session s1]
              scope session: absent | s1
        "#]],
        );
    }

    #[test]
    fn a_forged_id_is_trouble() {
        let error = diff(&given("AAAA"), &given("AAAA"), false).unwrap_err();
        assert_eq!(error.exit_code(), 2);
    }
}
