//! `dagop id decode`: every call of an ID, each after what it refers to, with its digest and the
//! rules that compute it.

use std::fmt::Write as _;

use dagop::scheme::Scheme;
use dagop::wire::{self, Inspected, Inspection, Standing};
use serde_json::{Value, json};

use super::Given;
use super::value::{Numbers, call, call_json, digest};
use crate::error::CliError;

pub(super) fn decode(ids: &[Given], as_json: bool) -> Result<(String, u8), CliError> {
    let inspections = ids.iter().map(|given| {
        let inspection = wire::inspect(&given.text);
        inspection.map_err(|error| given.refuse(&error))
    });
    let inspections = inspections.collect::<Result<Vec<_>, _>>()?;
    if as_json {
        let ids: Value = inspections.iter().map(to_json).collect();
        return Ok((format!("{ids:#}\n"), 0));
    }
    let tables: Vec<String> = inspections.iter().map(table).collect();
    Ok((tables.join("\n"), 0))
}

/// The rules of a digest in one word.
fn rules(inspection: &Inspection, standing: &Standing) -> String {
    match standing {
        // Dagger's two versions often agree; the ID as a whole tells which one it is.
        Standing::Computed(schemes) => match inspection.scheme {
            Some(scheme) if schemes.contains(&scheme) => scheme.to_string(),
            _ => schemes
                .iter()
                .map(Scheme::to_string)
                .collect::<Vec<_>>()
                .join(","),
        },
        Standing::Element => "element".to_owned(),
        Standing::Custom => "custom".to_owned(),
        Standing::Mismatch(_) => "WRONG".to_owned(),
    }
}

/// How many calls have which standing, in words; the first says whether the ID holds.
pub(super) fn summary(inspection: &Inspection) -> String {
    let count = |wanted: fn(&Inspected) -> bool| {
        inspection.calls.iter().filter(|call| wanted(call)).count()
    };
    let wrong = count(|call| matches!(call.standing, Standing::Mismatch(_)));
    let custom = count(|call| call.standing == Standing::Custom);
    let content = count(|call| call.id.content_digest().is_some());
    let calls = inspection.calls.len();
    let mut text = format!("{calls} call{}", if calls == 1 { "" } else { "s" });
    match inspection.scheme {
        Some(scheme) if wrong == 0 => _ = write!(text, ", {scheme}"),
        _ => text.push_str(", no one scheme"),
    }
    for (count, what) in [
        (wrong, "wrong"),
        (custom, "custom, which nothing proves"),
        (content, "with a content digest, which nothing proves"),
    ] {
        if count > 0 {
            _ = write!(text, ", {count} {what}");
        }
    }
    text
}

fn table(inspection: &Inspection) -> String {
    let numbers = Numbers::new(inspection.calls.iter().map(|call| &call.id));
    let rows = inspection.calls.iter().zip(1..).map(|(inspected, number)| {
        let id = &inspected.id;
        [
            number.to_string(),
            rules(inspection, &inspected.standing),
            digest(id.digest()),
            id.ty().to_string(),
            call(id, number - 1, &numbers),
        ]
    });
    let titles = ["#", "RULES", "DIGEST", "TYPE", "CALL"].map(str::to_owned);
    let rows: Vec<[String; 5]> = std::iter::once(titles).chain(rows).collect();
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let widths = [width(0), width(1), width(2), width(3)];
    let mut text = String::new();
    if let Some(root) = inspection.calls.last() {
        _ = writeln!(text, "{}: {}", root.id.ty(), summary(inspection));
    }
    for [number, rules, digest, ty, call] in &rows {
        let [n, r, d, t] = widths;
        _ = writeln!(
            text,
            "{number:>n$}  {rules:r$}  {digest:d$}  {ty:t$}  {call}"
        );
    }
    text
}

fn to_json(inspection: &Inspection) -> Value {
    let numbers = Numbers::new(inspection.calls.iter().map(|call| &call.id));
    let calls = inspection.calls.iter().map(|inspected| {
        let mut call = call_json(&inspected.id, &numbers);
        call["rules"] = match &inspected.standing {
            Standing::Computed(schemes) => schemes.iter().map(|scheme| scheme.name()).collect(),
            _ => json!([]),
        };
        call["standing"] = json!(match inspected.standing {
            Standing::Computed(_) => "computed",
            Standing::Element => "element",
            Standing::Custom => "custom",
            Standing::Mismatch(_) => "wrong",
        });
        call
    });
    let root = inspection.calls.last().map(|call| &call.id);
    json!({
        "digest": root.map(|id| id.digest().as_str()),
        "type": root.map(|id| id.ty().to_string()),
        "rules": inspection.scheme.map(Scheme::name),
        "calls": calls.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use expect_test::expect;

    use super::super::tests::{WITH_EXEC, given};
    use super::*;

    #[test]
    fn a_genuine_id_is_a_readable_chain() {
        let (text, code) = decode(&[given(WITH_EXEC)], false).unwrap();
        assert_eq!(code, 0);
        expect![[r#"
            Container!: 3 calls, xxh3-v1
            #  RULES    DIGEST                 TYPE        CALL
            1  xxh3-v1  xxh3:6142b3636448fd5f  Container!  container
            2  xxh3-v1  xxh3:52bba1dc072f4b4b  Container!  .from(address: "alpine")
            3  xxh3-v1  xxh3:74e171adb2793a1c  Container!  .withExec(args: ["echo", "hi"]) [view v0.19.10]
        "#]].assert_eq(&text);
    }

    #[test]
    fn an_id_of_every_part_is_shown_in_full() {
        let id = super::super::diff::tests::everything();
        let (text, _) = decode(&[given(&id.encode().unwrap())], false).unwrap();
        expect![[r#"
            Thing!: 4 calls, blake3-v1
            #  RULES      DIGEST                   TYPE        CALL
            1  blake3-v1  blake3:6c41a6fbdc03988d  Directory!  directory
            2  blake3-v1  blake3:c2775de019da0e49  Module!     module
            3  blake3-v1  blake3:409e2d944a40a470  [Thing!]!   things(source: #1, options: {tag: SHARED, from: [#1, null]}, ratio: 0.5) [view v0.19.11] [module mine github.com/x/y@deadbeef by #2] [client c1]
            4  blake3-v1  blake3:163ca434b6a2f341  Thing!      .things(source: #1, options: {tag: SHARED, from: [#1, null]}, ratio: 0.5) [element 2] [view v0.19.11] [module mine github.com/x/y@deadbeef by #2] [client c1]
        "#]].assert_eq(&text);
        let (json, _) = decode(&[given(&id.encode().unwrap())], true).unwrap();
        let json: Value = serde_json::from_str(&json).unwrap();
        expect![[r#"{"args":[{"name":"source","value":{"call":1}},{"name":"options","value":{"object":{"from":[{"call":1},null],"tag":{"enum":"SHARED"}}}},{"name":"ratio","value":0.5}],"call":3,"contentDigest":null,"customDigest":false,"digest":"blake3:409e2d944a40a470584c540e9cfc630ff07192a05eb6407a22f6d340e08e0620","field":"things","module":{"call":2,"name":"mine","pin":"deadbeef","source":"github.com/x/y"},"nth":0,"receiver":null,"rules":["blake3-v1"],"scopes":[{"name":"client","value":"c1"}],"standing":"computed","type":"[Thing!]!","view":"v0.19.11"}"#]].assert_eq(&json[0]["calls"][2].to_string());
    }
}
