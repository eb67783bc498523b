//! `dagop id verify`: every digest of an ID, computed anew.

use std::fmt::Write as _;

use dagop::Digest;
use dagop::scheme::Scheme;
use dagop::wire::{self, Inspected, Inspection, Standing, WireError};
use serde_json::{Value, json};

use super::Given;
use super::decode::summary;
use super::value::{Numbers, call};
use crate::error::CliError;

/// The exit code when a digest is wrong.
const WRONG: u8 = 1;

pub(super) fn verify(ids: &[Given], as_json: bool) -> Result<(String, u8), CliError> {
    let mut verdicts = Vec::new();
    for given in ids {
        verdicts.push(Verdict::of(given)?);
    }
    let code = match verdicts.iter().all(|verdict| verdict.problem.is_none()) {
        true => 0,
        false => WRONG,
    };
    let text = if as_json {
        let verdicts: Value = verdicts.iter().map(Verdict::to_json).collect();
        format!("{verdicts:#}\n")
    } else {
        verdicts.iter().map(Verdict::to_text).collect()
    };
    Ok((text, code))
}

/// What became of one ID.
struct Verdict<'a> {
    name: &'a str,
    inspection: Inspection,
    problem: Option<Problem>,
}

/// Why an ID is not true.
enum Problem {
    /// The first call whose digest no rules compute, by its place among the calls.
    Wrong(usize),
    /// Each digest is right under some rules, but they do not fit together.
    Refused(WireError),
}

impl<'a> Verdict<'a> {
    fn of(given: &'a Given) -> Result<Self, CliError> {
        let inspection = wire::inspect(&given.text).map_err(|error| given.refuse(&error))?;
        let wrong = |call: &Inspected| matches!(call.standing, Standing::Mismatch(_));
        let problem = match inspection.calls.iter().position(wrong) {
            Some(at) => Some(Problem::Wrong(at)),
            // What the engine does with the ID has the last word.
            None => wire::decode(&given.text).err().map(Problem::Refused),
        };
        Ok(Self {
            name: &given.name,
            inspection,
            problem,
        })
    }

    fn to_text(&self) -> String {
        let summary = summary(&self.inspection);
        match &self.problem {
            None => format!("{}: true: {summary}\n", self.name),
            Some(Problem::Refused(error)) => format!("{}: FALSE: {error}\n", self.name),
            Some(Problem::Wrong(at)) => {
                format!("{}: FALSE: {summary}\n{}", self.name, self.located(*at))
            }
        }
    }

    /// The call, what is stated for it, and what each scheme computes.
    fn located(&self, at: usize) -> String {
        let calls = &self.inspection.calls;
        let numbers = Numbers::new(calls.iter().map(|call| &call.id));
        let id = &calls[at].id;
        let mut text = format!(
            "call {} of {}: {} {}\n",
            at + 1,
            calls.len(),
            id.name(),
            call(id, at, &numbers)
        );
        // Writing to a String cannot fail.
        _ = writeln!(text, "  {:<9}  {}", "stated", id.digest());
        for (scheme, digest) in computed(&calls[at]) {
            _ = writeln!(text, "  {:<9}  {digest}", scheme.name());
        }
        text
    }

    fn to_json(&self) -> Value {
        let calls = &self.inspection.calls;
        let root = calls.last().map(|call| call.id.digest().as_str());
        let mismatch = match &self.problem {
            Some(Problem::Wrong(at)) => {
                let id = &calls[*at].id;
                let computed = computed(&calls[*at]).iter();
                let computed: serde_json::Map<_, _> = computed
                    .map(|(scheme, digest)| (scheme.to_string(), json!(digest.as_str())))
                    .collect();
                json!({
                    "call": at + 1,
                    "name": id.name(),
                    "stated": id.digest().as_str(),
                    "computed": computed,
                })
            }
            _ => Value::Null,
        };
        let refused = match &self.problem {
            Some(Problem::Refused(error)) => json!(error.to_string()),
            _ => Value::Null,
        };
        let standing =
            |wanted: &Standing| calls.iter().filter(|call| call.standing == *wanted).count();
        json!({
            "ok": self.problem.is_none(),
            "digest": root,
            "calls": calls.len(),
            "rules": self.inspection.scheme.map(Scheme::name),
            "custom": standing(&Standing::Custom),
            "mismatch": mismatch,
            "refused": refused,
        })
    }
}

fn computed(call: &Inspected) -> &[(Scheme, Digest)] {
    match &call.standing {
        Standing::Mismatch(computed) => computed,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use expect_test::expect;

    use super::super::tests::{WITH_EXEC, given};
    use super::*;

    /// The golden ID with another image, of a name as long.
    fn forged() -> String {
        let mut bytes = STANDARD.decode(WITH_EXEC).unwrap();
        let at = bytes.windows(6).position(|text| text == b"alpine").unwrap();
        bytes[at..at + 6].copy_from_slice(b"debian");
        STANDARD.encode(bytes)
    }

    #[test]
    fn a_true_id_is_told_in_one_line() {
        let (text, code) = verify(&[given(WITH_EXEC)], false).unwrap();
        assert_eq!(code, 0);
        expect![[r#"
            the argument: true: 3 calls, xxh3-v1
        "#]]
        .assert_eq(&text);
    }

    #[test]
    fn the_first_wrong_digest_is_located_with_what_each_scheme_gives() {
        let (text, code) = verify(&[given(WITH_EXEC), given(&forged())], false).unwrap();
        assert_eq!(code, 1);
        expect![[r#"
            the argument: true: 3 calls, xxh3-v1
            the argument: FALSE: 3 calls, no one scheme, 1 wrong
            call 2 of 3: Container.from .from(address: "debian")
              stated     xxh3:52bba1dc072f4b4b
              blake3-v1  blake3:febd65c87e3549c6a2f00df2200b542fa9943420c2323fa3de42d4b01732885f
              xxh3-v1    xxh3:2f4eb3b561ca43f9
              xxh3-v2    xxh3:2f4eb3b561ca43f9
        "#]]
        .assert_eq(&text);
        let (json, code) = verify(&[given(&forged())], true).unwrap();
        assert_eq!(code, 1);
        expect![[r#"
            [
              {
                "calls": 3,
                "custom": 0,
                "digest": "xxh3:74e171adb2793a1c",
                "mismatch": {
                  "call": 2,
                  "computed": {
                    "blake3-v1": "blake3:febd65c87e3549c6a2f00df2200b542fa9943420c2323fa3de42d4b01732885f",
                    "xxh3-v1": "xxh3:2f4eb3b561ca43f9",
                    "xxh3-v2": "xxh3:2f4eb3b561ca43f9"
                  },
                  "name": "Container.from",
                  "stated": "xxh3:52bba1dc072f4b4b"
                },
                "ok": false,
                "refused": null,
                "rules": null
              }
            ]
        "#]].assert_eq(&json);
    }
}
